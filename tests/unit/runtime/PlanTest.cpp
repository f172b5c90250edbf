// SPDX-License-Identifier: Apache-2.0
//
// Plans: which steps, keys, program counts, workspace, and what stands in which slot.
#include "TestSupport.h"
#include "tilewright/runtime/Plan.h"

#include <bit>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::tests;
using kernels::KernelKind;

namespace {

PlanOptions options(const char *schedule = "kq:32x16:4x2") {
  return {CpuLevel::X86_64_v3, schedule != nullptr ? kernels::parseSchedule(schedule) : std::nullopt};
}

Plan plan(const Call &call, const PlanOptions &planOptions = options()) {
  return makePlan(checkForward(call.args, Purpose::Plan), planOptions);
}

} // namespace

TEST(Plan, DenseIsOneStep) {
  Sizes sizes;
  sizes.seqlenQ = 65;
  sizes.seqlenK = 64;
  const Plan made = plan(Call(sizes));
  ASSERT_EQ(made.stepCount, 1u);
  EXPECT_EQ(made.steps[0].programs, 2 * 4 * 3);
  EXPECT_EQ(made.workspaceBytes, 0u);
  const KernelKey &key = made.steps[0].key;
  EXPECT_EQ(key.kind, KernelKind::Forward);
  EXPECT_EQ(key.mask, attn::MaskKind::None);
  EXPECT_EQ(key.headDim, 8);
  EXPECT_EQ(key.headDimV, 6);
  EXPECT_FALSE(key.evenM);
  EXPECT_TRUE(key.evenN);
  EXPECT_FALSE(key.evenD);
  EXPECT_EQ(key.align[0], attn::AlignClass::Bytes4);
  EXPECT_NO_THROW(parseKey(toText(key))) << "a plan makes canonical keys only";
}

TEST(Plan, GlmPairsBecomeLimitsFirst) {
  Sizes sizes;
  sizes.seqlenQ = 64;
  sizes.seqlenK = 64;
  Call call(sizes);
  call.withPairs(1, {0, 4, 0, 4});
  const Plan made = plan(call);
  ASSERT_EQ(made.stepCount, 2u);
  EXPECT_EQ(made.steps[0].key.kind, KernelKind::RowLimits);
  EXPECT_EQ(made.steps[0].programs, 2 * 2);
  EXPECT_EQ(toText(made.steps[0].key).find("row_limits target=cpu:x86-64-v3 evenM=1 schedule=kq:32x64:8x2"), 0u);
  EXPECT_EQ(made.steps[1].key.mask, attn::MaskKind::GlmPacked);
  EXPECT_EQ(made.steps[1].programs, 2 * 4 * 2);
  EXPECT_FALSE(made.steps[1].key.evenN) << "the mask ends the last block";
  EXPECT_EQ(made.workspaceBytes, 2 * 64 * sizeof(int32_t));
}

