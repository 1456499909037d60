"""`tsad rules`, `tsad calendars` and `tsad audit`: what rules alerts, and who changed what."""

import tomllib
from datetime import datetime
from json import JSONDecodeError, loads
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from storage.acts import Acts
from storage.rulings import RulebookRow
from tsad.cli.alerts import moment
from tsad.cli.commands import CONFIG, AsJson, ConfigPath, DatabaseUrl, app, person
from tsad.cli.terminal import answers_of, fail, note, opened, print_line, show_rows
from tsad.report import as_json
from tsad.triage.calendars import Calendar
from tsad.triage.rules import Rulebook
from tsad.triage.standing import calendar_of, version_of

Model = TypeVar("Model", bound=BaseModel)
rules = typer.Typer(help="Rules: which alerts people are told of. Show, apply, undo.", no_args_is_help=True)
calendars = typer.Typer(help="Maintenance windows and holidays.", no_args_is_help=True)
audit = typer.Typer(help="Who changed what: a chain in which a changed or missing row shows.", no_args_is_help=True)
for group, name in ((rules, "rules"), (calendars, "calendars"), (audit, "audit")):
    app.add_typer(group, name=name)
Since = Annotated[
    datetime | None,
    typer.Option(parser=moment, metavar="TIME", help="From then on (event time); else for all that is not over."),
]


def read_rules(path: Path) -> Rulebook:
    """The rules in a TOML or JSON file; ends with a line a fault where they are none."""
    return parsed(Rulebook, _document(path), str(path))


def parsed(kind: type[Model], document: Any, origin: str) -> Model:
    """`document` as a `kind`; ends with a line that names the key, the value and what is allowed."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        fail("; ".join(f"{origin}: {_fault(one)}" for one in error.errors()), 2)


@rules.command("show")
def show_rules(config: ConfigPath = CONFIG, database: DatabaseUrl = None) -> None:
    """The rules in force, as a file that `tsad rules apply` takes (JSON)."""
    with opened(config, database) as opened_app:
        book = answers_of(opened_app).standings.book()
    print_line(as_json(book.model_dump(mode="json", exclude_defaults=True)))


@rules.command("apply")
def apply_rules(
    path: Annotated[Path, typer.Argument(help="TOML or JSON: all the rules; what it does not say is gone.")],
    cause: Annotated[str, typer.Option(help="Why.")] = "",
    since: Since = None,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
) -> None:
    """Put rules in force: a new version. `tsad feedback replay --rules FILE` shows beforehand what they change."""
    book = read_rules(path)
    with opened(config, database) as opened_app:
        row = answers_of(opened_app).rule(book, person(), cause, since)
    note(f"version {row.version} of the rules is in force")


@rules.command("undo")
def undo_rules(
    version: Annotated[int, typer.Argument(min=1, help="It must be the newest.")],
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
) -> None:
    """Take the newest version back; the one before becomes the next."""
    with opened(config, database) as opened_app:
        row = answers_of(opened_app).take_back(version, person())
    note(f"version {row.version} of the rules is in force: version {version} is taken back")


@rules.command("history")
def history(config: ConfigPath = CONFIG, database: DatabaseUrl = None, json: AsJson = False) -> None:
    """Every version of the rules, the newest first."""
    with opened(config, database) as opened_app:
        found = reversed(answers_of(opened_app).standings.rulings.rulebooks())
    rows = [_version(row) for row in found]
    none = "There are no rules; `tsad rules apply FILE` puts some in force."
    show_rows("Rules", "version at since by cause count undoes", rows, none, json)


@calendars.command("list")
def list_calendars(config: ConfigPath = CONFIG, database: DatabaseUrl = None, json: AsJson = False) -> None:
    """By name."""
    with opened(config, database) as opened_app:
        found = answers_of(opened_app).standings.rulings.calendars()
    rows = [_calendar(calendar_of(row.calendar, row.name)) | {"by": row.by} for row in found]
    none = "There are no calendars; `tsad calendars put NAME` adds one."
    show_rows("Calendars", "name kind entity when note", rows, none, json)


@calendars.command("put")
def put_calendar(
    name: Annotated[str, typer.Argument(help="One of that name is replaced.")],
    start: Annotated[str, typer.Option(help="The (first) beginning, by the clock of --timezone: 2026-03-01T02:00.")],
    end: Annotated[str | None, typer.Option(help="Of one that takes place once.")] = None,
    rrule: Annotated[str | None, typer.Option(help="Of a recurring one (RFC 5545): FREQ=WEEKLY;BYDAY=SU.")] = None,
    duration: Annotated[str | None, typer.Option(help="Of a recurring one: 2h.")] = None,
    expires: Annotated[str | None, typer.Option(help="When a recurring one ends for good.")] = None,
    timezone: Annotated[str, typer.Option(help="Europe/Berlin, ...")] = "UTC",
    stream: Annotated[str, typer.Option(help="Name or glob.")] = "*",
    entity: Annotated[str, typer.Option(help="Name or glob.")] = "*",
    kind: Annotated[str, typer.Option(help="maintenance or holiday.")] = "maintenance",
    text: Annotated[str, typer.Option("--note", help="In words.")] = "",
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
) -> None:
    """Nobody is told of alerts that lie within it, and nothing of it is learnt."""
    said = {
        "name": name, "start": start, "end": end, "rrule": rrule, "duration": duration, "expires": expires,
        "timezone": timezone, "stream": stream, "entity": entity, "kind": kind, "note": text,
    }  # fmt: skip
    calendar = parsed(Calendar, said, f"calendar {name!r}")
    with opened(config, database) as opened_app:
        answers_of(opened_app).put(calendar, person())
    note(f"calendar {name} is in force")


@calendars.command("drop")
def drop_calendar(name: str, config: ConfigPath = CONFIG, database: DatabaseUrl = None) -> None:
    """Take a calendar out; alerts that it held back come up again."""
    with opened(config, database) as opened_app:
        answers_of(opened_app).drop(name, person())
    note(f"calendar {name} is out")


@audit.command("list")
def list_acts(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Who changed what, the newest first."""
    with opened(config, database) as opened_app:
        found = Acts(opened_app.database).listing(limit)
    rows = [
        {
            "sequence": one.sequence, "at": one.at, "by": one.by, "action": one.action, "target": one.target,
            "detail": one.told if json else one.detail[:200],
        }
        for one in found
    ]  # fmt: skip
    show_rows("Acts", "sequence at by action target detail", rows, "Nobody changed anything.", json)


