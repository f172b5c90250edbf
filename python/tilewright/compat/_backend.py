# SPDX-License-Identifier: Apache-2.0
"""What the drop-in modules share: :func:`attention`, the one way to the library; errors under the originals' names;
packed tensors as views; the originals' layouts of LSE and probabilities."""

from __future__ import annotations

import contextlib
import math
from typing import Any, Dict, Iterator, NamedTuple, Optional, Tuple

import torch

from .. import functions
from .._features import UNBOUNDED, checked_float, checked_int
from ..errors import InvalidArgument, TilewrightError, Unsupported
from ..functions import checked_bool


class Lengths(NamedTuple):
    """The sequences of a varlen call, as ``flash_attn_varlen_func`` takes them."""

    cu_seqlens_q: Any
    cu_seqlens_k: Any
    max_seqlen_q: Any
    max_seqlen_k: Any


# The library's names of arguments, and what functions on packed tensors, or on one length, call them.
QKV = {"q": "qkv", "k": "qkv", "v": "qkv"}
KV = {"k": "kv", "v": "kv"}
QKV_VARLEN = {**QKV, "cu_seqlens_q": "cu_seqlens", "cu_seqlens_k": "cu_seqlens"}

Result = Tuple[torch.Tensor, Optional[torch.Tensor], Optional[torch.Tensor]]


def attention(
    q: Any,
    k: Any,
    v: Any,
    *,
    lengths: Optional[Lengths] = None,
    return_lse: bool = False,
    return_attn_probs: bool = False,
    **features: Any,
) -> Result:
    """Output, LSE and probabilities by the public functions; the latter two None unless asked for.

    Every drop-in function computes by this one function, looked up here at each call: tests put the reference in its
    place.
    """
    asked = {"return_lse": return_lse, "return_attn_probs": return_attn_probs}
    if lengths is None:
        found = functions.flash_attn_func(q, k, v, **asked, **features)
    else:
        found = functions.flash_attn_varlen_func(q, k, v, *lengths, **asked, **features)
    results = list(found) if isinstance(found, tuple) else [found]
    out = results.pop(0)
    lse = results.pop(0) if return_lse else None
    return out, lse, results.pop(0) if return_attn_probs else None


def call(names: Dict[str, str], q: Any, k: Any, v: Any, **rest: Any) -> Result:
    """:func:`attention` on torch tensors. Arguments that do nothing are left out, which keeps a plain call plain.

    ``names`` are the drop-in function's names of arguments that the library calls otherwise.
    """
    check_tensors(**{names.get(name, name): value for name, value in (("q", q), ("k", k), ("v", v))})
    off = {"window_size": UNBOUNDED, "softcap": 0.0, "dropout_p": 0.0}
    for name, value in off.items():
        if type(rest.get(name)) is type(value) and rest[name] == value:
            del rest[name]
    rest = {name: value for name, value in rest.items() if value is not None}
    with renamed({"window_left": "window_size", "window_right": "window_size", **names}):
        return attention(q, k, v, **rest)


@contextlib.contextmanager
def renamed(names: Dict[str, str]) -> Iterator[None]:
    """Errors about an argument name the drop-in function's argument that it came from."""
    try:
        yield
    except (InvalidArgument, Unsupported) as error:
        given = names.get(error.argument)
        if given is None:
            raise
        rest = str(error)[len(error.argument) + 2 :] if str(error).startswith(f"{error.argument}: ") else str(error)
        part = f"its {error.argument}: " if error.argument in ("q", "k", "v") else ""
        raise type(error)(f"{given}: {part}{rest}", given) from None


def check_tensors(**values: Any) -> None:
    """Each must be a torch tensor."""
    for name, value in values.items():
        if not isinstance(value, torch.Tensor):
            raise InvalidArgument(f"{name}: is a {type(value).__name__}, must be a torch.Tensor", name)


def unpacked(name: str, tensor: Any, count: int, varlen: bool = False) -> Tuple[torch.Tensor, ...]:
    """The ``count`` views of a packed qkv (3) or kv (2) tensor."""
    check_tensors(**{name: tensor})
    axis = 1 if varlen else 2
    if tensor.dim() != axis + 3 or tensor.shape[axis] != count:
        front = "total" if varlen else "batch, seqlen"
        raise InvalidArgument(
            f"{name}: shape is {tuple(tensor.shape)}, must be ({front}, {count}, heads, head_dim)", name
        )
    return tuple(tensor.select(axis, i) for i in range(count))


