# SPDX-License-Identifier: Apache-2.0
"""Looking inside: what a call would run, which blocks of the mask it skips, what a kernel's code looks like."""

from __future__ import annotations

import json
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import _ffi
from ._arrays import arrays_of
from ._features import OFF, UNBOUNDED, Features, checked_float, checked_window
from .engine import Engine, Stats, default_engine
from .errors import InvalidArgument
from .functions import call_options, checked_bool, engine_handle

__all__ = [
    "BlockMap",
    "Compiled",
    "block_map",
    "build_id",
    "canonical_key",
    "compile",
    "events",
    "info",
    "native_version",
    "plan",
    "stats",
    "support_matrix",
]

SKIPPED, PARTIAL, FULL = 0, 1, 2


class BlockMap(NamedTuple):
    """How the kernel treats each block of the score matrix.

    ``kinds`` holds one byte a block, row-major over ``shape`` = (batch, row blocks, key blocks): SKIPPED (never
    touched), PARTIAL (computed and masked) or FULL (computed without a mask). The map's key blocks are counted from key
    0; a kernel whose rows begin to see keys later (windows, documents, padding in front) counts its own from the first
    key that a row block sees, and so most often has fewer.
    """

    block_m: int
    block_n: int
    shape: Tuple[int, int, int]
    kinds: bytes

    def count(self, kind: int) -> int:
        """Number of blocks of a kind, over the whole batch."""
        return self.kinds.count(kind)

    def counts(self) -> Dict[str, int]:
        """Number of blocks of each kind, over the whole batch: ``skipped``, ``partial``, ``full``."""
        return {name: self.count(kind) for name, kind in (("skipped", SKIPPED), ("partial", PARTIAL), ("full", FULL))}

    def array(self) -> Any:
        """``kinds`` as a NumPy array of ``shape``."""
        import numpy

        return numpy.frombuffer(self.kinds, numpy.uint8).reshape(self.shape)


class Compiled(NamedTuple):
    """One stage of a kernel's compilation."""

    output: bytes  #: the stage's text (UTF-8), or machine code for "obj"
    stage_ms: Dict[str, float]  #: milliseconds by stage, in order


def plan(
    q: Any,
    k: Any,
    v: Any,
    causal: bool = False,
    glm_mask: Optional[Any] = None,
    softmax_scale: Optional[float] = None,
    causal_align: str = "bottom_right",
    *,
    bias: Optional[Any] = None,
    attn_mask: Optional[Any] = None,
    key_padding_mask: Optional[Any] = None,
    alibi_slopes: Optional[Any] = None,
    document_ids: Optional[Any] = None,
    window_size: Tuple[int, int] = UNBOUNDED,
    softcap: float = OFF,
    dropout_p: float = OFF,
    seqused_k: Optional[Any] = None,
    return_attn_probs: bool = False,
    engine: Optional[Engine] = None,
) -> Dict[str, Any]:
    """The steps that :func:`tilewright.flash_attn_func` would run, without running or compiling them.

    Arguments and errors are those of ``flash_attn_func``.

    Returns:
        ``{"steps": [{"key", "programs"}, ...], "workspace_bytes"}``; ``"schedule_row"``, ``{"table", "measured"}``, if
        the forward kernel's schedule comes from a table, not from ``Engine(schedule=)``; and, where a Hopper GPU's
        forward kernel is not of its own instruction family sm_90a, ``"why_not_sm_90a"``.
    """
    tensors = _named(bias, attn_mask, key_padding_mask, alibi_slopes, document_ids, seqused_k)
    options = (softmax_scale, causal, causal_align)
    scalars = (window_size, softcap, dropout_p, return_attn_probs)
    args = _describe(engine, q, k, v, glm_mask, *options, tensors, *scalars)
    return json.loads(_ffi.call("forward_features", _ffi.PLAN, *args, None))