TEST(Plan, DocumentsAndPaddingBecomeBoundsFirst) {
  Sizes sizes;
  sizes.seqlenQ = 64;
  sizes.seqlenK = 64;
  Call documents(sizes);
  documents.args.document_ids = documents.tensor(TW_INT32, {2, 64}, 0);
  Plan made = plan(documents);
  ASSERT_EQ(made.stepCount, 2u);
  EXPECT_EQ(made.steps[0].programs, 2 * 2);
  EXPECT_EQ(toText(made.steps[0].key).find("row_bounds target=cpu:x86-64-v3 evenM=1 documents=1 schedule=kq:32x64:8x2"),
            0u);
  EXPECT_TRUE(made.steps[1].key.rowBounds);
  EXPECT_FALSE(made.steps[1].key.keyPadding);
  EXPECT_FALSE(made.steps[1].key.evenN) << "the bounds end the last block";
  EXPECT_EQ(made.rowBoundsAt, 0u);
  EXPECT_EQ(made.workspaceBytes, 2 * 2 * 64 * sizeof(int32_t)) << "where a row's keys begin and end";

  Call padding(sizes);
  padding.args.key_padding_mask = padding.tensor(TW_BOOL, {2, 64}, 1);
  made = plan(padding);
  ASSERT_EQ(made.stepCount, 2u);
  EXPECT_TRUE(made.steps[0].key.keyPadding);
  EXPECT_FALSE(made.steps[0].key.documents);
  EXPECT_TRUE(made.steps[1].key.rowBounds && made.steps[1].key.keyPadding);
  EXPECT_EQ(made.steps[1].key.keyPaddingAlign, attn::AlignClass::Bytes2);
  EXPECT_EQ(made.workspaceBytes, 4 * 2 * 64 * sizeof(int32_t)) << "and where its holes begin and end";
  padding.args.key_padding_mask.strides[1] = 2;
  EXPECT_EQ(plan(padding).steps[1].key.keyPaddingAlign, attn::AlignClass::Strided);

  // After packed GLM's limits, 64 bytes aligned behind them.
  Sizes odd;
  odd.seqlenQ = odd.seqlenK = 65;
  Call all(odd);
  all.withPairs(1, {0, 4, 0, 4});
  all.args.document_ids = all.tensor(TW_INT32, {2, 65}, 0);
  all.args.key_padding_mask = all.tensor(TW_BOOL, {2, 65}, 1);
  made = plan(all);
  ASSERT_EQ(made.stepCount, 3u);
  EXPECT_EQ(made.steps[0].key.kind, KernelKind::RowLimits);
  EXPECT_EQ(made.steps[1].key.kind, KernelKind::RowBounds);
  EXPECT_TRUE(made.steps[1].key.documents && made.steps[1].key.keyPadding);
  EXPECT_EQ(made.steps[2].key.kind, KernelKind::Forward);
  EXPECT_EQ(made.rowBoundsAt, 576u) << "2 x 65 numbers of 4 bytes, and 56 more";
  EXPECT_EQ(made.workspaceBytes, 576u + 2112u) << "2 x 65 x 4 numbers, and 32 bytes more";
  for (const Step &step : made.list()) {
    EXPECT_NO_THROW(parseKey(toText(step.key))) << "a plan makes canonical keys only";
  }
}

TEST(Plan, RowBoundsOfAGpuHaveBlocksOfTheirOwn) {
  Sizes sizes;
  sizes.seqlenQ = 160;
  sizes.seqlenK = 128;
  sizes.dtype = TW_FLOAT16;
  Call call(sizes);
  call.args.document_ids = call.tensor(TW_INT32, {2, 128}, 0);
  for (TwTensor *tensor : {&call.args.q, &call.args.k, &call.args.v, &call.args.out, &call.args.document_ids}) {
    tensor->device = TW_DEVICE_CUDA;
  }
  PlanOptions gpu = options("qk:128x64:w4");
  gpu.sm = 90;
  const Plan made = makePlan(checkForward(call.args, Purpose::Plan), gpu);
  ASSERT_EQ(made.stepCount, 2u);
  EXPECT_EQ(toText(made.steps[0].key)
                .find("row_bounds target=sm_80:sm_90 evenM=1 documents=1 schedule=qk:32x64:w1 "),
            0u);
  EXPECT_EQ(made.steps[0].programs, 2 * 5);
  EXPECT_FALSE(made.steps[1].key.evenM);
  EXPECT_EQ(made.steps[1].programs, 2 * 4 * 2);
  Call padding(sizes);
  padding.args.key_padding_mask = padding.tensor(TW_BOOL, {2, 128}, 1);
  for (TwTensor *tensor : {&padding.args.q, &padding.args.k, &padding.args.v, &padding.args.out,
                           &padding.args.key_padding_mask}) {
    tensor->device = TW_DEVICE_CUDA;
  }
  const Plan padded = makePlan(checkForward(padding.args, Purpose::Plan), gpu);
  EXPECT_EQ(toText(padded.steps[0].key)
                .find("row_bounds target=sm_80:sm_90 evenM=0 keyPadding=1 schedule=qk:128x64:w2 "),
            0u)
      << toText(padded.steps[0].key);
  EXPECT_EQ(padded.steps[0].programs, 2 * 2);
  for (const Step &step : made.list()) {
    EXPECT_NO_THROW(parseKey(toText(step.key))) << "a plan makes canonical keys only";
  }
}

