"""Traffic in which everything happens: anomalies, late and repeated and broken records, logs, all from one seed."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from typing import Any

import numpy as np

from streaming.settings import SECOND
from tests.tsad.orders import CALM, Said, orders

START = 1_700_000_000 // 60 * 60
FEATURES = ("cpu", "mem", "disk", "net", "io", "temp")
LATE_HORIZON = 8
BROKEN = {
    "empty": b"",
    "bad_encoding": b'{"entity":"e1","time":1700000000,"values":{"cpu":1},"labels":{"a":"\xff\xfe"}}',
    "broken_json": b'{"entity":"e1","time":',
    "wrong_type": b'{"entity":"e1","time":1700000000,"values":{"cpu":"high"}}',
    "missing_entity": b'{"time":1700000000,"values":{"cpu":1}}',
    "bad_entity": b'{"entity":"\\u0000","time":1700000000,"values":{"cpu":1}}',
    "missing_time": b'{"entity":"e1","values":{"cpu":1}}',
    "bad_time": b'{"entity":"e1","time":"yesterday","values":{"cpu":1}}',
    "mixed_time_unit": b'{"entity":"e1","time":1700000000000,"values":{"cpu":1}}',
    "missing_values": b'{"entity":"e1","time":1700000000}',
    "packed_length": b'{"entity":"e1","time":1700000000,"v":[1,2]}',
    "infinite_value": b'{"entity":"e1","time":1700000000,"values":{"cpu":1e39}}',
    "too_long": b'{"entity":"e1","time":1700000000,"values":{"' + b"x" * (1 << 20) + b'":1}}',
}
"""A message of each reason that a JSON topic can meet; `future` and `too_late` are made of good ones."""
LINES = {
    **{reason: BROKEN[reason] for reason in ("empty", "bad_encoding", "broken_json", "missing_entity", "bad_entity")},
    "missing_time": b'{"entity":"e1","message":"GET"}',
    "bad_time": b'{"entity":"e1","time":"yesterday","message":"GET"}',
    "wrong_type": b'{"entity":"e1","time":1700000000,"message":["GET"]}',
    "missing_values": b'{"entity":"e1","time":1700000000}',
}
"""Likewise for lines."""
TEXTS = ("GET /item/{} took {} ms", "user u{} logged in from 10.0.0.{}", "cache {} rebuilt in {} s")
NAMES = ("index", "mails", "bills", "stock")
"""Of jobs, whose template becomes more general as they come."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a producer sends: `at` (s) is when, which is also Kafka's timestamp."""

    topic: str
    key: bytes
    value: bytes
    at: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """`entities` over `slots` of a minute, behind `calm` slots that are history to fit on; so many `lines` of each in a
    slot, those of orders (which are sessions) among them, and so many slots `between` two of its anomalies. `late`,
    `twice`, `broken` and `stray` are shares.
    `scored`: the first version judges lines too, and finds fewer of the anomalies of telemetry."""

    entities: int = 24
    slots: int = 200
    calm: int = 300
    seed: int = 1
    late: float = 0.02
    twice: float = 0.01
    broken: float = 0.01
    stray: float = 0.004
    lines: int = 2
    between: tuple[int, int] = (14, 24)
    scored: bool = False

    def history(self) -> list[bytes]:
        """Calm telemetry before the first slot, in order."""
        block = self._values(-self.calm, 0)
        return [
            self._record(entity, slot - self.calm, block[slot, entity])
            for slot in range(self.calm) for entity in range(self.entities)
        ]  # fmt: skip

    def lines_before(self, cut: int) -> list[bytes]:
        """Calm lines of the slots from `cut` on before the first one, in order."""
        rng, first = random.Random(self.seed + 2), cut - self.calm
        told = orders(self.entities, first, -4, self.seed + 3, CALM)
        left = _Owed(told, 2)
        said = [
            Said(60 * slot + place, entity, rng.choice(TEXTS).format(place, 7))
            for slot in range(first, 0) for entity in range(self.entities) for place in range(left.of(slot, entity))
        ]  # fmt: skip
        return [_line(one) for one in sorted([*said, *told], key=lambda one: one.second)]

    def orders_before(self, cut: int) -> list[bytes]:
        """The lines of calm orders alone, of a hundred slots less `cut`."""
        told = orders(self.entities, cut - 100, -4, self.seed + 3, CALM)
        return [_line(one) for one in sorted(told, key=lambda one: one.second)]

    def messages(self) -> list[Message]:
        """Telemetry and lines in the order in which they are sent."""
        rng = random.Random(self.seed)
        found = [*self._telemetry(rng), *self._lines(rng)]
        found += self._strays(found, random.Random(self.seed + 1))
        return sorted(found, key=lambda message: message.at)

    def _telemetry(self, rng: random.Random) -> Iterator[Message]:
        block = self._values(0, self.slots)
        late = self._plant(block, rng)
        bad = _rotating(BROKEN)
        for slot in range(self.slots):
            for entity in range(self.entities):
                key, at = f"e{entity}".encode(), START + 60 * slot + rng.uniform(0, 50)
                delayed = (slot, entity) in late or rng.random() < self.late
                delay = 60 * rng.choice((1, 2, 3, 5, 7, LATE_HORIZON + 4)) if delayed else 0
                message = Message("telemetry", key, self._record(entity, slot, block[slot, entity]), at + delay)
                yield message
                if rng.random() < self.twice:
                    yield Message("telemetry", key, message.value, message.at + 1)
                if rng.random() < self.broken:
                    yield Message("telemetry", key, next(bad), at + 2)
                if rng.random() < self.broken / 2:
                    yield Message("telemetry", key, self._record(entity, slot + 10_000, block[slot, entity]), at + 3)

    def _lines(self, rng: random.Random) -> Iterator[Message]:
        told = orders(self.entities, 0, self.slots - 12, self.seed + 4)
        left, bad = _Owed(told, self.lines), _rotating(LINES)
        for slot in range(self.slots):
            for entity in range(self.entities):
                ordinary = range(left.of(slot, entity))
                said = [rng.choice(TEXTS).format(rng.randrange(900), rng.randrange(99)) for _ in ordinary]
                if rng.random() < 0.02:
                    said.append(f"job {rng.choice(NAMES)} of shop is done, token={rng.randrange(9)}{rng.choice(NAMES)}")
                if rng.random() < 0.01:
                    said.append(f"Deploying version 1.{slot} of shop")
                if rng.random() < 0.004:
                    said += [f"ERROR connection to database {rng.randrange(9)} refused"] * 8
                for place, text in enumerate(said):
                    yield self._sent(Said(60 * slot + 3 * place, entity, text), rng, 40, bad)
        for one in told:
            yield self._sent(one, rng, 2)

    def _sent(self, said: Said, rng: random.Random, jitter: int, bad: Iterator[bytes] | None = None) -> Message:
        """A line on its way, perhaps late, perhaps broken."""
        late = 60 * rng.choice((1, 4, LATE_HORIZON + 4)) if rng.random() < self.late else said.late
        value = next(bad) if bad is not None and rng.random() < self.broken else _line(said)
        at = START + said.second + late + rng.uniform(0, jitter)
        return Message("logs", f"e{said.entity}".encode(), value, at)

    def _strays(self, messages: list[Message], rng: random.Random) -> Iterator[Message]:
        """Some of what other entities sent once more, by the key of another one: perhaps on another partition."""
        for message in messages:
            if rng.random() < self.stray:
                yield Message(message.topic, f"e{rng.randrange(self.entities)}".encode(), message.value, message.at + 1)

    def _plant(self, block: np.ndarray, rng: random.Random) -> set[tuple[int, int]]:
        """Spikes, which settle to nothing, and shifts, which stay; of each third the records come late."""
        late: set[tuple[int, int]] = set()
        for entity in range(self.entities):
            slot = rng.randrange(10, 30)
            while slot < self.slots - 20:
                length = rng.choice((1, 1, 2, 8, 14))
                size = rng.choice((-1, 1)) * rng.uniform(3, 9)
                block[slot : slot + length, entity, : rng.randrange(1, 5)] += size
                if rng.random() < 0.33:
                    late |= {(at, entity) for at in range(slot, slot + min(length, 3))}
                slot += length + rng.randrange(*self.between)
        return late

    def _values(self, first: int, last: int) -> np.ndarray:
        """Slots x entities x features: waves that the features share, noise of their own."""
        t = np.arange(first, last)[:, None]
        mix = np.random.default_rng(5).normal(size=(3, len(FEATURES)))
        waves = np.stack([np.sin(t / 17), np.cos(t / 31), np.sin(t / 7)], -1) @ mix
        rng = np.random.default_rng([self.seed, first + 10**6])
        noise = rng.normal(0, 0.15, (last - first, self.entities, len(FEATURES)))
        return np.asarray(waves + noise + np.arange(self.entities)[:, None])

    def _record(self, entity: int, slot: int, values: np.ndarray) -> bytes:
        named = {name: round(float(value), 4) for name, value in zip(FEATURES, values, strict=True)}
        body: dict[str, Any] = {"entity": f"e{entity}", "time": START + 60 * slot, "values": named}
        return json.dumps(body).encode()


