# SPDX-License-Identifier: Apache-2.0
"""Kernels of the family sm_90a (TMA, wgmma, warps with roles): which calls get them, and what they compute at the edges
of what they serve. Everything that test_cuda.py covers runs on them too, on a GPU that has them."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from tilewright import Engine, explain, flash_attn_func, inspect  # noqa: E402

if not torch.cuda.is_available():
    pytest.skip("torch.cuda.is_available() is False", allow_module_level=True)
if torch.cuda.get_device_capability() != (9, 0):
    pytest.skip(f"{torch.cuda.get_device_name()} is not of compute capability 9.0", allow_module_level=True)

from cuda_oracle import DTYPES, check, mask_arguments, poisoned  # noqa: E402
from cuda_oracle import problem, run, run_guarded, same_bits  # noqa: E402

pytestmark = pytest.mark.gpu

HEAD_DIMS = [8, 40, 64, 72, 80, 96, 112, 128, 136, 192, 256]
# (head_dim, head_dim_v): the output's rows fit in the queries' buffer, or do not; boxes of 64 columns, full or not
PAIRS = [(64, 128), (128, 64), (192, 128), (128, 192), (128, 256), (256, 64), (40, 72), (72, 40), (8, 256), (256, 8)]


def plan_of(q, k, v, causal=False, glm=None, align="bottom_right", **more):
    return inspect.plan(q, k, v, causal, glm, None, align, **more)


def target(q, k, v, **arguments):
    return plan_of(q, k, v, **arguments)["steps"][-1]["key"].split("target=")[1].split()[0]


def run_ours(q, k, v, what="", **arguments):
    """run_guarded, of a call that the family serves."""
    plan = plan_of(*(poisoned(x) for x in (q, k, v)), **arguments)
    assert " target=sm_90a:sm_90 " in plan["steps"][-1]["key"] and "why_not_sm_90a" not in plan, what
    return run_guarded(q, k, v, what=what, **arguments)


def run_others(reason, q, k, v, out=None, **arguments):
    """A call that the other family serves: its plan gives the reason, its results are right."""
    plan = plan_of(q, k, v, **arguments)
    assert " target=sm_80:sm_90 " in plan["steps"][-1]["key"] and reason in plan["why_not_sm_90a"], plan
    check(*run(q, k, v, out=out, **arguments), q, k, v, what=reason, **arguments)


# --- Numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", HEAD_DIMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_head_dims_and_lengths(d, dtype):
    for sq, sk in [(128, 256), (1, 1), (77, 333), (333, 77), (300, 1000)]:
        q, k, v = problem(d, sq=sq, sk=sk, heads_k=2, dim=d, dtype=DTYPES[dtype])
        run_ours(q, k, v, what=f"{sq} x {sk}")
        run_ours(q, k, v, causal=True, what=f"{sq} x {sk}, causal")


@pytest.mark.parametrize("d, d_v", PAIRS)
def test_head_dim_of_values(d, d_v):
    for dtype, mask in (("bfloat16", "none"), ("bfloat16", "causal"), ("float16", "causal_top_left")):
        for sq, sk in [(150, 170), (256, 512), (1, 77), (200, 90)]:
            q, k, v = problem(d, sq=sq, sk=sk, heads_k=2, dim=d, dim_v=d_v, dtype=DTYPES[dtype])
            run_ours(q, k, v, what=f"{dtype} {mask} {sq} x {sk}", **mask_arguments(mask, 2, sq, sk))


@pytest.mark.parametrize("d, d_v", [(64, 64), (64, 128), (192, 128), (72, 40)])
def test_glm_masks(d, d_v):
    for mask in ("glm_break", "glm_packed"):
        for sq, sk in [(150, 170), (170, 150), (1, 300), (400, 400)]:
            q, k, v = problem(d, sq=sq, sk=sk, heads_k=1, dim=d, dim_v=d_v, dtype=torch.float16)
            arguments = mask_arguments(mask, 2, sq, sk)
            run_ours(q, k, v, what=f"{mask} {sq} x {sk}", **arguments)
            if sq >= sk:
                run_ours(q, k, v, align="top_left", what=f"{mask} {sq} x {sk}, top left", **arguments)


@pytest.mark.parametrize("mask", ["none", "causal", "causal_top_left"])
def test_short_sequences_and_edges_of_blocks(mask):
    for sq in (1, 2, 63, 64, 65, 127, 128, 129, 191, 192, 193):
        for sk in (1, 2, 15, 16, 127, 128, 129, 257):
            q, k, v = problem(sq + sk, batch=1, sq=sq, sk=sk, heads=2)
            run_ours(q, k, v, what=f"{sq} x {sk}", **mask_arguments(mask, 1, sq, sk))


@pytest.mark.parametrize("heads, heads_k", [(1, 1), (6, 6), (6, 3), (6, 2), (6, 1), (5, 1)])
def test_grouped_heads(heads, heads_k):
    q, k, v = problem(heads, batch=3, sq=100, sk=130, heads=heads, heads_k=heads_k, dim=128, dim_v=64)
    run_ours(q, k, v, causal=True)


@pytest.mark.parametrize("mask", ["none", "causal", "glm_break", "glm_packed"])
@pytest.mark.parametrize("d", [40, 64, 72, 128, 192, 256])
def test_blocks_run_several_programs(d, mask):
    """More programs than multiprocessors, unequal ones under a mask: persistent blocks go from one to the next."""
    for sq, sk in [(200, 170), (450, 600)]:
        heads = 3 * torch.cuda.get_device_properties(0).multi_processor_count // (2 * -(-sq // 192))
        q, k, v = problem(d, sq=sq, sk=sk, heads=heads, heads_k=heads, dim=d)
        arguments = mask_arguments(mask, 2, sq, sk)
        run_ours(q, k, v, what=f"{mask} {sq} x {sk}", **arguments)


@pytest.mark.parametrize(
    "schedule",
    [
        "qk:128x64:g2:s2:p1",
        "qk:128x32:g2:s4:p2:t",
        "qk:192x64:g3:s3:p1",
        "qk:128x48:g2:t",
        "qk:128x80:g2:s2:r",
        "qk:128x128:g2:s2:p2:f",
        "qk:192x64:g3:s2:p1:t:f",
        "qk:128x64:g2:s2:o",
        "qk:192x64:g3:s2:p2:o",
        "qk:128x80:g2:s2:p1:f:o",
    ],
)
def test_persistent_blocks_turns_rows_loops_and_stores(schedule):
    engine = Engine(schedule=schedule)
    q, k, v = problem(3, batch=3, sq=300, sk=700, heads=80, heads_k=2)
    for arguments in ({}, {"causal": True}):
        out, lse = run(q, k, v, engine=engine, **arguments)
        check(out, lse, q, k, v, what=schedule, **arguments)
        for _ in range(10):
            for again, first in zip(run(q, k, v, engine=engine, **arguments), (out, lse)):
                assert same_bits(again, first)


@pytest.mark.parametrize("d, d_v", [(64, 64), (40, 40), (72, 128), (128, 64), (256, 200), (8, 56)])
def test_stores_by_tma(d, d_v):
    """Nothing but the output's own rows and columns is written, whatever its strides."""
    engine = Engine(schedule="qk:128x64:g2:s2:p1:f:o")
    for mask in ("none", "causal", "glm_break", "glm_packed"):
        for sq, sk in [(150, 170), (1, 77), (129, 64), (300, 100)]:
            q, k, v = problem(d + sq, sq=sq, sk=sk, heads_k=2, dim=d, dim_v=d_v)
            run_ours(q, k, v, what=f"{mask} {sq} x {sk}", engine=engine, **mask_arguments(mask, 2, sq, sk))


