"""The PostgreSQL of the tests: unprivileged, gone afterwards, and skipped with its reason where it cannot be had."""

import base64
import os
from pathlib import Path

import brokers
import psycopg
import pytest
import servers


def test_the_server_runs_as_nobody_special_and_ends(postgresql_server: str) -> None:
    with servers.postgresql() as url:
        assert url.rpartition("/")[0] != postgresql_server.rpartition("/")[0], "a port of its own"
        with psycopg.connect(url) as connection:
            folder, pid = connection.execute("SELECT current_setting('data_directory'), pg_backend_pid()").fetchone()
        if os.geteuid() == 0:
            assert Path(folder).stat().st_uid != 0
        assert pid > 0
    assert not Path(folder).exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=2)


def test_a_machine_without_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(servers, "DEBIAN", tmp_path)
    with pytest.raises(servers.NoServerError, match="not installed"), servers.postgresql():
        pytest.fail("started nothing")


def test_a_server_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("initdb", "postgres"):
        (tmp_path / name).write_text("#!/bin/sh\necho no disk left >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    tmp_path.chmod(0o755)
    monkeypatch.setattr(servers, "binaries", lambda: tmp_path)
    monkeypatch.setattr(servers, "unprivileged", dict)
    with pytest.raises(servers.NoServerError, match="initdb failed: no disk left"), servers.postgresql():
        pytest.fail("started nothing")


def test_no_cluster_of_kafka_has_a_name_that_looks_like_an_option() -> None:
    """One in 64 of 16 random bytes in base64 begins with a dash, and Kafka's tool then refuses to format."""
    made = {brokers.cluster_id() for _ in range(2000)}
    assert len(made) == 2000
    assert not any(one.startswith("-") for one in made)
    assert all(len(base64.urlsafe_b64decode(f"{one}==")) == 16 for one in made)
