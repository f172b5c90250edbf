// SPDX-License-Identifier: Apache-2.0
//
// NVRTC and what is built on it: the real library, where $TILEWRIGHT_NVRTC names it, compiles the CUDA reference for
// two architectures without a GPU; elsewhere a table of functions stands in for it, and FakeDriver for the driver.
#include "FakeDriver.h"
#include "TestSupport.h"
#include "cuda/CudaReference.h"
#include "cuda/Nvrtc.h"
#include "tilewright/kernels/CudaReferenceArguments.h"

#include <cstring>
#include <nlohmann/json.hpp>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::tests;
using ::testing::AllOf;
using ::testing::HasSubstr;

namespace {

/// What the stand-in was asked and what it answers.
struct FakeState {
  std::vector<int> archs = {75, 80, 86, 90};
  int compileResult = 0;
  std::string log;
  std::vector<std::string> options, includeNames;
  int live = 0; ///< programs
} *fake = nullptr;

// clang-format off
const cuda::NvrtcApi kTable = {
    .version = [](int *major, int *minor) { *major = 12; *minor = 9; return 0; },
    .getErrorString = [](int code) { return code == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR_OTHER"; },
    .getNumSupportedArchs = [](int *count) { *count = static_cast<int>(fake->archs.size()); return 0; },
    .getSupportedArchs = [](int *archs) { std::copy(fake->archs.begin(), fake->archs.end(), archs); return 0; },
    .createProgram = [](cuda::NvrtcProgram *program, const char *, const char *, int count, const char *const *,
                        const char *const *names) {
      fake->includeNames.assign(names, names + count);
      *program = reinterpret_cast<cuda::NvrtcProgram>(0x77);
      ++fake->live;
      return 0;
    },
    .destroyProgram = [](cuda::NvrtcProgram *) { --fake->live; return 0; },
    .compileProgram = [](cuda::NvrtcProgram, int count, const char *const *options) {
      fake->options.assign(options, options + count);
      return fake->compileResult;
    },
    .getProgramLogSize = [](cuda::NvrtcProgram, size_t *bytes) { *bytes = fake->log.size() + 1; return 0; },
    .getProgramLog = [](cuda::NvrtcProgram, char *log) { std::strcpy(log, fake->log.c_str()); return 0; },
    .getPTXSize = [](cuda::NvrtcProgram, size_t *bytes) { *bytes = 4; return 0; },
    .getPTX = [](cuda::NvrtcProgram, char *ptx) { std::strcpy(ptx, "ptx"); return 0; },
    .getCUBINSize = [](cuda::NvrtcProgram, size_t *bytes) { *bytes = 5; return 0; },
    .getCUBIN = [](cuda::NvrtcProgram, char *cubin) { std::memcpy(cubin, "cubin", 5); return 0; },
};
// clang-format on

class Nvrtc : public ::testing::Test {
protected:
  void SetUp() override {
    fake = &state;
    cuda::setNvrtcForTesting(&kTable);
    cuda::forgetReferencesForTesting();
  }
  void TearDown() override {
    cuda::setNvrtcForTesting(nullptr);
    cuda::forgetReferencesForTesting();
    EXPECT_EQ(state.live, 0) << "programs are destroyed";
    fake = nullptr;
  }
  FakeState state;
};

/// A call of the CUDA reference: bfloat16 in, float32 out, on device 0. Its memory is the host's.
Call referenceCall() {
  Sizes sizes;
  sizes.dtype = TW_BFLOAT16;
  Call call(sizes);
  call.withLse();
  call.withPairs(1, {0, 4, 1, 5});
  call.args.out = call.tensor(TW_FLOAT32, {sizes.batch, sizes.seqlenQ, sizes.heads, sizes.headDimV}, 0);
  for (TwTensor *tensor :
       {&call.args.q, &call.args.k, &call.args.v, &call.args.out, &call.args.lse, &call.args.glm_mask}) {
    tensor->device = TW_DEVICE_CUDA;
  }
  return call;
}

const char *machinesNvrtc() {
  const char *named = std::getenv("TILEWRIGHT_NVRTC");
  return named != nullptr && *named != '\0' ? named : nullptr;
}

} // namespace

//===-- The machine's library -------------------------------------------------------------------------------------===//

TEST(NvrtcOnThisMachine, CompilesTheReferenceWithoutAWarning) {
  if (machinesNvrtc() == nullptr) {
    GTEST_SKIP() << "TILEWRIGHT_NVRTC names no NVRTC library (tests/run.sh installs one)";
  }
  cuda::setNvrtcForTesting(nullptr);
  for (unsigned sm : {80u, 90u}) {
    const cuda::CudaCode code = cuda::compileReference(sm);
    EXPECT_TRUE(code.cubin);
    EXPECT_EQ(code.target, "sm_" + std::to_string(sm));
    EXPECT_EQ(code.image.substr(1, 3), "ELF");
    EXPECT_THAT(code.image, HasSubstr("tilewright_reference_forward"));
    EXPECT_EQ(code.log, "");
  }
  const cuda::CudaCode later = cuda::compileReference(999); // none that is known
  EXPECT_FALSE(later.cubin);
  EXPECT_THAT(later.image, HasSubstr(".entry tilewright_reference_forward("));
  EXPECT_EQ(later.log, "");
}

TEST(NvrtcOnThisMachine, KeepsTheLogOfABrokenProgram) {
  if (machinesNvrtc() == nullptr) {
    GTEST_SKIP() << "TILEWRIGHT_NVRTC names no NVRTC library (tests/run.sh installs one)";
  }
  cuda::setNvrtcForTesting(nullptr);
  try {
    cuda::compileCuda({"broken.cu", "__global__ void f() { missing(); }", {}}, 80);
    FAIL() << "no error was thrown";
  } catch (const cuda::NvrtcError &error) {
    EXPECT_EQ(error.status(), TW_COMPILE_ERROR);
    EXPECT_EQ(error.codeName(), "NVRTC_ERROR_COMPILATION");
    EXPECT_THAT(error.log(), HasSubstr("identifier \"missing\" is undefined"));
    EXPECT_THAT(error.what(), HasSubstr(error.log()));
  }
}

TEST(NvrtcOnThisMachine, ABadNameIsAnErrorThatNamesTheVariable) {
  const ScopedEnvironment named("TILEWRIGHT_NVRTC", "/nowhere/libnvrtc.so");
  cuda::setNvrtcForTesting(nullptr);
  EXPECT_THAT(expectError(TW_UNSUPPORTED, "TILEWRIGHT_NVRTC", [] { cuda::nvrtc(); }),
              HasSubstr("TILEWRIGHT_NVRTC: is '/nowhere/libnvrtc.so', which cannot be opened as NVRTC's library"));
  TwString json{};
  ASSERT_EQ(tw_info(nullptr, &json), TW_OK) << tw_last_error();
  const nlohmann::json info = nlohmann::json::parse(std::string(json.data, json.size));
  tw_string_free(&json);
  EXPECT_EQ(info["nvrtc"]["found"], false);
  EXPECT_THAT(info["nvrtc"]["why"].get<std::string>(), HasSubstr("/nowhere/libnvrtc.so"));
}

TEST(NvrtcOnThisMachine, ALibraryThatIsNotNvrtcIsRefused) {
  const ScopedEnvironment named("TILEWRIGHT_NVRTC", "libc.so.6");
  cuda::setNvrtcForTesting(nullptr);
  EXPECT_THAT(expectError(TW_UNSUPPORTED, "TILEWRIGHT_NVRTC", [] { cuda::nvrtc(); }),
              HasSubstr("NVRTC: libc.so.6 has no nvrtcVersion"));
}

TEST(NvrtcOnThisMachine, WithoutANameItIsFoundOrTheErrorSaysWhatToDo) {
  const ScopedEnvironment unnamed("TILEWRIGHT_NVRTC", nullptr);
  cuda::setNvrtcForTesting(nullptr);
  try {
    EXPECT_FALSE(cuda::nvrtcVersion().empty());
  } catch (const Error &error) {
    EXPECT_EQ(error.status(), TW_UNSUPPORTED);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("libnvrtc.so.13, libnvrtc.so.12, /usr/local/cuda/lib64"),
                                    HasSubstr("nvidia-cuda-nvrtc"), HasSubstr("set TILEWRIGHT_NVRTC")));
  }
}

