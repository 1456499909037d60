"""Jobs in, explanations and what is told of an alert out: inline for the strongest, from the database for the rest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from detectors.explain import Explanation as Shap
from detectors.explain import Suspects
from storage import arrays
from storage.documents import Document
from storage.types import Explanation
from streaming.types import State, Windows
from tsad.cases import Evidence, Told
from tsad.models import COLD, Model
from tsad.rows import SHOWN, observed_of

SHOWN_VALUES = 50
"""Features with a row of their own; the rest of a wide stream is one row."""
OTHERS = "(others)"
QUOTES = 5
"""Lines that an alert quotes at most."""


@dataclass(frozen=True, slots=True)
class Request:
    """One window to explain: whose alert it is, and the evidence. `chance` seeds what is drawn: the identity of the
    alert in the stream's own run, so that a run over history has the same explanation."""

    alert_id: str
    entity: str
    evidence: Evidence
    chance: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: rows to store, and what to tell."""

    rows: list[Explanation]
    told: Told


def explain(requests: Sequence[Request], model: Callable[[Request], Model]) -> list[Answer]:
    """One answer for each request, in order; the same alone as in any batch."""
    answers: list[Answer | None] = [None] * len(requests)
    groups: dict[int, tuple[Model, list[int]]] = {}
    for place, request in enumerate(requests):
        mine = model(request)
        groups.setdefault(id(mine), (mine, []))[1].append(place)
    for mine, places in groups.values():
        part = [requests[place] for place in places]
        for place, answer in zip(places, _explain_group(part, mine), strict=True):
            answers[place] = answer
    return [answer for answer in answers if answer is not None]


def _explain_group(requests: Sequence[Request], model: Model) -> list[Answer]:
    ensemble = model.ensemble
    suspects = _suspects(requests, list(ensemble.features))
    found = model.explainer.explain(
        suspects,
        lambda windows: ensemble.fused(windows).astype(np.float64),
        ensemble.forecast_inputs(),
        model.templates,
        ensemble.span,
    )
    return [_answer(request, shap, model.templates) for request, shap in zip(requests, found, strict=True)]


def _suspects(requests: Sequence[Request], features: list[str]) -> Suspects:
    evidence = [request.evidence for request in requests]
    names = sorted({request.entity for request in requests})
    windows = Windows(
        np.array([names.index(request.entity) for request in requests], np.int32),
        np.array([one.slot for one in evidence], np.int64),
        np.stack([one.window for one in evidence]),
        features,
        names,
    )
    return Suspects(
        windows,
        np.stack([one.observed for one in evidence]),
        np.stack([one.origin for one in evidence]),
        np.stack([one.width for one in evidence]),
        np.stack([one.shares for one in evidence]),
        [[name for name, vote in zip(one.detectors, one.votes, strict=True) if vote] for one in evidence],
        [request.chance or request.alert_id for request in requests],
        [{name: texts[0] for name, texts in one.said.items()} for one in evidence],
    )


def _answer(request: Request, shap: Shap, texts: Mapping[str, str]) -> Answer:
    evidence = request.evidence
    by = str(shap.explained_by)
    if evidence.version == COLD:
        by, shap = "vote", _by_shares(evidence, shap)
    rows = _decision_rows(request, shap, by) + _forecast_rows(request, shap, by)
    order = np.argsort(-np.abs(shap.values), kind="stable")[:SHOWN].tolist()
    shown: dict[str, object] = {
        "slot": evidence.slot,
        "features": [evidence.features[place] for place in order],
        "observed": observed_of(evidence, order),
        "lower": [_number(shap.lower[place]) for place in order],
        "upper": [_number(shap.upper[place]) for place in order],
        "texts": {name: texts[name] for name in (evidence.features[place] for place in order) if name in texts},
        "said": {name: said for name, said in evidence.said.items() if name in evidence.features},
        "lines": quoted_lines(evidence, shap),
        "contributions": [[evidence.features[place], float(shap.values[place])] for place in order],
    }
    return Answer(rows, Told(by, shap.sentence, Document(shown)))


def quoted_lines(evidence: Evidence, shap: Shap) -> list[dict[str, str]]:
    """The lines to quote, with the feature that each counts in: first those of what pushes most."""
    found: dict[str, str] = {}
    for place in np.argsort(-shap.values, kind="stable").tolist():
        name = evidence.features[place]
        for line in evidence.quoted.get(name, ()) if shap.values[place] > 0 else ():
            found.setdefault(line, name)
    return [{"feature": name, "line": line} for line, name in list(found.items())[:QUOTES]]


def _by_shares(evidence: Evidence, shap: Shap) -> Shap:
    """Before the first fit there is no model to ask: the vote's own shares divide its score."""
    values = evidence.shares.astype(np.float64) * evidence.score
    return replace(shap, score=evidence.score, base=0.0, values=values, residual=evidence.score - float(values.sum()))


def _decision_rows(request: Request, shap: Shap, by: str) -> list[Explanation]:
    order = np.argsort(-np.abs(shap.values), kind="stable")
    named, rest = order[:SHOWN_VALUES].tolist(), order[SHOWN_VALUES:]
    parts = [(request.evidence.features[p], float(shap.values[p]), float(shap.shares[p])) for p in named]
    if len(rest):
        parts.append((OTHERS, float(shap.values[rest].sum()), float(shap.shares[rest].sum())))
    return [
        Explanation(
            request.alert_id, request.evidence.slot, name, value, share, shap.base, shap.score, shap.residual,
            shap.fidelity, by,
        )
        for name, value, share in parts
    ]  # fmt: skip


def _forecast_rows(request: Request, shap: Shap, by: str) -> list[Explanation]:
    """What moved the forecast of the strongest channel: `value` in that channel's unit, `score` the input itself."""
    alert, slot = request.alert_id, request.evidence.slot
    named = [(f"{part.name} (missing)" if np.isnan(part.value) else part.name, part) for part in shap.inputs]
    return [
        Explanation(alert, slot, name, part.effect, 0.0, 0.0, _number(part.value) or 0.0, 0.0, None, by, "forecast")
        for name, part in named
    ]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def packed(waiting: Sequence[Evidence]) -> bytes | None:
    """Evidence as bytes, for an alert whose explanations have to wait; None for nothing."""
    if not waiting:
        return None
    whole = State()
    for evidence in waiting:
        whole.put(str(evidence.slot), evidence.state())
    return arrays.pack(whole.arrays, whole.meta)


def unpacked(window: bytes | None) -> list[Evidence]:
    """What `packed` was given."""
    if window is None:
        return []
    whole = State(*arrays.unpack(window))
    return [Evidence.restored(whole.part(slot)) for slot in whole.meta]


def tells(shown: int | None, slot: int, peak: int) -> bool:
    """Whether the explanation of `slot` is what an alert shows: that of its peak, else the first one, renewed."""
    return shown is None or slot in (shown, peak)
