// SPDX-License-Identifier: Apache-2.0
//
// Every check of a forward call: what is accepted, what is refused, and in which words.
#include "TestSupport.h"
#include "tilewright/runtime/AttentionProblem.h"
#include "tilewright/runtime/SupportMatrix.h"

#include <cmath>
#include <functional>
#include <limits>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::tests;
using ::testing::HasSubstr;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

AttentionProblem check(const Call &call, Purpose purpose = Purpose::Run, ForwardPointers *pointers = nullptr) {
  return checkForward(call.args, purpose, pointers);
}

/// Expects the spoiled default call to be refused.
void refuses(const std::string &argument, const std::string &words, const std::function<void(TwForwardArgs &)> &spoil,
             TwStatus status = TW_INVALID_ARGUMENT, Purpose purpose = Purpose::Run) {
  Call call;
  call.withLse();
  spoil(call.args);
  const std::string message = expectError(status, argument, [&] { check(call, purpose); });
  EXPECT_THAT(message, HasSubstr(argument + ": ")) << message;
  EXPECT_THAT(message, HasSubstr(words));
}

} // namespace

TEST(Validation, AcceptsAndResolvesAPlainCall) {
  Call call;
  call.withLse();
  ForwardPointers pointers;
  const AttentionProblem problem = check(call, Purpose::Run, &pointers);
  EXPECT_EQ(problem.batch, 2);
  EXPECT_EQ(problem.seqlenQ, 5);
  EXPECT_EQ(problem.seqlenK, 7);
  EXPECT_EQ(problem.heads, 4);
  EXPECT_EQ(problem.headsK, 2);
  EXPECT_EQ(problem.headDim, 8);
  EXPECT_EQ(problem.headDimV, 6);
  EXPECT_EQ(problem.mask, attn::MaskKind::None);
  EXPECT_EQ(problem.causalOffset(), 2);
  EXPECT_TRUE(problem.writeLse);
  EXPECT_DOUBLE_EQ(problem.scale, 1.0 / std::sqrt(8.0));
  EXPECT_EQ(problem.q, (std::array<int64_t, 4>{160, 32, 8, 1}));
  EXPECT_EQ(problem.lse, (std::array<int64_t, 3>{20, 5, 1}));
  EXPECT_EQ(pointers.q, call.args.q.data);
  EXPECT_EQ(pointers.out, call.args.out.data);
  EXPECT_EQ(pointers.lse, call.args.lse.data);
  EXPECT_EQ(pointers.glm, nullptr);
}

TEST(Validation, AllElementTypesOfTheTablePass) {
  for (const SupportRow &row : supportMatrix()) {
    if (row.group != FeatureGroup::ElementType) {
      continue;
    }
    Sizes sizes;
    sizes.dtype = static_cast<TwDType>(row.value);
    Call call(sizes);
    if (row.cpu) {
      EXPECT_NO_THROW(check(call)) << row.feature;
    } else {
      expectError(TW_INVALID_ARGUMENT, "q", [&] { check(call); });
    }
  }
}

TEST(Validation, StructSize) {
  refuses("struct_size", "must be sizeof(TwForwardArgs)", [](TwForwardArgs &args) { args.struct_size = 8; });

  // A longer struct of a later version: accepted while its new part is zero.
  struct {
    TwForwardArgs args;
    int64_t added;
  } later{};
  Call call;
  later.args = call.args;
  later.args.struct_size = sizeof(later);
  EXPECT_NO_THROW(checkForward(later.args, Purpose::Run));
  later.added = 1;
  expectError(TW_UNSUPPORTED, "struct_size", [&] { checkForward(later.args, Purpose::Run); });
}

TEST(Validation, Ranks) {
  refuses("q", "rank is 0, must be 4: (batch, seqlen_q, heads, head_dim)", [](TwForwardArgs &args) { args.q = {}; });
  refuses("k", "rank is 3, shape (2, 7, 2), must be 4", [](TwForwardArgs &args) { args.k.rank = 3; });
  refuses("v", "rank is 5", [](TwForwardArgs &args) { args.v.rank = 5; });
  refuses("out", "rank is -1", [](TwForwardArgs &args) { args.out.rank = -1; });
  refuses("lse", "rank is 2, shape (2, 4), must be 3: (batch, heads, seqlen_q)",
          [](TwForwardArgs &args) { args.lse.rank = 2; });
}

