# SPDX-License-Identifier: Apache-2.0
"""What the tests hold Tilewright against: attention written out in NumPy, in double precision, sharing no code with the
package. Also the contract's accuracy rule, random problems, and memory that shows when it is touched."""

import ml_dtypes
import numpy as np

DTYPES = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
# Distance between 1 and the next value of each type.
STEP = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def visible(batch, sq, sk, causal=False, glm=None, align="bottom_right"):
    """bool (batch, sq, sk), element by element from the definition of the masks."""
    seen = np.ones((batch, sq, sk), bool)
    if not causal:
        return seen
    offset = sk - sq if align == "bottom_right" else 0
    for b in range(batch):
        for i in range(sq):
            limit = min(sk, i + offset + 1)
            if glm is not None and glm.ndim == 1:
                limit = max(limit, int(glm[b]))
            elif glm is not None:
                starts, ends = glm[b]
                inside = ends[(starts <= i + offset) & (i + offset < ends)]
                limit = max(limit, int(inside.max())) if len(inside) else limit
            seen[b, i, max(limit, 0) :] = False
    return seen


def attention(q, k, v, causal=False, glm=None, scale=None, align="bottom_right", rounded_to=None):
    """Output and LSE in float64, or, with ``rounded_to``, as a framework computes them in that type: products
    accumulated in float32, every step's result rounded."""
    wide = np.float64 if rounded_to is None else np.float32
    narrow = (lambda x: x) if rounded_to is None else (lambda x: x.astype(rounded_to).astype(wide))
    batch, sq, heads, dim = q.shape
    sk, group = k.shape[1], q.shape[2] // max(k.shape[2], 1)
    scale = wide(dim**-0.5 if scale is None else scale)
    mask = visible(batch, sq, sk, causal, glm, align)
    queries = q.astype(wide).transpose(0, 2, 1, 3)
    keys, values = (np.repeat(x.astype(wide).transpose(0, 2, 1, 3), group, axis=1) for x in (k, v))
    if sk == 0:
        return np.zeros((batch, sq, heads, v.shape[3])), np.full((batch, heads, sq), -np.inf)
    with np.errstate(all="ignore"):
        logits = np.where(mask[:, None], narrow(scale * (queries @ keys.transpose(0, 1, 3, 2))), -np.inf)
        highest = logits.max(axis=-1, keepdims=True)
        finite = np.where(np.isneginf(highest), 0, highest)
        weights = np.where(mask[:, None], np.exp(logits - finite), 0)
        total = weights.sum(axis=-1, keepdims=True)
        # Values at hidden positions must not turn into NaN through 0 * inf.
        shared = np.where(mask.any(axis=1)[:, None, :, None], values, 0)
        out = narrow(np.where(total == 0, 0, weights / np.where(total == 0, 1, total))) @ shared
        lse = (np.where(total == 0, -np.inf, finite + np.log(total)))[..., 0]
    return narrow(out).transpose(0, 2, 1, 3), lse


def check(out, lse, q, k, v, causal=False, glm=None, scale=None, align="bottom_right", exact=None, what=""):
    """Asserts the contract's accuracy: at most twice the error of the same formula in the type, plus the rounding noise
    of one step: of the output in its type, and of a score in float32, which changes a weight by as much.
    NaN and infinities must be where the formula has them."""
    exact_out, exact_lse = exact or attention(q, k, v, causal, glm, scale, align)
    plain_out, plain_lse = attention(q, k, v, causal, glm, scale, align, rounded_to=q.dtype)
    score = STEP["float32"] * _largest_score(q, k, scale)
    _close(out, plain_out, exact_out, STEP[q.dtype.name] + score, 0, f"output {what}")
    if lse is not None:
        assert lse.dtype == np.float32
        # float32 in every type; two changes of base and a sum make a few steps.
        _close(lse, plain_lse, exact_lse, 4 * STEP["float32"], 1, f"LSE {what}")


def _largest_score(q, k, scale):
    """A bound of it, and of the sums on the way to it: the product of the longest q and the longest k."""
    lengths = (np.linalg.norm(np.nan_to_num(x.astype(np.float32), posinf=0, neginf=0), axis=-1) for x in (q, k))
    longest_q, longest_k = (x.max(initial=0) for x in lengths)
    return float(longest_q * longest_k * (q.shape[-1] ** -0.5 if scale is None else scale))


def _close(ours, plain, exact, step, floor, what):
    assert ours.shape == exact.shape, what
    ours, plain = ours.astype(np.float64), plain.astype(np.float64)
    special = ~np.isfinite(exact)
    assert (np.isfinite(ours) == ~special).all(), f"{what}: finite values differ from the formula's"
    assert np.array_equal(ours[special], exact[special], equal_nan=True), f"{what}: infinities or NaN differ"
    if special.all():
        return
    both = ~special & np.isfinite(plain)
    yardstick = np.abs(plain[both] - exact[both]).max(initial=0)
    limit = 2 * yardstick + step * max(np.abs(exact[~special]).max(), floor)
    error = np.abs(ours[~special] - exact[~special]).max()
    assert error <= limit, f"{what}: error {error:.3e} is over the limit {limit:.3e}"


def problem(seed, batch=1, sq=64, sk=64, heads=2, heads_k=None, dim=16, dim_v=None, dtype="float32"):
    """Random q, k, v."""
    rng = np.random.default_rng(seed)
    heads_k = heads if heads_k is None else heads_k
    shapes = (batch, sq, heads, dim), (batch, sk, heads_k, dim), (batch, sk, heads_k, dim_v or dim)
    return tuple(rng.standard_normal(shape, np.float32).astype(DTYPES[dtype]) for shape in shapes)


def poisoned(array):
    """A copy of ``array`` inside a larger buffer of NaN: any read beside it shows."""
    buffer = np.full([n + 4 for n in array.shape], np.nan, array.dtype)
    view = buffer[tuple(slice(2, 2 + n) for n in array.shape)]
    view[...] = array
    return view


class Guarded:
    """An output inside a larger buffer of a sentinel: any write beside it shows, and so does an element not written."""

    SENTINEL = -77.0

    def __init__(self, shape, dtype):
        self._buffer = np.full([n + 4 for n in shape], self.SENTINEL, dtype)
        self._inside = tuple(slice(2, 2 + n) for n in shape)
        self.view = self._buffer[self._inside]

    def assert_kept(self):
        surroundings = np.ones(self._buffer.shape, bool)
        surroundings[self._inside] = False
        assert (self._buffer[surroundings] == self.SENTINEL).all(), "written outside of the output"
        assert not (self.view == self.SENTINEL).any(), "elements of the output were not written"

    def assert_untouched(self):
        assert (self._buffer == self.SENTINEL).all(), "the output was written"


def same_bits(a, b):
    """Equal bit for bit, NaN payloads and zeros' signs included."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
