# SPDX-License-Identifier: Apache-2.0
"""What Tilewright knows of NumPy arrays and torch tensors.

Neither package is imported here. An array of theirs can only exist once the caller has imported them, so they are
looked up among the loaded modules.

Checked here is what the native side cannot see or name: the kind of object, types without a DLPack name, memory that is
no plain memory of the CPU or a CUDA device, gradients. Shapes, dtypes, strides and values are checked by the native
side.
"""

from __future__ import annotations

import sys
from typing import Any, Dict, Optional, Tuple, Union

from . import _ffi
from .errors import InvalidArgument, Unsupported

_NUMPY_CODES = {"i": _ffi.DL_INT, "u": _ffi.DL_UINT, "f": _ffi.DL_FLOAT, "c": _ffi.DL_COMPLEX, "b": _ffi.DL_BOOL}
_TORCH_TYPES = {
    "torch.float32": (_ffi.DL_FLOAT, 32),
    "torch.float16": (_ffi.DL_FLOAT, 16),
    "torch.bfloat16": (_ffi.DL_BFLOAT, 16),
    "torch.float64": (_ffi.DL_FLOAT, 64),
    "torch.int8": (_ffi.DL_INT, 8),
    "torch.int16": (_ffi.DL_INT, 16),
    "torch.int32": (_ffi.DL_INT, 32),
    "torch.int64": (_ffi.DL_INT, 64),
    "torch.uint8": (_ffi.DL_UINT, 8),
    "torch.bool": (_ffi.DL_BOOL, 8),
    "torch.complex64": (_ffi.DL_COMPLEX, 64),
    "torch.complex128": (_ffi.DL_COMPLEX, 128),
}


_ALLOWED = {
    "glm_mask": "int32",
    "lse": "float32",
    "bias": "q's or float32",
    "attn_mask": "q's, float32 or bool",
    "key_padding_mask": "bool",
    "alibi_slopes": "float32",
    "document_ids": "int32",
    "rng": "int64",
    "rng_state": "int64",
    "cu_seqlens_q": "int32",
    "cu_seqlens_k": "int32",
    "seqused_k": "int32",
}


def _allowed(name: str) -> str:
    return _ALLOWED.get(name, "one of float32, float16, bfloat16")


def _type_name(value: Any) -> str:
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


_numpy_types: Dict[Any, Tuple[int, int]] = {}  # dtype to DLPack code and element size


def _numpy_type(name: str, dtype: Any) -> Tuple[int, int]:
    found = _numpy_types.get(dtype)
    if found is None:
        if dtype.name == "bfloat16":
            found = (_ffi.DL_BFLOAT, 2)
        elif dtype.kind in _NUMPY_CODES and dtype.isnative:
            found = (_NUMPY_CODES[dtype.kind], dtype.itemsize)
        else:
            order = "" if dtype.isnative else " of the other byte order"
            raise InvalidArgument(f"{name}: dtype is {dtype.name}{order}, must be {_allowed(name)}", name)
        _numpy_types[dtype] = found
    return found


