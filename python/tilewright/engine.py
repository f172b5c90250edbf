# SPDX-License-Identifier: Apache-2.0
"""Engines: what compiles kernels, caches them in memory and on disk, and runs them."""

from __future__ import annotations

import json
import os
import weakref
from typing import Any, Dict, List, NamedTuple, Optional, Union

from . import _ffi
from .errors import InvalidArgument

_MISS_POLICIES = {"compile": 0, "warn": 1, "error": 2}


class Stats(NamedTuple):
    """Counts since the engine was made; times are totals in milliseconds."""

    memory_hits: int
    disk_hits: int
    compiles: int
    bad_entries: int  #: corrupt cache files that were set aside
    compile_ms: float
    load_ms: float


class Engine:
    """An engine of one's own, beside the process-wide one that calls use by default.

    Args:
        cache_dir: where compiled kernels are kept. None: ``$TILEWRIGHT_CACHE_DIR``, else
            ``$XDG_CACHE_HOME/tilewright``, else ``~/.cache/tilewright``, else memory only. ``""``: memory only.
        num_threads: 0: ``$TILEWRIGHT_NUM_THREADS``, else the CPUs that this process may run on.
        miss_policy: what to do about a kernel in no cache: ``"compile"`` it, ``"warn"`` and compile it, or raise an
            ``"error"`` (:class:`~tilewright.CacheMiss`).
        cpu_level: ``"x86-64-v2"``, ``"x86-64-v3"`` or ``"x86-64-v4"``; None: ``$TILEWRIGHT_CPU_LEVEL``, else the best
            of this machine.
        schedule: a schedule's text, as it stands in keys, for every forward kernel of a CUDA device
            (``"qk:128x64:w4"``) or of the CPU (``"kq:64x64:8x2"``); None: the schedule table.
        cuda_target: what kernels of CUDA devices are made for: ``"sm_80"``, ``"sm_86"``, ``"sm_87"``, ``"sm_89"``,
            ``"sm_90"``, ``"sm_90a"``, ``"sm_100"``, ``"sm_120"`` or ``"ptx"``. None: each device's own, which for a
            Hopper GPU is ``"sm_90a"``; ``"sm_90"`` leaves the kernels out that only Hopper has.

    Raises:
        InvalidArgument: an argument is wrong.
        CacheIOError: ``cache_dir`` cannot be used.
    """

    def __init__(
        self,
        cache_dir: Optional[Union[str, "os.PathLike[str]"]] = None,
        num_threads: int = 0,
        miss_policy: str = "compile",
        cpu_level: Optional[str] = None,
        schedule: Optional[str] = None,
        cuda_target: Optional[str] = None,
    ) -> None:
        if miss_policy not in _MISS_POLICIES:
            raise InvalidArgument(
                f'miss_policy: is {miss_policy!r}, must be "compile", "warn" or "error"', "miss_policy"
            )
        if isinstance(num_threads, bool) or not isinstance(num_threads, int) or not 0 <= num_threads < 2**31:
            raise InvalidArgument(
                f"num_threads: is {num_threads!r}, must be an int, 0 for the default or the number of threads",
                "num_threads",
            )
        for name, value in (("cpu_level", cpu_level), ("schedule", schedule), ("cuda_target", cuda_target)):
            if value is not None and not isinstance(value, str):
                raise InvalidArgument(f"{name}: is a {type(value).__name__}, must be a str or None", name)
        directory = None if cache_dir is None else os.fspath(cache_dir)
        if directory is not None and not isinstance(directory, str):
            raise InvalidArgument(f"cache_dir: is a {type(directory).__name__}, must be a str or a path", "cache_dir")
        policy = _MISS_POLICIES[miss_policy]
        handle = _ffi.call("engine_create", directory, num_threads, policy, cpu_level, schedule, cuda_target)
        self._handle: int = handle
        # Not at exit: a daemon thread may still be inside a call then.
        weakref.finalize(self, _destroy, handle, os.getpid()).atexit = False

    def stats(self) -> Stats:
        """Hits, compilations and their times."""
        return Stats(*_ffi.call("engine_stats", self._handle))

    def events(self) -> List[Dict[str, Any]]:
        """The kernels that the engine obtained, oldest first: ``key``, ``origin`` ("compiled" or "disk"), ``ms``, and
        ``stages``, milliseconds by stage: those of the compilation, or of fetching from disk."""
        return json.loads(_ffi.call("engine_events", self._handle))

    def info(self) -> Dict[str, Any]:
        """Versions, targets, cache location and size, what was found and what was not."""
        return json.loads(_ffi.call("info", self._handle))

    def __repr__(self) -> str:
        return f"<tilewright.Engine {self._handle:#x}>" if self._handle else "<tilewright.Engine default>"


def default_engine() -> Engine:
    """The process-wide engine, made with default options when first used."""
    engine = Engine.__new__(Engine)
    engine._handle = 0
    return engine


def _destroy(handle: int, pid: int) -> None:
    # A forked child has a copy of the engine, but not its threads: it must not wait for them.
    if os.getpid() == pid:
        _ffi.call("engine_destroy", handle)
