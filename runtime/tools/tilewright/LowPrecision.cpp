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
  const int64_t seqlen = tensor.shape()[1], dim = tensor.shape()[3];
  std::vector<float> result(static_cast<size_t>(seqlen * dim));
  for (int64_t i = 0; i < seqlen; ++i) {
    for (int64_t d = 0; d < dim; ++d) {
      result[static_cast<size_t>(i * dim + d)] = static_cast<float>(tensor.get(batch, i, head, d));
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
  std::vector<float> logits(static_cast<size_t>(problem.seqlenK)), exact(logits.size());
  for (int64_t b = 0; b < problem.batch; ++b) {
    for (int64_t h = 0; h < problem.heads; ++h) {
      const int64_t headK = h / (problem.heads / problem.headsK);
      const std::vector<float> query = headOf(q, b, h), key = headOf(k, b, headK), value = headOf(v, b, headK);
      for (int64_t i = 0; i < problem.seqlenQ; ++i) {
        const auto count = static_cast<size_t>(problem.visibleColumns(b, i));
        if (count == 0) {
          continue;
        }
        for (size_t j = 0; j < count; ++j) {
          const float *queryRow = query.data() + static_cast<size_t>(i) * dim, *keyRow = key.data() + j * dim;
          const float product = sumOf(dim, order, [&](size_t d) { return queryRow[d] * keyRow[d]; });
          exact[j] = scale * product;
          logits[j] = roundTo(type, scale * roundTo(type, product));
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
        for (size_t d = 0; d < dimV; ++d) {
          outRow[d] = roundTo(type, sumOf(count, order, [&](size_t j) { return logits[j] * value[j * dimV + d]; }));
        }
        result.lse[static_cast<size_t>((b * problem.heads + h) * problem.seqlenQ + i)] =
            exactLargest + std::log(exactSum);
      }
    }
  }
  return result;
}

} // namespace tilewright::cli