TEST(Plan, FeaturesReachTheirKeys) {
  Sizes sizes;
  sizes.seqlenQ = sizes.seqlenK = 64;
  Call call(sizes);
  call.args.dropout_p = 0.5;
  call.args.probs = call.tensor(TW_FLOAT32, {2, 4, 64, 64}, 0);
  Plan made = plan(call);
  ASSERT_EQ(made.stepCount, 1u);
  EXPECT_TRUE(made.steps[0].key.dropout && made.steps[0].key.probs);
  EXPECT_TRUE(made.steps[0].key.evenM && made.steps[0].key.evenN) << "neither ends a block";
  call.args.seqused_k = call.integers({2}, {64, 3});
  made = plan(call);
  EXPECT_TRUE(made.steps[0].key.seqUsedK);
  EXPECT_TRUE(made.steps[0].key.evenM);
  EXPECT_FALSE(made.steps[0].key.evenN);

  Call packed;
  packed.args.q = packed.args.out = packed.tensor(TW_FLOAT32, {64, 4, 8}, 0);
  packed.args.k = packed.args.v = packed.tensor(TW_FLOAT32, {64, 2, 8}, 0);
  packed.args.cu_seqlens_q = packed.integers({4}, {0, 32, 32, 64});
  packed.args.cu_seqlens_k = packed.integers({4}, {0, 0, 32, 64});
  packed.args.max_seqlen_q = packed.args.max_seqlen_k = 32;
  made = plan(packed);
  ASSERT_EQ(made.stepCount, 1u);
  EXPECT_TRUE(made.steps[0].key.varlen);
  EXPECT_FALSE(made.steps[0].key.evenM || made.steps[0].key.evenN);
  EXPECT_EQ(made.steps[0].programs, 3 * 4 * 1) << "as many as the longest sequence needs, for each";
}

TEST(Plan, OtherMasksAreOneStep) {
  Call causal;
  causal.args.causal = 1;
  EXPECT_EQ(plan(causal).stepCount, 1u);
  EXPECT_EQ(plan(causal).steps[0].key.mask, attn::MaskKind::Causal);
  Call noPairs;
  noPairs.withPairs(0, {});
  EXPECT_EQ(plan(noPairs).stepCount, 1u);
  EXPECT_EQ(plan(noPairs).steps[0].key, plan(causal).steps[0].key);
  Call breaks;
  breaks.withBreaks({1, 2});
  EXPECT_EQ(plan(breaks).stepCount, 1u);
  EXPECT_EQ(plan(breaks).steps[0].key.mask, attn::MaskKind::GlmBreak);
}

TEST(Plan, NothingToComputeIsNoStep) {
  for (auto spoil : {+[](Sizes &sizes) { sizes.batch = 0; }, +[](Sizes &sizes) { sizes.seqlenQ = 0; },
                     +[](Sizes &sizes) { sizes.heads = 0; }}) {
    Sizes sizes;
    spoil(sizes);
    Call call(sizes);
    call.withPairs(0, {});
    EXPECT_EQ(plan(call).stepCount, 0u);
  }
  Sizes noKeys;
  noKeys.seqlenK = 0;
  EXPECT_EQ(plan(Call(noKeys)).stepCount, 1u);
  EXPECT_TRUE(plan(Call(noKeys)).steps[0].key.evenN);
}

TEST(Plan, ScheduleComesFromTheTableUnlessGiven) {
  Call call;
  const KernelKey key = plan(call, options(nullptr)).steps[0].key;
  EXPECT_EQ(key.schedule, kernels::chooseSchedule(CpuLevel::X86_64_v3, 8, 6, 5));
  EXPECT_EQ(kernels::toText(plan(call).steps[0].key.schedule), "kq:32x16:4x2");
}

