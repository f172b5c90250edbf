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

float dot(const float *a, const float *b, int64_t count) {
  float sum = 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

} // namespace

LowPrecisionResult lowPrecisionForward(const VerifyCase &problem, const HostTensor &q, const HostTensor &k,
                                       const HostTensor &v) {
  const DType type = problem.dtype;
  const auto scale = static_cast<float>(problem.scaleValue());
  const int64_t dim = problem.headDim, dimV = problem.headDimV;
  LowPrecisionResult result;
  result.out.assign(static_cast<size_t>(problem.batch * problem.seqlenQ * problem.heads * dimV), 0.0f);
  result.lse.assign(static_cast<size_t>(problem.batch * problem.heads * problem.seqlenQ),
                    -std::numeric_limits<float>::infinity());
  std::vector<float> logits(static_cast<size_t>(problem.seqlenK)), exact(logits.size());
  std::vector<float> sums(static_cast<size_t>(dimV));
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
          const float product = dot(query.data() + i * dim, key.data() + static_cast<int64_t>(j) * dim, dim);
          exact[j] = scale * product;
          logits[j] = roundTo(type, scale * roundTo(type, product));
        }
        const float largest = *std::max_element(logits.begin(), logits.begin() + static_cast<int64_t>(count));
        const float exactLargest = *std::max_element(exact.begin(), exact.begin() + static_cast<int64_t>(count));
        float sum = 0.0f, exactSum = 0.0f;
        for (size_t j = 0; j < count; ++j) {
          logits[j] = std::exp(logits[j] - largest);
          sum += logits[j];
          exactSum += std::exp(exact[j] - exactLargest);
        }
        std::fill(sums.begin(), sums.end(), 0.0f);
        for (size_t j = 0; j < count; ++j) {
          const float weight = roundTo(type, logits[j] / sum);
          for (size_t d = 0; d < sums.size(); ++d) {
            sums[d] += weight * value[j * sums.size() + d];
          }
        }
        for (size_t d = 0; d < sums.size(); ++d) {
          const int64_t at = ((b * problem.seqlenQ + i) * problem.heads + h) * dimV + static_cast<int64_t>(d);
          result.out[static_cast<size_t>(at)] = roundTo(type, sums[d]);
        }
        result.lse[static_cast<size_t>((b * problem.heads + h) * problem.seqlenQ + i)] =
            exactLargest + std::log(exactSum);
      }
    }
  }
  return result;
}

} // namespace tilewright::cli