//===-- Compiling -------------------------------------------------------------------------------------------------===//

TEST_F(Nvrtc, MachineCodeForKnownArchitecturesElsePtx) {
  cuda::CudaCode code = cuda::compileReference(90);
  EXPECT_TRUE(code.cubin);
  EXPECT_EQ(code.image, "cubin");
  EXPECT_THAT(state.options, ::testing::Contains("--gpu-architecture=sm_90"));
  EXPECT_EQ(state.includeNames, std::vector<std::string>{"CudaReferenceArguments.h"});
  code = cuda::compileReference(89);
  EXPECT_FALSE(code.cubin);
  EXPECT_EQ(code.target, "compute_86");
  EXPECT_EQ(code.image, std::string("ptx\0", 4));
  state.archs = {90, 100};
  EXPECT_THAT(expectError(TW_UNSUPPORTED, "", [] { cuda::compileReference(80); }),
              HasSubstr("NVRTC 12.9 knows no architecture up to sm_80"));
}

TEST_F(Nvrtc, WarningsAreKept) {
  state.log = "x.cu(3): warning #177-D: declared but never referenced\n";
  EXPECT_EQ(cuda::compileReference(80).log, "x.cu(3): warning #177-D: declared but never referenced");
}

TEST_F(Nvrtc, AFailureHoldsExpressionCodeAndLog) {
  state.compileResult = 6;
  state.log = "x.cu(1): error: expected a \";\"";
  try {
    cuda::compileReference(80);
    FAIL() << "no error was thrown";
  } catch (const cuda::NvrtcError &error) {
    EXPECT_EQ(error.code(), 6);
    EXPECT_EQ(error.expression(),
              "nvrtcCompileProgram(CudaReference.cu, --gpu-architecture=sm_80, --std=c++17)");
    EXPECT_EQ(error.log(), state.log);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("NVRTC_ERROR_COMPILATION (6)"), HasSubstr(state.log)));
  }
}

