"""From decoded log lines to counts for the ring: severities, templates, columns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streaming.cells import COUNTED, FOUNDED, REASON, SCORE, SCORES, TEMPLATE, TEXT, alike, strange
from streaming.columns import Columns
from streaming.escapes import all_unescaped
from streaming.lastlines import UNKNOWN, LastLines
from streaming.linefields import ShapedLines
from streaming.linescores import LineModel, LineScores, MinedLines
from streaming.linetape import LineTape
from streaming.logfeatures import LogFeatures
from streaming.masking import Masking
from streaming.miner import MAX_CHARACTERS, READ, SHORT, Miner
from streaming.onsets import Onset, Onsets, Symptom
from streaming.ordinary import Ordinary
from streaming.quotes import Clean, Quotes, Texts
from streaming.redaction import LOOKED_AT
from streaming.sessionintake import SessionIntake
from streaming.settings import Timing
from streaming.severities import Severities
from streaming.shapes import shapes, shapes_and_numbers
from streaming.signs import Sighting, Sign, Signs
from streaming.stretches import LogCounts
from streaming.types import Codes, Ints, Lines, State

LONGEST_TEXT = 300
"""Characters of a rare line that are kept for people."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Some lines of a poll: their severities, `keys` for the miner, `now`, the topic's newest event time as each came
    (N, ns), and, where somebody asks what they say, that."""

    lines: Lines
    severities: NDArray[np.int8]
    keys: Sequence[bytes | str]
    now: Ints
    shaped: ShapedLines | None

    def take(self, part: slice) -> "_Part":
        lines = self.lines
        kept = replace(
            lines, codes=lines.codes[part], times=lines.times[part], messages=lines.messages[part],
            templates=lines.templates[part], related=None if lines.related is None else lines.related.take(part),
        )  # fmt: skip
        shaped = self.shaped
        if shaped is not None and len(kept.codes) < len(lines.codes):
            shaped = shaped.between(part.start, part.stop)
        return _Part(kept, self.severities[part], self.keys[part], self.now[part], shaped)


class LogIntake:
    """Mines a partition's lines in position order: lines on time teach, late ones are only matched (DESIGN §3).

    Lateness is judged by the topic's own watermark, as in the windower, so that what is learnt depends on the order of
    this topic alone. `columns` are the partition's; log features are always admitted. `line_model` finds what scores
    the lines by the version of a model, if that has any; `tape` keeps what such models are fitted on. `sessions` groups
    the lines, where that is configured; `depth`: how many lines before each are remembered. `clean` takes secrets out
    of what is kept for people; lines are kept as they came where that is `quoting`.
    """

    def __init__(
        self,
        timing: Timing,
        columns: Columns,
        masks: Masking | None = None,
        max_templates: int = 5000,
        max_template_columns: int = 100,
        line_model: Callable[[str], LineModel | None] = lambda _: None,
        clean: Clean = str,
        quoting: bool = False,
        sessions: SessionIntake | None = None,
        depth: int = 2,
    ) -> None:
        self.sessions = sessions
        self.miner = Miner(masks, max_templates=max_templates)
        self._columns = columns
        self.features = LogFeatures(self.miner, self._admit, max_template_columns)
        self._timing = timing
        self._newest = np.iinfo(np.int64).min // 2
        self._queue: list[tuple[int, str, list[dict[str, str]]]] = []
        self.renamed: dict[str, dict[str, str]] = {}
        self._founded: dict[int, int] = {}
        self._signs: Signs | None = None
        self._sighted: list[Sighting] = []
        self._onsets: Onsets | None = None
        self._begun: list[Onset] = []
        self._severities = Severities()
        self._last = LastLines(timing.max_entities, depth)
        self._line_model = line_model
        self._scores: LineScores | None = None
        self._scored_by = ""
        self.tape: LineTape | None = None
        self._clean = clean
        self._masked: dict[bytes | str, str] = {}
        self._ordinary = Ordinary() if quoting else None

    def watch_for(self, signs: Sequence[Sign]) -> None:
        """Look for these in lines that are on time: those of a late one are nobody's."""
        self._signs = Signs(signs, self.miner.read, self._clean, self._ordinary is not None) if signs else None

    def sighted(self) -> list[Sighting]:
        """What was seen since the last call, in order."""
        sighted, self._sighted = self._sighted, []
        return sighted

    def watch_onsets(self, silence: int) -> None:
        """Look for templates that set in after so many slots without them."""
        lateness = -(-self._timing.lateness // self._timing.step)
        self._onsets = Onsets(silence, lateness, self._read_masked)

    def begun(self) -> tuple[list[Onset], list[Symptom]]:
        """What has set in since the last call, in order: templates, and warnings and errors that came again."""
        if self._onsets is None:
            return [], []
        begun, symptoms = self._begun, self._onsets.symptoms
        self._begun, self._onsets.symptoms = [], []
        return begun, symptoms

    def take(self, lines: Lines) -> LogCounts:
        """Count each line in its columns; in position order, each line once."""
        newest = np.maximum.accumulate(np.r_[self._newest, lines.times])[1:]
        lines = replace(lines, messages=all_unescaped(lines.messages))
        whole = self._read(lines, newest)
        columns, start, slots = np.full((len(newest), 5), -1, np.int32), 0, newest // self._timing.step
        said, texts = np.full((len(newest), COUNTED), -1, np.int32), Texts()
        while start < len(newest):
            stop = len(newest)
            if self._queue:
                stop = int(np.searchsorted(slots, self._queue[0][0]))
                if stop <= start:
                    self._adopt_next()
                    continue
            if self._scores is not None and self._scores.lessons is not None:
                stop = min(stop, start + self._scores.lessons.until(slots[start:]))
                if stop <= start:
                    self._scores.lessons.learn(int(slots[start]))
                    continue
            part = slice(start, stop)
            columns[part], said[part] = self._count(whole.take(part), texts)
            start = stop
        if len(newest):
            self._newest = int(newest[-1])
            if self._ordinary is not None:
                self._ordinary.forget((self._newest - self._timing.lateness) // self._timing.step)
        names = self._columns.names
        return LogCounts(
            lines.names, lines.codes, lines.times, columns, lines.positions, names, lines.next_position, said,
            texts.masked, Quotes(texts.raw, self._clean),
        )  # fmt: skip

    def _read(self, lines: Lines, newest: Ints) -> _Part:
        """What is read of each line's text, once a poll: its shape, which says its severity and how it is mined."""
        begun = [message[:MAX_CHARACTERS] for message in lines.messages]
        said: ShapedLines | None = None
        if self.tape is not None or self._queue or (self._scores is not None and self._scores.reads):
            shaped, numbers = shapes_and_numbers(begun)
            said = ShapedLines(shaped, numbers)
        else:
            shaped = shapes(begun)
        severities = self._severities.completed(lines.severities, shaped)
        if lines.related is not None:
            lines = replace(lines, related=lines.related.keyed())
        return _Part(lines, severities, self.miner.keys(lines.messages, shaped), newest, said)

    def _count(self, part: _Part, texts: Texts) -> tuple[Codes, Codes]:
        """The columns of each line of `part` and what it said, whose words join `texts`."""
        step, lines = self._timing.step, part.lines
        slots, now = lines.times // step, part.now // step
        late = slots < (part.now - self._timing.lateness) // step
        ids, is_new = np.full(len(slots), -1, np.int32), np.zeros(len(slots), np.bool_)
        if self._signs is not None:
            self._sighted += self._signs.of(lines, part.keys, ~late, slots)
        for start, stop in _runs(late):
            keys, given = part.keys[start:stop], lines.templates[start:stop]
            if late[start]:
                ids[start:stop] = self.miner.match_keys(keys, given)
            else:
                ids[start:stop], is_new[start:stop] = self.miner.learn_keys(keys, given)
        if self._onsets is not None:
            self._begun += self._onsets.of(lines, part.keys, ids, part.severities, ~late, slots)
        if self.sessions is not None:
            text = self._read_masked
            self.sessions.take(lines, part.severities, ids, part.now, lambda place: text(part.keys[place]))
        said = np.full((len(ids), COUNTED), -1, np.int32)
        fresh = self._fresh(ids, is_new, now)
        said[fresh, FOUNDED] = is_new[fresh]
        scored = self._score(said, part, ids, slots, is_new, self._before(lines, ids, now, ~late), ~late)
        told = strange(said) & (ids >= 0)
        if self._ordinary is not None:
            told[self._ordinary.chosen(lines, ids, slots, ~late & ~told)] = True
        self._tell(np.flatnonzero(told), part, ids, said, texts)
        if scored is not None:
            self._give_reasons(said, scored, np.flatnonzero(told), part, ids, texts)
        return self.features.columns(part.severities, ids, is_new), said

    def _tell(self, told: Ints, part: _Part, ids: Codes, said: Codes, texts: Texts) -> None:
        """Note templates and texts of the lines at `told`: a text for each entity, slot, template and score."""
        if not len(told):
            return
        lines, slots = part.lines, part.lines.times // self._timing.step
        into, added = said[told, SCORES:COUNTED:SCORE], said[told, SCORES + 1 : COUNTED : SCORE]
        scores = np.where(into >= 0, added, 0).sum(axis=1)
        odd = strange(said[told])
        firsts, cells = alike(lines.codes[told], slots[told], ids[told], scores, odd)
        said[told, TEMPLATE], said[told, TEXT] = ids[told], len(texts.masked) + cells
        places = told[firsts].tolist()
        masked = zip(places, odd[firsts].tolist(), strict=True)
        texts.masked += [self._read_masked(part.keys[place]) if is_odd else "" for place, is_odd in masked]
        quoting = self._ordinary is not None
        texts.raw += [lines.messages[place][: LOOKED_AT + 1] if quoting else "" for place in places]

    def _read_masked(self, key: bytes | str) -> str:
        """What is kept for people of the masked lines of a key."""
        text = self._masked.get(key)
        if text is None:
            text = self._clean(self.miner.read(key)[:LOOKED_AT])[:LONGEST_TEXT]
            if len(self._masked) >= READ:
                self._masked.clear()
            if len(key) <= SHORT:
                self._masked[key] = text
        return text

    def _before(self, lines: Lines, ids: Codes, now: Ints, on_time: NDArray[np.bool_]) -> Codes:
        """N x depth: the templates of the lines before each; a late line has no place among them."""
        if on_time.all():
            return self._last.take(lines.names, lines.codes, ids, now)
        before = np.full((len(ids), self._last.depth), UNKNOWN, np.int32)
        before[on_time] = self._last.take(lines.names, lines.codes[on_time], ids[on_time], now[on_time])
        return before

    def _score(
        self, said: Codes, part: _Part, ids: Codes, slots: Ints, is_new: NDArray[np.bool_], before: Codes,
        on_time: NDArray[np.bool_],
    ) -> MinedLines | None:  # fmt: skip
        """Note what the model in force says of each line, and keep the line for the next one; the lines as it sees
        them."""
        lines = part.lines
        related = lines.related if self.sessions is None else self.sessions.keys.others(lines.related)
        if self.tape is not None:
            self.tape.add(lines.names, lines.codes, slots, ids, before, is_new, part.shaped, related)
        if self._scores is None:
            return None
        mined = self._scores.mined(ids, before, slots, is_new, part.shaped, related)
        scores = self._scores.model.score(mined)
        if self._scores.lessons is not None:
            self._scores.lessons.hear(related, on_time, part.now // self._timing.step)
        for number, feature in enumerate(self._scores.model.features):
            strange, first = np.flatnonzero(scores[:, number]), SCORES + SCORE * number
            said[strange, first] = self._admit(feature)
            said[strange, first + 1] = scores[strange, number]
        return mined

    def _give_reasons(self, said: Codes, mined: MinedLines, told: Ints, part: _Part, ids: Codes, texts: Texts) -> None:
        """Add to `texts` why lines have a score, where their own says not all: of those `told`, the first of each
        entity, slot and template."""
        for number in range(0 if self._scores is None else len(self._scores.model.features)):
            column = SCORES + SCORE * number
            scored = told[said[told, column] >= 0]
            if not len(scored):
                continue
            places = scored[alike(part.lines.codes[scored], mined.slots[scored], ids[scored])[0]]
            for place, reason in zip(places.tolist(), self._reasons(mined, places, number), strict=True):
                if reason:
                    said[place, column + REASON] = len(texts.masked)
                    texts.masked.append(self._clean(reason[:LOOKED_AT])[:LONGEST_TEXT])
                    texts.raw.append("")

    def _reasons(self, mined: MinedLines, places: Ints, number: int) -> list[str]:
        return [] if self._scores is None else self._scores.model.reasons(mined, places, number)

    def _fresh(self, ids: Codes, is_new: NDArray[np.bool_], now: Ints) -> Ints:
        """Places of the lines whose template was founded less than a window ago; `now` (N) is the topic's slot.

        Whether the template has a column does not count: that follows from when a model came, not from the lines.
        """
        self._founded |= zip(ids[is_new].tolist(), now[is_new].tolist(), strict=True)
        if not self._founded or not len(now):
            return np.zeros(0, np.int64)
        keys, slots = (np.array(list(part), np.int64) for part in (self._founded, self._founded.values()))
        place = np.minimum(np.searchsorted(keys, ids), len(keys) - 1)  # ids only grow, so they are in order
        oldest = int(now[-1]) - self._timing.window
        # of one that the miner has forgotten no more line comes: an explosion of templates must not fill the memory
        self._founded = {
            key: slot for key, slot in self._founded.items() if slot > oldest and self.miner.holds(key)
        }  # fmt: skip
        return np.flatnonzero((keys[place] == ids) & (now - slots[place] < self._timing.window))

    def adopt(self, models: Sequence[dict[str, str]]) -> list[dict[str, str]]:
        """Count the log templates of these models only (the newest last): what the ring calls each one's features."""
        return self.features.close(models)

    def adopt_from(self, slot: int, version: str, models: Sequence[dict[str, str]]) -> None:
        """`adopt` before the first line (in position order) that comes when the newest line lies in `slot` or above.

        So the columns of every line follow from this topic's lines alone, if none of those was taken yet. `version`
        names the newest model, the last of `models`.
        """
        self._queue.append((slot, version, list(models)))

    def adopted(self, version: str) -> dict[str, str]:
        """What the ring calls the features of `version`, which is adopted now if its line has not come."""
        while any(waiting == version for _, waiting, _ in self._queue):
            self._adopt_next()
        return self.renamed.get(version, {})

    def _adopt_next(self) -> None:
        _, version, models = self._queue.pop(0)
        scored = self.score_by(version)
        self.renamed[version] = self.adopt(models)[-1] | {name: name for name in scored}

    def score_by(self, version: str) -> list[str]:
        """Have lines scored by the line model of `version` from now on: the features that it gives, which are columns
        then. Without a line model nothing is."""
        model = self._line_model(version)
        self._scored_by = version
        if self.sessions is not None:
            self.sessions.score_by(version, self.miner)
        self._scores = None if model is None else LineScores(model, self.miner)
        return [] if model is None else [name for name in model.features if self._admit(name) >= 0]

    def _admit(self, name: str) -> int:
        """Log columns are bounded by their own rules: they are admitted where new telemetry is not."""
        was_open, self._columns.open = self._columns.open, True
        column = self._columns.index(name)
        self._columns.open = was_open
        return column

    def state(self) -> State:
        """Miner, columns and watermark."""
        whole = State(meta={"newest": int(self._newest), "queue": self._queue, "renamed": self.renamed})
        whole.meta |= {"founded": list(self._founded.items()), "scored_by": self._scored_by}
        whole.meta["scored"] = self._scores is not None
        whole.put("ordinary", State() if self._ordinary is None else self._ordinary.state())
        whole.put("last", self._last.state())
        whole.put("scores", State() if self._scores is None else self._scores.state())
        whole.put("onsets", State() if self._onsets is None else self._onsets.state())
        whole.put("miner", self.miner.state())
        whole.put("features", self.features.state())
        if self.sessions is not None:
            whole.put("sessions", self.sessions.state())
        return whole

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self._newest, self.renamed = state.meta["newest"], state.meta["renamed"]
        self._queue = [(slot, version, models) for slot, version, models in state.meta["queue"]]
        self._founded = dict(state.meta["founded"])
        if self._ordinary is not None and "ordinary" in state.meta:  # snapshots of older versions have none
            self._ordinary.restore(state.part("ordinary"))
        self._last.restore(state.part("last"))
        self._scored_by = state.meta["scored_by"]
        model = self._line_model(self._scored_by) if state.meta["scored"] else None
        self._scores = None if model is None else LineScores.restored(model, state.part("scores"))
        if self._onsets is not None and state.meta.get("onsets"):  # snapshots of older versions have none
            self._onsets.restore(state.part("onsets"))
        self.miner.restore(state.part("miner"))
        self.features.restore(state.part("features"))
        if self.sessions is not None and "sessions" in state.meta:  # snapshots from before there were any have none
            self.sessions.restore(state.part("sessions"))


def _runs(late: np.ndarray) -> list[tuple[int, int]]:
    """Stretches of equal values."""
    edges = (np.flatnonzero(late[1:] != late[:-1]) + 1).tolist()
    bounds = [0, *edges, len(late)]
    return [(a, b) for a, b in pairwise(bounds) if a < b]
