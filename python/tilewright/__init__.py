# SPDX-License-Identifier: Apache-2.0
"""Tilewright: attention kernels, compiled on demand for the problem at hand.

:func:`flash_attn_func` computes attention on NumPy arrays and torch tensors. Importing this package loads no
library, imports neither NumPy nor PyTorch, and writes nothing; all that happens with the first call.
"""

from ._explain import Explanation, explain
from .engine import Engine, Stats, default_engine
from .errors import (
    CacheIOError,
    CacheMiss,
    CompileError,
    CudaError,
    InvalidArgument,
    OutOfMemory,
    TilewrightError,
    Unsupported,
)
from .functions import flash_attn_func, flash_attn_varlen_func

__version__ = "0.1.0"

__all__ = [
    "CacheIOError",
    "CacheMiss",
    "CompileError",
    "CudaError",
    "Engine",
    "Explanation",
    "InvalidArgument",
    "OutOfMemory",
    "Stats",
    "TilewrightError",
    "Unsupported",
    "__version__",
    "default_engine",
    "explain",
    "flash_attn_func",
    "flash_attn_varlen_func",
]