TEST(Validation, Dtypes) {
  refuses("q", "dtype is float64, must be one of float32, float16, bfloat16",
          [](TwForwardArgs &args) { args.q.dtype = TW_FLOAT64; });
  refuses("q", "dtype is int64", [](TwForwardArgs &args) { args.q.dtype = TW_INT64; });
  refuses("q", "dtype is TwDType(77)", [](TwForwardArgs &args) { args.q.dtype = static_cast<TwDType>(77); });
  refuses("k", "dtype is float16, but q's is float32", [](TwForwardArgs &args) { args.k.dtype = TW_FLOAT16; });
  refuses("v", "dtype is bfloat16, but q's is float32", [](TwForwardArgs &args) { args.v.dtype = TW_BFLOAT16; });
  refuses("out", "dtype is float16, but q's is float32", [](TwForwardArgs &args) { args.out.dtype = TW_FLOAT16; });
  refuses("lse", "dtype is float16, must be float32", [](TwForwardArgs &args) { args.lse.dtype = TW_FLOAT16; });
}

TEST(Validation, Devices) {
  refuses("v", "is on cuda:3, but q is on the CPU: all tensors of a call must be on one device",
          [](TwForwardArgs &args) {
            args.v.device = TW_DEVICE_CUDA;
            args.v.device_index = 3;
          });
  refuses("lse", "is on cuda:0, but q is on the CPU", [](TwForwardArgs &args) { args.lse.device = TW_DEVICE_CUDA; });
  refuses("k", "device is TwDevice(9)", [](TwForwardArgs &args) { args.k.device = static_cast<TwDevice>(9); });
}

TEST(Validation, Shapes) {
  refuses("k", "head_dim is 48, but q's is 8", [](TwForwardArgs &args) { args.k.shape[3] = 48; });
  refuses("k", "batch is 3, but q's is 2", [](TwForwardArgs &args) { args.k.shape[0] = 3; });
  refuses("k", "heads_k is 3, must be at least 1 and divide q's heads, 4",
          [](TwForwardArgs &args) { args.k.shape[2] = 3; });
  refuses("k", "heads_k is 0", [](TwForwardArgs &args) { args.k.shape[2] = 0; });
  refuses("v", "batch is 1, but q's is 2", [](TwForwardArgs &args) { args.v.shape[0] = 1; });
  refuses("v", "seqlen_k is 8, but k's is 7", [](TwForwardArgs &args) { args.v.shape[1] = 8; });
  refuses("v", "heads_k is 4, but k's is 2", [](TwForwardArgs &args) { args.v.shape[2] = 4; });
  refuses("out", "seqlen_q is 4, but q's is 5", [](TwForwardArgs &args) { args.out.shape[1] = 4; });
  refuses("out", "heads is 2, but q's is 4", [](TwForwardArgs &args) { args.out.shape[2] = 2; });
  refuses("out", "head_dim_v is 8, but v's is 6", [](TwForwardArgs &args) { args.out.shape[3] = 8; });
  refuses("lse", "heads is 5, but q's is 4", [](TwForwardArgs &args) { args.lse.shape[1] = 5; });
  refuses("lse", "seqlen_q is 4, but q's is 5", [](TwForwardArgs &args) { args.lse.shape[2] = 4; });
  refuses("q", "seqlen_q is -1, must be in [0, 2147483647]", [](TwForwardArgs &args) { args.q.shape[1] = -1; });
  refuses("k", "seqlen_k is 2147483648, must be in", [](TwForwardArgs &args) { args.k.shape[1] = int64_t{1} << 31; });
  for (int64_t headDim : {int64_t{0}, int64_t{257}}) {
    refuses("q", "head_dim is " + std::to_string(headDim) + ", must be in [1, 256]", [&](TwForwardArgs &args) {
      args.q.shape[3] = args.k.shape[3] = headDim;
    });
    refuses("v", "head_dim_v is " + std::to_string(headDim) + ", must be in [1, 256]", [&](TwForwardArgs &args) {
      args.v.shape[3] = args.out.shape[3] = headDim;
    });
  }
}

