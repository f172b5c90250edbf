// SPDX-License-Identifier: Apache-2.0
//
// Block ranges against the elementwise definition of the masks (semantics A2, A4), exhaustively at small sizes. The
// definition below is written out from the contract and shares nothing with the code under test.
#include "TestSupport.h"
#include "tilewright/runtime/BlockMap.h"

#include <random>

using namespace tilewright;
using namespace tilewright::runtime;
using kernels::KeyBlockRanges;
using kernels::RowBounds;

namespace {

struct Pair {
  int32_t start, end;
};

/// One mask on one pair of lengths, by elements.
struct Mask {
  attn::MaskKind kind = attn::MaskKind::None;
  int64_t seqlenQ, seqlenK, offset;
  int32_t breakPoint = 0;
  std::vector<Pair> pairs;

  bool visible(int64_t i, int64_t j) const {
    if (j < 0 || j >= seqlenK) {
      return false;
    }
    const int64_t position = i + offset;
    switch (kind) {
    case attn::MaskKind::None:
      return true;
    case attn::MaskKind::Causal:
      return j <= position;
    case attn::MaskKind::GlmBreak:
      return j <= position || j < breakPoint;
    case attn::MaskKind::GlmPacked:
      for (const Pair &pair : pairs) {
        if (std::max(pair.start, 0) <= position && position < pair.end && j < pair.end) {
          return true;
        }
      }
      return j <= position;
    }
    return false;
  }
};

/// What rows see of a key block. Columns beyond the sequence count as hidden: a full block may not reach them.
enum class Sight { Nothing, Some, Everything };

Sight sight(const Mask &mask, int64_t firstRow, int64_t lastRow, int64_t keyBlock, int64_t blockN) {
  bool any = false, all = true;
  for (int64_t i = firstRow; i < lastRow; ++i) {
    for (int64_t j = keyBlock * blockN; j < (keyBlock + 1) * blockN; ++j) {
      const bool visible = mask.visible(i, j);
      any |= visible;
      all &= visible;
    }
  }
  return !any ? Sight::Nothing : all ? Sight::Everything : Sight::Some;
}

/// Compares the ranges of every row block with the elements. All these masks start at column 0, so the ranges must be
/// exact: skipped means nothing, full means everything, and partial means neither.
void expectExact(const Mask &mask, std::span<const int64_t> limits, int64_t blockM, int64_t blockN) {
  for (int64_t first = 0; first < mask.seqlenQ; first += blockM) {
    const int64_t last = std::min(first + blockM, mask.seqlenQ);
    const std::vector<int64_t> starts(limits.size(), 0);
    const KeyBlockRanges<int64_t> ranges = rowBlockRanges(starts, limits, first, blockM, blockN);
    ASSERT_TRUE(ranges.begin <= ranges.fullBegin && ranges.fullBegin <= ranges.fullEnd && ranges.fullEnd <= ranges.end);
    ASSERT_LE(ranges.end, kernels::ceilDiv(mask.seqlenK, blockN));
    for (int64_t block = 0; block < kernels::ceilDiv(mask.seqlenK, blockN); ++block) {
      const Sight expected = sight(mask, first, last, block, blockN);
      const Sight found = block < ranges.begin || block >= ranges.end            ? Sight::Nothing
                          : block >= ranges.fullBegin && block < ranges.fullEnd ? Sight::Everything
                                                                                : Sight::Some;
      ASSERT_EQ(found, expected) << "mask " << attn::stringifyMaskKind(mask.kind).str() << " sq " << mask.seqlenQ
                                 << " sk " << mask.seqlenK << " offset " << mask.offset << " rows " << first << ".."
                                 << last << " key block " << block << " of " << blockN;
    }
  }
}

/// The row limits, checked element by element, and then every block shape.
void expectMask(const Mask &mask) {
  AttentionProblem problem;
  problem.mask = mask.kind;
  problem.batch = 1;
  problem.seqlenQ = mask.seqlenQ;
  problem.seqlenK = mask.seqlenK;
  problem.topLeft = mask.offset == 0;
  ASSERT_EQ(problem.causalOffset(), mask.offset);
  std::vector<int32_t> glm;
  if (mask.kind == attn::MaskKind::GlmBreak) {
    glm = {mask.breakPoint};
    problem.glm = {1, 0, 0};
  } else if (mask.kind == attn::MaskKind::GlmPacked) {
    for (const Pair &pair : mask.pairs) {
      glm.push_back(pair.start);
    }
    for (const Pair &pair : mask.pairs) {
      glm.push_back(pair.end);
    }
    problem.pairs = static_cast<int64_t>(mask.pairs.size());
    problem.glm = {2 * problem.pairs, problem.pairs, 1};
  }
  const std::vector<int64_t> limits = rowLimits(problem, glm.data(), 0);
  ASSERT_EQ(limits.size(), static_cast<size_t>(mask.seqlenQ));
  for (int64_t i = 0; i < mask.seqlenQ; ++i) {
    for (int64_t j = 0; j < mask.seqlenK; ++j) {
      ASSERT_EQ(j < limits[static_cast<size_t>(i)], mask.visible(i, j)) << "row " << i << " column " << j;
    }
    ASSERT_GE(limits[static_cast<size_t>(i)], 0);
    ASSERT_LE(limits[static_cast<size_t>(i)], mask.seqlenK);
    ASSERT_TRUE(i == 0 || limits[static_cast<size_t>(i)] >= limits[static_cast<size_t>(i) - 1])
        << "the limits decrease at row " << i;
  }
  for (int64_t blockM = 1; blockM <= 5; ++blockM) {
    for (int64_t blockN = 1; blockN <= 5; ++blockN) {
      expectExact(mask, limits, blockM, blockN);
      if (::testing::Test::HasFatalFailure()) {
        return;
      }
    }
  }
}

/// Calls `body` with every pair of lengths up to `longest` and both alignments.
template <typename Body> void forAllLengths(int64_t longest, Body &&body) {
  for (int64_t seqlenQ = 0; seqlenQ <= longest; ++seqlenQ) {
    for (int64_t seqlenK = 0; seqlenK <= longest; ++seqlenK) {
      for (int64_t offset : {int64_t{0}, seqlenK - seqlenQ}) {
        Mask mask;
        mask.seqlenQ = seqlenQ;
        mask.seqlenK = seqlenK;
        mask.offset = offset;
        body(mask);
        if (::testing::Test::HasFatalFailure()) {
          return;
        }
        if (seqlenK == seqlenQ) {
          break;
        }
      }
    }
  }
}

std::vector<Pair> randomPairs(std::mt19937 &random, int64_t seqlenK, int kind) {
  const int count = static_cast<int>(random() % 5);
  auto position = [&] { return static_cast<int32_t>(random() % static_cast<uint64_t>(seqlenK + 1)); };
  std::vector<Pair> pairs;
  for (int n = 0; n < count; ++n) {
    switch (kind) {
    case 0: // any order, overlapping, nested, empty, reversed
      pairs.push_back({position(), position()});
      break;
    case 1: { // adjacent
      const int32_t start = pairs.empty() ? 0 : pairs.back().end;
      pairs.push_back({start, std::min<int32_t>(start + static_cast<int32_t>(random() % 4),
                                                static_cast<int32_t>(seqlenK))});
      break;
    }
    case 2: // nested
      pairs.push_back({static_cast<int32_t>(std::min<int64_t>(n, seqlenK)),
                       static_cast<int32_t>(std::max<int64_t>(seqlenK - n, 0))});
      break;
    case 3: // unused among used
      pairs.push_back(random() % 2 ? Pair{-1, -1} : Pair{position(), position()});
      break;
    case 4: // all unused
      pairs.push_back({-1, -1});
      break;
    }
  }
  return pairs;
}

} // namespace