//===-- The reference's launch ------------------------------------------------------------------------------------===//

TEST_F(Nvrtc, TheReferenceIsLaunchedWithItsArguments) {
  FakeDriver driver;
  Call call = referenceCall();
  driver.parameterCount = 1; // a struct, of which the fake keeps the first 8 bytes
  ASSERT_EQ(tw_cuda_reference_forward(&call.args), TW_OK) << tw_last_error();
  ASSERT_EQ(tw_cuda_reference_forward(&call.args), TW_OK) << tw_last_error();
  EXPECT_EQ(driver.images, std::vector<std::string>{"cubin"}) << "compiled and loaded once";
  ASSERT_EQ(driver.launches.size(), 2u);
  const FakeDriver::Launch &launch = driver.launches[1];
  EXPECT_EQ(launch.symbol, "tilewright_reference_forward");
  EXPECT_EQ(launch.grid, 2u * 5u * 4u) << "a block a query row";
  EXPECT_EQ(launch.block, static_cast<unsigned>(kernels::kCudaReferenceThreads));
  EXPECT_EQ(launch.values[0], reinterpret_cast<uintptr_t>(call.args.q.data)) << "the struct's first member";
  EXPECT_EQ(driver.count("StreamSynchronize"), 0);
}

TEST_F(Nvrtc, TheReferenceChecksItsArguments) {
  FakeDriver driver;
  Call call = referenceCall();
  call.args.out.dtype = TW_BFLOAT16;
  EXPECT_EQ(tw_cuda_reference_forward(&call.args), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error(), "out: dtype is bfloat16, must be float32: the CUDA reference's output");
  call = referenceCall();
  call.args.q.dtype = TW_FLOAT32;
  EXPECT_EQ(tw_cuda_reference_forward(&call.args), TW_UNSUPPORTED);
  EXPECT_STREQ(tw_last_error_argument(), "q");
  call = referenceCall();
  call.args.probs = call.tensor(TW_BFLOAT16, {2, 4, 5, 7}, 0);
  call.args.probs.device = TW_DEVICE_CUDA;
  EXPECT_EQ(tw_cuda_reference_forward(&call.args), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error(),
               "probs: dtype is bfloat16, must be float32: the type of the CUDA reference's outputs");
  Sizes sizes;
  Call onCpu(sizes);
  EXPECT_EQ(tw_cuda_reference_forward(&onCpu.args), TW_UNSUPPORTED);
  EXPECT_THAT(tw_last_error(), HasSubstr("q: is on the CPU, but the CUDA reference computes on a CUDA device"));
  EXPECT_EQ(tw_cuda_reference_forward(nullptr), TW_INVALID_ARGUMENT);
  EXPECT_TRUE(driver.launches.empty());
  EXPECT_TRUE(state.options.empty()) << "nothing was compiled";
}

