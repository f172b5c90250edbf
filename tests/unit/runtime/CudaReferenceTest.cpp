// SPDX-License-Identifier: Apache-2.0
//
// The CUDA reference behind the C ABI, every feature of it, without a GPU: the fake driver hands the launch's arguments
// to the kernel's source, compiled as C++ (../reference/CudaReferenceOnHost.h), and its results are held against
// tw_reference_forward of the same call.
#include "../reference/CudaReferenceOnHost.h"
#include "FakeDriver.h"
#include "TestSupport.h"
#include "cuda/CudaReference.h"
#include "tilewright/kernels/ReferenceAttention.h"

#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <limits>
#include <random>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::tests;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// An NVRTC that compiles anything to "cubin".
// clang-format off
const cuda::NvrtcApi kNvrtc = {
    [](int *major, int *minor) { *major = 12; *minor = 9; return 0; },
    [](int) { return ""; },
    [](int *count) { *count = 1; return 0; },
    [](int *archs) { *archs = 90; return 0; },
    [](cuda::NvrtcProgram *, const char *, const char *, int, const char *const *, const char *const *) { return 0; },
    [](cuda::NvrtcProgram *) { return 0; },
    [](cuda::NvrtcProgram, int, const char *const *) { return 0; },
    [](cuda::NvrtcProgram, size_t *bytes) { *bytes = 1; return 0; },
    [](cuda::NvrtcProgram, char *log) { *log = 0; return 0; },
    [](cuda::NvrtcProgram, size_t *bytes) { *bytes = 6; return 0; },
    [](cuda::NvrtcProgram, char *ptx) { std::memcpy(ptx, "cubin", 6); return 0; },
    [](cuda::NvrtcProgram, size_t *bytes) { *bytes = 6; return 0; },
    [](cuda::NvrtcProgram, char *cubin) { std::memcpy(cubin, "cubin", 6); return 0; },
};
// clang-format on

double uniform(std::mt19937_64 &random) { return static_cast<double>(random() >> 11) * 0x1p-52 - 1.0; }

/// Sets every element of a contiguous or strided tensor.
void fill(const TwTensor &tensor, const std::function<double()> &value) {
  int64_t shape[4] = {1, 1, 1, 1}, strides[4] = {};
  std::copy_n(tensor.shape, tensor.rank, shape);
  std::copy_n(tensor.strides, tensor.rank, strides);
  for (int64_t a = 0; a < shape[0]; ++a) {
    for (int64_t b = 0; b < shape[1]; ++b) {
      for (int64_t c = 0; c < shape[2]; ++c) {
        for (int64_t d = 0; d < shape[3]; ++d) {
          const int64_t offset = a * strides[0] + b * strides[1] + c * strides[2] + d * strides[3];
          const double number = value();
          switch (tensor.dtype) {
          case TW_FLOAT16:
            static_cast<uint16_t *>(tensor.data)[offset] = kernels::doubleToHalf(number);
            break;
          case TW_BFLOAT16:
            static_cast<uint16_t *>(tensor.data)[offset] = kernels::doubleToBfloat16(number);
            break;
          case TW_BOOL:
            static_cast<uint8_t *>(tensor.data)[offset] = number != 0.0;
            break;
          case TW_INT32:
            static_cast<int32_t *>(tensor.data)[offset] = static_cast<int32_t>(number);
            break;
          default:
            static_cast<float *>(tensor.data)[offset] = static_cast<float>(number);
          }
        }
      }
    }
  }
}

