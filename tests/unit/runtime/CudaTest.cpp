// SPDX-License-Identifier: Apache-2.0
//
// CUDA without a GPU: checks, plans, and what a driver is asked to do for a call, with a driver that only records.
#include "FakeCompiler.h"
#include "FakeDriver.h"
#include "TestSupport.h"
#include "cuda/CudaKernel.h"
#include "tilewright/runtime/Engine.h"

#include <bit>
#include <nlohmann/json.hpp>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::tests;
using ::testing::HasSubstr;

namespace {

/// A valid call on a CUDA device. Its "device" memory is host memory, which nothing reads.
class CudaCall : public Call {
public:
  explicit CudaCall(int device = 0, Sizes sizes = {}) : Call(withHalf(sizes)), device_(device) { move(); }

  CudaCall &lse() {
    withLse();
    return move();
  }
  CudaCall &pairs(int64_t count, const std::vector<int32_t> &values) {
    withPairs(count, values);
    return move();
  }
  CudaCall &breaks(const std::vector<int32_t> &values) {
    withBreaks(values);
    return move();
  }
  CudaCall &move() {
    for (TwTensor *tensor : {&args.q, &args.k, &args.v, &args.out, &args.lse, &args.glm_mask}) {
      tensor->device = TW_DEVICE_CUDA;
      tensor->device_index = device_;
    }
    args.stream = kStream;
    return *this;
  }

  static inline void *const kStream = reinterpret_cast<void *>(0x5150);

private:
  static Sizes withHalf(Sizes sizes) {
    sizes.dtype = sizes.dtype == TW_FLOAT32 ? TW_FLOAT16 : sizes.dtype;
    return sizes;
  }
  const int device_;
};

AttentionProblem check(const Call &call, Purpose purpose = Purpose::Run) { return checkForward(call.args, purpose); }

PlanOptions gpuOptions(const char *schedule = nullptr, uint16_t sm = 90) {
  PlanOptions options;
  options.sm = sm;
  if (schedule != nullptr) {
    options.schedule = kernels::parseSchedule(schedule);
  }
  return options;
}

EngineOptions memoryOnly() {
  EngineOptions options;
  options.threads = 1;
  return options;
}

class Cuda : public ::testing::Test {
protected:
  void SetUp() override { fakeCompiler().reset(); }
};

} // namespace

//===-- Checks ----------------------------------------------------------------------------------------------------===//

TEST_F(Cuda, AcceptsAPlainCall) {
  const AttentionProblem problem = check(CudaCall(3));
  EXPECT_EQ(problem.device, TW_DEVICE_CUDA);
  EXPECT_EQ(problem.deviceIndex, 3);
}

TEST_F(Cuda, Float32IsRefusedWithTheTypesThatWork) {
  CudaCall call;
  for (TwTensor *tensor : {&call.args.q, &call.args.k, &call.args.v, &call.args.out}) {
    tensor->dtype = TW_FLOAT32;
  }
  EXPECT_THAT(expectError(TW_UNSUPPORTED, "q", [&] { check(call); }),
              HasSubstr("q: dtype is float32, must be one of float16, bfloat16 on a CUDA device"));
  call.args.q.dtype = TW_FLOAT64;
  EXPECT_THAT(expectError(TW_INVALID_ARGUMENT, "q", [&] { check(call); }),
              HasSubstr("dtype is float64, must be one of float16, bfloat16"));
}

TEST_F(Cuda, EveryTensorIsOnTheDeviceOfQ) {
  const std::pair<const char *, TwTensor TwForwardArgs::*> tensors[] = {
      {"k", &TwForwardArgs::k},     {"v", &TwForwardArgs::v},
      {"out", &TwForwardArgs::out}, {"lse", &TwForwardArgs::lse},
      {"glm_mask", &TwForwardArgs::glm_mask}};
  for (const auto &[name, member] : tensors) {
    CudaCall call(1);
    call.lse().breaks({1, 2});
    (call.args.*member).device_index = 2;
    EXPECT_THAT(expectError(TW_INVALID_ARGUMENT, name, [&] { check(call); }),
                HasSubstr(std::string(name) + ": is on cuda:2, but q is on cuda:1"));
    (call.args.*member).device = TW_DEVICE_CPU;
    EXPECT_THAT(expectError(TW_INVALID_ARGUMENT, name, [&] { check(call); }),
                HasSubstr("is on the CPU, but q is on cuda:1"));
  }
  CudaCall negative(-1);
  EXPECT_THAT(expectError(TW_INVALID_ARGUMENT, "q", [&] { check(negative); }), HasSubstr("device index is -1"));
}

TEST_F(Cuda, GlmNumbersAreNotRead) {
  CudaCall call;
  call.breaks({-5, 1000});
  EXPECT_NO_THROW(check(call)) << "kernels clamp them";
  // A block map needs them on the host.
  EXPECT_THAT(expectError(TW_UNSUPPORTED, "glm_mask", [&] { check(call, Purpose::BlockMap); }),
              HasSubstr("pass a copy on the CPU"));
  call.args.glm_mask.device = TW_DEVICE_CPU;
  expectError(TW_INVALID_ARGUMENT, "glm_mask", [&] { check(call, Purpose::BlockMap); }); // values are checked there
  CudaCall good;
  good.breaks({3, 7});
  good.args.glm_mask.device = TW_DEVICE_CPU;
  EXPECT_NO_THROW(check(good, Purpose::BlockMap));
}

