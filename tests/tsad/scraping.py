"""The port of a run, asked as a probe and Prometheus ask."""

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.tsad.streams import NOW, STREAM
from tsad.endpoint import Endpoint
from tsad.watch import Watch


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scraped(port: int) -> dict[tuple[str, ...], float]:
    """Samples by name and the values of their labels, by the labels' names."""
    status, text = get(port, "/metrics")
    assert status == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@contextmanager
def served(
    app: Any, clock: Callable[[], int] = lambda: NOW, series: int = 1000, **watch: Any
) -> Iterator[tuple[Watch, int]]:
    """A watch whose every note counts, and the port that tells of it."""
    ticks = count(0, 100)
    made = Watch(STREAM, app.database, clock, lambda: next(ticks), **watch)
    with Endpoint("127.0.0.1:0", made, app.meter, series) as endpoint:
        yield made, endpoint.port
