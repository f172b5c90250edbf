// SPDX-License-Identifier: Apache-2.0
#include "Devices.h"

#include <array>
#include <atomic>
#include <memory>

using namespace tilewright::runtime;
using namespace tilewright::runtime::cuda;

namespace {

/// Workspace memory that stays with a device's pool when nothing uses it.
constexpr uint64_t kPoolKeepsBytes = 64u << 20;

/// Filled by compare-and-swap and never emptied, so that neither a fork nor an exit can find them half made.
std::array<std::atomic<const DeviceInfo *>, kMaxDevices> known{};

void checkOrdinal(int ordinal) {
  const int count = deviceCount();
  if (ordinal < 0 || ordinal >= count || ordinal >= kMaxDevices) {
    throw Error(TW_INVALID_ARGUMENT,
                "q: is on cuda:" + std::to_string(ordinal) + ", but this process sees " + std::to_string(count) +
                    " CUDA device" + (count == 1 ? "" : "s") + " (at most " + std::to_string(kMaxDevices) +
                    " are served)",
                "q");
  }
}

int attribute(Device handle, int which, int ordinal, const char *name) {
  int value = 0;
  check(driver().deviceGetAttribute(&value, which, handle), "cuDeviceGetAttribute", ordinal, nullptr, name);
  return value;
}

/// What calls of one device use at the same time is a few megabytes at most (Plan::workspaceBytes); the pool keeps it.
MemoryPool makePool(int ordinal) {
  MemoryPoolProps props;
  props.locationId = ordinal;
  MemoryPool pool = nullptr;
  check(driver().memPoolCreate(&pool, &props), "cuMemPoolCreate", ordinal);
  uint64_t keep = kPoolKeepsBytes;
  check(driver().memPoolSetAttribute(pool, kPoolReleaseThreshold, &keep), "cuMemPoolSetAttribute", ordinal);
  return pool;
}

} // namespace

int cuda::deviceCount() {
  int count = 0;
  check(driver().deviceGetCount(&count), "cuDeviceGetCount", kNoDevice);
  return count;
}

DeviceInfo cuda::deviceInfo(int ordinal) {
  const DriverApi &api = driver();
  checkOrdinal(ordinal);
  DeviceInfo info;
  info.ordinal = ordinal;
  check(api.deviceGet(&info.handle, ordinal), "cuDeviceGet", ordinal);
  char name[256] = "";
  check(api.deviceGetName(name, sizeof(name), info.handle), "cuDeviceGetName", ordinal);
  info.name = name;
  info.major = attribute(info.handle, kAttributeMajor, ordinal, "compute capability");
  info.minor = attribute(info.handle, kAttributeMinor, ordinal, "compute capability");
  info.sharedBytes = attribute(info.handle, kAttributeSharedOptIn, ordinal, "shared memory");
  info.registers = attribute(info.handle, kAttributeRegisters, ordinal, "registers");
  info.multiprocessors = attribute(info.handle, kAttributeMultiprocessors, ordinal, "multiprocessors");
  info.memoryPools = attribute(info.handle, kAttributeMemoryPools, ordinal, "memory pools") != 0;
  return info;
}

const DeviceInfo &cuda::device(int ordinal) {
  if (ordinal >= 0 && ordinal < kMaxDevices) {
    if (const DeviceInfo *found = known[static_cast<size_t>(ordinal)].load(std::memory_order_acquire)) {
      return *found;
    }
  }
  auto fresh = std::make_unique<DeviceInfo>(deviceInfo(ordinal));
  check(driver().devicePrimaryCtxRetain(&fresh->context, fresh->handle), "cuDevicePrimaryCtxRetain", ordinal);
  if (fresh->memoryPools) {
    fresh->pool = makePool(ordinal);
  }
  const DeviceInfo *expected = nullptr;
  auto &slot = known[static_cast<size_t>(ordinal)];
  if (slot.compare_exchange_strong(expected, fresh.get(), std::memory_order_acq_rel)) {
    return *fresh.release();
  }
  if (fresh->pool != nullptr) {
    (void)driver().memPoolDestroy(fresh->pool); // never used
  }
  return *expected; // another thread was first; the context is the same, retained twice
}

ContextScope::ContextScope(const DeviceInfo &device) : api_(driver()) {
  Context current = nullptr;
  check(api_.ctxGetCurrent(&current), "cuCtxGetCurrent", device.ordinal);
  if (current != device.context) {
    check(api_.ctxPushCurrent(device.context), "cuCtxPushCurrent", device.ordinal);
    pushed_ = true;
  }
}

ContextScope::~ContextScope() {
  if (pushed_) {
    // Fails only where the driver is already torn down; there is nobody left to tell.
    Context popped = nullptr;
    (void)api_.ctxPopCurrent(&popped);
  }
}

void cuda::forgetDevicesForTesting() {
  for (auto &slot : known) {
    delete slot.exchange(nullptr, std::memory_order_acq_rel);
  }
}
