"""`tsad models promote --after-compare`: nobody's version judges before somebody has seen what it would change."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from storage.backfills import Backfills, UnitRow
from storage.models import Models
from storage.types import StoreError, StreamRow
from tests.storage.stored_samples import alert, empty
from tests.tsad.command_line import Said, tsad
from tests.tsad.histories import opened
from tsad.app import App

INPUT = {"input": "history/", "since": 5}


def ran(app: App, run: str, version: str, *slots: int, state: str = "finished", files: str = "a") -> None:
    """A backfill of this version that found alerts at these slots."""
    backfills = Backfills(app.database, app.now)
    reads = {"telemetry": {"type": "file", "path": files}}
    backfills.add(run, "s", version, INPUT, [UnitRow(run, 0, {"reads": reads}, state="finished")])
    app.store.put_stream(StreamRow(run, "s", 60 * 10**9))
    epoch = app.leases.acquire("s", [0], "host", run)[0]
    alerts = [alert("web-1", slot, run=run, stream="s", model_version=version) for slot in slots]
    app.store.save([empty(epoch=epoch, run=run, stream="s", alerts=alerts)])
    if state != "running":
        backfills.end(run, backfills.drive(run), state)  # type: ignore[arg-type]


@pytest.fixture
def two(home: Path) -> tuple[Path, str]:
    """A home whose active model (its version) and the candidate `v2` have judged the same history."""
    with opened(home) as app:
        active = app.models.active("s")
        assert active is not None
        app.models.add(replace(active, version="v2"))
        app.models.add(replace(active, version="v3"))
        ran(app, "june", active.version, 10, 30)
        ran(app, "june.v2", "v2", 10, 50, 70)
    return home, active.version


def active(home: Path) -> str:
    with opened(home) as app:
        row = app.models.active("s")
    assert row is not None
    return row.version


def promote(home: Path, *arguments: str) -> Said:
    return tsad(home, "models", "promote", "s", *arguments)


@pytest.mark.parametrize("run", ["june", "june.v2"])
def test_it_is_promoted_once_what_changes_was_seen(two: tuple[Path, str], run: str) -> None:
    home, before = two
    said = promote(home, "v2", "--after-compare", run, "--yes", "--json")
    assert (said.code, said.json[0]["version"], said.json[0]["state"]) == (0, "v2", "active")
    assert "june.v2 against june" in said.err
    assert active(home) == "v2"
    act = tsad(home, "audit", "list", "--json").json[0]
    assert (act["action"], act["target"]) == ("promote model", "model:s/v2")
    assert act["detail"] == {
        "before": before, "compared": ["june", "june.v2"], "counts": {"same": 1, "vanishes": 1, "appears": 2},
    }  # fmt: skip


def test_it_asks(two: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    home, before = two
    silent = promote(home, "v2", "--after-compare", "june")
    assert silent.code == 1
    assert "2 appear, 1 vanish, 0 change. Promote 'v2'? Say --yes to do so" in silent.err
    assert active(home) == before

    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    for answer, code, then in (("n\n", 1, before), ("y\n", 0, "v2")):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        assert promote(home, "v2", "--after-compare", "june").code == code
        assert active(home) == then


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("v2", "--after-compare", "july"), "there is no backfill 'july' of the stream 's'"),
        (("v3", "--after-compare", "june"), "no finished run of the model 'v3' has read what 'june' did"),
        (("v3", "--after-compare", "june.v2"), "is of the model 'v2', and neither of the active one"),
        (("v9", "--after-compare", "june"), "stream 's' has no model version 'v9'; it has: "),
    ],
)
def test_without_a_comparison_nothing_is_promoted(two: tuple[Path, str], arguments: tuple[str, ...], said: str) -> None:
    home, before = two
    wrong = promote(home, *arguments, "--yes")
    assert wrong.code == 1
    assert said in wrong.error
    assert active(home) == before
    own = promote(home, before, "--after-compare", "june", "--yes")
    assert own.error == f"{before!r} is the active model of 's' already"


@pytest.mark.parametrize(
    ("state", "files", "said"),
    [
        ("running", "a", "no finished run of the model 'v3' has read what 'june' did"),
        ("failed", "a", "no finished run of the model 'v3'"),
        ("finished", "b", "no finished run of the model 'v3'"),
    ],
)
def test_the_other_run_must_be_finished_and_have_read_the_same(
    two: tuple[Path, str], state: str, files: str, said: str
) -> None:
    home, before = two
    with opened(home) as app:
        ran(app, "june.v3", "v3", 10, state=state, files=files)
    assert said in promote(home, "v3", "--after-compare", "june", "--yes").error
    if state != "finished":
        assert f"run 'june.v3' is not finished, but {state}" in promote(home, "v3", "--after-compare", "june.v3").error
    assert active(home) == before


def test_of_several_that_which_was_made_together_counts(two: tuple[Path, str]) -> None:
    home, _ = two
    with opened(home) as app:
        ran(app, "later", "v2")
    assert promote(home, "v2", "--after-compare", "june", "--yes").code == 0
    assert tsad(home, "audit", "list", "--json").json[0]["detail"]["compared"] == ["june", "june.v2"]


def test_a_promotion_without_a_comparison_says_who(two: tuple[Path, str]) -> None:
    home, before = two
    assert promote(home, "v2").code == 0
    act = tsad(home, "audit", "list", "--json").json[0]
    assert (act["action"], act["detail"]) == ("promote model", {"before": before})


def test_nothing_is_promoted_where_another_was_meanwhile(two: tuple[Path, str]) -> None:
    home, before = two
    with opened(home) as app:
        models = Models(app.database, app.now)
        models.promote("s", "v3")
        with pytest.raises(StoreError, match=r"is not the active model any more: .'v3'."):
            models.promote("s", "v2", "ann", {}, instead_of=before)
    assert active(home) == "v3"
