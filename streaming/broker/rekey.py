"""A topic copied into another one in which each entity lies on one partition."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from streaming.broker.consumer import reading
from streaming.broker.raw import Merged, Raw, Writer, partition_of
from streaming.broker.settings import BrokerError, BrokerSettings
from streaming.broker.topics import topics

BATCH = 2000
"""Messages of one transaction."""
Entities = Callable[[Sequence[Raw]], Sequence[Sequence[str]]]
"""The entities of each message: none where it cannot be read, several where it holds several."""


@dataclass(slots=True)
class Copied:
    """What was copied: `keyed` by their entity, the others by the key that they had."""

    messages: int = 0
    keyed: int = 0
    unreadable: int = 0
    several: int = 0


def rekey(
    settings: BrokerSettings,
    source: str,
    target: str,
    entities: Entities,
    partitions: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[int, int], None] = lambda _, __: None,
) -> Copied:
    """Copy what `source` holds now, in order of time, into `target`, which is made with `partitions` if it is missing.

    Values, headers and timestamps stay as they are. What was copied, and up to where, is one transaction: a copy that
    was stopped or killed goes on where it was, and a repeated one adds what has come since. `tell` is told how many
    messages are copied, and of how many offsets. BrokerError where a topic cannot be used.
    """
    if source == target:
        raise BrokerError(f"topic {source!r} cannot be copied into itself; name another target")
    with topics(settings) as look:
        if not look.partitions(source):
            raise BrokerError(f"topic {source!r} does not exist")
        count = look.need(target, partitions, like=source)
        if look.stamps_itself(target):
            raise BrokerError(f"topic {target!r} stamps messages itself; it needs message.timestamp.type=CreateTime")
    name = f"tsad.rekey.{source}:{target}"
    with closing(Merged(settings, source, name)) as reader, closing(Writer(settings, target, name)) as writer:
        anew = not _ever_written(settings, target, count)
        if not anew and not reader.committed:
            said = f"topic {target!r} holds what no tsad rekey of {source!r} wrote, or not of this one"
            raise BrokerError(f"{said}; name a new target")
        starts, ahead = reader.begin(again=anew)
        writer.write([], name, starts)  # so that whatever comes to be in it is known to be ours
        copied = Copied()
        while not stop() and (messages := reader.take(BATCH)):
            placed = _placed(messages, entities(messages), count, copied)
            writer.write(placed, name, {(source, message.partition): message.offset + 1 for message in messages})
            tell(copied.messages, ahead)
    return copied


def _ever_written(settings: BrokerSettings, topic: str, partitions: int) -> bool:
    with reading(settings) as look:
        return any(end > 0 for _, end in look.span([(topic, number) for number in range(partitions)]).values())


def _placed(messages: Sequence[Raw], named: Sequence[Sequence[str]], count: int, copied: Copied) -> list[Raw]:
    """The messages with the keys and partitions that they get, counted in `copied`."""
    placed = []
    for message, names in zip(messages, named, strict=True):
        key = names[0].encode() if len(names) == 1 else message.key
        # without any key, messages of one partition stay together and in order
        number = message.partition % count if key is None else partition_of(key, count)
        placed.append(replace(message, partition=number, key=key))
    sizes = [len(names) for names in named]
    copied.messages += len(messages)
    copied.keyed += sizes.count(1)
    copied.unreadable += sizes.count(0)
    copied.several += sum(size > 1 for size in sizes)
    return placed
