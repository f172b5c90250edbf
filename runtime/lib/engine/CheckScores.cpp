// SPDX-License-Identifier: Apache-2.0
//
// What changes scores and probabilities: bias, attn_mask, ALiBi, softcap, dropout; and the probabilities as an output.
#include "Checks.h"

#include <cfloat>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::runtime::checks;

namespace {

constexpr DimNames kScoreDims = {"(batch, heads, seqlen_q, seqlen_k), each of them or 1",
                                 {"batch", "heads", "seqlen_q", "seqlen_k"}};
constexpr DimNames kProbsDims = {"(batch, heads, seqlen_q, seqlen_k)", {"batch", "heads", "seqlen_q", "seqlen_k"}};
constexpr DimNames kHeadDims = {"(heads,)", {"heads", "", "", ""}};
constexpr DimNames kBatchHeadDims = {"(batch, heads)", {"batch", "heads", "", ""}};
constexpr DimNames kRngDims = {"(2,)", {"2", "", "", ""}};

/// (batch|1, heads|1, seqlen_q|1, seqlen_k|1)
void checkBroadcastForm(const char *name, const TwTensor &tensor, const CallSizes &sizes) {
  checkForm(name, tensor, 4, kScoreDims);
  const std::array<int64_t, 4> full = {sizes.batch, sizes.heads, sizes.seqlenQ, sizes.seqlenK};
  for (int32_t i = 0; i < 4; ++i) {
    const int64_t extent = tensor.shape[i];
    const bool longer = sizes.varlen && i >= 2 && extent >= full[i];
    if (extent != 1 && extent != full[i] && !longer) {
      invalid(name, std::string(kScoreDims.names[i]) + " is " + std::to_string(extent) + ", must be 1 or " +
                        (sizes.varlen && i >= 2 ? "at least " : "") + std::to_string(full[i]));
    }
  }
}

void checkAddend(const char *name, const TwTensor &tensor, const TwForwardArgs &args, const CallSizes &sizes,
                 bool boolToo, bool reference) {
  if (tensor.rank == 0) {
    return;
  }
  const bool fits = tensor.dtype == args.q.dtype || tensor.dtype == TW_FLOAT32 ||
                    (reference && tensor.dtype == TW_FLOAT64) || (boolToo && tensor.dtype == TW_BOOL);
  if (!fits) {
    const std::string ofQ = args.q.dtype == TW_FLOAT32 ? "" : "q's " + dtypeName(args.q.dtype) + ", or ";
    invalid(name, "dtype is " + dtypeName(tensor.dtype) + ", must be " + ofQ + "float32" +
                      (boolToo ? ", or bool" : "") + (reference && args.q.dtype != TW_FLOAT64 ? ", or float64" : ""));
  }
  checkBroadcastForm(name, tensor, sizes);
}

void checkAlibi(const TwTensor &slopes, const CallSizes &sizes) {
  if (slopes.rank == 0) {
    return;
  }
  if (slopes.rank != 1 && slopes.rank != 2) {
    invalid("alibi_slopes", "rank is " + std::to_string(slopes.rank) + shapeIfAny(slopes) +
                                ", must be 1: (heads,), or 2: (batch, heads)");
  }
  checkForm("alibi_slopes", slopes, slopes.rank, slopes.rank == 1 ? kHeadDims : kBatchHeadDims);
  checkDtype("alibi_slopes", slopes, TW_FLOAT32);
  if (slopes.rank == 2) {
    checkExtent("alibi_slopes", slopes, 0, "batch", sizes.batch, whoseBatch(sizes));
  }
  checkExtent("alibi_slopes", slopes, slopes.rank - 1, "heads", sizes.heads, "q's");
}

void checkDropout(const TwForwardArgs &args) {
  if (!(args.dropout_p >= 0.0 && args.dropout_p < 1.0)) {
    invalid("dropout_p", "is " + number(args.dropout_p) + ", must be at least 0 and below 1");
  }
  if (args.rng_state.rank == 0) {
    return;
  }
  checkForm("rng_state", args.rng_state, 1, kRngDims);
  checkDtype("rng_state", args.rng_state, TW_INT64);
  if (args.rng_state.shape[0] != 2) {
    invalid("rng_state", "shape is " + shapeText(args.rng_state) + ", must be (2,): seed, offset");
  }
  if (args.dropout_seed != 0 || args.dropout_offset != 0) {
    invalid("rng_state", "is given, and so are dropout_seed = " + std::to_string(args.dropout_seed) +
                             " and dropout_offset = " + std::to_string(args.dropout_offset) +
                             ": with rng_state they must be 0");
  }
}

void checkProbs(const TwForwardArgs &args, const CallSizes &sizes, Purpose purpose) {
  const TwTensor &probs = args.probs;
  if (probs.rank == 0) {
    return;
  }
  const bool reference = purpose == Purpose::Reference;
  if (purpose == Purpose::CudaReference) {
    if (probs.dtype != TW_FLOAT32) {
      invalid("probs",
              "dtype is " + dtypeName(probs.dtype) + ", must be float32: the type of the CUDA reference's outputs");
    }
  } else if (probs.dtype != args.q.dtype && !(reference && probs.dtype == TW_FLOAT64)) {
    invalid("probs", "dtype is " + dtypeName(probs.dtype) + ", but q's is " + dtypeName(args.q.dtype) +
                         (reference ? "; float64 is allowed too" : ""));
  }
  checkForm("probs", probs, 4, kProbsDims);
  checkExtent("probs", probs, 0, "batch", sizes.batch, whoseBatch(sizes));
  checkExtent("probs", probs, 1, "heads", sizes.heads, "q's");
  checkExtent("probs", probs, 2, "seqlen_q", sizes.seqlenQ, sizes.varlen ? "max_seqlen_q" : "q's");
  checkExtent("probs", probs, 3, "seqlen_k", sizes.seqlenK, sizes.varlen ? "max_seqlen_k" : "k's");
  checkNoSharedElements("probs", probs, kProbsDims);
}

} // namespace

void checks::checkScoreForms(const TwForwardArgs &args, const CallSizes &sizes, Purpose purpose) {
  const bool reference = purpose == Purpose::Reference;
  checkAddend("bias", args.bias, args, sizes, false, reference);
  checkAddend("attn_mask", args.attn_mask, args, sizes, true, reference);
  checkAlibi(args.alibi_slopes, sizes);
  // Kernels take the cap as float32, and divide by it: it must be a normal number there.
  const bool off = args.softcap == 0.0;
  if (!off && !(args.softcap >= double(FLT_MIN) && args.softcap <= double(FLT_MAX))) {
    invalid("softcap", "is " + number(args.softcap) + ", must be 0, off, or finite and positive (" + number(FLT_MIN) +
                           " to " + number(FLT_MAX) + ")");
  }
  checkDropout(args);
  checkProbs(args, sizes, purpose);
}
