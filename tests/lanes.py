"""Which process of several does what: a file, so that its fixtures are made once, or a lane of files."""

from pathlib import Path

from typing_extensions import override
from xdist.scheduler import LoadScopeScheduling

LANES = (
    ("test_chaos", "test_kafka", "test_chaos_outages", "test_consumers", "test_secured", "test_rekey",
     "test_kafka_silence", "test_refit_kafka", "test_kafka_homes", "test_memory", "test_producer"),
    ("test_outages", "test_relay", "test_bench_stream", "test_rereading", "test_taping", "test_producing",
     "test_starting", "test_kafka_patterns", "test_absence", "test_kafka_sessions", "test_parity", "test_delivery",
     "test_endpoint", "test_logs", "test_context_topic", "test_sizing"),
)  # fmt: skip
"""Files that mostly wait for Kafka: those of a lane one after the other on one broker, the rest at work beside them."""
LONG = (
    "test_refit", "test_backfill_command", "test_cold_start", "test_dashboard", "test_backfill", "test_bench",
    "test_two_topics", "test_proofs", "test_cli",
)  # fmt: skip
"""Files that come next, or the run would end with one of them alone."""
_LANES = {name: f"lane {number}" for number, names in enumerate(LANES) for name in names}
_PLACES = {name: number for number, name in enumerate((*_LANES, *LONG))}


def place(file: str) -> int:
    """Where a file of tests (its name alone) comes; equal for those that come last, in any order."""
    return _PLACES.get(file, len(_PLACES))


class FilesAndLanes(LoadScopeScheduling):  # type: ignore[misc]
    """Each process takes the next file or lane when it is nearly done with one."""

    @override
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return _LANES.get(Path(file).stem, file)
