# SPDX-License-Identifier: Apache-2.0
"""What the mask builders need of NumPy arrays and torch tensors: one vocabulary for both.

Neither package is imported here before an array of it, or a list, comes in.
"""

from __future__ import annotations

import sys
from typing import Any, List, Optional, Tuple

from .errors import InvalidArgument

INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1


def is_torch(value: Any) -> bool:
    torch = sys.modules.get("torch")
    cls = getattr(torch, "Tensor", None)  # None as well while the package is still being imported
    return cls is not None and isinstance(value, cls)


def module_of(array: Any, name: str = "array") -> Any:
    """NumPy or torch; they share cumsum, stack, where, minimum and searchsorted."""
    if is_torch(array):
        return sys.modules["torch"]
    import numpy as np

    if not isinstance(array, np.ndarray):
        raise InvalidArgument(f"{name}: is a {type(array).__name__}, must be a numpy.ndarray or a torch.Tensor", name)
    return np


def arange(start: int, stop: int, like: Optional[Any]) -> Any:
    """int64, of the kind and on the device of ``like``; None: NumPy."""
    if is_torch(like):
        return sys.modules["torch"].arange(start, stop, device=like.device)
    import numpy as np

    return np.arange(start, stop, dtype=np.int64)


def empty_ids(batch: int, seqlen_k: int) -> Any:
    import numpy as np

    return np.empty((batch, seqlen_k), np.int64)


def numpy_of(array: Any) -> Any:
    """As a NumPy array. Waits for work on a CUDA device."""
    return array.cpu().numpy() if is_torch(array) else array


def device_name(array: Any) -> str:
    return f"a torch.Tensor on {array.device}" if is_torch(array) else "a numpy.ndarray"


def broken(array: Any, condition: Any) -> bool:
    """Whether ``condition``, about the values of ``array``, holds anywhere. False on a device, where looking waits."""
    return bool(condition.any()) if not is_torch(array) or array.device.type == "cpu" else False


def integers(name: str, value: Any, ranks: Tuple[int, ...], shape: str) -> Any:
    """``value`` as an array of int32 or int64."""
    if is_torch(value):
        if value.is_floating_point() or value.is_complex() or str(value.dtype) == "torch.bool":
            raise InvalidArgument(f"{name}: dtype is {value.dtype}, must be an integer type", name)
        torch = sys.modules["torch"]
        array = value if value.dtype in (torch.int32, torch.int64) else value.long()
    else:
        import numpy as np

        array = _numpy(name, value, shape)
        if array.size == 0 and not hasattr(value, "dtype"):
            array = array.astype(np.int64)  # an empty list has no type of its own
        if array.dtype.kind not in "iu":
            raise InvalidArgument(f"{name}: dtype is {array.dtype}, must be an integer type", name)
        if broken(array, array > INT64_MAX):
            raise InvalidArgument(f"{name}: holds a number beyond 64 bits", name)
        array = array if array.dtype in (np.int32, np.int64) else array.astype(np.int64)
    if array.ndim not in ranks:
        raise InvalidArgument(f"{name}: has shape {tuple(array.shape)}, must be {shape}", name)
    return array


def key_flags(name: str, value: Any) -> Any:
    array = value if is_torch(value) else _numpy(name, value, "(batch, seqlen_k)")
    if str(array.dtype).replace("torch.", "") != "bool":
        raise InvalidArgument(f"{name}: dtype is {array.dtype}, must be bool, True for a real key", name)
    return array


def length_table(name: str, value: Any) -> Tuple[Any, Optional[List[int]]]:
    """Lengths as int64 (batch, N), and of a list of lists how many each had; a shorter one is filled up with 0.

    Negative lengths are errors, on a CUDA device 0.
    """
    counts = None
    if isinstance(value, (list, tuple)) and all(isinstance(row, (list, tuple)) for row in value):
        counts = [len(row) for row in value]
        longest = max(counts, default=0)
        value = [[*row, *[0] * (longest - len(row))] for row in value]
        array = integers(name, value, (1, 2), "(batch, N)").reshape(len(counts), longest)
    else:
        array = integers(name, value, (2,), "(batch, N)")
    if broken(array, array < 0):
        raise InvalidArgument(f"{name}: holds {int(array.min())}, must hold no negative length", name)
    array = array.long() if is_torch(array) else array.astype("int64")
    return array.clip(0), counts


def int32(name: str, array: Any) -> Any:
    """``array`` as int32. A value that does not fit is an error, on a CUDA device the nearest that does."""
    if broken(array, (array > INT32_MAX) | (array < -INT32_MAX)):
        raise InvalidArgument(f"{name}: holds a number beyond 32 bits", name)
    if not is_torch(array):
        return array.astype("int32")
    torch = sys.modules["torch"]
    return array if array.dtype is torch.int32 else array.clip(-INT32_MAX, INT32_MAX).to(torch.int32)


def _numpy(name: str, value: Any, shape: str) -> Any:
    import numpy as np

    if isinstance(value, np.ma.MaskedArray):
        raise InvalidArgument(
            f"{name}: is a numpy.ma.MaskedArray, whose mask would be ignored, must be a numpy.ndarray", name
        )
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{name}: is no array of shape {shape}: {error}", name) from None
