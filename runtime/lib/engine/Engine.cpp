// SPDX-License-Identifier: Apache-2.0
//
// Obtaining kernels, once each, and running plans.
#include "tilewright/runtime/Engine.h"
#include "../cuda/CudaKernel.h"
#include "KernelTable.h"
#include "tilewright/runtime/Compiler.h"
#include "tilewright/runtime/Error.h"
#include "tilewright/runtime/ProgramLoop.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdio>
#include <new>

using namespace tilewright;
using namespace tilewright::runtime;

namespace {

class Stopwatch {
public:
  double milliseconds() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count();
  }

private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// A GPU kernel is loaded later, on each device that it runs on.
std::unique_ptr<LoadedKernel> load(const KernelKey &key, const Artifact &artifact) {
  if (key.sm != 0) {
    return std::make_unique<cuda::CudaKernel>(artifact);
  }
  return loadArtifact(artifact);
}

uint64_t microseconds(double milliseconds) { return static_cast<uint64_t>(milliseconds * 1000.0); }

class Workspace {
public:
  explicit Workspace(size_t bytes)
      : data_(bytes == 0 ? nullptr : ::operator new(bytes, std::align_val_t{kWorkspaceAlign})) {}
  ~Workspace() { ::operator delete(data_, std::align_val_t{kWorkspaceAlign}); }
  Workspace(const Workspace &) = delete;
  Workspace &operator=(const Workspace &) = delete;

  void *data() const { return data_; }

private:
  void *const data_;
};

} // namespace

/// One key being made by one thread. Fields other than the key's own thread's are read under the engine's lock.
struct Engine::Flight {
  const LoadedKernel *kernel = nullptr; ///< null until it landed well
  std::exception_ptr failure;           ///< set if it did not
};

Engine::Engine(EngineOptions options)
    : options_(std::move(options)), cache_(options_.cache), pool_(options_.threads),
      table_(std::make_unique<KernelTable>()) {
  joinForks();
}

Engine::~Engine() { leaveForks(); }

void Engine::beforeFork() { lock_.lock(); }

void Engine::afterForkInParent() { lock_.unlock(); }

void Engine::afterForkInChild() {
  // The threads that were making kernels, and those that waited, are not in this process: whoever asks starts anew. A
  // condition variable remembers its waiters, so this one is replaced, not reused or destroyed.
  flights_.clear();
  new (&landed_) std::condition_variable;
  lock_.unlock();
}

const LoadedKernel *Engine::find(const KernelKey &key) const { return table_->find(key); }

const LoadedKernel &Engine::obtain(const KernelKey &key) {
  if (const LoadedKernel *kernel = table_->find(key)) {
    memoryHits_.fetch_add(1, std::memory_order_relaxed);
    return *kernel;
  }
  return obtainSlowly(key);
}

const LoadedKernel &Engine::obtainSlowly(const KernelKey &key) {
  std::shared_ptr<Flight> flight;
  {
    std::unique_lock<std::mutex> guard(lock_);
    // It may have landed since the lookup without the lock.
    if (const LoadedKernel *kernel = table_->find(key)) {
      memoryHits_.fetch_add(1, std::memory_order_relaxed);
      return *kernel;
    }
    if (auto it = flights_.find(key); it != flights_.end()) {
      flight = it->second;
      landed_.wait(guard, [&] { return flight->kernel != nullptr || flight->failure; });
      if (flight->failure) {
        std::rethrow_exception(flight->failure);
      }
      memoryHits_.fetch_add(1, std::memory_order_relaxed);
      return *flight->kernel;
    }
    flight = std::make_shared<Flight>();
    flights_.emplace(key, flight);
  }

  std::exception_ptr failure;
  Made made;
  try {
    made = make(key);
  } catch (...) {
    failure = std::current_exception();
  }

  std::unique_lock<std::mutex> guard(lock_);
  flights_.erase(key);
  if (!failure) {
    try {
      events_.push_back(std::move(made.event));
      flight->kernel = &table_->add(key, std::move(made.kernel));
    } catch (...) {
      failure = std::current_exception();
    }
  }
  flight->failure = failure;
  landed_.notify_all();
  if (failure) {
    std::rethrow_exception(failure);
  }
  return *flight->kernel;
}

