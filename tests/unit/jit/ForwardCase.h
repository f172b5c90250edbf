// SPDX-License-Identifier: Apache-2.0
//
// One attention problem computed by generated kernels, called directly through the CPU kernel ABI, and by the float64
// oracle. Around every row lies what must not be touched: NaN next to inputs, a pattern next to outputs, and unreadable
// pages at the ends of all memory, scratch included.
#ifndef TILEWRIGHT_TESTS_UNIT_JIT_FORWARDCASE_H
#define TILEWRIGHT_TESTS_UNIT_JIT_FORWARDCASE_H

#include "GuardedMemory.h"
#include "tilewright/kernels/ReferenceAttention.h"
#include "tilewright/runtime/Artifact.h"
#include "tilewright/runtime/KernelKey.h"
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace tilewright::tests {

/// The levels that this machine can run.
std::vector<CpuLevel> runnableLevels();

/// Compiles and loads; one kernel a key is kept for the process's life. Throws runtime::Error.
const runtime::LoadedKernel &kernelFor(const runtime::KernelKey &key);

/// A valid forward key: contiguous float32, no mask, nothing even.
runtime::KernelKey forwardKey(CpuLevel level, const kernels::Schedule &schedule, unsigned headDim, unsigned headDimV);

/// A tensor (batch, seqlen, heads, dim) or (batch, heads, seqlen) in guarded memory, rows apart from each other.
struct GuardedTensor {
  std::array<int64_t, 4> shape{}, strides{};
  runtime::ElementType type = runtime::ElementType::F32;
  std::unique_ptr<GuardedMemory> memory;

  /// `order` lists dimensions from the outermost to the innermost; `step` is the innermost stride, `gap` the number of
  /// elements between the end of a row and the next row.
  void allocate(std::array<int64_t, 4> shape, std::array<unsigned, 4> order, int64_t step, int64_t gap,
                unsigned char fill);
  int64_t offset(int64_t a, int64_t b, int64_t c, int64_t d) const {
    return a * strides[0] + b * strides[1] + c * strides[2] + d * strides[3];
  }
  double get(int64_t offset) const;
  void set(int64_t offset, double value);
  kernels::ReferenceTensor reference() const;
};

struct ForwardCase {
  runtime::KernelKey key;
  int64_t batch = 2, seqlenQ = 1, seqlenK = 1, heads = 4, headsK = 2;
  bool topLeft = false;
  bool writeLse = true;
  bool headsOutside = false; ///< memory order (batch, heads, seqlen, dim) instead of (batch, seqlen, heads, dim)
  float scale = 0.3f;
  unsigned seed = 1;
  /// Of the mask: one number a batch entry, or (batch, 2, pairs). Empty: made from the seed.
  std::vector<int32_t> glm;
  int64_t pairs = 3;

  /// Fills the tensors, sets evenM and evenN of the key from the lengths if they divide, and normalizes it.
  void prepare();
  /// Runs all programs, last to first if `backwards`, the row limits' kernel ahead if the mask needs it.
  void run(bool backwards = false);
  void runProgram(int64_t program);
  int64_t programs() const;
  /// Compares with the oracle; returns what is wrong, or an empty text.
  std::string mismatch() const;

  /// Of a key with dropout. Given through memory if `rngState`.
  double dropoutP = 0.3;
  std::array<int64_t, 2> dropoutNumbers{1, 0}; ///< seed and offset
  bool rngState = false;

  GuardedTensor q, k, v, out, lse;
  GuardedTensor probs;                 ///< (batch, heads, seqlen_q, seqlen_k), of a key with probs
  bool mayBeEven = false;              ///< whether prepare() may set evenM and evenN
  const void *keysElsewhere = nullptr; ///< if set, k's base address instead of its memory's

private:
  std::vector<uint64_t> slots(kernels::KernelKind kind) const;
  void fillInput(GuardedTensor &tensor, unsigned salt);
  std::string untouched(const GuardedTensor &tensor, const char *name) const;

  std::vector<int32_t> rowLimits;
};

} // namespace tilewright::tests

#endif // TILEWRIGHT_TESTS_UNIT_JIT_FORWARDCASE_H
