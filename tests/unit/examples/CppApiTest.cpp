// SPDX-License-Identifier: Apache-2.0
//
// The header-only C++ API: tensors, errors, and each function against the engine.
#include <cmath>
#include <cstdint>
#include <gtest/gtest.h>
#include <limits>
#include <string>
#include <tilewright/tilewright.hpp>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using tilewright::BlockKind;
using tilewright::CausalAlign;
using tilewright::ConstTensor;
using tilewright::DType;
using tilewright::Engine;
using tilewright::Error;
using tilewright::Tensor;

// An output cannot be built from memory that must not be written.
static_assert(!std::is_constructible_v<Tensor, const float *, std::initializer_list<int64_t>>);
static_assert(!std::is_convertible_v<ConstTensor, Tensor>);
static_assert(std::is_convertible_v<Tensor, ConstTensor>);

Engine memoryEngine() { return Engine({.cacheDir = "", .numThreads = 2}); }

/// A (1, s, h, d) problem with different numbers everywhere.
struct Problem {
  Problem(int64_t s, int64_t h, int64_t d) : s(s), h(h), d(d), q(size()), k(size()), v(size()), out(size(), -1.0f) {
    for (size_t n = 0; n < q.size(); ++n) {
      q[n] = std::sin(0.7f * static_cast<float>(n));
      k[n] = std::sin(0.3f * static_cast<float>(n) + 1.0f);
      v[n] = std::sin(0.1f * static_cast<float>(n) + 2.0f);
    }
  }
  size_t size() const { return static_cast<size_t>(s * h * d); }
  Tensor view(std::vector<float> &x) const { return Tensor(x.data(), {1, s, h, d}); }

  int64_t s, h, d;
  std::vector<float> q, k, v, out;
};

TEST(CppTensor, IsContiguousUnlessToldOtherwise) {
  float data[24];
  const Tensor tensor(data, {2, 3, 4});
  EXPECT_EQ(tensor.rank(), 3);
  EXPECT_EQ(tensor.raw().dtype, TW_FLOAT32);
  EXPECT_EQ(tensor.stride(0), 12);
  EXPECT_EQ(tensor.stride(1), 4);
  EXPECT_EQ(tensor.stride(2), 1);
  const Tensor strided(data, {2, 3}, {0, -2});
  EXPECT_EQ(strided.stride(0), 0);
  EXPECT_EQ(strided.stride(1), -2);
  EXPECT_FALSE(Tensor().given());
}

TEST(CppTensor, TransposedExchangesShapeAndStride) {
  float data[120];
  const Tensor bhsd(data, {1, 2, 3, 4});
  const Tensor bshd = bhsd.transposed(1, 2);
  EXPECT_EQ(bshd.shape(1), 3);
  EXPECT_EQ(bshd.shape(2), 2);
  EXPECT_EQ(bshd.stride(1), 4);
  EXPECT_EQ(bshd.stride(2), 12);
}

