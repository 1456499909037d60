"""`tsad mark` and `tsad feedback`: what people say of alerts and incidents, and what that teaches."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from storage.incidents import IncidentRow, Incidents
from storage.marks import Answer, Mark, MarkKind
from storage.read import AlertFilter, Reader
from storage.types import LIVE, Alert
from tsad.app import App
from tsad.cli.commands import CONFIG, AsJson, ConfigPath, DatabaseUrl, app, person
from tsad.cli.rules import read_rules
from tsad.cli.terminal import answers_of, fail, known_stream, note, opened, show, show_rows
from tsad.section import parse_duration
from tsad.triage.feedback import Change, proposals, replay
from tsad.triage.review import recent, review
from tsad.triage.rules import Rule
from tsad.triage.standing import Standings
from tsad.wording import counted

KINDS, ANSWERS = (", ".join(get_args(kind)) for kind in (MarkKind, Answer))
CHANGED = "change alert first_time entity score reason rule"
feedback = typer.Typer(
    help="Whether alerts are true; what rules that speaks for, and what they would change.", no_args_is_help=True
)
app.add_typer(feedback, name="feedback")
Target = Annotated[str, typer.Argument(help="An alert's id, or its first characters; or an incident: INC-12.")]
Note = Annotated[str, typer.Option(help="In words.")]
Days = Annotated[float, typer.Option(min=0.001, max=3660, help="Of history, back from the newest alert.")]


@app.command()
def mark(
    target: Target,
    kind: Annotated[str, typer.Argument(help=f"{KINDS}; or undo, with a mark's id as the target.")],
    note: Note = "",
    span: Annotated[str | None, typer.Option("--for", metavar="DURATION", help="Of a snooze: 30m, 8h, 2d.")] = None,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Acknowledge an alert or incident, snooze, close or reopen it, or note something; `tsad mark MARK undo`."""
    if kind not in {*get_args(MarkKind), "undo"} - {"feedback"}:
        raise typer.BadParameter(
            f"{kind!r} is nothing to say of an alert; allowed: {KINDS}, undo (feedback: tsad feedback)"
        )
    if (kind == "snooze") != (span is not None):
        raise typer.BadParameter("a snooze needs --for DURATION, and nothing else has one")
    with opened(config, database) as opened_app:
        answers = answers_of(opened_app)
        if kind == "undo":
            _tell(answers.unsay(target, person()), json)
            return
        until = None if span is None else opened_app.now() + timedelta(seconds=parse_duration(span) / 1e9)
        _tell(answers.say(_found(opened_app, target), kind, person(), note=note, until=until), json)  # type: ignore[arg-type]


