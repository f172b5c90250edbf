// SPDX-License-Identifier: Apache-2.0
//
// The table, and the questions that argument checking asks it.
#include "tilewright/runtime/SupportMatrix.h"

using namespace tilewright;
using namespace tilewright::runtime;

namespace {

constexpr int32_t kNoValue = -1;

constexpr int32_t value(attn::MaskKind mask) { return static_cast<int32_t>(mask); }
constexpr int32_t value(Feature feature) { return static_cast<int32_t>(feature); }

constexpr SupportRow kRows[] = {
    {FeatureGroup::Pass, kNoValue, "forward", true, true, ""},
    {FeatureGroup::Pass, kNoValue, "backward", false, false, ""},

    {FeatureGroup::ElementType, TW_FLOAT32, "float32", true, false, "cuda: float16 and bfloat16 only"},
    {FeatureGroup::ElementType, TW_FLOAT16, "float16", true, true, "accumulated in float32"},
    {FeatureGroup::ElementType, TW_BFLOAT16, "bfloat16", true, true, "accumulated in float32"},
    {FeatureGroup::ElementType, TW_FLOAT64, "float64", false, false, "the reference only"},

    {FeatureGroup::Mask, value(attn::MaskKind::None), "none", true, true, ""},
    {FeatureGroup::Mask, value(attn::MaskKind::Causal), "causal", true, true, "hidden key blocks are skipped"},
    {FeatureGroup::Mask, value(attn::MaskKind::GlmBreak), "GLM break points, `(batch,)`", true, true,
     "hidden key blocks are skipped"},
    {FeatureGroup::Mask, value(attn::MaskKind::GlmPacked), "packed GLM pairs, `(batch, 2, N)`", true, true,
     "hidden key blocks are skipped; any N, order, nesting and overlap"},

    {FeatureGroup::CausalAlign, TW_ALIGN_BOTTOM_RIGHT, "bottom_right", true, true, "the default"},
    {FeatureGroup::CausalAlign, TW_ALIGN_TOP_LEFT, "top_left", true, true, ""},

    {FeatureGroup::HeadDim, kNoValue, "every integer from 1 to 256, the v head dim on its own", true, true,
     "multiples of 8, with nothing but a mask: Hopper's own instructions on Hopper"},

    {FeatureGroup::Shape, kNoValue, "any seqlen_q and seqlen_k from 0 to 2^31 - 1, equal or not", true, true, ""},
    {FeatureGroup::Shape, kNoValue, "grouped and multi-query heads: heads % heads_k == 0", true, true, ""},
    {FeatureGroup::Layout, kNoValue, "(b, s, h, d) and (b, h, s, d), packed qkv and kv views, by strides", true, true,
     "no copy is made"},
    {FeatureGroup::Layout, kNoValue, "innermost stride other than 1, stride 0, negative strides", true, true,
     "slower loads; stride 0 not in outputs"},

    {FeatureGroup::Output, kNoValue, "log-sum-exp, float32", true, true, "natural logarithm"},

    {FeatureGroup::Feature, value(Feature::Bias), "`bias`, `(b, h, sq, sk)` broadcast", true, true,
     "q's type or float32, any strides, read where it is"},
    {FeatureGroup::Feature, value(Feature::AdditiveMask), "additive `attn_mask`, `(b, h, sq, sk)` broadcast", true,
     true, "as `bias`, and with one"},
    {FeatureGroup::Feature, value(Feature::BoolMask), "bool `attn_mask`, `(b, h, sq, sk)` broadcast", true, true,
     "true is visible; skips no block"},
    {FeatureGroup::Feature, value(Feature::KeyPadding), "`key_padding_mask`, `(b, sk)`", true, true,
     "any pattern; keys before the first and after the last real one are skipped"},
    {FeatureGroup::Feature, value(Feature::Documents), "`document_ids`, `(b, sk)`", true, true,
     "a row sees its own document, the rest is skipped"},
    {FeatureGroup::Feature, value(Feature::Window), "sliding window, left and right", true, true,
     "hidden key blocks are skipped"},
    {FeatureGroup::Feature, value(Feature::Alibi), "`alibi_slopes`, `(h,)` or `(b, h)`", true, true, "float32"},
    {FeatureGroup::Feature, value(Feature::Softcap), "`softcap`", true, true, ""},
    {FeatureGroup::Feature, value(Feature::Dropout), "dropout", true, true,
     "16 bits an entry; the same entries on every target"},
    {FeatureGroup::Feature, value(Feature::Probs), "the probabilities as an output", true, true,
     "dropped entries are negative"},
    {FeatureGroup::Feature, value(Feature::Varlen), "sequences of different lengths in one batch: `cu_seqlens`", true,
     true, "with every other feature; any lengths, 0 too"},
    {FeatureGroup::Feature, value(Feature::SeqUsedK), "`seqused_k`", true, true,
     "with and without `cu_seqlens`"},
};

std::string_view groupTitle(FeatureGroup group) {
  switch (group) {
  case FeatureGroup::Pass:
    return "Pass";
  case FeatureGroup::ElementType:
    return "Element type";
  case FeatureGroup::Mask:
    return "Mask";
  case FeatureGroup::CausalAlign:
    return "`causal_align`";
  case FeatureGroup::HeadDim:
    return "Head dim";
  case FeatureGroup::Shape:
    return "Shapes";
  case FeatureGroup::Layout:
    return "Layout";
  case FeatureGroup::Output:
    return "Output";
  case FeatureGroup::Feature:
    return "Feature";
  }
  return "";
}

bool served(const SupportRow &row, TwDevice device) { return device == TW_DEVICE_CUDA ? row.cuda : row.cpu; }

bool served(FeatureGroup group, int32_t wanted, TwDevice device) {
  for (const SupportRow &row : kRows) {
    if (row.group == group && row.value == wanted) {
      return served(row, device);
    }
  }
  return false;
}

} // namespace