TEST_F(Cuda, TheReferenceStaysOnTheCpu) {
  CudaCall call;
  EXPECT_THAT(expectError(TW_UNSUPPORTED, "q", [&] { check(call, Purpose::Reference); }),
              HasSubstr("the reference computes on the CPU"));
}

//===-- Plans -----------------------------------------------------------------------------------------------------===//

TEST_F(Cuda, AlignmentComesFromAddressesAndStrides) {
  Sizes sizes;
  sizes.headDim = sizes.headDimV = 64;
  CudaCall call(0, sizes);
  auto align = [&](const TwForwardArgs &args) { return checkForward(args, Purpose::Plan).rowAlign; };
  auto at = [](uintptr_t address) { return reinterpret_cast<void *>(address); };
  call.args.q.data = at(0x1000);
  call.args.k.data = at(0x1008);
  call.args.v.data = at(0x1004);
  call.args.out.data = at(0x1002);
  EXPECT_EQ(align(call.args), (std::array<uint8_t, 4>{16, 8, 4, 2}));
  call.args.q.strides[1] += 4; // elements: 8 bytes
  EXPECT_EQ(align(call.args)[0], 8);
  call.args.q.strides[2] = -64 - 2;
  EXPECT_EQ(align(call.args)[0], 4);
  call.args.q.strides[0] += 1;
  EXPECT_EQ(align(call.args)[0], 2);
  call.args.q.shape[0] = 1; // a stride that is never stepped does not count
  EXPECT_THAT(expectError(TW_INVALID_ARGUMENT, "k", [&] { align(call.args); }), HasSubstr("batch"));
  CudaCall noAddress(0, sizes);
  noAddress.args.q.data = nullptr;
  EXPECT_EQ(align(noAddress.args)[0], 16);

  Sizes one = sizes;
  one.batch = 1;
  CudaCall single(0, one);
  single.args.q.data = at(0x1000);
  single.args.q.strides[0] = 12345;
  EXPECT_EQ(align(single.args)[0], 16);
}

TEST_F(Cuda, PlanHoldsAGpuKey) {
  Sizes sizes;
  sizes.seqlenQ = 256;
  sizes.seqlenK = 192;
  sizes.headDim = 96;
  sizes.headDimV = 80;
  sizes.dtype = TW_BFLOAT16;
  CudaCall call(0, sizes);
  for (TwTensor *tensor : {&call.args.q, &call.args.k, &call.args.v, &call.args.out}) {
    tensor->data = reinterpret_cast<void *>(0x10000);
  }
  call.args.v.strides[3] = 2;
  call.args.out.data = reinterpret_cast<void *>(0x10008);
  const Plan plan = makePlan(check(call), gpuOptions("qk:128x64:w4"));
  ASSERT_EQ(plan.stepCount, 1u);
  const std::string text = toText(plan.steps[0].key);
  EXPECT_EQ(text.substr(0, text.find(" build=")),
            "forward target=sm_80:sm_90 dtype=bf16 headDim=96 headDimV=80 evenM=1 evenN=1 evenD=1 mask=none "
            "align=q:a16,k:a16,v:strided,out:a8 schedule=qk:128x64:w4");
  EXPECT_EQ(plan.steps[0].programs, 2 * 4 * 2);
  EXPECT_TRUE(parseKey(text) == plan.steps[0].key);
}

TEST_F(Cuda, SchedulesApplyToTheirOwnKindOfTarget) {
  CudaCall gpu;
  Call cpu;
  PlanOptions options = gpuOptions("qk:64x32:w2");
  EXPECT_EQ(kernels::toText(forwardSchedule(check(gpu), options)), "qk:64x32:w2");
  EXPECT_EQ(forwardSchedule(check(cpu), options), kernels::chooseSchedule(options.level, 8, 6, 5));
  options = gpuOptions("kq:32x16:4x2");
  kernels::GpuCall asked{.headDim = 8, .headDimV = 6, .plainScores = true, .rowKeys = 7};
  EXPECT_EQ(forwardSchedule(check(gpu), options), kernels::chooseGpuSchedule(90, asked));
  EXPECT_EQ(kernels::toText(forwardSchedule(check(cpu), options)), "kq:32x16:4x2");
  gpu.args.causal = 1;
  asked.masked = asked.longRows = true;
  EXPECT_EQ(forwardSchedule(check(gpu), options), kernels::chooseGpuSchedule(90, asked));
}

