"""What a run begins with, and goes on with: what is asked for otherwise later is refused by name."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

from storage.backfills import BackfillRow
from storage.events import ContextEvent
from storage.types import StoreError
from tsad.app import App
from tsad.backfill.spec import Wanted
from tsad.config import StreamConfig
from tsad.happenings import telling
from tsad.rows import utc
from tsad.runs.inputs import CONFIG, TIMES
from tsad.wording import utc_text

LENGTH = 12
"""Hex digits of a digest."""


def spec_of(config: StreamConfig, wanted: Wanted) -> dict[str, Any]:
    """What a run begins with, as it is kept. Of the configuration, what is not as by default: by dotted name a digest,
    since a value may hold a secret."""
    said = config.model_dump(mode="json", exclude_defaults=True)
    return {**msgspec.to_builtins(wanted), CONFIG: dict(_digests(said))}


def events_of(app: App, stream: str) -> list[ContextEvent]:
    """What has been told of around the stream by now, in its file of events or otherwise."""
    told, source = app.context_events.listing(stream, told=True), app.config.of(stream).context.source
    log = structlog.get_logger(stream=stream)
    try:
        text = Path(source).read_text(encoding="utf-8", errors="replace") if source else ""
    except OSError as error:
        log.warning("context events cannot be read", file=source, reason=error.strerror)
        text = ""
    return [*told, *telling(text, Path(source or "."), app.clock(), log)]


def same(row: BackfillRow, stream: str, version: str, spec: Mapping[str, Any]) -> BackfillRow:
    """`row`, the run that is to go on. StoreError names what is asked for otherwise than when it began."""
    others = list(_others(row, stream, version, spec))
    if others:
        raise StoreError(
            f"there is a run {row.run!r} already, which was begun with something else: {'; '.join(others)}. Ask for "
            f"the same, take another name, or delete it first (tsad runs delete {row.run})"
        )
    return row


def _others(row: BackfillRow, stream: str, version: str, spec: Mapping[str, Any]) -> Iterator[str]:
    if row.stream != stream:
        yield f"stream {row.stream}, not {stream}"
        return
    if row.model_version != version:
        yield f"model {row.model_version}, not {version}"
    for name, value in spec.items():
        was = row.spec.get(name)
        if name != CONFIG and was != value:
            option = f"--{TIMES.get(name, name)}".replace("_", "-")
            yield f"{option} {_shown(name, was)}, not {_shown(name, value)}"
    if CONFIG in row.spec:  # runs of older versions of tsad have none
        then, now = row.spec[CONFIG], spec[CONFIG]
        yield from (
            f"stream.{stream}.{name} was {'not set' if name not in then else 'set' if name not in now else 'another'}"
            for name in sorted(then.keys() | now.keys())
            if then.get(name) != now.get(name)
        )


def _shown(name: str, value: Any) -> str:
    if value is None or value is False:
        return "none"
    if value is True:
        return "asked for"
    return utc_text(utc(value)) if name in TIMES else str(value)


def _digests(said: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in said.items():
        if isinstance(value, dict) and value:
            yield from _digests(value, f"{before}{name}.")
        else:
            whole = json.dumps(value, sort_keys=True)
            yield f"{before}{name}", hashlib.sha256(whole.encode()).hexdigest()[:LENGTH]
