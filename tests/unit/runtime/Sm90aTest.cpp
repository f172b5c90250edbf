// SPDX-License-Identifier: Apache-2.0
//
// Kernels of the family sm_90a: their schedules and keys, which problems get them, and the tensor maps of a launch.
#include "FakeCompiler.h"
#include "FakeDriver.h"
#include "TestSupport.h"
#include "cuda/StreamCounters.h"
#include "tilewright/runtime/Engine.h"
#include "tilewright/runtime/Plan.h"

#include <cstring>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::tests;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace {

/// Problem of plain (batch, seqlen, heads, head_dim) tensors that the family serves.
AttentionProblem served(int64_t headDim = 128) {
  AttentionProblem problem;
  problem.device = TW_DEVICE_CUDA;
  problem.dtype = problem.outDtype = TW_BFLOAT16;
  problem.rowAlign.fill(16);
  problem.contiguous.fill(true);
  problem.batch = 2;
  problem.seqlenQ = 300;
  problem.seqlenK = 400;
  problem.heads = 4;
  problem.headsK = 2;
  problem.headDim = problem.headDimV = headDim;
  problem.q = problem.out = {300 * 4 * headDim, 4 * headDim, headDim, 1};
  problem.k = problem.v = {400 * 2 * headDim, 2 * headDim, headDim, 1};
  return problem;
}

PlanOptions hopper(const char *schedule = nullptr) {
  PlanOptions options;
  options.sm = 90;
  options.sm90a = true;
  if (schedule != nullptr) {
    options.schedule = kernels::parseSchedule(schedule);
  }
  return options;
}

std::string targetOf(const AttentionProblem &problem, const PlanOptions &options) {
  const Plan plan = makePlan(problem, options);
  const std::string text = toText(plan.steps[plan.stepCount - 1].key);
  const size_t start = text.find("target=") + 7;
  return text.substr(start, text.find(' ', start) - start);
}

/// Tensors at addresses of a device that nothing reads.
void putOnDevice(Call &call) {
  uintptr_t address = 0x10000;
  for (TwTensor *tensor : {&call.args.q, &call.args.k, &call.args.v, &call.args.out}) {
    tensor->device = TW_DEVICE_CUDA;
    tensor->data = reinterpret_cast<void *>(address);
    address += 0x10000;
  }
}

/// Of an engine whose kernels all have that schedule; its compiler is the stand-in, as new.
EngineOptions engineOptions(const char *schedule) {
  fakeCompiler().reset();
  EngineOptions options;
  options.threads = 1;
  options.plan.schedule = kernels::parseSchedule(schedule);
  return options;
}

/// Packed GLM, whose plan has a step ahead of the forward one.
Plan planOfPacked(const char *schedule) {
  AttentionProblem problem = served();
  problem.mask = attn::MaskKind::GlmPacked;
  problem.pairs = 1;
  return makePlan(problem, hopper(schedule));
}

} // namespace

