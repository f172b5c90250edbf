# SPDX-License-Identifier: Apache-2.0
"""flash_attn_func against two references: the tests' own in NumPy, and the library's."""

import numpy as np
import pytest
from oracle import DTYPES, attention, check, problem, same_bits
from tilewright import Engine, flash_attn_func, reference

GLM_BREAK = np.array([5, 70], np.int32)
GLM_PAIRS = np.array([[[0, 40, -1], [9, 75, -1]], [[10, 3, 88], [50, 20, 90]]], np.int32)
MASKS = {
    "none": {},
    "causal": {"causal": True},
    "causal_top_left": {"causal": True, "align": "top_left"},
    "glm_break": {"causal": True, "glm": GLM_BREAK},
    "glm_packed": {"causal": True, "glm": GLM_PAIRS},
    "glm_packed_top_left": {"causal": True, "glm": GLM_PAIRS, "align": "top_left"},
}


def run(q, k, v, causal=False, glm=None, scale=None, align="bottom_right", **more):
    return flash_attn_func(q, k, v, causal, glm, scale, align, True, **more)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_and_dtypes(mask, dtype):
    q, k, v = problem(1, batch=2, sq=75, sk=90, heads=4, heads_k=2, dim=40, dim_v=24, dtype=dtype)
    out, lse = run(q, k, v, **MASKS[mask])
    assert type(out) is np.ndarray and out.dtype == q.dtype and out.flags.c_contiguous
    check(out, lse, q, k, v, **MASKS[mask])


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_gives_the_same_bits(mask, dtype, torch):
    arrays = problem(2, batch=2, sq=75, sk=90, heads=4, heads_k=2, dim=40, dim_v=24, dtype=dtype)
    kwargs = MASKS[mask]
    expected, expected_lse = run(*arrays, **kwargs)
    tensors = [torch.from_numpy(x.astype(np.float32)).to(getattr(torch, dtype)) for x in arrays]
    glm = torch.from_numpy(kwargs["glm"]) if "glm" in kwargs else None
    out, lse = run(*tensors, **{**kwargs, "glm": glm})
    assert type(out) is torch.Tensor and out.dtype == tensors[0].dtype and out.is_contiguous()
    assert type(lse) is torch.Tensor and lse.dtype == torch.float32
    assert same_bits(out.float().numpy(), expected.astype(np.float32))
    assert same_bits(lse.numpy(), expected_lse)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_references_agree(mask, dtype):
    q, k, v = problem(3, batch=2, sq=33, sk=90, heads=2, heads_k=1, dim=7, dim_v=5, dtype=dtype)
    kwargs = MASKS[mask]
    out, lse = reference.attention(
        q, k, v, kwargs.get("causal", False), kwargs.get("glm"), None, kwargs.get("align", "bottom_right"), True
    )
    exact, exact_lse = attention(q, k, v, **kwargs)
    assert out.dtype == np.float64 and lse.dtype == np.float64
    assert np.allclose(out, exact, rtol=0, atol=1e-13)
    assert np.allclose(lse, exact_lse, rtol=0, atol=1e-13)


def test_reference_takes_float64_and_torch(torch):
    q, k, v = (x.astype(np.float64) for x in problem(4))
    out = reference.attention(q, k, v, causal=True)
    assert np.allclose(out, attention(q, k, v, causal=True)[0], rtol=0, atol=1e-13)
    tensors = [torch.from_numpy(x).requires_grad_() for x in (q, k, v)]
    assert same_bits(reference.attention(*tensors, causal=True).numpy(), out)


@pytest.mark.parametrize("heads, heads_k", [(1, 1), (6, 6), (6, 3), (6, 2), (6, 1), (5, 1)])
def test_grouped_heads(heads, heads_k):
    q, k, v = problem(5, batch=2, sq=20, sk=33, heads=heads, heads_k=heads_k, dim=8)
    check(*run(q, k, v, causal=True), q, k, v, causal=True)


@pytest.mark.parametrize("scale", [0.0, 1.0, 0.125, 3, np.float32(0.5)])
def test_scale(scale):
    q, k, v = problem(6, sq=17, sk=40)
    check(*run(q, k, v, scale=scale), q, k, v, scale=float(scale))


