// SPDX-License-Identifier: Apache-2.0
//
// The features of a call beyond the plain one, all together: their checks, what a problem keeps of them, and whether
// kernels serve them.
#include "Checks.h"
#include "tilewright/runtime/Error.h"
#include "tilewright/runtime/SupportMatrix.h"

#include <algorithm>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::runtime::checks;

namespace {

struct NamedTensor {
  const char *name;
  const TwTensor TwForwardArgs::*tensor;
  bool makesBlocks = false; ///< which key blocks are visited depends on its numbers
};

constexpr NamedTensor kTensors[] = {
    {"bias", &TwForwardArgs::bias},
    {"attn_mask", &TwForwardArgs::attn_mask},
    {"key_padding_mask", &TwForwardArgs::key_padding_mask, true},
    {"alibi_slopes", &TwForwardArgs::alibi_slopes},
    {"document_ids", &TwForwardArgs::document_ids, true},
    {"rng_state", &TwForwardArgs::rng_state},
    {"probs", &TwForwardArgs::probs},
    {"cu_seqlens_q", &TwForwardArgs::cu_seqlens_q, true},
    {"cu_seqlens_k", &TwForwardArgs::cu_seqlens_k, true},
    {"seqused_k", &TwForwardArgs::seqused_k, true},
};

ScoreTensor scoreTensor(const TwTensor &tensor) {
  ScoreTensor result;
  result.given = tensor.rank != 0;
  if (result.given) {
    result.dtype = tensor.dtype;
    for (size_t i = 0; i < 4; ++i) {
      result.strides[i] = tensor.shape[i] == 1 ? 0 : tensor.strides[i];
    }
    if (result.strides[3] != 1) {
      result.align = attn::AlignClass::Strided;
    } else if (tensor.shape[3] % 2 == 0 || result.strides[2] != 0) {
      result.align = static_cast<attn::AlignClass>(rowAlignment(tensor));
    }
  }
  return result;
}

TableTensor tableTensor(const TwTensor &tensor) {
  TableTensor result;
  result.given = tensor.rank != 0;
  for (int32_t i = 0; i < tensor.rank; ++i) {
    result.strides[static_cast<size_t>(i)] = tensor.strides[i];
  }
  return result;
}

/// A side that reaches over every key of every row is no bound: a position is less than the longest sequence away from
/// any key. The others fit the kernels' arithmetic.
int64_t windowSide(int64_t value, const CallSizes &sizes) {
  const int64_t longest = sizes.varlen ? std::max(sizes.totalQ, sizes.totalK) : std::max(sizes.seqlenQ, sizes.seqlenK);
  return value >= longest ? -1 : value;
}

void checkServedBy(bool asked, Feature feature, const char *argument, const char *what, TwDevice device) {
  if (asked && !supportsFeature(feature, device)) {
    const char *who = device == TW_DEVICE_CUDA ? "the kernels of CUDA devices" : "the kernels of the CPU";
    throw Error(TW_UNSUPPORTED,
                std::string(argument) + ": " + what + " not served yet by " + who +
                    "; tw_reference_forward (tilewright.reference.attention) computes it",
                argument);
  }
}

} // namespace

bool checks::usesFeatures(const TwForwardArgs &args) {
  for (const NamedTensor &entry : kTensors) {
    if ((args.*entry.tensor).rank != 0) {
      return true;
    }
  }
  // Not `> 0`: NaN must reach its check.
  return args.has_window != 0 || args.window_left != 0 || args.window_right != 0 || args.softcap != 0.0 ||
         args.dropout_p != 0.0 || args.max_seqlen_q != 0 || args.max_seqlen_k != 0;
}

void checks::checkFeatureForms(const TwForwardArgs &args, const CallSizes &sizes, Purpose purpose) {
  checkScoreForms(args, sizes, purpose);
  checkMaskForms(args, sizes);
  checkSeqUsedForm(args, sizes);
}

void checks::checkFeatureDevices(const TwForwardArgs &args, bool blockMap) {
  for (const NamedTensor &entry : kTensors) {
    const TwTensor &tensor = args.*entry.tensor;
    if (!blockMap || !entry.makesBlocks) {
      checkSameDevice(entry.name, tensor, args.q);
    } else if (tensor.rank != 0 && tensor.device != TW_DEVICE_CPU) {
      invalid(entry.name, "is on " + deviceName(tensor) + ", must be on cpu: a block map reads its numbers");
    }
  }
}