SMALL = Traffic(entities=24, slots=350, lines=1, between=(12, 18))
"""As little as a round of chaos needs (`tests.tsad.chaos.WANTED`): 17,000 records."""
TINY = Traffic(entities=9, slots=160, lines=1, between=(12, 18), broken=0.03, scored=True)
"""Some of everything, in 3,000 records: for tests, which have less time."""
FULL = Traffic(entities=165, slots=400, scored=True)
"""200,000 records."""


class _Owed:
    """How many ordinary lines an entity has to say in each slot: `lines`, less those that it says of orders."""

    def __init__(self, told: Sequence[Said], lines: int) -> None:
        self._told = Counter((one.slot, one.entity) for one in told)
        self._lines, self._ahead = lines, Counter[int]()

    def of(self, slot: int, entity: int) -> int:
        """In `slot`; to be asked slot by slot."""
        self._ahead[entity] += self._told[slot, entity]
        spared = min(self._ahead[entity], self._lines)
        self._ahead[entity] -= spared
        return self._lines - spared


def _line(said: Said) -> bytes:
    body = {"entity": f"e{said.entity}", "time": START + said.second, "message": said.text}
    return json.dumps(body).encode()


def _rotating(broken: dict[str, bytes]) -> Iterator[bytes]:
    """Each reason in turn, but a record of a megabyte, which is as broken as the others, and slower, once in 50."""
    others = cycle([value for value in broken.values() if len(value) < 1 << 20])
    for number in count():
        yield broken["too_long"] if number % 50 == 20 and "too_long" in broken else next(others)


def stamped(message: Message) -> int:
    """Kafka's timestamp, in ms."""
    return int(message.at * SECOND) // 1_000_000
