// SPDX-License-Identifier: Apache-2.0
//
// The oracle against closed forms: cases whose answer is known without computing attention.
#include "Problem.h"
#include <bit>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

using namespace tilewright::kernels;
using tilewright::kernels::test::Problem;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Plain mean of V over the columns that a row sees.
double meanOfVisible(Problem &problem, int64_t b, int64_t i, int64_t headK, int64_t d) {
  double sum = 0.0;
  int64_t count = 0;
  for (int64_t j = 0; j < problem.args.seqlenK; ++j) {
    if (visible(problem.args, b, i, j)) {
      sum += problem.vAt(b, j, headK, d);
      ++count;
    }
  }
  return sum / static_cast<double>(count);
}

TEST(ReferenceForward, ScaleZeroIsTheMeanOfTheVisibleValues) {
  Problem problem(2, 6, 9, 4, 2, 5, 3);
  problem.randomize(1);
  problem.setPairs({3, 0, 5, 2, /*batch 1*/ -1, 4, -1, 9});
  problem.args.scale = 0.0;
  referenceForward(problem.args);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t h = 0; h < 4; ++h) {
      for (int64_t i = 0; i < 6; ++i) {
        int64_t seen = 0;
        for (int64_t j = 0; j < 9; ++j) {
          seen += visible(problem.args, b, i, j) ? 1 : 0;
        }
        EXPECT_DOUBLE_EQ(problem.lseAt(b, h, i), std::log(static_cast<double>(seen)));
        for (int64_t d = 0; d < 3; ++d) {
          EXPECT_NEAR(problem.outAt(b, i, h, d), meanOfVisible(problem, b, i, h / 2, d), 1e-15);
        }
      }
    }
  }
}

TEST(ReferenceForward, EqualKeysGiveTheMean) {
  Problem problem(1, 3, 7, 1, 1, 6, 2);
  problem.randomize(2);
  for (int64_t j = 0; j < 7; ++j) {
    for (int64_t d = 0; d < 6; ++d) {
      problem.kAt(0, j, 0, d) = 0.25 * static_cast<double>(d);
    }
  }
  problem.args.scale = 0.5;
  referenceForward(problem.args);
  for (int64_t i = 0; i < 3; ++i) {
    double dot = 0.0;
    for (int64_t d = 0; d < 6; ++d) {
      dot += problem.qAt(0, i, 0, d) * 0.25 * static_cast<double>(d);
    }
    EXPECT_NEAR(problem.lseAt(0, 0, i), 0.5 * dot + std::log(7.0), 1e-14);
    EXPECT_NEAR(problem.outAt(0, i, 0, 1), meanOfVisible(problem, 0, i, 0, 1), 1e-15);
  }
}

TEST(ReferenceForward, OneVisibleKeyCopiesItsValue) {
  Problem problem(1, 4, 4, 2, 2, 3, 5);
  problem.randomize(3);
  problem.args.mask = ReferenceMask::Causal;
  problem.args.scale = 1.7;
  referenceForward(problem.args);
  for (int64_t h = 0; h < 2; ++h) {
    double dot = 0.0;
    for (int64_t d = 0; d < 3; ++d) {
      dot += problem.qAt(0, 0, h, d) * problem.kAt(0, 0, h, d);
    }
    EXPECT_NEAR(problem.lseAt(0, h, 0), 1.7 * dot, 1e-15);
    for (int64_t d = 0; d < 5; ++d) {
      EXPECT_EQ(problem.outAt(0, 0, h, d), problem.vAt(0, 0, h, d));
    }
  }
}

TEST(ReferenceForward, TwoKeysAreALogisticFunction) {
  Problem problem(1, 1, 2, 1, 1, 1, 1);
  problem.qAt(0, 0, 0, 0) = 2.0;
  problem.kAt(0, 0, 0, 0) = 1.5;
  problem.kAt(0, 1, 0, 0) = -0.5;
  problem.vAt(0, 0, 0, 0) = 1.0;
  problem.args.scale = 0.75;
  referenceForward(problem.args);
  EXPECT_NEAR(problem.outAt(0, 0, 0, 0), 1.0 / (1.0 + std::exp(-3.0)), 1e-15);
  EXPECT_NEAR(problem.lseAt(0, 0, 0), 2.25 + std::log1p(std::exp(-3.0)), 1e-15);
}