TEST(Validation, NothingToDoIsValid) {
  for (auto spoil : {+[](Sizes &sizes) { sizes.batch = 0; }, +[](Sizes &sizes) { sizes.seqlenQ = 0; },
                     +[](Sizes &sizes) { sizes.heads = 0; }}) {
    Sizes sizes;
    spoil(sizes);
    Call call(sizes);
    call.withLse();
    EXPECT_TRUE(check(call).empty());
  }
  Sizes noKeys;
  noKeys.seqlenK = 0;
  Call call(noKeys);
  EXPECT_FALSE(check(call).empty()) << "rows without keys are written: 0 and -inf";
}

TEST(Validation, DataPointers) {
  refuses("q", "data is NULL, but its shape is (2, 5, 4, 8)", [](TwForwardArgs &args) { args.q.data = nullptr; });
  refuses("lse", "data is NULL", [](TwForwardArgs &args) { args.lse.data = nullptr; });
  refuses("k", "the address must be a multiple of 4 bytes for float32",
          [](TwForwardArgs &args) { args.k.data = static_cast<char *>(args.k.data) + 2; });
  // A plan needs no data.
  Call call;
  call.withPairs(1, {0, 2, 0, 2});
  for (TwTensor *tensor : {&call.args.q, &call.args.k, &call.args.v, &call.args.out, &call.args.glm_mask}) {
    tensor->data = nullptr;
  }
  EXPECT_NO_THROW(check(call, Purpose::Plan));
  expectError(TW_INVALID_ARGUMENT, "glm_mask", [&] { check(call, Purpose::BlockMap); });
}

TEST(Validation, OutputsMayNotShareElements) {
  refuses("out", "stride of seqlen_q is 0, but seqlen_q is 5", [](TwForwardArgs &args) { args.out.strides[1] = 0; });
  refuses("lse", "stride of batch is 0, but batch is 2", [](TwForwardArgs &args) { args.lse.strides[0] = 0; });
  refuses("out", "strides of seqlen_q and heads are 6 and -6",
          [](TwForwardArgs &args) { args.out.strides[1] = 6, args.out.strides[2] = -6; });
  // Along a dimension of size 1 a stride is never used, and inputs may repeat.
  Sizes sizes;
  sizes.batch = 1;
  Call call(sizes);
  call.args.out.strides[0] = 0;
  call.args.q.strides[1] = call.args.k.strides[1] = call.args.v.strides[2] = 0;
  EXPECT_NO_THROW(check(call));
}

TEST(Validation, StridesThatLeaveTheAddressSpace) {
  for (int64_t stride : {std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min(),
                         std::numeric_limits<int64_t>::max() / 16, std::numeric_limits<int64_t>::min() / 8}) {
    refuses("k", "stride " + std::to_string(stride) + " of seqlen_k = 7 reaches beyond 2^63 bytes",
            [&](TwForwardArgs &args) { args.k.strides[1] = stride; });
  }
}

TEST(Validation, SoftmaxScale) {
  for (double bad : {-1.0, -kInfinity, kInfinity, std::nan(""), 1e300}) {
    refuses("softmax_scale", "must be finite and >= 0", [&](TwForwardArgs &args) {
      args.has_softmax_scale = 1;
      args.softmax_scale = bad;
    });
  }
  Call call;
  call.args.softmax_scale = std::nan(""); // not read
  EXPECT_DOUBLE_EQ(check(call).scale, 1.0 / std::sqrt(8.0));
  call.args.has_softmax_scale = 1;
  call.args.softmax_scale = 0.0; // explicit, not "unset"
  EXPECT_EQ(check(call).scale, 0.0);
  refuses("has_softmax_scale", "is 2, must be 0 or 1", [](TwForwardArgs &args) { args.has_softmax_scale = 2; });
}

TEST(Validation, CausalFlags) {
  refuses("causal", "is 2, must be 0 or 1", [](TwForwardArgs &args) { args.causal = 2; });
  refuses("causal_align", "is 5, must be TW_ALIGN_BOTTOM_RIGHT (0) or TW_ALIGN_TOP_LEFT (1)",
          [](TwForwardArgs &args) { args.causal_align = static_cast<TwCausalAlign>(5); });
  Call call;
  call.args.causal = 1;
  call.args.causal_align = TW_ALIGN_TOP_LEFT;
  EXPECT_EQ(check(call).causalOffset(), 0);
  EXPECT_EQ(check(call).mask, attn::MaskKind::Causal);
}