TEST(Plan, LengthsAndStridesMakeNoKeys) {
  // The variants that 1000 random problems may need are known beforehand: evenM x evenN x two block heights.
  std::mt19937 random(7);
  std::set<std::string> keys;
  std::set<std::array<bool, 3>> expected;
  for (int i = 0; i < 1000; ++i) {
    Sizes sizes;
    sizes.batch = 1 + random() % 3;
    sizes.heads = 2 * (1 + random() % 3);
    sizes.seqlenQ = 1 + random() % 200;
    sizes.seqlenK = random() % 200;
    Call call(sizes);
    call.args.q.strides[1] += 8 * (random() % 5);
    const KernelKey key = plan(call, options(nullptr)).steps[0].key;
    keys.insert(toText(key));
    expected.insert({sizes.seqlenQ <= 16, sizes.seqlenQ % key.schedule.blockM == 0,
                     sizes.seqlenK % key.schedule.blockN == 0});
  }
  EXPECT_EQ(keys.size(), expected.size());
  EXPECT_LE(keys.size(), 8u);
}

TEST(Plan, SlotsFollowTheArgumentList) {
  Sizes sizes;
  Call call(sizes);
  call.withLse().withPairs(3, std::vector<int32_t>(12, -1));
  call.args.has_softmax_scale = 1;
  call.args.softmax_scale = 0.25;
  ForwardPointers pointers;
  const AttentionProblem problem = checkForward(call.args, Purpose::Run, &pointers);
  Plan made = makePlan(problem, options());
  alignas(64) int32_t workspace[64];
  bindPlan(made, problem, pointers, workspace);

  std::vector<uint64_t> limits;
  auto put = [](std::vector<uint64_t> &list, auto value) {
    if constexpr (std::is_pointer_v<decltype(value)>) {
      list.push_back(reinterpret_cast<uintptr_t>(value));
    } else {
      list.push_back(static_cast<uint64_t>(static_cast<int64_t>(value)));
    }
  };
  auto putTensor = [&](std::vector<uint64_t> &list, const TwTensor &tensor) {
    put(list, tensor.data);
    for (int32_t i = 0; i < tensor.rank; ++i) {
      put(list, tensor.strides[i]);
    }
  };
  // glm_pairs, row_limits, seqlen_q, seqlen_k, causal_offset, pairs
  putTensor(limits, call.args.glm_mask);
  put(limits, static_cast<void *>(workspace));
  for (int64_t value : {int64_t{5}, int64_t{1}, int64_t{5}, int64_t{7}, int64_t{2}, int64_t{3}}) {
    put(limits, value);
  }
  ASSERT_EQ(std::vector<uint64_t>(made.steps[0].slots.begin(), made.steps[0].slots.begin() + made.steps[0].slotCount),
            limits);

  std::vector<uint64_t> forward;
  for (const TwTensor *tensor : {&call.args.q, &call.args.k, &call.args.v, &call.args.out, &call.args.lse}) {
    putTensor(forward, *tensor);
  }
  put(forward, static_cast<void *>(workspace));
  put(forward, 5);
  put(forward, 1);
  forward.push_back(std::bit_cast<uint32_t>(0.25f));
  // seqlen_q, seqlen_k, heads, heads_per_kv, causal_offset, write_lse
  for (int64_t value : {5, 7, 4, 2, 2, 1}) {
    put(forward, value);
  }
  ASSERT_EQ(std::vector<uint64_t>(made.steps[1].slots.begin(), made.steps[1].slots.begin() + made.steps[1].slotCount),
            forward);
}

