// SPDX-License-Identifier: Apache-2.0
//
// Checks of the features of a forward call beyond the plain one: every message once, what a problem keeps of them, and
// that kernels refuse what the support matrix does not promise.
#include "TestSupport.h"
#include "tilewright/runtime/AttentionProblem.h"
#include "tilewright/runtime/SupportMatrix.h"

#include <cfloat>
#include <cmath>
#include <functional>
#include <limits>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::tests;
using ::testing::HasSubstr;

namespace {

using Change = std::function<void(Call &)>;

AttentionProblem check(const Call &call, Purpose purpose = Purpose::Reference, ForwardPointers *pointers = nullptr) {
  return checkForward(call.args, purpose, pointers);
}

/// q (2, 5, 4, 8), k (2, 7, 2, 8), v (2, 7, 2, 6), changed, is refused by the reference and by a run alike.
void refuses(const std::string &argument, const std::string &words, const Change &change) {
  for (Purpose purpose : {Purpose::Reference, Purpose::Run}) {
    Call call;
    change(call);
    EXPECT_EQ(expectError(TW_INVALID_ARGUMENT, argument, [&] { check(call, purpose); }), argument + ": " + words);
  }
}

/// Sequences of 2, 0 and 3 queries, 4, 1 and 2 keys.
struct PackedCall : Call {
  PackedCall() : PackedCall({0, 2, 2, 5}, {0, 4, 5, 7}) {}
  PackedCall(const std::vector<int32_t> &boundariesQ, const std::vector<int32_t> &boundariesK) {
    args.q = tensor(TW_FLOAT32, {5, 4, 8}, 0);
    args.k = tensor(TW_FLOAT32, {7, 2, 8}, 0);
    args.v = tensor(TW_FLOAT32, {7, 2, 6}, 0);
    args.out = tensor(TW_FLOAT32, {5, 4, 6}, 0x7f);
    args.lse = tensor(TW_FLOAT32, {4, 5}, 0x7f);
    args.cu_seqlens_q = integers({static_cast<int64_t>(boundariesQ.size())}, boundariesQ);
    args.cu_seqlens_k = integers({static_cast<int64_t>(boundariesK.size())}, boundariesK);
    args.max_seqlen_q = 3;
    args.max_seqlen_k = 4;
  }
};

void refusesPacked(const std::string &argument, const std::string &words,
                   const std::function<void(PackedCall &)> &change) {
  PackedCall call;
  change(call);
  EXPECT_EQ(expectError(TW_INVALID_ARGUMENT, argument, [&] { check(call); }), argument + ": " + words);
}

} // namespace

TEST(FeatureValidation, BiasAndAdditiveMask) {
  Call call;
  call.args.bias = call.tensor(TW_FLOAT32, {1, 4, 5, 1}, 0);
  call.args.attn_mask = call.tensor(TW_FLOAT32, {2, 1, 1, 7}, 0);
  ForwardPointers pointers;
  const AttentionProblem problem = check(call, Purpose::Reference, &pointers);
  EXPECT_TRUE(problem.bias.given);
  EXPECT_EQ(problem.bias.dtype, TW_FLOAT32);
  EXPECT_EQ(problem.bias.strides, (std::array<int64_t, 4>{0, 5, 1, 0})) << "broadcast dimensions have stride 0";
  EXPECT_EQ(problem.attnMask.strides, (std::array<int64_t, 4>{7, 0, 0, 1}));
  EXPECT_EQ(pointers.bias, call.args.bias.data);
  EXPECT_EQ(pointers.attnMask, call.args.attn_mask.data);

  refuses("bias", "rank is 3, shape (4, 5, 7), must be 4: (batch, heads, seqlen_q, seqlen_k), each of them or 1",
          [](Call &call) { call.args.bias = call.tensor(TW_FLOAT32, {4, 5, 7}, 0); });
  refuses("bias", "batch is 3, must be 1 or 2",
          [](Call &call) { call.args.bias = call.tensor(TW_FLOAT32, {3, 4, 5, 7}, 0); });
  refuses("bias", "heads is 2, must be 1 or 4",
          [](Call &call) { call.args.bias = call.tensor(TW_FLOAT32, {2, 2, 5, 7}, 0); });
  refuses("bias", "seqlen_q is 6, must be 1 or 5",
          [](Call &call) { call.args.bias = call.tensor(TW_FLOAT32, {2, 4, 6, 7}, 0); });
  refuses("attn_mask", "seqlen_k is 8, must be 1 or 7",
          [](Call &call) { call.args.attn_mask = call.tensor(TW_BOOL, {1, 1, 5, 8}, 0); });
  refuses("bias", "data is NULL, but its shape is (1, 1, 1, 7)", [](Call &call) {
    call.args.bias = call.tensor(TW_FLOAT32, {1, 1, 1, 7}, 0);
    call.args.bias.data = nullptr;
  });
  refuses("bias", "is on cuda:1, but q is on the CPU: all tensors of a call must be on one device", [](Call &call) {
    call.args.bias = call.tensor(TW_FLOAT32, {1, 1, 1, 7}, 0);
    call.args.bias.device = TW_DEVICE_CUDA;
    call.args.bias.device_index = 1;
  });
}

