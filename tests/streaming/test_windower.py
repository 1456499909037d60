"""The rules of event time, one by one. Slots are 10 ns; `Drive` and `Oracle` test them all at once elsewhere."""

import json
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from windower_drive import Drive, batch, line, telemetry
from windower_oracle import Oracle, Record

from streaming.settings import FeatureRule, FeatureRules, Timing
from streaming.stretches import Amended, Closed, Stretch
from streaming.types import State
from streaming.watermark import Watermark
from streaming.windower import Windower

RULES = FeatureRules()
nan = float("nan")


def windower(*, rejected: list | None = None, topics: tuple = ("telemetry",), **kw) -> Windower:
    options = {name: kw.pop(name) for name in ("features", "log_coverage") if name in kw}
    timing = Timing(**{"step": 10, "window": 4, "late_horizon": 3, "max_lead": 5, "forget_after": 2} | kw)
    options.setdefault("features", ("x", "y", "log.lines"))
    return Windower(
        timing, RULES, lambda *entry: (rejected if rejected is not None else []).append(entry), topics=topics, **options
    )


def feed(
    target: Windower, records: Sequence[Record], first: int = 0, topic: str = "telemetry", features: tuple = ()
) -> list[Stretch]:
    return list(target.process(topic, batch(records, first, features or tuple(target.features), topic)))


def cells(target: Windower, stretches: Sequence[Stretch], feature: str = "x") -> dict[int, dict[str, float]]:
    """Closed slots: {slot: {name: value of `feature`}}."""
    column, names = target.features.index(feature), target.roster.names
    return {
        closed.slot: dict(zip([names[row] for row in closed.rows], closed.values[:, column].tolist(), strict=True))
        for stretch in stretches
        if isinstance(stretch, Closed)
        for closed in stretch.slots
    }


def amended(stretches: Sequence[Stretch]) -> Amended:
    (only,) = [stretch for stretch in stretches if isinstance(stretch, Amended)]
    return only


# --- closing ---------------------------------------------------------------------------------------------------------


def test_a_slot_closes_when_the_next_one_begins():
    w = windower()
    assert feed(w, [telemetry("a", 100, x=1), telemetry("b", 105, x=2)]) == []
    assert w.closed_through == 9
    assert cells(w, feed(w, [telemetry("a", 110, x=3)], 2)) == {10: {"a": 1, "b": 2}}
    assert cells(w, list(w.end("telemetry"))) == {11: {"a": 3, "b": pytest.approx(nan, nan_ok=True)}}
    assert w.closed_through == 11


def test_lateness_holds_slots_open():
    w = windower(lateness=15)
    assert feed(w, [telemetry("a", 100, x=1), telemetry("a", 124, x=1)]) == []
    assert w.closed_through == 9  # 124 - 15 = 109
    assert cells(w, feed(w, [telemetry("b", 101, x=7), telemetry("a", 125, x=1)], 2)) == {10: {"a": 1, "b": 7}}


def test_one_poll_may_span_more_slots_than_the_ring():
    w = windower()
    slots = 5 * w.ring.size
    closed = cells(w, feed(w, [telemetry("a", 10 * slot, x=slot) for slot in range(slots)]))
    assert closed == {slot: {"a": slot} for slot in range(slots - 1)}
    assert not w.paused("telemetry")


def test_stretches_are_bounded():
    w = windower(max_lead=5)
    stretches = feed(w, [telemetry("a", 10 * slot, x=slot) for slot in range(23)])
    assert max(len(stretch.slots) for stretch in stretches) == 5
    assert sum(len(stretch.slots) for stretch in stretches) == 22