TEST(Sm90a, SchedulesHaveGroups) {
  for (const char *text : {"qk:128x128:g2:s2", "qk:128x176:g2:s2", "qk:192x64:g3:s4", "qk:128x16:g2", "qk:192x256:g3",
                           "qk:128x128:g2:s2:p2", "qk:192x128:g3:s2:p1:t", "qk:128x128:g2:t", "qk:128x128:g2:r",
                           "qk:192x128:g3:s2:p2:t:r", "qk:128x128:g2:f", "qk:128x128:g2:o",
                           "qk:192x128:g3:s2:p2:t:r:f:o"}) {
    const std::optional<kernels::Schedule> schedule = kernels::parseSchedule(text);
    ASSERT_TRUE(schedule) << text;
    EXPECT_EQ(toText(*schedule), text);
    EXPECT_EQ(schedule->warps, 4 * schedule->groups);
    EXPECT_EQ(schedule->threads(), 128u * (schedule->groups + 1u)) << "a warpgroup more produces";
  }
  for (const char *text : {"qk:64x128:g1:s2", "qk:256x128:g4:s2", "qk:192x128:g2:s2", "qk:128x272:g2", "qk:128x128:g",
                           "kq:128x128:g2:s2", "qk:128x128:g2:s1", "qk:128x128:g2:s5", "qk:128x128:g2w8",
                           "qk:128x128:w8:g2", "qk:128x120:g2", "qk:128x128:g2:p0", "qk:128x128:g2:p3",
                           "qk:128x128:g2:t:p2", "qk:128x128:g2:p2:s2", "qk:128x64:w4:p2", "qk:128x64:w4:t",
                           "qk:128x64:w4:r", "qk:128x128:g2:r:t", "qk:128x64:w4:f", "qk:128x64:w4:o",
                           "qk:128x128:g2:o:f"}) {
    EXPECT_FALSE(kernels::parseSchedule(text)) << text;
  }
  EXPECT_EQ(kernels::parseSchedule("qk:128x64:w8")->threads(), 256u);
  // Whole boxes of 64 columns, and 16 bytes of barriers for a buffer: one of q, two of k and of v.
  EXPECT_EQ(kernels::forwardSharedBytes(*kernels::parseSchedule("qk:128x128:g2:s2"), 72, 72),
            128 * 256 + 2 * 128 * 512 + 16 + 2 * 32);
  // One more block of q, its barriers, and two announced programs with theirs.
  EXPECT_EQ(kernels::forwardSharedBytes(*kernels::parseSchedule("qk:128x128:g2:s2:p2"), 72, 72),
            2 * 128 * 256 + 2 * 128 * 512 + 2 * 16 + 2 * 32 + 2 * (16 + 4));
}

TEST(Sm90a, EveryRowOfTheTableFits) {
  std::ifstream file(TILEWRIGHT_SM90A_SCHEDULE_TABLE);
  const nlohmann::json table = nlohmann::json::parse(file);
  ASSERT_EQ(table["target"], "sm_90a");
  for (const nlohmann::json &row : table["rows"]) {
    EXPECT_GT(row["measured"].get<std::string>().size(), 20u) << row;
  }
  for (unsigned headDim = 8; headDim <= 256; headDim += 8) {
    for (bool masked : {false, true}) {
      for (int64_t seqlenQ : {1, 4096, 4097, 100000}) {
        const std::optional<kernels::Schedule> schedule =
            kernels::chooseSm90aSchedule(headDim, headDim, masked, seqlenQ);
        ASSERT_TRUE(schedule) << headDim;
        // Whichever of the two is wider decides, and whether one of them is an odd number of 16-byte units.
        for (unsigned other = 8; other <= headDim; other += 8) {
          const auto wanted = kernels::chooseSm90aSchedule(headDim, other, masked, seqlenQ);
          for (const auto &[keys, values] : {std::pair(headDim, other), std::pair(other, headDim)}) {
            EXPECT_EQ(kernels::chooseSm90aSchedule(keys, values, masked, seqlenQ), wanted) << keys << " " << values;
            EXPECT_LE(kernels::forwardSharedBytes(*wanted, keys, values), gpuSharedLimit(90)) << keys << " " << values;
          }
          if (headDim % 16 != 0 || other % 16 == 0) {
            EXPECT_EQ(wanted, schedule) << headDim << " " << other;
          }
        }
        for (const nlohmann::json &row : table["rows"]) {
          if (headDim <= row.value("maxHeadDim", 256u) && row.value("masked", masked) == masked &&
              row.value("oddUnits", headDim % 16 != 0) == (headDim % 16 != 0) &&
              seqlenQ <= row.value("maxSeqlenQ", int64_t{1} << 40)) {
            EXPECT_EQ(toText(*schedule), row["schedule"]) << headDim;
            break;
          }
        }
      }
    }
  }
}

