// SPDX-License-Identifier: Apache-2.0
//
// Which key blocks a forward kernel skips, runs without a mask, or masks: the block ranges of BlockRanges.h, evaluated
// on the host, over row limits that are computed here from the mask's definition (semantics A4).
#ifndef TILEWRIGHT_RUNTIME_BLOCKMAP_H
#define TILEWRIGHT_RUNTIME_BLOCKMAP_H

#include "tilewright/kernels/BlockRanges.h"
#include "tilewright/runtime/AttentionProblem.h"
#include <cstdint>
#include <span>
#include <vector>

namespace tilewright::runtime {

/// One batch entry by itself: the problem with its lengths, if it has its own. Every other field is the batch's.
AttentionProblem entryOf(const AttentionProblem &problem, const ForwardPointers &pointers, int64_t batch);

/// First hidden key column of every query row of a batch entry, in [0, seqlen_k], by its mask. `glm` is the GLM
/// tensor's base pointer, null without one; numbers outside [0, seqlen_k] are clamped, as kernels do.
std::vector<int64_t> rowLimits(const AttentionProblem &problem, const int32_t *glm, int64_t batch);

/// First visible key column of every row, which a left window edge gives it; else 0.
std::vector<int64_t> rowStarts(const AttentionProblem &problem);

/// Cuts the intervals of a batch entry's rows to what documents and key padding leave (semantics A9), as the row_bounds
/// kernel does.
void cutToBounds(const AttentionProblem &entry, const ForwardPointers &pointers, int64_t batch,
                 std::span<int64_t> starts, std::span<int64_t> limits);

/// The key blocks of rows [firstRow, firstRow + blockM) that lie inside the sequence. `starts`, `limits`: rowStarts'
/// and rowLimits' results.
kernels::KeyBlockRanges<int64_t> rowBlockRanges(std::span<const int64_t> starts, std::span<const int64_t> limits,
                                                int64_t firstRow, int64_t blockM,
                                                int64_t blockN);

struct BlockMapShape {
  int64_t blockM, blockN, rowBlocks, keyBlocks;
};

BlockMapShape blockMapShape(const AttentionProblem &problem, const kernels::Schedule &schedule);

/// Writes batch * rowBlocks * keyBlocks bytes (TW_BLOCK_*), row-major. Blocks past the end of a batch entry are
/// skipped.
void fillBlockMap(const AttentionProblem &problem, const ForwardPointers &pointers, const BlockMapShape &shape,
                  uint8_t *map);

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_BLOCKMAP_H
