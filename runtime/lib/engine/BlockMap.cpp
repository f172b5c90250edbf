// SPDX-License-Identifier: Apache-2.0
#include "tilewright/runtime/BlockMap.h"

#include <algorithm>

using namespace tilewright;
using namespace tilewright::runtime;

namespace {

/// The end that the GLM mask shows to the row: the break point, or the largest end of the pairs that hold it, or 0.
int64_t glmEnd(const AttentionProblem &problem, const int32_t *glm, int64_t batch, int64_t row) {
  const int32_t *entry = glm + batch * problem.glm[0];
  if (problem.mask == attn::MaskKind::GlmBreak) {
    return std::max<int64_t>(*entry, 0);
  }
  const int64_t position = row + problem.causalOffset();
  int64_t largest = 0;
  for (int64_t n = 0; n < problem.pairs; ++n) {
    const int64_t start = std::max<int64_t>(entry[n * problem.glm[2]], 0);
    const int64_t end = std::clamp<int64_t>(entry[problem.glm[1] + n * problem.glm[2]], 0, problem.seqlenK);
    if (start <= position && position < end) {
      largest = std::max(largest, end);
    }
  }
  return largest;
}

} // namespace

std::vector<int64_t> runtime::rowLimits(const AttentionProblem &problem, const int32_t *glm, int64_t batch) {
  std::vector<int64_t> limits(static_cast<size_t>(problem.seqlenQ), problem.seqlenK);
  if (problem.kernelMask() == attn::MaskKind::None) {
    return limits;
  }
  for (int64_t row = 0; row < problem.seqlenQ; ++row) {
    int64_t limit = kernels::causalLimit(row, problem.limitOffset(), problem.seqlenK);
    if (problem.kernelMask() != attn::MaskKind::Causal) {
      limit = kernels::glmLimit(limit, glmEnd(problem, glm, batch, row), problem.seqlenK);
    }
    limits[static_cast<size_t>(row)] = limit;
  }
  return limits;
}

std::vector<int64_t> runtime::rowStarts(const AttentionProblem &problem) {
  std::vector<int64_t> starts(static_cast<size_t>(problem.seqlenQ), 0);
  if (problem.windowLeft >= 0) {
    for (int64_t row = 0; row < problem.seqlenQ; ++row) {
      starts[static_cast<size_t>(row)] =
          kernels::windowStart(row, problem.causalOffset() - problem.windowLeft, problem.seqlenK);
    }
  }
  return starts;
}

kernels::KeyBlockRanges<int64_t> runtime::rowBlockRanges(std::span<const int64_t> starts,
                                                         std::span<const int64_t> limits, int64_t firstRow,
                                                         int64_t blockM, int64_t blockN) {
  const auto first = limits.begin() + firstRow;
  const auto last = limits.begin() + std::min<int64_t>(firstRow + blockM, static_cast<int64_t>(limits.size()));
  const auto [least, most] = std::minmax_element(first, last);
  const auto [from, to] =
      std::minmax_element(starts.begin() + firstRow, starts.begin() + firstRow + std::distance(first, last));
  return kernels::keyBlockRanges(kernels::RowBounds<int64_t>{*from, *to, *least, *most}, blockN);
}

BlockMapShape runtime::blockMapShape(const AttentionProblem &problem, const kernels::Schedule &schedule) {
  return {schedule.blockM, schedule.blockN, kernels::ceilDiv(problem.seqlenQ, schedule.blockM),
          kernels::ceilDiv(problem.seqlenK, schedule.blockN)};
}

void runtime::fillBlockMap(const AttentionProblem &problem, const int32_t *glm, const BlockMapShape &shape,
                           uint8_t *map) {
  for (int64_t batch = 0; batch < problem.batch; ++batch) {
    const std::vector<int64_t> limits = rowLimits(problem, glm, batch);
    const std::vector<int64_t> starts = rowStarts(problem);
    for (int64_t rowBlock = 0; rowBlock < shape.rowBlocks; ++rowBlock) {
      const auto ranges = rowBlockRanges(starts, limits, rowBlock * shape.blockM, shape.blockM, shape.blockN);
      for (int64_t keyBlock = 0; keyBlock < shape.keyBlocks; ++keyBlock) {
        const bool skipped = keyBlock < ranges.begin || keyBlock >= ranges.end;
        const bool full = keyBlock >= ranges.fullBegin && keyBlock < ranges.fullEnd;
        *map++ = static_cast<uint8_t>(skipped ? TW_BLOCK_SKIPPED : full ? TW_BLOCK_FULL : TW_BLOCK_PARTIAL);
      }
    }
  }
}
