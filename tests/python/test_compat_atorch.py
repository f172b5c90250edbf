# SPDX-License-Identifier: Apache-2.0
"""ATorch's helpers and FlashAttnModule. What a key padding mask gives is computed here as the original does: tokens are
packed together, attended to, and put back between zeros."""

import math

import pytest
from compat_support import calls, finish, hide, products, torch

from tilewright import InvalidArgument, Unsupported
from tilewright.compat import atorch

__all__ = ["calls"]  # a fixture

H, HK, D = 4, 2, 16


def limits(rows, keys):
    return torch.arange(keys) <= torch.arange(rows)[:, None] + keys - rows


def packed_attention(q, k, v, mask, causal=False, glm=None):
    """By the original's rules: unpad, attend, pad."""
    out = torch.zeros(*q.shape, dtype=torch.float64)
    for b in range(len(q)):
        real = mask[b].bool().cpu()
        rows = real if q.shape[1] > 1 else real[-1:]
        one_q, one_k, one_v = (x[b : b + 1].cpu()[:, use] for x, use in ((q, rows), (k, real), (v, real)))
        seen = torch.ones(one_q.shape[1], one_k.shape[1], dtype=torch.bool)
        if causal and q.shape[1] > 1:
            seen = limits(*seen.shape)
            columns = torch.arange(seen.shape[1])
            if glm is not None and glm.dim() == 1:
                seen = seen | (columns < int(glm[b]))
            elif glm is not None:
                for start, end in glm[b].T.tolist():
                    inside = (columns >= start) & (columns < end)
                    seen = seen | (inside[:, None] & (columns < end))
        out[b, rows] = finish(hide(products(one_q, one_k), seen) * D**-0.5, one_v)[0][0]
    return out


def padding(calls, kind, batch=3, keys=21):
    mask = torch.ones(batch, keys, dtype=torch.bool)
    if kind == "right":
        mask[0, 13:] = mask[1, 1:] = False
    elif kind == "left":
        mask[0, :8] = mask[1, :20] = False
    elif kind == "any":
        mask = torch.rand(batch, keys) < 0.6
        mask[1] = False
    return mask.to(calls.device)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["full", "right", "left", "any"])
def test_key_padding(calls, kind, causal, dtype):
    q, k, v = calls.randn(3, 21, H, D), calls.randn(3, 21, HK, D), calls.randn(3, 21, HK, D)
    mask = padding(calls, kind)
    out = calls.run(atorch.FlashAttnModule(causal), q, k, v, mask.to(dtype))
    calls.close(out, packed_attention(q, k, v, mask, causal))
    assert len(calls.asked) == 1


@pytest.mark.parametrize("kind", ["full", "right", "left", "any"])
@pytest.mark.parametrize("glm", [[4, 0, 21], [[[2, 9], [7, 20]], [[0, -1], [1, -1]], [[5, 6], [15, 9]]]])
def test_glm_mask_counts_real_tokens(calls, kind, glm):
    q, k, v = calls.randn(3, 21, H, D), calls.randn(3, 21, HK, D), calls.randn(3, 21, HK, D)
    mask, glm = padding(calls, kind), calls.ints(glm)
    out = calls.run(atorch.FlashAttnModule(True), q, k, v, mask, glm)
    calls.close(out, packed_attention(q, k, v, mask, True, glm.cpu()))


@pytest.mark.parametrize("kind", ["right", "left", "any"])
@pytest.mark.parametrize("causal", [False, True])
def test_decoding(calls, kind, causal):
    """One row sees every real key; it is 0 where the last position is padded. A GLM mask changes nothing."""
    q, k, v = calls.randn(3, 1, H, D), calls.randn(3, 21, HK, D), calls.randn(3, 21, HK, D)
    mask, module = padding(calls, kind), atorch.FlashAttnModule(causal)
    calls.close(calls.run(module, q, k, v), packed_attention(q, k, v, torch.ones(3, 21)))
    if causal:
        glm = calls.ints([3, 0, 21])
        calls.close(calls.run(module, q, k, v, None, glm), packed_attention(q, k, v, torch.ones(3, 21)))
    calls.close(calls.run(module, q, k, v, mask), packed_attention(q, k, v, mask))


