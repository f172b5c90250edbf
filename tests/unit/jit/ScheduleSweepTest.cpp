// SPDX-License-Identifier: Apache-2.0
//
// Generated kernels against the float64 oracle, called directly through the CPU kernel ABI: schedules of every shape,
// in both orientations, on all CPU levels that this machine runs.
#include "ForwardCase.h"
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <sys/mman.h>

using namespace tilewright;
using namespace tilewright::tests;
using attn::MaskKind;
using runtime::ElementType;

namespace {

kernels::Schedule schedule(const std::string &text) { return *kernels::parseSchedule(text); }

//===----------------------------------------------------------------------===//
// The sweep
//===----------------------------------------------------------------------===//

// Register tiles that divide nothing, that are larger than the tile, and that need more registers than there are;
// blocks of 16 to 128 in all proportions.
constexpr const char *kShapes[] = {"16x16:1x1",  "16x16:3x3",   "16x32:16x1",  "32x16:1x8",  "48x80:5x2", "64x64:8x2",
                                   "16x128:2x3", "128x128:4x4", "112x48:7x3", "128x16:16x8", "32x64:4x2"};

struct SweepPoint {
  CpuLevel level;
  std::string schedule;
};

std::vector<SweepPoint> sweep() {
  std::vector<SweepPoint> points;
  for (CpuLevel level : runnableLevels()) {
    for (const char *orientation : {"kq:", "qk:"}) {
      for (const char *shape : kShapes) {
        points.push_back({level, std::string(orientation) + shape});
      }
    }
  }
  return points;
}

class ScheduleSweep : public testing::TestWithParam<SweepPoint> {};

TEST_P(ScheduleSweep, MatchesTheOracle) {
  const auto &[level, text] = GetParam();
  static const unsigned headDims[][2] = {{1, 1}, {3, 5}, {17, 4}, {16, 32}, {33, 40}, {64, 24}, {20, 65}};
  const unsigned index = static_cast<unsigned>(std::hash<std::string>()(text) % 1000 + static_cast<unsigned>(level));
  // Masks, types, head dims and strides rotate with the point; on the best level each point has a second kernel.
  const unsigned variants = level == *hostCpuLevel() ? 2 : 1;
  for (unsigned i = 0; i < variants; ++i) {
    const unsigned variant = (index + i) % 2, mix = index * 2 + variant;
    const unsigned *dims = headDims[(mix * 5 + 3 * variant) % std::size(headDims)];
    runtime::KernelKey key = forwardKey(level, schedule(text), dims[0], dims[1]);
    key.mask = static_cast<MaskKind>((mix + mix / 4) % 4);
    key.dtype = variant == 0 ? ElementType::F32 : mix / 2 % 2 == 0 ? ElementType::F16 : ElementType::BF16;
    if (variant == 1) {
      key.align[mix / 4 % 4] = attn::AlignClass::Strided;
    }
    const int64_t m = key.schedule.blockM, n = key.schedule.blockN;
    const int64_t lengths[][2] = {{m + 5, 2 * n + 7}, {2 * m - 1, n / 2 + 1}, {1, n + 1}};
    for (const auto &[seqlenQ, seqlenK] : lengths) {
      ForwardCase problem;
      problem.key = key;
      problem.batch = 2;
      problem.heads = 2;
      problem.headsK = 1;
      problem.seqlenQ = seqlenQ;
      problem.seqlenK = seqlenK;
      problem.headsOutside = variant == 1;
      problem.topLeft = (mix + static_cast<unsigned>(seqlenQ)) % 2 == 0;
      problem.seed = mix + 1;
      problem.prepare();
      problem.run();
      ASSERT_EQ(problem.mismatch(), "") << toText(problem.key) << ", lengths " << seqlenQ << " and " << seqlenK;
    }
  }
}

std::string pointName(const testing::TestParamInfo<SweepPoint> &info) {
  std::string name = "v" + std::to_string(static_cast<int>(info.param.level)) + "_" + info.param.schedule;
  for (char &c : name) {
    c = c == ':' ? '_' : c;
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Levels, ScheduleSweep, testing::ValuesIn(sweep()), pointName);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ScheduleSweep);

//===----------------------------------------------------------------------===//
// One schedule, everything else
//===----------------------------------------------------------------------===//

class Levels : public testing::TestWithParam<CpuLevel> {
protected:
  runtime::KernelKey key(const char *text, unsigned headDim, unsigned headDimV, MaskKind mask) const {
    runtime::KernelKey key = forwardKey(GetParam(), schedule(text), headDim, headDimV);
    key.mask = mask;
    return key;
  }
};

INSTANTIATE_TEST_SUITE_P(Host, Levels, testing::ValuesIn(runnableLevels()),
                         [](const auto &info) { return "v" + std::to_string(static_cast<int>(info.param)); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Levels);

TEST_P(Levels, EvenLengthsRunTheCodeWithoutBounds) {
  const std::pair<const char *, MaskKind> kernels[] = {{"kq:32x48:4x2", MaskKind::None},
                                                       {"qk:32x48:4x2", MaskKind::None},
                                                       {"kq:32x48:4x2", MaskKind::Causal},
                                                       {"qk:32x48:4x2", MaskKind::GlmBreak},
                                                       {"kq:16x16:4x2", MaskKind::GlmPacked}};
  for (const auto &[text, mask] : kernels) {
    ForwardCase problem;
    problem.key = key(text, 24, 16, mask);
    problem.mayBeEven = true;
    problem.seqlenQ = 64;
    problem.seqlenK = 96;
    problem.prepare();
    ASSERT_TRUE(problem.key.evenM);
    ASSERT_EQ(problem.key.evenN, mask == MaskKind::None);
    problem.run();
    EXPECT_EQ(problem.mismatch(), "") << toText(problem.key);
  }
}

// Every length around the blocks' edges, for one kernel a mask.
TEST_P(Levels, Lengths) {
  for (MaskKind mask : {MaskKind::None, MaskKind::Causal, MaskKind::GlmBreak, MaskKind::GlmPacked}) {
    for (int64_t seqlenQ : {1, 2, 15, 16, 17, 31, 33, 48, 50}) {
      for (int64_t seqlenK : {0, 1, 15, 16, 17, 32, 33, 49}) {
        ForwardCase problem;
        problem.key = key("kq:16x16:4x1", 5, 3, mask);
        problem.batch = 1;
        problem.heads = 1;
        problem.headsK = 1;
        problem.seqlenQ = seqlenQ;
        problem.seqlenK = seqlenK;
        problem.seed = static_cast<unsigned>(seqlenQ * 100 + seqlenK);
        problem.topLeft = (seqlenQ + seqlenK) % 3 == 0;
        problem.prepare();
        problem.run();
        ASSERT_EQ(problem.mismatch(), "") << toText(problem.key) << ", lengths " << seqlenQ << " and " << seqlenK;
      }
    }
  }
}

// Head dims around the vectors of every level, and the largest: all tails. Types and orientations alternate.
TEST_P(Levels, HeadDims) {
  unsigned turn = 0;
  for (unsigned headDim : {1u, 1u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 15u, 16u, 17u, 31u, 33u, 256u}) {
    ++turn;
    ForwardCase problem;
    problem.key = key(turn % 2 == 0 ? "kq:16x16:4x2" : "qk:16x16:4x2", headDim, headDim % 13 + 1, MaskKind::Causal);
    problem.key.dtype = turn / 2 % 2 == 0 ? ElementType::F32 : ElementType::BF16;
    problem.seqlenQ = 18;
    problem.seqlenK = 20;
    problem.heads = 1;
    problem.headsK = 1;
    problem.scale = 0.1f;
    problem.prepare();
    problem.run();
    ASSERT_EQ(problem.mismatch(), "") << toText(problem.key);
  }
}

// Rows that see nothing: output 0, LSE -inf. With more rows than keys and the bottom right corner aligned, the first
// rows stand before the first key.
TEST_P(Levels, EmptyRows) {
  for (const char *text : {"kq:16x16:4x2", "qk:16x16:4x2"}) {
    ForwardCase problem;
    problem.key = key(text, 8, 8, MaskKind::Causal);
    problem.seqlenQ = 45;
    problem.seqlenK = 10;
    problem.prepare();
    problem.run();
    EXPECT_EQ(problem.mismatch(), "");
    EXPECT_EQ(problem.out.get(problem.out.offset(1, 34, 3, 7)), 0.0);
    EXPECT_EQ(problem.lse.get(problem.lse.offset(1, 3, 34, 0)), -std::numeric_limits<double>::infinity());
    EXPECT_NE(problem.out.get(problem.out.offset(1, 35, 3, 7)), 0.0);
  }
}

TEST_P(Levels, PackedPairsOfEveryKind) {
  struct Pairs {
    const char *what;
    int64_t count;
    std::vector<int32_t> values; // one batch entry: starts, then ends
  };
  const Pairs kinds[] = {
      {"none at all", 0, {}},
      {"all unused", 3, {-1, -1, -1, -1, -1, -1}},
      {"unsorted and nested", 3, {20, 2, 5, 40, 30, 9}},
      {"overlapping", 2, {3, 10, 15, 33}},
      {"adjacent", 2, {0, 17, 17, 50}},
      {"empty, and one that starts behind its end", 2, {7, 30, 7, 12}},
      {"to the end", 1, {0, 50}},
      {"outside the sequence, which counts as its end", 2, {-5, 40, 20, 2000}},
  };
  for (const Pairs &kind : kinds) {
    ForwardCase problem;
    problem.key = key("kq:16x16:4x2", 8, 8, MaskKind::GlmPacked);
    problem.batch = 1;
    problem.seqlenQ = 50;
    problem.seqlenK = 50;
    problem.pairs = kind.count;
    problem.glm = kind.values;
    problem.prepare();
    problem.run();
    EXPECT_EQ(problem.mismatch(), "") << kind.what;
  }
}

TEST_P(Levels, BreakPointsOfEveryKind) {
  for (int32_t point : {0, 1, 15, 16, 17, 40, 50, 2000, -3}) {
    ForwardCase problem;
    problem.key = key("kq:16x16:4x2", 8, 8, MaskKind::GlmBreak);
    problem.batch = 1;
    problem.seqlenQ = 30;
    problem.seqlenK = 50;
    problem.topLeft = true;
    problem.glm = {point};
    problem.prepare();
    problem.run();
    EXPECT_EQ(problem.mismatch(), "") << point;
  }
}

TEST_P(Levels, Scales) {
  for (float scale : {0.0f, 1e-6f, 1.0f, 30.0f}) {
    for (const char *text : {"kq:16x32:4x2", "qk:16x32:4x2"}) {
      ForwardCase problem;
      problem.key = key(text, 8, 8, MaskKind::Causal);
      problem.seqlenQ = 20;
      problem.seqlenK = 40;
      problem.scale = scale;
      problem.prepare();
      if (scale > 1) { // rounding of a score is multiplied by the scale: keep scores exact
        for (GuardedTensor *tensor : {&problem.q, &problem.k}) {
          for (int64_t i = 0; i < static_cast<int64_t>(tensor->memory->bytes() / sizeof(float)); ++i) {
            tensor->set(i, std::nearbyint(tensor->get(i) * 2));
          }
        }
      }
      problem.run();
      EXPECT_EQ(problem.mismatch(), "") << text << ", scale " << scale;
    }
  }
}

// A NaN in a query stays in its row; one in a key reaches the rows that see it, and no other.
TEST_P(Levels, NaNInInputs) {
  for (const char *text : {"kq:16x16:4x2", "qk:16x16:4x2"}) {
    ForwardCase problem;
    problem.key = key(text, 8, 8, MaskKind::Causal);
    problem.seqlenQ = 40;
    problem.seqlenK = 40;
    problem.prepare();
    const double nan = std::numeric_limits<double>::quiet_NaN();
    problem.q.set(problem.q.offset(0, 3, 1, 5), nan);
    problem.k.set(problem.k.offset(1, 21, 0, 2), nan);
    problem.run();
    EXPECT_EQ(problem.mismatch(), "") << text;
    EXPECT_TRUE(std::isnan(problem.out.get(problem.out.offset(0, 3, 1, 0))));
    EXPECT_FALSE(std::isnan(problem.out.get(problem.out.offset(0, 4, 1, 0))));
    EXPECT_FALSE(std::isnan(problem.out.get(problem.out.offset(1, 20, 1, 0))));
    EXPECT_TRUE(std::isnan(problem.out.get(problem.out.offset(1, 21, 1, 0))));
  }
}

// Finite scores that lie further apart than any exponent: the smaller ones weigh nothing, nothing becomes inf or NaN.
// Times a scale of 0 they are all 0, and weigh the same.
TEST_P(Levels, LargeScores) {
  for (const char *text : {"kq:16x16:4x2", "qk:16x16:4x2"}) {
    for (float scale : {1.0f, 0.0f}) {
      ForwardCase problem;
      problem.key = key(text, 4, 4, MaskKind::Causal);
      problem.seqlenQ = 20;
      problem.seqlenK = 40;
      problem.scale = scale;
      problem.prepare();
      for (int64_t j = 0; j < problem.seqlenK; ++j) {
        for (int64_t d = 0; d < 4; ++d) { // one product a score, so that no sum is rounded
          problem.k.set(problem.k.offset(0, j, 0, d), d != 0 ? 0.0 : j % 2 == 0 ? 3e37 : -3e37);
        }
      }
      problem.run();
      EXPECT_EQ(problem.mismatch(), "") << text << ", scale " << scale;
      EXPECT_TRUE(std::isfinite(problem.lse.get(problem.lse.offset(0, 0, 0, 0))));
    }
  }
}

TEST_P(Levels, LseOnlyIfWanted) {
  ForwardCase problem;
  problem.key = key("kq:16x16:4x2", 8, 8, MaskKind::None);
  problem.seqlenQ = 20;
  problem.seqlenK = 20;
  problem.writeLse = false; // its pointer is null then
  problem.prepare();
  problem.run();
  EXPECT_EQ(problem.mismatch(), "");
}

// The same numbers in every order of programs, and in every run.
TEST_P(Levels, DeterministicInAnyOrder) {
  for (const char *text : {"kq:16x32:4x2", "qk:16x32:4x2"}) {
    ForwardCase forwards, backwards;
    for (ForwardCase *problem : {&forwards, &backwards}) {
      problem->key = key(text, 24, 24, MaskKind::GlmPacked);
      problem->seqlenQ = 70;
      problem->seqlenK = 70;
      problem->prepare();
      problem->run(problem == &backwards);
    }
    EXPECT_EQ(std::memcmp(forwards.out.memory->data(), backwards.out.memory->data(), forwards.out.memory->bytes()), 0);
    EXPECT_EQ(std::memcmp(forwards.lse.memory->data(), backwards.lse.memory->data(), forwards.lse.memory->bytes()), 0);
  }
}

// Programs count row blocks fastest, then heads, then batch entries; with a mask the last row block, which has the most
// work, is program 0.
TEST_P(Levels, OrderOfPrograms) {
  auto rowsWritten = [&](MaskKind mask, int64_t program, int64_t batch, int64_t head) {
    ForwardCase problem;
    problem.key = key("kq:16x16:4x2", 4, 4, mask);
    problem.seqlenQ = 40; // three blocks, the last of 8 rows
    problem.seqlenK = 40;
    problem.prepare();
    problem.runProgram(program);
    std::vector<int64_t> rows;
    const float untouched = [] {
      float value;
      std::memset(&value, 0x5a, sizeof(value));
      return value;
    }();
    for (int64_t b = 0; b < problem.batch; ++b) {
      for (int64_t h = 0; h < problem.heads; ++h) {
        for (int64_t i = 0; i < problem.seqlenQ; ++i) {
          if (problem.out.get(problem.out.offset(b, i, h, 0)) != untouched) {
            EXPECT_EQ(b, batch);
            EXPECT_EQ(h, head);
            rows.push_back(i);
          }
        }
      }
    }
    return rows.empty() ? std::pair<int64_t, int64_t>{-1, -1} : std::pair{rows.front(), rows.back()};
  };
  using Range = std::pair<int64_t, int64_t>;
  EXPECT_EQ(rowsWritten(MaskKind::None, 0, 0, 0), (Range{0, 15}));
  EXPECT_EQ(rowsWritten(MaskKind::None, 2, 0, 0), (Range{32, 39}));
  EXPECT_EQ(rowsWritten(MaskKind::Causal, 0, 0, 0), (Range{32, 39}));
  EXPECT_EQ(rowsWritten(MaskKind::Causal, 2, 0, 0), (Range{0, 15}));
  EXPECT_EQ(rowsWritten(MaskKind::Causal, 3, 0, 1), (Range{32, 39})); // the next head
  EXPECT_EQ(rowsWritten(MaskKind::Causal, 13, 1, 0), (Range{16, 31})); // the next batch entry: 4 heads of 3 blocks on
}

// Offsets are 64 bits wide: batch entries 3 * 2^30 floats (12 GiB) apart, in memory that is only reserved.
TEST_P(Levels, StridesBeyond32Bits) {
  constexpr int64_t kStride = int64_t{3} << 30;
  ForwardCase problem;
  problem.key = key("kq:16x16:4x2", 8, 8, MaskKind::None);
  problem.seqlenQ = 17;
  problem.seqlenK = 33;
  problem.heads = 2;
  problem.headsK = 1;
  problem.prepare();
  problem.run();
  ASSERT_EQ(problem.mismatch(), "");

  GuardedTensor &k = problem.k;
  const size_t bytes = static_cast<size_t>(kStride + problem.seqlenK * k.strides[1]) * sizeof(float);
  void *reserved = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) {
    GTEST_SKIP() << "no room for " << bytes << " bytes of addresses";
  }
  auto *wide = static_cast<float *>(reserved);
  for (int64_t b = 0; b < problem.batch; ++b) {
    std::memcpy(wide + b * kStride, k.memory->data<float>() + k.offset(b, 0, 0, 0),
                static_cast<size_t>(k.offset(0, problem.seqlenK - 1, 0, k.shape[3])) * sizeof(float));
  }
  const auto *out = problem.out.memory->data<unsigned char>();
  const std::vector<unsigned char> near(out, out + problem.out.memory->bytes());
  std::memset(problem.out.memory->data(), 0x5a, problem.out.memory->bytes());
  problem.keysElsewhere = wide;
  k.strides[0] = kStride;
  problem.run();
  EXPECT_EQ(std::memcmp(out, near.data(), near.size()), 0);
  munmap(reserved, bytes);
}

} // namespace
