// SPDX-License-Identifier: Apache-2.0
//
// The engine's work for CUDA tensors: what a device's plan is, and a plan's steps as launches on the caller's stream.
#include "CudaKernel.h"
#include "Devices.h"
#include "StreamCounters.h"
#include "TensorMaps.h"
#include "tilewright/runtime/Engine.h"

#include <cstdio>

using namespace tilewright;
using namespace tilewright::runtime;

namespace {

uint16_t smOfDevice(const cuda::DeviceInfo &device) {
  const std::optional<uint16_t> sm = smOf(device.major, device.minor);
  if (!sm) {
    throw Error(TW_UNSUPPORTED,
                "q: is on cuda:" + std::to_string(device.ordinal) + ", " + device.name + " of compute capability " +
                    std::to_string(device.major) + "." + std::to_string(device.minor) + "; 8.0 or later is needed",
                "q");
  }
  return *sm;
}

/// The device's own target, for options that leave it open.
void setTarget(PlanOptions &options, const cuda::DeviceInfo &device) {
  if (options.sm == 0) {
    options.sm = smOfDevice(device);
    options.sm90a = cuda::servesSm90a(device);
    options.persistent = device.memoryPools;
  }
}

} // namespace

PlanOptions Engine::planOptions(const AttentionProblem &problem) const {
  PlanOptions options = options_.plan;
  if (problem.device == TW_DEVICE_CUDA && options.sm == 0) {
    setTarget(options, cuda::deviceInfo(problem.deviceIndex));
  }
  return options;
}

struct Engine::CudaLaunch {
  const cuda::CudaKernel *kernel;
  cuda::Function function;
};

Plan Engine::plan(const AttentionProblem &problem) const {
  Plan plan = makePlan(problem, planOptions(problem));
  if (problem.device == TW_DEVICE_CUDA) {
    adaptKeys(plan, problem.deviceIndex);
  }
  return plan;
}

void Engine::adaptKeys(Plan &plan, int device) const {
  static_assert(cuda::kMaxDevices <= 64, "a bit of ptxDevices_ for each");
  if (device >= 0 && device < cuda::kMaxDevices && (ptxDevices_.load(std::memory_order_acquire) >> device & 1) != 0) {
    for (size_t i = 0; i < plan.stepCount; ++i) {
      plan.steps[i].key.sm = kPtxOnly; // the schedule stays the one that was chosen for the device's SM
    }
  }
}

Engine::CudaLaunch Engine::loadOn(const cuda::DeviceInfo &device, const KernelKey &key) {
  // Every kernel of a GPU key is a CudaKernel: see load() in Engine.cpp.
  const auto &kernel = static_cast<const cuda::CudaKernel &>(obtain(key));
  std::string refusal;
  try {
    return {&kernel, kernel.load(device)};
  } catch (const cuda::CudaError &error) {
    if (!kernel.isMachineCode() || !cuda::refusesImage(error)) {
      throw;
    }
    refusal = error.what();
  }
  KernelKey ptxKey = key;
  ptxKey.sm = kPtxOnly;
  CudaLaunch launch{};
  const std::string before = "; before that, the driver refused the kernel's machine code: ";
  try {
    launch.kernel = static_cast<const cuda::CudaKernel *>(&obtain(ptxKey));
    launch.function = launch.kernel->load(device);
  } catch (const cuda::CudaError &error) {
    throw cuda::CudaError(error.status(), error.what() + before + refusal, error.expression(), error.code(),
                          error.codeName(), error.device(), error.stream());
  } catch (const Error &error) {
    throw Error(error.status(), error.what() + before + refusal, error.argument());
  }
  const uint64_t bit = uint64_t{1} << device.ordinal;
  if ((ptxDevices_.fetch_or(bit, std::memory_order_acq_rel) & bit) == 0) {
    std::fprintf(stderr,
                 "tilewright: the driver of cuda:%d refuses machine code of the assembler's CUDA release, so kernels "
                 "go to it as PTX, which it assembles in every process; a later driver, or an older assembler in "
                 "TILEWRIGHT_PTXAS, avoids that: %s\n",
                 device.ordinal, refusal.c_str());
  }
  return launch;
}

void Engine::forwardCuda(const AttentionProblem &problem, const ForwardPointers &pointers, void *callersStream) {
  const cuda::DeviceInfo &device = cuda::device(problem.deviceIndex);
  const auto stream = static_cast<cuda::Stream>(callersStream);
  PlanOptions options = options_.plan;
  (void)smOfDevice(device); // whatever kernels are made for: the device must run some
  setTarget(options, device);
  Plan plan = makePlan(problem, options);
  if (plan.stepCount == 0) {
    return;
  }
  adaptKeys(plan, device.ordinal);
  const cuda::ContextScope context(device);

  std::array<CudaLaunch, std::tuple_size_v<decltype(plan.steps)>> launches{};
  auto known = [&](const Step &step) {
    auto *kernel = static_cast<const cuda::CudaKernel *>(find(step.key));
    return kernel != nullptr && kernel->find(device) != nullptr;
  };
  for (const Step &step : plan.list()) {
    if (!known(step) && cuda::isCapturing(device, stream)) {
      throw Error(TW_CACHE_MISS, "a CUDA graph is being captured, and a kernel that the call needs is not loaded on "
                                 "cuda:" + std::to_string(device.ordinal) +
                                     " yet, which cannot be done during a capture: make the call once before it. "
                                     "The kernel: " + toText(step.key));
    }
  }
  for (size_t i = 0; i < plan.stepCount; ++i) {
    launches[i] = loadOn(device, plan.steps[i].key);
  }

  const bool counts = plan.list().back().key.schedule.persistent != 0;
  cuda::DevicePointer counter = counts ? cuda::streamCounter(device, stream) : 0;
  const bool ownCounter = counts && counter == 0;
  cuda::Workspace workspace(device, stream, plan.workspaceBytes + (ownCounter ? kWorkspaceAlign : 0));
  if (ownCounter) {
    counter = workspace.zero(plan.workspaceBytes, 1);
  }
  bindPlan(plan, problem, pointers, workspace.data());
  for (size_t i = 0; i < plan.stepCount; ++i) {
    const Step &step = plan.steps[i];
    const cuda::TensorMaps maps(device, step.key, problem, pointers);
    launches[i].kernel->launch(device, launches[i].function, std::span(step.slots).first(step.slotCount), maps.list(),
                               step.key.schedule.persistent != 0 ? counter : 0, step.programs, stream);
  }
  workspace.release();
}
