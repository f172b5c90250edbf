// SPDX-License-Identifier: Apache-2.0
//
// Conversions declared in Convert.h.
#include "Convert.h"

#include <optional>

namespace tilewright::glue {

using tvm::ffi::TensorView;

namespace {

thread_local std::string argumentAtFault;

/// The exception class of tilewright.errors that a status becomes.
const char *errorKind(TwStatus status) {
  switch (status) {
  case TW_INVALID_ARGUMENT:
    return "tilewright.InvalidArgument";
  case TW_UNSUPPORTED:
    return "tilewright.Unsupported";
  case TW_COMPILE_ERROR:
    return "tilewright.CompileError";
  case TW_CACHE_MISS:
    return "tilewright.CacheMiss";
  case TW_OUT_OF_MEMORY:
    return "tilewright.OutOfMemory";
  case TW_IO_ERROR:
    return "tilewright.CacheIOError";
  case TW_CUDA_ERROR:
    return "tilewright.CudaError";
  case TW_OK:
  case TW_INTERNAL_ERROR:
    break;
  }
  return "tilewright.TilewrightError";
}

/// "uint8", "complex64", "bool"; for what DLPack has no common name, its code and width.
std::string dtypeName(DLDataType dtype) {
  std::string bits = std::to_string(dtype.bits);
  std::string lanes = dtype.lanes == 1 ? "" : "x" + std::to_string(dtype.lanes);
  switch (dtype.code) {
  case kDLInt:
    return "int" + bits + lanes;
  case kDLUInt:
    return "uint" + bits + lanes;
  case kDLFloat:
    return "float" + bits + lanes;
  case kDLBfloat:
    return "bfloat" + bits + lanes;
  case kDLComplex:
    return "complex" + bits + lanes;
  case kDLBool:
    return "bool" + lanes;
  default:
    return "DLPack type " + std::to_string(dtype.code) + " of " + bits + " bits" + lanes;
  }
}

std::optional<TwDType> toDType(DLDataType dtype) {
  if (dtype.lanes != 1) {
    return std::nullopt;
  }
  if (dtype.code == kDLFloat) {
    switch (dtype.bits) {
    case 16:
      return TW_FLOAT16;
    case 32:
      return TW_FLOAT32;
    case 64:
      return TW_FLOAT64;
    default:
      return std::nullopt;
    }
  }
  if (dtype.code == kDLBfloat && dtype.bits == 16) {
    return TW_BFLOAT16;
  }
  if (dtype.code == kDLInt && dtype.bits == 32) {
    return TW_INT32;
  }
  if (dtype.code == kDLInt && dtype.bits == 64) {
    return TW_INT64;
  }
  if (dtype.code == kDLBool && dtype.bits == 8) {
    return TW_BOOL;
  }
  return std::nullopt;
}

/// What an argument that is no q, k, v or out may be, for messages.
struct Allowed {
  const char *name;
  const char *dtypes;
  const char *rank;
};

constexpr Allowed kAllowed[] = {
    {"lse", "float32", "3: (batch, heads, seqlen_q)"},
    {"glm_mask", "int32", "1: break points (batch,), or 3: pairs (batch, 2, N)"},
    {"bias", "q's or float32", "4: (batch, heads, seqlen_q, seqlen_k)"},
    {"attn_mask", "q's, float32 or bool", "4: (batch, heads, seqlen_q, seqlen_k)"},
    {"key_padding_mask", "bool", "2: (batch, seqlen_k)"},
    {"alibi_slopes", "float32", "1: (heads,), or 2: (batch, heads)"},
    {"document_ids", "int32", "2: (batch, seqlen_k)"},
    {"rng_state", "int64", "1: (2,)"},
    {"probs", "q's", "4: (batch, heads, seqlen_q, seqlen_k)"},
    {"cu_seqlens_q", "int32", "1: (batch + 1,)"},
    {"cu_seqlens_k", "int32", "1: (batch + 1,)"},
    {"seqused_k", "int32", "1: (batch,)"},
};

const Allowed *allowedOf(const std::string &name) {
  for (const Allowed &allowed : kAllowed) {
    if (name == allowed.name) {
      return &allowed;
    }
  }
  return nullptr;
}

std::string allowedDTypes(const std::string &name) {
  const Allowed *allowed = allowedOf(name);
  return allowed != nullptr ? allowed->dtypes : "one of float32, float16, bfloat16";
}

TwDevice toDevice(const std::string &name, DLDevice device) {
  switch (device.device_type) {
  case kDLCPU:
  case kDLCUDAHost: // page-locked host memory is host memory
    return TW_DEVICE_CPU;
  case kDLCUDA:
  case kDLCUDAManaged:
    return TW_DEVICE_CUDA;
  default:
    raise(TW_UNSUPPORTED,
          name + ": is on a device of DLPack type " + std::to_string(device.device_type) +
              ", must be on the CPU or on a CUDA device",
          name);
  }
}

} // namespace

void raise(TwStatus status, const std::string &message, const std::string &argument) {
  argumentAtFault = argument;
  // No backtrace: it would put frames of this library into the caller's Python traceback.
  throw tvm::ffi::Error(errorKind(status), message, "");
}

void check(TwStatus status) {
  if (status != TW_OK) {
    raise(status, tw_last_error(), tw_last_error_argument());
  }
}

const std::string &lastArgument() { return argumentAtFault; }

TwTensor toTensor(const char *name, const TensorView &view) {
  TwTensor tensor{};
  std::optional<TwDType> dtype = toDType(view.dtype());
  if (!dtype) {
    raise(TW_INVALID_ARGUMENT,
          std::string(name) + ": dtype is " + dtypeName(view.dtype()) + ", must be " + allowedDTypes(name), name);
  }
  tensor.data = static_cast<char *>(view.data_ptr()) + view.byte_offset();
  tensor.dtype = *dtype;
  tensor.device = toDevice(name, view.device());
  tensor.device_index = view.device().device_id;
  tensor.rank = view.ndim();
  // The C ABI rejects every rank above four before it reads a dimension.
  int32_t kept = tensor.rank < 4 ? tensor.rank : 4;
  for (int32_t i = 0; i < kept; ++i) {
    tensor.shape[i] = view.size(i);
    tensor.strides[i] = view.stride(i);
  }
  return tensor;
}

TwTensor toTensor(const char *name, const tvm::ffi::Optional<TensorView> &view) {
  if (!view.has_value()) {
    return TwTensor{};
  }
  TwTensor tensor = toTensor(name, view.value());
  if (tensor.rank == 0) {
    // To the C ABI rank 0 means "not given": a scalar must not pass for an absent mask.
    const Allowed *allowed = allowedOf(name);
    raise(TW_INVALID_ARGUMENT,
          std::string(name) + ": rank is 0, must be " + (allowed != nullptr ? allowed->rank : "4"), name);
  }
  return tensor;
}

tvm::ffi::String takeString(TwString &text) {
  tvm::ffi::String result(text.data, text.size);
  tw_string_free(&text);
  return result;
}

tvm::ffi::Bytes takeBytes(TwString &bytes) {
  tvm::ffi::Bytes result(bytes.data, bytes.size);
  tw_string_free(&bytes);
  return result;
}

} // namespace tilewright::glue
