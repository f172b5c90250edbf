// SPDX-License-Identifier: Apache-2.0
//
// The CUDA reference's source, run on the host (CudaReferenceOnHost.h), against the float64 oracle: masks, shapes and
// types. Every other feature is tested in tests/unit/runtime/CudaReferenceTest.cpp, behind the C ABI.
#include "CudaReferenceOnHost.h"
#include "tilewright/kernels/ReferenceAttention.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <vector>

using namespace tilewright::kernels;

namespace {

struct Case {
  const char *name;
  int64_t batch, seqlenQ, seqlenK, heads, headsK, headDim, headDimV;
  ReferenceMask mask = ReferenceMask::None;
  bool topLeft = false;
  std::vector<int32_t> glm = {}; ///< (batch,) or (batch, 2, pairs)
  bool half = false;
  bool nanKey = false; ///< in the middle of the keys
};

class CudaReference : public ::testing::TestWithParam<Case> {};

/// A (b, s, h, d) view with stride gaps between all dimensions, of codes that start as NaN.
struct Codes {
  Codes(int64_t b, int64_t s, int64_t h, int64_t d)
      : shape{b, s, h, d}, strides{s * (h * d * 2 + 3) + 5, h * d * 2 + 3, d * 2, 2},
        data(static_cast<size_t>(b * strides[0] + 1), 0x7fff) {}
  uint16_t &at(int64_t b, int64_t i, int64_t h, int64_t d) {
    return data[static_cast<size_t>(b * strides[0] + i * strides[1] + h * strides[2] + d * strides[3])];
  }
  void fill(bool half, std::mt19937_64 &random) {
    for (int64_t b = 0; b < shape[0]; ++b) {
      for (int64_t i = 0; i < shape[1]; ++i) {
        for (int64_t h = 0; h < shape[2]; ++h) {
          for (int64_t d = 0; d < shape[3]; ++d) {
            const double value = static_cast<double>(random() >> 11) * 0x1p-52 - 1.0;
            at(b, i, h, d) = half ? doubleToHalf(value) : doubleToBfloat16(value);
          }
        }
      }
    }
  }
  CudaReferenceTensor cuda(bool half) {
    return {data.data(),
            {strides[0], strides[1], strides[2], strides[3]},
            half ? CudaReferenceType::Float16 : CudaReferenceType::BFloat16};
  }
  ReferenceTensor oracle(bool half) {
    return {data.data(), half ? ReferenceType::F16 : ReferenceType::BF16, strides};
  }

  std::array<int64_t, 4> shape, strides;
  std::vector<uint16_t> data;
};

} // namespace

