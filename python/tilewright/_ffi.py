# SPDX-License-Identifier: Apache-2.0
"""Loads ``libtilewright_ffi.so`` and calls the TVM-FFI functions that it exports.

There are two callers of the same functions:

* :func:`call`, in ctypes, speaks TVM-FFI's C ABI itself. It needs ``libtvm_ffi.so``, but not the Python package around
  it, whose import also imports PyTorch wherever that is installed: seconds and hundreds of megabytes that a NumPy
  program did not ask for.
* :func:`torch_forward` goes through the package, whose fast tensor exchange makes it the right way for torch tensors;
  with those, PyTorch is imported anyway.

Nothing is loaded when this module is imported, and nothing is ever compiled or written by loading.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, NoReturn, Optional, Sequence

from .errors import BY_KIND, InvalidArgument, TilewrightError

LIBRARY_DIR = Path(__file__).resolve().parent / "lib"

# What the exported function ``forward_features`` does with its arguments.
RUN, REFERENCE, PLAN, BLOCK_MAP = 0, 1, 2, 3

# DLPack's type codes and device types.
DL_INT, DL_UINT, DL_FLOAT, DL_BFLOAT, DL_COMPLEX, DL_BOOL = 0, 1, 2, 4, 5, 6
DL_CPU, DL_CUDA = 1, 2

# TVM-FFI's type indices (tvm/ffi/c_api.h) of the values that cross here.
_NONE, _INT, _BOOL, _FLOAT, _DLTENSOR, _RAW_STR = 0, 1, 2, 3, 7, 8
_SMALL_STR, _SMALL_BYTES, _FIRST_OBJECT, _STR, _BYTES, _ARRAY = 11, 12, 64, 65, 66, 71


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Value(ctypes.Union):
    _fields_ = [("i", ctypes.c_int64), ("f", ctypes.c_double), ("p", ctypes.c_void_p), ("small", ctypes.c_char * 8)]


class _AnyValue(ctypes.Structure):
    _fields_ = [("type_index", ctypes.c_int32), ("small_len", ctypes.c_uint32), ("v", _Value)]


class _ByteArray(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class _ObjectHeader(ctypes.Structure):
    _fields_ = [
        ("ref_count", ctypes.c_uint64),
        ("type_index", ctypes.c_int32),
        ("padding", ctypes.c_uint32),
        ("deleter", ctypes.c_void_p),
    ]


class _StringObject(ctypes.Structure):
    _fields_ = [("header", _ObjectHeader), ("bytes", _ByteArray)]


class _ArrayObject(ctypes.Structure):
    _fields_ = [("header", _ObjectHeader), ("data", ctypes.c_void_p), ("size", ctypes.c_int64)]


class _ErrorObject(ctypes.Structure):
    _fields_ = [("header", _ObjectHeader), ("kind", _ByteArray), ("message", _ByteArray)]


class Tensor:
    """Memory as the native side sees it. Keeps its own descriptor alive, not the memory."""

    __slots__ = ("dl", "_dims")

    def __init__(
        self,
        data: int,
        code: int,
        bits: int,
        shape: Sequence[int],
        strides: Sequence[int],
        device_type: int = DL_CPU,
        device_id: int = 0,
    ) -> None:
        """``strides`` count elements; ``code``, ``bits`` and ``device_type`` are DLPack's."""
        rank = len(shape)
        self._dims = dims = (ctypes.c_int64 * (2 * rank))(*shape, *strides)
        address = ctypes.addressof(dims)
        self.dl = _DLTensor(
            data or None, device_type, device_id, rank, code, bits, 1, address, address + 8 * rank, 0
        )


