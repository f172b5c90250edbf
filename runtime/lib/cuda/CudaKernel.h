// SPDX-License-Identifier: Apache-2.0
//
// A compiled GPU kernel and its copies on the devices it ran on, its launch, and memory for the steps of a plan.
#ifndef TILEWRIGHT_LIB_CUDA_CUDAKERNEL_H
#define TILEWRIGHT_LIB_CUDA_CUDAKERNEL_H

#include "Devices.h"
#include "Driver.h"
#include "tilewright/runtime/Artifact.h"
#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <utility>

namespace tilewright::runtime::cuda {

inline constexpr size_t kMaxTensorMaps = 4;

/// One for a key; a device's copy is loaded when it is first asked for. Copies stay loaded until the process ends, even
/// when the engine is destroyed: work in streams and in captured graphs may still refer to them.
class CudaKernel final : public LoadedKernel {
public:
  /// Throws Error(TW_INTERNAL_ERROR) if the artifact is not a GPU's.
  explicit CudaKernel(Artifact artifact);

  /// The device's copy; null if it is not loaded there.
  Function find(const DeviceInfo &device) const {
    return functions_[static_cast<size_t>(device.ordinal)].load(std::memory_order_acquire);
  }

  /// The device's copy, loaded if need be; its context is current. Throws Error(TW_UNSUPPORTED) if the device has less
  /// shared memory or fewer registers than a block needs, by what the compiler reports and by what the loaded code
  /// really takes; CudaError with the driver's log if it refuses the code.
  Function load(const DeviceInfo &device) const;

  /// Machine code of one SM; false: PTX, which the driver assembles.
  bool isMachineCode() const { return artifact_.format == CodeFormat::Cubin; }

  /// Queues `programs` programs (1 to 2^31 - 1). Every slot is one kernel parameter: 8 bytes, or 4 of a float32. At most
  /// kMaxTensorMaps maps follow. A kernel of persistent blocks also takes a counter, 4 bytes that are 0 when it starts
  /// and again when it ends, and that no other launch uses meanwhile; 0 for others, which have a block a program.
  void launch(const DeviceInfo &device, Function function, std::span<const uint64_t> slots,
              std::span<const TensorMap> maps, DevicePointer counter, int64_t programs, Stream stream) const;

private:
  void checkResources(const DeviceInfo &device, Function function) const;

  const Artifact artifact_;
  mutable std::array<std::atomic<Function>, kMaxDevices> functions_{};
};

/// Whether a failed load says that the code's form is not for this driver or GPU: code of a CUDA release later than the
/// driver's. Others (memory, a lost device) say nothing about the code.
bool refusesImage(const CudaError &error);

/// Whether the stream is being captured into a graph, or may not be asked because another one is.
bool isCapturing(const DeviceInfo &device, Stream stream);

/// Device memory that is taken and given back in the stream's order: no host synchronisation. A device without memory
/// pools (some virtual machines) has none of that: there the host waits for the stream before the memory is freed.
class Workspace {
public:
  /// `bytes` may be 0: no memory. Throws CudaError, or Error(TW_UNSUPPORTED) during a capture without memory pools.
  Workspace(const DeviceInfo &device, Stream stream, size_t bytes);
  ~Workspace(); ///< gives the memory back if release() did not
  Workspace(const Workspace &) = delete;
  Workspace &operator=(const Workspace &) = delete;

  void *data() const { return reinterpret_cast<void *>(memory_); }
  /// Fills `words` times 4 bytes from `at` on with 0, in the stream's order; their address. Throws CudaError.
  DevicePointer zero(size_t at, size_t words) const;
  /// The memory, which is not given back.
  DevicePointer keep() { return std::exchange(memory_, 0); }
  /// After the last launch that uses it. Throws CudaError.
  void release();

private:
  const DeviceInfo &device_;
  const Stream stream_;
  DevicePointer memory_ = 0;
};

} // namespace tilewright::runtime::cuda

#endif // TILEWRIGHT_LIB_CUDA_CUDAKERNEL_H