def test_a_gap_of_any_size_costs_nothing_once_all_are_forgotten():
    w = windower(forget_after=2)
    far = 10**15
    closed = cells(w, feed(w, [telemetry("a", 0, x=1), telemetry("a", far, x=2), telemetry("b", far + 10, x=3)]))
    assert list(closed) == [0, 1, 2, far // 10]
    assert closed[far // 10] == {"a": 2}


def test_silence_may_be_ignored():
    w = windower(on_silence="ignore")
    stretches = feed(w, [telemetry("a", 0, x=1), telemetry("b", 20, x=1), telemetry("a", 30, x=1)])
    assert cells(w, stretches) == {0: {"a": 1}, 2: {"b": 1}}


def test_a_forgotten_entity_is_active_again_when_it_writes():
    w = windower(forget_after=1)
    records = [telemetry("a", 0, x=1), *(telemetry("b", 10 * slot, x=0) for slot in range(6)), telemetry("a", 60, x=2)]
    closed = cells(w, feed(w, [*records, telemetry("b", 70, x=0)]))
    assert [slot for slot, held in closed.items() if "a" in held] == [0, 1, 6]


def test_an_empty_record_is_a_sign_of_life():
    w = windower(forget_after=1)
    closed = cells(w, feed(w, [telemetry("a", 10 * slot) for slot in range(4)]))
    assert {slot: list(held) for slot, held in closed.items()} == {0: ["a"], 1: ["a"], 2: ["a"]}


# --- two topics ------------------------------------------------------------------------------------------------------


def test_nothing_happens_before_both_topics_have_begun():
    w = windower(topics=("telemetry", "logs"))
    assert feed(w, [telemetry("a", 100, x=1), telemetry("a", 130, x=1)]) == []
    assert w.paused("telemetry")
    assert (w.fed("telemetry"), w.closed_through) == (None, None)
    closed = cells(w, feed(w, [line("a", 95), line("a", 115)], topic="logs"))
    assert list(closed) == [9, 10]
    assert not w.paused("telemetry")


def test_a_topic_that_ends_empty_holds_nothing_back():
    w = windower(topics=("telemetry", "logs"))
    feed(w, [telemetry("a", 100, x=1), telemetry("a", 110, x=2)])
    assert cells(w, list(w.end("logs"))) == {10: {"a": 1}}
    assert list(cells(w, list(w.end("telemetry")))) == [11]


def test_a_topic_that_runs_ahead_is_paused_and_fed_in_part():
    w = windower(topics=("telemetry", "logs"), max_lead=5)
    feed(w, [line("a", 100)], topic="logs")
    assert feed(w, [telemetry("a", 100 + 10 * number, x=number) for number in range(9)]) == []
    assert w.paused("telemetry")
    assert w.fed("telemetry") == 3 * 5 + 5  # slots 10 to 14 are fed, the record of slot 15 is next
    with pytest.raises(RuntimeError, match="telemetry is paused"):
        feed(w, [telemetry("a", 200, x=1)], 9)
    assert list(cells(w, feed(w, [line("a", 140)], 1, topic="logs"))) == [10, 11, 12, 13]
    assert not w.paused("telemetry")
    assert w.fed("telemetry") == 3 * 8 + 5 + 1


def test_an_empty_poll_moves_the_position_only():
    w = windower()
    empty = batch([telemetry("a", 0, x=1)], 7, tuple(w.features), "telemetry")
    none = type(empty)([], empty.codes[:0], empty.times[:0], empty.values[:0], empty.positions[:0], empty.ingested[:0],
                       empty.features, 99)  # fmt: skip
    assert list(w.process("telemetry", none)) == []
    assert (w.fed("telemetry"), w.closed_through) == (99, None)


def test_a_topic_that_goes_on_after_its_end_finds_the_closed_slots_passed():
    w = windower()
    assert list(cells(w, feed(w, [telemetry("a", 100, x=1), telemetry("a", 110, x=2)]))) == [10]
    assert list(cells(w, list(w.end("telemetry")))) == [11]
    assert feed(w, [telemetry("a", 115, x=4)], 2) == []  # slot 11 is closed: late by now
    assert w.late == 1
    change = amended(list(w.end("telemetry")))
    assert change.slots.tolist() == [11]
    assert change.values[0, 0] == 3  # mean of 2 and 4
    assert list(cells(w, feed(w, [telemetry("a", 140, x=1)], 3))) == [12, 13]


# --- late data -------------------------------------------------------------------------------------------------------


def test_late_records_take_effect_together_before_the_next_close():
    w = windower()
    feed(w, [telemetry("a", 100, x=1), telemetry("a", 120, x=2)])
    # both met the watermark of slot 12: they count right before slot 12 closes
    assert feed(w, [telemetry("a", 101, x=3), telemetry("a", 111, x=5)], 2) == []
    stretches = feed(w, [telemetry("a", 130, x=9)], 4)
    change = stretches[0]
    assert isinstance(change, Amended)
    assert (change.after, change.rows.tolist(), change.slots.tolist()) == (11, [0, 0], [10, 11])
    assert change.values[:, 0].tolist() == [2, 5]
    assert cells(w, stretches) == {12: {"a": 2}}


def test_too_late_is_a_dead_letter_with_its_reason():
    rejected: list = []
    w = windower(rejected=rejected)
    feed(w, [telemetry("a", 200, x=1), telemetry("b", 169, x=1), telemetry("b", 170, x=1)])
    assert rejected == [
        ("telemetry", 8, "too_late", "entity 'b': slot 16 is 4 slots below the watermark, 3 are allowed")
    ]
    assert w.late == 1


def test_a_late_record_of_a_stranger_admits_it():
    w = windower()
    feed(w, [telemetry("a", 100, x=1), telemetry("a", 130, x=1), telemetry("n", 119, x=7)])
    stretches = feed(w, [telemetry("a", 140, x=1)], 3)
    change = amended(stretches)
    assert change.born == [("n", 1)]
    # it was silent in slot 12, and that is told too
    assert (change.rows.tolist(), change.slots.tolist()) == ([1, 1], [11, 12])
    assert_array_equal(change.values[:, 0], [7, nan])
    assert list(cells(w, stretches)[13]) == ["a", "n"]


def test_a_late_duplicate_changes_nothing():
    w = windower()
    feed(w, [telemetry("a", 100, x=1), telemetry("a", 120, x=1), telemetry("a", 100, x=50)])
    assert not [stretch for stretch in feed(w, [telemetry("a", 130, x=1)], 3) if isinstance(stretch, Amended)]
    assert w.duplicates == 1


def test_what_is_counted_lies_in_its_own_slots():
    def counted(*own: int) -> int:
        w = Windower(Timing(step=10, window=4), RULES, print, features=("x",), own=range(*own))
        feed(w, [telemetry("a", time, x=1) for time in (100, 100, 110, 110, 112, 112, 120, 120, 120)])
        list(w.end("telemetry"))
        return w.duplicates

    assert [counted(*own) for own in ((0, 99), (10, 11), (11, 12), (12, 13), (13, 99), (0, 10))] == [5, 1, 2, 2, 0, 0]


def test_a_correction_reaches_what_was_derived_from_it():
    timing = Timing(step=1_000_000_000, window=4, late_horizon=3, max_lead=5)
    w = Windower(timing, FeatureRules(FeatureRule("last", counter=True)), print, features=("x",))
    second = timing.step
    feed(w, [telemetry("a", at * second, x=value) for at, value in ((10, 100), (12, 130), (13, 140))])
    feed(w, [telemetry("a", 11 * second, x=120)], 3)
    change = amended(feed(w, [telemetry("a", 14 * second, x=150)], 4))
    assert change.slots.tolist() == [11, 12]
    assert change.values[:, 0].tolist() == [20, 10]


# --- entities --------------------------------------------------------------------------------------------------------


def test_beyond_the_bound_the_least_recently_seen_go_and_come_back_new():
    w = windower(max_entities=2, forget_after=9)
    records = [telemetry("b", 100, x=1), telemetry("a", 101, x=1), telemetry("c", 110, x=1), telemetry("a", 120, x=5)]
    told = []
    for stretch in w.process("telemetry", batch([*records, telemetry("a", 140, x=1)], 0, ("x", "y"), "telemetry")):
        assert isinstance(stretch, Closed)
        told += [(closed.slot, list(closed.born), list(closed.evicted)) for closed in stretch.slots]
        for closed in stretch.slots:
            for name, row in closed.evicted:
                assert w.roster.names[row] == name  # still its own until the stretch was left
    assert told == [
        (10, [("a", 0), ("b", 1)], []),
        (11, [("c", 2)], [("a", 0)]),
        (12, [("a", 0)], [("b", 1)]),
        (13, [], []),
    ]
    assert_array_equal(w.derived(np.array([0, 0]), np.array([10, 12]))[:, 0], [nan, 5])


def test_who_writes_beyond_the_closing_slot_is_not_yet_seen():
    w = windower(topics=("telemetry", "logs"), max_entities=1, forget_after=9)
    feed(w, [line("z", 100)], topic="logs")
    # "a" has a record in slot 12 already, but at the close of slot 11 it was last seen in slot 10
    feed(w, [telemetry("a", 100, x=1), telemetry("b", 110, x=1), telemetry("a", 120, x=1)])
    stretches = feed(w, [line("z", 120)], 1, topic="logs")
    gone = [name for stretch in stretches for closed in stretch.slots for name, _ in closed.evicted]
    assert gone == ["a", "z"]


def test_the_last_labels_are_kept():
    w = windower()
    records = batch([telemetry("a", 100, x=1)], 0, ("x", "y", "log.lines"), "telemetry")
    records.labels["a"] = {"team": "red"}
    list(w.process("telemetry", records))
    assert w.roster.labels == {"a": {"team": "red"}}


# --- columns ---------------------------------------------------------------------------------------------------------


def test_columns_are_appended_when_a_batch_names_them():
    w = windower(features=("x",))
    feed(w, [telemetry("a", 100, x=1)])
    stretches = feed(w, [telemetry("a", 110, x=2, y=3), telemetry("a", 120)], 1, features=("x", "y"))
    assert w.features == ["x", "y"]
    assert cells(w, stretches, "y")[11] == {"a": 3}


def test_a_column_is_missing_before_it_first_came_and_counts_at_once_when_declared():
    rules = FeatureRules(FeatureRule(missing="zero"))
    w = Windower(Timing(step=10, window=4), rules, print, features=("x",))
    records = [telemetry("a", 100), telemetry("a", 110), telemetry("b", 120, y=1), telemetry("a", 130)]
    stretches = feed(w, records, features=("x", "y", "z"))
    assert {slot: held["a"] for slot, held in cells(w, stretches, "x").items()} == {10: 0, 11: 0, 12: 0}
    assert_array_equal([held["a"] for held in cells(w, stretches, "y").values()], [nan, nan, 0])
    w.declare(["z"])
    stretches = feed(w, [telemetry("a", 140)], 4, features=("x", "y", "z"))
    assert cells(w, stretches, "z") == {13: {"a": 0, "b": 0}}
    assert_array_equal(w.derived(np.array([0]), np.array([12]))[:, 2], [nan])


# --- log lines -------------------------------------------------------------------------------------------------------


def lines_of(coverage: str, lines: list[Record]) -> dict[int, dict[str, float]]:
    """`log.lines` of a and b, who both write telemetry in slots 10 to 15."""
    w = windower(topics=("telemetry", "logs"), log_coverage=coverage, max_lead=20)
    both = [telemetry(name, 10 * slot, x=1) for slot in range(10, 16) for name in "ab"]
    stretches = feed(w, both) + feed(w, lines, topic="logs") + list(w.end("logs")) + list(w.end("telemetry"))
    return cells(w, stretches, "log.lines")


def column(told: dict[int, dict[str, float]], name: str) -> list[float]:
    return [told[slot][name] for slot in sorted(told)]


LINES = [line("a", 100), line("b", 110), line("b", 111), line("b", 130), line("b", 140)]


def test_coverage_by_stream_is_a_line_of_anyone():
    told = lines_of("stream", LINES)
    assert_array_equal(column(told, "a"), [1, 0, nan, 0, 0, nan])
    assert_array_equal(column(told, "b"), [nan, 2, nan, 1, 1, nan])  # nothing is known of b before its first line


def test_coverage_by_entity_is_a_line_of_its_own():
    told = lines_of("entity", LINES)
    assert_array_equal(column(told, "a"), [1, nan, nan, nan, nan, nan])
    assert_array_equal(column(told, "b"), [nan, 2, nan, 1, 1, nan])


def test_coverage_always_begins_with_the_first_line():
    told = lines_of("always", LINES[1:])
    assert_array_equal(column(told, "a"), [nan] * 6)
    assert_array_equal(column(told, "b"), [nan, 2, 0, 1, 1, 0])


def test_lines_alone_make_an_entity():
    w = windower(topics=("logs",))
    stretches = feed(w, [line("a", 100), line("b", 100), line("a", 100), line("a", 110)], topic="logs")
    assert cells(w, stretches, "log.lines") == {10: {"a": 2, "b": 1}}


def test_a_late_line_covers_its_slot_for_its_own_entity_only():
    w = windower(topics=("telemetry", "logs"))
    feed(w, [telemetry(name, 10 * slot, x=1) for slot in range(10, 15) for name in "ab"])
    feed(w, [line("a", 100), line("b", 100), line("b", 120), line("a", 111)], topic="logs")
    change = amended(feed(w, [line("b", 130)], 4, topic="logs"))
    assert [(w.roster.names[row], int(slot)) for row, slot in zip(change.rows, change.slots, strict=True)] == [
        ("a", 11)
    ]
    assert change.values[0, 2] == 1


def test_lines_count_in_log_columns_only():
    w = windower(topics=("logs",))
    with pytest.raises(ValueError, match="only be counted in log columns"):
        feed(w, [line("a", 100, "x")], topic="logs")


# --- state -----------------------------------------------------------------------------------------------------------


def test_a_state_continues_bit_for_bit_and_with_what_waits_to_be_fed():
    random = Random(5)
    timing = Timing(step=10, window=4, lateness=5, late_horizon=4, max_lead=3, forget_after=3, max_entities=4)
    records = [
        telemetry(name, 1000 + 4 * number - random.choice([0, 0, 0, 20]), mean=float(np.float32(random.gauss(0, 1))))
        for number, name in enumerate(random.choices("abcde", k=120))
    ]
    lines = [line(random.choice("abcde"), 1000 + 9 * number) for number in range(50)]
    streams = {"telemetry": records, "logs": lines}
    plain = Drive(timing, RULES, streams).run(Random(1), 7)
    restarted = Drive(timing, RULES, streams).run(Random(2), 7, restart=0.5)
    assert restarted.events == plain.events == Oracle(timing, RULES).run(records, lines).events
    for key, value in plain.windower.state().arrays.items():
        assert_array_equal(value, restarted.windower.state().arrays[key])


def test_a_state_is_arrays_and_json():
    w = windower(topics=("telemetry", "logs"))
    feed(w, [telemetry("a", 100, x=1), telemetry("b", 130, x=1), telemetry("a", 110, x=2)])
    feed(w, [line("a", 100)], topic="logs")
    state = w.state()
    json.dumps(state.meta, allow_nan=False)
    assert {value.dtype.kind for value in state.arrays.values()} <= {"f", "i"}
    other = windower(topics=("telemetry", "logs"))
    other.restore(State({key: value.copy() for key, value in state.arrays.items()}, state.meta))
    told = [
        [stretch for part in (part_w.end("telemetry"), part_w.end("logs")) for stretch in part] for part_w in (w, other)
    ]
    assert repr(told[0]) == repr(told[1])
    assert [type(stretch) for stretch in told[0]] == [Closed, Amended, Closed]


def test_the_state_of_other_columns_is_refused():
    state = windower(features=("x", "y")).state()
    with pytest.raises(ValueError, match="columns"):
        windower(features=("y", "x")).restore(state)


# --- watermark -------------------------------------------------------------------------------------------------------


def test_a_watermark_never_falls():
    mark = Watermark(10, 25)
    newest, slots = mark.ahead(np.array([100, 90, 130, 20]))
    assert newest.tolist() == [100, 100, 130, 130]
    assert slots.tolist() == [7, 7, 10, 10]
    mark.newest = 130
    assert mark.ahead(np.array([50]))[1].tolist() == [10]
    mark.floor = 12
    assert (mark.slot, mark.newest_slot, mark.ahead(np.array([150]))[1].tolist()) == (12, 13, [12])
    again = Watermark(10, 25)
    again.restore(mark.state())
    assert again.state() == mark.state()