TEST(ReferenceForward, HugeScoresNeitherOverflowNorLoseTheTie) {
  for (double size : {1e4, 1e30, 1e300}) {
    Problem problem(1, 1, 3, 1, 1, 1, 1);
    problem.qAt(0, 0, 0, 0) = size;
    problem.kAt(0, 0, 0, 0) = 1.0;
    problem.kAt(0, 1, 0, 0) = -1.0;
    problem.kAt(0, 2, 0, 0) = 1.0;
    problem.vAt(0, 0, 0, 0) = 3.0;
    problem.vAt(0, 1, 0, 0) = 1000.0;
    problem.vAt(0, 2, 0, 0) = 5.0;
    referenceForward(problem.args);
    EXPECT_EQ(problem.outAt(0, 0, 0, 0), 4.0);
    EXPECT_EQ(problem.lseAt(0, 0, 0), size + std::log(2.0));
  }
}

TEST(ReferenceForward, VeryNegativeScoresAreOrdinaryScores) {
  Problem problem(1, 1, 2, 1, 1, 1, 1);
  problem.qAt(0, 0, 0, 0) = -std::numeric_limits<float>::max();
  problem.kAt(0, 0, 0, 0) = 1.0;
  problem.kAt(0, 1, 0, 0) = 1.0;
  problem.vAt(0, 0, 0, 0) = 1.0;
  problem.vAt(0, 1, 0, 0) = 2.0;
  referenceForward(problem.args);
  EXPECT_EQ(problem.outAt(0, 0, 0, 0), 1.5);
  EXPECT_EQ(problem.lseAt(0, 0, 0), -static_cast<double>(std::numeric_limits<float>::max()));
}

TEST(ReferenceForward, EmptyRowsAreZeroWithLseMinusInfinity) {
  Problem problem(1, 5, 3, 1, 1, 2, 2); // bottom right: rows 0 and 1 see nothing
  problem.randomize(4);
  problem.args.mask = ReferenceMask::Causal;
  referenceForward(problem.args);
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(problem.lseAt(0, 0, i) == -kInfinity, i < 2) << i;
    EXPECT_EQ(problem.outAt(0, i, 0, 0) == 0.0, i < 2) << i;
  }
  EXPECT_EQ(problem.outAt(0, 2, 0, 1), problem.vAt(0, 0, 0, 1));
}

TEST(ReferenceForward, NoKeysAtAll) {
  for (ReferenceMask mask : {ReferenceMask::None, ReferenceMask::Causal}) {
    Problem problem(2, 3, 0, 2, 1, 4, 3);
    problem.args.mask = mask;
    problem.args.k.data = problem.args.v.data = nullptr;
    referenceForward(problem.args);
    for (double value : problem.out) {
      EXPECT_EQ(value, 0.0);
    }
    for (double value : problem.lse) {
      EXPECT_EQ(value, -kInfinity);
    }
  }
}

TEST(ReferenceForward, NoQueriesNoBatchWritesNothing) {
  Problem noRows(1, 0, 3, 1, 1, 2, 2);
  referenceForward(noRows.args);
  Problem noBatch(0, 3, 3, 1, 1, 2, 2);
  referenceForward(noBatch.args);
  Problem noLse(1, 2, 2, 1, 1, 2, 2);
  noLse.args.writeLse = false;
  referenceForward(noLse.args);
  for (double value : noLse.lse) {
    EXPECT_EQ(value, Problem::kUnwritten);
  }
}

TEST(ReferenceForward, AllVisibleLogitsMinusInfinityIsAnEmptyRow) {
  Problem problem(1, 1, 2, 1, 1, 1, 1);
  problem.qAt(0, 0, 0, 0) = 1.0;
  problem.kAt(0, 0, 0, 0) = -kInfinity;
  problem.kAt(0, 1, 0, 0) = -kInfinity;
  problem.vAt(0, 0, 0, 0) = 7.0;
  referenceForward(problem.args);
  EXPECT_EQ(problem.outAt(0, 0, 0, 0), 0.0);
  EXPECT_EQ(problem.lseAt(0, 0, 0), -kInfinity);
}

