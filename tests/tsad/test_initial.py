"""The written configuration: accepted as it is, complete, and filled from the sample."""

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from streaming.settings import SECOND, MappedFeature, Mapping, TelemetryFormat
from streaming.sniff import Sniffed, sniff
from tsad.cli import app
from tsad.cluster import KafkaConfig
from tsad.config import Config, StreamConfig, load_config, parse_config
from tsad.delivery.settings import DeliveryConfig
from tsad.grouping import SessionConfig
from tsad.incoming import FeatureConfig, LogConfig, MappedFeatureConfig, MappingConfig, TelemetryConfig
from tsad.initial import configuration_text
from tsad.operating import ApiConfig, HttpConfig, LoggingConfig
from tsad.prometheus import PrometheusConfig
from tsad.section import Section
from tsad.surroundings import ContextConfig
from tsad.triage.settings import TriageConfig

# no `$`: ${NAME} in a value is an environment variable, by design
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="$"), min_size=1, max_size=20)

SAMPLE = Sniffed(
    format=TelemetryFormat(layout="wide", entity="host", time="ts", ignore=("label", "is_anomaly")),
    step_ns=30 * SECOND,
    entities=3,
    rows=12_000,
    continuous=5,
    start_ns=1_577_836_800 * SECOND,
    end_ns=1_577_956_800 * SECOND,
    notes=["label columns are left out: label, is_anomaly"],
)


def parsed(text: str) -> Config:
    return parse_config(tomllib.loads(text))


def uncommented(text: str) -> str:
    """Every example in force: `#key` loses its sign, prose (`# words`) stays a comment."""
    return re.sub(r"^#(?=[\w\[])", "", text, flags=re.MULTILINE)


def keys_under(text: str, header: str) -> set[str]:
    """The keys mentioned, in force or not, below the table `header`."""
    body = text.split(f"[{header}]\n", 1)[1] if header else text
    table = re.split(r"^#?\[", body, maxsplit=1, flags=re.MULTILINE)[0]
    return set(re.findall(r"^#?(\w+) = ", table, flags=re.MULTILINE))


@pytest.mark.parametrize(("continuous", "window", "settle"), [(1, 100, 40), (3, 100, 40), (4, 64, 20)])
def test_few_channels_get_longer_windows(continuous: int, window: int, settle: int) -> None:
    text = configuration_text("web", replace(SAMPLE, continuous=continuous), "a.csv")
    stream = parsed(text).of("web")
    assert (stream.window, stream.settle) == (window, settle)


def test_the_text_without_a_sample_is_the_default_configuration() -> None:
    assert parsed(configuration_text("web", None, None)) == Config(stream={"web": StreamConfig()})


@pytest.mark.parametrize(
    ("header", "section", "tables"),
    [
        ("", Config, {"stream", "kafka", "http", "api", "triage", "delivery", "log"}),
        ("http", HttpConfig, set()),
        ("api", ApiConfig, set()),
        ("triage", TriageConfig, set()),
        ("delivery", DeliveryConfig, {"routes"}),
        ("log", LoggingConfig, set()),
        ("kafka", KafkaConfig, set()),
        ("stream.web", StreamConfig, {"telemetry", "logs", "sessions", "features", "context"}),
        ("stream.web.telemetry", TelemetryConfig, {"mapping", "prometheus"}),
        ("stream.web.telemetry.mapping", MappingConfig, set()),
        ("stream.web.telemetry.prometheus", PrometheusConfig, set()),
        ("stream.web.logs", LogConfig, set()),
        ("stream.web.sessions", SessionConfig, set()),
        ("stream.web.context", ContextConfig, set()),
        ('stream.web.features."*"', FeatureConfig, set()),
    ],
)
def test_every_key_is_mentioned_in_its_table(header: str, section: type[Section], tables: set[str]) -> None:
    assert keys_under(configuration_text("web", None, None), header) | tables == set(section.model_fields)


def test_every_key_has_a_comment_on_its_line() -> None:
    lines = [line for line in configuration_text("web", SAMPLE, "a.csv").splitlines() if re.match(r"#?\w+ = ", line)]
    assert len(lines) > 50
    assert [line for line in lines if not re.search(r"  # \w", line)] == []