std::span<const SupportRow> runtime::supportMatrix() { return kRows; }

std::optional<ElementType> runtime::supportedElementType(TwDType dtype, TwDevice device) {
  if (!served(FeatureGroup::ElementType, dtype, device)) {
    return std::nullopt;
  }
  switch (dtype) {
  case TW_FLOAT32:
    return ElementType::F32;
  case TW_FLOAT16:
    return ElementType::F16;
  case TW_BFLOAT16:
    return ElementType::BF16;
  default:
    return std::nullopt;
  }
}

bool runtime::supportsMask(attn::MaskKind mask, TwDevice device) {
  return served(FeatureGroup::Mask, value(mask), device);
}

bool runtime::supportsCausalAlign(TwCausalAlign align, TwDevice device) {
  return served(FeatureGroup::CausalAlign, align, device);
}

bool runtime::supportsFeature(Feature feature, TwDevice device) {
  return served(FeatureGroup::Feature, value(feature), device);
}

std::string runtime::supportedValues(FeatureGroup group, TwDevice device) {
  std::string text;
  for (const SupportRow &row : kRows) {
    if (row.group == group && served(row, device)) {
      text += text.empty() ? "" : ", ";
      text += row.feature;
    }
  }
  return text;
}

std::string runtime::supportMatrixMarkdown() {
  std::string text = "| | | `cpu` | `cuda` | |\n|---|---|---|---|---|\n";
  const SupportRow *previous = nullptr;
  for (const SupportRow &row : kRows) {
    bool first = previous == nullptr || previous->group != row.group;
    text += "| ";
    text += first ? groupTitle(row.group) : std::string_view();
    text += " | ";
    text += row.feature;
    text += row.cpu ? " | yes" : " | no";
    text += row.cuda ? " | yes | " : " | no | ";
    text += row.note;
    text += " |\n";
    previous = &row;
  }
  return text;
}
