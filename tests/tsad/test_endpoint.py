"""The port of a run, asked over HTTP: Prometheus reads what the database says, and what is not ready is named."""

import json
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from brokers import create_topics
from prometheus_client.parser import text_string_to_metric_families
from servers import free_port

from streaming.settings import SECOND
from tests.tsad.command_line import finished, fresh_home, running_until, started, tsad
from tests.tsad.kafka_streams import KafkaStream, cycle, rows_read, step_until
from tests.tsad.scraping import get, scraped, served
from tests.tsad.streams import FIT_SLOTS, NOW, SLOTS, START, STREAM, cells_with_anomalies, payloads
from tsad.config import ConfigError, parse_config
from tsad.endpoint import Endpoint
from tsad.meter import Meter
from tsad.runner import Limits
from tsad.serving import noting, serving
from tsad.watch import PartitionStanding, Standing, Trouble, Watch

LIVE = payloads(cells_with_anomalies(), FIT_SLOTS)
BROKEN = list(cycle(LIVE, b'{"entity":"a","time":', 40))
ROOT = Path(__file__).resolve().parents[2]


def unready(port: int) -> dict[str, str]:
    """Why it is not ready."""
    status, text = get(port, "/health/ready")
    told = json.loads(text)
    assert status == (503 if told["not_ready"] else 200)
    assert told["ready"] is (not told["not_ready"])
    assert told["stream"] == STREAM
    return {one["what"]: one["detail"] for one in told["not_ready"]}


def test_the_figures_are_those_of_the_database(make_app: Callable[..., Any]) -> None:
    app = make_app({"telemetry": BROKEN}, max_entities=2)
    with served(app) as (watch, port):
        assert unready(port).keys() == {"starting"}
        runner = app.runner(STREAM, {}, limits=Limits(poll=50))
        runner.run(tell=noting(watch, lambda: {0: runner}, lambda _: None))
        assert unready(port) == {}
        found = scraped(port)
    health = app.reader.health(STREAM)["partitions"][0]
    assert found["tsad_records_total", "telemetry"] == len(BROKEN)
    assert found["tsad_windows_total",] == runner.progress.windows
    assert found["tsad_slots_total",] == SLOTS - FIT_SLOTS
    assert found["tsad_dead_letters_total", "0", "broken_json"] == health["counts"]["dead:broken_json"] == 9
    assert found["tsad_evicted_entities_total", "0"] == health["counts"]["evicted"] > 10
    assert found["tsad_late_records_total", "0"] == health["counts"]["late"]
    assert found["tsad_entities", "0"] == 2
    assert found["tsad_model_info", "0", app.models.active(STREAM).version] == 1
    assert found["tsad_lease_epoch", "0"] == health["epoch"]
    assert found["tsad_watermark_delay_seconds", "0"] == pytest.approx(NOW / SECOND - START - 60 * SLOTS)
    for stage in ("read", "detect", "explain", "save", "snapshot"):
        assert found["tsad_stage_seconds_count", stage] > 0
        assert found["tsad_stage_seconds_sum", stage] > 0
    assert ("tsad_lag_records", "0") not in {key[:2] for key in found}, "no topic, no lag"


def test_alerts_are_counted_once_for_each_state_they_enter(make_app: Callable[..., Any]) -> None:
    app = make_app({"telemetry": LIVE})
    with served(app) as (watch, port):
        runner = app.runner(STREAM, {}, limits=Limits(poll=30))
        runner.run(tell=noting(watch, lambda: {0: runner}, lambda _: None))
        found = scraped(port)
    entered: Counter[str] = Counter()
    for row in app.reader.audit(STREAM, limit=10_000):
        entered[row["detail"].get("reason", "")] += row["kind"] == "alert"
    counted = Counter[str]()
    for (name, *labels), value in found.items():
        if name == "tsad_alert_changes_total":
            counted[labels[1]] += int(value)
    assert counted == {"open": entered["opened"], **{s: entered[s] for s in ("confirmed", "retracted", "resolved")}}
    assert counted["open"] == len(app.reader.alerts()) == found["tsad_alert_delay_seconds_count",] > 3
    running = sum(alert.state in ("open", "confirmed") for alert in app.reader.alerts())
    assert sum(v for (name, *_), v in found.items() if name == "tsad_alerts_running") == running


