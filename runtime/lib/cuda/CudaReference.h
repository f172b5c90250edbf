// SPDX-License-Identifier: Apache-2.0
//
// The CUDA reference: kernels/reference/CudaReference.cu, compiled by NVRTC for the device that it runs on.
#ifndef TILEWRIGHT_LIB_CUDA_CUDAREFERENCE_H
#define TILEWRIGHT_LIB_CUDA_CUDAREFERENCE_H

#include "DriverTypes.h"
#include "Nvrtc.h"
#include "tilewright/runtime/AttentionProblem.h"

namespace tilewright::runtime::cuda {

/// The kernel for GPUs of that compute capability (compileCuda).
CudaCode compileReference(unsigned sm);

/// Queues the reference on the problem's device; the problem is of Purpose::CudaReference. The first call for a device
/// compiles and loads. Throws what compileCuda throws, or CudaError.
void referenceForward(const AttentionProblem &problem, const ForwardPointers &pointers, Stream stream);

/// Tests only: compiles and loads again from now on.
void forgetReferencesForTesting();

} // namespace tilewright::runtime::cuda

#endif // TILEWRIGHT_LIB_CUDA_CUDAREFERENCE_H
