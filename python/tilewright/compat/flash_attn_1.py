# SPDX-License-Identifier: Apache-2.0
"""Stands in for the package ``flash_attn_1``: the FlashAttention 1 fork with an additive mask and an additive bias.

All functions take sequences one after the other, ``(total, heads, head_dim)`` with ``cu_seqlens``. What they share:

* The scores are the fork's, ``softmax_scale * (q @ k.T + attn_mask + attn_bias)``: **what is added is scaled too**,
  unlike everywhere else in Tilewright, where a bias is added after scaling. For ``softmax_scale * q @ k.T + B`` pass
  ``B / softmax_scale``, or call :func:`tilewright.flash_attn_varlen_func`, which saves the scaled copy that is made
  here (in the tensor's type where the scale is a power of two below 1, as for head dims 16, 64 and 256; else in
  float32; broadcast dimensions are not filled; a scale of 1 needs none).
* ``attn_mask``, ``attn_bias``: ``(batch, heads, max_seqlen_q, max_seqlen_k)`` or longer, each dimension that or 1, any
  strides, q's dtype or float32. The batch may also be a divisor b0 of the call's: entry b uses ``b % b0``. They are
  indexed by the position inside each sequence: the fork is right for sequences of one length only.
* ``-inf`` hides, whole rows and blocks too: the fork gives NaN where a row's first block of keys is hidden. A row that
  sees nothing is 0, its LSE is -inf. A row of equal finite values, -60000 say, is the softmax of its scores, as there.
* ``dropout_p``: share of the probabilities that is dropped, ``0 <= dropout_p < 1``.
* ``softmax_scale``: ``head_dim ** -0.5`` if None.
* ``causal``: aligned to the **top left**: row i sees keys up to i, whatever the two lengths are.
* ``return_attn_probs``: return ``(out, softmax_lse, S_dmask)``. ``softmax_lse`` is float32 ``(batch, heads,
  max_seqlen_q rounded up to 16)``, -inf beyond a sequence. ``S_dmask`` is ``(batch, heads, max_seqlen_q rounded up to
  16, max_seqlen_k rounded up to the fork's block)``: probabilities, normalised (the fork's are not), dropped ones
  negative.

Errors are those of :func:`tilewright.flash_attn_varlen_func`; k and v must have as many heads as q, as in the fork. All
differences: ``python/docs/compat.md``.
"""

from __future__ import annotations

import math
from typing import Any, Dict

import torch

from ..errors import InvalidArgument
from ..functions import checked_bool
from ._backend import (
    KV,
    QKV_VARLEN,
    Lengths,
    Result,
    Sizes,
    batch_of,
    by_sequence,
    call,
    check_tensors,
    equal_heads,
    length_of,
    lengths_of,
    padded_probs,
    rounded,
    same_lengths,
    scale_of,
    scaled_addends,
    unpacked,
)

__all__ = [
    "flash_attn_func",
    "flash_attn_unpadded_func",
    "flash_attn_unpadded_kvpacked_func",
    "flash_attn_unpadded_qkvpacked_func",
    "flash_attn_unpadded_qkvpacked_split_func",
]


def _attention(
    names: Dict[str, str],
    q: Any,
    k: Any,
    v: Any,
    lengths: Lengths,
    dropout_p: Any,
    softmax_scale: Any,
    causal: Any,
    return_attn_probs: bool,
    attn_mask: Any,
    attn_bias: Any,
) -> Result:
    check_tensors(q=q, k=k, v=v)
    equal_heads(q, k, names.get("k", "k"), "tilewright.flash_attn_varlen_func")
    scale = scale_of(q, softmax_scale)
    batch = batch_of(names.get("cu_seqlens_q", "cu_seqlens_q"), lengths.cu_seqlens_q)
    heads = q.shape[1] if q.dim() == 3 else 0
    sizes = Sizes(batch, heads, lengths.max_seqlen_q, lengths.max_seqlen_k, q.dtype, longer=True)
    mask, bias = scaled_addends(sizes, scale, attn_mask=attn_mask, attn_bias=attn_bias)
    return call(
        {**names, "bias": "attn_bias"},
        q,
        k,
        v,
        lengths=lengths,
        dropout_p=dropout_p,
        softmax_scale=scale,
        causal=causal,
        causal_align="top_left",
        attn_mask=mask,
        bias=bias,
        return_lse=return_attn_probs,
        return_attn_probs=return_attn_probs,
    )


def _one_launch(names: Dict[str, str], q: Any, k: Any, v: Any, lengths: Lengths, *rest: Any) -> Any:
    dropout_p, softmax_scale, causal, return_attn_probs, attn_mask, attn_bias = rest
    asked = checked_bool("return_attn_probs", return_attn_probs)
    options = (dropout_p, softmax_scale, causal, asked, attn_mask, attn_bias)
    out, lse, probs = _attention(names, q, k, v, lengths, *options)
    if not asked:
        return out
    return out, _padded_lse(lse, lengths), _padded_probs(probs, lengths.max_seqlen_q, lengths.max_seqlen_k, q)


def _padded_lse(lse: torch.Tensor, lengths: Lengths) -> torch.Tensor:
    return by_sequence(lse, lengths.cu_seqlens_q, rounded(lengths.max_seqlen_q, 16), -math.inf)