TEST_F(Nvrtc, NothingToComputeLaunchesNothing) {
  FakeDriver driver;
  Call call = referenceCall();
  for (TwTensor *tensor : {&call.args.q, &call.args.out}) {
    tensor->shape[1] = 0;
  }
  call.args.lse.shape[2] = 0;
  ASSERT_EQ(tw_cuda_reference_forward(&call.args), TW_OK) << tw_last_error();
  EXPECT_TRUE(driver.launches.empty());
}

TEST_F(Nvrtc, ARefusedImageShowsTheDriversLog) {
  FakeDriver driver;
  driver.log = "device kernel image is invalid";
  driver.failNext("ModuleLoadDataEx", 209);
  Call call = referenceCall();
  EXPECT_EQ(tw_cuda_reference_forward(&call.args), TW_CUDA_ERROR);
  EXPECT_THAT(tw_last_error(), AllOf(HasSubstr("the CUDA reference for sm_90 by NVRTC 12.9"),
                                     HasSubstr("device kernel image is invalid")));
  EXPECT_EQ(tw_cuda_reference_forward(&call.args), TW_OK) << tw_last_error();
}

//===-- Device memory ---------------------------------------------------------------------------------------------===//

TEST(CudaMemory, GoesThereAndBack) {
  FakeDriver driver(std::vector<FakeDevice>(2));
  const cuda::Context mine = FakeDriver::contextOf(0);
  driver.contexts = {mine};
  void *memory = nullptr;
  ASSERT_EQ(tw_cuda_alloc(1, 8, &memory), TW_OK) << tw_last_error();
  ASSERT_NE(memory, nullptr);
  const int64_t sent = 0x1234567890;
  int64_t received = 0;
  EXPECT_EQ(tw_cuda_upload(1, memory, &sent, 8), TW_OK) << tw_last_error();
  EXPECT_EQ(tw_cuda_download(1, &received, memory, 8), TW_OK) << tw_last_error();
  EXPECT_EQ(received, sent);
  EXPECT_EQ(driver.contexts, std::vector<cuda::Context>{mine}) << "the caller's context is current again";
  EXPECT_EQ(driver.count("CtxPushCurrent"), 3) << "device 1's was current for each call";
  EXPECT_EQ(tw_cuda_free(1, memory), TW_OK) << tw_last_error();
  EXPECT_EQ(driver.liveAllocations, 0u);
}

