"""Back to where a partition was: the newest snapshot, then the records behind it up to the checkpoint, writes off."""

from collections.abc import Sequence
from typing import Any

from storage import snapshots
from storage.types import Checkpoint, FileRefusedError, Restored, SnapshotRow
from streaming.types import SourceChanged, State, Topic
from tsad.findings import Event
from tsad.runner import ENDED, Runner
from tsad.snapshots import restore


def recover(runner: Runner, kept: Restored) -> None:
    """Bring a fresh runner to the state of its last save. SourceChanged where a source is not the one it was."""
    runner.director.orders = [order for order in kept.orders if order.kind == "model"]
    if runner.happenings is not None:
        runner.happenings.restore(kept.orders)
    newest = _newest(runner, kept.snapshots)
    runner.silence.restore(kept.orders)
    if newest is None:
        runner.partition.windower.declare(runner.columns.names)
    runner.director.announce()
    checkpoint = kept.checkpoint
    if checkpoint is None:
        return
    left: list[Topic] = []
    if newest is None or newest.position != checkpoint.positions or runner.silence.open:
        left = _replay(runner, checkpoint)
        runner.explanations.wait_again()
    _tell_truncated(runner)
    places = checkpoint.positions | {topic: runner.positions.get(topic) for topic in left}
    runner.positions = {topic: place for topic, place in places.items() if topic != ENDED and place}
    runner.counts = dict(checkpoint.counts)


def _newest(runner: Runner, rows: Sequence[SnapshotRow]) -> SnapshotRow | None:
    """Load the newest snapshot that can be read: from an older one, or from the start, the replay is only longer."""
    for row in rows:
        try:
            parts = snapshots.read(runner.models_url, row.file, row.checksum)
            held = {name: State(arrays, meta) for name, arrays, meta in parts}
        except FileRefusedError as error:
            runner.log.warning("a snapshot cannot be read; more is replayed instead", reason=str(error))
            continue
        _load(runner, row, held)
        return row
    return None


def _load(runner: Runner, row: SnapshotRow, held: dict[str, State]) -> None:
    runner.columns.restore(held["columns"].meta["names"])
    director = runner.director
    director.restore(held["director"])
    if runner.intake is not None:
        runner.intake.restore(held["intake"])
    if runner.desk is not None and "sessions" in held:
        runner.desk.restore(held["sessions"])
    horizon = director.timing.late_horizon
    restore(runner.partition, held, horizon, lambda *which: director.model(*which).ensemble, director.renamed)
    for topic, source in runner.sources.items():
        runner.rejects[topic].restore(held[f"rejects:{topic}"].meta)
        if topic in row.position:
            source.seek(row.position[topic])
    runner.snapshot_slot = row.slot
    runner.positions = dict(row.position)
    for topic in runner.sources.keys() & runner.positions.keys():
        _skip(runner, topic)


def _replay(runner: Runner, checkpoint: Checkpoint) -> list[Topic]:
    """Read every topic up to its checkpointed row, exactly; nothing is written. Standard input cannot be read again.

    Returns the topics that wait before that row, since their polls were cut in another way then: what is left comes
    with the next polls, and writes the same rows again.
    """
    gone = [topic for topic in runner.sources if (checkpoint.positions.get(topic) or {}).get("path") == "-"]
    for topic in gone:
        runner.sources[topic].seek(checkpoint.positions[topic])
    for topic in runner.sources.keys() - runner.positions.keys() - set(gone):
        _begin(runner, topic, checkpoint.positions.get(topic))
    targets = {topic: _row(checkpoint.positions.get(topic)) for topic in runner.sources if topic not in gone}
    for topic in targets:
        _check_repeatable(runner, topic, checkpoint.positions.get(topic))
    ended = list(checkpoint.positions.get(ENDED, []))
    while True:
        behind = [topic for topic, target in targets.items() if _row(runner.positions.get(topic)) < target]
        ready = [topic for topic in behind if not runner.partition.windower.paused(topic)]
        over = [topic for topic in ended if topic not in behind]
        silent = [topic for topic in runner.silence.missed if topic not in behind]
        if ready:
            _read(runner, ready[0], targets[ready[0]])
        elif over:
            ended.remove(over[0])
            runner.run_out(over[0])
            runner.explanations.of(runner.partition.take().jobs)
        elif silent:
            runner.partition.idle(silent[0], runner.clock())
            runner.explanations.of(runner.partition.take().jobs)
        else:
            break
    runner.forget_unsaved()
    return behind


def _skip(runner: Runner, topic: Topic) -> None:
    """Where a source has lost what comes next, the stream goes on behind the gap."""
    truncated = runner.sources[topic].truncated
    if truncated is not None:
        runner.positions[topic] = runner.positions[topic] | {"row": truncated[1]}


def _tell_truncated(runner: Runner) -> None:
    """Records that are gone for good leave an audit row, which names the first slot whose windows lack them."""
    closed = runner.partition.windower.closed_through
    for topic, source in runner.sources.items():
        if source.truncated is None:
            continue
        wanted, resumed = source.truncated
        place = runner.positions[topic]
        detail: dict[str, str | int] = {"topic": str(place["topic"]), "wanted": wanted, "resumed_at": resumed}
        runner.log.warning("the topic has deleted what was to be read next; windows lack it", after=closed, **detail)
        runner.partition.findings.events.append(Event("truncated", None, 0 if closed is None else closed, None, detail))


def _begin(runner: Runner, topic: Topic, position: Any) -> None:
    """A source that no snapshot has sought is read from its start: SourceChanged unless it is still the same one."""
    if position:
        start = {name: part for name, part in position.items() if name not in ("decoder", "row")}
        runner.sources[topic].seek(start)
        if "first" in start:
            runner.positions[topic] = start | {"row": start["first"]}
            _skip(runner, topic)


def _check_repeatable(runner: Runner, topic: Topic, saved: Any) -> None:
    """SourceChanged where standard input, which cannot go back, stands in for a file that has to be read again."""
    row, target = _row(runner.positions.get(topic)), _row(saved)
    if row < target and runner.sources[topic].position(row).get("path") == "-":
        raise SourceChanged(
            f"{topic}: {saved['path']} has to be read again from row {row} to {target}, since its last run was killed, "
            "and standard input cannot do that; run with this file once, then go on with -"
        )


def _read(runner: Runner, topic: Topic, target: int) -> None:
    wanted = min(runner.limits.poll, target - _row(runner.positions.get(topic)))
    batch = runner.sources[topic].poll(wanted)
    if batch is None:
        raise SourceChanged(f"{topic}: the source ends before row {target}, which was read before")
    runner.take(topic, batch)
    # alerts that open here were explained before, but their case has to know it
    runner.explanations.of(runner.partition.take().jobs)
    if runner.partition.history.due:
        runner.aside(runner.partition.history.flush_over)


def _row(position: Any) -> int:
    return int(position.get("row", 0)) if position else 0
