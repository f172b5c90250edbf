# SPDX-License-Identifier: Apache-2.0
"""Stands in for the package ``flash_attn`` 2.0.4+glm.mask: FlashAttention 2 whose functions take GLM break points.

Tensors are ``(batch, seqlen, heads, head_dim)``, or ``(total, heads, head_dim)`` with ``cu_seqlens``; k and v may have
fewer heads than q. Arguments that all functions share:

* ``dropout_p``: share of the probabilities that is dropped, ``0 <= dropout_p < 1``.
* ``softmax_scale``: ``head_dim ** -0.5`` if None.
* ``causal``: aligned to the **top left**: row i sees keys up to i, whatever the two lengths are.
* ``return_attn_probs``: return ``(out, softmax_lse, S_dmask)``. ``softmax_lse`` is float32 ``(batch, heads,
  seqlen_q)``, ``(batch, heads, max_seqlen_q)`` with ``cu_seqlens``; +inf in rows that see nothing and beyond a
  sequence. ``S_dmask`` is ``(batch, heads, seqlen_q, seqlen_k)``, lengths rounded up to multiples of 128:
  probabilities, normalised (the original's are not), dropped ones negative; None without dropout.
* ``glm_mask``: int32 ``(batch,)``, needs ``causal=True``: every row of entry b also sees keys ``j < glm_mask[b]``,
  counted from its own sequence's start. From 0 to seqlen_k: the original reads out of range for larger values; here CPU
  tensors are checked and those on a device clamped.

Errors are those of :func:`tilewright.flash_attn_func`. Differences from the original: ``python/docs/compat.md``.
"""

from __future__ import annotations

from typing import Any, Dict, Optional

from ..errors import InvalidArgument
from ._backend import KV, QKV, QKV_VARLEN, Lengths, check_tensors, fa2, lengths_of, same_lengths, unpacked

__all__ = [
    "flash_attn_func",
    "flash_attn_kvpacked_func",
    "flash_attn_qkvpacked_func",
    "flash_attn_unpadded_func",
    "flash_attn_unpadded_kvpacked_func",
    "flash_attn_unpadded_qkvpacked_func",
    "flash_attn_varlen_func",
    "flash_attn_varlen_kvpacked_func",
    "flash_attn_varlen_qkvpacked_func",
]


def _attention(
    names: Dict[str, str],
    q: Any,
    k: Any,
    v: Any,
    dropout_p: Any,
    softmax_scale: Any,
    causal: Any,
    return_attn_probs: Any,
    glm_mask: Any,
    lengths: Optional[Lengths] = None,
) -> Any:
    if glm_mask is not None:
        check_tensors(glm_mask=glm_mask)
        if glm_mask.dim() != 1:
            raise InvalidArgument(
                f"glm_mask: shape is {tuple(glm_mask.shape)}, must be (batch,); "
                "tilewright.compat.fa2_pack_glm_mask takes pairs",
                "glm_mask",
            )
    return fa2(
        names,
        q,
        k,
        v,
        lengths=lengths,
        lse_by_sequence=lengths is not None,
        dropout_p=dropout_p,
        softmax_scale=softmax_scale,
        causal=causal,
        causal_align="top_left",
        return_attn_probs=return_attn_probs,
        glm_mask=glm_mask,
    )


def flash_attn_qkvpacked_func(
    qkv, dropout_p=0.0, softmax_scale=None, causal=False, return_attn_probs=False, glm_mask=None
):
    """``qkv``: ``(batch, seqlen, 3, heads, head_dim)``, read where it is."""
    q, k, v = unpacked("qkv", qkv, 3)
    return _attention(QKV, q, k, v, dropout_p, softmax_scale, causal, return_attn_probs, glm_mask)


def flash_attn_kvpacked_func(
    q, kv, dropout_p=0.0, softmax_scale=None, causal=False, return_attn_probs=False, glm_mask=None
):
    """``kv``: ``(batch, seqlen_k, 2, heads_k, head_dim)``, read where it is."""
    k, v = unpacked("kv", kv, 2)
    return _attention(KV, q, k, v, dropout_p, softmax_scale, causal, return_attn_probs, glm_mask)


def flash_attn_func(
    q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, return_attn_probs=False, glm_mask=None
):
    """``q``: ``(batch, seqlen_q, heads, head_dim)``; ``k``, ``v``: ``(batch, seqlen_k, heads_k, head_dim)``."""
    return _attention({}, q, k, v, dropout_p, softmax_scale, causal, return_attn_probs, glm_mask)


def flash_attn_varlen_qkvpacked_func(
    qkv,
    cu_seqlens,
    max_seqlen,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    return_attn_probs=False,
    glm_mask=None,
):
    """``qkv``: ``(total, 3, heads, head_dim)``; ``cu_seqlens``: int32 ``(batch + 1,)``; ``max_seqlen``: an int."""
    q, k, v = unpacked("qkv", qkv, 3, varlen=True)
    lengths = same_lengths(cu_seqlens, max_seqlen)
    return _attention(QKV_VARLEN, q, k, v, dropout_p, softmax_scale, causal, return_attn_probs, glm_mask, lengths)


def flash_attn_varlen_kvpacked_func(
    q,
    kv,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    return_attn_probs=False,
    glm_mask=None,
):
    """``q``: ``(total_q, heads, head_dim)``; ``kv``: ``(total_k, 2, heads_k, head_dim)``; ``cu_seqlens_q`` and
    ``cu_seqlens_k``: int32 ``(batch + 1,)``; ``max_seqlen_q``, ``max_seqlen_k``: ints."""
    k, v = unpacked("kv", kv, 2, varlen=True)
    lengths = lengths_of(cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k)
    return _attention(KV, q, k, v, dropout_p, softmax_scale, causal, return_attn_probs, glm_mask, lengths)


def flash_attn_varlen_func(
    q,
    k,
    v,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    return_attn_probs=False,
    glm_mask=None,
):
    """``q``: ``(total_q, heads, head_dim)``; ``k``, ``v``: ``(total_k, heads_k, head_dim)``; the rest as in
    :func:`flash_attn_varlen_kvpacked_func`."""
    lengths = lengths_of(cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k)
    return _attention({}, q, k, v, dropout_p, softmax_scale, causal, return_attn_probs, glm_mask, lengths)


# The names before FlashAttention 2.
flash_attn_unpadded_func = flash_attn_varlen_func
flash_attn_unpadded_qkvpacked_func = flash_attn_varlen_qkvpacked_func
flash_attn_unpadded_kvpacked_func = flash_attn_varlen_kvpacked_func
