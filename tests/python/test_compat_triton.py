# SPDX-License-Identifier: Apache-2.0
"""The functions and classes of flash_attn_triton.py: ``softmax_scale * q @ k.T + bias``, top left."""

import math

import pytest
from compat_support import calls, finish, hide, products, shares_memory, torch

from tilewright import InvalidArgument, Unsupported
from tilewright.compat import triton_flash_attention as triton

__all__ = ["calls"]  # a fixture

H, D = 3, 16
BIASES = {"none": None, "vector": (1, H, 1), "matrix": (2, 1, 13), "full": (2, H, 13)}


def expected(q, k, v, bias, causal, scale):
    logits = products(q, k) * scale
    if bias is not None:
        logits = logits + bias.double().cpu()
    if causal:
        logits = hide(logits, torch.arange(k.shape[1]) <= torch.arange(q.shape[1])[:, None])
    return finish(logits, v)


@pytest.mark.parametrize("scale", [None, 0.0, 0.7])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", BIASES)
def test_three_forms(calls, kind, causal, scale):
    """Explicit 0 is 0: the original takes it for None."""
    keys = 13 if kind in ("matrix", "full") else 20
    q, k, v = calls.randn(2, 13, H, D), calls.randn(2, keys, H, D), calls.randn(2, keys, H, D)
    bias = None if BIASES[kind] is None else calls.randn(*BIASES[kind], keys)
    used = D**-0.5 if scale is None else scale
    out, lse, _ = expected(q, k, v, bias, causal, used)
    calls.close(calls.run(triton.flash_attn_func, q, k, v, bias, causal, scale), out)
    kv = torch.stack([k, v], 2)
    calls.close(calls.run(triton.FlashAttnKVPackedFunc.apply, q, kv, bias, causal, scale), out)
    assert all(shares_memory(view, kv) for view in calls.asked[0][1:3])
    if keys == 13:
        qkv = torch.stack([q, k, v], 2)
        calls.close(calls.run(triton.flash_attn_qkvpacked_func, qkv, bias, causal, scale), out)
        assert all(shares_memory(view, qkv) for view in calls.asked[0][:3])
    ours, padded, returned = calls.run(triton._flash_attn_forward, q, k, v, bias, causal, scale)
    calls.close(ours, out)
    assert returned == used and padded.shape == (2, H, 128)
    calls.close(padded[..., :13], lse, "LSE")
    assert bool((padded[..., 13:] == -math.inf).all())


def test_rows_of_infinities_are_zero(calls):
    q, k, v = (calls.randn(1, 9, H, D) for _ in range(3))
    bias = torch.zeros(1, 1, 9, 9, device=calls.device)
    bias[0, 0, 4] = -math.inf
    out = calls.run(triton.flash_attn_func, q, k, v, bias.transpose(2, 3).contiguous().transpose(2, 3))
    calls.close(out, expected(q, k, v, bias, False, D**-0.5)[0])
    assert not out[0, 4].any() and not bool(torch.isnan(out).any())


q = torch.randn(2, 5, H, D)
k = torch.randn(2, 7, H, D)
WRONG = {
    "bias keys": ((q, k, k, torch.zeros(1, 1, 5, 1)), "bias", ["(5, 1)", "(1, 7) or (5, 7)"]),
    "bias rows": ((q, k, k, torch.zeros(1, 1, 4, 7)), "bias", ["(4, 7)", "(1, 7) or (5, 7)"]),
    "bias rank": ((q, k, k, torch.zeros(5, 7)), "bias", ["rank is 2", "4"]),
    "bias heads": ((q, k, k, torch.zeros(1, 2, 5, 7)), "bias", ["heads is 2", "1 or 3"]),
    "bias dtype": ((q, k, k, torch.zeros(1, 1, 5, 7).half()), "bias", ["float16", "float32"]),
    "bias list": ((q, k, k, [0.0]), "bias", ["list", "torch.Tensor"]),
    "grouped": ((q, k[:, :, :1], k[:, :, :1]), "k", ["heads is 1", "3", "grouped"]),
    "causal": ((q, k, k, None, "yes"), "causal", ["yes", "True or False"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_argument(case):
    args, argument, words = WRONG[case]
    for function in (triton.flash_attn_func, triton._flash_attn_forward):
        with pytest.raises(InvalidArgument) as raised:
            function(*args)
        assert raised.value.argument == argument
        for word in (f"{argument}: ", *words):
            assert word in str(raised.value)


def test_positional_only():
    with pytest.raises(TypeError):
        triton.flash_attn_func(q, k, k, causal=True)


def test_gradients_are_not_there_yet():
    with pytest.raises(Unsupported, match="^q: requires grad"):
        triton.flash_attn_func(q.clone().requires_grad_(), k, k)
    with pytest.raises(Unsupported, match="^bias: requires grad"):
        triton.FlashAttnFunc.apply(q, k, k, torch.zeros(1, 1, 5, 7, requires_grad=True))
    with pytest.raises(Unsupported, match="^kv: requires grad"):
        triton.flash_attn_kvpacked_func(q, torch.stack([k, k], 2).requires_grad_())
    with pytest.raises(Unsupported, match="no backward pass yet"):
        triton.FlashAttnFunc.backward(None, q)
    with torch.no_grad():
        assert triton.flash_attn_func(q.clone().requires_grad_(), k, k).shape == q.shape