TEST(BlockRanges, NoMask) {
  forAllLengths(12, [](Mask &mask) { expectMask(mask); });
}

TEST(BlockRanges, Causal) {
  forAllLengths(12, [](Mask &mask) {
    mask.kind = attn::MaskKind::Causal;
    expectMask(mask);
  });
}

TEST(BlockRanges, GlmBreakAllPointsAlsoOutOfRange) {
  forAllLengths(10, [](Mask &mask) {
    mask.kind = attn::MaskKind::GlmBreak;
    for (int32_t point = -2; point <= mask.seqlenK + 2; ++point) {
      mask.breakPoint = point;
      expectMask(mask);
    }
  });
}

TEST(BlockRanges, GlmPairs) {
  std::mt19937 random(4711);
  forAllLengths(12, [&](Mask &mask) {
    mask.kind = attn::MaskKind::GlmPacked;
    for (int kind = 0; kind < 5; ++kind) {
      for (int repeat = 0; repeat < (kind == 4 ? 1 : 3); ++repeat) {
        mask.pairs = randomPairs(random, mask.seqlenK, kind);
        expectMask(mask);
      }
    }
  });
}

TEST(BlockRanges, GlmPairsAllSingleAndDoublePairs) {
  // Every pair, and every two pairs, of a short sequence.
  for (int64_t seqlenQ : {3, 5, 6}) {
    for (int64_t offset : {int64_t{0}, 5 - seqlenQ}) {
      for (int32_t code = 0; code < 6 * 6 * 6 * 6; ++code) {
        Mask mask;
        mask.kind = attn::MaskKind::GlmPacked;
        mask.seqlenQ = seqlenQ;
        mask.seqlenK = 5;
        mask.offset = offset;
        mask.pairs = {{code % 6, code / 6 % 6}, {code / 36 % 6, code / 216 % 6}};
        expectMask(mask);
        if (HasFatalFailure()) {
          return;
        }
      }
    }
  }
}

