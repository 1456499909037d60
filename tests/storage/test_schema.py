"""The schema and its migrations agree; a database that does not fit is refused with what to do."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from stored_samples import START, bundle, stored

from storage.columns import metadata
from storage.connect import create_engine, parse_url
from storage.documents import dump_json, load_json
from storage.engine import Database, open_database
from storage.homes import Homes
from storage.leases import Leases
from storage.migrate import MIGRATIONS, upgrade
from storage.store import Store
from storage.types import StoreError, alert_id

HEAD = sorted(path.stem for path in (MIGRATIONS / "versions").glob("v*.py"))[-1][:5]


def test_migrations_make_what_the_metadata_say(database: Database) -> None:
    def difference(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    assert database.read(difference) == []


def test_the_comparison_would_notice(database: Database) -> None:
    def difference(connection: sa.Connection) -> list[object]:
        connection.exec_driver_sql("ALTER TABLE alerts ADD COLUMN stray BIGINT")
        connection.exec_driver_sql("DROP INDEX ix_scores_saved_at")
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    assert len(database.write(difference)) == 2


def test_keys_come_first_and_hold_the_run() -> None:
    for table in metadata.sorted_tables:
        key = [column.name for column in table.primary_key.columns]
        assert [column.name for column in table.columns][: len(key)] == key, table.name
        assert key[0] == "run" or table.name in {
            "act_heads",
            "acts",
            "alerts",
            "announced",
            "calendars",
            "decisions",
            "deliveries",
            "explanations",
            "mark_alerts",
            "marks",
            "models",
            "rulebooks",
            "template_names",
            "tokens",
            "incidents",
            "incident_alerts",
            "incident_types",
        }


def test_the_issues_tables_are_there(database: Database) -> None:
    wanted = (
        "streams entities models alerts explanations scores score_rollups log_templates dead_letters checkpoints "
        "snapshots orders audit leases evicted_states outbox announced homes places no_data refits "
        "template_aliases template_names context_events tokens acts act_heads marks mark_alerts rulebooks calendars "
        "decisions deliveries triage incidents incident_alerts incident_types backfills backfill_units"
    )
    names = database.read(lambda connection: sa.inspect(connection).get_table_names())
    assert set(names) - {"alembic_version"} == set(wanted.split())


def test_upgrading_twice_keeps_the_rows(database: Database, database_url: str) -> None:
    Leases(database).acquire("fleet", [0], "host")
    Store(database).save([bundle()])
    before = stored(database, times=True)
    upgrade(database_url)
    assert stored(database, times=True) == before


def test_every_migration_file_is_part_of_the_package() -> None:
    assert (MIGRATIONS / "env.py").is_file()
    assert (MIGRATIONS / "script.py.mako").is_file()
    files = sorted(path.name for path in (MIGRATIONS / "versions").glob("*.py"))
    assert files == [
        "v0001_first.py", "v0002_outbox.py", "v0003_homes.py", "v0004_places.py", "v0005_no_data.py", "v0006_refits.py",
        "v0007_template_names.py", "v0008_context_events.py", "v0009_tokens.py", "v0010_incidents.py",
        "v0011_triage.py", "v0012_deliveries.py", "v0013_mark_alerts.py", "v0014_alerts_of_an_entity.py",
        "v0015_backfills.py",
    ]  # fmt: skip


def test_an_empty_database_says_what_to_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    with pytest.raises(StoreError, match=r"new\.db does not exist yet: `tsad fit`, `tsad run` or `tsad db upgrade`"):
        open_database(url)
    assert not (tmp_path / "new.db").exists()
    (tmp_path / "new.db").touch()
    with pytest.raises(StoreError, match=r"new\.db has no tsad tables yet: run `tsad db upgrade`"):
        open_database(url)
    open_database(url, create=True).close()
    open_database(url).close()


@pytest.mark.parametrize(("revision", "message"), [("v9999", "newer tsad"), ("", "newer tsad")])
def test_a_newer_schema_is_refused(database: Database, database_url: str, revision: str, message: str) -> None:
    set_revision(database, revision)
    with pytest.raises(StoreError, match=message):
        open_database(database_url, create=True)
    with pytest.raises(StoreError, match=message):
        upgrade(database_url)


def test_an_older_schema_is_refused_and_not_upgraded_on_the_quiet(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With one migration more than the database has: a copy of the scripts plus a version."""
    import shutil

    scripts = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, scripts)
    (scripts / "versions" / "v9999_next.py").write_text(
        'from alembic import op\nimport sqlalchemy as sa\nrevision = "v9999"\ndown_revision = "' + HEAD + '"\n'
        'def upgrade():\n    op.add_column("streams", sa.Column("note", sa.Text()))\n'
    )
    monkeypatch.setattr("storage.migrate.MIGRATIONS", scripts)
    with pytest.raises(StoreError, match=f"older schema version {HEAD}: run `tsad db upgrade`"):
        open_database(database_url, create=True)
    upgrade(database_url)
    opened = open_database(database_url)
    columns = opened.read(lambda connection: [c["name"] for c in sa.inspect(connection).get_columns("streams")])
    opened.close()
    assert "note" in columns


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import shutil

    scripts = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, scripts)
    (scripts / "versions" / "v9999_next.py").write_text(
        'from alembic import op\nimport sqlalchemy as sa\nrevision = "v9999"\ndown_revision = "' + HEAD + '"\n'
        'def upgrade():\n    op.add_column("streams", sa.Column("note", sa.Text()))\n    op.execute("nonsense")\n'
    )
    with monkeypatch.context() as patch:
        patch.setattr("storage.migrate.MIGRATIONS", scripts)
        with pytest.raises(StoreError, match="cannot be upgraded"):
            upgrade(database_url)
    open_database(database_url).close()
    columns = database.read(lambda connection: [c["name"] for c in sa.inspect(connection).get_columns("streams")])
    assert "note" not in columns


