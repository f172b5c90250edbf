# SPDX-License-Identifier: Apache-2.0
"""Attention with every feature, written out in NumPy in double precision from the contract, sequence by sequence. It
shares no code with the package; oracle.py is the same for plain calls, with the rule of accuracy."""

import numpy as np


def attention(
    q,
    k,
    v,
    causal=False,
    glm_mask=None,
    softmax_scale=None,
    causal_align="bottom_right",
    *,
    cu_seqlens_q=None,
    cu_seqlens_k=None,
    max_seqlen_q=0,
    max_seqlen_k=0,
    seqused_k=None,
    **features,
):
    """Output, LSE, probabilities (dropped entries negative), in the shapes of tilewright.reference.attention."""
    varlen = cu_seqlens_q is not None
    heads, dim_v = q.shape[-2], v.shape[-1]
    batch = len(cu_seqlens_q) - 1 if varlen else q.shape[0]
    longest = (max_seqlen_q, max_seqlen_k) if varlen else (q.shape[1], k.shape[1])
    out = np.zeros((*q.shape[:-1], dim_v))
    lse = np.zeros((heads, q.shape[0]) if varlen else (batch, heads, longest[0]))
    probs = np.zeros((batch, heads, *longest))
    for b in range(batch):
        if varlen:
            rows = slice(cu_seqlens_q[b], cu_seqlens_q[b + 1])
            keys = slice(cu_seqlens_k[b], cu_seqlens_k[b + 1])
            one_q, one_k, one_v, one_out, one_lse = q[rows], k[keys], v[keys], out[rows], lse[:, rows]
        else:
            one_q, one_k, one_v, one_out, one_lse = q[b], k[b], v[b], out[b], lse[b]
        if seqused_k is not None:
            one_k, one_v = one_k[: seqused_k[b]], one_v[: seqused_k[b]]
        sq, sk = len(one_q), len(one_k)
        positions = np.arange(sq) + (sk - sq if causal_align == "bottom_right" else 0)
        glm = None if glm_mask is None else glm_mask[b]
        seen = visible(b, positions, sk, heads, causal, glm, **features)
        scores = logits(b, positions, one_q, one_k, softmax_scale, seen, **features)
        one_out[...], one_lse[...], probs[b, :, :sq, :sk] = finish(b, scores, seen, one_v, **features)
    return out, lse, probs


def visible(
    b,
    positions,
    sk,
    heads,
    causal,
    glm,
    *,
    key_padding_mask=None,
    document_ids=None,
    window_size=(-1, -1),
    attn_mask=None,
    **_,
):
    """bool (heads, sq, sk) of batch entry b."""
    rows, columns = positions[:, None], np.arange(sk)[None, :]
    left, right = (min(side, 2**40) for side in window_size)  # no overflow of int64 below
    seen = np.ones((len(positions), sk), bool)
    if causal:
        limits = positions + 1
        if glm is not None and glm.ndim == 0:
            limits = np.maximum(limits, glm)
        elif glm is not None:
            for start, end in glm.T:
                inside = (start <= positions) & (positions < end)
                limits = np.where(inside, np.maximum(limits, end), limits)
        seen &= columns < limits[:, None]
    elif right >= 0:
        seen &= columns <= rows + right
    if left >= 0:
        seen &= columns >= rows - left
    if key_padding_mask is not None:
        seen &= key_padding_mask[b, None, :sk]
    if document_ids is not None:
        ids = document_ids[b, :sk]
        own = np.full(len(positions), -1)
        inside = (positions >= 0) & (positions < sk)
        own[inside] = ids[positions[inside]]
        seen &= (own[:, None] == ids[None, :]) & (own[:, None] >= 0)
    seen = np.broadcast_to(seen, (heads, *seen.shape))
    if attn_mask is not None and attn_mask.dtype == bool:
        seen = seen & piece(attn_mask, b, len(positions), sk)
    return seen


