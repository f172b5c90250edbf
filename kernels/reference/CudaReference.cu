// SPDX-License-Identifier: Apache-2.0
//
// Attention on the GPU from the definition, in float32: a block computes one query row at a time, each of its threads
// every 128th key, then every 128th column of the output. No matrix instruction, no online softmax, no skipped block,
// nothing from the generated kernels. NVRTC compiles it at run time, so it includes no header of CUDA's.
//
// Where features belong: what the contract's formula adds to a score, or bounds it by, goes into logit(); what hides a
// key from a row, into visible(), with what it needs to know of the row in Row; what changes a weight after the
// softmax, into weight().
#include "CudaReferenceArguments.h"

namespace {

using Args = tilewright::kernels::CudaReferenceArguments;
using Tensor = tilewright::kernels::CudaReferenceTensor;

constexpr int kThreads = tilewright::kernels::kCudaReferenceThreads;
constexpr int kColumns = tilewright::kernels::kCudaReferenceMaxHeadDim / kThreads; // of the output, for one thread

__device__ float infinity() { return __int_as_float(0x7f800000); }
__device__ float notANumber() { return __int_as_float(0x7fc00000); }

/// float16 or bfloat16 to float32, exactly.
__device__ float widen(Args::Type type, unsigned short code) {
  if (type == Args::BFloat16) {
    return __int_as_float(static_cast<int>(static_cast<unsigned>(code) << 16));
  }
  const unsigned exponent = (code >> 10) & 31u;
  const unsigned mantissa = code & 1023u;
  const float sign = (code & 0x8000u) != 0 ? -1.0f : 1.0f;
  if (exponent == 31) {
    return mantissa != 0 ? notANumber() : sign * infinity();
  }
  if (exponent == 0) {
    return sign * static_cast<float>(mantissa) * 0x1p-24f;
  }
  return sign * __int_as_float(static_cast<int>((exponent + 112u) << 23 | mantissa << 13));
}

__device__ float load(const Args &args, const Tensor &tensor, long long a, long long b, long long c, long long d) {
  const long long offset =
      a * tensor.strides[0] + b * tensor.strides[1] + c * tensor.strides[2] + d * tensor.strides[3];
  return widen(args.type, static_cast<const unsigned short *>(tensor.data)[offset]);
}

/// A query row, and what decides which keys it sees.
struct Row {
  long long batch, head, headK, index;
  long long position; ///< its key position
  long long end;      ///< GLM: keys below are visible whatever the position
};

__device__ long long clampToKeys(const Args &args, long long value) {
  return value < 0 ? 0 : value > args.seqlenK ? args.seqlenK : value;
}

__device__ long long glmEnd(const Args &args, long long batch, long long position) {
  const int *glm = static_cast<const int *>(args.glm.data);
  const long long *strides = args.glm.strides;
  if (args.mask == Args::MaskGlmBreak) {
    return clampToKeys(args, glm[batch * strides[0]]);
  }
  long long largest = 0;
  if (args.mask == Args::MaskGlmPacked) {
    for (long long n = 0; n < args.pairs; ++n) {
      const long long start = clampToKeys(args, glm[batch * strides[0] + n * strides[2]]);
      const long long end = clampToKeys(args, glm[batch * strides[0] + strides[1] + n * strides[2]]);
      if (start <= position && position < end && end > largest) {
        largest = end;
      }
    }
  }
  return largest;
}

/// Rows are numbered with the query varying fastest, then the head, then the batch entry.
__device__ Row rowOf(const Args &args, long long number) {
  Row row;
  row.index = number % args.seqlenQ;
  row.head = number / args.seqlenQ % args.heads;
  row.batch = number / args.seqlenQ / args.heads;
  row.headK = row.head / (args.heads / args.headsK);
  row.position = row.index + args.causalOffset;
  row.end = glmEnd(args, row.batch, row.position);
  return row;
}

/// Whether the row sees key j, 0 <= j < seqlen_k. Nothing of a key that it does not see is ever loaded.
__device__ bool visible(const Args &args, const Row &row, long long j) {
  return args.mask == Args::MaskNone || j <= row.position || j < row.end;
}

__device__ float logit(const Args &args, const Row &row, long long j) {
  float dot = 0.0f;
  for (long long d = 0; d < args.headDim; ++d) {
    dot += load(args, args.q, row.batch, row.index, row.head, d) * load(args, args.k, row.batch, j, row.headK, d);
  }
  return static_cast<float>(args.scale) * dot;
}

/// What key j's value is weighted with, before the division by the row's sum.
__device__ float weight(const Args &args, const Row &row, long long j, float largest) {
  return expf(logit(args, row, j) - largest);
}

/// Of every thread's value, in the same order each time; every thread gets the result.
template <typename Combine> __device__ float reduce(float value, float *shared, Combine combine) {
  const int thread = threadIdx.x;
  shared[thread] = value;
  __syncthreads();
  for (int step = kThreads / 2; step > 0; step /= 2) {
    if (thread < step) {
      shared[thread] = combine(shared[thread], shared[thread + step]);
    }
    __syncthreads();
  }
  const float result = shared[0];
  __syncthreads(); // shared is written again right after
  return result;
}

__device__ float reduceMax(float value, float *shared) {
  return reduce(value, shared, [](float a, float b) { return a > b ? a : b; });
}

__device__ float reduceSum(float value, float *shared) {
  return reduce(value, shared, [](float a, float b) { return a + b; });
}

__device__ void storeOut(const Args &args, const Row &row, long long d, float value) {
  const long long *strides = args.out.strides;
  static_cast<float *>(
      args.out.data)[row.batch * strides[0] + row.index * strides[1] + row.head * strides[2] + d * strides[3]] = value;
}

__device__ void storeLse(const Args &args, const Row &row, float value) {
  if (args.lse.data != nullptr && threadIdx.x == 0) {
    const long long *strides = args.lse.strides;
    static_cast<float *>(args.lse.data)[row.batch * strides[0] + row.head * strides[1] + row.index * strides[2]] =
        value;
  }
}

/// A row that is the same number in every column.
__device__ void storeConstant(const Args &args, const Row &row, float value, float lse) {
  for (long long d = threadIdx.x; d < args.headDimV; d += kThreads) {
    storeOut(args, row, d, value);
  }
  storeLse(args, row, lse);
}

/// Every thread of the block calls it with the same row: there are barriers inside.
__device__ void computeRow(const Args &args, const Row &row, float *shared) {
  const int thread = threadIdx.x;
  float largest = -infinity(), nans = 0.0f;
  for (long long j = thread; j < args.seqlenK; j += kThreads) {
    if (visible(args, row, j)) {
      const float value = logit(args, row, j);
      nans += value != value ? 1.0f : 0.0f;
      largest = value > largest ? value : largest; // passes over NaN
    }
  }
  largest = reduceMax(largest, shared);
  nans = reduceSum(nans, shared);
  if (nans > 0.0f || largest == infinity()) {
    return storeConstant(args, row, notANumber(), nans > 0.0f ? notANumber() : infinity());
  }
  if (largest == -infinity()) { // nothing visible, or only logits of -inf
    return storeConstant(args, row, 0.0f, -infinity());
  }

  float sum = 0.0f;
  for (long long j = thread; j < args.seqlenK; j += kThreads) {
    sum += visible(args, row, j) ? weight(args, row, j, largest) : 0.0f;
  }
  sum = reduceSum(sum, shared);

  // The weights of 128 keys, one a thread, then every thread its own columns of the output.
  float columns[kColumns] = {};
  for (long long begin = 0; begin < args.seqlenK; begin += kThreads) {
    const long long mine = begin + thread;
    shared[thread] = mine < args.seqlenK && visible(args, row, mine) ? weight(args, row, mine, largest) : 0.0f;
    __syncthreads();
    for (int n = 0; n < kColumns; ++n) {
      const long long d = thread + static_cast<long long>(n) * kThreads;
      for (long long j = begin; d < args.headDimV && j < begin + kThreads && j < args.seqlenK; ++j) {
        if (visible(args, row, j)) { // a weight of 0 does not keep a NaN out
          columns[n] += shared[j - begin] * load(args, args.v, row.batch, j, row.headK, d);
        }
      }
    }
    __syncthreads(); // before the next weights replace these
  }
  for (int n = 0; n < kColumns; ++n) {
    const long long d = thread + static_cast<long long>(n) * kThreads;
    if (d < args.headDimV) {
      storeOut(args, row, d, columns[n] / sum);
    }
  }
  storeLse(args, row, largest + logf(sum));
}

} // namespace

/// Any number of blocks of 128 threads.
extern "C" __global__ void __launch_bounds__(kThreads) tilewright_reference_forward(const Args args) {
  __shared__ float shared[kThreads];
  const long long rows = args.batch * args.heads * args.seqlenQ;
  for (long long number = blockIdx.x; number < rows; number += gridDim.x) {
    computeRow(args, rowOf(args, number), shared);
  }
}
