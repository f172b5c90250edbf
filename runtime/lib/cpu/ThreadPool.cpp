// SPDX-License-Identifier: Apache-2.0
//
// A list of jobs under one lock; inside a job, programs are handed out by an atomic counter.
#include "tilewright/runtime/ThreadPool.h"
#include "tilewright/runtime/ExitGuard.h"

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <memory>
#include <mutex>
#include <new>
#include <pthread.h>
#include <sched.h>
#include <system_error>
#include <thread>
#include <vector>

using namespace tilewright::runtime;

namespace {

constexpr std::align_val_t kScratchAlign{64};

class Scratch {
public:
  Scratch() = default;
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;
  ~Scratch() { release(); }

  void *require(size_t bytes) {
    if (bytes > capacity_) {
      release();
      data_ = ::operator new(bytes, kScratchAlign);
      capacity_ = bytes;
    }
    return data_;
  }

  bool inUse = false;

private:
  void release() {
    ::operator delete(data_, kScratchAlign);
    data_ = nullptr;
    capacity_ = 0;
  }

  void *data_ = nullptr;
  size_t capacity_ = 0;
};

/// Each thread keeps its scratch between calls.
thread_local Scratch threadScratch;

/// The thread's scratch, or, for a call made from inside a program, one of its own: the outer program's is in use.
class ScratchLease {
public:
  explicit ScratchLease(size_t bytes) : nested_(threadScratch.inUse) {
    data = nested_ ? own_.require(bytes) : threadScratch.require(bytes);
    threadScratch.inUse = true;
  }
  ~ScratchLease() { threadScratch.inUse = nested_; }
  ScratchLease(const ScratchLease &) = delete;
  ScratchLease &operator=(const ScratchLease &) = delete;

  void *data = nullptr;

private:
  const bool nested_;
  Scratch own_;
};

inline void spinPause() { __builtin_ia32_pause(); }

} // namespace

struct ThreadPool::Job {
  std::atomic<int64_t> next{0};
  const int64_t programs;
  const size_t scratchBytes;
  const Invoke invoke;
  void *const callable;
  /// Pool threads inside this job. Changed under the pool's lock; the job may vanish as soon as it is seen to be 0.
  std::atomic<int> helpers{0};
  bool closed = false; ///< to helpers; under the pool's lock
  Job *following = nullptr;

  Job(int64_t programs, size_t scratchBytes, Invoke invoke, void *callable)
      : programs(programs), scratchBytes(scratchBytes), invoke(invoke), callable(callable) {}

  bool hasWork() const { return next.load(std::memory_order_relaxed) < programs; }

  void work(void *scratch) {
    for (int64_t program; (program = next.fetch_add(1, std::memory_order_relaxed)) < programs;) {
      invoke(callable, program, scratch);
    }
  }
};

struct ThreadPool::Workers {
  const uint64_t generation = forkGeneration();
  std::mutex lock;
  std::condition_variable wake; ///< for pool threads: a job was added, or `stop` was set
  std::condition_variable done; ///< for callers: some job's last helper left
  Job *jobs = nullptr;
  bool stop = false;
  bool started = false;
  std::vector<std::thread> threads;

  ~Workers() {
    {
      std::lock_guard<std::mutex> guard(lock);
      stop = true;
    }
    wake.notify_all();
    for (std::thread &thread : threads) {
      thread.join();
    }
  }

  /// Under the lock. Fewer threads than asked for, even none, is slower and still correct.
  void start(unsigned count) {
    started = true;
    // Signals belong to the host's own threads.
    sigset_t all, previous;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    try {
      threads.reserve(count);
      for (unsigned i = 0; i < count; ++i) {
        threads.emplace_back([this] { serve(); });
        pthread_setname_np(threads.back().native_handle(), "tilewright");
      }
    } catch (const std::system_error &) {
    } catch (const std::bad_alloc &) {
    }
    pthread_sigmask(SIG_SETMASK, &previous, nullptr);
  }

  Job *findJob() const {
    Job *job = jobs;
    while (job != nullptr && (job->closed || !job->hasWork())) {
      job = job->following;
    }
    return job;
  }

