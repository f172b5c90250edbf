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

TEST(Plan, EveryArgumentListFitsItsSlots) {
  for (KernelKind kind : {KernelKind::Forward, KernelKind::RowLimits}) {
    for (attn::MaskKind mask : {attn::MaskKind::None, attn::MaskKind::Causal, attn::MaskKind::GlmBreak,
                                attn::MaskKind::GlmPacked}) {
      size_t slots = 0;
      const kernels::ForwardFeatures features{mask, attn::ScoreOperand::Matrix, attn::ScoreOperand::MatrixF32,
                                              /*alibi=*/true, /*softcap=*/true, /*windowLeft=*/true};
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
  EXPECT_EQ(json["workspace_bytes"], 40);
}