TEST(Sm90a, KeysNameTheFamily) {
  const std::string text = "forward target=sm_90a:sm_90 dtype=bf16 headDim=128 headDimV=128 evenM=1 evenN=0 evenD=1 "
                           "mask=causal align=q:a16,k:a16,v:a16,out:a16 schedule=qk:128x128:g2:s2";
  const KernelKey key = parseKey(text);
  EXPECT_TRUE(key.isSm90a());
  EXPECT_EQ(toText(key), text + " build=" + std::string(buildId()));
  KernelKey ptx = key;
  ptx.sm = kPtxOnly;
  EXPECT_THAT(toText(ptx), HasSubstr("target=sm_90a:ptx "));
  EXPECT_TRUE(parseKey(toText(ptx)) == ptx);
  EXPECT_NE(ptx.hash(), key.hash());

  for (const char *schedule : {"qk:128x128:g2:s2:p1", "qk:128x128:g2:s2:p2", "qk:128x128:g2:s2:t",
                               "qk:128x128:g2:s2:r", "qk:128x128:g2:s2:f", "qk:128x128:g2:s2:o"}) {
    KernelKey other = key;
    other.schedule = *kernels::parseSchedule(schedule);
    EXPECT_TRUE(parseKey(toText(other)) == other) << schedule;
    EXPECT_NE(other.hash(), key.hash()) << schedule;
  }

  auto message = [&](const std::string &from, const std::string &to) {
    std::string spoiled = text;
    spoiled.replace(spoiled.find(from), from.size(), to);
    return expectError(TW_INVALID_ARGUMENT, "key", [&] { parseKey(spoiled); });
  };
  EXPECT_THAT(message("sm_90a:sm_90", "sm_90a:sm_100"), HasSubstr("sm_80:ptx, sm_90a:sm_90, sm_90a:ptx"));
  EXPECT_THAT(message("sm_90a:sm_90", "sm_80:sm_90"), HasSubstr("must be one of the target's family sm_80"));
  EXPECT_THAT(message("qk:128x128:g2:s2", "qk:128x64:w4"), HasSubstr("must be one of the target's family sm_90a"));
  EXPECT_THAT(message("evenN=0 evenD=1 mask=causal align=q:a16,k:a16,v:a16,out:a16 schedule=qk:128x128:g2:s2",
                      "evenN=1 evenD=1 mask=none align=q:a16,k:a16,v:a16,out:a16 schedule=qk:128x128:g2:s2:f"),
              HasSubstr("must be 'qk:128x128:g2:s2': what changes nothing in a kernel is left out"));
  KernelKey narrow = key;
  narrow.headDimV = 64;
  EXPECT_TRUE(parseKey(toText(narrow)) == narrow);
  EXPECT_THAT(message("headDimV=128 evenM=1 evenN=0 evenD=1", "headDimV=60 evenM=1 evenN=0 evenD=0"),
              HasSubstr("sm_90a, which has no kernel for this: headDim and headDimV must be multiples of 8"));
  EXPECT_THAT(message("v:a16", "v:a8"), HasSubstr("rows of v must be aligned to 16 bytes"));
  EXPECT_THAT(message("schedule", "alibi=1 schedule"), HasSubstr("its kernels take no alibi_slopes"));
  EXPECT_THAT(expectError(TW_INVALID_ARGUMENT, "key",
                          [] { parseKey("row_limits target=sm_90a:sm_90 evenM=1 schedule=qk:128x64:g2"); }),
              HasSubstr("a row_limits kernel is of sm_80 on every GPU"));
}