def test_a_graph_replays_beside_calls():
    """Each has a counter of its own."""
    q, k, v = problem(7, sq=500, sk=500, heads=60, dim=64)
    wanted = run(q, k, v, causal=True)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run(q, k, v, causal=True)
    side = torch.cuda.Stream()
    for _ in range(20):
        with torch.cuda.stream(side):
            graph.replay()
        eager = run(q, k, v, causal=True)
        torch.cuda.synchronize()
        for results in (captured, eager):
            assert all(same_bits(a, b) for a, b in zip(results, wanted))


@pytest.mark.parametrize("schedule", ["qk:128x16:g2", "qk:128x64:g2:s4", "qk:128x256:g2", "qk:192x80:g3:s3"])
def test_schedules(schedule):
    q, k, v = problem(1, sq=500, sk=700, heads_k=2)
    engine = Engine(schedule=schedule)
    assert schedule in inspect.plan(q, k, v, engine=engine)["steps"][0]["key"]
    for arguments in ({}, {"causal": True}):
        check(*run(q, k, v, engine=engine, **arguments), q, k, v, what=schedule, **arguments)


def test_nothing_past_the_last_visible_key_is_used():
    q, k, v = problem(2, sq=100, sk=400)
    expected = run_ours(q, k, v, causal=True, align="top_left")
    k[:, 100:] = torch.nan
    v[:, 100:] = torch.nan
    for ours, wanted in zip(run(q, k, v, True, align="top_left"), expected):
        assert same_bits(ours, wanted)


