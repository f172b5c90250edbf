# SPDX-License-Identifier: Apache-2.0
"""The float64 reference with every feature against NumPy: each alone, random combinations, rows that see nothing, NaN
and infinities where nobody may read them, strides and types."""

import feature_oracle
import numpy as np
import pytest
from oracle import DTYPES, same_bits
from tilewright import reference

B, SQ, SK, H, HK, D, DV = 2, 21, 37, 4, 2, 5, 7


def generator(*seed):
    return np.random.default_rng(seed)


def inputs(rng, batch=B, sq=SQ, sk=SK, heads=H, heads_k=HK, dim=D, dim_v=DV):
    return rng.standard_normal((batch, sq, heads, dim)), *(
        rng.standard_normal((batch, sk, heads_k, d)) for d in (dim, dim_v)
    )


def documents(rng, batch, sk):
    ids = np.sort(rng.integers(0, 4, (batch, sk)), axis=1).astype(np.int32)
    for row in ids:
        row[sk - int(rng.integers(0, sk // 3 + 1)) :] = -1
    return ids


def pairs(rng, batch, sk, count=3):
    result = np.sort(rng.integers(0, sk + 1, (batch, 2, count)), axis=1).astype(np.int32)
    result[:, :, -1] = -1
    return result


def infinities(rng, shape):
    """A bias with -inf here and there, and over a whole row where it has rows."""
    bias = rng.standard_normal(shape)
    bias[rng.random(shape) < 0.2] = -np.inf
    if shape[2] > 3:
        bias[:, :, 3] = -np.inf
    return bias


# Name: function of a generator and (batch, heads, sq, sk).
FEATURES = {
    "bias": lambda rng, b, h, sq, sk: dict(bias=rng.standard_normal((b, h, sq, sk))),
    "bias of one row": lambda rng, b, h, sq, sk: dict(bias=rng.standard_normal((1, h, 1, sk))),
    "bias of one column": lambda rng, b, h, sq, sk: dict(bias=rng.standard_normal((b, 1, sq, 1)).astype(np.float32)),
    "bias with -inf": lambda rng, b, h, sq, sk: dict(bias=infinities(rng, (1, h, sq, sk))),
    "additive mask": lambda rng, b, h, sq, sk: dict(attn_mask=infinities(rng, (b, 1, sq, sk)).astype(np.float32)),
    "bool mask": lambda rng, b, h, sq, sk: dict(attn_mask=rng.random((b, h, sq, sk)) < 0.6),
    "bool mask of one row": lambda rng, b, h, sq, sk: dict(attn_mask=rng.random((b, 1, 1, sk)) < 0.6),
    "bool mask of one column": lambda rng, b, h, sq, sk: dict(attn_mask=rng.random((1, h, sq, 1)) < 0.6),
    "key padding": lambda rng, b, h, sq, sk: dict(key_padding_mask=rng.random((b, sk)) < 0.6),
    "alibi": lambda rng, b, h, sq, sk: dict(alibi_slopes=rng.random(h, np.float32)),
    "alibi by batch": lambda rng, b, h, sq, sk: dict(alibi_slopes=rng.standard_normal((b, h)).astype(np.float32)),
    "documents": lambda rng, b, h, sq, sk: dict(document_ids=documents(rng, b, sk)),
    "window": lambda rng, b, h, sq, sk: dict(window_size=(int(rng.integers(0, 9)), int(rng.integers(0, 9)))),
    "window left": lambda rng, b, h, sq, sk: dict(window_size=(int(rng.integers(0, 9)), -1)),
    "window right": lambda rng, b, h, sq, sk: dict(window_size=(-1, int(rng.integers(0, 9)))),
    "window of one": lambda rng, b, h, sq, sk: dict(window_size=(0, 0)),
    "huge window": lambda rng, b, h, sq, sk: dict(window_size=(2**63 - 1, 2**62)),
    "causal": lambda rng, b, h, sq, sk: dict(causal=True),
    "break points": lambda rng, b, h, sq, sk: dict(
        causal=True, glm_mask=rng.integers(0, sk + 1, b).astype(np.int32)
    ),
    "pairs": lambda rng, b, h, sq, sk: dict(causal=True, glm_mask=pairs(rng, b, sk)),
    "softcap": lambda rng, b, h, sq, sk: dict(softcap=float(rng.random() + 0.3)),
    "dropout": lambda rng, b, h, sq, sk: dict(
        dropout_p=float(rng.random() * 0.9), dropout_seed=int(rng.integers(2**63)) * 2 + 1, dropout_offset=2**40 + 12
    ),
    "dropout by state": lambda rng, b, h, sq, sk: dict(
        dropout_p=0.3, rng_state=rng.integers(-(2**63), 2**63 - 1, 2, np.int64)
    ),
    "scale": lambda rng, b, h, sq, sk: dict(softmax_scale=float(rng.random() * 2)),
}


def check(q, k, v, **args):
    out, lse, probs = reference.attention(q, k, v, return_lse=True, return_probs=True, **args)
    exact = feature_oracle.attention(q, k, v, **args)
    for ours, expected, what in zip((out, lse, probs), exact, ("output", "LSE", "probabilities")):
        assert ours.dtype == np.float64 and ours.shape == expected.shape, what
        np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-12, err_msg=what)
    # Dropped entries are negative in both: the signs are the mask itself.
    assert np.array_equal(np.sign(probs), np.sign(exact[2]))
    return out, lse, probs


@pytest.mark.parametrize("align", ["bottom_right", "top_left"])
@pytest.mark.parametrize("sq, sk", [(SQ, SK), (SK, SQ), (20, 20), (1, 33), (5, 1)])
@pytest.mark.parametrize("name", FEATURES)
def test_one_feature(name, sq, sk, align):
    rng = generator(sq, sk, list(FEATURES).index(name))
    check(*inputs(rng, sq=sq, sk=sk), causal_align=align, **FEATURES[name](rng, B, H, sq, sk))


def test_every_pair_of_features():
    """Two features after each other in the table; where both set one argument the later counts."""
    names = list(FEATURES)
    for i, first in enumerate(names):
        for j in range(i + 1, len(names)):
            rng = generator(i, j)
            args = {**FEATURES[first](rng, B, H, 9, 14), **FEATURES[names[j]](rng, B, H, 9, 14)}
            if "rng_state" in args:
                args.pop("dropout_seed", None), args.pop("dropout_offset", None)
            check(*inputs(rng, sq=9, sk=14), **args)


def packed(rng, lengths_q, lengths_k, heads=H, heads_k=HK, dim=D, dim_v=DV):
    """Inputs of a varlen batch, as keyword arguments."""
    total_q, total_k = sum(lengths_q), sum(lengths_k)
    q, k, v = inputs(rng, 1, total_q, total_k, heads, heads_k, dim, dim_v)
    return dict(
        q=q[0],
        k=k[0],
        v=v[0],
        cu_seqlens_q=np.cumsum([0, *lengths_q]).astype(np.int32),
        cu_seqlens_k=np.cumsum([0, *lengths_k]).astype(np.int32),
        max_seqlen_q=max(lengths_q, default=0),
        max_seqlen_k=max(lengths_k, default=0),
    )


def legal(args, lengths_k):
    """Numbers that stand for key positions, cut to each sequence's keys; ids beyond a sequence's end are not read."""
    if "glm_mask" in args:
        glm = args["glm_mask"]
        limits = np.array(lengths_k, np.int32).reshape(-1, *(1,) * (glm.ndim - 1))
        args["glm_mask"] = np.minimum(glm, limits)
    return args


@pytest.mark.parametrize("seed", range(60))
def test_combinations(seed):
    """Several features at once, also in varlen batches and with seqused_k, any lengths, 0 too."""
    rng = generator(1000, seed)
    align = ["bottom_right", "top_left"][seed % 2]
    batch, heads_k, group = (int(n) for n in rng.integers(1, 4, 3))
    heads, varlen = heads_k * group, seed % 3 == 0
    sizes = dict(heads=heads, heads_k=heads_k, dim=int(rng.integers(1, 20)), dim_v=int(rng.integers(1, 20)))
    if varlen:
        lengths_q, lengths_k = ([int(n) for n in rng.integers(0, 40, batch)] for _ in range(2))
        args = packed(rng, lengths_q, lengths_k, **sizes)
        args["max_seqlen_k"] += int(rng.integers(0, 3))
        sq, sk = args["max_seqlen_q"], args["max_seqlen_k"]
        sq, sk = max(sq, 1) + seed % 2, max(sk, 1) + seed % 4  # tensors by position may be longer
    else:
        sq, sk = (int(n) for n in rng.integers(1, 40, 2))
        args = dict(zip("qkv", inputs(rng, batch, sq, sk, **sizes)))
        lengths_k = [sk] * batch
    used = lengths_k
    if seed % 4 == 1 or seed % 6 == 0:
        used = [int(rng.integers(0, n + 1)) for n in lengths_k]
        args["seqused_k"] = np.array(used, np.int32)
    for name in rng.choice(list(FEATURES), int(rng.integers(2, 7)), replace=False):
        args.update(FEATURES[name](rng, batch, heads, sq, sk))
    if "rng_state" in args:
        args.pop("dropout_seed", None), args.pop("dropout_offset", None)
    check(causal_align=align, **legal(args, used))


def test_varlen_is_each_sequence_by_itself():
    rng = generator(1)
    args = packed(rng, [7, 0, 20, 5], [9, 4, 0, 33])
    out, lse = reference.attention(**args, causal=True, return_lse=True)
    assert out.shape == (32, H, DV) and lse.shape == (H, 32)
    q, k, v, cu_q, cu_k = (args[name] for name in ("q", "k", "v", "cu_seqlens_q", "cu_seqlens_k"))
    for b in range(4):
        rows, keys = slice(cu_q[b], cu_q[b + 1]), slice(cu_k[b], cu_k[b + 1])
        alone, alone_lse = reference.attention(q[None, rows], k[None, keys], v[None, keys], True, return_lse=True)
        assert same_bits(out[rows], alone[0]) and same_bits(lse[:, rows], alone_lse[0])
    assert (out[7:27] == 0).all() and np.isneginf(lse[:, 7:27]).all()  # sequence 2 has no keys


def test_no_sequences():
    args = packed(generator(2), [], [])
    out, lse, probs = reference.attention(**args, return_lse=True, return_probs=True)
    assert out.shape == (0, H, DV) and lse.shape == (H, 0) and probs.shape == (0, H, 0, 0)


def test_seqused_is_the_length():
    """Positions count from the used keys, and whatever lies beyond is not read."""
    rng = generator(3)
    q, k, v = inputs(rng)
    used = np.array([11, 30], np.int32)
    k[0, 11:], v[0, 11:], k[1, 30:], v[1, 30:] = np.nan, np.inf, np.nan, np.nan
    out = reference.attention(q, k, v, causal=True, seqused_k=used)
    for b in range(B):
        alone = reference.attention(q[b : b + 1], k[b : b + 1, : used[b]], v[b : b + 1, : used[b]], causal=True)
        assert same_bits(out[b : b + 1], alone)


EMPTY = {
    "bool mask": dict(attn_mask=np.zeros((1, 1, 1, 1), bool)),
    "additive mask": dict(attn_mask=np.full((1, 1, 1, 1), -np.inf)),
    "bias": dict(bias=np.full((1, 1, 1, SK), -np.inf, np.float32)),
    "bias and mask": dict(bias=np.full((1, 1, 1, 1), -np.inf), attn_mask=np.full((1, 1, 1, 1), -np.inf)),
    "key padding": dict(key_padding_mask=np.zeros((B, SK), bool)),
    "documents": dict(document_ids=np.full((B, SK), -1, np.int32)),
    "no keys used": dict(seqused_k=np.zeros(B, np.int32)),
}


@pytest.mark.parametrize("case", EMPTY)
def test_rows_that_see_nothing(case):
    q, k, v = inputs(generator(4))
    out, lse, probs = reference.attention(
        q, k, v, return_lse=True, return_probs=True, dropout_p=0.5, softcap=3.0, **EMPTY[case]
    )
    assert (out == 0).all() and np.isneginf(lse).all() and (probs == 0).all()


def test_some_rows_see_nothing():
    q, k, v = inputs(generator(5))
    ids = np.zeros((B, SK), np.int32)
    ids[:, 30:] = -1
    out, lse, probs = check(q, k, v, document_ids=ids, causal_align="bottom_right")
    # Rows 14 to 20 stand at positions 30 to 36.
    assert (out[:, 14:] == 0).all() and np.isneginf(lse[:, :, 14:]).all() and (probs[:, :, 14:] == 0).all()
    assert np.isfinite(lse[:, :, :14]).all()
    # More rows than keys: the first stand before the first key, and belong to no document.
    q, k, v = inputs(generator(5), sq=SK, sk=SQ)
    out, lse, _ = check(q, k, v, document_ids=np.zeros((B, SQ), np.int32))
    assert (out[:, : SK - SQ] == 0).all() and np.isneginf(lse[:, :, : SK - SQ]).all()


HIDING = {
    "bool mask": dict(attn_mask=np.arange(SK)[None, None, None] < 20),
    "key padding": dict(key_padding_mask=np.tile(np.arange(SK) < 20, (B, 1))),
    "documents": dict(document_ids=np.tile(np.where(np.arange(SK) < 20, 0, -1).astype(np.int32), (B, 1))),
    "seqused": dict(seqused_k=np.full(B, 20, np.int32)),
    "causal": dict(causal=True, causal_align="top_left"),  # SQ = 21 rows: keys from 21 on
    "window": dict(window_size=(-1, 3), causal_align="top_left"),
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("case", HIDING)
def test_hidden_keys_reach_nothing(case, value):
    """K and V, bias and additive masks at positions that no row sees: not a bit of the result changes."""
    rng = generator(6)
    q, k, v = inputs(rng)
    args = dict(bias=rng.standard_normal((1, H, SQ, SK)), return_lse=True, return_probs=True, softcap=2.0)
    args.update(HIDING[case])
    before = reference.attention(q, k, v, **args)
    k[:, 24:] = v[:, 24:] = args["bias"][..., 24:] = value
    assert all(map(same_bits, reference.attention(q, k, v, **args), before))


def test_hidden_entries_do_not_reach_their_row():
    """A key that some rows see and others do not: NaN in it stays with those that do."""
    q, k, v = inputs(generator(7))
    mask = np.ones((1, 1, SQ, SK), bool)
    mask[:, :, ::2, 9] = False
    args = dict(attn_mask=mask, return_lse=True, return_probs=True)
    out, lse, probs = reference.attention(q, k, v, **args)
    k[:, 9] = v[:, 9] = np.nan
    bad_out, bad_lse, bad_probs = reference.attention(q, k, v, **args)
    assert same_bits(bad_out[:, ::2], out[:, ::2]) and same_bits(bad_lse[:, :, ::2], lse[:, :, ::2])
    assert same_bits(bad_probs[:, :, ::2], probs[:, :, ::2])
    assert np.isnan(bad_out[:, 1::2]).all() and np.isnan(bad_lse[:, :, 1::2]).all()
    assert np.isnan(bad_probs[:, :, 1::2]).all()


def test_nan_of_a_neighbouring_sequence():
    args = packed(generator(8), [7, 11, 4], [9, 8, 13])
    features = dict(causal=True, return_lse=True, document_ids=np.zeros((3, 13), np.int32), window_size=(4, -1))
    out, lse = reference.attention(**args, **features)
    args["q"][7:18] = args["k"][9:17] = args["v"][9:17] = np.nan
    bad, bad_lse = reference.attention(**args, **features)
    for rows in (slice(0, 7), slice(18, 22)):
        assert same_bits(bad[rows], out[rows]) and same_bits(bad_lse[:, rows], lse[:, rows])
    assert np.isnan(bad[7:18]).any()


def test_nan_that_is_seen_propagates():
    q, k, v = inputs(generator(9))
    for name, shape in (("bias", (1, 1, SQ, SK)), ("attn_mask", (1, 1, SQ, SK))):
        addend = np.zeros(shape)
        addend[0, 0, 3, 5] = np.nan
        out, lse = reference.attention(q, k, v, return_lse=True, **{name: addend})
        rest = [i for i in range(SQ) if i != 3]
        assert np.isnan(out[:, 3]).all() and np.isnan(lse[:, :, 3]).all()
        assert np.isfinite(out[:, rest]).all() and np.isfinite(lse[:, :, rest]).all()
    addend[0, 0, 3, 5] = np.inf
    out, lse = reference.attention(q, k, v, return_lse=True, bias=addend)
    assert np.isnan(out[:, 3]).all() and np.isposinf(lse[:, :, 3]).all()


def test_rows_of_the_smallest_number():
    """finfo.min everywhere in a row is a row of equal weights, and no empty one; in float64 no sum overflows."""
    q, k, v = inputs(generator(10))
    mean = np.repeat(v.mean(axis=1, keepdims=True), H // HK, axis=2)
    lowest = np.full((1, 1, 1, 1), np.finfo(np.float32).min, np.float32)
    out, lse = reference.attention(q, k, v, attn_mask=lowest, return_lse=True)
    np.testing.assert_allclose(out, np.broadcast_to(mean, out.shape), rtol=1e-12, atol=1e-14)
    assert np.isfinite(lse).all()
    lowest = np.full((1, 1, 1, 1), np.finfo(np.float64).min)
    out, lse = reference.attention(q, k, v, attn_mask=lowest, bias=lowest, return_lse=True)
    np.testing.assert_allclose(out, np.broadcast_to(mean, out.shape), rtol=1e-12, atol=1e-14)
    assert np.isfinite(lse).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_types_of_bias_and_mask(dtype):
    rng = generator(11)
    q, k, v = (x.astype(DTYPES[dtype]) for x in inputs(rng))
    for other in {DTYPES[dtype], np.dtype(np.float32)}:
        check(
            q,
            k,
            v,
            bias=rng.standard_normal((B, 1, SQ, SK)).astype(other),
            attn_mask=rng.standard_normal((1, H, 1, SK)).astype(other),
        )


def test_strides_of_every_tensor():
    """Views: transposed, reversed, every other element, broadcast by stride 0, beginning in the middle."""
    rng = generator(12)
    q, k, v = inputs(rng)
    views = dict(
        bias=rng.standard_normal((SK, SQ, 1, B)).transpose(3, 2, 1, 0),
        attn_mask=np.broadcast_to((rng.random((SQ, 2 * SK + 1)) < 0.7)[::-1, 1::2], (B, H, SQ, SK)),
        key_padding_mask=(rng.random((SK, B)) < 0.9).T,
        alibi_slopes=np.broadcast_to(rng.random(3 * H, np.float32)[::-3], (B, H)),
        document_ids=np.broadcast_to(np.repeat(documents(rng, 1, SK), 2, axis=1)[:, ::2], (B, SK)),
        seqused_k=np.array([0, 30, 0, 37], np.int32)[::-2],
        rng_state=np.arange(9, dtype=np.int64)[7::-5],
        glm_mask=np.asfortranarray(pairs(rng, B, 30)),
    )
    check(q, k, v, causal=True, dropout_p=0.25, **views)
    args = packed(rng, [3, 9], [12, 5])
    for name in ("cu_seqlens_q", "cu_seqlens_k"):
        args[name] = np.ascontiguousarray(args[name][::-1])[::-1]
    check(**args)


@pytest.mark.parametrize("align", ["bottom_right", "top_left"])
@pytest.mark.parametrize("sq, sk", [(30, 30), (12, 37), (37, 12)])
def test_windows_about_as_long_as_the_sequence(sq, sk, align):
    """A side that reaches over all keys is no bound, and one key less is one. Sides of 31 bits and more reach too, though
    a row and they add up to more than an int32 holds."""
    q, k, v = inputs(generator(29), sq=sq, sk=sk)
    longest = max(sq, sk)
    for side in (longest - 2, longest - 1, longest, 2**31 - longest, 2**31 - 1, 2**31, 3 * 10**9, 2**32 - 2, 2**63 - 1):
        for sides in ((side, -1), (-1, side), (side, side), (side, 1), (1, side)):
            check(q, k, v, window_size=sides, causal_align=align)


def test_window_and_glm():
    """GLM raises the right limit, the window sets the left one, for rows raised by GLM too."""
    q, k, v = inputs(generator(13), sq=30, sk=30)
    glm = np.array([[[5], [20]], [[0], [30]]], np.int32)
    _, _, probs = check(q, k, v, causal=True, glm_mask=glm, window_size=(2, 0))
    assert np.flatnonzero(probs[0, 0, 10]).tolist() == list(range(8, 20))
    assert np.flatnonzero(probs[0, 0, 25]).tolist() == [23, 24, 25]
    _, _, wide = check(q, k, v, causal=True, glm_mask=glm, window_size=(2, 9))
    assert same_bits(wide, probs)


def test_torch_tensors(torch):
    rng = generator(14)
    args = dict(zip("qkv", inputs(rng)))
    args.update(attn_mask=rng.random((1, 1, SQ, SK)) < 0.5, key_padding_mask=rng.random((B, SK)) < 0.8)
    args.update(dropout_p=0.5, rng_state=np.array([5, 6]), alibi_slopes=rng.random(H, np.float32))
    expected = reference.attention(**args)
    as_torch = {name: torch.from_numpy(x) if isinstance(x, np.ndarray) else x for name, x in args.items()}
    assert same_bits(reference.attention(**as_torch).numpy(), expected)
