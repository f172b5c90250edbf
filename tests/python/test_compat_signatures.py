# SPDX-License-Identifier: Apache-2.0
"""The drop-in functions have the originals' names, argument names, order and defaults."""

import inspect
import re

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from tilewright import InvalidArgument, TilewrightError, Unsupported  # noqa: E402
from tilewright.compat import _backend, atorch, fa2_glm_mask, fa2_pack_glm_mask  # noqa: E402
from tilewright.compat import flash_attn, flash_attn_1, triton_flash_attention  # noqa: E402

LENGTHS = "cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k"
FA1 = "softmax_scale=None, causal=False, return_attn_probs=False, attn_mask=None, attn_bias=None"
GLM = "dropout_p=0.0, softmax_scale=None, causal=False, return_attn_probs=False, glm_mask=None"
PACK = (
    "dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), return_attn_probs=False, glm_mask=None"
)
FA2 = (
    "dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None, "
    "deterministic=False, return_attn_probs=False"
)
CACHE = (
    "q, k_cache, v_cache, k=None, v=None, rotary_cos=None, rotary_sin=None, cache_seqlens=None, cache_batch_idx=None"
)


def fa2_functions(rest):
    return {
        "flash_attn_qkvpacked_func": f"qkv, {rest}",
        "flash_attn_kvpacked_func": f"q, kv, {rest}",
        "flash_attn_func": f"q, k, v, {rest}",
        "flash_attn_varlen_qkvpacked_func": f"qkv, cu_seqlens, max_seqlen, {rest}",
        "flash_attn_varlen_kvpacked_func": f"q, kv, {LENGTHS}, {rest}",
        "flash_attn_varlen_func": f"q, k, v, {LENGTHS}, {rest}",
    }


SIGNATURES = {
    flash_attn_1: {
        "flash_attn_unpadded_qkvpacked_func": f"qkv, cu_seqlens, max_seqlen, dropout_p, {FA1}",
        "flash_attn_unpadded_kvpacked_func": f"q, kv, {LENGTHS}, dropout_p, {FA1}",
        "flash_attn_unpadded_func": f"q, k, v, {LENGTHS}, dropout_p, {FA1}",
        "flash_attn_unpadded_qkvpacked_split_func": (
            f"qkv, cu_seqlens, max_seqlen0, max_seqlen1, batch_size0, dropout_p, {FA1}"
        ),
        "flash_attn_func": f"qkv, cu_seqlens, dropout_p, max_s, {FA1}",
    },
    fa2_glm_mask: {
        **fa2_functions(GLM),
        "flash_attn_unpadded_qkvpacked_func": f"qkv, cu_seqlens, max_seqlen, {GLM}",
        "flash_attn_unpadded_kvpacked_func": f"q, kv, {LENGTHS}, {GLM}",
        "flash_attn_unpadded_func": f"q, k, v, {LENGTHS}, {GLM}",
    },
    fa2_pack_glm_mask: {
        **fa2_functions(PACK),
        "flash_attn_with_kvcache": (
            f"{CACHE}, softmax_scale=None, causal=False, window_size=(-1, -1), rotary_interleaved=True, num_splits=0"
        ),
    },
    flash_attn: {
        **fa2_functions(FA2),
        "flash_attn_varlen_func": f"q, k, v, {LENGTHS}, {FA2}, block_table=None",
        "flash_attn_with_kvcache": (
            f"{CACHE}, cache_leftpad=None, block_table=None, softmax_scale=None, causal=False, window_size=(-1, -1), "
            "softcap=0.0, rotary_interleaved=True, alibi_slopes=None, num_splits=0, return_softmax_lse=False"
        ),
    },
    triton_flash_attention: {
        "flash_attn_func": "q, k, v, bias=None, causal=False, softmax_scale=None, /",
        "flash_attn_kvpacked_func": "q, kv, bias=None, causal=False, softmax_scale=None, /",
        "flash_attn_qkvpacked_func": "qkv, bias=None, causal=False, softmax_scale=None, /",
        "_flash_attn_forward": "q, k, v, bias=None, causal=False, softmax_scale=None",
        "_flash_attn_backward": "do, q, k, v, o, lse, dq, dk, dv, bias=None, causal=False, softmax_scale=None",
    },
    atorch: {
        "flash_attn_with_mask_bias": "q, k, v, mask=None, bias=None, dropout_p=0.0, softmax_scale=None, causal=False",
        "fa2_with_glm_mask": "q, k, v, glm_mask=None, dropout_p=0.0, softmax_scale=None, causal=True",
        "is_additive_mask_bias_supported_fa1": "",
        "is_glm_mask_supported_fa2": "",
        "is_pack_glm_mask_supported_fa2": "",
    },
}


