# SPDX-License-Identifier: Apache-2.0
"""GLM masks: the edges of the contract's section A4, bit for bit where two masks mean the same."""

import numpy as np
import pytest
from oracle import check, problem, same_bits, visible
from tilewright import flash_attn_func, inspect, masks

SQUARE = (150, 150)
CROSS = [SQUARE, (90, 150), (150, 90), (1, 100), (100, 1)]


def run(q, k, v, glm=None, align="bottom_right"):
    return flash_attn_func(q, k, v, True, glm, None, align, return_lse=True)


def verify(seed, sq, sk, glm, align="bottom_right", dtype="float32"):
    glm = np.asarray(glm, np.int32)
    q, k, v = problem(seed, len(glm), sq, sk, 2, 1, 16, dtype=dtype)
    check(*run(q, k, v, glm, align), q, k, v, causal=True, glm=glm, align=align, what=f"{sq} x {sk} {align} {glm}")


def edges(sk):
    """Positions at which something could go wrong: the ends, and one off every block's border."""
    q, k, v = problem(0, 1, 150, 150, 1, dim=16)
    blocks = inspect.block_map(q, k, v, causal=True, glm_mask=np.zeros(1, np.int32))
    borders = {n * size for size in (blocks.block_m, blocks.block_n, 16) for n in range(5)}
    found = {0, 1, sk - 1, sk} | {p + d for p in borders for d in (-1, 0, 1)}
    return sorted(p for p in found if 0 <= p <= sk)


@pytest.mark.parametrize("align", ["bottom_right", "top_left"])
@pytest.mark.parametrize("sq, sk", CROSS)
def test_break_points_at_edges(sq, sk, align):
    points = edges(sk)
    verify(1, sq, sk, points, align)


@pytest.mark.parametrize("align", ["bottom_right", "top_left"])
@pytest.mark.parametrize("sq, sk", CROSS)
def test_pairs_at_edges(sq, sk, align):
    points = edges(sk)
    pairs = [[[start], [end]] for start in points[::2] for end in points[1::3]]
    verify(2, sq, sk, pairs, align)


SETS = {
    "sorted": [(0, 20), (40, 70), (100, 140)],
    "unsorted": [(100, 140), (0, 20), (40, 70)],
    "nested": [(10, 140), (20, 60), (30, 40), (25, 150)],
    "nested inside first": [(30, 40), (20, 60), (10, 140)],
    "overlapping": [(0, 60), (50, 110), (100, 150)],
    "adjacent": [(0, 64), (64, 128), (128, 150)],
    "empty": [(10, 10), (64, 64), (150, 150), (0, 0)],
    "backwards": [(100, 20), (150, 0)],
    "unused": [(-1, -1), (-1, -1)],
    "unused between": [(-1, -1), (20, 90), (-1, -1), (100, 150)],
    "whole": [(0, 150)],
    "same start": [(30, 40), (30, 120), (30, 80)],
    "same pair twice": [(30, 120), (30, 120)],
    "one key": [(149, 150), (0, 1), (63, 65)],
    "end is seqlen_k": [(149, 150), (75, 150)],
    "many": [(i * 2, i * 2 + 3 + (i * 37) % 20) for i in range(64)],
}


@pytest.mark.parametrize("align", ["bottom_right", "top_left"])
@pytest.mark.parametrize("pairs", SETS)
def test_sets_of_pairs(pairs, align):
    table = np.array(SETS[pairs], np.int32).T[None]
    for sq in (150, 70, 200):
        verify(3, sq, 150, table, align)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sets_of_pairs_half(dtype):
    for pairs in SETS.values():
        verify(4, 150, 150, np.array(pairs, np.int32).T[None], dtype=dtype)


def test_each_sequence_has_its_own_pairs():
    width = max(len(pairs) for pairs in SETS.values())
    table = np.full((len(SETS), 2, width), -1, np.int32)
    for row, pairs in zip(table, SETS.values()):
        row[:, : len(pairs)] = np.array(pairs).T
    verify(5, 150, 150, table)


def test_random_pairs():
    rng = np.random.default_rng(6)
    for _ in range(60):
        batch, n, sq, sk = rng.integers(1, 4), rng.integers(0, 9), rng.integers(1, 200), rng.integers(1, 200)
        table = rng.integers(0, sk + 1, (batch, 2, n)).astype(np.int32)
        table.transpose(0, 2, 1)[rng.random((batch, n)) < 0.2] = -1
        verify(int(rng.integers(1000)), sq, sk, table, rng.choice(["bottom_right", "top_left"]))


