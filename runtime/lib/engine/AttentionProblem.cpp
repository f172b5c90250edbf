// SPDX-License-Identifier: Apache-2.0
//
// TwForwardArgs to AttentionProblem: every check of a forward call, in one order (Checks.h has the parts), so that C,
// C++, Python and the command line report the same fault in the same words.
#include "tilewright/runtime/AttentionProblem.h"
#include "Checks.h"
#include "StructSize.h"
#include "tilewright/runtime/Error.h"
#include "tilewright/runtime/SupportMatrix.h"

#include <cfloat>
#include <cmath>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::runtime::checks;

namespace {

/// How q, k, v, out and lse are laid out: by batch entry, or packed along one long dimension (varlen). q and out have
/// `seq`, then heads, then head_dim.
struct Layout {
  int32_t rank; ///< of q, k, v and out
  int32_t seq;
  DimNames q, k, v, out, lse;
};
constexpr Layout kBatched = {
    4,
    1,
    {"(batch, seqlen_q, heads, head_dim)", {"batch", "seqlen_q", "heads", "head_dim"}},
    {"(batch, seqlen_k, heads_k, head_dim)", {"batch", "seqlen_k", "heads_k", "head_dim"}},
    {"(batch, seqlen_k, heads_k, head_dim_v)", {"batch", "seqlen_k", "heads_k", "head_dim_v"}},
    {"(batch, seqlen_q, heads, head_dim_v)", {"batch", "seqlen_q", "heads", "head_dim_v"}},
    {"(batch, heads, seqlen_q)", {"batch", "heads", "seqlen_q", ""}},
};
constexpr Layout kPacked = {
    3,
    0,
    {"(total_q, heads, head_dim)", {"total_q", "heads", "head_dim", ""}},
    {"(total_k, heads_k, head_dim)", {"total_k", "heads_k", "head_dim", ""}},
    {"(total_k, heads_k, head_dim_v)", {"total_k", "heads_k", "head_dim_v", ""}},
    {"(total_q, heads, head_dim_v)", {"total_q", "heads", "head_dim_v", ""}},
    {"(heads, total_q)", {"heads", "total_q", "", ""}},
};

const Layout &layoutOf(const CallSizes &sizes) { return sizes.varlen ? kPacked : kBatched; }

/// After every tensor's own form was checked.
void checkDevices(const TwForwardArgs &args, Purpose purpose) {
  const TwTensor &q = args.q;
  checkSameDevice("k", args.k, q);
  checkSameDevice("v", args.v, q);
  checkSameDevice("out", args.out, q);
  checkSameDevice("lse", args.lse, q);
  const TwTensor &glm = args.glm_mask;
  if (purpose != Purpose::BlockMap) {
    checkSameDevice("glm_mask", glm, q);
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

/// The forms of q, k and v, and the sizes that they give.
void checkInputs(const TwForwardArgs &args, CallSizes &sizes) {
  const Layout &layout = layoutOf(sizes);
  const int32_t heads = layout.seq + 1;
  const int32_t dim = layout.seq + 2;
  checkForm("q", args.q, layout.rank, layout.q);
  checkForm("k", args.k, layout.rank, layout.k);
  checkForm("v", args.v, layout.rank, layout.v);
  sizes.heads = args.q.shape[heads];
  sizes.headsK = args.k.shape[heads];
  sizes.headDim = args.q.shape[dim];
  sizes.headDimV = args.v.shape[dim];
  if (sizes.varlen) {
    sizes.totalQ = args.q.shape[layout.seq];
    sizes.totalK = args.k.shape[layout.seq];
  } else {
    sizes.batch = args.q.shape[0];
    sizes.seqlenQ = args.q.shape[layout.seq];
    sizes.seqlenK = args.k.shape[layout.seq];
  }
  checkHeadDim("q", "head_dim", sizes.headDim);
  if (!sizes.varlen) {
    checkExtent("k", args.k, 0, "batch", sizes.batch, "q's");
  }
  checkExtent("k", args.k, dim, "head_dim", sizes.headDim, "q's");
  if (sizes.headsK < 1 || sizes.heads % sizes.headsK != 0) {
    invalid("k", "heads_k is " + std::to_string(sizes.headsK) + ", must be at least 1 and divide q's heads, " +
                     std::to_string(sizes.heads));
  }
  if (!sizes.varlen) {
    checkExtent("v", args.v, 0, "batch", sizes.batch, "q's");
  }
  checkExtent("v", args.v, layout.seq, layout.v.names[layout.seq], args.k.shape[layout.seq], "k's");
  checkExtent("v", args.v, heads, "heads_k", sizes.headsK, "k's");
  checkHeadDim("v", "head_dim_v", sizes.headDimV);
}

void checkOutputs(const TwForwardArgs &args, const CallSizes &sizes, bool reference) {
  const Layout &layout = layoutOf(sizes);
  checkForm("out", args.out, layout.rank, layout.out);
  for (int32_t i = 0; i < layout.rank - 1; ++i) {
    checkExtent("out", args.out, i, layout.out.names[i], args.q.shape[i], "q's");
  }
  checkExtent("out", args.out, layout.rank - 1, "head_dim_v", sizes.headDimV, "v's");
  checkNoSharedElements("out", args.out, layout.out);
  if (args.lse.rank == 0) {
    return;
  }
  if (args.lse.dtype != TW_FLOAT32 && !(reference && args.lse.dtype == TW_FLOAT64)) {
    invalid("lse", "dtype is " + dtypeName(args.lse.dtype) + ", must be float32" + (reference ? " or float64" : ""));
  }
  checkForm("lse", args.lse, layout.rank - 1, layout.lse);
  if (!sizes.varlen) {
    checkExtent("lse", args.lse, 0, "batch", sizes.batch, "q's");
  }
  checkExtent("lse", args.lse, layout.seq, "heads", sizes.heads, "q's");
  checkExtent("lse", args.lse, layout.seq + 1, layout.lse.names[layout.seq + 1], args.q.shape[layout.seq], "q's");
  checkNoSharedElements("lse", args.lse, layout.lse);
}

/// Strides of q, k, v or out by (batch, seqlen, heads, head_dim); of a packed tensor the batch has none.
std::array<int64_t, 4> strides4(const TwTensor &tensor) {
  if (tensor.rank == 3) {
    return {0, tensor.strides[0], tensor.strides[1], tensor.strides[2]};
  }
  return {tensor.strides[0], tensor.strides[1], tensor.strides[2], tensor.strides[3]};
}

std::array<int64_t, 3> lseStrides(const TwTensor &lse) {
  if (lse.rank == 2) {
    return {0, lse.strides[0], lse.strides[1]};
  }
  return {lse.strides[0], lse.strides[1], lse.strides[2]};
}

void checkAllData(const TwForwardArgs &args) {
  checkData("q", args.q);
  checkData("k", args.k);
  checkData("v", args.v);
  checkData("out", args.out);
  if (args.lse.rank != 0) {
    checkData("lse", args.lse);
  }
}

} // namespace

AttentionProblem runtime::checkForward(const TwForwardArgs &args, Purpose purpose, ForwardPointers *pointers) {
  const bool reference = purpose == Purpose::Reference;
  const bool needsData = purpose == Purpose::Run || reference || purpose == Purpose::CudaReference;
  const bool blockMap = purpose == Purpose::BlockMap;
  checkStructSize(args, "TwForwardArgs");
  checkScalars(args);
  const bool features = usesFeatures(args);
  CallSizes sizes;
  if (features) {
    checkVarlenForm(args, sizes);
  }
  checkInputs(args, sizes);
  checkDtypes(args, purpose);
  checkOutputs(args, sizes, reference);

  AttentionProblem problem;
  problem.mask = args.causal ? attn::MaskKind::Causal : attn::MaskKind::None;
  if (args.glm_mask.rank != 0) {
    problem.mask = checkGlmForm(args, sizes);
  }
  if (features) {
    checkFeatureForms(args, sizes, purpose);
  }
  checkDevices(args, purpose);
  if (features) {
    checkFeatureDevices(args, blockMap);
  }
  if (!supportsMask(problem.mask, args.q.device)) {
    throw Error(TW_UNSUPPORTED,
                "glm_mask: mask kind " + attn::stringifyMaskKind(problem.mask).str() + " is not served on " +
                    (args.q.device == TW_DEVICE_CUDA ? "CUDA devices" : "the CPU"),
                "glm_mask");
  }
  if (needsData) {
    checkAllData(args);
  }
  // A block map reads what blocks depend on.
  const bool readsMasks = needsData || blockMap;
  if (features && readsMasks) {
    checkFeatureData(args, blockMap);
    checkVarlenValues(args, sizes);
  }
  const KeyLengths lengths(args, sizes, readsMasks);
  if (args.glm_mask.rank != 0 && purpose != Purpose::Plan && hasElements(args.glm_mask)) {
    checkData("glm_mask", args.glm_mask);
    if (args.glm_mask.device == TW_DEVICE_CPU) {
      checkGlmValues(args.glm_mask, lengths);
    }
  }
  if (readsMasks && args.document_ids.rank != 0 && args.document_ids.device == TW_DEVICE_CPU) {
    checkDocumentValues(args.document_ids, lengths);
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
  problem.batch = sizes.batch;
  problem.seqlenQ = sizes.seqlenQ;
  problem.seqlenK = sizes.seqlenK;
  problem.heads = sizes.heads;
  problem.headsK = sizes.headsK;
  problem.headDim = sizes.headDim;
  problem.headDimV = sizes.headDimV;
  problem.scale = args.has_softmax_scale ? args.softmax_scale : 1.0 / std::sqrt(static_cast<double>(problem.headDim));
  problem.q = strides4(args.q);
  problem.k = strides4(args.k);
  problem.v = strides4(args.v);
  problem.out = strides4(args.out);
  problem.contiguous = {isContiguous(args.q), isContiguous(args.k), isContiguous(args.v), isContiguous(args.out)};
  if (problem.writeLse) {
    problem.lse = lseStrides(args.lse);
  }
  if (problem.mask == attn::MaskKind::GlmBreak) {
    problem.glm = {args.glm_mask.strides[0], 0, 0};
  } else if (problem.mask == attn::MaskKind::GlmPacked) {
    problem.glm = {args.glm_mask.strides[0], args.glm_mask.strides[1], args.glm_mask.strides[2]};
    problem.pairs = args.glm_mask.shape[2];
  }
  if (features) {
    fillFeatures(args, sizes, problem);
    if (!reference && purpose != Purpose::CudaReference) {
      checkFeaturesServed(problem);
    }
  }
  if (pointers != nullptr) {
    *pointers = {};
    pointers->q = args.q.data;
    pointers->k = args.k.data;
    pointers->v = args.v.data;
    pointers->out = args.out.data;
    pointers->lse = problem.writeLse ? args.lse.data : nullptr;
    pointers->glm = problem.glmMask() ? static_cast<const int32_t *>(args.glm_mask.data) : nullptr;
    if (features) {
      fillFeaturePointers(args, *pointers);
    }
  }
  return problem;
}