Engine::Made Engine::make(const KernelKey &key) {
  Made made;
  made.event.key = toText(key);
  const std::string digest = runtime::digest(key);
  if (makeFromDisk(key, digest, made)) {
    return made;
  }
  switch (options_.missPolicy) {
  case TW_MISS_ERROR:
    throw Error(TW_CACHE_MISS, "a kernel is in no cache, and the miss policy forbids to compile it: " + made.event.key);
  case TW_MISS_WARN:
    std::fprintf(stderr, "tilewright: compiling a kernel that is in no cache: %s\n", made.event.key.c_str());
    break;
  case TW_MISS_COMPILE:
    break;
  }
  makeByCompiling(key, digest, made);
  return made;
}

bool Engine::makeFromDisk(const KernelKey &key, const std::string &digest, Made &made) {
  const Stopwatch total;
  std::optional<Artifact> artifact = cache_.load(digest, made.event.key);
  if (!artifact) {
    return false;
  }
  const double readMs = total.milliseconds();
  try {
    CompileScope scope;
    made.kernel = load(key, *artifact);
  } catch (const Error &error) {
    if (error.status() != TW_COMPILE_ERROR) {
      throw;
    }
    cache_.setAside(digest, std::string("passes its checks but does not load: ") + error.what());
    return false;
  }
  const double ms = total.milliseconds();
  made.event.origin = "disk";
  made.event.ms = ms;
  made.event.stages = {{"read", readMs}, {"load", ms - readMs}};
  diskHits_.fetch_add(1, std::memory_order_relaxed);
  loadMicroseconds_.fetch_add(microseconds(ms), std::memory_order_relaxed);
  return true;
}

void Engine::makeByCompiling(const KernelKey &key, const std::string &digest, Made &made) {
  cache_.requireWritable();
  const Stopwatch total;
  Artifact artifact;
  double compileMs = 0;
  double loadMs = 0;
  {
    CompileScope scope;
    artifact = compileKernel(key);
    compileMs = total.milliseconds();
    made.kernel = load(key, artifact);
    loadMs = total.milliseconds() - compileMs;
  }
  if (artifact.keyText != made.event.key) {
    throw Error(TW_INTERNAL_ERROR,
                "the compiler was asked for '" + made.event.key + "' and made '" + artifact.keyText + "'");
  }
  compiles_.fetch_add(1, std::memory_order_relaxed);
  compileMicroseconds_.fetch_add(microseconds(compileMs), std::memory_order_relaxed);
  loadMicroseconds_.fetch_add(microseconds(loadMs), std::memory_order_relaxed);
  cache_.publish(digest, artifact);
  made.event.origin = "compiled";
  made.event.ms = compileMs + loadMs;
  made.event.stages = std::move(artifact.stageMs);
  made.event.stages.emplace_back("load", loadMs);
}

void Engine::forward(const TwForwardArgs &args) {
  ForwardPointers pointers;
  const AttentionProblem problem = checkForward(args, Purpose::Run, &pointers);
  if (problem.device == TW_DEVICE_CUDA) {
    return forwardCuda(problem, pointers, args.stream);
  }
  Plan plan = makePlan(problem, options_.plan);
  std::array<const LoadedKernel *, std::tuple_size_v<decltype(plan.steps)>> kernels{};
  for (size_t i = 0; i < plan.stepCount; ++i) {
    kernels[i] = &obtain(plan.steps[i].key);
  }
  Workspace workspace(plan.workspaceBytes);
  bindPlan(plan, problem, pointers, workspace.data());
  for (size_t i = 0; i < plan.stepCount; ++i) {
    runPrograms(pool_, *kernels[i], plan.steps[i].slots.data(), plan.steps[i].programs);
  }
}

void Engine::stats(TwStats &stats) const {
  stats.memory_hits = memoryHits_.load(std::memory_order_relaxed);
  stats.disk_hits = diskHits_.load(std::memory_order_relaxed);
  stats.compiles = compiles_.load(std::memory_order_relaxed);
  stats.bad_entries = cache_.badEntries();
  stats.compile_ms = static_cast<double>(compileMicroseconds_.load(std::memory_order_relaxed)) / 1000.0;
  stats.load_ms = static_cast<double>(loadMicroseconds_.load(std::memory_order_relaxed)) / 1000.0;
}

std::string Engine::eventsJson() const {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  std::lock_guard<std::mutex> guard(lock_);
  for (const Event &event : events_) {
    nlohmann::ordered_json stages = nlohmann::ordered_json::object();
    for (const auto &[stage, ms] : event.stages) {
      stages[stage] = ms;
    }
    list.push_back({{"key", event.key}, {"origin", event.origin}, {"ms", event.ms}, {"stages", stages}});
  }
  return list.dump();
}
