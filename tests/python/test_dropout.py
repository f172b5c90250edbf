# SPDX-License-Identifier: Apache-2.0
"""Dropout of the reference: how much it keeps, what it scales by, and that an entry's fate depends on the numbers given
and its own position alone."""

import feature_oracle
import numpy as np
import pytest
import tilewright
from oracle import problem, same_bits
from tilewright import InvalidArgument, flash_attn_func, reference

SEED, OFFSET = 0x0123456789ABCDEF, 0xFEDCBA9876543210


def dropped(q, k, v, p=0.4, **args):
    """bool (batch, heads, sq, sk), from the signs of the probabilities."""
    _, probs = reference.attention(q, k, v, dropout_p=p, return_probs=True, **args)
    return probs < 0


def uniform(batch, sq, sk, heads=2, heads_k=None):
    """Keys of zero: equal probabilities, so that every sign can be seen."""
    q, k, v = problem(1, batch, sq, sk, heads, heads_k, dim=4)
    return q, np.zeros_like(k), v


@pytest.mark.parametrize("p", [0.001, 0.1, 0.17, 0.5, 0.9, 0.999])
def test_keep_rate(p):
    """Within five standard deviations of the binomial distribution, over all entries, and by row, column and the part
    of a call's words."""
    gone = dropped(*uniform(2, 160, 192), p=p, dropout_seed=77)
    keep = feature_oracle.threshold(p) / 65536
    assert abs(keep - (1 - p)) <= 1 / 65536

    def within(share, count):
        # Three entries more: where few are dropped, their number has a longer tail than a normal one.
        return np.abs((1 - share) - keep).max() < 5 * np.sqrt(keep * (1 - keep) / count) + 3 / count

    assert within(gone.mean(), gone.size)
    assert within(gone.mean(axis=(0, 1, 2)), gone.size / gone.shape[3])
    assert within(gone.mean(axis=(0, 1, 3)), gone.size / gone.shape[2])
    parts = gone.reshape(2, 2, 10, 2, 8, 6, 2, 2, 8).mean(axis=(0, 1, 2, 4, 5, 8))
    assert parts.shape == (2, 2, 2) and within(parts, gone.size / 8)


def test_entries_are_independent():
    """Of neighbouring entries, and of the eight that one call of Philox draws, no two go together."""
    gone = dropped(*uniform(1, 256, 256), p=0.5, dropout_seed=3)[0, 0].astype(np.float64) - 0.5
    for rows, columns in ((0, 1), (1, 0), *((8 * i, 8 * j) for i in (0, 1, 2) for j in range(5) if i + j), (1, 1)):
        shifted = gone[rows:, columns:] * gone[: 256 - rows, : 256 - columns]
        assert abs(shifted.mean()) * 4 < 5 / np.sqrt(shifted.size)
    both = dropped(*uniform(2, 64, 64), p=0.5, dropout_seed=3).reshape(4, -1)
    for i in range(4):
        for j in range(i):
            assert abs((both[i] == both[j]).mean() - 0.5) < 5 * 0.5 / 64


def test_kept_entries_are_scaled_by_the_realised_rate():
    q, k, v = problem(2, 2, 33, 45, 4, 2, 8, 6)
    for p in (0.1, 0.17, 0.5, 1e-9, 1 - 1e-9):
        args = dict(dropout_p=p, dropout_seed=SEED, dropout_offset=OFFSET)
        out, lse, probs = reference.attention(q, k, v, return_lse=True, return_probs=True, **args)
        plain, plain_lse, plain_probs = reference.attention(q, k, v, return_lse=True, return_probs=True)
        assert same_bits(lse, plain_lse) and same_bits(np.abs(probs), plain_probs)
        kept = np.where(probs > 0, probs, 0) * (65536 / feature_oracle.threshold(p))
        values = np.repeat(v.astype(np.float64), 2, axis=2)
        np.testing.assert_allclose(out, np.einsum("bhij,bjhd->bihd", kept, values), rtol=1e-11, atol=1e-13)
    # p below half of the last of 16 bits drops nothing; p close to 1 keeps one in 65536.
    assert not dropped(q, k, v, 1e-9).any()
    assert dropped(q, k, v, 1 - 1e-9).mean() > 0.99


def test_mean_is_exact():
    """Over many seeds the output has the mean of the output without dropout."""
    q, k, v = problem(3, 1, 16, 24, 1, dim=4)
    runs = np.array([reference.attention(q, k, v, dropout_p=0.3, dropout_seed=seed) for seed in range(400)])
    plain = reference.attention(q, k, v)
    deviation = runs.std(axis=0) / np.sqrt(len(runs))
    assert (np.abs(runs.mean(axis=0) - plain) < 5 * deviation + 1e-12).all()