@feedback.command()
def give(
    target: Target,
    answer: Annotated[str, typer.Argument(help=ANSWERS)],
    note: Note = "",
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Say whether an alert (or incident) is true, false, or was expected. `tsad mark MARK undo` takes it back."""
    if answer not in get_args(Answer):
        raise typer.BadParameter(f"{answer!r} is no answer; allowed: {ANSWERS}")
    with opened(config, database) as opened_app:
        about = _found(opened_app, target)
        _tell(answers_of(opened_app).say(about, "feedback", person(), answer=answer, note=note), json)  # type: ignore[arg-type]


@feedback.command("list")
def list_answers(config: ConfigPath = CONFIG, database: DatabaseUrl = None, json: AsJson = False) -> None:
    """Answers that stand, the oldest first."""
    with opened(config, database) as opened_app:
        rows = [_row(one) for one in answers_of(opened_app).standings.marks.feedback()]
    show_rows("Feedback", "id at by about target answer note", rows, "Nobody has answered.", json)


@feedback.command("queue")
def ask_about(
    stream: Annotated[str | None, typer.Option(help="Only of this stream.")] = None,
    days: Days = 30.0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Unanswered alerts, those first whose answers would teach most."""
    with opened(config, database) as opened_app:
        known_stream(opened_app, stream, LIVE)
        found = review(answers_of(opened_app).standings, recent(opened_app.reader, stream, days), limit)
    rows = [
        {
            "alert": one.alert.id[:12], "first_time": one.alert.first_time, "stream": one.alert.stream,
            "entity": one.alert.entity, "score": round(one.alert.score, 2), "interest": round(one.place.interest, 3),
            "why": one.place.why,
        }
        for one in found
    ]  # fmt: skip
    show_rows("Review", "alert first_time entity score why", rows, "Nothing is unanswered.", json)


@feedback.command("propose")
def propose(
    stream: Annotated[str | None, typer.Option(help="Only of this stream.")] = None,
    days: Days = 30.0,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Rules that the answers speak for, and what each would change; none is put in force."""
    with opened(config, database) as opened_app:
        standings = answers_of(opened_app).standings
        which = _history(opened_app.reader, stream, days)
        rows = []
        for one in proposals(standings.marks.answers(), opened_app.reader.alerts(which)):
            told = replay(standings, standings.with_rule(one.rule), which)
            rows.append({
                "name": one.rule.name, "why": one.why, "vanish": len(told.vanish), "appear": len(told.appear),
                "lost": len(told.lost), "rule": one.rule.model_dump(mode="json", exclude_defaults=True),
            })  # fmt: skip
    show_rows("Proposals", "name why vanish appear lost", rows, "The answers speak for no rule yet.", json)


@feedback.command("replay")
def replay_rules(
    rules: Annotated[Path | None, typer.Option(metavar="FILE", help="Rules to try (TOML or JSON).")] = None,
    proposal: Annotated[str | None, typer.Option(metavar="NAME", help="Or a proposal, by its name.")] = None,
    stream: Annotated[str | None, typer.Option(help="Only alerts of this stream.")] = None,
    days: Days = 30.0,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Which alerts of the last days would vanish or appear; nothing is put in force."""
    if (rules is None) == (proposal is None):
        raise typer.BadParameter("either --rules FILE or --proposal NAME is needed")
    with opened(config, database) as opened_app:
        standings = answers_of(opened_app).standings
        which = _history(opened_app.reader, stream, days)
        if rules is not None:
            book = read_rules(rules)
        else:
            book = standings.with_rule(_proposed(standings, which, proposal or ""))
        told = replay(standings, book, which)
    lost = {one.alert.id for one in told.lost}
    rows = [_changed("vanishes", one, lost) for one in told.vanish] + [
        _changed("appears", one, lost) for one in told.appear
    ]
    show_rows("What would change", CHANGED, rows, "Nothing would change.", json)
    note(f"{counted(told.looked_at, 'alert')} looked at: {len(told.vanish)} would vanish, {len(told.appear)} appear"
         + (f"; of those that vanish {len(lost)} were said to be true" if lost else ""))  # fmt: skip


def _found(opened_app: App, said: str) -> Alert | IncidentRow:
    """What people call INC-12 is an incident, all else an alert."""
    if said.strip().lower().startswith("inc-"):
        return Incidents(opened_app.database).find(said)
    return opened_app.reader.alert(said)[0]


def _proposed(standings: Standings, which: AlertFilter, name: str) -> Rule:
    known = {one.rule.name: one.rule for one in proposals(standings.marks.answers(), standings.reader.alerts(which))}
    if name not in known:
        fail(f"there is no proposal {name!r}; there is: {', '.join(sorted(known)) or 'none'}")
    return known[name]


def _history(reader: Reader, stream: str | None, days: float) -> AlertFilter:
    newest = reader.alerts(AlertFilter(stream=stream, limit=1))
    since: datetime | None = newest[0].last_time - timedelta(days=days) if newest else None
    return AlertFilter(stream=stream, since=since, limit=None)


def _changed(change: str, one: Change, lost: set[str]) -> dict[str, Any]:
    alert, after = one.alert, one.after
    said = f"{change} (said to be true)" if alert.id in lost else change
    return {
        "change": said, "alert": alert.id[:12], "first_time": alert.first_time, "entity": alert.entity,
        "score": round(alert.score, 2), "reason": after.reason, "rule": after.rule,
    }  # fmt: skip


def _row(one: Mark) -> dict[str, Any]:
    names = ("id", "kind", "about", "target", "answer", "note", "until", "by", "at", "undone_by", "undone_at")
    return {name: getattr(one, name) for name in names}


def _tell(one: Mark, json: bool) -> None:
    row = _row(one)
    if json:
        show(row, "", json)
        return
    about = f"INC-{one.detail['number']}" if one.about == "incident" else f"alert {one.target[:12]}"
    note(f"{one.id}: {'taken back' if one.undone_at else one.answer or one.kind}, {about}")