TEST(Sm90a, PlansTakeItWhereItServes) {
  EXPECT_EQ(targetOf(served(), hopper()), "sm_90a:sm_90");
  PlanOptions portable = hopper();
  portable.sm90a = false;
  EXPECT_EQ(targetOf(served(), portable), "sm_80:sm_90");

  AttentionProblem narrow = served();
  narrow.headDimV = 64;
  EXPECT_EQ(targetOf(narrow, hopper()), "sm_90a:sm_90");
  EXPECT_EQ(makePlan(served(), hopper()).whyNotSm90a, nullptr);

  const std::vector<std::pair<const char *, std::function<void(AttentionProblem &)>>> others = {
      {"headDim and headDimV must be multiples of 8", [](AttentionProblem &p) { p.headDim = 100; }},
      {"headDim and headDimV must be multiples of 8", [](AttentionProblem &p) { p.headDimV = 100; }},
      {"rows of q must be aligned", [](AttentionProblem &p) { p.rowAlign[0] = 8; }},
      {"rows of out must be aligned", [](AttentionProblem &p) { p.rowAlign[3] = 8; }},
      {"rows of v must be aligned", [](AttentionProblem &p) { p.contiguous[2] = false; }},
      {"strides of k", [](AttentionProblem &p) { p.k[1] = -p.k[1]; }},
      {"strides of v", [](AttentionProblem &p) { p.v[2] = 0; }},
      {"strides of q", [](AttentionProblem &p) { p.q[0] = int64_t{1} << 40; }},
      {"no bias", [](AttentionProblem &p) { p.bias.given = true; }},
      {"no attn_mask", [](AttentionProblem &p) { p.attnMask.given = true; }},
      {"no softcap", [](AttentionProblem &p) { p.softcap = 30.0; }},
      {"no window with a left edge", [](AttentionProblem &p) { p.windowLeft = 5; }},
      {"no alibi_slopes", [](AttentionProblem &p) { p.alibi.given = true; }},
      {"no document_ids", [](AttentionProblem &p) { p.documents.given = true; }},
      {"no key_padding_mask", [](AttentionProblem &p) { p.keyPadding.given = true; }},
      {"no cu_seqlens", [](AttentionProblem &p) { p.varlen = true; }},
      {"no seqused_k", [](AttentionProblem &p) { p.seqUsedK.given = true; }},
      {"no dropout", [](AttentionProblem &p) { p.dropoutP = 0.5; }},
      {"no probabilities", [](AttentionProblem &p) { p.probs.given = true; }},
      {"no row sees a key", [](AttentionProblem &p) { p.seqlenK = 0; }},
      {"only the device knows", // a break point may show keys that the causal limit does not
       [](AttentionProblem &p) {
         p.mask = attn::MaskKind::GlmBreak;
         p.topLeft = true;
       }}};
  for (const auto &[reason, change] : others) {
    AttentionProblem problem = served();
    change(problem);
    EXPECT_EQ(targetOf(problem, hopper()), "sm_80:sm_90") << reason;
    const nlohmann::json plan = nlohmann::json::parse(planJson(makePlan(problem, hopper())));
    EXPECT_THAT(plan.value("why_not_sm_90a", "(none)"), HasSubstr(reason));
  }
  // A plan says which row its schedule is from, unless the engine's was asked for.
  auto tableOf = [](const AttentionProblem &problem, const PlanOptions &options) {
    return nlohmann::json::parse(planJson(makePlan(problem, options)))
        .value("/schedule_row/table"_json_pointer, std::string("(none)"));
  };
  EXPECT_EQ(tableOf(served(), hopper()), "sm_90a.json");
  AttentionProblem capped = served();
  capped.softcap = 30.0;
  EXPECT_EQ(tableOf(capped, hopper()), "gpu.json");
  EXPECT_EQ(tableOf(served(), hopper("qk:128x64:w4")), "(none)");
  EXPECT_THAT(makePlan(served(), portable).whyNotSm90a, HasSubstr("cuda_target"));
  EXPECT_THAT(makePlan(served(), hopper("qk:128x64:w4")).whyNotSm90a, HasSubstr("engine's schedule"));
  PlanOptions ampere;
  ampere.sm = 80;
  EXPECT_EQ(makePlan(served(), ampere).whyNotSm90a, nullptr) << "no news on a GPU without the family";

  AttentionProblem single = served();
  single.batch = 1;
  single.q[0] = -5; // never stepped
  EXPECT_EQ(targetOf(single, hopper()), "sm_90a:sm_90");
  AttentionProblem cpu = served();
  cpu.device = TW_DEVICE_CPU;
  EXPECT_THAT(targetOf(cpu, hopper()), HasSubstr("cpu:"));
}

