"""The online side: no neighbours, no dependence on polls, state that goes on, and what late data may touch."""

import json

import numpy as np
import pytest
import small_detectors as small
from hypothesis import given, settings
from hypothesis import strategies as st
from small_detectors import bits, fitted, joined, names_of, noise, planes, polls, scorer_of, windows_of

from detectors.calibrating import SMALLEST
from detectors.ensemble import Ensemble
from detectors.scorer import EnsembleError, Scorer
from detectors.shortage import short_of_memory
from streaming.types import State

SLOTS = 60


@pytest.fixture(scope="module")
def ensemble():
    return fitted()


@pytest.fixture(scope="module")
def majority():
    return fitted(fusion="majority")


def run(ensemble, values, sizes, entities=None, rename=None, late_horizon=16):
    """Verdicts of a fresh scorer over `values`, polled in `sizes`."""
    scorer = Scorer(ensemble, late_horizon=late_horizon)
    everyone = np.arange(len(values), dtype=np.int32)
    scorer.bind(everyone, rename or names_of(len(values)))
    scaled = planes(scorer, values)
    return [scorer.score(windows_of(ensemble, scaled, slots, entities)) for slots in polls(values.shape[1], sizes)]


def same(left, right):
    for name, array in left.items():
        assert array.tobytes() == right[name].tobytes(), name


@pytest.mark.parametrize("which", ["ensemble", "majority"])
@pytest.mark.parametrize("sizes", [[1], [7, 1, 20], [SLOTS]])
def test_any_poll_size_gives_the_same_bits(which, sizes, request):
    model, values = request.getfixturevalue(which), noise(6, SLOTS, seed=1)
    values[1, 20:30] = np.nan
    values[2, 40] += 50
    same(joined(run(model, values, [4])), joined(run(model, values, sizes)))


@pytest.mark.parametrize("late_horizon", [0, 1, 5])
def test_a_poll_longer_than_the_late_horizon_is_settled_alike(ensemble, late_horizon):
    """The ring of ratios is no longer than the late horizon and the look-ahead: a poll runs over it many times."""
    values = noise(3, SLOTS, seed=1)
    values[2, 40] += 50
    same(joined(run(ensemble, values, [1])), joined(run(ensemble, values, [SLOTS], late_horizon=late_horizon)))


@pytest.mark.parametrize("which", ["ensemble", "majority"])
@pytest.mark.parametrize("entity", [0, 3, 5])
def test_alone_is_as_in_a_crowd(which, entity, request):
    model, values = request.getfixturevalue(which), noise(6, SLOTS, seed=2)
    crowd = joined(run(model, values, [5]))
    alone = joined(run(model, values, [5], entities=[entity]))
    for name, array in alone.items():
        whole = crowd[name][entity::6] if name == "shares" else crowd[name][..., entity::6]
        assert np.ascontiguousarray(whole).tobytes() == array.tobytes(), name


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(5)))
def test_the_rows_entities_lie_in_do_not_matter(ensemble, order):
    values = noise(5, 25, seed=3)
    names = names_of(5)
    straight = joined(run(ensemble, values, [3]))
    scorer = Scorer(ensemble)
    scorer.bind(np.arange(5, dtype=np.int32), [names[place] for place in order])
    mixed = values[list(order)]
    scaled = planes(scorer, mixed)
    turned = joined([scorer.score(windows_of(ensemble, scaled, slots)) for slots in polls(25, [3])])
    for place, entity in enumerate(order):
        assert turned["p"][place::5].tobytes() == straight["p"][entity::5].tobytes()
        assert turned["settled_p"][place::5].tobytes() == straight["settled_p"][entity::5].tobytes()