TEST(Plan, SlotsOfEveryFeature) {
  // Three sequences of at most 5 queries and 7 keys, 9 queries and 15 keys together; every feature that adds arguments.
  Call call;
  call.args.q = call.tensor(TW_FLOAT32, {9, 4, 8}, 0);
  call.args.k = call.tensor(TW_FLOAT32, {15, 2, 8}, 0);
  call.args.v = call.tensor(TW_FLOAT32, {15, 2, 6}, 0);
  call.args.out = call.tensor(TW_FLOAT32, {9, 4, 6}, 0);
  call.args.lse = call.tensor(TW_FLOAT32, {4, 9}, 0);
  call.args.cu_seqlens_q = call.integers({4}, {0, 5, 5, 9});
  call.args.cu_seqlens_k = call.integers({4}, {0, 7, 12, 15});
  call.args.max_seqlen_q = 5;
  call.args.max_seqlen_k = 7;
  call.args.seqused_k = call.integers({3}, {7, 4, 0});
  call.args.causal = 1;
  call.args.glm_mask = call.integers({3, 2, 1}, {0, 2, 0, 2, -1, -1});
  call.args.bias = call.tensor(TW_FLOAT32, {3, 4, 5, 7}, 0);
  call.args.attn_mask = call.tensor(TW_BOOL, {1, 1, 5, 7}, 1);
  call.args.alibi_slopes = call.tensor(TW_FLOAT32, {3, 4}, 0);
  call.args.has_window = 1;
  call.args.window_left = 3;
  call.args.window_right = -1;
  call.args.softcap = 30;
  call.args.document_ids = call.tensor(TW_INT32, {3, 8}, 0);
  call.args.key_padding_mask = call.tensor(TW_BOOL, {3, 9}, 1);
  call.args.dropout_p = 0.25;
  call.args.dropout_seed = ~uint64_t{0} - 4;
  call.args.dropout_offset = 6;
  call.args.probs = call.tensor(TW_FLOAT32, {3, 4, 5, 7}, 0);

  for (const bool topLeft : {false, true}) {
    SCOPED_TRACE(topLeft ? "top left" : "bottom right");
    call.args.causal_align = topLeft ? TW_ALIGN_TOP_LEFT : TW_ALIGN_BOTTOM_RIGHT;
    ForwardPointers pointers;
    const AttentionProblem problem = checkForward(call.args, Purpose::Run, &pointers);
    Plan made = makePlan(problem, options());
    ASSERT_EQ(made.stepCount, 3u);
    ASSERT_EQ(made.rowBoundsAt, 64u);
    ASSERT_EQ(made.workspaceBytes, 64u + 256u) << "3 x 5 x 4 numbers, and 16 bytes more";
    alignas(64) char workspace[320];
    bindPlan(made, problem, pointers, workspace);

    std::vector<uint64_t> list;
    auto integer = [&](int64_t value) { list.push_back(static_cast<uint64_t>(value)); };
    auto float32 = [&](float value) { list.push_back(std::bit_cast<uint32_t>(value)); };
    auto tensor = [&](const void *data, std::initializer_list<int64_t> strides) {
      list.push_back(reinterpret_cast<uintptr_t>(data));
      list.insert(list.end(), strides.begin(), strides.end());
    };
    auto lengths = [&] { // cu_seqlens_q, cu_seqlens_k, seqused_k, bottom_right
      tensor(call.args.cu_seqlens_q.data, {1});
      tensor(call.args.cu_seqlens_k.data, {1});
      tensor(call.args.seqused_k.data, {1});
      integer(topLeft ? 0 : 1);
    };
    auto expect = [&](size_t step) {
      const auto &slots = made.steps[step].slots;
      ASSERT_EQ(std::vector<uint64_t>(slots.begin(), slots.begin() + made.steps[step].slotCount), list) << step;
      list.clear();
    };

    // glm_pairs, row_limits, ..., seqlen_q, seqlen_k, causal_offset, pairs. Offsets lack what the entries' lengths add.
    tensor(call.args.glm_mask.data, {2, 1, 1});
    tensor(workspace, {5, 1});
    lengths();
    for (int64_t value : {5, 7, 0, 1}) {
      integer(value);
    }
    expect(0);

    // row_bounds, documents, key_padding, ..., seqlen_q, seqlen_k, position_offset
    tensor(workspace + 64, {20, 5, 1});
    tensor(call.args.document_ids.data, {8, 1});
    tensor(call.args.key_padding_mask.data, {9, 1});
    lengths();
    for (int64_t value : {5, 7, 0}) {
      integer(value);
    }
    expect(1);

    tensor(call.args.q.data, {0, 32, 8, 1});
    tensor(call.args.k.data, {0, 16, 8, 1});
    tensor(call.args.v.data, {0, 12, 6, 1});
    tensor(call.args.out.data, {0, 24, 6, 1});
    tensor(call.args.lse.data, {0, 9, 1});
    tensor(workspace, {5, 1});
    tensor(call.args.bias.data, {140, 35, 7, 1});
    tensor(call.args.attn_mask.data, {0, 0, 7, 1});
    tensor(call.args.alibi_slopes.data, {4, 1});
    integer(0);  // position_offset
    integer(-3); // window_offset
    float32(30);
    tensor(workspace + 64, {20, 5, 1});
    tensor(call.args.key_padding_mask.data, {9, 1});
    lengths();
    // rng_state, seed, offset, whether the state is given, 0.75 of 65536, and the scale
    tensor(nullptr, {0});
    for (int64_t value : {int64_t{-5}, int64_t{6}, int64_t{0}, int64_t{49152}}) {
      integer(value);
    }
    float32(65536.0f / 49152.0f);
    tensor(call.args.probs.data, {140, 35, 7, 1});
    float32(static_cast<float>(problem.scale));
    // seqlen_q, seqlen_k, heads, heads_per_kv, causal_offset, write_lse
    for (int64_t value : {5, 7, 4, 2, 0, 1}) {
      integer(value);
    }
    expect(2);
  }
}