def test_every_example_is_legal_and_every_default_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "secret")
    monkeypatch.setenv("PROMETHEUS_PASSWORD", "secret")
    text = uncommented(configuration_text("web", None, None)).replace("tls = false", "tls = true")
    # topic and topic_pattern exclude each other
    text, patterns = re.subn(r"^topic_pattern = .*\n", "", text, flags=re.MULTILINE)
    assert patterns == 2
    text = re.sub(r"^field = .*\n", "", text, flags=re.MULTILINE)  # key and field exclude each other
    # context.topic is for streams from Kafka, which this one is not
    text, topics = re.subn(r'^topic = "deploys".*\n', "", text, flags=re.MULTILINE)
    assert topics == 1
    text, tokens = re.subn(r"^token = .*\n", "", text, flags=re.MULTILINE)  # token and username exclude each other
    assert tokens == 1
    full = parsed(text)
    stream = full.of("web")
    assert stream.features == {"*": FeatureConfig()}
    assert stream.logs is not None
    assert stream.telemetry is not None
    said = {
        StreamConfig: (
            "telemetry", "logs", "features", "detectors", "group_by", "expected_entities", "refit", "no_data_after",
            "context", "sessions",
        ),
        SessionConfig: ("key", "alert_budget"),
        ContextConfig: ("source", "rules", "patterns"),
        LogConfig: ("source", "topic", "history", "pattern", "time_format", "entity", "order", "masks", "redact"),
        TelemetryConfig: ("source", "topic", "history", "features", "order", "mapping", "prometheus"),
        KafkaConfig: (
            "tls", "ca", "certificate", "key", "sasl", "username", "password", "instance", "alerts_topic",
            "dead_letter_topic",
        ),
    }  # fmt: skip
    assert stream.telemetry.mapping.entity == ("service.name", "host.name")
    assert [part.match for part in stream.telemetry.mapping.features or ()] == [{"code": "500"}]
    asked = stream.telemetry.prometheus
    assert asked is not None
    assert (asked.url, list(asked.queries), asked.ca, asked.username) == (
        "http://prometheus:9090", ["cpu", "up"], "ca.pem", "tsad",
    )  # fmt: skip
    least = {"url": asked.url, "queries": asked.queries}
    examples = {"ca", "username", "password"}
    default = PrometheusConfig.model_validate(least)
    assert asked.model_dump(exclude=examples) == default.model_dump(exclude=examples)
    for section in (stream, stream.logs, stream.telemetry, stream.context, full.kafka):
        examples = set(said[type(section)])
        assert section.model_dump(exclude=examples) == type(section)().model_dump(exclude=examples)
        assert all(getattr(section, key) is not None for key in examples)
    assert (full.http.bind, full.log.level) == ("127.0.0.1:9464", "info")
    assert full.delivery.link == "https://tsad.example.org"
    told = {"stream", "kafka", "http", "log", "delivery"}
    assert full.model_dump(exclude=told) == Config().model_dump(exclude=told)


def test_the_sample_fills_in_what_it_showed() -> None:
    text = configuration_text("web", SAMPLE, "data/web.csv")
    stream = parsed(text).of("web")
    assert stream.step == 30 * SECOND
    assert stream.telemetry is not None
    assert stream.telemetry.source == "data/web.csv"
    assert stream.telemetry.settings() == SAMPLE.format
    assert "# The sample: 12,000 rows of 3 entities, 2020-01-01 00:00:00 to 2020-01-02 09:20:00 UTC." in text
    assert "# label columns are left out: label, is_anomaly" in text


def test_a_mapping_is_written_a_feature_a_line() -> None:
    features = (
        MappedFeature("cpu", "cpu"),
        MappedFeature('odd "name"', "http.requests", {"code": "500"}, "max", "counter"),
    )
    form = TelemetryFormat(format="otlp", mapping=Mapping(("service.name", "zone"), features))
    text = configuration_text("web", replace(SAMPLE, format=form), None)
    telemetry = parsed(text).of("web").telemetry
    assert telemetry is not None
    assert telemetry.settings() == form
    assert '\n  { name = "cpu", metric = "cpu" },\n' in text
    assert telemetry.mapping.features == tuple(
        MappedFeatureConfig(name=f.name, metric=f.metric, match=f.match, aggregate=f.aggregate, kind=f.kind)
        for f in features
    )
    one = replace(SAMPLE, format=TelemetryFormat(format="auto", mapping=Mapping(())))
    settings = parsed(configuration_text("web", one, None)).of("web").telemetry
    assert settings is not None
    assert settings.settings() == one.format


def test_only_what_differs_from_the_default_is_in_force() -> None:
    text = configuration_text("web", SAMPLE, None)
    live = re.findall(r"^(\w+) = ", text, flags=re.MULTILINE)
    assert live == ["step", "layout", "entity", "time", "ignore"]


def test_a_sample_without_entity_or_time_comes_back() -> None:
    bare = replace(SAMPLE, format=TelemetryFormat(layout="wide", entity=None, time=None), entities=1, notes=[])
    text = configuration_text("web", bare, None)
    telemetry = parsed(text).of("web").telemetry
    assert telemetry is not None
    assert telemetry.settings() == bare.format
    assert "rows of 1 entity," in text