def test_scale_zero_is_the_mean():
    q, k, v = problem(7, sq=3, sk=50)
    out, lse = run(q, k, v, scale=0.0)
    assert np.allclose(out, v.mean(axis=1, keepdims=True), atol=1e-6)
    assert np.allclose(lse, np.log(50), atol=1e-6)


def test_without_lse_the_output_is_the_same():
    q, k, v = problem(8, sq=70, sk=70)
    assert same_bits(flash_attn_func(q, k, v, causal=True), run(q, k, v, causal=True)[0])


def test_positions_of_arguments():
    """The signature's order is part of the interface."""
    q, k, v = problem(9, batch=2, sq=10, sk=12)
    glm = np.array([4, 12], np.int32)
    named = flash_attn_func(
        q=q, k=k, v=v, causal=True, glm_mask=glm, softmax_scale=0.3, causal_align="top_left", return_lse=True
    )
    placed = flash_attn_func(q, k, v, True, glm, 0.3, "top_left", True)
    assert same_bits(named[0], placed[0]) and same_bits(named[1], placed[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_bitwise_repeatable(dtype):
    q, k, v = problem(10, batch=2, sq=150, sk=150, heads=4, dim=32, dtype=dtype)
    glm = np.array([[[0, 60], [30, 149]], [[20, -1], [140, -1]]], np.int32)
    first, first_lse = run(q, k, v, causal=True, glm=glm)
    for _ in range(50):
        out, lse = run(q, k, v, causal=True, glm=glm)
        assert same_bits(out, first) and same_bits(lse, first_lse)


def test_number_of_threads_changes_nothing():
    q, k, v = problem(11, batch=3, sq=150, sk=170, heads=5, dim=32)
    expected = run(q, k, v, causal=True)
    for threads in (1, 2, 7):
        out, lse = run(q, k, v, causal=True, engine=Engine(num_threads=threads))
        assert same_bits(out, expected[0]) and same_bits(lse, expected[1])


@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_levels_of_the_cpu(level):
    from tilewright import InvalidArgument, Unsupported

    try:
        engine = Engine(cpu_level=level)
    except (InvalidArgument, Unsupported) as error:
        pytest.skip(f"this CPU is below {level}: {error}")
    for dtype in DTYPES:
        q, k, v = problem(12, sq=75, sk=90, dim=40, dim_v=24, dtype=dtype)
        check(*run(q, k, v, causal=True, engine=engine), q, k, v, causal=True, what=dtype)


@pytest.mark.parametrize("schedule", ["kq:16x16:4x1", "kq:32x128:8x2", "kq:128x32:6x2", "qk:64x64:8x2"])
def test_schedules(schedule):
    from tilewright import Unsupported

    engine = Engine(schedule=schedule)
    q, k, v = problem(13, batch=2, sq=130, sk=140, dim=40, dim_v=24)
    for name, kwargs in MASKS.items():
        try:
            out, lse = run(q, k, v, engine=engine, **kwargs)
        except Unsupported as error:
            pytest.skip(f"{schedule}: {error}")
        check(out, lse, q, k, v, **kwargs, what=name)


def test_against_torch_sdpa(torch):
    q, k, v = problem(14, batch=2, sq=100, sk=100, heads=4, dim=64)
    tensors = [torch.from_numpy(x) for x in (q, k, v)]
    ours = flash_attn_func(*tensors, causal=True)
    theirs = torch.nn.functional.scaled_dot_product_attention(*(x.transpose(1, 2) for x in tensors), is_causal=True)
    assert torch.allclose(ours, theirs.transpose(1, 2), atol=2e-6)


def test_calls_from_many_threads():
    """One engine, several threads, the same and different kernels, some of them compiled at that moment."""
    from concurrent.futures import ThreadPoolExecutor

    engine = Engine(cache_dir="")
    cases = [problem(20 + i, sq=40 + i, sk=50, dim=8 + i % 3) for i in range(12)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda case: run(*case, causal=True, engine=engine), cases))
    for case, (out, lse) in zip(cases, results):
        check(out, lse, *case, causal=True)
    assert engine.stats().compiles <= 6  # three head dims, seqlen_q of a block or not
