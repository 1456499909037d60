"""One partition of a stream, run: poll, process, explain, save in one transaction, snapshot, and come back from it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from storage import snapshots
from storage.engine import Carrier, at_once
from storage.read import Reader
from storage.scoretable import ScoreTable
from storage.store import Store
from storage.types import (
    Alert,
    Announcement,
    Changes,
    Checkpoint,
    DeadLetter,
    LeaseLost,
    SnapshotRow,
    Template,
    TemplateAlias,
)
from streaming.broker.source import KafkaSource
from streaming.columns import Columns
from streaming.deadletters import DeadLetters
from streaming.logintake import LogIntake
from streaming.prometheus.source import PrometheusSource
from streaming.pushed import PushedSource
from streaming.settings import SECOND
from streaming.types import Batch, Lines, Source, State, Topic
from tsad.absence import Absence
from tsad.announcing import Announcer
from tsad.cases import Case
from tsad.director import Director
from tsad.explanations import Explanations
from tsad.findings import Findings
from tsad.happenings import Happenings
from tsad.meter import Meter
from tsad.partition import Partition
from tsad.progress import Limits, Progress, frozen_heap
from tsad.rows import RowWriter, entity_rows, every_entity, evicted_rows
from tsad.sessions import SessionDesk
from tsad.silence import Silence
from tsad.snapshots import parts_of

ENDED = "ended"
FOLLOW_EVERY = 5 * SECOND


class LeaseLostError(Exception):
    """Another owner has taken the partition: this one must stop writing."""


@dataclass
class Runner:
    """Runs one partition until its sources end or `stop` says so.

    `clock` (ns) dates what is saved and paces `follow`, which orders what was promoted meanwhile; `activate` is told of
    every version that an order has put in force; `happenings` are context events; `announcer` says what of a save is
    told to others; `desk` judges sessions; `aside` runs what may take long; `meter` counts.
    """

    writer: RowWriter
    epoch: int
    sources: dict[Topic, Source]
    columns: Columns
    partition: Partition
    director: Director
    intake: LogIntake | None
    store: Store
    reader: Reader
    models_url: str
    clock: Callable[[], int]
    activate: Callable[[str], None]
    follow: Callable[["Runner"], None]
    silence: Silence
    limits: Limits = field(default_factory=Limits)
    rejects: dict[Topic, DeadLetters] = field(default_factory=dict)
    announcer: Announcer | None = None
    absence: Absence | None = None
    happenings: Happenings | None = None
    desk: SessionDesk | None = None
    progress: Progress = field(default_factory=Progress)
    positions: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    log: Any = field(default_factory=structlog.get_logger)
    snapshot_slot: int | None = None
    aside: Carrier = at_once
    meter: Meter = field(default_factory=Meter)
    _turn: int = 0
    _followed: int = 0
    _dead: list[DeadLetter] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.explanations = Explanations(
            self.writer, self.store, self.reader, self.director, self.partition.book,
            self.limits.explain_per_poll, self._said, self.aside, self.meter,
        )  # fmt: skip

    def run(self, stop: Callable[[], bool] = lambda: False, tell: Callable[[Progress], None] | None = None) -> bool:
        """Go on until the end of the sources (True) or until `stop` answers True (False); both leave a snapshot."""
        with frozen_heap():
            while not stop():
                going = self.step()
                if tell is not None:
                    tell(self.progress)
                if not going:
                    self.finish()
                    return True
            self.snapshot()
        return False

    def step(self) -> bool:
        """One poll, processed and saved; False at the end of every source."""
        topic = self._next_topic()
        if topic is None:
            return False
        if self.clock() - self._followed >= FOLLOW_EVERY:
            self._followed = self.clock()
            self.follow(self)
        with self.meter.stage("read"):
            batch = self.sources[topic].poll(self.limits.poll)
        with self.meter.stage("detect"):
            self.aside(partial(self.end, topic) if batch is None else partial(self.take, topic, batch))
        self.save()
        self.listen()
        if batch is not None and not len(batch.codes):
            self.explanations.of_waiting()  # nothing else to do
        if self._due:
            self.snapshot()
        return True

    def attend(self, sources: Mapping[Topic, KafkaSource | PushedSource | PrometheusSource]) -> None:
        """Notice when these fall silent or quiet. What a replay read is no sign of life: the saved position says when
        there was one."""
        self.silence.sources = sources
        for topic, source in sources.items():
            source.heard = (self.positions.get(topic) or {}).get("heard", source.heard)
        if self.absence is not None:
            self.absence.sources = sources

    def _miss(self) -> None:
        """Note which producers have gone quiet, and which are back."""
        found = [] if self.absence is None else self.absence.look(self.clock())
        if not found:
            return
        writer = self.writer
        changes = Changes(writer.run, writer.stream, writer.partition, self.epoch, no_data=found)
        if self.announcer is not None:
            changes.notices += self.announcer.notice(writer.stream, writer.partition, found)
        for row in found:
            self.log.warning("no data", topic=row.topic, state=row.state, since=row.since.isoformat())
        self._check(self.store.save([changes]).lost)

    def listen(self, last: bool = False) -> None:
        """Wait no longer for a topic that has gone quiet; with `last` for none of which everything was read."""
        self._miss()
        topic = self.silence.over() if last else self.silence.due(self.clock())
        if topic is not None:
            self.log.info("topic idle", topic=topic, partition=self.writer.partition)
            self.aside(partial(self.partition.idle, topic, self.clock()))
            self.save()

    def rest(self, explain: bool = True) -> bool:
        """Nothing has come: follow what was promoted, and explain one that waits (what comes waits for it), if any."""
        self.listen()
        if self.clock() - self._followed >= FOLLOW_EVERY:
            self._followed = self.clock()
            self.follow(self)
            self.explanations.behind = True
        return explain and self.explanations.catch_up()

    @property
    def _due(self) -> bool:
        """Whether it is time for a snapshot."""
        every, closed = self.limits.snapshot_every, self.partition.windower.closed_through
        if closed is None or every is None:
            return False
        # staggered, so that the partitions of a stream do not all write at once
        return self.snapshot_slot is None or closed - self.snapshot_slot >= every + (self.writer.partition * 7) % 60

    def finish(self) -> None:
        """At the end of the input: the open hours, every explanation that waits, and a snapshot."""
        self.partition.so_far()
        self.save()
        while self.explanations.of_waiting():
            pass
        self.snapshot()

    def close_all(self) -> None:
        """End a source that has no end of its own, here: every open slot closes."""
        for topic in self.sources:
            self.aside(partial(self.end, topic))
            self.save()
        self.finish()

    def _next_topic(self) -> Topic | None:
        """The next topic to poll: one after the other, except those that have ended, run ahead or have nothing yet."""
        ended = self.positions.get(ENDED, [])
        going = [t for t in self.sources if t not in ended]
        ready = [t for t in going if not self.partition.windower.paused(t)] or going
        if not ready:
            return None
        full = [t for t in ready if self.sources[t].waiting] or ready
        self._turn += 1
        return full[self._turn % len(full)]

    @property
    def waiting(self) -> bool:
        """Whether a step would find something at once."""
        windower = self.partition.windower
        return any(source.waiting and not windower.paused(topic) for topic, source in self.sources.items())

    def take(self, topic: Topic, batch: Batch) -> None:
        """Process a batch; nothing is saved yet."""
        self.silence.heard(topic, batch.positions)
        self._dead += [
            DeadLetter(topic, letter.position, letter.reason, letter.detail, letter.payload) for letter in batch.dead
        ]
        for reason, count in batch.dead_counts.items():
            self._count(f"dead:{reason}", count)
        rows = len(batch.codes) + sum(batch.dead_counts.values())
        self.progress.rows += rows
        self.meter.read(topic, rows)
        ingested = int(batch.ingested[-1]) if len(batch.ingested) else self.clock()
        if isinstance(batch, Lines):
            if self.intake is None:
                raise ValueError("a stream without a [logs] section was given log lines")
            counts = self.intake.take(batch)
            if self.desk is not None:
                self.desk.look(self.clock(), ingested)
            if self.happenings is not None:
                closed = self.partition.windower.closed_through
                self.happenings.sight(self.intake.sighted(), *self.intake.begun(), closed)
            self.director.adopted()
            self.partition.process(topic, counts, self.clock(), ingested)
        else:
            for name, count in batch.unknown.items():
                self._count(f"unknown:{name}", count)
            self.partition.process(topic, batch, self.clock(), ingested)
        self.positions[topic] = self.sources[topic].position(batch.next_position)

    def end(self, topic: Topic) -> None:
        """Process the end of a topic."""
        self.run_out(topic)
        self.positions[ENDED] = [*self.positions.get(ENDED, []), topic]

    def run_out(self, topic: Topic) -> None:
        """Nothing more comes of `topic`: its open sessions close, and its slots."""
        if topic == "logs" and self.desk is not None:
            self.desk.end(self.clock(), self.partition.ingested_ns)
        self.partition.end(topic, self.clock())

    def _count(self, name: str, count: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + count

    def save(self) -> None:
        """Save what came up and the place to go on from, in one transaction. LeaseLostError when it is not ours."""
        findings = self.partition.take()
        with self.meter.stage("explain"):
            changes = self.aside(partial(self._changes, findings))
        more = self._sessions(changes)
        with self.meter.stage("save"):
            saved = self.store.save([changes, *more])
        self._check(saved.lost)
        self.meter.saved(findings, changes.alerts, self.clock())
        self.meter.sessions(more)
        for order in self.director.fresh:
            self.activate(order.version)
        self.director.orders += self.director.fresh
        self.director.fresh.clear()
        self.silence.fresh.clear()
        if self.happenings is not None:
            self.happenings.saved()
        self._dead.clear()
        if self.partition.history.due:
            with self.meter.stage("history"):
                self.aside(self.partition.history.flush_over)
        self.progress.windows += findings.windows
        self.progress.slot = self.partition.windower.closed_through
        self.progress.missing_slots = self.director.missing_slots(self.progress.slot)

    def _check(self, lost: Iterable[LeaseLost]) -> None:
        for lease in lost:
            raise LeaseLostError(
                f"partition {lease.partition} of {lease.stream!r} has another owner now (epoch {lease.epoch} is over)"
            )

    def _changes(self, findings: Findings) -> Changes:
        writer = self.writer
        explanations = self.explanations.of(findings.jobs)
        dead = self._rejected()
        self.progress.alerts += findings.opened
        self._count("evicted", len(findings.evicted))
        windower = self.partition.windower
        self.counts |= {"duplicates": windower.duplicates, "late": windower.late}
        if self.desk is not None:
            self.counts |= self.desk.intake.table.counts
        changes = Changes(
            writer.run, writer.stream, writer.partition, self.epoch,
            Checkpoint(dict(self.positions), windower.closed_through, dict(self.counts)),
            [writer.alert(case) for case in findings.cases.values()], explanations,
            ScoreTable(findings.scores, writer.time), writer.rollups(findings), self._dead + dead,
            [*self.director.fresh, *self.silence.fresh], writer.audit(findings.events, self.clock()), [],
            entity_rows(findings, windower.roster.labels), evicted_rows(findings), [],
        )  # fmt: skip
        if self.happenings is not None:
            changes.orders += self.happenings.fresh
            changes.context_events += self.happenings.to_save
        self._announce(changes, findings)
        return changes

    def _sessions(self, changes: Changes) -> list[Changes]:
        """What came up of sessions; what others are told of them goes with `changes`."""
        if self.desk is None:
            return []
        self.progress.alerts += self.desk.opened
        found, alerts = self.desk.take(self.epoch)
        if self.announcer is not None:
            changes.announcements += [one for alert in alerts for one in self.announcer.announce(*alert)]
        return found

    def _announce(self, changes: Changes, findings: Findings) -> None:
        """What others are told of a save."""
        if self.announcer is None:
            return
        for alert, case in zip(changes.alerts, findings.cases.values(), strict=True):
            changes.announcements += self.announcer.announce(alert, case.changes)
        changes.forwards = self.announcer.forward(changes.stream, changes.dead_letters)

    def _said(self, alert: Alert, case: Case | None) -> list[Announcement]:
        """What others are told of an alert whose explanation had to wait."""
        return self.announcer.announce(alert, case.changes if case else None) if self.announcer else []

    def _rejected(self) -> list[DeadLetter]:
        """What the windower refused since the last save."""
        rows = []
        for topic, dead in self.rejects.items():
            letters, counts = dead.take()
            rows += [DeadLetter(topic, one.position, one.reason, one.detail, one.payload) for one in letters]
            for reason, count in counts.items():
                self._count(f"dead:{reason}", count)
        return rows

    def snapshot(self) -> None:
        """Keep everything in memory as a file that the database names; the next start goes on from it. Where none is
        kept, only what is known of entities and templates."""
        slot = self.partition.windower.closed_through
        if slot is None or slot == self.snapshot_slot:
            return
        with self.meter.stage("history"):
            self.aside(self.partition.history.flush)
        place = (self.writer.run, self.writer.stream, self.writer.partition)
        changes = Changes(*place, self.epoch)
        if self.limits.snapshot_every is not None:
            parts = parts_of(self.partition, self.inputs())
            with self.meter.stage("snapshot"):
                file, checksum = self.aside(partial(snapshots.write, self.models_url, *place, slot=slot, parts=parts))
            changes.snapshots.append(SnapshotRow(slot, dict(self.positions), file, checksum))
        changes.entities += every_entity(self.partition.windower.roster, self.partition.overlap)
        if self.intake is not None:
            changes.templates += [Template(*row) for row in self.intake.miner.templates()]
            changes.template_aliases += [TemplateAlias(*row) for row in self.intake.miner.aliases()]
        saved = self.store.save([changes])
        snapshots.delete(self.models_url, saved.stale_files)
        self._check(saved.lost)
        self.snapshot_slot = slot

    def inputs(self) -> dict[str, State]:
        """The states of what lies before the partition."""
        inputs = {f"rejects:{topic}": State(meta=dead.state()) for topic, dead in self.rejects.items()}
        inputs["columns"] = State(meta={"names": self.columns.state()})
        inputs["director"] = self.director.state()
        if self.intake is not None:
            inputs["intake"] = self.intake.state()
        if self.desk is not None:
            inputs["sessions"] = self.desk.state()
        return inputs

    def forget_unsaved(self) -> None:
        """Drop what has come up (a replay found it again; it is stored already)."""
        self.partition.take()
        self._dead.clear()
        if self.desk is not None:
            self.desk.take(self.epoch)
        for dead in self.rejects.values():
            dead.take()
        self.director.fresh.clear()
        if self.happenings is not None:
            self.happenings.saved()
        self.progress = Progress()
