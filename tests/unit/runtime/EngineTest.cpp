// SPDX-License-Identifier: Apache-2.0
//
// The engine over the fake compiler: caches in order, one compile a key, failures, policies, statistics, hot path.
#include "FakeCompiler.h"
#include "TestSupport.h"
#include "tilewright/runtime/Digest.h"
#include "tilewright/runtime/Engine.h"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <new>
#include <nlohmann/json.hpp>
#include <numeric>
#include <thread>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::tests;
using ::testing::HasSubstr;

//===-- Counting allocations --------------------------------------------------------------------------------------===//

static std::atomic<int64_t> allocations{0};

static void *counted(size_t bytes, size_t align) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void *memory = std::aligned_alloc(align, (bytes + align - 1) / align * align);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return memory;
}
void *operator new(size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
void *operator new(size_t bytes, std::align_val_t align) { return counted(bytes, static_cast<size_t>(align)); }
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, size_t) noexcept { std::free(memory); }
void operator delete(void *memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void *memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

class EngineTest : public ::testing::Test {
protected:
  void SetUp() override { fakeCompiler().reset(); }

  EngineOptions options(const std::string &cacheDirectory = "") {
    EngineOptions options;
    options.cache = {cacheDirectory, CacheSource::Option};
    options.threads = 3;
    options.plan.level = CpuLevel::X86_64_v2;
    return options;
  }

  static TwStats stats(const Engine &engine) {
    TwStats stats{};
    stats.struct_size = sizeof(stats);
    engine.stats(stats);
    return stats;
  }

  static KernelKey keyNumber(int number) {
    KernelKey key = sampleKey();
    key.headDim = static_cast<uint16_t>(1 + number);
    key.normalize();
    return key;
  }
};

} // namespace

TEST_F(EngineTest, CompilesOnceThenHitsMemory) {
  Engine engine(options());
  const LoadedKernel &first = engine.obtain(sampleKey());
  EXPECT_EQ(&engine.obtain(sampleKey()), &first);
  EXPECT_NE(&engine.obtain(keyNumber(3)), &first);
  EXPECT_EQ(fakeCompiler().compiles, 2);
  EXPECT_EQ(stats(engine).memory_hits, 1u);
  EXPECT_EQ(stats(engine).compiles, 2u);
  EXPECT_EQ(stats(engine).disk_hits, 0u);
}

TEST_F(EngineTest, SecondEngineHitsTheDisk) {
  TemporaryFolder folder;
  {
    Engine engine(options(folder.path));
    EXPECT_TRUE(std::filesystem::is_empty(folder.path)) << "making an engine creates nothing";
    engine.obtain(sampleKey());
  }
  Engine engine(options(folder.path));
  engine.obtain(sampleKey());
  EXPECT_EQ(fakeCompiler().compiles, 1);
  EXPECT_EQ(fakeCompiler().loads, 2);
  EXPECT_EQ(stats(engine).disk_hits, 1u);
  EXPECT_EQ(stats(engine).compiles, 0u);
  EXPECT_GT(stats(engine).load_ms, 0.0);

  const nlohmann::json events = nlohmann::json::parse(engine.eventsJson());
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0]["key"], toText(sampleKey()));
  EXPECT_EQ(events[0]["origin"], "disk");
  EXPECT_TRUE(events[0]["stages"].contains("read"));
  EXPECT_GE(events[0]["ms"].get<double>(), events[0]["stages"]["load"].get<double>());
}

TEST_F(EngineTest, EventsAreInOrderWithTheStagesOfTheCompiler) {
  Engine engine(options());
  engine.obtain(keyNumber(5));
  engine.obtain(keyNumber(4));
  engine.obtain(keyNumber(5));
  const auto events = nlohmann::ordered_json::parse(engine.eventsJson());
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0]["key"], toText(keyNumber(5)));
  EXPECT_EQ(events[1]["key"], toText(keyNumber(4)));
  EXPECT_EQ(events[0]["origin"], "compiled");
  EXPECT_EQ(events[0]["stages"]["llvm"], 1.5);
  EXPECT_EQ(events[0]["stages"].begin().key(), "attn");
}