def signature(function):
    """Without annotations."""
    found = inspect.signature(function)
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    return str(inspect.Signature(plain))[1:-1]


@pytest.mark.parametrize("module, name", [(module, name) for module in SIGNATURES for name in SIGNATURES[module]])
def test_function(module, name):
    assert signature(getattr(module, name)) == SIGNATURES[module][name]
    assert getattr(module, name).__doc__ or name.startswith("flash_attn_") and module is triton_flash_attention


@pytest.mark.parametrize("module", SIGNATURES)
def test_nothing_else_is_public(module):
    classes = {triton_flash_attention: {"Func", "KVPackedFunc", "QKVPackedFunc"}, atorch: {"Module"}}
    names = {name for name in SIGNATURES[module] if not name.startswith("_")}
    assert set(module.__all__) == names | {f"FlashAttn{name}" for name in classes.get(module, ())}


def test_module_and_classes():
    assert signature(atorch.FlashAttnModule.__init__) == (
        "self, causal=False, softmax_scale=None, attention_dropout=0.0, use_fa3=False"
    )
    assert signature(atorch.FlashAttnModule.forward) == (
        "self, q, k, v, key_padding_mask=None, glm_mask=None, additive_mask=None, additive_bias=None"
    )
    for name in ("FlashAttnFunc", "FlashAttnKVPackedFunc", "FlashAttnQKVPackedFunc"):
        cls = getattr(triton_flash_attention, name)
        function = re.sub("FlashAttn(.*)Func", lambda m: f"flash_attn_{m[1].lower()}_func", name).replace("__", "_")
        assert getattr(triton_flash_attention, function) == cls.apply


def test_unpadded_names_are_the_varlen_functions():
    for kind in ("", "qkvpacked_", "kvpacked_"):
        old, new = (getattr(fa2_glm_mask, f"flash_attn_{name}_{kind}func") for name in ("unpadded", "varlen"))
        assert old is new


@pytest.mark.parametrize("module", [flash_attn, fa2_pack_glm_mask])
def test_kvcache_says_that_it_is_not_served(module):
    with pytest.raises(Unsupported, match="flash_attn_with_kvcache: .* is not served"):
        module.flash_attn_with_kvcache(None, None, None)


def test_backward_says_what_is_missing():
    with pytest.raises(Unsupported, match="_flash_attn_backward: .* no backward pass yet"):
        triton_flash_attention._flash_attn_backward(*[None] * 9)


def test_helpers_read_the_support_matrix(monkeypatch):
    import tilewright.inspect as library

    helpers = {
        "`bias`, x": "is_additive_mask_bias_supported_fa1",
        "additive `attn_mask`, x": "is_additive_mask_bias_supported_fa1",
        "GLM break points, x": "is_glm_mask_supported_fa2",
        "packed GLM pairs, x": "is_pack_glm_mask_supported_fa2",
    }
    for missing in (None, *helpers):
        answers = {name: "no" if name == missing else "yes" for name in helpers}
        table = "\n".join(f"|  | {name} | {answer} | {answer} | |" for name, answer in answers.items())
        monkeypatch.setattr(library, "support_matrix", lambda table=table: table)
        for helper in set(helpers.values()):
            assert getattr(atorch, helper)() is (helper != helpers.get(missing))
    with pytest.raises(TilewrightError, match="no row"):
        _backend.served("alchemy")


def test_helpers_find_their_rows():
    for helper in (name for name in atorch.__all__ if name.startswith("is_")):
        assert isinstance(getattr(atorch, helper)(), bool)
    assert atorch.is_glm_mask_supported_fa2() and atorch.is_pack_glm_mask_supported_fa2()


def test_errors_are_the_librarys():
    with pytest.raises(InvalidArgument, match="^q: is a list, must be a torch.Tensor") as raised:
        flash_attn.flash_attn_func([1.0], [1.0], [1.0])
    assert raised.value.argument == "q"
