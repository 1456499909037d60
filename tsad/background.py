"""A process of its own beside a stream: it fits a candidate, or judges one. It only reads, but for the model's file.

A request comes as JSON, a line on standard input; the answer is the last line on standard output. The process has the
lowest priority, is the first that the kernel ends where memory is short, and ends when its parent does.
"""

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from storage.types import FileRefusedError, ModelRow, StoreError
from streaming.broker.settings import BrokerError
from tsad.app import App, sessions_of
from tsad.archive import Archive
from tsad.config import ConfigError, validated
from tsad.detection import ensemble_settings
from tsad.fitting import fit_model
from tsad.linefit import with_lines
from tsad.rereading import reread
from tsad.retraining import Stretches, TooShortError, Training, calm, check_length, training
from tsad.shadow import shadowed
from tsad.taping import learnt, rescored
from tsad.triage.untaught import Untaught

Answer = dict[str, Any]


def answer(request: dict[str, Any]) -> Answer:
    """What comes of a request: of a fit the version's row and figures, of a shadow its figures, or why it failed."""
    try:
        app = App.open(validated(request["config"], "configuration"), clock=lambda: request["now"], create=False)
        try:
            stream = request["stream"]
            return fit(app, stream) if request["step"] == "fit" else shadow(app, stream, request["detail"])
        finally:
            app.close()
    except TooShortError as error:
        return {"failed": str(error), "wanting": error.slots}
    except (ValueError, OSError, ConfigError, StoreError, FileRefusedError, BrokerError) as error:
        return {"failed": " ".join(str(error).split())}


def fit(app: App, stream: str) -> Answer:
    """Fit a version on what is kept, without incidents, and write its file."""
    config = app.config.of(stream)
    with archive_of(app, stream) as (archive, kept):
        through = archive.newest()
        if through is None:
            raise TooShortError("there is no history yet, and nothing to judge a candidate by", config.fit_after)
        found = (
            _named(app, stream) if config.history else training(archive, stretches_of(app, stream), config.fit_after)
        )
    active = app.active_model(stream)
    labels = {row["entity"]: row["labels"] for row in app.reader.entities(stream)}
    templates = config.logs.templates if config.logs else 0
    if config.history:
        rows, lines = with_lines(found.rows, found.tape, config.logs.line_scorers if config.logs else ())
        sessions = sessions_of(config, found.sessions)
    else:
        rows, lines, sessions = learnt(app, stream, found.rows, active)
    settings = ensemble_settings(config, labels)
    model = fit_model(rows, settings, found.texts, templates, lines=lines, sessions=sessions)
    row = app.shelf(stream).write(model, app.now())
    slots = found.rows.slots
    figures = {"rows": len(slots), "left_out": found.left_out, "first": int(slots.min()), "last": int(slots.max())}
    # read again, templates may be numbered otherwise
    columns = {str(partition): names for partition, names in found.columns.items()} if kept else {}
    place = {"version": row.version, "file": row.file, "checksum": row.checksum}
    anew = lines is not None and (active is None or lines is not active.lines)
    return {"model": place, "figures": figures, "through": through, "columns": columns, "anew": anew}


def shadow(app: App, stream: str, detail: dict[str, Any]) -> Answer:
    """Judge the slots behind the fit with the candidate: `detail` is what the fit has left."""
    config, first = app.config.of(stream), detail["through"] + 1
    model = app.shelf(stream).read(ModelRow(stream, **detail["model"], created_at=app.now()))
    columns = {int(partition): names for partition, names in detail["columns"].items()}
    last = first + config.shadow // config.step - 1
    found = app.reader.stretches(stream, first, last)
    spared = [one for one in found if one.explained_by_event]
    opened = [one for one in found if one.opened_slot >= first and not one.explained_by_event]
    with archive_of(app, stream) as (archive, _):
        # where it scores lines otherwise than the version beside it did
        begun = first - config.window
        slots = rescored(app, stream, archive, model.lines, begun) if detail.get("anew") else archive
        figures = shadowed(slots, model, config, first, columns, len(opened), spared)
    return {"figures": figures.told(), "refused": figures.refused}


@contextmanager
def archive_of(app: App, stream: str) -> Iterator[tuple[Archive, bool]]:
    """The stream's closed slots, and whether they are its history; else its topics were read again."""
    config = app.config.of(stream)
    kept = Archive(app.history_folder(stream), config.step)
    if not config.from_kafka or (config.history_days and kept.newest() is not None):
        yield kept, True
        return
    with reread(app, stream) as again:
        yield again, False


def stretches_of(app: App, stream: str) -> Stretches:
    """What nothing is learnt of: alerts, and what people said of those and of the time."""
    step = app.config.of(stream).step
    return partial(Untaught.of(app.database, app.config.triage.learn_after).stretches, stream, step)


def _named(app: App, stream: str) -> Training:
    """The configured history in place of the closed slots, likewise."""
    config = app.config.of(stream)
    collected = app.collect(stream, config.history)
    rows = collected.rows
    if not len(rows.slots):
        raise ValueError("the configured history has no slot")
    kept = calm(rows, None, stretches_of(app, stream)(int(rows.slots.min()), int(rows.slots.max())))
    check_length(kept, config.fit_after)
    left_out = len(rows.codes) - len(kept.codes)
    return Training(kept, collected.texts, {}, left_out, collected.tape, collected.sessions)


def _step_back() -> None:
    os.nice(19)
    with suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text("1000")


def _leave_with_parent() -> None:
    """Standard input ends when the parent does, however that ends."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Answer one request."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    _step_back()
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    sys.stdout.write(json.dumps(answer(request)) + "\n")


if __name__ == "__main__":
    main()
