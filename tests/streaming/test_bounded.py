"""A stretch of event time of a source, and slots that close behind the last record."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.bounded import Bounded
from streaming.columns import Columns
from streaming.files import open_source
from streaming.settings import SECOND, FeatureRules, LogFormat, TelemetryFormat, Timing
from streaming.stretches import Closed
from streaming.types import Lines, Records
from streaming.windower import Windower

TIMES = [5, 3, 9, 7, 7, 1]


def written(folder: Path, logs: bool = False) -> str:
    path = folder / ("lines.jsonl" if logs else "rows.jsonl")
    said = {"message": "x"} if logs else {"values": {"cpu": 1}}
    records = [{"entity": "ab"[time % 2], "time": time, **said} for time in TIMES]
    path.write_bytes(b"\n".join(map(msgspec.json.encode, [*records[:4], {"time": "?"}, *records[4:]])))
    return str(path)


def read(source: Bounded, most: int = 100) -> list[tuple[int, int, str]]:
    """(time in s, position, entity) of what comes."""
    found = []
    while (batch := source.poll(most)) is not None:
        parts = zip(batch.times.tolist(), batch.positions.tolist(), batch.codes.tolist(), strict=True)
        found += [(time // SECOND, place, batch.names[code]) for time, place, code in parts]
    return found


@pytest.mark.parametrize("logs", [False, True])
@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [(None, None, [5, 3, 9, 7, 7, 1]), (3, 7, [5, 3]), (7, None, [9, 7, 7]), (None, 3, [1]), (8, 8, [])],
)
def test_records_of_the_stretch_come_at_their_positions(
    tmp_path: Path, logs: bool, since: int | None, until: int | None, expected: list[int]
) -> None:
    form = LogFormat() if logs else TelemetryFormat()
    source = open_source(written(tmp_path, logs), form, Columns())
    bounds = (None if edge is None else edge * SECOND for edge in (since, until))
    bounded = Bounded(source, *bounds)
    assert bounded.topic == ("logs" if logs else "telemetry")
    assert bounded.waiting
    places = dict(zip([0, 1, 2, 3, 5, 6], TIMES, strict=True))
    found = read(bounded)
    assert [time for time, _, _ in found] == expected
    assert all(places[place] == time and entity == "ab"[time % 2] for time, place, entity in found)
    bounded.close()


def test_dead_letters_and_positions_are_the_sources(tmp_path: Path) -> None:
    bounded = Bounded(open_source(written(tmp_path), TelemetryFormat(), Columns()), 100 * SECOND)
    batch = bounded.poll()
    assert isinstance(batch, Records)
    assert (len(batch.codes), batch.names, batch.values.shape) == (0, [], (0, 1))
    assert ([letter.position for letter in batch.dead], batch.next_position) == ([4], 7)
    place = bounded.position(batch.next_position)
    assert place["row"] == 7
    assert bounded.poll() is None
    again = Bounded(open_source(written(tmp_path), TelemetryFormat(), Columns()), 100 * SECOND)
    again.seek(place | {"row": 3})
    assert again.truncated is None
    following = again.poll()
    assert following is not None
    assert following.next_position == 7


def test_lines_keep_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    said = [{"entity": "a", "time": time, "message": f"m{time}", "severity": "error"} for time in (1, 2, 3)]
    path.write_bytes(b"\n".join(map(msgspec.json.encode, said)))
    batch = Bounded(open_source(str(path), LogFormat()), 2 * SECOND, 3 * SECOND).poll()
    assert isinstance(batch, Lines)
    assert (list(batch.messages), len(batch.severities)) == (["m2"], 1)


def closed(times: list[int], through: int | None, window: int = 8, silent: int = 20) -> list[tuple[int, list[int]]]:
    """Slots that close by one entity's records, the last by the end, and who has a window there."""
    timing = Timing(step=1, window=window, forget_after=silent)
    windower = Windower(timing, FeatureRules(), lambda *_: None, features=["x"], through=through)
    count = len(times)
    batch = Records(
        ["a"], np.zeros(count, np.int32), np.array(times), np.ones((count, 1), np.float32), np.arange(count),
        np.array(times), ["x"], count,
    )  # fmt: skip
    stretches = [*windower.process("telemetry", batch), *windower.end("telemetry")]
    return [(slot.slot, slot.rows.tolist()) for one in stretches if isinstance(one, Closed) for slot in one.slots]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.integers(0, 80))
def test_slots_close_as_if_another_partition_had_gone_on(moves: list[int], through: int) -> None:
    """Beside an entity whose last record is at `through`, `a` has the windows that it has alone."""
    times = sorted(moves)
    alone = closed(times, through)
    assert [slot for slot, _ in alone] == list(range(times[0], min(max(times[-1], through), times[-1] + 20) + 1))
    assert closed(times, None) == alone[: times[-1] - times[0] + 1]


def test_the_end_before_the_last_record_changes_nothing() -> None:
    assert closed([3, 9], 5) == closed([3, 9], None)
