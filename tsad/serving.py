"""A run and those who look after it: its port, and what is noted for it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

from streaming.settings import SECOND
from tsad.app import App
from tsad.aside import HANGING
from tsad.endpoint import Endpoint
from tsad.operating import address
from tsad.progress import Progress
from tsad.runner import Runner
from tsad.watch import Watch


@contextmanager
def serving(app: App, stream: str, bind: str | None = None) -> Iterator[Watch]:
    """Answer at `bind`, else at the configured address, if there is one, while the block runs.

    OSError where that address cannot be had, ValueError where it is none."""
    stuck = app.config.patience / SECOND + HANGING
    watch = Watch(stream, app.database, app.clock, stuck_after=stuck)
    wanted = address(bind) if bind else app.config.http.bind
    with Endpoint(wanted, watch, app.meter) if wanted else nullcontext():
        yield watch


def noting(
    watch: Watch, runners: Callable[[], Mapping[int, Runner]], tell: Callable[[Progress], None]
) -> Callable[[Progress], None]:
    """`tell`, and a note for the port."""

    def told(progress: Progress) -> None:
        tell(progress)
        watch.note(runners())

    return told
