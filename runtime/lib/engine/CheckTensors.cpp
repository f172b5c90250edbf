// SPDX-License-Identifier: Apache-2.0
//
// What is checked of any tensor: its form, its extents, its memory; and the words of the messages.
#include "Checks.h"
#include "tilewright/runtime/Error.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::runtime::checks;

void checks::invalid(const char *argument, const std::string &what) {
  throw Error(TW_INVALID_ARGUMENT, std::string(argument) + ": " + what, argument);
}

std::string checks::number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", value);
  return text;
}

std::string checks::dtypeName(TwDType dtype) {
  switch (dtype) {
  case TW_FLOAT32:
    return "float32";
  case TW_FLOAT16:
    return "float16";
  case TW_BFLOAT16:
    return "bfloat16";
  case TW_INT32:
    return "int32";
  case TW_FLOAT64:
    return "float64";
  case TW_INT64:
    return "int64";
  case TW_BOOL:
    return "bool";
  }
  return "TwDType(" + std::to_string(static_cast<int>(dtype)) + ")";
}

int64_t checks::dtypeBytes(TwDType dtype) {
  switch (dtype) {
  case TW_FLOAT16:
  case TW_BFLOAT16:
    return 2;
  case TW_FLOAT32:
  case TW_INT32:
    return 4;
  case TW_FLOAT64:
  case TW_INT64:
    return 8;
  case TW_BOOL:
    return 1;
  }
  return 1;
}

std::string checks::shapeText(const TwTensor &tensor) {
  std::string text = "(";
  for (int32_t i = 0; i < tensor.rank; ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(tensor.shape[i]);
  }
  return text + (tensor.rank == 1 ? ",)" : ")");
}

std::string checks::shapeIfAny(const TwTensor &tensor) {
  return tensor.rank > 0 && tensor.rank <= 4 ? ", shape " + shapeText(tensor) : "";
}

bool checks::hasElements(const TwTensor &tensor) {
  for (int32_t i = 0; i < tensor.rank; ++i) {
    if (tensor.shape[i] == 0) {
      return false;
    }
  }
  return true;
}

std::string checks::deviceName(const TwTensor &tensor) {
  return tensor.device == TW_DEVICE_CUDA ? "cuda:" + std::to_string(tensor.device_index) : "the CPU";
}

static void checkDevice(const char *name, const TwTensor &tensor) {
  if (tensor.device != TW_DEVICE_CPU && tensor.device != TW_DEVICE_CUDA) {
    invalid(name, "device is TwDevice(" + std::to_string(static_cast<int>(tensor.device)) +
                      "), must be the CPU or a CUDA device");
  }
  if (tensor.device == TW_DEVICE_CUDA && tensor.device_index < 0) {
    invalid(name, "device index is " + std::to_string(tensor.device_index) + ", must be at least 0");
  }
}

void checks::checkForm(const char *name, const TwTensor &tensor, int32_t rank, const DimNames &dims) {
  if (tensor.rank != rank) {
    invalid(name, "rank is " + std::to_string(tensor.rank) + shapeIfAny(tensor) + ", must be " +
                      std::to_string(rank) + ": " + dims.text);
  }
  checkDevice(name, tensor);
  for (int32_t i = 0; i < rank; ++i) {
    if (tensor.shape[i] < 0 || tensor.shape[i] > kMaxExtent) {
      invalid(name, std::string(dims.names[i]) + " is " + std::to_string(tensor.shape[i]) + ", must be in [0, " +
                        std::to_string(kMaxExtent) + "]");
    }
  }
  if (!hasElements(tensor)) {
    return;
  }
  // Kernels form offsets as sums of index * stride: no partial sum may leave int64, in either direction.
  const int64_t bytes = dtypeBytes(tensor.dtype);
  int64_t reach = 0;
  for (int32_t i = 0; i < rank; ++i) {
    int64_t step = 0;
    bool fits = tensor.strides[i] != std::numeric_limits<int64_t>::min() &&
                !__builtin_mul_overflow(tensor.shape[i] - 1, std::abs(tensor.strides[i]), &step) &&
                !__builtin_mul_overflow(step, bytes, &step) && !__builtin_add_overflow(reach, step, &reach);
    if (!fits) {
      invalid(name, "stride " + std::to_string(tensor.strides[i]) + " of " + dims.names[i] + " = " +
                        std::to_string(tensor.shape[i]) + " reaches beyond 2^63 bytes");
    }
  }
}