void checks::checkFeatureData(const TwForwardArgs &args, bool blockMap) {
  for (const NamedTensor &entry : kTensors) {
    if ((args.*entry.tensor).rank != 0 && (!blockMap || entry.makesBlocks)) {
      checkData(entry.name, args.*entry.tensor);
    }
  }
}

void checks::fillFeatures(const TwForwardArgs &args, const CallSizes &sizes, AttentionProblem &problem) {
  problem.bias = scoreTensor(args.bias);
  problem.attnMask = scoreTensor(args.attn_mask);
  problem.keyPadding = tableTensor(args.key_padding_mask);
  problem.alibi = tableTensor(args.alibi_slopes);
  if (args.alibi_slopes.rank == 1) {
    problem.alibi.strides = {0, args.alibi_slopes.strides[0]};
  }
  problem.documents = tableTensor(args.document_ids);
  if (args.has_window) {
    problem.windowLeft = windowSide(args.window_left, sizes);
    problem.windowRight = windowSide(args.window_right, sizes);
    if (problem.windowRight == 0 && problem.mask == attn::MaskKind::None) {
      problem.mask = attn::MaskKind::Causal; // the same rows see the same keys
    }
    if (problem.mask != attn::MaskKind::None) {
      problem.windowRight = -1;
    }
  }
  problem.softcap = args.softcap;
  problem.dropoutP = args.dropout_p;
  problem.dropoutSeed = args.dropout_seed;
  problem.dropoutOffset = args.dropout_offset;
  problem.rngState = tableTensor(args.rng_state);
  problem.probs = scoreTensor(args.probs);
  problem.varlen = sizes.varlen;
  problem.totalQ = sizes.totalQ;
  problem.totalK = sizes.totalK;
  problem.cuSeqlensQ = tableTensor(args.cu_seqlens_q);
  problem.cuSeqlensK = tableTensor(args.cu_seqlens_k);
  problem.seqUsedK = tableTensor(args.seqused_k);
}

void checks::fillFeaturePointers(const TwForwardArgs &args, ForwardPointers &pointers) {
  auto data = [](const TwTensor &tensor) { return tensor.rank != 0 ? tensor.data : nullptr; };
  pointers.bias = data(args.bias);
  pointers.attnMask = data(args.attn_mask);
  pointers.keyPadding = static_cast<const uint8_t *>(data(args.key_padding_mask));
  pointers.alibi = static_cast<const float *>(data(args.alibi_slopes));
  pointers.documents = static_cast<const int32_t *>(data(args.document_ids));
  pointers.rngState = static_cast<const int64_t *>(data(args.rng_state));
  pointers.probs = data(args.probs);
  pointers.cuSeqlensQ = static_cast<const int32_t *>(data(args.cu_seqlens_q));
  pointers.cuSeqlensK = static_cast<const int32_t *>(data(args.cu_seqlens_k));
  pointers.seqUsedK = static_cast<const int32_t *>(data(args.seqused_k));
}

void checks::checkFeaturesServed(const AttentionProblem &problem) {
  const bool boolMask = problem.attnMask.dtype == TW_BOOL;
  auto checkServed = [&](bool asked, Feature feature, const char *argument, const char *what) {
    checkServedBy(asked, feature, argument, what, problem.device);
  };
  checkServed(problem.varlen, Feature::Varlen, "cu_seqlens_q", "sequences of different lengths are");
  checkServed(problem.seqUsedK.given, Feature::SeqUsedK, "seqused_k", "is");
  checkServed(problem.bias.given, Feature::Bias, "bias", "a bias is");
  checkServed(problem.attnMask.given && !boolMask, Feature::AdditiveMask, "attn_mask", "an additive mask is");
  checkServed(problem.attnMask.given && boolMask, Feature::BoolMask, "attn_mask", "a bool mask is");
  checkServed(problem.keyPadding.given, Feature::KeyPadding, "key_padding_mask", "is");
  checkServed(problem.documents.given, Feature::Documents, "document_ids", "is");
  checkServed(problem.window(), Feature::Window, problem.windowLeft >= 0 ? "window_left" : "window_right",
              "a sliding window is");
  checkServed(problem.alibi.given, Feature::Alibi, "alibi_slopes", "ALiBi is");
  checkServed(problem.softcap != 0.0, Feature::Softcap, "softcap", "is");
  checkServed(problem.dropoutP != 0.0, Feature::Dropout, "dropout_p", "dropout is");
  checkServed(problem.probs.given, Feature::Probs, "probs", "probabilities as an output are");
}
