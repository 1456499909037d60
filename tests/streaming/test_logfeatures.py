import json
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.columns import Columns
from streaming.logfeatures import (
    COUNTED_SEVERITIES,
    LogFeatures,
    fold_templates,
    is_log_feature,
    top_templates,
)
from streaming.miner import Miner
from streaming.types import SEVERITIES, Lines, State


def lines_of(messages: Sequence[str], severities: Sequence[str | None] | None = None) -> Lines:
    count = len(messages)
    codes = [-1 if name is None else SEVERITIES.index(name) for name in severities or [None] * count]
    zeros = np.zeros(count, np.int64)
    return Lines(
        ["web"], zeros.astype(np.int32), zeros, messages, np.array(codes, np.int8), np.arange(count), zeros, count
    )


class Desk:
    """A miner, its log features and the ring's columns, as a partition has them."""

    def __init__(self, limit: int = 100, room: int = 4096) -> None:
        self.columns = Columns(max_features=room)
        self.miner = Miner()
        self.features = LogFeatures(self.miner, self.columns.index, limit)

    def count(self, messages: Sequence[str], severities: Sequence[str | None] | None = None) -> dict[str, int]:
        """How often each column was counted."""
        lines = lines_of(messages, severities)
        ids, is_new = self.miner.learn(lines.messages)
        return self.named(self.features.columns(lines.severities, ids, is_new))

    def named(self, counted: np.ndarray) -> dict[str, int]:
        assert counted.dtype == np.int32
        places, counts = np.unique(counted[counted >= 0], return_counts=True)
        names = self.columns.names
        return {names[place]: int(count) for place, count in zip(places, counts, strict=True)}

    def revived(self) -> "Desk":
        other = Desk()
        other.columns = Columns(self.columns.state())
        other.features = LogFeatures(other.miner, other.columns.index)
        for part, copy in ((self.miner, other.miner), (self.features, other.features)):
            copy.restore(State(meta=json.loads(json.dumps(part.state().meta))))  # type: ignore[attr-defined]
        return other


def test_open_every_template_has_its_own_column() -> None:
    desk = Desk()
    counted = desk.count(["login of a", "login of b", "disk full", "login of c"], ["info", "warning", "fatal", None])
    assert counted == {
        "log.lines": 4,
        "log.new": 2,
        "log.severity.info": 1,
        "log.severity.warning": 1,
        "log.severity.fatal": 1,
        "log.template.0": 3,
        "log.template.1": 1,
    }
    assert desk.features.texts() == {"log.template.0": "login of <*>", "log.template.1": "disk full"}
    assert desk.features.is_open


def test_open_templates_beyond_the_limit_are_others() -> None:
    desk = Desk(limit=2)
    desk.count(["alpha alpha", "beta beta"])
    counted = desk.count(["gamma gamma", "alpha alpha", "delta delta"])
    assert counted == {"log.lines": 3, "log.new": 2, "log.template.0": 1, "log.other": 2}
    assert len(desk.features.texts()) == 2


def test_lines_of_no_template_are_others() -> None:
    desk = Desk()
    desk.count(["disk full"])
    late = lines_of(["disk full", "never seen before"])
    ids = desk.miner.match(late.messages)
    counted = desk.features.columns(late.severities, ids, np.zeros(2, np.bool_))
    assert desk.named(counted) == {"log.lines": 2, "log.template.0": 1, "log.other": 1}


def test_no_lines_count_nothing_but_the_columns_are_there() -> None:
    desk = Desk()
    assert desk.count([]) == {}
    severities = [f"log.severity.{name}" for name in COUNTED_SEVERITIES]
    assert set(desk.columns.names) == {"log.lines", "log.new", "log.other", *severities}
    assert all(map(is_log_feature, desk.columns.names))
    assert not is_log_feature("login")


def test_where_the_ring_has_no_room_a_template_is_other() -> None:
    desk = Desk(room=3 + len(COUNTED_SEVERITIES) + 1)
    counted = desk.count(["alpha alpha", "beta beta", "gamma gamma"])
    assert counted == {"log.lines": 3, "log.new": 3, "log.template.0": 1, "log.other": 2}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["login of a", "login of b", "disk full", "x y", "p q r", "1 2 3", "ERROR x", ""])),
    st.lists(st.integers(0, 30), max_size=4),
    st.sampled_from([0, 1, 3, 100]),
)
def test_counts_do_not_depend_on_polls_and_add_up(messages: list[str], cuts: list[int], limit: int) -> None:
    whole, parts = Desk(limit), Desk(limit)
    total = whole.count(messages)
    edges = sorted([0, len(messages), *(min(cut, len(messages)) for cut in cuts)])
    summed: dict[str, int] = {}
    for start, end in pairwise(edges):
        for name, count in parts.count(messages[start:end]).items():
            summed[name] = summed.get(name, 0) + count
    assert summed == total
    assert parts.columns.names == whole.columns.names
    by_template = sum(count for name, count in total.items() if name.startswith("log.template."))
    assert by_template + total.get("log.other", 0) == total.get("log.lines", 0) == len(messages)


