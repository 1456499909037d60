"""What a range holds, without reading it: the server counts."""

from collections.abc import Iterator
from typing import NamedTuple

from streaming.mapping import SeriesMapping
from streaming.prometheus.answers import Points, entities_of, read
from streaming.prometheus.client import Client
from streaming.prometheus.settings import MS, QueryError, Questions, Server, TooMuchError
from streaming.prometheus.source import numbers

PIECE = 1440
"""Times that are counted at once."""


class Held(NamedTuple):
    """One entity of a range: how many rows it has (of its most frequent query, so perhaps a few more), and times (ns)
    before which and behind which it has none, to a piece of the range."""

    entity: str
    rows: int
    first_ns: int
    last_ns: int


def held(server: Server, questions: Questions, since_ns: int, until_ns: int) -> list[Held]:
    """The entities of [since, until), by name. UnansweredError, QueryError where the server does not say."""
    found: dict[str, Held] = {}
    client, mapping = Client(server), SeriesMapping(questions.mapping, questions.default_entity)
    first, until = numbers(since_ns, until_ns, questions.step)
    try:
        for start in range(first, until, PIECE):
            stop = min(start + PIECE, until)
            rows: dict[str, int] = {}
            for query in questions.queries.values():
                for entity, count in _counted(client, query, questions.step, start, stop, mapping):
                    rows[entity] = max(rows.get(entity, 0), min(count, stop - start))
            for entity, count in rows.items():
                last = (stop - 1) * questions.step
                before = found.get(entity, Held(entity, 0, start * questions.step, last))
                found[entity] = before._replace(rows=before.rows + count, last_ns=last)
    finally:
        client.close()
    return sorted(found.values())


def _counted(
    client: Client, query: str, step: int, start: int, stop: int, mapping: SeriesMapping
) -> Iterator[tuple[str, int]]:
    """Each series' entity and how many of the times from number `start` on and before `stop` have a value."""
    span, ms = stop - start, step // MS
    try:
        # a subquery is evaluated at the multiples of its step, too; where its range begins, Prometheus 2 and 3 differ
        text = f"count_over_time(({query})[{(span - 1) * ms + 1}ms:{ms}ms])"
        points: Points = read(client.at(text, (stop - 1) * ms), client.server.max_series)
    except TooMuchError as error:
        if span == 1 or error.wrong:
            raise QueryError(f"{query}: {error}") from error
        middle = start + span // 2
        yield from _counted(client, query, step, start, middle, mapping)
        yield from _counted(client, query, step, middle, stop, mapping)
        return
    names = entities_of(points, mapping, {}, None)
    for series, count in zip(points.series.tolist(), points.values.tolist(), strict=True):
        name = names[series]
        if name and count > 0:
            yield name, int(count)
