// SPDX-License-Identifier: Apache-2.0
#include "CudaKernel.h"
#include "tilewright/runtime/Plan.h"

#include <algorithm>
#include <string>
#include <utility>

using namespace tilewright::runtime;
using namespace tilewright::runtime::cuda;

CudaKernel::CudaKernel(Artifact artifact) : artifact_(std::move(artifact)) {
  if (artifact_.format == CodeFormat::ElfObject || artifact_.threads == 0) {
    throw Error(TW_INTERNAL_ERROR, "the compiler was asked for a GPU kernel and made none: " + artifact_.keyText);
  }
}

namespace {

[[noreturn]] void tooMuch(const DeviceInfo &device, const std::string &need, int64_t limit, const std::string &key) {
  throw Error(TW_UNSUPPORTED,
              "q: the kernel needs " + need + " a block, but cuda:" + std::to_string(device.ordinal) + " (" +
                  device.name + ") has " + std::to_string(limit) + "; choose a smaller schedule than that of " + key,
              "q");
}

} // namespace

/// A launch that asks for more fails with a code that does not say of what.
void CudaKernel::checkResources(const DeviceInfo &device, Function function) const {
  int staticShared = 0, registers = 0;
  check(driver().funcGetAttribute(&staticShared, kFunctionStaticShared, function), "cuFuncGetAttribute",
        device.ordinal, nullptr, artifact_.symbol + ", static shared memory");
  check(driver().funcGetAttribute(&registers, kFunctionRegisters, function), "cuFuncGetAttribute", device.ordinal,
        nullptr, artifact_.symbol + ", registers");
  const int64_t shared = static_cast<int64_t>(artifact_.sharedBytes) + staticShared;
  if (shared > device.sharedBytes) {
    tooMuch(device,
            std::to_string(shared) + " bytes of shared memory (" + std::to_string(artifact_.sharedBytes) +
                " dynamic, " + std::to_string(staticShared) + " static)",
            device.sharedBytes, artifact_.keyText);
  }
  // A warp's registers are given out in units of 256.
  const int64_t needed = (registers * 32 + 255) / 256 * 256 * (artifact_.threads / 32);
  if (needed > device.registers) {
    tooMuch(device,
            std::to_string(needed) + " registers (" + std::to_string(registers) + " for each of " +
                std::to_string(artifact_.threads) + " threads)",
            device.registers, artifact_.keyText);
  }
}

Function CudaKernel::load(const DeviceInfo &device) const {
  if (Function found = find(device)) {
    return found;
  }
  if (artifact_.sharedBytes > static_cast<uint64_t>(device.sharedBytes)) {
    tooMuch(device, std::to_string(artifact_.sharedBytes) + " bytes of shared memory", device.sharedBytes,
            artifact_.keyText);
  }
  const DriverApi &api = driver();
  std::string log(8192, '\0');
  int options[] = {kJitErrorLog, kJitErrorLogBytes};
  void *values[] = {log.data(), reinterpret_cast<void *>(static_cast<uintptr_t>(log.size()))};
  Module module = nullptr;
  // PTX ends with a NUL, which std::string has; of machine code the driver knows the size.
  const Result result = api.moduleLoadDataEx(&module, artifact_.object.c_str(), 2, options, values);
  if (result != kSuccess) {
    const std::string said = log.c_str();
    check(result, "cuModuleLoadDataEx", device.ordinal, nullptr, artifact_.keyText + (said.empty() ? "" : "; " + said));
  }
  Function function = nullptr;
  try {
    check(api.moduleGetFunction(&function, module, artifact_.symbol.c_str()), "cuModuleGetFunction", device.ordinal,
          nullptr, artifact_.symbol);
    checkResources(device, function);
    if (artifact_.sharedBytes > kDefaultSharedBytes) {
      check(api.funcSetAttribute(function, kFunctionMaxDynamicShared, static_cast<int>(artifact_.sharedBytes)),
            "cuFuncSetAttribute", device.ordinal, nullptr,
            std::to_string(artifact_.sharedBytes) + " bytes of shared memory");
    }
  } catch (...) {
    (void)api.moduleUnload(module);
    throw;
  }
  // Two threads may both load; the loser's copy has never run and is dropped. No lock, which a fork could copy.
  Function expected = nullptr;
  auto &slot = functions_[static_cast<size_t>(device.ordinal)];
  if (!slot.compare_exchange_strong(expected, function, std::memory_order_acq_rel)) {
    check(api.moduleUnload(module), "cuModuleUnload", device.ordinal);
    return expected;
  }
  return function;
}

