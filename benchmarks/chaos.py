"""Rounds of chaos on a real broker and PostgreSQL (`make chaos`): a disturbance each, on traffic from a seed.

Workers are killed, stopped and outnumbered, brokers and the database go away. Every table is compared with that of an
undisturbed worker under the same orders, in which enough must have happened; then the epoch and the replay are
sabotaged, and the comparison must say so each time. Writes benchmarks/out/chaos.json; ends with 1 where rows differ, a
sabotage was not found out, or little happened. A round's seed is its number: `--first 17 --rounds 1` plays it again.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import structlog  # noqa: E402
from brokers import cluster  # noqa: E402
from servers import database_server  # noqa: E402

from tests.tsad.chaos import Disturbance, Round, kills, play, scale, zombie  # noqa: E402
from tests.tsad.outages import (  # noqa: E402
    Mortal,
    broker_frozen,
    broker_restarted,
    database_gone,
    group_deleted,
    leader_lost,
)
from tests.tsad.traffic import FULL, SMALL  # noqa: E402

KINDS: dict[str, Disturbance] = {
    "kills": kills(5), "scale": scale, "zombie": zombie("before", late=False), "leader lost": leader_lost,
    "late zombie": zombie("within", late=True), "broker restarted": broker_restarted, "broker frozen": broker_frozen,
    "group deleted": group_deleted, "database restarted": database_gone(0), "database gone": database_gone(60),
}  # fmt: skip
THREE = "leader lost"
"""The kind that needs three brokers; all others have one."""
SABOTAGED: tuple[tuple[str, Disturbance], ...] = (
    ("replay", kills(4)), ("epoch", zombie("before", late=False)), ("epoch", zombie("before", late=True)),
)  # fmt: skip
"""What is broken, and what happens meanwhile: it must be found out whenever it is played."""
FEW = 20
"""Rounds up to which the traffic is small, unless it is asked for."""


@contextmanager
def ground(nodes: int, folder: Path) -> Iterator[Mortal]:
    """Servers of our own, which can be stopped."""
    folder.mkdir(parents=True)
    with cluster(nodes) as brokers, database_server() as server:
        addresses = ",".join(node.address for node in brokers)
        yield Mortal(addresses, server.url.removesuffix("postgres"), folder, tuple(brokers), server)


def rounds(here: Mortal, folder: Path, given: argparse.Namespace, traffics: list[Round]) -> Iterator[dict[str, Any]]:
    """Play the rounds on `traffics`, which grow; what each took and what differed."""
    for number in range(given.first, given.first + given.rounds):
        name, disturb = list(KINDS.items())[number % len(KINDS)]
        if not traffics or number % given.share == 0:
            traffics.append(begun(here, number, given))
        played = traffics[-1]
        if name != THREE:
            yield one_round(played, name, disturb, number)
            continue
        with ground(3, folder / f"three{number}") as there:
            yield one_round(played.elsewhere(there), name, disturb, number)


def begun(here: Mortal, seed: int, given: argparse.Namespace) -> Round:
    """Traffic from `seed`, and what an undisturbed worker makes of it."""
    start = time.monotonic()
    played = Round.begin(here, replace(FULL if given.full else SMALL, seed=seed), given.partitions)
    happened = ", ".join(f"{count} {name}" for name, count in played.found().items())
    print(f"traffic {seed}: {played.ends} records, {happened} ({time.monotonic() - start:.0f} s)", flush=True)
    return played


def one_round(played: Round, name: str, disturb: Disturbance, seed: int) -> dict[str, Any]:
    """Disturb, and compare; a round that does not come to its end differs."""
    start, killed = time.monotonic(), 0
    try:
        different, crew = play(played, disturb, seed)
        killed = crew.kills
    except AssertionError as error:
        different = [str(error)]
    compared = {table: len(rows) for table, rows in played.expected.items()}
    return {
        "seed": seed, "kind": name, "kills": killed, "records": played.ends, "different": different,
        "compared": compared, "lacks": played.lacks(), "seconds": time.monotonic() - start,
    }  # fmt: skip


def found_out(played: Round, tries: int) -> dict[str, bool]:
    """Whether each sabotage shows in every one of `tries`."""
    caught = dict.fromkeys((name for name, _ in SABOTAGED), tries > 0)
    for seed in range(tries):
        for name, disturb in SABOTAGED:
            start = time.monotonic()
            different, _ = play(played, disturb, seed, sabotage=name)
            caught[name] &= bool(different)
            told = "; ".join(different)[:200] or "NOT FOUND OUT"
            print(f"sabotage {name:8} {time.monotonic() - start:4.0f} s  {told}", flush=True)
    return caught


def arguments() -> argparse.Namespace:
    """What was asked for; what was not given follows from the number of rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="seed of the first round")
    parser.add_argument("--share", type=int, default=10, help="rounds that share a traffic and its undisturbed run")
    parser.add_argument(
        "--full", action=argparse.BooleanOptionalAction, help="200,000 records; default from 21 rounds on"
    )
    parser.add_argument("--partitions", type=int, default=12)
    parser.add_argument("--tries", type=int, default=1, help="how often each sabotage is played")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out" / "chaos.json")
    given = parser.parse_args()
    if given.full is None:
        given.full = given.rounds > FEW
    return given


def main() -> int:
    """Play, print a line a round, and write the summary."""
    given = arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    done: list[dict[str, Any]] = []
    traffics: list[Round] = []
    with tempfile.TemporaryDirectory() as folder, ground(1, Path(folder) / "one") as here:
        for one in rounds(here, Path(folder), given, traffics):
            done.append(one)
            told = "; ".join(one["different"] + one["lacks"]) or "nothing differs"
            print(
                f"seed {one['seed']:4} {one['kind']:18} {one['kills']} kills {one['seconds']:6.0f} s  {told}",
                flush=True,
            )
        caught = found_out(traffics[-1], given.tries)
    summary = {
        "rounds": len(done),
        "kills": sum(one["kills"] for one in done),
        "records": sum(one["records"] for one in done),
        "compared": {table: sum(one["compared"][table] for one in done) for table in done[0]["compared"]},
        "different": sum(bool(one["different"]) for one in done),
        "sabotage_caught": all(caught.values()),
        "each": done,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(summary, indent=2))
    print(f"written to {given.out}")
    print(
        f"chaos: {summary['rounds']} rounds, {summary['kills']} kills, {summary['different']} differ, "
        f"sabotage found out: {', '.join(f'{name} {found}' for name, found in caught.items())}"
    )
    rich = not any(one["lacks"] for one in done)
    return 0 if rich and not summary["different"] and summary["sabotage_caught"] else 1


if __name__ == "__main__":
    sys.exit(main())