TEST(CudaMemory, NoBytesAskTheDriverForNothing) {
  FakeDriver driver;
  void *memory = &driver;
  EXPECT_EQ(tw_cuda_alloc(0, 0, &memory), TW_OK);
  EXPECT_EQ(memory, nullptr);
  EXPECT_EQ(tw_cuda_upload(0, nullptr, nullptr, 0), TW_OK);
  EXPECT_EQ(tw_cuda_download(0, nullptr, nullptr, 0), TW_OK);
  EXPECT_EQ(tw_cuda_free(0, nullptr), TW_OK);
  for (const char *function : {"MemAlloc", "MemFree", "MemcpyHtoD", "MemcpyDtoH"}) {
    EXPECT_EQ(driver.count(function), 0) << function;
  }
}

TEST(CudaMemory, FaultsNameTheArgument) {
  FakeDriver driver;
  void *memory = nullptr;
  char byte = 0;
  EXPECT_EQ(tw_cuda_alloc(1, 8, &memory), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error(), "device: is 1, but this process sees 1 CUDA device, counted from 0");
  EXPECT_STREQ(tw_last_error_argument(), "device");
  EXPECT_EQ(tw_cuda_free(-1, nullptr), TW_INVALID_ARGUMENT);
  EXPECT_EQ(tw_cuda_alloc(0, 8, nullptr), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error_argument(), "memory");
  EXPECT_EQ(tw_cuda_upload(0, nullptr, &byte, 1), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error_argument(), "to");
  EXPECT_EQ(tw_cuda_download(0, &byte, nullptr, 1), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error_argument(), "from");
  EXPECT_EQ(driver.count("MemcpyHtoD") + driver.count("MemcpyDtoH"), 0);
}

TEST(CudaMemory, DriverErrorsComeThrough) {
  FakeDriver driver;
  void *memory = nullptr;
  driver.failNext("MemAlloc", cuda::kErrorOutOfMemory);
  EXPECT_EQ(tw_cuda_alloc(0, 64, &memory), TW_OUT_OF_MEMORY);
  EXPECT_THAT(tw_last_error(), HasSubstr("cuMemAlloc(64 bytes) failed with CUDA_ERROR_OUT_OF_MEMORY"));
  EXPECT_EQ(memory, nullptr);
  char byte = 0;
  ASSERT_EQ(tw_cuda_alloc(0, 1, &memory), TW_OK);
  driver.failNext("MemcpyDtoH", 700);
  EXPECT_EQ(tw_cuda_download(0, &byte, memory, 1), TW_CUDA_ERROR);
  EXPECT_THAT(tw_last_error(), HasSubstr("CUDA_ERROR_ILLEGAL_ADDRESS"));
  EXPECT_EQ(tw_cuda_free(0, memory), TW_OK);
}

//===-- Events ----------------------------------------------------------------------------------------------------===//

