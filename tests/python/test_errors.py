# SPDX-License-Identifier: Apache-2.0
"""Wrong calls: the exception's class, the argument that it names, what it says, and outputs that stay as they were."""

import pickle

import numpy as np
import pytest
import tilewright
from oracle import Guarded, problem
from tilewright import (
    CacheMiss,
    Engine,
    InvalidArgument,
    TilewrightError,
    Unsupported,
    flash_attn_func,
    inspect,
    reference,
)

B, SQ, SK, H, HK, D, DV = 2, 12, 15, 4, 2, 8, 6


def arrays(dtype="float32"):
    return problem(1, B, SQ, SK, H, HK, D, DV, dtype)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


# Name: (changed arguments, argument at fault, words of the message). Each message says what is and what is allowed.
WRONG = {
    "q rank": (dict(q=zeros(SQ, H, D)), "q", ["rank is 3", "4"]),
    "q rank 5": (dict(q=zeros(1, B, SQ, H, D)), "q", ["rank is 5", "4"]),
    "q scalar": (dict(q=zeros()), "q", ["rank is 0", "4"]),
    "k rank": (dict(k=zeros(SK, HK, D)), "k", ["rank is 3", "4"]),
    "v rank": (dict(v=zeros(B, SK, HK * DV)), "v", ["rank is 3", "4"]),
    "out rank": (dict(out=zeros(B, SQ, H * DV)), "out", ["rank is 3", "4"]),
    "q float64": (dict(q=zeros(B, SQ, H, D, dtype=np.float64)), "q", ["float64", "float32, float16, bfloat16"]),
    "q int64": (dict(q=zeros(B, SQ, H, D, dtype=np.int64)), "q", ["int64", "float32, float16, bfloat16"]),
    "q int32": (dict(q=zeros(B, SQ, H, D, dtype=np.int32)), "q", ["int32", "float32, float16, bfloat16"]),
    "q uint8": (dict(q=zeros(B, SQ, H, D, dtype=np.uint8)), "q", ["uint8", "float32, float16, bfloat16"]),
    "q bool": (dict(q=zeros(B, SQ, H, D, dtype=bool)), "q", ["bool", "float32, float16, bfloat16"]),
    "q complex64": (dict(q=zeros(B, SQ, H, D, dtype=np.complex64)), "q", ["complex64", "float32"]),
    "q object": (dict(q=zeros(B, SQ, H, D, dtype=object)), "q", ["object", "float32, float16, bfloat16"]),
    "q other byte order": (dict(q=zeros(B, SQ, H, D, dtype=">f4")), "q", ["byte order", "float32"]),
    "k dtype": (dict(k=zeros(B, SK, HK, D, dtype=np.float16)), "k", ["float16", "float32"]),
    "v dtype": (dict(v=zeros(B, SK, HK, DV, dtype=np.float16)), "v", ["float16", "float32"]),
    "out dtype": (dict(out=zeros(B, SQ, H, DV, dtype=np.float16)), "out", ["float16", "float32"]),
    "head_dim 0": (dict(q=zeros(B, SQ, H, 0), k=zeros(B, SK, HK, 0)), "q", ["head_dim is 0", "256"]),
    "head_dim 257": (dict(q=zeros(B, SQ, H, 257), k=zeros(B, SK, HK, 257)), "q", ["head_dim is 257", "256"]),
    "head_dim_v 0": (dict(v=zeros(B, SK, HK, 0)), "v", ["head_dim_v is 0", "256"]),
    "head_dim_v 300": (dict(v=zeros(B, SK, HK, 300)), "v", ["head_dim_v is 300", "256"]),
    "k batch": (dict(k=zeros(3, SK, HK, D)), "k", ["batch is 3", str(B)]),
    "k head_dim": (dict(k=zeros(B, SK, HK, 9)), "k", ["head_dim is 9", str(D)]),
    "k heads": (dict(k=zeros(B, SK, 3, D), v=zeros(B, SK, 3, DV)), "k", ["heads_k is 3", str(H)]),
    "k no heads": (dict(k=zeros(B, SK, 0, D), v=zeros(B, SK, 0, DV)), "k", ["heads_k is 0", str(H)]),
    "v batch": (dict(v=zeros(1, SK, HK, DV)), "v", ["batch is 1", str(B)]),
    "v seqlen": (dict(v=zeros(B, SK + 1, HK, DV)), "v", ["seqlen_k is 16", str(SK)]),
    "v heads": (dict(v=zeros(B, SK, 4, DV)), "v", ["heads_k is 4", str(HK)]),
    "out batch": (dict(out=zeros(1, SQ, H, DV)), "out", ["batch is 1", str(B)]),
    "out seqlen": (dict(out=zeros(B, SK, H, DV)), "out", ["seqlen_q is 15", str(SQ)]),
    "out head_dim": (dict(out=zeros(B, SQ, H, D)), "out", ["head_dim_v is 8", str(DV)]),
    "out overlaps itself": (
        dict(out=np.lib.stride_tricks.as_strided(zeros(DV), (B, SQ, H, DV), (0, 0, 0, 4))),
        "out",
        ["stride", "distinct"],
    ),
    "scale negative": (dict(softmax_scale=-0.5), "softmax_scale", ["-0.5", ">= 0"]),
    "scale nan": (dict(softmax_scale=float("nan")), "softmax_scale", ["nan", "finite"]),
    "scale inf": (dict(softmax_scale=float("inf")), "softmax_scale", ["inf", "finite"]),
    "scale text": (dict(softmax_scale="0.5"), "softmax_scale", ["'0.5'", "number"]),
    "scale bool": (dict(softmax_scale=True), "softmax_scale", ["True", "number"]),
    "scale array": (dict(softmax_scale=zeros(2)), "softmax_scale", ["ndarray", "number"]),
    "causal array": (dict(causal=zeros(SQ, SK)), "causal", ["ndarray", "True or False"]),
    "causal text": (dict(causal="yes"), "causal", ["'yes'", "True or False"]),
    "causal 2": (dict(causal=2), "causal", ["2", "True or False"]),
    "return_lse": (dict(return_lse=None), "return_lse", ["None", "True or False"]),
    "align": (dict(causal_align="bottom"), "causal_align", ["bottom", "bottom_right", "top_left"]),
    "align type": (dict(causal_align=1), "causal_align", ["int", "bottom_right", "top_left"]),
    "engine": (dict(engine="default"), "engine", ["str", "Engine"]),
    "glm without causal": (dict(glm_mask=zeros(B, dtype=np.int32)), "glm_mask", ["causal"]),
    "glm scalar": (dict(causal=True, glm_mask=np.array(3, np.int32)), "glm_mask", ["rank is 0", "(batch,)"]),
    "glm rank 2": (dict(causal=True, glm_mask=zeros(B, 2, dtype=np.int32)), "glm_mask", ["rank is 2", "(batch, 2, N)"]),
    "glm batch": (dict(causal=True, glm_mask=zeros(3, dtype=np.int32)), "glm_mask", ["batch is 3", str(B)]),
    "glm not 2": (dict(causal=True, glm_mask=zeros(B, 3, 4, dtype=np.int32)), "glm_mask", ["(2, 3, 4)", "2"]),
    "glm int64": (dict(causal=True, glm_mask=zeros(B, dtype=np.int64)), "glm_mask", ["int64", "int32"]),
    "glm float": (dict(causal=True, glm_mask=zeros(B)), "glm_mask", ["float32", "int32"]),
    "glm uint32": (dict(causal=True, glm_mask=zeros(B, dtype=np.uint32)), "glm_mask", ["uint32", "int32"]),
    "glm list": (dict(causal=True, glm_mask=[1, 2]), "glm_mask", ["list", "numpy.ndarray"]),
    "break below": (dict(causal=True, glm_mask=np.array([0, -1], np.int32)), "glm_mask", ["-1", "15"]),
    "break above": (dict(causal=True, glm_mask=np.array([16, 0], np.int32)), "glm_mask", ["16", "15"]),
    "pair below": (dict(causal=True, glm_mask=np.array([[[0], [5]], [[-2], [3]]], np.int32)), "glm_mask", ["-2", "15"]),
    "pair above": (dict(causal=True, glm_mask=np.array([[[0], [5]], [[2], [16]]], np.int32)), "glm_mask", ["16", "15"]),
    "half a pair": (
        dict(causal=True, glm_mask=np.array([[[0], [5]], [[2], [-1]]], np.int32)),
        "glm_mask",
        ["-1", "15"],
    ),
    "q list": (dict(q=[[1.0]]), "q", ["list", "numpy.ndarray", "torch.Tensor"]),
    "k None": (dict(k="k"), "k", ["str", "numpy.ndarray"]),
    "masked array": (dict(q=np.ma.zeros((B, SQ, H, D), np.float32)), "q", ["MaskedArray"]),
    "odd strides": (
        dict(q=np.zeros((B, SQ, H, D), [("a", np.float32), ("b", np.uint8)])["a"]),
        "q",
        ["strides", "4 bytes"],
    ),
    "unaligned": (
        dict(q=np.zeros(B * SQ * H * D * 4 + 1, np.uint8)[1:].view(np.float32).reshape(B, SQ, H, D)),
        "q",
        ["aligned", "4"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_argument(case):
    changes, argument, words = WRONG[case]
    q, k, v = arrays()
    guarded = Guarded((B, SQ, H, DV), np.float32)
    call = {"q": q, "k": k, "v": v, "out": guarded.view, **changes}
    with pytest.raises(InvalidArgument) as raised:
        flash_attn_func(**call)
    error = raised.value
    assert error.argument == argument
    assert str(error).startswith(argument + ":"), str(error)
    for word in words:
        assert word in str(error), f"{word!r} is not in: {error}"
    assert isinstance(error, ValueError) and isinstance(error, TilewrightError)
    guarded.assert_untouched()


@pytest.mark.parametrize("case", [case for case in WRONG if not {"out", "engine"} & set(WRONG[case][0])])
def test_inspection_and_reference_say_the_same(case):
    changes, _, _ = WRONG[case]
    call = dict(zip("qkv", arrays()), **changes)
    if "float64" in case or "return_lse" in call:
        return  # the reference takes float64, and a plan has no LSE
    with pytest.raises(InvalidArgument) as expected:
        flash_attn_func(**call)
    functions = [reference.attention]
    if "unaligned" not in case and "break" not in case and "pair" not in case:
        functions.append(inspect.plan)  # looks at no data
    if "unaligned" not in case:
        functions.append(inspect.block_map)
    for function in functions:
        with pytest.raises(InvalidArgument) as raised:
            function(**call)
        assert raised.value.argument == expected.value.argument
        if case not in ("q int64", "q int32", "q bool"):  # there the reference's list of types is longer
            assert str(raised.value) == str(expected.value)


def test_read_only_output():
    q, k, v = arrays()
    out = np.zeros((B, SQ, H, DV), np.float32)
    out.flags.writeable = False
    with pytest.raises(InvalidArgument, match="out: is read-only") as raised:
        flash_attn_func(q, k, v, out=out)
    assert raised.value.argument == "out" and (out == 0).all()


def test_kinds_do_not_mix(torch):
    q, k, v = arrays()
    tensors = [torch.from_numpy(x) for x in (q, k, v)]
    glm = np.zeros(B, np.int32)
    for call, argument in (
        ((q, tensors[1], v), "k"),
        ((q, k, tensors[2]), "v"),
        ((tensors[0], k, v), "k"),
        ((q, k, v, True, torch.from_numpy(glm)), "glm_mask"),
        ((*tensors, True, glm), "glm_mask"),
    ):
        with pytest.raises(InvalidArgument, match=f"{argument}: is a .*, must be a .*, as q is") as raised:
            flash_attn_func(*call)
        assert raised.value.argument == argument
    with pytest.raises(InvalidArgument, match="out: is a torch.Tensor, must be a numpy.ndarray"):
        flash_attn_func(q, k, v, out=torch.zeros(B, SQ, H, DV))


def test_torch_tensors_that_require_grad(torch):
    for at, name in enumerate("qkv"):
        tensors = [torch.from_numpy(x) for x in arrays()]
        tensors[at].requires_grad_()
        with pytest.raises(Unsupported, match=rf"{name}: requires grad.*no_grad\(\).*{name}\.detach\(\)") as raised:
            flash_attn_func(*tensors)
        assert raised.value.argument == name and isinstance(raised.value, NotImplementedError)
        expected = flash_attn_func(*(x.detach() for x in tensors))
        with torch.no_grad():
            assert torch.equal(flash_attn_func(*tensors), expected)
        with torch.inference_mode():
            assert torch.equal(flash_attn_func(*tensors), expected)


def test_torch_tensors_that_are_no_plain_cpu_memory(torch):
    tensors = [torch.from_numpy(x) for x in arrays()]
    for q, cls, words in (
        (tensors[0].to("meta"), Unsupported, "q: is on meta, must be on the CPU or on a CUDA device"),
        (tensors[0].to_sparse(), InvalidArgument, "q: layout is torch.sparse_coo, must be torch.strided"),
        (
            tensors[0].to(torch.float8_e4m3fn),
            InvalidArgument,
            "q: dtype is torch.float8_e4m3fn, must be one of float32",
        ),
        (tensors[0].to(torch.complex64), InvalidArgument, "q: dtype is complex64, must be one of float32"),
        (tensors[0].to(torch.int64), InvalidArgument, "q: dtype is int64, must be one of float32"),
        (torch.complex(tensors[0], tensors[0]).conj().imag, InvalidArgument, "q: is a negated or conjugated view"),
    ):
        with pytest.raises(cls, match=words) as raised:
            flash_attn_func(q, *tensors[1:])
        assert raised.value.argument == "q"
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(x) for x in tensors]
    with pytest.raises(InvalidArgument, match="q: is a .*FakeTensor, must be a plain torch.Tensor"):
        flash_attn_func(*fakes)


@pytest.mark.parametrize("case", ["k batch", "glm without causal", "break above", "scale negative", "head_dim 257"])
def test_torch_says_the_same(case, torch):
    changes, argument, _ = WRONG[case]
    call = dict(zip("qkv", arrays()), **changes)
    with pytest.raises(InvalidArgument) as expected:
        flash_attn_func(**call)
    out = torch.full((B, SQ, H, DV), -77.0)
    call = {name: torch.from_numpy(x) if isinstance(x, np.ndarray) else x for name, x in call.items()}
    with pytest.raises(InvalidArgument) as raised:
        flash_attn_func(**call, out=out)
    assert str(raised.value) == str(expected.value) and raised.value.argument == argument
    assert (out == -77).all()


def test_engine_options():
    for options, argument, words in (
        (dict(miss_policy="never"), "miss_policy", '\'never\'.*"compile", "warn" or "error"'),
        (dict(num_threads=-1), "num_threads", "-1"),
        (dict(num_threads=1.5), "num_threads", "1.5"),
        (dict(num_threads=2**31), "num_threads", str(2**31)),
        (dict(cpu_level="haswell"), "cpu_level", "haswell.*x86-64-v2"),
        (dict(cpu_level=3), "cpu_level", "int.*str"),
        (dict(schedule="kq:60x64:8x2"), "schedule", "60"),
        (dict(schedule="nonsense"), "schedule", "nonsense"),
        (dict(cuda_target="sm_75"), "cuda_target", "sm_75"),
        (dict(cuda_target=90), "cuda_target", "int"),
        (dict(cache_dir=b"bytes"), "cache_dir", "bytes"),
    ):
        with pytest.raises(InvalidArgument, match=words) as raised:
            Engine(**options)
        assert raised.value.argument == argument, options


def test_keys_and_stages():
    for key in ("", "forward", "nonsense target=cpu:x86-64-v2", "forward target=gpu"):
        with pytest.raises(InvalidArgument) as raised:
            inspect.canonical_key(key)
        assert raised.value.argument == "key" and str(raised.value)
    key = inspect.plan(*arrays())["steps"][0]["key"]
    assert inspect.canonical_key(key)[0] == key
    with pytest.raises(InvalidArgument, match="ptx.*attn.*tile.*schedule.*vector.*llvm.*obj") as raised:
        inspect.compile(key, "ptx")
    assert raised.value.argument == "stage"
    with pytest.raises(InvalidArgument, match="NUL"):
        inspect.compile(key + "\0", "obj")


def test_miss_is_an_error_if_asked_for():
    engine = Engine(cache_dir="", miss_policy="error")
    guarded = Guarded((B, SQ, H, DV), np.float32)
    q, k, v = arrays()
    key = inspect.plan(q, k, v, engine=engine)["steps"][0]["key"]
    with pytest.raises(CacheMiss) as raised:
        flash_attn_func(q, k, v, out=guarded.view, engine=engine)
    assert key in str(raised.value)
    assert engine.stats().compiles == 0
    guarded.assert_untouched()


def test_exceptions_survive_pickling():
    """They cross process pools."""
    with pytest.raises(InvalidArgument) as raised:
        flash_attn_func(*arrays(), softmax_scale=-1.0)
    copy = pickle.loads(pickle.dumps(raised.value))
    assert type(copy) is InvalidArgument and str(copy) == str(raised.value) and copy.argument == "softmax_scale"


def test_an_error_leaves_the_engine_working():
    q, k, v = arrays()
    before = flash_attn_func(q, k, v)
    for _ in range(3):
        with pytest.raises(InvalidArgument):
            flash_attn_func(q, k, v, softmax_scale=-1.0)
        assert np.array_equal(flash_attn_func(q, k, v), before)


def test_exception_tree():
    for name in ("InvalidArgument", "Unsupported", "CompileError", "CacheMiss", "CacheIOError", "OutOfMemory"):
        assert issubclass(getattr(tilewright, name), TilewrightError)
