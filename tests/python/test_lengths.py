# SPDX-License-Identifier: Apache-2.0
"""Every length from 0 to 300, with NaN around the inputs and a sentinel in and around the outputs."""

import mmap

import numpy as np
import pytest
from oracle import Guarded, attention, check, poisoned, problem, same_bits
from tilewright import flash_attn_func

LENGTHS = range(1, 301)


def verify(sq, sk, dim, dtype="float32", batch=1, heads=2, **mask):
    q, k, v = problem(sq * 1000 + sk, batch, sq, sk, heads, 1, dim, dim, dtype)
    out = Guarded((batch, sq, heads, dim), q.dtype)
    _, lse = flash_attn_func(
        poisoned(q),
        poisoned(k),
        poisoned(v),
        mask.get("causal", False),
        mask.get("glm"),
        None,
        mask.get("align", "bottom_right"),
        return_lse=True,
        out=out.view,
    )
    out.assert_kept()
    check(out.view, lse, q, k, v, **mask, what=f"sq={sq} sk={sk} {mask}")


@pytest.mark.parametrize("dim", [16, 33])
def test_every_seqlen_without_a_mask(dim):
    for length in LENGTHS:
        verify(length, 301 - length, dim)


@pytest.mark.parametrize("dim", [16, 33])
def test_every_seqlen_causal(dim):
    for length in LENGTHS:
        verify(length, length, dim, causal=True)


@pytest.mark.parametrize("align", ["bottom_right", "top_left"])
def test_every_seqlen_k_causal_cross(align):
    for length in LENGTHS:
        verify(77, length, 16, causal=True, align=align)


@pytest.mark.parametrize("align", ["bottom_right", "top_left"])
def test_every_seqlen_q_glm(align):
    for length in LENGTHS:
        pairs = np.array([[[length // 3, 0, -1], [length // 2 + 1, min(length, 7), -1]]], np.int32)
        verify(length, length, 16, causal=True, glm=pairs, align=align)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_lengths_half(dtype):
    for length in range(1, 301, 7):
        verify(length, 301 - length, 24, dtype)
        verify(length, length, 24, dtype, causal=True)


def test_one_query_row():
    """Decoding: one row, any number of keys, many heads."""
    for sk in (1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 1000):
        verify(1, sk, 64, batch=3, heads=8)
        verify(1, sk, 64, batch=3, heads=8, causal=True)


@pytest.mark.parametrize("mask", [{}, {"causal": True}, {"causal": True, "glm": np.zeros(2, np.int32)}])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_no_keys(mask, kind, request):
    """seqlen_k == 0: nothing to see, so 0 and -inf."""
    q, k, v = problem(1, 2, 9, 0, 3, dim=8, dim_v=5)
    out, lse = Guarded((2, 9, 3, 5), q.dtype), None
    glm = mask.get("glm")
    if kind == "torch":
        torch = request.getfixturevalue("torch")
        q, k, v = (torch.from_numpy(x) for x in (q, k, v))
        glm = torch.from_numpy(glm) if glm is not None else None
        result, lse = flash_attn_func(q, k, v, mask.get("causal", False), glm, return_lse=True)
        result, lse = result.numpy(), lse.numpy()
    else:
        result, lse = flash_attn_func(q, k, v, mask.get("causal", False), glm, return_lse=True, out=out.view)
        out.assert_kept()
    assert result.shape == (2, 9, 3, 5) and (result == 0).all()
    assert lse.shape == (2, 3, 9) and np.isneginf(lse).all()


@pytest.mark.parametrize("shape", [(0, 5, 7, 2), (2, 0, 7, 2), (2, 0, 0, 2), (0, 0, 0, 1)])
def test_nothing_to_compute(shape):
    batch, sq, sk, heads = shape
    for mask in ({}, {"causal": True}, {"causal": True, "glm_mask": np.full((batch, 2, 3), -1, np.int32)}):
        out, lse = flash_attn_func(*problem(2, batch, sq, sk, heads, dim=8), return_lse=True, **mask)
        assert out.shape == (batch, sq, heads, 8) and lse.shape == (batch, heads, sq)


def test_many_heads_and_batches():
    """batch * heads beyond 65535."""
    q, k, v = problem(3, 300, 1, 3, 256, 1, dim=4)
    out, lse = flash_attn_func(q, k, v, return_lse=True)
    check(out, lse, q, k, v)


def test_offsets_beyond_two_gigabytes():
    """Strides, not sizes, make the offsets: the memory is reserved, and hardly any of it is touched."""
    q, k, v = problem(4, 2, 5, 40, 2, dim=8)
    stride = 2**31 + 4096
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    buffer = np.frombuffer(mmap.mmap(-1, 8 * stride, flags=flags), np.float32)

    def far(x):
        heads, dim = x.shape[2:]
        view = np.lib.stride_tricks.as_strided(buffer, x.shape, (stride * 4, 4 * heads * dim, 4 * dim, 4))
        view[...] = x
        return view

    expected = flash_attn_func(q, k, v)
    assert same_bits(flash_attn_func(q, far(k), v), expected)
    out = far(np.zeros_like(expected))
    flash_attn_func(q, k, v, out=out)
    assert same_bits(out, expected)


def test_long_sequence():
    """Many key blocks: the sums of thousands of terms must not lose more than the framework's do."""
    q, k, v = problem(5, 1, 3000, 3000, 1, dim=32)
    out, lse = flash_attn_func(q, k, v, causal=True, return_lse=True)
    for last in (1000, 3000):
        rows = slice(last - 100, last)
        part = q[:, rows], k[:, :last], v[:, :last]
        check(out[:, rows], lse[:, :, rows], *part, causal=True, what=f"rows up to {last}")
        exact, plain = attention(*part, causal=True)[0], attention(*part, causal=True, rounded_to=np.float32)[0]
        limit = 2 * np.abs(plain - exact).max() + 2.0**-23 * np.abs(exact).max()
        error = np.abs(out[:, rows] - exact).max()
        assert error <= limit, f"rows up to {last}: error {error:.3e} is over the limit {limit:.3e}"
