# SPDX-License-Identifier: Apache-2.0
"""Attention on arrays."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple, TypeVar, Union

from ._arrays import Arrays, arrays_of
from ._features import OFF, UNBOUNDED, Features, checked_float, checked_int, checked_rng, checked_window
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
    bias: Optional[ArrayT] = None,
    attn_mask: Optional[ArrayT] = None,
    key_padding_mask: Optional[ArrayT] = None,
    alibi_slopes: Optional[ArrayT] = None,
    document_ids: Optional[ArrayT] = None,
    window_size: Tuple[int, int] = UNBOUNDED,
    softcap: float = OFF,
    dropout_p: float = OFF,
    rng: Union[Tuple[int, int], ArrayT, None] = None,
    seqused_k: Optional[ArrayT] = None,
    return_attn_probs: bool = False,
    out: Optional[ArrayT] = None,
    engine: Optional["Engine"] = None,
) -> Union[ArrayT, Tuple[ArrayT, ...]]:
    """Attention, ``softmax(softmax_scale * q @ k.T) @ v`` over the visible keys of each query row.

    With more arguments it is ``dropout(softmax(L)) @ v``, where L is ``softcap * tanh(x / softcap)`` of
    ``x = softmax_scale * q @ k.T`` (x itself without softcap), plus ALiBi, plus ``bias``, plus an additive
    ``attn_mask``; a key is visible where every mask that is given lets it be.

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
        return_lse: also return the natural logarithm of the sum of exponentials of L, to which dropout does nothing.
        bias: ``(batch, heads, seqlen_q, seqlen_k)``, each dimension that or 1; dtype of q or float32, any strides;
            added to the scores. ``-inf`` is allowed everywhere.
        attn_mask: shaped as ``bias``; of q's dtype or float32 it is added as well, of bool True means visible.
        key_padding_mask: bool ``(batch, seqlen_k)``: True is a real key, others are hidden.
        alibi_slopes: float32 ``(heads,)`` or ``(batch, heads)``: adds ``-slope * abs(position of the row - key)``.
        document_ids: int32 ``(batch, seqlen_k)``, the document of each key position: a row sees keys of the document at
            its own position, none if there is none. Ids do not decrease along a sequence; -1, only at the end, is
            padding, which sees nothing and is seen by nothing.
        window_size: ``(left, right)``: a row at position p sees keys from ``p - left`` to ``p + right``; -1 is
            unbounded. With ``causal`` the causal limit, which ``glm_mask`` may raise, stands in place of the right one.
        softcap: finite and > 0; 0: off.
        dropout_p: share of the probabilities set to 0, ``0 <= dropout_p < 1``; the others are scaled by the inverse of
            the share that is kept.
        rng: what dropout draws from: ``(seed, offset)``, integers from 0 to ``2**64 - 1``, or an int64 array of shape
            ``(2,)`` on q's device. The same numbers drop the same entries. None: drawn from torch's generator of q's
            device, or NumPy's global one.
        seqused_k: int32 ``(batch,)``: of each batch entry only so many keys, the first, are used. They are its
            seqlen_k: ``"bottom_right"`` counts from them.
        return_attn_probs: also return the probabilities ``softmax(L)``, ``(batch, heads, seqlen_q, seqlen_k)`` of q's
            dtype: not scaled by dropout, dropped entries negative, hidden ones 0.
        out: where to write the result, shaped as the result and of q's dtype, any strides that do not make elements
            overlap; it must not share memory with an input. None: a new array.
        engine: the engine that caches and runs the kernel; None: the process-wide one.

    Returns:
        ``(batch, seqlen_q, heads, head_dim_v)``, the kind and dtype of q, contiguous unless ``out`` was given. With
        ``return_lse`` or ``return_attn_probs`` a tuple of it, the LSE, float32 ``(batch, heads, seqlen_q)``, and the
        probabilities, those that were asked for in this order. A row that sees no key is 0, its LSE is ``-inf``.

    Raises:
        InvalidArgument: an argument is wrong; ``error.argument`` is its name.
        Unsupported: an argument that kernels do not serve yet (``inspect.support_matrix()`` says which;
            ``reference.attention`` computes them all); a tensor requires grad while gradients are recorded (there is no
            backward pass yet); float32 on a CUDA device; a device below compute capability 8.0, or no CUDA driver.
        CompileError: the kernel could not be compiled.
        CacheMiss: the engine may not compile, and the kernel is in no cache; or a CUDA graph is being captured, and the
            kernel is not loaded yet.
        CudaError: a call of the CUDA driver failed.

        Outputs are untouched in all these cases, but for a CudaError about work that already runs.
    """
    # Told by identity of the defaults, which costs a plain call next to nothing.
    if not (
        bias is None
        and attn_mask is None
        and key_padding_mask is None
        and alibi_slopes is None
        and document_ids is None
        and window_size is UNBOUNDED
        and softcap is OFF
        and dropout_p is OFF
        and rng is None
        and seqused_k is None
        and return_attn_probs is False
    ):
        tensors = {
            "bias": bias,
            "attn_mask": attn_mask,
            "key_padding_mask": key_padding_mask,
            "alibi_slopes": alibi_slopes,
            "document_ids": document_ids,
            "seqused_k": seqused_k,
        }
        arrays = arrays_of(q, k=k, v=v, glm_mask=glm_mask, out=out, **tensors)
        features = _features(arrays, q, tensors, window_size, softcap, dropout_p, rng)
        if features.used() or checked_bool("return_attn_probs", return_attn_probs):
            inputs, options = (q, k, v, out, glm_mask), call_options(softmax_scale, causal, causal_align)
            return _with_features(arrays, inputs, options, return_lse, return_attn_probs, engine, features)
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


def flash_attn_varlen_func(
    q: ArrayT,
    k: ArrayT,
    v: ArrayT,
    cu_seqlens_q: ArrayT,
    cu_seqlens_k: ArrayT,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool = False,
    glm_mask: Optional[ArrayT] = None,
    softmax_scale: Optional[float] = None,
    causal_align: str = "bottom_right",
    return_lse: bool = False,
    *,
    seqused_k: Optional[ArrayT] = None,
    bias: Optional[ArrayT] = None,
    attn_mask: Optional[ArrayT] = None,
    key_padding_mask: Optional[ArrayT] = None,
    alibi_slopes: Optional[ArrayT] = None,
    document_ids: Optional[ArrayT] = None,
    window_size: Tuple[int, int] = UNBOUNDED,
    softcap: float = OFF,
    dropout_p: float = OFF,
    rng: Union[Tuple[int, int], ArrayT, None] = None,
    return_attn_probs: bool = False,
    out: Optional[ArrayT] = None,
    engine: Optional["Engine"] = None,
) -> Union[ArrayT, Tuple[ArrayT, ...]]:
    """:func:`flash_attn_func` for sequences of different lengths, one after the other without padding.

    Positions, masks and dropout count from the start of each sequence. Arguments that are not listed are those of
    ``flash_attn_func``, their batch dimension counting sequences, and their seqlen_q and seqlen_k being
    ``max_seqlen_q`` and ``max_seqlen_k``, or more.

    Args:
        q: ``(total_q, heads, head_dim)``.
        k: ``(total_k, heads_k, head_dim)``.
        v: ``(total_k, heads_k, head_dim_v)``.
        cu_seqlens_q: int32 ``(batch + 1,)``: sequence b has the rows ``cu_seqlens_q[b]`` to ``cu_seqlens_q[b + 1]`` of
            q; from 0 to total_q, not decreasing.
        cu_seqlens_k: the same for k and v.
        max_seqlen_q: no sequence of q is longer.
        max_seqlen_k: no sequence of k is longer.

    Returns:
        ``(total_q, heads, head_dim_v)``; the LSE is ``(heads, total_q)``, the probabilities ``(batch, heads,
        max_seqlen_q, max_seqlen_k)``, 0 outside of the sequences.

    Raises:
        Those of ``flash_attn_func``.
    """
    tensors = {
        "bias": bias,
        "attn_mask": attn_mask,
        "key_padding_mask": key_padding_mask,
        "alibi_slopes": alibi_slopes,
        "document_ids": document_ids,
        "cu_seqlens_q": cu_seqlens_q,
        "cu_seqlens_k": cu_seqlens_k,
        "seqused_k": seqused_k,
    }
    for name in ("cu_seqlens_q", "cu_seqlens_k"):
        if tensors[name] is None:
            raise InvalidArgument(f"{name}: is None, must be an int32 array of shape (batch + 1,)", name)
    arrays = arrays_of(q, k=k, v=v, glm_mask=glm_mask, out=out, **tensors)
    features = _features(arrays, q, tensors, window_size, softcap, dropout_p, rng, max_seqlen_q, max_seqlen_k)
    options = call_options(softmax_scale, causal, causal_align)
    return _with_features(arrays, (q, k, v, out, glm_mask), options, return_lse, return_attn_probs, engine, features)


def _features(
    arrays: Arrays,
    q: Any,
    tensors: Dict[str, Any],
    window_size: Any,
    softcap: Any,
    dropout_p: Any,
    rng: Any,
    max_seqlen_q: Any = 0,
    max_seqlen_k: Any = 0,
) -> Features:
    dropout_p = checked_float("dropout_p", dropout_p)
    if rng is None and dropout_p > 0:
        rng = arrays.draw_rng(q)
    seed, offset, rng_state = (0, 0, None) if rng is None else checked_rng(arrays, rng)
    if rng_state is not None and dropout_p != 0:
        tensors = {**tensors, "rng_state": rng_state}
    return Features(
        tensors,
        checked_window(window_size),
        checked_float("softcap", softcap),
        dropout_p,
        seed,
        offset,
        checked_int("max_seqlen_q", max_seqlen_q),
        checked_int("max_seqlen_k", max_seqlen_k),
    )


def _with_features(
    arrays: Arrays,
    tensors: Tuple[Any, ...],
    options: Tuple[Any, ...],
    return_lse: Any,
    return_probs: Any,
    engine: Any,
    features: Features,
) -> Any:
    q, k, v, out, glm_mask = tensors
    addends = {name: features.tensors[name] for name in ("bias", "attn_mask")}
    arrays.check_gradients(q=q, k=k, v=v, out=out, **addends)
    handle = engine_handle(engine)
    result = empty_output(arrays, q, v) if out is None else out
    if out is not None:
        arrays.check_output("out", out)
    lse = empty_lse(arrays, q) if checked_bool("return_lse", return_lse) else None
    probs = empty_probs(arrays, q, k, features) if checked_bool("return_attn_probs", return_probs) else None
    features.tensors["probs"] = probs
    arrays.forward_features(handle, (q, k, v, result, lse, glm_mask), options, features)
    if out is not None:
        arrays.written(out)
    return asked_for(result, lse, probs)


def asked_for(out: Any, *more: Any) -> Any:
    """The output alone, or a tuple of it and what else there is."""
    present = tuple(value for value in more if value is not None)
    return (out, *present) if present else out


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
    rank = len(q.shape)
    if rank not in (3, 4) or len(v.shape) != rank:
        return arrays.empty((0, 0, 0, 0), q, dtype)
    if dtype is None and v.shape[-1] == q.shape[-1]:
        return arrays.empty_like(q)
    return arrays.empty((*q.shape[:-1], v.shape[-1]), q, dtype)


def empty_lse(arrays: Arrays, q: Any, dtype: str = "float32") -> Any:
    if len(q.shape) == 3:
        total, heads, _ = q.shape
        return arrays.empty((heads, total), q, dtype)
    if len(q.shape) != 4:
        return arrays.empty((0, 0, 0), q, dtype)
    batch, seqlen, heads, _ = q.shape
    return arrays.empty((batch, heads, seqlen), q, dtype)


def empty_probs(arrays: Arrays, q: Any, k: Any, features: Features, dtype: Optional[str] = None) -> Any:
    boundaries = features.tensors.get("cu_seqlens_q")
    if boundaries is not None:
        lengths = max(features.max_seqlen_q, 0), max(features.max_seqlen_k, 0)
        batch = boundaries.shape[0] - 1 if len(boundaries.shape) == 1 else 0
        return arrays.empty((max(batch, 0), q.shape[1] if len(q.shape) == 3 else 0, *lengths), q, dtype)
    if len(q.shape) != 4 or len(k.shape) != 4:
        return arrays.empty((0, 0, 0, 0), q, dtype)
    batch, seqlen, heads, _ = q.shape
    return arrays.empty((batch, heads, seqlen, k.shape[1]), q, dtype)