def equal_heads(q: Any, k: Any, name: str, instead: str) -> None:
    """Refuses grouped heads, which the original does not have. Ranks are the library's to check."""
    if q.dim() >= 2 and k.dim() >= 2 and q.shape[-2] != k.shape[-2]:
        raise InvalidArgument(
            f"{name}: heads is {k.shape[-2]}, must be {q.shape[-2]}, as in q; {instead} takes grouped heads", name
        )


def batch_of(name: str, cu_seqlens: Any) -> int:
    """Number of sequences."""
    check_tensors(**{name: cu_seqlens})
    if cu_seqlens.dim() != 1 or cu_seqlens.shape[0] < 1:
        raise InvalidArgument(f"{name}: shape is {tuple(cu_seqlens.shape)}, must be (batch + 1,)", name)
    return cu_seqlens.shape[0] - 1


def lengths_of(cu_seqlens_q: Any, cu_seqlens_k: Any, max_seqlen_q: Any, max_seqlen_k: Any) -> Lengths:
    """The sequences of a function with two sets of lengths."""
    check_tensors(cu_seqlens_q=cu_seqlens_q, cu_seqlens_k=cu_seqlens_k)
    longest = (length_of("max_seqlen_q", max_seqlen_q), length_of("max_seqlen_k", max_seqlen_k))
    return Lengths(cu_seqlens_q, cu_seqlens_k, *longest)


def same_lengths(cu_seqlens: Any, max_seqlen: Any, name: str = "max_seqlen") -> Lengths:
    """The sequences of a function on packed qkv."""
    check_tensors(cu_seqlens=cu_seqlens)
    longest = length_of(name, max_seqlen)
    return Lengths(cu_seqlens, cu_seqlens, longest, longest)


def length_of(name: str, value: Any) -> int:
    """A maximum length, which the shapes of results are made of."""
    return checked_int(name, value, 0, 2**31 - 1)