TEST(FeatureValidation, TypesOfBiasAndMask) {
  Sizes sizes;
  sizes.dtype = TW_FLOAT16;
  auto with = [&](TwDType bias, TwDType mask) {
    Call call(sizes);
    call.args.bias = call.tensor(bias, {1, 1, 1, 7}, 0);
    call.args.attn_mask = call.tensor(mask, {1, 1, 1, 7}, 0);
    return call;
  };
  for (TwDType dtype : {TW_FLOAT16, TW_FLOAT32, TW_FLOAT64}) {
    EXPECT_NO_THROW(check(with(dtype, dtype)));
  }
  EXPECT_EQ(check(with(TW_FLOAT16, TW_BOOL)).attnMask.dtype, TW_BOOL);
  EXPECT_EQ(expectError(TW_INVALID_ARGUMENT, "bias", [&] { check(with(TW_BOOL, TW_BOOL), Purpose::Run); }),
            "bias: dtype is bool, must be q's float16, or float32");
  EXPECT_EQ(expectError(TW_INVALID_ARGUMENT, "attn_mask", [&] { check(with(TW_FLOAT16, TW_BFLOAT16), Purpose::Run); }),
            "attn_mask: dtype is bfloat16, must be q's float16, or float32, or bool");
  EXPECT_EQ(expectError(TW_INVALID_ARGUMENT, "attn_mask", [&] { check(with(TW_FLOAT16, TW_INT32)); }),
            "attn_mask: dtype is int32, must be q's float16, or float32, or bool, or float64");
  EXPECT_EQ(expectError(TW_INVALID_ARGUMENT, "bias", [&] { check(with(TW_FLOAT64, TW_BOOL), Purpose::Run); }),
            "bias: dtype is float64, must be q's float16, or float32");
}

TEST(FeatureValidation, KeyPadding) {
  Call call;
  call.args.key_padding_mask = call.tensor(TW_BOOL, {2, 7}, 1);
  EXPECT_EQ(check(call).keyPadding.strides, (std::array<int64_t, 2>{7, 1}));
  refuses("key_padding_mask", "rank is 1, shape (7,), must be 2: (batch, seqlen_k)",
          [](Call &call) { call.args.key_padding_mask = call.tensor(TW_BOOL, {7}, 1); });
  refuses("key_padding_mask", "dtype is int32, must be bool",
          [](Call &call) { call.args.key_padding_mask = call.tensor(TW_INT32, {2, 7}, 1); });
  refuses("key_padding_mask", "batch is 1, but q's is 2",
          [](Call &call) { call.args.key_padding_mask = call.tensor(TW_BOOL, {1, 7}, 1); });
  refuses("key_padding_mask", "seqlen_k is 5, but k's is 7",
          [](Call &call) { call.args.key_padding_mask = call.tensor(TW_BOOL, {2, 5}, 1); });
}

