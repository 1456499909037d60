"""Operations that look like faults, and faults that look like operations: metrics and log lines of one made world.

After the description of CloudAnoBench: 28 anomalous and 16 deceptive scenarios of 450 s at 5 s a step, with 40 to 80
log lines in that time; here they lie in the continuous telemetry of several services, which never stop logging. What
happens in a scenario is stated in `SCENARIOS`; how its lines are worded is a file of `wordings/`: those to develop
with and those to report with differ in every line, in seed and in parameters.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

STEP, LENGTH = 5, 90
"""Seconds a slot, and slots of a scenario (450 s)."""
APART, START = (200, 360), 1_767_571_200
"""Slots between the starts of two scenarios of a service, at least and at most; epoch seconds of slot 0."""
CHANNELS = {
    "cpu": 30.0, "memory": 55.0, "disk_io": 12.0, "disk_used": 48.0, "net": 40.0, "requests": 120.0, "latency": 25.0,
    "errors": 0.6, "connections": 80.0, "cache_hit": 92.0,
}  # fmt: skip
"""Level of each; its noise is a twentieth of that (errors: as large)."""
Shape = Literal["step", "ramp", "pulse", "waves"]
Effect = tuple[str, Shape, float]
"""A channel, how it moves, and by how many times its noise at most."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens: `effects` over `part` of the 450 s; `grave`: how many warnings and errors are among its lines,
    `lines`: how many lines of the operation at most. A fault may begin with the lines of an operation (`like`)."""

    effects: tuple[Effect, ...]
    part: tuple[float, float] = (0.3, 0.6)
    like: str | None = None
    fault: bool = False


def _fault(*effects: Effect, like: str | None = None) -> Scenario:
    return Scenario(effects, (0.85, 1.0), like, fault=True)


SCENARIOS: dict[str, Scenario] = {
    # operations: 16 that look like faults
    "rolling deploy": Scenario((("cpu", "step", 9), ("latency", "pulse", 10), ("connections", "pulse", -8))),
    "canary deploy": Scenario((("cpu", "pulse", 8), ("memory", "step", 7), ("net", "pulse", 9))),
    "report batch": Scenario((("cpu", "step", 11), ("disk_io", "step", 10)), (0.6, 1.0)),
    "import batch": Scenario((("disk_io", "waves", 12), ("net", "step", 9), ("memory", "ramp", 8)), (0.6, 1.0)),
    "full backup": Scenario((("disk_io", "step", 14), ("net", "step", 11)), (0.6, 1.0)),
    "snapshot": Scenario((("disk_io", "pulse", 13), ("latency", "pulse", 7)), (0.3, 0.5)),
    "cache flush": Scenario((("cache_hit", "pulse", -12), ("latency", "pulse", 9), ("disk_io", "pulse", 8))),
    "cache warm-up": Scenario((("cache_hit", "step", -9), ("net", "step", 8), ("memory", "ramp", 7))),
    "failover drill": Scenario((("connections", "step", -12), ("requests", "step", -10), ("latency", "pulse", 9))),
    "replica switch": Scenario((("connections", "pulse", 11), ("net", "pulse", 10), ("latency", "pulse", 8))),
    "load test": Scenario((("requests", "step", 14), ("cpu", "step", 11), ("latency", "step", 7)), (0.6, 1.0)),
    "soak test": Scenario((("requests", "ramp", 13), ("connections", "ramp", 11), ("net", "ramp", 9)), (0.7, 1.0)),
    "debug logging": Scenario((("disk_io", "step", 8), ("cpu", "step", 7)), (0.6, 1.0)),
    "trace sampling": Scenario((("net", "step", 10), ("latency", "step", 7)), (0.5, 0.9)),
    "index rebuild": Scenario((("cpu", "step", 8), ("disk_io", "step", 11), ("cache_hit", "step", -8)), (0.5, 0.9)),
    "key rotation": Scenario((("connections", "pulse", -10), ("errors", "pulse", 6), ("cpu", "pulse", 7)), (0.2, 0.4)),
    # faults: 20 that resemble them
    "memory leak": _fault(("memory", "ramp", 22), ("latency", "ramp", 9)),
    "cpu hog": _fault(("cpu", "step", 18), ("latency", "step", 9)),
    "disk full": _fault(("disk_used", "ramp", 20), ("errors", "ramp", 14), ("disk_io", "step", -8)),
    "dependency down": _fault(("errors", "step", 18), ("latency", "step", 16), ("connections", "step", 10)),
    "network delay": _fault(("latency", "step", 20), ("net", "step", -9)),
    "packet loss": _fault(("net", "waves", -12), ("latency", "waves", 14), ("errors", "waves", 10)),
    "bad release": _fault(("errors", "step", 16), ("latency", "step", 14), ("cpu", "step", 10), like="rolling deploy"),
    "crash loop": _fault(
        ("requests", "waves", -14), ("errors", "waves", 15), ("memory", "waves", -10), like="canary deploy"
    ),
    "stuck batch": _fault(("cpu", "step", 20), ("disk_io", "step", 18), ("memory", "ramp", 16), like="report batch"),
    "broken import": _fault(("errors", "step", 14), ("disk_io", "waves", 16), like="import batch"),
    "failed backup": _fault(("disk_used", "ramp", 16), ("disk_io", "step", 22), ("latency", "ramp", 13)),
    "cache stampede": _fault(("cache_hit", "step", -22), ("latency", "step", 18), ("cpu", "ramp", 13)),
    "split brain": _fault(("connections", "waves", -16), ("errors", "step", 15), ("latency", "step", 12)),
    "traffic flood": _fault(("requests", "step", 24), ("net", "step", 20), ("errors", "ramp", 12)),
    "log storm": _fault(("disk_io", "step", 17), ("disk_used", "ramp", 13), ("cpu", "step", 12)),
    "lock contention": _fault(("latency", "ramp", 19), ("requests", "ramp", -13), ("connections", "ramp", 14)),
    "thread leak": _fault(("memory", "ramp", 14), ("connections", "ramp", 17), ("cpu", "ramp", 11)),
    "expired certificate": _fault(("errors", "step", 20), ("requests", "step", -14), like="key rotation"),
    "noisy neighbour": _fault(("cpu", "waves", 15), ("disk_io", "waves", 14), ("latency", "waves", 10)),
    "queue backlog": _fault(("latency", "ramp", 16), ("memory", "ramp", 13), ("net", "step", -9)),
}
DURING = ("memory leak", "cpu hog", "disk full", "dependency down", "network delay", "packet loss", "lock contention",
          "thread leak")  # fmt: skip
"""Faults that also begin during a deploy: 20 and 8 are the 28 anomalous scenarios."""
OPERATIONS = tuple(name for name, one in SCENARIOS.items() if not one.fault)
FAULTS = tuple(name for name, one in SCENARIOS.items() if one.fault)


@dataclass(frozen=True, slots=True)
class Setting:
    """What makes one world: `wording` names a file of `wordings/`; heights are those of the table times something in
    `heights`. `history`: quiet slots to fit on; `again`: how often each operation comes before what is measured, and in
    it; `faults`: how many of the anomalous scenarios come in either."""

    seed: int
    wording: str
    heights: tuple[float, float]
    services: int = 8
    again: tuple[int, int] = (3, 3)
    history: int = 2_000
    faults: int = 28
    operations: int = 16


DEVELOP = Setting(11, "develop", (0.5, 0.8))
REPORT = Setting(2027, "report", (0.6, 0.9))


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A scenario of a service from slot `start` to `stop`. `during`: it began during a deploy."""

    name: str
    service: int
    start: int
    stop: int
    during: bool = False

    @property
    def fault(self) -> bool:
        """Whether it should be an alert."""
        return SCENARIOS[self.name].fault