def test_scores_of_any_size():
    q, k, v = problem(3, sq=200, sk=300, heads_k=2)
    for scale in (1e3, 1e30):
        big = flash_attn_func(q * scale, k, v)
        assert big.isfinite().all()
    # Where all scores of a row are one huge number, weights are equal.
    q.fill_(2.0**60)
    k.fill_(2.0**60)
    out = flash_attn_func(q, k, v)
    mean = v.double().mean(1, keepdim=True).repeat_interleave(2, 2).expand_as(out)
    assert ((out - mean).abs() < 2e-2).all()


# --- Memory -----------------------------------------------------------------------------------------------------------


def laid_out(tensor, order):
    """A copy of ``tensor`` whose memory has the dimensions in that order, inside NaN."""
    back = [order.index(dim) for dim in range(tensor.ndim)]
    return poisoned(tensor.permute(order).contiguous()).permute(back)


@pytest.mark.parametrize("d, d_v", [(128, 128), (64, 96)])
def test_layouts(d, d_v):
    q, k, v = problem(4, sq=200, sk=300, heads_k=2, dim=d, dim_v=d_v)
    expected = run_ours(q, k, v, causal=True)
    # In memory (b, h, s, d), (s, b, h, d), (h, b, s, d): TMA takes the strides as they come.
    for order in [(0, 2, 1, 3), (1, 0, 2, 3), (2, 0, 1, 3)]:
        views = [laid_out(x, order) for x in (q, k, v)]
        out = laid_out(torch.zeros_like(expected[0]), order)
        assert target(*views, causal=True) == "sm_90a:sm_90", order
        for ours, wanted in zip(run(*views, True, out=out), expected):
            assert same_bits(ours, wanted), order


def test_parts_of_a_fused_projection():
    fused = torch.randn(2, 256, 3, 4, 128, device="cuda", dtype=torch.bfloat16)
    parts = fused.unbind(2)
    assert target(*parts) == "sm_90a:sm_90"
    check(*run(*parts), *parts)


