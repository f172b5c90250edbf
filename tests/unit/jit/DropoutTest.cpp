// SPDX-License-Identifier: Apache-2.0
//
// Dropout on the CPU: every schedule, in both orientations and on every level, drops the entries that Philox.h says.
// They are read off the probabilities, which are negative where an entry was dropped.
#include "ForwardCase.h"
#include "tilewright/kernels/Philox.h"
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

using namespace tilewright;
using namespace tilewright::tests;
using attn::MaskKind;
using runtime::ElementType;

namespace {

class Dropout : public testing::TestWithParam<CpuLevel> {
protected:
  static ForwardCase problem(CpuLevel level, const char *schedule) {
    ForwardCase made;
    made.key = forwardKey(level, *kernels::parseSchedule(schedule), 24, 16);
    made.key.mask = MaskKind::Causal;
    made.key.dropout = made.key.probs = true;
    made.batch = 2;
    made.heads = 3;
    made.headsK = 1;
    made.seqlenQ = 77;
    made.seqlenK = 101;
    return made;
  }

  /// Which entries of visible keys stay, as the probabilities say.
  static std::vector<bool> kept(const ForwardCase &problem) {
    std::vector<bool> result;
    for (int64_t b = 0; b < problem.batch; ++b) {
      for (int64_t h = 0; h < problem.heads; ++h) {
        for (int64_t i = 0; i < problem.seqlenQ; ++i) {
          for (int64_t j = 0; j <= i + problem.seqlenK - problem.seqlenQ; ++j) {
            const double probability = problem.probs.get(problem.probs.offset(b, h, i, j));
            EXPECT_NE(probability, 0.0) << "its sign says nothing";
            result.push_back(!std::signbit(probability));
          }
        }
      }
    }
    return result;
  }

  /// The same by the definition.
  static std::vector<bool> defined(const ForwardCase &problem) {
    const auto seed = static_cast<uint64_t>(problem.dropoutNumbers[0]);
    const auto offset = static_cast<uint64_t>(problem.dropoutNumbers[1]);
    const kernels::PhiloxKey key = kernels::dropoutKey(seed, offset);
    const uint32_t threshold = kernels::dropoutThreshold(problem.dropoutP);
    std::vector<bool> result;
    for (int64_t head = 0; head < problem.batch * problem.heads; ++head) {
      for (int64_t i = 0; i < problem.seqlenQ; ++i) {
        for (int64_t j = 0; j <= i + problem.seqlenK - problem.seqlenQ; ++j) {
          const uint32_t bits = kernels::dropoutBits(key, offset, static_cast<uint32_t>(head), i, j);
          result.push_back(kernels::dropoutKeeps(bits, threshold));
        }
      }
    }
    return result;
  }
};

INSTANTIATE_TEST_SUITE_P(Host, Dropout, testing::ValuesIn(runnableLevels()),
                         [](const auto &info) { return "v" + std::to_string(static_cast<int>(info.param)); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Dropout);

TEST_P(Dropout, EveryScheduleDropsTheSame) {
  // Blocks of half a Philox call's columns, and larger; register tiles that divide nothing.
  for (const char *schedule : {"qk:16x16:1x1", "kq:16x16:3x3", "qk:32x48:4x2", "kq:32x48:4x2", "kq:64x16:8x2",
                               "qk:48x80:5x2", "kq:128x128:4x4"}) {
    ForwardCase problem = Dropout::problem(GetParam(), schedule);
    problem.prepare();
    problem.run();
    ASSERT_EQ(problem.mismatch(), "") << schedule;
    const std::vector<bool> wanted = defined(problem);
    ASSERT_TRUE(kept(problem) == wanted) << schedule;
    const auto stay = static_cast<double>(std::count(wanted.begin(), wanted.end(), true));
    EXPECT_NEAR(stay / static_cast<double>(wanted.size()), 0.7, 0.02);
  }
}

TEST_P(Dropout, SeedsAndOffsetsOf64Bits) {
  constexpr int64_t kHigh = int64_t{1} << 32;
  const std::array<int64_t, 2> numbers[] = {{0, 0}, {5, 0}, {0, 5}, {-2, -3}, {kHigh, 0}, {0, kHigh}};
  std::vector<std::vector<bool>> seen;
  for (const std::array<int64_t, 2> &pair : numbers) {
    for (const bool state : {false, true}) {
      ForwardCase problem = Dropout::problem(GetParam(), "kq:32x48:4x2");
      problem.dropoutNumbers = pair;
      problem.rngState = state;
      problem.prepare();
      problem.run();
      ASSERT_TRUE(kept(problem) == defined(problem)) << pair[0] << ", " << pair[1] << (state ? " in memory" : "");
    }
    ForwardCase problem = Dropout::problem(GetParam(), "kq:32x48:4x2");
    problem.dropoutNumbers = pair;
    seen.push_back(defined(problem));
  }
  for (size_t i = 0; i < seen.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      EXPECT_FALSE(seen[i] == seen[j]) << "numbers " << i << " and " << j << " drop the same";
    }
  }
}

// The thresholds of the least and the largest probability: nothing dropped, and almost everything.
TEST_P(Dropout, ExtremeProbabilities) {
  for (const double p : {1e-6, 0.5, 1.0 - 1e-6}) {
    for (const char *schedule : {"qk:32x48:4x2", "kq:32x48:4x2"}) {
      ForwardCase problem = Dropout::problem(GetParam(), schedule);
      problem.dropoutP = p;
      problem.prepare();
      problem.run();
      ASSERT_TRUE(kept(problem) == defined(problem)) << p << " " << schedule;
      if (p == 1e-6) {
        EXPECT_EQ(kernels::dropoutThreshold(p), 65536u);
        EXPECT_EQ(problem.mismatch(), "") << schedule;
      }
    }
  }
}

// Without dropout probabilities are those of the softmax, in every element type, and lengths that no block divides.
TEST_P(Dropout, ProbabilitiesWithoutDropout) {
  for (const ElementType type : {ElementType::F32, ElementType::F16, ElementType::BF16}) {
    for (const char *schedule : {"qk:32x48:4x2", "kq:32x48:4x2"}) {
      for (const MaskKind mask : {MaskKind::None, MaskKind::GlmBreak, MaskKind::GlmPacked}) {
        ForwardCase problem = Dropout::problem(GetParam(), schedule);
        problem.key.dtype = type;
        problem.key.mask = mask;
        problem.key.dropout = false;
        problem.prepare();
        problem.run();
        ASSERT_EQ(problem.mismatch(), "") << toText(problem.key);
      }
    }
  }
}

} // namespace
