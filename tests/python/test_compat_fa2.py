# SPDX-License-Identifier: Apache-2.0
"""The three FlashAttention 2 modules against their formulas, the shapes that they return, and their errors."""

import math

import pytest
from compat_support import boundaries, calls, dropped, finish, hide, products, shares_memory, torch

from tilewright import InvalidArgument, Unsupported
from tilewright.compat import fa2_glm_mask, fa2_pack_glm_mask, flash_attn

__all__ = ["calls"]  # a fixture

H, HK, D = 4, 2, 16
KEEP = 0.75  # realised exactly: a multiple of 2**-16


def causal(sq, sk, align):
    offset = sk - sq if align == "bottom_right" else 0
    return torch.arange(sk) <= torch.arange(sq)[:, None] + offset


def glm_visible(glm, sq, sk, align):
    """(batch, 1, sq, sk), by the forks' definitions: c < max(causal limit, p), or in a square of a pair."""
    glm = glm.cpu().long()
    columns, base = torch.arange(sk), causal(sq, sk, align)
    if glm.dim() == 1:
        return (base | (columns < glm[:, None, None]))[:, None]
    rows = (torch.arange(sq) + (sk - sq if align == "bottom_right" else 0))[:, None]
    entries = []
    for starts, ends in glm:
        seen = base.clone()
        for start, end in zip(starts.tolist(), ends.tolist()):
            seen |= (start <= rows) & (rows < end) & (columns < end)
        entries.append(seen)
    return torch.stack(entries)[:, None]


