# SPDX-License-Identifier: Apache-2.0
"""The float64 reference: attention by its definition, element by element, in double precision.

It is part of the library and shares no code with the kernels, which it is there to check. It is slow.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple, Union

from . import _ffi
from ._arrays import arrays_of
from .functions import call_options, checked_bool, empty_lse, empty_output


def attention(
    q: Any,
    k: Any,
    v: Any,
    causal: bool = False,
    glm_mask: Optional[Any] = None,
    softmax_scale: Optional[float] = None,
    causal_align: str = "bottom_right",
    return_lse: bool = False,
) -> Union[Any, Tuple[Any, Any]]:
    """What :func:`tilewright.flash_attn_func` computes, without its rounding.

    Arguments and errors are those of ``flash_attn_func``; q, k and v may be float64 as well. torch tensors that require
    grad are read as constants.

    Returns:
        float64 ``(batch, seqlen_q, heads, head_dim_v)``, of q's kind; with ``return_lse`` a pair of it and the LSE,
        float64 ``(batch, heads, seqlen_q)``.
    """
    arrays = arrays_of(q, k=k, v=v, glm_mask=glm_mask)
    options = call_options(softmax_scale, causal, causal_align)
    out = empty_output(arrays, q, v, "float64")
    lse = empty_lse(arrays, q, "float64") if checked_bool("return_lse", return_lse) else None
    _ffi.call("reference_forward", *arrays.describe((q, k, v, out, lse, glm_mask)), *options)
    return (out, lse) if lse is not None else out