void checks::checkExtent(const char *name, const TwTensor &tensor, int32_t dim, const char *dimName, int64_t expected,
                 const char *whose) {
  if (tensor.shape[dim] != expected) {
    invalid(name, std::string(dimName) + " is " + std::to_string(tensor.shape[dim]) + ", but " + whose + " is " +
                      std::to_string(expected));
  }
}

void checks::checkPositions(const char *name, const TwTensor &tensor, int32_t dim, Side side, const CallSizes &sizes) {
  const bool query = side == Side::Query;
  const char *dimName = query ? "seqlen_q" : "seqlen_k";
  const int64_t expected = query ? sizes.seqlenQ : sizes.seqlenK;
  if (!sizes.varlen) {
    checkExtent(name, tensor, dim, dimName, expected, query ? "q's" : "k's");
  } else if (tensor.shape[dim] < expected) {
    invalid(name, std::string(dimName) + " is " + std::to_string(tensor.shape[dim]) + ", must be at least max_" +
                      dimName + ", " + std::to_string(expected));
  }
}

const char *checks::whoseBatch(const CallSizes &sizes) {
  return sizes.varlen ? "that of cu_seqlens_q" : "q's";
}

void checks::checkDtype(const char *name, const TwTensor &tensor, TwDType expected) {
  if (tensor.dtype != expected) {
    invalid(name, "dtype is " + dtypeName(tensor.dtype) + ", must be " + dtypeName(expected));
  }
}

void checks::checkData(const char *name, const TwTensor &tensor) {
  if (!hasElements(tensor)) {
    return;
  }
  if (tensor.data == nullptr) {
    invalid(name, "data is NULL, but its shape is " + shapeText(tensor));
  }
  const auto bytes = static_cast<uintptr_t>(dtypeBytes(tensor.dtype));
  if (reinterpret_cast<uintptr_t>(tensor.data) % bytes != 0) {
    invalid(name, "data is not aligned to its element: the address must be a multiple of " + std::to_string(bytes) +
                      " bytes for " + dtypeName(tensor.dtype));
  }
}

void checks::checkNoSharedElements(const char *name, const TwTensor &tensor, const DimNames &dims) {
  if (!hasElements(tensor)) {
    return;
  }
  for (int32_t i = 0; i < tensor.rank; ++i) {
    if (tensor.shape[i] <= 1) {
      continue;
    }
    if (tensor.strides[i] == 0) {
      invalid(name, std::string("stride of ") + dims.names[i] + " is 0, but " + dims.names[i] + " is " +
                        std::to_string(tensor.shape[i]) + ": an output's elements must all be distinct");
    }
    for (int32_t j = 0; j < i; ++j) {
      if (tensor.shape[j] > 1 && std::abs(tensor.strides[j]) == std::abs(tensor.strides[i])) {
        invalid(name, std::string("strides of ") + dims.names[j] + " and " + dims.names[i] + " are " +
                          std::to_string(tensor.strides[j]) + " and " + std::to_string(tensor.strides[i]) +
                          ": an output's elements must all be distinct");
      }
    }
  }
}

void checks::checkSameDevice(const char *name, const TwTensor &tensor, const TwTensor &q) {
  const bool same = tensor.device == q.device && (q.device == TW_DEVICE_CPU || tensor.device_index == q.device_index);
  if (tensor.rank != 0 && !same) {
    invalid(name, "is on " + deviceName(tensor) + ", but q is on " + deviceName(q) +
                      ": all tensors of a call must be on one device");
  }
}

bool checks::isContiguous(const TwTensor &tensor) {
  return tensor.strides[tensor.rank - 1] == 1 || tensor.shape[tensor.rank - 1] == 1 || !hasElements(tensor);
}

uint8_t checks::rowAlignment(const TwTensor &tensor) {
  if (!hasElements(tensor)) {
    return 16;
  }
  auto bits = static_cast<uint64_t>(reinterpret_cast<uintptr_t>(tensor.data)) | 16;
  for (int32_t i = 0; i + 1 < tensor.rank; ++i) {
    if (tensor.shape[i] > 1) {
      bits |= static_cast<uint64_t>(tensor.strides[i]) * static_cast<uint64_t>(dtypeBytes(tensor.dtype));
    }
  }
  const uint64_t lowest = bits & (~bits + 1);
  // An address that is not even a multiple of the element's size is an error before anything runs.
  return static_cast<uint8_t>(std::max<uint64_t>(lowest, 2));
}
