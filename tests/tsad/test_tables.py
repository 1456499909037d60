"""Tables, end to end: sorted by host or by time, whole or in pieces, they give the rows of the stream itself."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from streaming.types import SourceChanged
from tests.tsad.command_line import CONFIGURATION, fresh_home, tsad
from tests.tsad.streams import (
    FEATURES,
    FIT_SLOTS,
    START,
    STREAM,
    cells_with_anomalies,
    differences,
    final_rows,
    payloads,
    run_through,
)
from tsad.app import App
from tsad.runner import Limits

Row = dict[str, Any]
CELLS = {key: values for key, values in cells_with_anomalies().items() if key[1] >= FIT_SLOTS}
BY_HOST: list[Row] = [
    {"entity": entity, "time": START + 60 * slot} | dict(zip(FEATURES, map(float, values), strict=True))
    for (entity, slot), values in sorted(CELLS.items())
]
BY_TIME = sorted(BY_HOST, key=lambda row: row["time"])
BACKWARDS = sorted(BY_HOST, key=lambda row: (row["entity"], -row["time"]))
ORDERS = {"host": BY_HOST, "time": BY_TIME, "host, newest first": BACKWARDS}


def long(rows: list[Row]) -> list[Row]:
    """A row for each value."""
    return [
        {"entity": row["entity"], "time": row["time"], "name": name, "value": row[name]}
        for row in rows
        for name in FEATURES
    ]


def write(path: Path, rows: list[Row]) -> Path:
    """A CSV file (perhaps .gz) or a Parquet file, as the name says."""
    table = pa.Table.from_pylist(rows)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=100)
        return path
    sink = pa.BufferOutputStream()
    pacsv.write_csv(table, sink)
    text = sink.getvalue().to_pybytes()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.fixture
def reader_of(make_app: Any) -> Callable[..., App]:
    """An application on a fresh database that reads the table at a path."""

    def make(path: Path, **telemetry: Any) -> App:
        section = {"layout": "wide", "source": str(path)} | telemetry
        app = make_app({}, telemetry=section)
        return App(app.config, app.database, app.clock)

    return make


@pytest.fixture
def of_the_stream(make_app: Any, once: Any) -> Any:
    """The final rows of the same records as JSON, in the order of time."""

    def run() -> Any:
        app = make_app({"telemetry": payloads(CELLS)})
        run_through(app, Limits())
        return final_rows(app)

    return once("tables", run)


@pytest.mark.parametrize(
    ("name", "order"), [("t.csv", "host"), ("t.csv.gz", "host, newest first"), ("t.parquet", "host"), ("t.csv", "time")]
)
def test_a_table_in_any_order_gives_the_rows_of_the_stream(
    reader_of: Any, of_the_stream: Any, tmp_path: Path, name: str, order: str
) -> None:
    app = reader_of(write(tmp_path / name, ORDERS[order]))
    run_through(app, Limits(poll=50))
    assert of_the_stream["alerts"]
    assert differences(final_rows(app), of_the_stream) == []


@pytest.mark.parametrize(("name", "poll"), [("t.csv", 2), ("t.csv", 1000), ("t.parquet", 119)])
def test_poll_size_does_not_matter_to_a_table_sorted_by_host(
    reader_of: Any, of_the_stream: Any, tmp_path: Path, name: str, poll: int
) -> None:
    app = reader_of(write(tmp_path / name, BY_HOST))
    run_through(app, Limits(poll=poll))
    assert differences(final_rows(app), of_the_stream) == []


@pytest.mark.parametrize(("name", "order"), [("t.csv", "host"), ("t.parquet", "host, newest first")])
def test_a_row_for_each_value_is_the_same_stream(
    reader_of: Any, of_the_stream: Any, tmp_path: Path, name: str, order: str
) -> None:
    app = reader_of(write(tmp_path / name, long(ORDERS[order])), layout="long")
    run_through(app, Limits(poll=31))
    assert differences(final_rows(app), of_the_stream) == []


def test_a_folder_of_a_file_for_each_host_is_the_same_stream(
    reader_of: Any, of_the_stream: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "hosts"
    folder.mkdir()
    for entity, suffix in (("a", "csv"), ("b", "parquet"), ("c", "csv.gz")):
        write(folder / f"{entity}.{suffix}", [row for row in BY_HOST if row["entity"] == entity])
    app = reader_of(folder)
    run_through(app, Limits(poll=40))
    assert differences(final_rows(app), of_the_stream) == []


def test_as_it_comes_a_table_sorted_by_host_is_too_late(reader_of: Any, tmp_path: Path) -> None:
    """What the order of time saves it from."""
    app = reader_of(write(tmp_path / "t.csv", BY_HOST), order="arrival")
    run_through(app, Limits(poll=40))
    # of the second and third host only the last slots, the horizon, can still be taken
    counts = app.reader.health(STREAM)["partitions"][0]["counts"]
    assert counts["dead:too_late"] > len(BY_HOST) // 2


def test_bad_and_repeated_rows_of_a_table_sorted_by_host_change_nothing(
    reader_of: Any, of_the_stream: Any, tmp_path: Path
) -> None:
    text = write(tmp_path / "t.csv", BY_HOST).read_bytes().splitlines(keepends=True)
    other = b'"a",%d,9,9,9,9\n' % (START + 60 * (FIT_SLOTS + 3))
    mixed = [*text[:150], b'"b",soon,1,2,3,4\n', b"too,few\n", *text[150:], other]
    (tmp_path / "t.csv").write_bytes(b"".join(mixed))
    for poll in (5, 1000):
        app = reader_of(tmp_path / "t.csv")
        run_through(app, Limits(poll=poll))
        rows = final_rows(app)
        dead = rows.pop("dead_letters")
        assert sorted((row["reason"], row["position"]) for row in dead) == [("bad_time", 149), ("broken_row", 150)]
        assert app.reader.health(STREAM)["partitions"][0]["counts"]["duplicates"] == len(FEATURES)
        assert differences(rows, {name: kept for name, kept in of_the_stream.items() if name != "dead_letters"}) == []


def killed_after(app: App, polls: int, limits: Limits) -> None:
    """Poll and save so often; nothing is closed or finished."""
    runner = app.runner(STREAM, {}, limits=limits)
    for _ in range(polls):
        assert runner.step()


@pytest.mark.parametrize(
    ("name", "layout", "snapshot_every"),
    [("t.csv", "wide", 10_000), ("t.parquet", "wide", 1), ("t.csv", "long", 10_000), ("t.parquet", "long", 1)],
)
def test_killed_amid_a_table_sorted_by_host_it_goes_on_the_same(
    reader_of: Any, of_the_stream: Any, tmp_path: Path, name: str, layout: str, snapshot_every: int
) -> None:
    app = reader_of(write(tmp_path / name, BY_HOST if layout == "wide" else long(BY_HOST)), layout=layout)
    for polls, poll in ((2, 50), (3, 7), (2, 90)):  # the first poll of a sorted table has no record
        killed_after(app, polls, Limits(poll=poll, snapshot_every=snapshot_every))
    read = app.reader.health(STREAM)["partitions"][0]["positions"]["telemetry"]["row"]
    assert read == len(BY_HOST) * (1 if layout == "wide" else len(FEATURES)) + 50 + 21 + 180, "no replay read too far"
    run_through(app, Limits(poll=60))
    assert differences(final_rows(app), of_the_stream) == []


@pytest.mark.parametrize("poll", [7, 200])
def test_killed_before_its_first_snapshot_it_is_replayed_up_to_the_checkpoint_only(
    reader_of: Any, of_the_stream: Any, tmp_path: Path, poll: int
) -> None:
    """Polls of another size than before: the row of the first position holds all rows that were sorted."""
    app = reader_of(write(tmp_path / "t.csv", BY_HOST))
    runner = app.runner(STREAM, {})
    for _ in range(3):
        runner.take("telemetry", runner.sources["telemetry"].poll(50))
        runner.save()
    assert app.store.restore("live", STREAM, 0).snapshots == []
    again = app.runner(STREAM, {}, limits=Limits(poll=poll))
    assert again.partition.windower.closed_through == runner.partition.windower.closed_through
    again.run()
    assert differences(final_rows(app), of_the_stream) == []


def changed_value(rows: list[Row]) -> list[Row]:
    return [*rows[:-1], rows[-1] | {"cpu": rows[-1]["cpu"] + 0.5}]


EDITS: dict[str, Callable[[list[Row]], list[Row]]] = {
    "a value behind what was read": changed_value,
    "a row more": lambda rows: [*rows, rows[-1] | {"time": rows[-1]["time"] + 60}],
    "a row less": lambda rows: rows[:-1],
    "another order": lambda rows: sorted(rows, key=lambda row: row["time"]),
    "another host": lambda rows: [row | {"entity": row["entity"].upper()} for row in rows],
}


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_table_changed_under_its_checkpoint_is_refused_and_nothing_is_lost(
    reader_of: Any, of_the_stream: Any, tmp_path: Path, name: str
) -> None:
    app = reader_of(write(tmp_path / name, BY_HOST))
    killed_after(app, 4, Limits(poll=50))
    before = final_rows(app), app.reader.counts()
    whole = (tmp_path / name).read_bytes()
    for edit in EDITS.values():
        write(tmp_path / name, edit(BY_HOST))
        with pytest.raises(SourceChanged, match=f"{name}: changed since it was read"):
            app.runner(STREAM, {})
        assert (final_rows(app), app.reader.counts()) == before
    (tmp_path / name).write_bytes(whole)
    run_through(app, Limits(poll=50))
    assert differences(final_rows(app), of_the_stream) == []


def test_a_table_that_was_only_touched_is_the_same(reader_of: Any, of_the_stream: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", BY_HOST)
    app = reader_of(path)
    killed_after(app, 2, Limits(poll=50))
    os.utime(path, ns=(path.stat().st_mtime_ns + 10**12,) * 2)
    run_through(app, Limits(poll=50))
    assert differences(final_rows(app), of_the_stream) == []


@pytest.mark.parametrize("polls", [1, 2])
def test_a_folder_to_which_a_file_came_is_refused_before_and_behind_the_first_snapshot(
    reader_of: Any, tmp_path: Path, polls: int
) -> None:
    folder = tmp_path / "hosts"
    folder.mkdir()
    write(folder / "a.csv", BY_HOST[:120])
    app = reader_of(folder)
    killed_after(app, polls, Limits(poll=50))
    assert len(app.store.restore("live", STREAM, 0).snapshots) == polls - 1
    write(folder / "b.csv", BY_HOST[120:240])
    with pytest.raises(SourceChanged, match=r"b\.csv: changed since"):
        app.runner(STREAM, {})


def test_the_commands_refuse_a_changed_table_and_keep_what_was_accepted(tmp_path: Path) -> None:
    section = '\n[stream.s.telemetry]\nlayout = "wide"\n'
    home = fresh_home(tmp_path / "home", CONFIGURATION + section)
    history = {key: values for key, values in cells_with_anomalies().items() if key[1] < FIT_SLOTS}
    past = [
        {"entity": entity, "time": START + 60 * slot} | dict(zip(FEATURES, map(float, values), strict=True))
        for (entity, slot), values in sorted(history.items())
    ]
    write(home / "past.parquet", past)
    path = write(home / "live.csv", BY_HOST)
    assert tsad(home, "fit", "s", "--from", "past.parquet").code == 0
    first = tsad(home, "run", "s", "--source", "live.csv", "--json")
    assert (first.code, first.json["rows"]) == (0, len(BY_HOST))
    alerts = tsad(home, "alerts", "--json").json
    assert alerts
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"0", b"1", 1))
    refused = tsad(home, "run", "s", "--source", "live.csv")
    assert refused.code == 1
    assert refused.error.startswith("live.csv: changed since it was read")
    assert tsad(home, "alerts", "--json").json == alerts
    path.unlink()
    gone = tsad(home, "run", "s", "--source", "live.csv")
    assert (gone.code, gone.error) == (1, "live.csv: there is no such file or folder")
    path.write_bytes(whole)
    again = tsad(home, "run", "s", "--source", "live.csv", "--json")
    assert (again.code, again.json["rows"]) == (0, 0)
    assert tsad(home, "alerts", "--json").json == alerts
