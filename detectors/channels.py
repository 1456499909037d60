"""What data of few channels want: other detectors, longer windows and a longer look-ahead."""

from streaming.channels import continuous
from streaming.types import Floats

FEW = 3
"""Continuous channels up to which distances between whole windows detect better than forecasts and projections do."""
FEW_TIMING = {"window": 100, "settle": 40}
"""Slots of a window, and of the longest look-ahead, that such data want."""


def few(values: Floats) -> bool:
    """Whether N x F `values` have at most `FEW` continuous channels."""
    return continuous(values) <= FEW


def timing(channels: int) -> dict[str, int]:
    """What a stream of so many continuous channels is told beside the defaults."""
    return dict(FEW_TIMING) if channels <= FEW else {}
