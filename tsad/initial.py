"""The `tsad.toml` that `tsad init` writes: every key with what it means and its default, filled from a sample."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo

from detectors.channels import timing as few_timing
from streaming.settings import SECOND
from tsad.cluster import KafkaConfig
from tsad.config import Config, StreamConfig
from tsad.delivery.settings import DeliveryConfig
from tsad.grouping import SessionConfig
from tsad.incoming import FeatureConfig, LogConfig, MappingConfig, TelemetryConfig
from tsad.operating import ApiConfig, HttpConfig, LoggingConfig
from tsad.prometheus import PrometheusConfig
from tsad.section import UNITS, Section, parse_duration
from tsad.surroundings import ContextConfig
from tsad.triage.settings import TriageConfig
from tsad.wording import counted, one_line, utc_text

if TYPE_CHECKING:  # reading samples needs pandas, writing about them does not
    from streaming.sniff import Sniffed

COMMENTS: dict[type[Section], dict[str, str]] = {
    Config: {
        "database": "SQLAlchemy URL; postgresql+psycopg://... for several processes",
        "models": "folder or fsspec URL of model and snapshot files",
        "history": "folder of closed slots (Parquet), from which a stream without a model fits itself",
        "journal": "folder of what is pushed to `tsad serve`, until it is read",
        "journal_mib": "MiB that it may hold of each stream and topic; beyond that pushes are refused (429)",
        "patience": "how long a run outlasts a database or cluster that does not answer",
        "retention_days": "days that a table's rows are kept (`tsad db prune`)",
    },
    KafkaConfig: {
        "bootstrap": 'addresses of the cluster that source = "kafka" reads',
        "tls": "whether connections are encrypted",
        "ca": "PEM file of who signs the brokers' certificates; else the system's",
        "certificate": "PEM file of our own certificate",
        "key": "PEM file of its key",
        "sasl": "how we say who we are",
        "username": "who we are",
        "password": "keep it in the environment",
        "client": "library that reads; confluent needs tsad[confluent]",
        "group": "consumer group, with the stream's name behind it",
        "instance": "name of this process in the group: started again, it keeps its partitions",
        "session_timeout": "a process that is not heard of for so long loses its partitions",
        "max_poll_interval": "a member that does not poll for so long loses its partitions",
        "alerts_topic": "topic that is told of every change of an alert; it must exist",
        "dead_letter_topic": "topic that gets what cannot be used; it must exist",
    },
    HttpConfig: {
        "bind": "address of /health/live, /health/ready and /metrics; else nobody is told",
        "series": "entities at most whose score /metrics tells: those that alert, then the strangest",
    },
    ApiConfig: {
        "bind": "address of `tsad serve`",
        "processes": "that answer there, one for each core it may take",
        "requests_per_second": "by each token",
        "max_body": "bytes of a request",
        "max_push": "bytes of a pushed one, packed and unpacked",
    },
    DeliveryConfig: {
        "allow": "hosts and networks that are not public and may be reached",
        "link": "address of the dashboard, for people",
        "timeout": "of one attempt",
        "every": "how often is looked for what is due",
    },
    TriageConfig: {
        "gap": "how far apart in time alerts of one incident may be",
        "span": "how long after its first alert others may join an incident",
        "labels": "labels of entities that relate those with an equal value, such as rack",
        "correlation": "how alike the channels of two entities must move to be related",
        "alike": "how alike incidents of one type are",
        "learn_after": "so many answers false or expected on alike alerts of an entity make such ones its new normal",
        "every": "how often `tsad serve` and `tsad triage` look for alerts that have changed",
    },
    LoggingConfig: {
        "format": "of what goes to standard error",
        "level": "least that is told; else warnings on a terminal, all as JSON",
    },
    StreamConfig: {
        "step": "length of a slot: one value of each feature for each entity",
        "window": "slots that the detectors look at",
        "lateness": "how long a slot stays open for records that come out of order",
        "late_horizon": "slots below the watermark within which late records are still judged",
        "max_lead": "slots by which one topic may run ahead of the other",
        "max_ahead": "records further than this beyond their ingest time are refused as from the future",
        "forget_after": "silent slots after which an entity is closed",
        "idle_after": "how far one Kafka topic goes past the end of the other before it waits no longer",
        "on_silence": "whether silence is a sign",
        "no_data_after": "how long a Kafka topic may bring nothing before that is an alert of its own; false: for ever",
        "max_entities": "entities a partition; beyond it the least recently seen go",
        "max_features": "features a stream; further names are counted",
        "profile": "named list of detectors: default, fast (no networks), few (what default becomes for few channels)",
        "detectors": "detectors by name, in place of a profile (`tsad detectors` lists them)",
        "detector_options": "options of a detector, by its name",
        "scope": "what a detector is fitted for; auto: each entity while the models fit model_memory_mib",
        "group_by": 'label whose values are the groups of scope = "group"',
        "model_memory_mib": "MiB that the fitted models may take",
        "fusion": "decision: mean of all detectors, or more than half of them",
        "calibration": "whether thresholds go on learning",
        "alert_budget": "false episodes a day that are acceptable, for the whole stream",
        "expected_entities": "entities that share the budget; else as many as at the fit",
        "settle": "slots after which an alert is confirmed or retracted; detectors look ahead so far at most",
        "quiet": "slots without a flag after which an alert is resolved; at least settle",
        "accept": "anomalous slots in a row after which what goes on is the new normal",
        "timezone": "whose hours of the day and the week seasons go by, such as Europe/Berlin",
        "seasons": "whether seasons are learnt, where training shows them",
        "fit_after": "slots after which a stream without a model fits itself",
        "max_windows": "windows that a fit uses",
        "explain_per_poll": "alerts explained at once; the rest when idle",
        "snapshot_every": "slots between two snapshots of the state",
        "history_days": "days that closed slots are kept",
        "refit": "how often a new model is fitted, on the history without incidents; false: never",
        "shadow": "how long it must keep the alert budget, unseen, before it is promoted",
        "seed": "of everything random in fitting",
    },
    TelemetryConfig: {
        "source": "file, folder, - for standard input, kafka, push (to `tsad serve`), or prometheus",
        "topic": 'topic of source = "kafka"',
        "topic_pattern": "in its place: a regular expression; each partition of each topic with such a name",
        "history": "file or folder that refits read in place of the closed slots",
        "format": "of the messages: JSON, OpenTelemetry, Prometheus; auto looks at each",
        "layout": "JSON objects; tables with a column a feature; tables with a row a value",
        "features": "order of the packed form `v`, or the columns to read; else every numeric one",
        "entity": "column of the entity; false: there is none",
        "time": "column of the time; false: the row number",
        "name": 'column of the feature\'s name in layout = "long"',
        "value": 'column of the value in layout = "long"',
        "unit": "of times that are numbers",
        "default_entity": "entity of rows without one",
        "ignore": "columns to leave out, labels for instance",
        "order": "tables and folders: time, JSON Lines: arrival, unless said here",
    },
    MappingConfig: {
        "entity": "labels whose values, joined by /, name the entity; else the usual ones; []: default_entity",
        "features": "series by metric and match; else every metric; aggregate joins those that differ in other labels",
    },
    PrometheusConfig: {
        "url": "what comes before /api/v1 in the server's addresses",
        "queries": "PromQL by feature; evaluated at each multiple of step",
        "token": "of Authorization: Bearer; keep it in the environment",
        "username": "of Authorization: Basic, in place of token",
        "password": "keep it in the environment",
        "headers": 'further ones, such as { "X-Scope-OrgID" = "team" }',
        "parameters": "what else each request says, such as Thanos' dedup",
        "ca": "PEM file of who signs the server's certificate; else the system's",
        "timeout": "of a request",
        "delay": "how far behind the clock an answer is taken to be complete",
        "begin": "how far back the first start begins",
        "past": "how far back `tsad fit` reads where no --from says what",
        "max_series": "series that a query may answer",
        "max_points": "points of a series that a request asks for; Prometheus gives 11000",
        "max_mib": "MiB of an answer, unpacked",
    },
    LogConfig: {
        "source": "file, folder, - for standard input, kafka, or push (to `tsad serve`)",
        "topic": 'topic of source = "kafka"',
        "topic_pattern": "in its place: a regular expression; each partition of each topic with such a name",
        "history": "file or folder that refits read in place of the closed slots",
        "format": "of the messages: JSON, OpenTelemetry; auto looks at each",
        "layout": "JSON objects, or raw lines",
        "pattern": 'of layout = "text", with the groups time and message, perhaps entity and severity',
        "time_format": "strptime pattern of the group time; else RFC 3339 or a number",
        "entity": "attributes of OTLP that name the entity; else as in the telemetry's mapping",
        "unit": "of times that are numbers",
        "default_entity": "entity of lines without one",
        "order": "tables and folders: time, JSON Lines: arrival, unless said here",
        "templates": "most frequent templates that become features",
        "coverage": "no line in a slot means zero where: any entity has one; this entity has one; always",
        "max_templates": "templates that are remembered",
        "line_scorers": "what scores each line in a fit: templates, their order, values in them, and which go together",
        "relations": "keys, attributes or groups of lines of which a fit learns which values go together",
        "join_lines": "a line of raw text that the pattern does not match belongs to the record before (stack traces)",
        "quote": "whether alerts quote lines as they came",
        "redact": "secrets that are taken out of them, by name: true or false for those built in, or a pattern",
        "masks": "what is masked in a line before mining, in place of the built-in list",
    },
    SessionConfig: {
        "key": "what a session's key is found by in a line: a regular expression with one group",
        "field": "in its place: the key of JSON, attribute of OTLP or group of the pattern that holds it",
        "gap": "a session ends when its key has not come for so long, by event time",
        "max_length": "a line so long after the first one begins another session",
        "max_lines": "so many lines, and the next one begins another session",
        "max_open": "sessions a partition that are held; beyond it the least recent are judged as they stand",
        "keyed_by": "of a Kafka topic: what its messages are keyed by; an entity is watched as ENTITY@PARTITION then",
        "alert_budget": "false alerts a day that are acceptable; else as many as of the stream itself",
    },
    ContextConfig: {
        "source": "JSON Lines: time, kind, perhaps entity (name or pattern), end, title; else `tsad context add` alone",
        "topic": "Kafka topic of such objects, for streams from Kafka; each worker reads all of it",
        "after": "how long after such an event an alert may be its doing",
        "learn": "whether alerts that followed a kind of event twice are its doing from then on",
        "lines": "whether log lines that set in after `after` without them are such kinds, too",
        "rules": "what a kind explains at once; perhaps also max_score, max_duration",
        "patterns": "log lines that are events, by regular expressions on what is left of them when numbers are masked",
    },
    FeatureConfig: {
        "aggregate": "how the values of a slot are joined",
        "missing": "what an empty slot holds",
        "carry": 'slots that missing = "carry" bridges',
        "counter": "true: only ever grows; becomes a rate a second",
    },
}

EXAMPLES: dict[str, Any] = {
    "detectors": ["forecast", "subspace", "vote"],
    "group_by": "service",
    "refit": "7d",
    "no_data_after": "10m",
    "bind": "127.0.0.1:9464",
    "level": "info",
    "link": "https://tsad.example.org",
    "history": "history.jsonl",
    "expected_entities": 100,
    "source": "data.jsonl",
    "features": ["cpu", "memory"],
    "pattern": r"(?P<time>\S+) (?P<severity>\w+) (?P<message>.*)",
    "time_format": "%Y-%m-%dT%H:%M:%S%z",
    "order": "time",
    "topic": "metrics",
    "topic_pattern": r"metrics\..*",
    "ca": "ca.pem",
    "certificate": "tsad.pem",
    "key": "tsad.key",
    "sasl": "scram-sha-512",
    "username": "tsad",
    "password": "${KAFKA_PASSWORD}",
    "instance": "worker-1",
    "alerts_topic": "tsad.alerts",
    "dead_letter_topic": "tsad.dead-letters",
    "redact": {"email": True, "card": False, "customer": r"cust-\d+"},
    "masks": {"request": r"req-[0-9a-f]+"},
    "entity": ["service.name", "host.name"],
    "MappingConfig.features": [
        {"name": "errors", "metric": "http.requests", "match": {"code": "500"}, "aggregate": "sum"}
    ],
    "url": "http://prometheus:9090",
    "queries": {"cpu": "avg by (instance) (rate(node_cpu_seconds_total{mode!='idle'}[5m]))", "up": "up"},
    "token": "${PROMETHEUS_TOKEN}",
    "PrometheusConfig.password": "${PROMETHEUS_PASSWORD}",
    "SessionConfig.key": r"(blk_-?\d+)",
    "SessionConfig.field": "request_id",
    "SessionConfig.alert_budget": 1.0,
    "ContextConfig.source": "events.jsonl",
    "ContextConfig.topic": "deploys",
    "rules": [{"kind": "deploy", "entity": "web-*", "features": ["cpu*"], "max_score": 3.0}],
    "patterns": [{"kind": "deploy", "pattern": "Deploying version"}],
}
"""What a key without a default might say; of a key that two tables have, by the table's class too."""