@pytest.mark.parametrize("causal", [False, True])
def test_lengths_in_the_mask_isolate_samples(calls, causal):
    q, k, v = calls.randn(2, 12, H, D), calls.randn(2, 12, HK, D), calls.randn(2, 12, HK, D)
    lengths = [[5, 0, 4], [12]]
    mask = torch.zeros(2, 12, dtype=torch.int64)
    for row, values in zip(mask, lengths):
        row[: len(values)] = torch.tensor(values)
    expected = torch.zeros(2, 12, H, D, dtype=torch.float64)
    for b, values in enumerate(lengths):
        start = 0
        for length in values:
            one = (x[b : b + 1, start : start + length] for x in (q, k, v))
            expected[b, start : start + length] = packed_attention(*one, torch.ones(1, length), causal)[0]
            start += length
    out = calls.run(atorch.FlashAttnModule(causal), q, k, v, mask.to(calls.device))
    calls.close(out, expected)


def test_masks_that_may_not_be_looked_at():
    """On a device nothing waits for values: documents stand for plain padding and for lengths, as if looked at."""
    lengths = torch.tensor([[3, 0, 4, 0, 0, 0, 0, 0], [8, 0, 0, 0, 0, 0, 0, 0], [0] * 8])
    valid, ids = atorch._tokens(lengths, False)
    assert ids.dtype == torch.int32
    assert ids.tolist() == [[0, 0, 0, 2, 2, 2, 2, -1], [0] * 8, [-1] * 8]
    assert valid.tolist() == [[True] * 7 + [False], [True] * 8, [False] * 8]
    looked = atorch._tokens(lengths, True)
    assert torch.equal(looked[0], valid) and torch.equal(looked[1], ids)
    plain = torch.tensor([[0, 1, 1, 0, 1]])
    valid, ids = atorch._tokens(plain, False)
    assert torch.equal(valid, plain.bool()) and ids.tolist() == [[0] * 5]
    assert atorch._tokens(plain, True)[1] is None and atorch._tokens(plain.bool(), False)[1] is None


@pytest.mark.parametrize("given", ["mask", "bias", "both"])
@pytest.mark.parametrize("rows, keys", [(13, 21), (21, 21)])
def test_additive(calls, given, rows, keys):
    """The fork's formula: mask and bias are scaled. Odd lengths need no padding."""
    q, k, v = calls.randn(2, rows, H, D), calls.randn(2, keys, H, D), calls.randn(2, keys, H, D)
    mask = -60.0 * (torch.rand(2, 1, rows, keys) < 0.3).to(calls.device) if given != "bias" else None
    bias = calls.randn(1, H, rows, keys) if given != "mask" else None
    scores = products(q, k)
    for tensor in (mask, bias):
        scores = scores if tensor is None else scores + tensor.double().cpu()
    expected = finish(scores * D**-0.5, v)[0]
    calls.close(calls.run(atorch.flash_attn_with_mask_bias, q, k, v, mask, bias), expected)
    module = atorch.FlashAttnModule(use_fa3=True).eval()
    calls.close(calls.run(module, q, k, v, additive_mask=mask, additive_bias=bias), expected)
    causal = hide(scores * D**-0.5, torch.arange(keys) <= torch.arange(rows)[:, None])
    out = calls.run(atorch.flash_attn_with_mask_bias, q, k, v, mask, bias, causal=True)
    calls.close(out, finish(causal, v)[0])


def test_odd_keys_without_a_mask(calls):
    """Where the original adds a key of zeros to the softmax."""
    q, k, v = (calls.randn(1, 5, H, D) for _ in range(3))
    expected = finish(products(q, k) * D**-0.5, v)[0]
    calls.close(calls.run(atorch.flash_attn_with_mask_bias, q, k, v), expected)


def test_fa2_with_glm_mask(calls):
    q, k, v = calls.randn(2, 13, H, D), calls.randn(2, 21, HK, D), calls.randn(2, 21, HK, D)
    seen = limits(13, 21) | (torch.arange(21) < torch.tensor([3, 17])[:, None, None])
    expected = finish(hide(products(q, k) * D**-0.5, seen[:, None]), v)[0]
    calls.close(calls.run(atorch.fa2_with_glm_mask, q, k, v, calls.ints([3, 17])), expected)