def test_known_entries():
    """Written down: other implementations can be held against these."""
    gone = dropped(*uniform(1, 18, 18, heads=1), p=0.5, dropout_seed=42)[0, 0]
    # The first words for seed 42, offset 0 are in tests/unit/reference/PhiloxTest.cpp.
    first = [int(word) for word in feature_oracle.philox([np.array(0)] * 4, (42, 0))]
    corners = gone[0, 0], gone[0, 8], gone[8, 0], gone[8, 8]
    assert [bool(x) for x in corners] == [word >> 16 >= 32768 for word in first]
    assert np.array_equal(~gone, feature_oracle.keep_mask(18, 18, 1, 0, 0.5, 42, 0)[0])


def test_depends_on_seed_and_offset_alone():
    arrays = uniform(1, 40, 40)
    base = dropped(*arrays, dropout_seed=SEED, dropout_offset=OFFSET)
    assert same_bits(base, dropped(*arrays, dropout_seed=SEED, dropout_offset=OFFSET))
    for seed, offset in ((SEED ^ 1, OFFSET), (SEED ^ 2**63, OFFSET), (SEED, OFFSET ^ 1), (SEED, OFFSET ^ 2**63)):
        other = dropped(*arrays, dropout_seed=seed, dropout_offset=offset)
        assert 0.3 < (other != base).mean() < 0.7  # 0.48 for independent draws of 0.4
    state = np.array([SEED, OFFSET], np.uint64).view(np.int64)
    assert same_bits(base, dropped(*arrays, rng_state=state))


def test_depends_on_the_position_alone():
    """Not on lengths, other sequences, masks, head ratio, values or the layout."""
    numbers = dict(dropout_seed=SEED, dropout_offset=5)
    base = dropped(*uniform(3, 70, 90, heads=4), **numbers)
    assert same_bits(dropped(*uniform(3, 33, 51, heads=4), **numbers), np.ascontiguousarray(base[:, :, :33, :51]))
    assert same_bits(dropped(*uniform(2, 70, 90, heads=4, heads_k=1), **numbers), np.ascontiguousarray(base[:2]))
    q, k, v = problem(5, 3, 70, 90, 4, dim=9)
    for features in (dict(), dict(causal=True, causal_align="top_left"), dict(window_size=(9, 3))):
        _, probs = reference.attention(q, k, v, dropout_p=0.4, return_probs=True, **numbers, **features)
        assert np.array_equal(probs < 0, base & (probs != 0))
    lengths_q, lengths_k = [40, 0, 70], [31, 90, 77]
    _, probs = reference.attention(
        *(np.zeros((sum(n), 4, 4), np.float32) for n in (lengths_q, lengths_k, lengths_k)),
        cu_seqlens_q=np.cumsum([0, *lengths_q]).astype(np.int32),
        cu_seqlens_k=np.cumsum([0, *lengths_k]).astype(np.int32),
        max_seqlen_q=70,
        max_seqlen_k=90,
        dropout_p=0.4,
        return_probs=True,
        **numbers,
    )
    assert np.array_equal(probs < 0, base & (probs != 0))
    for b, (sq, sk) in enumerate(zip(lengths_q, lengths_k)):
        assert (probs[b, :, :sq, :sk] != 0).all()
        assert (probs[b, :, sq:] == 0).all() and (probs[b, :, :, sk:] == 0).all()


def test_a_dropped_nan_is_not_hidden():
    """A dropped entry has weight 0, and 0 * NaN is NaN: as in the formula."""
    q, k, v = uniform(1, 8, 8, heads=1)
    gone = dropped(q, k, v, 0.9, dropout_seed=1)
    column = int(np.flatnonzero(gone[0, 0].all(axis=0))[0])
    v[0, column] = np.nan
    assert np.isnan(reference.attention(q, k, v, dropout_p=0.9, dropout_seed=1)).all()


def test_numbers_are_drawn_from_the_frameworks_generator(torch):
    arrays = tilewright._arrays.arrays_of(np.zeros(1))
    np.random.seed(5)
    first = arrays.draw_rng(None)
    second = arrays.draw_rng(None)
    np.random.seed(5)
    assert arrays.draw_rng(None) == first != second
    tensor = torch.zeros(1)
    arrays = tilewright._arrays.arrays_of(tensor)
    torch.manual_seed(5)
    first, second = arrays.draw_rng(tensor), arrays.draw_rng(tensor)
    torch.manual_seed(5)
    assert torch.equal(arrays.draw_rng(tensor), first) and not torch.equal(first, second)
    assert first.dtype == torch.int64 and first.shape == (2,)


