"""The ablation fuses what score files keep: as the product does, and in other ways."""

from dataclasses import replace

import numpy as np
import pytest
from made_series import START, STOP, TEST, TRAIN, series_from, waves

from benchmarks.ablation import AS_IT_IS, LOOK_AHEADS, Parts, ablated, variants
from tsad.evaluation.harness import Plan
from tsad.evaluation.running import run_together
from tsad.evaluation.vus import volume


@pytest.fixture(scope="module")
def scored():
    values = waves(TRAIN + TEST, 1)
    values[TRAIN + START : TRAIN + STOP, :2] += 6
    labels = (np.arange(TEST) >= START) & (np.arange(TEST) < STOP)
    series = series_from(values[:TRAIN], values[TRAIN:], labels)
    config = Plan(profile="fast").config_of([series])
    return series, config, run_together([series], config)[0]


def test_as_it_is_equals_what_the_stream_said_bit_for_bit(scored):
    _, config, found = scored
    name, immediate, settled = next(variants(Parts.of(found, config)))
    assert name == AS_IT_IS
    assert immediate.tobytes() == found.score.tobytes()
    assert settled.tobytes() == found.settled.tobytes()


def test_each_detector_that_decides_is_left_out_and_stands_alone(scored):
    _, config, found = scored
    names = [name for name, _, _ in variants(Parts.of(found, config))]
    deciding = [name for name in found.detectors if name not in ("vote", "forecast")]
    assert deciding
    for name in deciding:
        assert f"without {name}" in names
        assert f"{name} alone" in names
    assert "without vote" not in names
    assert names[-len(LOOK_AHEADS) :] == [f"settled over {slots} throughout" for slots in LOOK_AHEADS]


def test_one_alone_is_its_own_ratio_and_without_it_nothing_of_it_is_left(scored):
    _, config, found = scored
    said = {name: immediate for name, immediate, _ in variants(Parts.of(found, config))}
    place = found.detectors.index("linear")
    assert np.allclose(said["linear alone"], np.nan_to_num(found.ratios[:, place]), atol=1e-6)
    louder = found.ratios.copy()
    louder[:, place] *= 7
    other = {name: value for name, value, _ in variants(Parts.of(replace(found, ratios=louder), config))}
    assert other["without linear"].tobytes() == said["without linear"].tobytes()
    assert (other[AS_IT_IS] > said[AS_IT_IS]).mean() > 0.9


def test_a_look_ahead_of_one_is_the_immediate_score(scored):
    _, config, found = scored
    said = {name: (now, later) for name, now, later in variants(Parts.of(found, config))}
    now, later = said["settled over 1 throughout"]
    assert np.allclose(now, later, atol=1e-6)


def test_the_figures_are_those_of_the_scores(scored):
    series, config, found = scored
    figures = ablated(found, series.labels, config)
    plain = volume(series.labels, found.score.astype(np.float64), 100).pr
    assert figures[AS_IT_IS]["vus_pr_100"] == pytest.approx(plain)
    assert set(figures[AS_IT_IS]) == {
        "vus_pr_100", "average_precision", "settled_vus_pr_100", "settled_average_precision",
    }  # fmt: skip
    assert all(0 <= value <= 1 for one in figures.values() for value in one.values())