def block_map(
    q: Any,
    k: Any,
    v: Any,
    causal: bool = False,
    glm_mask: Optional[Any] = None,
    softmax_scale: Optional[float] = None,
    causal_align: str = "bottom_right",
    *,
    bias: Optional[Any] = None,
    attn_mask: Optional[Any] = None,
    key_padding_mask: Optional[Any] = None,
    alibi_slopes: Optional[Any] = None,
    document_ids: Optional[Any] = None,
    window_size: Tuple[int, int] = UNBOUNDED,
    softcap: float = OFF,
    dropout_p: float = OFF,
    seqused_k: Optional[Any] = None,
    return_attn_probs: bool = False,
    engine: Optional[Engine] = None,
) -> BlockMap:
    """Which blocks of the score matrix :func:`tilewright.flash_attn_func` would skip, mask, or run unmasked.

    ``glm_mask``, ``document_ids``, ``key_padding_mask`` and ``seqused_k`` are on the CPU, where their numbers can be
    read, also if q, k and v are on a CUDA device. Other arguments, and errors, are those of ``flash_attn_func``.
    """
    tensors = _named(bias, attn_mask, key_padding_mask, alibi_slopes, document_ids, seqused_k)
    options = (softmax_scale, causal, causal_align)
    scalars = (window_size, softcap, dropout_p, return_attn_probs)
    args = _describe(engine, q, k, v, glm_mask, *options, tensors, *scalars)
    block_m, block_n = _ffi.call("forward_features", _ffi.BLOCK_MAP, *args, None)
    shape = (q.shape[0], -(-q.shape[1] // block_m), -(-k.shape[1] // block_n))
    size = shape[0] * shape[1] * shape[2]
    kinds = bytearray(size)
    if size:
        import ctypes

        memory = (ctypes.c_uint8 * size).from_buffer(kinds)
        buffer = _ffi.Tensor(ctypes.addressof(memory), _ffi.DL_UINT, 8, (size,), (1,))
        _ffi.call("forward_features", _ffi.BLOCK_MAP, *args, buffer)
    return BlockMap(block_m, block_n, shape, bytes(kinds))


def compile(key: str, stage: str = "obj") -> Compiled:
    """Compiles the kernel that ``key`` names up to ``stage``: attn, tile, schedule, vector, llvm or obj; of a GPU key
    attn, tile, schedule, nvvm, llvm, ptx or cubin. Uses no cache, and no GPU.

    Raises:
        InvalidArgument: the key or the stage is wrong.
        CompileError: it does not compile.
    """
    output, timings = _ffi.call("compile", _checked_text("key", key), _checked_text("stage", stage))
    return Compiled(output, json.loads(timings))


def canonical_key(key: str) -> Tuple[str, str]:
    """The canonical form of a key's text, and its digest of 64 hex digits.

    Raises:
        InvalidArgument: the text names no kernel; the message says what is wrong with it.
    """
    text, digest = _ffi.call("key_canonical", _checked_text("key", key))
    return text, digest


def stats(engine: Optional[Engine] = None) -> Stats:
    """:meth:`Engine.stats` of ``engine``, or of the process-wide engine."""
    return (engine or default_engine()).stats()


def events(engine: Optional[Engine] = None) -> List[Dict[str, Any]]:
    """:meth:`Engine.events` of ``engine``, or of the process-wide engine."""
    return (engine or default_engine()).events()


def info(engine: Optional[Engine] = None) -> Dict[str, Any]:
    """:meth:`Engine.info` of ``engine``, or of the process-wide engine."""
    return (engine or default_engine()).info()


def support_matrix() -> str:
    """What is supported, as Markdown, printed from the table that the dispatcher reads."""
    return _ffi.call("support_matrix")


def native_version() -> str:
    """Version of the loaded library."""
    return _ffi.call("version")


def build_id() -> str:
    """Content hash of the loaded library; it is part of every kernel's key."""
    return _ffi.call("build_id")


def _checked_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"{name}: is a {type(value).__name__}, must be a str", name)
    return value


def _named(*tensors: Any) -> Dict[str, Any]:
    names = ("bias", "attn_mask", "key_padding_mask", "alibi_slopes", "document_ids", "seqused_k")
    return dict(zip(names, tensors))


def _describe(
    engine: Any,
    q: Any,
    k: Any,
    v: Any,
    glm_mask: Any,
    softmax_scale: Any,
    causal: Any,
    causal_align: Any,
    tensors: Dict[str, Any],
    window_size: Any,
    softcap: Any,
    dropout_p: Any,
    return_attn_probs: Any,
) -> Tuple[Any, ...]:
    """Arguments of the exported function ``forward_features``, between its mode and its map."""
    arrays = arrays_of(q, k=k, v=v, glm_mask=glm_mask, **tensors)
    features = Features(
        tensors, checked_window(window_size), checked_float("softcap", softcap), checked_float("dropout_p", dropout_p)
    )
    options = call_options(softmax_scale, causal, causal_align)
    described = arrays.describe((q, k, v, None, None, glm_mask))
    if checked_bool("return_attn_probs", return_attn_probs) and len(q.shape) == len(k.shape) == 4:
        features.tensors["probs"] = q  # stands for a tensor without memory

    def tensor(name: str, value: Any) -> Any:
        return _without_memory(arrays.tensor("q", q), q, k) if name == "probs" else arrays.tensor(name, value)

    return (engine_handle(engine), None, *described, *options, *features.native(tensor))


def _without_memory(like: Any, q: Any, k: Any) -> Any:
    """The probabilities of a call as a plan sees them: of the type and on the device that ``like`` describes."""
    shape = (q.shape[0], q.shape[2], q.shape[1], k.shape[1])
    strides = (shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1)
    dl = like.dl
    return _ffi.Tensor(0, dl.code, dl.bits, shape, strides, dl.device_type, dl.device_id)