TEST(Sm90a, AScheduleChoosesTheFamily) {
  EXPECT_EQ(targetOf(served(), hopper("qk:128x64:w4")), "sm_80:sm_90");
  EXPECT_EQ(toText(forwardSchedule(served(), hopper("qk:128x64:g2:s3"))), "qk:128x64:g2:s3");
  // One with groups is not for what the family does not serve.
  AttentionProblem other = served();
  other.softcap = 1.0;
  EXPECT_EQ(forwardSchedule(other, hopper("qk:128x64:g2:s3")),
            kernels::chooseGpuSchedule(90, {.headDim = 128, .headDimV = 128, .masked = true, .rowKeys = 400}));
}

TEST(Sm90a, RowLimitsStayPortable) {
  const Plan plan = planOfPacked("qk:128x64:g2:s2");
  ASSERT_EQ(plan.stepCount, 2u);
  EXPECT_THAT(toText(plan.steps[0].key), HasSubstr("row_limits target=sm_80:sm_90 evenM=0 schedule=qk:128x64:w8"));
  EXPECT_TRUE(plan.steps[1].key.isSm90a());
}

TEST(Sm90a, RowLimitsAreNotPersistent) {
  const Plan plan = planOfPacked("qk:128x64:g2:s2:p2");
  ASSERT_EQ(plan.stepCount, 2u);
  EXPECT_EQ(plan.steps[0].key.schedule.persistent, 0) << "who prepares a mask runs a program a block";
  EXPECT_EQ(plan.steps[1].programs, 2 * 4 * 3);
  EXPECT_EQ(plan.workspaceBytes, 2432u) << "2 x 300 row limits of 4 bytes, and no counter";
}

TEST(Sm90a, VisibleKeys) {
  AttentionProblem problem = served();
  EXPECT_EQ(visibleKeys(problem), 400);
  problem.mask = attn::MaskKind::Causal;
  EXPECT_EQ(visibleKeys(problem), 400) << "the last row sees the last key";
  problem.topLeft = true;
  EXPECT_EQ(visibleKeys(problem), 300);
  problem.mask = attn::MaskKind::None;
  problem.windowRight = 10;
  EXPECT_EQ(visibleKeys(problem), 310);
}

/// Where they change nothing, or TMA could not write the output, the key is that of a schedule without them.
TEST(Sm90a, LoopsAndStoresAreInKeysThatTheyChange) {
  auto scheduleOf = [](const AttentionProblem &problem) {
    const Plan plan = makePlan(problem, hopper("qk:128x64:g2:s2:f:o"));
    return toText(plan.steps[plan.stepCount - 1].key.schedule);
  };
  AttentionProblem problem = served(); // 400 keys: the last block of 64 is partial
  EXPECT_EQ(scheduleOf(problem), "qk:128x64:g2:s2:f:o");
  AttentionProblem even = problem;
  even.seqlenK = 384;
  EXPECT_EQ(scheduleOf(even), "qk:128x64:g2:s2:o");
  even.mask = attn::MaskKind::Causal;
  EXPECT_EQ(scheduleOf(even), "qk:128x64:g2:s2:f:o");

  AttentionProblem far = problem;
  far.out[0] = int64_t{1} << 39;
  EXPECT_EQ(scheduleOf(far), "qk:128x64:g2:s2:f") << "no tensor map has such a stride";
  AttentionProblem wide = problem;
  wide.headDim = 64;
  EXPECT_EQ(scheduleOf(wide), "qk:128x64:g2:s2:f") << "a row of the output needs two boxes, of the queries one";
  wide.headDim = 72;
  wide.q = {300 * 4 * 72, 4 * 72, 72, 1};
  wide.k = {400 * 2 * 72, 2 * 72, 72, 1};
  EXPECT_EQ(scheduleOf(wide), "qk:128x64:g2:s2:f:o");
}

