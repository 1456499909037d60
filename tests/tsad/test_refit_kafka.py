"""Several workers on one history folder: its files are those of one worker, and one of them fits for all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tsad.kafka_streams import KafkaStream, died, read_out, rows_read, step_until
from tests.tsad.streams import FIT_SLOTS, NOW, STREAM, payloads
from tests.tsad.test_history import contents
from tests.tsad.test_refit import DAY, SETTINGS, cells
from tsad.app import App
from tsad.runner import Limits

LIVE = payloads(cells(), FIT_SLOTS)


@pytest.fixture
def wide(kafka_server: str, tmp_path: Path, fitted: Any) -> Iterator[KafkaStream]:
    """Three partitions, each with whole hours of one entity or more."""
    made = KafkaStream(kafka_server, tmp_path / "kafka", fitted, partitions=3)
    made.fill({"telemetry": LIVE})
    yield made
    made.close()


def files(app: App) -> dict[str, dict[str, bytes]]:
    """By partition."""
    return {folder.name: contents(folder) for folder in sorted(app.history_folder(STREAM).iterdir())}


def rows_saved(app: App) -> int:
    """Up to where the three partitions are saved: what two workers have read after each other counts once."""
    kept = [app.store.restore("live", STREAM, number).checkpoint for number in range(3)]
    return sum(one.positions["telemetry"]["row"] for one in kept if one is not None)


def test_workers_that_die_and_come_leave_the_history_of_a_single_one(wide: KafkaStream, postgresql_url: str) -> None:
    whole, app = wide.app(**SETTINGS), wide.app(postgresql_url, **SETTINGS)
    read_out(whole)
    limits = Limits(poll=23, snapshot_every=100)
    first = app.worker(STREAM, limits=limits)
    step_until([first], lambda: rows_read([first]) > 400)
    second = wide.again(app).worker(STREAM, limits=limits)
    step_until([first, second], lambda: len(second.runners) >= 1 and rows_read([second]) > 200)
    died(first)
    step_until([second], lambda: len(second.runners) == 3)
    second.read_out()
    assert sum(len(hours) for hours in files(app).values()) >= 12
    assert files(app) == files(whole)


def test_one_of_two_workers_fits_on_the_slots_of_both(wide: KafkaStream, postgresql_url: str) -> None:
    now = [NOW]
    apps = [wide.app(postgresql_url, **SETTINGS)]
    apps.append(wide.again(apps[0]))
    for app in apps:
        app.clock = lambda: now[0]
    workers = [app.worker(STREAM, limits=Limits(poll=60)) for app in apps]
    step_until(workers, lambda: all(worker.runners for worker in workers))
    step_until(workers, lambda: rows_saved(apps[0]) == len(LIVE), 2000)
    now[0] += 7 * DAY
    children: list[Any] = []

    def begun() -> bool:
        children[:] = [child for app in apps if (child := app.refits.of(STREAM).child) is not None]
        return bool(children)

    step_until(workers, begun)
    (child,) = children
    child.wait()
    now[0] += 10 * 10**9
    step_until(workers, lambda: all(app.refits.of(STREAM).child is None for app in apps))
    rows = [row["detail"] for row in apps[0].reader.audit(STREAM, limit=1000) if row["kind"] == "refit"]
    assert [row["outcome"] for row in rows] == ["candidate"]
    (candidate,) = [row for row in apps[0].models.listing(STREAM) if row.state == "candidate"]
    assert set(apps[0].shelf(STREAM).read(candidate).ensemble.names) == {"a", "b", "c"}
    assert len({row["partition"] for row in apps[0].reader.entities(STREAM)}) > 1
    for worker in workers:
        worker.close()