def test_a_database_of_the_first_version_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    scripts, url = tmp_path / "migrations", f"sqlite:///{tmp_path / 'old.db'}"
    shutil.copytree(MIGRATIONS, scripts)
    for later in (scripts / "versions").glob("v*.py"):
        if later.stem != "v0001_first":
            later.unlink()
    with monkeypatch.context() as patch:
        patch.setattr("storage.migrate.MIGRATIONS", scripts)
        upgrade(url)
        old = open_database(url)
        lease = "INSERT INTO leases VALUES ('live', 'fleet', 0, 7, 'host', '2026-01-05 00:00:00')"
        seen = [("web-1", 1, 5), ("web-1", 0, 9), ("web-2", 1, 5), ("web-2", 0, 5)]
        rows = [f"('live', 'fleet', {part}, '{name}', '{{}}', {slot}, 9, '2026-01-05')" for name, part, slot in seen]
        entities = f"INSERT INTO entities VALUES {', '.join(rows)}"
        for statement in (lease, entities):
            old.write(lambda connection, statement=statement: connection.exec_driver_sql(statement))
        old.close()
    upgrade(url)
    opened = open_database(url)
    assert Leases(opened).acquire("fleet", [0], "host") == {0: 8}
    assert Store(opened).save([bundle(epoch=8)]).rows["outbox"] == 2
    assert Homes(opened).claim("fleet", 7, ["web-1", "web-2", "web-3"]) == {"web-1": 1, "web-2": 0, "web-3": 7}
    opened.close()


def set_revision(database: Database, revision: str) -> None:
    statement = sa.text("UPDATE alembic_version SET version_num = :revision")
    database.write(lambda connection: connection.execute(statement, {"revision": revision}))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("tsad.db", r"not a database URL: 'tsad\.db'; use sqlite:///"),
        ("", "not a database URL: ''"),
        ("mysql://root@db/tsad", "'mysql' is not supported"),
        ("postgresql://user:secret@host:notaport/db", r"user:\*\*\*@host:notaport"),
        ("oracle://user:secret@host/db", r"user:\*\*\*@host"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////no/such/folder/tsad.db", "there is no folder /no/such/folder"),
    ],
)
def test_an_unusable_url_is_named_without_its_password(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("this is a letter, not a database" * 100)
    with pytest.raises(StoreError, match=r"notes\.txt: file is not a database"):
        open_database(f"sqlite:///{path}")


def test_a_server_that_is_not_there_is_named_after_bounded_attempts() -> None:
    pauses: list[float] = []
    with pytest.raises(
        StoreError, match=r"postgresql\+psycopg://me:\*\*\*@127\.0\.0\.1:1/tsad: .*\(3 attempts\)"
    ) as caught:
        open_database("postgresql://me:secret@127.0.0.1:1/tsad", attempts=3, sleep=pauses.append)
    assert len(pauses) == 2
    assert "secret" not in str(caught.value)


def test_sqlite_is_set_up_for_a_writer_and_readers(tmp_path: Path) -> None:
    engine = create_engine(parse_url(f"sqlite:///{tmp_path / 'tsad.db'}"), busy_ms=1234)
    with engine.connect() as connection:
        found = {key: connection.exec_driver_sql(f"PRAGMA {key}").scalar() for key in
                 ("journal_mode", "busy_timeout", "foreign_keys", "synchronous")}  # fmt: skip
    engine.dispose()
    assert found == {"journal_mode": "wal", "busy_timeout": 1234, "foreign_keys": 1, "synchronous": 1}


def test_equal_values_have_equal_json() -> None:
    one = {"b": [np.float32(0.5), float("nan")], "a": {"z": np.arange(2), "y": None}}
    two = {"a": {"y": None, "z": [0, 1]}, "b": [0.5, float("inf")]}
    assert dump_json(one) == dump_json(two) == '{"a":{"y":null,"z":[0,1]},"b":[0.5,null]}'
    assert load_json(dump_json(one)) == {"a": {"y": None, "z": [0, 1]}, "b": [0.5, None]}
    with pytest.raises(TypeError, match="object cannot be stored"):
        dump_json({"a": object()})


def test_an_alerts_identity_is_stable_and_its_own() -> None:
    assert alert_id("live", "fleet", "web-1", 10) == "d6a546f75397168a309e54f8fd668428"
    parts = [
        ("live", "fleet", "web-1", 10),
        ("live", "fleet", "web-1", 11),
        ("live", "fleet", "web-11", 0),
        ("live", "flee", "tweb-1", 10),
        ("live1", "1:fleet", "web-1", 10),
        ("backfill", "fleet", "web-1", 10),
    ]
    assert len({alert_id(*part) for part in parts}) == len(parts)


def test_times_without_a_zone_are_refused_by_the_column_itself(database: Database) -> None:
    table = metadata.tables["streams"]
    row = {"run": "live", "stream": "s", "step_ns": 1, "settings": {}, "saved_at": datetime(2026, 1, 1)}
    with pytest.raises(StoreError, match="naive datetime"):
        database.write(lambda connection: connection.execute(sa.insert(table), row))
    database.write(lambda connection: connection.execute(sa.insert(table), {**row, "saved_at": START}))
    assert database.read(lambda connection: connection.execute(sa.select(table.c.saved_at)).scalar()) == START
