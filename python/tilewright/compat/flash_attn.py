# SPDX-License-Identifier: Apache-2.0
"""Stands in for FlashAttention 2.8, the package ``flash_attn``.

Tensors are ``(batch, seqlen, heads, head_dim)``, or ``(total, heads, head_dim)`` with ``cu_seqlens``; k and v may have
fewer heads than q. Arguments that all functions share:

* ``dropout_p``: share of the probabilities that is dropped, ``0 <= dropout_p < 1``.
* ``softmax_scale``: ``head_dim ** -0.5`` if None.
* ``causal``: aligned to the **bottom right**: row i stands at key position ``i + seqlen_k - seqlen_q``.
* ``window_size``: ``(left, right)``: a row at position p sees keys from ``p - left`` to ``p + right``; -1: unbounded.
  With ``causal`` the right limit is the row's own position.
* ``softcap``: scores become ``softcap * tanh(score / softcap)``; 0 is off. Goes with dropout too.
* ``alibi_slopes``: float32 ``(heads,)`` or ``(batch, heads)``: adds ``-slope * abs(position of the row - key)``.
  ``softmax_lse`` is of these scores; the original's, with ``causal``, is off by a constant of the row.
* ``deterministic``: about the backward pass; the forward pass always is.
* ``return_attn_probs``: return ``(out, softmax_lse, S_dmask)``. ``softmax_lse`` is float32 ``(batch, heads,
  seqlen_q)``, ``(heads, total_q)`` with ``cu_seqlens``; +inf in rows that see nothing. ``S_dmask`` is ``(batch, heads,
  seqlen_q, seqlen_k)``, lengths rounded up to multiples of 128: probabilities, normalised (the original's are not),
  dropped ones negative; an empty tensor without dropout.

Errors are those of :func:`tilewright.flash_attn_func`. Differences from the original: ``python/docs/compat.md``.
"""

from __future__ import annotations

from typing import Any, Dict, NoReturn, Optional

from ..errors import Unsupported
from ..functions import checked_bool
from ._backend import KV, QKV, QKV_VARLEN, Lengths, check_tensors, fa2, lengths_of, same_lengths, unpacked

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
    softcap: Any,
    alibi_slopes: Any,
    deterministic: Any,
    return_attn_probs: Any,
    lengths: Optional[Lengths] = None,
) -> Any:
    check_tensors(q=q)
    checked_bool("deterministic", deterministic)  # every forward pass is
    return fa2(
        names,
        q,
        k,
        v,
        lengths=lengths,
        no_probs=q.new_empty(0),
        dropout_p=dropout_p,
        softmax_scale=softmax_scale,
        causal=causal,
        window_size=window_size,
        softcap=softcap,
        alibi_slopes=alibi_slopes,
        return_attn_probs=return_attn_probs,
    )


def flash_attn_qkvpacked_func(
    qkv,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
):
    """``qkv``: ``(batch, seqlen, 3, heads, head_dim)``, read where it is."""
    q, k, v = unpacked("qkv", qkv, 3)
    rest = (dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic, return_attn_probs)
    return _attention(QKV, q, k, v, *rest)


def flash_attn_kvpacked_func(
    q,
    kv,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
):
    """``kv``: ``(batch, seqlen_k, 2, heads_k, head_dim)``, read where it is."""
    k, v = unpacked("kv", kv, 2)
    rest = (dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic, return_attn_probs)
    return _attention(KV, q, k, v, *rest)


def flash_attn_func(
    q,
    k,
    v,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
):
    """``q``: ``(batch, seqlen_q, heads, head_dim)``; ``k``, ``v``: ``(batch, seqlen_k, heads_k, head_dim)``."""
    rest = (dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic, return_attn_probs)
    return _attention({}, q, k, v, *rest)


def flash_attn_varlen_qkvpacked_func(
    qkv,
    cu_seqlens,
    max_seqlen,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
):
    """``qkv``: ``(total, 3, heads, head_dim)``; ``cu_seqlens``: int32 ``(batch + 1,)``; ``max_seqlen``: an int."""
    q, k, v = unpacked("qkv", qkv, 3, varlen=True)
    rest = (dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic, return_attn_probs)
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
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
):
    """``q``: ``(total_q, heads, head_dim)``; ``kv``: ``(total_k, 2, heads_k, head_dim)``; ``cu_seqlens_q`` and
    ``cu_seqlens_k``: int32 ``(batch + 1,)``; ``max_seqlen_q``, ``max_seqlen_k``: ints."""
    k, v = unpacked("kv", kv, 2, varlen=True)
    rest = (dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic, return_attn_probs)
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
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
    block_table=None,
):
    """``q``: ``(total_q, heads, head_dim)``; ``k``, ``v``: ``(total_k, heads_k, head_dim)``; the rest as in
    :func:`flash_attn_varlen_kvpacked_func`. ``block_table``, a paged cache, raises ``Unsupported``."""
    if block_table is not None:
        raise Unsupported("block_table: a paged cache of keys is not served, must be None", "block_table")
    rest = (dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic, return_attn_probs)
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
    cache_leftpad=None,
    block_table=None,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    rotary_interleaved=True,
    alibi_slopes=None,
    num_splits=0,
    return_softmax_lse=False,
) -> NoReturn:
    """Always raises :class:`tilewright.Unsupported`: there for programs that import the name."""
    raise Unsupported("flash_attn_with_kvcache: attention on a cache that the call appends to is not served")
