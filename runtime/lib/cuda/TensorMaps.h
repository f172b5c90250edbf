// SPDX-License-Identifier: Apache-2.0
//
// Tensor maps of a launch: what kernels of the sm_90a family copy by.
#ifndef TILEWRIGHT_LIB_CUDA_TENSORMAPS_H
#define TILEWRIGHT_LIB_CUDA_TENSORMAPS_H

#include "Devices.h"
#include "tilewright/runtime/Plan.h"
#include <array>
#include <span>

namespace tilewright::runtime::cuda {

/// Whether kernels of the family sm_90a run there: the device has the instructions, and the driver can encode maps.
bool servesSm90a(const DeviceInfo &device);

/// Of q, k and v: parameters of the forward kernel, behind its slots. Each describes the whole tensor, keys and values
/// up to the last one that any row sees, in blocks of the schedule's rows by kTmaBoxColumns; columns and rows past the
/// end are copied as zeros. Where the schedule's outputs leave by TMA, out follows, in blocks of kTmaStoreRows; nothing
/// is written past its end.
class TensorMaps {
public:
  /// None for a kernel of another family. Throws CudaError, naming the tensor.
  TensorMaps(const DeviceInfo &device, const KernelKey &key, const AttentionProblem &problem,
             const ForwardPointers &pointers);

  std::span<const TensorMap> list() const { return {maps_.data(), count_}; }

private:
  std::array<TensorMap, 4> maps_;
  size_t count_ = 0;
};

} // namespace tilewright::runtime::cuda

#endif // TILEWRIGHT_LIB_CUDA_TENSORMAPS_H
