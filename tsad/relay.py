"""From the outbox to the cluster, beside the stream and never in its way."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from itertools import groupby
from typing import Self

import structlog
from tenacity import (
    RetryCallState,
    RetryError,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from storage.outbox import Outbox
from storage.types import Message, StoreError
from streaming.broker.producer import MessageRefusedError, Outgoing, Producer
from streaming.broker.settings import BrokerError

BATCH = 200
"""Messages sent before they are waited for."""
EVERY = 0.25
"""Seconds between two looks at an outbox that was empty."""
LONGEST = 10.0
"""Seconds between two attempts at a cluster that does not answer."""
LAST = 3.0
"""Seconds that the end may take; what is left then waits for the next start."""


LOOK = 5.0
"""Seconds between two counts of what waits."""
SHORT = 0.5
"""Likewise, where the run has failed."""


class Relay:
    """Delivers what the partitions of `stream` have in their outboxes, in order, at least once.

    A message leaves the table when the cluster has acknowledged it and all before it in its partition; whatever happens
    in between, it is sent again. `with` runs it on a thread of its own: a send waits for acknowledgements, and through
    an outage for much longer, while polls must go on. `serve` says which partitions are ours.
    """

    def __init__(
        self,
        outbox: Outbox,
        connect: Callable[[], Producer],
        stream: str,
    ) -> None:
        self._outbox, self._connect, self._stream = outbox, connect, stream
        self._producer: Producer | None = None
        self._epochs: Mapping[int, int] = {}
        self._stop = threading.Event()
        self._drain = False
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._looked = float("-inf")
        self.waiting: dict[int, tuple[int, datetime]] = {}
        self.retries = 0
        self.fault: str | None = None
        self._log = structlog.get_logger()

    def serve(self, epochs: Mapping[int, int]) -> None:
        """Deliver what these partitions have, held under these leases. RuntimeError where the thread has died."""
        self._epochs = dict(epochs)
        if self._thread.ident is not None and not self._thread.is_alive() and not self._stop.is_set():
            raise RuntimeError("the relay has ended; what it met is on standard error")

    def pump(self) -> int:
        """Send one batch and take out what was acknowledged; how many messages that were.

        BrokerError where one was not: it and all behind it of its partition are still there.
        """
        epochs = self._epochs
        self._look(epochs)
        messages = self._outbox.take(self._stream, epochs, BATCH)
        if not messages:
            return 0
        outcomes = self._send(messages)
        gone, faults = 0, []
        for partition, answered in groupby(zip(messages, outcomes, strict=True), lambda pair: pair[0].partition):
            through, fault, count = self._answered(answered)
            if through is not None and self._outbox.delivered(self._stream, partition, epochs[partition], through):
                gone += count
            faults += [fault] if fault else []
        if faults:
            self._hang_up()
            raise faults[0]
        return gone

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._drain = kind is None
        self._stop.set()
        self._thread.join(LAST if self._drain else SHORT)

    def _look(self, epochs: Mapping[int, int]) -> None:
        """Note what waits of our partitions; `waiting` is read by others."""
        if time.monotonic() - self._looked >= LOOK:
            self._looked = time.monotonic()
            waiting = self._outbox.waiting(self._stream)
            self.waiting = {number: told for number, told in waiting.items() if number in epochs}

    def _send(self, messages: list[Message]) -> list[BrokerError | None]:
        if self._producer is None:
            self._producer = self._connect()
        return self._producer.send([Outgoing(one.topic, one.key, one.payload, one.headers) for one in messages])

    def _answered(
        self, answered: Iterable[tuple[Message, BrokerError | None]]
    ) -> tuple[int | None, BrokerError | None, int]:
        """The sequence up to which one partition's messages are done with, what stopped it, and how many those are."""
        through, count = None, 0
        for message, outcome in answered:
            if isinstance(outcome, MessageRefusedError):
                # it would never go through and hold up all behind it; what it tells of is in the database
                self._log.error("message refused for good", topic=message.topic, key=message.key, reason=str(outcome))
            elif outcome is not None:
                return through, outcome, count
            through, count = message.sequence, count + 1
        return through, None, count

    def _run(self) -> None:
        tries = Retrying(
            retry=retry_if_exception_type((BrokerError, StoreError)),
            wait=wait_random_exponential(multiplier=0.5, max=LONGEST),
            stop=stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            before_sleep=self._tell,
        )
        try:
            while not self._stop.is_set():
                gone = tries(self.pump)
                self.fault = None
                if not gone:
                    self._stop.wait(EVERY)
            until = time.monotonic() + LAST
            while self._drain and time.monotonic() < until and self.pump():
                pass
        except (RetryError, BrokerError, StoreError) as error:
            self._log.warning("messages are left in the outbox", reason=str(error.__cause__ or error))
        finally:
            self._hang_up()

    def _tell(self, state: RetryCallState) -> None:
        fault = state.outcome and state.outcome.exception()
        self.retries, self.fault = self.retries + 1, str(fault)
        self._log.warning("delivery is held up", attempt=state.attempt_number, reason=str(fault))

    def _hang_up(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close()
