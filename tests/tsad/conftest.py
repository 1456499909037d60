"""One fitted model for all tests of the path."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.tsad.command_line import fresh_home, tsad
from tests.tsad.streams import FIT_SLOTS, STREAM, ListApp, cells_with_anomalies, configuration, list_app, payloads


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model fitted on the first slots, as (version, content)."""
    folder = tmp_path_factory.mktemp("fitted")
    cells = {key: values for key, values in cells_with_anomalies().items() if key[1] < FIT_SLOTS}
    app = list_app(configuration(folder, f"sqlite:///{folder}/fit.db"), {"telemetry": payloads(cells)})
    collected = app.collect(STREAM, {})
    row = app.fit(STREAM, collected)
    app.close()
    return folder / "models", row


@contextmanager
def app_maker(room: Path, fitted: Any, template: Path) -> Iterator[Any]:
    """Makes applications on a fresh database each, with the fitted model active (or none: `cold=True`)."""
    made: list[ListApp] = []

    def make(lists: Any, crashes: Any = None, cold: bool = False, url: str | None = None, **stream: Any) -> ListApp:
        folder = room / str(len(made))
        folder.mkdir()
        shutil.copy(template, folder / "tsad.db")
        config = configuration(folder, url or f"sqlite:///{folder}/tsad.db", **stream)
        models, row = fitted
        (folder / "models").mkdir()
        (folder / "models" / "models").symlink_to(models / "models")
        app = list_app(config, lists, crashes)
        if not cold:
            app.models.add(row)
            app.models.promote(STREAM, row.version)
        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


@pytest.fixture
def make_app(tmp_path: Path, fitted: Any, sqlite_template: Path) -> Iterator[Any]:
    """`app_maker` for one test."""
    with app_maker(tmp_path, fitted, sqlite_template) as make:
        yield make


@pytest.fixture(scope="module")
def make_shared(tmp_path_factory: pytest.TempPathFactory, fitted: Any, sqlite_template: Path) -> Iterator[Any]:
    """`app_maker` for what several tests of a file look at, and none changes."""
    with app_maker(tmp_path_factory.mktemp("shared"), fitted, sqlite_template) as make:
        yield make


@pytest.fixture(scope="session")
def once() -> Callable[[Any, Callable[[], Any]], Any]:
    """Makes something once for each key: what an undisturbed run gives is compared with many others."""
    made: dict[Any, Any] = {}

    def make(key: Any, how: Callable[[], Any]) -> Any:
        if key not in made:
            made[key] = how()
        return made[key]

    return make


@pytest.fixture(scope="session")
def watched_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `tsad fit` and then `tsad run` were typed. Not to be changed."""
    home = fresh_home(tmp_path_factory.mktemp("watched"))
    for arguments in (("fit", "s", "--from", "history.jsonl"), ("run", "s", "--source", "live.jsonl")):
        said = tsad(home, *arguments)
        assert said.code == 0, said.err
    return home


@pytest.fixture
def home(watched_home: Path, tmp_path: Path) -> Path:
    """A copy of `watched_home` of the test's own."""
    shutil.copytree(watched_home, tmp_path / "home")
    return tmp_path / "home"