def rounded(number: int, multiple: int) -> int:
    """The next multiple, or the number itself."""
    return -(-number // multiple) * multiple


def padded_rows(lse: torch.Tensor, rows: int, fill: float) -> torch.Tensor:
    """``(batch, heads, seqlen)`` with more rows."""
    return torch.nn.functional.pad(lse, (0, rows - lse.shape[-1]), value=fill)


def padded_probs(probs: torch.Tensor, rows: int, keys: int) -> torch.Tensor:
    """``(batch, heads, seqlen_q, seqlen_k)`` with more rows and keys, which are 0."""
    return torch.nn.functional.pad(probs, (0, keys - probs.shape[-1], 0, rows - probs.shape[-2]))


def by_sequence(lse: torch.Tensor, cu_seqlens: torch.Tensor, rows: int, fill: float) -> torch.Tensor:
    """LSE ``(heads, total)`` as ``(batch, heads, rows)``, ``fill`` beyond a sequence; nothing waits for a device."""
    heads, total = lse.shape
    batch = cu_seqlens.shape[0] - 1
    if total == 0:
        return lse.new_full((batch, heads, rows), fill)
    row = torch.arange(rows, device=lse.device)
    start, end = (cu_seqlens[i : batch + i, None].long() for i in (0, 1))
    index = start + row
    found = lse[:, index.clamp(max=total - 1)].transpose(0, 1)
    return found.masked_fill((index >= end)[:, None], fill)


def fa2(
    names: Dict[str, str],
    q: Any,
    k: Any,
    v: Any,
    *,
    dropout_p: Any,
    return_attn_probs: Any,
    lengths: Optional[Lengths] = None,
    lse_by_sequence: bool = False,
    no_probs: Any = None,
    **features: Any,
) -> Any:
    """A function of FlashAttention 2: the output, or the tuple with LSE and ``S_dmask`` of ``return_attn_probs``.

    Rows that see nothing have the LSE +inf. ``S_dmask`` is there with dropout only, rounded up to multiples of 128;
    without, it is ``no_probs``. ``lse_by_sequence``: varlen LSE is ``(batch, heads, max_seqlen_q)``.
    """
    asked = checked_bool("return_attn_probs", return_attn_probs)
    dropout_p = checked_float("dropout_p", dropout_p)
    out, lse, probs = call(
        names,
        q,
        k,
        v,
        lengths=lengths,
        dropout_p=dropout_p,
        return_lse=asked,
        return_attn_probs=asked and dropout_p > 0,
        **features,
    )
    if not asked:
        return out
    lse = lse.masked_fill(lse == -math.inf, math.inf)
    if lse_by_sequence:
        lse = by_sequence(lse, lengths.cu_seqlens_q, lengths.max_seqlen_q, math.inf)
    if probs is None:
        return out, lse, no_probs
    return out, lse, padded_probs(probs, *(rounded(length, 128) for length in probs.shape[2:]))


class Sizes(NamedTuple):
    """What an added tensor is broadcast to, and q's dtype. With ``longer`` it may have more rows and keys (varlen:
    maxima)."""

    batch: int
    heads: int
    rows: int
    keys: int
    dtype: torch.dtype
    longer: bool = False


def scaled_addends(sizes: Sizes, scale: float, **addends: Any) -> Tuple[Optional[torch.Tensor], ...]:
    """The terms of ``scale * (X + mask + bias)`` that the library, which adds after scaling, must be given.

    Checks the shapes: ``(batch, heads, rows, keys)``, each dimension that or 1, the batch also a divisor: entry b then
    uses ``b % batch``. Memory: a scaled copy of what is stored (dimensions of stride 0 stay broadcast), in the
    tensor's type where that is exact, else float32; none for a scale of 1. Only a batch strictly between 1 and the
    call's is repeated: no stride walks it.
    """
    return tuple(None if tensor is None else _scaled(name, tensor, sizes, scale) for name, tensor in addends.items())


def _scaled(name: str, tensor: Any, sizes: Sizes, scale: float) -> torch.Tensor:
    check_tensors(**{name: tensor})
    if tensor.dtype not in (sizes.dtype, torch.float32):
        raise InvalidArgument(f"{name}: dtype is {tensor.dtype}, must be q's, {sizes.dtype}, or torch.float32", name)
    if tensor.dim() != 4:
        raise InvalidArgument(f"{name}: rank is {tensor.dim()}, must be 4: (batch, heads, seqlen_q, seqlen_k)", name)
    batch = tensor.shape[0]
    if batch != sizes.batch and (batch == 0 or sizes.batch % batch):
        raise InvalidArgument(f"{name}: batch is {batch}, must divide the batch of q, {sizes.batch}", name)
    for what, found, wanted in zip(("heads", "seqlen_q", "seqlen_k"), tensor.shape[1:], sizes[1:4]):
        longer = sizes.longer and what != "heads"
        if found != 1 and found != wanted and not (longer and found > wanted):
            more = " or more" if longer else ""
            raise InvalidArgument(f"{name}: {what} is {found}, must be 1 or {wanted}{more}", name)
    for dim in range(4):
        if tensor.shape[dim] > 1 and tensor.stride(dim) == 0:
            tensor = tensor.narrow(dim, 0, 1)
    stored = tensor.shape[0]
    if 1 < stored < sizes.batch:
        tensor = tensor.unsqueeze(0).expand(sizes.batch // stored, *tensor.shape)
    if scale == 0:
        tensor = torch.zeros_like(tensor).masked_fill(tensor == -math.inf, -math.inf)  # 0 * -inf would be NaN
    elif scale != 1:
        # A power of two below 1 only moves the exponent. Anything else rounds, and above 1 a half overflows to inf.
        exact = scale < 1 and math.frexp(scale)[0] == 0.5
        tensor = (tensor if exact else tensor.to(torch.promote_types(tensor.dtype, torch.float32))) * scale
    return tensor.reshape(sizes.batch, *tensor.shape[2:]) if tensor.dim() == 5 else tensor


def scale_of(q: torch.Tensor, softmax_scale: Any) -> float:
    """The scale that a call uses."""
    if softmax_scale is None:
        return max(q.shape[-1], 1) ** -0.5 if q.dim() else 1.0
    scale = checked_float("softmax_scale", softmax_scale)
    if not (math.isfinite(scale) and scale >= 0):
        raise InvalidArgument(f"softmax_scale: is {scale}, must be finite and at least 0", "softmax_scale")
    return scale


def served(row: str) -> bool:
    """Whether the support matrix says that the kernels of this machine serve a feature, a row by its first words."""
    from ..inspect import support_matrix

    for line in support_matrix().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) >= 4 and cells[1].startswith(row):
            return cells[3 if torch.cuda.is_available() else 2] == "yes"
    raise TilewrightError(f"the support matrix has no row {row!r}")
