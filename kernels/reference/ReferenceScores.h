// SPDX-License-Identifier: Apache-2.0
//
// One sequence of a problem, and what stands at one entry of its score matrix: hidden or not, and what is added.
#ifndef TILEWRIGHT_KERNELS_REFERENCE_REFERENCESCORES_H
#define TILEWRIGHT_KERNELS_REFERENCE_REFERENCESCORES_H

#include "tilewright/kernels/ReferenceAttention.h"

namespace tilewright::kernels::reference {

double load(const ReferenceTensor &tensor, int64_t offset);
void store(const ReferenceTensor &tensor, int64_t offset, double value);

inline int64_t offsetOf(const ReferenceTensor &tensor, int64_t a, int64_t b, int64_t c, int64_t d) {
  return a * tensor.strides[0] + b * tensor.strides[1] + c * tensor.strides[2] + d * tensor.strides[3];
}

/// Lengths of one batch entry, and where its rows and keys begin in the seqlen dimension of q and k.
struct Sequence {
  Sequence(const ReferenceArgs &args, int64_t batch);

  int64_t batch;
  int64_t lengthQ;
  int64_t lengthK;     ///< keys that count
  int64_t beginQ = 0;
  int64_t beginK = 0;
  int64_t position0;   ///< key position of row 0: o of semantics A2
};

/// What the masks say about one row: prepared once, asked for every column.
class RowMask {
public:
  RowMask(const ReferenceArgs &args, const Sequence &sequence, int64_t head, int64_t row);

  bool visible(int64_t column) const;

private:
  const ReferenceArgs &args_;
  const Sequence &sequence_;
  const int64_t head_;
  const int64_t row_;
  const int64_t position_;
  int64_t glmEnd_ = 0;      ///< e of semantics A4, 0 if there is none: it raises nothing
  bool seesNothing_ = false;
  int32_t document_ = -1;
};

/// L of one entry that is visible, from q.k.
double score(const ReferenceArgs &args, const Sequence &sequence, int64_t head, int64_t row, int64_t column,
             double dot);

} // namespace tilewright::kernels::reference

#endif // TILEWRIGHT_KERNELS_REFERENCE_REFERENCESCORES_H
