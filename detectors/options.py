"""What detectors take as options: a constructor refuses a value that cannot be, by the option's name."""

import math
from numbers import Integral, Real


def count(least: int, **given: object) -> None:
    """ValueError unless each is a whole number of at least `least`."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise _refused(name, value, f"a whole number of at least {least}")


def positive(**given: object) -> None:
    """ValueError unless each is a finite number above 0."""
    for name, value in given.items():
        if not 0 < _number(value) < math.inf:
            raise _refused(name, value, "a number above 0")


def share(**given: object) -> None:
    """ValueError unless each is a number from 0 to 1."""
    for name, value in given.items():
        if not 0 <= _number(value) <= 1:
            raise _refused(name, value, "a number from 0 to 1")


def flag(**given: object) -> None:
    """ValueError unless each is true or false."""
    for name, value in given.items():
        if not isinstance(value, bool):
            raise _refused(name, value, "true or false")


def _number(value: object) -> float:
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan


def _refused(name: str, value: object, wanted: str) -> ValueError:
    return ValueError(f"{name} = {value!r}: {wanted} is needed")