TEST(BlockRanges, OutOfRangePairsAreClamped) {
  std::mt19937 random(99);
  for (int repeat = 0; repeat < 2000; ++repeat) {
    Mask mask;
    mask.kind = attn::MaskKind::GlmPacked;
    mask.seqlenQ = 1 + static_cast<int64_t>(random() % 9);
    mask.seqlenK = static_cast<int64_t>(random() % 9);
    mask.offset = random() % 2 ? 0 : mask.seqlenK - mask.seqlenQ;
    AttentionProblem problem;
    problem.mask = mask.kind;
    problem.batch = 1;
    problem.seqlenQ = mask.seqlenQ;
    problem.seqlenK = mask.seqlenK;
    problem.topLeft = mask.offset == 0;
    problem.pairs = 1;
    problem.glm = {2, 1, 1};
    const int32_t wild[2] = {static_cast<int32_t>(random()), static_cast<int32_t>(random())};
    const auto sk = static_cast<int32_t>(mask.seqlenK);
    mask.pairs = {{std::clamp(wild[0], 0, sk), std::clamp(wild[1], 0, sk)}};
    const std::vector<int64_t> limits = rowLimits(problem, wild, 0);
    for (int64_t i = 0; i < mask.seqlenQ; ++i) {
      for (int64_t j = 0; j < mask.seqlenK; ++j) {
        ASSERT_EQ(j < limits[static_cast<size_t>(i)], mask.visible(i, j));
      }
    }
  }
}

/// What is visible lies in a visited block, what is hidden in none that is full; blocks are counted from `first`.
void expectNothingLost(const KeyBlockRanges<int64_t> &ranges, std::span<const std::pair<int64_t, int64_t>> intervals,
                       int64_t columns, int64_t first, int64_t blockN) {
  for (const auto &[lo, hi] : intervals) {
    for (int64_t j = 0; j < columns; ++j) {
      const bool visible = lo <= j && j < hi;
      const int64_t block = j < first ? -1 : (j - first) / blockN;
      ASSERT_TRUE(!visible || (block >= ranges.begin && block < ranges.end)) << "a visible column is skipped";
      ASSERT_TRUE(visible || block < ranges.fullBegin || block >= ranges.fullEnd) << "a hidden column is unmasked";
      if (block >= ranges.begin && block < ranges.end) {
        ASSERT_TRUE(j >= lo || block < ranges.fullBegin) << "a column before a row's start is not taken for one";
        ASSERT_TRUE(j < hi || block >= ranges.cutFrom) << "a column behind a row's end is not taken for one";
      }
    }
  }
  ASSERT_TRUE(ranges.fullBegin == ranges.fullEnd || first + ranges.fullEnd * blockN <= columns)
      << "a full block reaches beyond the sequence";
}

