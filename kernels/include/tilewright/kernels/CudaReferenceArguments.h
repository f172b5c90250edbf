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

enum class CudaReferenceType : long long { Float16 = 0, BFloat16 = 1, Float32 = 2, Bool = 3 };
enum class CudaReferenceMask : long long { None = 0, Causal = 1, GlmBreak = 2, GlmPacked = 3 };

/// Null data: not given, or without elements.
struct CudaReferenceTensor {
  void *data;
  long long strides[4]; ///< in elements; 0 where a dimension is broadcast
  CudaReferenceType type; ///< of the tensors whose type below is not fixed
};

/// Of the tensors by (batch, seqlen, ...) that a varlen batch packs, and of lse, the batch stride is 0 then; a sequence
/// begins where cuSeqlens says. What is indexed by batch and position or head has two strides.
struct CudaReferenceArguments {
  CudaReferenceTensor q;   ///< (batch, seqlen_q, heads, head_dim), float16 or bfloat16
  CudaReferenceTensor k;   ///< (batch, seqlen_k, heads_k, head_dim), likewise
  CudaReferenceTensor v;   ///< (batch, seqlen_k, heads_k, head_dim_v), likewise
  CudaReferenceTensor out; ///< (batch, seqlen_q, heads, head_dim_v), float32
  CudaReferenceTensor lse; ///< (batch, heads, seqlen_q), float32
  CudaReferenceTensor glm; ///< int32 (batch,) or (batch, 2, pairs)

  CudaReferenceTensor bias;       ///< (batch, heads, seqlen_q, seqlen_k), float16, bfloat16 or float32
  CudaReferenceTensor attnMask;   ///< likewise, or Bool: one byte, not 0 is visible
  CudaReferenceTensor keyPadding; ///< (batch, seqlen_k), one byte: not 0 is a real key
  CudaReferenceTensor alibi;      ///< (batch, heads), float32
  CudaReferenceTensor documents;  ///< (batch, seqlen_k), int32
  CudaReferenceTensor rngState;   ///< (2), int64: seed, offset, read instead of the two below
  CudaReferenceTensor probs;      ///< (batch, heads, seqlen_q, seqlen_k), float32
  CudaReferenceTensor cuSeqlensQ; ///< (batch + 1), int32
  CudaReferenceTensor cuSeqlensK; ///< (batch + 1), int32
  CudaReferenceTensor seqUsedK;   ///< (batch), int32

  CudaReferenceMask mask;
  long long batch, heads, headsK, headDim, headDimV, pairs;
  long long seqlenQ, seqlenK; ///< varlen: no sequence is longer
  long long totalQ, totalK;   ///< extents of the seqlen dimension of q and k: seqlenQ and seqlenK, but in varlen
  long long topLeft;          ///< 1: query row i stands at key position i; 0: the last row at the last key
  long long windowLeft, windowRight; ///< -1: unbounded. With another mask than None windowRight is -1
  long long dropoutThreshold;        ///< of Philox.h; 0: no dropout
  unsigned long long dropoutSeed, dropoutOffset;
  double scale;
  double softcap; ///< 0: off
};

static_assert(sizeof(CudaReferenceArguments) == 8 * (16 * 6 + 1 + 6 + 2 + 2 + 1 + 2 + 1 + 2 + 2));

} // namespace tilewright::kernels

#endif // TILEWRIGHT_KERNELS_CUDAREFERENCEARGUMENTS_H
