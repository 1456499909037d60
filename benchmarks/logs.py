"""Log mining: lines a second on one core, and groups against corrected templates, beside drain3 (`make bench-logs`).

Speed: lines of 79 characters of 10,000 shapes (20 words of free text in 500 templates, with numbers, addresses and
identifiers), in a process pinned to one core: mined alone, and taken in whole (severities, counts, line scorers).
Groups: the loghub-2k systems under `--data`, lines without headers, default settings of both. Grouping accuracy: the
share of lines whose group holds the same lines as that of the truth; F1 of grouping: the same over groups; template
accuracy: F1 over groups whose text is right too, after runs of wildcards are one (Jiang et al., ISSTA 2024).
Detection: sessions and alert lines, see `log_sessions`. One decision: `--worlds` made worlds of operations that look
like faults (`deceptive.py`), and the faults of TrainTicket below `--data` (`trainticket.py`). Prints tables and writes
benchmarks/out/logs.json.
"""

import argparse
import csv
import gzip
import json
import os
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from drain3 import TemplateMiner  # noqa: E402
from drain3.masking import MaskingInstruction  # noqa: E402
from drain3.template_miner_config import TemplateMinerConfig  # noqa: E402

from benchmarks.deceptive import deceptive  # noqa: E402
from benchmarks.log_sessions import sessions, show_sessions  # noqa: E402
from benchmarks.make_demo_data import NEZHA  # noqa: E402
from benchmarks.scenarios import REPORT  # noqa: E402
from benchmarks.trainticket import trainticket  # noqa: E402
from detectors.registry import LINE_SCORERS  # noqa: E402
from detectors.types import Rows  # noqa: E402
from streaming.columns import Columns  # noqa: E402
from streaming.linetape import LineTape  # noqa: E402
from streaming.logintake import LogIntake  # noqa: E402
from streaming.miner import Miner  # noqa: E402
from streaming.related import Related  # noqa: E402
from streaming.settings import SECOND, Timing  # noqa: E402
from streaming.templates import grouped  # noqa: E402
from streaming.types import Lines  # noqa: E402
from tsad.linefit import with_lines  # noqa: E402
from tsad.surroundings import ContextConfig  # noqa: E402

POLL, LENGTH, SHAPES, ENTITIES = 5000, 79, 10_000, 20
RELATIONS, TEXTS = ("user", "host", "component", "status"), [f"value {number}" for number in range(142)]
EDGE = r"((?<=[^A-Za-z0-9])|^)({})((?=[^A-Za-z0-9])|$)"
DRAIN3_MASKS = [
    (EDGE.format(r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}"), "IP"), (EDGE.format(r"0x[a-f0-9A-F]+"), "HEX"),
    (EDGE.format(r"[0-9a-f]{8,}"), "SEQ"), (EDGE.format(r"[\-\+]?\d+"), "NUM"),
]  # fmt: skip
"""drain3's own examples of masks, in place of ours."""
HEADERS = {
    "Apache": r"\[[^\]]*\] \[[^\]]*\] ",
    "BGL": r"(?:\S+ ){9}",
    "HDFS": r"(?:\S+ ){4}[^:]*: ",
    "Hadoop": r"(?:\S+ ){3}\[.*?\] \S+: ",
    "Linux": r"\S+ +\S+ \S+ \S+ [^:]*?(?:\[\d+\])?: ",
    "OpenSSH": r"\S+ +\S+ \S+ \S+ \S+: ",
    "OpenStack": r"(?:\S+ ){6}\[[^\]]*\] ",
}
"""What precedes the message in each system's lines."""
Mined = tuple[list[int], dict[int, str]]


def ours(lines: Sequence[str]) -> Mined:
    """Template of each line, and the texts, by our miner."""
    miner = Miner()
    ids: list[int] = []
    for start in range(0, len(lines), POLL):
        ids += miner.learn(lines[start : start + POLL])[0].tolist()
    return ids, {key: text for key, text, _ in miner.templates()}


def merged(lines: Sequence[str], partitions: int = 4) -> Mined:
    """The same by a miner for each of so many partitions, put together as `tsad templates` shows them."""
    parts = [ours(lines[number::partitions]) for number in range(partitions)]
    group_of = grouped(text for _, texts in parts for text in texts.values())
    numbers = {text: number for number, text in enumerate(sorted(set(group_of.values())))}
    ids = [0] * len(lines)
    for number, (found, texts) in enumerate(parts):
        ids[number::partitions] = [numbers[group_of[texts[key]]] for key in found]
    return ids, {number: text for text, number in numbers.items()}


def drain3(lines: Sequence[str], masks: Sequence[tuple[str, str]] = ()) -> Mined:
    """The same by drain3, whose default has no masks."""
    config = TemplateMinerConfig()
    config.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in masks]
    miner = TemplateMiner(config=config)
    ids = [int(miner.add_log_message(line)["cluster_id"]) for line in lines]
    return ids, {cluster.cluster_id: cluster.get_template() for cluster in miner.drain.clusters}


