"""`tsad serve` and `tsad tokens`."""

from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from storage.engine import open_database
from storage.names import fit_name
from storage.tokens import Token, Tokens
from streaming.settings import SECOND
from tsad.cli.commands import CONFIG, AsJson, ConfigPath, DatabaseUrl, app, person
from tsad.cli.terminal import configuration, note, print_line, show
from tsad.operating import address
from tsad.progress import frozen_heap
from tsad.report import as_json, token_table
from tsad.section import parse_duration
from tsad.triage.following import Follower, triage_of

tokens = typer.Typer(help="Tokens of the HTTP API: list, add, revoke.", invoke_without_command=True)
app.add_typer(tokens, name="tokens")


class RoleName(Enum):
    """The roles of a token."""

    VIEWER = "viewer"
    RESPONDER = "responder"
    ADMIN = "admin"
    INGEST = "ingest"


@app.command()
def serve(
    bind: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="In place of the configured address.")] = None,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
) -> None:
    """Answer the HTTP API and the dashboard on what the database holds, take what is pushed, decide of alerts and make
    incidents of them, and tell the configured routes, until it is interrupted."""
    from tsad.api.desk import Beside
    from tsad.api.serving import answer
    from tsad.delivery.messages import telling
    from tsad.delivery.sending import delivering
    from tsad.pushing import Pushes

    configured = configuration(config, database)
    opened, pushes = open_database(configured.database, create=True), Pushes.of(configured)
    try:
        tell = telling(configured.delivery)
        triage = triage_of(opened, configured.triage, tell=tell)
        with delivering(opened, configured), Follower(triage, configured.triage), frozen_heap():
            beside = Beside(Path(configured.history), pushes, tell)
            answer(opened, configured, address(bind or configured.api.bind), note, beside)
    finally:
        pushes.close()
        opened.close()


@tokens.callback()
def list_tokens(
    context: typer.Context, config: ConfigPath = CONFIG, database: DatabaseUrl = None, json: AsJson = False
) -> None:
    """List tokens: who has which role, never what they say."""
    if context.invoked_subcommand is not None:
        return
    rows = [_row(token) for token in _tokens(config, database).listing()]
    show(rows, token_table(rows), json)


@tokens.command("add")
def add_token(
    name: Annotated[str, typer.Argument(help="Whose it is: a person, a dashboard.")],
    role: Annotated[RoleName, typer.Option(help="What it may.")] = RoleName.VIEWER,
    expires: Annotated[str | None, typer.Option(metavar="DURATION", help="After so long: 90d, 12h.")] = None,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Make a token and print it, this once: only its hash is kept."""
    try:
        fit_name(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    until = None if expires is None else datetime.now(UTC) + _duration(expires)
    said = _tokens(config, database).add(name, role.value, until, person())
    print_line(as_json({"name": name, "role": role.value, "expires_at": until, "token": said}) if json else said)
    if not json:
        note(f"token of {name}, {role.value}; it is not shown again")


@tokens.command("revoke")
def revoke_token(name: str, config: ConfigPath = CONFIG, database: DatabaseUrl = None) -> None:
    """From now on a token is refused."""
    _tokens(config, database).revoke(name, person())
    note(f"token {name} is revoked")


def _duration(said: str) -> timedelta:
    try:
        return timedelta(seconds=parse_duration(said) / SECOND)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(str(error)) from None


def _tokens(config: ConfigPath, database: DatabaseUrl) -> Tokens:
    return Tokens(open_database(configuration(config, database).database, create=True))


def _row(token: Token) -> dict[str, object]:
    held = token.valid(datetime.now(UTC))
    return {
        "name": token.name, "role": token.role, "holds": held, "created_at": token.created_at,
        "expires_at": token.expires_at, "revoked_at": token.revoked_at,
    }  # fmt: skip