TEST(Validation, GlmForm) {
  auto refusesGlm = [](const std::string &words, const std::function<void(TwForwardArgs &)> &spoil) {
    Call call;
    call.withPairs(1, {0, 2, 0, 2});
    spoil(call.args);
    EXPECT_THAT(expectError(TW_INVALID_ARGUMENT, "glm_mask", [&] { check(call); }), HasSubstr(words));
  };
  refusesGlm("is given, but causal is 0", [](TwForwardArgs &args) { args.causal = 0; });
  refusesGlm("rank is 2, shape (2, 2), must be 1: break points (batch,), or 3: pairs (batch, 2, N)",
             [](TwForwardArgs &args) { args.glm_mask.rank = 2; });
  refusesGlm("dtype is int64, must be int32", [](TwForwardArgs &args) { args.glm_mask.dtype = TW_INT64; });
  refusesGlm("batch is 3, but q's is 2", [](TwForwardArgs &args) { args.glm_mask.shape[0] = 3; });
  refusesGlm("shape is (2, 3, 1), its second dimension must be 2",
             [](TwForwardArgs &args) { args.glm_mask.shape[1] = 3; });
  refusesGlm("data is NULL", [](TwForwardArgs &args) { args.glm_mask.data = nullptr; });

  Call noPairs;
  noPairs.withPairs(0, {});
  EXPECT_EQ(check(noPairs).mask, attn::MaskKind::Causal) << "no pairs are plain causal";
  noPairs.args.causal = 0;
  expectError(TW_INVALID_ARGUMENT, "glm_mask", [&] { check(noPairs); });
}

TEST(Validation, GlmBreakValues) {
  Call call;
  call.withBreaks({0, 7});
  EXPECT_EQ(check(call).mask, attn::MaskKind::GlmBreak);
  for (int32_t bad : {-1, 8, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()}) {
    call.withBreaks({0, bad});
    EXPECT_THAT(expectError(TW_INVALID_ARGUMENT, "glm_mask", [&] { check(call); }),
                HasSubstr("break point " + std::to_string(bad) + " of batch entry 1 must be in [0, seqlen_k = 7]"));
    EXPECT_NO_THROW(check(call, Purpose::Plan)) << "a plan reads no values";
  }
}

TEST(Validation, GlmPairValues) {
  Call call;
  // Batch entry 0: starts 1, -1, 5; ends 4, -1, 2 (5 > 2 holds no row, and is legal). Entry 1: the extremes.
  call.withPairs(3, {1, -1, 5, 4, -1, 2, 0, 7, 0, 7, 7, 0});
  const AttentionProblem problem = check(call);
  EXPECT_EQ(problem.mask, attn::MaskKind::GlmPacked);
  EXPECT_EQ(problem.pairs, 3);
  EXPECT_EQ(problem.glm, (std::array<int64_t, 3>{6, 3, 1}));
  for (auto [start, end] : {std::pair{-1, 4}, {4, -1}, {-2, -2}, {0, 8}, {8, 8}, {-1, 0}}) {
    call.withPairs(3, {1, -1, 5, 4, -1, 2, 0, start, 0, 7, end, 0});
    EXPECT_THAT(expectError(TW_INVALID_ARGUMENT, "glm_mask", [&] { check(call); }),
                HasSubstr("pair 1 of batch entry 1 is (" + std::to_string(start) + ", " + std::to_string(end) +
                          "), must be (-1, -1), unused, or both in [0, seqlen_k = 7]"));
  }
}

TEST(Validation, GlmValuesAreReadThroughStrides) {
  Call call;
  call.withPairs(2, {99, 1, 99, 3, 99, 2, 99, 4});
  call.args.glm_mask.shape[2] = 1;
  call.args.glm_mask.strides[2] = 0;
  call.args.glm_mask.data = static_cast<int32_t *>(call.args.glm_mask.data) + 1;
  EXPECT_NO_THROW(check(call));
  call.args.glm_mask.data = static_cast<int32_t *>(call.args.glm_mask.data) - 1;
  expectError(TW_INVALID_ARGUMENT, "glm_mask", [&] { check(call); });

  Call reversed;
  reversed.withBreaks({99, 1});
  reversed.args.glm_mask.data = static_cast<int32_t *>(reversed.args.glm_mask.data) + 1;
  reversed.args.glm_mask.strides[0] = 0;
  EXPECT_NO_THROW(check(reversed));
  reversed.args.glm_mask.strides[0] = -1;
  expectError(TW_INVALID_ARGUMENT, "glm_mask", [&] { check(reversed); });
}

