"""Products of blocks: a row's bits depend on that row alone, whatever kernels and threads BLAS uses."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from detectors import registry
from detectors.products import one_blas_thread, product

KERNELS = ("Nehalem", "Sandybridge", "Haswell", "Zen")
"""Kernels of OpenBLAS for older processors, which newer ones can run, too. With Haswell's the place of a row counts."""
PRINTS = """
from tests.detectors.test_products import prints
print(prints())
"""
SHAPES = ((8, 8), (38, 17), (64, 64), (304, 40), (600, 1), (608, 256), (40, 1024), (1000, 16))
"""Rows and columns of matrices, among them such as BLAS would share out over threads."""


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def places(inner: int, outer: int, rows: int = 64) -> list[np.ndarray]:
    """One row at each place of a block whose other rows are always others, times a matrix."""
    row, matrix = drawn(inner, seed=1), drawn(inner, outer, seed=2)
    found = []
    for place in range(rows):
        block = drawn(rows, inner, seed=3 + place)
        block[place] = row
        found.append(product(block, matrix)[place])
    return found


def prints() -> str:
    """What says whether the bits of products are the same; AssertionError where those of a row are not."""
    whole = hashlib.sha256()
    for inner, outer in SHAPES:
        found = places(inner, outer)
        assert all((each == found[0]).all() for each in found), (inner, outer)
        whole.update(found[0].tobytes())
    return whole.hexdigest()


def prints_with(**variables: str) -> str:
    """`prints` of another process."""
    answer = subprocess.run(
        [sys.executable, "-c", PRINTS], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 130), st.integers(1, 80), st.sampled_from([1, 5, 16, 40, 64]))
def test_a_row_has_the_same_bits_at_each_place(inner: int, outer: int, rows: int) -> None:
    found = places(inner, outer, rows)
    np.testing.assert_array_equal(found, [found[0]] * rows)


@given(st.integers(1, 50), st.integers(1, 50), st.sampled_from([1, 3, 16, 64]))
def test_it_is_the_product(inner: int, outer: int, rows: int) -> None:
    block, matrix = drawn(rows, inner), drawn(inner, outer, seed=1)
    expected = block.astype(np.float64) @ matrix.astype(np.float64)
    found = product(block, matrix)
    assert (found.shape, found.dtype) == ((rows, outer), np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_rows_that_lie_apart_are_multiplied_too() -> None:
    block, matrix = drawn(64, 60), drawn(38, 20, seed=1)
    np.testing.assert_array_equal(product(block[:, :38], matrix), product(block[:, :38].copy(), matrix))


@pytest.mark.parametrize("kernels", KERNELS)
def test_no_kernels_make_the_place_count(kernels: str) -> None:
    """OpenBLAS alone knows the variable; any other library is asked the same question a few times."""
    assert prints_with(OPENBLAS_CORETYPE=kernels)


def test_the_number_of_threads_does_not_count() -> None:
    one, four = (prints_with(OPENBLAS_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads)) for threads in (1, 4))
    assert one == four


def test_blas_uses_one_thread_once_a_detector_is_loaded() -> None:
    registry.load("subspace")
    one_blas_thread()
    assert {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"} <= {1}
