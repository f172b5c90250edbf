# SPDX-License-Identifier: Apache-2.0
"""Stands in for ``flash_attn_triton.py``: attention with an additive bias.

Tensors are ``(batch, seqlen, heads, head_dim)``, k and v with as many heads as q. ``bias`` is ``(batch or 1, heads or
1, 1 or seqlen_q, seqlen_k)``, q's dtype or float32, any strides, added after scaling. ``causal`` is aligned to the
**top left**: row i sees keys up to i. ``softmax_scale`` is ``head_dim ** -0.5`` if None; an explicit 0 is 0, which the
original takes for None. A row whose scores are all -inf is 0, where the original gives NaN.

The three functions are the ``apply`` of the three classes and take positional arguments only, as there. A tensor that
requires grad raises :class:`tilewright.Unsupported`. Errors are those of :func:`tilewright.flash_attn_func`. All
differences: ``python/docs/compat.md``.
"""

from __future__ import annotations

import math
from typing import Any, Dict, NoReturn, Tuple

import torch

from .._arrays import arrays_of
from ..errors import InvalidArgument, Unsupported
from ._backend import KV, QKV, call, check_tensors, equal_heads, padded_rows, renamed, rounded, scale_of, unpacked

__all__ = [
    "FlashAttnFunc",
    "FlashAttnKVPackedFunc",
    "FlashAttnQKVPackedFunc",
    "flash_attn_func",
    "flash_attn_kvpacked_func",
    "flash_attn_qkvpacked_func",
]


def _flash_attn_forward(
    q: Any, k: Any, v: Any, bias: Any = None, causal: Any = False, softmax_scale: Any = None
) -> Tuple[torch.Tensor, torch.Tensor, float]:
    """Output, LSE and the scale that was used.

    The LSE is float32 ``(batch, heads, seqlen_q rounded up to 128)``, -inf in the rows beyond ``seqlen_q``, where the
    original's are those of rows of zeros.
    """
    return _forward({}, q, k, v, bias, causal, softmax_scale)


def _forward(names: Dict[str, str], q: Any, k: Any, v: Any, bias: Any, causal: Any, softmax_scale: Any) -> Any:
    check_tensors(q=q, k=k, v=v)
    equal_heads(q, k, names.get("k", "k"), "tilewright.flash_attn_func")
    scale = scale_of(q, softmax_scale)
    if bias is not None:
        check_tensors(bias=bias)
        if bias.dim() == 4 and q.dim() == 4 and k.dim() == 4:
            rows, keys = q.shape[1], k.shape[1]
            if tuple(bias.shape[2:]) not in ((1, keys), (rows, keys)):
                raise InvalidArgument(
                    f"bias: last two dimensions are {tuple(bias.shape[2:])}, must be (1, {keys}) or ({rows}, {keys})",
                    "bias",
                )
    out, lse, _ = call(
        names,
        q,
        k,
        v,
        bias=bias,
        causal=causal,
        causal_align="top_left",
        softmax_scale=scale,
        return_lse=True,
    )
    return out, padded_rows(lse, rounded(lse.shape[-1], 128), -math.inf), scale


def _flash_attn_backward(
    do, q, k, v, o, lse, dq, dk, dv, bias=None, causal=False, softmax_scale=None
) -> NoReturn:
    """Always raises :class:`tilewright.Unsupported`."""
    raise Unsupported("_flash_attn_backward: Tilewright has no backward pass yet, so dq, dk and dv cannot be computed")


def _no_gradients(names: Dict[str, str], **tensors: Any) -> None:
    # Inside of forward gradients are not recorded, so the library cannot tell there.
    with renamed(names):
        given = {name: value for name, value in tensors.items() if value is not None}
        check_tensors(**given)
        for value in given.values():
            arrays_of(value).check_gradients(**given)


class _Forward(torch.autograd.Function):
    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> NoReturn:
        """Always raises :class:`tilewright.Unsupported`."""
        raise Unsupported("backward: Tilewright has no backward pass yet, so gradients cannot be computed")


class FlashAttnQKVPackedFunc(_Forward):
    """``apply(qkv, bias=None, causal=False, softmax_scale=None)``, ``qkv``: ``(batch, seqlen, 3, heads, head_dim)``,
    read where it is."""

    @staticmethod
    def forward(ctx, qkv, bias=None, causal=False, softmax_scale=None):
        return _forward(QKV, *unpacked("qkv", qkv, 3), bias, causal, softmax_scale)[0]

    @classmethod
    def apply(cls, qkv, bias=None, causal=False, softmax_scale=None, /):
        _no_gradients({}, qkv=qkv, bias=bias)
        return super().apply(qkv, bias, causal, softmax_scale)


class FlashAttnKVPackedFunc(_Forward):
    """``apply(q, kv, bias=None, causal=False, softmax_scale=None)``, ``kv``: ``(batch, seqlen_k, 2, heads, head_dim)``,
    read where it is."""

    @staticmethod
    def forward(ctx, q, kv, bias=None, causal=False, softmax_scale=None):
        return _forward(KV, q, *unpacked("kv", kv, 2), bias, causal, softmax_scale)[0]

    @classmethod
    def apply(cls, q, kv, bias=None, causal=False, softmax_scale=None, /):
        _no_gradients({}, q=q, kv=kv, bias=bias)
        return super().apply(q, kv, bias, causal, softmax_scale)


class FlashAttnFunc(_Forward):
    """``apply(q, k, v, bias=None, causal=False, softmax_scale=None)``."""

    @staticmethod
    def forward(ctx, q, k, v, bias=None, causal=False, softmax_scale=None):
        return _forward({}, q, k, v, bias, causal, softmax_scale)[0]

    @classmethod
    def apply(cls, q, k, v, bias=None, causal=False, softmax_scale=None, /):
        _no_gradients({}, q=q, k=k, v=v, bias=bias)
        return super().apply(q, k, v, bias, causal, softmax_scale)


flash_attn_qkvpacked_func = FlashAttnQKVPackedFunc.apply
flash_attn_kvpacked_func = FlashAttnKVPackedFunc.apply
flash_attn_func = FlashAttnFunc.apply
