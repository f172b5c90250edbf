# SPDX-License-Identifier: Apache-2.0
"""Every legal pair of features, and a sample of larger combinations, on the generated kernels against the float64
reference (held against NumPy in test_features.py, whose generators of features these are). In every problem keys and
values that no row sees are NaN. On the CPU, and, marked ``gpu``, on a CUDA device."""

import concurrent.futures
import itertools
import os

import numpy as np
import pytest
from test_features import FEATURES, documents, generator, inputs, legal, packed, pairs
from tilewright import Engine, flash_attn_func, flash_attn_varlen_func, reference

# Largest error of the output, the LSE and the probabilities, inputs normal.
BOUNDS = {"float32": (5e-5, 5e-5, 2e-5), "float16": (1e-2, 5e-3, 2e-3), "bfloat16": (6e-2, 3e-2, 1e-2)}
HEADS, HEADS_K = 4, 2
LENGTHS = [(70, 83), (33, 130), (90, 47)]

# On top of the features of one batch: sequences of different lengths, and fewer keys than there are.
SHAPES = ("plain", "used", "varlen", "varlen used")
ALL_PAIRS = list(itertools.combinations(FEATURES, 2))


def problem(rng, names, shape, head_dims=(24, 40)):
    """Function and arguments of a call with these features; tensors as NumPy arrays of float64 or float32."""
    sizes = dict(heads=HEADS, heads_k=HEADS_K, dim=head_dims[0], dim_v=head_dims[1])
    batch = 3
    if shape.startswith("varlen"):
        lengths_q, lengths_k = ([int(n) for n in rng.integers(0, most, batch)] for most in (90, 140))
        lengths_q[int(rng.integers(batch))] = 0
        args = packed(rng, lengths_q, lengths_k, **sizes)
        sq, sk = max(args["max_seqlen_q"], 1), max(args["max_seqlen_k"], 1)
    else:
        sq, sk = LENGTHS[int(rng.integers(len(LENGTHS)))]
        args = dict(zip("qkv", inputs(rng, batch, sq, sk, **sizes)))
        lengths_k = [sk] * batch
    used = lengths_k
    if shape.endswith("used"):
        used = [int(rng.integers(0, n + 1)) for n in lengths_k]
        args["seqused_k"] = np.array(used, np.int32)
    for name in names:
        args.update(FEATURES[name](rng, batch, HEADS, sq, sk))
    if "rng_state" in args:
        args.pop("dropout_seed", None), args.pop("dropout_offset", None)
    return legal(args, used)


def hide(args):
    """NaN in keys and values at positions that no row of their batch entry sees; returns the probabilities."""
    probs = reference.attention(return_probs=True, **args)[1]
    # A bias of -inf is not a hidden position (semantics A5), so what it alone removes must stay finite; neither is a
    # position that a mask of bools hides.
    plain = {n: x for n, x in args.items() if n not in ("bias", "attn_mask", "dropout_p", "rng_state")}
    plain.pop("dropout_seed", None), plain.pop("dropout_offset", None)
    seen = (reference.attention(return_probs=True, **{**plain, "softmax_scale": 0.0})[1] != 0).any(axis=2)
    group = HEADS // HEADS_K
    seen = seen.reshape(seen.shape[0], HEADS_K, group, -1).any(axis=2)
    for b, entry in enumerate(seen):
        for head, columns in enumerate(entry):
            first, end = 0, len(columns)
            if "cu_seqlens_k" in args:
                first, end = args["cu_seqlens_k"][b], args["cu_seqlens_k"][b + 1]
            hidden = ~columns[: end - first]
            for name in "kv":
                rows = args[name][first:end, head] if "cu_seqlens_k" in args else args[name][b, :, head]
                rows[hidden] = np.nan
    return probs


def call(args, convert, engine=None, **more):
    """The kernel's output, LSE and probabilities for arguments whose arrays ``convert`` makes the caller's tensors."""
    function = flash_attn_varlen_func if "cu_seqlens_q" in args else flash_attn_func
    given = {name: convert(name, x) if isinstance(x, np.ndarray) else x for name, x in args.items()}
    state = given.pop("rng_state", None)
    seed, offset = given.pop("dropout_seed", 0), given.pop("dropout_offset", 0)
    if "dropout_p" in given:
        given["rng"] = (seed, offset) if state is None else state
    return function(engine=engine, return_lse=True, return_attn_probs=True, **given, **more)


