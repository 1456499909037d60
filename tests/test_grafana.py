"""Grafana's dashboards: as they are provisioned, and each of their queries on the real schema."""

import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from storage.engine import Database, open_database
from storage.leases import Leases
from storage.store import Store
from storage.types import StreamRow
from tests.storage.stored_samples import Clock, bundle
from tsad.triage.following import triage_of
from tsad.triage.settings import TriageConfig

ROOT = Path(__file__).resolve().parent.parent / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "dashboards" / "tsad.json").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT.parent.parent / "docker-compose.yml").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
NAMED = {panel["title"]: panel["targets"][0]["rawSql"] for panel in PANELS}
QUERIES = NAMED | {
    "annotations": DASHBOARD["annotations"]["list"][0]["target"]["rawSql"],
    "streams": DASHBOARD["templating"]["list"][0]["query"],
}


def filled(query: str) -> str:
    """With Grafana's macros and variables as it fills them in for PostgreSQL."""
    span = r"\1 BETWEEN '2020-01-01T00:00:00Z' AND '2030-01-01T00:00:00Z'"
    query = re.sub(r"\$__timeFilter\(([^)]*)\)", span, query)
    grouped = r'floor(extract(epoch from \1)/3600)*3600 AS "time"'
    query = re.sub(r"\$__timeGroupAlias\(([^,]*), '1h'\)", grouped, query)
    return query.replace("$stream", "'fleet','other'")


@pytest.fixture(scope="module")
def url(postgresql_server: str) -> str:
    """A database with rows of every kind, on which triage has been."""
    name = "grafana"
    with psycopg.connect(f"{postgresql_server}postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_tsad")
    opened: Database = open_database(f"{postgresql_server}{name}")
    Leases(opened, Clock()).acquire("fleet", [0], "host-a")
    store = Store(opened, Clock())
    store.put_stream(StreamRow("live", "fleet", 60 * 10**9, {}))
    store.save([bundle()])
    triage_of(opened, TriageConfig(), Clock()).all()
    opened.close()
    return f"{postgresql_server}{name}"


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_runs_and_finds_something_where_there_is(url: str, name: str) -> None:
    query = filled(QUERIES[name])
    assert "$" not in query
    with psycopg.connect(url) as connection:
        connection.execute("SET default_transaction_read_only = on")
        rows = connection.execute(query).fetchall()
    empty = {"annotations", "Messages that wait or were given up"}
    assert rows or name in empty


@pytest.mark.parametrize("name", [panel["title"] for panel in PANELS if panel["type"] == "timeseries"])
def test_series_have_a_time_and_a_number(url: str, name: str) -> None:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(filled(NAMED[name]))
        columns = [column.name for column in cursor.description or ()]
        rows = cursor.fetchall()
    assert columns[:2] == ["time", "metric"]
    assert len(columns) == 3
    times = [row[0] for row in rows]
    assert times == sorted(times)


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_only_live_runs_are_shown() -> None:
    for name, query in QUERIES.items():
        assert "run = 'live'" in query or "FROM deliveries" in query, name


def test_the_data_source_is_the_one_that_panels_name_and_has_no_password_in_it() -> None:
    [source] = yaml.safe_load((ROOT / "provisioning" / "datasources" / "tsad.yml").read_text())["datasources"]
    named = {panel["datasource"]["uid"] for panel in PANELS} | {
        target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]
    }
    assert named == {source["uid"]}
    assert {panel["datasource"]["type"] for panel in PANELS} == {source["type"]}
    assert source["secureJsonData"]["password"] == "$GRAFANA_PASSWORD"
    database = COMPOSE["services"]["database"]["environment"]
    assert source["jsonData"]["database"] == database["POSTGRES_DB"]
    assert source["user"] != database["POSTGRES_USER"], "it may only read"


def test_dashboards_are_where_grafana_looks_for_them() -> None:
    [provider] = yaml.safe_load((ROOT / "provisioning" / "dashboards" / "tsad.yml").read_text())["providers"]
    grafana = COMPOSE["services"]["grafana"]
    mounted = dict(text.split(":")[:2][::-1] for text in grafana["volumes"])
    assert mounted[provider["options"]["path"]] == "./deploy/grafana/dashboards"
    assert mounted["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/tsad.json"
    assert grafana["ports"] == ["127.0.0.1:3000:3000"]


def test_grafanas_user_may_read_and_nothing_else(postgresql_server: str) -> None:
    """The statements of the script, as psql would run them."""
    script = (ROOT / "reader.sh").read_text()
    statements = re.search(r"<<'SQL'\n(.*)SQL", script, re.DOTALL)
    assert statements
    made = statements[1].replace(":'password'", "'secret'")
    with psycopg.connect(f"{postgresql_server}postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE read_by_grafana")
    with psycopg.connect(f"{postgresql_server}read_by_grafana", autocommit=True) as connection:
        for statement in filter(None, (one.strip() for one in made.split(";"))):
            connection.execute(statement)
        connection.execute("CREATE TABLE seen (number bigint)")
        connection.execute("SET ROLE grafana")
        assert connection.execute("SELECT count(*) FROM seen").fetchone() == (0,)
        for harm in ("INSERT INTO seen VALUES (1)", "DROP TABLE seen", "CREATE TABLE mine (number bigint)"):
            with pytest.raises(psycopg.errors.Error):
                connection.execute(harm)
        connection.execute("RESET ROLE")
    assert 'password="$GRAFANA_PASSWORD"' in script
    mounted = COMPOSE["services"]["database"]["volumes"]
    assert "./deploy/grafana/reader.sh:/docker-entrypoint-initdb.d/reader.sh:ro" in mounted
