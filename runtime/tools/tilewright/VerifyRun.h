// SPDX-License-Identifier: Apache-2.0
//
// Running a case of the grid, and the outcome.
#ifndef TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYRUN_H
#define TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYRUN_H

#include "VerifyCase.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace tilewright::cli {

struct VerifyOutcome {
  double error = 0.0; ///< largest |out - reference|
  double allowed = 0.0;
  double lseError = 0.0;   ///< largest |lse - reference| over rows that see something
  double lseAllowed = 0.0; ///< at the row with the least room
  double probsError = 0.0; ///< largest |probs - reference|; 0 if the case does not want them
  double probsAllowed = 0.0;
  double milliseconds = 0.0;
  /// With the CUDA reference only: the kernel's largest |out - CUDA reference|, and the CUDA reference's own error.
  std::optional<double> deviceError, deviceReferenceError;
  bool cudaFailed = false; ///< a driver call failed: if the device's context is lost, every later one will
  std::vector<std::string> failures; ///< empty: the case passed

  bool ok() const { return failures.empty(); }
};

/// forward(), or what stands in its place.
using ForwardFunction = std::function<void(const ConstTensor &q, const ConstTensor &k, const ConstTensor &v,
                                           const Tensor &out, const ForwardOptions &options)>;

/// Where a case runs.
struct VerifyPlace {
  const Engine *engine = nullptr;
  std::optional<int> cuda = std::nullopt; ///< a device's number; none: the CPU
  bool cudaReference = false; ///< also compute it with the CUDA reference
  ForwardFunction forward = tilewright::forward;
};

/// Runs a case twice on the engine, and checks it. The data depends on `seed` and the case's name only. Safe on several
/// threads at once.
VerifyOutcome runVerifyCase(const VerifyPlace &place, const VerifyCase &problem, uint64_t seed);

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYRUN_H
