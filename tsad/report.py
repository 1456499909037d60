"""What the commands print: rich tables from plain rows, and the same rows as JSON."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any, Literal

import msgspec
import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from storage.types import Alert, Explanation, NoData
from tsad.context import sentence_of, told
from tsad.wording import one_line, signed, utc_text

Row = Mapping[str, Any]

STYLES = {
    "critical": "bold red",
    "warning": "yellow",
    "info": "cyan",
    "active": "green",
    "candidate": "yellow",
    "retired": "dim",
    "ok": "green",
    "wrong": "bold red",
}
TOP = 3
OBEYED = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""C1 controls, and what changes the direction of a text."""


def alert_row(
    alert: Alert, explanations: Sequence[Explanation] = (), texts: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """An alert as a plain row, for `alert_table` and for `as_json`.

    `explanations` are the alert's own, of any slot and target: the row tells of the fused decision at the peak where
    that is explained, else at the latest slot that is. `texts` holds the templates of each log feature;
    `templates` in the row are those of features that push towards anomalous, strongest first, each once.
    """
    parts = _decision(alert, explanations)
    known = texts or {}
    lines = [text for part in parts if part.value > 0 for text in known.get(part.feature, ())]
    return {
        "kind": "anomaly",
        "id": alert.id,
        "event_time": alert.first_time,
        "last_time": alert.last_time,
        "stream": alert.stream,
        "entity": alert.entity,
        "severity": alert.severity,
        "state": alert.state,
        "score": alert.score,
        "p": alert.p,
        "confidence": alert.confidence,
        "votes": {name: vote["voted"] for name, vote in alert.votes.items()},
        "features": [{"feature": part.feature, "value": part.value} for part in parts[:TOP]],
        "explained_by": alert.explained_by,
        "explained_by_event": alert.explained_by_event or None,
        "templates": list(dict.fromkeys(lines))[:TOP],
        "lines": alert.evidence.get("lines", []),
        "sentence": sentence_of(alert.sentence, alert.explained_by_event),
        "model_version": alert.model_version,
    }


def no_data_row(stream: str, partition: int, row: NoData) -> dict[str, Any]:
    """A topic that has brought nothing, with the members of `alert_row`."""
    over = "" if row.resolved_at is None else f", until {utc_text(row.resolved_at)}"
    return {
        "kind": "no_data", "id": row.id, "event_time": row.since, "last_time": row.resolved_at, "stream": stream,
        "entity": f"partition {partition}", "severity": "warning", "state": row.state, "score": None, "p": None,
        "confidence": None, "votes": {}, "features": [], "explained_by": None, "templates": [], "lines": [],
        "explained_by_event": None, "model_version": None,
        "sentence": f"no {row.topic} since {utc_text(row.since)}{over}",
    }  # fmt: skip


def _decision(alert: Alert, explanations: Sequence[Explanation]) -> list[Explanation]:
    """The parts of the explained decision, largest first."""
    parts = [part for part in explanations if part.target == "decision"]
    slots = {part.slot for part in parts}
    slot = alert.peak_slot if alert.peak_slot in slots else max(slots, default=None)
    return sorted((part for part in parts if part.slot == slot), key=lambda part: (-abs(part.value), part.feature))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, the cell of a row, and whether long cells wrap (else it keeps its width).

    `bounds` are its least and greatest widths in characters (None = free).
    """

    heading: str
    cell: Callable[[Row], RenderableType]
    wraps: bool = False
    justify: Literal["left", "right"] = "left"
    bounds: tuple[int | None, int | None] = (None, None)


def alert_table(rows: Iterable[Row]) -> Table:
    """Alerts as `alert_row` gives them: each is a few short lines, so that it reads at 80 columns."""
    columns = (
        Column("Event time (UTC)", _which, wraps=True, bounds=(19, 24)),
        Column("Severity", lambda row: _lines(_state(row["severity"]), _text(row["state"], "dim"))),
        Column("Score", _how_sure, justify="right"),
        Column("Why", _why, wraps=True, bounds=(24, None)),
    )
    table = _table("Alerts", columns, rows, "No alerts.", "Score: above 1 is anomalous; below it the confidence.")
    table.show_lines = True
    return table


def detector_table(rows: Iterable[Row]) -> Table:
    """Detectors: name, memory, summary, target."""
    columns = (_plain("name"), _plain("memory"), _plain("summary", wraps=True), _plain("target", wraps=True))
    return _table("Detectors", columns, rows, "No detectors.")


def model_table(rows: Iterable[Row]) -> Table:
    """Model versions: stream, version, state, created_at, activated_at, file, meta."""
    columns = (
        _plain("stream", wraps=True),
        _plain("version", wraps=True),
        Column("State", lambda row: _state(row["state"])),
        Column("Created (UTC)", lambda row: _time(row["created_at"])),
        Column("Activated (UTC)", lambda row: _time(row["activated_at"])),
    )
    rows = list(rows)
    said = ((row["version"], _shadow(row.get("meta") or {})) for row in rows)
    shadows = escape("\n".join(one_line(f"{version}: {words}", 400) for version, words in said if words))
    return _table("Models", columns, rows, "No models yet; `tsad fit STREAM --from PATH` makes one.", shadows)


def _shadow(meta: Row) -> str:
    """What a candidate said unseen, and what became of it."""
    if "shadow" not in meta:
        return f"in the shadow until {meta['refit']['shadow_until'][:16].replace('T', ' ')}" if "refit" in meta else ""
    said = meta["shadow"]
    if "episodes" not in said:
        return f"{said['decision']}: {said['reason']}"
    seen = f"{said['slots']} of {said['wanted']} slots"
    return f"{said['decision']}: {said['episodes']} episodes, at most {said['allowed']}; {seen}"


def dead_letter_table(rows: Iterable[Row]) -> Table:
    """Rejected records: topic, partition, position (an offset, or a row), reason, detail, payload (bytes or None)."""
    columns = (
        _plain("topic"),
        Column("Partition", lambda row: _text(str(row["partition"])), justify="right"),
        Column("Offset", lambda row: _text(str(row["position"])), justify="right"),
        _plain("reason"),
        _plain("detail", wraps=True),
        Column("Payload", lambda row: _text(_decoded(row["payload"] or b""), limit=60), wraps=True),
    )
    return _table("Dead letters", columns, rows, "No dead letters.")


def context_table(rows: Iterable[Row]) -> Table:
    """Context events: start, end, kind, entity, title, source."""
    columns = (
        Column("Start (UTC)", lambda row: _time(row["start"])),
        Column("End (UTC)", lambda row: _time(row["end"])),
        _plain("kind"),
        Column("Entity", lambda row: _text("every one" if row["entity"] is None else row["entity"]), wraps=True),
        _plain("title", wraps=True),
        _plain("source", wraps=True),
    )
    return _table("Context events", columns, rows, "No context events; `tsad context add` tells of one.")


def template_table(rows: Iterable[Row]) -> Table:
    """Log templates: id, name, lines, partitions, text."""
    columns = (
        _plain("id"),
        _plain("name"),
        Column("Lines", lambda row: _text(f"{row['lines']:,}"), justify="right"),
        Column("Partitions", lambda row: _text(str(len(row["partitions"]))), justify="right"),
        Column("Template", lambda row: _text(row["text"], limit=200), wraps=True),
    )
    return _table("Log templates", columns, rows, "No log templates yet: they are kept at each snapshot.")


def token_table(rows: Iterable[Row]) -> Table:
    """Tokens of the API: name, role, holds, created_at, expires_at."""
    columns = (
        _plain("name", wraps=True),
        _plain("role"),
        Column("Holds", lambda row: _text("yes" if row["holds"] else "no")),
        Column("Created (UTC)", lambda row: _time(row["created_at"])),
        Column("Expires (UTC)", lambda row: _time(row["expires_at"])),
    )
    return _table("Tokens", columns, rows, "No tokens; `tsad tokens add NAME` makes one.")


def check_table(rows: Iterable[Row]) -> Table:
    """Check results: check, ok, detail."""
    columns = (
        Column("", lambda row: _state("ok" if row["ok"] else "wrong")),
        _plain("check"),
        _plain("detail", wraps=True),
    )
    return _table("Checks", columns, rows, "Nothing was checked.")


def plain_table(title: str, keys: Sequence[str], rows: Iterable[Row], empty: str) -> Table:
    """Rows as they are, a column for each of `keys`; times in UTC."""
    columns = [
        Column(
            key.replace("_", " ").capitalize(),
            lambda row, key=key: _plainly(row[key]),  # type: ignore[misc]
            wraps=True,
        )
        for key in keys
    ]
    return _table(title, columns, rows, empty)


def run_table(figures: Row) -> Table:
    """What a run did: rows, windows, alerts, dead_letters, unknown_features, slots_to_first_model."""
    names = ("rows", "windows", "alerts", "dead_letters")
    rows = [{"what": name.replace("_", " "), "count": figures[name]} for name in names]
    missing = figures["slots_to_first_model"]
    rows += [] if missing is None else [{"what": "slots to the first model", "count": missing}]
    unknown = sorted(figures["unknown_features"].items())
    rows += [{"what": f"values of the unknown feature {name}", "count": count} for name, count in unknown]
    columns = (_plain("what", wraps=True), Column("Count", lambda row: _text(f"{row['count']:,}"), justify="right"))
    return _table(f"Run of {one_line(figures['stream'], 80)}", columns, rows, "")


def facts_table(title: str, facts: Row) -> Table:
    """One thing's facts, a line for each; numbers as people write them."""
    said = {key: f"{value:,}" if isinstance(value, int | float) else str(value) for key, value in facts.items()}
    rows = [{"what": key.replace("_", " "), "value": value} for key, value in said.items()]
    columns = (_plain("what", wraps=True), Column("Value", lambda row: _text(row["value"]), wraps=True))
    return _table(title, columns, rows, "")


def _table(title: str, columns: Sequence[Column], rows: Iterable[Row], empty: str, caption: str = "") -> Table:
    rows = list(rows)
    table = Table(title=title, title_justify="left", caption=caption if rows else empty, caption_justify="left")
    for column in columns:
        least, most = column.bounds
        table.add_column(
            column.heading, justify=column.justify, no_wrap=not column.wraps, overflow="fold", min_width=least,
            max_width=most,
        )  # fmt: skip
    for row in rows:
        table.add_row(*(column.cell(row) for column in columns))
    return table


def _plain(key: str, wraps: bool = False) -> Column:
    return Column(key.capitalize(), lambda row: _text(row[key]), wraps=wraps)


def _plainly(value: object) -> Text:
    """A cell in which nothing to say is empty, and zero is a number."""
    if isinstance(value, datetime):
        return _time(value)
    return _text(value if value or type(value) in (int, float) else "")


def _text(value: object, style: str = "", limit: int = 400) -> Text:
    """A cell taken as it is: brackets in a name are no markup, escape sequences do not get through."""
    return Text("–" if value is None else one_line(str(value), limit), style)


def _lines(*lines: Text) -> Text:
    return Text("\n").join(lines)


def _state(name: str) -> Text:
    return _text(name, STYLES.get(name, ""))


def _time(time: datetime | None) -> Text:
    return _text(time and utc_text(time))


def _which(row: Row) -> Text:
    return _lines(_time(row["event_time"]), _text(row["entity"], "bold"), _text(row["id"][:12], "dim"))


def _how_sure(row: Row) -> Text:
    if row["score"] is None:
        return _text("-", "dim")
    return _lines(_text(f"{row['score']:.2f}"), _text(f"{row['confidence']:.0%}", "dim"))


def _why(row: Row) -> RenderableType:
    """One line each, values first: where there is no room a name loses its end, and not its value."""
    if row["kind"] == "no_data":
        return _text(row["sentence"])
    voted = ", ".join(name for name, vote in row["votes"].items() if vote)
    parts = [_text(f"{signed(part['value'])} {part['feature']}") for part in row["features"]]
    said = [quoted["line"] for quoted in row["lines"]][:TOP] or row["templates"]
    lines = [_text(f"“{line}”", "italic") for line in said]
    why = _lines(*(parts or [_text("not explained yet", "dim")]), *lines)
    why.no_wrap, why.overflow = True, "ellipsis"
    event = row["explained_by_event"]
    return Group(_text(f"voted: {voted or 'none'}"), why, *([_text(told(event), "cyan")] if event else []))


def as_json(rows: object) -> str:
    """`rows` as indented JSON: times as RFC 3339 with their zone, NaN and infinity as null, bytes as text.

    ValueError for a naive time: it would not say when.
    """
    return _escaped(msgspec.json.format(msgspec.json.encode(_jsonable(rows)), indent=2).decode())


def _escaped(json: str) -> str:
    """`json` with the characters escaped that a terminal may obey and JSON leaves alone."""
    return OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", json)


def _jsonable(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): _jsonable(part) for key, part in value.items()}
        case np.ndarray() | np.generic():
            return _jsonable(value.tolist())
        case bytes():
            return _decoded(value)
        case datetime() if value.tzinfo is None:
            raise ValueError(f"a time needs a zone, got {value!r}")
        case PurePath():
            return str(value)
        case list() | tuple() | set() | frozenset():
            return [_jsonable(part) for part in value]
        case _:
            return value