template <typename Function> Error errorOf(Function &&function) {
  try {
    function();
  } catch (const Error &error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(TW_OK, "");
}

TEST(CppTensor, BadShapesNameTheArgument) {
  float data[4];
  EXPECT_EQ(errorOf([&] { Tensor(data, {1, 1, 1, 1, 4}); }).argument(), "shape");
  EXPECT_EQ(errorOf([&] { Tensor(data, {2, 2}, {1}); }).argument(), "strides");
  EXPECT_EQ(errorOf([&] { Tensor(data, {2, 2}).transposed(0, 2); }).argument(), "dim");
  EXPECT_EQ(errorOf([&] { Tensor(data, {2, 2}).shape(-1); }).status(), TW_INVALID_ARGUMENT);
}

TEST(CppForward, AgreesWithTheReferenceInBothLayouts) {
  const Engine engine = memoryEngine();
  Problem problem(37, 2, 24);
  std::vector<float> lse(2 * 37);
  std::vector<double> exact(problem.size()), exactLse(2 * 37);
  // The same memory read as (b, h, s, d): 2 * 37 * 24 numbers either way.
  for (bool bhsd : {false, true}) {
    auto view = [&](auto &x) {
      return bhsd ? Tensor(x.data(), {1, 2, 37, 24}).transposed(1, 2) : Tensor(x.data(), {1, 37, 2, 24});
    };
    const std::vector<int32_t> pairs = {30, 0, /*ends*/ 37, 20};
    const ConstTensor glm(pairs.data(), {1, 2, 2});
    tilewright::forward(view(problem.q), view(problem.k), view(problem.v), view(problem.out),
                        {.causal = true,
                         .glmMask = glm,
                         .softmaxScale = 0.5,
                         .lse = Tensor(lse.data(), {1, 2, 37}),
                         .engine = &engine});
    tilewright::referenceForward(
        view(problem.q), view(problem.k), view(problem.v), view(exact),
        {.causal = true, .glmMask = glm, .softmaxScale = 0.5, .lse = Tensor(exactLse.data(), {1, 2, 37})});
    for (size_t n = 0; n < exact.size(); ++n) {
      ASSERT_NEAR(problem.out[n], exact[n], 2e-6) << n;
    }
    for (size_t n = 0; n < exactLse.size(); ++n) {
      ASSERT_NEAR(lse[n], exactLse[n], 1e-5) << n;
    }
  }
}

TEST(CppForward, ScaleZeroIsNotUnset) {
  const Engine engine = memoryEngine();
  Problem problem(5, 1, 4);
  tilewright::forward(problem.view(problem.q), problem.view(problem.k), problem.view(problem.v),
                      problem.view(problem.out), {.softmaxScale = 0.0, .engine = &engine});
  const float mean = (problem.v[0] + problem.v[4] + problem.v[8] + problem.v[12] + problem.v[16]) / 5;
  EXPECT_NEAR(problem.out[0], mean, 1e-6);
}

TEST(CppForward, ErrorsNameTheArgumentAndLeaveTheOutput) {
  const Engine engine = memoryEngine();
  Problem problem(8, 1, 4);
  const std::vector<float> before = problem.out;
  const int32_t point[] = {3};
  // GLM needs causal.
  const Error glm = errorOf([&] {
    tilewright::forward(problem.view(problem.q), problem.view(problem.k), problem.view(problem.v),
                        problem.view(problem.out), {.glmMask = ConstTensor(point, {1}), .engine = &engine});
  });
  EXPECT_EQ(glm.status(), TW_INVALID_ARGUMENT);
  EXPECT_EQ(glm.argument(), "glm_mask");
  EXPECT_NE(std::string(glm.what()).find("causal"), std::string::npos) << glm.what();
  const Error scale = errorOf([&] {
    tilewright::forward(problem.view(problem.q), problem.view(problem.k), problem.view(problem.v),
                        problem.view(problem.out), {.softmaxScale = -1.0, .engine = &engine});
  });
  EXPECT_EQ(scale.argument(), "softmax_scale");
  EXPECT_EQ(problem.out, before);
}

TEST(CppEngine, CountsAndNamesItsKernels) {
  const Engine engine = memoryEngine();
  Problem problem(16, 1, 8);
  for (int call = 0; call < 3; ++call) {
    tilewright::forward(problem.view(problem.q), problem.view(problem.k), problem.view(problem.v),
                        problem.view(problem.out), {.engine = &engine});
  }
  const TwStats stats = engine.stats();
  EXPECT_EQ(stats.compiles, 1u);
  EXPECT_EQ(stats.memory_hits, 2u);
  EXPECT_EQ(stats.disk_hits, 0u);
  EXPECT_NE(engine.events().find("\"compiled\""), std::string::npos) << engine.events();
  EXPECT_NE(tilewright::info(&engine).find(tilewright::version()), std::string::npos);
}

TEST(CppEngine, BadOptionsAreErrors) {
  EXPECT_EQ(errorOf([] { Engine({.cacheDir = "", .cpuLevel = "pentium"}); }).argument(), "cpu_level");
  EXPECT_EQ(errorOf([] { Engine({.cacheDir = "", .schedule = "fast"}); }).argument(), "schedule");
}

TEST(CppPlan, NeedsNoData) {
  const Engine engine = memoryEngine();
  const Tensor tensor(nullptr, DType::BFloat16, {1, 100, 2, 72});
  const int32_t pairs[] = {0, 10};
  const std::string steps = tilewright::plan(
      tensor, tensor, tensor, tensor, {.causal = true, .glmMask = ConstTensor(pairs, {1, 2, 1}), .engine = &engine});
  EXPECT_NE(steps.find("row_limits target="), std::string::npos) << steps;
  EXPECT_NE(steps.find("headDim=72"), std::string::npos) << steps;
  EXPECT_EQ(engine.stats().compiles, 0u);
}

TEST(CppBlockMap, MarksBlocksOfACausalMask) {
  const Engine engine = Engine({.cacheDir = "", .numThreads = 1, .schedule = "kq:64x32:8x2"});
  const Tensor tensor(nullptr, DType::Float32, {2, 130, 1, 16});
  const tilewright::BlockMap map =
      tilewright::blockMap(tensor, tensor, tensor, tensor, {.causal = true, .engine = &engine});
  ASSERT_EQ(map.blockM, 64);
  ASSERT_EQ(map.blockN, 32);
  ASSERT_EQ(map.rowBlocks, 3);
  ASSERT_EQ(map.keyBlocks, 5);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t r = 0; r < 3; ++r) {
      for (int64_t c = 0; c < 5; ++c) {
        const int64_t firstRow = 64 * r, lastRow = std::min<int64_t>(64 * r + 63, 129);
        const int64_t firstKey = 32 * c, lastKey = 32 * c + 31;
        const BlockKind expected = firstKey > lastRow    ? BlockKind::Skipped
                                   : lastKey <= firstRow ? BlockKind::Full
                                                         : BlockKind::Partial;
        EXPECT_EQ(map.at(b, r, c), expected) << r << ", " << c;
      }
    }
  }
}

