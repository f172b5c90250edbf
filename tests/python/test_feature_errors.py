# SPDX-License-Identifier: Apache-2.0
"""Wrong calls with features, from Python: the argument that is named and the words; features that no kernel serves yet;
outputs that stay as they were. Every message of the native checks is in
tests/unit/runtime/FeatureValidationTest.cpp."""

import numpy as np
import pytest
from oracle import Guarded, problem, same_bits
from tilewright import InvalidArgument, Unsupported, flash_attn_func, flash_attn_varlen_func, inspect, reference

B, SQ, SK, H, HK, D, DV = 2, 12, 15, 4, 2, 8, 6


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def ids(*values):
    return np.array([values, values], np.int32)


# Name: (arguments, argument at fault, words of the message).
WRONG = {
    "bias shape": (dict(bias=zeros(B, H, SQ, SQ)), "bias", ["seqlen_k is 12", "1 or 15"]),
    "bias rank": (dict(bias=zeros(SQ, SK)), "bias", ["rank is 2", "(batch, heads, seqlen_q, seqlen_k)"]),
    "bias scalar": (dict(bias=zeros()), "bias", ["rank is 0", "4"]),
    "bias dtype": (dict(bias=zeros(1, 1, 1, SK, dtype=np.float16)), "bias", ["float16", "float32"]),
    "bias bool": (dict(bias=zeros(1, 1, 1, SK, dtype=bool)), "bias", ["bool", "float32"]),
    "bias list": (dict(bias=[[1.0]]), "bias", ["list", "numpy.ndarray"]),
    "mask shape": (dict(attn_mask=zeros(B, 3, 1, SK, dtype=bool)), "attn_mask", ["heads is 3", "1 or 4"]),
    "mask bytes": (dict(attn_mask=zeros(1, 1, 1, SK, dtype=np.uint8)), "attn_mask", ["uint8", "float32 or bool"]),
    "padding dtype": (dict(key_padding_mask=zeros(B, SK)), "key_padding_mask", ["float32", "bool"]),
    "padding bytes": (dict(key_padding_mask=zeros(B, SK, dtype=np.uint8)), "key_padding_mask", ["uint8", "bool"]),
    "padding shape": (dict(key_padding_mask=zeros(B, SQ, dtype=bool)), "key_padding_mask", ["seqlen_k is 12", "15"]),
    "slopes dtype": (dict(alibi_slopes=zeros(H, dtype=np.float64)), "alibi_slopes", ["float64", "float32"]),
    "slopes shape": (dict(alibi_slopes=zeros(HK)), "alibi_slopes", ["heads is 2", "4"]),
    "ids dtype": (dict(document_ids=zeros(B, SK, dtype=np.int64)), "document_ids", ["int64", "int32"]),
    "ids decrease": (dict(document_ids=ids(*[1] * 8, *[0] * 7)), "document_ids", ["position 8", "not decrease"]),
    "ids after padding": (dict(document_ids=ids(*[0] * 7, -1, *[0] * 7)), "document_ids", ["position 8", "the end"]),
    "ids below -1": (dict(document_ids=ids(*[-3] * 15)), "document_ids", ["-3", "-1"]),
    "window int": (dict(window_size=3), "window_size", ["3", "(left, right)"]),
    "window of three": (dict(window_size=(1, 2, 3)), "window_size", ["(1, 2, 3)", "(left, right)"]),
    "window float": (dict(window_size=(1.5, 2)), "window_size", ["1.5", "integers"]),
    "window below": (dict(window_size=(-2, 2)), "window_size", ["(-2, 2)", "at least 0"]),
    "softcap below": (dict(softcap=-1.0), "softcap", ["-1", "positive"]),
    "softcap nan": (dict(softcap=float("nan")), "softcap", ["nan", "finite"]),
    "softcap None": (dict(softcap=None), "softcap", ["None", "number"]),
    "softcap array": (dict(softcap=zeros(2)), "softcap", ["ndarray", "number"]),
    "dropout 1": (dict(dropout_p=1.0), "dropout_p", ["1", "below 1"]),
    "dropout nan": (dict(dropout_p=float("nan")), "dropout_p", ["nan", "below 1"]),
    "dropout bool": (dict(dropout_p=True), "dropout_p", ["True", "number"]),
    "glm without causal": (dict(glm_mask=zeros(B, dtype=np.int32), softcap=1.0), "glm_mask", ["causal"]),
    "q with a feature": (dict(q=zeros(B, SQ, H), softcap=1.0), "q", ["rank is 3", "4"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_argument(case):
    changes, argument, words = WRONG[case]
    q, k, v = problem(1, B, SQ, SK, H, HK, D, DV)
    out = Guarded((B, SQ, H, DV), np.float32)
    args = {"q": q, "k": k, "v": v, **changes}
    for call in (lambda: flash_attn_func(**args, out=out.view), lambda: reference.attention(**args)):
        with pytest.raises(InvalidArgument) as raised:
            call()
        assert raised.value.argument == argument
        for word in (f"{argument}: ", *words):
            assert word in str(raised.value)
    out.assert_untouched()


def test_the_matrix_serves_every_feature():
    """What kernels do not serve is refused by name; the only such rows are of types and passes."""
    refused = {line.split("|")[2].strip() for line in inspect.support_matrix().splitlines() if "| no |" in line}
    assert refused == {"backward", "float32", "float64"}


def varlen():
    q, k, v = (x.reshape(-1, *x.shape[2:]) for x in problem(3, B, SQ, SK, H, HK, D, DV))
    return dict(
        q=q,
        k=k,
        v=v,
        cu_seqlens_q=np.array([0, SQ, 2 * SQ], np.int32),
        cu_seqlens_k=np.array([0, SK, 2 * SK], np.int32),
        max_seqlen_q=SQ,
        max_seqlen_k=SK,
    )


WRONG_VARLEN = {
    "no boundaries": (dict(cu_seqlens_k=None), "cu_seqlens_k", ["None", "(batch + 1,)"]),
    "boundaries list": (dict(cu_seqlens_q=[0, 12, 24]), "cu_seqlens_q", ["list", "numpy.ndarray"]),
    "boundaries int64": (dict(cu_seqlens_q=np.array([0, SQ, 2 * SQ])), "cu_seqlens_q", ["int64", "int32"]),
    "boundaries short": (dict(cu_seqlens_q=np.array([0, SQ, SQ + 1], np.int32)), "cu_seqlens_q", ["13", "total_q, 24"]),
    "q rank": (dict(q=zeros(B, SQ, H, D)), "q", ["rank is 4", "(total_q, heads, head_dim)"]),
    "max below": (dict(max_seqlen_q=SQ - 1), "cu_seqlens_q", ["12 positions", "max_seqlen_q, 11"]),
    "max float": (dict(max_seqlen_k=15.0), "max_seqlen_k", ["float", "integer"]),
    "max None": (dict(max_seqlen_k=None), "max_seqlen_k", ["NoneType", "integer"]),
    "used": (dict(seqused_k=np.array([16, 0], np.int32)), "seqused_k", ["16", "[0, 15]"]),
    "out": (dict(out=zeros(2 * SQ, H, D)), "out", ["head_dim_v is 8", "6"]),
}


@pytest.mark.parametrize("case", WRONG_VARLEN)
def test_wrong_varlen_argument(case):
    changes, argument, words = WRONG_VARLEN[case]
    with pytest.raises(InvalidArgument) as raised:
        flash_attn_varlen_func(**{**varlen(), **changes})
    assert raised.value.argument == argument
    for word in (f"{argument}: ", *words):
        assert word in str(raised.value)


def test_features_that_are_off():
    """Given, but without effect: the plain call."""
    q, k, v = problem(4, B, SQ, SK, H, HK, D, DV)
    plain = flash_attn_func(q, k, v)
    for args in (
        dict(window_size=(-1, -1)),
        dict(window_size=[-1, -1]),
        dict(window_size=(2**62, -1)),
        dict(softcap=0),
        dict(softcap=np.float32(0)),
        dict(dropout_p=0.0),
        dict(rng=(1, 2)),
        dict(return_attn_probs=np.bool_(False)),
    ):
        assert same_bits(flash_attn_func(q, k, v, **args), plain)
    causal = flash_attn_func(q, k, v, causal=True)
    assert same_bits(flash_attn_func(q, k, v, window_size=(-1, 0)), causal)
    assert same_bits(flash_attn_func(q, k, v, causal=True, window_size=(-1, 5)), causal)


def test_bias_that_requires_grad(torch):
    q, k, v = map(torch.from_numpy, problem(5, B, SQ, SK, H, HK, D, DV))
    for name in ("bias", "attn_mask"):
        with pytest.raises(Unsupported, match=f"^{name}: requires grad"):
            flash_attn_func(q, k, v, **{name: torch.zeros(1, 1, 1, SK, requires_grad=True)})
