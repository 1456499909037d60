"""A service that never logged an error logs its first ones: an alert that shows what they say."""

import random
from pathlib import Path
from typing import Any

import pytest

from storage.read import AlertFilter
from tests.tsad.streams import (
    ENTITIES,
    FIT_SLOTS,
    SLOTS,
    START,
    STREAM,
    configuration,
    line,
    list_app,
    normal,
    payloads,
    run_through,
)
from tsad.report import alert_row
from tsad.runner import Limits
from tsad.texts import template_texts

MOMENT = 360
SAID = "payment gateway {} refused the card: broken pipe"


def usual_lines(first: int, stop: int, more: list[str]) -> list[bytes]:
    """Without an error; `b` says `more` at the moment, too."""
    rng, lines = random.Random(11), []
    for slot in range(stop):
        for entity in ENTITIES:
            said = [
                f"INFO GET /item/{rng.randrange(9000)} took {rng.randrange(90)} ms" for _ in range(rng.randrange(5))
            ]
            said += [f"INFO retry {rng.randrange(9)} of the upload"] * (rng.random() < 0.3)
            said += more * ((entity, slot) == ("b", MOMENT))
            if slot >= first:
                lines += [line(entity, slot, text, place) for place, text in enumerate(said)]
    return lines


def alerts_around(app: Any) -> list[Any]:
    found = app.reader.alerts(AlertFilter(stream=STREAM, entity="b", limit=None))
    moment = START // 60 + MOMENT
    return [alert for alert in found if moment <= alert.opened_slot < moment + 16]


@pytest.fixture(scope="module", params=["both", "logs alone"])
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs a stream fitted on calm slots on the rest, in which `b` says something more; returns the application."""
    alone, made = request.param == "logs alone", []
    cells = normal(SLOTS, ENTITIES, 1)

    def run(more: list[str]) -> Any:
        folder: Path = tmp_path_factory.mktemp("errors")
        extra: dict[str, Any] = {"logs": {"templates": 8}} | ({"telemetry": False} if alone else {})
        fit: dict[Any, list[bytes]] = {"logs": usual_lines(0, FIT_SLOTS, [])}
        live: dict[Any, list[bytes]] = {"logs": usual_lines(FIT_SLOTS, SLOTS, more)}
        if not alone:
            fit["telemetry"] = payloads({key: values for key, values in cells.items() if key[1] < FIT_SLOTS})
            live["telemetry"] = payloads(cells, FIT_SLOTS)
        app = list_app(configuration(folder, f"sqlite:///{folder}/tsad.db", **extra), fit)
        made.append(app)
        row = app.fit(STREAM, app.collect(STREAM, {}))
        app.models.promote(STREAM, row.version)
        app.lists = live
        run_through(app, Limits())
        return app

    yield run
    for app in made:
        app.close()


def test_a_burst_of_first_errors_in_one_slot_is_an_alert_that_says_what_they_said(make: Any) -> None:
    app = make(["ERROR " + SAID.format(number) for number in range(20)])
    alert = alerts_around(app)[0]
    assert alert.state != "retracted"
    text = "ERROR " + SAID.format("<NUM>")
    row = alert_row(*app.reader.alert(alert.id), template_texts(alert))
    assert row["templates"].count(text) == 1
    assert text in alert.sentence
    assert "log.severity.error" in alert.attribution


def test_a_single_line_never_seen_before_is_a_weak_alert_at_most(make: Any) -> None:
    """It is as rare as the one episode a day that the budget allows, and no more than that."""
    burst = max(alert.score for alert in alerts_around(make(["ERROR " + SAID.format(n) for n in range(20)])))
    single = [alert.score for alert in alerts_around(make(["INFO " + SAID.format(7)]))]
    assert len(single) <= 1
    assert max(single, default=0) < min(1.25, 0.7 * burst)


def test_every_class_of_severity_has_a_column_whether_it_came_in_the_fit_or_not(make: Any) -> None:
    app = make([])
    features = app.shelf(STREAM).read(app.models.active(STREAM)).ensemble.features
    levels = {name.removeprefix("log.severity.") for name in features if name.startswith("log.severity.")}
    assert levels == {"debug", "info", "warning", "error", "fatal"}
