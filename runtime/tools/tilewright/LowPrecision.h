// SPDX-License-Identifier: Apache-2.0
//
// The yardstick of semantics A12: attention as a framework computes it in the tensors' own type, one operator after
// another, each result rounded to that type. Its error against the float64 reference is what a kernel's is measured by.
#ifndef TILEWRIGHT_TOOLS_TILEWRIGHT_LOWPRECISION_H
#define TILEWRIGHT_TOOLS_TILEWRIGHT_LOWPRECISION_H

#include "VerifyCase.h"

#include <vector>

namespace tilewright::cli {

struct LowPrecisionResult {
  std::vector<float> out; ///< (batch, seqlen_q, heads, head_dim_v); 0 for empty rows
  /// (batch, heads, seqlen_q), in float32 whatever the type, because that is the LSE's type: no rounding to the
  /// tensors' type on the way. -inf for empty rows.
  std::vector<float> lse;
};

LowPrecisionResult lowPrecisionForward(const VerifyCase &problem, const HostTensor &q, const HostTensor &k,
                                       const HostTensor &v);

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_LOWPRECISION_H