class _Library:
    """The two loaded libraries, and the C functions looked up so far."""

    def __init__(self) -> None:
        with _kept_segv_handler():
            self.tvm_ffi = ctypes.CDLL(str(_tvm_ffi_library()))
        self.tvm_ffi.TVMFFIErrorMoveFromRaised.argtypes = [ctypes.POINTER(ctypes.c_void_p)]
        self.tvm_ffi.TVMFFIErrorMoveFromRaised.restype = None
        self.tvm_ffi.TVMFFIObjectDecRef.argtypes = [ctypes.c_void_p]
        if not glue_path().is_file():
            raise ImportError(
                f"{glue_path()} is missing: Tilewright runs from its installed wheel, not the source tree"
            )
        # libtvm_ffi.so is loaded: the glue's dependency on it is met by name, wherever it is installed.
        self.glue = ctypes.CDLL(str(glue_path()))
        self.functions: Dict[str, Callable[..., int]] = {}

    def function(self, name: str) -> Callable[..., int]:
        found = self.functions.get(name)
        if found is None:
            found = getattr(self.glue, "__tvm_ffi_" + name)
            found.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32, ctypes.POINTER(_AnyValue)]
            found.restype = ctypes.c_int
            self.functions[name] = found
        return found


_lock = threading.Lock()
_library: Optional[_Library] = None
_torch_functions: Dict[str, Callable[..., None]] = {}


def glue_path() -> Path:
    """Path of ``libtilewright_ffi.so``, for programs that load it with TVM-FFI themselves."""
    return LIBRARY_DIR / "libtilewright_ffi.so"


@contextlib.contextmanager
def _kept_segv_handler() -> Iterator[None]:
    # libtvm_ffi.so installs a SIGSEGV handler when it is loaded, in place of faulthandler's or a runtime's that lives on
    # such faults. The signal module cannot see or restore a handler of C code.
    sigaction = ctypes.CDLL(None).sigaction
    action = ctypes.create_string_buffer(1024)  # larger than any struct sigaction
    known = sigaction(signal.SIGSEGV, None, action) == 0
    try:
        yield
    finally:
        if known:
            sigaction(signal.SIGSEGV, action, None)


def _tvm_ffi_library() -> Path:
    spec = importlib.util.find_spec("tvm_ffi")  # finds, does not import
    if spec is None or spec.origin is None:
        raise ImportError("Tilewright needs the package apache-tvm-ffi: pip install apache-tvm-ffi")
    path = Path(spec.origin).resolve().parent / "lib" / "libtvm_ffi.so"
    if path.is_file():
        return path
    # Other layouts (development installs): the package knows where its library is.
    import tvm_ffi.libinfo

    return Path(tvm_ffi.libinfo.find_libtvm_ffi())


def _load() -> _Library:
    global _library
    if _library is None:
        with _lock:
            if _library is None:
                _library = _Library()
    return _library


def _text(array: _ByteArray) -> bytes:
    return ctypes.string_at(array.data, array.size) if array.size else b""


def _decode(value: _AnyValue) -> Any:
    """A copy of what ``value`` holds. Does not release it."""
    index = value.type_index
    if index == _NONE:
        return None
    if index == _INT:
        return value.v.i
    if index == _BOOL:
        return bool(value.v.i)
    if index == _FLOAT:
        return value.v.f
    if index in (_SMALL_STR, _SMALL_BYTES):
        data = ctypes.string_at(ctypes.addressof(value) + _AnyValue.v.offset, value.small_len)
        return data.decode() if index == _SMALL_STR else data
    if index in (_STR, _BYTES):
        data = _text(_StringObject.from_address(value.v.p).bytes)
        return data.decode() if index == _STR else data
    if index == _ARRAY:
        array = _ArrayObject.from_address(value.v.p)
        return [_decode(item) for item in (_AnyValue * array.size).from_address(array.data)] if array.size else []
    raise TilewrightError(f"the native side returned a value of TVM-FFI type {index}, which nothing here expects")


def make_error(kind: str, message: str) -> TilewrightError:
    """The exception for an error that the native side raised on this thread."""
    cls = BY_KIND.get(kind)
    if cls is None:
        return TilewrightError(f"{kind}: {message}")
    return cls(message, call("last_error_argument"))