HEAD = """\
# tsad.toml, written by `tsad init`. `tsad check` validates it; an unknown key is an error.
# A line such as `#key = value` shows a default or an example: take away the # to change it.
# Durations: "500ms", "60s", "5m", "1h", "2d". ${NAME} in a string is that environment variable (keep secrets there).
"""

WIDTH = 42
"""Column at which comments start."""


def configuration_text(stream: str, sniffed: "Sniffed | None", source: str | None) -> str:
    """A commented configuration with one stream, valid as it is; `sniffed` and `source` fill in what they know."""
    place = f"stream.{_key(stream)}"
    telemetry: dict[str, Any] = {} if source is None else {"source": source}
    timing: dict[str, Any] = {}
    mapping: dict[str, Any] = {}
    if sniffed is not None:
        fields = TelemetryConfig.model_fields
        found = asdict(sniffed.format)
        mapping = {key: value for key, value in found.pop("mapping").items() if value is not None}
        telemetry |= {
            key: False if value is None else value for key, value in found.items() if value != fields[key].default
        }
        timing = {"step": sniffed.step_ns, **few_timing(sniffed.continuous)}
    parts = [
        [HEAD],
        _keys(Config, {}),
        ["", "#[http]", *_keys(HttpConfig, {})],
        ["", "#[api]", *_keys(ApiConfig, {})],
        ["", "# Which alerts form one incident (docs/incidents.md).", "#[triage]", *_keys(TriageConfig, {})],
        ["", "# Who is told of alerts: docs/delivery.md.", "#[delivery]", *_keys(DeliveryConfig, {})],
        ["", "#[log]", *_keys(LoggingConfig, {})],
        ["", "#[kafka]", *_keys(KafkaConfig, {})],
        ["", *_summary(sniffed), f"[{place}]", *_keys(StreamConfig, timing)],
        ["", "# A stream of logs alone says `telemetry = false` above, and has no such table."],
        [f"[{place}.telemetry]", *_keys(TelemetryConfig, telemetry)],
        ["", "# What is an entity and what a feature in messages of OpenTelemetry and Prometheus."],
        [f"{'' if mapping else '#'}[{place}.telemetry.mapping]", *_keys(MappingConfig, mapping)],
        ["", '# What source = "prometheus" asks, and whom (docs/prometheus.md).', f"#[{place}.telemetry.prometheus]"],
        _keys(PrometheusConfig, {}),
        ["", "# Logs become features of the same windows.", f"#[{place}.logs]", *_keys(LogConfig, {})],
        ["", "# Lines that belong together by a key in them: a block, a request.", f"#[{place}.sessions]"],
        _keys(SessionConfig, {}),
        ["", "# What happens around the stream and explains alerts away: deploys, batches, backups."],
        [f"#[{place}.context]", *_keys(ContextConfig, {})],
        ["", '# Rules of one feature by name; "*" is every other.', f'#[{place}.features."*"]'],
        _keys(FeatureConfig, {}),
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def _keys(section: type[Section], filled: Mapping[str, Any]) -> Iterator[str]:
    """A line for each key of `section` that is no table: those of `filled` in force, the rest commented out."""
    for key, comment in COMMENTS[section].items():
        field = section.model_fields[key]
        value = filled.get(key, field.get_default(call_default_factory=True))
        if value is None or field.is_required():
            value = EXAMPLES.get(f"{section.__name__}.{key}") or EXAMPLES[key]
        tables = key in filled and isinstance(value, list | tuple) and bool(value) and isinstance(value[0], dict)
        said = "[" if tables else _value(value, _is_duration(field))
        written = f"{'' if key in filled else '#'}{key} = {said}"
        allowed = _allowed(field)
        yield f"{written:<{WIDTH}}  # {comment}{f' ({allowed})' if allowed else ''}"
        if tables:
            yield from (f"  {_value(_told(row))}," for row in value)
            yield "]"


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """A mapped feature without what it leaves at its default."""
    return {key: value for key, value in row.items() if value not in (None, {}, "auto")}


def _summary(sniffed: "Sniffed | None") -> Iterator[str]:
    """What the sample showed, as comments."""
    if sniffed is None:
        return
    ends = (datetime.fromtimestamp(ns // SECOND, UTC) for ns in (sniffed.start_ns, sniffed.end_ns))
    span = " to ".join(utc_text(end) for end in ends)
    yield f"# The sample: {counted(sniffed.rows, 'row')} of {counted(sniffed.entities, 'entity')}, {span} UTC."
    yield from (f"# {one_line(note, 400)}" for note in sniffed.notes)


def _is_duration(field: FieldInfo) -> bool:
    return any(getattr(part, "func", None) is parse_duration for part in field.metadata)


def _allowed(field: FieldInfo) -> str:
    """The values that a field takes, from its type and bounds: "8 to 1024", "auto, entity, group, stream"."""
    choices = [choice for part in (field.annotation, *get_args(field.annotation)) for choice in get_args(part)]
    names = [choice for choice in choices if isinstance(choice, str)]
    least = next((part.ge for part in field.metadata if isinstance(part, Ge)), None)
    most = next((part.le for part in field.metadata if isinstance(part, Le)), None)
    above = next((part.gt for part in field.metadata if isinstance(part, Gt)), None)
    if names:
        return ", ".join(names)
    if above is not None:
        return f"above {above}"
    if least is None:
        return ""
    return f"at least {least}" if most is None else f"{least} to {most}"


def _value(value: Any, duration: bool = False) -> str:
    """`value` in TOML; a `duration` is in ns."""
    if duration:
        return f'"{_duration(value)}"'
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _string(value)
        case dict():
            parts = ", ".join(f"{_key(key)} = {_value(part)}" for key, part in value.items())
            return f"{{ {parts} }}" if parts else "{}"
        case list() | tuple():
            return f"[{', '.join(_value(part) for part in value)}]"
        case _:
            return repr(value)


def _string(text: str) -> str:
    """A TOML string: literal where that saves backslashes, else escaped."""
    return f"'{text}'" if "\\" in text and "'" not in text and text.isprintable() else _escaped(text)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _escaped(name)


def _escaped(text: str) -> str:
    """JSON's escapes are TOML's, but for the delete character, which TOML wants escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _duration(ns: int) -> str:
    """The longest unit that writes `ns` as a whole number, else seconds or milliseconds with decimals."""
    for unit, size in reversed(UNITS.items()):
        if ns and ns % size == 0:
            return f"{ns // size}{unit}"
    unit = "ms" if ns % SECOND else "s"
    return f"{(Decimal(ns) / UNITS[unit]).normalize():f}{unit}"
