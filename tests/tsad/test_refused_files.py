"""Model files that are gone, cut, changed or of another: `tsad run` says which, and what was accepted stays."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.types import FileRefusedError, ModelRow
from tests.tsad.command_line import tsad
from tests.tsad.streams import (
    FEATURES,
    FIT_SLOTS,
    SLOTS,
    START,
    STREAM,
    ListApp,
    cells_with_anomalies,
    differences,
    final_rows,
    payloads,
    run_through,
)
from tsad.runner import Limits

TELEMETRY = payloads(cells_with_anomalies(), FIT_SLOTS)


def flipped(content: bytes) -> bytes:
    """One bit in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def repacked(content: bytes) -> bytes:
    """The same parts in a zip of other bytes."""
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return sink.getvalue()


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[:-1000],
    "empty": lambda content: b"",
    "changed": flipped,
    "longer": lambda content: content + b"\n",
    "repacked": repacked,
    "no model at all": lambda content: b'{"version": "1"}',
}


def model_file(home: Path) -> Path:
    (found,) = (home / "tsad-models" / "models").rglob("*.zip")
    return found


def add_records(home: Path, slots: int) -> None:
    """So many slots of calm records more at the end of `live.jsonl`."""
    with (home / "live.jsonl").open("a") as file:
        for slot in range(SLOTS, SLOTS + slots):
            row = {"entity": "a", "time": START + 60 * slot, "values": dict.fromkeys(FEATURES, 0.5)}
            file.write(json.dumps(row) + "\n")


def stored(home: Path) -> list[Any]:
    """What the commands show of what was accepted."""
    commands = (("alerts",), ("dead-letters", "s"), ("models",))
    return [tsad(home, *words, "--json").json for words in commands]


def test_every_damage_is_one_line_that_names_the_file_and_nothing_is_lost(home: Path) -> None:
    add_records(home, 9)
    path, before = model_file(home), stored(home)
    content = path.read_bytes()
    for name, damage in DAMAGE.items():
        path.write_bytes(damage(content))
        said = tsad(home, "run", "s", "--source", "live.jsonl")
        assert said.code == 1, name
        assert path.name in said.error, name
        assert "was changed: its SHA-256 is" in said.error, name
        assert stored(home) == before, name
    path.unlink()
    gone = tsad(home, "run", "s", "--source", "live.jsonl")
    assert gone.code == 1
    assert gone.error.endswith(f"{path.name} is missing")
    assert stored(home) == before
    path.write_bytes(content)
    went_on = tsad(home, "run", "s", "--source", "live.jsonl", "--json")
    assert (went_on.code, went_on.json["rows"]) == (0, 9)


def test_looking_needs_no_model_file(home: Path) -> None:
    before = stored(home)
    model_file(home).unlink()
    assert stored(home) == before
    (alert, *_) = before[0]
    assert tsad(home, "explain", alert["id"]).code == 0


@pytest.fixture
def two_models(make_app: Any) -> tuple[ListApp, ModelRow]:
    """An application before its first record, and a second version of its own."""
    app = make_app({"telemetry": payloads(cells_with_anomalies())})
    folder = Path(app.config.models, "models")
    shared = folder.resolve()
    folder.unlink()
    for path in shared.rglob("*.zip"):
        copy = folder / path.relative_to(shared)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    settings = app.config.stream[STREAM]
    other = app.config.model_copy(update={"stream": {STREAM: settings.model_copy(update={"seed": 11})}})
    kept, app.config = app.config, other
    second = app.fit(STREAM, app.collect(STREAM, {}, until=2 * FIT_SLOTS))
    app.config, app.lists = kept, {"telemetry": TELEMETRY}
    return app, second


def test_another_versions_file_in_its_place_is_refused(two_models: tuple[ListApp, ModelRow]) -> None:
    app, second = two_models
    first = app.models.active(STREAM)
    assert first is not None
    assert first.version != second.version
    Path(app.config.models, first.file).write_bytes(Path(app.config.models, second.file).read_bytes())
    with pytest.raises(FileRefusedError, match=first.version):
        app.runner(STREAM, {})


def test_a_row_that_claims_another_versions_file_is_refused(two_models: tuple[ListApp, ModelRow]) -> None:
    """The checksum fits; the file itself says which version it is."""
    app, second = two_models
    forged = ModelRow(STREAM, "forged", second.file, second.checksum, second.created_at)
    app.models.add(forged)
    app.models.promote(STREAM, "forged")
    with pytest.raises(FileRefusedError, match=f"{second.version}, not {STREAM} forged"):
        app.runner(STREAM, {})


def test_a_model_of_another_stream_is_refused(two_models: tuple[ListApp, ModelRow]) -> None:
    app, second = two_models
    section = app.config.stream[STREAM]
    app.config = app.config.model_copy(update={"stream": {STREAM: section, "other": section}})
    app.models.add(ModelRow("other", second.version, second.file, second.checksum, second.created_at))
    app.models.promote("other", second.version)
    with pytest.raises(FileRefusedError, match=f"is tsad-model-1 {STREAM} {second.version}, not other"):
        app.runner("other", {})
    assert app.reader.counts()["scores"] == 0


def test_a_broken_version_that_is_promoted_amid_a_run_stops_it_and_a_rollback_goes_on(
    two_models: tuple[ListApp, ModelRow], make_app: Any
) -> None:
    app, second = two_models
    limits = Limits(poll=30, snapshot_every=40)
    runner = app.runner(STREAM, {}, limits=limits)
    for _ in range(6):
        runner.step()
    before = final_rows(app), app.reader.health(STREAM)["partitions"][0]["positions"]
    path = Path(app.config.models, second.file)
    path.write_bytes(flipped(path.read_bytes()))
    app.models.promote(STREAM, second.version)
    with pytest.raises(FileRefusedError, match=second.version):
        app.runner(STREAM, {}, limits=limits).run()
    assert (final_rows(app), app.reader.health(STREAM)["partitions"][0]["positions"]) == before
    app.models.rollback(STREAM)
    run_through(app, limits)
    plain = make_app({"telemetry": TELEMETRY})
    run_through(plain, limits)
    assert differences(final_rows(app), final_rows(plain)) == []
