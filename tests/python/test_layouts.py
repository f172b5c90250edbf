# SPDX-License-Identifier: Apache-2.0
"""Any strides, without a copy; and what is given back."""

import numpy as np
import pytest
from oracle import DTYPES, Guarded, attention, check, problem, same_bits
from tilewright import flash_attn_func

B, S, H, D = 2, 37, 3, 20


def layouts():
    """Name: a function that makes a (B, S, H, D) view with the values of its argument."""

    def bhsd(x):
        return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)

    def sbhd(x):
        return np.ascontiguousarray(x.transpose(1, 0, 2, 3)).transpose(1, 0, 2, 3)

    def last_stride_2(x):
        buffer = np.full((*x.shape[:3], 2 * x.shape[3]), np.nan, x.dtype)
        buffer[..., ::2] = x
        return buffer[..., ::2]

    def dims_first(x):
        return np.ascontiguousarray(x.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)

    def reversed_all(x):
        return np.ascontiguousarray(x[::-1, ::-1, ::-1, ::-1])[::-1, ::-1, ::-1, ::-1]

    def reversed_rows(x):
        return np.ascontiguousarray(x[:, ::-1])[:, ::-1]

    def odd_offset(x):
        buffer = np.empty(x.size + 1, x.dtype)
        view = buffer[1:].reshape(x.shape)
        view[...] = x
        return view

    def padded_rows(x):
        buffer = np.full((*x.shape[:3], x.shape[3] + 5), np.nan, x.dtype)
        buffer[..., : x.shape[3]] = x
        return buffer[..., : x.shape[3]]

    return {
        f.__name__: f
        for f in (bhsd, sbhd, last_stride_2, dims_first, reversed_all, reversed_rows, odd_offset, padded_rows)
    }


@pytest.mark.parametrize("layout", layouts())
@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs(layout, dtype):
    make = layouts()[layout]
    q, k, v = problem(1, B, S, S, H, dim=D, dtype=dtype)
    views = [make(x) for x in (q, k, v)]
    assert all(np.array_equal(view, x) for view, x in zip(views, (q, k, v)))
    out, lse = flash_attn_func(*views, causal=True, return_lse=True)
    check(out, lse, q, k, v, causal=True)


@pytest.mark.parametrize("layout", layouts())
def test_one_strided_operand_at_a_time(layout):
    make = layouts()[layout]
    arrays = problem(2, B, S, S, H, dim=D)
    exact = attention(*arrays)
    for i in range(3):
        mixed = [make(x) if i == j else x for j, x in enumerate(arrays)]
        check(*flash_attn_func(*mixed, return_lse=True), *arrays, exact=exact, what=f"operand {i}")


@pytest.mark.parametrize("layout", layouts())
@pytest.mark.parametrize("dtype", DTYPES)
def test_outputs(layout, dtype):
    q, k, v = problem(3, B, S, S, H, dim=D, dtype=dtype)
    out = layouts()[layout](np.zeros((B, S, H, D), q.dtype))
    result = flash_attn_func(q, k, v, causal=True, out=out)
    assert result is out
    assert same_bits(out, flash_attn_func(q, k, v, causal=True))


def test_output_surroundings_stay():
    q, k, v = problem(4, B, S, S, H, dim=D)
    guarded = Guarded((B, S, H, D), q.dtype)
    flash_attn_func(q, k, v, out=guarded.view)
    guarded.assert_kept()


def test_packed_qkv_views():
    rng = np.random.default_rng(5)
    for shape, parts in (
        ((B, S, 3, H, D), lambda x: (x[:, :, 0], x[:, :, 1], x[:, :, 2])),
        ((B, S, H, 3, D), lambda x: (x[..., 0, :], x[..., 1, :], x[..., 2, :])),
        ((B, S, 3 * H, D), lambda x: (x[:, :, :H], x[:, :, H : 2 * H], x[:, :, 2 * H :])),
        ((B, 3, H, S, D), lambda x: tuple(x[:, i].transpose(0, 2, 1, 3) for i in range(3))),
    ):
        packed = rng.standard_normal(shape, np.float32)
        q, k, v = parts(packed)
        assert all(np.shares_memory(x, packed) for x in (q, k, v))
        check(*flash_attn_func(q, k, v, causal=True, return_lse=True), q, k, v, causal=True)


