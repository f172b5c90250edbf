// SPDX-License-Identifier: Apache-2.0
#include "Driver.h"
#include "Devices.h"
#include "StreamCounters.h"

#include <atomic>
#include <cstdio>
#include <dlfcn.h>
#include <memory>

using namespace tilewright::runtime;
using namespace tilewright::runtime::cuda;

namespace {

constexpr const char *kLibrary = "libcuda.so.1";
/// Functions are asked for as this version of the driver API has them: the first with cuGetProcAddress_v2.
constexpr int kApiVersion = 12000;

[[noreturn]] void unavailable(const std::string &why) { throw Error(TW_UNSUPPORTED, "CUDA: " + why); }

/// cuGetProcAddress_v2: chooses the version of a function that belongs to `apiVersion`.
using GetProcAddress = Result (*)(const char *name, void **function, int apiVersion, uint64_t flags, int *status);

class Loader {
public:
  Loader() {
    // Local: the driver's names must not answer to anybody else's symbols. Never closed: contexts outlive everything.
    void *library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      const char *why = ::dlerror();
      unavailable(std::string("no driver was found: ") + (why != nullptr ? why : kLibrary));
    }
    getProcAddress_ = reinterpret_cast<GetProcAddress>(::dlsym(library, "cuGetProcAddress_v2"));
    if (getProcAddress_ == nullptr) {
      unavailable(std::string(kLibrary) + " has no cuGetProcAddress_v2: a driver of CUDA 12.0 or later is needed");
    }
  }

  template <typename Fn> void find(const char *name, Fn &function) {
    void *address = nullptr;
    const Result result = getProcAddress_(name, &address, kApiVersion, /*flags: default*/ 0, /*status=*/nullptr);
    if (result != kSuccess || address == nullptr) {
      unavailable(std::string(kLibrary) + " has no " + name + " (error " + std::to_string(result) + ")");
    }
    function = reinterpret_cast<Fn>(address);
  }

  template <typename Fn> void findOptional(const char *name, Fn &function) {
    void *address = nullptr;
    const bool found = getProcAddress_(name, &address, kApiVersion, 0, nullptr) == kSuccess;
    function = found ? reinterpret_cast<Fn>(address) : nullptr;
  }

private:
  GetProcAddress getProcAddress_ = nullptr;
};

std::unique_ptr<DriverApi> load() {
  Loader loader;
  auto api = std::make_unique<DriverApi>();
  loader.find("cuInit", api->init);
  loader.find("cuDriverGetVersion", api->driverGetVersion);
  loader.find("cuGetErrorName", api->getErrorName);
  loader.find("cuGetErrorString", api->getErrorString);
  loader.find("cuDeviceGetCount", api->deviceGetCount);
  loader.find("cuDeviceGet", api->deviceGet);
  loader.find("cuDeviceGetName", api->deviceGetName);
  loader.find("cuDeviceGetAttribute", api->deviceGetAttribute);
  loader.find("cuDevicePrimaryCtxRetain", api->devicePrimaryCtxRetain);
  loader.find("cuCtxGetCurrent", api->ctxGetCurrent);
  loader.find("cuCtxPushCurrent", api->ctxPushCurrent);
  loader.find("cuCtxPopCurrent", api->ctxPopCurrent);
  loader.find("cuModuleLoadDataEx", api->moduleLoadDataEx);
  loader.find("cuModuleUnload", api->moduleUnload);
  loader.find("cuModuleGetFunction", api->moduleGetFunction);
  loader.find("cuFuncGetAttribute", api->funcGetAttribute);
  loader.find("cuFuncSetAttribute", api->funcSetAttribute);
  loader.find("cuLaunchKernel", api->launchKernel);
  loader.find("cuMemAlloc", api->memAlloc);
  loader.find("cuMemFree", api->memFree);
  loader.find("cuMemcpyHtoD", api->memcpyHtoD);
  loader.find("cuMemcpyDtoH", api->memcpyDtoH);
  loader.find("cuMemPoolCreate", api->memPoolCreate);
  loader.find("cuMemPoolDestroy", api->memPoolDestroy);
  loader.find("cuMemPoolSetAttribute", api->memPoolSetAttribute);
  loader.find("cuMemAllocFromPoolAsync", api->memAllocFromPoolAsync);
  loader.find("cuMemFreeAsync", api->memFreeAsync);
  loader.find("cuMemsetD32Async", api->memsetD32Async);
  loader.find("cuStreamSynchronize", api->streamSynchronize);
  loader.find("cuStreamIsCapturing", api->streamIsCapturing);
  loader.find("cuStreamGetId", api->streamGetId);
  loader.find("cuEventCreate", api->eventCreate);
  loader.find("cuEventDestroy", api->eventDestroy);
  loader.find("cuEventRecord", api->eventRecord);
  loader.find("cuEventSynchronize", api->eventSynchronize);
  loader.find("cuEventElapsedTime", api->eventElapsedTime);
  loader.findOptional("cuTensorMapEncodeTiled", api->tensorMapEncodeTiled);
  return api;
}