TEST(FeatureValidation, Alibi) {
  Call call;
  call.args.alibi_slopes = call.tensor(TW_FLOAT32, {4}, 0);
  EXPECT_EQ(check(call).alibi.strides, (std::array<int64_t, 2>{0, 1}));
  call.args.alibi_slopes = call.tensor(TW_FLOAT32, {2, 4}, 0);
  EXPECT_EQ(check(call).alibi.strides, (std::array<int64_t, 2>{4, 1}));
  refuses("alibi_slopes", "rank is 3, shape (2, 4, 1), must be 1: (heads,), or 2: (batch, heads)",
          [](Call &call) { call.args.alibi_slopes = call.tensor(TW_FLOAT32, {2, 4, 1}, 0); });
  refuses("alibi_slopes", "dtype is float16, must be float32",
          [](Call &call) { call.args.alibi_slopes = call.tensor(TW_FLOAT16, {4}, 0); });
  refuses("alibi_slopes", "heads is 2, but q's is 4",
          [](Call &call) { call.args.alibi_slopes = call.tensor(TW_FLOAT32, {2}, 0); });
  refuses("alibi_slopes", "batch is 1, but q's is 2",
          [](Call &call) { call.args.alibi_slopes = call.tensor(TW_FLOAT32, {1, 4}, 0); });
}

TEST(FeatureValidation, Documents) {
  auto with = [](const std::vector<int32_t> &second) {
    return [second](Call &call) {
      std::vector<int32_t> ids = {0, 0, 3, 3, 9, -1, -1};
      ids.insert(ids.end(), second.begin(), second.end());
      call.args.document_ids = call.integers({2, 7}, ids);
    };
  };
  Call call;
  with({-1, -1, -1, -1, -1, -1, -1})(call);
  EXPECT_EQ(check(call).documents.strides, (std::array<int64_t, 2>{7, 1}));
  refuses("document_ids", "id at position 3 of batch entry 1 is 4, but the one before is 5: ids must not decrease",
          with({0, 0, 5, 4, 9, -1, -1}));
  refuses("document_ids",
          "id at position 2 of batch entry 1 is 5, but the one before is -1: padding stands at the end, so it must be "
          "-1 too",
          with({0, -1, 5, 5, 9, -1, -1}));
  refuses("document_ids", "id at position 6 of batch entry 1 is -2, must be at least 0, or -1 for padding",
          with({0, 0, 5, 5, 9, -1, -2}));
  refuses("document_ids", "dtype is int64, must be int32",
          [](Call &call) { call.args.document_ids = call.tensor(TW_INT64, {2, 7}, 0); });
  refuses("document_ids", "seqlen_k is 8, but k's is 7",
          [](Call &call) { call.args.document_ids = call.tensor(TW_INT32, {2, 8}, 0); });

  // Beyond the used keys nothing is looked at.
  with({0, 0, 5, 4, 9, -1, -1})(call);
  call.args.seqused_k = call.integers({2}, {7, 3});
  EXPECT_NO_THROW(check(call));
}

TEST(FeatureValidation, Window) {
  auto window = [](int64_t left, int64_t right, int32_t causal) {
    Call call;
    call.args.has_window = 1;
    call.args.window_left = left;
    call.args.window_right = right;
    call.args.causal = causal;
    return check(call);
  };
  EXPECT_EQ(window(3, 2, 0).windowLeft, 3);
  EXPECT_EQ(window(3, 2, 0).windowRight, 2);
  EXPECT_EQ(window(3, 2, 0).mask, attn::MaskKind::None);
  EXPECT_FALSE(window(-1, -1, 0).window());
  EXPECT_FALSE(window(-1, 5, 1).window()) << "the causal limit is nearer";
  EXPECT_EQ(window(2, 5, 1).windowRight, -1);
  EXPECT_EQ(window(-1, 0, 0).mask, attn::MaskKind::Causal) << "the same rows see the same keys";
  EXPECT_FALSE(window(-1, 0, 0).window());
  EXPECT_FALSE(window(std::numeric_limits<int64_t>::max(), int64_t{1} << 33, 0).window()) << "no sequence is as long";

  refuses("has_window", "is 2, must be 0 or 1", [](Call &call) { call.args.has_window = 2; });
  refuses("window_left", "is -2, must be -1, unbounded, or at least 0", [](Call &call) {
    call.args.has_window = 1;
    call.args.window_left = -2;
  });
  refuses("window_right", "is 4, but has_window is 0: a window needs has_window = 1",
          [](Call &call) { call.args.window_right = 4; });
}

