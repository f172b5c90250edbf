# SPDX-License-Identifier: Apache-2.0
"""The arguments of attention beyond a plain call: bias, masks, window, dropout, varlen. Their types are checked here,
their values and shapes by the native side."""

from __future__ import annotations

import operator
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from .errors import InvalidArgument

UNBOUNDED = (-1, -1)
"""The window that hides nothing."""
OFF = 0.0
"""No softcap, no dropout."""

# In the order of the exported function's arguments.
_TENSORS = (
    "bias",
    "attn_mask",
    "key_padding_mask",
    "alibi_slopes",
    "document_ids",
    "rng_state",
    "probs",
    "cu_seqlens_q",
    "cu_seqlens_k",
    "seqused_k",
)


class Features(NamedTuple):
    """What a call uses of them. ``tensors`` by name; those that are not given are missing or None."""

    tensors: Dict[str, Any]
    window: Tuple[int, int] = UNBOUNDED
    softcap: float = OFF
    dropout_p: float = OFF
    seed: int = 0
    offset: int = 0
    max_seqlen_q: int = 0
    max_seqlen_k: int = 0

    def native(self, describe: Callable[[str, Any], Any]) -> Tuple[Any, ...]:
        """The arguments of the native side; ``describe`` turns a tensor, by name, into what can be passed."""
        given = ((name, self.tensors.get(name)) for name in _TENSORS)
        return (
            *(None if value is None else describe(name, value) for name, value in given),
            *self.window,
            self.softcap,
            self.dropout_p,
            _signed(self.seed),
            _signed(self.offset),
            self.max_seqlen_q,
            self.max_seqlen_k,
        )

    def used(self) -> bool:
        """Whether a plain call would not do."""
        return (
            any(value is not None for value in self.tensors.values())
            or self.window != UNBOUNDED
            or self.softcap != 0
            or self.dropout_p != 0
            or self.max_seqlen_q != 0
            or self.max_seqlen_k != 0
        )


def checked_window(value: Any) -> Tuple[int, int]:
    """Two integers, left and right."""
    try:
        left, right = value
        left, right = operator.index(left), operator.index(right)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(
            f"window_size: is {value!r}, must be two integers, (left, right); -1 is unbounded", "window_size"
        ) from error
    for side in (left, right):
        if not -1 <= side < 2**63:
            raise InvalidArgument(
                f"window_size: is {(left, right)}, must be at least 0 on each side, or -1, unbounded", "window_size"
            )
    return left, right


def checked_float(name: str, value: Any) -> float:
    """A number, which arrays, texts and bools are not."""
    if isinstance(value, (bool, str, bytes)) or value is None:
        raise InvalidArgument(f"{name}: is {value!r}, must be a number", name)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{name}: is a {type(value).__name__}, must be a number", name) from error


def checked_int(name: str, value: Any, low: int = -(2**63), high: int = 2**63 - 1) -> int:
    """An integer within the bounds."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InvalidArgument(f"{name}: is a {type(value).__name__}, must be an integer", name) from error
    if isinstance(value, bool) or not low <= number <= high:
        raise InvalidArgument(f"{name}: is {value!r}, must be an integer from {low} to {high}", name)
    return number


def checked_rng(arrays: Any, rng: Any) -> Tuple[int, int, Optional[Any]]:
    """Seed, offset, and the tensor that holds them instead."""
    if arrays.accepts(rng):
        dtype = str(rng.dtype).replace("torch.", "")
        if dtype != "int64" or tuple(rng.shape) != (2,):
            raise InvalidArgument(
                f"rng: is {dtype} of shape {tuple(rng.shape)}, must be int64 of shape (2,): seed, offset", "rng"
            )
        return 0, 0, rng
    if not isinstance(rng, (tuple, list)) or len(rng) != 2:
        raise InvalidArgument(
            f"rng: is a {type(rng).__name__}, must be (seed, offset), or an int64 {arrays.name} of shape (2,)", "rng"
        )
    seed, offset = (checked_int("rng", number, 0, 2**64 - 1) for number in rng)
    return seed, offset, None


def _signed(number: int) -> int:
    """The signed integer of the same 64 bits."""
    return number - 2**64 if number >= 2**63 else number