TEST(Sm90a, LaunchesTakeTensorMaps) {
  FakeDriver driver(std::vector<FakeDevice>(1), /*tensorMaps=*/true);
  Engine engine(engineOptions("qk:128x64:g2:s2"));
  Sizes sizes;
  sizes.seqlenQ = 300;
  sizes.seqlenK = 400;
  sizes.headDim = 64;
  sizes.headDimV = 96;
  sizes.dtype = TW_BFLOAT16;
  Call call(sizes);
  call.args.causal = 1;
  call.args.causal_align = TW_ALIGN_TOP_LEFT;
  putOnDevice(call);
  engine.forward(call.args);

  ASSERT_EQ(driver.launches.size(), 1u);
  EXPECT_EQ(driver.launches[0].block, 384u);
  EXPECT_EQ(driver.launches[0].sharedBytes, fakeCompiler().sharedBytes);
  ASSERT_EQ(driver.maps.size(), 3u);
  const FakeDriver::EncodedMap &q = driver.maps[0], &k = driver.maps[1], &v = driver.maps[2];
  EXPECT_EQ(q.memory, call.args.q.data);
  EXPECT_EQ(q.type, cuda::kTensorMapBFloat16);
  EXPECT_THAT(q.sizes, ElementsAre(64, 300, 4, 2));
  EXPECT_THAT(q.strides, ElementsAre(4 * 64 * 2, 64 * 2, 300 * 4 * 64 * 2));
  EXPECT_THAT(q.box, ElementsAre(64, 128, 1, 1));
  EXPECT_EQ(k.memory, call.args.k.data);
  EXPECT_THAT(k.sizes, ElementsAre(64, 300, 2, 2)) << "keys that no row sees read as zeros";
  EXPECT_THAT(k.box, ElementsAre(64, 64, 1, 1));
  EXPECT_EQ(v.memory, call.args.v.data);
  EXPECT_THAT(v.sizes, ElementsAre(96, 300, 2, 2));
  EXPECT_THAT(v.strides, ElementsAre(2 * 96 * 2, 96 * 2, 400 * 2 * 96 * 2));
  EXPECT_THAT(v.box, ElementsAre(64, 64, 1, 1));

  driver.failNext("TensorMapEncodeTiled", 1);
  try {
    engine.forward(call.args);
    FAIL() << "the driver's refusal is lost";
  } catch (const cuda::CudaError &error) {
    EXPECT_EQ(error.expression(), "cuTensorMapEncodeTiled(q)");
  }

  driver.maps.clear();
  Engine(engineOptions("qk:128x64:g2:s2:o")).forward(call.args);
  EXPECT_EQ(driver.maps.size(), 3u) << "a row of the output is wider than one of the queries: it leaves from registers";
}

/// Behind those of the tensors that are read; a warp's rows at once.
TEST(Sm90a, OutputsThatLeaveByTmaHaveATensorMap) {
  FakeDriver driver(std::vector<FakeDevice>(1), /*tensorMaps=*/true);
  Sizes sizes;
  sizes.seqlenQ = 300;
  sizes.seqlenK = 400;
  sizes.headDim = sizes.headDimV = 96;
  sizes.dtype = TW_BFLOAT16;
  Call call(sizes);
  putOnDevice(call);
  Engine(engineOptions("qk:128x64:g2:s2:o")).forward(call.args);
  ASSERT_EQ(driver.maps.size(), 4u);
  const FakeDriver::EncodedMap &out = driver.maps[3];
  EXPECT_EQ(out.memory, call.args.out.data);
  EXPECT_EQ(out.type, cuda::kTensorMapBFloat16);
  EXPECT_THAT(out.sizes, ElementsAre(96, 300, 4, 2));
  EXPECT_THAT(out.strides, ElementsAre(4 * 96 * 2, 96 * 2, 300 * 4 * 96 * 2));
  EXPECT_THAT(out.box, ElementsAre(64, 16, 1, 1));
}

