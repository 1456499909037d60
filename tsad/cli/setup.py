"""`tsad init` and `tsad check`."""

from pathlib import Path
from typing import Annotated

import typer

from tsad.checks import check_all
from tsad.cli.commands import CONFIG, AsJson, ConfigPath, DatabaseUrl, app
from tsad.cli.terminal import FAILED, configuration, fail, note, show
from tsad.report import check_table


@app.command()
def init(
    sample: Annotated[
        Path | None,
        typer.Option("--from", help="A CSV, Parquet, JSON Lines or OTLP JSON file, or a folder of raw messages."),
    ] = None,
    stream: Annotated[str, typer.Option(help="What to call the stream.")] = "main",
    config: ConfigPath = CONFIG,
    force: Annotated[bool, typer.Option(help="Overwrite the file.")] = False,
) -> None:
    """Write a commented configuration."""
    from streaming.sniff import sniff
    from tsad.initial import configuration_text

    if config.exists() and not force:
        fail(f"{config} exists; --force overwrites it", 2)
    sniffed = None if sample is None else sniff(str(sample))
    config.write_text(configuration_text(stream, sniffed, None if sample is None else str(sample)), encoding="utf-8")
    note(f"wrote {config}; next: tsad check, then tsad fit {stream} --from HISTORY")


@app.command()
def check(config: ConfigPath = CONFIG, database: DatabaseUrl = None, json: AsJson = False) -> None:
    """Validate configuration, sources, database and models; exit code 1 where something is wrong."""
    rows = check_all(configuration(config, database, needed=True))
    show(rows, check_table(rows), json)
    if not all(row["ok"] for row in rows):
        raise typer.Exit(FAILED)