TEST(Plan, SlotsOfDropoutWithAState) {
  Call call;
  call.args.dropout_p = 0.5;
  call.args.rng_state = call.tensor(TW_INT64, {2}, 0);
  ForwardPointers pointers;
  const AttentionProblem problem = checkForward(call.args, Purpose::Run, &pointers);
  Plan made = makePlan(problem, options());
  bindPlan(made, problem, pointers, nullptr);
  // Behind q, k, v, out and lse: the state and its stride, seed, offset, given, threshold, scale.
  const size_t at = 4 * 5 + 4;
  EXPECT_EQ(made.steps[0].slots[at], reinterpret_cast<uintptr_t>(call.args.rng_state.data));
  EXPECT_EQ(made.steps[0].slots[at + 1], 1u);
  EXPECT_EQ(made.steps[0].slots[at + 4], 1u) << "the state is given";
  EXPECT_EQ(made.steps[0].slots[at + 5], 32768u);
  EXPECT_EQ(made.steps[0].slots[at + 6], std::bit_cast<uint32_t>(2.0f));
}

TEST(Plan, EveryArgumentListFitsItsSlots) {
  for (KernelKind kind : {KernelKind::Forward, KernelKind::RowLimits, KernelKind::RowBounds}) {
    for (attn::MaskKind mask : {attn::MaskKind::None, attn::MaskKind::Causal, attn::MaskKind::GlmBreak,
                                attn::MaskKind::GlmPacked}) {
      size_t slots = 0;
      kernels::ForwardFeatures features;
      features.mask = mask;
      features.bias = attn::ScoreOperand::Matrix;
      features.attnMask = attn::ScoreOperand::MatrixF32;
      features.alibi = features.softcap = features.windowLeft = features.rowBounds = features.documents = true;
      features.keyPadding = features.varlen = features.seqUsedK = features.dropout = features.probs = true;
      for (kernels::ArgId id : kernels::kernelArguments(kind, features)) {
        slots += kernels::argInfo(id).slots();
      }
      EXPECT_GT(slots, 0u);
      EXPECT_LE(slots, kMaxSlots);
    }
  }
}

TEST(Plan, ProgramCountsThatDoNotFitAreRefused) {
  AttentionProblem problem;
  problem.batch = problem.heads = problem.seqlenQ = std::numeric_limits<int32_t>::max();
  problem.headDim = problem.headDimV = 8;
  expectError(TW_INVALID_ARGUMENT, "q", [&] { makePlan(problem, options("kq:16x16:1x1")); });
}

TEST(Plan, Json) {
  Call call;
  call.withPairs(1, {0, 4, 0, 4});
  const nlohmann::json json = nlohmann::json::parse(planJson(plan(call)));
  ASSERT_EQ(json["steps"].size(), 2u);
  EXPECT_EQ(json["steps"][1]["key"], toText(plan(call).steps[1].key));
  EXPECT_EQ(json["steps"][1]["programs"], 8);
  EXPECT_EQ(json["workspace_bytes"], 64) << "10 numbers of 4 bytes, up to the next table's alignment";
}
