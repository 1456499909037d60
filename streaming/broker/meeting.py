"""The first answer of a cluster, for every client of kafka-python; a refusal is told at once, in our own words."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from kafka.errors import KafkaError
from typing_extensions import override

from streaming.broker.refusal import refusal
from streaming.broker.settings import BrokerError, BrokerSettings, OutageError

Client = TypeVar("Client")
PATIENCE = 10.0
"""Seconds that the first answer may take."""
FIRST = 1.5
"""Seconds of the first attempt; each of the next may take three times as long."""


class _Hearing(logging.Handler):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def hearing(library: str) -> Iterator[list[str]]:
    """What a library says of its connections while the block runs: it tells its log alone why one failed."""
    log, heard = logging.getLogger(library), _Hearing()
    log.setLevel(logging.WARNING)
    log.propagate = False  # faults of the cluster are told as ours, once
    log.addHandler(heard)
    try:
        yield heard.said
    finally:
        log.removeHandler(heard)


def spans(patience: float) -> Iterator[float]:
    """Seconds of each attempt; together they are `patience`."""
    until, span = time.monotonic() + patience, FIRST
    while (left := until - time.monotonic()) > 0.05:
        yield min(span, left) if left - span > FIRST else left
        span *= 3


def meet(settings: BrokerSettings, make: Callable[[int], Client], patience: float = PATIENCE) -> Client:
    """The client that `make` gives, which is told how many milliseconds it may wait for the cluster.

    BrokerError names the setting that the cluster refuses, OutageError what was met where it does not answer."""
    said: list[str] = []
    for span in spans(patience):
        try:
            with hearing("kafka") as heard:
                return make(int(span * 1000))
        except KafkaError as error:
            last = error
            said += heard
        refuse(settings, said)
    raise OutageError(f"kafka ({', '.join(settings.bootstrap)}): {_met(said, last)}") from last


def refuse(settings: BrokerSettings, said: Sequence[str]) -> None:
    """BrokerError where what was `said` names a setting that the cluster refuses."""
    reason = refusal(settings, said)
    if reason is not None:
        raise BrokerError(f"kafka ({', '.join(settings.bootstrap)}): {reason}")


def _met(said: Sequence[str], error: KafkaError) -> str:
    """What the last attempt met."""
    for line in reversed(said):
        _, found, reason = line.partition("onnection failed: ")
        if found:
            return f"no answer: {' '.join(reason.split())}"
    return " ".join(str(error).split())
