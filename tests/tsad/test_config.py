"""The configuration file: what it accepts, and that an error names the key, the value and what is allowed."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import prune
from streaming.settings import SECOND, FeatureRule, LogFormat, MappedFeature, Mapping, TelemetryFormat, Timing
from tsad.config import PRUNABLE, RETENTION, Config, ConfigError, StreamConfig, load_config, parse_config, validated
from tsad.incoming import FeatureConfig, LogConfig, TelemetryConfig
from tsad.section import UNITS, parse_duration


def fault(raw: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(raw)
    return str(caught.value)


def stream_fault(**keys: Any) -> str:
    return fault({"stream": {"web": keys}})


# --- durations


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("500ms", 0.5),
        ("60s", 60),
        (" 5 m ", 300),
        ("1h", 3600),
        ("2d", 172_800),
        ("1.5h", 5400),
        (30, 30),
        (0.25, 0.25),
        (-0.0, 0),
        (1e-132, 0),
    ],
)
def test_a_duration_is_a_number_and_a_unit_or_seconds(said: object, seconds: float) -> None:
    assert parse_duration(said) == seconds * SECOND


@given(st.integers(0, 10**5), st.integers(0, 999_999), st.sampled_from(sorted(UNITS)))
def test_decimals_are_exact(whole: int, millionths: int, unit: str) -> None:
    assert parse_duration(f"{whole}.{millionths:06d}{unit}") == whole * UNITS[unit] + millionths * UNITS[unit] // 10**6


@pytest.mark.parametrize(
    "said", ["", "5", "5 parsecs", "-5s", "1e999s", True, None, [], -1, float("nan"), float("inf"), "200000d", 10**12]
)
def test_what_is_no_duration_is_refused_with_its_value(said: object) -> None:
    with pytest.raises(ValueError, match="a duration") as caught:
        parse_duration(said)
    assert repr(said) in str(caught.value)


# --- errors name the key, the value and what is allowed


@pytest.mark.parametrize(
    ("raw", "place", "allowed"),
    [
        ({"databse": "x"}, "databse", ["database", "models", "stream"]),
        ({"stream": {"web": {"windw": 3}}}, "stream.web.windw", ["window", "lateness", "alert_budget"]),
        ({"stream": {"web": {"telemetry": {"sorce": "x"}}}}, "stream.web.telemetry.sorce", ["source", "layout"]),
        ({"stream": {"web": {"logs": {"mask": {}}}}}, "stream.web.logs.mask", ["masks", "templates"]),
        ({"stream": {"web": {"features": {"cpu": {"agg": 1}}}}}, "stream.web.features.cpu.agg", ["aggregate", "carry"]),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_legal_ones(
    raw: dict[str, Any], place: str, allowed: list[str]
) -> None:
    message = fault(raw)
    assert message.startswith(f"tsad.toml: {place} is unknown; allowed here: ")
    assert set(allowed) <= set(message.split(": ", 2)[2].split(", "))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"window": 4}, ["stream.web.window = 4", "8"]),
        ({"scope": "galaxy"}, ["stream.web.scope = 'galaxy'", "'entity'", "'stream'"]),
        ({"step": "soon"}, ["stream.web.step = 'soon'", "5m"]),
        ({"settle": 1}, ["stream.web.settle = 1", "2"]),
        ({"alert_budget": float("inf")}, ["stream.web.alert_budget = inf", "finite"]),
        ({"seed": -1}, ["stream.web.seed = -1", "0"]),
        ({"detectors": []}, ["stream.web.detectors = []", "at least one"]),
        ({"detectors": "vote"}, ["stream.web.detectors = 'vote'", "a list is needed"]),
        ({"features": 3}, ["stream.web.features = 3", "a table is needed"]),
        ({"logs": False}, ["stream.web.logs = False", "a table is needed"]),
        ({"history_days": float("nan")}, ["stream.web.history_days = nan"]),
        ({"telemetry": {"unit": "h"}}, ["stream.web.telemetry.unit = 'h'", "'ms'"]),
        ({"features": {"cpu": {"aggregate": "median"}}}, ["stream.web.features.cpu.aggregate = 'median'", "'max'"]),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_is_allowed(keys: dict[str, Any], said: list[str]) -> None:
    message = stream_fault(**keys)
    assert [part for part in said if part not in message] == []
    assert "\n" not in message


def test_each_fault_has_a_line_of_its_own() -> None:
    lines = stream_fault(window=4, scope="galaxy", wat=1).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("tsad.toml: stream.web.") for line in lines)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"quiet": 5, "settle": 10}, "quiet (5 slots) must be at least settle (10 slots)"),
        ({"quiet": 1}, "quiet (1 slots) must be at least settle (2 slots)"),
        ({"step": "0s"}, "step must be longer than 0s"),
        ({"scope": "group"}, "scope = 'group' needs group_by"),
        ({"refit": "0s"}, "refit and shadow must be longer than 0s"),
        ({"shadow": "0s"}, "refit and shadow must be longer than 0s"),
        ({"refit": "1d", "history_days": 0}, "refit needs history_days of at least shadow, got history_days = 0"),
        ({"refit": "1d", "step": "1h"}, "history_days = 7 keeps 168 slots, and refit needs fit_after (2000) of them"),
        ({"logs": {"history": "h.log"}}, "telemetry.history and logs.history go together"),
        ({"telemetry": False}, "a stream needs telemetry, logs, or both"),
        ({"features": {"cpu": {"missing": "carry"}}}, "carry (1 to 1000 slots) goes with missing = 'carry'"),
        ({"features": {"cpu": {"carry": 3}}}, "carry (1 to 1000 slots) goes with missing = 'carry'"),
        ({"logs": {"layout": "text"}}, "layout = 'text' needs a pattern"),
        ({"logs": {"pattern": "("}}, "pattern: '(' is no regular expression"),
        ({"logs": {"masks": {"id": "[z"}}}, "id: '[z' is no regular expression"),
        ({"logs": {"layout": "text", "pattern": "(?P<time>.*)"}}, "needs the groups time and message, got time"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(keys: dict[str, Any], said: str) -> None:
    assert said in stream_fault(**keys)


@pytest.mark.parametrize(
    ("keys", "settle"), [({}, 20), ({"window": 12}, 12), ({"quiet": 8}, 8), ({"window": 64, "settle": 30}, 30)]
)
def test_what_is_not_said_of_settling_fits_what_is_said(keys: dict[str, Any], settle: int) -> None:
    assert StreamConfig(**keys).settle == settle


def test_a_fault_of_a_whole_table_does_not_print_the_table() -> None:
    message = stream_fault(quiet=1, telemetry={"source": "kafka://user:secret@host/topic"})
    assert "quiet (1 slots)" in message
    assert "secret" not in message


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_characters="$"))
KEYS = st.sampled_from([*StreamConfig.model_fields, *LogConfig.model_fields, "*"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=4
)


@settings(max_examples=150, deadline=None)
@given(VALUES | st.dictionaries(KEYS, VALUES, max_size=2))
def test_whatever_a_stream_holds_is_accepted_or_a_configuration_error(raw: Any) -> None:
    try:
        config = parse_config({"stream": {"web": raw}})
    except ConfigError as error:
        assert all(line.startswith("tsad.toml: stream.web") for line in str(error).splitlines() if line)
    else:
        assert config.of("web").timing().ring_slots > 0


# --- files and the environment


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tsad.toml"
    path.write_text('models = "m"\n[stream.web]\nstep = "30s"\n[stream.web.logs]\ntemplates = 5\n', encoding="utf-8")
    config = load_config(path)
    assert config.models == "m"
    assert config.of("web").step == 30 * SECOND
    assert config.of("web").logs == LogConfig(templates=5)


def test_a_file_that_is_not_there_says_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml does not exist; `tsad init` writes one"):
        load_config(tmp_path / "nowhere.toml")


def test_a_folder_in_place_of_the_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


@pytest.mark.parametrize("content", [b"step = ", b"a = 1\na = 2", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tsad.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"tsad\.toml is not valid TOML"):
        load_config(path)


def test_strings_take_secrets_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSAD_PASSWORD", "hunter2")
    raw = {
        "database": "postgresql://u:${TSAD_PASSWORD}@h/d",
        "stream": {"web": {"telemetry": {"ignore": ["${TSAD_PASSWORD}"]}}},
    }
    config = parse_config(raw)
    assert config.database == "postgresql://u:hunter2@h/d"
    telemetry = config.of("web").telemetry
    assert telemetry is not None
    assert telemetry.ignore == ("hunter2",)


def test_an_environment_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TSAD_NOTHING", raising=False)
    assert "TSAD_NOTHING" in fault({"database": "${TSAD_NOTHING}"})


# --- what it hands down


def test_an_unknown_stream_is_told_which_exist() -> None:
    config = parse_config({"stream": {"b": {}, "a": {}}})
    with pytest.raises(ConfigError, match="stream 'c' is not in the configuration; configured: a, b"):
        config.of("c")
    with pytest.raises(ConfigError, match="configured: none"):
        Config().of("c")


def test_false_says_that_there_is_none() -> None:
    config = parse_config({"stream": {"web": {"telemetry": False, "logs": {}}}}).of("web")
    assert config.telemetry is None
    assert config.topics == ("logs",)
    bare = parse_config({"stream": {"web": {"telemetry": {"entity": False, "time": False}}}}).of("web")
    assert bare.telemetry is not None
    assert bare.telemetry.settings() == TelemetryFormat(entity=None, time=None)


def test_topics_are_in_a_fixed_order() -> None:
    assert StreamConfig().topics == ("telemetry",)
    assert StreamConfig(logs=LogConfig()).topics == ("telemetry", "logs")


def test_the_timing_carries_each_value_to_its_place() -> None:
    config = parse_config(
        {
            "stream": {
                "web": {
                    "step": 10, "window": 32, "lateness": "25s", "late_horizon": 3, "max_lead": 5, "forget_after": 7,
                    "on_silence": "ignore", "max_entities": 9, "max_ahead": "2m",
                }
            }
        }
    )  # fmt: skip
    timing = config.of("web").timing()
    assert timing == Timing(
        step=10 * SECOND, window=32, lateness=25 * SECOND, late_horizon=3, max_lead=5, forget_after=7,
        on_silence="ignore", max_entities=9, max_ahead=120 * SECOND,
    )  # fmt: skip
    assert timing.ring_slots == 32 + 3 + 3 + 5


def test_the_defaults_are_those_of_the_plain_settings() -> None:
    assert StreamConfig().timing() == Timing(step=60 * SECOND)
    assert TelemetryConfig().settings() == TelemetryFormat()
    assert LogConfig().settings() == LogFormat()
    assert FeatureConfig().rule() == FeatureRule()


def test_logs_hand_down_their_format() -> None:
    pattern = r"(?P<time>\S+) (?P<message>.*)"
    logs = LogConfig(layout="text", pattern=pattern, time_format="%s", unit="ms", default_entity="app", order="time")
    assert logs.settings() == LogFormat("text", pattern, "%s", "ms", "app", "time")


def test_relations_are_kept_by_the_decoder_and_a_recurrent_network_reads_more_lines() -> None:
    logs = LogConfig(relations=("user", "host"), line_scorers=("rare", "recurrent"))
    assert logs.settings().relations == ("user", "host")
    assert (logs.depth, LogConfig().depth) == (10, 2)
    pattern = r"(?P<time>\S+) (?P<user>\S+) (?P<message>.*)"
    assert LogConfig(layout="text", pattern=pattern, relations=("user", "entity")).relations == ("user", "entity")


@pytest.mark.parametrize(
    ("logs", "said"),
    [
        ({"relations": ["user"]}, "none, or 2 to 8 different names are allowed"),
        ({"relations": ["user", "user"]}, "none, or 2 to 8 different names are allowed"),
        ({"relations": [*"abcdefghi"]}, "none, or 2 to 8 different names are allowed"),
        ({"relations": ["user", ""]}, "none, or 2 to 8 different names are allowed"),
        ({"relations": ["user", "message"]}, "time and message relate nothing"),
        (
            {"relations": ["user", "host"], "layout": "text", "pattern": "(?P<time>.)(?P<user>.)(?P<message>.)"},
            "the pattern has no groups host; it has time, user, message",
        ),
        ({"line_scorers": ["sequence", "recurrent"]}, "one of the two is allowed"),
        ({"line_scorers": ["oddity"]}, "'rare', 'sequence', 'field', 'relation' or 'recurrent'"),
    ],
)
def test_what_lines_are_scored_by_must_make_sense(logs: dict[str, object], said: str) -> None:
    assert said in fault({"stream": {"web": {"logs": logs}}})


def test_the_star_is_the_rule_of_every_other_feature() -> None:
    features = {"*": {"aggregate": "max"}, "requests": {"counter": True}, "temp": {"missing": "carry", "carry": 4}}
    rules = parse_config({"stream": {"web": {"features": features}}}).of("web").rules()
    assert rules.of("anything") == FeatureRule(aggregate="max")
    assert rules.of("requests") == FeatureRule(counter=True)
    assert rules.of("temp") == FeatureRule(missing="carry", carry=4)


def test_retention_keeps_the_default_of_tables_that_are_not_named() -> None:
    assert parse_config({"retention_days": {"audit": 7}}).retention_days == RETENTION | {"audit": 7}


@pytest.mark.parametrize("days", [-1, float("nan"), float("inf"), 1e9])
def test_retention_is_a_sensible_number_of_days(days: float) -> None:
    assert "audit must be kept for 0 to 36500 days" in fault({"retention_days": {"audit": days}})


def test_retention_names_the_tables_that_can_be_pruned() -> None:
    assert set(PRUNABLE) == set(prune.PRUNABLE)
    assert "no retention for table 'models'; allowed: scores," in fault({"retention_days": {"models": 3}})


MAPPED = """
[stream.web.telemetry]
format = "auto"
[stream.web.telemetry.mapping]
entity = ["service.name", "host"]
features = [
  { name = "errors", metric = "http.requests", match = { code = "500" }, aggregate = "sum" },
  { name = "cpu", metric = "cpu", kind = "gauge" },
]
[stream.web.logs]
format = "otlp"
"""


def test_a_mapping_becomes_plain_settings():
    stream = parse_config(tomllib.loads(MAPPED)).of("web")
    features = (
        MappedFeature("errors", "http.requests", {"code": "500"}, "sum"),
        MappedFeature("cpu", "cpu", kind="gauge"),
    )
    form = stream.telemetry.settings()
    assert form == TelemetryFormat(format="auto", mapping=Mapping(("service.name", "host"), features))
    # both topics name an entity alike, unless the logs say otherwise
    assert stream.logs.settings() == LogFormat(format="otlp", entity=("service.name", "host"))
    own = parse_config(tomllib.loads(MAPPED + 'entity = ["pod"]\n')).of("web")
    assert own.logs.settings().entity == ("pod",)


def test_rules_know_kinds_of_series_where_messages_tell_them():
    assert parse_config(tomllib.loads(MAPPED)).of("web").rules().typed
    assert not StreamConfig().rules().typed
    rules = (
        parse_config(tomllib.loads(MAPPED + '[stream.web.features."rate(x)"]\nmissing = "zero"\n')).of("web").rules()
    )
    assert rules.of("rate(x)") == FeatureRule("last", "zero", counter=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[stream.a.telemetry]\nformat = "xml"', "stream.a.telemetry.format"),
        ('[stream.a.logs]\nformat = "remote-write"', "stream.a.logs.format"),
        ("[stream.a.telemetry.mapping]\nlabels = 1", "allowed here: entity, features"),
        (
            '[stream.a.telemetry.mapping]\nfeatures = [{ name = "a", metric = "b", sum = 1 }]',
            "allowed here: name, metric, match, aggregate, kind",
        ),
        ('[stream.a.telemetry.mapping]\nfeatures = [{ name = "a" }]', "mapping.features.0.metric"),
        (
            '[stream.a.telemetry.mapping]\nfeatures = [{ name = "a", metric = "b" }, { name = "a", metric = "c" }]',
            "twice there: a",
        ),
        ('[stream.a.telemetry.mapping]\nentity = "host"', "a list is needed"),
    ],
)
def test_what_is_wrong_with_a_mapping_is_said(text, said):
    with pytest.raises(ConfigError) as error:
        parse_config(tomllib.loads(text))
    assert said in str(error.value)


def test_a_configuration_travels_as_json() -> None:
    """To the process of its own that fits: strings are taken as they are there, nothing comes from the environment."""
    raw = {
        "history": "here", "stream": {
            "web": {"step": "500ms", "refit": "7d", "shadow": "36h", "features": {"cpu": {"counter": True}}},
            "app": {"telemetry": False, "logs": {"masks": {"a": "${HOME}x"}, "history": "old.log"}, "refit": 90.5},
        },
    }  # fmt: skip
    config = validated(raw, "test")
    assert config.of("web").shadow == 36 * 3600 * SECOND
    assert (config.of("web").history, config.of("app").history) == ({}, {"logs": "old.log"})
    written = json.loads(config.model_dump_json(exclude={"kafka"}))
    again = validated(written, "test")
    assert again.model_dump() == config.model_dump()