def test_a_database_that_does_not_answer_is_named(
    make_app: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app({"telemetry": LIVE[:30]})
    inside, go_on = threading.Event(), threading.Event()

    def hang(_: object) -> None:
        inside.set()
        go_on.wait()

    with served(app) as (watch, port):
        watch.note({0: app.runner(STREAM, {})})
        assert unready(port) == {}
        hanging = threading.Thread(target=app.database.read, args=(hang,))
        hanging.start()
        inside.wait()
        assert unready(port) == {}, "for ten seconds that is no fault"
        monkeypatch.setattr("tsad.watch.SLOW", 0)
        assert "does not answer for 0 s" in unready(port)["database"]
        assert scraped(port)["tsad_ready", STREAM] == 0
        go_on.set()
        hanging.join()
        assert unready(port) == {}
        assert scraped(port)["tsad_ready", STREAM] == 1


def test_what_else_is_wrong_is_asked_for_and_told(make_app: Callable[..., Any]) -> None:
    app = make_app({"telemetry": LIVE[:30]})
    with served(app, more=lambda: [Trouble("wrong_partition", "'a' is on 0 and 1")]) as (watch, port):
        watch.note({0: app.runner(STREAM, {})})
        assert unready(port) == {"wrong_partition": "'a' is on 0 and 1"}


def test_the_health_check_of_the_containers_passes_once_the_run_is_ready(make_app: Callable[..., Any]) -> None:
    """Its own command, at another port."""
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["worker"]
    _, python, *words, code = service["healthcheck"]["test"]
    assert python == "python"

    def healthy(port: int) -> bool:
        asked = [sys.executable, *words, code.replace(":9464/", f":{port}/")]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    app = make_app({"telemetry": LIVE})
    with served(app) as (watch, port):
        assert not healthy(port)
        watch.note({0: app.runner(STREAM, {})})
        assert unready(port) == {}
        assert healthy(port)
    assert not healthy(port)


# --- streams from Kafka


@pytest.fixture
def stream(kafka_server: str, tmp_path: Path, fitted: Any) -> Iterator[KafkaStream]:
    made = KafkaStream(kafka_server, tmp_path / "kafka", fitted)
    yield made
    made.close()


def test_lag_and_assignment(stream: KafkaStream) -> None:
    stream.partitions = 2
    stream.fill({"telemetry": LIVE[:200]})
    app = stream.app()
    worker = app.worker(STREAM, limits=Limits(poll=10))
    with served(app) as (watch, port):
        watch.worker = worker
        watch.note(worker.runners)
        assert {"partitions", "cluster"} >= unready(port).keys() >= {"partitions"}
        step_until([worker], lambda: 0 < rows_read([worker]) < 200)
        watch.note(worker.runners)
        assert unready(port) == {}
        found = scraped(port)
        topic = stream.topics["telemetry"]
        lags = {key[1]: value for key, value in found.items() if key[0] == "tsad_lag_records" and key[2] == topic}
        assert lags.keys() == {"0", "1"}
        assert sum(lags.values()) == 200 - rows_read([worker])
        assert found["tsad_partitions",] == 2
        assert get(port, "/health/live") == (200, '{"live": true, "idle_seconds": null}\n')
        watch.stuck_after = 0
        status, said = get(port, "/health/live")
        assert (status, json.loads(said)["live"]) == (503, False)
    worker.close()


def test_a_relay_that_is_behind_is_named(stream: KafkaStream) -> None:
    stream.fill({"telemetry": BROKEN})
    app = stream.app()
    dead = f"dead-{id(stream)}"
    create_topics(stream.address, [dead])
    kafka = app.config.kafka.model_copy(update={"dead_letter_topic": dead})
    app.config = app.config.model_copy(update={"kafka": kafka})
    worker = app.worker(STREAM)
    now = [NOW]
    with served(app, lambda: now[0]) as (watch, port):
        watch.worker = worker
        step_until([worker], lambda: rows_read([worker]) == len(BROKEN))
        assert worker.relay is not None
        worker.relay.pump()  # counts, and sends: what it has counted stays until it counts again
        watch.note(worker.runners)
        found = scraped(port)
        assert found["tsad_outbox_messages", "0"] == 9
        assert found["tsad_outbox_age_seconds", "0"] == 0
        assert unready(port) == {}
        now[0] += 61 * SECOND
        worker.relay.fault = "kafka (dead): no leader"
        watch.note(worker.runners)
        assert "wait longer than 60 s: kafka (dead): no leader" in unready(port)["relay"]
    worker.close()


def test_an_entity_on_two_partitions_is_named_with_both_for_a_day(make_app: Callable[..., Any]) -> None:
    app = make_app({"telemetry": LIVE[:30]})
    app.homes.claim(STREAM, 0, ["web-1", "web-2"])
    app.homes.claim(STREAM, 3, ["web-1"])
    now, port = [NOW], free_port()
    app.clock = lambda: now[0]
    with serving(app, STREAM, f"127.0.0.1:{port}") as watch:
        watch.tick = count(0, 100).__next__
        runner = app.runner(STREAM, {})
        watch.note({0: runner})
        assert unready(port)["wrong_partition"].startswith(
            "entity 'web-1' belongs to partition 0, and has come on 3 too: key topics by entity"
        )
        app.homes.claim(STREAM, 4, [f"host-{n}" for n in range(12)])
        app.homes.claim(STREAM, 5, [f"host-{n}" for n in range(12)])
        watch.note({0: runner})
        assert unready(port)["wrong_partition"] == "3 entities more"
        now[0] += 86_401 * SECOND
        watch.note({0: runner})
        assert unready(port) == {}


# --- how many entities there should be


def standing(*parts: tuple[int, int | None], of: int | None = None) -> Standing:
    made = tuple(
        PartitionStanding(number, 1, "v", None, here, expected, {}, {}, {})
        for number, (here, expected) in enumerate(parts)
    )
    return Standing(made, of, (), {}, {})


@pytest.mark.parametrize(
    ("parts", "of", "budget", "mismatch"),
    [
        ([(3, 3)], None, (3, 3.0), False),
        ([(6, 3)], None, (6, 3.0), False),
        ([(7, 3)], None, (7, 3.0), True),
        ([(1, 3)], None, (1, 3.0), True),
        ([(40, 100), (60, 100)], 2, (100, 100.0), False),
        ([(40, 100), (60, 100)], 8, (100, 25.0), True),
        ([(9, None)], 1, None, False),
        ([], None, None, False),
    ],
)
def test_the_alert_budget_is_for_a_number_of_entities(
    parts: list[tuple[int, int | None]], of: int | None, budget: tuple[int, float] | None, mismatch: bool
) -> None:
    made = standing(*parts, of=of)
    assert (made.budget, made.mismatch) == (budget, mismatch)


# --- the port itself


def test_other_paths_and_methods() -> None:
    watch = Watch(STREAM, None)  # type: ignore[arg-type]
    with Endpoint("127.0.0.1:0", watch, Meter(), 1000) as endpoint:
        status, said = get(endpoint.port, "/nowhere?x=1")
        assert (status, json.loads(said)["error"]) == (404, "there is no /nowhere")
        assert get(endpoint.port, "/health/live?verbose", "HEAD") == (200, "")
        assert get(endpoint.port, "/metrics", "POST")[0] == 501


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=rf"http\.bind = '{bind}': Address already in use"):
            Endpoint(bind, Watch(STREAM, None), Meter(), 1000)  # type: ignore[arg-type]


