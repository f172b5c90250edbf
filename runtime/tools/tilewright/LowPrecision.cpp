// SPDX-License-Identifier: Apache-2.0
//
// Attention in the tensors' own precision: float arithmetic inside an operator, rounding between operators.
#include "LowPrecision.h"
#include "tilewright/kernels/Philox.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace tilewright::cli {

namespace {

/// Positions begin to begin + length of one head as contiguous floats [length][dim].
std::vector<float> headOf(const HostTensor &tensor, int64_t entry, int64_t begin, int64_t length, int64_t head) {
  const auto dim = static_cast<size_t>(tensor.shape()[3]);
  std::vector<float> result(static_cast<size_t>(length) * dim);
  for (size_t i = 0; i < static_cast<size_t>(length); ++i) {
    for (size_t d = 0; d < dim; ++d) {
      result[i * dim + d] =
          static_cast<float>(tensor.get(entry, begin + static_cast<int64_t>(i), head, static_cast<int64_t>(d)));
    }
  }
  return result;
}

std::vector<float> transposed(const std::vector<float> &matrix, size_t columns) {
  const size_t rows = matrix.size() / columns;
  std::vector<float> result(matrix.size());
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < columns; ++j) {
      result[j * rows + i] = matrix[i * columns + j];
    }
  }
  return result;
}

/// Sum of term(0) ... term(count - 1) in the given order.
template <typename Term> float sumOf(size_t count, SumOrder order, Term term) {
  float partial[2] = {0.0f, 0.0f};
  for (size_t n = 0; n < count; ++n) {
    const size_t i = order.backward ? count - 1 - n : n;
    partial[order.evenOdd ? i % 2 : 0] += term(i);
  }
  return partial[0] + partial[1];
}

/// out[i] = sum over n of weights[n] * rows[n][i], i < width: many sums at once, each in the given order.
/// `rowAt(n)`: where row n begins.
template <typename RowAt>
void weightedSums(const float *weights, size_t count, RowAt rowAt, SumOrder order, std::vector<float> &out,
                  size_t width) {
  std::vector<float> partial[2] = {std::vector<float>(width, 0.0f), std::vector<float>(width, 0.0f)};
  for (size_t n = 0; n < count; ++n) {
    const size_t term = order.backward ? count - 1 - n : n;
    float *__restrict sums = partial[order.evenOdd ? term % 2 : 0].data();
    const float *__restrict row = rowAt(term);
    const float weight = weights[term];
    for (size_t i = 0; i < width; ++i) {
      sums[i] += weight * row[i];
    }
  }
  for (size_t i = 0; i < width; ++i) {
    out[i] = partial[0][i] + partial[1][i];
  }
}

/// A score as the framework has it, and in float32 all the way.
struct Score {
  float low = 0.0f;
  float exact = 0.0f;
  DType type = DType::Float32; ///< of `low`

  void add(float term, DType termType) {
    type = termType == DType::Float32 ? DType::Float32 : type;
    low = roundTo(type, low + term);
    exact += term;
  }
};

/// One head of one sequence.
class HeadForward {
public:
  HeadForward(const VerifyCase &problem, const CaseInputs &inputs, SumOrder order, int64_t b, int64_t head)
      : problem_(problem), inputs_(inputs), order_(order), b_(b), head_(head), here_(inputs.sequence(b)),
        lengthK_(static_cast<size_t>(here_.lengthK)), scale_(static_cast<float>(problem.scaleValue())),
        slope_(inputs.slope(b, head)), logits_(lengthK_), exact_(lengthK_),
        sums_(static_cast<size_t>(problem.headDimV)) {
    const int64_t headK = head / (problem.heads / problem.headsK);
    query_ = headOf(inputs.q, here_.entry, here_.beginQ, here_.lengthQ, head);
    key_ = transposed(headOf(inputs.k, here_.entry, here_.beginK, here_.lengthK, headK),
                      static_cast<size_t>(problem.headDim));
    value_ = headOf(inputs.v, here_.entry, here_.beginK, here_.lengthK, headK);
    if (problem.features.dropout != 0.0) {
      keptScale_ = static_cast<float>(kernels::dropoutScale(kernels::dropoutThreshold(problem.features.dropout)));
    }
  }

