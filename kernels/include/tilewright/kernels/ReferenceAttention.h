// SPDX-License-Identifier: Apache-2.0
//
// The float64 oracle: attention by its definition, element by element, in double precision. It is what generated
// kernels are judged against, so it shares nothing with them: no blocks, no intervals, no BlockRanges.h, no LLVM.
// semantics.md, Part A, is the specification; A2, A4 and A5 are the mask, its alignment and the empty rows.
#ifndef TILEWRIGHT_KERNELS_REFERENCEATTENTION_H
#define TILEWRIGHT_KERNELS_REFERENCEATTENTION_H

#include <array>
#include <cstdint>

namespace tilewright::kernels {

enum class ReferenceType : uint8_t { F32, F16, BF16, F64 };

enum class ReferenceMask : uint8_t { None, Causal, GlmBreak, GlmPacked };

/// A strided tensor. Strides count elements and may be 0 or negative; `data` may be null if the tensor has no elements.
struct ReferenceTensor {
  void *data = nullptr;
  ReferenceType type = ReferenceType::F32;
  /// q, k, v, out: (batch, seqlen, heads, head_dim). lse: (batch, heads, seqlen_q), the fourth stride is not read.
  std::array<int64_t, 4> strides{};
};

struct ReferenceArgs {
  int64_t batch = 0;
  int64_t seqlenQ = 0;
  int64_t seqlenK = 0;
  int64_t heads = 0;
  int64_t headsK = 0; ///< heads % headsK == 0; head h reads key head h / (heads / headsK)
  int64_t headDim = 0;
  int64_t headDimV = 0;

  ReferenceTensor q, k, v; ///< any type each
  ReferenceTensor out;     ///< any type; rounded to nearest even on the way out
  bool writeLse = false;
  ReferenceTensor lse; ///< read only if writeLse: F32 or F64, natural log of the sum of exponentials

  ReferenceMask mask = ReferenceMask::None;
  bool topLeft = false; ///< o = 0; otherwise bottom right, o = seqlenK - seqlenQ
  double scale = 1.0;   ///< softmax scale, already resolved: 0.0 means 0.0

  /// GlmBreak: (batch,) break points. GlmPacked: (batch, 2, pairs), [b][0][n] start, [b][1][n] end. Values outside
  /// [0, seqlenK] are clamped to it, so a pair of -1 is the empty pair [0, 0).
  const int32_t *glm = nullptr;
  int64_t glmPairs = 0;                ///< N of GlmPacked; 0 otherwise
  std::array<int64_t, 3> glmStrides{}; ///< elements; GlmBreak reads only the first

  int threads = 0; ///< 0: one a hardware thread; never more than batch * headsK. Does not change the result
};

/// Whether query row `row` of batch entry `batch` sees key column `column` (semantics A2, A4). Computed from the mask's
/// own numbers for this one element, so tests can hold it against interval and block computations.
/// Columns outside [0, seqlenK) are not visible.
bool visible(const ReferenceArgs &args, int64_t batch, int64_t row, int64_t column);

/// out = softmax(scale * q k^T, hidden entries -inf) v, and the LSE, accumulated in double.
///
///   * A row that sees nothing, or sees only logits of -inf, gives 0 and an LSE of -inf.
///   * K and V at positions hidden from a row never touch that row: they are not multiplied by zero, they are not read
///     into the sum. (Generated kernels promise less for V, semantics A5.)
///   * A visible logit of NaN makes the row's output and LSE NaN; one of +inf makes the output NaN and the LSE +inf,
///     as softmax and logsumexp do.
///
/// The arguments must be consistent (nothing is checked here; the C ABI does). Throws std::bad_alloc before it writes.
void referenceForward(const ReferenceArgs &args);

/// The exact value of an IEEE binary16 code, and of a bfloat16 code.
double halfToDouble(uint16_t code);
double bfloat16ToDouble(uint16_t code);
/// Rounds to nearest, ties to even, straight from double (never through float, which would round twice). Overflow gives
/// infinity, NaN a quiet NaN of the same sign. Independent of the thread's rounding mode.
uint16_t doubleToHalf(double value);
uint16_t doubleToBfloat16(double value);

} // namespace tilewright::kernels

#endif // TILEWRIGHT_KERNELS_REFERENCEATTENTION_H
