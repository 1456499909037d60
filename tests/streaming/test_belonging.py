"""Records of entities that belong to another partition leave a batch, whatever it is made of."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from golden import gauge, logs, metrics

from streaming.broker.belonging import Belonging, SessionBelonging, without
from streaming.broker.consumer import Messages
from streaming.columns import Columns
from streaming.deadletters import KEPT
from streaming.decoders import PayloadDecoder, decoder_of
from streaming.sessionintake import SessionKeys
from streaming.settings import LogFormat, TelemetryFormat
from streaming.types import Batch, Lines, Records
from tests.streaming.reading import INGESTED, START, plain, plain_lines

FIRST = 1000


def batch_of(decoder: PayloadDecoder, payloads: Sequence[bytes], foreign: dict[str, int]) -> Batch:
    """What is left of a poll."""
    offsets = np.arange(FIRST, FIRST + len(payloads))
    messages = Messages(payloads, offsets, np.full(len(payloads), INGESTED))
    batch = decoder.decode(messages.values, messages.offsets, messages.timestamps, int(offsets[-1]) + 1)
    return without(batch, batch.names, batch.codes, foreign, messages, decoder.dead)


def record(entity: str, **more: Any) -> bytes:
    return msgspec.json.encode({"entity": entity, "time": START, "values": {"cpu": 1.5}} | more)


def line(entity: str, message: str) -> bytes:
    return msgspec.json.encode({"entity": entity, "time": START, "message": message, "severity": "info"})


def test_records_and_their_labels_leave_a_batch() -> None:
    payloads = [record("a"), record("b", labels={"zone": "z"}), b"{", record("c", labels={"zone": "y"}), record("b")]
    batch = batch_of(decoder_of(TelemetryFormat(), Columns()), payloads, {"b": 3})
    alone = batch_of(decoder_of(TelemetryFormat(), Columns()), [payloads[0], b"{", b"{", payloads[3], b"{"], {})
    assert isinstance(batch, Records)
    assert isinstance(alone, Records)
    assert plain(batch) == plain(alone)
    assert (batch.names, batch.labels, batch.next_position) == (["a", "c"], {"c": {"zone": "y"}}, FIRST + 5)
    assert batch.dead_counts == {"broken_json": 1, "wrong_partition": 2}
    said = {(letter.position, letter.reason): letter for letter in batch.dead}
    assert set(said) == {(FIRST + 2, "broken_json"), (FIRST + 1, "wrong_partition"), (FIRST + 4, "wrong_partition")}
    letter = said[FIRST + 1, "wrong_partition"]
    assert letter.detail == "entity 'b': belongs to partition 3, where it came first; key topics by it"
    assert letter.payload == payloads[1]


def test_lines_leave_a_batch() -> None:
    payloads = [line("b", "one"), line("a", "two"), line("b", "three"), line("a", "four")]
    batch = batch_of(decoder_of(LogFormat(), Columns()), payloads, {"b": 0})
    assert isinstance(batch, Lines)
    assert [row[-2:] for row in plain_lines(batch)] == [
        row[-2:]
        for row in plain_lines(batch_of(decoder_of(LogFormat(), Columns()), payloads[1::2], {}))  # type: ignore[arg-type]
    ]
    assert list(batch.messages) == ["two", "four"]
    assert batch.positions.tolist() == [FIRST + 1, FIRST + 3]
    assert batch.dead_counts == {"wrong_partition": 2}


def test_nothing_may_be_left() -> None:
    batch = batch_of(decoder_of(TelemetryFormat(), Columns()), [record("a"), record("b")], {"a": 1, "b": 1})
    assert (list(batch.names), len(batch.codes), batch.next_position) == ([], 0, FIRST + 2)
    assert batch.dead_counts == {"wrong_partition": 2}


def test_a_message_of_several_entities_keeps_those_that_belong_here() -> None:
    message = metrics(
        *[({"service.name": name}, [gauge("cpu", (0, 1.0), (1, 2.0))]) for name in ("shop", "cart", "mail")]
    ).SerializeToString()
    batch = batch_of(decoder_of(TelemetryFormat(format="otlp"), Columns()), [message], {"cart": 2, "mail": 5})
    assert (list(batch.names), batch.positions.tolist()) == (["shop"], [FIRST, FIRST])
    (letter,) = batch.dead
    assert batch.dead_counts == {"wrong_partition": 1}
    assert letter.detail.startswith("entity 'cart' (the first of 4 such rows in this message): belongs to partition 2")


def test_lines_with_templates_keep_them() -> None:
    said = [{"body": f"{n} is up", "attributes": {"log.record.template": "N is up"}} for n in "ab"]
    message = logs(({"service.name": "a"}, said[:1]), ({"service.name": "b"}, said[1:])).SerializeToString()
    batch = batch_of(decoder_of(LogFormat(format="otlp"), Columns()), [message], {"a": 2})
    assert isinstance(batch, Lines)
    assert (list(batch.messages), list(batch.templates)) == (["b is up"], ["N is up"])


def test_entities_are_asked_for_once_while_there_is_room() -> None:
    asked: list[list[str]] = []

    def claim(names: Sequence[str]) -> dict[str, int]:
        asked.append(list(names))
        return {name: 1 if name.startswith("x") else 0 for name in names}

    belonging = Belonging(0, claim, room=4)
    assert belonging.foreign(["a", "x1"]) == {"x1": 1}
    assert belonging.foreign(["x1", "a", "b"]) == {"x1": 1}
    assert belonging.foreign([]) == {}
    assert asked == [["a", "x1"], ["b"]]
    assert belonging.foreign(["c", "x1", "x2"]) == {"x1": 1, "x2": 1}
    assert asked[2:] == [["c", "x1", "x2"]]
    assert belonging.foreign([f"x{n}" for n in range(9)]) == {f"x{n}": 1 for n in range(9)}


def test_what_came_with_lines_leaves_with_them() -> None:
    form = LogFormat(relations=("entity", "user"))
    lines = [line(entity, "x")[:-1] + f',"user":"u{n}"}}'.encode() for n, entity in enumerate("abab")]
    batch = batch_of(decoder_of(form, Columns()), lines, {"a": 1})
    assert isinstance(batch, Lines)
    assert batch.related is not None
    assert [batch.related.text(place, 1) for place in range(len(batch.codes))] == ["u1", "u3"]


def test_lines_of_sessions_that_belong_elsewhere_leave_a_batch() -> None:
    """Where the topic is keyed by sessions each partition has its own part of an entity."""
    payloads = [line("h", "open #one"), line("h", "open #two"), line("g", "nothing"), line("h", "close #two")]
    offsets = np.arange(FIRST, FIRST + 4)
    messages = Messages(payloads, offsets, np.full(4, INGESTED))
    decoder = decoder_of(LogFormat(), Columns())
    for entities in (None, Belonging(2, lambda names: dict.fromkeys(names, 2))):
        owner = Belonging(2, lambda names: {name: 0 if name == "two" else 2 for name in names})
        sieve = SessionBelonging(2, SessionKeys(r"#(\w+)"), owner, entities)
        batch = sieve.sift(decoder.decode(payloads, offsets, messages.timestamps, FIRST + 4), messages, decoder.dead)
        assert isinstance(batch, Lines)
        assert batch.messages == ["open #one", "nothing"]
        assert batch.names == (["h@2", "g@2"] if entities is None else ["h", "g"])
        said = "session 'two': belongs to partition 0, where it came first; key topics by it"
        assert [(one.position, one.detail) for one in batch.dead] == [(FIRST + 1, said), (FIRST + 3, said)]


def dead_of(payloads: Sequence[bytes], poll: int) -> list[tuple[int, str]]:
    """Letters of partition 2 in polls of that size: entities "g" and sessions "two" belong to partition 0."""
    decoder, found = decoder_of(LogFormat(), Columns()), list[tuple[int, str]]()

    def owner() -> Belonging:
        return Belonging(2, lambda names: {name: 0 if name in ("g", "two") else 2 for name in names})

    for start in range(0, len(payloads), poll):
        part = payloads[start : start + poll]
        offsets = np.arange(FIRST + start, FIRST + start + len(part))
        messages = Messages(part, offsets, np.full(len(part), INGESTED))
        batch = decoder.decode(part, offsets, messages.timestamps, int(offsets[-1]) + 1)
        sieve = SessionBelonging(2, SessionKeys(r"#(\w+)"), owner(), owner())
        found += [(one.position, one.detail) for one in sieve.sift(batch, messages, decoder.dead).dead]
    return found


@pytest.mark.parametrize("poll", [7, 90, 150])
def test_which_letters_are_kept_does_not_depend_on_polls(poll: int) -> None:
    """The first hundred, of whatever kind: wrong entities (g), wrong sessions (s)."""
    kinds = "gshgs" * 30
    payloads = [line("h" if kind == "s" else kind, f"open #{'two' if kind == 's' else 'one'}") for kind in kinds]
    found = dead_of(payloads, poll)
    assert [place for place, _ in found] == [FIRST + place for place, kind in enumerate(kinds) if kind != "h"][:KEPT]
    said = {"g": "entity 'g'", "s": "session 'two'"}
    assert all(detail.startswith(said[kinds[place - FIRST]]) for place, detail in found)