def _raise_last(library: _Library) -> NoReturn:
    handle = ctypes.c_void_p()
    library.tvm_ffi.TVMFFIErrorMoveFromRaised(ctypes.byref(handle))
    if not handle.value:
        raise TilewrightError("the native side failed without an error")
    error = _ErrorObject.from_address(handle.value)
    kind, message = _text(error.kind).decode(), _text(error.message).decode(errors="replace")
    library.tvm_ffi.TVMFFIObjectDecRef(handle)
    raise make_error(kind, message)


def call(name: str, *args: Any) -> Any:
    """Calls the exported function ``name``. Arguments: None, bool, int, float, str, :class:`Tensor`.

    The interpreter lock is released while it runs. Raises what the native side raised.
    """
    library = _load()
    function = library.function(name)
    packed = (_AnyValue * len(args))()
    keep = []  # encoded strings live until the call returns
    for slot, arg in zip(packed, args):
        if arg is None:
            slot.type_index = _NONE
        elif isinstance(arg, Tensor):
            slot.type_index = _DLTENSOR
            slot.v.p = ctypes.addressof(arg.dl)
        elif isinstance(arg, bool):
            slot.type_index = _BOOL
            slot.v.i = arg
        elif isinstance(arg, int):
            slot.type_index = _INT
            slot.v.i = arg
        elif isinstance(arg, float):
            slot.type_index = _FLOAT
            slot.v.f = arg
        elif isinstance(arg, str):
            if "\0" in arg:
                raise InvalidArgument(f"text {arg!r} holds a NUL character, which no argument may")
            buffer = ctypes.create_string_buffer(arg.encode())
            keep.append(buffer)
            slot.type_index = _RAW_STR
            slot.v.p = ctypes.addressof(buffer)
        else:
            raise TypeError(f"{name}: cannot pass a {type(arg).__name__} to the native side")
    result = _AnyValue()
    if function(None, ctypes.addressof(packed), len(args), ctypes.byref(result)) != 0:
        _raise_last(library)
    try:
        return _decode(result)
    finally:
        if result.type_index >= _FIRST_OBJECT:
            library.tvm_ffi.TVMFFIObjectDecRef(result.v.p)


def _import_tvm_ffi() -> Any:
    if "tvm_ffi" in sys.modules:
        # By a statement, which waits for another thread that is still importing it; sys.modules would not.
        import tvm_ffi

        return tvm_ffi
    # For a PyTorch without the exchange protocol, the package's import would compile an extension into the user's
    # cache. It works without, a little slower; whoever wants the extension imports tvm_ffi first.
    switch = "TVM_FFI_DISABLE_TORCH_C_DLPACK"
    before = os.environ.get(switch)
    if before is None:
        os.environ[switch] = "1"
    try:
        import tvm_ffi
    finally:
        if before is None:
            os.environ.pop(switch, None)
    return tvm_ffi


def torch_forward(*args: Any) -> None:
    """The exported function ``forward``, for torch tensors on the CPU."""
    _call_with_torch("forward", args)


def torch_forward_on_stream(*args: Any) -> None:
    """The exported function ``forward_on_stream``, for torch tensors on a CUDA device."""
    _call_with_torch("forward_on_stream", args)


def torch_forward_features(*args: Any) -> None:
    """The exported function ``forward_features``, for torch tensors."""
    _call_with_torch("forward_features", args)


def _call_with_torch(name: str, args: Sequence[Any]) -> None:
    function = _torch_functions.get(name)
    if function is None:
        _load()
        tvm_ffi = _import_tvm_ffi()
        with _lock:
            function = _torch_functions.get(name)
            if function is None:
                function = tvm_ffi.load_module(str(glue_path())).get_function(name)
                _torch_functions[name] = function
    try:
        function(*args)
    except Exception as error:
        raised = getattr(error, "__tvm_ffi_error__", None)
        if raised is None:
            raise
        raise make_error(raised.kind, raised.message) from None
