"""shap's explainer of boosted trees: to build one costs several times what it costs to ask it."""

from functools import lru_cache
from typing import Any

_KEPT = 128


def tree_explainer(booster: Any) -> Any:
    """A TreeExplainer of a booster of XGBoost; equal trees, such as one model read by several partitions, share it."""
    return _explainer(bytes(booster.save_raw("ubj")))


@lru_cache(_KEPT)
def _explainer(trees: bytes) -> Any:
    import shap
    import xgboost

    booster = xgboost.Booster(model_file=bytearray(trees))
    booster.set_param({"nthread": 1})
    return shap.TreeExplainer(booster)
