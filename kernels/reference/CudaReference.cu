// SPDX-License-Identifier: Apache-2.0
//
// Attention on the GPU from the definition, in float32: a block computes one query row at a time, each of its threads
// every 128th key, then every 128th column of the output. No matrix instruction, no online softmax, no skipped block,
// nothing from the generated kernels. NVRTC compiles it at run time, so it includes no header of CUDA's.
//
// Where features belong: what the contract's formula adds to a score, or bounds it by, goes into logit(); what hides a
// key from a row, into visible(), with what it needs to know of the row in Row; what removes a weight after the
// softmax, into keeps().
#include "CudaReferenceArguments.h"

namespace {

using Args = tilewright::kernels::CudaReferenceArguments;
using Mask = tilewright::kernels::CudaReferenceMask;
using Tensor = tilewright::kernels::CudaReferenceTensor;
using Type = tilewright::kernels::CudaReferenceType;

constexpr int kThreads = tilewright::kernels::kCudaReferenceThreads;
constexpr int kColumns = tilewright::kernels::kCudaReferenceMaxHeadDim / kThreads; // of the output, for one thread
constexpr float kLargest = 0x1.fffffep127f;

__device__ float infinity() { return __int_as_float(0x7f800000); }
__device__ float notANumber() { return __int_as_float(0x7fc00000); }

__device__ long long clampTo(long long value, long long low, long long high) {
  return value < low ? low : value > high ? high : value;
}

//===-- Elements --------------------------------------------------------------------------------------------------===//

/// float16 or bfloat16 to float32, exactly.
__device__ float widen(Type type, unsigned short code) {
  if (type == Type::BFloat16) {
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

/// The element of a tensor whose elements are T.
template <typename T>
__device__ T &at(const Tensor &tensor, long long a, long long b = 0, long long c = 0, long long d = 0) {
  return static_cast<T *>(
      tensor.data)[a * tensor.strides[0] + b * tensor.strides[1] + c * tensor.strides[2] + d * tensor.strides[3]];
}

/// A number of whichever type; Bool: 0 or 1.
__device__ float load(const Tensor &tensor, long long a, long long b, long long c, long long d) {
  if (tensor.type == Type::Float32) {
    return at<float>(tensor, a, b, c, d);
  }
  if (tensor.type == Type::Bool) {
    return at<unsigned char>(tensor, a, b, c, d) != 0 ? 1.0f : 0.0f;
  }
  return widen(tensor.type, at<unsigned short>(tensor, a, b, c, d));
}

//===-- Rows and what they see ------------------------------------------------------------------------------------===//

/// A query row, and what decides which keys it sees.
struct Row {
  long long batch, head, headK, index;
  long long lengthQ, lengthK; ///< of its sequence; an index beyond lengthQ is no row
  long long beginQ, beginK;   ///< where its sequence begins in the seqlen dimensions
  long long position;         ///< its key position
  long long glmEnd;           ///< GLM: keys below are visible whatever the position
  long long document;         ///< document_ids: the row's; -1: it sees nothing
};

/// begin and end of a sequence in a packed dimension. The host did not check these numbers: whatever they are, nothing
/// outside of the tensors is read.
__device__ long long beginOf(const Tensor &cuSeqlens, long long batch, long long total) {
  return cuSeqlens.data != nullptr ? clampTo(at<const int>(cuSeqlens, batch), 0, total) : 0;
}
__device__ long long lengthOf(const Tensor &cuSeqlens, long long batch, long long total, long long longest) {
  if (cuSeqlens.data == nullptr) {
    return longest;
  }
  return clampTo(beginOf(cuSeqlens, batch + 1, total) - beginOf(cuSeqlens, batch, total), 0, longest);
}

__device__ long long glmEnd(const Args &args, const Row &row) {
  if (args.mask == Mask::GlmBreak) {
    return clampTo(at<const int>(args.glm, row.batch), 0, row.lengthK);
  }
  long long largest = 0;
  if (args.mask == Mask::GlmPacked) {
    for (long long n = 0; n < args.pairs; ++n) {
      const long long start = clampTo(at<const int>(args.glm, row.batch, 0, n), 0, row.lengthK);
      const long long end = clampTo(at<const int>(args.glm, row.batch, 1, n), 0, row.lengthK);
      if (start <= row.position && row.position < end && end > largest) {
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
  row.beginQ = beginOf(args.cuSeqlensQ, row.batch, args.totalQ);
  row.beginK = beginOf(args.cuSeqlensK, row.batch, args.totalK);
  row.lengthQ = lengthOf(args.cuSeqlensQ, row.batch, args.totalQ, args.seqlenQ);
  row.lengthK = lengthOf(args.cuSeqlensK, row.batch, args.totalK, args.seqlenK);
  if (args.seqUsedK.data != nullptr) {
    row.lengthK = clampTo(at<const int>(args.seqUsedK, row.batch), 0, row.lengthK);
  }
  row.position = row.index + (args.topLeft != 0 ? 0 : row.lengthK - row.lengthQ);
  row.glmEnd = glmEnd(args, row);
  const bool inside = row.position >= 0 && row.position < row.lengthK;
  row.document = args.documents.data != nullptr && inside ? at<const int>(args.documents, row.batch, row.position) : -1;
  return row;
}

/// Whether the row sees key j, 0 <= j < lengthK. Nothing of a key that it does not see is ever loaded, nor of bias and
/// attnMask there.
__device__ bool visible(const Args &args, const Row &row, long long j) {
  if (args.mask != Mask::None && j > row.position && j >= row.glmEnd) {
    return false;
  }
  if (args.windowRight >= 0 && j > row.position + args.windowRight) {
    return false;
  }
  if (args.windowLeft >= 0 && j < row.position - args.windowLeft) {
    return false;
  }
  if (args.documents.data != nullptr) {
    if (row.document < 0 || at<const int>(args.documents, row.batch, j) != row.document) {
      return false;
    }
  }
  if (args.keyPadding.data != nullptr && at<const unsigned char>(args.keyPadding, row.batch, j) == 0) {
    return false;
  }
  return args.attnMask.data == nullptr || args.attnMask.type != Type::Bool ||
         load(args.attnMask, row.batch, row.head, row.index, j) != 0.0f;
}

//===-- Scores and weights ----------------------------------------------------------------------------------------===//

/// The product is float32's; the few terms around it are added in double, so that only the sum is rounded. A finite sum
/// stays finite, as in float64, however large its terms.
__device__ float logit(const Args &args, const Row &row, long long j) {
  float dot = 0.0f;
  for (long long d = 0; d < args.headDim; ++d) {
    dot += load(args.q, row.batch, row.beginQ + row.index, row.head, d) *
           load(args.k, row.batch, row.beginK + j, row.headK, d);
  }
  double sum = args.scale * dot;
  if (args.softcap != 0.0) {
    sum = args.softcap * tanh(sum / args.softcap);
  }
  if (args.alibi.data != nullptr) {
    const long long distance = row.position > j ? row.position - j : j - row.position;
    sum -= static_cast<double>(at<const float>(args.alibi, row.batch, row.head)) * static_cast<double>(distance);
  }
  if (args.bias.data != nullptr) {
    sum += load(args.bias, row.batch, row.head, row.index, j);
  }
  if (args.attnMask.data != nullptr && args.attnMask.type != Type::Bool) {
    sum += load(args.attnMask, row.batch, row.head, row.index, j);
  }
  const double infinite = infinity();
  if (sum > kLargest && sum < infinite) {
    return kLargest;
  }
  if (sum < -kLargest && sum > -infinite) {
    return -kLargest;
  }
  return static_cast<float>(sum);
}

/// What the softmax weights key j with, before the division by the row's sum.
__device__ float weight(const Args &args, const Row &row, long long j, float largest) {
  return expf(logit(args, row, j) - largest);
}

/// Philox4x32 with 7 rounds on the position of an entry, as tilewright/kernels/Philox.h defines it. That header is C++
/// with the standard library, which NVRTC does not have.
__device__ unsigned dropoutBits(const Args &args, const Row &row, long long j) {
  unsigned long long seed = args.dropoutSeed, offset = args.dropoutOffset;
  if (args.rngState.data != nullptr) {
    seed = static_cast<unsigned long long>(at<const long long>(args.rngState, 0));
    offset = static_cast<unsigned long long>(at<const long long>(args.rngState, 1));
  }
  const long long i = row.index;
  unsigned counter[4] = {static_cast<unsigned>(8 * (i / 16) + i % 8), static_cast<unsigned>(8 * (j / 32) + j % 8),
                         static_cast<unsigned>(row.batch * args.heads + row.head), static_cast<unsigned>(offset)};
  unsigned key[2] = {static_cast<unsigned>(seed) ^ static_cast<unsigned>(offset >> 32),
                     static_cast<unsigned>(seed >> 32)};
  for (int round = 0; round < 7; ++round) {
    const unsigned long long first = 0xd2511f53ull * counter[0], second = 0xcd9e8d57ull * counter[2];
    counter[0] = static_cast<unsigned>(second >> 32) ^ counter[1] ^ key[0];
    counter[1] = static_cast<unsigned>(second);
    counter[2] = static_cast<unsigned>(first >> 32) ^ counter[3] ^ key[1];
    counter[3] = static_cast<unsigned>(first);
    key[0] += 0x9e3779b9u;
    key[1] += 0xbb67ae85u;
  }
  const unsigned word = counter[2 * (i / 8 % 2) + j / 8 % 2];
  return j / 16 % 2 == 0 ? word >> 16 : word & 0xffffu;
}

/// Whether dropout leaves the entry in.
__device__ bool keeps(const Args &args, const Row &row, long long j) {
  return args.dropoutThreshold == 0 || dropoutBits(args, row, j) < args.dropoutThreshold;
}

/// What an entry that stays is multiplied by.
__device__ float keptScale(const Args &args) {
  return args.dropoutThreshold == 0 ? 1.0f : static_cast<float>(65536.0 / static_cast<double>(args.dropoutThreshold));
}

//===-- A row -----------------------------------------------------------------------------------------------------===//

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
  at<float>(args.out, row.batch, row.beginQ + row.index, row.head, d) = value;
}

__device__ void storeLse(const Args &args, const Row &row, float value) {
  if (args.lse.data != nullptr && threadIdx.x == 0) {
    at<float>(args.lse, row.batch, row.head, row.beginQ + row.index) = value;
  }
}

/// `probability(j)` of what the row sees, negative where dropout removes it; 0 elsewhere, which is everywhere for an
/// index that is no row.
template <typename Probability>
__device__ void storeProbs(const Args &args, const Row &row, Probability probability) {
  if (args.probs.data == nullptr) {
    return;
  }
  const long long keys = row.index < row.lengthQ ? row.lengthK : 0;
  for (long long j = threadIdx.x; j < args.seqlenK; j += kThreads) {
    float value = 0.0f;
    if (j < keys && visible(args, row, j)) {
      value = keeps(args, row, j) ? probability(j) : -probability(j);
    }
    at<float>(args.probs, row.batch, row.head, row.index, j) = value;
  }
}

/// A row whose output and probabilities are the same number everywhere.
__device__ void storeConstant(const Args &args, const Row &row, float value, float lse) {
  for (long long d = threadIdx.x; d < args.headDimV; d += kThreads) {
    storeOut(args, row, d, value);
  }
  storeLse(args, row, lse);
  storeProbs(args, row, [=](long long) { return value; });
}

/// Every thread of the block calls it with the same row: there are barriers inside.
__device__ void computeRow(const Args &args, const Row &row, float *shared) {
  if (row.index >= row.lengthQ) { // beyond the end of a shorter sequence
    return storeProbs(args, row, [](long long) { return 0.0f; });
  }
  const int thread = threadIdx.x;
  float largest = -infinity(), nans = 0.0f;
  for (long long j = thread; j < row.lengthK; j += kThreads) {
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
  for (long long j = thread; j < row.lengthK; j += kThreads) {
    sum += visible(args, row, j) ? weight(args, row, j, largest) : 0.0f;
  }
  sum = reduceSum(sum, shared);

  // The weights of 128 keys, one a thread, then every thread its own columns of the output.
  float columns[kColumns] = {};
  for (long long begin = 0; begin < row.lengthK; begin += kThreads) {
    const long long mine = begin + thread;
    const bool counts = mine < row.lengthK && visible(args, row, mine) && keeps(args, row, mine);
    shared[thread] = counts ? weight(args, row, mine, largest) * keptScale(args) : 0.0f;
    __syncthreads();
    for (int n = 0; n < kColumns; ++n) {
      const long long d = thread + static_cast<long long>(n) * kThreads;
      for (long long j = begin; d < args.headDimV && j < begin + kThreads && j < row.lengthK; ++j) {
        if (visible(args, row, j)) { // a weight of 0 does not keep a NaN out
          columns[n] += shared[j - begin] * load(args.v, row.batch, row.beginK + j, row.headK, d);
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
  storeProbs(args, row, [&](long long j) { return weight(args, row, j, largest) / sum; });
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
