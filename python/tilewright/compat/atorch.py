# SPDX-License-Identifier: Apache-2.0
"""Stands in for ATorch's attention helpers and its ``FlashAttnModule``.

Tensors are ``(batch, seqlen, heads, head_dim)``; the result is shaped as q. Forward only; errors are those of
:func:`tilewright.flash_attn_func`. Differences from the original: ``python/docs/compat.md``.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch

from ..errors import InvalidArgument
from ..functions import checked_bool
from . import fa2_pack_glm_mask
from ._backend import Sizes, call, check_tensors, equal_heads, scale_of, scaled_addends, served

__all__ = [
    "FlashAttnModule",
    "fa2_with_glm_mask",
    "flash_attn_with_mask_bias",
    "is_additive_mask_bias_supported_fa1",
    "is_glm_mask_supported_fa2",
    "is_pack_glm_mask_supported_fa2",
]


def is_additive_mask_bias_supported_fa1() -> bool:
    """Whether :func:`flash_attn_with_mask_bias` takes masks and biases here: on CUDA where torch finds a device, else
    on the CPU. What the support matrix says."""
    return served("`bias`") and served("additive `attn_mask`")


def is_glm_mask_supported_fa2() -> bool:
    """The same for GLM break points."""
    return served("GLM break points")


def is_pack_glm_mask_supported_fa2() -> bool:
    """The same for packed GLM pairs."""
    return served("packed GLM pairs")


def flash_attn_with_mask_bias(q, k, v, mask=None, bias=None, dropout_p=0.0, softmax_scale=None, causal=False):
    """Attention with the scores of the FlashAttention 1 fork, ``softmax_scale * (q @ k.T + mask + bias)``.

    ``mask`` and ``bias`` are scaled too; their shapes, types and the scaled copy are those of
    :mod:`tilewright.compat.flash_attn_1`, with ``seqlen_q`` and ``seqlen_k`` for the maxima. ``causal`` is aligned to
    the top left. The original pads ``seqlen_q`` to a multiple of 8 and an odd ``seqlen_k`` by a key of zeros, which,
    without mask and bias, takes part in the softmax; here nothing is padded.
    """
    return _with_addends({"attn_mask": "mask"}, q, k, v, dropout_p, softmax_scale, causal, mask=mask, bias=bias)


def _with_addends(
    names: dict, q: Any, k: Any, v: Any, dropout_p: Any, softmax_scale: Any, causal: Any, **addends: Any
) -> torch.Tensor:
    """``addends``: mask and bias, in this order, under the names that errors give them."""
    check_tensors(q=q, k=k, v=v)
    equal_heads(q, k, "k", "tilewright.flash_attn_func")
    scale = scale_of(q, softmax_scale)
    mask = bias = None
    if q.dim() == 4 and k.dim() == 4:  # else the library says what is wrong
        sizes = Sizes(q.shape[0], q.shape[2], q.shape[1], k.shape[1], q.dtype)
        mask, bias = scaled_addends(sizes, scale, **addends)
    options = {"dropout_p": dropout_p, "softmax_scale": scale, "causal": causal, "causal_align": "top_left"}
    return call(names, q, k, v, attn_mask=mask, bias=bias, **options)[0]


def fa2_with_glm_mask(q, k, v, glm_mask=None, dropout_p=0.0, softmax_scale=None, causal=True):
    """Attention with a GLM mask, int32 ``(batch,)`` or ``(batch, 2, N)``, which needs ``causal``.

    It is :func:`tilewright.compat.fa2_pack_glm_mask.flash_attn_func`, with its differences from the original, so
    ``causal`` is aligned to the bottom right.
    """
    return fa2_pack_glm_mask.flash_attn_func(q, k, v, dropout_p, softmax_scale, causal, glm_mask=glm_mask)


class FlashAttnModule(torch.nn.Module):
    """Attention as a module: dropout while it trains, none in evaluation.

    Args:
        causal: row i sees keys up to i. Then ``seqlen_q`` must equal ``seqlen_k``, or be 1: decoding, where the one row
            sees every key.
        softmax_scale: ``head_dim ** -0.5`` if None.
        attention_dropout: share of the probabilities that is dropped in training.
        use_fa3: taken as the original takes it. Tilewright chooses its kernels itself, with the same result; FA3's
            refusals (masks, dropout, not causal) do not apply.
    """

    def __init__(self, causal=False, softmax_scale=None, attention_dropout=0.0, use_fa3=False):
        super().__init__()
        self.causal = checked_bool("causal", causal)
        self.softmax_scale = softmax_scale
        self.attention_dropout = attention_dropout
        self.use_fa3 = checked_bool("use_fa3", use_fa3)

    def forward(
        self, q, k, v, key_padding_mask=None, glm_mask=None, additive_mask=None, additive_bias=None
    ) -> torch.Tensor:
        """``(batch, seqlen_q, heads, head_dim)``. No argument makes it wait for a device.

        Args:
            q: ``(batch, seqlen_q, heads, head_dim)``.
            k: ``(batch, seqlen_k, heads_k, head_dim)``; ``heads % heads_k == 0``.
            v: as k.
            key_padding_mask: ``(batch, seqlen_k)``, bool or a number type: nonzero is a real token. Padded keys are
                hidden and padded query rows are 0, as if the tokens were packed together; with one query row, the last
                position says whether it is padded. If a value of a number type is above 1, row b holds the lengths of
                the samples in sequence b, then zeros: samples do not see each other. (A bool mask runs without the
                document mask that this takes.) Needs ``seqlen_q == seqlen_k``, or one query row.
            glm_mask: int32 ``(batch,)`` or ``(batch, 2, N)``; needs a causal module. With ``key_padding_mask`` it
                counts real tokens only, as in the original, which packs them; where the mask holds lengths it counts
                from the start of the sequence. With one query row it changes nothing; the original raises.
            additive_mask: as ``mask`` of :func:`flash_attn_with_mask_bias`; needs a module that is not causal, and no
                ``key_padding_mask``.
            additive_bias: as ``bias`` there; the same needs.

        Raises:
            InvalidArgument: one of these rules is broken (AssertionError in the original), and those of
                :func:`tilewright.flash_attn_func`.
        """
        check_tensors(q=q, k=k, v=v)
        for name, tensor in (("q", q), ("k", k)):
            if tensor.dim() != 4:
                raise InvalidArgument(
                    f"{name}: rank is {tensor.dim()}, must be 4: (batch, seqlen, heads, head_dim)", name
                )
        dropout_p = self.attention_dropout if self.training else 0.0
        rows, keys = q.shape[1], k.shape[1]
        if self.causal and rows not in (1, keys):
            raise InvalidArgument(
                f"q: seqlen_q is {rows}, must be seqlen_k, {keys}, or 1 in a causal FlashAttnModule", "q"
            )
        if glm_mask is not None and not self.causal:
            raise InvalidArgument("glm_mask: is given, must be None unless FlashAttnModule(causal=True)", "glm_mask")
        for name, value in (("additive_mask", additive_mask), ("additive_bias", additive_bias)):
            if value is not None and (self.causal or key_padding_mask is not None):
                what = "a key_padding_mask" if not self.causal else "FlashAttnModule(causal=True)"
                raise InvalidArgument(f"{name}: is given, must be None with {what}", name)
        if additive_mask is not None or additive_bias is not None:
            names = {"attn_mask": "additive_mask", "bias": "additive_bias"}
            addends = {"additive_mask": additive_mask, "additive_bias": additive_bias}
            return _with_addends(names, q, k, v, dropout_p, self.softmax_scale, False, **addends)
        valid = documents = None
        if key_padding_mask is not None:
            _check_padding(key_padding_mask, q, k)
            valid, documents = _tokens(key_padding_mask, not key_padding_mask.is_cuda)
            if glm_mask is not None:
                glm_mask = _among_all(glm_mask, valid)
        # Bottom right: the one row of decoding stands at the last key, where causal hides nothing.
        out, _, _ = call(
            {},
            q,
            k,
            v,
            causal=self.causal and (rows != 1 or glm_mask is not None),
            glm_mask=glm_mask,
            softmax_scale=self.softmax_scale,
            dropout_p=dropout_p,
            key_padding_mask=valid,
            document_ids=documents,
        )
        if valid is not None:
            out.masked_fill_(~valid[:, valid.shape[1] - rows :, None, None], 0)
        return out


def _check_padding(mask: Any, q: torch.Tensor, k: torch.Tensor) -> None:
    check_tensors(key_padding_mask=mask)
    wanted = (k.shape[0], k.shape[1])
    if tuple(mask.shape) != wanted:
        raise InvalidArgument(
            f"key_padding_mask: shape is {tuple(mask.shape)}, must be (batch, seqlen_k), {wanted}", "key_padding_mask"
        )
    if q.shape[1] not in (1, k.shape[1]):
        raise InvalidArgument(
            f"q: seqlen_q is {q.shape[1]}, must be seqlen_k, {k.shape[1]}, or 1 with a key_padding_mask", "q"
        )


def _tokens(mask: torch.Tensor, look: bool) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
    """Which keys are real, and document ids if the mask holds, or may hold, lengths of samples.

    ``look``: values may be looked at, which waits for a device. Otherwise ids are always returned for number types, of
    one document where the mask holds no lengths.
    """
    if mask.dtype == torch.bool:
        return mask, None
    real = mask != 0
    lengths_given = (mask > 1).any()
    if look and not bool(lengths_given):
        return real, None
    batch, keys = mask.shape
    ends = mask.long().cumsum(1)
    if look and bool((mask < 0).any() or (ends > keys).any()):
        raise InvalidArgument(
            f"key_padding_mask: holds lengths, whose sum in a row is not in [0, seqlen_k], [0, {keys}]",
            "key_padding_mask",
        )
    positions = torch.arange(keys, device=mask.device).expand(batch, keys).contiguous()
    sample = torch.searchsorted(ends, positions, right=True)
    inside = positions < ends[:, -1:]
    ids = torch.where(lengths_given, torch.where(inside, sample, -1), 0).int()
    return torch.where(lengths_given, inside, real), ids


def _among_all(glm_mask: Any, valid: torch.Tensor) -> torch.Tensor:
    """Positions among the real tokens as positions among all: the padding before the n-th token moves it."""
    check_tensors(glm_mask=glm_mask)
    batch, keys = valid.shape
    if glm_mask.dtype != torch.int32 or glm_mask.dim() not in (1, 3) or glm_mask.shape[0] != batch:
        raise InvalidArgument(
            f"glm_mask: is {glm_mask.dtype} of shape {tuple(glm_mask.shape)}, must be torch.int32 of shape ({batch},) "
            f"or ({batch}, 2, N)",
            "glm_mask",
        )
    if not glm_mask.is_cuda and bool(((glm_mask < -1) | (glm_mask > keys)).any()):
        raise InvalidArgument(f"glm_mask: holds values outside [-1, seqlen_k], [-1, {keys}]", "glm_mask")
    # Before position p there are as many real tokens as the count says: the first p with more than n is the answer.
    count = valid.long().cumsum(1)
    flat = glm_mask.reshape(batch, -1)
    moved = torch.searchsorted(count, flat.long().contiguous(), right=True).int()
    return torch.where(flat < 0, flat, moved).reshape(glm_mask.shape)
