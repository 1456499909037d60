"""A run over history is deleted: all of it goes, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
from stored_samples import START, Clock, alert, at, empty, stored

from storage import snapshots
from storage.acts import Acts
from storage.backfills import Backfills, TakenOverError, UnitRow
from storage.deletion import delete_run
from storage.engine import Database
from storage.prune import PRUNABLE, prune
from storage.runs import Runs
from storage.store import Store
from storage.types import NotThereError
from tests.storage.kept_runs import fill, whole


def rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """All that is stored but who did what."""
    return {name: found for name, found in stored(database).items() if name not in {"acts", "act_heads"}}


def gone(database: Database, run: str, models: Path, batch: int = 5000) -> dict[str, int]:
    return delete_run(database, run, str(models), lambda: None, "ann", START, batch)


def test_every_row_of_a_run_goes_and_no_other(database: Database, tmp_path: Path) -> None:
    fill(database, "live")
    before = rows(database)
    fill(database, "june")
    added = {name for name, found in rows(database).items() if found != before[name]}
    assert {"alerts", "explanations", "marks", "mark_alerts", "incidents", "incident_alerts", "backfill_units"} <= added
    counts = gone(database, "june", tmp_path)
    assert rows(database) == before
    assert counts["alerts"] == 2
    assert counts["scores"] == counts["checkpoints"] == counts["backfills"] == counts["leases"] == 1


def test_it_goes_in_short_transactions(database: Database, tmp_path: Path) -> None:
    fill(database, "june")
    many = [replace(alert("web-1", slot=slot), run="june") for slot in range(100, 1300)]
    Store(database, Clock()).save([empty(epoch=1, run="june", alerts=many)])
    assert gone(database, "june", tmp_path, batch=1)["alerts"] == 1202
    assert Runs(database).names() == []


def test_who_still_writes_it_is_refused(database: Database, tmp_path: Path) -> None:
    fill(database, "june")
    found = Backfills(database)
    epoch, refused = found.drive("june"), []

    def meanwhile() -> None:
        saved = Store(database, Clock()).save([whole("june")])
        refused.append(len(saved.lost))

    delete_run(database, "june", str(tmp_path), meanwhile, "ann", START)
    assert refused == [1]
    with pytest.raises(TakenOverError, match="or was deleted"):
        found.mark(epoch, [UnitRow("june", 0, {})])
    assert Store(database, Clock()).save([whole("june")]).lost


def test_its_snapshots_go(database: Database, tmp_path: Path) -> None:
    for run in ("june", "june.v2", "live"):
        fill(database, run)
        snapshots.write(str(tmp_path), run, "fleet", 0, slot=1, parts=[])
    gone(database, "june", tmp_path)
    assert sorted(path.name for path in (tmp_path / "snapshots").iterdir()) == ["june%2Ev2", "live"]


def test_what_was_interrupted_goes_on(database: Database, tmp_path: Path) -> None:
    fill(database, "june")

    def full() -> None:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        delete_run(database, "june", str(tmp_path), full, "ann", START)
    assert Runs(database).names() == ["june"]
    gone(database, "june", tmp_path)
    assert Runs(database).names() == []
    assert [(act.action, act.target) for act in Acts(database).listing(2)] == [("delete run", "run:june")] * 2


@pytest.mark.parametrize(
    ("run", "said"), [("live", "`live` is what the streams found"), ("july", "there is no run 'july'; there is: june")]
)
def test_only_a_run_over_history_can_be_deleted(database: Database, tmp_path: Path, run: str, said: str) -> None:
    for name in ("live", "june"):
        fill(database, name)
    before = rows(database)
    with pytest.raises(NotThereError, match=said):
        gone(database, run, tmp_path)
    assert rows(database) == before


def test_retention_leaves_runs_whole(database: Database) -> None:
    """Half of one would be compared as if it had found no more."""
    fill(database, "june")
    before = rows(database)
    counts = prune(database, dict.fromkeys(PRUNABLE, 1), at(0).replace(year=2036))
    assert set(counts.values()) == {0}
    assert rows(database) == before
