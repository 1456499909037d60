"""Line models from the lines of a history: which lines count, and what becomes of them in the closed slots."""

import json

import numpy as np
import pytest

from detectors.linemodel import FittedLines
from detectors.types import Rows
from streaming.lastlines import LastLines
from streaming.linefields import ShapedLines
from streaming.linetape import JoinedTexts, LineTape
from streaming.shapes import shapes_and_numbers
from streaming.types import State
from tsad.linefit import MOST, scored_by, with_lines

SLOTS, BOTH = 100, ("rare", "sequence")
TEXTS = {1: "begin", 2: "work", 3: "end", 4: "odd", 5: "work", 6: None}
"""5 is the second template that reads so, 6 was forgotten."""


def rows(entities: list[str], uncovered: range = range(0)) -> Rows:
    """A row for each entity and slot; logs are not covered in some."""
    codes = np.repeat(np.arange(len(entities), dtype=np.int32), SLOTS)
    slots = np.tile(np.arange(SLOTS, dtype=np.int64), len(entities))
    values = np.ones((len(codes), 2), np.float32)
    values[np.isin(slots, list(uncovered)), 1] = np.nan
    return Rows(entities, codes, slots, values, ["cpu", "log.lines"])


def tape(said: dict[str, list[tuple[int, int]]]) -> LineTape:
    """(slot, template) of each line of each entity."""
    found, last = LineTape(lambda ids: [TEXTS.get(key) for key in ids]), LastLines(100)
    for entity, lines in said.items():
        slots, ids = np.array(lines).T
        none = np.zeros(len(ids), np.int32)
        found.add([entity], none, slots, ids.astype(np.int32), last.take([entity], none, ids.astype(np.int32), slots))
    return found


def usual(template: int = 2) -> list[tuple[int, int]]:
    return [(slot, key) for slot in range(SLOTS) for key in (1, template, 3)]


def column(found: Rows, entity: str, name: str) -> list[float]:
    here = found.codes == found.names.index(entity)
    values: list[float] = found.values[here, found.features.index(name)].tolist()
    return values


def test_scores_of_lines_are_summed_in_their_slots() -> None:
    broken = [*usual()[:270], (90, 4), (90, 4), (90, 3), *usual()[270:]]
    found, model = with_lines(rows(["a", "b"]), tape({"b": broken, "a": usual()}), BOTH)
    assert model is not None
    assert found.features == ["cpu", "log.lines", "log.rare", "log.sequence"]
    assert sorted(model.texts) == ["begin", "end", "odd", "work"]
    assert column(found, "b", "log.rare") == [2.0 if slot == 90 else 0.0 for slot in range(SLOTS)]
    assert not any(column(found, "b", "log.sequence")), "of so few lines held out the strangest is what is usual"
    assert not any(column(found, "a", "log.rare"))


def test_a_break_of_the_order_adds_to_its_slot_what_is_beyond_usual() -> None:
    many = [(slot, key) for slot in range(SLOTS) for key in (1, 2, 3) * 20]
    place = next(number for number, (slot, _) in enumerate(many) if slot == 90)
    found, _ = with_lines(rows(["a"]), tape({"a": [*many[:place], (90, 3), (90, 2), (90, 1), *many[place:]]}), BOTH)
    surprise = column(found, "a", "log.sequence")
    assert surprise[90] > 1
    assert sum(surprise) == surprise[90]
    assert (surprise[90] * 64).is_integer()


def test_what_lines_say_is_read_part_by_part_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = []
    for part in (7, 1 << 17):
        monkeypatch.setattr("tsad.linefit.PART", part)
        found, messages = LineTape(lambda ids: [{1: "took <NUM> ms"}.get(key) for key in ids]), []
        messages = [
            f"took {5 if slot == 90 and place == 3 else slot * 7 % 3} ms" for slot in range(SLOTS) for place in range(5)
        ]
        slots, ids = np.repeat(np.arange(SLOTS), 5), np.ones(5 * SLOTS, np.int32)
        before = np.full((len(ids), 2), -1, np.int32)
        shaped = ShapedLines(*shapes_and_numbers(messages))
        found.add(["a"], np.zeros(len(ids), np.int32), slots, ids, before, None, shaped)
        scored, model = with_lines(rows(["a"]), found, ["field"])
        assert model is not None
        fields.append(model.state().arrays["scorer:field/table/fields"].tolist())
        assert model.fields.tolist() == fields[-1] == [4096 + 32]
        assert [slot for slot, nats in enumerate(column(scored, "a", "log.field")) if nats] in ([], [90])
    assert fields[0] == fields[1]


def test_templates_are_known_by_their_text() -> None:
    _, one = with_lines(rows(["a"]), tape({"a": usual()}), BOTH)
    _, two = with_lines(rows(["a"]), tape({"a": usual()[:150] + usual(5)[150:]}), BOTH)
    _, forgotten = with_lines(rows(["a"]), tape({"a": usual(6)}), BOTH)
    assert one is not None
    assert two is not None
    assert forgotten is not None
    assert one.texts == two.texts
    for name, array in one.state().arrays.items():
        np.testing.assert_array_equal(array, two.state().arrays[name])
    assert forgotten.texts == ["begin", "end"]