TEST(CppCompile, KeysAreCanonicalAndCompile) {
  const Engine engine = memoryEngine();
  const Tensor tensor(nullptr, DType::Float32, {1, 100, 2, 40});
  const std::string steps = tilewright::plan(tensor, tensor, tensor, tensor, {.engine = &engine});
  const size_t begin = steps.find("forward target=");
  ASSERT_NE(begin, std::string::npos) << steps;
  const std::string text = steps.substr(begin, steps.find('"', begin) - begin);
  const tilewright::Key key = tilewright::canonicalKey(text);
  EXPECT_EQ(key.text, text);
  EXPECT_EQ(key.digest.size(), 64u);
  const tilewright::Compilation attn = tilewright::compile(text, "attn");
  EXPECT_NE(attn.output.find("attn.forward"), std::string::npos) << attn.output;
  EXPECT_EQ(tilewright::compile(text, "obj").output.substr(0, 4), std::string("\x7f"
                                                                              "ELF"));
  EXPECT_EQ(errorOf([&] { tilewright::compile(text, "ptx"); }).argument(), "stage");
  EXPECT_EQ(errorOf([] { tilewright::canonicalKey("backward"); }).argument(), "key");
}

TEST(CppCuda, MemoryGoesThereAndBackOrTheErrorSaysWhyNot) {
  try {
    tilewright::CudaMemory memory(0, sizeof(int64_t));
    const int64_t sent = 42;
    int64_t received = 0;
    memory.upload(&sent);
    const tilewright::CudaMemory moved = std::move(memory);
    moved.download(&received);
    EXPECT_EQ(received, sent);
    EXPECT_EQ(memory.data(), nullptr);
  } catch (const tilewright::Error &error) {
    EXPECT_TRUE(error.status() == TW_UNSUPPORTED || error.argument() == "device") << error.what();
  }
}

TEST(CppCuda, EventsAreInOrderOrTheErrorSaysWhyNot) {
  try {
    tilewright::CudaEvent start(0), made(0);
    tilewright::CudaEvent end = std::move(made);
    start.record();
    end.record();
    EXPECT_GE(end.millisecondsSince(start), 0.0);
  } catch (const tilewright::Error &error) {
    EXPECT_TRUE(error.status() == TW_UNSUPPORTED || error.argument() == "device") << error.what();
  }
}

TEST(CppCuda, TheReferenceRefusesCpuTensors) {
  std::vector<float> data(8, 1.0f);
  const Tensor tensor(data.data(), {1, 1, 1, 8});
  EXPECT_EQ(errorOf([&] { tilewright::cudaReferenceForward(tensor, tensor, tensor, tensor); }).argument(), "q");
}

