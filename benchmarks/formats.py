"""Points a second of each message format, on one core: `python benchmarks/formats.py` (the messages are the tests')."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "streaming")]

from golden import CUMULATIVE, as_json, gauge, metrics, snappy, total, write_request  # noqa: E402
from reading import INGESTED  # noqa: E402

from streaming.columns import Columns  # noqa: E402
from streaming.decoders import decoder_of  # noqa: E402
from streaming.settings import TelemetryFormat  # noqa: E402

HOSTS, METRICS, SERIES = 10, 20, 20
POLL, ROUNDS = 5, 3


def otlp(minute: int) -> Any:
    """HOSTS resources of METRICS metrics, half of them counters, of SERIES series each."""

    def metric(number: int) -> Any:
        points = [(60 * minute, float(s + minute), {"path": f"/p{s}", "code": 200}) for s in range(SERIES)]
        return gauge(f"m{number}", *points) if number % 2 else total(f"m{number}", CUMULATIVE, *points)

    parts = [metric(number) for number in range(METRICS)]
    return metrics(*[({"service.name": "shop", "host.name": f"web-{host}"}, parts) for host in range(HOSTS)])


def remote_write(minute: int) -> Any:
    """The same as series."""
    names = [f"m{number}" + ("" if number % 2 else "_total") for number in range(METRICS)]
    base = {"job": "shop", "code": "200"}
    return write_request(
        *[
            (base | {"__name__": name, "instance": f"web-{host}", "path": f"/p{s}"}, [(60 * minute, float(s + minute))])
            for host in range(HOSTS) for name in names for s in range(SERIES)
        ]
    )  # fmt: skip


def points_a_second(form: Any, payloads: list[bytes]) -> float:
    """By CPU time, the best of ROUNDS."""
    best = 0.0
    for _ in range(ROUNDS):
        decoder, started = decoder_of(TelemetryFormat(format=form), Columns()), time.process_time()
        for start in range(0, len(payloads), POLL):
            part = payloads[start : start + POLL]
            stop = start + len(part)
            batch = decoder.decode(part, np.arange(start, stop), np.full(len(part), INGESTED), stop)
            assert batch.values.shape == (len(part) * HOSTS, METRICS)
        best = max(best, len(payloads) * HOSTS * METRICS * SERIES / (time.process_time() - started))
    return best


def main() -> None:
    """Print a line for each format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=20, help="messages of each format")
    minutes = range(1, parser.parse_args().minutes + 1)
    encodings: dict[str, list[bytes]] = {
        "otlp": [otlp(minute).SerializeToString() for minute in minutes],
        "otlp-json": [as_json(otlp(minute)) for minute in minutes],
        "remote-write": [snappy(remote_write(minute)) for minute in minutes],
    }
    for form, payloads in encodings.items():
        for asked in (form, "auto"):
            print(f"{form:>12} as {asked:<12} {points_a_second(asked, payloads):>10,.0f} points/s")


if __name__ == "__main__":
    main()