def test_lines_of_slots_that_are_not_trained_on_teach_nothing() -> None:
    lines = tape({"a": [*usual(), *[(slot, 4) for slot in range(40, 60)], (500, 4)], "unknown": usual(4)})
    found, model = with_lines(rows(["a"], range(40, 60)), lines, BOTH)
    assert model is not None
    assert "odd" not in model.texts
    assert all(np.isnan(column(found, "a", "log.rare")[40:60]))
    assert not any(column(found, "a", "log.rare")[:40])


@pytest.mark.parametrize(
    ("names", "lines"),
    [((), tape({"a": usual()})), (BOTH, None), (BOTH, tape({"z": usual()})), (BOTH, tape({"a": usual()[:6]}))],
)
def test_without_lines_enough_there_is_no_model(names: tuple[str, ...], lines: LineTape | None) -> None:
    given = rows(["a"])
    assert with_lines(given, lines, names) == (given, None)
    bare = Rows(given.names, given.codes, given.slots, given.values[:, :1], ["cpu"])
    assert with_lines(bare, tape({"a": usual()}), names) == (bare, None)


def test_a_model_knows_so_many_templates_the_most_frequent() -> None:
    lines = [(slot, 10 + slot * 30 + place) for slot in range(SLOTS) for place in range(30)] + [*usual()]
    found = LineTape(lambda ids: [f"text {key}" for key in ids])
    slots, ids = np.array(sorted(lines)).T
    before = np.full((len(ids), 2), -1, np.int32)
    found.add(["a"], np.zeros(len(ids), np.int32), slots, ids.astype(np.int32), before)
    _, model = with_lines(rows(["a"]), found, BOTH)
    assert model is not None
    assert len(model.texts) == MOST
    assert model.texts[:3] == ["text 1", "text 2", "text 3"]
    assert list(model.scorers) == ["rare"], "no line has one before it"


def test_tapes_of_several_miners_are_joined_by_text() -> None:
    """Whatever number a template has with each; what is missing before a tape begins is missing of its entities."""
    texts = JoinedTexts()
    joined, one, two = LineTape(texts), tape({"a": usual()}), tape({"b": usual(5)})
    other = {9: "begin", 5: "work", 8: "end"}
    two.texts = lambda ids: [other.get({1: 9, 3: 8}.get(key, key)) for key in ids]
    two.since = 30
    joined.join(one, texts)
    joined.join(two, texts)
    found, model = with_lines(rows(["a", "b", "c"]), joined, BOTH)
    assert model is not None
    assert model.texts == ["begin", "work", "end"]
    assert joined.whole_from(["a", "b", "c"]).tolist() == [one.since, 30, 30]
    assert not any(column(found, "a", "log.rare"))
    for entity in ("b", "c"):
        assert np.isnan(column(found, entity, "log.rare")).tolist() == [slot < 30 for slot in range(SLOTS)]
    whole = tape({"a": usual(), "b": usual()})
    _, by_one = with_lines(rows(["a", "b"]), whole, BOTH)
    _, by_two = with_lines(rows(["a", "b"]), joined, BOTH)
    assert by_one is not None and by_two is not None
    for name, array in by_one.state().arrays.items():
        np.testing.assert_array_equal(array, by_two.state().arrays[name])


def test_before_the_oldest_line_that_is_kept_scores_are_missing() -> None:
    short = LineTape(lambda ids: [TEXTS.get(key) for key in ids], most=90)
    for slot in range(SLOTS):
        ids, before = np.array([1, 2, 3], np.int32), np.full((3, 2), -1, np.int32)
        short.add(["a"], np.zeros(3, np.int32), np.full(3, slot), ids, before)
    found, _ = with_lines(rows(["a"]), short, ("rare",))
    assert short.since == SLOTS - 30
    assert np.isnan(column(found, "a", "log.rare")).tolist() == [slot < SLOTS - 30 for slot in range(SLOTS)]


def test_scores_of_other_models_are_no_features() -> None:
    found, model = with_lines(rows(["a"]), tape({"a": usual()}), BOTH)
    assert model is not None
    assert scored_by(found, model).features == found.features
    assert scored_by(found, None).features == ["cpu", "log.lines"]
    rare = FittedLines(model.texts, {"rare": model.scorers["rare"]})
    assert scored_by(found, rare).features == ["cpu", "log.lines", "log.rare"]


def test_a_fit_over_a_feature_of_that_name_takes_its_place() -> None:
    found, _ = with_lines(rows(["a"]), tape({"a": usual()}), BOTH)
    again, _ = with_lines(found, tape({"a": usual()}), BOTH)
    assert again.features == found.features
    np.testing.assert_array_equal(again.values, found.values)


def test_a_model_survives_its_file() -> None:
    _, model = with_lines(rows(["a"]), tape({"a": usual()}), BOTH)
    assert model is not None
    state = model.state()
    again = FittedLines.restore(State(state.arrays, json.loads(json.dumps(state.meta)), state.blobs))
    assert again.features == model.features
    assert all((array == again.state().arrays[name]).all() for name, array in state.arrays.items())
