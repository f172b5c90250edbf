// SPDX-License-Identifier: Apache-2.0
//
// Counters of persistent blocks, one for each stream: device memory that a kernel finds 0 and leaves 0.
#ifndef TILEWRIGHT_LIB_CUDA_STREAMCOUNTERS_H
#define TILEWRIGHT_LIB_CUDA_STREAMCOUNTERS_H

#include "Devices.h"

namespace tilewright::runtime::cuda {

/// Streams of a device that can have a counter. They keep it after they are destroyed.
inline constexpr size_t kMaxCountedStreams = 512;

/// The address of the stream's counter of 4 bytes, which is 0 whenever none of the stream's kernels runs. Kernels of a
/// stream run one after the other, so they share it; streams are told apart by the driver's ids, which are never used
/// again, because the handle of a destroyed stream may be, while its kernels still run.
///
/// 0 if the launch must bring memory of its own: the stream is being captured, and a graph may run beside itself;
/// kMaxCountedStreams others were first; or it is the handle that stands for each thread's own default stream, of which
/// no documentation says whether it has one id or one a thread.
///
/// The device's context is current. Throws CudaError. The first call for a device waits for the stream. Takes no lock.
DevicePointer streamCounter(const DeviceInfo &device, Stream stream);

void forgetStreamCountersForTesting();

} // namespace tilewright::runtime::cuda

#endif // TILEWRIGHT_LIB_CUDA_STREAMCOUNTERS_H
