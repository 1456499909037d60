"""The windower against the oracle: whatever the polls, the interleaving of two topics, and the restarts."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from windower_drive import Drive, line, merged
from windower_oracle import Oracle, Telemetry

from streaming.settings import FeatureRule, FeatureRules, Timing

STEP = 10
RULES = FeatureRules(
    named={
        "sum": FeatureRule("sum", "zero"),
        "last": FeatureRule("last"),
        "max": FeatureRule("max", "carry", 2),
        "count": FeatureRule("last", counter=True),
        "carried": FeatureRule("max", "carry", 1, counter=True),
    }
)
NAMES = st.sampled_from("abcde")
# a step forward, seldom a gap, and how far the record lies behind: often 0, sometimes late, sometimes too late
MOVES = st.tuples(
    st.sampled_from([0, 0, 1, 3, 7, 10, 12, 25, 25, 60, 400]), st.sampled_from([0, 0, 0, 0, 1, 5, 10, 25, 40, 90])
)
NUMBERS = st.integers(-3, 12).map(lambda number: number / 4)
VALUES = st.dictionaries(st.sampled_from(["mean", "sum", "last", "max", "count", "carried"]), NUMBERS, max_size=4)
COUNTED = st.sampled_from([("log.lines",), ("log.lines", "log.error")])


def at_times(entries: list, start: int) -> list:
    """(move, ...) entries as (time, ...)."""
    now, placed = start, []
    for (ahead, behind), *rest in entries:
        now += ahead
        placed.append((max(now - behind, 0), *rest))
    return placed


def telemetry_stream(start: int) -> st.SearchStrategy:
    return st.lists(st.tuples(MOVES, NAMES, VALUES), max_size=40).map(
        lambda entries: [Telemetry(name, time, values) for time, name, values in at_times(entries, start)]
    )


def log_stream(start: int) -> st.SearchStrategy:
    return st.lists(st.tuples(MOVES, NAMES, COUNTED), max_size=25).map(
        lambda entries: [line(name, time, *counted) for time, name, counted in at_times(entries, start)]
    )


STREAMS = st.one_of(
    telemetry_stream(1000).map(lambda records: {"telemetry": records}),
    log_stream(1000).map(lambda records: {"logs": records}),
    st.tuples(telemetry_stream(1000), st.sampled_from([700, 995, 1030]).flatmap(log_stream)).map(
        lambda both: {"telemetry": both[0], "logs": both[1]}
    ),
)
TIMINGS = st.builds(
    Timing,
    step=st.just(STEP),
    window=st.integers(3, 6),
    lateness=st.sampled_from([0, 0, 5, 20]),
    late_horizon=st.integers(0, 5),
    max_lead=st.integers(1, 6),
    forget_after=st.integers(0, 5),
    on_silence=st.sampled_from(["alert", "alert", "ignore"]),
    max_entities=st.integers(1, 5),
)
COVERAGE = st.sampled_from(["stream", "entity", "always"])
DECLARED = st.sampled_from([(), ("sum", "log.lines", "log.error"), ("log.error", "mean")])


@settings(max_examples=250, deadline=None)
@given(TIMINGS, STREAMS, COVERAGE, DECLARED, st.integers(0, 2**32), st.sampled_from([1, 3, 10, 100]))
def test_polls_interleaving_and_restarts_do_not_matter(timing, streams, coverage, declared, seed, largest):
    oracle = Oracle(timing, RULES, coverage, declared).run(*streams.values())
    drive = Drive(timing, RULES, streams, coverage=coverage, declared=declared).run(Random(seed), largest, 0.1)
    assert merged(drive.events) == merged(oracle.events)
    assert drive.windower.duplicates == oracle.duplicates
    refused = {
        ("logs" if kind == "Line" else "telemetry", 3 * number + 5, "too_late") for kind, number in oracle.rejected
    }
    assert drive.rejected == refused


def long_streams(random: Random, count: int) -> dict[str, list]:
    """Many records of few entities close together: cells with several records, duplicates, late ones that merge."""

    def moves(number: int) -> list:
        jumps, lags = [0, 0, 1, 2, 3, 5, 8, 30], [0, 0, 0, 0, 2, 5, 10, 15, 30, 70]
        return [((random.choice(jumps), random.choice(lags)), random.choice("abcdef")) for _ in range(number)]

    def values() -> dict[str, float]:
        names = random.sample(["mean", "sum", "last", "max", "count", "carried"], random.randint(0, 4))
        return {name: random.randint(-3, 12) / 4 for name in names}

    records = [Telemetry(name, time, values()) for time, name in at_times(moves(count), 1000)]
    lines = [
        line(name, time, *random.choice([("log.lines",), ("log.lines", "log.error")]))
        for time, name in at_times(moves(count // 2), random.choice([900, 1000, 1100]))
    ]
    return {"telemetry": records, "logs": lines}


@settings(max_examples=50, deadline=None)
@given(TIMINGS, COVERAGE, DECLARED, st.integers(0, 2**32), st.sampled_from([1, 4, 20, 1000]))
def test_long_streams(timing, coverage, declared, seed, largest):
    streams = long_streams(Random(seed), 160)
    oracle = Oracle(timing, RULES, coverage, declared).run(*streams.values())
    drive = Drive(timing, RULES, streams, coverage=coverage, declared=declared).run(Random(seed + 1), largest, 0.05)
    assert drive.events == oracle.events
    assert drive.windower.duplicates == oracle.duplicates


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_sums_of_any_floats_do_not_depend_on_polls_or_order_within_a_slot(seed, largest):
    """What the oracle compares are quarters, whose sums are exact; here float sums are compared bit for bit."""
    random = Random(seed)
    timing = Timing(step=STEP, window=4, lateness=20, late_horizon=4, max_lead=4, forget_after=3)
    records = [
        Telemetry(name, 1000 + STEP * slot + at, {name: random.gauss(0, 10) ** 3 for name in ("mean", "sum", "last")})
        for slot in range(12)
        for name in "ab"
        for at in random.sample(range(STEP), 7)
    ]
    records.sort(key=lambda record: record.time + random.randint(0, 15))
    firsts = [Telemetry("z", 1000, {})]
    orderly = Drive(timing, RULES, {"telemetry": firsts + sorted(records, key=lambda record: record.time)})
    shuffled = Drive(timing, RULES, {"telemetry": firsts + records})
    assert shuffled.run(random, largest).events == orderly.run(random, 1000).events


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["alert", "ignore"]), COVERAGE)
def test_late_equals_on_time_in_the_end(seed, silence, coverage):
    """The last word on each cell is the same when the late records had come on time.

    But for `coverage = "stream"`, where others keep what was judged before a late line covered their slot.
    """
    random = Random(seed)
    timing = Timing(step=STEP, window=4, late_horizon=6, max_lead=20, forget_after=2, on_silence=silence)
    streams = long_streams(random, 60)
    # of duplicates the first to come counts: without them, the order may change
    streams["telemetry"] = list({(record.name, record.time): record for record in streams["telemetry"]}.values())
    punctual = {topic: sorted(records, key=lambda record: record.time) for topic, records in streams.items()}
    late = {
        topic: sorted(records, key=lambda record: record.time + random.choice([0, 0, 0, 30, 55]))
        for topic, records in punctual.items()
    }
    # one opener, so that both begin at the same slot; one closer, before whose slot everything late has taken effect
    for streams in (punctual, late):
        streams["telemetry"] = [Telemetry("zz", 0, {}), *streams["telemetry"], Telemetry("zz", 5000, {})]
        streams["logs"] = [line("zz", 0), *streams["logs"], line("zz", 5000)]
    declared = ("mean", "sum", "last", "max", "count", "carried", "log.lines", "log.error")
    if coverage == "stream":
        late["logs"] = punctual["logs"]
    told = []
    for streams in (punctual, late):
        cells: dict = {}
        drive = Drive(timing, RULES, streams, coverage=coverage, declared=declared).run(random, 50)
        for event in drive.events:
            cells |= event[2]
        told.append(cells)
        assert not drive.rejected
    assert told[1] == told[0]
