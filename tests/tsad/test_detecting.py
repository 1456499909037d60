"""POST /api/v1/detect: a series in the request body, judged at once."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from storage.engine import Database, open_database
from tests.tsad.asking import Asking
from tsad.api import detection
from tsad.ondemand import MOST_SLOTS, Asked, judge_all, judge_last, slots_of

PATH = "/api/v1/detect"
MINUTE = 60 * 10**9


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    database: Database = open_database(f"sqlite:///{tmp_path_factory.mktemp('detect')}/tsad.db", create=True)
    found = Asking(database)
    with found.client:
        yield found
    database.close()


def waves(count: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Swinging channels with a little noise: `count` x `channels`."""
    rng = np.random.default_rng(seed)
    swing = np.sin(np.arange(count) / 4)[:, None] * np.arange(1, channels + 1)
    return np.asarray(swing + rng.normal(0, 0.1, (count, channels)))


def told(values: np.ndarray, **more: Any) -> dict[str, Any]:
    """A request."""
    names = [f"c{place}" for place in range(values.shape[1])]
    series = {
        name: [None if math.isnan(value) else value for value in column.tolist()]
        for name, column in zip(names, values.T, strict=True)
    }
    return {"series": series, **more}


def ask(asking: Asking, body: Any, role: Any = "viewer") -> Any:
    return asking.client.post(PATH, json=body, headers=asking.bearer(role))


