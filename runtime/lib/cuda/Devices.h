// SPDX-License-Identifier: Apache-2.0
//
// The CUDA devices of the process: what they are, and their primary contexts, which every CUDA library of the process
// shares. A context is retained once and kept until the process ends.
#ifndef TILEWRIGHT_LIB_CUDA_DEVICES_H
#define TILEWRIGHT_LIB_CUDA_DEVICES_H

#include "Driver.h"
#include "DriverTypes.h"
#include <cstdint>
#include <string>

namespace tilewright::runtime::cuda {

/// Devices beyond these are not served.
inline constexpr int kMaxDevices = 64;

struct DeviceInfo {
  int ordinal = 0;
  Device handle = 0;
  std::string name;
  int major = 0, minor = 0;   ///< compute capability
  int64_t sharedBytes = 0;    ///< the most shared memory, static and dynamic, that a block may ask for
  int64_t registers = 0;      ///< the most registers of a block
  int64_t multiprocessors = 0;
  bool memoryPools = false;   ///< the stream-ordered allocator works
  Context context = nullptr;  ///< primary; null in what deviceInfo returns
  /// Workspace comes from a pool of our own, which keeps what is given back: the device's default pool returns it to
  /// the system whenever the host waits for a stream, and the next call would pay for a mapping again (about 0.1 ms).
  /// Null without memoryPools, and in what deviceInfo returns.
  MemoryPool pool = nullptr;
};

int deviceCount();

/// Looks at the device without making a context on it.
/// Throws Error(TW_INVALID_ARGUMENT, argument "q") if there is no such device, CudaError if the driver fails.
DeviceInfo deviceInfo(int ordinal);

/// The device with its primary context; throws as deviceInfo does. After the first call for an ordinal: no lock, no
/// allocation, no driver call.
const DeviceInfo &device(int ordinal);

/// Makes the device's primary context current for the scope, if it is not already.
class ContextScope {
public:
  explicit ContextScope(const DeviceInfo &device);
  ~ContextScope();
  ContextScope(const ContextScope &) = delete;
  ContextScope &operator=(const ContextScope &) = delete;

private:
  const DriverApi &api_;
  bool pushed_ = false;
};

void forgetDevicesForTesting();

} // namespace tilewright::runtime::cuda

#endif // TILEWRIGHT_LIB_CUDA_DEVICES_H
