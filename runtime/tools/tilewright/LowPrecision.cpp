// SPDX-License-Identifier: Apache-2.0
//
// Attention in the tensors' own precision: float arithmetic inside an operator, rounding between operators.
#include "LowPrecision.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tilewright::cli {

namespace {

/// One head of a tensor as contiguous floats [seqlen][dim].
std::vector<float> headOf(const HostTensor &tensor, int64_t batch, int64_t head) {
  const auto seqlen = static_cast<size_t>(tensor.shape()[1]), dim = static_cast<size_t>(tensor.shape()[3]);
  std::vector<float> result(seqlen * dim);
  for (size_t i = 0; i < seqlen; ++i) {
    for (size_t d = 0; d < dim; ++d) {
      result[i * dim + d] =
          static_cast<float>(tensor.get(batch, static_cast<int64_t>(i), head, static_cast<int64_t>(d)));
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

/// out[i] = sum over n of weights[n] * rows[n * pitch + i], i < width: many sums at once, each in the given order.
void weightedSums(const float *weights, size_t count, const float *rows, size_t pitch, SumOrder order,
                  std::vector<float> &out, size_t width) {
  std::vector<float> partial[2] = {std::vector<float>(width, 0.0f), std::vector<float>(width, 0.0f)};
  for (size_t n = 0; n < count; ++n) {
    const size_t term = order.backward ? count - 1 - n : n;
    float *__restrict sums = partial[order.evenOdd ? term % 2 : 0].data();
    const float *__restrict row = rows + term * pitch;
    const float weight = weights[term];
    for (size_t i = 0; i < width; ++i) {
      sums[i] += weight * row[i];
    }
  }
  for (size_t i = 0; i < width; ++i) {
    out[i] = partial[0][i] + partial[1][i];
  }
}

} // namespace

LowPrecisionResult lowPrecisionForward(const VerifyCase &problem, const HostTensor &q, const HostTensor &k,
                                       const HostTensor &v, SumOrder order) {
  const DType type = problem.dtype;
  const auto scale = static_cast<float>(problem.scaleValue());
  const auto dim = static_cast<size_t>(problem.headDim), dimV = static_cast<size_t>(problem.headDimV);
  LowPrecisionResult result;
  result.out.assign(static_cast<size_t>(problem.batch * problem.seqlenQ * problem.heads * problem.headDimV), 0.0f);
  result.lse.assign(static_cast<size_t>(problem.batch * problem.heads * problem.seqlenQ),
                    -std::numeric_limits<float>::infinity());
  const auto seqlenK = static_cast<size_t>(problem.seqlenK);
  std::vector<float> logits(seqlenK), exact(seqlenK), sums(dimV);
  for (int64_t b = 0; b < problem.batch; ++b) {
    for (int64_t h = 0; h < problem.heads; ++h) {
      const int64_t headK = h / (problem.heads / problem.headsK);
      const std::vector<float> query = headOf(q, b, h), value = headOf(v, b, headK);
      const std::vector<float> key = transposed(headOf(k, b, headK), dim);
      for (int64_t i = 0; i < problem.seqlenQ; ++i) {
        const auto count = static_cast<size_t>(problem.visibleColumns(b, i));
        if (count == 0) {
          continue;
        }
        weightedSums(query.data() + static_cast<size_t>(i) * dim, dim, key.data(), seqlenK, order, exact, count);
        for (size_t j = 0; j < count; ++j) {
          logits[j] = roundTo(type, scale * roundTo(type, exact[j]));
          exact[j] *= scale;
        }
        const float largest = *std::max_element(logits.begin(), logits.begin() + static_cast<int64_t>(count));
        const float exactLargest = *std::max_element(exact.begin(), exact.begin() + static_cast<int64_t>(count));
        for (size_t j = 0; j < count; ++j) {
          logits[j] = std::exp(logits[j] - largest);
          exact[j] = std::exp(exact[j] - exactLargest);
        }
        const float sum = sumOf(count, order, [&](size_t j) { return logits[j]; });
        const float exactSum = sumOf(count, order, [&](size_t j) { return exact[j]; });
        for (size_t j = 0; j < count; ++j) {
          logits[j] = roundTo(type, logits[j] / sum);
        }
        float *outRow = result.out.data() + static_cast<size_t>((b * problem.seqlenQ + i) * problem.heads + h) * dimV;
        weightedSums(logits.data(), count, value.data(), dimV, order, sums, dimV);
        for (size_t d = 0; d < dimV; ++d) {
          outRow[d] = roundTo(type, sums[d]);
        }
        result.lse[static_cast<size_t>((b * problem.heads + h) * problem.seqlenQ + i)] =
            exactLargest + std::log(exactSum);
      }
    }
  }
  return result;
}

} // namespace tilewright::cli