@dataclass(slots=True)
class World:
    """`values` S x T x F, and the lines (slot, second in it, service, severity, text) in order. The first `history`
    slots are to fit on; what begins in slot `measured` or later counts."""

    names: list[str]
    values: NDArray[np.float32]
    history: int
    measured: int
    occurrences: list[Occurrence] = field(default_factory=list)
    lines: list[tuple[int, float, int, str, str]] = field(default_factory=list)

    def telemetry(self, first: int, stop: int) -> Iterator[str]:
        """Records of the product's own form, of slots `first` to `stop`."""
        for slot in range(first, stop):
            for place, name in enumerate(self.names):
                row = zip(CHANNELS, self.values[place, slot].round(3).tolist(), strict=True)
                yield json.dumps({"entity": name, "time": START + slot * STEP, "values": dict(row)})

    def logs(self, first: int, stop: int) -> Iterator[str]:
        """Likewise of lines."""
        for slot, second, place, severity, text in self.lines:
            if first <= slot < stop:
                time = START + slot * STEP + second
                yield json.dumps({"entity": self.names[place], "time": time, "message": text, "severity": severity})


class Maker:
    """Makes the world of a setting: the same for the same."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.draw = np.random.default_rng(setting.seed)
        path = Path(__file__).parent / "wordings" / f"{setting.wording}.json"
        self.words: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self.heights = {
            (name, channel): height * self.draw.uniform(*setting.heights)
            for name, scenario in SCENARIOS.items()
            for channel, _, height in scenario.effects
        }

    def world(self) -> World:
        """Everything."""
        names = self.words["services"][: self.setting.services]
        parts = [self._part(often) for often in self.setting.again]
        ends = [self.setting.history]
        occurrences: list[Occurrence] = []
        for part in parts:
            occurrences += self._placed(part, ends[-1] + 60)
            ends.append(max((one.stop for one in occurrences), default=ends[-1]) + 150)
        world = World(names, self._quiet(ends[-1]), ends[0], ends[1], occurrences)
        noise = np.array([level * (1 if name == "errors" else 0.05) for name, level in CHANNELS.items()])
        for one in occurrences:
            self._move(world, one, noise)
            self._say(world, one)
        self._murmur(world)
        world.values = np.maximum(world.values, 0)
        world.lines.sort()
        return world

    def _part(self, often: int) -> list[tuple[str, bool]]:
        """What happens in a part, shuffled: a scenario and whether it begins during a deploy."""
        setting = self.setting
        what = [(name, False) for name in OPERATIONS[: setting.operations]] * often
        faults = [(name, False) for name in FAULTS] + [(name, True) for name in DURING]
        what += [faults[place] for place in self.draw.permutation(len(faults))[: setting.faults]]
        return [what[place] for place in self.draw.permutation(len(what))]

    def _placed(self, part: Sequence[tuple[str, bool]], first: int) -> list[Occurrence]:
        """One service after the other, apart from each other."""
        free = [first + int(self.draw.integers(0, APART[0])) for _ in range(self.setting.services)]
        found = []
        for name, during in part:
            place = int(np.argmin(free))
            start = free[place]
            if during:
                deploy = OPERATIONS[int(self.draw.integers(2))]
                found.append(self._one(deploy, place, start))
                start += int(self.draw.integers(2, 16))
            found.append(self._one(name, place, start, during))
            free[place] = start + int(self.draw.integers(*APART))
        return found

    def _one(self, name: str, place: int, start: int, during: bool = False) -> Occurrence:
        slots = int(LENGTH * self.draw.uniform(*SCENARIOS[name].part))
        return Occurrence(name, place, start, start + slots, during)

    def _quiet(self, slots: int) -> NDArray[np.float32]:
        """S x T x F: levels, noise that lasts a little, and load that moves requests, cpu and net together."""
        many, levels = self.setting.services, np.array(list(CHANNELS.values()))
        noise = self.draw.normal(size=(many, slots, len(levels)))
        load = self.draw.normal(size=(many, slots))
        for slot in range(1, slots):
            noise[:, slot] = 0.6 * noise[:, slot - 1] + 0.8 * noise[:, slot]
            load[:, slot] = 0.9 * load[:, slot - 1] + 0.44 * load[:, slot]
        shared = np.array([name in ("requests", "cpu", "net", "connections") for name in CHANNELS])
        whole = noise + shared * load[:, :, None]
        scale = np.array([level * (0.5 if name == "errors" else 0.035) for name, level in CHANNELS.items()])
        own = levels * self.draw.uniform(0.8, 1.2, (many, len(levels)))
        return (own[:, None] + whole * scale).astype(np.float32)

    def _move(self, world: World, one: Occurrence, noise: NDArray[np.float64]) -> None:
        """What the scenario does to the metrics; it differs by a tenth from one time to the next."""
        slots, delay = one.stop - one.start, 0 if one.fault else int(self.draw.integers(0, 3))
        for channel, shape, _ in SCENARIOS[one.name].effects:
            place, time = list(CHANNELS).index(channel), np.arange(slots) / slots
            height = self.heights[one.name, channel] * self.draw.uniform(0.9, 1.1) * noise[place]
            curve = {
                "step": np.minimum(1, 8 * np.minimum(time + 0.06, 1 - time)),
                "ramp": time,
                "pulse": np.exp(-6 * time),
                "waves": np.abs(np.sin(np.pi * (0.2 + 5 * time))),
            }[shape]
            first = one.start + delay
            stop = min(first + slots, world.values.shape[1])
            world.values[one.service, first:stop, place] += (height * curve)[: stop - first]

    def _say(self, world: World, one: Occurrence) -> None:
        """The lines of the scenario: those that begin it at once, the rest in its time, the last at its end."""
        like = SCENARIOS[one.name].like
        for name in (like, one.name) if like else (one.name,):
            said = self.words["scenarios"][name]
            for number, text in enumerate(said["begin"]):
                self._line(world, one.start, one.service, text, 0.5 + number)
            slots = one.stop - one.start
            for text in said.get("go_on", ()):
                for _ in range(int(self.draw.integers(3, 9))):
                    self._line(world, one.start + int(self.draw.integers(1, slots)), one.service, text)
            if name == one.name:
                for text in said.get("end", ()):
                    self._line(world, one.stop, one.service, text)

    def _murmur(self, world: World) -> None:
        """What services say all the time: some 40 lines in 450 s, a few warnings among them."""
        slots = world.values.shape[1]
        texts, rates = zip(*self.words["background"], strict=True)
        for place in range(self.setting.services):
            counts = self.draw.poisson(np.array(rates) / LENGTH, (slots, len(rates)))
            for slot, which in np.argwhere(counts > 0).tolist():
                for _ in range(counts[slot, which]):
                    self._line(world, slot, place, texts[which])

    def _line(self, world: World, slot: int, place: int, text: str, second: float | None = None) -> None:
        """A line such as "warning: retry {n} of {id}", filled in."""
        severity, _, said = text.partition(": ")
        at = float(self.draw.uniform(0, STEP)) if second is None else second
        world.lines.append((slot, round(at, 3), place, severity, said.format_map(self._filling())))

    def _filling(self) -> Mapping[str, str]:
        n, m = self.draw.integers(1, 900, 2).tolist()
        address = ".".join(map(str, self.draw.integers(1, 250, 4).tolist()))
        return {"n": str(n), "m": str(m), "id": f"{int(self.draw.integers(1 << 40)):010x}", "ip": address}
