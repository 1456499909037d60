import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_windows import cut, fleet

from detectors.linear import Linear
from detectors.scope import Scoped, resolve_scope
from detectors.subspace import Subspace
from detectors.types import Detector
from streaming.types import State, Windows

WINDOW = 12


def unlike() -> Windows:
    """Three hosts: in `b` two channels move against each other that move together in `a`; `young` has few windows."""
    values = fleet(3, 400)
    values[1, :, 1] = 1 - values[1, :, 1]
    windows = cut(values, WINDOW, names=["a", "b", "young"])
    return windows.take((windows.entities != 2) | (windows.ends < 30))


def test_auto_is_per_entity_while_the_models_fit() -> None:
    assert resolve_scope("auto", 300_000, 20) == "entity"
    assert resolve_scope("auto", 300_000, 10_000) == "stream"
    assert resolve_scope("auto", 100, 10, model_memory=999) == "stream"
    assert resolve_scope("auto", 100, 10, model_memory=1000) == "entity"


@given(st.sampled_from(["entity", "group", "stream"]), st.integers(0, 10**12), st.integers(0, 10**6))
def test_a_stated_scope_stands(scope: str, size: int, entities: int) -> None:
    assert resolve_scope(scope, size, entities) == scope


def test_it_is_a_detector() -> None:
    assert isinstance(Scoped(Subspace), Detector)


def test_each_entity_by_its_own_model() -> None:
    windows = unlike()
    scoped = Scoped(Subspace, "entity", min_windows=100)
    scoped.fit(windows)
    scores = scoped.score(windows)
    for host in (0, 1):
        mine = windows.take(windows.entities == host)
        own = Subspace()
        own.fit(mine)
        np.testing.assert_array_equal(scores.values[windows.entities == host], own.score(mine).values)
        np.testing.assert_array_equal(scores.shares[windows.entities == host], own.score(mine).shares)


def test_the_stream_model_scores_the_young_and_the_unknown() -> None:
    windows = unlike()
    scoped, stream = Scoped(Subspace, "entity", min_windows=100), Subspace()
    scoped.fit(windows)
    stream.fit(windows)
    strangers = cut(fleet(3, 30, seed=5), WINDOW, names=["a", "new", "young"])
    expected = stream.score(strangers).values
    scores = scoped.score(strangers).values
    np.testing.assert_array_equal(scores[strangers.entities > 0], expected[strangers.entities > 0])
    assert (scores[strangers.entities == 0] != expected[strangers.entities == 0]).any()
    assert scoped.model_of("new") is scoped.model_of("young")
    assert scoped.model_of("a") is not scoped.model_of("b")


def test_groups_share_a_model() -> None:
    windows = unlike()
    groups = {"a": "web", "young": "web", "b": "db"}
    scoped = Scoped(Subspace, "group", groups, min_windows=100)
    scoped.fit(windows)
    assert scoped.model_of("a") is scoped.model_of("young")
    assert scoped.model_of("a") is not scoped.model_of("b")
    web = windows.take(windows.entities != 1)
    own = Subspace()
    own.fit(web)
    np.testing.assert_array_equal(scoped.score(web).values, own.score(web).values)


def test_stream_scope_is_the_detector_itself() -> None:
    windows = unlike()
    scoped, plain = Scoped(Linear, "stream"), Linear()
    scoped.fit(windows)
    plain.fit(windows)
    np.testing.assert_array_equal(scoped.score(windows).values, plain.score(windows).values)


@pytest.mark.parametrize("scope", ["entity", "group", "stream"])
def test_alone_as_in_a_crowd_in_any_order(scope: str) -> None:
    windows = unlike()
    scoped = Scoped(Subspace, scope, {"a": "x", "b": "y"}, min_windows=100)
    scoped.fit(windows)
    whole = scoped.score(windows).values
    order = np.random.default_rng(0).permutation(len(windows))
    np.testing.assert_array_equal(scoped.score(windows.take(order)).values, whole[order])
    for place in (0, 77, len(windows) - 1):
        assert scoped.score(windows.take(slice(place, place + 1))).values[0] == whole[place]


@pytest.mark.parametrize("scope", ["entity", "group", "stream"])
def test_all_models_come_back_bit_for_bit(scope: str) -> None:
    windows = unlike()
    groups = {"a": "x", "b": "y"}
    scoped = Scoped(Linear, scope, groups, min_windows=100)
    scoped.fit(windows)
    state = scoped.state()
    buffer = io.BytesIO()
    np.savez(buffer, **state.arrays)
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    copy = Scoped(Linear, scope, groups)
    copy.restore(State(arrays, json.loads(json.dumps(state.meta)), state.blobs))
    np.testing.assert_array_equal(copy.score(windows).values, scoped.score(windows).values)


def test_names_with_slashes_are_only_names() -> None:
    windows = cut(fleet(2, 200), WINDOW, names=["own1/mean", "stream/x"])
    scoped = Scoped(Subspace, "entity", min_windows=10)
    scoped.fit(windows)
    copy = Scoped(Subspace, "entity")
    copy.restore(scoped.state())
    np.testing.assert_array_equal(copy.score(windows).values, scoped.score(windows).values)


def test_size_is_that_of_one_model() -> None:
    windows = unlike()
    few, many = Scoped(Subspace, "stream"), Scoped(Subspace, "entity", min_windows=10)
    few.fit(windows)
    many.fit(windows)
    state = few.state()
    assert few.bytes() == many.bytes() == sum(array.nbytes for array in state.arrays.values())


def test_an_empty_batch() -> None:
    scoped = Scoped(Subspace, "entity", min_windows=10)
    scoped.fit(unlike())
    assert scoped.score(unlike().take(slice(0, 0))).values.shape == (0,)