/// Calls of persistent blocks, 24 programs each, and the counters that their launches were given.
class PersistentCalls {
public:
  explicit PersistentCalls(const FakeDevice &device = FakeDevice())
      : driver({device}, /*tensorMaps=*/true), engine(engineOptions("qk:128x64:g2:s2:p2")), call(sizes()) {
    putOnDevice(call);
    driver.onLaunch = [this](void **parameters) {
      // Behind the slots and three tensor maps.
      size_t slots = 0;
      for (kernels::ArgId id : kernels::kernelArguments(kernels::KernelKind::Forward, {})) {
        slots += kernels::argInfo(id).slots();
      }
      void **last = parameters + slots + 3;
      uint64_t counter = 0;
      std::memcpy(&counter, last[0], sizeof(counter));
      std::memcpy(&count, last[1], sizeof(count));
      uint32_t value = 1;
      std::memcpy(&value, reinterpret_cast<void *>(counter), sizeof(value));
      EXPECT_EQ(value, 0u) << "a counter starts from 0";
      counters.push_back(counter);
    };
  }

  /// Calls on the stream of that number; the counter's address.
  uint64_t on(uintptr_t stream) {
    call.args.stream = reinterpret_cast<void *>(stream);
    engine.forward(call.args);
    return counters.back();
  }

  FakeDriver driver;
  std::vector<uint64_t> counters;
  uint32_t count = 0; ///< of programs, as the last launch was told

private:
  static Sizes sizes() {
    Sizes sizes;
    sizes.seqlenQ = sizes.seqlenK = 300;
    sizes.headDim = sizes.headDimV = 64;
    sizes.dtype = TW_BFLOAT16;
    return sizes;
  }

  Engine engine;
  Call call;
};

TEST(Sm90a, PersistentBlocksAreAsManyAsMultiprocessors) {
  for (const int multiprocessors : {5, 132}) {
    FakeDevice device;
    device.multiprocessors = multiprocessors;
    PersistentCalls calls(device);
    calls.on(0);
    ASSERT_EQ(calls.driver.launches.size(), 1u);
    const unsigned programs = 2 * 4 * 3; // batch, heads, blocks of rows
    EXPECT_EQ(calls.driver.launches[0].grid, std::min<unsigned>(programs, static_cast<unsigned>(multiprocessors)));
    EXPECT_EQ(calls.count, programs);
  }
}

TEST(Sm90a, AStreamKeepsItsCounter) {
  PersistentCalls calls;
  const uint64_t first = calls.on(0);
  EXPECT_EQ(calls.driver.count("StreamSynchronize"), 1) << "no other stream sees a counter before it is 0";
  calls.driver.calls.clear();
  EXPECT_EQ(calls.on(0), first);
  const uint64_t other = calls.on(0x70);
  EXPECT_NE(other, first) << "kernels of two streams run side by side";
  EXPECT_EQ(calls.on(0x70), other);
  EXPECT_EQ(calls.on(0), first);
  for (const char *function : {"MemAllocFromPoolAsync", "MemFreeAsync", "MemsetD32Async", "StreamSynchronize"}) {
    EXPECT_EQ(calls.driver.count(function), 0) << function;
  }
  EXPECT_EQ(calls.driver.liveAllocations, 1u) << "the counters of all streams";
  calls.driver.streamIds[0x70] = 12345;
  EXPECT_NE(calls.on(0x70), other) << "another stream, with the handle of one that was destroyed";
}

