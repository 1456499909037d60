"""A run and those who look after it: its port, and what is noted for it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import partial

from streaming.settings import SECOND
from tsad.app import App
from tsad.aside import HANGING
from tsad.endpoint import Endpoint
from tsad.operating import address
from tsad.progress import Progress
from tsad.rows import utc
from tsad.runner import Runner
from tsad.watch import Trouble, Watch

NAMED = 10
"""Entities on wrong partitions that are told by name."""


@contextmanager
def serving(app: App, stream: str, bind: str | None = None) -> Iterator[Watch]:
    """Answer at `bind`, else at the configured address, if there is one, while the block runs.

    OSError where that address cannot be had, ValueError where it is none."""
    stuck = app.config.patience / SECOND + HANGING
    watch = Watch(stream, app.database, app.clock, more=partial(_strays, app, stream), stuck_after=stuck)
    http = app.config.http
    wanted = address(bind) if bind else http.bind
    with Endpoint(wanted, watch, app.meter, http.series) if wanted else nullcontext():
        yield watch


def _strays(app: App, stream: str) -> list[Trouble]:
    """Entities that came on a second partition a day ago or less; the first few by name."""
    since = utc(app.clock()) - timedelta(days=1)
    found = [home for home in app.homes.strays(stream) if home.strayed_at is not None and home.strayed_at >= since]
    told = [
        Trouble(
            "wrong_partition",
            f"entity {home.entity!r} belongs to partition {home.partition}, and has come on {home.stray} too: "
            "key topics by entity (tsad rekey)",
        )
        for home in found[:NAMED]
    ]
    more = len(found) - len(told)
    return [*told, Trouble("wrong_partition", f"{more} entities more")] if more else told


def noting(
    watch: Watch, runners: Callable[[], Mapping[int, Runner]], tell: Callable[[Progress], None]
) -> Callable[[Progress], None]:
    """`tell`, and a note for the port."""

    def told(progress: Progress) -> None:
        tell(progress)
        watch.note(runners())

    return told
