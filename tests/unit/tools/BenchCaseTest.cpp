// SPDX-License-Identifier: Apache-2.0
//
// What `tilewright bench` times and checks, with functions in the kernels' place: the float64 reference, which is right,
// and ones that leave something out.
#include "BenchCase.h"

#include <algorithm>
#include <gmock/gmock.h>

using namespace tilewright;
using namespace tilewright::cli;
using ::testing::HasSubstr;

namespace {

const BenchShape kShape = {DType::Float32, 2, 21, 4, 2, 8, 5};

BenchPlace placeOf(ForwardFunction forward) {
  static const Engine &engine = *new Engine(EngineOptions{.cacheDir = ""});
  return {&engine, std::nullopt, std::move(forward)};
}

BenchResult run(ForwardFunction forward, MaskKind kind = MaskKind::None, int repeats = 3) {
  const BenchPlace place = placeOf(std::move(forward));
  BenchInputs inputs(place, kShape, 1);
  return runBench(place, inputs, {kind, 4}, repeats);
}

std::string errorOf(ForwardFunction forward) {
  try {
    run(std::move(forward));
  } catch (const std::runtime_error &error) {
    return error.what();
  }
  return "";
}

} // namespace

TEST(BenchCase, CountsVisiblePairs) {
  const int64_t s = 21, b = 3;
  EXPECT_EQ((BenchMask{MaskKind::None}.visiblePairs(b, s)), b * s * s);
  EXPECT_EQ((BenchMask{MaskKind::Causal}.visiblePairs(b, s)), b * s * (s + 1) / 2);
  // The break point is 10: row r of the first ten sees 10 keys, not r + 1.
  EXPECT_EQ((BenchMask{MaskKind::GlmBreak}.visiblePairs(b, s)), b * (s * (s + 1) / 2 + 9 * 10 / 2));
  // Four samples, [0, 5), [5, 10), [10, 15), [15, 21), with contexts of 2, 2, 2 and 3.
  EXPECT_EQ((BenchMask{MaskKind::GlmPacked, 4}.visiblePairs(b, s)), b * (s * (s + 1) / 2 + 1 + 1 + 1 + 3));
  EXPECT_EQ((BenchMask{MaskKind::GlmPacked, 4}.numbers(2, s)),
            (std::vector<int32_t>{0, 5, 10, 15, 2, 7, 12, 18, 0, 5, 10, 15, 2, 7, 12, 18}));
}

TEST(BenchCase, TimesEveryMaskOfARightFunction) {
  for (const MaskKind kind : {MaskKind::None, MaskKind::Causal, MaskKind::GlmBreak, MaskKind::GlmPacked}) {
    int calls = 0;
    const BenchResult result = run(
        [&](const ConstTensor &q, const ConstTensor &k, const ConstTensor &v, const Tensor &out,
            const ForwardOptions &options) {
          ++calls;
          EXPECT_EQ(options.causal, kind != MaskKind::None);
          EXPECT_EQ(options.glmMask.rank(), kind == MaskKind::GlmBreak ? 1 : kind == MaskKind::GlmPacked ? 3 : 0);
          referenceForward(q, k, v, out, options);
        },
        kind, 4);
    EXPECT_EQ(calls, 1 + 2 + 4) << "one is checked, two warm up";
    ASSERT_EQ(result.milliseconds.size(), 4u);
    EXPECT_TRUE(std::is_sorted(result.milliseconds.begin(), result.milliseconds.end()));
    EXPECT_DOUBLE_EQ(result.median(), (result.milliseconds[1] + result.milliseconds[2]) / 2);
    const double pairs = static_cast<double>(BenchMask{kind, 4}.visiblePairs(kShape.batch, kShape.seqlen));
    EXPECT_DOUBLE_EQ(result.tflops, 2 * (8 + 5) * 4 * pairs / result.median() / 1e9);
    EXPECT_LE(result.error, result.allowed);
    EXPECT_LT(result.allowed, 1e-4);
    EXPECT_THAT(result.key, HasSubstr("forward target=cpu:"));
  }
}

TEST(BenchCase, AnOutputThatIsNotWrittenIsNotTimed) {
  EXPECT_THAT(errorOf([](auto &&...) {}), HasSubstr("f32, b 2, s 21, h 4/2, d 8/5: element 0 of 840 of the output is "
                                                    "not finite, or was not written"));
}

TEST(BenchCase, AWrongRowIsNotTimed) {
  for (const int64_t row : {int64_t{0}, kShape.seqlen - 1}) {
    for (const int64_t head : {int64_t{0}, kShape.heads - 1}) {
      for (const int64_t b : {int64_t{0}, kShape.batch - 1}) {
        const std::string message = errorOf([&](const ConstTensor &q, const ConstTensor &k, const ConstTensor &v,
                                                const Tensor &out, const ForwardOptions &options) {
          referenceForward(q, k, v, out, options);
          static_cast<float *>(out.raw().data)[((b * kShape.seqlen + row) * kShape.heads + head) * 5] += 0.01f;
        });
        EXPECT_THAT(message, HasSubstr("the result is wrong, and its time would mean nothing: error 1.00e-02"))
            << row << ' ' << head << ' ' << b;
      }
    }
  }
}

TEST(BenchCase, InputsAreRandomNumbersOfTheSeed) {
  std::vector<float> all;
  for (const uint64_t seed : {1, 1, 2}) {
    const BenchPlace place = placeOf([&, n = 0](const ConstTensor &q, const ConstTensor &k, const ConstTensor &v,
                                                const Tensor &out, const ForwardOptions &options) mutable {
      if (n++ == 0) {
        const auto *first = static_cast<const float *>(q.raw().data);
        all.insert(all.end(), first, first + 8);
        EXPECT_NE(first[0], static_cast<const float *>(k.raw().data)[0]);
        EXPECT_NE(first[0], static_cast<const float *>(v.raw().data)[0]);
      }
      referenceForward(q, k, v, out, options);
    });
    BenchInputs inputs(place, kShape, seed);
    runBench(place, inputs, {MaskKind::None}, 1);
  }
  ASSERT_EQ(all.size(), 24u);
  EXPECT_TRUE(std::equal(all.begin(), all.begin() + 8, all.begin() + 8)) << "the same seed";
  EXPECT_FALSE(std::equal(all.begin(), all.begin() + 8, all.begin() + 16)) << "another one";
  EXPECT_NE(all[0], all[1]);
}
