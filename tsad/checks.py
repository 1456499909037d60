"""What `tsad check` looks at: one line for each thing, and what is wrong with it."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from storage.engine import Database, open_database
from storage.model_files import read_model
from storage.types import FileRefusedError, StoreError
from streaming.broker.settings import BrokerError
from streaming.broker.topics import topics
from streaming.deadletters import DeadLetters
from streaming.journal import held_in
from streaming.settings import SECOND
from streaming.types import SourceChanged, Topic
from tsad.app import App
from tsad.config import Config, ConfigError
from tsad.detection import ensemble_settings
from tsad.fitting import collect
from tsad.grouping import of_sessions
from tsad.happenings import read_events
from tsad.incoming import PUSH
from tsad.inputs import FIT_TEMPLATES, Inputs
from tsad.layout import topics_found
from tsad.models import features_of
from tsad.prometheus import PROMETHEUS
from tsad.pushing import journal_of
from tsad.sizing import need, replayed
from tsad.wording import counted, one_line

SAMPLE = 100_000
"""Records of a source that are read."""
LOOKED = 10
"""Steps of queries that are asked for."""
Row = dict[str, Any]


def check_all(config: Config) -> list[Row]:
    """One row for each check: what was checked, whether it is well, and what was found."""
    rows = [_row("configuration", True, f"streams: {', '.join(config.stream) or 'none'}")]
    rows += [_guarded(f"stream {name}", lambda name=name: _settings(config, name)) for name in config.stream]  # type: ignore[misc]
    file = Path(config.database.removeprefix("sqlite:///"))
    unused = config.database.startswith("sqlite:///") and file.parent.is_dir() and not file.exists()
    try:
        if unused:
            raise StoreError("not there yet; tsad fit or the first tsad run makes it")
        database = open_database(config.database, create=False)
    except StoreError as error:
        rows.append(_row("database", unused, str(error)))
        with TemporaryDirectory() as folder:
            return rows + _streams(config, open_database(f"sqlite:///{folder}/empty.db", create=True))
    else:
        rows.append(_row("database", True, f"{database.name}: schema is up to date"))
    return rows + _streams(config, database)


def _streams(config: Config, database: Database) -> list[Row]:
    app = App(config, database)
    try:
        return [
            row
            for name in config.stream
            for row in [
                *_sources(app, name),
                *_context(app, name),
                *_models(app, name),
                _guarded(f"{name} sizing", lambda name=name: _sizing(app, name)),  # type: ignore[misc]
            ]
        ]
    finally:
        app.close()


def _row(check: str, ok: bool, detail: str) -> Row:
    return {"check": check, "ok": ok, "detail": detail}


def _guarded(check: str, work: Callable[[], str]) -> Row:
    try:
        return _row(check, True, work())
    except (ConfigError, StoreError, BrokerError, FileRefusedError, SourceChanged, OSError, ValueError) as error:
        return _row(check, False, str(error))


def _settings(config: Config, name: str) -> str:
    settings = ensemble_settings(config.of(name))
    return (
        f"{', '.join(settings.detectors)}; window {settings.window} slots; {settings.alert_budget:g} false alarms a day"
    )


def _sources(app: App, name: str) -> list[Row]:
    config = app.config.of(name)
    rows: list[Row] = []
    try:
        if app.inputs(name).on_kafka({}):
            return [_guarded(f"{name} topics", lambda: _topics(app, name)), *_strays(app, name)]
    except ConfigError as error:
        return [_row(f"{name} topics", False, str(error))]
    for topic in config.topics:
        section = config.telemetry if topic == "telemetry" else config.logs
        source = section.source if section else None
        if source is None:
            rows.append(_row(f"{name} {topic}", True, "no source configured; name one with tsad run"))
        elif source == PUSH:
            rows.append(_row(f"{name} {topic}", True, _pushed(app, name, topic)))
        elif source == PROMETHEUS:
            rows.append(_guarded(f"{name} {topic}", lambda: _answers(app, name)))
        elif source == "-":
            rows.append(_row(f"{name} {topic}", True, "standard input"))
        else:
            rows.append(_guarded(f"{name} {topic}", lambda t=topic, s=source: _sample(app, name, t, s)))  # type: ignore[misc]
    return rows


def _pushed(app: App, name: str, topic: Topic) -> str:
    """How much of what was pushed is held."""
    folder = journal_of(app.config, name, topic)
    return f"pushed to tsad serve; {folder} holds {held_in(folder) / 2**20:.1f} of {app.config.journal_mib} MiB"


def _answers(app: App, name: str) -> str:
    """What the server answers to the queries at the newest times."""
    inputs, step, now = app.inputs(name), app.config.of(name).step, app.clock()
    columns, newest = inputs.columns(), now - inputs.prometheus.delay
    source = inputs.past(columns, newest - LOOKED * step, now)
    source.patience = 0
    entities: set[str] = set()
    try:
        while (batch := source.poll()) is not None:
            entities |= set(batch.names)
            for letter in batch.dead:
                if letter.reason != "infinite_value":
                    raise ValueError(f"{source.client.server.url}: {letter.detail}")
    finally:
        source.close()
    missing = [repr(query) for query in inputs.prometheus.queries if columns.find(query) < 0]
    said = f"{source.client.server.url}: at the newest {LOOKED} steps "
    if not entities:
        raise ValueError(f"{said}no query has a value")
    lacks = f"; nothing of {one_line(', '.join(missing), 200)}" if missing else ""
    return f"{said}{counted(len(entities), 'entity')}, {counted(len(columns), 'feature')}{lacks}"


def _context(app: App, name: str) -> list[Row]:
    """Whether the file of context events, if one is configured, can be read."""
    source = app.config.of(name).context.source
    return [] if source is None else [_guarded(f"{name} context", lambda: _events(source, app.clock()))]


def _events(source: str, now_ns: int) -> str:
    events, faults = read_events(Path(source).read_text(encoding="utf-8"), source, now_ns)
    if faults:
        number, fault = faults[0]
        raise ValueError(f"{source}: line {number} is no event: {fault}")
    return f"{source}: {counted(len(events), 'event')}"


def _topics(app: App, name: str) -> str:
    """Whether the cluster answers and the topics of a stream go together."""
    found, pattern = topics_found(app.config, name), app.config.of(name).topic_pattern
    cluster = ", ".join(app.config.kafka.bootstrap)
    said = " and ".join(map(repr, found))
    _check_retention(app, name, found)
    if pattern is None:
        return f"{said}: {counted(next(iter(found.values())), 'partition')} on {cluster}"
    return f"{one_line(said, 200)} as {pattern!r} has it: {counted(sum(found.values()), 'partition')} on {cluster}"


def _check_retention(app: App, name: str, found: Iterable[str]) -> None:
    """BrokerError where a topic forgets what a start may have to read again."""
    span = replayed(app.config.of(name))
    with topics(app.config.kafka.settings()) as look:
        for topic in found:
            kept = look.kept(topic)
            if kept is not None and kept < span:
                raise BrokerError(
                    f"topic {topic!r} keeps {_hours(kept)} (retention.ms), and a start may have to read "
                    f"{_hours(span)} of it again: give the topic more, or the stream a smaller snapshot_every"
                )


def _hours(span: int) -> str:
    return f"{span / (3600 * SECOND):.4g} h"


def _sizing(app: App, name: str) -> str:
    """Memory and cores by the sizing formula, for the entities that are known, expected or allowed."""
    config, active = app.config.of(name), app.models.active(name)
    known, telemetry = len(app.reader.entities(name)), config.telemetry or None
    features = len(telemetry.features or ()) if telemetry else 0
    if active is not None:
        with suppress(FileRefusedError):  # said of the model itself
            features = len(features_of(read_model(app.config.models, active)))
    if not features:
        return "told once there is a model, or telemetry.features names the channels"
    entities = max(known, config.expected_entities or 0) or config.max_entities
    which = "" if known or config.expected_entities else " (max_entities)"
    found = need(config, entities, features)
    return (
        f"{entities:,} entities{which} of {counted(features, 'feature')}: {found.entity_bytes / 1000:,.0f} KB each, "
        f"{found.memory / 2**30:.1f} GiB in one process; {found.arriving:,.4g} rows/s, of which a core does about "
        f"{round(found.core, -2):,.0f}"
    )


def _strays(app: App, name: str) -> list[Row]:
    """Entities, and sessions, that two partitions have had records of; no row where there are none."""
    found = []
    for stream, one, many in ((name, "entity", "entities"), (of_sessions(name), "session", "sessions")):
        strays = app.homes.strays(stream)
        if not strays:
            continue
        first, have = strays[0], f"{one} has" if len(strays) == 1 else f"{many} have"
        said = (
            f"{len(strays)} {have} records on two partitions, such as {first.entity!r:.80} on {first.partition} and "
            f"{first.stray}; what is not on its first is rejected as wrong_partition: key the topics by {one} "
            "(tsad rekey)"
        )
        found.append(_row(f"{name} {many}", False, said))
    return found


def _sample(app: App, name: str, topic: Topic, source: str) -> str:
    """Read the start of a source through the stream's own windower."""
    alone = app.config.of(name).model_copy(update={"telemetry": None} if topic == "logs" else {"logs": None})
    inputs = Inputs(name, alone, app.clock)
    columns, rejects, read = inputs.columns(), {topic: DeadLetters()}, [0]
    windower = inputs.windower(rejects)
    sources = inputs.sources({topic: source}, columns)
    try:
        intake = inputs.intake(columns, FIT_TEMPLATES)
        found = collect(windower, sources, intake, SAMPLE, lambda count: read.__setitem__(0, count))
    finally:
        sources[topic].close()
    _, refused = rejects[topic].take()
    late, too_late, total = windower.late, refused.get("too_late", 0), max(read[0], 1)
    if not len(found.rows.codes):
        raise ValueError(f"{source}: no record of the first {total} could be used; tsad run keeps them as dead letters")
    return (
        f"{read[0]} records read, {counted(len(found.rows.names), 'entity')}, "
        f"{counted(len(found.rows.features), 'feature')}; "
        f"late: {late / total:.2%}, too late: {too_late / total:.2%}"
    )


def _models(app: App, name: str) -> list[Row]:
    listing = app.models.listing(name)
    if not listing:
        return [_row(f"{name} models", True, "none yet: tsad fit makes one, or tsad run after fit_after slots")]
    return [
        _guarded(
            f"{name} model {row.version}",
            lambda row=row: f"{row.state}, {len(read_model(app.config.models, row).arrays)} arrays, checksum right",  # type: ignore[misc]
        )
        for row in listing
    ]