TEST_F(EngineTest, OneCompileAKeyHoweverManyThreadsAsk) {
  fakeCompiler().delayMs = 50;
  Engine engine(options());
  std::vector<const LoadedKernel *> found(8);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < found.size(); ++i) {
    threads.emplace_back([&, i] { found[i] = &engine.obtain(sampleKey()); });
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
  EXPECT_EQ(fakeCompiler().compiles, 1);
  for (const LoadedKernel *kernel : found) {
    EXPECT_EQ(kernel, found[0]);
  }
  EXPECT_EQ(stats(engine).memory_hits, found.size() - 1);
}

TEST_F(EngineTest, DifferentKeysCompileAtTheSameTime) {
  fakeCompiler().delayMs = 100;
  Engine engine(options());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] { engine.obtain(keyNumber(i)); });
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
  EXPECT_EQ(fakeCompiler().compiles, 4);
  EXPECT_GE(fakeCompiler().mostRunning, 2);
}

TEST_F(EngineTest, FailureReachesAllWaitersAndIsForgotten) {
  fakeCompiler().delayMs = 50;
  fakeCompiler().failCompiles = 1;
  Engine engine(options());
  std::atomic<int> failures{0}, successes{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      try {
        engine.obtain(sampleKey());
        successes++;
      } catch (const Error &error) {
        failures += error.status() == TW_COMPILE_ERROR;
      }
    });
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
  // A thread that came after the failure compiled again, and well.
  EXPECT_GE(failures, 1);
  EXPECT_EQ(failures + successes, 4);
  EXPECT_NO_THROW(engine.obtain(sampleKey()));
  EXPECT_EQ(fakeCompiler().compiles, 1);
}

TEST_F(EngineTest, ManyKeysFromManyThreads) {
  Engine engine(options());
  std::atomic<bool> good{true};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 250; ++i) {
        const int number = (i * (t + 1)) % 250;
        const LoadedKernel &kernel = engine.obtain(keyNumber(number));
        good = good && &engine.obtain(keyNumber(number)) == &kernel;
      }
    });
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
  EXPECT_TRUE(good);
  EXPECT_EQ(fakeCompiler().compiles, 250);
}

TEST_F(EngineTest, BadEntriesAreReplaced) {
  TemporaryFolder folder;
  std::string path;
  {
    Engine engine(options(folder.path));
    engine.obtain(sampleKey());
    path = engine.cache().entryPath(digest(sampleKey()));
  }
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  ::testing::internal::CaptureStderr();
  {
    Engine engine(options(folder.path));
    engine.obtain(sampleKey());
    EXPECT_EQ(stats(engine).bad_entries, 1u);
    EXPECT_EQ(stats(engine).compiles, 1u);
  }
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("renamed to .bad"));
  Engine engine(options(folder.path));
  engine.obtain(sampleKey());
  EXPECT_EQ(stats(engine).disk_hits, 1u) << "the new entry is good";
}

TEST_F(EngineTest, EntryThatDoesNotLoadIsReplaced) {
  TemporaryFolder folder;
  Engine(options(folder.path)).obtain(sampleKey());
  fakeCompiler().failLoads = 1;
  ::testing::internal::CaptureStderr();
  Engine engine(options(folder.path));
  EXPECT_NO_THROW(engine.obtain(sampleKey()));
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("passes its checks but does not load"));
  EXPECT_EQ(stats(engine).bad_entries, 1u);
  EXPECT_EQ(stats(engine).compiles, 1u);
}

TEST_F(EngineTest, MissPolicies) {
  TemporaryFolder folder;
  EngineOptions strict = options(folder.path);
  strict.missPolicy = TW_MISS_ERROR;
  {
    Engine engine(strict);
    EXPECT_THAT(expectError(TW_CACHE_MISS, "", [&] { engine.obtain(sampleKey()); }), HasSubstr(toText(sampleKey())));
    EXPECT_EQ(fakeCompiler().compiles, 0);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path));
  }
  EngineOptions warning = options(folder.path);
  warning.missPolicy = TW_MISS_WARN;
  {
    Engine engine(warning);
    ::testing::internal::CaptureStderr();
    engine.obtain(sampleKey());
    engine.obtain(sampleKey());
    const std::string log = ::testing::internal::GetCapturedStderr();
    EXPECT_THAT(log, HasSubstr(toText(sampleKey())));
    EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
  }
  Engine engine(strict);
  EXPECT_NO_THROW(engine.obtain(sampleKey())) << "a prepared cache serves the strict policy";
}