TEST_F(Cuda, TheTableIsAskedWhatHidesKeysAndHowMany) {
  AttentionProblem problem;
  problem.device = TW_DEVICE_CUDA;
  problem.dtype = problem.outDtype = TW_BFLOAT16;
  problem.rowAlign.fill(16);
  problem.batch = problem.heads = problem.headsK = 1;
  problem.seqlenQ = problem.seqlenK = 4096;
  problem.headDim = problem.headDimV = 64;
  PlanOptions options = gpuOptions("qk:64x64:w4");
  options.schedule.reset();
  auto expectAsked = [&](const AttentionProblem &about, kernels::GpuCall call, const char *what) {
    call.headDim = call.headDimV = 64;
    call.rowKeys = call.rowKeys != 0 ? call.rowKeys : about.seqlenK;
    EXPECT_EQ(kernels::toText(forwardSchedule(about, options)), kernels::toText(kernels::chooseGpuSchedule(90, call)))
        << what;
  };
  auto with = [&](auto &&change) {
    AttentionProblem changed = problem;
    change(changed);
    return changed;
  };
  const AttentionProblem causal = with([](AttentionProblem &p) { p.mask = attn::MaskKind::Causal; });
  const AttentionProblem documents = with([](AttentionProblem &p) {
    p.mask = attn::MaskKind::Causal;
    p.documents.given = true;
  });
  const AttentionProblem window = with([](AttentionProblem &p) {
    p.mask = attn::MaskKind::Causal;
    p.windowLeft = 100;
  });
  expectAsked(problem, {.plainScores = true}, "dense");
  expectAsked(with([](AttentionProblem &p) { p.alibi.given = true; }), {}, "ALiBi");
  expectAsked(causal, {.masked = true, .plainScores = true, .longRows = true, .causal = true}, "causal");
  expectAsked(documents, {.masked = true, .plainScores = true, .documents = true, .causal = true}, "causal documents");
  expectAsked(window, {.masked = true, .plainScores = true, .causal = true, .rowKeys = 101}, "window");
  const AttentionProblem twoSided = with([](AttentionProblem &p) {
    p.windowLeft = 1000;
    p.windowRight = 24;
  });
  expectAsked(twoSided, {.masked = true, .plainScores = true, .causal = true, .rowKeys = 1025}, "window, two sides");
  expectAsked(with([](AttentionProblem &p) { p.windowLeft = 100; }), {.masked = true, .plainScores = true},
              "a window without a right side");
  EXPECT_NE(kernels::toText(forwardSchedule(problem, options)),
            kernels::toText(forwardSchedule(with([](AttentionProblem &p) { p.alibi.given = true; }), options)));
  // Rows tell these apart; were they to agree, this would see nothing.
  EXPECT_EQ(kernels::toText(forwardSchedule(causal, options)), "qk:128x96:w4:s2:b2");
  EXPECT_EQ(kernels::toText(forwardSchedule(documents, options)), "qk:64x64:w4:s2:c4");
  EXPECT_EQ(kernels::toText(forwardSchedule(with([](AttentionProblem &p) { p.documents.given = true; }), options)),
            "qk:128x96:w4:s2:b2");
  EXPECT_EQ(kernels::toText(forwardSchedule(window, options)), "qk:128x64:w4:s2:b2");
  EXPECT_EQ(kernels::toText(forwardSchedule(twoSided, options)), "qk:128x96:w4:s2:b2");

  expectAsked(with([](AttentionProblem &p) { p.keyPadding.given = true; }), {.plainScores = true, .longRows = true},
              "padding");
  expectAsked(with([](AttentionProblem &p) { p.probs.given = true; }), {.masked = true}, "probabilities");
  expectAsked(with([](AttentionProblem &p) { p.softcap = 3; }), {.masked = true}, "softcap");
  expectAsked(with([&](AttentionProblem &p) {
                p = documents;
                p.alibi.given = true;
              }),
              {.masked = true, .causal = true}, "documents and ALiBi");
  expectAsked(with([&](AttentionProblem &p) {
                p = causal;
                p.seqlenQ = p.seqlenK = 100;
              }),
              {.masked = true, .plainScores = true, .longRows = true, .causal = true}, "short");
}

TEST_F(Cuda, CopiedMatricesCountInSharedMemory) {
  AttentionProblem problem;
  problem.device = TW_DEVICE_CUDA;
  problem.dtype = problem.outDtype = TW_FLOAT16;
  problem.rowAlign.fill(16);
  problem.batch = 1;
  problem.heads = problem.headsK = 1;
  problem.seqlenQ = problem.seqlenK = 256;
  problem.headDim = problem.headDimV = 256;
  problem.bias = {true, TW_FLOAT16, {0, 0, 256, 1}, attn::AlignClass::Bytes2};
  // 64x64 with head dim 256 leaves 3 KiB of 99; a block of 16-bit scores takes 8.
  const PlanOptions asked = gpuOptions("qk:64x64:w4", 86);
  PlanOptions table = asked;
  table.schedule.reset();
  EXPECT_NO_THROW(makePlan(problem, asked)) << "read in place";
  EXPECT_EQ(kernels::toText(forwardSchedule(problem, table)), "qk:64x64:w4");
  problem.bias.align = attn::AlignClass::Bytes4;
  EXPECT_THAT(expectError(TW_UNSUPPORTED, "schedule", [&] { makePlan(problem, asked); }),
              HasSubstr("qk:64x64:w4 needs 106496 bytes of shared memory"));
  EXPECT_EQ(kernels::toText(forwardSchedule(problem, table)), "qk:64x32:w4");
  EXPECT_NO_THROW(makePlan(problem, table));
  problem.bias.strides[2] = 0;
  EXPECT_NO_THROW(makePlan(problem, asked)) << "one row for all queries is read in place";
}

TEST_F(Cuda, GridsHaveALimit) {
  AttentionProblem problem;
  problem.device = TW_DEVICE_CUDA;
  problem.dtype = problem.outDtype = TW_FLOAT16;
  problem.rowAlign.fill(16);
  problem.batch = 1;
  problem.heads = 4;
  problem.headDim = problem.headDimV = 64;
  problem.seqlenQ = int64_t{16} * (kMaxCudaPrograms / 4);
  const Plan plan = makePlan(problem, gpuOptions("qk:16x64:w1"));
  EXPECT_LE(plan.steps[0].programs, kMaxCudaPrograms);
  problem.seqlenQ += 16;
  EXPECT_THAT(expectError(TW_INVALID_ARGUMENT, "q", [&] { makePlan(problem, gpuOptions("qk:16x64:w1")); }),
              HasSubstr("2147483648 programs, but a CUDA launch has at most 2147483647"));
}

