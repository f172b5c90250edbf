// SPDX-License-Identifier: Apache-2.0
//
// TwForwardArgs to AttentionProblem: every check of a forward call, in one place, so that C, C++, Python and the
// command line report the same fault in the same words.
#include "tilewright/runtime/AttentionProblem.h"
#include "StructSize.h"
#include "tilewright/runtime/Error.h"
#include "tilewright/runtime/SupportMatrix.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

using namespace tilewright;
using namespace tilewright::runtime;

namespace {

constexpr int64_t kMaxExtent = std::numeric_limits<int32_t>::max();

[[noreturn]] void invalid(const char *argument, const std::string &what) {
  throw Error(TW_INVALID_ARGUMENT, std::string(argument) + ": " + what, argument);
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", value);
  return text;
}

std::string dtypeName(TwDType dtype) {
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
  }
  return "TwDType(" + std::to_string(static_cast<int>(dtype)) + ")";
}

int64_t dtypeBytes(TwDType dtype) {
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
  }
  return 1;
}

std::string shapeText(const TwTensor &tensor) {
  std::string text = "(";
  for (int32_t i = 0; i < tensor.rank; ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(tensor.shape[i]);
  }
  return text + (tensor.rank == 1 ? ",)" : ")");
}

bool hasElements(const TwTensor &tensor) {
  for (int32_t i = 0; i < tensor.rank; ++i) {
    if (tensor.shape[i] == 0) {
      return false;
    }
  }
  return true;
}

struct DimName {
  const char *text; ///< "(batch, seqlen_q, heads, head_dim)"
  std::array<const char *, 4> names;
};
constexpr DimName kQueryDims = {"(batch, seqlen_q, heads, head_dim)", {"batch", "seqlen_q", "heads", "head_dim"}};
constexpr DimName kKeyDims = {"(batch, seqlen_k, heads_k, head_dim)", {"batch", "seqlen_k", "heads_k", "head_dim"}};
constexpr DimName kValueDims = {"(batch, seqlen_k, heads_k, head_dim_v)",
                                {"batch", "seqlen_k", "heads_k", "head_dim_v"}};
constexpr DimName kOutDims = {"(batch, seqlen_q, heads, head_dim_v)", {"batch", "seqlen_q", "heads", "head_dim_v"}};
constexpr DimName kLseDims = {"(batch, heads, seqlen_q)", {"batch", "heads", "seqlen_q", ""}};
constexpr DimName kBreakDims = {"(batch,)", {"batch", "", "", ""}};
constexpr DimName kPairsDims = {"(batch, 2, N)", {"batch", "2", "N", ""}};

std::string deviceName(const TwTensor &tensor) {
  return tensor.device == TW_DEVICE_CUDA ? "cuda:" + std::to_string(tensor.device_index) : "the CPU";
}

void checkDevice(const char *name, const TwTensor &tensor) {
  if (tensor.device != TW_DEVICE_CPU && tensor.device != TW_DEVICE_CUDA) {
    invalid(name, "device is TwDevice(" + std::to_string(static_cast<int>(tensor.device)) +
                      "), must be the CPU or a CUDA device");
  }
  if (tensor.device == TW_DEVICE_CUDA && tensor.device_index < 0) {
    invalid(name, "device index is " + std::to_string(tensor.device_index) + ", must be at least 0");
  }
}

/// After every tensor's own form was checked.
void checkDevices(const TwForwardArgs &args, Purpose purpose) {
  const TwTensor &q = args.q;
  auto sameAsQ = [&](const char *name, const TwTensor &tensor) {
    const bool same = tensor.device == q.device &&
                      (q.device == TW_DEVICE_CPU || tensor.device_index == q.device_index);
    if (tensor.rank != 0 && !same) {
      invalid(name, "is on " + deviceName(tensor) + ", but q is on " + deviceName(q) +
                        ": all tensors of a call must be on one device");
    }
  };
  sameAsQ("k", args.k);
  sameAsQ("v", args.v);
  sameAsQ("out", args.out);
  sameAsQ("lse", args.lse);
  const TwTensor &glm = args.glm_mask;
  if (purpose != Purpose::BlockMap) {
    sameAsQ("glm_mask", glm);
  } else if (glm.rank != 0 && glm.device != TW_DEVICE_CPU && hasElements(glm)) {
    throw Error(TW_UNSUPPORTED,
                "glm_mask: is on " + deviceName(glm) +
                    ", but a block map reads its numbers on the host: pass a copy on the CPU",
                "glm_mask");
  }
  if (purpose == Purpose::Reference && q.device != TW_DEVICE_CPU) {
    throw Error(TW_UNSUPPORTED,
                "q: is on " + deviceName(q) + ", but the reference computes on the CPU: move the tensors there", "q");
  }
  if (purpose == Purpose::CudaReference && q.device != TW_DEVICE_CUDA) {
    throw Error(TW_UNSUPPORTED,
                "q: is on the CPU, but the CUDA reference computes on a CUDA device: move the tensors there, or call "
                "tw_reference_forward",
                "q");
  }
}

