# SPDX-License-Identifier: Apache-2.0
"""The float64 reference: attention by its definition, element by element, in double precision.

It is part of the library and shares no code with the kernels, which it is there to check. It is slow.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple, Union

from . import _ffi
from ._arrays import arrays_of
from ._features import OFF, UNBOUNDED, Features, checked_float, checked_int, checked_window
from .functions import asked_for, call_options, checked_bool, empty_lse, empty_output, empty_probs


def attention(
    q: Any,
    k: Any,
    v: Any,
    causal: bool = False,
    glm_mask: Optional[Any] = None,
    softmax_scale: Optional[float] = None,
    causal_align: str = "bottom_right",
    return_lse: bool = False,
    *,
    bias: Optional[Any] = None,
    attn_mask: Optional[Any] = None,
    key_padding_mask: Optional[Any] = None,
    alibi_slopes: Optional[Any] = None,
    document_ids: Optional[Any] = None,
    window_size: Tuple[int, int] = UNBOUNDED,
    softcap: float = OFF,
    dropout_p: float = OFF,
    dropout_seed: int = 0,
    dropout_offset: int = 0,
    rng_state: Optional[Any] = None,
    cu_seqlens_q: Optional[Any] = None,
    cu_seqlens_k: Optional[Any] = None,
    max_seqlen_q: int = 0,
    max_seqlen_k: int = 0,
    seqused_k: Optional[Any] = None,
    return_probs: bool = False,
) -> Union[Any, Tuple[Any, ...]]:
    """What :func:`tilewright.flash_attn_func` computes, without its rounding; every argument, on CPU tensors.

    Arguments and errors are those of ``flash_attn_func``; q, k, v, bias and attn_mask may be float64 as well. torch
    tensors that require grad are read as constants. With ``cu_seqlens_q`` and ``cu_seqlens_k`` it computes what
    :func:`tilewright.flash_attn_varlen_func` does, and its shapes are those; ``seqused_k`` goes without them too.
    ``dropout_seed`` and ``dropout_offset``, from 0 to ``2**64 - 1``, or ``rng_state``, an int64 array of the two, say
    what dropout removes.

    Returns:
        float64 ``(batch, seqlen_q, heads, head_dim_v)``, of q's kind; with ``return_lse`` or ``return_probs`` a tuple
        of it, the LSE, float64 ``(batch, heads, seqlen_q)``, and the probabilities, float64 ``(batch, heads, seqlen_q,
        seqlen_k)``, dropped entries negative: those that were asked for in this order.
    """
    tensors = {
        "bias": bias,
        "attn_mask": attn_mask,
        "key_padding_mask": key_padding_mask,
        "alibi_slopes": alibi_slopes,
        "document_ids": document_ids,
        "rng_state": rng_state,
        "cu_seqlens_q": cu_seqlens_q,
        "cu_seqlens_k": cu_seqlens_k,
        "seqused_k": seqused_k,
    }
    arrays = arrays_of(q, k=k, v=v, glm_mask=glm_mask, **tensors)
    options = call_options(softmax_scale, causal, causal_align)
    features = Features(
        tensors,
        checked_window(window_size),
        checked_float("softcap", softcap),
        checked_float("dropout_p", dropout_p),
        checked_int("dropout_seed", dropout_seed, 0, 2**64 - 1),
        checked_int("dropout_offset", dropout_offset, 0, 2**64 - 1),
        checked_int("max_seqlen_q", max_seqlen_q),
        checked_int("max_seqlen_k", max_seqlen_k),
    )
    out = empty_output(arrays, q, v, "float64")
    lse = empty_lse(arrays, q, "float64") if checked_bool("return_lse", return_lse) else None
    probs = empty_probs(arrays, q, k, features, "float64") if checked_bool("return_probs", return_probs) else None
    tensors["probs"] = probs
    rest = features.native(arrays.tensor)
    _ffi.call(
        "forward_features",
        _ffi.REFERENCE,
        0,
        None,
        *arrays.describe((q, k, v, out, lse, glm_mask)),
        *options,
        *rest,
        None,
    )
    return asked_for(out, lse, probs)
