// SPDX-License-Identifier: Apache-2.0
//
// The float64 oracle: attention by its definition, element by element, in double precision. It is what generated
// kernels are judged against, so it shares nothing with them: no blocks, no intervals, no BlockRanges.h, no LLVM.
// semantics.md, Part A, is the specification: A1 the formula, A2 to A4 and A9 the masks, A5 the empty rows and NaN, A6
// dropout, whose random numbers alone are shared with the kernels (Philox.h).
#ifndef TILEWRIGHT_KERNELS_REFERENCEATTENTION_H
#define TILEWRIGHT_KERNELS_REFERENCEATTENTION_H

#include <array>
#include <cstdint>

namespace tilewright::kernels {

enum class ReferenceType : uint8_t { F32, F16, BF16, F64, Bool }; ///< Bool: one byte, read as 0 or 1

enum class ReferenceMask : uint8_t { None, Causal, GlmBreak, GlmPacked };

/// A strided tensor. Strides count elements and may be 0 or negative; `data` may be null if the tensor has no elements.
struct ReferenceTensor {
  void *data = nullptr;
  ReferenceType type = ReferenceType::F32;
  /// q, k, v, out: (batch, seqlen, heads, head_dim). lse: (batch, heads, seqlen_q), the fourth stride is not read.
  /// bias, attnMask, probs: (batch, heads, seqlen_q, seqlen_k), 0 where a dimension is broadcast.
  std::array<int64_t, 4> strides{};
};

/// Numbers by batch entry, and by key position or head: not given if `given` is false.
template <typename T> struct ReferenceTable {
  bool given = false;
  const T *data = nullptr;
  std::array<int64_t, 2> strides{}; ///< elements; tables by batch entry alone read only the first

  T at(int64_t batch, int64_t index = 0) const { return data[batch * strides[0] + index * strides[1]]; }
};

struct ReferenceArgs {
  int64_t batch = 0;
  int64_t seqlenQ = 0; ///< with cuSeqlens: no sequence is longer
  int64_t seqlenK = 0; ///< likewise
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

  bool hasBias = false;
  ReferenceTensor bias; ///< added to the score
  bool hasAttnMask = false;
  ReferenceTensor attnMask;             ///< Bool: true is visible; other types: added to the score
  ReferenceTable<uint8_t> keyPadding;   ///< (batch, seqlen_k): not 0 is a real key
  ReferenceTable<float> alibi;          ///< (batch, heads), slopes
  ReferenceTable<int32_t> documents;    ///< (batch, seqlen_k), -1 is padding
  int64_t windowLeft = -1;              ///< -1: unbounded
  int64_t windowRight = -1;             ///< -1: unbounded; only None reads it: the other masks set the right limit
  double softcap = 0.0;                 ///< 0: off
  double dropoutP = 0.0;                ///< 0: off
  uint64_t dropoutSeed = 0;
  uint64_t dropoutOffset = 0;
  bool writeProbs = false;
  ReferenceTensor probs; ///< read only if writeProbs: any type. Written everywhere, 0 outside of the sequences

  /// Where each sequence starts and the last one ends: given both or neither. The tensors of a packed batch have one
  /// long seqlen dimension: those of q, k, v, out and lse, whose batch stride is 0.
  ReferenceTable<int32_t> cuSeqlensQ, cuSeqlensK;
  ReferenceTable<int32_t> seqUsedK; ///< (batch): the keys of each sequence that count

  int threads = 0; ///< 0: one a hardware thread; never more than batch * headsK. Does not change the result
};

/// Whether query row `row` of batch entry `batch` sees key column `column` (semantics A2 to A4, A9). Computed from the
/// masks' own numbers for this one element, so tests can hold it against interval and block computations. Columns
/// outside the sequence's keys are not visible. Only a bool attnMask depends on `head`.
bool visible(const ReferenceArgs &args, int64_t batch, int64_t row, int64_t column, int64_t head = 0);

/// out = dropout(softmax(L)) v with L = softcap(scale * q k^T) + alibi + bias + attnMask, hidden entries -inf, the LSE
/// of L, and the probabilities softmax(L), dropped ones negative; accumulated in double.
///
///   * A row that sees nothing, or sees only logits of -inf, gives 0 and an LSE of -inf.
///   * K and V at positions hidden from a row never touch that row: they are not multiplied by zero, they are not read
///     into the sum. (Generated kernels promise less for V, semantics A5.)
///   * A visible logit of NaN makes the row's output and LSE NaN; one of +inf makes the output NaN and the LSE +inf,
///     as softmax and logsumexp do. The probabilities of such a row are NaN where it is visible.
///   * Bias and attnMask at hidden positions are not read. An entry of weight 0 that is not hidden (a bias of -inf, a
///     dropped entry) multiplies its value by 0: NaN and infinity there make NaN.
///   * A sum of finite terms that leaves the range of double becomes its largest number of that sign, not infinity.
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