//===-- Launches --------------------------------------------------------------------------------------------------===//

TEST_F(Cuda, ForwardLaunchesOnTheCallersStreamAndDevice) {
  FakeDriver driver(std::vector<FakeDevice>(3));
  const cuda::Context mine = FakeDriver::contextOf(0);
  driver.contexts = {mine};
  Engine engine(memoryOnly());
  CudaCall call(2);
  call.lse();
  call.args.has_softmax_scale = 1;
  call.args.softmax_scale = 0.25;
  driver.parameterCount = 5 + 5 + 5 + 5 + 4 + 7;
  engine.forward(call.args);
  ASSERT_EQ(driver.launches.size(), 1u);
  const FakeDriver::Launch &launch = driver.launches[0];
  EXPECT_EQ(launch.context, FakeDriver::contextOf(2));
  EXPECT_EQ(driver.contexts, std::vector<cuda::Context>{mine}) << "the caller's context is current again";
  EXPECT_EQ(launch.symbol, "attn_forward");
  EXPECT_EQ(launch.stream, CudaCall::kStream);
  EXPECT_EQ(launch.grid, 2u * 4u * 1u);
  EXPECT_EQ(launch.block, 128u);
  EXPECT_EQ(launch.sharedBytes, 65536u);
  EXPECT_EQ(driver.sharedAttribute["attn_forward"], 65536);

  std::vector<uint64_t> expected;
  for (const TwTensor *tensor : {&call.args.q, &call.args.k, &call.args.v, &call.args.out, &call.args.lse}) {
    expected.push_back(reinterpret_cast<uintptr_t>(tensor->data));
    for (int32_t i = 0; i < tensor->rank; ++i) {
      expected.push_back(static_cast<uint64_t>(tensor->strides[i]));
    }
  }
  expected.push_back(std::bit_cast<uint32_t>(0.25f));
  for (uint64_t value : {5, 7, 4, 2, 2, 1}) { // seqlen_q, seqlen_k, heads, heads_per_kv, causal_offset, write_lse
    expected.push_back(value);
  }
  EXPECT_EQ(launch.values, expected);
  EXPECT_EQ(driver.count("StreamSynchronize"), 0);
  EXPECT_EQ(fakeCompiler().loads, 0) << "the CPU's loader has nothing to do with it";
}

TEST_F(Cuda, ACurrentContextIsNotPushed) {
  FakeDriver driver;
  driver.contexts = {FakeDriver::contextOf(0)};
  Engine engine(memoryOnly());
  engine.forward(CudaCall().args);
  EXPECT_EQ(driver.count("CtxPushCurrent"), 0);
  EXPECT_EQ(driver.launches.at(0).context, FakeDriver::contextOf(0));
}

TEST_F(Cuda, ARepeatedCallAsksTheDriverForLittle) {
  FakeDriver driver;
  Engine engine(memoryOnly());
  CudaCall call;
  engine.forward(call.args);
  driver.calls.clear();
  engine.forward(call.args);
  const std::vector<std::string> expected = {"CtxGetCurrent", "CtxPushCurrent", "LaunchKernel", "CtxPopCurrent"};
  EXPECT_EQ(driver.calls, expected);
  EXPECT_EQ(fakeCompiler().compiles, 1);
}

TEST_F(Cuda, OneCompilationServesEveryDeviceOfAKind) {
  FakeDriver driver(std::vector<FakeDevice>(2));
  Engine engine(memoryOnly());
  engine.forward(CudaCall(0).args);
  engine.forward(CudaCall(1).args);
  engine.forward(CudaCall(0).args);
  EXPECT_EQ(fakeCompiler().compiles, 1);
  EXPECT_EQ(driver.count("ModuleLoadDataEx"), 2);
  EXPECT_NE(driver.launches[0].function, driver.launches[1].function);
  EXPECT_EQ(driver.launches[0].function, driver.launches[2].function);
}

TEST_F(Cuda, KernelsComeBackFromTheDisk) {
  FakeDriver driver;
  TemporaryFolder folder;
  EngineOptions options = memoryOnly();
  options.cache = {folder.path, CacheSource::Option};
  Engine(options).forward(CudaCall().args);
  Engine second(options);
  second.forward(CudaCall().args);
  EXPECT_EQ(fakeCompiler().compiles, 1);
  ASSERT_EQ(driver.launches.size(), 2u);
  EXPECT_EQ(driver.launches[1].block, 128u);
  EXPECT_EQ(driver.launches[1].sharedBytes, 65536u);
  EXPECT_EQ(driver.images.at(0), driver.images.at(1));
}

