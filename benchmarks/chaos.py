"""Rounds of chaos on a real broker and PostgreSQL (`make chaos`): a disturbance each, on traffic from a seed.

Workers are killed, stopped and outnumbered, brokers and the database go away. Every table is compared with that of an
undisturbed worker under the same orders; then the epoch and the replay are sabotaged, and the comparison must say so.
Writes benchmarks/out/chaos.json; ends with 1 where rows differ or a sabotage was not found out. The seed of a round is
its number: `--first 17 --rounds 1` plays one again.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
from tests.tsad.traffic import Traffic  # noqa: E402

KINDS: dict[str, Disturbance] = {
    "kills": kills(5), "scale": scale, "zombie": zombie, "broker restarted": broker_restarted,
    "database restarted": database_gone(0), "group deleted": group_deleted, "broker frozen": broker_frozen,
    "database gone": database_gone(60), "leader lost": leader_lost,
}  # fmt: skip
THREE = "leader lost"
"""The kind that needs three brokers; all others have one."""
SABOTAGED: dict[str, Disturbance] = {"replay": kills(4), "epoch": zombie}


@contextmanager
def ground(nodes: int, folder: Path) -> Iterator[Mortal]:
    """Servers of our own, which can be stopped."""
    folder.mkdir(parents=True)
    with cluster(nodes) as brokers, database_server() as server:
        addresses = ",".join(node.address for node in brokers)
        yield Mortal(addresses, server.url.removesuffix("postgres"), folder, tuple(brokers), server)


def rounds(here: Mortal, folder: Path, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Play the rounds; what each took and what differed."""
    played: Round | None = None
    for number in range(given.first, given.first + given.rounds):
        name, disturb = list(KINDS.items())[number % len(KINDS)]
        if name == THREE:
            with ground(3, folder / f"three{number}") as there:
                yield one_round(begun(there, number, given), name, disturb, number)
            continue
        if played is None or number % given.share == 0:
            played = begun(here, number, given)
        yield one_round(played, name, disturb, number)


def begun(here: Mortal, seed: int, given: argparse.Namespace) -> Round:
    """Traffic from `seed`, and what an undisturbed worker makes of it."""
    return Round.begin(here, Traffic(given.entities, given.slots, seed=seed), given.partitions)


def one_round(played: Round, name: str, disturb: Disturbance, seed: int) -> dict[str, Any]:
    """Disturb, and compare."""
    start = time.monotonic()
    different, crew = play(played, disturb, seed)
    compared = {table: len(rows) for table, rows in played.expected.items()}
    return {
        "seed": seed, "kind": name, "kills": crew.kills, "records": played.ends, "different": different,
        "compared": compared, "seconds": time.monotonic() - start,
    }  # fmt: skip


def found_out(here: Mortal, given: argparse.Namespace) -> dict[str, bool]:
    """Whether each sabotage shows, in one of a few tries at other moments."""
    played = begun(here, 10**6, given)
    return {
        name: any(play(played, disturb, seed, sabotage=name)[0] for seed in range(4))
        for name, disturb in SABOTAGED.items()
    }


def main() -> int:
    """Play, print a line a round, and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="seed of the first round")
    parser.add_argument("--share", type=int, default=4, help="rounds that share a traffic and its undisturbed run")
    parser.add_argument("--entities", type=int, default=60)
    parser.add_argument("--slots", type=int, default=1000)
    parser.add_argument("--partitions", type=int, default=12)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out" / "chaos.json")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    done: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, ground(1, Path(folder) / "one") as here:
        for one in rounds(here, Path(folder), given):
            done.append(one)
            told = "; ".join(one["different"]) or "nothing differs"
            print(
                f"seed {one['seed']:4} {one['kind']:18} {one['kills']} kills {one['seconds']:6.0f} s  {told}",
                flush=True,
            )
        caught = found_out(here, given)
    print(f"sabotage found out: {caught}")
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
    return 0 if not summary["different"] and summary["sabotage_caught"] else 1


if __name__ == "__main__":
    sys.exit(main())