def test_dropout_only_in_training(calls):
    q, k, v = (calls.randn(1, 64, H, D) for _ in range(3))
    module = atorch.FlashAttnModule(attention_dropout=0.5)
    expected = packed_attention(q, k, v, torch.ones(1, 64))
    calls.close(calls.run(module.eval(), q, k, v), expected)
    out = calls.run(module.train(), q, k, v)
    assert calls.asked[0][3]["dropout_p"] == 0.5
    assert (out.double().cpu() - expected).abs().max() > 0.05


q = torch.randn(2, 7, H, D)
k = torch.randn(2, 9, H, D)
mask, glm = torch.ones(2, 7, dtype=torch.bool), torch.zeros(2, dtype=torch.int32)
addend = torch.zeros(2, 1, 1, 7)
causal_module, module = atorch.FlashAttnModule(True), atorch.FlashAttnModule()
with_addends = atorch.flash_attn_with_mask_bias
WRONG = {
    "lengths": (causal_module, (q, k, k), {}, "q", ["seqlen_q is 7", "9", "or 1"]),
    "padded lengths": (module, (q, k, k, torch.ones(2, 9)), {}, "q", ["seqlen_q is 7", "9"]),
    "padding shape": (module, (q, q, q, mask[:, :6]), {}, "key_padding_mask", ["(2, 6)", "(2, 7)"]),
    "padding list": (module, (q, q, q, [1]), {}, "key_padding_mask", ["list"]),
    "padding sum": (module, (q, q, q, mask.int() * 2), {}, "key_padding_mask", ["lengths", "[0, 7]"]),
    "glm": (module, (q, q, q, None, glm), {}, "glm_mask", ["causal=True"]),
    "glm dtype": (causal_module, (q, q, q, mask, glm.long()), {}, "glm_mask", ["int64", "int32"]),
    "glm beyond": (causal_module, (q, q, q, mask, glm + 8), {}, "glm_mask", ["[-1, 7]"]),
    "glm break below": (causal_module, (q, q, q, mask, glm - 1), {}, "glm_mask", ["-1"]),
    "mask causal": (causal_module, (q, q, q), {"additive_mask": addend}, "additive_mask", ["None", "causal=True"]),
    "bias padded": (module, (q, q, q, mask), {"additive_bias": addend}, "additive_bias", ["None", "key_padding_mask"]),
    "mask shape": (module, (q, q, q), {"additive_mask": addend[..., :5]}, "additive_mask", ["seqlen_k is 5", "7"]),
    "bias batch": (with_addends, (q, q, q), {"bias": torch.zeros(3, 1, 1, 7)}, "bias", ["3", "divide", "2"]),
    "grouped": (with_addends, (q, q[:, :, :1], q[:, :, :1]), {}, "k", ["heads is 1", "4"]),
    "rank": (module, (q[0], q, q), {}, "q", ["rank is 3", "4"]),
    "array": (module, (q.numpy(), q, q), {}, "q", ["ndarray", "torch.Tensor"]),
    "glm helper": (atorch.fa2_with_glm_mask, (q, q, q, glm), {"causal": False}, "glm_mask", ["causal"]),
    "dropout": (atorch.FlashAttnModule(attention_dropout=1.5), (q, q, q), {}, "dropout_p", ["1.5", "below 1"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_argument(case):
    function, args, kwargs, argument, words = WRONG[case]
    with pytest.raises(InvalidArgument) as raised:
        function(*args, **kwargs)
    assert raised.value.argument == argument
    for word in (f"{argument}: ", *words):
        assert word in str(raised.value)


def test_wrong_constructor():
    with pytest.raises(InvalidArgument, match="^causal: "):
        atorch.FlashAttnModule("yes")
    with pytest.raises(InvalidArgument, match="^use_fa3: "):
        atorch.FlashAttnModule(use_fa3=2)


def test_gradients_are_not_there_yet():
    with pytest.raises(Unsupported, match="^k: requires grad"):
        module(q, q.clone().requires_grad_(), q)
    with pytest.raises(Unsupported, match="^additive_bias: requires grad"):
        module(q, q, q, additive_bias=torch.zeros(1, H, 7, 7, requires_grad=True))


def test_infinities_are_finite_results(calls):
    q, k, v = (calls.randn(1, 6, H, D) for _ in range(3))
    hidden = torch.zeros(1, 1, 6, 6, device=calls.device)
    hidden[0, 0, 2] = -math.inf
    out = calls.run(atorch.flash_attn_with_mask_bias, q, k, v, hidden)
    assert not out[0, 2].any() and not bool(torch.isnan(out).any())
