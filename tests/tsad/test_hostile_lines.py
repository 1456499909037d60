"""Lines that nobody expects: none stops a stream, each is counted, and what is kept of them is bounded and harmless."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from streaming.columns import Columns
from streaming.decode import MAX_RECORD_BYTES, LineDecoder
from streaming.decoders import decoder_of
from streaming.logintake import LogIntake
from streaming.miner import MAX_CHARACTERS, MAX_TOKENS, READ
from streaming.redaction import SHOWN, Redaction
from streaming.settings import SECOND, FeatureRules, LogFormat, Timing
from streaming.severities import sniff_severity
from streaming.types import Lines
from streaming.windower import Windower
from tests.streaming.golden import HOST, as_json, logs
from tests.tsad.command_line import CONFIGURATION, tsad
from tsad.report import as_json as shown

START = 1_700_000_000 // 60 * 60
MINUTES = 40
RED, TITLE = "\x1b[31m", "\x1b]0;owned\x07"
JSON = CONFIGURATION + "telemetry = false\n[stream.s.logs]\n"
TEXT = JSON + "layout = 'text'\npattern = '(?P<time>\\S+) (?P<entity>\\S+) (?P<message>.*)'\nunit = 's'\n"
TIMING = Timing(60 * SECOND, 16, 0, 8, 64, 120, "alert", 100, 3600 * SECOND)


def steady(minute: int) -> list[tuple[str, int, str]]:
    """Good lines: (entity, time, message)."""
    return [(entity, START + 60 * minute + place, f"GET /item/{place} ok") for place in range(3) for entity in "ab"]


def body(entity: str, time: object, message: object, **more: object) -> bytes:
    return json.dumps({"entity": entity, "time": time, "message": message, **more}).encode()


HOSTILE: dict[bytes, str | None] = {
    body("a", START + 600, f"{RED}ERROR\x1b[0m coloured {TITLE}\x9b2J\u202e"): None,
    body("a", START + 600, "user\n2030-01-01T00:00:00Z FATAL faked\r\x1b[2Kb 1"): None,
    body("a", START + 600, "nul \0"): None,
    body("a", START + 600, "lone \ud800"): "broken_json",
    body("a", START + 600, ""): None,
    body("a", START + 600, " \t\n "): None,
    body("a", START + 600, "word " * 190_000): None,
    body("a", START + 600, "x" * 1_000_000): None,
    body("a", START + 600, "x" * MAX_RECORD_BYTES): "too_long",
    body("a", START + 600, "many", **{f"key{place}": place for place in range(10_000)}): None,
    body("a", START + 600, "deep", nested=json.loads("[" * 900 + "]" * 900)): None,
    body("a", START + 600, "old").replace(b"old", b"caf\xe9 \xff\xfe"): "bad_encoding",
    bytes(range(256)).replace(b"\n", b""): "bad_encoding",
    b"   ": "empty",
    b"[" * 100_000: "broken_json",
    body("a", 1, "the clock was set back"): "too_late",
    body("a", START + 600 - 60 * 9, "a step back"): "too_late",
    body("a", START + 600 - 60 * 3, "a smaller one"): None,
    body("a", 4_000_000_000, "the clock was set forward"): "future",
    body("a", "9999-12-31T23:59:59Z", "further"): "bad_time",
    body(f"{RED}{TITLE}e\x9bvil", START + 600, "whose"): None,
}
"""JSON lines, and as which dead letters they end."""


def home_of(folder: Path, configuration: str, lines: list[bytes]) -> Path:
    folder.mkdir()
    (folder / "tsad.toml").write_text(configuration)
    (folder / "live.log").write_bytes(b"".join(line + b"\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a stream with all hostile lines amid good ones was run to its end."""
    good = [[body(*one) for one in steady(minute)] for minute in range(MINUTES)]
    lines = [line for minute in good[:11] for line in minute] + list(HOSTILE)
    lines += [line for minute in good[11:] for line in minute]
    home = home_of(tmp_path_factory.mktemp("hostile") / "home", JSON, lines)
    (home / "live.log").rename(home / "live.jsonl")
    said = tsad(home, "run", "s", "--logs", "live.jsonl", "--json")
    assert said.code == 0, said.err
    assert said.json["rows"] == len(lines)
    return home


def test_every_line_is_counted_or_a_dead_letter(watched: Path) -> None:
    dead = Counter(row["reason"] for row in tsad(watched, "dead-letters", "s", "--json").json["rows"])
    assert dead == Counter(reason for reason in HOSTILE.values() if reason)
    mined = tsad(watched, "templates", "s", "--json").json
    assert {row["text"]: row["lines"] for row in mined}["GET <PATH> ok"] == 6 * MINUTES
    assert sum(row["lines"] for row in mined) <= 6 * MINUTES + sum(reason is None for reason in HOSTILE.values())
    assert all(len(row["text"]) <= MAX_CHARACTERS and len(row["text"].split()) <= MAX_TOKENS for row in mined)


@pytest.mark.parametrize("command", ["alerts", "templates s", "dead-letters s"])
def test_no_command_prints_what_a_terminal_obeys(watched: Path, command: str) -> None:
    for form in ((), ("--json",)):
        said = tsad(watched, *command.split(), *form)
        assert not [letter for letter in said.out + said.err if not letter.isprintable() and letter != "\n"]


