# SPDX-License-Identifier: Apache-2.0
"""The FlashAttention 1 fork with additive mask and bias: ``softmax_scale * (q @ k.T + mask + bias)`` sequence by
sequence, what it returns, and where it is right and the fork is not."""

import math

import pytest
from compat_support import boundaries, calls, ceil, dropped, finish, hide, products, shares_memory, torch

from tilewright import InvalidArgument, Unsupported
from tilewright.compat import flash_attn_1

__all__ = ["calls"]  # a fixture

H = 3
LENGTHS_Q, LENGTHS_K = [5, 0, 21, 9], [9, 4, 17, 9]
MAX_Q, MAX_K = 21, 18


def fork(q, k, v, lengths_q, lengths_k, scale, causal=False, mask=None, bias=None):
    """(output, LSE, probabilities) of each sequence."""
    results = []
    rows, keys = boundaries(lengths_q), boundaries(lengths_k)
    for b, (sq, sk) in enumerate(zip(lengths_q, lengths_k)):
        one_q = q[None, rows[b] : rows[b + 1]]
        one_k, one_v = (x[None, keys[b] : keys[b + 1]] for x in (k, v))
        scores = products(one_q, one_k)
        for tensor in (mask, bias):
            if tensor is not None:
                entry = tensor[b % tensor.shape[0]].double().cpu()
                scores = scores + entry[:, : sq if entry.shape[1] > 1 else 1, :sk]
        scores = torch.where(scores == -math.inf, -math.inf, scores * scale)
        if causal:
            scores = hide(scores, torch.arange(sk) <= torch.arange(sq)[:, None])
        results.append(finish(scores, one_v))
    return results


def inputs(calls, dim=16):
    q = calls.randn(sum(LENGTHS_Q), H, dim)
    k, v = (calls.randn(sum(LENGTHS_K), H, dim) for _ in range(2))
    return q, k, v, calls.ints(boundaries(LENGTHS_Q)), calls.ints(boundaries(LENGTHS_K)), MAX_Q, MAX_K


def check(calls, result, expected, lengths_q=LENGTHS_Q, max_q=MAX_Q, max_k=MAX_K, block=128):
    out, lse, probs = result
    calls.close(out, torch.cat([found[0][0] for found in expected]))
    rows, batch = ceil(max_q, 16), len(lengths_q)
    padded = torch.full((batch, H, rows), -math.inf, dtype=torch.float64)
    full = torch.zeros(batch, H, rows, block, dtype=torch.float64)
    for b, found in enumerate(expected):
        sq, sk = found[2].shape[2:]
        padded[b, :, :sq], full[b, :, :sq, :sk] = found[1][0], found[2][0]
    calls.close(lse, padded, "LSE")
    calls.close(probs, full, "S_dmask")


