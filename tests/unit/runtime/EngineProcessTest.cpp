// SPDX-License-Identifier: Apache-2.0
//
// fork() and exit() at bad moments: while another thread compiles.
#include "FakeCompiler.h"
#include "TestSupport.h"
#include "tilewright/runtime/Engine.h"

#include <chrono>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::tests;

namespace {

EngineOptions memoryOnly() {
  EngineOptions options;
  options.cache = {"", CacheSource::Option};
  options.threads = 2;
  return options;
}

KernelKey keyNumber(int number) {
  KernelKey key = sampleKey();
  key.headDim = static_cast<uint16_t>(1 + number);
  key.normalize();
  return key;
}

/// Runs `body` in a child that is killed after 30 seconds; true if it returned true.
template <typename Body> bool inChild(Body &&body) {
  const pid_t child = fork();
  if (child < 0) {
    return false;
  }
  if (child == 0) {
    alarm(30);
    _exit(body() ? 0 : 1);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool waitFor(const std::atomic<int> &value, int atLeast) {
  for (int i = 0; i < 5000 && value < atLeast; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return value >= atLeast;
}

} // namespace

TEST(EngineProcess, ChildOfAnIdleParentWorks) {
  fakeCompiler().reset();
  Engine engine(memoryOnly());
  engine.obtain(keyNumber(1));
  Sizes sizes;
  sizes.seqlenQ = 200;
  Call call(sizes);
  engine.forward(call.args); // starts the pool's threads
  EXPECT_TRUE(inChild([&] {
    const int before = fakeCompiler().compiles;
    engine.obtain(keyNumber(1));
    const bool inherited = fakeCompiler().compiles == before;
    engine.obtain(keyNumber(2));
    engine.forward(call.args);
    return inherited && fakeCompiler().compiles == before + 1;
  }));
}

TEST(EngineProcess, ForkWhileAnotherThreadCompiles) {
  fakeCompiler().reset();
  Engine engine(memoryOnly());
  fakeCompiler().delayMs = 200;
  std::thread compiling([&] { engine.obtain(keyNumber(1)); });
  ASSERT_TRUE(waitFor(fakeCompiler().running, 1));
  EXPECT_TRUE(inChild([&] {
    // The fork waited for the compiler: no thread of it is cut in half here.
    const bool quiet = fakeCompiler().running == 0;
    fakeCompiler().delayMs = 0;
    engine.obtain(keyNumber(1));
    engine.obtain(keyNumber(2));
    return quiet;
  }));
  compiling.join();
  EXPECT_EQ(fakeCompiler().running, 0);
}

TEST(EngineProcess, ForkAgainAndAgainUnderLoad) {
  fakeCompiler().reset();
  fakeCompiler().delayMs = 1;
  Engine engine(memoryOnly());
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; !stop; ++i) {
        engine.obtain(keyNumber((2 * i + t) % 256));
      }
    });
  }
  for (int repeat = 0; repeat < 15; ++repeat) {
    EXPECT_TRUE(inChild([&] {
      for (int i = 0; i < 20; ++i) {
        engine.obtain(keyNumber(i));
      }
      return true;
    }));
  }
  stop = true;
  for (std::thread &thread : threads) {
    thread.join();
  }
}

/// The first two kernels of a process are made by two threads, and it forks meanwhile, a little later each time: what
/// is computed once a process, such as the library's hash for keys, must not be half made in the child, which would
/// wait for a thread that it does not have. (While forks did not see to that, this failed in every run.)
TEST(EngineProcess, ForkWhileTheFirstKernelIsAskedFor) {
  fakeCompiler().reset();
  for (int repeat = 0; repeat < 150; ++repeat) {
    ASSERT_TRUE(inChild([&] {
      Engine engine(memoryOnly());
      std::atomic<int> begun{0};
      std::vector<std::thread> threads;
      for (int t = 0; t < 2; ++t) {
        threads.emplace_back([&, t] {
          ++begun;
          engine.obtain(keyNumber(t));
        });
      }
      while (begun == 0) {
      }
      for (std::atomic<int> spin{0}; spin < 20 * repeat; ++spin) {
      }
      const bool works = inChild([&] {
        alarm(5);
        engine.obtain(keyNumber(1));
        return true;
      });
      for (std::thread &thread : threads) {
        thread.join();
      }
      return works;
    })) << repeat;
  }
}

namespace {

/// Runs after the library's exit handler, because it is registered before it: what the handler must have waited for is
/// over by now.
void checkAtExit() { _exit(fakeCompiler().running == 0 && fakeCompiler().compiles == 2 ? 0 : 3); }

} // namespace

TEST(EngineProcess, ExitWaitsForARunningCompile) {
  // In a fresh child, so that this is the first compile of the process and the order of handlers is known.
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(
      {
        alarm(30);
        fakeCompiler().reset();
        std::atexit(checkAtExit);
        auto *engine = new Engine(memoryOnly());
        engine->obtain(keyNumber(1));
        fakeCompiler().delayMs = 300;
        std::thread([engine] { engine->obtain(keyNumber(2)); }).detach();
        waitFor(fakeCompiler().running, 1);
        std::exit(5);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST(EngineProcess, ExitDoesNotLetNewCompilesIn) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(
      {
        alarm(30);
        fakeCompiler().reset();
        auto *engine = new Engine(memoryOnly());
        static Engine *late = engine;
        // Runs after the library's handler, on the thread that exits: an error, not a wait that never ends.
        std::atexit([] {
          try {
            late->obtain(keyNumber(250));
          } catch (const Error &error) {
            _exit(error.status() == TW_INTERNAL_ERROR ? 0 : 4);
          }
          _exit(6);
        });
        engine->obtain(keyNumber(1));
        // Another thread keeps asking for new kernels while the process exits.
        std::thread([engine] {
          for (int i = 2; i < 200; ++i) {
            engine->obtain(keyNumber(i));
          }
        }).detach();
        std::exit(5);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST(EngineProcess, ExitInAForkedChildOfACompilingParent) {
  fakeCompiler().reset();
  Engine engine(memoryOnly());
  engine.obtain(keyNumber(1));
  const auto start = std::chrono::steady_clock::now();
  // The child's exit handler finds no compile of its own, whatever the parent was doing.
  fakeCompiler().delayMs = 100;
  std::thread compiling([&] { engine.obtain(keyNumber(2)); });
  ASSERT_TRUE(waitFor(fakeCompiler().running, 1));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(30);
    std::exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8)) << "it waited for a thread that is gone";
  compiling.join();
}