TEST_P(CudaReference, AgreesWithTheOracle) {
  const Case &c = GetParam();
  std::mt19937_64 random(7);
  Codes q(c.batch, c.seqlenQ, c.heads, c.headDim), k(c.batch, c.seqlenK, c.headsK, c.headDim),
      v(c.batch, c.seqlenK, c.headsK, c.headDimV);
  q.fill(c.half, random);
  k.fill(c.half, random);
  v.fill(c.half, random);
  if (c.nanKey) {
    for (int64_t h = 0; h < c.headsK; ++h) {
      k.at(0, c.seqlenK / 2, h, 0) = 0x7fff;
    }
  }
  const size_t rows = static_cast<size_t>(c.batch * c.seqlenQ * c.heads);
  const size_t columns = static_cast<size_t>(c.headDimV);
  std::vector<float> out(rows * columns, -77.0f), lse(rows, -77.0f);
  std::vector<double> exactOut(rows * columns), exactLse(rows);
  const int64_t pairs = c.mask == ReferenceMask::GlmPacked ? static_cast<int64_t>(c.glm.size()) / (2 * c.batch) : 0;
  const std::array<int64_t, 4> outStrides = {c.seqlenQ * c.heads * c.headDimV, c.heads * c.headDimV, c.headDimV, 1};
  const std::array<int64_t, 4> lseStrides = {c.heads * c.seqlenQ, c.seqlenQ, 1, 0};
  const std::array<int64_t, 3> glmStrides =
      pairs != 0 ? std::array<int64_t, 3>{2 * pairs, pairs, 1} : std::array<int64_t, 3>{1, 0, 0};

  CudaReferenceArguments args{};
  args.q = q.cuda(c.half);
  args.k = k.cuda(c.half);
  args.v = v.cuda(c.half);
  args.out.data = out.data();
  args.lse.data = lse.data();
  args.glm.data = const_cast<int32_t *>(c.glm.data());
  std::copy(outStrides.begin(), outStrides.end(), args.out.strides);
  std::copy(lseStrides.begin(), lseStrides.end(), args.lse.strides);
  std::copy(glmStrides.begin(), glmStrides.end(), args.glm.strides);
  args.mask = static_cast<CudaReferenceMask>(static_cast<int>(c.mask));
  args.batch = c.batch;
  args.seqlenQ = args.totalQ = c.seqlenQ;
  args.seqlenK = args.totalK = c.seqlenK;
  args.heads = c.heads;
  args.headsK = c.headsK;
  args.headDim = c.headDim;
  args.headDimV = c.headDimV;
  args.pairs = pairs;
  args.topLeft = c.topLeft ? 1 : 0;
  args.windowLeft = args.windowRight = -1;
  args.scale = 0.37;
  runCudaReferenceOnHost(args);

  ReferenceArgs oracle;
  oracle.batch = c.batch;
  oracle.seqlenQ = c.seqlenQ;
  oracle.seqlenK = c.seqlenK;
  oracle.heads = c.heads;
  oracle.headsK = c.headsK;
  oracle.headDim = c.headDim;
  oracle.headDimV = c.headDimV;
  oracle.q = q.oracle(c.half);
  oracle.k = k.oracle(c.half);
  oracle.v = v.oracle(c.half);
  oracle.out = {exactOut.data(), ReferenceType::F64, outStrides};
  oracle.lse = {exactLse.data(), ReferenceType::F64, lseStrides};
  oracle.writeLse = true;
  oracle.mask = c.mask;
  oracle.topLeft = c.topLeft;
  oracle.scale = args.scale;
  oracle.glm = c.glm.data();
  oracle.glmPairs = pairs;
  oracle.glmStrides = glmStrides;
  referenceForward(oracle);

  const auto agree = [](float value, double exact, double tolerance) {
    return std::isfinite(exact) ? std::fabs(value - exact) <= tolerance
                                : std::isnan(exact) ? std::isnan(value) : value == exact;
  };
  for (size_t i = 0; i < out.size(); ++i) {
    ASSERT_TRUE(agree(out[i], exactOut[i], 3e-6)) << "out element " << i << ": " << out[i] << ", " << exactOut[i];
  }
  for (size_t i = 0; i < lse.size(); ++i) {
    ASSERT_TRUE(agree(lse[i], exactLse[i], 3e-6)) << "lse element " << i << ": " << lse[i] << ", " << exactLse[i];
  }
}

INSTANTIATE_TEST_SUITE_P(
    Grid, CudaReference,
    ::testing::Values(
        Case{"none", 2, 3, 130, 2, 2, 40, 40},
        Case{"half", 1, 3, 130, 2, 2, 64, 64, ReferenceMask::None, false, {}, true},
        Case{"one", 1, 1, 1, 1, 1, 1, 1}, Case{"wide", 1, 2, 129, 1, 1, 256, 256},
        Case{"unequal_dims", 1, 2, 5, 1, 1, 3, 200}, Case{"grouped", 1, 4, 20, 6, 3, 8, 8, ReferenceMask::Causal},
        Case{"no_keys", 1, 3, 0, 2, 1, 8, 8}, Case{"causal_empty_rows", 1, 9, 4, 1, 1, 8, 8, ReferenceMask::Causal},
        Case{"causal_top_left", 1, 9, 200, 1, 1, 8, 8, ReferenceMask::Causal, true},
        Case{"break_point", 2, 10, 6, 1, 1, 8, 8, ReferenceMask::GlmBreak, false, {3, 0}},
        Case{"packed", 2, 12, 12, 2, 1, 8, 8, ReferenceMask::GlmPacked, false, {0, 5, -1, 3, 9, -1, 8, 2, 4, 12, 6, 5}},
        Case{"packed_bottom_right", 1, 6, 15, 1, 1, 8, 8, ReferenceMask::GlmPacked, false, {9, 2, 14, 12}},
        Case{"nan_key", 1, 8, 8, 1, 1, 8, 8, ReferenceMask::Causal, false, {}, false, true}),
    [](const auto &info) { return std::string(info.param.name); });

TEST(CudaReferenceTypes, EveryCodeWidensExactly) {
  for (unsigned code = 0; code < 65536; ++code) {
    const auto bits = static_cast<unsigned short>(code);
    const double half = halfToDouble(bits), brain = bfloat16ToDouble(bits);
    const float wideHalf = widen(Type::Float16, bits), wideBrain = widen(Type::BFloat16, bits);
    ASSERT_TRUE(std::isnan(half) ? std::isnan(wideHalf) : wideHalf == half) << code;
    ASSERT_EQ(std::signbit(half), std::isnan(half) ? std::signbit(half) : std::signbit(wideHalf)) << code;
    ASSERT_TRUE(std::isnan(brain) ? std::isnan(wideBrain) : wideBrain == brain) << code;
  }
}
