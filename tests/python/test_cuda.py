# SPDX-License-Identifier: Apache-2.0
"""CUDA tensors: results against attention in float64 on the GPU, which shares no code with the package; memory beside
the tensors; streams, graphs, devices and errors. Needs PyTorch with a CUDA device; no other package of the test
suite's, and no compiler: it runs from an installed wheel."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from cuda_oracle import DEVICE, DTYPES, MASKS, STEP, Guarded  # noqa: E402
from cuda_oracle import attention, check, close, mask_arguments, poisoned, problem, run  # noqa: E402
from cuda_oracle import run_guarded, same_bits, visible  # noqa: E402
from tilewright import _ffi  # noqa: E402
from tilewright import CacheMiss, Engine, InvalidArgument, Unsupported  # noqa: E402
from tilewright import flash_attn_func, inspect, reference  # noqa: E402

if not torch.cuda.is_available():
    _why = inspect.info()["devices"]["cuda"].get("why", "the driver finds devices, PyTorch does not")
    pytest.skip(f"torch.cuda.is_available() is False: {_why}", allow_module_level=True)
if torch.cuda.get_device_capability() < (8, 0):
    pytest.skip(f"{torch.cuda.get_device_name()} is below compute capability 8.0", allow_module_level=True)

pytestmark = pytest.mark.gpu

# (head_dim, head_dim_v)
HEAD_DIMS = [(1, 1), (3, 3), (37, 37), (40, 40), (72, 72), (80, 80), (96, 96), (128, 128), (256, 256), (192, 128)]


# --- Numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [m for m in MASKS if m != "causal_top_left"])
@pytest.mark.parametrize("dim, dim_v", HEAD_DIMS)
def test_head_dims(dim, dim_v, mask):
    q, k, v = problem(dim, sq=150, sk=170, heads=2, heads_k=1, dim=dim, dim_v=dim_v, dtype=torch.float16)
    run_guarded(q, k, v, **mask_arguments(mask, 2, 150, 170), what=f"{dim}/{dim_v} {mask}")


@pytest.mark.parametrize("dim, dim_v", HEAD_DIMS)
def test_head_dims_in_bfloat16(dim, dim_v):
    q, k, v = problem(dim, sq=150, sk=170, heads=2, heads_k=1, dim=dim, dim_v=dim_v)
    run_guarded(q, k, v, causal=True, what=f"{dim}/{dim_v}")


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_and_dtypes(mask, dtype):
    q, k, v = problem(1, sq=333, sk=290, heads=4, heads_k=2, dtype=DTYPES[dtype])
    run_guarded(q, k, v, **mask_arguments(mask, 2, 333, 290))


LENGTHS = [(128, 128), (256, 384), (1, 1), (1, 300), (17, 300), (130, 70), (300, 5), (257, 129), (64, 1000), (500, 128)]


@pytest.mark.parametrize("mask", MASKS)
def test_lengths(mask):
    for sq, sk in LENGTHS:
        q, k, v = problem(sq + sk, sq=sq, sk=sk, heads=2)
        run_guarded(q, k, v, **mask_arguments(mask, 2, sq, sk), what=f"{mask} {sq} x {sk}")


@pytest.mark.parametrize("heads, heads_k", [(1, 1), (6, 6), (6, 3), (6, 2), (6, 1), (5, 1)])
def test_grouped_heads(heads, heads_k):
    q, k, v = problem(heads, sq=100, sk=130, heads=heads, heads_k=heads_k)
    run_guarded(q, k, v, causal=True)


@pytest.mark.parametrize("scale", [0.0, 0.125, 1.0])
def test_scale(scale):
    q, k, v = problem(2)
    check(*run(q, k, v, scale=scale), q, k, v, scale=scale)


def test_long_sequences():
    q, k, v = problem(3, batch=1, sq=4096, sk=4096, heads=2, dim=128)
    for mask in MASKS:
        arguments = mask_arguments(mask, 1, 4096, 4096)
        check(*run(q, k, v, **arguments), q, k, v, **arguments, what=mask)


@pytest.mark.parametrize("batch, heads", [(70000, 1), (3, 1000)])
def test_many_programs(batch, heads):
    q, k, v = problem(4, batch=batch, sq=3, sk=5, heads=heads)
    check(*run(q, k, v, causal=True), q, k, v, causal=True)


@pytest.mark.parametrize("dim", [64, 128])
@pytest.mark.parametrize("engine", [Engine, lambda: family_of_all()], ids=["own family", "sm_80"])
def test_more_heads_than_take_turns(dim, engine):
    """Blocks of up to 64 heads take turns, the last rows' first: two whole sections and a narrower one, whose programs
    are placed by other arithmetic. Each row is written by exactly one of them."""
    engine = engine()
    q, k, v = problem(14, batch=5, sq=300, sk=300, heads=27, heads_k=9, dim=dim)
    for mask in [mask for mask in MASKS if mask != "none"]:
        run_guarded(q, k, v, **mask_arguments(mask, 5, 300, 300), engine=engine, what=mask)


def test_against_sdpa():
    q, k, v = problem(5, sq=512, sk=512, dim=128)
    ours = flash_attn_func(q, k, v, causal=True)
    theirs = torch.nn.functional.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)), is_causal=True)
    assert torch.allclose(ours, theirs.transpose(1, 2), atol=2e-2, rtol=2e-2)


def test_empty_rows():
    q, k, v = problem(6, sq=200, sk=60)
    out, lse = run(q, k, v, causal=True)
    assert bool((out[:, :140] == 0).all()) and bool((lse[:, :, :140] == -torch.inf).all())
    check(out, lse, q, k, v, causal=True)


@pytest.mark.parametrize("shape", [dict(sk=0), dict(sq=0), dict(batch=0), dict(sq=0, sk=0)])
def test_empty_tensors(shape):
    q, k, v = problem(7, **shape)
    out, lse = run(q, k, v)
    assert out.shape == q.shape and lse.shape == (q.shape[0], q.shape[2], q.shape[1])
    assert bool((out == 0).all()) and bool((lse == -torch.inf).all())


def test_hidden_nan_and_inf_stay_hidden():
    q, k, v = problem(8, sq=100, sk=200)
    arguments = {"causal": True, "align": "top_left"}
    expected = run(q, k, v, **arguments)
    k, v = k.clone(), v.clone()
    k[:, 100:150], k[:, 150:] = torch.nan, torch.inf
    v[:, 100:150], v[:, 150:] = torch.nan, torch.inf
    for ours, wanted in zip(run(q, k, v, **arguments), expected):
        assert same_bits(ours, wanted)


def test_visible_nan_reaches_its_rows_only():
    q, k, v = problem(9, sq=64, sk=64)
    q[0, 5] = torch.nan
    out, lse = run(q, k, v)
    assert bool(out[0, 5].isnan().all()) and bool(lse[0, :, 5].isnan().all())
    assert int(out.isnan().any(-1).sum()) == q.shape[2]


def test_glm_numbers_out_of_range_are_clamped():
    q, k, v = problem(10, sq=150, sk=150)
    breaks = torch.tensor([-9, 100000], dtype=torch.int32, device=DEVICE)
    for ours, wanted in zip(run(q, k, v, True, breaks), run(q, k, v, True, breaks.clamp(0, 150))):
        assert same_bits(ours, wanted)
    pairs = torch.tensor([[[-7, 140], [40, 9999]], [[-(2**31), 20], [2**31 - 1, 10]]], dtype=torch.int32, device=DEVICE)
    for ours, wanted in zip(run(q, k, v, True, pairs), run(q, k, v, True, pairs.clamp(0, 150))):
        assert same_bits(ours, wanted)


@pytest.mark.parametrize("mask", ["none", "causal", "glm_packed"])
def test_bitwise_repeatable(mask):
    q, k, v = problem(11, sq=700, sk=700)
    arguments = mask_arguments(mask, 2, 700, 700)
    first, first_lse = run(q, k, v, **arguments)
    for _ in range(50):
        out, lse = run(q, k, v, **arguments)
        assert same_bits(out, first) and same_bits(lse, first_lse)


# --- Memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pad", [8, 4, 2, 1])
def test_alignments(pad):
    """Rows aligned to 16, 8, 4 and 2 bytes."""
    for dim in (40, 64):
        q, k, v = problem(20 + pad, sq=130, sk=150, dim=dim, dtype=torch.float16)
        run_guarded(q, k, v, pad=pad, causal=True, what=f"head dim {dim}, pad {pad}")
    key = inspect.plan(*(poisoned(x, pad) for x in (q, k, v)), causal=True)["steps"][0]["key"]
    assert f"align=q:a{2 * pad},k:a{2 * pad},v:a{2 * pad},out:a16" in key


def family_of_all() -> Engine:
    """An engine with the kernels that every GPU has: those for Hopper alone serve some layouts, with other roundings."""
    major, minor = torch.cuda.get_device_capability()
    return Engine(cuda_target=f"sm_{major}{minor}") if (major, minor) == (9, 0) else Engine()


def test_layouts():
    q, k, v = problem(21, sq=100, sk=100, heads=3)
    engine = family_of_all()
    expected = run(q, k, v, causal=True, engine=engine)
    packed = torch.stack((q, k, v), 2)
    interleaved = torch.stack((q, k, v), 4).movedim(4, 3)
    views = {
        "bhsd": [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)],
        "packed": [packed[:, :, i] for i in range(3)],
        "interleaved": [interleaved[..., i, :] for i in range(3)],
        "head dim outermost": [x.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0) for x in (q, k, v)],
        "every other element": [x.repeat_interleave(2, -1)[..., ::2] for x in (q, k, v)],
    }
    for name, tensors in views.items():
        for ours, wanted in zip(run(*tensors, causal=True, engine=engine), expected):
            assert same_bits(ours, wanted), name
        check(*run(*tensors, causal=True), q, k, v, causal=True, what=name)


def test_broadcast_inputs():
    q, k, v = problem(22, sq=100, sk=100)
    shared = [x[:1].expand(2, -1, -1, -1) for x in (k, v)]
    check(*run(q, *shared), q, *shared)


@pytest.mark.parametrize("layout", ["bhsd", "strided"])
def test_output_layouts(layout):
    q, k, v = problem(23, sq=100, sk=100)
    engine = family_of_all()
    expected = flash_attn_func(q, k, v, engine=engine)
    batch, sq, heads, dim = q.shape
    if layout == "bhsd":
        out = torch.empty(batch, heads, sq, dim, dtype=q.dtype, device=DEVICE).transpose(1, 2)
    else:
        out = torch.full((batch, sq, heads, 2 * dim), -77.0, dtype=q.dtype, device=DEVICE)[..., ::2]
    assert flash_attn_func(q, k, v, out=out, engine=engine) is out
    assert same_bits(out, expected)
    check(flash_attn_func(q, k, v, out=out), None, q, k, v)


def test_glm_masks_by_strides():
    q, k, v = problem(24, sq=100, sk=100)
    arguments = mask_arguments("glm_packed", 2, 100, 100)
    strided = arguments["glm"].repeat_interleave(3, -1)[..., ::3]
    for ours, wanted in zip(run(q, k, v, True, strided), run(q, k, v, **arguments)):
        assert same_bits(ours, wanted)


def test_beyond_2_to_31_elements():
    free, _ = torch.cuda.mem_get_info()
    if free < 14 << 30:
        pytest.skip(f"{free >> 30} GiB of device memory are free, 14 are needed")
    heads, dim, sq = 64, 128, 140
    sk = 2**31 // (heads * dim) + 64
    generator = torch.Generator(DEVICE).manual_seed(25)
    k = torch.empty(1, sk, heads, dim, dtype=torch.float16, device=DEVICE)
    k[:, :-1000], k[:, -1000:] = 0, torch.randn(1, 1000, heads, dim, generator=generator, device=DEVICE)
    q = torch.randn(1, sq, heads, dim, generator=generator, device=DEVICE).half()
    assert k.numel() > 2**31
    out = flash_attn_func(q, k, k)
    # Of the last head: its keys lie beyond the 2^31st element at the end.
    mask = visible(1, sq, sk, False, None, "bottom_right")
    exact, _ = attention(q[:, :, -1:], k[:, :, -1:], k[:, :, -1:], mask)
    plain, _ = attention(q[:, :, -1:], k[:, :, -1:], k[:, :, -1:], mask, rounded_to=torch.float16)
    close(out[:, :, -1:], plain, exact, STEP[torch.float16], 0, "large tensor")


# --- Streams, graphs, devices -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", ["none", "glm_packed"])
def test_work_is_queued_on_the_current_stream_without_waiting(mask):
    q, k, v = problem(30)
    arguments = mask_arguments(mask, 2, 200, 200)
    expected, _ = run(q, k, v, **arguments)  # every kernel is loaded
    late = torch.zeros_like(q)
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(1_000_000_000)  # about half a second, beside other tests' processes
        late.copy_(q)
        out, _ = run(late, k, v, **arguments)
        busy = not side.query()
    assert busy, "the call waited for the device"
    side.synchronize()
    assert same_bits(out, expected)


def test_glue_through_the_ffi_package():
    """The exported functions are TVM-FFI functions: `forward` takes the stream of TVM-FFI's environment."""
    tvm_ffi = pytest.importorskip("tvm_ffi", reason="the Python package of TVM-FFI does not import")
    inspect.native_version()  # loads what the glue needs
    module = tvm_ffi.load_module(str(_ffi.glue_path()))
    q, k, v = problem(39)
    expected = flash_attn_func(q, k, v)
    late, out = torch.zeros_like(q), torch.empty_like(q)
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(100_000_000)
        late.copy_(q)
        module.forward(0, late, k, v, out, None, None, None, False, "bottom_right")
    side.synchronize()
    assert same_bits(out, expected)