std::string nameOf(const DriverApi &api, Result code) {
  const char *name = nullptr;
  return api.getErrorName(code, &name) == kSuccess && name != nullptr ? name : "error " + std::to_string(code);
}

std::string describe(const DriverApi &api, Result code) {
  const char *text = nullptr;
  std::string description = nameOf(api, code) + " (" + std::to_string(code);
  if (api.getErrorString(code, &text) == kSuccess && text != nullptr) {
    description += std::string(": ") + text;
  }
  return description + ")";
}

void initialise(const DriverApi &api) {
  const Result result = api.init(0);
  if (result != kSuccess) {
    unavailable("cuInit failed with " + describe(api, result) +
                (result == kErrorNoDevice ? ": no CUDA device was found" : ""));
  }
}

std::atomic<const DriverApi *> current{nullptr};
std::atomic<const DriverApi *> injected{nullptr};

} // namespace

const DriverApi &cuda::driver() {
  if (const DriverApi *api = current.load(std::memory_order_acquire)) {
    return *api;
  }
  // A failure is not remembered: the device may come later, and the next call says what is wrong then.
  const DriverApi *replacement = injected.load(std::memory_order_acquire);
  if (replacement != nullptr) {
    initialise(*replacement);
    current.store(replacement, std::memory_order_release);
    return *replacement;
  }
  // Two threads may both load; the loser's table is dropped. The library itself is opened once.
  std::unique_ptr<DriverApi> fresh = load();
  initialise(*fresh);
  const DriverApi *expected = nullptr;
  if (current.compare_exchange_strong(expected, fresh.get(), std::memory_order_acq_rel)) {
    return *fresh.release();
  }
  return *expected;
}

void cuda::check(Result result, const char *function, int device, Stream stream, const std::string &what) {
  if (result == kSuccess) {
    return;
  }
  const DriverApi &api = driver();
  std::string expression = std::string(function) + "(" + what + ")";
  std::string message = expression + " failed with " + describe(api, result);
  if (device != kNoDevice) {
    message += " on cuda:" + std::to_string(device);
  }
  if (stream != nullptr) {
    char text[32];
    std::snprintf(text, sizeof(text), "%p", static_cast<void *>(stream));
    message += std::string(", stream ") + text;
  } else {
    message += ", default stream";
  }
  throw CudaError(result == kErrorOutOfMemory ? TW_OUT_OF_MEMORY : TW_CUDA_ERROR, std::move(message),
                  std::move(expression), result, nameOf(api, result), device, stream);
}

void cuda::setDriverForTesting(const DriverApi *api) {
  injected.store(api, std::memory_order_release);
  current.store(nullptr, std::memory_order_release);
  forgetDevicesForTesting();
  forgetStreamCountersForTesting();
}
