// SPDX-License-Identifier: Apache-2.0
//
// Which key blocks a block of query rows visits. Every structured mask is, for row i, an interval [lo(i), hi(i)) of
// visible key columns; over a block of rows it is summed up by the extremes of lo and hi, and the key blocks fall into
//     skipped | partial | full | partial | skipped.
//
// These templates are the only place that computes it. `Int` is int64_t in tests, in block maps and on the host, and an
// IR-building integer (IrInt) inside generated kernels, so what is tested exhaustively is what runs.
// An Int needs + and -, the free functions minOf, maxOf, and floorDiv / ceilDiv / alignDown by a positive constant,
// found by ADL.
#ifndef TILEWRIGHT_KERNELS_BLOCKRANGES_H
#define TILEWRIGHT_KERNELS_BLOCKRANGES_H

#include <algorithm>
#include <cstdint>

namespace tilewright::kernels {

inline int64_t minOf(int64_t a, int64_t b) { return std::min(a, b); }
inline int64_t maxOf(int64_t a, int64_t b) { return std::max(a, b); }
/// Operands are never negative where these are called, so truncation is flooring.
inline int64_t floorDiv(int64_t a, int64_t divisor) { return a / divisor; }
inline int64_t ceilDiv(int64_t a, int64_t divisor) { return (a + (divisor - 1)) / divisor; }
/// The last multiple of `step`, a power of two, that is not above a.
inline int64_t alignDown(int64_t a, int64_t step) { return a & -step; }

/// First hidden key column of query row i under the causal mask (semantics A2): min(seqlen_k, i + o + 1), at least 0.
template <typename Int> Int causalLimit(Int row, Int offset, Int seqlenK) {
  return maxOf(minOf(row + offset + 1, seqlenK), seqlenK - seqlenK);
}

/// First visible key column of query row i under a window whose left edge is `offset` from the row, within [0,
/// seqlen_k].
template <typename Int> Int windowStart(Int row, Int offset, Int seqlenK) {
  return maxOf(minOf(row + offset, seqlenK), seqlenK - seqlenK);
}

/// First hidden key column under a GLM mask (semantics A4): the causal limit, raised to `end`, the break point or the
/// largest end of the pairs that hold row i. `end` may be any value: one past seqlen_k is clamped, and one below 0 is
/// below every causal limit.
template <typename Int> Int glmLimit(Int causal, Int end, Int seqlenK) {
  return maxOf(causal, minOf(end, seqlenK));
}

/// Extremes of lo and hi over the valid rows of a row block, all within [0, seqlen_k].
template <typename Int> struct RowBounds {
  Int loMin, loMax, hiMin, hiMax;
};

/// How many columns there are from `firstKey` to `column`: none if it lies before.
template <typename Int> Int columnsFrom(Int firstKey, Int column) {
  return maxOf(column - firstKey, firstKey - firstKey);
}

/// The same extremes, of columns counted from `firstKey`, at most loMin. Ends before it become 0.
template <typename Int> RowBounds<Int> countedFrom(const RowBounds<Int> &rows, Int firstKey) {
  return {rows.loMin - firstKey, rows.loMax - firstKey, columnsFrom(firstKey, rows.hiMin),
          columnsFrom(firstKey, rows.hiMax)};
}

/// Key blocks [begin, fullBegin) and [fullEnd, end) need the mask, [fullBegin, fullEnd) do not, the rest is skipped.
/// Always begin <= fullBegin <= fullEnd <= end, and begin == end where all rows' intervals are empty at one column.
/// Blocks are counted from where the bounds' columns are. Of the blocks that need the mask only those before fullBegin
/// have keys ahead of some row's start, and only those from cutFrom on have keys behind some row's end: where rows of
/// two documents meet, a block may have both.
template <typename Int> struct KeyBlockRanges {
  Int begin, fullBegin, fullEnd, end, cutFrom;
};

/// `starts`: rows may begin to see keys after the first; if not, loMin and loMax are 0.
template <typename Int>
KeyBlockRanges<Int> keyBlockRanges(const RowBounds<Int> &rows, int64_t blockN, bool starts = true) {
  Int begin = floorDiv(rows.loMin, blockN);
  Int end = ceilDiv(rows.hiMax, blockN);
  if (starts) {
    // No column is in any row's interval when hiMax <= loMin, even if a block holds both. Columns that are in one lie
    // in no more blocks than they are.
    end = minOf(end, begin + (rows.hiMax - rows.loMin));
  }
  end = maxOf(end, begin);
  Int fullBegin = minOf(ceilDiv(rows.loMax, blockN), end);
  Int cutFrom = minOf(floorDiv(rows.hiMin, blockN), end);
  Int fullEnd = maxOf(cutFrom, fullBegin);
  return {begin, fullBegin, fullEnd, end, cutFrom};
}

/// Key blocks [begin, end), counted from `firstKey`: those that have columns of [holesBegin, holesEnd), which is [0, 0)
/// if there are none.
template <typename Int> struct HoleBlocks {
  Int begin, end;
};

template <typename Int> HoleBlocks<Int> holeBlocks(Int holesBegin, Int holesEnd, Int firstKey, int64_t blockN) {
  return {floorDiv(columnsFrom(firstKey, holesBegin), blockN), ceilDiv(columnsFrom(firstKey, holesEnd), blockN)};
}

/// Of a program's rows in two halves: key blocks from `upperFrom` on have no keys that the first half sees, and those
/// before `lowerUpTo` none that the second one does. Counted from `firstKey`.
template <typename Int> struct HalfBlocks {
  Int upperFrom, lowerUpTo;
};

/// By where the first half's last row ends, and where the second half's first row begins.
template <typename Int> HalfBlocks<Int> halfBlocks(Int lowerEnd, Int upperStart, Int firstKey, int64_t blockN) {
  return {ceilDiv(columnsFrom(firstKey, lowerEnd), blockN), floorDiv(columnsFrom(firstKey, upperStart), blockN)};
}

} // namespace tilewright::kernels

#endif // TILEWRIGHT_KERNELS_BLOCKRANGES_H