TEST(CppFeatures, ForwardAndReferenceAgree) {
  // One head, keys of zero: a row's output is the mean of the values that it sees.
  const int64_t s = 4;
  std::vector<float> q(s, 1.0f), k(s, 0.0f), v = {1, 2, 4, 8}, out(s, -1.0f), probs(s * s, -1.0f);
  const Tensor qView(q.data(), {1, s, 1, 1}), kView(k.data(), {1, s, 1, 1}), vView(v.data(), {1, s, 1, 1});
  const Tensor outView(out.data(), {1, s, 1, 1});
  const bool real[] = {true, true, true, false};
  const int32_t documents[] = {0, 0, 1, 1};
  tilewright::ForwardOptions options;
  options.keyPaddingMask = {real, {1, s}};
  options.documentIds = {documents, {1, s}};
  options.probs = Tensor(probs.data(), {1, 1, s, s});
  tilewright::referenceForward(qView, kView, vView, outView, options);
  EXPECT_EQ(out, (std::vector<float>{1.5f, 1.5f, 4.0f, 4.0f}));
  EXPECT_EQ(probs, (std::vector<float>{.5f, .5f, 0, 0, .5f, .5f, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0}));
  options = {};
  options.window = {1, 0};
  tilewright::referenceForward(qView, kView, vView, outView, options);
  EXPECT_EQ(out, (std::vector<float>{1.0f, 1.5f, 3.0f, 6.0f}));

  // Two sequences in one row of keys.
  const int32_t boundaries[] = {0, 1, 4};
  options = {};
  options.cuSeqlensQ = options.cuSeqlensK = {boundaries, {3}};
  options.maxSeqlenQ = options.maxSeqlenK = 3;
  tilewright::referenceForward(Tensor(q.data(), {s, 1, 1}), Tensor(k.data(), {s, 1, 1}), Tensor(v.data(), {s, 1, 1}),
                               Tensor(out.data(), {s, 1, 1}), options);
  EXPECT_FLOAT_EQ(out[0], 1.0f);
  EXPECT_FLOAT_EQ(out[3], 14.0f / 3);

  // What kernels serve: they and the reference agree.
  const float bias[] = {0.0f, 1.0f, -1.0f, 2.0f};
  options = {};
  options.bias = {bias, {1, 1, 1, s}};
  options.softcap = 20;
  std::vector<float> exact(s);
  tilewright::forward(qView, kView, vView, outView, options);
  tilewright::referenceForward(qView, kView, vView, Tensor(exact.data(), {1, s, 1, 1}), options);
  EXPECT_NE(out[0], 3.75f) << "the bias moves the mean";
  for (int64_t i = 0; i < s; ++i) {
    EXPECT_NEAR(out[i], exact[i], 1e-5f);
  }

  // The same entries are dropped, by numbers of the call and by numbers in memory.
  std::vector<float> weights(s * s), exactWeights(s * s);
  options = {};
  options.dropoutP = 0.5;
  options.dropoutSeed = 11;
  options.dropoutOffset = 3;
  options.probs = {weights.data(), {1, 1, s, s}};
  tilewright::forward(qView, kView, vView, outView, options);
  options.probs = {exactWeights.data(), {1, 1, s, s}};
  tilewright::referenceForward(qView, kView, vView, Tensor(exact.data(), {1, s, 1, 1}), options);
  for (int64_t i = 0; i < s; ++i) {
    EXPECT_NEAR(out[i], exact[i], 1e-5f);
  }
  for (int64_t i = 0; i < s * s; ++i) {
    EXPECT_NEAR(weights[i], exactWeights[i], 1e-6f);
  }

  options = {};
  options.dropoutP = 1.5;
  const Error refused = errorOf([&] { tilewright::forward(qView, kView, vView, outView, options); });
  EXPECT_EQ(refused.status(), TW_INVALID_ARGUMENT);
  EXPECT_EQ(refused.argument(), "dropout_p");
}

TEST(CppInfo, SupportMatrixIsATable) {
  EXPECT_NE(tilewright::supportMatrix().find('|'), std::string::npos);
  EXPECT_FALSE(tilewright::buildId().empty());
}

} // namespace
