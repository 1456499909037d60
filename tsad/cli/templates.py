"""`tsad templates`."""

from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from storage.types import LIVE
from tsad.cli.commands import CONFIG, AsJson, ConfigPath, DatabaseUrl, app
from tsad.cli.terminal import known_stream, note, opened, show
from tsad.report import template_table
from tsad.templates import matching, template_rows, the_one
from tsad.wording import counted


@app.command()
def templates(
    stream: Annotated[str, typer.Argument(help="The stream.")],
    search: Annotated[str, typer.Option(help="Only those whose text, name or id has this.")] = "",
    rename: Annotated[
        tuple[str, str] | None, typer.Option(metavar="ID NAME", help="Call a template NAME ('' takes it away).")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all that is found to this file, as JSON Lines.")
    ] = None,
    run: Annotated[str, typer.Option(help="The run that mined them.")] = LIVE,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, most frequent first.")] = 50,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """List the templates that the stream's log lines are of, those of all partitions together; name, search, export."""
    with opened(config, database) as opened_app:
        known_stream(opened_app, stream, run)
        names = opened_app.template_names
        listed, former = opened_app.reader.templates(stream, run), names.former(stream, run)
        if rename is not None:
            wanted, name = rename
            one = the_one(template_rows(listed, former, names.of(stream)), wanted)
            for known in (one["id"], *one["aliases"]):
                names.give(stream, known, "")
            names.give(stream, one["id"], name)
        rows = matching(template_rows(listed, former, names.of(stream)), search)
    if export is not None:
        with export.open("w", encoding="utf-8") as lines:
            lines.writelines(dumps(row) + "\n" for row in rows)
        note(f"wrote {counted(len(rows), 'template')} to {export}")
        return
    show(rows[:limit], template_table(rows[:limit]), json)