TEST_F(Cuda, PackedPairsTakeWorkspaceInStreamOrder) {
  FakeDriver driver;
  Engine engine(memoryOnly());
  CudaCall call;
  call.pairs(1, {0, 4, 0, 4});
  driver.parameterCount = 10;
  engine.forward(call.args);
  ASSERT_EQ(driver.launches.size(), 2u);
  EXPECT_EQ(driver.launches[0].symbol, "attn_row_limits");
  EXPECT_EQ(driver.launches[1].symbol, "attn_forward");
  EXPECT_EQ(driver.launches[0].values[0], reinterpret_cast<uintptr_t>(call.args.glm_mask.data));
  EXPECT_NE(driver.launches[0].values[4], 0u) << "row limits";
  EXPECT_EQ(driver.liveAllocations, 0u);
  EXPECT_EQ(driver.count("MemAllocFromPoolAsync"), 1);
  ASSERT_EQ(driver.usedPools.size(), 1u);
  EXPECT_EQ(driver.usedPools[0], FakeDriver::poolOf(call.args.q.device_index));
  EXPECT_GE(driver.poolKeeps[driver.usedPools[0]], 1u << 20) << "a pool that keeps nothing maps memory in every call";
  EXPECT_EQ(driver.count("MemFreeAsync"), 1);
  EXPECT_EQ(driver.count("StreamSynchronize"), 0);

  driver.failNext("LaunchKernel", 700);
  expectError(TW_CUDA_ERROR, "", [&] { engine.forward(call.args); });
  EXPECT_EQ(driver.liveAllocations, 0u) << "given back after a failure too";
}

TEST_F(Cuda, WithoutMemoryPoolsTheHostWaits) {
  FakeDriver driver({FakeDevice{"Fake vGPU", 8, 0, 166912, false}});
  Engine engine(memoryOnly());
  CudaCall call;
  call.pairs(1, {0, 4, 0, 4});
  engine.forward(call.args);
  EXPECT_EQ(driver.count("MemAllocFromPoolAsync"), 0);
  EXPECT_EQ(driver.count("MemAlloc"), 1);
  const auto synchronized = std::find(driver.calls.begin(), driver.calls.end(), "StreamSynchronize");
  const auto freed = std::find(driver.calls.begin(), driver.calls.end(), "MemFree");
  EXPECT_LT(synchronized, freed);
  EXPECT_NE(freed, driver.calls.end());
  EXPECT_EQ(driver.liveAllocations, 0u);

  driver.captureStatus = 1;
  EXPECT_THAT(expectError(TW_UNSUPPORTED, "glm_mask", [&] { engine.forward(call.args); }), HasSubstr("memory pools"));
}

TEST_F(Cuda, NothingToComputeLaunchesNothing) {
  FakeDriver driver;
  Engine engine(memoryOnly());
  Sizes sizes;
  sizes.seqlenQ = 0;
  engine.forward(CudaCall(0, sizes).args);
  EXPECT_TRUE(driver.launches.empty());
  EXPECT_EQ(fakeCompiler().compiles, 0);
}

TEST_F(Cuda, AMissDuringCaptureIsAnErrorBeforeAnythingHappens) {
  FakeDriver driver;
  Engine engine(memoryOnly());
  CudaCall call;
  driver.captureStatus = 1;
  const std::string message = expectError(TW_CACHE_MISS, "", [&] { engine.forward(call.args); });
  EXPECT_THAT(message, HasSubstr("forward target=sm_80:sm_90"));
  EXPECT_EQ(fakeCompiler().compiles, 0);
  EXPECT_EQ(driver.count("ModuleLoadDataEx"), 0);

  driver.captureStatus = 0;
  driver.failNext("StreamIsCapturing", 906); // the default stream, while another one is captured
  expectError(TW_CACHE_MISS, "", [&] { engine.forward(call.args); });

  engine.forward(call.args);
  driver.captureStatus = 1;
  engine.forward(call.args);
  EXPECT_EQ(driver.launches.size(), 2u);
}

//===-- Errors ----------------------------------------------------------------------------------------------------===//

TEST_F(Cuda, DriverErrorsKeepExpressionCodeDeviceAndStream) {
  FakeDriver driver(std::vector<FakeDevice>(2));
  Engine engine(memoryOnly());
  CudaCall call(1);
  driver.failNext("LaunchKernel", 700);
  try {
    engine.forward(call.args);
    FAIL() << "no error was thrown";
  } catch (const cuda::CudaError &error) {
    EXPECT_EQ(error.status(), TW_CUDA_ERROR);
    EXPECT_EQ(error.code(), 700);
    EXPECT_EQ(error.codeName(), "CUDA_ERROR_ILLEGAL_ADDRESS");
    EXPECT_EQ(error.device(), 1);
    EXPECT_EQ(error.stream(), CudaCall::kStream);
    EXPECT_THAT(error.expression(), HasSubstr("cuLaunchKernel(attn_forward, grid 8, block 128"));
    EXPECT_THAT(error.what(), ::testing::AllOf(HasSubstr("CUDA_ERROR_ILLEGAL_ADDRESS (700: an illegal memory access"),
                                               HasSubstr("on cuda:1, stream 0x5150")));
  }
  EXPECT_TRUE(driver.contexts.empty()) << "the context is popped after a failure too";
}

TEST_F(Cuda, OutOfDeviceMemoryIsOutOfMemory) {
  FakeDriver driver;
  Engine engine(memoryOnly());
  CudaCall call;
  call.pairs(1, {0, 4, 0, 4});
  driver.failNext("MemAllocFromPoolAsync", cuda::kErrorOutOfMemory);
  EXPECT_THAT(expectError(TW_OUT_OF_MEMORY, "", [&] { engine.forward(call.args); }),
              HasSubstr("cuMemAllocFromPoolAsync(64 bytes) failed with CUDA_ERROR_OUT_OF_MEMORY"));
  EXPECT_TRUE(driver.launches.empty());
}

