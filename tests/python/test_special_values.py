# SPDX-License-Identifier: Apache-2.0
"""Rows that see nothing, NaN and infinities, extreme scores, and what the LSE is good for."""

import numpy as np
import pytest
from oracle import DTYPES, attention, check, problem, same_bits
from tilewright import flash_attn_func, reference


def run(q, k, v, causal=False, glm=None, scale=None, align="bottom_right"):
    return flash_attn_func(q, k, v, causal, glm, scale, align, True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sq, sk", [(100, 40), (100, 1), (130, 64), (65, 64), (300, 3)])
def test_rows_that_see_nothing(sq, sk, dtype):
    """Causal, bottom right, more queries than keys: the first rows are empty."""
    q, k, v = problem(1, 2, sq, sk, 2, dim=16, dtype=dtype)
    out, lse = run(q, k, v, causal=True)
    assert (out[:, : sq - sk] == 0).all() and np.isneginf(lse[:, :, : sq - sk]).all()
    check(out, lse, q, k, v, causal=True)


def test_break_point_fills_empty_rows():
    q, k, v = problem(2, 2, 100, 40, 2, dim=16)
    glm = np.array([7, 0], np.int32)
    out, lse = run(q, k, v, causal=True, glm=glm)
    assert np.isfinite(lse[0]).all() and np.isneginf(lse[1, :, :60]).all()
    check(out, lse, q, k, v, causal=True, glm=glm)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_keys_that_no_row_sees(value, dtype):
    """Causal, top left, more keys than queries: whatever stands in the last keys does not matter."""
    q, k, v = problem(3, 1, 50, 150, 2, dim=16, dtype=dtype)
    expected = run(q, k, v, causal=True, align="top_left")
    k[:, 50:] = v[:, 50:] = value
    assert all(map(same_bits, run(q, k, v, causal=True, align="top_left"), expected))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_hidden_keys_do_not_reach_a_row(value):
    """K at a position hidden from a row stays out of that row, even where other rows of its block see it."""
    q, k, v = problem(4, 1, 150, 150, 1, dim=16)
    clean, clean_lse = run(q, k, v, causal=True)
    for position in (0, 1, 63, 64, 70, 149):
        poisoned = k.copy()
        poisoned[0, position] = value
        out, lse = run(q, poisoned, v, causal=True)
        assert same_bits(out[:, :position], clean[:, :position])
        assert same_bits(lse[:, :, :position], clean_lse[:, :, :position])
        if np.isnan(value):
            assert np.isnan(out[:, position:]).all() and np.isnan(lse[:, :, position:]).all()


def test_nan_of_a_query_stays_in_its_row():
    q, k, v = problem(5, 1, 70, 70, 2, dim=16)
    clean, clean_lse = run(q, k, v)
    q[0, 33, 1] = np.nan
    out, lse = run(q, k, v)
    rows = [i for i in range(70) if i != 33]
    assert np.isnan(out[0, 33, 1]).all() and np.isnan(lse[0, 1, 33])
    assert same_bits(out[0, rows], clean[0, rows]) and same_bits(out[0, 33, 0], clean[0, 33, 0])
    assert same_bits(lse[0, 0], clean_lse[0, 0])


def test_neighbouring_batches_and_heads_stay_apart():
    q, k, v = problem(6, 3, 70, 70, 4, 2, dim=16)
    clean, _ = run(q, k, v)
    k[1, :, 1] = v[1, :, 1] = np.nan
    out, _ = run(q, k, v)
    assert np.isnan(out[1, :, 2:]).all()
    assert same_bits(out[[0, 2]], clean[[0, 2]]) and same_bits(out[1, :, :2], clean[1, :, :2])


def test_nan_in_a_visible_value():
    q, k, v = problem(7, 1, 40, 40, 1, dim=8)
    v[0, 5, 0, 3] = np.nan
    out, lse = run(q, k, v)
    assert np.isnan(out[..., 3]).all() and np.isfinite(out[..., :3]).all() and np.isfinite(lse).all()


def test_infinite_score():
    """+inf among the scores: exp(inf - inf) is NaN, as in the formula, and the LSE is not finite."""
    q, k, v = problem(8, 1, 2, 40, 1, dim=4)
    q[0, 0] = np.abs(q[0, 0]) + 1
    q[0, 1] = -q[0, 0]
    k[0, 7] = np.inf
    out, lse = run(q, k, v)
    assert np.isnan(out[0, 0]).all() and not np.isfinite(lse[0, 0, 0])
    assert np.isfinite(out[0, 1]).all()  # -inf there: a key of weight 0
    check(out[:, 1:], lse[:, :, 1:], q[:, 1:], np.delete(k, 7, 1), np.delete(v, 7, 1))


def test_only_scores_of_minus_infinity():
    """A row that sees keys, but none with a finite score, is an empty row."""
    q, k, v = problem(16, 1, 2, 40, 1, dim=4)
    q[0, 0] = 1
    k[:] = -np.inf
    out, lse = run(q[:, :1], k, v)
    assert (out == 0).all() and np.isneginf(lse).all()
    exact, exact_lse = reference.attention(q[:, :1], k, v, return_lse=True)
    assert (exact == 0).all() and np.isneginf(exact_lse).all()


SHIFTS = {"far below": -3e4, "below -100": -120.0, "above 100": 120.0, "far above": 3e4}


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_extreme_scores(shift, dtype):
    """All scores of a row far from zero: nothing overflows, nothing underflows to an empty row."""
    q, k, v = problem(9, 1, 20, 150, 2, dim=16, dtype=dtype)
    q[..., 0], k[..., 0] = 1, SHIFTS[shift]
    out, lse = run(q, k, v, scale=1.0)
    check(out, lse, q, k, v, scale=1.0)
    assert (np.sign(lse) == np.sign(SHIFTS[shift])).all()


def test_equal_scores():
    q, k, v = problem(10, 1, 20, 100, 2, dim=16)
    k[:] = 0
    out, lse = run(q, k, v)
    assert np.allclose(lse, np.log(100), atol=1e-6)
    assert np.allclose(out, v.mean(axis=1, keepdims=True), atol=1e-6)


def test_one_visible_key():
    """The first row of a causal mask: its output is the value, its LSE the score."""
    q, k, v = problem(11, 2, 150, 150, 2, dim=16)
    out, lse = run(q, k, v, causal=True)
    assert np.allclose(out[:, 0], v[:, 0], rtol=1e-6)
    score = np.einsum("bhd,bhd->bh", q[:, 0].astype(np.float64), k[:, 0]) / 4
    assert np.allclose(lse[:, :, 0], score, atol=1e-6)


@pytest.mark.parametrize("logit", [-1e38, -2.5e38, -3.4e38])
def test_finite_scores_stay_finite(logit):
    """The most negative finite scores: equal weights, not an empty row. In base 2 they would overflow."""
    _, _, v = problem(12, 1, 3, 90, 1, dim=4)
    q = np.ones((1, 3, 1, 1), np.float32)
    k = np.full((1, 90, 1, 1), logit, np.float32)
    out, lse = run(q, k, v, scale=1.0)
    assert np.allclose(out, v.mean(axis=1, keepdims=True), atol=1e-6)
    assert np.isfinite(lse).all() and (lse < -0.9e38).all()


def test_large_finite_scores():
    q = np.ones((1, 2, 1, 1), np.float32)
    k = np.array([3e38, 3e38, -3e38, 0], np.float32).reshape(1, 4, 1, 1)
    v = np.array([1, 2, 50, 70], np.float32).reshape(1, 4, 1, 1)
    out, lse = run(q, k, v, scale=1.0)
    assert np.allclose(out, 1.5) and np.isfinite(lse).all() and (lse > 2e38).all()


def test_lse_merges_parts():
    """Attention over all keys from attention over parts of them: what LSE is returned for."""
    q, k, v = problem(13, 2, 60, 170, 4, 2, dim=32)
    cuts = [0, 1, 64, 100, 170]
    parts = [run(q, k[:, a:b], v[:, a:b]) for a, b in zip(cuts, cuts[1:])]
    lses = np.stack([lse for _, lse in parts]).astype(np.float64)
    total = np.logaddexp.reduce(lses, axis=0)
    weights = np.exp(lses - total).transpose(0, 1, 3, 2)[..., None]
    merged = sum(weight * out for weight, (out, _) in zip(weights, parts))
    exact, exact_lse = attention(q, k, v)
    assert np.abs(merged - exact).max() < 5e-6
    assert np.abs(total - exact_lse).max() < 5e-6


def test_subnormal_inputs():
    q, k, v = problem(14, 1, 10, 40, 1, dim=8)
    v *= np.float32(1e-40)
    assert (v != 0).any()
    out, lse = run(q, k, v)
    check(out, lse, q, k, v)
    assert (out != 0).any()


def test_half_overflow_is_infinity():
    """Outputs in half precision are rounded from float32: large inputs stay exact up to the type's end."""
    q, k, v = problem(15, 1, 4, 9, 1, dim=8, dtype="float16")
    v[:] = 65504
    out, _ = run(q, k, v)
    assert (out == np.float16(65504)).all()