def _padded_probs(probs: torch.Tensor, rows: int, keys: int, q: torch.Tensor) -> torch.Tensor:
    block = 128 if q.shape[-1] > 64 or keys <= 128 else 256
    return padded_probs(probs, rounded(rows, 16), max(rounded(keys, block), 128))


def flash_attn_unpadded_qkvpacked_func(
    qkv,
    cu_seqlens,
    max_seqlen,
    dropout_p,
    softmax_scale=None,
    causal=False,
    return_attn_probs=False,
    attn_mask=None,
    attn_bias=None,
):
    """``qkv``: ``(total, 3, heads, head_dim)``, read where it is; ``cu_seqlens``: int32 ``(batch + 1,)``;
    ``max_seqlen``: an int. Mask and bias are scaled, as in the fork; -inf and sequences of different lengths, which go
    wrong there, are right here."""
    q, k, v = unpacked("qkv", qkv, 3, varlen=True)
    rest = (dropout_p, softmax_scale, causal, return_attn_probs, attn_mask, attn_bias)
    return _one_launch(QKV_VARLEN, q, k, v, same_lengths(cu_seqlens, max_seqlen), *rest)


def flash_attn_unpadded_kvpacked_func(
    q,
    kv,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p,
    softmax_scale=None,
    causal=False,
    return_attn_probs=False,
    attn_mask=None,
    attn_bias=None,
):
    """``q``: ``(total_q, heads, head_dim)``; ``kv``: ``(total_k, 2, heads, head_dim)``, read where it is;
    ``cu_seqlens_q`` and ``cu_seqlens_k``: int32 ``(batch + 1,)``; ``max_seqlen_q``, ``max_seqlen_k``: ints. Mask and
    bias are scaled, as in the fork; -inf and sequences of different lengths, which go wrong there, are right here."""
    k, v = unpacked("kv", kv, 2, varlen=True)
    rest = (dropout_p, softmax_scale, causal, return_attn_probs, attn_mask, attn_bias)
    return _one_launch(KV, q, k, v, lengths_of(cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k), *rest)


def flash_attn_unpadded_func(
    q,
    k,
    v,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p,
    softmax_scale=None,
    causal=False,
    return_attn_probs=False,
    attn_mask=None,
    attn_bias=None,
):
    """``q``: ``(total_q, heads, head_dim)``; ``k``, ``v``: ``(total_k, heads, head_dim)``; the rest as in
    :func:`flash_attn_unpadded_kvpacked_func`. Mask and bias are scaled, as in the fork; -inf and sequences of different
    lengths, which go wrong there, are right here."""
    rest = (dropout_p, softmax_scale, causal, return_attn_probs, attn_mask, attn_bias)
    return _one_launch({}, q, k, v, lengths_of(cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k), *rest)


def flash_attn_unpadded_qkvpacked_split_func(
    qkv,
    cu_seqlens,
    max_seqlen0,
    max_seqlen1,
    batch_size0,
    dropout_p,
    softmax_scale=None,
    causal=False,
    return_attn_probs=False,
    attn_mask=None,
    attn_bias=None,
):
    """``qkv`` whose first ``batch_size0`` sequences are at most ``max_seqlen0`` long, the others ``max_seqlen1``.

    With ``return_attn_probs`` returns ``(out, softmax_lse, S_dmask0, S_dmask1)``, the probabilities of both parts. The
    fork launches twice and gives its second part the mask and bias of batch entry 0 and dropout of a fixed seed; here
    one launch does all, each sequence has its own mask, and dropout differs from call to call.
    """
    q, k, v = unpacked("qkv", qkv, 3, varlen=True)
    maxima = (length_of("max_seqlen0", max_seqlen0), length_of("max_seqlen1", max_seqlen1))
    lengths = same_lengths(cu_seqlens, max(maxima))
    batch = batch_of("cu_seqlens", cu_seqlens)
    first = length_of("batch_size0", batch_size0)
    if first > batch:
        raise InvalidArgument(
            f"batch_size0: is {first}, must be at most the number of sequences, {batch}", "batch_size0"
        )
    asked = checked_bool("return_attn_probs", return_attn_probs)
    options = (dropout_p, softmax_scale, causal, asked, attn_mask, attn_bias)
    out, lse, probs = _attention(QKV_VARLEN, q, k, v, lengths, *options)
    if not asked:
        return out
    halves = ((probs[:first], maxima[0]), (probs[first:], maxima[1]))
    parts = [_padded_probs(part[:, :, :longest, :longest], longest, longest, q) for part, longest in halves]
    return (out, _padded_lse(lse, lengths), *parts)


def flash_attn_func(
    qkv,
    cu_seqlens,
    dropout_p,
    max_s,
    softmax_scale=None,
    causal=False,
    return_attn_probs=False,
    attn_mask=None,
    attn_bias=None,
):
    """:func:`flash_attn_unpadded_qkvpacked_func` under the fork's older name: ``dropout_p`` comes before ``max_s``."""
    q, k, v = unpacked("qkv", qkv, 3, varlen=True)
    rest = (dropout_p, softmax_scale, causal, return_attn_probs, attn_mask, attn_bias)
    return _one_launch(QKV_VARLEN, q, k, v, same_lengths(cu_seqlens, max_s, "max_s"), *rest)
