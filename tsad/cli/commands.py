"""The typer application that every command registers with, and the options that they share."""

from getpass import getuser
from pathlib import Path
from typing import Annotated

import typer

from tsad.logs import configure

app = typer.Typer(
    name="tsad",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Watches streams of telemetry and logs, says which windows are anomalous, how sure it is and why.",
    epilog="Exit codes: 0 done, 1 wrong (a check failed, data or database refused), 2 usage, 130 interrupted.",
)


@app.callback()
def log_warnings() -> None:
    """Warnings go to standard error; while progress bars are shown, that is theirs, and lines appear above them."""
    configure()


ConfigPath = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.", envvar="TSAD_CONFIG")]
DatabaseUrl = Annotated[
    str | None, typer.Option("--database", "-d", help="SQLAlchemy URL, in place of the configured one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
CONFIG = Path("tsad.toml")


def person() -> str:
    """Who types, for the chain of acts."""
    try:
        return f"{getuser()} at the command line"
    except (KeyError, OSError):
        return "the command line"
