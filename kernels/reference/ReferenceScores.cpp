// SPDX-License-Identifier: Apache-2.0
//
// Masks and score terms, one entry at a time.
#include "ReferenceScores.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tilewright::kernels {
namespace reference {

namespace {

int64_t clampToKeys(const Sequence &sequence, int64_t value) { return std::clamp<int64_t>(value, 0, sequence.lengthK); }

/// e of semantics A4 for one row: the break point, or the largest end of the pairs that the row is inside of.
int64_t glmEnd(const ReferenceArgs &args, const Sequence &sequence, int64_t position) {
  if (args.mask == ReferenceMask::GlmBreak) {
    return clampToKeys(sequence, args.glm[sequence.batch * args.glmStrides[0]]);
  }
  int64_t largest = 0;
  if (args.mask == ReferenceMask::GlmPacked) {
    const int32_t *pairs = args.glm + sequence.batch * args.glmStrides[0];
    for (int64_t n = 0; n < args.glmPairs; ++n) {
      const int64_t start = clampToKeys(sequence, pairs[n * args.glmStrides[2]]);
      const int64_t end = clampToKeys(sequence, pairs[args.glmStrides[1] + n * args.glmStrides[2]]);
      if (start <= position && position < end) {
        largest = std::max(largest, end);
      }
    }
  }
  return largest;
}

/// Finite terms have a finite sum (semantics A1).
double addSaturating(double a, double b) {
  const double sum = a + b;
  if (std::isinf(sum) && std::isfinite(a) && std::isfinite(b)) {
    return std::copysign(std::numeric_limits<double>::max(), sum);
  }
  return sum;
}

} // namespace

double load(const ReferenceTensor &tensor, int64_t offset) {
  switch (tensor.type) {
  case ReferenceType::F32:
    return static_cast<double>(static_cast<const float *>(tensor.data)[offset]);
  case ReferenceType::F16:
    return halfToDouble(static_cast<const uint16_t *>(tensor.data)[offset]);
  case ReferenceType::BF16:
    return bfloat16ToDouble(static_cast<const uint16_t *>(tensor.data)[offset]);
  case ReferenceType::Bool:
    return static_cast<const uint8_t *>(tensor.data)[offset] != 0 ? 1.0 : 0.0;
  case ReferenceType::F64:
    break;
  }
  return static_cast<const double *>(tensor.data)[offset];
}

void store(const ReferenceTensor &tensor, int64_t offset, double value) {
  switch (tensor.type) {
  case ReferenceType::F32:
    static_cast<float *>(tensor.data)[offset] = static_cast<float>(value);
    return;
  case ReferenceType::F16:
    static_cast<uint16_t *>(tensor.data)[offset] = doubleToHalf(value);
    return;
  case ReferenceType::BF16:
    static_cast<uint16_t *>(tensor.data)[offset] = doubleToBfloat16(value);
    return;
  case ReferenceType::F64:
    static_cast<double *>(tensor.data)[offset] = value;
    return;
  case ReferenceType::Bool:
    static_cast<uint8_t *>(tensor.data)[offset] = value != 0.0;
    return;
  }
}

Sequence::Sequence(const ReferenceArgs &args, int64_t batch)
    : batch(batch), lengthQ(args.seqlenQ), lengthK(args.seqlenK) {
  if (args.cuSeqlensQ.given) {
    beginQ = args.cuSeqlensQ.at(batch);
    lengthQ = args.cuSeqlensQ.at(batch + 1) - beginQ;
    beginK = args.cuSeqlensK.at(batch);
    lengthK = args.cuSeqlensK.at(batch + 1) - beginK;
  }
  if (args.seqUsedK.given) {
    lengthK = args.seqUsedK.at(batch);
  }
  position0 = args.topLeft ? 0 : lengthK - lengthQ;
}

RowMask::RowMask(const ReferenceArgs &args, const Sequence &sequence, int64_t head, int64_t row)
    : args_(args), sequence_(sequence), head_(head), row_(row), position_(row + sequence.position0),
      glmEnd_(glmEnd(args, sequence, position_)) {
  if (args.documents.given) {
    seesNothing_ = position_ < 0 || position_ >= sequence.lengthK;
    document_ = seesNothing_ ? -1 : args.documents.at(sequence.batch, position_);
    seesNothing_ = document_ < 0;
  }
}

bool RowMask::visible(int64_t column) const {
  if (seesNothing_ || column < 0 || column >= sequence_.lengthK) {
    return false;
  }
  if (args_.mask != ReferenceMask::None) {
    if (column > position_ && column >= glmEnd_) {
      return false;
    }
  } else if (args_.windowRight >= 0 && column > position_ + args_.windowRight) {
    return false;
  }
  if (args_.windowLeft >= 0 && column < position_ - args_.windowLeft) {
    return false;
  }
  if (args_.documents.given && args_.documents.at(sequence_.batch, column) != document_) {
    return false;
  }
  if (args_.keyPadding.given && args_.keyPadding.at(sequence_.batch, column) == 0) {
    return false;
  }
  return !args_.hasAttnMask || args_.attnMask.type != ReferenceType::Bool ||
         load(args_.attnMask, offsetOf(args_.attnMask, sequence_.batch, head_, row_, column)) != 0.0;
}

double score(const ReferenceArgs &args, const Sequence &sequence, int64_t head, int64_t row, int64_t column,
             double dot) {
  double result = args.scale * dot;
  if (args.softcap != 0.0) {
    result = args.softcap * std::tanh(result / args.softcap);
  }
  if (args.alibi.given) {
    const auto distance = static_cast<double>(std::abs(row + sequence.position0 - column));
    result = addSaturating(result, -static_cast<double>(args.alibi.at(sequence.batch, head)) * distance);
  }
  if (args.hasBias) {
    result = addSaturating(result, load(args.bias, offsetOf(args.bias, sequence.batch, head, row, column)));
  }
  if (args.hasAttnMask && args.attnMask.type != ReferenceType::Bool) {
    result = addSaturating(result, load(args.attnMask, offsetOf(args.attnMask, sequence.batch, head, row, column)));
  }
  return result;
}

} // namespace reference

bool visible(const ReferenceArgs &args, int64_t batch, int64_t row, int64_t column, int64_t head) {
  const reference::Sequence sequence(args, batch);
  return reference::RowMask(args, sequence, head, row).visible(column);
}

} // namespace tilewright::kernels
