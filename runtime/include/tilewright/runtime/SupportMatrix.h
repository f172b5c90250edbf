// SPDX-License-Identifier: Apache-2.0
//
// What this version can do, as one table. Argument checking reads it to accept or refuse a request, and
// tw_support_matrix prints it: documentation cannot promise what the dispatcher refuses.
#ifndef TILEWRIGHT_RUNTIME_SUPPORTMATRIX_H
#define TILEWRIGHT_RUNTIME_SUPPORTMATRIX_H

#include "tilewright/runtime/KernelKey.h"
#include "tilewright/tilewright.h"
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace tilewright::runtime {

enum class FeatureGroup : uint8_t { Pass, ElementType, Mask, CausalAlign, HeadDim, Shape, Layout, Output, Feature };

/// What a call may ask for besides the mask kinds. Served by kernels or not, the reference computes all of them.
enum class Feature : uint8_t {
  Bias,
  AdditiveMask,
  BoolMask,
  KeyPadding,
  Documents,
  Window,
  Alibi,
  Softcap,
  Dropout,
  Probs,
  Varlen,
  SeqUsedK
};

struct SupportRow {
  FeatureGroup group;
  int32_t value;            ///< TwDType, attn::MaskKind, TwCausalAlign or Feature of the row; -1 where the group has no
                            ///< values
  std::string_view feature; ///< as users write it
  bool cpu;                 ///< served on the cpu target
  bool cuda;                ///< served on the cuda target
  std::string_view note;
};

std::span<const SupportRow> supportMatrix();

/// The element type of q, k, v and out for a dtype on a device; nothing if the table does not allow it.
std::optional<ElementType> supportedElementType(TwDType dtype, TwDevice device);
bool supportsMask(attn::MaskKind mask, TwDevice device);
bool supportsCausalAlign(TwCausalAlign align, TwDevice device);
bool supportsFeature(Feature feature, TwDevice device);

/// Head dims of q/k and of v, inclusive.
inline constexpr int64_t kMinHeadDim = 1;
inline constexpr int64_t kMaxHeadDim = 256;

/// "float32, float16, bfloat16": the values of a group that a device supports, for error messages.
std::string supportedValues(FeatureGroup group, TwDevice device);

/// The table as Markdown.
std::string supportMatrixMarkdown();

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_SUPPORTMATRIX_H