TEST(FeatureValidation, Softcap) {
  const std::string allowed = ", must be 0, off, or finite and positive (1.17549e-38 to 3.40282e+38)";
  refuses("softcap", "is -1" + allowed, [](Call &call) { call.args.softcap = -1; });
  refuses("softcap", "is nan" + allowed, [](Call &call) { call.args.softcap = std::nan(""); });
  refuses("softcap", "is inf" + allowed, [](Call &call) { call.args.softcap = HUGE_VAL; });
  refuses("softcap", "is 1e-40" + allowed, [](Call &call) { call.args.softcap = 1e-40; });
  Call call;
  call.args.softcap = FLT_MIN;
  EXPECT_EQ(check(call).softcap, FLT_MIN);
}

TEST(FeatureValidation, Dropout) {
  Call call;
  call.args.dropout_p = 0.25;
  call.args.dropout_seed = ~uint64_t{0};
  call.args.dropout_offset = 3;
  const AttentionProblem problem = check(call);
  EXPECT_EQ(problem.dropoutP, 0.25);
  EXPECT_EQ(problem.dropoutSeed, ~uint64_t{0});
  EXPECT_EQ(problem.dropoutOffset, 3u);
  EXPECT_FALSE(problem.rngState.given);
  refuses("dropout_p", "is -0.1, must be at least 0 and below 1", [](Call &call) { call.args.dropout_p = -0.1; });
  refuses("dropout_p", "is 1, must be at least 0 and below 1", [](Call &call) { call.args.dropout_p = 1; });
  refuses("dropout_p", "is nan, must be at least 0 and below 1",
          [](Call &call) { call.args.dropout_p = std::nan(""); });
  refuses("rng_state", "shape is (3,), must be (2,): seed, offset",
          [](Call &call) { call.args.rng_state = call.tensor(TW_INT64, {3}, 0); });
  refuses("rng_state", "rank is 2, shape (2, 1), must be 1: (2,)",
          [](Call &call) { call.args.rng_state = call.tensor(TW_INT64, {2, 1}, 0); });
  refuses("rng_state", "dtype is int32, must be int64",
          [](Call &call) { call.args.rng_state = call.tensor(TW_INT32, {2}, 0); });
  refuses("rng_state", "is given, and so are dropout_seed = 5 and dropout_offset = 0: with rng_state they must be 0",
          [](Call &call) {
            call.args.rng_state = call.tensor(TW_INT64, {2}, 0);
            call.args.dropout_seed = 5;
          });
}

TEST(FeatureValidation, Probs) {
  Call call;
  call.args.probs = call.tensor(TW_FLOAT32, {2, 4, 5, 7}, 0x7f);
  ForwardPointers pointers;
  EXPECT_EQ(check(call, Purpose::Reference, &pointers).probs.strides, (std::array<int64_t, 4>{140, 35, 7, 1}));
  EXPECT_EQ(pointers.probs, call.args.probs.data);
  call.args.probs = call.tensor(TW_FLOAT64, {2, 4, 5, 7}, 0x7f);
  EXPECT_EQ(check(call).probs.dtype, TW_FLOAT64);
  EXPECT_EQ(expectError(TW_INVALID_ARGUMENT, "probs", [&] { check(call, Purpose::Run); }),
            "probs: dtype is float64, but q's is float32");
  refuses("probs", "seqlen_k is 1, but k's is 7",
          [](Call &call) { call.args.probs = call.tensor(TW_FLOAT32, {2, 4, 5, 1}, 0); });
  refuses("probs", "seqlen_q is 1, but q's is 5",
          [](Call &call) { call.args.probs = call.tensor(TW_FLOAT32, {2, 4, 1, 7}, 0); });
  refuses("probs", "stride of heads is 0, but heads is 4: an output's elements must all be distinct", [](Call &call) {
    call.args.probs = call.tensor(TW_FLOAT32, {2, 4, 5, 7}, 0);
    call.args.probs.strides[1] = 0;
  });
}

