"""Killed again and again at every age of snapshot and checkpoint, with late data: the rows of an undisturbed run."""

import random
from pathlib import Path
from typing import Any

import pytest

from storage import snapshots
from streaming.types import Topic
from tests.tsad.streams import (
    FIT_SLOTS,
    STREAM,
    ListApp,
    cells_with_anomalies,
    differences,
    final_rows,
    line,
    payloads,
    run_through,
)
from tsad.runner import Limits, Runner
from tsad.snapshots import parts_of

END = 392
ON_TIME = payloads({key: values for key, values in cells_with_anomalies().items() if key[1] < END}, FIT_SLOTS)
LINES = [
    line(entity, slot, f"{level} request {slot} of {entity} took {slot % 7} ms", 5)
    for slot in range(FIT_SLOTS, END)
    for entity in "ab"
    for level in (("INFO", "ERROR") if slot in range(350, 354) else ("INFO",))
]
NEVER = Limits(snapshot_every=10_000)


def delayed(lines: list[bytes], a_slot: int, seed: int) -> list[bytes]:
    """A tenth of the records comes up to seven slots later, some after others of the same slot, two far too late."""
    rng = random.Random(seed)
    keyed = [(place + rng.choice([0] * 9 + [rng.randint(1, 7)]) * a_slot, text) for place, text in enumerate(lines)]
    for place in (len(lines) // 4, len(lines) // 2):
        keyed[place] = (place + 15 * a_slot, keyed[place][1])
    return [text for _, text in sorted(keyed, key=lambda one: one[0])]


TELEMETRY = delayed(ON_TIME, 3, 1)
BOTH: dict[Topic, list[bytes]] = {"telemetry": TELEMETRY, "logs": delayed(LINES, 2, 2)}


def taken(runner: Runner, sizes: dict[Topic, int]) -> bool:
    """One poll of the next topic, processed but not saved; False at the topic's end, which is left to `run`."""
    topic = runner._next_topic()
    assert topic is not None
    batch = runner.sources[topic].poll(sizes[topic])
    if batch is not None:
        runner.take(topic, batch)
    return batch is not None


def lives(app: ListApp, sizes: dict[Topic, int], saved: int, unsaved: int) -> int:
    """Each life: a saved poll, a snapshot, `saved` polls that the checkpoint knows and the snapshot does not, `unsaved`
    ones that nothing knows, and its end. How many lives there were until the input ended."""
    count = 0
    while True:
        count += 1
        runner = app.runner(STREAM, {}, limits=NEVER)
        for number in range(1 + saved):
            if not taken(runner, sizes):
                runner.run()
                return count
            runner.save()
            if number == 0:
                runner.snapshot()
        for _ in range(unsaved):
            taken(runner, sizes)  # perhaps the end, which the next life meets again


def undisturbed(make_app: Any, lists: Any, **stream: Any) -> Any:
    app = make_app(lists, **stream)
    run_through(app, NEVER)
    counts = app.reader.health(STREAM)["partitions"][0]["counts"]
    assert counts["late"] > 15
    assert counts["dead:too_late"] == 2 * len(lists)
    return final_rows(app)


@pytest.mark.parametrize(("saved", "unsaved"), [(0, 1), (1, 0), (1, 3), (4, 3)])
def test_every_age_of_snapshot_and_of_checkpoint(make_app: Any, once: Any, saved: int, unsaved: int) -> None:
    app = make_app({"telemetry": TELEMETRY})
    assert lives(app, {"telemetry": 27}, saved, unsaved) >= 3
    expected = once("lives", lambda: undisturbed(make_app, {"telemetry": TELEMETRY}))
    assert expected["alerts"]
    assert differences(final_rows(app), expected) == []


@pytest.mark.parametrize(("saved", "unsaved", "sizes"), [(0, 2, (90, 30)), (5, 3, (7, 60))])
def test_every_age_with_two_topics_of_which_one_is_ahead(
    make_app: Any, once: Any, saved: int, unsaved: int, sizes: tuple[int, int]
) -> None:
    two: dict[str, Any] = {"cold": True, "logs": {}, "max_lead": 6}
    app = make_app(BOTH, **two)
    assert lives(app, dict(zip(BOTH, sizes, strict=True)), saved, unsaved) > 3
    expected = once("lives of two", lambda: undisturbed(make_app, BOTH, **two))
    assert differences(final_rows(app), expected) == []


@pytest.mark.parametrize("seed", range(2))
def test_any_lives(make_app: Any, once: Any, seed: int) -> None:
    """Polls of any size, snapshots at any place, one that was written and never named, and deaths between all."""
    rng, app, ended = random.Random(seed), make_app({"telemetry": TELEMETRY}), False
    while not ended:
        runner = app.runner(STREAM, {}, limits=Limits(poll=rng.randint(1, 90), snapshot_every=10_000))
        for _ in range(rng.randint(1, 6)):
            ended = ended or not taken(runner, {"telemetry": rng.randint(1, 40)})
            if rng.random() < 0.7:
                runner.save()
                if rng.random() < 0.3:
                    runner.snapshot()
        if not ended and rng.random() < 0.5:
            place, slot = ("live", STREAM, 0), runner.partition.windower.closed_through or 0
            snapshots.write(app.config.models, *place, slot=slot, parts=parts_of(runner.partition, runner.inputs()))
    app.runner(STREAM, {}).run()
    expected = once("lives", lambda: undisturbed(make_app, {"telemetry": TELEMETRY}))
    assert differences(final_rows(app), expected) == []


def files(app: ListApp) -> list[Path]:
    return sorted(Path(app.config.models, "snapshots").rglob("*.zip"))


def test_two_snapshots_are_kept_and_an_orphan_goes_at_the_next_start(make_app: Any) -> None:
    app = make_app({"telemetry": TELEMETRY})
    runner = app.runner(STREAM, {}, limits=Limits(poll=20, snapshot_every=1))
    for _ in range(5):
        runner.step()
    kept = files(app)
    assert len(kept) == 2
    assert [row.file.rpartition("/")[2] for row in app.store.restore("live", STREAM, 0).snapshots] == [
        path.name for path in reversed(kept)
    ]
    runner.take("telemetry", runner.sources["telemetry"].poll(20))
    snapshots.write(app.config.models, "live", STREAM, 0, slot=10**9, parts=parts_of(runner.partition, runner.inputs()))
    assert len(files(app)) == 3
    app.runner(STREAM, {})
    assert files(app) == kept


DAMAGE: dict[str, Any] = {
    "gone": lambda path: path.unlink(),
    "changed": lambda path: path.write_bytes(path.read_bytes()[:400] + b"?" + path.read_bytes()[401:]),
    "of something else": lambda path: path.write_bytes(b"PK\x05\x06" + bytes(18)),
}


@pytest.mark.parametrize(("damage", "damaged"), [("gone", 1), ("gone", 2), ("changed", 1), ("of something else", 2)])
def test_damaged_snapshots_fall_back_to_the_older_or_to_the_start(
    make_app: Any, once: Any, damage: str, damaged: int
) -> None:
    app = make_app({"telemetry": TELEMETRY})
    runner = app.runner(STREAM, {}, limits=Limits(poll=30, snapshot_every=30))
    for _ in range(6):
        runner.step()
    for path in files(app)[-damaged:]:
        DAMAGE[damage](path)
    again = app.runner(STREAM, {})
    assert again.partition.windower.closed_through == runner.partition.windower.closed_through
    again.run()
    expected = once("lives", lambda: undisturbed(make_app, {"telemetry": TELEMETRY}))
    assert differences(final_rows(app), expected) == []
    for row in app.store.restore("live", STREAM, 0).snapshots[:1]:
        assert list(snapshots.read(app.config.models, row.file, row.checksum))
