"""The container files, by reading: paths, variables and commands that they name exist."""

import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from tsad.config import load_config

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "tsad"]
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


def test_images_are_pinned() -> None:
    assert SERVICES["kafka"]["image"] == "apache/kafka:4.3.1"
    assert SERVICES["database"]["image"] == "postgres:17"
    assert all(":" in service["image"] for name, service in SERVICES.items() if name not in OURS)
    assert [name for name in OURS if "build" in SERVICES[name]] == ["migrate"]


def test_what_a_service_waits_for_exists_and_can_be_waited_for() -> None:
    waits = [(name, *wait) for name, service in SERVICES.items() for wait in service.get("depends_on", {}).items()]
    assert len(waits) == 2
    for _, other, condition in waits:
        assert other in SERVICES
        assert condition["condition"] != "service_healthy" or "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("service", SERVICES)
def test_volumes_are_declared_or_lie_in_the_repository(service: str) -> None:
    for what, where in volumes(service):
        assert where.startswith("/")
        assert (ROOT / what).exists() if what.startswith(".") else what in COMPOSE["volumes"]


def test_variables_have_a_default_or_are_demanded() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert len(re.findall(r"\$\{\w+:[-?][^}]+\}", text)) == text.count("${")


def test_the_configuration_is_valid_and_its_variables_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "deploy" / "tsad.toml"
    environment = SERVICES["tsad"]["environment"]
    named = set(re.findall(r"\$\{([A-Z_]+)\}", path.read_text()))
    assert named <= environment.keys()
    for name in named:
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:\?[^}]*\}", "secret", environment[name]))
    config = load_config(path)
    assert config.database == "postgresql://tsad:secret@database:5432/tsad"
    assert (f"./{path.relative_to(ROOT)}", str(CONFIGURED)) in volumes("tsad")


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


def test_the_tsad_service_runs_a_configured_stream_on_a_mounted_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSAD_DATABASE", "sqlite://")
    verb, stream, option, source = SERVICES["tsad"]["command"]
    assert (verb, option) == ("run", "--source")
    layout = load_config(ROOT / "deploy" / "tsad.toml").of(stream).telemetry
    assert layout
    assert (layout.layout, Path(source).suffix) == ("wide", ".parquet")
    mounted = {where: what for what, where in volumes("tsad")}
    assert (ROOT / mounted[str(Path(source).parent)] / Path(source).name).is_file()


def test_streams_in_the_comments_are_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSAD_DATABASE", "sqlite://")
    named = re.findall(r"run --rm -T tsad run (\w+)", (ROOT / "docker-compose.yml").read_text())
    assert named == ["topic"]
    assert load_config(ROOT / "deploy" / "tsad.toml").of(named[0]).telemetry