TEST(Validation, ContiguityOfTheHeadDim) {
  Call call;
  EXPECT_EQ(check(call).contiguous, (std::array<bool, 4>{true, true, true, true}));
  call.args.k.strides[3] = 2;
  call.args.v.strides[3] = -1;
  EXPECT_EQ(check(call).contiguous, (std::array<bool, 4>{true, false, false, true}));

  Sizes one;
  one.headDim = one.headDimV = 1;
  Call single(one);
  single.args.q.strides[3] = 77;
  EXPECT_TRUE(check(single).contiguous[0]) << "the stride of a single element is never used";

  Sizes noKeys;
  noKeys.seqlenK = 0;
  Call empty(noKeys);
  empty.args.k.strides[3] = 0;
  EXPECT_TRUE(check(empty).contiguous[1]) << "a tensor without elements must not cost a kernel of its own";
}

TEST(Validation, ReferenceAlsoTakesFloat64) {
  Sizes sizes;
  sizes.dtype = TW_FLOAT64;
  Call doubles(sizes);
  doubles.withLse(TW_FLOAT64);
  const AttentionProblem problem = check(doubles, Purpose::Reference);
  EXPECT_EQ(problem.dtype, TW_FLOAT64);
  EXPECT_EQ(problem.lseDtype, TW_FLOAT64);
  expectError(TW_INVALID_ARGUMENT, "q", [&] { check(doubles); });

  sizes.dtype = TW_FLOAT16;
  Call mixed(sizes);
  mixed.args.out = mixed.tensor(TW_FLOAT64, {2, 5, 4, 6}, 0);
  EXPECT_EQ(check(mixed, Purpose::Reference).outDtype, TW_FLOAT64);
  expectError(TW_INVALID_ARGUMENT, "out", [&] { check(mixed); });
  mixed.args.out.dtype = TW_FLOAT32;
  expectError(TW_INVALID_ARGUMENT, "out", [&] { check(mixed, Purpose::Reference); });
  refuses("k", "dtype is float64, but q's is float32", [](TwForwardArgs &args) { args.k.dtype = TW_FLOAT64; },
          TW_INVALID_ARGUMENT, Purpose::Reference);
}

TEST(SupportMatrix, DispatchFollowsTheTable) {
  for (TwDevice device : {TW_DEVICE_CPU, TW_DEVICE_CUDA}) {
    for (const SupportRow &row : supportMatrix()) {
      const bool served = device == TW_DEVICE_CPU ? row.cpu : row.cuda;
      switch (row.group) {
      case FeatureGroup::ElementType:
        EXPECT_EQ(supportedElementType(static_cast<TwDType>(row.value), device).has_value(), served) << row.feature;
        break;
      case FeatureGroup::Mask:
        EXPECT_EQ(supportsMask(static_cast<attn::MaskKind>(row.value), device), served) << row.feature;
        break;
      case FeatureGroup::CausalAlign:
        EXPECT_EQ(supportsCausalAlign(static_cast<TwCausalAlign>(row.value), device), served) << row.feature;
        break;
      case FeatureGroup::Feature:
        EXPECT_EQ(supportsFeature(static_cast<Feature>(row.value), device), served) << row.feature;
        break;
      default:
        break;
      }
    }
  }
  EXPECT_FALSE(supportedElementType(TW_INT32, TW_DEVICE_CPU));
  EXPECT_FALSE(supportedElementType(TW_FLOAT64, TW_DEVICE_CPU));
  EXPECT_EQ(supportedValues(FeatureGroup::ElementType, TW_DEVICE_CPU), "float32, float16, bfloat16");
  EXPECT_EQ(supportedValues(FeatureGroup::ElementType, TW_DEVICE_CUDA), "float16, bfloat16");
  const std::string markdown = supportMatrixMarkdown();
  for (const SupportRow &row : supportMatrix()) {
    EXPECT_THAT(markdown, HasSubstr("| " + std::string(row.feature) + (row.cpu ? " | yes" : " | no") +
                                    (row.cuda ? " | yes |" : " | no |")));
  }
}
