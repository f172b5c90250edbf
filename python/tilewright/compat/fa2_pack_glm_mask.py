# SPDX-License-Identifier: Apache-2.0
"""Stands in for the package ``flash_attn`` 2.3.6+pack.glm.mask: FlashAttention 2 whose functions take packed GLM masks.

Tensors are ``(batch, seqlen, heads, head_dim)``, or ``(total, heads, head_dim)`` with ``cu_seqlens``; k and v may have
fewer heads than q. Arguments that all functions share:

* ``dropout_p``: share of the probabilities that is dropped, ``0 <= dropout_p < 1``.
* ``softmax_scale``: ``head_dim ** -0.5`` if None.
* ``causal``: aligned to the **bottom right**: row i stands at key position ``i + seqlen_k - seqlen_q``.
* ``window_size``: ``(left, right)``: a row at position p sees keys from ``p - left`` to ``p + right``; -1: unbounded.
  With ``causal`` the causal limit, which ``glm_mask`` may raise, stands in place of the right one.
* ``return_attn_probs``: return ``(out, softmax_lse, S_dmask)``. ``softmax_lse`` is float32 ``(batch, heads,
  seqlen_q)``, ``(batch, heads, max_seqlen_q)`` with ``cu_seqlens``; +inf in rows that see nothing and beyond a
  sequence. ``S_dmask`` is ``(batch, heads, seqlen_q, seqlen_k)``, lengths rounded up to multiples of 128:
  probabilities, normalised (the original's are not), dropped ones negative; None without dropout.
* ``glm_mask``: int32, needs ``causal=True``: break points ``(batch,)``, every row sees keys ``j < glm_mask[b]``; or
  pairs ``(batch, 2, N)``, a row at a position in ``[glm_mask[b, 0, n], glm_mask[b, 1, n])`` sees keys before that end;
  -1 is unused. Positions count from the start of each sequence and lie in ``[0, seqlen_k]``: the original reads out of
  range for larger ends; here CPU tensors are checked and those on a device clamped. A pair does not hide what is before
  it.

The original loses parts of ``glm_mask`` that work here: pairs that are not ordered by their ends or are nested (it
skips visible blocks), small batches without dropout (its split over keys drops the mask), one query row (it raises).
Where seqlen_q differs from seqlen_k it compares a pair's start with the row's number, unshifted; here a pair means key
positions throughout. Errors are those of :func:`tilewright.flash_attn_func`. All differences:
``python/docs/compat.md``.
"""

from __future__ import annotations

from typing import Any, Dict, NoReturn, Optional

from ..errors import Unsupported
from ._backend import KV, QKV, QKV_VARLEN, Lengths, fa2, lengths_of, same_lengths, unpacked

__all__ = [
    "flash_attn_func",
    "flash_attn_kvpacked_func",
    "flash_attn_qkvpacked_func",
    "flash_attn_varlen_func",
    "flash_attn_varlen_kvpacked_func",
    "flash_attn_varlen_qkvpacked_func",
    "flash_attn_with_kvcache",
]


def _attention(
    names: Dict[str, str],
    q: Any,
    k: Any,
    v: Any,
    dropout_p: Any,
    softmax_scale: Any,
    causal: Any,
    window_size: Any,
    return_attn_probs: Any,
    glm_mask: Any,
    lengths: Optional[Lengths] = None,
) -> Any:
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
        causal_align="bottom_right",
        window_size=window_size,
        return_attn_probs=return_attn_probs,
        glm_mask=glm_mask,
    )


def flash_attn_qkvpacked_func(
    qkv,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    return_attn_probs=False,
    glm_mask=None,
):
    """``qkv``: ``(batch, seqlen, 3, heads, head_dim)``, read where it is. Unlike the original, pairs work in any order,
    for small batches and for one row, as in :func:`flash_attn_func`."""
    q, k, v = unpacked("qkv", qkv, 3)
    return _attention(QKV, q, k, v, dropout_p, softmax_scale, causal, window_size, return_attn_probs, glm_mask)


def flash_attn_kvpacked_func(
    q,
    kv,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    return_attn_probs=False,
    glm_mask=None,
):
    """``kv``: ``(batch, seqlen_k, 2, heads_k, head_dim)``, read where it is. Unlike the original, pairs work in any
    order, for small batches and for one row, as in :func:`flash_attn_func`."""
    k, v = unpacked("kv", kv, 2)
    return _attention(KV, q, k, v, dropout_p, softmax_scale, causal, window_size, return_attn_probs, glm_mask)


def flash_attn_func(
    q,
    k,
    v,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    return_attn_probs=False,
    glm_mask=None,
):
    """``q``: ``(batch, seqlen_q, heads, head_dim)``; ``k``, ``v``: ``(batch, seqlen_k, heads_k, head_dim)``.

    Unlike the original: pairs may come in any order, overlap and nest; the mask also holds where the original splits
    the keys, and for ``seqlen_q == 1``; for ``seqlen_q != seqlen_k`` pairs are key positions, for rows too.
    """
    return _attention({}, q, k, v, dropout_p, softmax_scale, causal, window_size, return_attn_probs, glm_mask)


def flash_attn_varlen_qkvpacked_func(
    qkv,
    cu_seqlens,
    max_seqlen,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    return_attn_probs=False,
    glm_mask=None,
):
    """``qkv``: ``(total, 3, heads, head_dim)``; ``cu_seqlens``: int32 ``(batch + 1,)``; ``max_seqlen``: an int. Unlike
    the original, pairs work in any order."""
    q, k, v = unpacked("qkv", qkv, 3, varlen=True)
    rest = (dropout_p, softmax_scale, causal, window_size, return_attn_probs, glm_mask)
    return _attention(QKV_VARLEN, q, k, v, *rest, same_lengths(cu_seqlens, max_seqlen))


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
    window_size=(-1, -1),
    return_attn_probs=False,
    glm_mask=None,
):
    """``q``: ``(total_q, heads, head_dim)``; ``kv``: ``(total_k, 2, heads_k, head_dim)``; ``cu_seqlens_q`` and
    ``cu_seqlens_k``: int32 ``(batch + 1,)``; ``max_seqlen_q``, ``max_seqlen_k``: ints. Differences from the original
    as in :func:`flash_attn_func`."""
    k, v = unpacked("kv", kv, 2, varlen=True)
    rest = (dropout_p, softmax_scale, causal, window_size, return_attn_probs, glm_mask)
    return _attention(KV, q, k, v, *rest, lengths_of(cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k))


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
    window_size=(-1, -1),
    return_attn_probs=False,
    glm_mask=None,
):
    """``q``: ``(total_q, heads, head_dim)``; ``k``, ``v``: ``(total_k, heads_k, head_dim)``; the rest as in
    :func:`flash_attn_varlen_kvpacked_func`."""
    rest = (dropout_p, softmax_scale, causal, window_size, return_attn_probs, glm_mask)
    return _attention({}, q, k, v, *rest, lengths_of(cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k))


def flash_attn_with_kvcache(
    q,
    k_cache,
    v_cache,
    k=None,
    v=None,
    rotary_cos=None,
    rotary_sin=None,
    cache_seqlens=None,
    cache_batch_idx=None,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    rotary_interleaved=True,
    num_splits=0,
) -> NoReturn:
    """Always raises :class:`tilewright.Unsupported`: there for programs that import the name."""
    raise Unsupported("flash_attn_with_kvcache: attention on a cache that the call appends to is not served")