def test_allowed_values_stand_beside_their_key() -> None:
    text = configuration_text("web", None, None)
    for key, allowed in [
        ("window", "(8 to 1024)"),
        ("scope", "(auto, entity, group, stream)"),
        ("order", "(time, arrival)"),
        ("alert_budget", "(above 0)"),
        ("fit_after", "(at least 100)"),
    ]:
        line = next(line for line in text.splitlines() if line.startswith(f"#{key} = "))
        assert line.endswith(allowed)


@settings(max_examples=60, deadline=None)
@given(stream=NAMES, source=NAMES, entity=NAMES, ignore=st.lists(NAMES, max_size=3), note=st.text(max_size=30))
def test_names_of_any_letters_come_back(stream: str, source: str, entity: str, ignore: list[str], note: str) -> None:
    layout = TelemetryFormat(layout="wide", entity=entity, ignore=tuple(ignore))
    text = configuration_text(stream, replace(SAMPLE, format=layout, notes=[note]), source)
    text.encode()
    telemetry = parsed(text).of(stream).telemetry
    assert telemetry is not None
    assert (telemetry.source, telemetry.settings()) == (source, layout)


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.integers(1, 2**62), st.integers(1, 10**6).map(lambda number: number * 10**6)))
def test_any_step_comes_back_to_the_nanosecond(step: int) -> None:
    assert parsed(configuration_text("web", replace(SAMPLE, step_ns=step), None)).of("web").step == step


@pytest.mark.parametrize(
    ("step", "written"),
    [
        (SECOND, "1s"),
        (90 * SECOND, "90s"),
        (300 * SECOND, "5m"),
        (86_400 * SECOND, "1d"),
        (10**8, "100ms"),
        (5, "0.000005ms"),
    ],
)
def test_steps_are_written_as_a_person_would(step: int, written: str) -> None:
    assert f"\nstep = {json.dumps(written)} " in configuration_text("web", replace(SAMPLE, step_ns=step), None)


def test_a_windows_path_is_written_without_doubled_backslashes() -> None:
    assert "source = 'C:\\data\\web.csv'" in configuration_text("web", None, "C:\\data\\web.csv")


def test_a_real_file_becomes_a_configuration_that_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a file.csv"
    rows = [f"web-{host},2020-01-01T00:{minute:02d}:00Z,{minute % 7},{host}" for minute in range(40) for host in (1, 2)]
    path.write_text("\n".join(["host,timestamp,cpu,memory", *rows]), encoding="utf-8")
    sniffed = sniff(path)
    stream = parsed(configuration_text("web", sniffed, str(path))).of("web")
    assert stream.step == 60 * SECOND
    assert stream.telemetry is not None
    assert stream.telemetry.source == str(path)
    assert stream.telemetry.settings() == sniffed.format
    assert (stream.telemetry.entity, stream.telemetry.time) == ("host", "timestamp")


def test_a_sample_of_messages_becomes_a_stream_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.jsonl").write_text("".join(message(minute) for minute in range(300)))
    for command in (["init", "--from", "m.jsonl", "--stream", "shop"], ["check"], ["run", "shop", "--json"]):
        result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["rows"], figures["dead_letters"], figures["unknown_features"]) == (600, 0, {})
    stream = load_config(tmp_path / "tsad.toml").of("shop")
    assert stream.step == 60 * SECOND
    assert stream.telemetry is not None
    assert stream.telemetry.format == "otlp-json"
    assert [part.name for part in stream.telemetry.mapping.features or ()] == ["cpu", "requests"]
    assert "# features: 2, the metrics that come most often" in (tmp_path / "tsad.toml").read_text()


def message(minute: int) -> str:
    """OTLP in JSON: a gauge and a counter of two hosts."""
    time = str((1_767_571_200 + 60 * minute) * SECOND)
    resources = []
    for host in ("a", "b"):
        cpu = {"gauge": {"dataPoints": [{"timeUnixNano": time, "asDouble": minute % 7 / 7}]}}
        added = {"isMonotonic": True, "aggregationTemporality": 2}
        hits = {"sum": added | {"dataPoints": [{"timeUnixNano": time, "asInt": str(30 * minute)}]}}
        attributes = [{"key": "host.name", "value": {"stringValue": host}}]
        scope = {"metrics": [{"name": "cpu"} | cpu, {"name": "requests"} | hits]}
        resources.append({"resource": {"attributes": attributes}, "scopeMetrics": [scope]})
    return json.dumps({"resourceMetrics": resources}) + "\n"