TEST(FeatureValidation, VarlenIsResolved) {
  PackedCall call;
  call.args.bias = call.tensor(TW_FLOAT32, {3, 1, 9, 4}, 0); // longer than max_seqlen_q, as long as max_seqlen_k
  call.args.key_padding_mask = call.tensor(TW_BOOL, {3, 6}, 1);
  call.args.causal = 1;
  call.args.glm_mask = call.integers({3}, {4, 1, 2});
  ForwardPointers pointers;
  const AttentionProblem problem = check(call, Purpose::Reference, &pointers);
  EXPECT_TRUE(problem.varlen);
  EXPECT_FALSE(problem.sameLengths());
  EXPECT_EQ(problem.batch, 3);
  EXPECT_EQ(problem.seqlenQ, 3);
  EXPECT_EQ(problem.seqlenK, 4);
  EXPECT_EQ(problem.totalQ, 5);
  EXPECT_EQ(problem.totalK, 7);
  EXPECT_EQ(problem.q, (std::array<int64_t, 4>{0, 32, 8, 1}));
  EXPECT_EQ(problem.lse, (std::array<int64_t, 3>{0, 5, 1}));
  EXPECT_EQ(problem.bias.strides, (std::array<int64_t, 4>{36, 0, 4, 1}));
  EXPECT_EQ(pointers.cuSeqlensQ, call.args.cu_seqlens_q.data);

  PackedCall shape;
  shape.args.q.data = nullptr;
  shape.args.cu_seqlens_q.data = nullptr;
  EXPECT_NO_THROW(check(shape, Purpose::Plan)) << "a plan looks at no data";
  expectError(TW_INVALID_ARGUMENT, "q", [&] { check(shape, Purpose::Run); });
}

TEST(FeatureValidation, OneOddRowOfScoresIsReadAloneNotInPairs) {
  // Rows of floats that memory aligns to 8 bytes: of one row for all queries no pair may reach past its end.
  auto align = [](int64_t queries, int64_t keys, int64_t length) {
    Sizes sizes;
    sizes.seqlenK = length;
    Call call(sizes);
    call.args.bias = call.tensor(TW_FLOAT32, {1, 1, queries, keys}, 0);
    call.args.bias.strides[2] = keys + keys % 2;
    return check(call).bias.align;
  };
  EXPECT_EQ(align(1, 8, 8), attn::AlignClass::Bytes16);
  EXPECT_EQ(align(1, 7, 7), attn::AlignClass::Bytes2);
  EXPECT_EQ(align(5, 7, 7), attn::AlignClass::Bytes16) << "rows of a matrix are copied, which may end anywhere";
}

TEST(FeatureValidation, VarlenForms) {
  const std::string without = ", but cu_seqlens are not given: without them it must be 0";
  refuses("max_seqlen_q", "is 5" + without, [](Call &call) { call.args.max_seqlen_q = 5; });
  refuses("max_seqlen_k", "is -1" + without, [](Call &call) { call.args.max_seqlen_k = -1; });
  refusesPacked("cu_seqlens_q", "is not given, but cu_seqlens_k is: a varlen batch needs both",
                [](PackedCall &call) { call.args.cu_seqlens_q = {}; });
  refusesPacked("cu_seqlens_k", "is not given, but cu_seqlens_q is: a varlen batch needs both",
                [](PackedCall &call) { call.args.cu_seqlens_k = {}; });
  refusesPacked("cu_seqlens_q", "rank is 2, shape (2, 2), must be 1: (batch + 1,)",
                [](PackedCall &call) { call.args.cu_seqlens_q = call.tensor(TW_INT32, {2, 2}, 0); });
  refusesPacked("cu_seqlens_k", "dtype is int64, must be int32",
                [](PackedCall &call) { call.args.cu_seqlens_k = call.tensor(TW_INT64, {4}, 0); });
  refusesPacked("cu_seqlens_q", "shape is (0,), must be (batch + 1,): at least one number, 0",
                [](PackedCall &call) { call.args.cu_seqlens_q = call.tensor(TW_INT32, {0}, 0); });
  refusesPacked("cu_seqlens_k", "batch + 1 is 3, but that of cu_seqlens_q is 4",
                [](PackedCall &call) { call.args.cu_seqlens_k = call.integers({3}, {0, 4, 7}); });
  refusesPacked("max_seqlen_q", "is -1, must be in [0, 2147483647]",
                [](PackedCall &call) { call.args.max_seqlen_q = -1; });
  refusesPacked("q", "rank is 4, shape (2, 5, 4, 8), must be 3: (total_q, heads, head_dim)",
                [](PackedCall &call) { call.args.q = call.tensor(TW_FLOAT32, {2, 5, 4, 8}, 0); });
  refusesPacked("v", "total_k is 6, but k's is 7",
                [](PackedCall &call) { call.args.v = call.tensor(TW_FLOAT32, {6, 2, 6}, 0); });
  refusesPacked("out", "total_q is 6, but q's is 5",
                [](PackedCall &call) { call.args.out = call.tensor(TW_FLOAT32, {6, 4, 6}, 0); });
  refusesPacked("lse", "rank is 3, shape (3, 4, 5), must be 2: (heads, total_q)",
                [](PackedCall &call) { call.args.lse = call.tensor(TW_FLOAT32, {3, 4, 5}, 0); });
  refusesPacked("lse", "total_q is 3, but q's is 5",
                [](PackedCall &call) { call.args.lse = call.tensor(TW_FLOAT32, {4, 3}, 0); });
  refusesPacked("bias", "seqlen_q is 2, must be 1 or at least 3",
                [](PackedCall &call) { call.args.bias = call.tensor(TW_FLOAT32, {3, 4, 2, 4}, 0); });
  refusesPacked("bias", "batch is 2, must be 1 or 3",
                [](PackedCall &call) { call.args.bias = call.tensor(TW_FLOAT32, {2, 4, 3, 4}, 0); });
  refusesPacked("key_padding_mask", "seqlen_k is 3, must be at least max_seqlen_k, 4",
                [](PackedCall &call) { call.args.key_padding_mask = call.tensor(TW_BOOL, {3, 3}, 0); });
  refusesPacked("glm_mask", "batch is 2, but that of cu_seqlens_q is 3", [](PackedCall &call) {
    call.args.causal = 1;
    call.args.glm_mask = call.integers({2}, {0, 0});
  });
  refusesPacked("probs", "seqlen_q is 5, but max_seqlen_q is 3",
                [](PackedCall &call) { call.args.probs = call.tensor(TW_FLOAT32, {3, 4, 5, 4}, 0); });
}