@pytest.mark.parametrize("heads", [4, 100])  # 100: persistent blocks (sm_90a) count the programs of their own launch
def test_streams_side_by_side(heads):
    cases = [problem(31 + i, sq=200 + i, sk=250, heads=heads) for i in range(8)]
    expected = [run(*case, causal=True) for case in cases]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in cases]
    for _ in range(5):
        results = []
        for stream, case in zip(streams, cases):
            with torch.cuda.stream(stream):
                results.append(run(*case, causal=True))
        torch.cuda.synchronize()
        for result, wanted in zip(results, expected):
            assert all(same_bits(a, b) for a, b in zip(result, wanted))


def test_graph_capture_and_replay():
    q, k, v = problem(40)
    arguments = mask_arguments("glm_packed", 2, 200, 200)
    out = torch.empty_like(q)
    run(q, k, v, out=out, **arguments)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run(q, k, v, out=out, **arguments)
    fresh = problem(41)
    for old, new in zip((q, k, v), fresh):
        old.copy_(new)
    for _ in range(3):
        graph.replay()
    torch.cuda.synchronize()
    assert same_bits(out, run(*fresh, **arguments)[0])


def test_a_miss_during_capture_raises():
    q, k, v = problem(42)
    guarded = Guarded(q.shape, q.dtype)
    engine = Engine(cache_dir="")
    error = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        try:
            flash_attn_func(q, k, v, out=guarded.view, engine=engine)
        except CacheMiss as caught:
            error = caught
        q.add_(0)  # a graph is not empty
    assert error is not None and "forward target=sm_" in str(error)
    assert engine.stats().compiles == 0
    guarded.assert_untouched()


