"""shap's explainer of boosted trees, kept by what the trees are."""

from typing import Any

import numpy as np
import pytest
import shap
import xgboost

from detectors.trees import tree_explainer

RNG = np.random.default_rng(3)
INPUTS = RNG.normal(size=(200, 5)).astype(np.float32)
INPUTS[::7, 2] = np.nan


def grown(seed: int) -> Any:
    """A booster that has learnt a sum, a product and some noise."""
    rng = np.random.default_rng(seed)
    target = INPUTS[:, 0] + INPUTS[:, 1] * INPUTS[:, 3] + rng.normal(0, 0.1, len(INPUTS))
    return xgboost.train({"max_depth": 3, "nthread": 1, "seed": seed}, xgboost.DMatrix(INPUTS, target), 20)


@pytest.fixture(scope="module")
def booster() -> Any:
    return grown(1)


def test_it_says_what_shap_says(booster: Any) -> None:
    mine, plain = tree_explainer(booster), shap.TreeExplainer(booster)
    assert mine.shap_values(INPUTS).tobytes() == plain.shap_values(INPUTS).tobytes()
    assert np.ravel(mine.expected_value).tolist() == np.ravel(plain.expected_value).tolist()


def test_base_and_values_are_the_prediction(booster: Any) -> None:
    mine = tree_explainer(booster)
    whole = mine.shap_values(INPUTS).sum(axis=1) + float(np.ravel(mine.expected_value)[0])
    assert whole == pytest.approx(booster.predict(xgboost.DMatrix(INPUTS)), abs=1e-5)


def test_equal_trees_share_one_however_often_they_are_read(booster: Any) -> None:
    read = xgboost.Booster(model_file=bytearray(booster.save_raw("ubj")))
    assert tree_explainer(read) is tree_explainer(booster)


def test_other_trees_have_another_one(booster: Any) -> None:
    other = grown(2)
    assert tree_explainer(other) is not tree_explainer(booster)
    assert tree_explainer(other).shap_values(INPUTS).tobytes() != tree_explainer(booster).shap_values(INPUTS).tobytes()


def test_what_is_learnt_further_is_not_what_was_kept() -> None:
    """By the place of the booster in memory the old trees would answer."""
    first = grown(1)
    before = tree_explainer(first)
    further = xgboost.train({"max_depth": 3, "nthread": 1}, xgboost.DMatrix(INPUTS, INPUTS[:, 4]), 5, xgb_model=first)
    assert tree_explainer(further) is not before
    assert tree_explainer(first) is before


def test_the_booster_stays_as_it_was(booster: Any) -> None:
    before = bytes(booster.save_raw("ubj"))
    tree_explainer(booster).shap_values(INPUTS)
    assert bytes(booster.save_raw("ubj")) == before