def fa2(q, k, v, visible=None, scale=None, softcap=0.0, alibi=None):
    logits = products(q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    if alibi is not None:
        sq, sk = q.shape[1], k.shape[1]
        distance = (torch.arange(sq)[:, None] + sk - sq - torch.arange(sk)).abs()
        logits = logits - alibi.double().cpu().reshape(-1, q.shape[2], 1, 1) * distance
    out, lse, probs = finish(logits if visible is None else hide(logits, visible), v)
    return out, lse.masked_fill(lse == -math.inf, math.inf), probs


def window(sq, sk, left, right):
    distance = torch.arange(sk) - (torch.arange(sq)[:, None] + sk - sq)
    return (distance >= -left if left >= 0 else torch.tensor(True)) & (
        distance <= right if right >= 0 else torch.tensor(True)
    )


# Module, its alignment, a dense mask argument.
MODULES = {
    "glm": (fa2_glm_mask, "top_left", [3, 17]),
    "pack break": (fa2_pack_glm_mask, "bottom_right", [3, 17]),
    # Nested, unordered, unused: what the fork itself gets wrong.
    "pack pairs": (fa2_pack_glm_mask, "bottom_right", [[[0, 5, -1], [20, 9, -1]], [[14, 2, 3], [20, 6, 3]]]),
    "fa2": (flash_attn, "bottom_right", None),
}


@pytest.fixture(params=MODULES)
def module(request):
    return MODULES[request.param]


def glm_args(calls, glm):
    return {} if glm is None else {"glm_mask": calls.ints(glm)}


@pytest.mark.parametrize("sq, sk", [(21, 21), (13, 21), (21, 13), (1, 21)])
def test_causal_alignment_and_lse(calls, module, sq, sk):
    functions, align, _ = module
    q, k, v = calls.randn(2, sq, H, D), calls.randn(2, sk, HK, D), calls.randn(2, sk, HK, D)
    out, lse, probs = calls.run(functions.flash_attn_func, q, k, v, causal=True, return_attn_probs=True)
    expected = fa2(q, k, v, causal(sq, sk, align))
    calls.close(out, expected[0])
    calls.close(lse, expected[1], "LSE")
    assert out.dtype == q.dtype
    assert (functions is flash_attn and probs.shape == (0,)) or probs is None
    empty = align == "bottom_right" and sq > sk
    assert bool((lse == math.inf).any()) == empty
    assert torch.equal(calls.run(functions.flash_attn_func, q, k, v, causal=True), out)


@pytest.mark.parametrize("sq, sk", [(21, 21), (13, 21), (1, 21)])
def test_glm_mask(calls, module, sq, sk):
    functions, align, glm = module
    if glm is None:
        with pytest.raises(TypeError):
            functions.flash_attn_func(calls.randn(1, 1, 1, 1), None, None, glm_mask=None)
        return
    q, k, v = calls.randn(2, sq, H, D), calls.randn(2, sk, HK, D), calls.randn(2, sk, HK, D)
    glm = calls.ints(glm)
    expected = fa2(q, k, v, glm_visible(glm, sq, sk, align), scale=0.3)[0]
    calls.close(calls.run(functions.flash_attn_func, q, k, v, 0.0, 0.3, True, glm_mask=glm), expected)
    kv = torch.stack([k, v], 2)
    calls.close(calls.run(functions.flash_attn_kvpacked_func, q, kv, 0.0, 0.3, True, glm_mask=glm), expected)
    assert all(shares_memory(view, kv) for view in calls.asked[0][1:3])
    with pytest.raises(InvalidArgument, match="^glm_mask: .*causal"):
        functions.flash_attn_func(q, k, v, glm_mask=glm)


def test_qkvpacked(calls, module):
    functions, align, glm = module
    qkv = calls.randn(2, 21, 3, H, D)
    args = glm_args(calls, glm)
    visible = causal(21, 21, align) if glm is None else glm_visible(args["glm_mask"], 21, 21, align)
    result = calls.run(functions.flash_attn_qkvpacked_func, qkv, 0.0, None, True, return_attn_probs=True, **args)
    for ours, expected, what in zip(result, fa2(*qkv.unbind(2), visible)[:2], ("output", "LSE")):
        calls.close(ours, expected, what)
    assert all(shares_memory(view, qkv) for view in calls.asked[0][:3])


@pytest.mark.parametrize("form", ["func", "kvpacked_func", "qkvpacked_func"])
def test_varlen(calls, module, form):
    functions, align, glm = module
    lengths_q = [5, 0, 21]
    lengths_k = lengths_q if form == "qkvpacked_func" else [9, 4, 21]
    q = calls.randn(26, H, D)
    heads_k = H if form == "qkvpacked_func" else HK
    k, v = calls.randn(sum(lengths_k), heads_k, D), calls.randn(sum(lengths_k), heads_k, D)
    cu_q, cu_k = (calls.ints(boundaries(lengths)) for lengths in (lengths_q, lengths_k))
    if glm is not None:
        last = [4, 0, 17] if isinstance(glm[0], int) else [[[0, 3], [2, 5]], [[-1, 0], [-1, 0]], [[2, 0], [3, 11]]]
        glm = calls.ints(last)
    args = {"causal": True, "return_attn_probs": True, **({} if glm is None else {"glm_mask": glm})}
    function = getattr(functions, f"flash_attn_varlen_{form}")
    if form == "func":
        inputs = (q, k, v, cu_q, cu_k, 24, 22)
    elif form == "kvpacked_func":
        inputs = (q, torch.stack([k, v], 1), cu_q, cu_k, 24, 22)
    else:
        inputs = (torch.stack([q, k, v], 1), cu_q, 24)
    out, lse, _ = calls.run(function, *inputs, **args)
    if form != "func":
        assert all(shares_memory(view, inputs[form == "kvpacked_func"]) for view in calls.asked[0][1:3])
    expected = []
    for b, (sq, sk) in enumerate(zip(lengths_q, lengths_k)):
        rows, keys = slice(sum(lengths_q[:b]), sum(lengths_q[: b + 1])), slice(*boundaries(lengths_k)[b : b + 2])
        visible = causal(sq, sk, align) if glm is None else glm_visible(glm[b : b + 1], sq, sk, align)
        expected.append(fa2(q[None, rows], k[None, keys], v[None, keys], visible))
    calls.close(out, torch.cat([found[0][0] for found in expected]))
    if functions is flash_attn:
        calls.close(lse, torch.cat([found[1][0] for found in expected], 1), "LSE")
        return
    padded = torch.full((3, H, 24), math.inf, dtype=torch.float64)
    for b, found in enumerate(expected):
        padded[b, :, : lengths_q[b]] = found[1][0]
    calls.close(lse, padded, "LSE")


def test_varlen_without_rows(calls, module):
    functions, _, _ = module
    zero = calls.ints([0, 0, 0])
    k = calls.randn(0, HK, D)
    arguments = (calls.randn(0, H, D), k, k, zero, zero, 7, 7)
    out, lse, _ = calls.run(functions.flash_attn_varlen_func, *arguments, return_attn_probs=True)
    assert out.shape == (0, H, D)
    assert lse.shape == ((H, 0) if functions is flash_attn else (2, H, 7)) and bool((lse == math.inf).all())


@pytest.mark.parametrize("varlen", [False, True])
def test_dropout_returns_signed_probabilities(calls, module, varlen):
    functions, _, _ = module
    q, k, v = (calls.randn(2, 130, heads, D) for heads in (H, HK, HK))
    if varlen:
        cu = calls.ints([0, 130, 260])
        inputs = (*(x.reshape(260, -1, D) for x in (q, k, v)), cu, cu, 130, 130)
        function = functions.flash_attn_varlen_func
    else:
        inputs, function = (q, k, v), functions.flash_attn_func
    out, _, probs = calls.run(function, *inputs, dropout_p=1 - KEEP, return_attn_probs=True)
    assert probs.shape == (2, H, 256, 256)
    assert not probs[:, :, 130:].any() and not probs[..., 130:].any()
    probs = probs[:, :, :130, :130]
    calls.close(probs.abs(), fa2(q, k, v)[2], "probabilities")
    calls.close(out.reshape(2, 130, H, D), dropped(probs, v, KEEP))
    assert abs((probs > 0).double().mean() - KEEP) < 0.01


@pytest.mark.parametrize("sides", [(5, 0), (3, 4), (-1, 2), (6, -1)])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("functions", [fa2_pack_glm_mask, flash_attn], ids=["pack", "fa2"])
def test_window(calls, functions, sides, is_causal):
    q, k, v = calls.randn(2, 13, H, D), calls.randn(2, 21, HK, D), calls.randn(2, 21, HK, D)
    visible = window(13, 21, sides[0], 0 if is_causal else sides[1])
    out = calls.run(functions.flash_attn_func, q, k, v, 0.0, None, is_causal, sides)
    calls.close(out, fa2(q, k, v, visible)[0])


def test_window_and_pairs(calls):
    """Pairs raise the right limit, the window sets the left one."""
    q, k, v = calls.randn(1, 21, H, D), calls.randn(1, 21, HK, D), calls.randn(1, 21, HK, D)
    glm = calls.ints([[[0, 12], [9, 20]]])
    visible = glm_visible(glm, 21, 21, "bottom_right") & window(21, 21, 4, -1)
    out = calls.run(fa2_pack_glm_mask.flash_attn_func, q, k, v, 0.0, None, True, (4, 0), glm_mask=glm)
    calls.close(out, fa2(q, k, v, visible)[0])


@pytest.mark.parametrize("by_batch", [False, True])
def test_softcap_and_alibi(calls, by_batch):
    q, k, v = calls.randn(2, 13, H, D), calls.randn(2, 21, HK, D), calls.randn(2, 21, HK, D)
    slopes = torch.rand((2, H) if by_batch else (H,), device=calls.device)
    function = flash_attn.flash_attn_func
    result = calls.run(function, q, k, v, 0.0, None, True, (-1, -1), 1.5, slopes, True, True)
    expected = fa2(q, k, v, causal(13, 21, "bottom_right"), softcap=1.5, alibi=slopes)
    calls.close(result[0], expected[0])
    calls.close(result[1], expected[1], "LSE")


def small():
    return torch.randn(2, 5, H, D), torch.randn(2, 7, HK, D), torch.randn(2, 7, HK, D)


q, k, v = small()
packed_q, cu = torch.randn(10, H, D), torch.tensor([0, 5, 10], dtype=torch.int32)
ints = torch.zeros(2, dtype=torch.int32)
# Name: (function, arguments, keyword arguments, argument at fault, words).
WRONG = {
    "qkv rank": (flash_attn.flash_attn_qkvpacked_func, (q,), {}, "qkv", ["(2, 5, 4, 16)", "(batch, seqlen, 3,"]),
    "kv count": (flash_attn.flash_attn_kvpacked_func, (q, q[:, :, None]), {}, "kv", ["(batch, seqlen, 2,"]),
    "qkv varlen": (flash_attn.flash_attn_varlen_qkvpacked_func, (packed_q, cu, 5), {}, "qkv", ["(total, 3,"]),
    "packed part": (
        flash_attn.flash_attn_qkvpacked_func, (torch.randn(1, 4, 3, 2, 300),), {}, "qkv", ["its q: head_dim is 300"],
    ),
    "heads": (flash_attn.flash_attn_func, (q, k.repeat(1, 1, 3, 1), v), {}, "k", ["heads_k is 6"]),
    "dropout": (flash_attn.flash_attn_func, (q, k, v, 1.0), {}, "dropout_p", ["below 1"]),
    "dropout None": (flash_attn.flash_attn_func, (q, k, v, None), {}, "dropout_p", ["None", "number"]),
    "scale": (flash_attn.flash_attn_func, (q, k, v, 0.0, -1.0), {}, "softmax_scale", ["-1", "finite"]),
    "causal": (flash_attn.flash_attn_func, (q, k, v, 0.0, None, 3), {}, "causal", ["3", "True or False"]),
    "window": (flash_attn.flash_attn_func, (q, k, v), {"window_size": 4}, "window_size", ["(left, right)"]),
    "slopes": (flash_attn.flash_attn_func, (q, k, v), {"alibi_slopes": torch.rand(3)}, "alibi_slopes", ["3", "4"]),
    "deterministic": (flash_attn.flash_attn_func, (q, k, v), {"deterministic": "no"}, "deterministic", ["True or"]),
    "probs": (flash_attn.flash_attn_func, (q, k, v), {"return_attn_probs": 2}, "return_attn_probs", ["True or"]),
    "glm pairs": (
        fa2_glm_mask.flash_attn_func, (q, k, v, 0.0, None, True),
        {"glm_mask": torch.zeros(2, 2, 1, dtype=torch.int32)}, "glm_mask", ["(2, 2, 1)", "(batch,)", "fa2_pack"],
    ),
    "glm int64": (
        fa2_glm_mask.flash_attn_func, (q, k, v, 0.0, None, True), {"glm_mask": ints.long()}, "glm_mask", ["int32"],
    ),
    "glm beyond": (
        fa2_pack_glm_mask.flash_attn_func, (q, k, v, 0.0, None, True), {"glm_mask": ints + 8}, "glm_mask", ["8", "7"],
    ),
    "glm list": (
        fa2_glm_mask.flash_attn_func, (q, k, v, 0.0, None, True), {"glm_mask": [1, 2]}, "glm_mask", ["torch.Tensor"],
    ),
    "cu None": (
        flash_attn.flash_attn_varlen_func, (packed_q,) * 3 + (None, cu, 5, 5), {}, "cu_seqlens_q", ["NoneType"],
    ),
    "cu int64": (
        fa2_glm_mask.flash_attn_varlen_qkvpacked_func, (torch.randn(10, 3, H, D), cu.long(), 5), {}, "cu_seqlens",
        ["int64", "int32"],
    ),
    "cu end": (
        fa2_pack_glm_mask.flash_attn_varlen_func, (packed_q,) * 3 + (cu - 1, cu, 5, 5), {}, "cu_seqlens_q", ["-1"],
    ),
    "max": (
        flash_attn.flash_attn_varlen_func, (packed_q,) * 3 + (cu, cu, 5, "5"), {}, "max_seqlen_k", ["integer"],
    ),
    "max below": (
        flash_attn.flash_attn_varlen_func, (packed_q,) * 3 + (cu, cu, 4, 5), {}, "cu_seqlens_q", ["max_seqlen_q, 4"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_argument(case):
    function, args, kwargs, argument, words = WRONG[case]
    with pytest.raises(InvalidArgument) as raised:
        function(*args, **kwargs)
    assert raised.value.argument == argument
    for word in (f"{argument}: ", *words):
        assert word in str(raised.value)


def test_unsupported():
    with pytest.raises(Unsupported, match="^block_table: .*must be None"):
        flash_attn.flash_attn_varlen_func(*(packed_q,) * 3, cu, cu, 5, 5, block_table=cu)
    for functions in (flash_attn, fa2_glm_mask, fa2_pack_glm_mask):
        qkv = torch.randn(1, 4, 3, 2, 8, requires_grad=True)
        with pytest.raises(Unsupported, match="^qkv: .*requires grad"):
            functions.flash_attn_qkvpacked_func(qkv)
        with torch.no_grad():
            assert not functions.flash_attn_qkvpacked_func(qkv).requires_grad
