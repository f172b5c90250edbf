# SPDX-License-Identifier: Apache-2.0
"""The attention functions that ``python -m tilewright.bench --device cuda`` times beside Tilewright's.

A peer is made for one problem: :func:`prepare` returns what to call, or raises Refused with the reason. Whatever it
needs beforehand (a block mask, a compilation) is made, and timed by itself, before the first call is timed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import time
import warnings
from typing import Any, Callable, ContextManager, Dict, List, NamedTuple, Sequence, Tuple

from ._bench_cases import TorchCase

#: By the names of --peers: what tables call it.
PEERS = {
    "flash": "SDPA flash",
    "cudnn": "SDPA cuDNN",
    "efficient": "SDPA efficient",
    "math": "SDPA math",
    "flex": "FlexAttention",
    "flash_attn": "FlashAttention",
    "flash_attn_interface": "FlashAttention 3",
}
DEFAULT_PEERS = ("flash", "cudnn", "flex", "flash_attn", "flash_attn_interface")
PACKAGES = ("flash_attn", "flash_attn_interface")  #: peers that are packages of their own
FLEX_MODES = ("default", "max-autotune-no-cudagraphs")

_BACKENDS = {
    "flash": "FLASH_ATTENTION",
    "cudnn": "CUDNN_ATTENTION",
    "efficient": "EFFICIENT_ATTENTION",
    "math": "MATH",
}


class Refused(Exception):
    """The peer does not compute this problem; the text says why."""


class Prepared(NamedTuple):
    """A peer, ready for one problem."""

    call: Callable[[], Any]  #: returns (batch, seqlen, heads, head_dim)
    around: Callable[[], ContextManager[Any]]  #: entered around a number of calls
    setup: Dict[str, float]  #: what was made beforehand, in milliseconds


def missing_packages(peers: Sequence[str]) -> List[str]:
    """Those of the peers that are packages and not installed."""
    return [name for name in peers if name in PACKAGES and importlib.util.find_spec(name) is None]


def prepare(name: str, inputs: Tuple[Any, Any, Any], case: TorchCase, flex_mode: str = "default") -> Prepared:
    """Makes a peer ready, and calls it once. ``inputs`` are (batch, seqlen, heads, head_dim).

    Raises:
        Refused: with the reason, whatever went wrong in the peer.
    """
    import torch

    make = _flex if name == "flex" else _package if name in PACKAGES else _sdpa
    always = torch.is_warn_always_enabled()
    with warnings.catch_warnings(record=True) as said:
        # PyTorch says why a backend cannot be used in warnings, most of them once a process.
        warnings.simplefilter("always")
        torch.set_warn_always(True)
        try:
            prepared = make(name, inputs, case, flex_mode)
            start = time.perf_counter()
            with prepared.around():
                prepared.call()
            _wait(inputs[0])
            if name == "flex":
                prepared.setup["compile_ms"] = (time.perf_counter() - start) * 1e3
            return prepared
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001: a peer may fail in any way, and the run goes on without it
            raise Refused(_reason(error, said)) from error
        finally:
            torch.set_warn_always(always)


def _reason(error: Exception, said: Sequence[warnings.WarningMessage]) -> str:
    """The first line of the error, and of the warnings those that tell more."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    told = []
    for warning in said:
        line = str(warning.message).split(" (Triggered internally", 1)[0].strip().splitlines()[0]
        if line not in told and not line.endswith("because:"):
            told.append(line)
    return text if not told else f"{text} {' '.join(told)}"


def _wait(like: Any) -> None:
    import torch

    if like.is_cuda:
        torch.cuda.synchronize(like.device)


def _sdpa(name: str, inputs: Tuple[Any, Any, Any], case: TorchCase, flex_mode: str) -> Prepared:
    """Views of the same tensors; a bool mask, made beforehand, where ``is_causal`` does not say it."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backend = getattr(SDPBackend, _BACKENDS[name])
    q, k, v = (x.transpose(1, 2) for x in inputs)
    mask = None
    if not case.plain:
        if name == "flash":
            raise Refused("it takes no mask tensor")
        visible = case.visible(slice(None))
        mask = visible.expand(case.batch, 1, *visible.shape).contiguous()
    is_causal = mask is None and case.causal
    attention = torch.nn.functional.scaled_dot_product_attention

    def call() -> Any:
        return attention(q, k, v, attn_mask=mask, is_causal=is_causal).transpose(1, 2)

    return Prepared(call, lambda: sdpa_kernel(backend), {})


def _flex(name: str, inputs: Tuple[Any, Any, Any], case: TorchCase, flex_mode: str) -> Prepared:
    """Its own layout, (batch, heads, seqlen, head_dim); compiled for these lengths, which gives it its best code."""
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    # Code for other problems is not wanted again, and after eight kinds of it torch.compile would stop compiling.
    torch.compiler.reset()
    compiled = torch.compile(flex_attention, dynamic=False, mode=None if flex_mode == "default" else flex_mode)
    q, k, v = (x.transpose(1, 2).contiguous() for x in inputs)
    setup: Dict[str, float] = {}
    block_mask = None
    if case.mask_mod is not None:
        length = q.shape[2]
        _wait(q)
        start = time.perf_counter()
        block_mask = create_block_mask(case.mask_mod, case.batch, None, length, length, device=q.device)
        _wait(q)
        setup["block_mask_ms"] = (time.perf_counter() - start) * 1e3

    def call() -> Any:
        return compiled(q, k, v, block_mask=block_mask).transpose(1, 2)

    return Prepared(call, contextlib.nullcontext, setup)


def _package(name: str, inputs: Tuple[Any, Any, Any], case: TorchCase, flex_mode: str) -> Prepared:
    """A package's flash_attn_func: it has windows, and no other masks."""
    function = importlib.import_module(name).flash_attn_func
    options: Dict[str, Any] = {"causal": case.causal}
    if case.name == "window":
        options["window_size"] = case.arguments["window_size"]
    elif not case.plain:
        raise Refused("it takes no such mask")
    q, k, v = inputs

    def call() -> Any:
        out = function(q, k, v, **options)
        return out[0] if isinstance(out, tuple) else out

    return Prepared(call, contextlib.nullcontext, {})