TEST(FeatureValidation, VarlenValues) {
  auto refused = [](const std::vector<int32_t> &q, const std::vector<int32_t> &k, const std::string &argument) {
    PackedCall call(q, k);
    return expectError(TW_INVALID_ARGUMENT, argument, [&] { check(call); });
  };
  EXPECT_EQ(refused({1, 2, 2, 5}, {0, 4, 5, 7}, "cu_seqlens_q"), "cu_seqlens_q: entry 0 is 1, must be 0");
  EXPECT_EQ(refused({0, 2, 1, 5}, {0, 4, 5, 7}, "cu_seqlens_q"),
            "cu_seqlens_q: entry 2 is 1, but the one before is 2: they must not decrease");
  EXPECT_EQ(refused({0, 2, 2, 4}, {0, 4, 5, 7}, "cu_seqlens_q"),
            "cu_seqlens_q: the last entry 3 is 4, must be total_q, 5");
  EXPECT_EQ(refused({0, 2, 2, 5}, {0, 0, 5, 7}, "cu_seqlens_k"),
            "cu_seqlens_k: sequence 1 has 5 positions, must be at most max_seqlen_k, 4");
  const int32_t low = std::numeric_limits<int32_t>::min(), high = std::numeric_limits<int32_t>::max();
  EXPECT_THAT(refused({0, high, low, 5}, {0, 4, 5, 7}, "cu_seqlens_q"), HasSubstr("must be at most max_seqlen_q, 3"));

  // A break point inside k, but beyond its own sequence.
  refusesPacked("glm_mask", "break point 2 of batch entry 1 must be in [0, seqlen_k = 1]", [](PackedCall &call) {
    call.args.causal = 1;
    call.args.glm_mask = call.integers({3}, {4, 2, 2});
  });
}

TEST(FeatureValidation, SeqUsed) {
  Call call;
  call.args.seqused_k = call.integers({2}, {0, 7});
  EXPECT_TRUE(check(call).seqUsedK.given);
  EXPECT_FALSE(check(call).sameLengths());
  refuses("seqused_k", "is 8 for batch entry 1, must be in [0, 7], the keys that it has",
          [](Call &call) { call.args.seqused_k = call.integers({2}, {0, 8}); });
  refuses("seqused_k", "is -1 for batch entry 0, must be in [0, 7], the keys that it has",
          [](Call &call) { call.args.seqused_k = call.integers({2}, {-1, 8}); });
  refuses("seqused_k", "batch is 3, but q's is 2",
          [](Call &call) { call.args.seqused_k = call.integers({3}, {0, 1, 2}); });
  refuses("glm_mask", "break point 5 of batch entry 1 must be in [0, seqlen_k = 4]", [](Call &call) {
    call.withBreaks({5, 5});
    call.args.seqused_k = call.integers({2}, {7, 4});
  });
  refusesPacked("seqused_k", "is 2 for batch entry 1, must be in [0, 1], the keys that it has",
                [](PackedCall &call) { call.args.seqused_k = call.integers({3}, {4, 2, 2}); });
}

