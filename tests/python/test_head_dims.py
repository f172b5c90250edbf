# SPDX-License-Identifier: Apache-2.0
"""Every head dim from 1 to 256. A kernel is compiled for each, so the sweeps are one test each, on two threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from oracle import DTYPES, check, poisoned, problem
from tilewright import Engine, flash_attn_func

NAMED = [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 40, 63, 64, 65, 72, 80, 96, 127, 128, 129, 160, 192, 255, 256]


def sweep(cases, verify):
    """Runs ``verify`` on every case and reports all failures, not the first."""

    def guarded(case):
        try:
            verify(case)
        except Exception as error:
            return f"{case}: {type(error).__name__}: {error}"
        return None

    with ThreadPoolExecutor(2) as pool:
        failures = [text for text in pool.map(guarded, cases) if text]
    assert not failures, f"{len(failures)} of {len(cases)} cases:\n" + "\n".join(failures[:20])


@pytest.fixture(scope="module")
def engine():
    # One thread a kernel: the sweep itself is what runs in parallel. On disk nothing would be asked for twice.
    return Engine(cache_dir="", num_threads=1)


def verify_lengths(engine, lengths, dim, dim_v, dtype, **mask):
    for sq, sk in lengths:
        q, k, v = problem(dim * 1000 + dim_v, 1, sq, sk, 2, 1, dim, dim_v, dtype)
        out, lse = flash_attn_func(
            poisoned(q),
            poisoned(k),
            poisoned(v),
            mask.get("causal", False),
            mask.get("glm"),
            None,
            return_lse=True,
            engine=engine,
        )
        check(out, lse, q, k, v, **mask, what=f"{sq} x {sk}")


def test_every_head_dim_causal(engine):
    def verify(dim):
        verify_lengths(engine, [(37, 70), (70, 37), (1, 65)], dim, dim, "float32", causal=True)

    sweep(range(1, 257), verify)


def test_every_head_dim_without_a_mask(engine):
    def verify(dim):
        verify_lengths(engine, [(5, 70), (70, 5)], dim, 257 - dim, "float32")

    sweep(range(1, 257), verify)


@pytest.mark.parametrize("dtype", DTYPES)
def test_named_head_dims_glm(engine, dtype):
    pairs = np.array([[[0, 30, -1], [20, 66, -1]]], np.int32)

    def verify(dim):
        verify_lengths(engine, [(70, 70), (37, 70)], dim, dim, dtype, causal=True, glm=pairs)

    sweep(NAMED, verify)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_named_head_dims_half(engine, dtype):
    def verify(dim):
        verify_lengths(engine, [(37, 70), (1, 65)], dim, dim, dtype)

    sweep(NAMED, verify)


def test_head_dims_of_q_and_v_apart(engine):
    pairs = [(1, 256), (256, 1), (192, 128), (128, 192), (64, 65), (65, 64), (3, 100), (100, 3), (17, 16), (80, 96)]

    def verify(case):
        dtype, (dim, dim_v) = case
        verify_lengths(engine, [(37, 70)], dim, dim_v, dtype, causal=True)

    sweep([(dtype, pair) for dtype in DTYPES for pair in pairs], verify)