TEST(BlockRanges, AnyIntervalsLoseNothing) {
  // Lower limits too, as a sliding window or documents will have: rows are any intervals, empty and inverted ones too.
  // From the extremes alone a partial block cannot always be told from a skipped or a full one, but never the reverse.
  std::mt19937 random(31337);
  for (int repeat = 0; repeat < 200000; ++repeat) {
    const auto columns = static_cast<int64_t>(random() % 13);
    const auto rows = static_cast<size_t>(1 + random() % 4);
    const auto blockN = static_cast<int64_t>(1 + random() % 5);
    std::vector<std::pair<int64_t, int64_t>> intervals(rows);
    RowBounds<int64_t> bounds{columns, 0, columns, 0};
    for (auto &[lo, hi] : intervals) {
      lo = static_cast<int64_t>(random() % static_cast<uint64_t>(columns + 1));
      hi = static_cast<int64_t>(random() % static_cast<uint64_t>(columns + 1));
      bounds.loMin = std::min(bounds.loMin, lo);
      bounds.loMax = std::max(bounds.loMax, lo);
      bounds.hiMin = std::min(bounds.hiMin, hi);
      bounds.hiMax = std::max(bounds.hiMax, hi);
    }
    const KeyBlockRanges<int64_t> ranges = kernels::keyBlockRanges(bounds, blockN);
    ASSERT_TRUE(0 <= ranges.begin && ranges.begin <= ranges.fullBegin && ranges.fullBegin <= ranges.fullEnd &&
                ranges.fullEnd <= ranges.end);
    ASSERT_TRUE(bounds.hiMax > bounds.loMin || ranges.begin == ranges.end) << "blocks for rows that see nothing";
    if (bounds.loMax == 0) {
      const KeyBlockRanges<int64_t> same = kernels::keyBlockRanges(bounds, blockN, /*starts=*/false);
      ASSERT_TRUE(same.begin == ranges.begin && same.fullBegin == ranges.fullBegin && same.fullEnd == ranges.fullEnd &&
                  same.end == ranges.end);
    }
    expectNothingLost(ranges, intervals, columns, 0, blockN);
    // Counted from the first visible column, or from a multiple of 2 or 4 before it, as kernels count blocks.
    for (int64_t step : {1, 2, 4}) {
      const int64_t first = kernels::alignDown(bounds.loMin, step);
      ASSERT_TRUE(first % step == 0 && first <= bounds.loMin && bounds.loMin < first + step);
      const KeyBlockRanges<int64_t> counted = kernels::keyBlockRanges(kernels::countedFrom(bounds, first), blockN);
      ASSERT_TRUE(0 <= counted.begin && counted.begin <= counted.fullBegin && counted.fullBegin <= counted.fullEnd &&
                  counted.fullEnd <= counted.end);
      ASSERT_TRUE(step > blockN || counted.begin == 0) << "kernels begin with block 0";
      ASSERT_TRUE(step > 1 || counted.end - counted.begin <= ranges.end - ranges.begin) << "more blocks than else";
      ASSERT_TRUE(bounds.hiMax > bounds.loMin || counted.begin == counted.end) << "blocks for rows that see nothing";
      expectNothingLost(counted, intervals, columns, first, blockN);
    }
  }
}