/// A call in bfloat16, with random q, k and v.
struct FeatureCall : Call {
  explicit FeatureCall(const Sizes &sizes) : Call(sizes) {
    withLse();
    for (TwTensor *tensor : {&args.q, &args.k, &args.v}) {
      fill(*tensor, number());
    }
  }
  std::function<double()> number() {
    return [this] { return uniform(random); };
  }
  /// Numbers, and every fifth or so the other one.
  std::function<double()> numbersOr(double other) {
    return [this, other] { return random() % 5 == 0 ? other : uniform(random); };
  }
  std::function<double()> flags() {
    return [this] { return random() % 3 == 0 ? 0.0 : 1.0; };
  }
  TwTensor filled(TwDType dtype, std::initializer_list<int64_t> shape, const std::function<double()> &value) {
    TwTensor result = tensor(dtype, shape, 0);
    fill(result, value);
    return result;
  }
  /// What seqlen_q, seqlen_k and batch become in a batch of sequences.
  void pack(const std::vector<int32_t> &cuQ, const std::vector<int32_t> &cuK, int64_t maxQ, int64_t maxK) {
    const int64_t totalQ = cuQ.back(), totalK = cuK.back();
    args.cu_seqlens_q = integers({static_cast<int64_t>(cuQ.size())}, cuQ);
    args.cu_seqlens_k = integers({static_cast<int64_t>(cuK.size())}, cuK);
    args.max_seqlen_q = maxQ;
    args.max_seqlen_k = maxK;
    args.q = filled(sizes.dtype, {totalQ, sizes.heads, sizes.headDim}, number());
    args.k = filled(sizes.dtype, {totalK, sizes.headsK, sizes.headDim}, number());
    args.v = filled(sizes.dtype, {totalK, sizes.headsK, sizes.headDimV}, number());
    args.out = tensor(sizes.dtype, {totalQ, sizes.heads, sizes.headDimV}, 0x7f);
    args.lse = tensor(TW_FLOAT32, {sizes.heads, totalQ}, 0x7f);
  }

  std::mt19937_64 random{11};
};

struct FeatureCase {
  const char *name;
  std::function<void(FeatureCall &)> ask;
  Sizes sizes = {2, 9, 37, 2, 1, 8, 6, TW_BFLOAT16};
};

void PrintTo(const FeatureCase &c, std::ostream *out) { *out << c.name; }

class CudaReferenceFeatures : public ::testing::TestWithParam<FeatureCase> {
protected:
  void SetUp() override {
    cuda::setNvrtcForTesting(&kNvrtc);
    cuda::forgetReferencesForTesting();
  }
  void TearDown() override {
    cuda::setNvrtcForTesting(nullptr);
    cuda::forgetReferencesForTesting();
  }
};

void expectEqualRows(const char *name, const TwTensor &actual, const TwTensor &exact) {
  int64_t count = 1;
  for (int32_t i = 0; i < exact.rank; ++i) {
    count *= exact.shape[i];
  }
  for (int64_t i = 0; i < count; ++i) {
    const double value = static_cast<const float *>(actual.data)[i];
    const double wanted = static_cast<const double *>(exact.data)[i];
    const bool agree = std::isfinite(wanted) ? std::fabs(value - wanted) <= 3e-6 * std::max(1.0, std::fabs(wanted))
                       : std::isnan(wanted)  ? std::isnan(value)
                                             : value == wanted;
    ASSERT_TRUE(agree) << name << " element " << i << ": " << value << ", exactly " << wanted;
  }
}

} // namespace

TEST_P(CudaReferenceFeatures, AgreeWithTheOracle) {
  FeatureCall call(GetParam().sizes);
  GetParam().ask(call);
  TwForwardArgs exact = call.args, device = call.args;
  const bool varlen = call.args.cu_seqlens_q.rank != 0;
  auto outputs = [&](TwForwardArgs &args, TwDType type) {
    const int64_t *shape = args.out.shape;
    args.out = varlen ? call.tensor(type, {shape[0], shape[1], shape[2]}, 0x7f)
                      : call.tensor(type, {shape[0], shape[1], shape[2], shape[3]}, 0x7f);
    const int64_t *lse = args.lse.shape;
    args.lse = varlen ? call.tensor(type, {lse[0], lse[1]}, 0x7f) : call.tensor(type, {lse[0], lse[1], lse[2]}, 0x7f);
    const int64_t batch = varlen ? args.cu_seqlens_q.shape[0] - 1 : args.q.shape[0];
    args.probs = call.tensor(type,
                             {batch, call.sizes.heads, varlen ? args.max_seqlen_q : args.q.shape[1],
                              varlen ? args.max_seqlen_k : args.k.shape[1]},
                             0x7f);
  };
  outputs(exact, TW_FLOAT64);
  outputs(device, TW_FLOAT32);
  ASSERT_EQ(tw_reference_forward(&exact), TW_OK) << tw_last_error();

  for (TwTensor *tensor :
       {&device.q, &device.k, &device.v, &device.out, &device.lse, &device.glm_mask, &device.bias, &device.attn_mask,
        &device.key_padding_mask, &device.alibi_slopes, &device.document_ids, &device.rng_state, &device.probs,
        &device.cu_seqlens_q, &device.cu_seqlens_k, &device.seqused_k}) {
    tensor->device = TW_DEVICE_CUDA;
  }
  FakeDriver driver;
  driver.onLaunch = [](void **parameters) {
    runCudaReferenceOnHost(*static_cast<const kernels::CudaReferenceArguments *>(parameters[0]));
  };
  ASSERT_EQ(tw_cuda_reference_forward(&device), TW_OK) << tw_last_error();
  ASSERT_EQ(driver.launches.size(), 1u);
  expectEqualRows("out", device.out, exact.out);
  expectEqualRows("lse", device.lse, exact.lse);
  expectEqualRows("probs", device.probs, exact.probs);
}

