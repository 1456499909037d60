"""Which partitions of which topics make one partition of a stream."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from streaming.broker.consumer import Consumer, Place, reading
from streaming.broker.feed import numbers
from streaming.broker.settings import BrokerError
from streaming.broker.topics import topics
from streaming.types import Topic
from tsad.config import Config, StreamConfig

Numbered = Callable[[Iterable[Place]], Mapping[Place, int]]
"""Gives each place its number in the stream, and always the same."""


class Layout(Protocol):
    """What a worker has to know of where its stream lies; it subscribes to `subscription`."""

    @property
    def subscription(self) -> tuple[str, ...]:
        """Names of topics, or one pattern that begins with "^"."""
        ...

    def dealt(self, consumer: Consumer) -> set[int]:
        """The stream's partitions that the group has given to this member."""
        ...

    def places(self, number: int) -> dict[Topic, Place]:
        """Where the stream's partition `number`, which was dealt, lies."""
        ...

    def size(self, consumer: Consumer) -> int:
        """How many partitions the stream has, all members' together."""
        ...


@dataclass(frozen=True, slots=True)
class Equal(Layout):
    """Partitions of equal numbers of each of `topics` belong together, and have that number."""

    topics: Mapping[Topic, str]

    @property
    def subscription(self) -> tuple[str, ...]:
        """Names."""
        return tuple(self.topics.values())

    def dealt(self, consumer: Consumer) -> set[int]:
        """Those that are here of every topic; BrokerError where some are of one topic only."""
        return numbers(consumer, self.topics.values())

    def places(self, number: int) -> dict[Topic, Place]:
        """Partition `number` of each."""
        return {topic: (name, number) for topic, name in self.topics.items()}

    def size(self, consumer: Consumer) -> int:
        """Those of any topic."""
        return consumer.partitions(next(iter(self.topics.values())))


@dataclass(slots=True)
class Each(Layout):
    """Each partition of each topic that a pattern matches is one of the stream, whose number `numbered` knows; `known`
    says how many have one."""

    topic: Topic
    pattern: str
    numbered: Numbered
    known: Callable[[], int]
    _places: dict[int, Place] = field(default_factory=dict)

    @property
    def subscription(self) -> tuple[str, ...]:
        """The pattern, which the whole name has to match."""
        return (f"^({self.pattern})$",)

    def dealt(self, consumer: Consumer) -> set[int]:
        """All that are here."""
        found = {number: place for place, number in self.numbered(consumer.assigned()).items()}
        self._places |= found
        return set(found)

    def places(self, number: int) -> dict[Topic, Place]:
        """The one place."""
        return {self.topic: self._places[number]}

    def size(self, consumer: Consumer) -> int:  # noqa: ARG002 -- the database knows those of all topics
        """All that have a number."""
        return self.known()


def lay_out(config: Config, stream: str, numbered: Numbered, known: Callable[[], int]) -> Layout:
    """How `stream` lies in its topics. BrokerError where the cluster or a topic cannot be used."""
    found, of = topics_found(config, stream), config.of(stream)
    if of.topic_pattern is None:
        return Equal(_names(of))
    numbered([(name, number) for name, count in found.items() for number in range(count)])
    return Each(of.topics[0], of.topic_pattern, numbered, known)


def topics_found(config: Config, stream: str) -> dict[str, int]:
    """The topics that `stream` reads, each with the number of its partitions; those that are written are there too.

    BrokerError where one is missing, partition counts of one stream differ, or no topic matches the pattern.
    """
    pattern, names = config.of(stream).topic_pattern, _names(config.of(stream)).values()
    with topics(config.kafka.settings()) as look:
        for topic in [*config.kafka.told, *names]:
            look.partitions(topic)  # says whether we may see it
        like = {} if pattern is None else look.matching(pattern)
    with reading(config.kafka.settings()) as consumer:
        counts = {topic: consumer.partitions(topic) for topic in [*config.kafka.told, *names]}
    for topic, count in counts.items():
        if not count:
            raise BrokerError(f"topic {topic!r} does not exist")
    found = {topic: counts[topic] for topic in names}
    if pattern is not None:
        found = like
        if not found:
            raise BrokerError(f"no topic is named as topic_pattern = {pattern!r} has it")
    elif len(set(found.values())) > 1:
        said = ", ".join(f"{topic!r} has {count}" for topic, count in found.items())
        raise BrokerError(f"topics of one stream need equal partition counts: {said}; tsad rekey copies one into a new")
    return found


def _names(config: StreamConfig) -> dict[Topic, str]:
    """The topics that a stream reads by name."""
    return {topic: part.topic for topic, part in config.sections.items() if part.topic is not None}
