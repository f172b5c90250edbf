// SPDX-License-Identifier: Apache-2.0
//
// The thread pool: every program once, scratch of one's own, concurrent and nested calls, fork.
#include "tilewright/runtime/ExitGuard.h"
#include "tilewright/runtime/ProgramLoop.h"
#include "tilewright/runtime/ThreadPool.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <initializer_list>
#include <gtest/gtest.h>
#include <mutex>
#include <set>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>
#include <xmmintrin.h>

using namespace tilewright::runtime;

namespace {

/// Each program counts itself; true if each did so once.
bool runsEachOnce(ThreadPool &pool, int64_t programs, size_t scratchBytes = 64) {
  std::vector<std::atomic<int>> counts(static_cast<size_t>(programs));
  pool.parallelFor(programs, scratchBytes, [&](int64_t program, void *) { counts[static_cast<size_t>(program)]++; });
  for (const std::atomic<int> &count : counts) {
    if (count != 1) {
      return false;
    }
  }
  return true;
}

} // namespace

TEST(ThreadPool, EveryProgramRunsOnce) {
  for (unsigned threads : {1u, 2u, 3u, 8u}) {
    ThreadPool pool(threads);
    for (int64_t programs : {0, 1, 2, 3, 7, 64, 1000}) {
      for (int repeat = 0; repeat < 20; ++repeat) {
        ASSERT_TRUE(runsEachOnce(pool, programs)) << threads << " threads, " << programs << " programs";
      }
    }
  }
}

TEST(ThreadPool, WorkIsShared) {
  ThreadPool pool(3);
  std::mutex lock;
  std::set<std::thread::id> seen;
  std::atomic<int> waiting{0};
  // Each program waits for the two others: they finish only if three threads run at the same time.
  pool.parallelFor(3, 0, [&](int64_t, void *) {
    {
      std::lock_guard<std::mutex> guard(lock);
      seen.insert(std::this_thread::get_id());
    }
    waiting++;
    while (waiting < 3) {
      std::this_thread::yield();
    }
  });
  EXPECT_EQ(seen.size(), 3u);
  EXPECT_TRUE(seen.count(std::this_thread::get_id())) << "the caller takes part";
}

TEST(ThreadPool, OneProgramOrOneThreadStaysOnTheCaller) {
  const std::thread::id self = std::this_thread::get_id();
  ThreadPool many(4), one(1);
  std::vector<int64_t> order;
  many.parallelFor(1, 0, [&](int64_t, void *) { EXPECT_EQ(std::this_thread::get_id(), self); });
  one.parallelFor(5, 0, [&](int64_t program, void *) {
    EXPECT_EQ(std::this_thread::get_id(), self);
    order.push_back(program);
  });
  EXPECT_EQ(order, (std::vector<int64_t>{0, 1, 2, 3, 4}));
}

/// Runs 200 programs for each size and returns the scratch blocks that they saw.
static std::set<void *> scratchBlocks(ThreadPool &pool, std::initializer_list<size_t> sizes) {
  std::mutex lock;
  std::set<void *> blocks;
  for (size_t bytes : sizes) {
    pool.parallelFor(200, bytes, [&](int64_t program, void *scratch) {
      ASSERT_EQ(reinterpret_cast<uintptr_t>(scratch) % 64, 0u);
      std::memset(scratch, static_cast<int>(program), bytes);
      std::this_thread::yield();
      for (size_t i = 0; i < bytes; ++i) {
        ASSERT_EQ(static_cast<unsigned char *>(scratch)[i], static_cast<unsigned char>(program));
      }
      std::lock_guard<std::mutex> guard(lock);
      blocks.insert(scratch);
    });
  }
  return blocks;
}

TEST(ThreadPool, ScratchIsAlignedPrivateAndReused) {
  ThreadPool pool(4);
  EXPECT_LE(scratchBlocks(pool, {1000, 1000, 1000}).size(), 4u) << "a block a thread, kept between calls";
}