INSTANTIATE_TEST_SUITE_P(
    Each, CudaReferenceFeatures,
    ::testing::Values(
        FeatureCase{"plain", [](FeatureCall &) {}},
        FeatureCase{"bias", [](FeatureCall &c) { c.args.bias = c.filled(TW_BFLOAT16, {2, 2, 9, 37}, c.number()); }},
        FeatureCase{"bias_f32_by_head_and_key",
                    [](FeatureCall &c) { c.args.bias = c.filled(TW_FLOAT32, {1, 2, 1, 37}, c.numbersOr(-kInfinity)); }},
        FeatureCase{"bias_transposed",
                    [](FeatureCall &c) {
                      c.args.bias = c.filled(TW_FLOAT32, {2, 1, 37, 9}, c.number());
                      std::swap(c.args.bias.shape[2], c.args.bias.shape[3]);
                      std::swap(c.args.bias.strides[2], c.args.bias.strides[3]);
                    }},
        FeatureCase{"bias_f16",
                    [](FeatureCall &c) { c.args.bias = c.filled(TW_FLOAT16, {1, 1, 9, 37}, c.number()); },
                    {2, 9, 37, 2, 1, 8, 6, TW_FLOAT16}},
        FeatureCase{"lowest",
                    [](FeatureCall &c) {
                      const double lowest = -static_cast<double>(std::numeric_limits<float>::max());
                      c.args.bias = c.filled(TW_FLOAT32, {1, 1, 1, 1}, [=] { return lowest; });
                      c.args.causal = 1;
                    }},
        FeatureCase{"additive_mask",
                    [](FeatureCall &c) {
                      c.args.bias = c.filled(TW_FLOAT32, {1, 2, 9, 1}, c.number());
                      c.args.attn_mask = c.filled(TW_BFLOAT16, {2, 1, 9, 37}, c.numbersOr(-kInfinity));
                    }},
        FeatureCase{"mask_of_infinity",
                    [](FeatureCall &c) { c.args.attn_mask = c.filled(TW_FLOAT32, {2, 1, 9, 1}, [&c] {
                                           return c.random() % 2 == 0 ? 0.0 : -double(kInfinity);
                                         }); }},
        FeatureCase{"bias_of_nan_and_infinity",
                    [](FeatureCall &c) {
                      c.args.bias = c.filled(TW_FLOAT32, {1, 1, 9, 37}, [&c] {
                        const uint64_t dice = c.random() % 60;
                        return dice == 0 ? double(kInfinity) : dice == 1 ? std::nan("") : 0.5;
                      });
                    }},
        FeatureCase{"bool_mask",
                    [](FeatureCall &c) { c.args.attn_mask = c.filled(TW_BOOL, {2, 2, 9, 37}, c.flags()); }},
        FeatureCase{"bool_mask_of_nothing",
                    [](FeatureCall &c) { c.args.attn_mask = c.filled(TW_BOOL, {1, 1, 9, 1}, c.flags()); }},
        FeatureCase{"key_padding",
                    [](FeatureCall &c) { c.args.key_padding_mask = c.filled(TW_BOOL, {2, 37}, c.flags()); }},
        FeatureCase{"alibi", [](FeatureCall &c) { c.args.alibi_slopes = c.filled(TW_FLOAT32, {2}, c.number()); }},
        FeatureCase{"alibi_by_batch_top_left",
                    [](FeatureCall &c) {
                      c.args.alibi_slopes = c.filled(TW_FLOAT32, {2, 2}, c.number());
                      c.args.causal_align = TW_ALIGN_TOP_LEFT;
                    }},
        FeatureCase{"documents",
                    [](FeatureCall &c) {
                      std::vector<int32_t> ids(2 * 37, -1);
                      for (int j = 0; j < 37; ++j) {
                        ids[static_cast<size_t>(j)] = j / 9;
                        ids[static_cast<size_t>(37 + j)] = j < 30 ? j / 21 * 5 : -1;
                      }
                      c.args.document_ids = c.integers({2, 37}, ids);
                    }},
        FeatureCase{"documents_of_more_rows_than_keys",
                    [](FeatureCall &c) { c.args.document_ids = c.integers({1, 5}, {0, 0, 1, 1, 1}); },
                    {1, 9, 5, 2, 1, 8, 8, TW_BFLOAT16}},
        FeatureCase{"window",
                    [](FeatureCall &c) {
                      c.args.has_window = 1;
                      c.args.window_left = 3;
                      c.args.window_right = 2;
                    }},
        FeatureCase{"window_left_of_glm",
                    [](FeatureCall &c) {
                      c.withBreaks({9, 30});
                      c.args.has_window = 1;
                      c.args.window_left = 4;
                      c.args.window_right = 11;
                    }},
        FeatureCase{"window_right",
                    [](FeatureCall &c) {
                      c.args.has_window = 1;
                      c.args.window_left = -1;
                      c.args.window_right = 1;
                      c.args.causal_align = TW_ALIGN_TOP_LEFT;
                    }},
        FeatureCase{"softcap", [](FeatureCall &c) { c.args.softcap = 0.25; }},
        FeatureCase{"dropout",
                    [](FeatureCall &c) {
                      c.args.dropout_p = 0.3;
                      c.args.dropout_seed = 0x123456789abcdef0u;
                      c.args.dropout_offset = 0xfedcba9876543210u;
                    },
                    {2, 19, 70, 2, 1, 8, 6, TW_BFLOAT16}},
        FeatureCase{"dropout_rng_state",
                    [](FeatureCall &c) {
                      c.args.dropout_p = 0.999999;
                      c.args.rng_state = c.tensor(TW_INT64, {2}, 0x5a);
                    }},
        FeatureCase{"varlen",
                    [](FeatureCall &c) {
                      c.pack({0, 5, 5, 14}, {0, 9, 16, 16}, 12, 11);
                      c.args.causal = 1;
                      c.args.dropout_p = 0.1;
                      c.args.alibi_slopes = c.filled(TW_FLOAT32, {3, 2}, c.number());
                      c.args.bias = c.filled(TW_FLOAT32, {3, 2, 12, 13}, c.number());
                    }},
        FeatureCase{"varlen_packed_glm",
                    [](FeatureCall &c) {
                      c.pack({0, 7, 20}, {0, 8, 25}, 13, 17);
                      c.args.causal = 1;
                      c.args.glm_mask = c.integers({2, 2, 2}, {1, 5, 4, 8, 0, 9, 3, 17});
                      c.args.seqused_k = c.integers({2}, {8, 17});
                    }},
        FeatureCase{"seqused_k",
                    [](FeatureCall &c) {
                      c.args.seqused_k = c.integers({2}, {0, 21});
                      c.args.causal = 1;
                      c.args.key_padding_mask = c.filled(TW_BOOL, {2, 37}, c.flags());
                    }},
        FeatureCase{"all",
                    [](FeatureCall &c) {
                      c.pack({0, 17, 17, 40}, {0, 33, 36, 70}, 23, 34);
                      c.args.seqused_k = c.integers({3}, {20, 0, 34});
                      c.withBreaks({11, 0, 30});
                      c.args.has_window = 1;
                      c.args.window_left = 25;
                      c.args.softcap = 3.0;
                      c.args.alibi_slopes = c.filled(TW_FLOAT32, {2}, c.number());
                      c.args.bias = c.filled(TW_BFLOAT16, {1, 2, 23, 34}, c.number());
                      c.args.attn_mask = c.filled(TW_BOOL, {3, 1, 23, 34}, c.flags());
                      c.args.key_padding_mask = c.filled(TW_BOOL, {3, 34}, c.flags());
                      c.args.document_ids = c.filled(TW_INT32, {3, 34}, [n = 0]() mutable { return n++ % 34 / 12; });
                      c.args.dropout_p = 0.2;
                      c.args.dropout_seed = 5;
                    }}),
    [](const auto &info) { return std::string(info.param.name); });
