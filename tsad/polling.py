"""A stream that is asked for: queries at every step, from a server that may not answer for a while."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from tenacity import RetryCallState
from typing_extensions import override

from storage.types import LIVE
from streaming.columns import Columns
from streaming.prometheus.client import Client
from streaming.prometheus.source import PrometheusSource
from streaming.settings import SECOND
from streaming.types import Source, Topic
from tsad.app import App
from tsad.endless import Endless
from tsad.progress import Limits, Progress
from tsad.worker import attempts, tell_outage

SERVER = "the server"
"""What does not answer, in the log."""


@dataclass
class Poller(Endless):
    """Runs the one partition of a stream of queries. A server that does not answer is borne for `patience` (ns);
    `fault` says what it answered meanwhile."""

    patience: int = 300 * SECOND
    retries: int = 0
    fault: str | None = None
    log: Any = field(default_factory=structlog.get_logger)
    _stop: Callable[[], bool] = lambda: False

    @override
    def run(
        self,
        stop: Callable[[], bool] = lambda: False,
        tell: Callable[[Progress], None] = lambda _: None,
        until_end: bool = False,
    ) -> bool:
        self._stop = stop
        return super().run(stop, tell, until_end)

    @override
    def step(self, last: bool = False) -> None:
        """As any other's; it is tried again while the server does not answer, until a stop or the end of patience."""
        for attempt in attempts(self.patience, self._stop, self._again):
            if self._stop():
                return
            with attempt:
                super().step(last)
                self.fault = None

    def _again(self, state: RetryCallState) -> None:
        self.retries, self.fault = self.retries + 1, tell_outage(state, self.log, SERVER)


def poller(app: App, stream: str, run: str = LIVE, limits: Limits | None = None) -> Poller:
    """A poller of a stream of queries, brought back to where it was. It takes the partition from whoever had it.
    OutageError where the server has to be asked for that, and does not answer."""
    inputs, step = app.inputs(stream), app.config.of(stream).step
    asked, questions = inputs.prometheus, inputs.questions()
    opened: dict[Topic, PrometheusSource] = {}

    def open_sources(columns: Columns) -> dict[Topic, Source]:
        opened["telemetry"] = PrometheusSource(
            f"prometheus:{stream}.telemetry", Client(asked.server()), questions, columns,
            delay=asked.delay, begin=lambda newest: newest - asked.begin // step, clock=app.clock,
        )  # fmt: skip
        return dict(opened)

    runner = app.partition_runner(stream, 0, open_sources, run, limits)
    opened["telemetry"].open()
    runner.attend(opened)
    return Poller(runner, opened, patience=app.config.patience, log=runner.log)
