"""What lines say, through a whole stream: a value out of its range and a pair that does not go together are alerts."""

import random
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from storage.read import AlertFilter
from tests.tsad.streams import (
    ENTITIES,
    FIT_SLOTS,
    SLOTS,
    START,
    STREAM,
    configuration,
    differences,
    final_rows,
    line,
    list_app,
    run_through,
)
from tsad.runner import Limits

LOGS: dict[str, Any] = {"logs": {"templates": 8, "relations": ["user", "host"]}, "telemetry": False}
SLOW, STRANGE = 350, 385
"""When the requests of `b` take long, and when users of one team are at the hosts of the other in `c`."""


def log_lines(first: int, stop: int) -> list[bytes]:
    draw, lines = random.Random(7), []
    for slot in range(stop):
        for entity in ENTITIES:
            for place in range(4):
                team = draw.randrange(2)
                user, host = f"user-{team * 9 + draw.randrange(9)}", f"host-{team * 4 + draw.randrange(4)}"
                took = draw.randrange(90)
                if (entity, slot) == ("b", SLOW):
                    took = 9000 + place
                if (entity, slot) == ("c", STRANGE):
                    host = f"host-{(1 - team) * 4}"
                record = msgspec.json.decode(line(entity, slot, f"INFO GET /item/7 took {took} ms", place))
                if slot >= first:
                    lines.append(msgspec.json.encode(record | {"user": user, "host": host}))
    return lines


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Fitted on calm slots and run through the rest. Not to be changed."""
    folder: Path = tmp_path_factory.mktemp("values")
    app = list_app(configuration(folder, f"sqlite:///{folder}/tsad.db", **LOGS), {"logs": log_lines(0, FIT_SLOTS)})
    row = app.fit(STREAM, app.collect(STREAM, {}))
    app.models.promote(STREAM, row.version)
    app.lists = {"logs": log_lines(FIT_SLOTS, SLOTS)}
    run_through(app, Limits())
    yield app
    app.close()


def said(app: Any, entity: str, slot: int) -> dict[str, list[str]]:
    found = app.reader.alerts(AlertFilter(stream=STREAM, entity=entity, limit=None))
    alert = next(alert for alert in found if 0 <= alert.opened_slot - START // 60 - slot < 5)
    assert alert.state != "retracted"
    texts: dict[str, list[str]] = alert.evidence["said"]
    return texts


def test_a_value_out_of_its_range_is_an_alert_that_says_so(app: Any) -> None:
    text = said(app, "b", SLOW)["log.field"][0]
    assert text.startswith("INFO GET <PATH> took <NUM> ms (value 9000 at ")
    assert text.endswith("usually 0 to 89)")


def test_a_pair_that_does_not_go_together_is_an_alert_that_names_both(app: Any) -> None:
    text = said(app, "c", STRANGE)["log.relation"][0]
    assert 'user "user-' in text
    assert text.endswith("do not go together)")


def test_nobody_else_is_suspected(app: Any) -> None:
    found = app.reader.alerts(AlertFilter(stream=STREAM, limit=None))
    assert {alert.entity for alert in found if alert.state != "retracted"} == {"b", "c"}


def test_what_is_learnt_of_lines_is_part_of_the_version(app: Any) -> None:
    model = app.shelf(STREAM).read(app.models.active(STREAM))
    assert model.lines.features == ["log.rare", "log.sequence", "log.field", "log.relation"]
    assert set(model.lines.features) <= set(model.ensemble.features)


@pytest.mark.parametrize(("poll", "crashes"), [(37, set()), (150, {300, 700})])
def test_polls_and_crashes_change_nothing(
    app: Any, poll: int, crashes: set[int], tmp_path: Path, sqlite_template: Path
) -> None:
    shutil.copy(sqlite_template, tmp_path / "tsad.db")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "models").symlink_to(Path(app.config.models) / "models")
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/tsad.db", **LOGS)
    other = list_app(config, {"logs": log_lines(FIT_SLOTS, SLOTS)}, {"logs poll": set(crashes)})
    row = app.models.active(STREAM)
    other.models.add(row)
    other.models.promote(STREAM, row.version)
    assert run_through(other, Limits(poll=poll)) == len(crashes)
    assert differences(final_rows(other), final_rows(app)) == []
    other.close()