TEST(ReferenceForward, HiddenNaNAndInfinityNeverReachARow) {
  for (double poison : {kNaN, kInfinity, -kInfinity}) {
    Problem clean(1, 6, 6, 1, 1, 5, 5);
    clean.randomize(5);
    clean.setBreakPoints({2});
    referenceForward(clean.args);

    Problem poisoned(1, 6, 6, 1, 1, 5, 5);
    poisoned.randomize(5);
    poisoned.setBreakPoints({2});
    for (int64_t d = 0; d < 5; ++d) { // key 4: hidden from rows 0..3
      poisoned.kAt(0, 4, 0, d) = poison;
      poisoned.vAt(0, 4, 0, d) = poison;
    }
    referenceForward(poisoned.args);
    for (int64_t i = 0; i < 4; ++i) {
      EXPECT_EQ(poisoned.lseAt(0, 0, i), clean.lseAt(0, 0, i));
      for (int64_t d = 0; d < 5; ++d) {
        EXPECT_EQ(poisoned.outAt(0, i, 0, d), clean.outAt(0, i, 0, d));
      }
    }
  }
}

TEST(ReferenceForward, VisibleNaNPropagates) {
  Problem problem(1, 3, 3, 1, 1, 2, 2);
  problem.randomize(6);
  problem.args.mask = ReferenceMask::Causal;
  problem.kAt(0, 1, 0, 0) = kNaN; // row 0 does not see it
  problem.vAt(0, 0, 0, 1) = kNaN; // every row sees it, in one output column
  referenceForward(problem.args);
  EXPECT_TRUE(std::isfinite(problem.lseAt(0, 0, 0)));
  EXPECT_TRUE(std::isfinite(problem.outAt(0, 0, 0, 0)));
  EXPECT_TRUE(std::isnan(problem.outAt(0, 0, 0, 1)));
  for (int64_t i = 1; i < 3; ++i) {
    EXPECT_TRUE(std::isnan(problem.lseAt(0, 0, i)));
    EXPECT_TRUE(std::isnan(problem.outAt(0, i, 0, 0)));
  }
}

TEST(ReferenceForward, AnInfiniteLogitBehavesAsInSoftmaxAndLogsumexp) {
  Problem problem(1, 1, 2, 1, 1, 1, 1);
  problem.qAt(0, 0, 0, 0) = 1.0;
  problem.kAt(0, 0, 0, 0) = kInfinity;
  problem.kAt(0, 1, 0, 0) = 2.0;
  referenceForward(problem.args);
  EXPECT_TRUE(std::isnan(problem.outAt(0, 0, 0, 0)));
  EXPECT_EQ(problem.lseAt(0, 0, 0), kInfinity);
}

TEST(ReferenceForward, GroupedHeadsReadTheirKeyHead) {
  Problem grouped(1, 4, 5, 6, 2, 3, 3);
  grouped.randomize(7);
  referenceForward(grouped.args);
  // The same with every key head written out once a query head.
  Problem full(1, 4, 5, 6, 6, 3, 3);
  full.q = grouped.q;
  full.args.q.data = full.q.data();
  for (int64_t j = 0; j < 5; ++j) {
    for (int64_t h = 0; h < 6; ++h) {
      for (int64_t d = 0; d < 3; ++d) {
        full.kAt(0, j, h, d) = grouped.kAt(0, j, h / 3, d);
        full.vAt(0, j, h, d) = grouped.vAt(0, j, h / 3, d);
      }
    }
  }
  referenceForward(full.args);
  EXPECT_EQ(grouped.out, full.out);
  EXPECT_EQ(grouped.lse, full.lse);
}