TEST(Sm90a, AGraphHasACounterOfItsOwn) {
  PersistentCalls calls;
  const uint64_t streams = calls.on(0);
  calls.driver.captureStatus = 1;
  calls.driver.calls.clear();
  EXPECT_NE(calls.on(0), streams) << "graphs run beside the stream's kernels and beside themselves";
  EXPECT_EQ(calls.driver.count("MemAllocFromPoolAsync"), 1);
  EXPECT_EQ(calls.driver.count("MemsetD32Async"), 1) << "in every run of the graph";
  EXPECT_EQ(calls.driver.count("MemFreeAsync"), 1);
  EXPECT_EQ(calls.driver.count("StreamGetId"), 0) << "not during a capture";
}

TEST(Sm90a, StreamsBeyondTheLastCounterBringTheirOwn) {
  PersistentCalls calls;
  std::set<uint64_t> distinct;
  for (uintptr_t i = 0; i < cuda::kMaxCountedStreams; ++i) {
    distinct.insert(calls.on(16 * i));
  }
  EXPECT_EQ(distinct.size(), cuda::kMaxCountedStreams);
  EXPECT_EQ(calls.driver.count("MemAllocFromPoolAsync"), 1);
  EXPECT_EQ(distinct.count(calls.on(16 * cuda::kMaxCountedStreams)), 0u);
  EXPECT_EQ(calls.driver.count("MemAllocFromPoolAsync"), 2);
  EXPECT_EQ(calls.driver.liveAllocations, 1u) << "given back";
  EXPECT_EQ(distinct.count(calls.on(16)), 1u);
}

TEST(Sm90a, ThreadsDefaultStreamsShareNoCounter) {
  PersistentCalls calls;
  calls.on(2); // CU_STREAM_PER_THREAD
  calls.on(2);
  EXPECT_EQ(calls.driver.count("StreamGetId"), 0);
  EXPECT_EQ(calls.driver.count("MemAllocFromPoolAsync"), 2);
  EXPECT_EQ(calls.driver.liveAllocations, 0u);
}

TEST(Sm90a, CountersThatCannotBeMadeAreAnErrorAndTriedAgain) {
  PersistentCalls calls;
  calls.driver.failNext("MemsetD32Async", 700);
  EXPECT_THROW(calls.on(0), cuda::CudaError);
  EXPECT_EQ(calls.driver.liveAllocations, 0u);
  calls.driver.failNext("StreamGetId", 700);
  EXPECT_THROW(calls.on(0), cuda::CudaError);
  calls.on(0);
  EXPECT_EQ(calls.driver.liveAllocations, 1u);
}

TEST(Sm90a, WithoutMemoryPoolsBlocksRunOneProgramEach) {
  fakeCompiler().reset();
  FakeDevice device;
  device.memoryPools = false;
  FakeDriver driver({device}, /*tensorMaps=*/true);
  EngineOptions options;
  options.threads = 1;
  const Plan plan = Engine(options).plan(served());
  EXPECT_TRUE(plan.steps[0].key.isSm90a());
  EXPECT_EQ(plan.steps[0].key.schedule.persistent, 0);
  EXPECT_EQ(plan.workspaceBytes, 0u) << "the host would wait for the kernel to give it back";
  options.plan.schedule = kernels::parseSchedule("qk:128x64:g2:s2:p2");
  EXPECT_EQ(Engine(options).plan(served()).steps[0].key.schedule.persistent, 2) << "asked for";
}

TEST(Sm90a, ADriverWithoutTensorMapsGetsTheOtherFamily) {
  fakeCompiler().reset();
  FakeDriver driver;
  EngineOptions options;
  options.threads = 1;
  Engine engine(options);
  EXPECT_FALSE(engine.plan(served()).steps[0].key.isSm90a());
}