def check(found, expected, dtype):
    out, lse, probs = (np.asarray(x, np.float64) for x in found)
    exact_out, exact_lse, exact_probs = expected
    bounds = BOUNDS[dtype]
    empty = np.isneginf(exact_lse)
    assert np.array_equal(np.isneginf(lse), empty)
    scale = np.maximum(1, np.abs(exact_out).max(initial=0))
    assert np.abs(out - exact_out).max(initial=0) <= bounds[0] * scale
    seen = exact_lse[~empty]
    assert np.all(np.abs(lse[~empty] - seen) <= bounds[1] * np.maximum(1, np.abs(seen) * 1e-2))
    assert probs.shape == exact_probs.shape and np.abs(probs - exact_probs).max(initial=0) <= bounds[2]
    # Dropped entries are negative: where the weight did not vanish in this type, its sign says which were.
    strong = np.abs(exact_probs) > 1e-3
    assert np.array_equal(np.sign(probs[strong]), np.sign(exact_probs[strong]))


def run(names, shape, dtype, seed, convert, back, engine=None, head_dims=(24, 40)):
    rng = generator(*seed)
    args = problem(rng, names, shape, head_dims)
    for name in "qkv":
        args[name] = back(convert(name, args[name])).astype(np.float64)  # what the type can hold
    if "bias" in args:
        args["bias"] = args["bias"].astype(np.float32)
    if "attn_mask" in args and args["attn_mask"].dtype != bool:
        args["attn_mask"] = args["attn_mask"].astype(np.float32)
    align = ("bottom_right", "top_left")[seed[-1] % 2]
    args["causal_align"] = align
    hide(args)
    expected = reference.attention(return_lse=True, return_probs=True, **args)
    found = call(args, convert, engine)
    check([back(x) for x in found], expected, dtype)


def to_numpy(dtype):
    return lambda name, x: x.astype(dtype) if name in ("q", "k", "v") else x


@pytest.fixture(scope="module")
def engines():
    """Engines of both orientations of the score tile, with blocks smaller than the problems."""
    return [Engine(schedule=schedule) for schedule in ("kq:32x16:4x1", "qk:16x32:4x1")]


@pytest.mark.parametrize("first", FEATURES)
def test_cpu_pairs(first, engines):
    names = list(FEATURES)
    for j in range(names.index(first) + 1, len(names)):
        index = names.index(first) * len(names) + j
        shape, dtype = SHAPES[index % 4], ("float32", "float16")[index // 4 % 2]
        run((first, names[j]), shape, dtype, (7, index), to_numpy(dtype), np.asarray, engines[index % 2])


@pytest.mark.parametrize("seed", range(24))
def test_cpu_combinations(seed, engines):
    rng = generator(8, seed)
    names = rng.choice(list(FEATURES), int(rng.integers(3, 8)), replace=False)
    dtype = ("float32", "float16")[seed % 2]
    run(names, SHAPES[seed // 2 % 4], dtype, (9, seed), to_numpy(dtype), np.asarray, engines[seed // 8 % 2])


@pytest.mark.gpu
def test_cuda_pairs_and_combinations(torch):
    """Kernels are compiled by several threads at once: it is they who take the time."""
    if not torch.cuda.is_available():
        pytest.skip("torch.cuda.is_available() is False")

    def converter(dtype):
        def convert(name, x):
            tensor = torch.from_numpy(np.ascontiguousarray(x))
            return (tensor.to(getattr(torch, dtype)) if name in ("q", "k", "v") else tensor).cuda()

        return convert

    def back(tensor):
        return tensor.double().cpu().numpy() if isinstance(tensor, torch.Tensor) else tensor

    cases = []
    for index, names in enumerate(ALL_PAIRS):
        cases.append((names, SHAPES[index % 4], ("float16", "bfloat16")[index // 4 % 2], (7, index)))
    for seed in range(40):
        rng = generator(8, seed)
        names = tuple(rng.choice(list(FEATURES), int(rng.integers(3, 8)), replace=False))
        cases.append((names, SHAPES[seed % 4], ("float16", "bfloat16")[seed // 4 % 2], (9, seed)))
    head_dims = ((64, 64), (24, 40), (72, 72), (64, 48))

    def one(number):
        names, shape, dtype, seed = cases[number]
        try:
            run(names, shape, dtype, seed, converter(dtype), back, head_dims=head_dims[number // 8 % 4])
        except AssertionError as error:
            return f"{names}, {shape}, {dtype}, {head_dims[number // 8 % 4]}: {error!r}"[:400]
        return None

    with concurrent.futures.ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        wrong = [line for line in pool.map(one, range(len(cases))) if line]
    assert not wrong, "\n".join(wrong)