def test_every_device():
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one CUDA device")
    q, k, v = problem(43)
    expected = run(q, k, v, causal=True)
    for index in range(1, torch.cuda.device_count()):
        moved = [x.to(f"cuda:{index}") for x in (q, k, v)]
        out, lse = run(*moved, causal=True)  # the current device stays 0
        assert out.device.index == index and torch.cuda.current_device() == 0
        if torch.cuda.get_device_capability(index) == torch.cuda.get_device_capability(0):
            assert same_bits(out.to(DEVICE), expected[0]) and same_bits(lse.to(DEVICE), expected[1])
    with pytest.raises(InvalidArgument, match="k: is on cuda:1, but q is on cuda:0"):
        flash_attn_func(q, k.to("cuda:1"), v)


def test_kernels_come_back_from_the_disk(tmp_path):
    q, k, v = problem(44)
    first = Engine(cache_dir=tmp_path)
    expected = run(q, k, v, engine=first)
    second = Engine(cache_dir=tmp_path)
    result = run(q, k, v, engine=second)
    assert first.stats().compiles == 1 and second.stats().compiles == 0 and second.stats().disk_hits == 1
    assert all(same_bits(a, b) for a, b in zip(result, expected))


def test_calls_from_many_threads():
    from concurrent.futures import ThreadPoolExecutor

    engine = Engine(cache_dir="")
    cases = [problem(50 + i, sq=100 + i, sk=100, dim=(64, 40)[i % 2]) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda case: run(*case, causal=True, engine=engine), cases))
    for case, (out, lse) in zip(cases, results):
        check(out, lse, *case, causal=True)
    assert engine.stats().compiles == 2


