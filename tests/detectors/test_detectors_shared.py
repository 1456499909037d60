"""Blocks, residual scales, peers, and the registry: what detectors have in common."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import registry
from detectors.blocks import has_gaps, in_blocks
from detectors.peers import correlations, strongest
from detectors.products import product
from detectors.residuals import (
    REFERENCE_FLOOR,
    ResidualScale,
    held_out,
    mean_over_channels,
    shares_of,
    usual_errors,
)
from detectors.types import Scores

NAN = float("nan")
sizes = st.integers(0, 70)


@given(sizes, st.integers(1, 20))
def test_blocks_are_all_of_one_size_and_nothing_is_lost(rows: int, block: int) -> None:
    seen = []

    def double(values: np.ndarray) -> np.ndarray:
        seen.append(values.shape)
        return values.reshape(len(values), -1) * 2

    values = np.arange(rows * 6, dtype=np.float32).reshape(rows, 2, 3)
    np.testing.assert_array_equal(in_blocks(double, values, block), values.reshape(rows, 6) * 2)
    assert set(seen) == {(block, 2, 3)}


@settings(max_examples=20)
@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 20), st.integers(0, 99))
def test_a_product_in_blocks_does_not_depend_on_place_or_neighbours(rows: int, inner: int, out: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, inner)).astype(np.float32)
    matrix = rng.standard_normal((inner, out)).astype(np.float32)
    whole = in_blocks(lambda block: product(block, matrix), values)
    order = rng.permutation(rows)
    np.testing.assert_array_equal(in_blocks(lambda block: product(block, matrix), values[order]), whole[order])
    one = int(order[0])
    np.testing.assert_array_equal(in_blocks(lambda block: product(block, matrix), values[one : one + 1])[0], whole[one])


def test_a_block_may_be_overwritten() -> None:
    def spoil(values: np.ndarray) -> np.ndarray:
        out = values.copy()
        values[:] = NAN
        return out

    values = np.ones((5, 2), dtype=np.float32)
    np.testing.assert_array_equal(in_blocks(spoil, values, 2), np.ones((5, 2)))
    assert not np.isnan(values).any()


@given(st.integers(0, 40), st.integers(0, 39))
def test_gaps_are_noticed(rows: int, place: int) -> None:
    values = np.ones((rows, 3), dtype=np.float32)
    assert not has_gaps(values)
    if place < rows:
        values[place, 1] = NAN
        assert has_gaps(values)


def test_the_score_is_the_mean_over_the_channels_with_an_opinion() -> None:
    errors = np.array([[1, 2, 3], [NAN, 2, 4], [NAN, NAN, NAN], [0, 0, NAN]], dtype=np.float32)
    scores = mean_over_channels(errors, np.ones(3, dtype=np.float32))
    np.testing.assert_allclose(scores.values, [2, 3, NAN, 0])
    np.testing.assert_allclose(scores.shares[0], np.array([1, 4, 9]) / 14, rtol=1e-6)
    np.testing.assert_allclose(scores.shares[1], np.array([0, 4, 16]) / 20, rtol=1e-6)
    np.testing.assert_array_equal(scores.shares[2], 0)
    np.testing.assert_allclose(scores.shares[3], [0.5, 0.5, 0])


@settings(deadline=None)
@given(st.integers(0, 99))
def test_shares_of_some_windows_are_those_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    errors = rng.random((9, 3)).astype(np.float32)
    errors[rng.random(errors.shape) < 0.2 * (seed % 2)] = NAN
    scores = mean_over_channels(errors, np.ones(3, dtype=np.float32))
    some = rng.random(9) < 0.5
    np.testing.assert_array_equal(scores.shares_at(some), scores.shares[some])
    np.testing.assert_array_equal(scores.shares_at(np.flatnonzero(some)), scores.shares[some])
    given_ = Scores(scores.values, scores.shares)  # as an array, as another package's detector may give them
    np.testing.assert_array_equal(given_.shares_at(some), scores.shares[some])


def test_a_channel_that_is_always_noisy_takes_no_blame() -> None:
    errors = np.array([[0.5, 0.3]], dtype=np.float32)
    shares = mean_over_channels(errors, np.array([0.5, 0.03], dtype=np.float32)).shares
    assert shares[0, 1] > 0.98


@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 99))
def test_shares_add_up_to_one(rows: int, channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = (rng.random((rows, channels)) * (rng.random((rows, channels)) < 0.5)).astype(np.float32)
    present = rng.random((rows, channels)) < 0.7
    shares = shares_of(weights.copy(), present)
    assert (shares >= 0).all()
    assert (shares[~present] == 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), present.any(axis=1), atol=1e-6)


def test_usual_errors_are_the_high_quantile_and_never_zero() -> None:
    errors = np.tile(np.arange(1, 201, dtype=np.float32)[:, None] / 200, (1, 3))
    errors[:, 1] = 0
    errors[:, 2] = NAN
    np.testing.assert_allclose(usual_errors(errors), [0.99 + 0.02, 0.02, 0.02], atol=1e-6)
    assert REFERENCE_FLOOR > 0


def test_held_out_rows_are_apart() -> None:
    training, validation = held_out(1000)
    assert len(training) == 800 and len(validation) == 200
    assert not set(training) & set(validation)
    assert (np.diff(validation) == 1).mean() > 0.95
    few, same = held_out(40)
    np.testing.assert_array_equal(few, same)
    assert len(few) == 40


def scales() -> tuple[ResidualScale, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    entities = np.repeat([0, 1, 2], [500, 500, 20]).astype(np.int32)
    spread = np.array([0.1, 1.0, 0.1])[entities]
    residuals = (rng.standard_normal((1020, 2)) * spread[:, None]).astype(np.float32)
    residuals[:, 1] += 2
    return ResidualScale.fit(residuals, entities, ["quiet", "loud", "young"], floor=0.01), residuals, entities


def test_each_entity_has_its_own_scale_where_it_has_rows() -> None:
    scale, _, _ = scales()
    assert scale.names == ["quiet", "loud"]
    np.testing.assert_allclose(scale.spread[:2, 0], [0.11, 1.01], rtol=0.15)
    np.testing.assert_allclose(scale.centre[:, 1], 2, atol=0.15)


def test_residuals_are_scaled_by_name_and_capped() -> None:
    scale, _, _ = scales()
    residuals = np.full((4, 2), 2.2, dtype=np.float32)
    names = ["loud", "unknown", "quiet"]
    scaled = scale.scaled(residuals, np.array([0, 1, 2, 2], dtype=np.int32), names, cap=20)
    assert scaled[2, 1] > 3 * scaled[0, 1]
    np.testing.assert_array_equal(scaled[2], scaled[3])
    np.testing.assert_allclose(scaled[1], np.abs(residuals[1] - scale.centre[-1]) / scale.spread[-1], rtol=1e-6)
    assert scale.scaled(residuals * 100, np.zeros(4, np.int32), ["quiet"], cap=20).max() == 20


def test_outliers_do_not_swell_a_scale() -> None:
    _, residuals, entities = scales()
    spoiled = residuals.copy()
    spoiled[::100] += 50
    names = ["quiet", "loud", "young"]
    plain = ResidualScale.fit(residuals, entities, names, floor=0.01)
    robust = ResidualScale.fit(spoiled, entities, names, floor=0.01)
    np.testing.assert_allclose(robust.spread, plain.spread, rtol=0.35)


def test_a_channel_that_rests_has_a_spread() -> None:
    residuals = np.zeros((400, 2), dtype=np.float32)
    residuals[::10, 0] = 0.5
    residuals[:, 1] = NAN
    scale = ResidualScale.fit(residuals, np.zeros(400, dtype=np.int32), ["a"], floor=0.01)
    assert scale.spread[0, 0] > 0.1
    np.testing.assert_allclose([scale.centre[0, 1], scale.spread[0, 1]], [0, 0.01])


def test_peers_are_the_most_correlated_channels() -> None:
    rng = np.random.default_rng(0)
    base = rng.standard_normal((500, 1))
    noise = rng.standard_normal((500, 4))
    values = np.concatenate([base + 0.1 * noise[:, :1], -base + 0.3 * noise[:, 1:2], noise[:, 2:]], axis=1)
    values[:, 3] = 0
    relation = correlations(values.astype(np.float32)[None])
    peers = strongest(relation, 2, 0.5)[0]
    assert peers[:, 0].tolist() == [1, -1]
    assert peers[:, 1].tolist() == [0, -1]
    assert (peers[:, 2:] == -1).all()
    assert relation[0, 0, 1] < -0.9
    assert (np.diagonal(relation[0]) == 0).all()


def test_one_spike_makes_no_peers() -> None:
    values = np.random.default_rng(0).standard_normal((300, 2)).astype(np.float32)
    values[100] = 200
    assert abs(correlations(values[None])[0, 0, 1]) < 0.5


@pytest.mark.parametrize("channels", [1, 2])
def test_there_are_never_more_peers_than_channels(channels: int) -> None:
    relation = correlations(np.ones((2, 50, channels), dtype=np.float32))
    peers = strongest(relation, 3, 0.0)
    assert peers.shape == (2, 3, channels)
    assert (peers != np.arange(channels)).all()


def test_the_registry_names_what_it_loads() -> None:
    for name in registry.DETECTORS:
        assert registry.load(name).name == name


def test_profiles_name_registered_detectors() -> None:
    assert set(registry.PROFILES) == {"default", "fast", "few"}
    for detectors in registry.PROFILES.values():
        for name, options in detectors.items():
            assert registry.load(name)(**options).name == registry.registered(name)


def test_a_profile_that_was_changed_is_not_the_registry() -> None:
    registry.profile("default")["subspace"]["rank"] = 1
    assert registry.profile("default")["subspace"]["rank"] != 1
    with pytest.raises(KeyError, match="profile = 'best' is unknown; allowed: default"):
        registry.profile("best")


def test_few_channels_have_detectors_of_their_own() -> None:
    assert registry.profile("default", few_channels=True) == registry.profile("few")
    assert registry.profile("fast", few_channels=True) == registry.profile("fast")
    assert registry.profile("default") != registry.profile("few")


def test_a_label_gives_a_detector_a_second_place() -> None:
    assert registry.load("subspace-long") is registry.load("subspace")
    assert registry.registered("subspace-long") == "subspace"
    with pytest.raises(KeyError, match="detector 'magic-long' is unknown"):
        registry.registered("magic-long")


def test_an_unknown_detector_is_refused_with_the_legal_names() -> None:
    with pytest.raises(KeyError, match=r"detector 'magic' is unknown.*subspace"):
        registry.load("magic")


def test_listing_says_what_each_is() -> None:
    listing = {entry.name: entry for entry in registry.available()}
    assert registry.DETECTORS.keys() <= listing.keys()
    for name in registry.DETECTORS:
        assert listing[name].memory == registry.load(name).memory
        assert listing[name].summary == (registry.load(name).__doc__ or "").partition("\n")[0]
        assert 20 < len(listing[name].summary) <= 120


def test_listing_imports_no_heavy_library() -> None:
    code = (
        "import sys; from detectors import registry; registry.available(); "
        "sys.exit(bool({'torch', 'xgboost', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_detectors_from_outside_come_by_entry_point(tmp_path, monkeypatch) -> None:
    (tmp_path / "outside.py").write_text(
        'class Quiet:\n    """Never says anything."""\n\n    name = "quiet"\n    memory = "window"\n'
    )
    info = tmp_path / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[tsad.detectors]\nquiet = outside:Quiet\nvote = outside:Quiet\nlost = nowhere:Lost\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    listing = {entry.name: entry for entry in registry.available()}
    assert listing["quiet"].summary == "Never says anything."
    assert listing["quiet"].memory == "window"
    assert listing["lost"].summary == "(not installed)"
    assert registry.load("quiet").name == "quiet"
    assert registry.load("vote").__name__ == "Vote"
