"""Several processes on one port: who asks meets one of them, they begin and end together, and one writes journals."""

import json
import os
import signal
import socket
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from streaming.journalreader import JournalReader
from tests.tsad.command_line import CONFIGURATION, finished, serving, tsad
from tests.tsad.pids import leave, tell
from tests.tsad.pushes import by_slot, otlp_json
from tests.tsad.streams import FIT_SLOTS, cells_with_anomalies
from tsad.api.processes import Others
from tsad.api.serving import several
from tsad.config import ConfigError, load_config, parse_config
from tsad.pushing import journal_of

CELLS = {key: cell for key, cell in cells_with_anomalies().items() if key[1] >= FIT_SLOTS}


def asked(heard: socket.socket) -> int:
    """The number of the process that answers at the port of `heard`."""
    with socket.create_connection(heard.getsockname(), timeout=60) as line:
        return int(line.makefile().read())


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_port_is_answered_by_several_and_taken_for_all_others() -> None:
    with ExitStack() as held:
        more = [held.enter_context(one) for one in several("127.0.0.1", 0, 2)]
        port = more[0].getsockname()[1]
        assert {one.getsockname()[1] for one in more} == {port}
        with Others(tell, more) as others:
            pids = {process.pid for process in others.held}
            met = set[int]()
            while met != pids:  # the kernel chooses
                met.add(asked(more[0]))
            for number in (1, 2):
                with pytest.raises(OSError, match=f"api.bind = 127.0.0.1:{port}: Address already in use"):
                    several("127.0.0.1", port, number)
        assert not any(alive(pid) for pid in pids if pid)
    with several("127.0.0.1", port, 1)[0]:
        pass


def test_one_that_dies_is_replaced_and_who_had_come_meanwhile_is_answered() -> None:
    (heard,) = several("127.0.0.1", 0, 1)
    with capture_logs() as said, heard, Others(leave, [heard], pause=0.01):
        assert asked(heard) != asked(heard)
    assert said[0] == {
        "event": "a process that answers has ended; another one takes its place", "code": 3, "log_level": "error",
    }  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "tsad.toml").write_text(
        f'[api]\nprocesses = 2\n{CONFIGURATION}\n[stream.s.telemetry]\nsource = "push"\n'
    )
    return tmp_path


def test_whichever_answers_what_is_pushed_is_in_one_journal(home: Path) -> None:
    token = tsad(home, "tokens", "add", "anna", "--role", "admin").out.strip()
    process, port = serving(home)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    messages = [otlp_json(CELLS, slot) for slot in by_slot(CELLS)[:12]]
    for message in messages:  # each on a connection of its own: some process's
        url = f"http://127.0.0.1:{port}"
        asked = urllib.request.Request(f"{url}/v1/metrics", message, headers)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert answer.status == 200
        with urllib.request.urlopen(urllib.request.Request(f"{url}/api/v1/me", headers=headers), timeout=60) as answer:
            assert json.load(answer)["name"] == "anna"
    kept = JournalReader(home / journal_of(load_config(home / "tsad.toml"), "s", "telemetry")).read(100)
    assert [entry.payload for entry in kept] == messages
    process.send_signal(signal.SIGTERM)
    said = finished(process)
    assert said.code in (0, -signal.SIGTERM)
    assert said.err.count("answering on") == 1
    assert "Traceback" not in said.err
    with several("127.0.0.1", port, 1)[0]:
        pass  # nobody is left there


def test_a_server_that_is_killed_leaves_nobody_behind(home: Path) -> None:
    process, port = serving(home)
    process.send_signal(signal.SIGKILL)
    assert finished(process).code == -signal.SIGKILL
    while True:
        with suppress(OSError), several("127.0.0.1", port, 1)[0]:
            break


def test_how_many_there_may_be() -> None:
    assert parse_config({"api": {"processes": 8}}).api.processes == 8
    for number, said in ((0, "greater than or equal to 1"), (65, "less than or equal to 64")):
        with pytest.raises(ConfigError, match=said):
            parse_config({"api": {"processes": number}})
