"""Loops in machine code (numba), for what numpy cannot do at once: a slot that depends on the slot before it.

A loop is compiled when its module is imported, for the types that it names, and kept on disk beside the module, else in
the user's cache (`NUMBA_CACHE_DIR` says otherwise); where neither can be written, each process compiles anew. What a
loop calls must stand in its own module: the disk's copy goes by that file alone.
"""

import os
from collections.abc import Callable
from importlib import import_module
from typing import TypeVar, cast

# Intel's vector library, where it is installed, has other last bits in a loop's vectors than in its remainder.
os.environ["NUMBA_DISABLE_INTEL_SVML"] = "1"

from numba import njit

MODULES = tuple(
    f"detectors.{name}"
    for name in ("ballots", "calibrating", "centring", "forecast", "fusing", "neighbours", "residuals")
)
"""Those that hold loops: `python -m detectors.compiled` compiles them ahead of the first command."""
Loop = TypeVar("Loop", bound=Callable[..., object])


def compiled(signature: str) -> Callable[[Loop], Loop]:
    """Compile a function of numbers and arrays for `signature`, such as `"void(f8[::1], f4)"`.

    Arithmetic is that of IEEE 754 in the order in which it is written: division by zero gives infinity or NaN, nothing
    is fused or reordered. Runs without Python's lock.
    """

    def into(loop: Loop) -> Loop:
        try:
            return cast(Loop, njit(signature, cache=True, nogil=True, error_model="numpy")(loop))
        except RuntimeError:  # nowhere to keep it
            return cast(Loop, njit(signature, nogil=True, error_model="numpy")(loop))

    return into


if __name__ == "__main__":
    for module in MODULES:
        import_module(module)