def test_packed_kv_views_with_grouped_heads():
    packed = np.random.default_rng(6).standard_normal((B, S, 2, 1, D), np.float32)
    q, _, _ = problem(6, B, S, S, H, dim=D)
    k, v = packed[:, :, 0], packed[:, :, 1]
    check(*flash_attn_func(q, k, v, return_lse=True), q, k, v)


def test_broadcast_operands():
    q, k, v = problem(7, 1, S, S, 1, dim=D)
    shape = (B, S, H, D)
    wide = [np.broadcast_to(x, shape) for x in (q, k, v)]
    assert all(0 in x.strides and not x.flags.writeable for x in wide)
    check(*flash_attn_func(*wide, return_lse=True), *(x.copy() for x in wide))


def test_read_only_inputs():
    q, k, v = problem(8, B, S, S, H, dim=D)
    glm = np.array([5, 6], np.int32)
    expected = flash_attn_func(q, k, v, causal=True, glm_mask=glm)
    before = [x.copy() for x in (q, k, v)]
    for x in (q, k, v, glm):
        x.flags.writeable = False
    assert same_bits(flash_attn_func(q, k, v, causal=True, glm_mask=glm), expected)
    assert all(same_bits(x, y) for x, y in zip((q, k, v), before))


def test_memory_mapped_input(tmp_path):
    q, k, v = problem(9, B, S, S, H, dim=D)
    np.save(tmp_path / "q.npy", q)
    mapped = np.load(tmp_path / "q.npy", mmap_mode="r")
    assert same_bits(flash_attn_func(mapped, k, v), flash_attn_func(q, k, v))


def test_strided_glm_mask():
    q, k, v = problem(10, B, S, S, H, dim=D)
    pairs = np.array([[[0, 20], [9, 30]], [[5, 5], [12, 37]]], np.int32)
    expected = flash_attn_func(q, k, v, causal=True, glm_mask=pairs)
    as_tuples = np.ascontiguousarray(pairs.transpose(2, 1, 0)).transpose(2, 1, 0)  # other strides, same values
    wide = np.full((2, 2, 4), 10**6, np.int32)
    wide[:, :, ::2] = pairs
    for view in (as_tuples, wide[:, :, ::2], np.ascontiguousarray(pairs[..., ::-1])[..., ::-1]):
        assert same_bits(flash_attn_func(q, k, v, causal=True, glm_mask=view), expected)
    breaks = np.array([11, 10**6, 30, 10**6], np.int32)
    expected = flash_attn_func(q, k, v, causal=True, glm_mask=np.array([11, 30], np.int32))
    assert same_bits(flash_attn_func(q, k, v, causal=True, glm_mask=breaks[::2]), expected)


def test_torch_views(torch):
    q, k, v = problem(11, B, S, S, H, dim=D)
    expected = torch.from_numpy(flash_attn_func(q, k, v, causal=True))
    tensors = [torch.from_numpy(x) for x in (q, k, v)]
    bhsd = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in tensors]
    packed = torch.stack(tensors, dim=2)
    strided = [torch.stack([x, torch.full_like(x, torch.nan)], dim=-1)[..., 0] for x in tensors]
    for views in (bhsd, packed.unbind(2), strided):
        assert not any(x.is_contiguous() for x in views)
        assert torch.equal(flash_attn_func(*views, causal=True), expected)
    wide = flash_attn_func(*(x[:1].expand(3, -1, -1, -1) for x in tensors), causal=True)
    assert torch.equal(wide, expected[:1].expand(3, -1, -1, -1))


def test_torch_output_in_place(torch):
    q, k, v = (torch.from_numpy(x) for x in problem(12, B, S, S, H, dim=D))
    out = torch.zeros(B, H, S, D).transpose(1, 2)
    version = out._version
    assert flash_attn_func(q, k, v, out=out) is out
    assert torch.equal(out, flash_attn_func(q, k, v))
    assert out._version > version, "autograd was not told of the write"


def test_same_kernel_serves_other_strides_and_lengths():
    """A kernel found in the cache must not have kept anything of the call that compiled it."""
    from tilewright import Engine

    engine = Engine(cache_dir="")
    for seed, make in enumerate(layouts().values()):
        q, k, v = problem(30 + seed, B, S + 64 * seed, S + 32 * seed, H, dim=D)
        out, lse = flash_attn_func(make(q), make(k), make(v), causal=True, return_lse=True, engine=engine)
        check(out, lse, q, k, v, causal=True, what=make.__name__)
