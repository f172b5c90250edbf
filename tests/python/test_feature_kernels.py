# SPDX-License-Identifier: Apache-2.0
"""Bias, masks given as tensors, ALiBi and softcap: the generated kernels against the float64 reference, whose own tests
are in test_features.py. On the CPU, and, marked ``gpu``, on a CUDA device."""

import itertools

import numpy as np
import pytest
from tilewright import Engine, flash_attn_func, inspect, masks, reference

B, H, HK = 2, 4, 2
LENGTHS = [(37, 53), (130, 64), (64, 200), (1, 7), (128, 128)]
LEAST = float(np.finfo(np.float32).min)
# Largest error of the output and of the LSE, inputs normal.
BOUNDS = {"float32": (2e-5, 5e-5), "float16": (4e-3, 4e-3), "bfloat16": (3e-2, 3e-2)}


def poisoned(array):
    """A copy with NaN (True for bools) between and around its rows, and rows of no round stride."""
    *outer, sq, sk = array.shape
    room = np.full((*outer, sq + 2, sk + 3), True if array.dtype == bool else np.nan, array.dtype)
    room[..., 1:-1, 2:-1] = array
    return room[..., 1:-1, 2:-1]


def floats(rng, *shape):
    return poisoned(rng.standard_normal(shape).astype(np.float32))