/// Rank, device, extents, and that no element's byte offset leaves int64.
void checkForm(const char *name, const TwTensor &tensor, int32_t rank, const DimName &dims) {
  if (tensor.rank != rank) {
    std::string is = tensor.rank > 0 && tensor.rank <= 4 ? ", shape " + shapeText(tensor) : "";
    invalid(name, "rank is " + std::to_string(tensor.rank) + is + ", must be " + std::to_string(rank) + ": " +
                      dims.text);
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

void checkExtent(const char *name, const TwTensor &tensor, int32_t dim, const char *dimName, int64_t expected,
                 const char *whose) {
  if (tensor.shape[dim] != expected) {
    invalid(name, std::string(dimName) + " is " + std::to_string(tensor.shape[dim]) + ", but " + whose + " is " +
                      std::to_string(expected));
  }
}

void checkData(const char *name, const TwTensor &tensor) {
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

/// Two indices of an output may not name one element: threads would race for it.
void checkNoSharedElements(const char *name, const TwTensor &tensor, const DimName &dims) {
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

std::array<int64_t, 4> strides4(const TwTensor &tensor) {
  return {tensor.strides[0], tensor.strides[1], tensor.strides[2], tensor.strides[3]};
}

bool isContiguous(const TwTensor &tensor) {
  return tensor.strides[3] == 1 || tensor.shape[3] == 1 || !hasElements(tensor);
}

/// Bytes to which every row along the last dimension is aligned, at most 16.
uint8_t rowAlignment(const TwTensor &tensor) {
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

void checkScalars(const TwForwardArgs &args) {
  if (args.causal != 0 && args.causal != 1) {
    invalid("causal", "is " + std::to_string(args.causal) + ", must be 0 or 1");
  }
  if (!supportsCausalAlign(args.causal_align, TW_DEVICE_CPU)) {
    invalid("causal_align", "is " + std::to_string(static_cast<int>(args.causal_align)) +
                                ", must be TW_ALIGN_BOTTOM_RIGHT (0) or TW_ALIGN_TOP_LEFT (1)");
  }
  if (args.has_softmax_scale != 0 && args.has_softmax_scale != 1) {
    invalid("has_softmax_scale", "is " + std::to_string(args.has_softmax_scale) + ", must be 0 or 1");
  }
  // Kernels take the scale as float32; a double above its range would silently become infinity there.
  if (args.has_softmax_scale && !(args.softmax_scale >= 0.0 && args.softmax_scale <= double(FLT_MAX))) {
    invalid("softmax_scale",
            "is " + number(args.softmax_scale) + ", must be finite and >= 0 (at most " + number(FLT_MAX) + ")");
  }
}

void checkDtypes(const TwForwardArgs &args, Purpose purpose) {
  const bool reference = purpose == Purpose::Reference;
  const TwDevice device = reference ? TW_DEVICE_CPU : args.q.device;
  const bool known =
      supportedElementType(args.q.dtype, device).has_value() || (reference && args.q.dtype == TW_FLOAT64);
  if (!known) {
    const std::string allowed = supportedValues(FeatureGroup::ElementType, device) + (reference ? ", float64" : "");
    if (supportedElementType(args.q.dtype, TW_DEVICE_CPU)) {
      throw Error(TW_UNSUPPORTED,
                  "q: dtype is " + dtypeName(args.q.dtype) + ", must be one of " + allowed + " on a CUDA device", "q");
    }
    invalid("q", "dtype is " + dtypeName(args.q.dtype) + ", must be one of " + allowed);
  }
  auto sameAsQ = [&](const char *name, const TwTensor &tensor, bool mayBeDouble) {
    if (tensor.dtype != args.q.dtype && !(mayBeDouble && tensor.dtype == TW_FLOAT64)) {
      invalid(name, "dtype is " + dtypeName(tensor.dtype) + ", but q's is " + dtypeName(args.q.dtype) +
                        (mayBeDouble ? "; float64 is allowed too" : ""));
    }
  };
  sameAsQ("k", args.k, false);
  sameAsQ("v", args.v, false);
  if (purpose != Purpose::CudaReference) {
    sameAsQ("out", args.out, reference);
  } else if (args.out.dtype != TW_FLOAT32) {
    invalid("out", "dtype is " + dtypeName(args.out.dtype) + ", must be float32: the CUDA reference's output");
  }
}

void checkHeadDim(const char *name, const char *dimName, int64_t headDim) {
  if (headDim < kMinHeadDim || headDim > kMaxHeadDim) {
    invalid(name, std::string(dimName) + " is " + std::to_string(headDim) + ", must be in [" +
                      std::to_string(kMinHeadDim) + ", " + std::to_string(kMaxHeadDim) + "]");
  }
}

void checkInputs(const TwForwardArgs &args) {
  checkForm("q", args.q, 4, kQueryDims);
  checkForm("k", args.k, 4, kKeyDims);
  checkForm("v", args.v, 4, kValueDims);
  checkHeadDim("q", "head_dim", args.q.shape[3]);
  checkExtent("k", args.k, 0, "batch", args.q.shape[0], "q's");
  checkExtent("k", args.k, 3, "head_dim", args.q.shape[3], "q's");
  const int64_t heads = args.q.shape[2];
  const int64_t headsK = args.k.shape[2];
  if (headsK < 1 || heads % headsK != 0) {
    invalid("k", "heads_k is " + std::to_string(headsK) + ", must be at least 1 and divide q's heads, " +
                     std::to_string(heads));
  }
  checkExtent("v", args.v, 0, "batch", args.q.shape[0], "q's");
  checkExtent("v", args.v, 1, "seqlen_k", args.k.shape[1], "k's");
  checkExtent("v", args.v, 2, "heads_k", headsK, "k's");
  checkHeadDim("v", "head_dim_v", args.v.shape[3]);
}

void checkOutputs(const TwForwardArgs &args, bool reference) {
  checkForm("out", args.out, 4, kOutDims);
  checkExtent("out", args.out, 0, "batch", args.q.shape[0], "q's");
  checkExtent("out", args.out, 1, "seqlen_q", args.q.shape[1], "q's");
  checkExtent("out", args.out, 2, "heads", args.q.shape[2], "q's");
  checkExtent("out", args.out, 3, "head_dim_v", args.v.shape[3], "v's");
  checkNoSharedElements("out", args.out, kOutDims);
  if (args.lse.rank == 0) {
    return;
  }
  if (args.lse.dtype != TW_FLOAT32 && !(reference && args.lse.dtype == TW_FLOAT64)) {
    invalid("lse", "dtype is " + dtypeName(args.lse.dtype) + ", must be float32" + (reference ? " or float64" : ""));
  }
  checkForm("lse", args.lse, 3, kLseDims);
  checkExtent("lse", args.lse, 0, "batch", args.q.shape[0], "q's");
  checkExtent("lse", args.lse, 1, "heads", args.q.shape[2], "q's");
  checkExtent("lse", args.lse, 2, "seqlen_q", args.q.shape[1], "q's");
  checkNoSharedElements("lse", args.lse, kLseDims);
}

attn::MaskKind checkGlmForm(const TwForwardArgs &args) {
  const TwTensor &glm = args.glm_mask;
  if (glm.rank != 1 && glm.rank != 3) {
    std::string is = glm.rank > 0 && glm.rank <= 4 ? ", shape " + shapeText(glm) : "";
    invalid("glm_mask", "rank is " + std::to_string(glm.rank) + is + ", must be 1: break points (batch,), or 3: pairs "
                        "(batch, 2, N)");
  }
  if (glm.dtype != TW_INT32) {
    invalid("glm_mask", "dtype is " + dtypeName(glm.dtype) + ", must be int32");
  }
  checkForm("glm_mask", glm, glm.rank, glm.rank == 1 ? kBreakDims : kPairsDims);
  checkExtent("glm_mask", glm, 0, "batch", args.q.shape[0], "q's");
  if (glm.rank == 3 && glm.shape[1] != 2) {
    invalid("glm_mask", "shape is " + shapeText(glm) + ", its second dimension must be 2: starts, then ends");
  }
  if (!args.causal) {
    invalid("glm_mask", "is given, but causal is 0: a GLM mask extends the causal mask and needs causal = 1");
  }
  if (glm.rank == 1) {
    return attn::MaskKind::GlmBreak;
  }
  // Without a single pair nothing extends the causal mask: no limits to prepare, and one kernel less to compile.
  return glm.shape[2] == 0 ? attn::MaskKind::Causal : attn::MaskKind::GlmPacked;
}

void checkGlmValues(const TwTensor &glm, int64_t seqlenK) {
  const auto *base = static_cast<const int32_t *>(glm.data);
  auto allowed = [&] { return "[0, seqlen_k = " + std::to_string(seqlenK) + "]"; };
  auto inRange = [&](int32_t value) { return value >= 0 && value <= seqlenK; };
  for (int64_t b = 0; b < glm.shape[0]; ++b) {
    const int32_t *row = base + b * glm.strides[0];
    if (glm.rank == 1) {
      if (!inRange(*row)) {
        invalid("glm_mask", "break point " + std::to_string(*row) + " of batch entry " + std::to_string(b) +
                                " must be in " + allowed());
      }
      continue;
    }
    for (int64_t n = 0; n < glm.shape[2]; ++n) {
      const int32_t start = row[n * glm.strides[2]];
      const int32_t end = row[glm.strides[1] + n * glm.strides[2]];
      const bool unused = start == -1 && end == -1;
      if (!unused && !(inRange(start) && inRange(end))) {
        invalid("glm_mask", "pair " + std::to_string(n) + " of batch entry " + std::to_string(b) + " is (" +
                                std::to_string(start) + ", " + std::to_string(end) +
                                "), must be (-1, -1), unused, or both in " + allowed());
      }
    }
  }
}

} // namespace

AttentionProblem runtime::checkForward(const TwForwardArgs &args, Purpose purpose, ForwardPointers *pointers) {
  const bool reference = purpose == Purpose::Reference;
  const bool needsData = purpose == Purpose::Run || reference || purpose == Purpose::CudaReference;
  checkStructSize(args, "TwForwardArgs");
  checkScalars(args);
  checkInputs(args);
  checkDtypes(args, purpose);
  checkOutputs(args, reference);

  AttentionProblem problem;
  problem.mask = args.causal ? attn::MaskKind::Causal : attn::MaskKind::None;
  if (args.glm_mask.rank != 0) {
    problem.mask = checkGlmForm(args);
  }
  checkDevices(args, purpose);
  if (!supportsMask(problem.mask, args.q.device)) {
    throw Error(TW_UNSUPPORTED,
                "glm_mask: mask kind " + attn::stringifyMaskKind(problem.mask).str() + " is not served on " +
                    (args.q.device == TW_DEVICE_CUDA ? "CUDA devices" : "the CPU"),
                "glm_mask");
  }
  const int64_t seqlenK = args.k.shape[1];
  if (needsData) {
    checkData("q", args.q);
    checkData("k", args.k);
    checkData("v", args.v);
    checkData("out", args.out);
    if (args.lse.rank != 0) {
      checkData("lse", args.lse);
    }
  }
  if (args.glm_mask.rank != 0 && purpose != Purpose::Plan && hasElements(args.glm_mask)) {
    checkData("glm_mask", args.glm_mask);
    if (args.glm_mask.device == TW_DEVICE_CPU) {
      checkGlmValues(args.glm_mask, seqlenK);
    }
  }

  problem.device = args.q.device;
  if (problem.device == TW_DEVICE_CUDA) {
    problem.deviceIndex = args.q.device_index;
    problem.rowAlign = {rowAlignment(args.q), rowAlignment(args.k), rowAlignment(args.v), rowAlignment(args.out)};
  }
  problem.dtype = args.q.dtype;
  problem.outDtype = args.out.dtype;
  problem.writeLse = args.lse.rank != 0;
  problem.lseDtype = problem.writeLse ? args.lse.dtype : TW_FLOAT32;
  problem.topLeft = args.causal_align == TW_ALIGN_TOP_LEFT;
  problem.batch = args.q.shape[0];
  problem.seqlenQ = args.q.shape[1];
  problem.seqlenK = seqlenK;
  problem.heads = args.q.shape[2];
  problem.headsK = args.k.shape[2];
  problem.headDim = args.q.shape[3];
  problem.headDimV = args.v.shape[3];
  problem.scale = args.has_softmax_scale ? args.softmax_scale : 1.0 / std::sqrt(static_cast<double>(problem.headDim));
  problem.q = strides4(args.q);
  problem.k = strides4(args.k);
  problem.v = strides4(args.v);
  problem.out = strides4(args.out);
  problem.contiguous = {isContiguous(args.q), isContiguous(args.k), isContiguous(args.v), isContiguous(args.out)};
  if (problem.writeLse) {
    problem.lse = {args.lse.strides[0], args.lse.strides[1], args.lse.strides[2]};
  }
  if (problem.mask == attn::MaskKind::GlmBreak) {
    problem.glm = {args.glm_mask.strides[0], 0, 0};
  } else if (problem.mask == attn::MaskKind::GlmPacked) {
    problem.glm = {args.glm_mask.strides[0], args.glm_mask.strides[1], args.glm_mask.strides[2]};
    problem.pairs = args.glm_mask.shape[2];
  }
  if (pointers != nullptr) {
    const bool glm = problem.mask == attn::MaskKind::GlmBreak || problem.mask == attn::MaskKind::GlmPacked;
    *pointers = {args.q.data,
                 args.k.data,
                 args.v.data,
                 args.out.data,
                 problem.writeLse ? args.lse.data : nullptr,
                 glm ? static_cast<const int32_t *>(args.glm_mask.data) : nullptr};
  }
  return problem;
}