  void computeRow(int64_t row, LowPrecisionResult &result) {
    columns_.clear();
    for (int64_t j = 0; j < here_.lengthK; ++j) {
      if (inputs_.visible(b_, head_, row, j)) {
        columns_.push_back(static_cast<size_t>(j));
      }
    }
    if (inputs_.rowKind(b_, head_, row) == RowKind::Empty) {
      return;
    }
    const auto at = static_cast<size_t>((here_.rowsBefore + row) * problem_.heads + head_);
    const auto dim = static_cast<size_t>(problem_.headDim), dimV = static_cast<size_t>(problem_.headDimV);
    const size_t count = columns_.size();
    weightedSums(
        query_.data() + static_cast<size_t>(row) * dim, dim, [&](size_t d) { return key_.data() + d * lengthK_; },
        order_, exact_, columns_.back() + 1);
    for (size_t n = 0; n < count; ++n) { // n <= columns_[n]: what is overwritten has been read
      const Score score = scoreOf(row, static_cast<int64_t>(columns_[n]), exact_[columns_[n]]);
      logits_[n] = score.low;
      exact_[n] = score.exact;
    }
    const float exactLargest = *std::max_element(exact_.begin(), exact_.begin() + static_cast<int64_t>(count));
    softmax(count, *std::max_element(logits_.begin(), logits_.begin() + static_cast<int64_t>(count)));
    for (size_t n = 0; n < count; ++n) {
      exact_[n] = std::exp(exact_[n] - exactLargest);
    }
    result.lse[at] = exactLargest + std::log(sumOf(count, order_, [&](size_t n) { return exact_[n]; }));
    drop(row, at, result);
    weightedSums(
        logits_.data(), count, [&](size_t n) { return value_.data() + columns_[n] * dimV; }, order_, sums_, dimV);
    for (size_t d = 0; d < dimV; ++d) {
      result.out[at * dimV + d] = roundTo(problem_.dtype, sums_[d]);
    }
  }

private:
  Score scoreOf(int64_t row, int64_t column, float dot) const {
    const DType type = problem_.dtype;
    Score score{roundTo(type, scale_ * roundTo(type, dot)), scale_ * dot, type};
    if (problem_.features.softcap != 0.0) {
      const auto cap = static_cast<float>(problem_.features.softcap);
      score.low = roundTo(type, cap * roundTo(type, std::tanh(roundTo(type, score.low / cap))));
      score.exact = cap * std::tanh(score.exact / cap);
    }
    if (problem_.features.alibi) {
      score.add(-slope_ * static_cast<float>(std::abs(row + here_.offset - column)), DType::Float32);
    }
    for (const HostTensor *added : {inputs_.bias(), inputs_.addedMask()}) {
      if (added != nullptr) {
        score.add(static_cast<float>(added->getBroadcast(b_, head_, row, column)), added->dtype());
      }
    }
    return score;
  }

  /// logits_ become probabilities.
  void softmax(size_t count, float largest) {
    for (size_t n = 0; n < count; ++n) {
      logits_[n] = std::exp(logits_[n] - largest);
    }
    const float sum = sumOf(count, order_, [&](size_t n) { return logits_[n]; });
    for (size_t n = 0; n < count; ++n) {
      logits_[n] = roundTo(problem_.dtype, logits_[n] / sum);
    }
  }

  /// Writes the probabilities, and applies dropout to them.
  void drop(int64_t row, size_t at, LowPrecisionResult &result) {
    if (problem_.features.dropout == 0.0 && result.probs.empty()) {
      return;
    }
    for (size_t n = 0; n < columns_.size(); ++n) {
      const bool dropped = inputs_.dropped(b_, head_, row, static_cast<int64_t>(columns_[n]));
      if (!result.probs.empty()) {
        result.probs[at * static_cast<size_t>(problem_.seqlenK) + columns_[n]] = dropped ? -logits_[n] : logits_[n];
      }
      logits_[n] = dropped ? 0.0f : roundTo(problem_.dtype, logits_[n] * keptScale_);
    }
  }

  const VerifyCase &problem_;
  const CaseInputs &inputs_;
  const SumOrder order_;
  const int64_t b_, head_;
  const CaseSequence here_;
  const size_t lengthK_;
  const float scale_, slope_;
  float keptScale_ = 1.0f;
  std::vector<float> query_, key_, value_;
  std::vector<float> logits_, exact_, sums_;
  std::vector<size_t> columns_; ///< visible ones of the row
};

} // namespace

LowPrecisionResult lowPrecisionForward(const VerifyCase &problem, const CaseInputs &inputs, SumOrder order) {
  LowPrecisionResult result;
  const auto rows = static_cast<size_t>(problem.rows() * problem.heads);
  result.out.assign(rows * static_cast<size_t>(problem.headDimV), 0.0f);
  result.lse.assign(rows, -std::numeric_limits<float>::infinity());
  if (problem.features.probs) {
    result.probs.assign(rows * static_cast<size_t>(problem.seqlenK), 0.0f);
  }
  for (int64_t b = 0; b < problem.batch; ++b) {
    for (int64_t h = 0; h < problem.heads; ++h) {
      HeadForward head(problem, inputs, order, b, h);
      for (int64_t i = 0; i < inputs.sequence(b).lengthQ; ++i) {
        head.computeRow(i, result);
      }
    }
  }
  return result;
}

} // namespace tilewright::cli