// With one thread, so that it is certain to have had the large block before it is asked for the small one.
TEST(ThreadPool, ScratchServesSmallerCalls) {
  ThreadPool pool(1);
  EXPECT_EQ(scratchBlocks(pool, {100000, 64, 100000}).size(), 1u);
}

TEST(ThreadPool, ConcurrentCallers) {
  ThreadPool pool(3);
  std::atomic<bool> good{true};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 6; ++caller) {
    callers.emplace_back([&, caller] {
      for (int repeat = 0; repeat < 200; ++repeat) {
        good = good && runsEachOnce(pool, 1 + (caller * 7 + repeat) % 40);
      }
    });
  }
  for (std::thread &caller : callers) {
    caller.join();
  }
  EXPECT_TRUE(good);
}

TEST(ThreadPool, NestedCallsHaveScratchOfTheirOwn) {
  ThreadPool pool(3);
  std::atomic<int> inner{0};
  std::atomic<bool> intact{true};
  pool.parallelFor(20, 256, [&](int64_t program, void *scratch) {
    std::memset(scratch, 1 + static_cast<int>(program), 256);
    pool.parallelFor(5, 256, [&](int64_t, void *innerScratch) {
      std::memset(innerScratch, 0xee, 256);
      inner++;
    });
    for (int i = 0; i < 256; ++i) {
      intact = intact && static_cast<unsigned char *>(scratch)[i] == 1 + program;
    }
  });
  EXPECT_EQ(inner, 100);
  EXPECT_TRUE(intact);
}

TEST(ThreadPool, ForkedChildStartsThreadsOfItsOwn) {
  ThreadPool pool(3);
  ASSERT_TRUE(runsEachOnce(pool, 100));
  const uint64_t generation = forkGeneration();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(20);
    std::atomic<int> waiting{0};
    pool.parallelFor(3, 64, [&](int64_t, void *) {
      waiting++;
      while (waiting < 3) {
        std::this_thread::yield();
      }
    });
    const bool good = forkGeneration() == generation + 1 && runsEachOnce(pool, 500);
    _exit(good ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_TRUE(runsEachOnce(pool, 100)) << "the parent's threads go on";
}

TEST(ThreadPool, ForkWhileOtherThreadsUseIt) {
  ThreadPool pool(3);
  std::atomic<bool> stop{false};
  std::thread user([&] {
    while (!stop) {
      EXPECT_TRUE(runsEachOnce(pool, 50));
    }
  });
  for (int repeat = 0; repeat < 20; ++repeat) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(20);
      _exit(runsEachOnce(pool, 50) ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  stop = true;
  user.join();
}

TEST(ThreadPool, DestructionJoins) {
  for (int repeat = 0; repeat < 50; ++repeat) {
    ThreadPool pool(4);
    ASSERT_TRUE(runsEachOnce(pool, 10));
  }
}

namespace {

std::atomic<unsigned> seenControl{0};
void recordControl(const uint64_t *slots, int64_t, void *) {
  if (slots[0] == 42) {
    seenControl |= _mm_getcsr() & 0xffc0; // without the sticky exception flags
  }
}

} // namespace

TEST(ProgramLoop, FloatEnvironmentIsTheDefaultOneAndRestored) {
  ThreadPool pool(2);
  LoadedKernel kernel;
  kernel.entry = recordControl;
  kernel.scratchBytes = 64;
  const uint64_t slots[] = {42};
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040); // flush to zero, denormals are zero
  runPrograms(pool, kernel, slots, 8);
  EXPECT_EQ(_mm_getcsr() & 0xffc0, (before | 0x8040) & 0xffc0);
  _mm_setcsr(before);
  EXPECT_EQ(seenControl, 0x1f80u);
}

TEST(ThreadPool, AvailableCpusIsPositive) { EXPECT_GE(availableCpus(), 1u); }
