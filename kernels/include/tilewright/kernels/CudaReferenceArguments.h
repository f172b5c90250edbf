// SPDX-License-Identifier: Apache-2.0
//
// The argument of the CUDA reference kernel (kernels/reference/CudaReference.cu): one struct, passed by value. Read by
// the kernel, to which NVRTC gives this text under the same name, and by the host. It includes nothing, because NVRTC
// has no headers without a toolkit; every member is 8 bytes long, so that both compilers lay it out alike.
#ifndef TILEWRIGHT_KERNELS_CUDAREFERENCEARGUMENTS_H
#define TILEWRIGHT_KERNELS_CUDAREFERENCEARGUMENTS_H

namespace tilewright::kernels {

/// Threads of a block, which computes one query row at a time.
constexpr int kCudaReferenceThreads = 128;
constexpr int kCudaReferenceMaxHeadDim = 256;

struct CudaReferenceTensor {
  void *data;
  long long strides[4]; ///< in elements
};

struct CudaReferenceArguments {
  enum Type : long long { Float16 = 0, BFloat16 = 1 };
  enum Mask : long long { MaskNone = 0, MaskCausal = 1, MaskGlmBreak = 2, MaskGlmPacked = 3 };

  CudaReferenceTensor q;   ///< (batch, seqlen_q, heads, head_dim) of `type`
  CudaReferenceTensor k;   ///< (batch, seqlen_k, heads_k, head_dim) of `type`
  CudaReferenceTensor v;   ///< (batch, seqlen_k, heads_k, head_dim_v) of `type`
  CudaReferenceTensor out; ///< (batch, seqlen_q, heads, head_dim_v), float32
  CudaReferenceTensor lse; ///< (batch, heads, seqlen_q), float32; null data: not wanted
  CudaReferenceTensor glm; ///< int32 (batch,) or (batch, 2, pairs); null data: none
  Type type;
  Mask mask;
  long long batch, seqlenQ, seqlenK, heads, headsK, headDim, headDimV, pairs;
  long long causalOffset; ///< query row i stands at key position i + causalOffset
  double scale;
};

static_assert(sizeof(CudaReferenceArguments) == 8 * (6 * 5 + 2 + 8 + 2));

} // namespace tilewright::kernels

#endif // TILEWRIGHT_KERNELS_CUDAREFERENCEARGUMENTS_H