TEST_F(Cuda, AFailedLoadShowsTheDriversLogAndIsTriedAgain) {
  FakeDriver driver;
  Engine engine(memoryOnly());
  driver.log = "no room for the module";
  driver.failNext("ModuleLoadDataEx", cuda::kErrorOutOfMemory);
  EXPECT_THAT(expectError(TW_OUT_OF_MEMORY, "", [&] { engine.forward(CudaCall().args); }),
              ::testing::AllOf(HasSubstr("no room for the module"), HasSubstr("CUDA_ERROR_OUT_OF_MEMORY")));
  EXPECT_EQ(fakeCompiler().compiles, 1) << "says nothing about the code: no PTX instead";
  engine.forward(CudaCall().args);
  EXPECT_EQ(driver.launches.size(), 1u);
  EXPECT_THAT(driver.images.at(0), HasSubstr("target=sm_80:sm_90"));
}

TEST_F(Cuda, ADriverTooOldForMachineCodeGetsPtxFromThenOn) {
  for (cuda::Result code : {cuda::kErrorInvalidImage, cuda::kErrorNoBinaryForGpu, cuda::kErrorUnsupportedPtx,
                            cuda::kErrorInvalidSource}) {
    SCOPED_TRACE(code);
    fakeCompiler().reset();
    FakeDriver driver;
    driver.refusedImages["target=sm_80:sm_90"] = code;
    Engine engine(memoryOnly());
    CudaCall call;
    ::testing::internal::CaptureStderr();
    engine.forward(call.args);
    EXPECT_THAT(::testing::internal::GetCapturedStderr(),
                ::testing::AllOf(HasSubstr("the driver of cuda:0 refuses machine code"),
                                 HasSubstr("target=sm_80:sm_90"), HasSubstr("TILEWRIGHT_PTXAS")));
    ASSERT_EQ(driver.launches.size(), 1u);
    EXPECT_THAT(driver.images, ::testing::ElementsAre(HasSubstr("target=sm_80:ptx")));
    EXPECT_EQ(fakeCompiler().compiles, 2);
    // A kernel of its own, with the schedule of the machine code's.
    const auto events = nlohmann::json::parse(engine.eventsJson());
    std::string expected = events[0]["key"];
    expected.replace(expected.find("sm_80:sm_90"), 11, "sm_80:ptx");
    EXPECT_EQ(events[1]["key"], expected);

    // From then on PTX at once, without a word, for other kernels too; plans say so.
    ::testing::internal::CaptureStderr();
    engine.forward(call.args);
    CudaCall packed;
    packed.pairs(1, {0, 4, 0, 4});
    engine.forward(packed.args);
    EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
    EXPECT_EQ(driver.count("ModuleLoadDataEx"), 4) << "refused, PTX, and packed GLM's two";
    EXPECT_EQ(fakeCompiler().compiles, 4);
    for (const Step &step : engine.plan(check(packed)).list()) {
      EXPECT_EQ(step.key.sm, kPtxOnly) << toText(step.key);
    }
  }
}

TEST_F(Cuda, OnlyTheDeviceThatRefusedGetsPtx) {
  FakeDriver driver(std::vector<FakeDevice>(2));
  driver.refusedImages["target=sm_80:sm_90"] = cuda::kErrorInvalidImage;
  Engine engine(memoryOnly());
  engine.forward(CudaCall(1).args);
  EXPECT_EQ(engine.plan(check(CudaCall(1))).list()[0].key.sm, kPtxOnly);
  EXPECT_EQ(engine.plan(check(CudaCall(0))).list()[0].key.sm, 90);
  driver.refusedImages.clear();
  engine.forward(CudaCall(0).args);
  EXPECT_THAT(driver.images, ::testing::ElementsAre(HasSubstr("target=sm_80:ptx"), HasSubstr("target=sm_80:sm_90")));
}

TEST_F(Cuda, IfPtxIsRefusedTooTheErrorNamesBoth) {
  FakeDriver driver;
  driver.log = "ptxas fatal: unsupported .version 9.9";
  driver.refusedImages["target=sm_80:sm_90"] = cuda::kErrorNoBinaryForGpu;
  driver.refusedImages["target=sm_80:ptx"] = cuda::kErrorUnsupportedPtx;
  Engine engine(memoryOnly());
  try {
    engine.forward(CudaCall().args);
    FAIL() << "no error";
  } catch (const cuda::CudaError &error) {
    EXPECT_EQ(error.status(), TW_CUDA_ERROR);
    EXPECT_EQ(error.codeName(), "CUDA_ERROR_UNSUPPORTED_PTX_VERSION");
    EXPECT_THAT(error.what(), ::testing::AllOf(HasSubstr("unsupported .version 9.9"), HasSubstr("target=sm_80:ptx"),
                                               HasSubstr("before that, the driver refused the kernel's machine code"),
                                               HasSubstr("target=sm_80:sm_90"),
                                               HasSubstr("CUDA_ERROR_NO_BINARY_FOR_GPU")));
  }
  // Not remembered: the next call starts with machine code, as a first one does.
  driver.refusedImages.clear();
  engine.forward(CudaCall().args);
  EXPECT_THAT(driver.images, ::testing::ElementsAre(HasSubstr("target=sm_80:sm_90")));
}