def letter_line(row: Row, origin: tuple[str, int] | None) -> str:
    """A rejected record as one line of JSON, none of its bytes lost; `origin`: the Kafka topic and its partition."""
    payload = row["payload"]
    names = ("stream", "topic", "partition", "reason", "detail", "saved_at")
    topic, partition = origin or (None, row["partition"])
    line = {name: row[name] for name in names} | {"partition": partition, "offset": row["position"], "origin": topic}
    try:
        line["payload"] = None if payload is None else payload.decode()
    except UnicodeDecodeError:
        line["payload_base64"] = payload
    return _escaped(msgspec.json.encode(line).decode())


def _decoded(payload: bytes) -> str:
    """A rejected record as text; what is not UTF-8 shows as \\xNN."""
    return payload.decode("utf-8", "backslashreplace")


def explanation_table(alert: Row, parts: Iterable[Row]) -> Group:
    """One alert (as `alert_row` gives it) with every part of its explanations: target, time, feature, value, share."""
    rows = list(parts)
    columns = (
        Column("Of", lambda row: _text(f"{row['target']} at {_when(row)}")),
        Column("Feature", lambda row: _text(row["feature"]), wraps=True),
        Column("SHAP value", lambda row: _text(signed(row["value"])), justify="right"),
        Column("Share", _share, justify="right"),
    )
    said = _text(alert["sentence"] or "not explained yet")
    by = [_text(f"{row['target']} at {_when(row)}: {_sum(row)}", "dim") for row in _first_of_each(rows)]
    event = alert["explained_by_event"] or {}
    told = [{"feature": event["kind"], "line": event["line"]}] if "line" in event else []
    quoted = [_text(f"{part['feature']}: {part['line']}") for part in [*alert["lines"], *told]]
    lines = [_text("Log lines:", "bold"), *quoted] if quoted else []
    return Group(alert_table([alert]), said, *lines, *by, _table("Explanation", columns, rows, "Not explained yet."))


def _when(row: Row) -> str:
    return utc_text(row["time"])


def _share(row: Row) -> Text:
    return _text(f"{row['share']:.0%}" if row["target"] == "decision" else "")


def _first_of_each(rows: Iterable[Row]) -> list[Row]:
    """One row for each explained slot's decision."""
    firsts: dict[int, Row] = {}
    for row in rows:
        if row["target"] == "decision":
            firsts.setdefault(row["slot"], row)
    return list(firsts.values())


def _sum(row: Row) -> str:
    return (
        f"score {row['score']:.3f} = base {row['base']:.3f} + values + residual {row['residual']:.3f}, "
        f"explained by {row['explained_by']}"
    )
