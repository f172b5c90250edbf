// SPDX-License-Identifier: Apache-2.0
//
// The masks that hide by position: GLM, key padding, documents, window.
#include "Checks.h"

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::runtime::checks;

namespace {

constexpr DimNames kBreakDims = {"(batch,)", {"batch", "", "", ""}};
constexpr DimNames kPairsDims = {"(batch, 2, N)", {"batch", "2", "N", ""}};
constexpr DimNames kKeyPositionDims = {"(batch, seqlen_k)", {"batch", "seqlen_k", "", ""}};

/// (batch, seqlen_k) by key position.
void checkByKeyPosition(const char *name, const TwTensor &tensor, TwDType dtype, const CallSizes &sizes) {
  if (tensor.rank == 0) {
    return;
  }
  checkForm(name, tensor, 2, kKeyPositionDims);
  checkDtype(name, tensor, dtype);
  checkExtent(name, tensor, 0, "batch", sizes.batch, whoseBatch(sizes));
  checkPositions(name, tensor, 1, Side::Key, sizes);
}

void checkWindowSide(const char *name, int64_t value, int32_t hasWindow) {
  if (value < -1) {
    invalid(name, "is " + std::to_string(value) + ", must be -1, unbounded, or at least 0");
  }
  if (hasWindow == 0 && value > 0) {
    invalid(name, "is " + std::to_string(value) + ", but has_window is 0: a window needs has_window = 1");
  }
}

} // namespace

attn::MaskKind checks::checkGlmForm(const TwForwardArgs &args, const CallSizes &sizes) {
  const TwTensor &glm = args.glm_mask;
  if (glm.rank != 1 && glm.rank != 3) {
    invalid("glm_mask", "rank is " + std::to_string(glm.rank) + shapeIfAny(glm) +
                            ", must be 1: break points (batch,), or 3: pairs (batch, 2, N)");
  }
  checkDtype("glm_mask", glm, TW_INT32);
  checkForm("glm_mask", glm, glm.rank, glm.rank == 1 ? kBreakDims : kPairsDims);
  checkExtent("glm_mask", glm, 0, "batch", sizes.batch, whoseBatch(sizes));
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

void checks::checkGlmValues(const TwTensor &glm, const KeyLengths &lengths) {
  const auto *base = static_cast<const int32_t *>(glm.data);
  for (int64_t b = 0; b < glm.shape[0]; ++b) {
    const int64_t seqlenK = lengths.at(b);
    auto allowed = [&] { return "[0, seqlen_k = " + std::to_string(seqlenK) + "]"; };
    auto inRange = [&](int32_t value) { return value >= 0 && value <= seqlenK; };
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

void checks::checkMaskForms(const TwForwardArgs &args, const CallSizes &sizes) {
  checkByKeyPosition("key_padding_mask", args.key_padding_mask, TW_BOOL, sizes);
  checkByKeyPosition("document_ids", args.document_ids, TW_INT32, sizes);
  if (args.has_window != 0 && args.has_window != 1) {
    invalid("has_window", "is " + std::to_string(args.has_window) + ", must be 0 or 1");
  }
  checkWindowSide("window_left", args.window_left, args.has_window);
  checkWindowSide("window_right", args.window_right, args.has_window);
}

void checks::checkDocumentValues(const TwTensor &documents, const KeyLengths &lengths) {
  const auto *base = static_cast<const int32_t *>(documents.data);
  for (int64_t b = 0; b < documents.shape[0]; ++b) {
    int32_t previous = 0;
    for (int64_t j = 0; j < lengths.at(b); ++j) {
      const int32_t id = base[b * documents.strides[0] + j * documents.strides[1]];
      auto refuse = [&](const std::string &allowed) {
        invalid("document_ids", "id at position " + std::to_string(j) + " of batch entry " + std::to_string(b) +
                                    " is " + std::to_string(id) + ", " + allowed);
      };
      if (id < -1) {
        refuse("must be at least 0, or -1 for padding");
      }
      if (previous == -1 && id != -1) {
        refuse("but the one before is -1: padding stands at the end, so it must be -1 too");
      }
      if (id != -1 && id < previous) {
        refuse("but the one before is " + std::to_string(previous) + ": ids must not decrease");
      }
      previous = id;
    }
  }
}
