// SPDX-License-Identifier: Apache-2.0
//
// Runs the programs of a kernel on several threads.
//
// LLVM's thread pool is not used: it allocates a shared future for every task and takes two locks to queue it, and its
// queue cannot be abandoned in a forked child. Here a call allocates nothing once its threads' scratch has grown.
#ifndef TILEWRIGHT_RUNTIME_THREADPOOL_H
#define TILEWRIGHT_RUNTIME_THREADPOOL_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace tilewright::runtime {

/// Threads start with the first call that can use them, and are joined only by the destructor: a pool that lives as
/// long as the process leaves them asleep at exit. A forked child finds its threads gone and starts new ones; what the
/// old ones owned is left alone, because a thread that no longer exists may have been in the middle of changing it.
class ThreadPool {
public:
  /// `threads` counts the caller: 1 never starts a thread.
  explicit ThreadPool(unsigned threads);
  ~ThreadPool(); ///< no call may be running
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  unsigned threads() const { return threads_; }

  /// Calls fn(program, scratch) once for every program in [0, programs), on the calling thread and the pool's, and
  /// returns when all are done. `scratch` is `scratchBytes` long, 64-byte aligned, one a thread, contents undefined.
  /// Programs are handed out in order. `fn` must not throw. Any number of threads may call at the same time, and `fn`
  /// may call again. Throws std::bad_alloc, before any program ran, if the caller's scratch cannot be had.
  template <typename Fn> void parallelFor(int64_t programs, size_t scratchBytes, Fn &&fn) {
    using Callable = std::remove_reference_t<Fn>;
    run(programs, scratchBytes,
        [](void *callable, int64_t program, void *scratch) { (*static_cast<Callable *>(callable))(program, scratch); },
        const_cast<void *>(static_cast<const void *>(&fn)));
  }

private:
  using Invoke = void (*)(void *callable, int64_t program, void *scratch);
  struct Job;
  struct Workers;

  void run(int64_t programs, size_t scratchBytes, Invoke invoke, void *callable);
  Workers &workers();

  const unsigned threads_;
  std::atomic<Workers *> workers_{nullptr};
};

/// The CPUs that this process may run on, at least 1.
unsigned availableCpus();

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_THREADPOOL_H