TEST_F(Cuda, IfPtxCannotBeMadeTheErrorNamesBoth) {
  FakeDriver driver;
  driver.refusedImages["target=sm_80:sm_90"] = cuda::kErrorInvalidImage;
  Engine engine(memoryOnly());
  EXPECT_NO_THROW(engine.obtain(engine.plan(check(CudaCall())).list()[0].key));
  fakeCompiler().failCompiles = 1;
  EXPECT_THAT(expectError(TW_COMPILE_ERROR, "", [&] { engine.forward(CudaCall().args); }),
              ::testing::AllOf(HasSubstr("the fake compiler was told to fail"), HasSubstr("CUDA_ERROR_INVALID_IMAGE")));
}

TEST_F(Cuda, TooMuchSharedMemoryIsRefused) {
  FakeDriver driver({FakeDevice{"Fake RTX", 8, 6, 101376, true}});
  fakeCompiler().sharedBytes = 131072;
  Engine engine(memoryOnly());
  EXPECT_THAT(expectError(TW_UNSUPPORTED, "q", [&] { engine.forward(CudaCall().args); }),
              ::testing::AllOf(HasSubstr("131072 bytes of shared memory"), HasSubstr("has 101376"),
                               HasSubstr("target=sm_80:sm_86")));
  EXPECT_EQ(driver.count("ModuleLoadDataEx"), 0);
}

TEST_F(Cuda, WhatTheLoadedCodeTakesIsCheckedBeforeALaunch) {
  FakeDriver driver({FakeDevice{"Fake RTX", 8, 6, 101376, true}});
  fakeCompiler().sharedBytes = 101376;
  driver.functionStaticShared = 16;
  CudaCall call;
  Engine engine(memoryOnly());
  EXPECT_THAT(expectError(TW_UNSUPPORTED, "q", [&] { engine.forward(call.args); }),
              ::testing::AllOf(HasSubstr("101392 bytes of shared memory (101376 dynamic, 16 static) a block"),
                               HasSubstr("has 101376"), HasSubstr("target=sm_80:sm_86")));
  EXPECT_EQ(driver.count("ModuleUnload"), 1);
  driver.functionStaticShared = 0;
  engine.forward(call.args);
  EXPECT_EQ(driver.launches.size(), 1u) << "the limit itself is allowed, and a failure is not remembered";
}

TEST_F(Cuda, RegistersAreCheckedBeforeALaunch) {
  CudaCall call;
  FakeDriver small({FakeDevice{"Fake Half", 8, 6, 101376, true, 128 * 168}});
  Engine engine(memoryOnly());
  small.functionRegisters = 169; // given out as 176
  EXPECT_THAT(expectError(TW_UNSUPPORTED, "q", [&] { engine.forward(call.args); }),
              ::testing::AllOf(HasSubstr("22528 registers (169 for each of 128 threads) a block"),
                               HasSubstr("has 21504")));
  EXPECT_TRUE(small.launches.empty());
  small.functionRegisters = 168;
  engine.forward(call.args);
  EXPECT_EQ(small.launches.size(), 1u);
}

TEST_F(Cuda, AScheduleThatNeedsTooMuchIsRefusedBeforeAnythingIsCompiled) {
  Sizes sizes;
  sizes.headDim = sizes.headDimV = 256;
  CudaCall call(0, sizes);
  EXPECT_THAT(expectError(TW_UNSUPPORTED, "schedule", [&] { makePlan(check(call), gpuOptions("qk:128x64:w8", 86)); }),
              ::testing::AllOf(HasSubstr("schedule: qk:128x64:w8 needs 131072 bytes of shared memory"),
                               HasSubstr("head dims 256 and 256"), HasSubstr("a block of sm_86 has 101376")));
  EXPECT_NO_THROW(makePlan(check(call), gpuOptions("qk:128x64:w8", 80)));
  EXPECT_NO_THROW(makePlan(check(call), gpuOptions("qk:128x64:w8", kPtxOnly))) << "the GPU decides when it loads it";
}

TEST_F(Cuda, LittleSharedMemoryNeedsNoAttribute) {
  FakeDriver driver;
  fakeCompiler().sharedBytes = 49152;
  Engine engine(memoryOnly());
  engine.forward(CudaCall().args);
  EXPECT_EQ(driver.count("FuncSetAttribute"), 0);
}

TEST_F(Cuda, OldAndAbsentDevicesAreRefused) {
  FakeDriver driver({FakeDevice{"Fake V100", 7, 0, 98304, true}});
  Engine engine(memoryOnly());
  EXPECT_THAT(expectError(TW_UNSUPPORTED, "q", [&] { engine.forward(CudaCall().args); }),
              HasSubstr("q: is on cuda:0, Fake V100 of compute capability 7.0; 8.0 or later is needed"));
  EXPECT_THAT(expectError(TW_INVALID_ARGUMENT, "q", [&] { engine.forward(CudaCall(1).args); }),
              HasSubstr("q: is on cuda:1, but this process sees 1 CUDA device"));
  EXPECT_EQ(fakeCompiler().compiles, 0);
}