# Shapes of mask and bias; batch 2 is a divisor of the 4 sequences.
ADDENDS = {
    "none": (None, None),
    "mask": ((4, H, MAX_Q, MAX_K), None),
    "mask of one row": ((4, 1, 1, MAX_K), None),
    "bias": (None, (4, H, MAX_Q, MAX_K)),
    "bias of one entry": (None, (1, H, MAX_Q, MAX_K)),
    "bias of two entries": (None, (2, H, MAX_Q, MAX_K)),
    "both": ((4, 1, MAX_Q, MAX_K), (2, H, MAX_Q, MAX_K)),
    "longer": ((4, 1, 1, MAX_K + 5), (1, H, MAX_Q + 3, MAX_K + 1)),
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dim, scale", [(16, None), (24, None), (16, 1.0), (16, 0.0), (16, 2.0)])
@pytest.mark.parametrize("case", ADDENDS)
def test_formula(calls, case, dim, scale, causal):
    """Scales that are and are not powers of two; mask and bias by the position in each sequence."""
    mask, bias = (None if shape is None else calls.randn(*shape) for shape in ADDENDS[case])
    arguments = inputs(calls, dim)
    function = flash_attn_1.flash_attn_unpadded_func
    result = calls.run(function, *arguments, 0.0, scale, causal, True, mask, bias)
    factor = dim**-0.5 if scale is None else scale
    check(calls, result, fork(*arguments[:3], LENGTHS_Q, LENGTHS_K, factor, causal, mask, bias))


@pytest.mark.parametrize("scale", [None, 0.0, 1.0])
def test_hidden_by_infinities(calls, scale):
    """A first block of keys, and whole rows: NaN in the fork. And rows of one finite value: the softmax of the rest."""
    mask = torch.zeros(4, 1, MAX_Q, MAX_K)
    mask[:, :, :, :3] = -math.inf
    mask[:, :, 2] = -math.inf
    mask[:, :, 4] = -60000.0
    mask = mask.to(calls.device)
    arguments = inputs(calls)
    out, lse, probs = calls.run(
        flash_attn_1.flash_attn_unpadded_func, *arguments, 0.0, scale, False, True, attn_mask=mask
    )
    assert not bool(torch.isnan(out).any() or torch.isnan(lse).any())
    assert not out[2].any() and bool((lse[0, :, 2] == -math.inf).all())
    expected = fork(*arguments[:3], LENGTHS_Q, LENGTHS_K, 0.25 if scale is None else scale, mask=mask)
    if calls.kind == "reference":
        check(calls, (out, lse, probs), expected)
    else:  # a float32 near 60000 is right to 2**-8 only
        torch.testing.assert_close(out[:2].double().cpu(), expected[0][0][0, :2], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("form", ["kvpacked", "qkvpacked", "legacy"])
def test_packed(calls, form):
    q = calls.randn(sum(LENGTHS_Q), H, 16)
    k, v = (calls.randn(sum(LENGTHS_Q), H, 16) for _ in range(2))
    cu, mask = calls.ints(boundaries(LENGTHS_Q)), calls.randn(4, 1, 1, MAX_Q)
    kv, qkv = torch.stack([k, v], 1), torch.stack([q, k, v], 1)
    rest = {"return_attn_probs": True, "attn_mask": mask}
    if form == "kvpacked":
        function, packed = flash_attn_1.flash_attn_unpadded_kvpacked_func, kv
        result = calls.run(function, q, kv, cu, cu, MAX_Q, MAX_Q, 0.0, **rest)
    elif form == "qkvpacked":
        function, packed = flash_attn_1.flash_attn_unpadded_qkvpacked_func, qkv
        result = calls.run(function, qkv, cu, MAX_Q, 0.0, **rest)
    else:
        packed = qkv
        result = calls.run(flash_attn_1.flash_attn_func, qkv, cu, 0.0, MAX_Q, **rest)
    assert all(shares_memory(view, packed) for view in calls.asked[0][1:3])
    check(calls, result, fork(q, k, v, LENGTHS_Q, LENGTHS_Q, 0.25, mask=mask))
    assert len(calls.asked) == 1


def test_split(calls):
    """One launch; every sequence has its own mask; probabilities in two parts of their own lengths."""
    lengths = [5, 3, 140, 9]
    qkv = calls.randn(sum(lengths), 3, H, 16)
    mask = calls.randn(4, 1, 140, 140)
    function = flash_attn_1.flash_attn_unpadded_qkvpacked_split_func
    arguments = (qkv, calls.ints(boundaries(lengths)), 6, 140, 2, 0.0, None, True)
    out, lse, first, second = calls.run(function, *arguments, return_attn_probs=True, attn_mask=mask)
    assert len(calls.asked) == 1
    expected = fork(*qkv.unbind(1), lengths, lengths, 0.25, True, mask)
    assert first.shape == (2, H, 16, 128) and second.shape == (2, H, 144, 256)
    joined = torch.zeros(4, H, 144, 256, dtype=second.dtype, device=second.device)
    joined[:2, :, :16, :128], joined[2:] = first, second
    check(calls, (out, lse, joined), expected, lengths, 140, 140, 256)


ROUNDED = [(16, 100, 128), (16, 130, 256), (16, 260, 512), (72, 130, 256), (72, 260, 384)]


@pytest.mark.parametrize("dim, keys, columns", ROUNDED)
def test_probabilities_are_rounded_up_as_in_the_fork(calls, dim, keys, columns):
    q, k = calls.randn(4, H, dim), calls.randn(keys, H, dim)
    function = flash_attn_1.flash_attn_unpadded_func
    arguments = (q, k, k, calls.ints([0, 4]), calls.ints([0, keys]), 4, keys, 0.0)
    _, lse, probs = calls.run(function, *arguments, return_attn_probs=True)
    assert probs.shape == (1, H, 16, columns) and lse.shape == (1, H, 16)


def test_dropout(calls):
    q, k, v = (calls.randn(120, H, 16) for _ in range(3))
    cu = calls.ints([0, 60, 120])
    function = flash_attn_1.flash_attn_unpadded_func
    out, _, probs = calls.run(function, q, k, v, cu, cu, 60, 60, 0.25, return_attn_probs=True)
    calls.close(out.reshape(2, 60, H, 16), dropped(probs[:, :, :60, :60], v.reshape(2, 60, H, 16), 0.75))
    assert abs((probs[:, :, :60, :60] > 0).double().mean() - 0.75) < 0.03


def test_what_is_copied(calls):
    """The scaled tensors keep broadcast dimensions, and the narrow type where that is exact; scale 1 copies nothing."""
    if calls.kind != "reference":
        pytest.skip("about what the library is asked, which is the same on each backend")
    cu = calls.ints([0, 8, 16])
    q = torch.randn(16, H, 16, dtype=torch.float16)
    bias = torch.randn(1, 1, 8, 8, dtype=torch.float16).expand(2, H, 8, 8)
    function = flash_attn_1.flash_attn_unpadded_func
    for scale, dtype in ((0.25, torch.float16), (0.3, torch.float32), (4.0, torch.float32), (1.0, torch.float16)):
        calls.run(function, q, q, q, cu, cu, 8, 8, 0.0, scale, attn_bias=bias)
        passed = calls.asked[0][3]["bias"]
        assert passed.dtype == dtype and passed.numel() == 64
        assert shares_memory(passed, bias) == (scale == 1.0)


q = torch.randn(10, H, 16)
cu = torch.tensor([0, 5, 10], dtype=torch.int32)
plain = (q, q, q, cu, cu, 5, 5, 0.0)
qkv = torch.randn(10, 3, H, 16)
unpadded, split = flash_attn_1.flash_attn_unpadded_func, flash_attn_1.flash_attn_unpadded_qkvpacked_split_func
WRONG = {
    "mask batch": (unpadded, plain, {"attn_mask": torch.zeros(3, 1, 1, 5)}, "attn_mask", ["3", "divide", "2"]),
    "mask heads": (unpadded, plain, {"attn_mask": torch.zeros(2, 2, 1, 5)}, "attn_mask", ["heads is 2", "1 or 3"]),
    "bias rows": (unpadded, plain, {"attn_bias": torch.zeros(2, 3, 4, 5)}, "attn_bias", ["seqlen_q is 4", "5 or more"]),
    "bias keys": (unpadded, plain, {"attn_bias": torch.zeros(1, 3, 5, 4)}, "attn_bias", ["seqlen_k is 4", "1 or 5"]),
    "bias rank": (unpadded, plain, {"attn_bias": torch.zeros(5, 5)}, "attn_bias", ["rank is 2", "4"]),
    "bias bool": (unpadded, plain, {"attn_bias": torch.ones(1, 1, 5, 5) > 0}, "attn_bias", ["bool", "float32"]),
    "bias half": (unpadded, plain, {"attn_bias": torch.zeros(1, 1, 5, 5).half()}, "attn_bias", ["float16", "float32"]),
    "bias list": (unpadded, plain, {"attn_bias": [[1.0]]}, "attn_bias", ["list", "torch.Tensor"]),
    "grouped": (unpadded, (q, q[:, :1], q[:, :1], *plain[3:]), {}, "k", ["heads is 1", "3", "grouped"]),
    "dropout": (unpadded, (*plain[:7], 1.0), {}, "dropout_p", ["below 1"]),
    "scale": (unpadded, (*plain, -0.5), {}, "softmax_scale", ["-0.5", "finite"]),
    "scale nan": (unpadded, (*plain, math.nan), {}, "softmax_scale", ["nan", "finite"]),
    "max": (unpadded, (*plain[:5], 5.0, 5, 0.0), {}, "max_seqlen_q", ["float", "integer"]),
    "max_s": (flash_attn_1.flash_attn_func, (qkv, cu, 0.0, 5.5), {}, "max_s", ["float", "integer"]),
    "cu rank": (unpadded, (q, q, q, cu[None], cu, 5, 5, 0.0), {}, "cu_seqlens_q", ["(1, 3)", "(batch + 1,)"]),
    "cu one": (flash_attn_1.flash_attn_func, (qkv, cu + 1, 0.0, 5), {}, "cu_seqlens", ["0"]),
    "split": (split, (qkv, cu, 5, 5, 3, 0.0), {}, "batch_size0", ["3", "at most", "2"]),
    "split below": (split, (qkv, cu, 5, 5, -1, 0.0), {}, "batch_size0", ["-1", "0"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_argument(case):
    function, args, kwargs, argument, words = WRONG[case]
    with pytest.raises(InvalidArgument) as raised:
        function(*args, **kwargs)
    assert raised.value.argument == argument
    for word in (f"{argument}: ", *words):
        assert word in str(raised.value)


def test_gradients_are_not_there_yet():
    with pytest.raises(Unsupported, match="^qkv: its q: requires grad"):
        flash_attn_1.flash_attn_func(qkv.clone().requires_grad_(), cu, 0.0, 5)
    for scale in (None, 1.0):
        bias = torch.zeros(1, H, 5, 5, requires_grad=True)
        with pytest.raises(Unsupported, match="^attn_bias: requires grad"):
            unpadded(*plain, scale, attn_bias=bias)
