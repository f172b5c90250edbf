# SPDX-License-Identifier: Apache-2.0
"""Attention in float64 on a CUDA device, sharing no code with the package, and memory around tensors that shows what is
read or written beside them. Import it after the test module has found PyTorch and a device."""

import torch
from tilewright import flash_attn_func

DEVICE = "cuda"
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
STEP = {torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7, torch.float32: 2.0**-23}
MASKS = ("none", "causal", "causal_top_left", "glm_break", "glm_packed")


def visible(batch, sq, sk, causal, glm, align):
    """bool (batch, sq, sk), from the definition of the masks."""
    if not causal:
        return torch.ones(batch, sq, sk, dtype=torch.bool, device=DEVICE)
    position = torch.arange(sq, device=DEVICE) + (sk - sq if align == "bottom_right" else 0)
    limit = (position + 1).clamp(max=sk).expand(batch, sq)
    if glm is not None and glm.ndim == 1:
        limit = torch.maximum(limit, glm[:, None])
    elif glm is not None:
        inside = (glm[:, 0, None] <= position[None, :, None]) & (position[None, :, None] < glm[:, 1, None])
        ends = torch.where(inside, glm[:, 1, None], 0)
        limit = torch.maximum(limit, ends.amax(-1)) if glm.shape[2] else limit
    return torch.arange(sk, device=DEVICE) < limit[..., None]


def attention(q, k, v, mask, scale=None, rounded_to=None):
    """Output and LSE in float64, or, with ``rounded_to``, as a framework computes them in that type."""
    wide = torch.float64 if rounded_to is None else torch.float32
    narrow = (lambda x: x) if rounded_to is None else (lambda x: x.to(rounded_to).to(wide))
    group = q.shape[2] // k.shape[2]
    scale = q.shape[3] ** -0.5 if scale is None else scale
    queries = q.to(wide).transpose(1, 2)
    keys, values = (x.to(wide).transpose(1, 2).repeat_interleave(group, 1) for x in (k, v))
    if k.shape[1] == 0:
        out = torch.zeros(*q.shape[:3], v.shape[3], dtype=wide, device=DEVICE)
        return out, torch.full((q.shape[0], q.shape[2], q.shape[1]), -torch.inf, dtype=wide, device=DEVICE)
    logits = narrow(scale * (queries @ keys.transpose(2, 3))).masked_fill(~mask[:, None], -torch.inf)
    highest = logits.amax(-1, keepdim=True)
    finite = highest.masked_fill(highest == -torch.inf, 0)
    weights = torch.exp(logits - finite)
    total = weights.sum(-1, keepdim=True)
    # Values that no row sees must not turn into NaN through 0 * inf.
    values = values.masked_fill(~mask.any(1)[:, None, :, None], 0)
    out = narrow((weights / total).masked_fill(total == 0, 0)) @ values
    lse = (finite + total.log()).masked_fill(total == 0, -torch.inf)[..., 0]
    return narrow(out).transpose(1, 2), lse


def close(ours, plain, exact, step, floor, what):
    """The contract's accuracy: at most twice the error of the same formula in the type, plus one step's rounding."""
    assert ours.shape == exact.shape, what
    if ours.numel() == 0:
        return
    ours, plain, exact = ours.double(), plain.double(), exact.double()
    special = ~exact.isfinite()
    assert torch.equal(~ours.isfinite(), special), f"{what}: finite values differ from the formula's"
    same = (ours == exact) | (ours.isnan() & exact.isnan())
    assert bool(same[special].all()), f"{what}: infinities or NaN differ"
    if bool(special.all()):
        return
    both = ~special & plain.isfinite()
    yardstick = (plain - exact)[both].abs().max().item() if bool(both.any()) else 0.0
    limit = 2 * yardstick + step * max(exact[~special].abs().max().item(), floor)
    error = (ours - exact)[~special].abs().max().item()
    assert error <= limit, f"{what}: error {error:.3e} is over the limit {limit:.3e}"