# --- Errors -----------------------------------------------------------------------------------------------------------


def wrong_calls():
    q, k, v = problem(60, sq=30, sk=40)
    breaks = torch.tensor([3, 4], dtype=torch.int32)
    return {
        "k on the CPU": (dict(k=k.cpu()), InvalidArgument, "k: is on the CPU, but q is on cuda:0"),
        "v on the CPU": (dict(v=v.cpu()), InvalidArgument, "v: is on the CPU, but q is on cuda:0"),
        "mask on the CPU": (dict(glm_mask=breaks, causal=True), InvalidArgument, "glm_mask: is on the CPU"),
        "float32": (
            dict(q=q.float(), k=k.float(), v=v.float()),
            Unsupported,
            "q: dtype is float32, must be one of float16, bfloat16",
        ),
        "float64": (dict(q=q.double(), k=k.double(), v=v.double()), InvalidArgument, "q: dtype is float64"),
        "another dtype": (dict(k=k.half()), InvalidArgument, "k: dtype is float16, but q's is bfloat16"),
        "shape": (dict(k=k[:, :, :, :-1]), InvalidArgument, "k: head_dim is 63"),
        "mask of int64": (dict(glm_mask=breaks.long().to(DEVICE), causal=True), InvalidArgument, "glm_mask: dtype"),
        "mask without causal": (dict(glm_mask=breaks.to(DEVICE)), InvalidArgument, "needs causal"),
        "gradients": (dict(q=q.clone().requires_grad_()), Unsupported, "q: requires grad"),
    }


