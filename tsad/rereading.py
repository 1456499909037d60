"""A stream's topics, read again as closed slots: what a refit knows where no history is kept.

Each partition is read up to where its stream has saved, by the windower of the stream, and written as `History` writes
what closes, without scores. No group is joined and nothing of the stream is changed.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from storage.files import folder_of
from storage.types import LIVE
from streaming.broker.belonging import Sieve
from streaming.broker.kept import KeptSource
from streaming.deadletters import DeadLetters
from streaming.stretches import Amended, Stretch
from streaming.types import Floats, Topic
from streaming.windower import Windower
from tsad.app import App
from tsad.archive import Archive
from tsad.fitting import closing
from tsad.history import ALL_DAYS, History
from tsad.inputs import FIT_TEMPLATES

MOST = 4_000_000
"""Messages that are read at most, the newest of each topic: some minutes."""


@contextmanager
def reread(app: App, stream: str, most: int = MOST) -> Iterator[Archive]:
    """The slots of what the topics hold, while the block runs. ValueError where nothing was read of them yet."""
    folder = Path(app.config.history) / ".again" / folder_of(stream)
    shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
    saved = saved_places(app, stream)
    if not saved:
        raise ValueError("the stream has read nothing of its topics yet")
    share = most // sum(len(places) for places in saved.values())
    try:
        for number, places in saved.items():
            _read(app, stream, folder / str(number), number, places, max(share, 1))
        yield Archive(folder, app.config.of(stream).step)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()


def saved_places(app: App, stream: str) -> dict[int, dict[Topic, Mapping[str, Any]]]:
    """Where each partition has saved, by topic."""
    found: dict[int, dict[Topic, Mapping[str, Any]]] = {}
    for number in sorted(app.leases.epochs(stream)):
        checkpoint = app.store.restore(LIVE, stream, number).checkpoint
        positions = checkpoint.positions if checkpoint is not None else {}
        places = {topic: positions[topic] for topic in app.config.of(stream).topics if positions.get(topic)}
        if places:
            found[number] = places
    return found


def belonging_of(app: App, stream: str, number: int) -> Sieve:
    """What keeps of a partition's messages those that belong there; nothing is claimed."""
    return app.inputs(stream).belonging(
        number, lambda of, names: dict.fromkeys(names, number) | app.homes.of(of, names)
    )  # fmt: skip


def _read(
    app: App, stream: str, folder: Path, number: int, places: Mapping[Topic, Mapping[str, Any]], most: int
) -> None:
    """Write what one partition's topics hold below their saved positions."""
    config = app.config.of(stream)
    inputs = app.inputs(stream)
    columns = inputs.columns()
    lines = app.active_lines(stream)
    intake = inputs.intake(columns, FIT_TEMPLATES, lambda _: lines)
    if intake is not None:
        intake.score_by("active")
    windower = inputs.windower({topic: DeadLetters() for topic in config.topics})
    windower.declare(columns.names)
    texts = intake.features.texts if intake is not None else dict
    history = History(folder, config.step, ALL_DAYS, texts=texts)
    belonging = belonging_of(app, stream, number)
    sources: dict[Topic, KeptSource] = {}
    try:
        for topic, saved in places.items():
            place = str(saved["topic"]), int(saved["partition"])
            sources[topic] = KeptSource(
                app.config.kafka.settings(), place, saved["row"], most, inputs.decoder(topic, columns), belonging
            )
        for stretch in closing(windower, sources, intake):
            _keep(history, windower, stretch)
            if history.due:
                history.flush_over()
        history.flush()
    finally:
        for source in sources.values():
            source.close()


def _keep(history: History, windower: Windower, stretch: Stretch) -> None:
    """Of a cell that is amended the later reading counts."""
    if not isinstance(stretch, Amended):
        for closed in stretch.slots:
            _add(history, windower, closed.slot, closed.rows, closed.values)
        return
    for slot in np.unique(stretch.slots).tolist():
        here = stretch.slots == slot
        _add(history, windower, slot, stretch.rows[here], stretch.values[here])


def _add(history: History, windower: Windower, slot: int, rows: Any, values: Floats) -> None:
    names = [windower.roster.names[row] or "" for row in rows.tolist()]
    history.add(names, slot, values, np.full(len(names), np.nan, np.float32), windower.features)
