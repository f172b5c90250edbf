// SPDX-License-Identifier: Apache-2.0
//
// The C ABI's functions that are for CUDA devices alone: memory and events for programs that have no CUDA library of
// their own, and the reference on the device.
#include "../cuda/CudaReference.h"
#include "../cuda/Devices.h"
#include "LastError.h"

#include <algorithm>
#include <string>

using namespace tilewright;
using namespace tilewright::runtime;
using capi::guarded;
using capi::required;

namespace {

/// The device that an argument `device` names, with its context.
const cuda::DeviceInfo &deviceArgument(int32_t device) {
  const int count = std::min(cuda::deviceCount(), cuda::kMaxDevices);
  if (device < 0 || device >= count) {
    throw Error(TW_INVALID_ARGUMENT,
                "device: is " + std::to_string(device) + ", but this process sees " + std::to_string(count) +
                    " CUDA device" + (count == 1 ? "" : "s") + (count == 0 ? "" : ", counted from 0"),
                "device");
  }
  return cuda::device(device);
}

/// Both ends of a copy of `bytes` > 0.
void checkEnds(const void *to, const void *from) {
  required(static_cast<const char *>(to), "to");
  required(static_cast<const char *>(from), "from");
}

std::string bytesText(size_t bytes) { return std::to_string(bytes) + " bytes"; }

} // namespace

extern "C" TwStatus tw_cuda_alloc(int32_t device, size_t bytes, void **memory) {
  return guarded([&] {
    void *&result = required(memory, "memory");
    const cuda::DeviceInfo &info = deviceArgument(device);
    cuda::DevicePointer pointer = 0;
    if (bytes != 0) {
      const cuda::ContextScope context(info);
      cuda::check(cuda::driver().memAlloc(&pointer, bytes), "cuMemAlloc", device, nullptr, bytesText(bytes));
    }
    result = reinterpret_cast<void *>(pointer);
  });
}

extern "C" TwStatus tw_cuda_free(int32_t device, void *memory) {
  return guarded([&] {
    const cuda::DeviceInfo &info = deviceArgument(device);
    if (memory != nullptr) {
      const cuda::ContextScope context(info);
      cuda::check(cuda::driver().memFree(reinterpret_cast<cuda::DevicePointer>(memory)), "cuMemFree", device);
    }
  });
}

extern "C" TwStatus tw_cuda_upload(int32_t device, void *to, const void *from, size_t bytes) {
  return guarded([&] {
    const cuda::DeviceInfo &info = deviceArgument(device);
    if (bytes != 0) {
      checkEnds(to, from);
      const cuda::ContextScope context(info);
      cuda::check(cuda::driver().memcpyHtoD(reinterpret_cast<cuda::DevicePointer>(to), from, bytes), "cuMemcpyHtoD",
                  device, nullptr, bytesText(bytes));
    }
  });
}

extern "C" TwStatus tw_cuda_download(int32_t device, void *to, const void *from, size_t bytes) {
  return guarded([&] {
    const cuda::DeviceInfo &info = deviceArgument(device);
    if (bytes != 0) {
      checkEnds(to, from);
      const cuda::ContextScope context(info);
      cuda::check(cuda::driver().memcpyDtoH(to, reinterpret_cast<cuda::DevicePointer>(from), bytes), "cuMemcpyDtoH",
                  device, nullptr, bytesText(bytes));
    }
  });
}

extern "C" TwStatus tw_cuda_event_create(int32_t device, void **event) {
  return guarded([&] {
    void *&result = required(event, "event");
    const cuda::DeviceInfo &info = deviceArgument(device);
    const cuda::ContextScope context(info);
    cuda::Event made = nullptr;
    cuda::check(cuda::driver().eventCreate(&made, cuda::kEventDefault), "cuEventCreate", device);
    result = made;
  });
}

extern "C" TwStatus tw_cuda_event_destroy(int32_t device, void *event) {
  return guarded([&] {
    const cuda::DeviceInfo &info = deviceArgument(device);
    if (event != nullptr) {
      const cuda::ContextScope context(info);
      cuda::check(cuda::driver().eventDestroy(static_cast<cuda::Event>(event)), "cuEventDestroy", device);
    }
  });
}

extern "C" TwStatus tw_cuda_event_record(int32_t device, void *event, void *stream) {
  return guarded([&] {
    const cuda::DeviceInfo &info = deviceArgument(device);
    required(static_cast<char *>(event), "event");
    const cuda::ContextScope context(info);
    const auto queue = static_cast<cuda::Stream>(stream);
    cuda::check(cuda::driver().eventRecord(static_cast<cuda::Event>(event), queue), "cuEventRecord", device, queue);
  });
}

extern "C" TwStatus tw_cuda_event_elapsed(int32_t device, void *start, void *end, float *milliseconds) {
  return guarded([&] {
    const cuda::DeviceInfo &info = deviceArgument(device);
    required(static_cast<char *>(start), "start");
    required(static_cast<char *>(end), "end");
    float &result = required(milliseconds, "milliseconds");
    const cuda::ContextScope context(info);
    const auto last = static_cast<cuda::Event>(end);
    cuda::check(cuda::driver().eventSynchronize(last), "cuEventSynchronize", device);
    cuda::check(cuda::driver().eventElapsedTime(&result, static_cast<cuda::Event>(start), last), "cuEventElapsedTime",
                device);
  });
}

extern "C" TwStatus tw_cuda_reference_forward(const TwForwardArgs *args) {
  return guarded([&] {
    const TwForwardArgs &given = required(args, "args");
    ForwardPointers pointers;
    const AttentionProblem problem = checkForward(given, Purpose::CudaReference, &pointers);
    cuda::referenceForward(problem, pointers, static_cast<cuda::Stream>(given.stream));
  });
}