def found(asking: Asking, body: Any) -> Any:
    answer = ask(asking, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def flagged(said: Any) -> list[int]:
    return [point["index"] for point in said["points"] if point["is_anomaly"]]


@pytest.fixture(scope="module")
def spikes(asking: Asking) -> tuple[np.ndarray, Any]:
    """Two channels with a spike in each half, and what is said of them. Not to be changed."""
    values = waves(400, 2)
    values[90, 0] += 3
    values[300:302, 1] -= 6
    return values, found(asking, told(values, step=60))


def test_every_point_is_judged_and_a_spike_is_one_point(spikes: tuple[np.ndarray, Any]) -> None:
    """Not ten: what looks at the last ten slots forwards and backwards agrees on the spike alone."""
    _, said = spikes
    assert [point["index"] for point in said["points"]] == list(range(400))
    assert set(flagged(said)) >= {90, 300}
    assert set(flagged(said)) <= {89, 90, 91, 299, 300, 301, 302}
    assert said["anomalies"] == len(flagged(said))
    assert (said["mode"], said["step_seconds"]) == ("entire", 60)
    for point in said["points"]:
        assert point["is_anomaly"] == (point["score"] > 1) == (point["severity"] is not None)
        assert bool(point["attribution"]) == point["is_anomaly"]
        assert 0 < point["p"] <= 1


def test_an_anomaly_names_its_channel_and_lies_beside_what_is_usual(spikes: tuple[np.ndarray, Any]) -> None:
    values, said = spikes
    assert [said["points"][at]["attribution"][0]["feature"] for at in (90, 300)] == ["c0", "c1"]
    low, high = (np.array([point[edge]["c1"] for point in said["points"]]) for edge in ("lower", "upper"))
    inside = (values[:, 1] >= low) & (values[:, 1] <= high)
    assert inside.mean() > 0.9
    assert not inside[300]
    assert said["points"][300]["severity"] in ("warning", "critical")


def test_the_answer_is_a_function_of_the_request(asking: Asking, spikes: tuple[np.ndarray, Any]) -> None:
    values, said = spikes
    assert found(asking, told(values, step=60)) == said


def test_a_high_level_hides_nothing(asking: Asking, spikes: tuple[np.ndarray, Any]) -> None:
    values, said = spikes
    assert flagged(found(asking, told(values + 1e9))) == flagged(said)


@pytest.mark.parametrize("strange", [False, True])
def test_the_last_point(asking: Asking, strange: bool) -> None:
    values = waves(200)
    values[-1] += 4 * strange
    said = found(asking, told(values, mode="last"))
    (point,) = said["points"]
    assert (point["index"], point["is_anomaly"], said["anomalies"]) == (199, strange, int(strange))
    assert point["lower"]["c0"] < point["upper"]["c0"]


def test_times_say_the_step_and_what_is_missing(asking: Asking) -> None:
    values = waves(300)
    values[150] += 4
    stamps = [f"2026-01-05T{minute // 60:02}:{minute % 60:02}:00Z" for minute in range(300)]
    kept = [minute for minute in range(300) if not 40 <= minute < 60]
    said = found(asking, told(values[kept], timestamps=[stamps[minute] for minute in kept]))
    assert said["step_seconds"] == 60
    assert 130 in flagged(said), "of the points that came, the 131st"
    assert said["points"][130]["time"] == stamps[150]
    assert len(said["points"]) == 280


def test_values_that_are_missing_are_no_anomalies(asking: Asking) -> None:
    values = waves(200, 2)
    values[50:60, 0] = math.nan
    values[120] = math.nan
    said = found(asking, told(values))
    assert len(said["points"]) == 200
    assert not set(flagged(said)) & set(range(50, 60))
    said = found(asking, told(np.column_stack([values[:, 1], np.full(200, math.nan)])))
    assert said["points"][0]["upper"]["c1"] is None


def test_a_season_of_the_day_is_no_anomaly() -> None:
    """Ten days of an hour's steps, with a peak at nine each morning but one."""
    hours = np.arange(240)
    rng = np.random.default_rng(1)
    values = (hours % 24 == 9) * 8.0 + rng.normal(0, 0.2, len(hours))
    times = 1_767_571_200 * 10**9 + hours * 60 * MINUTE
    said = judge_all(Asked(["c"], values[:, None], 60 * MINUTE, times))
    assert said.anomalous.mean() < 0.1


@pytest.mark.parametrize("kind", ["constant", "steps", "short"])
def test_plain_series_raise_no_alarm(kind: str) -> None:
    count = {"constant": 100, "steps": 200, "short": 48}[kind]
    values = {"constant": np.full(count, 5.0), "steps": np.arange(count) % 4.0, "short": np.arange(count) % 3.0}[kind]
    assert not judge_all(Asked(["c"], values[:, None], MINUTE)).anomalous.any()
    assert not judge_last(Asked(["c"], values[:, None], MINUTE)).anomalous.any()


def test_of_plain_noise_about_as_much_is_an_anomaly_as_was_acceptable() -> None:
    noise = np.random.default_rng(5).normal(0, 1, (150, 6))
    alarms = [judge_all(Asked(["c"], noise[:, [k]], MINUTE)).anomalous.sum() for k in range(6)]
    assert sum(alarms) <= 12
    assert not any(judge_last(Asked(["c"], noise[:, [k]], MINUTE)).anomalous.any() for k in range(6))


def test_more_false_alarms_are_had_for_the_asking() -> None:
    values = waves(600)
    strict, lax = (
        np.nan_to_num(judge_all(Asked(["c"], values, MINUTE, None, wanted)).score).sum() for wanted in (0.1, 100.0)
    )
    assert lax > strict


SERIES = {"c": [1.0] * 48}
WRONG: list[tuple[Any, str]] = [
    ({}, "body.series: Field required"),
    ({"series": {}}, "at least 1 item"),
    ({"series": {"c": [1.0] * 47}}, "at least 48 items"),
    ({"series": {"c": [1.0] * 8641}}, "at most 8640 items"),
    ({"series": {"c": ["x"] * 48}}, "valid number"),
    ({"series": {"c": [1e31] * 48}}, "less than or equal to 1000000"),
    ({"series": {"": [1.0] * 48}}, "at least 1 character"),
    ({"series": {"c": [1.0] * 48, "d": [1.0] * 49}}, "must be of one length, got 'c' 48, 'd' 49"),
    ({"series": SERIES, "timestamps": ["2026-01-05T00:00:00Z"]}, "'timestamps' 1"),
    ({"series": SERIES, "timestamps": ["2026-01-05T00:00:00"] * 48}, "timezone"),
    ({"series": SERIES, "timestamps": ["2026-01-05T00:00:00Z"] * 48}, "timestamps must rise"),
    ({"series": SERIES, "mode": "both"}, "'entire' or 'last'"),
    ({"series": SERIES, "timezone": "Mars/Olympus"}, "a time zone of the tz database"),
    ({"series": SERIES, "step": 0}, "greater than or equal to 0.001"),
    ({"series": SERIES, "false_alarms": 0}, "greater than 0"),
    ({"series": SERIES, "sensitivity": 90}, "Extra inputs are not permitted"),
    ({"series": {"c": [None] * 48}}, "there is nothing to fit on"),
    ({"series": {f"c{n}": [1.0] * 8640 for n in range(24)}}, "200000 values are allowed in all"),
    (5, "body"),
]


@pytest.mark.parametrize(("body", "said"), WRONG)
def test_what_cannot_be_judged_is_a_problem(asking: Asking, body: Any, said: str) -> None:
    answer = ask(asking, body)
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_no_body_is_a_problem_too(asking: Asking) -> None:
    for content in (b"", b"{", b"\xff", b"[" * 100_000):
        answer = asking.client.post(PATH, content=content, headers=asking.bearer("viewer"))
        assert answer.status_code == 422


def test_so_many_at_a_time(asking: Asking) -> None:
    asking.made.state.bench.busy = detection.AT_ONCE
    answer = ask(asking, told(waves(48)))
    asking.made.state.bench.busy = 0
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")


def test_a_viewer_may_and_a_sender_may_not(asking: Asking) -> None:
    assert ask(asking, {}, "ingest").status_code == 403
    assert asking.client.post(PATH, json={}).status_code == 401
    assert asking.client.post(PATH, content=b"x" * (2 << 20)).status_code == 413


def test_slots_of_times() -> None:
    slots, step = slots_of([0, 61 * 10**9, 119 * 10**9, 300 * 10**9], MINUTE)
    assert (slots.tolist(), step) == ([0, 1, 2, 5], MINUTE)
    assert slots_of([5, 10, 15, 30], None)[1] == 5
    with pytest.raises(ValueError, match="two points lie within one step of 60 s"):
        slots_of([0, 10**9], MINUTE)
    with pytest.raises(ValueError, match=f"{MOST_SLOTS} are allowed"):
        slots_of([0, 1, MOST_SLOTS + 1], 1)


def test_severities_are_of_whole_runs() -> None:
    values = waves(300)
    values[200:212] += 5
    said = judge_all(Asked(["c"], values, MINUTE))
    severities = said.severities()
    assert severities[205] in ("warning", "critical")
    assert severities[0] is None
    assert [one is not None for one in severities] == said.anomalous.tolist()
