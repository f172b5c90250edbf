// SPDX-License-Identifier: Apache-2.0
#include "StreamCounters.h"
#include "CudaKernel.h"

#include <array>
#include <atomic>
#include <optional>

using namespace tilewright::runtime;
using namespace tilewright::runtime::cuda;

namespace {

/// A counter has a sector of the L2 cache to itself.
constexpr size_t kCounterBytes = 32;

/// Filled by compare-and-swap and never emptied, like Devices.cpp's table.
struct Counters {
  std::atomic<DevicePointer> memory{0};
  std::array<std::atomic<uint64_t>, kMaxCountedStreams> owners{}; ///< ids plus 1, from the front; 0: free
};

std::array<Counters, kMaxDevices> &known = *new std::array<Counters, kMaxDevices>;

/// Which counter is the stream's; none if all are taken.
std::optional<size_t> indexOf(Counters &counters, uint64_t streamId) {
  const uint64_t owner = streamId + 1;
  for (size_t i = 0; i < counters.owners.size(); ++i) {
    uint64_t found = counters.owners[i].load(std::memory_order_acquire);
    if (found == 0 && counters.owners[i].compare_exchange_strong(found, owner, std::memory_order_acq_rel)) {
      return i;
    }
    if (found == owner) {
      return i;
    }
  }
  return std::nullopt;
}

/// Set to 0 before any stream can see its address.
DevicePointer makeMemory(const DeviceInfo &device, Stream stream, Counters &counters) {
  Workspace fresh(device, stream, kMaxCountedStreams * kCounterBytes);
  const DevicePointer counts = fresh.zero(0, kMaxCountedStreams * kCounterBytes / 4);
  check(driver().streamSynchronize(stream), "cuStreamSynchronize", device.ordinal, stream);
  DevicePointer expected = 0;
  if (counters.memory.compare_exchange_strong(expected, counts, std::memory_order_acq_rel)) {
    return fresh.keep();
  }
  return expected; // another thread was first
}

} // namespace

DevicePointer cuda::streamCounter(const DeviceInfo &device, Stream stream) {
  const DriverApi &api = driver();
  if (stream == kStreamPerThread || isCapturing(device, stream)) {
    return 0;
  }
  uint64_t id = 0;
  const Result result = api.streamGetId(stream, &id);
  if (result != kSuccess) {
    check(result, "cuStreamGetId", device.ordinal, stream);
  }
  Counters &counters = known[static_cast<size_t>(device.ordinal)];
  const std::optional<size_t> index = indexOf(counters, id);
  if (!index) {
    return 0;
  }
  DevicePointer memory = counters.memory.load(std::memory_order_acquire);
  if (memory == 0) {
    memory = makeMemory(device, stream, counters);
  }
  return memory + *index * kCounterBytes;
}

void cuda::forgetStreamCountersForTesting() {
  for (Counters &counters : known) {
    counters.memory.store(0);
    for (auto &owner : counters.owners) {
      owner.store(0);
    }
  }
}