def test_rng_argument():
    q, k, v = problem(6, 1, 8, 8, 1, dim=4)
    for rng, words in (
        (5, "int, must be (seed, offset)"),
        ((1, 2, 3), "must be (seed, offset)"),
        ((1, -2), "rng: is -2, must be an integer from 0 to 18446744073709551615"),
        ((2**64, 0), "must be an integer"),
        ((1.5, 0), "rng: is a float"),
        (np.zeros(2, np.int32), "is int32 of shape (2,), must be int64 of shape (2,)"),
        (np.zeros(3, np.int64), "is int64 of shape (3,)"),
    ):
        with pytest.raises(InvalidArgument) as raised:
            flash_attn_func(q, k, v, dropout_p=0.5, rng=rng)
        assert raised.value.argument == "rng" and words in str(raised.value)
    for seed, offset in ((2**64 - 1, 7), (1, 2), (2**40 + 3, 2**63)):
        state = np.array([seed, offset], np.uint64).view(np.int64)
        expected = reference.attention(q, k, v, dropout_p=0.5, dropout_seed=seed, dropout_offset=offset)
        by_numbers = flash_attn_func(q, k, v, dropout_p=0.5, rng=(seed, offset))
        assert np.abs(by_numbers - expected).max() < 1e-5
        assert same_bits(flash_attn_func(q, k, v, dropout_p=0.5, rng=state), by_numbers)
    assert not same_bits(flash_attn_func(q, k, v, dropout_p=0.5), flash_attn_func(q, k, v, dropout_p=0.5))
    plain = flash_attn_func(q, k, v)
    assert same_bits(flash_attn_func(q, k, v, dropout_p=0.0, rng=(1, 2)), plain)
    assert same_bits(flash_attn_func(q, k, v, dropout_p=0, rng=np.array([1, 2])), plain)


def kernel_signs(arguments, engine=None, **more):
    """bool (batch, heads, sq, sk): what a kernel drops of equal probabilities."""
    _, probs = flash_attn_func(*arguments, return_attn_probs=True, engine=engine, **more)
    return np.signbit(np.asarray(probs, np.float32))


@pytest.mark.parametrize("p", [0.0001, 0.1, 0.5, 0.97])
def test_kernels_of_all_schedules_drop_the_same(p):
    """Those of the reference, whose rate is tested above; in both orientations of the score tile."""
    arguments = uniform(2, 70, 90, heads=4, heads_k=2)
    expected = dropped(*arguments, p=p, dropout_seed=SEED, dropout_offset=OFFSET)
    for schedule in (None, "qk:16x32:4x1", "kq:48x16:4x1", "kq:16x64:2x2"):
        engine = tilewright.Engine(schedule=schedule) if schedule else None
        found = kernel_signs(arguments, engine, dropout_p=p, rng=(SEED, OFFSET))
        assert np.array_equal(found, expected), schedule
    halves = kernel_signs([x.astype(np.float16) for x in arguments], dropout_p=p, rng=(SEED, OFFSET))
    assert np.array_equal(halves, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("p", [0.0001, 0.1, 0.5, 0.97])
def test_cuda_kernels_drop_the_same(p, torch):
    if not torch.cuda.is_available():
        pytest.skip("torch.cuda.is_available() is False")
    arguments = uniform(2, 150, 190, heads=4, heads_k=2)
    expected = dropped(*arguments, p=p, dropout_seed=SEED, dropout_offset=OFFSET)
    there = [torch.from_numpy(x).to(torch.bfloat16).cuda() for x in arguments]
    state = torch.from_numpy(np.array([SEED, OFFSET], np.uint64).view(np.int64)).cuda()
    for schedule in (None, "qk:64x32:w4", "qk:128x64:w4:s2", "qk:128x64:w8"):
        engine = tilewright.Engine(schedule=schedule) if schedule else None
        for rng in ((SEED, OFFSET), state):
            _, probs = flash_attn_func(*there, return_attn_probs=True, engine=engine, dropout_p=p, rng=rng)
            assert np.array_equal(np.signbit(probs.float().cpu().numpy()), expected), schedule


@pytest.mark.gpu
def test_a_graph_replays_with_new_numbers(torch):
    """The state is read on the device when the work runs: a captured call drops what its tensor says then."""
    if not torch.cuda.is_available():
        pytest.skip("torch.cuda.is_available() is False")
    q, k, v = (torch.randn(2, 64, 2, 64, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    state, out = torch.tensor([1, 2], device="cuda"), torch.empty_like(q)

    def call():
        flash_attn_func(q, k, v, dropout_p=0.5, rng=state, out=out)
        return out.clone()

    first = call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        flash_attn_func(q, k, v, dropout_p=0.5, rng=state, out=out)
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(out, first)
    state += 5
    graph.replay()
    torch.cuda.synchronize()
    replayed = out.clone()
    assert not torch.equal(replayed, first) and torch.equal(call(), replayed)