TEST_F(EngineTest, ExplicitCacheThatCannotBeWrittenFailsBeforeCompiling) {
  TemporaryFolder folder;
  std::ofstream(folder.path + "/file") << "x";
  Engine engine(options(folder.path + "/file/below"));
  expectError(TW_IO_ERROR, "cache_dir", [&] { engine.obtain(sampleKey()); });
  EXPECT_EQ(fakeCompiler().compiles, 0);
}

TEST_F(EngineTest, ImplicitCacheThatCannotBeWrittenKeepsTheKernelInMemory) {
  TemporaryFolder folder;
  std::ofstream(folder.path + "/file") << "x";
  EngineOptions implicit = options();
  implicit.cache = {folder.path + "/file/below", CacheSource::Home};
  Engine engine(implicit);
  ::testing::internal::CaptureStderr();
  const LoadedKernel &kernel = engine.obtain(sampleKey());
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("kernels stay in memory only"));
  EXPECT_EQ(&engine.obtain(sampleKey()), &kernel);
}

TEST_F(EngineTest, ForwardRunsEveryProgramOfEveryStep) {
  fakeCompiler().record = true;
  Engine engine(options());
  Sizes sizes;
  sizes.seqlenQ = 33;
  Call call(sizes);
  call.withPairs(1, {0, 4, 0, 4});
  engine.forward(call.args);
  const Plan plan = engine.plan(checkForward(call.args, Purpose::Plan));
  ASSERT_EQ(plan.stepCount, 2u);
  const auto limits = static_cast<size_t>(plan.steps[0].programs);
  const auto forward = static_cast<size_t>(plan.steps[1].programs);
  std::vector<int64_t> programs = fakeCompiler().programs;
  ASSERT_EQ(programs.size(), limits + forward);
  // Each step is complete before the next begins.
  std::sort(programs.begin(), programs.begin() + static_cast<int64_t>(limits));
  std::sort(programs.begin() + static_cast<int64_t>(limits), programs.end());
  std::vector<int64_t> expected(limits + forward);
  std::iota(expected.begin(), expected.begin() + static_cast<int64_t>(limits), 0);
  std::iota(expected.begin() + static_cast<int64_t>(limits), expected.end(), 0);
  EXPECT_EQ(programs, expected);
  EXPECT_EQ(fakeCompiler().misalignedScratch, 0);
  EXPECT_EQ(fakeCompiler().slots[0], reinterpret_cast<uintptr_t>(call.args.q.data));
}

TEST_F(EngineTest, NothingToDoCompilesNothing) {
  Engine engine(options());
  Sizes sizes;
  sizes.seqlenQ = 0;
  EXPECT_NO_THROW(engine.forward(Call(sizes).args));
  EXPECT_EQ(fakeCompiler().compiles, 0);
  EXPECT_EQ(fakeCompiler().programsRun, 0);
}

TEST_F(EngineTest, NothingRunsIfAnyKernelOfThePlanIsMissing) {
  Engine engine(options());
  Call call;
  call.withPairs(1, {0, 4, 0, 4});
  const Plan plan = engine.plan(checkForward(call.args, Purpose::Plan));
  engine.obtain(plan.steps[0].key);
  fakeCompiler().failCompiles = 1;
  expectError(TW_COMPILE_ERROR, "", [&] { engine.forward(call.args); });
  EXPECT_EQ(fakeCompiler().programsRun, 0);
}

TEST_F(EngineTest, WarmForwardAllocatesNothing) {
  Engine engine(options());
  Sizes sizes;
  sizes.seqlenQ = 100;
  Call plain(sizes), breaks(sizes), pairs(sizes);
  plain.withLse();
  breaks.withBreaks({1, 2});
  pairs.withPairs(1, {0, 4, 0, 4});
  for (int repeat = 0; repeat < 50; ++repeat) { // every pool thread has its scratch by then
    engine.forward(plain.args);
    engine.forward(breaks.args);
    engine.forward(pairs.args);
  }
  // A pool thread may be so late that it gets its scratch only now: the least of several rounds counts.
  int64_t least = 1000;
  for (int round = 0; round < 5; ++round) {
    const int64_t before = allocations;
    engine.forward(plain.args);
    engine.forward(breaks.args);
    least = std::min(least, allocations - before);
  }
  EXPECT_EQ(least, 0);
  least = 1000;
  for (int round = 0; round < 5; ++round) {
    const int64_t before = allocations;
    engine.forward(pairs.args);
    least = std::min(least, allocations - before);
  }
  EXPECT_EQ(least, 1) << "the workspace of the row limits, and nothing else";
}