def with_inf(rng, *shape):
    array = rng.standard_normal(shape).astype(np.float32)
    array[rng.random(shape) < 0.3] = -np.inf
    array[..., : shape[-1] // 2] = np.where(rng.random((*shape[:-1], 1)) < 0.3, -np.inf, array[..., : shape[-1] // 2])
    return poisoned(array)


def bools(rng, *shape):
    return poisoned(rng.random(shape) < 0.6)


CASES = {
    "bias matrix": lambda r, sq, sk: dict(bias=floats(r, B, H, sq, sk)),
    "bias of all batches": lambda r, sq, sk: dict(bias=floats(r, 1, H, sq, sk)),
    "bias vector": lambda r, sq, sk: dict(bias=floats(r, B, H, 1, sk)),
    "bias column": lambda r, sq, sk: dict(bias=floats(r, 1, H, sq, 1)),
    "bias number": lambda r, sq, sk: dict(bias=floats(r, 1, 1, 1, 1)),
    "bias transposed": lambda r, sq, sk: dict(bias=floats(r, B, 1, sk, sq).swapaxes(2, 3)),
    "bias -inf": lambda r, sq, sk: dict(bias=with_inf(r, B, H, sq, sk)),
    "bias and mask": lambda r, sq, sk: dict(bias=floats(r, 1, H, sq, sk), attn_mask=with_inf(r, B, 1, 1, sk)),
    "mask least": lambda r, sq, sk: dict(attn_mask=np.full((B, 1, sq, sk), LEAST, np.float32)),
    "mask -60000": lambda r, sq, sk: dict(attn_mask=np.where(bools(r, B, 1, sq, sk), 0, -60000).astype(np.float32)),
    "bool matrix": lambda r, sq, sk: dict(attn_mask=bools(r, B, 1, sq, sk)),
    "bool vector": lambda r, sq, sk: dict(attn_mask=bools(r, B, H, 1, sk)),
    "bool hides all": lambda r, sq, sk: dict(attn_mask=np.zeros((1, 1, sq, sk), bool)),
    "bool and bias": lambda r, sq, sk: dict(attn_mask=bools(r, 1, H, sq, sk), bias=floats(r, B, 1, sq, sk)),
    "alibi": lambda r, sq, sk: dict(alibi_slopes=r.random(H).astype(np.float32)),
    "alibi of a batch": lambda r, sq, sk: dict(alibi_slopes=r.random((B, H)).astype(np.float32)),
    "softcap": lambda r, sq, sk: dict(softcap=1.5),
    "softcap wide": lambda r, sq, sk: dict(softcap=50.0, softmax_scale=3.0),
    "everything": lambda r, sq, sk: dict(
        bias=floats(r, B, H, sq, sk),
        attn_mask=bools(r, B, 1, 1, sk),
        alibi_slopes=r.random(H).astype(np.float32),
        softcap=9.0,
    ),
    "scale 0": lambda r, sq, sk: dict(bias=with_inf(r, B, H, sq, sk), softmax_scale=0.0),
}
MASKS = {
    "none": {},
    "causal": dict(causal=True),
    "top left": dict(causal=True, causal_align="top_left"),
    "glm": dict(causal=True, glm_mask=True),
}


def case_of(case, mask, sq, sk, head_dims=(40, 24)):
    rng = np.random.default_rng([sq, sk, *map(ord, case)])
    q = rng.standard_normal((B, sq, H, head_dims[0])).astype(np.float32)
    k = rng.standard_normal((B, sk, HK, head_dims[0])).astype(np.float32)
    v = rng.standard_normal((B, sk, HK, head_dims[1])).astype(np.float32)
    arguments = {**MASKS[mask], **CASES[case](rng, sq, sk)}
    if "glm_mask" in arguments:
        arguments["glm_mask"] = rng.integers(0, sk + 1, B).astype(np.int32)
    return q, k, v, arguments


# Rows that see nothing but -60000 weigh scores whose steps are 2^-8 in float32.
COARSE = {"mask -60000": 1e-2}


def check(case, out, lse, expected, expected_lse, dtype):
    """Output and LSE within the type's bounds; exactly the same rows empty."""
    out_bound, lse_bound = BOUNDS[dtype]
    out_bound = max(out_bound, COARSE.get(case, 0))
    empty = np.isneginf(expected_lse)
    assert np.array_equal(np.isneginf(lse), empty)
    assert np.all(out[empty.transpose(0, 2, 1)] == 0)
    assert np.abs(out - expected).max(initial=0) <= out_bound
    seen = expected_lse[~empty]
    assert np.all(np.abs(lse[~empty] - seen) <= lse_bound * np.maximum(1, np.abs(seen) * 1e-2))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("case", CASES)
def test_cpu(case, mask):
    for sq, sk in LENGTHS:
        q, k, v, arguments = case_of(case, mask, sq, sk)
        for dtype in ("float32", "float16"):
            rounded = [x.astype(dtype) for x in (q, k, v)]
            out, lse = flash_attn_func(*rounded, return_lse=True, **arguments)
            expected, expected_lse = reference.attention(*rounded, return_lse=True, **arguments)
            check(case, out.astype(np.float64), lse, expected, expected_lse, dtype)


@pytest.mark.parametrize("shape", list(itertools.product((1, B), (1, H), (1, 37), (1, 53))))
def test_every_broadcast_of_a_bias_of_q_s_type(shape):
    q, k, v, _ = case_of("alibi", "causal", 37, 53)
    bias = np.random.default_rng(5).standard_normal(shape).astype(np.float16)
    q, k, v = (x.astype(np.float16) for x in (q, k, v))
    full = np.ascontiguousarray(np.broadcast_to(bias, (B, H, 37, 53)))
    out = flash_attn_func(q, k, v, causal=True, bias=bias)
    assert out.tobytes() == flash_attn_func(q, k, v, causal=True, bias=full).tobytes()
    expected = reference.attention(q, k, v, causal=True, bias=bias)
    assert np.abs(out.astype(np.float64) - expected).max() <= BOUNDS["float16"][0]


WINDOWS = list(itertools.product((-1, 0, 3, 60, 1000), (-1, 0, 5, 70)))


@pytest.mark.parametrize("schedule", (None, "qk:16x32:4x1", "kq:48x16:4x1"))
@pytest.mark.parametrize("mask", MASKS)
def test_windows(mask, schedule):
    """Keys and values that no row sees are NaN."""
    engine = Engine(schedule=schedule) if schedule else None
    for (sq, sk), window in itertools.product([*LENGTHS, (70, 1)], WINDOWS):
        q, k, v, arguments = case_of("softcap", mask, sq, sk)
        arguments = {**arguments, "window_size": window}
        probs = reference.attention(q, k, v, return_probs=True, **arguments)[1]
        for b, seen in enumerate((probs > 0).any(axis=(1, 2))):
            columns = np.flatnonzero(seen)
            first, end = (columns[0], columns[-1] + 1) if columns.size else (0, 0)
            for array in (k, v):
                array[b, :first] = array[b, end:] = np.nan
        out, lse = flash_attn_func(q, k, v, return_lse=True, engine=engine, **arguments)
        expected, expected_lse = reference.attention(q, k, v, return_lse=True, **arguments)
        assert np.isfinite(out).all()
        check("window", out, lse, expected, expected_lse, "float32")


def test_sides_of_a_window_beyond_31_bits():
    """Such a side is no bound, though a row and it add up to more than an int32 holds."""
    q, k, v, _ = case_of("alibi", "none", 70, 53)
    for one in ((5, -1), (-1, 5)):
        expected = flash_attn_func(q, k, v, window_size=one)
        for side in (70, 2**31 - 1, 2**31, 3 * 10**9, 2**32 - 2):
            sides = tuple(side if s == -1 else s for s in one)
            assert np.array_equal(flash_attn_func(q, k, v, window_size=sides), expected), sides


def test_a_window_skips_blocks():
    sq, sk, window = 300, 400, (40, 20)
    q, k, v, _ = case_of("alibi", "none", sq, sk)
    found = inspect.block_map(q, k, v, window_size=window)
    visible = masks.sliding_window(*window).to_dense(sq, sk)[0]
    for (_, i, j), kind in np.ndenumerate(found.array()):
        rows, columns = (slice(n * size, (n + 1) * size) for n, size in ((i, found.block_m), (j, found.block_n)))
        block = visible[rows, columns]
        assert kind == (inspect.FULL if block.all() and block.shape[1] == found.block_n
                        else inspect.PARTIAL if block.any() else inspect.SKIPPED)


def test_the_key_names_only_what_is_there():
    q, k, v, _ = case_of("alibi", "none", 37, 53)
    plain = tuple(step["key"] for step in inspect.plan(q, k, v)["steps"])
    assert all(word not in plain[0] for word in ("bias", "attnMask", "alibi", "softcap", "windowLeft"))


@pytest.mark.gpu
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("case", CASES)
def test_cuda(case, mask, torch):
    if not torch.cuda.is_available():
        pytest.skip("torch.cuda.is_available() is False")
    lengths, head_dims = LENGTHS[:2] + LENGTHS[-1:], ((64, 64), (40, 24), (128, 128))
    for (sq, sk), dtype, head_dims in zip(lengths, ("float16", "bfloat16", "float16"), head_dims):
        q, k, v, arguments = case_of(case, mask, sq, sk, head_dims)
        rounded = [torch.from_numpy(x).to(getattr(torch, dtype)) for x in (q, k, v)]
        # Types: a bias of float32, and, where the lengths say so, of q's own type.
        there = {}
        for name, value in arguments.items():
            if isinstance(value, np.ndarray):
                value = torch.from_numpy(value).cuda() if value.base is None else on_device(value, torch)
                if name == "bias" and sq % 2 == 0:
                    value = value.to(getattr(torch, dtype))
            there[name] = value
        out, lse = flash_attn_func(*(x.cuda() for x in rounded), return_lse=True, **there)
        here = {n: x.cpu() if isinstance(x, torch.Tensor) else x for n, x in there.items()}
        expected, expected_lse = (np.asarray(x) for x in reference.attention(*rounded, return_lse=True, **here))
        check(case, out.double().cpu().numpy(), lse.cpu().numpy(), expected, expected_lse, dtype)


def on_device(view, torch):
    """The view of a poisoned array, with its surroundings, on the device."""
    base = view
    while base.base is not None:
        base = base.base
    offset = (view.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // base.itemsize
    strides = [stride // base.itemsize for stride in view.strides]
    return torch.from_numpy(base).cuda().as_strided(view.shape, strides, offset)


def laid_out(values, align, torch):
    """`values` on the device amid NaN, in rows aligned to `align` bytes and no more (16: or more); 0: every other
    element of a row, which no vector instruction reads."""
    step = 1 if align else 2
    item = values.element_size()
    stride = values.shape[-1] * step + 1
    while stride * item % (align or item) or (align < 16 and stride * item % (2 * (align or item)) == 0):
        stride += 1
    rows = values[..., 0].numel()
    offset = (align or item) // item
    room = torch.full((offset + (rows + 1) * stride,), float("nan"), dtype=values.dtype, device="cuda")
    strides = [stride]
    for size in values.shape[-2:0:-1]:
        strides.insert(0, strides[0] * size)
    view = room.as_strided(values.shape, (*strides, step), offset)
    view.copy_(values)
    return view


@pytest.mark.gpu
@pytest.mark.parametrize("kind, mask", (("float32", "none"), ("own", "causal"), ("own", "none")))
@pytest.mark.parametrize("schedule", (None, "qk:64x32:w4", "qk:32x48:w1:s3"))
def test_cuda_a_matrix_counts_the_same_however_it_is_aligned(schedule, kind, mask, torch):
    """Copied ahead through shared memory where rows allow it, read where it lies elsewhere: the same bits."""
    if not torch.cuda.is_available():
        pytest.skip("torch.cuda.is_available() is False")
    engine = Engine(schedule=schedule) if schedule else None
    lengths = [(128, 192), (37, 201)]
    for (sq, sk), dtype in zip(lengths, itertools.cycle(("bfloat16", "float16"))):
        q, k, v, arguments = case_of("alibi", mask, sq, sk, (16, 24))
        del arguments["alibi_slopes"]
        own = getattr(torch, dtype)
        rounded = [torch.from_numpy(x).to(own) for x in (q, k, v)]
        rng = np.random.default_rng([sq, sk])
        values = [torch.from_numpy(rng.standard_normal((n, h, sq, sk)).astype(np.float32)) for n, h in ((1, H), (B, 1))]
        values[1][torch.from_numpy(rng.random((B, 1, sq, sk)) < 0.3)] = float("-inf")
        types = (own if kind == "own" else torch.float32, own)
        bias, added = (x.to(t) for x, t in zip(values, types))
        expected, expected_lse = (np.asarray(x) for x in reference.attention(
            *rounded, bias=bias, attn_mask=added, return_lse=True, **arguments))
        there = [x.cuda() for x in rounded]
        results = []
        for align in (0, 2, 4, 8, 16):
            laid = [laid_out(x, max(align, x.element_size()) if align else 0, torch) for x in (bias, added)]
            out, lse = flash_attn_func(*there, bias=laid[0], attn_mask=laid[1], return_lse=True, engine=engine,
                                       **arguments)
            results.append((out, lse))
            assert torch.equal(out, results[0][0]) and torch.equal(lse, results[0][1]), (sq, sk, align)
        out, lse = results[0]
        check("bias", out.double().cpu().numpy(), lse.cpu().numpy(), expected, expected_lse, dtype)


def paddings(sk):
    """Masks with holes, of (first real key, behind the last, hidden in between): kernels look for padding only from
    where the first hole begins to where the last one ends, and pass over blocks that have nothing else."""
    between = ((), (3,), (95,), (96,), (94, 97), (127, 128, 300), range(96, 192), range(64, 301), (1, sk - 6))
    between += ((511,), (512,), (510, 513), range(480, 1025))  # a GPU scans 512 at a time
    masks_ = np.zeros((2 * len(between), sk), bool)
    for i, hidden in enumerate(between):
        for j, (first, end) in enumerate(((0, sk), (37, sk - 5))):
            masks_[2 * i + j, first:end] = True
            masks_[2 * i + j, [key for key in hidden if key < sk]] = False
    return masks_


def attend_to_padded(sk, dtype):
    """Inputs for each of the masks, NaN where these hide, and what is expected."""
    sq = 130
    real = paddings(sk)
    rng = np.random.default_rng(8)
    q, k, v = (rng.standard_normal((len(real), n, 1, 64)).astype(np.float32) for n in (sq, sk, sk))
    k[~real] = v[~real] = np.nan
    rounded = [x.astype(dtype) for x in (q, k, v)]
    return rounded, real, lambda **more: reference.attention(
        *rounded, key_padding_mask=real, return_lse=True, **more)


@pytest.mark.parametrize("sk", (413, 1100))
@pytest.mark.parametrize("causal", (False, True))
@pytest.mark.parametrize("dtype", ("float32", "float16"))
def test_padding_wherever_its_holes_are(dtype, causal, sk):
    inputs, real, expect = attend_to_padded(sk, dtype)
    out, lse = flash_attn_func(*inputs, key_padding_mask=real, causal=causal, return_lse=True)
    check("padding", out.astype(np.float64), lse, *expect(causal=causal), dtype)


@pytest.mark.gpu
@pytest.mark.parametrize("sk", (413, 1100))
@pytest.mark.parametrize("causal", (False, True))
@pytest.mark.parametrize("schedule", (None, "qk:128x96:w4:s2:b2", "qk:64x32:w4", "qk:64x64:w4:s2"))
def test_cuda_padding_wherever_its_holes_are(schedule, causal, sk, torch):
    if not torch.cuda.is_available():
        pytest.skip("torch.cuda.is_available() is False")
    engine = Engine(schedule=schedule) if schedule else None
    inputs, real, expect = attend_to_padded(sk, "float16")
    out, lse = flash_attn_func(*(torch.from_numpy(x).cuda() for x in inputs), causal=causal, return_lse=True,
                               key_padding_mask=torch.from_numpy(real).cuda(), engine=engine)
    check("padding", out.double().cpu().numpy(), lse.cpu().numpy(), *expect(causal=causal), "float16")


HALF_SEEN = {
    "causal": dict(causal=True),
    "window": dict(causal=True, window_size=(150, 0)),
    "both sides": dict(window_size=(40, 70)),
    "documents": dict(document_ids=True),
    "causal documents": dict(document_ids=True, causal=True),
    "glm": dict(causal=True, glm_mask=True),
    "dropout": dict(causal=True, dropout_p=0.3, rng=(5, 7)),
    "window, dropout, ALiBi": dict(causal=True, window_size=(150, 0), dropout_p=0.3, rng=(5, 7), alibi_slopes=True),
}


HALF_SEEN_CASES = [(name, lengths) for name in HALF_SEEN for lengths in ((421, 421), (77, 413), (300, 130))
                   if "document_ids" not in HALF_SEEN[name] or lengths[0] == lengths[1]]


@pytest.mark.gpu
@pytest.mark.parametrize("name, lengths", HALF_SEEN_CASES)
@pytest.mark.parametrize("schedule", ("qk:128x96:w4:s2:b2", "qk:128x64:w4:s2:b2", "qk:64x16:w2:s2:b2"))
def test_cuda_blocks_that_half_of_the_rows_sees(schedule, name, lengths, torch):
    """Of a program's 128 rows (or 64) only the first or the second half sees keys of some blocks; documents end at any
    row, and some have fewer rows than a half."""
    if not torch.cuda.is_available():
        pytest.skip("torch.cuda.is_available() is False")
    sq, sk = lengths
    arguments = dict(HALF_SEEN[name])
    rng = np.random.default_rng(11)
    q, k, v = (rng.standard_normal((2, n, 3, 64)).astype(np.float16) for n in (sq, sk, sk))
    if "document_ids" in arguments:
        ends = np.array([[3, 66, 190, 200, 333, sk], [64, 128, 129, 257, 400, sk]])
        arguments["document_ids"] = (np.arange(sk)[None, :, None] >= ends[:, None, :]).sum(-1).astype(np.int32)
    if "glm_mask" in arguments:
        arguments["glm_mask"] = np.array([sk // 3, 65], dtype=np.int32)
    if "alibi_slopes" in arguments:
        arguments["alibi_slopes"] = np.array([0.5, 0.02, 0.001], dtype=np.float32)
    asked = {key: value for key, value in arguments.items() if key != "rng"}
    asked["dropout_seed"], asked["dropout_offset"] = arguments.get("rng", (0, 0))
    expected = reference.attention(*(x.astype(np.float64) for x in (q, k, v)), return_lse=True, **asked)
    on_device = {key: torch.from_numpy(value).cuda() if isinstance(value, np.ndarray) else value
                 for key, value in arguments.items()}
    out, lse = flash_attn_func(*(torch.from_numpy(x).cuda() for x in (q, k, v)), return_lse=True,
                               engine=Engine(schedule=schedule), **on_device)
    check(name, out.double().cpu().numpy(), lse.cpu().numpy(), *expected, "float16")


@pytest.mark.gpu
@pytest.mark.parametrize("name", ("bias", "attn_mask"))
def test_cuda_tensors_beyond_2_to_31_elements(name, torch):
    """The second head's matrix begins behind the 2^31st element; what lies between is NaN."""
    if not torch.cuda.is_available():
        pytest.skip("torch.cuda.is_available() is False")
    free, _ = torch.cuda.mem_get_info()
    if free < 6 << 30:
        pytest.skip(f"{free >> 30} GiB of device memory are free, 6 are needed")
    sq, sk, step = 70, 136, 2**31 + 8
    rng = np.random.default_rng(3)
    q, k, v = (torch.from_numpy(rng.standard_normal((1, n, 2, 64))).half().cuda() for n in (sq, sk, sk))
    big = torch.full((step + sq * sk,), float("nan"), dtype=torch.float16, device="cuda")
    far = big.as_strided((1, 2, sq, sk), (0, step, sk, 1))
    near = torch.from_numpy(rng.standard_normal((1, 2, sq, sk))).half().cuda()
    far.copy_(near)
    assert torch.equal(flash_attn_func(q, k, v, **{name: far}), flash_attn_func(q, k, v, **{name: near}))
