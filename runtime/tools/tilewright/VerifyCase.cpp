// SPDX-License-Identifier: Apache-2.0
//
// What a case's numbers mean, and its name.
#include "VerifyCase.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>

namespace tilewright::cli {

namespace {

std::string_view maskName(MaskKind mask) {
  switch (mask) {
  case MaskKind::None:
    return "none";
  case MaskKind::Causal:
    return "causal";
  case MaskKind::GlmBreak:
    return "glm_break";
  case MaskKind::GlmPacked:
    break;
  }
  return "glm_packed";
}

std::string_view paddingName(Padding padding) {
  switch (padding) {
  case Padding::None:
    return "none";
  case Padding::Right:
    return "right";
  case Padding::Left:
    return "left";
  case Padding::Holes:
    return "holes";
  case Padding::All:
    break;
  }
  return "all";
}

std::string_view documentsName(Documents documents) {
  switch (documents) {
  case Documents::None:
    return "none";
  case Documents::Short:
    return "short";
  case Documents::Long:
    return "long";
  case Documents::Padded:
    break;
  }
  return "padded";
}

/// "bhqk,f32,inf"
std::string operandName(const ScoreOperand &operand) {
  std::string text = operand.shape;
  text += operand.float32 ? ",f32" : "";
  switch (operand.numbers) {
  case ScoreOperand::Numbers::Infinite:
    text += ",inf";
    break;
  case ScoreOperand::Numbers::Lowest:
    text += ",lowest";
    break;
  case ScoreOperand::Numbers::Uniform:
  case ScoreOperand::Numbers::Flags:
    break;
  }
  return text + (operand.strided ? ",strided" : "");
}

void writeLengths(std::ostream &out, const std::vector<int64_t> &lengths) {
  const char *separator = "";
  for (const int64_t length : lengths) {
    out << separator << length;
    separator = ",";
  }
}

void writeFeatures(std::ostream &out, const CaseFeatures &features) {
  if (!features.lengthsQ.empty()) {
    out << " varlen=";
    writeLengths(out, features.lengthsQ);
    out << 'x';
    writeLengths(out, features.lengthsK);
  }
  if (!features.usedK.empty()) {
    out << " seqused=";
    writeLengths(out, features.usedK);
  }
  if (features.poisonedSequence) {
    out << " nan_sequence=" << *features.poisonedSequence;
  }
  if (features.bias) {
    out << " bias=" << operandName(*features.bias);
  }
  if (features.attnMask) {
    const bool flags = features.attnMask->numbers == ScoreOperand::Numbers::Flags;
    out << (flags ? " bool_mask=" : " attn_mask=") << operandName(*features.attnMask);
  }
  if (features.padding != Padding::None) {
    out << " padding=" << paddingName(features.padding);
  }
  if (features.documents != Documents::None) {
    out << " documents=" << documentsName(features.documents);
  }
  if (features.window.left != -1 || features.window.right != -1) {
    out << " window=" << features.window.left << ',' << features.window.right;
  }
  if (features.alibi) {
    out << (features.alibiByBatch ? " alibi=bh" : " alibi=h");
  }
  if (features.softcap != 0.0) {
    out << " softcap=" << features.softcap;
  }
  if (features.dropout != 0.0) {
    out << " dropout=" << features.dropout << (features.rngState ? ",rng_state" : "");
  }
  if (features.probs) {
    out << " probs";
  }
}

/// The end of sequence b, and the beginning of the one after it.
int64_t packedEnd(const std::vector<int64_t> &lengths, int64_t b) {
  return std::accumulate(lengths.begin(), lengths.begin() + b + 1, int64_t{0});
}

} // namespace

CaseSequence VerifyCase::sequence(int64_t b) const {
  const auto at = static_cast<size_t>(b);
  CaseSequence result;
  if (varlen()) {
    result.lengthQ = features.lengthsQ[at];
    result.lengthK = features.lengthsK[at];
    result.beginQ = packedEnd(features.lengthsQ, b) - result.lengthQ;
    result.beginK = packedEnd(features.lengthsK, b) - result.lengthK;
    result.rowsBefore = result.beginQ;
  } else {
    result.lengthQ = seqlenQ;
    result.lengthK = seqlenK;
    result.entry = b;
    result.rowsBefore = b * seqlenQ;
  }
  result.endK = result.lengthK;
  if (!features.usedK.empty()) {
    result.lengthK = features.usedK[at];
  }
  result.offset = topLeft ? 0 : result.lengthK - result.lengthQ;
  return result;
}

int64_t VerifyCase::rows() const {
  return varlen() ? packedEnd(features.lengthsQ, batch - 1) : batch * seqlenQ;
}

double VerifyCase::scaleValue() const { return scale.value_or(1.0 / std::sqrt(static_cast<double>(headDim))); }

bool VerifyCase::visibleByPosition(int64_t b, int64_t row, int64_t column) const {
  const CaseSequence here = sequence(b);
  if (column >= here.lengthK) {
    return false;
  }
  const int64_t position = row + here.offset;
  if (features.window.left >= 0 && column < position - features.window.left) {
    return false;
  }
  if (mask == MaskKind::None) {
    return features.window.right < 0 || column <= position + features.window.right;
  }
  if (column <= position || (mask == MaskKind::GlmBreak && column < glm[static_cast<size_t>(b)])) {
    return true;
  }
  for (int64_t n = 0; n < pairs; ++n) {
    const int64_t start = glm[static_cast<size_t>((2 * b + 0) * pairs + n)];
    const int64_t end = glm[static_cast<size_t>((2 * b + 1) * pairs + n)];
    if (start <= position && position < end && column < end) {
      return true;
    }
  }
  return false;
}

std::vector<std::string_view> VerifyCase::featureNames() const {
  std::vector<std::string_view> names;
  auto add = [&](bool asked, std::string_view name) {
    if (asked) {
      names.push_back(name);
    }
  };
  const bool flags = features.attnMask && features.attnMask->numbers == ScoreOperand::Numbers::Flags;
  add(features.bias.has_value(), "bias");
  add(features.attnMask && !flags, "attn_mask");
  add(flags, "bool_attn_mask");
  add(features.padding != Padding::None, "key_padding_mask");
  add(features.documents != Documents::None, "document_ids");
  add(features.window.left != -1 || features.window.right != -1, "window");
  add(features.alibi, "alibi_slopes");
  add(features.softcap != 0.0, "softcap");
  add(features.dropout != 0.0, "dropout");
  add(features.probs, "probs");
  add(varlen(), "cu_seqlens");
  add(!features.usedK.empty(), "seqused_k");
  return names;
}

std::string VerifyCase::name() const {
  std::ostringstream text;
  text << dtypeName(dtype) << " b" << batch << " s" << seqlenQ;
  if (seqlenQ != seqlenK) {
    text << 'x' << seqlenK;
  }
  text << " h" << heads;
  if (heads != headsK) {
    text << '/' << headsK;
  }
  text << " d" << headDim;
  if (headDim != headDimV) {
    text << '/' << headDimV;
  }
  text << ' ' << maskName(mask);
  if (!maskNote.empty()) {
    text << ':' << maskNote;
  }
  if (topLeft) {
    text << " top_left";
  }
  writeFeatures(text, features);
  if (layout != Layout::Bshd) {
    text << ' ' << layoutName(layout);
  }
  if (shiftShown) {
    text << " shift=" << shift;
  }
  if (scale) {
    text << " scale=" << *scale;
  }
  if (amplitude != 1.0) {
    text << " qk=" << amplitude;
  }
  if (poisonedKey) {
    text << (std::isnan(*poisonedKey) ? " nan_key" : " inf_key");
  }
  if (extreme) {
    text << " extreme=" << *extreme;
  }
  return text.str();
}

} // namespace tilewright::cli