def test_verdicts_say_what_they_say(ensemble):
    values = noise(4, SLOTS, seed=4)
    values[2, 50, 1] += 60
    verdicts = joined(run(ensemble, values, [10]))
    spike = 50 * 4 + 2
    assert verdicts["score"].argmax() == spike
    assert verdicts["score"][spike] > 1
    assert verdicts["votes"][:, spike].all()
    assert verdicts["shares"][spike].argmax() == 1
    np.testing.assert_allclose(verdicts["shares"].sum(axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(verdicts["score"], np.log(verdicts["p"]) / np.log(ensemble.alpha), rtol=1e-5)
    assert ((verdicts["score"] > 1) == (verdicts["p"] < ensemble.alpha)).all()
    assert (verdicts["votes"] == (verdicts["tails"] < ensemble.alpha)).all()
    assert (verdicts["p"] >= SMALLEST).all()
    assert verdicts["ratios"].shape == (2, 4 * SLOTS)


def test_shares_can_be_had_of_the_strange_windows_alone(ensemble):
    values = noise(4, SLOTS, seed=4)
    values[2, 50, 1] += 60
    values[1, 20:24, 0] = np.nan

    def judged(near):
        scorer = scorer_of(ensemble, len(values))
        scaled = planes(scorer, values)
        return [scorer.score(windows_of(ensemble, scaled, slots), near=near) for slots in polls(SLOTS, [10])]

    every, strange = joined(judged(-np.inf)), joined(judged(0.9))
    loud = every["score"] > 0.9
    assert 0 < loud.sum() < len(loud) / 2
    assert strange["shares"][loud].tobytes() == every["shares"][loud].tobytes()
    assert (strange["shares"][~loud] == 0).all() and (every["shares"][~loud].sum(axis=1) > 0.9).any()
    same({name: array for name, array in strange.items() if name != "shares"}, every)


def test_settled_speaks_of_the_slot_settle_minus_one_before(ensemble):
    settle = ensemble.settings.settle
    values = noise(4, SLOTS, seed=5)
    verdicts = joined(run(ensemble, values, [6]))
    ratios = verdicts["ratios"][:, 1::4].astype(np.float64)
    settled = verdicts["settled"][1::4]
    assert np.isnan(settled[: settle - 1]).all()
    means = np.stack([ratios[:, end - settle + 1 : end + 1].mean(axis=1) for end in range(settle - 1, SLOTS)])
    np.testing.assert_allclose(settled[settle - 1 :], means[:, 0], rtol=1e-5)  # the online one decides nothing here
    assert np.isnan(verdicts["settled_p"][1::4][: settle - 1]).all()
    assert (verdicts["settled_p"][1::4][settle - 1 :] <= 1).all()


def test_settled_tells_a_lasting_shift_from_a_spike(ensemble):
    values = noise(4, SLOTS, seed=6)
    values[0, 30, :] += 6
    values[1, 30:40, :] += 6
    settled_p = joined(run(ensemble, values, [6]))["settled_p"]
    at = 30 + ensemble.settings.settle - 1
    assert settled_p[at * 4 + 1] < 0.02 * settled_p[at * 4]
    assert settled_p[at * 4 + 1] < ensemble.alpha


def test_an_entity_the_model_does_not_know_borrows_the_fleets_calibration(ensemble):
    verdicts = joined(run(ensemble, noise(8, SLOTS, seed=7), [10]))
    assert (verdicts["confidence"][4:8] == 0).all()
    assert (verdicts["confidence"][0:4] > 0.1).all()
    assert (np.diff(verdicts["confidence"][7::8]) > 0).all()
    assert (verdicts["score"] < 1).mean() > 0.97


def test_learn_false_changes_nothing(ensemble):
    scorer = scorer_of(ensemble, 4)
    scaled = planes(scorer, noise(4, SLOTS, seed=8))
    for slots in polls(SLOTS, [10]):
        scorer.score(windows_of(ensemble, scaled, slots))
    everyone = np.arange(4, dtype=np.int32)
    before = scorer.rows(everyone)
    amended = scaled.copy()
    amended[1, 55] += 3
    first = scorer.score(windows_of(ensemble, amended, range(55, SLOTS)), learn=False)
    second = scorer.score(windows_of(ensemble, amended, range(55, SLOTS)), learn=False)
    assert bits(first) == bits(second)
    for name, array in scorer.rows(everyone).items():
        if name != "ring/ratios":
            np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_late_data_is_judged_as_if_it_had_been_on_time():
    """With window memory and frozen calibration, an amended slot ends in the verdicts of the same rows on time."""
    model = fitted(detectors={"level": {}}, calibration="frozen")
    values = noise(4, SLOTS, seed=9)
    on_time, late = scorer_of(model, 4), scorer_of(model, 4)
    scaled = planes(on_time, values)
    holed = scaled.copy()
    holed[2, 50] = np.nan
    truth = on_time.score(windows_of(model, scaled, range(SLOTS)))
    late.score(windows_of(model, holed, range(SLOTS)))
    again = late.score(windows_of(model, scaled, range(50, SLOTS), entities=[2]), learn=False)
    for name in ("p", "settled_p", "fused", "score"):
        whole = getattr(truth, name)[50 * 4 + 2 :: 4]
        np.testing.assert_array_equal(getattr(again, name), whole, err_msg=name)
    everyone = np.arange(4, dtype=np.int32)
    np.testing.assert_array_equal(late.rows(everyone)["ring/ratios"], on_time.rows(everyone)["ring/ratios"])


def test_a_slot_that_left_the_ring_is_read_but_not_kept(ensemble):
    scorer = scorer_of(ensemble, 4, late_horizon=0)
    scaled = planes(scorer, noise(4, SLOTS, seed=10))
    scorer.score(windows_of(ensemble, scaled, range(SLOTS)))
    before = scorer.rows(np.arange(4, dtype=np.int32))
    old = scorer.score(windows_of(ensemble, scaled, range(20, 25)), learn=False)
    assert np.isfinite(old.p).all()
    for name, array in scorer.rows(np.arange(4, dtype=np.int32)).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def through_bytes(state, path):
    np.savez(path, **state.arrays)
    with np.load(path, allow_pickle=False) as read:
        return State({name: read[name] for name in read.files}, json.loads(json.dumps(state.meta)), state.blobs)


def test_state_goes_on_bit_for_bit(ensemble, tmp_path):
    values = noise(6, SLOTS, seed=11)
    scorer = scorer_of(ensemble, 6)
    first = planes(scorer, values[:, :30])
    scorer.score(windows_of(ensemble, first, range(30)))
    restored = scorer_of(ensemble, 2)
    restored.restore(through_bytes(scorer.state(), tmp_path / "state.npz"))
    verdicts = []
    for one in (scorer, restored):
        scaled = np.concatenate([first, planes(one, values[:, 30:])], axis=1)
        verdicts.append(
            joined([one.score(windows_of(ensemble, scaled, slots)) for slots in (range(30, 41), range(41, 60))])
        )
    same(*verdicts)


def test_rows_move_an_entity_to_another_scorer(ensemble):
    values = noise(6, SLOTS, seed=12)
    scorer, other = scorer_of(ensemble, 6), Scorer(ensemble)
    scaled = planes(scorer, values)
    scorer.score(windows_of(ensemble, scaled, range(40)))
    here, there = np.array([1, 5], np.int32), np.array([7, 3], np.int32)
    other.bind(there, [names_of(6)[1], names_of(6)[5]])
    other.put_rows(there, scorer.rows(here))
    assert {name: array.tobytes() for name, array in other.rows(there).items()} == {
        name: array.tobytes() for name, array in scorer.rows(here).items()
    }


def test_forget_makes_a_row_new(ensemble):
    scorer, fresh = scorer_of(ensemble, 4), scorer_of(ensemble, 4)
    scaled = planes(scorer, noise(4, SLOTS, seed=13))
    scorer.score(windows_of(ensemble, scaled, range(SLOTS)))
    row = np.array([2], np.int32)
    scorer.forget(row)
    assert (scorer.rows(row)["immediate/windows"] == 0).all()
    scorer.bind(row, [names_of(4)[2]])
    for name, array in scorer.rows(row).items():
        assert array.tobytes() == fresh.rows(row)[name].tobytes(), name


def test_a_detector_that_raises_has_no_opinion_for_that_poll():
    model, told = fitted(detectors={"level": {}, "faulty": {}}), []
    scorer = scorer_of(model, 4, on_error=lambda name, error: told.append((name, str(error))))
    scaled = planes(scorer, noise(4, SLOTS, seed=14))
    fine = scorer.score(windows_of(model, scaled, range(30)))
    scaled[0, 35] = 3.5
    poll = scorer.score(windows_of(model, scaled, range(30, 40)))
    after = scorer.score(windows_of(model, scaled, range(40, 50)))
    assert np.isfinite(fine.ratios).all()
    assert np.isnan(poll.ratios[1]).all()
    np.testing.assert_allclose(poll.fused, poll.ratios[0], rtol=1e-6)
    assert np.isfinite(after.ratios).all()
    assert told == [("faulty", "too large for me")]
    assert scorer.failures == {"level": 0, "faulty": 1}


def test_without_memory_no_detector_is_left_out():
    """The same windows, judged with less memory, would have other scores."""
    scorer = scorer_of(fitted(detectors={"level": {}, "faulty": {}}), 4, on_error=lambda name, error: None)
    scaled = np.full((4, 10, 3), 4.5, np.float32)
    with pytest.raises(MemoryError, match="no room for it"):
        scorer.score(windows_of(scorer.ensemble, scaled, range(10)))
    assert scorer.failures == {"level": 0, "faulty": 0}


def test_want_of_memory_is_known_whoever_tells_it():
    import torch

    with pytest.raises(RuntimeError) as told:
        torch.empty(1 << 46)
    assert short_of_memory(told.value)
    assert short_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"))
    with pytest.raises(MemoryError) as told:
        np.empty(1 << 46)
    assert short_of_memory(told.value)
    assert not short_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not short_of_memory(ValueError("out of memory"))


def test_if_all_fail_the_poll_fails():
    model = fitted(detectors={"faulty": {}})
    scorer = scorer_of(model, 4, on_error=lambda name, error: None)
    scaled = np.full((4, 10, 3), 3.5, np.float32)
    with pytest.raises(EnsembleError, match="every detector"):
        scorer.score(windows_of(model, scaled, range(10)))


def test_windows_out_of_order_are_refused(ensemble):
    scorer = scorer_of(ensemble, 4)
    windows = windows_of(ensemble, planes(scorer, noise(4, 10)), [5, 4])
    with pytest.raises(ValueError, match="ordered"):
        scorer.score(windows)


def test_no_windows_no_verdicts(ensemble):
    scorer = scorer_of(ensemble, 4)
    verdicts = scorer.score(windows_of(ensemble, planes(scorer, noise(4, 10)), []))
    assert verdicts.p.shape == (0,)
    assert verdicts.shares.shape == (0, 3)


def test_a_silent_entity_has_no_opinion(ensemble):
    values = noise(4, SLOTS, seed=15)
    values[3, 40:] = np.nan
    verdicts = joined(run(ensemble, values, [10]))
    assert np.isnan(verdicts["p"][40 * 4 + 3 :: 4]).all()
    assert np.isfinite(verdicts["p"][2::4]).all()


def test_promotion_keeps_what_stays_meaningful(ensemble):
    """Unknown entities keep ranges and online rows; known ones take what the new model knows."""
    scorer = scorer_of(ensemble, 6)
    scaled = planes(scorer, noise(6, SLOTS, seed=16))
    scorer.score(windows_of(ensemble, scaled, range(SLOTS)))
    model = Ensemble.fit(small.rows_of(noise(5, 300, seed=17)), small.settings_of(), load=small.load)
    new = scorer.promote(model)
    fresh = scorer_of(model, 6)
    known, unknown = np.arange(5, dtype=np.int32), np.array([5], np.int32)
    for name, array in new.rows(known).items():
        assert array.tobytes() == fresh.rows(known)[name].tobytes(), name
    for name in ("scaling/low", "scaling/high", "scaling/seen", "drift/mean"):
        assert new.rows(unknown)[name].tobytes() == scorer.rows(unknown)[name].tobytes(), name
    assert new.rows(unknown)["immediate/windows"].sum() == 0
    assert np.isfinite(new.score(windows_of(model, scaled, range(50, SLOTS))).p).all()


def test_promotion_to_other_features_keeps_ranges_by_name(ensemble):
    scorer = scorer_of(ensemble, 6)
    planes(scorer, noise(6, SLOTS, seed=18))
    model = Ensemble.fit(small.rows_of(noise(3, 300, features=4)), small.settings_of(), load=small.load)
    row = np.array([5], np.int32)
    before, after = scorer.rows(row), scorer.promote(model).rows(row)
    np.testing.assert_array_equal(after["scaling/low"][0, :3], before["scaling/low"][0])
    assert np.isnan(after["scaling/low"][0, 3])
    assert np.isnan(after["drift/mean"]).all()


def test_learnt_state_is_small():
    """Beside the detectors' own rows: at most 2 KB an entity at 38 channels and four detectors."""
    names = {"level": {}, "drift": {}, "faulty": {}}
    scorer = scorer_of(fitted(features=38, detectors=names), 1)
    rows = scorer.rows(np.array([0], np.int32))
    assert sum(array.nbytes for name, array in rows.items() if not name.startswith("drift")) < 2048


@pytest.mark.parametrize("stranger", [True, False])
def test_slots_are_scaled_together_as_they_are_singly(ensemble, stranger):
    """With an entity whose ranges still learn from each slot, and with none."""
    together, singly = Scorer(ensemble), Scorer(ensemble)
    codes, values = np.arange(2, dtype=np.int32), noise(2, 20, seed=4)
    for scorer in (together, singly):
        scorer.bind(codes, [names_of(1)[0], "stranger" if stranger else names_of(2)[1]])
    rows = values.swapaxes(0, 1)
    found = together.scale_slots(np.tile(codes, 20), np.repeat(np.arange(100, 120), 2), rows.reshape(40, -1))
    each = [singly.scale(codes, slot, part) for slot, part in zip(range(100, 120), rows, strict=True)]
    np.testing.assert_array_equal(found, np.concatenate(each))
    for name, learnt in singly.rows(codes).items():
        np.testing.assert_array_equal(learnt, together.rows(codes)[name])
