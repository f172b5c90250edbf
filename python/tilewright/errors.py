# SPDX-License-Identifier: Apache-2.0
"""The exceptions that Tilewright raises.

They are raised before anything is compiled for the call or written: after an :class:`InvalidArgument` or an
:class:`Unsupported` every output is untouched.
"""

from __future__ import annotations

from typing import Dict, Type

__all__ = [
    "TilewrightError",
    "InvalidArgument",
    "Unsupported",
    "CompileError",
    "CacheMiss",
    "CacheIOError",
    "OutOfMemory",
    "CudaError",
]


class TilewrightError(Exception):
    """Base of every error that Tilewright raises; itself raised for faults that have no class of their own.

    ``argument`` is the name of the argument at fault, or ``""``.
    """

    def __init__(self, message: str, argument: str = "") -> None:
        super().__init__(message)
        self.argument = argument

    def __reduce__(self):  # Exception's own would lose `argument` on the way through a process pool
        return type(self), (str(self), self.argument)


class InvalidArgument(TilewrightError, ValueError):
    """An argument is wrong. The message names it, says what it is and what is allowed."""


class Unsupported(TilewrightError, NotImplementedError):
    """The request has a meaning, but this build or this target cannot serve it."""


class CompileError(TilewrightError):
    """Code generation failed: a fault of Tilewright. The message holds the compiler's diagnostics."""


class CacheMiss(TilewrightError):
    """The kernel is in no cache, and the engine was asked not to compile. The message holds the kernel's key."""


class CacheIOError(TilewrightError):
    """A cache location that was asked for explicitly cannot be used."""


class OutOfMemory(TilewrightError, MemoryError):
    """Memory for the work of a call could not be had."""


class CudaError(TilewrightError, RuntimeError):
    """A call of the CUDA driver failed. The message holds the call, the driver's name of the error, the device and the
    stream. It may be a fault of work that was queued earlier, by anybody in the process."""


# By the kind that the native side gives its errors.
BY_KIND: Dict[str, Type[TilewrightError]] = {
    "tilewright." + cls.__name__: cls
    for cls in (
        TilewrightError,
        InvalidArgument,
        Unsupported,
        CompileError,
        CacheMiss,
        CacheIOError,
        OutOfMemory,
        CudaError,
    )
}