TEST_F(EngineTest, OptionsFromArgumentsAndEnvironment) {
  ScopedEnvironment cache("TILEWRIGHT_CACHE_DIR", "");
  ScopedEnvironment threads("TILEWRIGHT_NUM_THREADS", "5");
  ScopedEnvironment level("TILEWRIGHT_CPU_LEVEL", "x86-64-v2");
  EngineOptions resolved = resolveOptions(nullptr);
  EXPECT_EQ(resolved.threads, 5u);
  EXPECT_EQ(resolved.plan.level, CpuLevel::X86_64_v2);
  EXPECT_EQ(resolved.missPolicy, TW_MISS_COMPILE);
  EXPECT_FALSE(resolved.plan.schedule);

  TwEngineOptions given{};
  given.struct_size = sizeof(given);
  given.num_threads = 2;
  given.schedule = "qk:16x32:4x2";
  given.miss_policy = TW_MISS_ERROR;
  resolved = resolveOptions(&given);
  EXPECT_EQ(resolved.threads, 2u);
  EXPECT_EQ(kernels::toText(*resolved.plan.schedule), "qk:16x32:4x2");
  EXPECT_EQ(resolved.missPolicy, TW_MISS_ERROR);

  ScopedEnvironment noThreads("TILEWRIGHT_NUM_THREADS", nullptr);
  ScopedEnvironment noLevel("TILEWRIGHT_CPU_LEVEL", "");
  resolved = resolveOptions(nullptr);
  EXPECT_EQ(resolved.threads, availableCpus());
  EXPECT_EQ(resolved.plan.level, hostCpuLevel());
}

TEST_F(EngineTest, FaultyOptionsAreNamed) {
  ScopedEnvironment cache("TILEWRIGHT_CACHE_DIR", "");
  auto refuses = [](const std::string &argument, const std::string &words, auto &&spoil,
                    TwStatus status = TW_INVALID_ARGUMENT) {
    TwEngineOptions options{};
    options.struct_size = sizeof(options);
    spoil(options);
    EXPECT_THAT(expectError(status, argument, [&] { resolveOptions(&options); }), HasSubstr(words));
  };
  refuses("struct_size", "must be sizeof(TwEngineOptions)", [](TwEngineOptions &options) { options.struct_size = 0; });
  refuses("num_threads", "is -1, must be 0 (choose) or an integer in [1, 4096]",
          [](TwEngineOptions &options) { options.num_threads = -1; });
  refuses("miss_policy", "is 9, must be",
          [](TwEngineOptions &options) { options.miss_policy = static_cast<TwMissPolicy>(9); });
  refuses("cpu_level", "is 'x86-64-v5', must be one of x86-64-v2, x86-64-v3, x86-64-v4",
          [](TwEngineOptions &options) { options.cpu_level = "x86-64-v5"; });
  refuses("schedule", "is 'fast', must be", [](TwEngineOptions &options) { options.schedule = "fast"; });
  for (const char *bad : {"0", "-2", "4097", "2x", " 2"}) {
    ScopedEnvironment threads("TILEWRIGHT_NUM_THREADS", bad);
    refuses("TILEWRIGHT_NUM_THREADS", "is '" + std::string(bad) + "', must be an integer in [1, 4096]",
            [](TwEngineOptions &) {});
  }
  ScopedEnvironment level("TILEWRIGHT_CPU_LEVEL", "native");
  refuses("TILEWRIGHT_CPU_LEVEL", "is 'native', must be one of", [](TwEngineOptions &) {});
  if (hostCpuLevel() < CpuLevel::X86_64_v4) {
    refuses("cpu_level", "but this machine executes at most",
            [](TwEngineOptions &options) { options.cpu_level = "x86-64-v4"; }, TW_UNSUPPORTED);
  }
}
