// SPDX-License-Identifier: Apache-2.0
//
// The engine: a problem to a plan, every key of the plan to a loaded kernel (memory cache, disk cache, compiler), and
// the plan's steps to finished outputs.
#ifndef TILEWRIGHT_RUNTIME_ENGINE_H
#define TILEWRIGHT_RUNTIME_ENGINE_H

#include "tilewright/runtime/Artifact.h"
#include "tilewright/runtime/AttentionProblem.h"
#include "tilewright/runtime/Cache.h"
#include "tilewright/runtime/ExitGuard.h"
#include "tilewright/runtime/KernelKey.h"
#include "tilewright/runtime/Plan.h"
#include "tilewright/runtime/ThreadPool.h"
#include "tilewright/tilewright.h"
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace tilewright::runtime {

class KernelTable;
namespace cuda {
struct DeviceInfo;
} // namespace cuda

struct EngineOptions {
  CacheLocation cache;
  unsigned threads = 1;
  TwMissPolicy missPolicy = TW_MISS_COMPILE;
  PlanOptions plan;
};

/// The C ABI's options with the environment's and the machine's defaults filled in; null: all defaults. Throws Error
/// that names the option or the environment variable, what it is and what is allowed.
EngineOptions resolveOptions(const TwEngineOptions *options);

/// Thread-safe. Survives fork: see ExitGuard.h.
class Engine final : private ForkParticipant {
public:
  explicit Engine(EngineOptions options);
  ~Engine(); ///< no call may be running
  Engine(const Engine &) = delete;
  Engine &operator=(const Engine &) = delete;

  const EngineOptions &options() const { return options_; }
  const DiskCache &cache() const { return cache_; }

  /// Checks, obtains every kernel of the plan, then runs it. Nothing is written if it throws. For CUDA tensors it
  /// queues the work on args.stream and returns.
  void forward(const TwForwardArgs &args);

  Plan plan(const AttentionProblem &problem) const;
  /// What a plan for the problem's device is made with. Asks the driver for a CUDA device, without a context on it.
  PlanOptions planOptions(const AttentionProblem &problem) const;

  /// The kernel from memory (no lock, no allocation), else from disk, else compiled. Threads that ask for a key while
  /// it is being made wait for the one that makes it, and share its failure; a failure is not remembered.
  const LoadedKernel &obtain(const KernelKey &key);

  void stats(TwStats &stats) const; ///< fills all but struct_size
  /// Oldest first: {"key", "origin": "compiled"|"disk", "ms", "stages": {stage: ms}}. The stages of a kernel from
  /// disk are those of fetching it, "read" and "load".
  std::string eventsJson() const;

private:
  using StageTimes = std::vector<std::pair<std::string, double>>;
  struct Flight;
  struct Event {
    std::string key;
    const char *origin;
    double ms;
    StageTimes stages;
  };
  struct KeyHash {
    size_t operator()(const KernelKey &key) const { return key.hash(); }
  };
  /// A kernel that was made for one thread and not yet given to the table.
  struct Made {
    std::unique_ptr<LoadedKernel> kernel;
    Event event;
  };

  struct CudaLaunch;

  const LoadedKernel *find(const KernelKey &key) const; ///< in memory; counts nothing
  /// The keys of what is launched on a device whose driver refuses machine code: the same kernels as PTX.
  void adaptKeys(Plan &plan, int device) const;
  /// The kernel of a key, loaded on the device whose context is current. Where the driver refuses its machine code: as
  /// PTX, now and from now on.
  CudaLaunch loadOn(const cuda::DeviceInfo &device, const KernelKey &key);
  void forwardCuda(const AttentionProblem &problem, const ForwardPointers &pointers, void *stream);
  const LoadedKernel &obtainSlowly(const KernelKey &key);
  Made make(const KernelKey &key);
  bool makeFromDisk(const KernelKey &key, const std::string &digest, Made &made);
  void makeByCompiling(const KernelKey &key, const std::string &digest, Made &made);

  void beforeFork() override;
  void afterForkInParent() override;
  void afterForkInChild() override;

  const EngineOptions options_;
  DiskCache cache_;
  ThreadPool pool_;
  std::unique_ptr<KernelTable> table_;

  mutable std::mutex lock_; ///< of flights_, events_ and additions to table_
  std::condition_variable landed_;
  std::unordered_map<KernelKey, std::shared_ptr<Flight>, KeyHash> flights_;
  std::vector<Event> events_;

  std::atomic<uint64_t> ptxDevices_{0}; ///< a bit for each CUDA device whose driver refused machine code
  std::atomic<uint64_t> memoryHits_{0}, diskHits_{0}, compiles_{0};
  std::atomic<uint64_t> compileMicroseconds_{0}, loadMicroseconds_{0};
};

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_ENGINE_H