def test_what_tma_cannot_copy_has_another_kernel():
    q, k, v = problem(5, sq=200, sk=300, heads_k=2, dim=128)
    aligned = "must be aligned to 16 bytes"
    shifted = torch.zeros(q.numel() + 8, device="cuda", dtype=q.dtype)[4:-4].view(q.shape).copy_(q)
    assert shifted.data_ptr() % 16 == 8
    run_others(f"rows of q {aligned}", shifted, k, v)
    # The first row is aligned to 16 bytes, the others are not: 132 columns, 5 heads of 4 bytes more, and so on.
    for at, name in enumerate("qkv"):
        for pads in [(0, 0, 0, 4), (0, 0, 0, 1), (0, 0, 0, 2)]:
            tensors = [q, k, v]
            wide = [n + pad for n, pad in zip(tensors[at].shape, pads)]
            cut = torch.full(wide, torch.nan, device="cuda", dtype=q.dtype)[..., :128].copy_(tensors[at])
            assert cut.data_ptr() % 16 == 0 and cut.stride(2) % 8 != 0
            tensors[at] = cut
            run_others(f"rows of {name} {aligned}", *tensors)
            run_others(f"rows of {name} {aligned}", *tensors, causal=True)
    # Only the batch's stride is no multiple of 16 bytes.
    flat = torch.full((2, 300 * 2 * 128 + 4), torch.nan, device="cuda", dtype=q.dtype)
    odd = flat[:, :-4].view(2, 300, 2, 128).copy_(k)
    assert odd.stride(0) % 8 == 4 and odd.stride(1) % 8 == 0
    run_others(f"rows of k {aligned}", q, odd, v)
    steps = torch.zeros(*v.shape[:3], 256, device="cuda", dtype=v.dtype)[..., ::2].copy_(v)
    run_others(f"rows of v {aligned}", q, k, steps)
    run_others("strides of k", q, k[:, :, :1].expand(2, 300, 2, 128), v)
    run_others("strides of v", q, k, v[:, :1].expand(2, 300, 2, 128), causal=True)
    out = torch.zeros(2, 200, 4, 132, device="cuda", dtype=q.dtype)[..., :128]
    # The plan is that for a new output: what the call took shows in the engine's events.
    engine = Engine(cache_dir="")
    check(*run(q, k, v, out=out, engine=engine), q, k, v)
    assert all("target=sm_80:sm_90" in event["key"] for event in inspect.events(engine))


def test_head_dims_that_are_no_multiples_of_8_have_another_kernel():
    for d, d_v in [(100, 100), (64, 100), (100, 64), (1, 8)]:
        q, k, v = problem(d, sq=200, sk=300, heads_k=2, dim=d, dim_v=d_v)
        run_others("multiples of 8", q, k, v)


def test_glm_masks_that_show_keys_past_the_causal_limit_have_another_kernel():
    q, k, v = problem(6, sq=100, sk=300, heads_k=2)
    for mask in ("glm_break", "glm_packed"):
        arguments = mask_arguments(mask, 2, 100, 300)
        run_others("only the device knows", q, k, v, align="top_left", **arguments)
    # What no row sees may be anything.
    breaks = torch.tensor([150, 40], dtype=torch.int32, device="cuda")
    for ends, entry in ((150, 0), (100, 1)):
        k[entry, ends:] = torch.nan
        v[entry, ends:] = torch.nan
    run_others("only the device knows", q, k, v, causal=True, glm=breaks, align="top_left")


def test_explain_says_which_family_and_why():
    q, k, v = problem(7, sq=200, sk=300, heads_k=2, dim=128)

    def line(*call, **arguments):
        report = explain(*call, **arguments)
        (found,) = [text for text in str(report).splitlines() if text.startswith("kernel ")]
        assert report.to_dict()["plan"]["summary"] in found
        return found

    served = line(q, k, v)
    assert "family sm_90a" in served and "for sm_90," in served and "schedule qk:" in served and " not " not in served
    packed = mask_arguments("glm_packed", 2, 200, 300)["glm"]
    assert "family sm_90a" in line(q, k, v, True, packed)
    assert explain(q, k, v, True, packed).to_dict()["device"]["target"] == "sm_90a:sm_90"
    assert line(q, k, v, softcap=10.0).endswith("its kernels take no softcap")
    assert "family sm_80" in line(q, k, v, softcap=10.0)
    assert "cuda_target" in line(q, k, v, engine=Engine(cache_dir="", cuda_target="sm_90"))


# --- Runs -------------------------------------------------------------------------------------------------------------


def test_runs_are_equal_bit_for_bit_beside_other_work():
    other = torch.randn(2048, 2048, device="cuda", dtype=torch.bfloat16)
    side = torch.cuda.Stream()
    for d, d_v in ((64, 64), (128, 128), (192, 128)):
        q, k, v = problem(8, sq=1000, sk=1000, dim=d, dim_v=d_v)
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
    q, k, v = problem(9, sq=256, sk=256, heads_k=2, dim=128)
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