@pytest.mark.parametrize("name", wrong_calls())
def test_errors_leave_the_output(name):
    changed, kind, words = wrong_calls()[name]
    q, k, v = problem(60, sq=30, sk=40)
    arguments = {"q": q, "k": k, "v": v, **changed}
    guarded = Guarded(q.shape, arguments["q"].dtype)
    with pytest.raises(kind) as caught:
        flash_attn_func(**arguments, out=guarded.view)
    assert words in str(caught.value)
    torch.cuda.synchronize()
    guarded.assert_untouched()


def test_the_reference_is_for_the_cpu():
    q, k, v = problem(61)
    with pytest.raises(Unsupported, match="the reference computes on the CPU"):
        reference.attention(q, k, v)


# --- Looking inside ---------------------------------------------------------------------------------------------------


def test_plan_block_map_and_info():
    q, k, v = problem(63, sq=300, sk=300)
    arguments = mask_arguments("glm_packed", 2, 300, 300)
    plan = inspect.plan(q, k, v, True, arguments["glm"])
    assert [step["key"].split()[0] for step in plan["steps"]] == ["row_limits", "forward"]
    assert plan["workspace_bytes"] == -(-2 * 300 * 4 // 64) * 64
    assert inspect.canonical_key(plan["steps"][1]["key"])[0] == plan["steps"][1]["key"]
    with pytest.raises(Unsupported, match="glm_mask: is on cuda:0, but a block map"):
        inspect.block_map(q, k, v, True, arguments["glm"])
    blocks = inspect.block_map(q, k, v, True, arguments["glm"].cpu())
    assert f"qk:{blocks.block_m}x{blocks.block_n}:" in plan["steps"][1]["key"]
    devices = inspect.info()["devices"]["cuda"]["devices"]
    assert devices[0]["name"] == torch.cuda.get_device_name(0) and devices[0]["served"]
