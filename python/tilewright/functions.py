# SPDX-License-Identifier: Apache-2.0
"""Attention on arrays."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Optional, Tuple, TypeVar, Union

from ._arrays import Arrays, arrays_of
from .errors import InvalidArgument

if TYPE_CHECKING:
    from .engine import Engine

ArrayT = TypeVar("ArrayT")
"""A ``numpy.ndarray`` or a ``torch.Tensor``: what goes in comes out."""


def flash_attn_func(
    q: ArrayT,
    k: ArrayT,
    v: ArrayT,
    causal: bool = False,
    glm_mask: Optional[ArrayT] = None,
    softmax_scale: Optional[float] = None,
    causal_align: str = "bottom_right",
    return_lse: bool = False,
    *,
    out: Optional[ArrayT] = None,
    engine: Optional["Engine"] = None,
) -> Union[ArrayT, Tuple[ArrayT, ArrayT]]:
    """Attention, ``softmax(softmax_scale * q @ k.T) @ v`` over the visible keys of each query row.

    All arrays are NumPy arrays, or all are torch tensors on the CPU, or all are torch tensors on one CUDA device. They
    may have any strides: a ``(batch, heads, seqlen, head_dim)`` array passed as ``x.transpose(1, 2)``, or the slices of
    a packed qkv array, are read where they are. Inputs are only read, so read-only arrays do. Nothing may change them,
    or read ``out``, until the call returns.

    CUDA tensors: the work is queued on torch's current stream of their device, and the call returns without waiting for
    it. It can be captured in a CUDA graph once it has been made without one.

    Args:
        q: ``(batch, seqlen_q, heads, head_dim)``; float32 (not on CUDA), float16 or bfloat16 (NumPy: the dtype of
            ml_dtypes). ``head_dim`` is 1 to 256, lengths start at 0.
        k: ``(batch, seqlen_k, heads_k, head_dim)``, dtype of q; ``heads`` is a multiple of ``heads_k``.
        v: ``(batch, seqlen_k, heads_k, head_dim_v)``, dtype of q; ``head_dim_v`` is 1 to 256.
        causal: query row i sees keys up to its own position and none after it.
        glm_mask: what a row sees beyond the causal limit, int32; needs ``causal=True``. Either break points
            ``(batch,)``: every row sees keys ``j < glm_mask[b]``; or packed pairs ``(batch, 2, N)``: a row whose
            position is in ``[glm_mask[b, 0, n], glm_mask[b, 1, n])`` sees keys up to that end. -1 marks an unused pair;
            pairs may come in any order, overlap and nest. Values lie in ``[0, seqlen_k]``; those of CUDA tensors
            are not checked but clamped.
        softmax_scale: finite and >= 0; ``head_dim ** -0.5`` if None.
        causal_align: position of query row i among the keys: ``"bottom_right"``: ``i + seqlen_k - seqlen_q``;
            ``"top_left"``: ``i``.
        return_lse: also return the natural logarithm of the sum of exponentials.
        out: where to write the result, shaped as the result and of q's dtype, any strides that do not make elements
            overlap; it must not share memory with an input. None: a new array.
        engine: the engine that caches and runs the kernel; None: the process-wide one.

    Returns:
        ``(batch, seqlen_q, heads, head_dim_v)``, the kind and dtype of q, contiguous unless ``out`` was given. With
        ``return_lse`` a pair of it and the LSE, float32 ``(batch, heads, seqlen_q)``. A row that sees no key is 0, its
        LSE is ``-inf``.

    Raises:
        InvalidArgument: an argument is wrong; ``error.argument`` is its name.
        Unsupported: a tensor requires grad while gradients are recorded (there is no backward pass yet); float32 on a
            CUDA device; a device below compute capability 8.0, or no CUDA driver.
        CompileError: the kernel could not be compiled.
        CacheMiss: the engine may not compile, and the kernel is in no cache; or a CUDA graph is being captured, and the
            kernel is not loaded yet.
        CudaError: a call of the CUDA driver failed.

        Outputs are untouched in all these cases, but for a CudaError about work that already runs.
    """
    arrays = arrays_of(q, k=k, v=v, glm_mask=glm_mask, out=out)
    arrays.check_gradients(q=q, k=k, v=v, out=out)
    handle = engine_handle(engine)
    options = call_options(softmax_scale, causal, causal_align)
    result = empty_output(arrays, q, v) if out is None else out
    if out is not None:
        arrays.check_output("out", out)
    lse = empty_lse(arrays, q) if checked_bool("return_lse", return_lse) else None
    arrays.forward(handle, (q, k, v, result, lse, glm_mask), *options)
    if out is not None:
        arrays.written(out)
    return (result, lse) if lse is not None else result


def call_options(softmax_scale: Any, causal: Any, causal_align: Any) -> Tuple[Optional[float], bool, str]:
    """The scalars of a call as the native side takes them, their types checked."""
    if softmax_scale is not None:
        if isinstance(softmax_scale, (bool, str, bytes)):
            raise InvalidArgument(f"softmax_scale: is {softmax_scale!r}, must be a number or None", "softmax_scale")
        try:
            softmax_scale = float(softmax_scale)
        except (TypeError, ValueError) as error:
            raise InvalidArgument(
                f"softmax_scale: is a {type(softmax_scale).__name__}, must be a number or None", "softmax_scale"
            ) from error
    if not isinstance(causal_align, str):
        raise InvalidArgument(
            f'causal_align: is a {type(causal_align).__name__}, must be "bottom_right" or "top_left"', "causal_align"
        )
    return softmax_scale, checked_bool("causal", causal), causal_align


def checked_bool(name: str, value: Any) -> bool:
    """A bool, numpy.bool_, 0 or 1. Anything else is a mistake, such as an argument in another's place."""
    if value is True or value is False:
        return value
    if type(value).__module__ == "numpy" and type(value).__name__ in ("bool_", "bool"):
        return bool(value)
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number not in (0, 1):
        raise InvalidArgument(f"{name}: is {_shown(value)}, must be True or False", name)
    return bool(number)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, (str, int, float, type(None))) else f"a {type(value).__name__}"


def engine_handle(engine: Optional["Engine"]) -> int:
    """The native handle; 0 is the process-wide engine."""
    if engine is None:
        return 0
    handle = getattr(engine, "_handle", None)
    if not isinstance(handle, int):
        raise InvalidArgument(f"engine: is a {type(engine).__name__}, must be a tilewright.Engine or None", "engine")
    return handle


def empty_output(arrays: Arrays, q: Any, v: Any, dtype: Optional[str] = None) -> Any:
    # A wrong rank is the native side's to report; no output is made for it.
    if len(q.shape) != 4 or len(v.shape) != 4:
        return arrays.empty((0, 0, 0, 0), q, dtype)
    return arrays.empty((*q.shape[:3], v.shape[3]), q, dtype)


def empty_lse(arrays: Arrays, q: Any, dtype: str = "float32") -> Any:
    if len(q.shape) != 4:
        return arrays.empty((0, 0, 0), q, dtype)
    batch, seqlen, heads, _ = q.shape
    return arrays.empty((batch, heads, seqlen), q, dtype)
