// SPDX-License-Identifier: Apache-2.0
//
// The yardstick of semantics A12: attention as a framework computes it in the tensors' own type, one operator after
// another, each result rounded to that type. Its error against the float64 reference is what a kernel's is measured by.
#ifndef TILEWRIGHT_TOOLS_TILEWRIGHT_LOWPRECISION_H
#define TILEWRIGHT_TOOLS_TILEWRIGHT_LOWPRECISION_H

#include "VerifyInputs.h"

#include <vector>

namespace tilewright::cli {

/// Rows are the query rows of all sequences, one sequence after the other.
struct LowPrecisionResult {
  std::vector<float> out; ///< (rows, heads, head_dim_v); 0 for empty rows
  /// (rows, heads), in float32 whatever the type, because that is the LSE's type: no rounding to the tensors' type on
  /// the way. -inf for empty rows.
  std::vector<float> lse;
  /// (rows, heads, seqlen_k), dropped ones negative, hidden ones and empty rows 0; without elements if the case does
  /// not want them.
  std::vector<float> probs;
};

/// The order of the terms in every sum, over the head dim and over keys. A framework's order is its own business, and
/// the largest error of a small problem hangs on few numbers: one order may be lucky, the worst of several is a
/// yardstick.
struct SumOrder {
  bool backward = false; ///< last term first
  bool evenOdd = false;  ///< two partial sums, as vector lanes make them, added at the end
};
inline constexpr SumOrder kSumOrders[] = {{false, false}, {true, false}, {false, true}, {true, true}};

/// Operators as in the formula of TwForwardArgs: scale, softcap (a division, tanh, a product), ALiBi, bias and mask, a
/// softmax, dropout, the product with v. Adding a float32 tensor, such as ALiBi's, makes the scores float32, as types
/// are promoted in frameworks, and the softmax rounds to the tensors' type again.
LowPrecisionResult lowPrecisionForward(const VerifyCase &problem, const CaseInputs &inputs, SumOrder order);

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_LOWPRECISION_H