def test_masks_that_add_nothing_are_causal():
    for align in ("bottom_right", "top_left"):
        for sq, sk in CROSS:
            q, k, v = problem(7, 2, sq, sk, 2, dim=16)
            expected = run(q, k, v, None, align)
            for glm in (
                np.zeros(2, np.int32),
                np.full((2, 2, 3), -1, np.int32),
                np.zeros((2, 2, 5), np.int32),
                np.zeros((2, 2, 0), np.int32),
                np.full((2, 2, 64), -1, np.int32),
            ):
                got = run(q, k, v, glm, align)
                assert all(map(same_bits, got, expected)), f"{sq} x {sk} {align} {glm.shape}"


def test_break_point_at_the_end_is_no_mask():
    for sq, sk in CROSS:
        q, k, v = problem(8, 2, sq, sk, 2, dim=16)
        expected = flash_attn_func(q, k, v, return_lse=True)
        assert all(map(same_bits, run(q, k, v, np.full(2, sk, np.int32)), expected)), f"{sq} x {sk}"


def test_pair_from_zero_is_a_break_point():
    """For seqlen_q == seqlen_k, rows past p see p by the causal limit already."""
    q, k, v = problem(9, 1, *SQUARE, 2, dim=16)
    for p in edges(SQUARE[1]):
        by_point = run(q, k, v, np.array([p], np.int32))
        by_pair = run(q, k, v, np.array([[[0], [p]]], np.int32))
        assert all(map(same_bits, by_point, by_pair)), f"p = {p}"


def test_order_of_pairs_changes_nothing():
    q, k, v = problem(10, 1, *SQUARE, 2, dim=16)
    rng = np.random.default_rng(10)
    for pairs in SETS.values():
        expected = run(q, k, v, np.array(pairs, np.int32).T[None])
        mixed = [pairs[i] for i in rng.permutation(len(pairs))]
        assert all(map(same_bits, run(q, k, v, np.array(mixed, np.int32).T[None]), expected))


@pytest.mark.parametrize("pairs", SETS)
def test_block_map_is_the_mask(pairs):
    """Skipped blocks hold no visible entry, full blocks no hidden one."""
    table = np.array(SETS[pairs], np.int32).T[None]
    for sq, align in ((150, "bottom_right"), (90, "bottom_right"), (200, "top_left")):
        q, k, v = problem(11, 1, sq, 150, 1, dim=16)
        blocks = inspect.block_map(q, k, v, causal=True, glm_mask=table, causal_align=align)
        seen = visible(1, sq, 150, True, table, align)
        assert (masks.dense_mask(table, sq, 150, align) == seen).all()
        for (b, m, n), kind in np.ndenumerate(blocks.array()):
            block = seen[b, m * blocks.block_m :, n * blocks.block_n :][: blocks.block_m, : blocks.block_n]
            if kind == inspect.SKIPPED:
                assert not block.any()
            elif kind == inspect.FULL:
                assert block.all()


def test_blocks_are_skipped():
    """Not only right: the mask must save work."""
    q, k, v = problem(12, 1, 1024, 1024, 1, dim=16)
    blocks = inspect.block_map(q, k, v, causal=True, glm_mask=np.array([[[0, 512], [100, 700]]], np.int32))
    total = len(blocks.kinds)
    assert blocks.count(inspect.SKIPPED) > total * 0.3
    assert blocks.count(inspect.FULL) > total * 0.3
    assert blocks.count(inspect.PARTIAL) < total * 0.3


def test_pack_pairs():
    sample = masks.Sample
    packed = masks.pack_pairs([[sample(3, 2), sample(0, 4), sample(5, 0)], [sample(1, 1)]])
    assert packed.dtype == np.int32
    assert packed.tolist() == [[[0, 5, 9], [3, 5, 14]], [[0, -1, -1], [1, -1, -1]]]
    assert masks.pack_pairs([], pairs=2).shape == (0, 2, 2)
    with pytest.raises(ValueError, match="pairs: is 2"):
        masks.pack_pairs([[sample(1, 1)] * 3], pairs=2)