  void serve() {
    std::unique_lock<std::mutex> guard(lock);
    while (true) {
      Job *job = nullptr;
      wake.wait(guard, [&] { return stop || (job = findJob()) != nullptr; });
      if (stop) {
        return;
      }
      job->helpers.fetch_add(1, std::memory_order_relaxed);
      guard.unlock();
      const bool helped = help(*job);
      guard.lock();
      job->closed |= !helped;
      // The release pairs with the caller's acquire: what this thread wrote is visible once the job is done.
      if (job->helpers.fetch_sub(1, std::memory_order_release) == 1) {
        done.notify_all();
      }
    }
  }

  /// Without memory for scratch this thread cannot help, and the job is closed to helpers: its caller has its scratch
  /// and runs every program that is left.
  bool help(Job &job) {
    void *scratch;
    try {
      scratch = threadScratch.require(job.scratchBytes);
    } catch (const std::bad_alloc &) {
      return false;
    }
    threadScratch.inUse = true;
    job.work(scratch);
    threadScratch.inUse = false;
    return true;
  }
};

ThreadPool::ThreadPool(unsigned threads) : threads_(std::max(threads, 1u)) { installForkHandlers(); }

ThreadPool::~ThreadPool() {
  Workers *workers = workers_.load(std::memory_order_acquire);
  if (workers != nullptr && workers->generation == forkGeneration()) {
    delete workers;
  }
}

ThreadPool::Workers &ThreadPool::workers() {
  Workers *current = workers_.load(std::memory_order_acquire);
  while (current == nullptr || current->generation != forkGeneration()) {
    // No lock here: a fork could leave it locked. Two threads may both make one, and the loser's has no thread yet.
    auto fresh = std::make_unique<Workers>();
    if (workers_.compare_exchange_strong(current, fresh.get(), std::memory_order_acq_rel)) {
      return *fresh.release();
    }
  }
  return *current;
}

void ThreadPool::run(int64_t programs, size_t scratchBytes, Invoke invoke, void *callable) {
  if (programs <= 0) {
    return;
  }
  ScratchLease scratch(scratchBytes);
  Job job(programs, scratchBytes, invoke, callable);
  if (threads_ == 1 || programs == 1) {
    job.work(scratch.data);
    return;
  }

  Workers &pool = workers();
  const auto wanted = static_cast<unsigned>(std::min<int64_t>(programs, threads_)) - 1;
  {
    std::lock_guard<std::mutex> guard(pool.lock);
    if (!pool.started) {
      pool.start(threads_ - 1);
    }
    Job **end = &pool.jobs;
    while (*end != nullptr) {
      end = &(*end)->following;
    }
    *end = &job;
  }
  for (unsigned i = 0; i < wanted; ++i) {
    pool.wake.notify_one();
  }
  job.work(scratch.data);

  {
    std::lock_guard<std::mutex> guard(pool.lock);
    Job **link = &pool.jobs;
    while (*link != &job) {
      link = &(*link)->following;
    }
    *link = job.following;
  }
  // Helpers are in their last program: usually not worth a sleep.
  for (int spins = 0; spins < 2000 && job.helpers.load(std::memory_order_acquire) != 0; ++spins) {
    spinPause();
  }
  if (job.helpers.load(std::memory_order_acquire) != 0) {
    std::unique_lock<std::mutex> guard(pool.lock);
    pool.done.wait(guard, [&] { return job.helpers.load(std::memory_order_acquire) == 0; });
  }
}

unsigned tilewright::runtime::availableCpus() {
  // The mask's size is not known beforehand: machines with more than 1024 CPUs need more than a cpu_set_t.
  for (int cpus = CPU_SETSIZE; cpus <= (1 << 20); cpus *= 2) {
    cpu_set_t *set = CPU_ALLOC(cpus);
    if (set == nullptr) {
      break;
    }
    const size_t bytes = CPU_ALLOC_SIZE(cpus);
    const bool known = sched_getaffinity(0, bytes, set) == 0;
    const int count = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (known) {
      return static_cast<unsigned>(std::max(count, 1));
    }
  }
  return std::max(std::thread::hardware_concurrency(), 1u);
}