def synthetic(many: int, seed: int = 1) -> list[str]:
    """Lines of `LENGTH` characters and `SHAPES` shapes."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 9))) for _ in range(3000)]
    shapes = [
        (draw.sample(words, 4), draw.choice(["from {ip}", "id blk_{n}", "took {n} ms", "at 0x{h}", "of {n} bytes"]))
        for _ in range(SHAPES // 20)
    ]
    free = draw.sample(words, 20)

    def line() -> str:
        said, tail = draw.choice(shapes)
        ip = ".".join(str(draw.randrange(256)) for _ in range(4))
        tail = tail.format(ip=ip, n=draw.randrange(10**6), h=draw.randrange(10**6))
        return f"{' '.join(said)} {draw.choice(free)} {tail} ".ljust(LENGTH, "7")[:LENGTH]

    return [line() for _ in range(many)]


def lines_per_second(mine: Callable[[Sequence[str]], Mined], lines: Sequence[str]) -> float:
    """Of one core, by its CPU clock, once each shape is known: the second half is measured."""
    half = len(lines) // 2
    begun = time.process_time()
    mine(lines[:half])
    first = time.process_time() - begun
    begun = time.process_time()
    mine(lines)
    return (len(lines) - half) / (time.process_time() - begun - first)


def polls(lines: Sequence[str], first: int, stop: int) -> Iterator[Lines]:
    """Lines `first` to `stop` as they come from a topic: of `ENTITIES` by turns, a hundred a second, no severities,
    with values of four names."""
    names = [f"host-{number}" for number in range(ENTITIES)]
    for start in range(first, stop, POLL):
        said = lines[start : min(start + POLL, stop)]
        numbers = np.arange(start, start + len(said))
        times, none = numbers // 100 * SECOND, np.zeros(len(said), np.int64)
        codes, unstated = (numbers % ENTITIES).astype(np.int32), np.full(len(said), -1, np.int8)
        places = (numbers[:, None] * [7, 3, 5, 1] % [97, 31, 11, 3] + [0, 97, 128, 139]).astype(np.int32)
        related = Related(RELATIONS, places, TEXTS)
        yield Lines(names, codes, times, said, unstated, numbers, none, int(numbers[-1]) + 1, related=related)


def scored_lines_per_second(lines: Sequence[str]) -> float:
    """Mined, counted, watched for what sets in, and scored by every line scorer but the recurrent one, on one core by
    its CPU clock: fitted on the first half of the lines, measured on the second. The order is random, so that the
    n-gram model looks each line up in all of its tables."""
    timing, half = Timing(SECOND, 16, 0, 8, 64, 120, "alert", 1000, 3600 * SECOND), len(lines) // 2
    first = LogIntake(timing, Columns())
    first.tape = LineTape(first.miner.texts)
    for poll in polls(lines, 0, half):
        first.take(poll)
    taped = first.tape.read()
    cells = np.unique(np.stack([taped.entities, taped.slots]), axis=1)
    counts = np.ones((cells.shape[1], 1), np.float32)
    rows = Rows(list(first.tape.names), cells[0].astype(np.int32), cells[1], counts, ["log.lines"])
    _, model = with_lines(rows, first.tape, [name for name in LINE_SCORERS if name != "recurrent"])
    if model is None:
        raise SystemExit(f"{half} lines are too few to fit on")
    stream = LogIntake(timing, Columns(), line_model=lambda _: model)
    stream.score_by("fitted")
    stream.watch_onsets(ContextConfig().slots(timing.step))
    for poll in polls(lines, 0, half):
        stream.take(poll)
        stream.begun()
    begun = time.process_time()
    for poll in polls(lines, half, len(lines)):
        stream.take(poll)
        stream.begun()
    return (len(lines) - half) / (time.process_time() - begun)


def labelled(folder: Path, system: str) -> tuple[list[str], list[str], list[str]]:
    """Messages, and id and text of their true templates."""
    with gzip.open(folder / system / f"{system}_2k.log.gz", "rt", errors="replace") as file:
        lines = file.read().splitlines()
    with gzip.open(folder / system / f"{system}_2k.templates_gt.csv.gz", "rt") as file:
        truth = list(csv.DictReader(file))
    header = re.compile(HEADERS[system])
    messages = [line[match.end() :] if (match := header.match(line)) else line for line in lines]
    return messages, [row["EventId"] for row in truth], [row["EventTemplate"] for row in truth]


def plain(text: str) -> str:
    """A template's text with one wildcard for masks and for wildcards that stand together."""
    text = re.sub(r"<[A-Z]+>", "<*>", text)
    text = re.sub(r"<\*>(?:[.:,/]?<\*>)+", "<*>", text)
    return " ".join(text.split())