def test_closed_only_the_models_templates_have_columns() -> None:
    desk = Desk()
    renamed = desk.features.close([{"log.template.0": "login of <*>", "log.template.1": "disk full"}])
    assert renamed == [{"log.template.0": "log.template.0", "log.template.1": "log.template.1"}]
    assert not desk.features.is_open
    counted = desk.count(["disk full", "login of a", "alpha alpha", "alpha alpha", "login of b"])
    assert counted == {"log.lines": 5, "log.new": 1, "log.template.0": 2, "log.template.1": 1, "log.other": 2}


def test_a_template_keeps_its_column_whatever_a_model_calls_it() -> None:
    desk = Desk()
    desk.count(["alpha alpha", "login of a", "login of b", "disk full"])
    renamed = desk.features.close([{"log.template.0": "login of <*>", "log.template.1": "cache miss"}])
    assert renamed == [{"log.template.0": "log.template.1", "log.template.1": "log.template.3"}]
    counted = desk.count(["alpha alpha", "login of c", "cache miss"])
    assert counted == {"log.lines": 3, "log.template.1": 1, "log.template.3": 1, "log.other": 1}
    assert desk.features.texts() == {"log.template.1": "login of <*>", "log.template.3": "cache miss"}


def test_two_loaded_models_share_columns_and_other_is_what_neither_knows() -> None:
    desk = Desk()
    old = {"log.template.0": "disk full", "log.template.1": "login of <*>"}
    new = {"log.template.0": "login of <*>", "log.template.1": "cache miss"}
    first, second = desk.features.close([old, new])
    assert first["log.template.1"] == second["log.template.0"]
    counted = desk.count(["disk full", "login of a", "cache miss", "never seen"])
    assert counted["log.other"] == 1
    assert counted[first["log.template.0"]] == counted[second["log.template.0"]] == 1
    assert counted[second["log.template.1"]] == 1
    assert desk.features.close([new]) == [second]
    assert "log.template.0" not in desk.count(["disk full"])


def test_the_same_models_give_the_same_columns_in_every_partition() -> None:
    model = {"log.template.0": "login of <*>", "log.template.1": "disk full"}
    one, two = Desk(), Desk()
    assert one.features.close([model]) == two.features.close([model])
    assert one.columns.names == two.columns.names


def test_close_without_a_model_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one model"):
        Desk().features.close([])


@pytest.mark.parametrize("closed", [False, True])
def test_restored_features_count_on_alike(closed: bool) -> None:
    desk = Desk()
    desk.count(["alpha alpha", "login of a", "login of b"])
    if closed:
        desk.features.close([{"t": "login of <*>"}, {"t": "disk full"}])
    other = desk.revived()
    more = ["disk full", "login of c", "cache miss", "alpha alpha"]
    assert other.count(more, ["error"] * 4) == desk.count(more, ["error"] * 4)
    assert other.features.texts() == desk.features.texts()
    assert other.features.is_open is not closed
    assert other.columns.names == desk.columns.names


def test_top_templates_are_the_most_frequent_ones() -> None:
    assert top_templates(np.array([3, 9, 0, 9, 1]), 3).tolist() == [1, 3, 0]
    assert top_templates(np.array([3, np.nan, 0]), 3).tolist() == [0]
    assert top_templates(np.array([]), 3).tolist() == []


NAMES = ["cpu", "log.lines", "log.other", "log.template.0", "log.template.1", "log.template.2"]


def test_rare_templates_fold_into_other() -> None:
    values = np.array([[0.5, 6, 1, 1, 3, 1], [0.5, 4, 0, 1, 1, 2]], np.float32)
    folded, features = fold_templates(values, NAMES, set(NAMES), k=1)
    assert features == ["cpu", "log.lines", "log.other", "log.template.1"]
    assert folded.tolist() == [[0.5, 6, 3, 3], [0.5, 4, 3, 1]]
    assert values[0].tolist() == [0.5, 6, 1, 1, 3, 1]


def test_a_template_whose_text_is_gone_cannot_stay() -> None:
    values = np.array([[0.5, 6, 1, 1, 3, 1]], np.float32)
    folded, features = fold_templates(values, NAMES, {"log.template.0": "disk full"}, k=2)
    assert features == ["cpu", "log.lines", "log.other", "log.template.0"]
    assert folded.tolist() == [[0.5, 6, 5, 1]]


def test_before_its_first_line_a_template_is_zero_where_covered_and_missing_elsewhere() -> None:
    nan = np.nan
    values = np.array([[0.5, 2, 0, 2, nan, nan], [0.5] + [nan] * 5, [0.5, 5, 0, 1, 2, 2]], np.float32)
    folded, features = fold_templates(values, NAMES, set(NAMES), k=2)
    assert features == ["cpu", "log.lines", "log.other", "log.template.0", "log.template.1"]
    np.testing.assert_array_equal(
        folded, np.array([[0.5, 2, 0, 2, 0], [0.5] + [nan] * 4, [0.5, 5, 2, 1, 2]], np.float32)
    )


def test_without_templates_nothing_is_folded() -> None:
    values = np.ones((3, 2), np.float32)
    folded, features = fold_templates(values, ["cpu", "mem"], {}, k=5)
    assert folded is values
    assert features == ["cpu", "mem"]