TEST_F(Cuda, UnknownNewDevicesGetPtx) {
  FakeDriver driver({FakeDevice{"Fake Next", 14, 0, 232448, true}});
  Engine engine(memoryOnly());
  engine.forward(CudaCall().args);
  EXPECT_THAT(driver.images.at(0), HasSubstr("target=sm_80:ptx"));
}

TEST_F(Cuda, WithoutADeviceTheErrorSaysSo) {
  FakeDriver driver;
  driver.failNext("Init", cuda::kErrorNoDevice);
  Engine engine(memoryOnly());
  EXPECT_THAT(expectError(TW_UNSUPPORTED, "", [&] { engine.forward(CudaCall().args); }),
              ::testing::AllOf(HasSubstr("CUDA_ERROR_NO_DEVICE"), HasSubstr("no CUDA device was found")));
  engine.forward(CudaCall().args);
  EXPECT_EQ(driver.launches.size(), 1u) << "a failure is not remembered";
}

TEST_F(Cuda, TheMachinesDriverWorksOrSaysWhyNot) {
  cuda::setDriverForTesting(nullptr);
  try {
    EXPECT_GE(cuda::deviceCount(), 0);
  } catch (const Error &error) {
    EXPECT_EQ(error.status(), TW_UNSUPPORTED) << error.what();
    EXPECT_THAT(error.what(),
                ::testing::AnyOf(HasSubstr("CUDA: no driver was found: libcuda.so.1"),
                                 HasSubstr("CUDA: libcuda.so.1 has no"), HasSubstr("CUDA: cuInit failed")));
  }
}

//===-- C ABI -----------------------------------------------------------------------------------------------------===//

TEST_F(Cuda, PlanAndBlockMapNeedNoContextAndNoData) {
  FakeDriver driver;
  TwEngineOptions options{};
  options.struct_size = sizeof(options);
  options.cache_dir = "";
  TwEngine *engine = nullptr;
  ASSERT_EQ(tw_engine_create(&options, &engine), TW_OK) << tw_last_error();
  CudaCall call;
  call.args.causal = 1;
  call.args.q.data = nullptr;
  TwString json{};
  ASSERT_EQ(tw_forward_plan(engine, &call.args, &json), TW_OK) << tw_last_error();
  const nlohmann::json plan = nlohmann::json::parse(std::string(json.data, json.size));
  tw_string_free(&json);
  EXPECT_THAT(plan["steps"][0]["key"].get<std::string>(), HasSubstr("target=sm_80:sm_90"));
  int64_t blockM = 0, blockN = 0;
  ASSERT_EQ(tw_forward_block_map(engine, &call.args, &blockM, &blockN, nullptr, 0), TW_OK) << tw_last_error();
  const kernels::GpuCall asked{.headDim = 8, .headDimV = 6, .masked = true, .plainScores = true, .longRows = true};
  const kernels::Schedule schedule = kernels::chooseGpuSchedule(90, asked);
  EXPECT_EQ(blockM, schedule.blockM);
  EXPECT_EQ(blockN, schedule.blockN);
  EXPECT_EQ(driver.count("DevicePrimaryCtxRetain"), 0);
  tw_engine_destroy(engine);
}

TEST_F(Cuda, InfoListsDevicesOrWhyThereIsNone) {
  TwEngineOptions options{};
  options.struct_size = sizeof(options);
  options.cache_dir = "";
  TwEngine *engine = nullptr;
  ASSERT_EQ(tw_engine_create(&options, &engine), TW_OK) << tw_last_error();
  auto info = [&] {
    TwString json{};
    EXPECT_EQ(tw_info(engine, &json), TW_OK) << tw_last_error();
    const nlohmann::json parsed = nlohmann::json::parse(std::string(json.data, json.size));
    tw_string_free(&json);
    return parsed["devices"]["cuda"];
  };
  {
    FakeDriver driver({FakeDevice(), {"Fake V100", 7, 0, 98304, true}});
    const nlohmann::json cuda = info();
    EXPECT_EQ(cuda["found"], true);
    EXPECT_EQ(cuda["driver_api"], "12.4");
    ASSERT_EQ(cuda["devices"].size(), 2u);
    EXPECT_EQ(cuda["devices"][0]["name"], "Fake H100");
    EXPECT_EQ(cuda["devices"][0]["compute_capability"], "9.0");
    EXPECT_EQ(cuda["devices"][0]["served"], true);
    EXPECT_EQ(cuda["devices"][1]["served"], false);
    EXPECT_EQ(cuda["devices"][0]["sm_90a_kernels"], false) << "its driver encodes no tensor maps";
    EXPECT_EQ(driver.count("DevicePrimaryCtxRetain"), 0);
  }
  {
    FakeDriver driver({FakeDevice(), {"Fake A100", 8, 0, 166912, true}}, /*tensorMaps=*/true);
    const nlohmann::json cuda = info();
    EXPECT_EQ(cuda["devices"][0]["sm_90a_kernels"], true);
    EXPECT_EQ(cuda["devices"][1]["sm_90a_kernels"], false);
  }
  {
    FakeDriver none{std::vector<FakeDevice>(0)};
    EXPECT_EQ(info()["found"], false);
    EXPECT_EQ(info()["why"], "the driver sees no device");
    none.failNext("DeviceGetCount", 700);
    EXPECT_THAT(info()["why"].get<std::string>(), HasSubstr("cuDeviceGetCount() failed with CUDA_ERROR_ILLEGAL"));
  }
  tw_engine_destroy(engine);
}