def piece(tensor, b, sq, sk):
    """What of a (batch|1, heads|1, seqlen_q|1, seqlen_k|1) tensor belongs to one sequence."""
    entry = tensor[b if tensor.shape[0] > 1 else 0]
    return entry[:, : sq if entry.shape[1] > 1 else 1, : sk if entry.shape[2] > 1 else 1]


def logits(
    b, positions, q, k, scale, seen, *, bias=None, attn_mask=None, alibi_slopes=None, softcap=0.0, **_
):  # fmt: skip
    heads = q.shape[1]
    keys = np.repeat(k.astype(np.float64), heads // k.shape[1], axis=1)
    with np.errstate(all="ignore"):
        scores = np.einsum("ihd,jhd->hij", q.astype(np.float64), keys)
        scores = scores * (q.shape[-1] ** -0.5 if scale is None else scale)
        if softcap:
            scores = softcap * np.tanh(scores / softcap)
        if alibi_slopes is not None:
            slopes = alibi_slopes if alibi_slopes.ndim == 1 else alibi_slopes[b]
            distance = np.abs(positions[:, None] - np.arange(len(k))[None, :])
            scores = scores - slopes.astype(np.float64)[:, None, None] * distance
        for addend in (bias, attn_mask):
            if addend is not None and addend.dtype != bool:
                scores = scores + piece(addend, b, len(q), len(k)).astype(np.float64)
        return np.where(seen, scores, -np.inf)


def finish(b, scores, seen, v, *, dropout_p=0.0, dropout_seed=0, dropout_offset=0, rng_state=None, **_):
    heads, sq, sk = scores.shape
    if sk == 0:
        return 0.0, -np.inf, np.zeros(scores.shape)
    values = np.repeat(v.astype(np.float64), heads // v.shape[1], axis=1)
    with np.errstate(all="ignore"):
        highest = scores.max(axis=-1, keepdims=True)
        weights = np.exp(scores - np.where(np.isneginf(highest), 0, highest))
        total = weights.sum(axis=-1, keepdims=True)
        lse = np.where(total == 0, -np.inf, np.where(np.isneginf(highest), 0, highest) + np.log(total))[..., 0]
        probs = np.where(seen, np.where(total == 0, 0, weights / np.where(total == 0, 1, total)), 0)
    kept, used = np.ones(scores.shape, bool), probs
    if dropout_p:
        if rng_state is not None:
            dropout_seed, dropout_offset = (int(number) % 2**64 for number in rng_state)
        kept = keep_mask(sq, sk, heads, b, dropout_p, dropout_seed, dropout_offset)
        used = np.where(kept, probs * 65536 / threshold(dropout_p), 0)
    return np.einsum("hij,jhd->ihd", used, values), lse, np.where(kept, probs, -probs)


def threshold(p):
    return min(max(int(np.floor((1 - p) * 65536 + 0.5)), 1), 65536)


def keep_mask(sq, sk, heads, b, p, seed, offset):
    """bool (heads, sq, sk): the entries that dropout keeps."""
    h, i, j = np.meshgrid(np.arange(heads), np.arange(sq), np.arange(sk), indexing="ij")
    counter = [i // 16 * 8 + i % 8, j // 32 * 8 + j % 8, (b * heads + h) % 2**32, np.full(h.shape, offset % 2**32)]
    words = np.stack(philox(counter, (seed % 2**32 ^ offset >> 32, seed >> 32)), axis=-1)
    which = i // 8 % 2 * 2 + j // 8 % 2
    word = np.take_along_axis(words, which[..., None], axis=-1)[..., 0]
    return np.where(j // 16 % 2 == 0, word >> np.uint64(16), word & np.uint64(0xFFFF)) < threshold(p)


def philox(counter, key, rounds=7):
    """Philox4x32 on four arrays."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    c = [np.asarray(word).astype(np.uint64) for word in counter]
    key = [int(word) for word in key]
    for _ in range(rounds):
        first, second = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [
            (second >> half) ^ c[1] ^ np.uint64(key[0]),
            second & low,
            (first >> half) ^ c[3] ^ np.uint64(key[1]),
            first & low,
        ]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return c
