"""What a range holds, without reading it: the server counts."""

import time
from collections import Counter
from collections.abc import Callable

from streaming.holdings import Held
from streaming.mapping import SeriesMapping
from streaming.prometheus.answers import Points, entities_of, read
from streaming.prometheus.client import Client
from streaming.prometheus.settings import MS, QueryError, Questions, Server, TooMuchError
from streaming.prometheus.source import PATIENCE, insisting, numbers

PIECE = 1440
"""Times that are counted at once."""


def held(
    server: Server,
    questions: Questions,
    since_ns: int,
    until_ns: int,
    patience: float = PATIENCE,
    doze: Callable[[float], None] = time.sleep,
) -> list[Held]:
    """The entities of [since, until), by name. UnansweredError where the server has not said within `patience` (s),
    QueryError where it never will.

    Rows are those of an entity's most frequent query, so perhaps a few more; first and last are times before which and
    behind which it has none, to a piece of the range.
    """
    found: dict[str, Held] = {}
    client, insist = Client(server), insisting(patience, doze)
    mapping = SeriesMapping(questions.mapping, questions.default_entity)

    def count(text: str, ms: int) -> Points:
        return insist(lambda: read(client.at(text, ms), server.max_series))

    first, until = numbers(since_ns, until_ns, questions.step)
    try:
        for start in range(first, until, PIECE):
            stop = min(start + PIECE, until)
            rows = Counter[str]()
            for query in questions.queries.values():
                rows |= _counted(count, query, questions.step, start, stop, mapping)
            for entity, times in rows.items():
                last = (stop - 1) * questions.step
                before = found.get(entity, Held(entity, 0, start * questions.step, last))
                found[entity] = before._replace(rows=before.rows + times, last_ns=last)
    finally:
        client.close()
    return sorted(found.values())


def _counted(
    count: Callable[[str, int], Points], query: str, step: int, start: int, stop: int, mapping: SeriesMapping
) -> Counter[str]:
    """At how many of the times from number `start` on and before `stop` each entity has a value of `query`."""
    span, ms = stop - start, step // MS
    try:
        # a subquery is evaluated at the multiples of its step, too; where its range begins, Prometheus 2 and 3 differ
        points = count(f"count_over_time(({query})[{(span - 1) * ms + 1}ms:{ms}ms])", (stop - 1) * ms)
    except TooMuchError as error:
        if span == 1 or error.wrong:
            raise QueryError(f"{query}: {error}") from error
        middle = start + span // 2
        parts = ((start, middle), (middle, stop))
        return sum((_counted(count, query, step, *part, mapping) for part in parts), Counter())
    names, found = entities_of(points, mapping, {}, None), Counter[str]()
    for series, times in zip(points.series.tolist(), points.values.tolist(), strict=True):
        found |= Counter({names[series] or "": min(int(times), span)})
    del found[""]
    return found
