# SPDX-License-Identifier: Apache-2.0
"""Kernels of the family sm_90a (TMA, wgmma, warps with roles): which calls get them, and what they compute at the edges
of what they serve. Everything that test_cuda.py covers runs on them too, on a GPU that has them."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from tilewright import Engine, flash_attn_func, inspect  # noqa: E402

if not torch.cuda.is_available():
    pytest.skip("torch.cuda.is_available() is False", allow_module_level=True)
if torch.cuda.get_device_capability() != (9, 0):
    pytest.skip(f"{torch.cuda.get_device_name()} is not of compute capability 9.0", allow_module_level=True)

pytestmark = pytest.mark.gpu

HEAD_DIMS = [8, 40, 64, 72, 80, 96, 112, 128, 136, 192, 256]


def tensors(sq, sk, d, heads=4, heads_k=2, batch=2, dtype=torch.bfloat16):
    generator = torch.Generator("cuda").manual_seed(sq + 3 * sk + 5 * d)
    shapes = [(batch, sq, heads, d), (batch, sk, heads_k, d), (batch, sk, heads_k, d)]
    return [torch.randn(shape, device="cuda", dtype=dtype, generator=generator) for shape in shapes]


def target(q, k, v, **options):
    return inspect.plan(q, k, v, **options)["steps"][-1]["key"].split("target=")[1].split()[0]


def check(q, k, v, limits=None, **options):
    """Against float64; `limits` is the first hidden key of each row."""
    out = flash_attn_func(q, k, v, **options)
    group = q.shape[2] // k.shape[2]
    queries = q.double().transpose(1, 2)
    keys, values = (x.double().transpose(1, 2).repeat_interleave(group, 1) for x in (k, v))
    scores = queries @ keys.transpose(2, 3) * q.shape[3] ** -0.5
    if limits is not None:
        hidden = torch.arange(k.shape[1], device="cuda") >= limits[:, None]
        scores = scores.masked_fill(hidden, -torch.inf)
        values = values.nan_to_num(0)
    expected = (torch.softmax(scores, -1).nan_to_num(0) @ values).transpose(1, 2)
    error = ((out - expected).norm() / expected.norm().clamp(min=1e-30)).item()
    assert error < (6e-3 if q.dtype == torch.bfloat16 else 1e-3)
    return out


def causal_limits(sq, sk, offset):
    return (torch.arange(sq, device="cuda") + offset + 1).clamp(0, sk)


@pytest.mark.parametrize("d", HEAD_DIMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["f16", "bf16"])
def test_head_dims_and_lengths(d, dtype):
    for sq, sk in [(128, 256), (1, 1), (77, 333), (333, 77), (300, 1000)]:
        q, k, v = tensors(sq, sk, d, dtype=dtype)
        assert target(q, k, v) == "sm_90a:sm_90"
        check(q, k, v)
        check(q, k, v, causal_limits(sq, sk, sk - sq), causal=True)


@pytest.mark.parametrize("schedule", ["qk:128x16:g2", "qk:128x64:g2:s4", "qk:128x256:g2", "qk:192x80:g3:s3"])
def test_schedules(schedule):
    q, k, v = tensors(500, 700, 64)
    engine = Engine(schedule=schedule)
    assert schedule in inspect.plan(q, k, v, engine=engine)["steps"][0]["key"]
    check(q, k, v, engine=engine)
    check(q, k, v, causal_limits(500, 700, 200), causal=True, engine=engine)


def test_layouts():
    q, k, v = tensors(200, 300, 128)
    # (batch, heads, seqlen, head_dim) in memory; a slice of a fused projection; one sequence of a larger batch
    turned = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    assert target(*turned) == "sm_90a:sm_90"
    assert torch.equal(check(*turned), flash_attn_func(q, k, v))
    fused = torch.randn(2, 256, 3, 4, 128, device="cuda", dtype=torch.bfloat16)
    parts = fused.unbind(2)
    assert target(*parts) == "sm_90a:sm_90"
    check(*parts)
    padded = [torch.randn(2, x.shape[1] + 9, x.shape[2], 136, device="cuda", dtype=x.dtype) for x in (q, k, v)]
    inner = [x[1:, 5:-4, :, 8:] for x in padded]
    assert target(*inner) == "sm_90a:sm_90"
    check(*inner)


def test_what_tma_cannot_copy_has_another_kernel():
    q, k, v = tensors(200, 300, 128)
    shifted = torch.randn(q.numel() + 4, device="cuda", dtype=q.dtype)[4:].view(q.shape)
    calls = [
        (shifted, k, v),
        (q, k[:, :, :1].expand(2, 300, 2, 128), v),
        (q, k, torch.randn(2, 300, 2, 64, device="cuda", dtype=q.dtype)),
        tuple(torch.randn(2, 200, 4, 100, device="cuda", dtype=q.dtype) for _ in range(3)),
    ]
    for call in calls:
        assert target(*call).startswith("sm_80:")
        check(*call)
    assert target(q, k, v, softcap=10.0).startswith("sm_80:")


def test_nothing_past_the_last_visible_key_is_used():
    q, k, v = tensors(100, 400, 64)
    k[:, 100:] = torch.nan
    v[:, 100:] = torch.nan
    assert target(q, k, v, causal=True, causal_align="top_left") == "sm_90a:sm_90"
    out = check(q, k, v, causal_limits(100, 400, 0), causal=True, causal_align="top_left")
    assert out.isfinite().all()


def test_scores_of_any_size():
    q, k, v = tensors(200, 300, 64)
    for scale in (1e3, 1e30):
        big = flash_attn_func(q * scale, k, v)
        assert big.isfinite().all()
    # Where all scores of a row are one huge number, weights are equal.
    q.fill_(2.0**60)
    k.fill_(2.0**60)
    out = flash_attn_func(q, k, v)
    mean = v.double().mean(1, keepdim=True).repeat_interleave(2, 2).expand_as(out)
    assert ((out - mean).abs() < 2e-2).all()


def test_runs_are_equal_bit_for_bit_beside_other_work():
    other = torch.randn(2048, 2048, device="cuda", dtype=torch.bfloat16)
    side = torch.cuda.Stream()
    for d in (64, 128):
        q, k, v = tensors(1000, 1000, d)
        first = flash_attn_func(q, k, v, causal=True)
        torch.cuda.synchronize()
        different = torch.zeros((), device="cuda", dtype=torch.int64)
        for turn in range(200):
            if turn % 5 == 0:
                with torch.cuda.stream(side):
                    other @ other
            again = flash_attn_func(q, k, v, causal=True)
            different += (again.view(torch.int16) != first.view(torch.int16)).any()
        assert different.item() == 0


def test_a_graph_captures_the_launch():
    q, k, v = tensors(256, 256, 128)
    expected = flash_attn_func(q, k, v)
    out = torch.empty_like(expected)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out.copy_(flash_attn_func(q, k, v))
    out.zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(out, expected)
