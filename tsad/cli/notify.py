"""`tsad notify`: who is told of alerts, and what came of it."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from storage.deliveries import Deliveries, Status
from tsad.cli.commands import CONFIG, AsJson, ConfigPath, DatabaseUrl, app
from tsad.cli.terminal import configuration, fail, note, opened, show_rows
from tsad.delivery.messages import preview
from tsad.delivery.sending import Deliverer, sender_of
from tsad.delivery.targets import TargetError

notify = typer.Typer(help="Who is told of alerts: try a route, list what was told, deliver.", no_args_is_help=True)
app.add_typer(notify, name="notify")


@notify.command("test")
def try_route(
    route: Annotated[str, typer.Argument(help="Its name in the configuration.")], config: ConfigPath = CONFIG
) -> None:
    """Send an example on a route, at once, and say what came of it: first that it fires, then that it is over."""
    configured = configuration(config, None, needed=True)
    known = configured.delivery.routes
    if route not in known:
        fail(f"there is no route {route!r}; there is: {', '.join(sorted(known)) or 'none'}", 2)
    sender, now = sender_of(configured), datetime.now(UTC)
    try:
        both: tuple[Status, ...] = ("firing", "resolved")
        for number, status in enumerate(both, 1):
            sender.send(known[route], preview(route, known[route], status, number, now, configured.delivery.link))
            note(f"{route}: {status} was taken")
    except TargetError as error:
        fail(f"{route}: {error}")
    finally:
        sender.close()


@notify.command("list")
def list_deliveries(
    state: Annotated[str | None, typer.Option(help="Only these: pending, sent, failed, grouped.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """What was told, and what waits, the newest first."""
    with opened(config, database) as opened_app:
        rows = Deliveries(opened_app.database).listing(limit, state)
    short = [row | {"alert": row["alert_id"][:12]} for row in rows]
    show_rows("Deliveries", "saved_at route status severity alert state attempts error", short, "Nothing.", json)


@notify.command("once")
def deliver(config: ConfigPath = CONFIG, database: DatabaseUrl = None) -> None:
    """Deliver what is due, once. `tsad serve` does so all the time."""
    with opened(config, database) as opened_app:
        sender = sender_of(opened_app.config, opened_app.now)
        deliveries = Deliveries(opened_app.database, opened_app.now)
        try:
            taken = Deliverer(deliveries, opened_app.config.delivery, sender).once()
        finally:
            sender.close()
    note(f"{taken} taken")
