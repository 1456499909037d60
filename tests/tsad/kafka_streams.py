"""A stream on a real broker: topics of their own for each test, workers on them, and what must come out."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from brokers import create_topics, publish

from streaming.types import Topic
from tests.tsad.streams import NOW, STREAM, configuration
from tsad.app import App
from tsad.runner import Limits
from tsad.worker import Worker

_SERIAL = count()


def key_of(payload: bytes) -> bytes | None:
    """The entity, as producers key their messages; None where the message does not say."""
    try:
        entity = json.loads(payload)["entity"]
    except (ValueError, KeyError, TypeError):
        return None
    return entity.encode() if isinstance(entity, str) else None


@dataclass
class KafkaStream:
    """Topics on a broker, and applications that read them; each application has a database of its own or shares one."""

    address: str
    folder: Path
    fitted: Any
    partitions: int = 1
    client: str = "kafka-python"
    stamp: Callable[[bytes | None], int | None] = lambda _: None
    topics: dict[Topic, str] = field(default_factory=dict)
    made: list[App] = field(default_factory=list)

    def fill(self, lists: dict[Topic, Sequence[bytes]]) -> None:
        """Make a topic for each list, if there is none, and send the payloads by their entity."""
        for topic, payloads in lists.items():
            if topic not in self.topics:
                self.topics[topic] = f"{topic}-{next(_SERIAL)}-{id(self)}"
                create_topics(self.address, [self.topics[topic]], self.partitions)
            # a message without a key goes to the partition that reads it in the same order every time
            pairs = [(key_of(payload) or b"nobody", payload) for payload in payloads]
            publish(self.address, self.topics[topic], pairs, stamp=self.stamp)

    def app(self, url: str | None = None, **stream: Any) -> App:
        """An application on the topics, with the fitted model active, if there is one; on a fresh SQLite file unless
        `url` says."""
        folder = self.folder / str(len(self.made))
        (folder / "models").mkdir(parents=True)
        if self.fitted is not None:
            (folder / "models" / "models").symlink_to(self.fitted[0] / "models")
        topics = {topic: {"source": "kafka", "topic": name} for topic, name in self.topics.items()}
        config = configuration(folder, url or f"sqlite:///{folder}/tsad.db", **(topics | stream))
        told = {"bootstrap": (self.address,), "client": self.client, "group": f"g{next(_SERIAL)}-{id(self)}"}
        kafka = config.kafka.model_copy(update=told)
        app = App.open(config.model_copy(update={"kafka": kafka}), clock=lambda: NOW)
        self.made.append(app)
        if self.fitted is not None and app.models.active(STREAM) is None:
            row = self.fitted[1]
            app.models.add(row)
            app.models.promote(STREAM, row.version)
        return app

    def again(self, app: App) -> App:
        """Another process of the same configuration."""
        other = App.open(app.config, clock=lambda: NOW)
        self.made.append(other)
        return other

    def close(self) -> None:
        for app in self.made:
            app.close()


def read_out(app: App, limits: Limits | None = None) -> Worker:
    """One worker reads everything and closes every slot."""
    worker = app.worker(STREAM, limits=limits)
    worker.read_out()
    return worker


def step_until(workers: Sequence[Worker], reached: Callable[[], bool], most: int = 400) -> None:
    """Let the workers take turns until `reached`, which must be before `most` turns."""
    for _ in range(most):
        if reached():
            return
        for worker in workers:
            worker.step()
    raise AssertionError("not reached: " + "; ".join(str(sorted(worker.runners)) for worker in workers))


def died(worker: Worker) -> None:
    """It goes without a snapshot, and its group knows at once."""
    worker.feed.consumer.close()


def rows_read(workers: Sequence[Worker]) -> int:
    """Rows that they have read together, replays not counted."""
    return sum(worker.progress.rows for worker in workers)


def cycle(payloads: Sequence[bytes], broken: bytes, every: int) -> Iterator[bytes]:
    """The payloads with a broken one before each `every` of them."""
    for number, payload in enumerate(payloads):
        if number % every == every // 2:
            yield broken
        yield payload
