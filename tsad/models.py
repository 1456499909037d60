"""A model version as a whole: ensemble, explainer and log templates, and its way into files and back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from detectors.ensemble import Ensemble, EnsembleSettings
from detectors.explain import Explainer
from detectors.linemodel import FittedLines
from detectors.sessionmodel import FittedSessions
from storage.model_files import ModelContent, read_model, write_model
from storage.types import ModelRow
from streaming.types import State

COLD = "cold"
"""The version in force before the first fit: `vote` alone."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a version holds. `templates`: text of each `log.template.<n>` feature; `figures`: what the fit measured;
    `lines` scores log lines, `sessions` sessions of them."""

    ensemble: Ensemble
    explainer: Explainer
    templates: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    lines: FittedLines | None = None
    sessions: FittedSessions | None = None

    def content(self) -> ModelContent:
        """As arrays, blobs and JSON."""
        whole = State(meta={"templates": self.templates, "figures": self.figures})
        whole.put("ensemble", self.ensemble.state())
        whole.put("explainer", self.explainer.state())
        if self.lines is not None:
            whole.put("lines", self.lines.state())
        if self.sessions is not None:
            whole.put("sessions", self.sessions.state())
        return ModelContent(whole.arrays, whole.blobs, whole.meta)

    @classmethod
    def of(cls, content: ModelContent) -> "Model":
        """The model that gave `content`."""
        whole = State(content.arrays, content.meta, content.blobs)
        ensemble = Ensemble.restore(whole.part("ensemble"))
        explainer = Explainer.restore(whole.part("explainer"), ensemble.background)
        lines = FittedLines.restore(whole.part("lines")) if "lines" in content.meta else None
        sessions = FittedSessions.restore(whole.part("sessions")) if "sessions" in content.meta else None
        return cls(ensemble, explainer, content.meta["templates"], content.meta["figures"], lines, sessions)


def features_of(content: ModelContent) -> list[str]:
    """The features of the model that gave `content`, which is not built: that takes the learning libraries."""
    whole = State(content.arrays, content.meta, content.blobs)
    return list(whole.part("ensemble").meta["ensemble"]["features"])


def cold_model(settings: EnsembleSettings, features: Sequence[str]) -> Model:
    """The model of a stream that was never fitted."""
    ensemble = Ensemble.cold(settings, list(features))
    return Model(ensemble, Explainer(ensemble.background))


class ModelShelf:
    """The versions of one stream below the models' URL, each read once."""

    def __init__(self, url: str, stream: str, settings: EnsembleSettings) -> None:
        self.url = url
        self.stream = stream
        self.settings = settings
        self._held: dict[str, Model] = {}

    def write(self, model: Model, created_at: datetime) -> ModelRow:
        """Write a version, named by its content; its row, as a candidate."""
        row = write_model(self.url, self.stream, None, model.content(), created_at)
        self._held[row.version] = model
        return row

    def read(self, row: ModelRow) -> Model:
        """The model that `row` names; FileRefusedError where its file is missing, changed or foreign."""
        if row.version not in self._held:
            self._held[row.version] = Model.of(read_model(self.url, row))
        return self._held[row.version]

    def cold(self, features: Sequence[str]) -> Model:
        """The unfitted model over `features`."""
        return cold_model(self.settings, features)
