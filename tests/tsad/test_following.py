"""A pushed stream: the rows of a list, whatever is killed between an acknowledgement and its reading."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streaming.columns import Columns
from streaming.decoders import decoder_of
from streaming.journal import Journal, Pushed, bases_in
from streaming.settings import SECOND
from streaming.types import SourceChanged, Topic
from tests.tsad.pushes import by_slot, lines, otlp, otlp_json, pushed_configuration, remote_write
from tests.tsad.streams import (
    FIT_SLOTS,
    NOW,
    STREAM,
    ListApp,
    ListSource,
    cells_with_anomalies,
    differences,
    final_rows,
    run_through,
)
from tsad.app import App
from tsad.config import ConfigError, parse_config
from tsad.following import Follower, follower
from tsad.pushing import journal_of, taking
from tsad.runner import Limits
from tsad.watch import Watch

CELLS = {key: cell for key, cell in cells_with_anomalies().items() if key[1] >= FIT_SLOTS}
SLOTS = by_slot(CELLS)
BROKEN = b"\x0a\x05\x12\x7f"
OTLP: list[tuple[Pushed, bytes]] = [("otlp", otlp(CELLS, keys)) for keys in SLOTS]
WRITES: list[tuple[Pushed, bytes]] = [("remote-write", remote_write(CELLS, keys)) for keys in SLOTS]
JSON: list[tuple[Pushed, bytes]] = [("otlp-json", otlp_json(CELLS, keys)) for keys in SLOTS]
MIXED = [(OTLP, JSON)[n % 2][n] for n in range(len(SLOTS))]


@pytest.fixture
def make_pushed(tmp_path: Path, fitted: Any, sqlite_template: Path) -> Iterator[Callable[..., App]]:
    """Makes applications on pushed streams, with the fitted model active."""
    made: list[App] = []

    def make(topics: Sequence[str] = ("telemetry",), **stream: Any) -> App:
        folder = tmp_path / f"pushed{len(made)}"
        (folder / "models").mkdir(parents=True)
        shutil.copy(sqlite_template, folder / "tsad.db")
        (folder / "models" / "models").symlink_to(fitted[0] / "models")
        app = App.open(pushed_configuration(folder, f"sqlite:///{folder}/tsad.db", topics, **stream), lambda: NOW)
        app.models.add(fitted[1])
        app.models.promote(STREAM, fitted[1].version)
        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


def push(app: App, told: Sequence[tuple[Pushed, bytes]], topic: Topic = "telemetry", segment: int = 20_000) -> None:
    """As `tsad serve` does, one after the other; the server ends behind the last."""
    journal = Journal(journal_of(app.config, STREAM, topic), 64 << 20, lambda: NOW, segment)
    for form, payload in told:
        journal.put(form, payload)
    journal.close()


def followed(app: App, limits: Limits | None = None) -> Follower:
    return follower(app, STREAM, limits=limits or Limits(poll=7, snapshot_every=25))


def undisturbed(make_app: Callable[..., Any], told: Sequence[tuple[Pushed, bytes]]) -> dict[str, list[Any]]:
    """What the same messages make that come from a list, whose decoder looks at each for its format (as of a topic)."""
    app: ListApp = make_app({"telemetry": [payload for _, payload in told]}, telemetry={"format": "auto"})
    config = app.config.of(STREAM)

    def sources(logs: Any, columns: Columns) -> dict[Topic, ListSource]:
        decoder: Any = decoder_of(config.format_of("telemetry"), columns)
        return {"telemetry": ListSource("telemetry", app.lists["telemetry"], decoder)}

    app._sources = sources  # type: ignore[method-assign]
    run_through(app, Limits())
    rows = final_rows(app)
    assert len(rows["alerts"]) > 3
    return rows


@pytest.mark.parametrize("told", [OTLP, WRITES, [*MIXED[:40], ("otlp", BROKEN), *MIXED[40:]]])
def test_what_is_pushed_gives_the_rows_of_a_list(
    make_pushed: Callable[..., App], make_app: Callable[..., Any], told: list[tuple[Pushed, bytes]]
) -> None:
    app = make_pushed()
    push(app, told)
    assert followed(app).run(until_end=True)
    rows = final_rows(app)
    assert differences(rows, undisturbed(make_app, told)) == []
    assert [row["reason"] for row in rows["dead_letters"]] == (["broken_message"] if len(told) > len(SLOTS) else [])


def test_it_follows_what_comes_and_goes_on_where_it_stopped(
    make_pushed: Callable[..., App], make_app: Callable[..., Any]
) -> None:
    """Pushed bit by bit, followed by four processes one after the other, of which two are killed in the middle."""
    app, pushed = make_pushed(), 0
    for killed in (True, False, True, False):
        following = followed(app)
        assert following.runner.positions.get("telemetry", {"row": 0})["row"] <= pushed
        for _ in range(6):
            push(app, MIXED[pushed : pushed + 5])
            pushed += 5
            following.step()
        if killed:
            following.sources["telemetry"].close()  # and nothing else: it is gone
        else:
            following.doze = lambda _: None
            following.run(stop=lambda f=following: not f.runner.waiting)  # type: ignore[misc]
    assert pushed == len(MIXED)
    followed(app).run(until_end=True)
    assert differences(final_rows(app), undisturbed(make_app, MIXED)) == []


@pytest.mark.parametrize("torn", [1, 30, 400])
def test_a_kill_of_the_server_loses_only_what_it_had_not_acknowledged(
    make_pushed: Callable[..., App], make_app: Callable[..., Any], torn: int
) -> None:
    """Half an entry lies at the end when the reader comes by; the next server cuts it, and its client sends it anew."""
    app = make_pushed()
    push(app, OTLP[:50])
    folder = journal_of(app.config, STREAM, "telemetry")
    last = folder / f"{bases_in(folder)[-1]:020d}.journal"
    before = last.stat().st_size
    push(app, OTLP[50:51], segment=1 << 30)
    with last.open("r+b") as file:
        file.truncate(before + torn)
    following = followed(app)
    following.doze = lambda _: None
    for _ in range(12):
        following.step()
    assert following.sources["telemetry"].at() == 50
    push(app, OTLP[50:])
    assert following.run(until_end=True)
    assert differences(final_rows(app), undisturbed(make_app, OTLP)) == []


def test_segments_are_dropped_once_two_snapshots_have_passed_them(make_pushed: Callable[..., App]) -> None:
    app = make_pushed()
    push(app, OTLP, segment=5000)
    folder = journal_of(app.config, STREAM, "telemetry")
    before = bases_in(folder)
    assert len(before) > 8
    following = followed(app, Limits(poll=5, snapshot_every=20))
    while not following.kept:
        following.step()
    assert bases_in(folder) == before, "a start may have to read from the beginning"
    following.run(until_end=True)
    rows = [position["telemetry"]["row"] for position in following.kept]
    assert rows[0] < rows[1]
    left = bases_in(folder)
    assert len(left) < len(before)
    assert [base for base in before if base <= rows[0]][-1] == left[0], "what the older snapshot needs is there"
    again = followed(app)
    assert [position["telemetry"]["row"] for position in again.kept] == rows
    assert again.sources["telemetry"].truncated is None
    assert again.run(until_end=True)


def test_a_journal_that_is_half_full_has_snapshots_made(make_pushed: Callable[..., App]) -> None:
    app = make_pushed()
    push(app, OTLP, segment=5000)
    folder = journal_of(app.config, STREAM, "telemetry")
    following = followed(app, Limits(poll=5, snapshot_every=30))
    following.most = 20_000
    made: list[int | None] = []
    while following.runner.waiting:
        following.step()
        if following.runner.snapshot_slot not in made:
            made.append(following.runner.snapshot_slot)
    assert len(made) > len(OTLP) // 30 + 2
    assert sum(place.stat().st_size for place in folder.glob("*.journal")) < 20_000
    following.run(until_end=True)


def test_metrics_and_logs_go_together_and_one_that_is_quiet_holds_nothing_back(
    make_pushed: Callable[..., App],
) -> None:
    """Lines end at the tenth slot; metrics go on for an hour."""
    app = make_pushed(("telemetry", "logs"), max_lead=8)
    times = iter(range(10**6))

    def put(topic: Topic, payload: bytes, minutes: int) -> None:
        journal = Journal(journal_of(app.config, STREAM, topic), 64 << 20, lambda: NOW + minutes * 60 * SECOND)
        journal.put("otlp", payload)
        journal.close()

    for n, keys in enumerate(SLOTS[:60]):
        put("telemetry", otlp(CELLS, keys), n)
        if n < 10:
            put("logs", lines("a", FIT_SLOTS + n, f"request {n} took 3 ms", "done"), n)
    following = followed(app)
    following.doze = lambda _: next(times) > 10**5 and pytest.fail("it waits for good")
    app.clock = lambda: NOW + 3600 * SECOND
    following.run(until_end=True)
    health = app.reader.health(STREAM)
    assert health["partitions"][0]["next_slot"] * 60 > (NOW // SECOND - 10_000_000) + 60 * (FIT_SLOTS + 58)
    assert {row.kind for row in app.store.restore("live", STREAM, 0).orders} >= {"idle"}
    assert [row["text"] for row in app.reader.templates(STREAM)]


def test_its_lag_is_told(make_pushed: Callable[..., App]) -> None:
    app = make_pushed()
    push(app, OTLP[:30], segment=5000)
    following, seconds = followed(app), iter(range(100))
    watch = Watch(STREAM, app.database, app.clock, lambda: float(next(seconds)))
    lags = []
    for _ in range(6):
        watch.note({0: following.runner})
        assert watch.standing is not None
        lags.append(watch.standing.partitions[0].lags["push:s.telemetry"])
        following.step()
    assert lags == [30, 23, 16, 9, 2, 0]


def test_another_source_is_refused(make_pushed: Callable[..., App]) -> None:
    app = make_pushed()
    push(app, OTLP[:30])
    followed(app).run(until_end=True)
    shutil.rmtree(journal_of(app.config, STREAM, "telemetry"))
    with pytest.raises(SourceChanged, match="ends at entry 0, but was read up to 30: it was made anew"):
        followed(app)
    push(app, OTLP[:40])
    with pytest.raises(SourceChanged, match="another journal than the one that was read from"):
        followed(app)


def test_a_journal_that_was_dropped_behind_a_lost_state_is_read_from_where_it_begins(
    make_pushed: Callable[..., App],
) -> None:
    app = make_pushed()
    push(app, OTLP, segment=5000)
    following = followed(app, Limits(poll=5, snapshot_every=15))
    following.run(until_end=True)
    first = bases_in(journal_of(app.config, STREAM, "telemetry"))[0]
    assert first > 0
    for file in (Path(app.config.models) / "snapshots").rglob("*.zip"):
        file.unlink()
    again = followed(app)
    assert again.sources["telemetry"].truncated == (0, first)
    again.run(until_end=True)
    audit = [row for row in app.reader.audit(STREAM, limit=1000) if row["kind"] == "truncated"]
    assert audit[0]["detail"]["resumed_at"] == first


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ({"telemetry": {"source": "push", "format": "json"}}, "format = 'json': what is pushed comes in any format"),
        ({"telemetry": {"source": "push"}, "logs": {"source": "x.jsonl"}}, "are both pushed, or both not"),
        ({"telemetry": False, "logs": {"source": "push", "format": "otlp"}}, "format = 'otlp': what is pushed"),
    ],
)
def test_what_a_pushed_stream_may_not_say(stream: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config({"stream": {"s": stream}})


def test_what_takes_pushes(make_pushed: Callable[..., App], tmp_path: Path) -> None:
    both = {"telemetry": {"source": "push"}, "logs": {"source": "push", "entity": ["host.name"]}}
    told = {"shop/eu": both, "web": {"telemetry": {"source": "push"}}, "files": {"telemetry": {"source": "x.csv"}}}
    config = parse_config({"stream": told, "journal": str(tmp_path)})
    found = taking(config)
    assert list(found["telemetry"]) == ["shop/eu", "web"]
    assert list(found["logs"]) == ["shop/eu"]
    assert found["telemetry"]["shop/eu"].parent.parent == tmp_path, "a name of a stream leads nowhere else"
    app = make_pushed()
    with pytest.raises(ConfigError, match="what is pushed is read by tsad run alone; name a file of telemetry"):
        app.collect(STREAM, {})
    assert app.inputs(STREAM).on_push({})
    assert not app.inputs(STREAM).on_push({"telemetry": "x.jsonl"})


def test_nothing_is_decoded_otherwise_than_from_a_topic() -> None:
    """Each format that the API takes is one that a decoder of any format sees in the bytes."""
    from streaming.formats import format_of

    for form, payload in (OTLP[0], WRITES[0], JSON[0]):
        assert format_of(payload) == form
    assert np.isfinite(list(CELLS.values())).all()