/// Every hole lies in one of the blocks, and the first and the last of these have one.
TEST(BlockRanges, HolesAgainstEveryElement) {
  for (int64_t blockN : {1, 3, 4}) {
    for (int64_t begin = 0; begin < 14; ++begin) {
      for (int64_t end = begin; end < 14; ++end) {
        for (int64_t firstKey = 0; firstKey < 16; ++firstKey) {
          // None is told as [0, 0).
          const bool none = begin == end;
          const auto blocks = kernels::holeBlocks(none ? 0 : begin, none ? 0 : end, firstKey, blockN);
          int64_t least = 16, most = -1;
          for (int64_t key = std::max(begin, firstKey); key < end; ++key) {
            least = std::min(least, (key - firstKey) / blockN);
            most = std::max(most, (key - firstKey) / blockN);
          }
          if (most < 0) {
            ASSERT_TRUE(blocks.begin >= blocks.end) << begin << " " << end << " " << firstKey;
          } else {
            ASSERT_EQ(blocks.begin, least) << begin << " " << end << " " << firstKey;
            ASSERT_EQ(blocks.end, most + 1) << begin << " " << end << " " << firstKey;
          }
        }
      }
    }
  }
}

/// Which blocks have no key before the first half's end, and which none from the second half's start on.
TEST(BlockRanges, HalvesAgainstEveryBlock) {
  for (int64_t blockN : {1, 3, 4}) {
    for (int64_t lowerEnd = 0; lowerEnd < 14; ++lowerEnd) {
      for (int64_t upperStart = 0; upperStart < 14; ++upperStart) {
        for (int64_t firstKey = 0; firstKey < 16; ++firstKey) {
          const auto halves = kernels::halfBlocks(lowerEnd, upperStart, firstKey, blockN);
          for (int64_t block = 0; block < 16; ++block) {
            const int64_t first = firstKey + block * blockN, end = first + blockN;
            ASSERT_EQ(block >= halves.upperFrom, first >= lowerEnd) << lowerEnd << " " << firstKey << " " << block;
            ASSERT_EQ(block < halves.lowerUpTo, end <= upperStart) << upperStart << " " << firstKey << " " << block;
          }
        }
      }
    }
  }
}

/// A window's starts and limits, and the ranges of every block of rows, against the elements.
TEST(BlockRanges, WindowsAgainstEveryElement) {
  for (int64_t sq : {1, 5, 12}) {
    for (int64_t sk : {1, 7, 12, 20}) {
      for (int64_t left : {-1, 0, 2, 9}) {
        for (int64_t right : {-1, 0, 1, 8}) {
          for (bool topLeft : {false, true}) {
            AttentionProblem problem;
            problem.batch = problem.heads = 1;
            problem.seqlenQ = sq;
            problem.seqlenK = sk;
            problem.topLeft = topLeft;
            problem.windowLeft = left;
            problem.windowRight = right;
            const std::vector<int64_t> starts = rowStarts(problem), limits = rowLimits(problem, nullptr, 0);
            auto visible = [&](int64_t i, int64_t j) {
              const int64_t position = i + (topLeft ? 0 : sk - sq);
              return (left < 0 || j >= position - left) && (right < 0 || j <= position + right);
            };
            for (int64_t i = 0; i < sq; ++i) {
              for (int64_t j = 0; j < sk; ++j) {
                const auto row = static_cast<size_t>(i);
                ASSERT_EQ(starts[row] <= j && j < limits[row], visible(i, j)) << i << " " << j;
              }
            }
            constexpr int64_t kBlock = 4;
            for (int64_t first = 0; first < sq; first += kBlock) {
              const auto ranges = rowBlockRanges(starts, limits, first, kBlock, kBlock);
              for (int64_t block = 0; block * kBlock < sk; ++block) {
                bool any = false, all = (block + 1) * kBlock <= sk;
                for (int64_t i = first; i < std::min(first + kBlock, sq); ++i) {
                  for (int64_t j = block * kBlock; j < std::min((block + 1) * kBlock, sk); ++j) {
                    any = any || visible(i, j);
                    all = all && visible(i, j);
                  }
                }
                const bool visited = block >= ranges.begin && block < ranges.end;
                const bool full = block >= ranges.fullBegin && block < ranges.fullEnd;
                ASSERT_TRUE(visited || !any);
                ASSERT_EQ(full, all);
              }
            }
          }
        }
      }
    }
  }
}
