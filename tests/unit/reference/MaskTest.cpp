// SPDX-License-Identifier: Apache-2.0
//
// The oracle's per-element mask against definitions that are written differently: sets of cells instead of limits.
#include "Problem.h"
#include <gtest/gtest.h>
#include <set>
#include <utility>

using namespace tilewright::kernels;
using tilewright::kernels::test::Problem;

namespace {

using Cells = std::set<std::pair<int64_t, int64_t>>;

Cells visibleCells(const ReferenceArgs &args, int64_t batch) {
  Cells cells;
  // One column beyond each side: never visible.
  for (int64_t i = 0; i < args.seqlenQ; ++i) {
    for (int64_t j = -1; j <= args.seqlenK; ++j) {
      if (visible(args, batch, i, j)) {
        cells.insert({i, j});
      }
    }
  }
  return cells;
}

Cells lowerTriangle(int64_t length) {
  Cells cells;
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      cells.insert({i, j});
    }
  }
  return cells;
}

void addSquare(Cells &cells, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t j = begin; j < end; ++j) {
      cells.insert({i, j});
    }
  }
}

void addColumns(Cells &cells, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      cells.insert({i, j});
    }
  }
}

TEST(ReferenceMask, NoneShowsEveryKeyAndNothingElse) {
  Problem problem(1, 3, 4, 1, 1, 1, 1);
  Cells expected;
  addColumns(expected, 3, 4);
  EXPECT_EQ(visibleCells(problem.args, 0), expected);
}

TEST(ReferenceMask, CausalOfASquareIsTheLowerTriangle) {
  for (bool topLeft : {false, true}) {
    Problem problem(1, 7, 7, 1, 1, 1, 1);
    problem.args.mask = ReferenceMask::Causal;
    problem.args.topLeft = topLeft;
    EXPECT_EQ(visibleCells(problem.args, 0), lowerTriangle(7));
  }
}

TEST(ReferenceMask, CausalAlignmentOfARectangle) {
  Problem wide(1, 2, 4, 1, 1, 1, 1);
  wide.args.mask = ReferenceMask::Causal;
  EXPECT_EQ(visibleCells(wide.args, 0), (Cells{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}, {1, 3}}));
  wide.args.topLeft = true;
  EXPECT_EQ(visibleCells(wide.args, 0), (Cells{{0, 0}, {1, 0}, {1, 1}}));

  Problem tall(1, 4, 2, 1, 1, 1, 1);
  tall.args.mask = ReferenceMask::Causal;
  EXPECT_EQ(visibleCells(tall.args, 0), (Cells{{2, 0}, {3, 0}, {3, 1}})); // rows 0 and 1 are empty
  tall.args.topLeft = true;
  EXPECT_EQ(visibleCells(tall.args, 0), (Cells{{0, 0}, {1, 0}, {1, 1}, {2, 0}, {2, 1}, {3, 0}, {3, 1}}));
}

TEST(ReferenceMask, BreakPointShowsAPrefixToEveryRow) {
  for (int32_t point = -3; point <= 12; ++point) {
    Problem problem(1, 9, 9, 1, 1, 1, 1);
    problem.setBreakPoints({point});
    Cells expected = lowerTriangle(9);
    addColumns(expected, 9, std::min(point, 9)); // values outside [0, seqlen_k] count as the nearest inside
    EXPECT_EQ(visibleCells(problem.args, 0), expected) << point;
  }
}

TEST(ReferenceMask, BreakPointReachesRowsBeforeTheFirstKey) {
  Problem problem(1, 4, 2, 1, 1, 1, 1); // o = -2: rows 0 and 1 stand before key 0
  problem.setBreakPoints({1});
  EXPECT_EQ(visibleCells(problem.args, 0), (Cells{{0, 0}, {1, 0}, {2, 0}, {3, 0}, {3, 1}}));
}

/// Every list of one and of two pairs with ends in [0, length], -1 pairs, reversed (empty) and out-of-range ones among
/// them: nested, adjacent, overlapping, unsorted and equal pairs all occur.
TEST(ReferenceMask, PackedIsTheLowerTriangleAndTheUnionOfSquares) {
  const int32_t length = 5;
  std::vector<std::pair<int32_t, int32_t>> all;
  for (int32_t start = -1; start <= length + 1; ++start) {
    for (int32_t end = -1; end <= length + 1; ++end) {
      all.push_back({start, end});
    }
  }
  auto square = [length](Cells &cells, std::pair<int32_t, int32_t> pair) {
    addSquare(cells, std::max(pair.first, 0), std::min(pair.second, length));
  };
  for (auto first : all) {
    for (auto second : all) {
      for (bool topLeft : {false, true}) {
        Problem problem(1, length, length, 1, 1, 1, 1);
        problem.setPairs({first.first, second.first, first.second, second.second});
        problem.args.topLeft = topLeft;
        Cells expected = lowerTriangle(length);
        square(expected, first);
        square(expected, second);
        ASSERT_EQ(visibleCells(problem.args, 0), expected)
            << first.first << ".." << first.second << ", " << second.first << ".." << second.second;
      }
    }
  }
}

TEST(ReferenceMask, PackedWithoutPairsIsCausal) {
  Problem problem(2, 5, 8, 1, 1, 1, 1);
  problem.setPairs({});
  Problem causal(2, 5, 8, 1, 1, 1, 1);
  causal.args.mask = ReferenceMask::Causal;
  EXPECT_EQ(visibleCells(problem.args, 1), visibleCells(causal.args, 1));
}

TEST(ReferenceMask, PackedPairsAreKeyPositions) {
  Problem problem(1, 3, 6, 1, 1, 1, 1); // bottom right: rows stand at 3, 4, 5
  problem.setPairs({4, 6});
  EXPECT_EQ(visibleCells(problem.args, 0), (Cells{{0, 0},
                                                  {0, 1},
                                                  {0, 2},
                                                  {0, 3},
                                                  {1, 0},
                                                  {1, 1},
                                                  {1, 2},
                                                  {1, 3},
                                                  {1, 4},
                                                  {1, 5},
                                                  {2, 0},
                                                  {2, 1},
                                                  {2, 2},
                                                  {2, 3},
                                                  {2, 4},
                                                  {2, 5}}));
  problem.args.topLeft = true; // rows stand at 0, 1, 2, all before the pair
  EXPECT_EQ(visibleCells(problem.args, 0), (Cells{{0, 0}, {1, 0}, {1, 1}, {2, 0}, {2, 1}, {2, 2}}));
}

TEST(ReferenceMask, EachBatchEntryHasItsOwnNumbersThroughStrides) {
  // (batch, 2, N) stored as (N, batch, 2), batch entries in reverse order.
  const std::vector<int32_t> storage = {/*n=0*/ 2, 4, 0, 3, /*n=1*/ -1, -1, 3, 5};
  Problem problem(2, 5, 5, 1, 1, 1, 1);
  problem.args.mask = ReferenceMask::GlmPacked;
  problem.args.glm = storage.data() + 2;
  problem.args.glmPairs = 2;
  problem.args.glmStrides = {-2, 1, 4};
  Cells first = lowerTriangle(5);
  addSquare(first, 0, 3);
  addSquare(first, 3, 5);
  Cells second = lowerTriangle(5);
  addSquare(second, 2, 4);
  EXPECT_EQ(visibleCells(problem.args, 0), first);
  EXPECT_EQ(visibleCells(problem.args, 1), second);
}

} // namespace
