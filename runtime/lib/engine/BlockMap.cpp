// SPDX-License-Identifier: Apache-2.0
#include "tilewright/runtime/BlockMap.h"

#include <algorithm>
#include <limits>

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

AttentionProblem runtime::entryOf(const AttentionProblem &problem, const ForwardPointers &pointers, int64_t batch) {
  AttentionProblem entry = problem;
  if (problem.varlen) {
    auto length = [batch](const int32_t *ends, const TableTensor &table) {
      return std::max<int64_t>(0, int64_t{ends[(batch + 1) * table.strides[0]]} - ends[batch * table.strides[0]]);
    };
    entry.seqlenQ = std::min(length(pointers.cuSeqlensQ, problem.cuSeqlensQ), problem.seqlenQ);
    entry.seqlenK = length(pointers.cuSeqlensK, problem.cuSeqlensK);
  }
  if (problem.seqUsedK.given) {
    entry.seqlenK = std::clamp<int64_t>(pointers.seqUsedK[batch * problem.seqUsedK.strides[0]], 0, entry.seqlenK);
  }
  entry.varlen = false;
  entry.seqUsedK.given = false;
  return entry;
}

void runtime::cutToBounds(const AttentionProblem &entry, const ForwardPointers &pointers, int64_t batch,
                          std::span<int64_t> starts, std::span<int64_t> limits) {
  auto cut = [&](size_t row, int64_t first, int64_t end) {
    starts[row] = std::max(starts[row], first);
    limits[row] = std::min(limits[row], end);
  };
  const int64_t keys = entry.seqlenK;
  if (entry.keyPadding.given) {
    auto real = [&](int64_t key) {
      return pointers.keyPadding[batch * entry.keyPadding.strides[0] + key * entry.keyPadding.strides[1]] != 0;
    };
    int64_t first = 0, end = keys;
    while (end > 0 && !real(end - 1)) {
      --end;
    }
    while (first < end && !real(first)) {
      ++first;
    }
    for (size_t row = 0; row < limits.size(); ++row) {
      cut(row, first, end);
    }
  }
  if (!entry.documents.given) {
    return;
  }
  // As unsigned numbers ids do not decrease: padding, -1, is the largest.
  std::vector<uint32_t> ids(static_cast<size_t>(keys));
  for (int64_t key = 0; key < keys; ++key) {
    ids[static_cast<size_t>(key)] = static_cast<uint32_t>(
        pointers.documents[batch * entry.documents.strides[0] + key * entry.documents.strides[1]]);
  }
  constexpr uint32_t kPadding = std::numeric_limits<uint32_t>::max();
  const int64_t padded = std::lower_bound(ids.begin(), ids.end(), kPadding) - ids.begin();
  for (size_t row = 0; row < limits.size(); ++row) {
    const int64_t position = static_cast<int64_t>(row) + entry.causalOffset();
    if (position < 0) {
      cut(row, 0, 0);
    } else if (position >= padded) {
      cut(row, padded, padded);
    } else {
      const auto [first, end] = std::equal_range(ids.begin(), ids.end(), ids[static_cast<size_t>(position)]);
      cut(row, first - ids.begin(), end - ids.begin());
    }
  }
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

void runtime::fillBlockMap(const AttentionProblem &problem, const ForwardPointers &pointers, const BlockMapShape &shape,
                           uint8_t *map) {
  for (int64_t batch = 0; batch < problem.batch; ++batch) {
    const AttentionProblem entry = entryOf(problem, pointers, batch);
    std::vector<int64_t> limits = rowLimits(entry, pointers.glm, batch), starts = rowStarts(entry);
    cutToBounds(entry, pointers, batch, starts, limits);
    for (int64_t rowBlock = 0; rowBlock < shape.rowBlocks; ++rowBlock) {
      const int64_t firstRow = rowBlock * shape.blockM;
      kernels::KeyBlockRanges<int64_t> ranges{};
      if (firstRow < entry.seqlenQ) {
        ranges = rowBlockRanges(starts, limits, firstRow, shape.blockM, shape.blockN);
      }
      for (int64_t keyBlock = 0; keyBlock < shape.keyBlocks; ++keyBlock) {
        const bool skipped = keyBlock < ranges.begin || keyBlock >= ranges.end;
        // Padding may have holes: no block is known to be full.
        const bool full = keyBlock >= ranges.fullBegin && keyBlock < ranges.fullEnd && !problem.keyPadding.given;
        *map++ = static_cast<uint8_t>(skipped ? TW_BLOCK_SKIPPED : full ? TW_BLOCK_FULL : TW_BLOCK_PARTIAL);
      }
    }
  }
}