@pytest.mark.parametrize("bind", ["9464", "localhost", ":1", "a:99999", "a:-1", ""])
def test_an_address_that_is_none_is_refused(bind: str) -> None:
    with pytest.raises(ConfigError, match=r"http\.bind = .* an address such as '127\.0\.0\.1:9464' is needed"):
        parse_config({"http": {"bind": bind}})


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"http\.port is unknown; allowed here: bind, series"):
        parse_config({"http": {"port": 1}})


def test_a_run_serves_while_it_waits_for_input(tmp_path: Path) -> None:
    home = fresh_home(tmp_path / "home")
    assert tsad(home, "fit", STREAM, "--from", "history.jsonl").code == 0
    port = free_port()
    process = started(home, "run", STREAM, "--source", "-", "--http", f"127.0.0.1:{port}")

    def answers() -> bool:
        try:
            return get(port, "/health/live")[0] == 200
        except OSError:
            return False

    running_until(process, answers)
    assert get(port, "/health/ready")[0] == 503, "nothing has been read yet"
    assert finished(process, (home / "live.jsonl").read_bytes()).code == 0


def test_a_port_that_is_taken_ends_a_run_with_one_line(tmp_path: Path) -> None:
    home = fresh_home(tmp_path / "home")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        said = tsad(home, "run", STREAM, "--source", "live.jsonl", "--http", bind)
    assert (said.code, said.error) == (1, f"http.bind = '{bind}': Address already in use")


def test_the_manual_names_every_metric_and_no_other(stream: KafkaStream) -> None:
    """By a run in which everything happens, from Kafka, with an outbox."""
    stream.fill({"telemetry": BROKEN})
    app, now = stream.app(max_entities=2, no_data_after="1m"), [NOW]
    app.clock = lambda: now[0]
    dead = f"dead-{id(stream)}"
    create_topics(stream.address, [dead])
    kafka = app.config.kafka.model_copy(update={"dead_letter_topic": dead})
    app.config = app.config.model_copy(update={"kafka": kafka})
    worker = app.worker(STREAM, limits=Limits(poll=20))
    with served(app) as (watch, port):
        watch.worker = worker
        step_until([worker], lambda: rows_read([worker]) == len(BROKEN))
        now[0] += 61 * SECOND
        worker.step()
        assert worker.relay is not None
        worker.relay.pump()
        watch.note(worker.runners)
        text = get(port, "/metrics")[1]
    worker.close()
    families = {family.name: family.type for family in text_string_to_metric_families(text)}
    shown = {f"{name}_total" if kind == "counter" else name for name, kind in families.items()}
    shown -= {name for name in shown if name.endswith("_created")}
    told = set(re.findall(r"^\| `(tsad_\w+)`", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE))
    assert shown == told