TEST(CudaEvents, TimeWhatWasQueuedBetween) {
  FakeDriver driver(std::vector<FakeDevice>(2));
  const cuda::Context mine = FakeDriver::contextOf(0);
  driver.contexts = {mine};
  void *const stream = reinterpret_cast<void *>(0x5150);
  void *start = nullptr, *end = nullptr;
  ASSERT_EQ(tw_cuda_event_create(1, &start), TW_OK) << tw_last_error();
  ASSERT_EQ(tw_cuda_event_create(1, &end), TW_OK) << tw_last_error();
  EXPECT_EQ(tw_cuda_event_record(1, start, stream), TW_OK) << tw_last_error();
  driver.launches.resize(3);
  EXPECT_EQ(tw_cuda_event_record(1, end, stream), TW_OK) << tw_last_error();
  float milliseconds = 0;
  EXPECT_EQ(driver.count("EventSynchronize"), 0) << "recording does not wait";
  EXPECT_EQ(tw_cuda_event_elapsed(1, start, end, &milliseconds), TW_OK) << tw_last_error();
  EXPECT_EQ(milliseconds, 3.0f);
  EXPECT_EQ(driver.count("EventSynchronize"), 1);
  EXPECT_EQ(driver.eventStreams, std::vector<cuda::Stream>(2, static_cast<cuda::Stream>(stream)));
  EXPECT_EQ(tw_cuda_event_destroy(1, start), TW_OK);
  EXPECT_EQ(tw_cuda_event_destroy(1, end), TW_OK);
  EXPECT_EQ(tw_cuda_event_destroy(1, nullptr), TW_OK);
  EXPECT_EQ(driver.count("EventDestroy"), 2);
  EXPECT_EQ(driver.contexts, std::vector<cuda::Context>{mine}) << "the caller's context is current again";
  EXPECT_EQ(driver.count("CtxPushCurrent"), 7) << "device 1's was current for each call of the driver";
}

TEST(CudaEvents, FaultsNameTheArgumentAndTheCall) {
  FakeDriver driver;
  void *event = nullptr;
  float milliseconds = -1;
  EXPECT_EQ(tw_cuda_event_create(1, &event), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error_argument(), "device");
  EXPECT_EQ(tw_cuda_event_create(0, nullptr), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error_argument(), "event");
  EXPECT_EQ(tw_cuda_event_record(0, nullptr, nullptr), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error_argument(), "event");
  driver.failNext("EventCreate", cuda::kErrorOutOfMemory);
  EXPECT_EQ(tw_cuda_event_create(0, &event), TW_OUT_OF_MEMORY);
  EXPECT_EQ(event, nullptr);
  ASSERT_EQ(tw_cuda_event_create(0, &event), TW_OK);
  EXPECT_EQ(tw_cuda_event_elapsed(0, nullptr, event, &milliseconds), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error_argument(), "start");
  EXPECT_EQ(tw_cuda_event_elapsed(0, event, nullptr, &milliseconds), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error_argument(), "end");
  EXPECT_EQ(tw_cuda_event_elapsed(0, event, event, nullptr), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error_argument(), "milliseconds");
  driver.failNext("EventSynchronize", 700);
  EXPECT_EQ(tw_cuda_event_elapsed(0, event, event, &milliseconds), TW_CUDA_ERROR);
  EXPECT_THAT(tw_last_error(), HasSubstr("cuEventSynchronize() failed with CUDA_ERROR_ILLEGAL_ADDRESS"));
  EXPECT_EQ(milliseconds, -1.0f);
  EXPECT_EQ(tw_cuda_event_destroy(0, event), TW_OK);
}

//===-- A target without a device ---------------------------------------------------------------------------------===//

TEST(CudaTarget, PlansNeedNoDevice) {
  FakeDriver driver{std::vector<FakeDevice>(0)};
  TwEngineOptions options{};
  options.struct_size = sizeof(options);
  options.cache_dir = "";
  options.cuda_target = "sm_86";
  TwEngine *engine = nullptr;
  ASSERT_EQ(tw_engine_create(&options, &engine), TW_OK) << tw_last_error();
  Call call = referenceCall();
  call.args.out.dtype = TW_BFLOAT16;
  TwString json{};
  ASSERT_EQ(tw_forward_plan(engine, &call.args, &json), TW_OK) << tw_last_error();
  EXPECT_THAT(std::string(json.data, json.size), HasSubstr("forward target=sm_80:sm_86"));
  tw_string_free(&json);
  tw_engine_destroy(engine);
  options.cuda_target = "sm_91";
  EXPECT_EQ(tw_engine_create(&options, &engine), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error(), "cuda_target: is 'sm_91', must be one of sm_80, sm_86, sm_87, sm_89, sm_90, sm_90a, "
                                "sm_100, sm_120, ptx");
}
