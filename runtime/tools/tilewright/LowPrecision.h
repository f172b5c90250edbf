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

/// The order of the terms in every sum, over the head dim and over keys. A framework's order is its own business, and
/// the largest error of a small problem hangs on few numbers: one order may be lucky, the worst of several is a
/// yardstick.
struct SumOrder {
  bool backward = false; ///< last term first
  bool evenOdd = false;  ///< two partial sums, as vector lanes make them, added at the end
};
inline constexpr SumOrder kSumOrders[] = {{false, false}, {true, false}, {false, true}, {true, true}};

LowPrecisionResult lowPrecisionForward(const VerifyCase &problem, const HostTensor &q, const HostTensor &k,
                                       const HostTensor &v, SumOrder order);

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_LOWPRECISION_H