class NumpyArrays:
    """``numpy.ndarray`` of float32, float16, or bfloat16 by ml_dtypes; any strides; read-only inputs too."""

    name = "numpy.ndarray"

    def __init__(self, numpy: Any) -> None:
        self._numpy = numpy

    def accepts(self, value: Any) -> bool:
        return isinstance(value, self._numpy.ndarray)

    def tensor(self, name: str, array: Any) -> _ffi.Tensor:
        """Describes ``array`` without a copy. The result does not keep the array's memory alive."""
        masked = sys.modules.get("numpy.ma")
        if masked is not None and isinstance(array, masked.MaskedArray):
            raise InvalidArgument(
                f"{name}: is a numpy.ma.MaskedArray, whose mask would be ignored, must be a numpy.ndarray", name
            )
        code, size = _numpy_type(name, array.dtype)
        shape = array.shape
        strides = []
        for length, stride in zip(shape, array.strides):
            if stride % size and length > 1:
                raise InvalidArgument(
                    f"{name}: strides {array.strides} (bytes) are not multiples of the element's {size} bytes", name
                )
            strides.append(stride // size)
        address = array.__array_interface__["data"][0]
        return _ffi.Tensor(address, code, size * 8, shape, strides)

    def check_output(self, name: str, array: Any) -> None:
        if not array.flags.writeable:
            raise InvalidArgument(f"{name}: is read-only, must be a writable array", name)

    def check_gradients(self, **arrays: Any) -> None:
        """NumPy arrays have none."""

    def empty(self, shape: Tuple[int, ...], like: Any, dtype: Optional[str] = None) -> Any:
        """``dtype`` is a NumPy name; None: that of ``like``."""
        return self._numpy.empty(shape, like.dtype if dtype is None else dtype)

    def empty_like(self, like: Any) -> Any:
        """Contiguous."""
        return self.empty(like.shape, like)

    def written(self, array: Any) -> None:
        """Called after an array of the caller's was written."""

    def forward(self, engine: int, arrays: Tuple[Any, ...], *rest: Any) -> None:
        """The exported function ``forward``; ``arrays`` are q, k, v, out, lse, glm_mask, the last two may be None."""
        _ffi.call("forward", engine, *self.describe(arrays), *rest)

    def forward_features(self, engine: int, arrays: Tuple[Any, ...], options: Tuple[Any, ...], features: Any) -> None:
        """The exported function ``forward_features``; ``features`` are a ``_features.Features``."""
        rest = features.native(self.tensor)
        _ffi.call("forward_features", _ffi.RUN, engine, None, *self.describe(arrays), *options, *rest, None)

    def draw_rng(self, like: Any) -> Tuple[int, int]:
        """Seed and offset from NumPy's global generator, which ``numpy.random.seed`` sets."""
        seed, offset = self._numpy.random.randint(0, 2**63 - 1, 2, self._numpy.int64).tolist()
        return seed, offset

    def describe(self, arrays: Tuple[Any, ...]) -> Tuple[Any, ...]:
        names = ("q", "k", "v", "out", "lse", "glm_mask")
        return tuple(None if array is None else self.tensor(name, array) for name, array in zip(names, arrays))


class TorchTensors:
    """``torch.Tensor`` on the CPU or a CUDA device, strided; any strides."""

    name = "torch.Tensor"

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        # Real, so never conjugated views.
        self._usual_types = {torch.float16, torch.bfloat16, torch.float32, torch.int32, torch.bool}
        # What torch.cuda.current_stream() asks, without the object around it, which costs a call more than its checks.
        self._raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None)

    def accepts(self, value: Any) -> bool:
        return isinstance(value, self._torch.Tensor)

    def check(self, name: str, tensor: Any) -> Any:
        """``tensor``, or the same memory without its gradient's history. Raises for what is no plain memory."""
        torch = self._torch
        cls = type(tensor)
        # Nearly every tensor, with the cheapest questions. What follows asks again, of the others, to say what is wrong.
        if (
            cls is torch.Tensor
            and tensor.dtype in self._usual_types
            and (tensor.is_cuda or tensor.is_cpu)
            and tensor.layout is torch.strided
            and not tensor.is_neg()
        ):
            return tensor.detach() if tensor.requires_grad else tensor
        if cls is not torch.Tensor and cls.__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
            raise InvalidArgument(f"{name}: is a {_type_name(tensor)}, must be a plain torch.Tensor", name)
        if tensor.layout is not torch.strided:
            raise InvalidArgument(f"{name}: layout is {tensor.layout}, must be torch.strided", name)
        if tensor.device.type not in ("cpu", "cuda"):
            raise Unsupported(f"{name}: is on {tensor.device}, must be on the CPU or on a CUDA device", name)
        if str(tensor.dtype) not in _TORCH_TYPES:
            raise InvalidArgument(f"{name}: dtype is {tensor.dtype}, must be {_allowed(name)}", name)
        if tensor.is_neg() or tensor.is_conj():
            raise InvalidArgument(
                f"{name}: is a negated or conjugated view, whose memory differs from its values, "
                "must be a plain one: resolve_neg(), resolve_conj()",
                name,
            )
        return tensor.detach() if tensor.requires_grad else tensor

    def tensor(self, name: str, tensor: Any) -> _ffi.Tensor:
        """Describes ``tensor`` without a copy. The result does not keep the tensor's memory alive."""
        tensor = self.check(name, tensor)
        code, bits = _TORCH_TYPES[str(tensor.dtype)]
        device = (_ffi.DL_CUDA, tensor.device.index) if tensor.is_cuda else (_ffi.DL_CPU, 0)
        return _ffi.Tensor(tensor.data_ptr(), code, bits, tuple(tensor.shape), tensor.stride(), *device)

    def check_output(self, name: str, tensor: Any) -> None:
        """Every torch tensor can be written."""

    def check_gradients(self, **tensors: Any) -> None:
        if not self._torch.is_grad_enabled():
            return
        for name, tensor in tensors.items():
            if tensor is not None and tensor.requires_grad:
                raise Unsupported(
                    f"{name}: requires grad, but Tilewright has no backward pass yet: call under torch.no_grad(), or "
                    f"pass {name}.detach()",
                    name,
                )

    def empty(self, shape: Tuple[int, ...], like: Any, dtype: Optional[str] = None) -> Any:
        """``dtype`` is a torch name; None: that of ``like``."""
        return self._torch.empty(
            shape, dtype=like.dtype if dtype is None else getattr(self._torch, dtype), device=like.device
        )

    def empty_like(self, like: Any) -> Any:
        """Contiguous."""
        if type(like) is not self._torch.Tensor:  # a subclass might make one of its own kind
            return self.empty(like.shape, like)
        return self._torch.empty_like(like, memory_format=self._torch.contiguous_format)

    def written(self, tensor: Any) -> None:
        # Autograd must notice if it had saved the old values.
        increment = getattr(self._torch.autograd.graph, "increment_version", None)
        if increment is not None and not tensor.is_inference():
            increment(tensor)

    def forward(self, engine: int, arrays: Tuple[Any, ...], *rest: Any) -> None:
        """The exported function ``forward``; ``arrays`` are q, k, v, out, lse, glm_mask, the last two may be None."""
        names = ("q", "k", "v", "out", "lse", "glm_mask")
        tensors = [None if tensor is None else self.check(name, tensor) for name, tensor in zip(names, arrays)]
        q = tensors[0]
        if q.is_cuda:
            _ffi.torch_forward_on_stream(engine, self._stream(q), *tensors, *rest)
        else:
            _ffi.torch_forward(engine, *tensors, *rest)

    def forward_features(self, engine: int, arrays: Tuple[Any, ...], options: Tuple[Any, ...], features: Any) -> None:
        """The exported function ``forward_features``; ``features`` are a ``_features.Features``."""
        names = ("q", "k", "v", "out", "lse", "glm_mask")
        tensors = [None if tensor is None else self.check(name, tensor) for name, tensor in zip(names, arrays)]
        q = tensors[0]
        stream = self._stream(q) if q.is_cuda else None
        _ffi.torch_forward_features(_ffi.RUN, engine, stream, *tensors, *options, *features.native(self.check), None)

    def _stream(self, tensor: Any) -> int:
        """Handle of torch's current stream on the CUDA tensor's device."""
        if self._raw_stream is None:
            return self._torch.cuda.current_stream(tensor.device).cuda_stream
        return self._raw_stream(tensor.get_device())

    def draw_rng(self, like: Any) -> Any:
        """Seed and offset from torch's generator of the device, as a tensor on it: no wait for a device, and a CUDA
        graph draws anew each time that it is replayed."""
        return self._torch.empty(2, dtype=self._torch.int64, device=like.device).random_()

    def describe(self, arrays: Tuple[Any, ...]) -> Tuple[Any, ...]:
        names = ("q", "k", "v", "out", "lse", "glm_mask")
        return tuple(None if tensor is None else self.tensor(name, tensor) for name, tensor in zip(names, arrays))


Arrays = Union[NumpyArrays, TorchTensors]

_handlers: Dict[Any, Arrays] = {}  # by package


def arrays_of(q: Any, **others: Any) -> Arrays:
    """The handler for q's kind. The others must be of the same kind, or None.

    Raises:
        InvalidArgument: q is neither a NumPy array nor a torch tensor, or another argument is not of q's kind.
    """
    found: Optional[Arrays] = None
    for module, attribute, handler in (("torch", "Tensor", TorchTensors), ("numpy", "ndarray", NumpyArrays)):
        package = sys.modules.get(module)
        cls = getattr(package, attribute, None)  # None as well while the package is still being imported
        if cls is not None and isinstance(q, cls):
            found = _handlers.get(package)
            if found is None:
                found = _handlers.setdefault(package, handler(package))
            break
    if found is None:
        raise InvalidArgument(f"q: is a {_type_name(q)}, must be a numpy.ndarray or a torch.Tensor", "q")
    for name, value in others.items():
        if value is not None and not found.accepts(value):
            raise InvalidArgument(
                f"{name}: is a {_type_name(value)}, must be a {found.name}, as q is (one call, one kind of array)", name
            )
    return found
