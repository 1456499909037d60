"""The container files, by reading: paths, variables and commands that they name exist."""

import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from tsad.config import Config, load_config

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "tsad"]
SHOP = "shop"
CONFIGURED = Path("/var/lib/tsad/tsad.toml")


def instructions() -> list[tuple[str, str]]:
    """(INSTRUCTION, arguments) of the Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    kept = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in kept]


def copied() -> list[str]:
    """What the Dockerfile copies out of the repository."""
    rows = [shlex.split(arguments) for name, arguments in instructions() if name == "COPY"]
    return [source for row in rows if not row[0].startswith("--") for source in row[:-1]]


def volumes(service: str) -> list[tuple[str, str]]:
    """(what, where) of a service's volumes; the variables' defaults are filled in."""
    texts = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text) for text in SERVICES[service].get("volumes", [])]
    return [(text.split(":")[0], text.split(":")[1]) for text in texts]


def test_the_dockerfile_copies_what_exists_and_what_is_not_ignored() -> None:
    sent = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert set(copied()) == sent
    assert {"tsad", "streaming", "detectors", "storage"} <= sent
    assert [source for source in copied() if not (ROOT / source).exists()] == []


def test_the_image_is_installed_from_the_lock_of_its_python() -> None:
    bases = [arguments.split()[0] for name, arguments in instructions() if name == "FROM"]
    (tag,) = {re.fullmatch(r"python:3\.(\d+)-slim", base)[1] for base in bases}  # type: ignore[index]
    assert f"requirements/py3{tag}.txt" in copied()
    runs = " ".join(arguments for name, arguments in instructions() if name == "RUN")
    assert f"--require-hashes --no-deps -r py3{tag}.txt" in runs
    pattern = re.search(r"sed -n 's/(.*)/\\1/p'", runs)
    assert pattern
    found = re.search(pattern[1].replace(r"\(", "(").replace(r"\)", ")"), (ROOT / "pyproject.toml").read_text(), re.M)
    assert found
    assert found[1].startswith("torch==")


def test_the_image_does_not_run_as_root_and_starts_the_command() -> None:
    last = dict(instructions())
    assert last["USER"] == "tsad"
    assert last["ENTRYPOINT"] == '["tsad"]'
    assert last["WORKDIR"] == str(CONFIGURED.parent)


def test_no_registry_is_named() -> None:
    text = (ROOT / "Dockerfile").read_text() + (ROOT / "docker-compose.yml").read_text()
    assert "://" not in re.sub(r"((postgresql|PLAINTEXT|CONTROLLER)://|http://127\.0\.0\.1)", "", text)


def test_images_are_pinned() -> None:
    assert SERVICES["kafka"]["image"] == SERVICES["topics"]["image"] == "apache/kafka:4.3.1"
    assert SERVICES["database"]["image"] == "postgres:17"
    assert all(":" in service["image"] for name, service in SERVICES.items() if name not in OURS)
    assert [name for name in OURS if "build" in SERVICES[name]] == ["migrate"]


def test_what_a_service_waits_for_exists_and_can_be_waited_for() -> None:
    waits = [(name, *wait) for name, service in SERVICES.items() for wait in service.get("depends_on", {}).items()]
    assert {(name, other) for name, other, _ in waits} >= {("worker", "migrate"), ("worker", "topics")}
    for name, other, condition in waits:
        assert other in SERVICES
        assert condition["condition"] != "service_healthy" or "healthcheck" in SERVICES[other]
        # up must not wait for what is started on demand only
        assert "profiles" not in SERVICES[other] or "profiles" in SERVICES[name]


def test_every_service_says_what_happens_when_it_ends() -> None:
    restarts = {name: service["restart"] for name, service in SERVICES.items()}
    assert {restarts[name] for name in ("kafka", "database", "worker")} == {"unless-stopped"}
    assert {restarts[name] for name in ("topics", "migrate")} == {"on-failure"}


@pytest.mark.parametrize("service", OURS)
def test_our_containers_can_write_to_their_volume_alone(service: str) -> None:
    assert SERVICES[service]["read_only"] is True
    assert SERVICES[service]["cap_drop"] == ["ALL"]
    writable = [text for text in SERVICES[service]["volumes"] if not text.endswith(":ro")]
    assert writable == [f"state:{CONFIGURED.parent}"]
    said = dict(pair.split("=", 1) for name, line in instructions() if name == "ENV" for pair in line.split())
    assert said["MPLCONFIGDIR"] in SERVICES[service]["tmpfs"]
    assert Path(said["NUMBA_CACHE_DIR"]).parent == CONFIGURED.parent


def test_what_is_compiled_lies_in_the_image_for_the_volume_to_begin_with() -> None:
    steps = [(name, line) for name, line in instructions() if name in ("FROM", "USER", "ENV", "RUN")]
    assert steps[-1] == ("RUN", "python -m detectors.compiled")
    assert steps[-3][0] == "USER"  # who is to write there when it has to be compiled anew


def test_the_worker_can_be_scaled() -> None:
    worker = SERVICES["worker"]
    assert not {"container_name", "ports"} & worker.keys()
    partitions = int(re.search(r"--partitions (\d+)", SERVICES["topics"]["command"][-1])[1])  # type: ignore[index]
    workers = int(re.search(r"--scale worker=(\d+)", (ROOT / "docker-compose.yml").read_text())[1])  # type: ignore[index]
    assert workers <= partitions


@pytest.mark.parametrize("service", SERVICES)
def test_volumes_are_declared_or_lie_in_the_repository(service: str) -> None:
    for what, where in volumes(service):
        assert where.startswith("/")
        assert (ROOT / what).exists() if what.startswith(".") else what in COMPOSE["volumes"]


def test_variables_have_a_default_or_are_demanded() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert len(re.findall(r"\$\{\w+:[-?][^}]+\}", text)) == text.count("${")


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    """The mounted configuration, with what the services set."""
    environment = SERVICES["worker"]["environment"]
    named = set(re.findall(r"\$\{([A-Z_]+)\}", (ROOT / "deploy" / "tsad.toml").read_text()))
    assert named == environment.keys()
    for name in named:
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:\?[^}]*\}", "secret", environment[name]))
    return load_config(ROOT / "deploy" / "tsad.toml")


def test_the_configuration_is_valid_and_reaches_the_other_services(config: Config) -> None:
    assert config.database == "postgresql://tsad:secret@database:5432/tsad"
    assert config.kafka.bootstrap == ("kafka:9092",)
    assert SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://kafka:9092"
    assert ("./deploy/tsad.toml", str(CONFIGURED)) in volumes("worker")


def test_the_worker_answers_where_its_health_is_asked(config: Config) -> None:
    asked = re.search(r"http://127\.0\.0\.1:(\d+)(/\S+)\"", SERVICES["worker"]["healthcheck"]["test"][-1])
    assert asked
    assert config.http.bind == f"0.0.0.0:{asked[1]}"
    assert asked[2] in (ROOT / "docs" / "operations.md").read_text()


def test_every_topic_that_is_read_or_written_is_made(config: Config) -> None:
    made = re.search(r"for topic in (.*); do", SERVICES["topics"]["command"][-1])[1].split()  # type: ignore[index]
    of = config.of(SHOP)
    assert of.telemetry
    assert of.logs
    assert {of.telemetry.topic, of.logs.topic, *config.kafka.told} == set(made)
    produced = SERVICES["produce"]["command"]
    assert produced[produced.index("--topic") + 1] == of.telemetry.topic
    assert produced[produced.index("--logs-topic") + 1] == of.logs.topic


def test_the_worker_runs_the_configured_stream(config: Config) -> None:
    assert SERVICES["worker"]["command"] == ["run", SHOP]
    assert list(config.stream) == [SHOP]


def test_the_library_that_reads_is_locked(config: Config) -> None:
    """The image is installed from the lock alone."""
    (lock,) = [name for name in copied() if name.startswith("requirements/")]
    if config.kafka.client == "confluent":
        assert re.search(r"^confluent-kafka==", (ROOT / lock).read_text(), re.M)


@pytest.mark.parametrize("service", OURS)
def test_the_services_commands_exist(service: str) -> None:
    command: Any = get_command(import_module("tsad.cli").app)
    arguments = list(SERVICES[service]["command"])
    while arguments and arguments[0] in getattr(command, "commands", {}):
        command = command.commands[arguments.pop(0)]
    assert not hasattr(command, "commands"), f"{arguments} names no command"
    options = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
    assert {argument for argument in arguments if argument.startswith("--")} <= options
    assert command.make_context("tsad", arguments, resilient_parsing=True).args == []
