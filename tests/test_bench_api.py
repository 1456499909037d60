"""The benchmark of the HTTP API measures what it says it does: a tiny run of it, without a word about time."""

import json
import sys
from pathlib import Path

import psycopg
import pytest

from storage.engine import open_database
from tsad.api.application import api
from tsad.operating import ApiConfig

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks import api as bench  # noqa: E402


@pytest.fixture
def filled(postgresql_url: str) -> str:
    with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as line:
        bench.prepare(line)
        bench.fill(line, 1, 30)
        bench.fill(line, 31, 100)
    return postgresql_url


def test_every_alert_has_explanations_a_decision_and_but_the_first_an_incident(filled: str) -> None:
    with psycopg.connect(filled.replace("+psycopg", "")) as line:
        counts = line.execute("SELECT count(*) FROM explanations GROUP BY alert_id").fetchall()
        lone = "SELECT count(*) FROM incident_alerts a LEFT JOIN incidents i ON i.id = a.incident WHERE i.id IS NULL"
        assert [count for (count,) in counts] == [bench.EXPLAINED] * 100
        assert line.execute("SELECT count(*) FROM decisions JOIN alerts ON alerts.id = alert_id").fetchone() == (100,)
        assert line.execute(lone).fetchone() == (bench.MEMBERS - 1,)
        assert line.execute("SELECT count(*) FROM incidents").fetchone() == (100 // bench.MEMBERS,)


def test_all_that_is_asked_is_answered_and_counted(filled: str, tmp_path: Path) -> None:
    with bench.serving(filled, tmp_path) as (port, token):
        client = bench.Client(port, token)
        asked = bench.requests(client, 60, 100)
        assert {one.kind for one in asked} == {"list", "detail"}
        assert any("cursor=" in one.path for one in asked)
        load = bench.Load([*asked, bench.Request("detail", "/alerts/ffffffff")], rate=200)
        load.play(port, token)
        one = json.loads(client.get(f"/alerts/{bench.id_of(77)}"))
        page = json.loads(client.get("/incidents?limit=100"))
    found = bench.figures(load, 100, {"100": 1.0})
    assert (found["requests"], found["errors"], found["rows"]) == (60, 1, 100)
    assert "404" in found["said"][0]
    assert found["detail_p99_ms"] >= found["detail_p50_ms"] > 0
    assert len(one["explanations"]) >= 3
    assert one["incident"]["number"] == 77 // bench.MEMBERS
    assert len(page["items"]) == 25


def test_what_it_fills_is_what_the_product_writes(filled: str) -> None:
    """Every column that the product's own rows have is there: the application reads them by its own types."""
    database = open_database(filled)
    made = api(database, ApiConfig()).state.desk
    alert, parts = made.alert(bench.id_of(50))
    members = made.incidents.members([made.incidents.find("INC-12").id])
    database.close()
    assert (alert.state, len(alert.votes), len(parts)) == ("resolved", 8, bench.EXPLAINED)
    assert [len(alert.evidence[name]) for name in ("features", "observed", "lower", "upper")] == [bench.CURVES] * 4
    assert len(members) == bench.MEMBERS