def accuracy(mined: Mined, ids: Sequence[str], texts: Sequence[str]) -> dict[str, float]:
    """Grouping accuracy, F1 of grouping and template accuracy."""
    found, truth = defaultdict(set), defaultdict(set)
    for place, (one, other) in enumerate(zip(mined[0], ids, strict=True)):
        found[one].add(place)
        truth[other].add(place)
    right = {key: min(places) for key, places in found.items() if truth[ids[min(places)]] == places}
    spelt = [key for key, place in right.items() if plain(mined[1][key]) == plain(texts[place])]
    groups = len(found) + len(truth)
    return {
        "grouping": sum(len(found[key]) for key in right) / len(ids),
        "f1": 2 * len(right) / groups,
        "template": 2 * len(spelt) / groups,
    }


def grouping(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Of each system, our figures and drain3's."""
    found = {}
    for system in HEADERS:
        messages, ids, texts = labelled(folder, system)
        found[system] = {
            "tsad": accuracy(ours(messages), ids, texts),
            "tsad_merged": accuracy(merged(messages), ids, texts),
            "drain3": accuracy(drain3(messages), ids, texts),
            "drain3_masked": accuracy(drain3(messages, DRAIN3_MASKS), ids, texts),
        }
    return found


def show(report: dict[str, Any]) -> None:
    """Print the tables."""
    print(f"mining, lines a second of a core: {report['mining_lines_per_s']:,.0f}", end="; ")
    print(f"drain3 with masks: {report['drain3_lines_per_s']:,.0f}", end="; ")
    print(f"mined, counted and scored: {report['scored_lines_per_s']:,.0f}")
    for name, miners in report.get("grouping", {}).items():
        figures = (" ".join(f"{value:.3f}" for value in one.values()) for one in miners.values())
        print(f"{name:10} " + "   ".join(f"{miner} {said}" for miner, said in zip(miners, figures, strict=True)))


def one_decision(data: Path | None, worlds: int, profile: str) -> dict[str, Any]:
    """Metrics and logs in one decision against metrics alone, through the product's commands."""
    extra, found = f'profile = "{profile}"\n', dict[str, Any]()
    if worlds:
        found["deceptive"] = deceptive(
            [replace(REPORT, seed=REPORT.seed + place) for place in range(worlds)], extra=extra
        )
    if data is not None and (data / NEZHA).exists():
        found["trainticket"] = trainticket(data, extra)
    for part, figures in found.items():
        print(part, json.dumps(figures, indent=2))
    return found


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder that holds log_loghub_2k; speed only without it")
    parser.add_argument("--lines", type=int, default=400_000)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out" / "logs.json")
    parser.add_argument("--worlds", type=int, default=1, help="of operations that look like faults; 0: none")
    parser.add_argument("--profile", default="fast", help="of the detectors that look at those and at TrainTicket")
    given = parser.parse_args()
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    lines = synthetic(given.lines)
    report: dict[str, Any] = {
        "mining_lines_per_s": lines_per_second(ours, lines),
        "scored_lines_per_s": scored_lines_per_second(lines),
        "drain3_lines_per_s": lines_per_second(lambda some: drain3(some, DRAIN3_MASKS), lines[: given.lines // 4]),
    }
    if given.data:
        systems = report["grouping"] = grouping(given.data / "log_loghub_2k")
        miners = next(iter(systems.values()))
        report["grouping_mean"] = {
            miner: {name: mean(one[miner][name] for one in systems.values()) for name in miners[miner]}
            for miner in miners
        }
        found = sessions(given.data)
        show_sessions(found)
        report |= found
    os.sched_setaffinity(0, cores)
    report |= one_decision(given.data, given.worlds, given.profile)
    show(report | {"grouping": report.get("grouping", {}) | {"mean": report.get("grouping_mean", {})}})
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(report, indent=2))
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
