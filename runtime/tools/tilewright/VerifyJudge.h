// SPDX-License-Identifier: Apache-2.0
//
// Judging what a case computed.
//
// What a case must satisfy:
//   * out and probs: largest error against the float64 reference at most twice that of the low-precision evaluation, in
//     the worst order of summation, plus one ulp of the type at the tensor's magnitude (semantics A12: the rounding
//     noise of one step).
//   * lse: always float32, so measured against the float32 evaluation whatever the tensors' type. For each row, twice
//     that evaluation's largest error, plus 2e-6, plus 1e-6 of the value: an approximated exp2 and the rescaling of a
//     sum from block to block are relative errors of the sum, which its logarithm makes absolute (2e-6 is 17 float32
//     steps of 1); working in base 2 rounds the maximum, once scaled and once scaled back (1e-6 is 8 to 17 steps of the
//     value).
//   * rows that see nothing: exactly 0, and an LSE of exactly -inf. Probabilities of hidden entries, and beyond a
//     sequence: exactly 0.
//   * rows that see a key of NaN or infinity: NaN where the reference has NaN, and an LSE that is not finite. Rows that
//     do not see it are judged as ever.
//   * with the CUDA reference: it differs from the kernel, and from the float64 reference, by no more than the kernel
//     may from the float64 reference, in out, lse and probs. (Its own error is some float32 steps, far below that;
//     asking for more would judge it and not the kernel.)
#ifndef TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYJUDGE_H
#define TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYJUDGE_H

#include "LowPrecision.h"
#include "VerifyRun.h"

#include <vector>

namespace tilewright::cli {

struct CaseOutputs {
  /// `out` and `probs` of outType. A case that does not want probabilities has none.
  CaseOutputs(const VerifyCase &problem, DType outType, DType lseType, Layout layout);

  HostTensor out, lse;
  std::optional<HostTensor> probs;
};

/// One case, of which everything is known but what the kernel computed.
struct Judge {
  const VerifyCase &problem;
  const CaseInputs &inputs;
  const CaseOutputs &reference;               ///< float64
  const std::vector<LowPrecisionResult> &low; ///< in every order of summation

  void judgeOut(const CaseOutputs &actual, VerifyOutcome &outcome) const;
  void judgeLse(const CaseOutputs &actual, VerifyOutcome &outcome) const;
  void judgeProbs(const CaseOutputs &actual, VerifyOutcome &outcome) const;
  /// Kernel against CUDA reference, and that against the float64 one; after the others.
  void judgeByDevice(const CaseOutputs &actual, const CaseOutputs &device, VerifyOutcome &outcome) const;

private:
  double lseLowError() const;
};

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYJUDGE_H