void CudaKernel::launch(const DeviceInfo &device, Function function, std::span<const uint64_t> slots,
                        std::span<const TensorMap> maps, DevicePointer counter, int64_t programs,
                        Stream stream) const {
  std::array<void *, kMaxSlots + kMaxTensorMaps + 2> parameters;
  for (size_t i = 0; i < slots.size(); ++i) {
    // The driver reads a parameter's own size from its address; a float32 is the low half of its slot.
    parameters[i] = const_cast<uint64_t *>(&slots[i]);
  }
  for (size_t i = 0; i < maps.size(); ++i) {
    parameters[slots.size() + i] = const_cast<TensorMap *>(&maps[i]);
  }
  int64_t blocks = programs;
  auto count = static_cast<unsigned>(programs);
  if (counter != 0) {
    // One block fills an SM: of its threads' registers there are not twice as many.
    blocks = std::min(programs, device.multiprocessors);
    parameters[slots.size() + maps.size()] = &counter;
    parameters[slots.size() + maps.size() + 1] = &count;
  }
  const Result result =
      driver().launchKernel(function, static_cast<unsigned>(blocks), 1, 1, artifact_.threads, 1, 1,
                            static_cast<unsigned>(artifact_.sharedBytes), stream, parameters.data(), nullptr);
  if (result != kSuccess) {
    check(result, "cuLaunchKernel", device.ordinal, stream,
          artifact_.symbol + ", grid " + std::to_string(blocks) + ", block " + std::to_string(artifact_.threads) +
              ", " + std::to_string(artifact_.sharedBytes) + " bytes of shared memory");
  }
}

bool cuda::refusesImage(const CudaError &error) {
  switch (error.code()) {
  case kErrorInvalidImage:
  case kErrorNoBinaryForGpu:
  case kErrorUnsupportedPtx:
  case kErrorInvalidSource:
    return true;
  default:
    return false;
  }
}

bool cuda::isCapturing(const DeviceInfo &device, Stream stream) {
  int status = kCaptureNone;
  const Result result = driver().streamIsCapturing(stream, &status);
  if (result == kErrorCaptureImplicit) {
    return true; // the legacy default stream, while a stream that synchronises with it is captured
  }
  check(result, "cuStreamIsCapturing", device.ordinal, stream);
  return status != kCaptureNone;
}

Workspace::Workspace(const DeviceInfo &device, Stream stream, size_t bytes) : device_(device), stream_(stream) {
  if (bytes == 0) {
    return;
  }
  const std::string what = std::to_string(bytes) + " bytes";
  if (device.memoryPools) {
    check(driver().memAllocFromPoolAsync(&memory_, bytes, device.pool, stream), "cuMemAllocFromPoolAsync",
          device.ordinal, stream, what);
    return;
  }
  if (isCapturing(device, stream)) {
    throw Error(TW_UNSUPPORTED,
                "glm_mask: cuda:" + std::to_string(device.ordinal) + " (" + device.name +
                    ") has no memory pools, so packed pairs cannot be captured in a CUDA graph on it",
                "glm_mask");
  }
  check(driver().memAlloc(&memory_, bytes), "cuMemAlloc", device.ordinal, stream, what);
}

DevicePointer Workspace::zero(size_t at, size_t words) const {
  check(driver().memsetD32Async(memory_ + at, 0, words, stream_), "cuMemsetD32Async", device_.ordinal, stream_);
  return memory_ + at;
}

void Workspace::release() {
  if (memory_ == 0) {
    return;
  }
  const DevicePointer memory = std::exchange(memory_, 0);
  if (device_.memoryPools) {
    check(driver().memFreeAsync(memory, stream_), "cuMemFreeAsync", device_.ordinal, stream_);
    return;
  }
  const Result finished = driver().streamSynchronize(stream_);
  check(driver().memFree(memory), "cuMemFree", device_.ordinal, stream_);
  check(finished, "cuStreamSynchronize", device_.ordinal, stream_);
}

Workspace::~Workspace() {
  try {
    release();
  } catch (...) {
    // Another error is on its way to the caller.
  }
}