TEST(FeatureValidation, KernelsRefuseWhatTheMatrixDoesNotPromise) {
  struct Case {
    Feature feature;
    const char *argument;
    Change change;
  };
  const Case cases[] = {
      {Feature::Bias, "bias", [](Call &call) { call.args.bias = call.tensor(TW_FLOAT32, {1, 1, 1, 7}, 0); }},
      {Feature::AdditiveMask, "attn_mask",
       [](Call &call) { call.args.attn_mask = call.tensor(TW_FLOAT32, {1, 1, 1, 7}, 0); }},
      {Feature::BoolMask, "attn_mask", [](Call &call) { call.args.attn_mask = call.tensor(TW_BOOL, {1, 1, 1, 7}, 0); }},
      {Feature::KeyPadding, "key_padding_mask",
       [](Call &call) { call.args.key_padding_mask = call.tensor(TW_BOOL, {2, 7}, 0); }},
      {Feature::Documents, "document_ids",
       [](Call &call) { call.args.document_ids = call.tensor(TW_INT32, {2, 7}, 0); }},
      {Feature::Window, "window_left",
       [](Call &call) {
         call.args.has_window = 1;
         call.args.window_right = -1;
       }},
      {Feature::Window, "window_right",
       [](Call &call) {
         call.args.has_window = 1;
         call.args.window_left = -1;
         call.args.window_right = 3;
       }},
      {Feature::Alibi, "alibi_slopes", [](Call &call) { call.args.alibi_slopes = call.tensor(TW_FLOAT32, {4}, 0); }},
      {Feature::Softcap, "softcap", [](Call &call) { call.args.softcap = 30; }},
      {Feature::Dropout, "dropout_p", [](Call &call) { call.args.dropout_p = 0.5; }},
      {Feature::Probs, "probs", [](Call &call) { call.args.probs = call.tensor(TW_FLOAT32, {2, 4, 5, 7}, 0); }},
      {Feature::Varlen, "cu_seqlens_q", nullptr}, // another call altogether
      {Feature::SeqUsedK, "seqused_k", [](Call &call) { call.args.seqused_k = call.integers({2}, {1, 2}); }},
  };
  for (const Case &c : cases) {
    for (Purpose purpose : {Purpose::Plan, Purpose::Run, Purpose::Reference}) {
      Call plain;
      PackedCall packed;
      if (c.change != nullptr) {
        c.change(plain);
      }
      const Call &call = c.change != nullptr ? plain : packed;
      if (purpose == Purpose::Reference || supportsFeature(c.feature, TW_DEVICE_CPU)) {
        EXPECT_NO_THROW(check(call, purpose)) << c.argument;
      } else {
        EXPECT_THAT(expectError(TW_UNSUPPORTED, c.argument, [&] { check(call, purpose); }),
                    HasSubstr(" not served yet by the kernels of the CPU; tw_reference_forward "
                              "(tilewright.reference.attention) computes it"));
      }
    }
  }
}

TEST(FeatureValidation, AFaultIsNamedBeforeAMissingKernel) {
  Call call;
  call.args.bias = call.tensor(TW_FLOAT32, {1, 1, 1, 7}, 0);
  call.args.dropout_p = 2;
  expectError(TW_INVALID_ARGUMENT, "dropout_p", [&] { check(call, Purpose::Run); });
}

TEST(FeatureValidation, WhatIsOffIsNoFeature) {
  Call call;
  call.args.has_window = 1;
  call.args.window_left = call.args.window_right = -1;
  call.args.rng_state = call.tensor(TW_INT64, {2}, 0); // without dropout
  EXPECT_NO_THROW(check(call, Purpose::Run));
  call.args.has_window = 0;
  EXPECT_NO_THROW(check(call, Purpose::Run));
}