def check(out, lse, q, k, v, causal=False, glm=None, scale=None, align="bottom_right", what=""):
    assert out.dtype == q.dtype and out.device == q.device
    mask = visible(q.shape[0], q.shape[1], k.shape[1], causal, glm, align)
    exact_out, exact_lse = attention(q, k, v, mask, scale)
    plain_out, plain_lse = attention(q, k, v, mask, scale, q.dtype)
    longest = [x.float().norm(dim=-1).nan_to_num(posinf=0).max().item() if x.numel() else 0.0 for x in (q, k)]
    score = STEP[torch.float32] * longest[0] * longest[1] * (q.shape[3] ** -0.5 if scale is None else scale)
    close(out, plain_out, exact_out, STEP[q.dtype] + score, 0, f"output {what}")
    if lse is not None:
        assert lse.dtype == torch.float32 and lse.device == q.device
        close(lse, plain_lse, exact_lse, 4 * STEP[torch.float32] + score, 1, f"LSE {what}")


def problem(seed, batch=2, sq=200, sk=200, heads=4, heads_k=None, dim=64, dim_v=None, dtype=torch.bfloat16):
    generator = torch.Generator(DEVICE).manual_seed(seed)
    heads_k = heads if heads_k is None else heads_k
    shapes = (batch, sq, heads, dim), (batch, sk, heads_k, dim), (batch, sk, heads_k, dim_v or dim)
    return tuple(torch.randn(shape, generator=generator, device=DEVICE).to(dtype) for shape in shapes)


def mask_arguments(name, batch, sq, sk):
    """Keyword arguments of check(): the mask's kind, with numbers that fit the lengths."""
    if name == "none":
        return {}
    arguments = {"causal": True}
    if name == "causal_top_left":
        arguments["align"] = "top_left"
    elif name == "glm_break":
        ends = [(7 * b + sk // 3) % (sk + 1) for b in range(batch)]
        arguments["glm"] = torch.tensor(ends, dtype=torch.int32, device=DEVICE)
    elif name == "glm_packed":
        half = sk // 2
        # Out of order, nested, touching, and unused.
        pairs = [[[half, 0, half // 4, -1], [sk, half, half // 2, -1]] for _ in range(batch)]
        arguments["glm"] = torch.tensor(pairs, dtype=torch.int32, device=DEVICE)
    return arguments


def run(q, k, v, causal=False, glm=None, scale=None, align="bottom_right", **more):
    return flash_attn_func(q, k, v, causal, glm, scale, align, True, **more)


def surrounded(shape, dtype, fill, pad):
    """A view of ``shape`` inside a larger buffer of ``fill``; ``pad`` elements beside every row."""
    pads = [1] * (len(shape) - 1) + [pad]
    buffer = torch.full([n + 2 * p for n, p in zip(shape, pads)], fill, dtype=dtype, device=DEVICE)
    inside = tuple(slice(p, p + n) for n, p in zip(shape, pads))
    return buffer, inside


def poisoned(tensor, pad=8):
    """A copy of ``tensor`` inside NaN: any read beside it shows. 8 keeps rows aligned to 16 bytes, 1 to 2."""
    buffer, inside = surrounded(tensor.shape, tensor.dtype, torch.nan, pad)
    buffer[inside] = tensor
    return buffer[inside]


class Guarded:
    SENTINEL = -77.0

    def __init__(self, shape, dtype, pad=8):
        self.buffer, self.inside = surrounded(shape, dtype, self.SENTINEL, pad)
        self.view = self.buffer[self.inside]

    def assert_kept(self):
        beside = torch.ones(self.buffer.shape, dtype=torch.bool, device=DEVICE)
        beside[self.inside] = False
        assert bool((self.buffer[beside] == self.SENTINEL).all()), "written outside of the output"
        assert not bool((self.view == self.SENTINEL).any()), "elements of the output were not written"

    def assert_untouched(self):
        assert bool((self.buffer == self.SENTINEL).all()), "the output was written"


def run_guarded(q, k, v, pad=8, what="", engine=None, **kwargs):
    """A call with poisoned inputs and a guarded output, checked."""
    guarded = Guarded((*q.shape[:3], v.shape[3]), q.dtype, pad)
    inputs = [poisoned(x, pad) for x in (q, k, v)]
    out, lse = run(*inputs, out=guarded.view, engine=engine, **kwargs)
    assert out is guarded.view
    guarded.assert_kept()
    check(out, lse, q, k, v, what=what, **kwargs)
    return out, lse


def same_bits(a, b):
    integer = {2: torch.int16, 4: torch.int32}[a.element_size()]
    return a.dtype == b.dtype and torch.equal(a.contiguous().view(integer), b.contiguous().view(integer))
