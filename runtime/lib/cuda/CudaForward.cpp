// SPDX-License-Identifier: Apache-2.0
//
// The engine's work for CUDA tensors: what a device's plan is, and a plan's steps as launches on the caller's stream.
#include "CudaKernel.h"
#include "Devices.h"
#include "tilewright/runtime/Engine.h"

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

} // namespace

PlanOptions Engine::planOptions(const AttentionProblem &problem) const {
  PlanOptions options = options_.plan;
  if (problem.device == TW_DEVICE_CUDA && options.sm == 0) {
    options.sm = smOfDevice(cuda::deviceInfo(problem.deviceIndex));
  }
  return options;
}

void Engine::forwardCuda(const AttentionProblem &problem, const ForwardPointers &pointers, void *callersStream) {
  const cuda::DeviceInfo &device = cuda::device(problem.deviceIndex);
  const auto stream = static_cast<cuda::Stream>(callersStream);
  PlanOptions options = options_.plan;
  const uint16_t own = smOfDevice(device);
  options.sm = options.sm != 0 ? options.sm : own;
  Plan plan = makePlan(problem, options);
  if (plan.stepCount == 0) {
    return;
  }
  const cuda::ContextScope context(device);

  struct Launch {
    const cuda::CudaKernel *kernel;
    cuda::Function function;
  };
  std::array<Launch, std::tuple_size_v<decltype(plan.steps)>> launches{};
  auto known = [&](const Step &step) {
    // Every kernel of a GPU key is a CudaKernel: see load() in Engine.cpp.
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
    const auto &kernel = static_cast<const cuda::CudaKernel &>(obtain(plan.steps[i].key));
    launches[i] = {&kernel, kernel.load(device)};
  }

  cuda::Workspace workspace(device, stream, plan.workspaceBytes);
  bindPlan(plan, problem, pointers, workspace.data());
  for (size_t i = 0; i < plan.stepCount; ++i) {
    const Step &step = plan.steps[i];
    launches[i].kernel->launch(device, launches[i].function, std::span(step.slots).first(step.slotCount),
                               step.programs, stream);
  }
  workspace.release();
}