@audit.command("verify")
def verify_acts(
    head: Annotated[
        str | None, typer.Option(help="The hash that it must end with, or hold: one noted elsewhere.")
    ] = None,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
) -> None:
    """Follow the chain of acts: exit code 1 where a row was changed, put in, or is missing."""
    with opened(config, database) as opened_app:
        acts = Acts(opened_app.database)
        found = acts.verify()
        held = head is None or acts.holds(head)
    if found.fault is not None:
        fail(found.fault)
    if not held:
        fail(f"no row has the hash {head}: the chain was made anew since that was noted")
    note(f"{found.rows} rows fit; the last has the hash {found.head.hash or 'of nothing'}")


def _fault(one: Any) -> str:
    place, said = ".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, ")
    given = f" = {one['input']!r}" if isinstance(one["input"], str | int | float) else ""
    return f"{place}{given}: {said}" if place else said


def _document(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        return loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")
    except (JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        fail(f"{path} is neither TOML nor, called .json, JSON: {error}", 2)


def _version(row: RulebookRow) -> dict[str, Any]:
    told = {name: getattr(row, name) for name in ("version", "at", "since", "by", "cause", "undoes")}
    return told | {"count": len(version_of(row).book.rules), "rules": row.rules}


def _calendar(one: Calendar) -> dict[str, Any]:
    told = one.model_dump(mode="json")
    span = f"to {told['end']}" if one.rrule is None else f"{one.rrule} for {told['duration']}"
    until = f", until {told['expires']}" if one.expires else ""
    return told | {"when": f"{told['start']} {span}{until} ({one.timezone})"}