def test_raw_text_in_colours_is_read_and_broken_text_is_not(tmp_path: Path) -> None:
    lines = [
        f"\x1b[2m{time}\x1b[0m {entity} \x1b[32m{said}\x1b[0m".encode()
        for m in range(3)
        for entity, time, said in steady(m)
    ]
    lines += [
        b"\xff\xfe\x00binary",
        b"\x1b[2m  at frame\x1b[0m",
        f"{START + 180} a b\xe9".encode("latin-1"),
        b"",
        b"\x00" * 70_000,
    ]
    lines += [f"{START + 180} a {'y' * 1_000_000}".encode(), f"{START + 180} a {'y' * MAX_RECORD_BYTES}".encode()]
    home = home_of(tmp_path / "home", TEXT, [*lines, f"{START + 240} a end".encode()])
    said = tsad(home, "run", "s", "--logs", "live.log", "--json")
    assert said.code == 0, said.err
    mined = {row["text"][:20]: row["lines"] for row in tsad(home, "templates", "s", "--json").json}
    assert mined["GET <PATH> ok"] >= 17
    assert mined["end"] == mined["y" * 20] == 1
    dead = {row["reason"] for row in tsad(home, "dead-letters", "s", "--json").json["rows"]}
    assert {"bad_encoding", "too_long"} <= dead


def decoded(payloads: list[bytes], format: str = "json") -> Lines:
    decoder = decoder_of(LogFormat(format=format), Columns())  # type: ignore[arg-type]
    positions = np.arange(len(payloads), dtype=np.int64)
    batch = decoder.decode(payloads, positions, np.full(len(payloads), 2**61), len(payloads))
    assert isinstance(batch, Lines)
    return batch


def test_an_injected_line_break_makes_no_second_line_and_no_severity() -> None:
    made = LogIntake(TIMING, Columns(), clean=Redaction(), quoting=True)
    counts = made.take(decoded([body("a", START, "user x\nFATAL db down\n2030-01-01 00:00:00 ERROR again")]))
    assert {counts.features[column] for column in counts.columns[0] if column >= 0} >= {"log.lines", "log.new"}
    assert not [
        name for name in counts.features if "severity" in name and counts.features.index(name) in counts.columns
    ]
    assert counts.quotes[0].read() == "user x FATAL db down 2030-01-01 00:00:00 ERROR again"
    assert [sniff_severity(text) for text in ("ok\rFATAL x", "ok\u2028FATAL x", "\vFATAL", "FATAL\nok")] == [
        -1,
        -1,
        -1,
        5,
    ]


@pytest.mark.parametrize("format", ["otlp", "otlp-json"])
def test_ten_thousand_attributes_are_read_past(format: str) -> None:
    many = {f"key{place}": f"value {place}" for place in range(10_000)}
    request = logs((HOST | many, [{"body": "one", "attributes": many}, {"body": "two"}]))
    found = decoded([as_json(request) if format == "otlp-json" else request.SerializeToString()], format)
    assert (list(found.messages), list(found.dead), len(found.names)) == (["one", "two"], [], 1)


def test_an_explosion_of_templates_is_bounded() -> None:
    """Every line is of a template of its own, and long: whatever remembers lines has an end."""
    made = LogIntake(TIMING, Columns(), max_templates=200, clean=Redaction(), quoting=True)
    windower = Windower(TIMING, FeatureRules(), lambda *_: None, topics=["logs"])
    rng, polls, size = np.random.default_rng(1), 6, 200
    words = np.array(["".join(chr(97 + letter) for letter in word) for word in rng.integers(0, 26, (3000, 6))])
    for poll in range(polls):
        said = [" ".join(words[rng.integers(0, 3000, rng.integers(5, 90))]) for _ in range(size)]
        counts = made.take(decoded([body("ab"[k % 2], START + 20 * poll, text) for k, text in enumerate(said)]))
        windower.widen(counts.features)
        list(windower.process("logs", counts))
        made.miner.masked(said[0])
    assert made.miner.evictions == polls * size - 200
    assert len(made.miner.templates()) == 200
    assert len(counts.features) < 120
    state = made.state()
    assert len(state.meta["founded"]) <= 200
    assert len(json.dumps(state.meta["miner"])) < 1_000_000
    held = windower.state().meta["writer"]
    assert sum(len(kept[3]) for kept in held["examples"]["kept"]) <= 4 * 2 * 40 * SHOWN
    assert len(held["rare"]["kept"]) <= 4 * 2 * 8
    assert len(made._masked) <= READ and all(len(key) <= 512 for key in made._masked)
    assert all(len(shape) <= 512 for shape in made._severities._known)


def test_what_json_leaves_alone_is_escaped() -> None:
    text = shown({"name": "\x1b[2J\x9b\u202e\x7f é"})
    assert text.isascii() or "é" in text
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert json.loads(text) == {"name": "\x1b[2J\x9b\u202e\x7f é"}


def test_whatever_bytes_a_text_line_has_nothing_raises() -> None:
    decoder = LineDecoder(LogFormat(layout="text", pattern=r"(?P<time>\S+) (?P<message>.*)", unit="s"))
    rng = np.random.default_rng(2)
    payloads = [str(START).encode() + b" " + bytes(rng.integers(0, 256, 30, np.uint8)) for _ in range(300)]
    batch = decoder.decode(payloads, np.arange(300), np.full(300, 2**61), 300)
    assert len(batch.codes) + sum(batch.dead_counts.values()) == 300
    LogIntake(TIMING, Columns(), clean=Redaction(), quoting=True).take(batch)