TEST(ReferenceForward, MatchesADirectSumInLongDouble) {
  Problem problem(2, 13, 17, 2, 1, 11, 7);
  problem.randomize(8);
  problem.setBreakPoints({5, 0});
  problem.args.scale = 3.0;
  referenceForward(problem.args);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t i = 0; i < 13; ++i) {
        long double sum = 0.0L;
        std::vector<long double> weighted(7, 0.0L);
        for (int64_t j = 0; j < 17; ++j) {
          if (!visible(problem.args, b, i, j)) {
            continue;
          }
          long double dot = 0.0L;
          for (int64_t d = 0; d < 11; ++d) {
            dot += static_cast<long double>(problem.qAt(b, i, h, d)) * problem.kAt(b, j, 0, d);
          }
          const long double weight = std::exp(3.0L * dot);
          sum += weight;
          for (int64_t d = 0; d < 7; ++d) {
            weighted[static_cast<size_t>(d)] += weight * problem.vAt(b, j, 0, d);
          }
        }
        EXPECT_NEAR(problem.lseAt(b, h, i), static_cast<double>(std::log(sum)), 1e-13);
        for (int64_t d = 0; d < 7; ++d) {
          EXPECT_NEAR(problem.outAt(b, i, h, d), static_cast<double>(weighted[static_cast<size_t>(d)] / sum), 1e-14);
        }
      }
    }
  }
}

TEST(ReferenceForward, StridesAndStorageTypes) {
  // q and k as views of one packed float16 tensor (b, s, 2, h, d); v in bfloat16 with a last stride of 2 and a negative
  // sequence stride; out float16 in (b, h, s, d); lse float32 with a stride of 3.
  constexpr int64_t s = 5, h = 2, d = 3;
  Problem plain(1, s, s, h, h, d, d);
  plain.randomize(9);
  std::vector<uint16_t> packed(s * 2 * h * d), values(s * h * d * 2, 0x7fc0), out(s * h * d);
  std::vector<float> lse(h * s * 3, -5.0f);
  for (int64_t i = 0; i < s; ++i) {
    for (int64_t head = 0; head < h; ++head) {
      for (int64_t c = 0; c < d; ++c) {
        double &q = plain.qAt(0, i, head, c), &k = plain.kAt(0, i, head, c), &v = plain.vAt(0, i, head, c);
        uint16_t &qCode = packed[((i * 2 + 0) * h + head) * d + c];
        uint16_t &kCode = packed[((i * 2 + 1) * h + head) * d + c];
        uint16_t &vCode = values[((s - 1 - i) * h + head) * d * 2 + 2 * c];
        qCode = doubleToHalf(q);
        kCode = doubleToHalf(k);
        vCode = doubleToBfloat16(v);
        q = halfToDouble(qCode);
        k = halfToDouble(kCode);
        v = bfloat16ToDouble(vCode);
      }
    }
  }
  referenceForward(plain.args);
  ReferenceArgs args = plain.args;
  args.q = {packed.data(), ReferenceType::F16, {0, 2 * h * d, d, 1}};
  args.k = {packed.data() + h * d, ReferenceType::F16, {0, 2 * h * d, d, 1}};
  args.v = {values.data() + (s - 1) * h * d * 2, ReferenceType::BF16, {0, -h * d * 2, d * 2, 2}};
  args.out = {out.data(), ReferenceType::F16, {0, d, s * d, 1}};
  args.lse = {lse.data(), ReferenceType::F32, {0, s * 3, 3, 0}};
  referenceForward(args);
  for (int64_t head = 0; head < h; ++head) {
    for (int64_t i = 0; i < s; ++i) {
      EXPECT_EQ(lse[(head * s + i) * 3], static_cast<float>(plain.lseAt(0, head, i)));
      EXPECT_EQ(lse[(head * s + i) * 3 + 1], -5.0f);
      for (int64_t c = 0; c < d; ++c) {
        EXPECT_EQ(out[(head * s + i) * d + c], doubleToHalf(plain.outAt(0, i, head, c)));
      }
    }
  }
}

TEST(ReferenceForward, ThreadCountChangesNothing) {
  Problem one(3, 20, 30, 4, 2, 8, 8);
  one.randomize(10);
  one.args.mask = ReferenceMask::Causal;
  one.args.threads = 1;
  referenceForward(one.args);
  Problem many(3, 20, 30, 4, 2, 8, 8);
  many.randomize(10);
  many.args.mask = ReferenceMask::Causal;
  many.args.threads = 5;
  referenceForward(many.args);
  EXPECT_EQ(one.out, many.out);
  EXPECT_EQ(one.lse, many.lse);
}

} // namespace
