"""What a command says and how it ends."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console, RenderableType

from tsad.app import App
from tsad.config import Config, ConfigError, load_config
from tsad.delivery.messages import telling
from tsad.logs import say, structured
from tsad.report import as_json, plain_table
from tsad.triage.answers import Answers

FAILED, INTERRUPTED = 1, 130


def show(rows: Any, table: RenderableType, json: bool) -> None:
    """Print `rows` as JSON, or `table`."""
    if json:
        print_line(as_json(rows))
    else:
        Console().print(table)


def show_rows(title: str, keys: str, rows: Sequence[Mapping[str, Any]], empty: str, json: bool) -> None:
    """Print `rows` as JSON, or as a table of the columns `keys` (names, with blanks between them)."""
    show(rows, plain_table(title, keys.split(), rows, empty), json)


def print_line(text: str) -> None:
    """One line on standard output, as it is."""
    sys.stdout.write(text + "\n")


def tell(table: RenderableType) -> None:
    """A table on standard error: what is to be looked at before an answer."""
    Console(stderr=True).print(table)


def note(text: str) -> None:
    """A remark on standard error."""
    say(text)


def fail(text: str, code: int = FAILED) -> NoReturn:
    """Say what is wrong, without a traceback, and end."""
    say(text if structured() else f"tsad: {text}", "error")
    sys.exit(code)


def agreed(question: str, yes: bool) -> None:
    """Go on where `yes` was said, or is said now; else end, with nothing done."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"{question} Say --yes to do so")
    if not typer.confirm(question, err=True):
        fail("nothing was changed")


@contextmanager
def fail_on(expected: tuple[type[Exception], ...], codes: Mapping[type[Exception], int]) -> Iterator[None]:
    """Turn the expected errors of the block, and wrong usage, into one line each and an exit code."""
    try:
        yield
    except expected as error:
        fail(str(error), codes.get(type(error), FAILED))
    except typer.TyperException as error:
        said = " ".join(error.format_message().replace("Value error, ", "").split())
        if said:  # else the help was asked for by saying nothing, and is on the screen
            fail(f"{said} (--help says more)", error.exit_code)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)


def configuration(path: Path, database: str | None, needed: bool = False) -> Config:
    """The configuration at `path`; the defaults where there is none and it is not `needed`."""
    config = load_config(path) if needed or path.exists() else Config()
    return config if database is None else config.model_copy(update={"database": database})


def known_stream(app: App, stream: str | None, run: str) -> None:
    """ConfigError where `stream` is neither configured nor in the database."""
    known = {row.stream for row in app.reader.streams(run)} | set(app.config.stream)
    if stream is not None and stream not in known:
        raise ConfigError(
            f"there is no stream {stream!r} in run {run!r}; there is: {', '.join(sorted(known)) or 'none'}"
        )


@contextmanager
def opened(path: Path, database: str | None, needed: bool = False, create: bool = False) -> Iterator[App]:
    """The application on the configured database."""
    app = App.open(configuration(path, database, needed), create=create)
    try:
        yield app
    finally:
        app.close()


def answers_of(app: App) -> Answers:
    """Takes down what is said, and lets the configured routes be told."""
    return Answers.of(app.database, app.now, telling(app.config.delivery))
