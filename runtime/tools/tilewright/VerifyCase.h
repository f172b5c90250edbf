// SPDX-License-Identifier: Apache-2.0
//
// One problem of `tilewright verify`, the grid of them, and the outcome of running one.
#ifndef TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYCASE_H
#define TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYCASE_H

#include "HostTensor.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tilewright::cli {

enum class MaskKind { None, Causal, GlmBreak, GlmPacked };

struct VerifyCase {
  DType dtype = DType::Float32;
  int64_t batch = 1;
  int64_t seqlenQ = 64;
  int64_t seqlenK = 64;
  int64_t heads = 2;
  int64_t headsK = 2;
  int64_t headDim = 64;
  int64_t headDimV = 64;
  MaskKind mask = MaskKind::None;
  bool topLeft = false;
  std::string maskNote;     ///< what is special about the GLM numbers: "nested", "p=0"
  std::vector<int32_t> glm; ///< (batch,) or (batch, 2, pairs), row-major
  int64_t pairs = 0;
  Layout layout = Layout::Bshd;
  std::optional<double> scale;
  double amplitude = 1.0; ///< q and k are uniform in [-amplitude, amplitude]; v in [-1, 1]
  /// NaN or infinity in the first component of key poisonedColumn(): only rows that see this key may notice.
  std::optional<double> poisonedKey;
  /// Instead of random q and k: q is + and - this number in turn, k is 1. With head_dim 1 and scale 1, all logits of a
  /// row are equal and as large as the number, and the output is the mean of the visible values.
  std::optional<double> extreme;
  /// Elements between the best aligned place and the tensors' lowest element. CPU kernels do not depend on it, and get
  /// the worst; GPU kernels are made for an alignment.
  int64_t shift = 1;
  bool shiftShown = false; ///< in the name: the case is about it
  bool wantLse = true;
  bool quick = false; ///< part of --quick

  /// Key position of query row i is i + offset().
  int64_t offset() const { return topLeft ? 0 : seqlenK - seqlenQ; }
  double scaleValue() const;
  /// Number of leading key columns that a row sees: all the masks of this grid show a prefix (semantics A2, A4).
  int64_t visibleColumns(int64_t b, int64_t row) const;
  int64_t poisonedColumn() const { return seqlenK / 2; }
  bool seesPoisonedKey(int64_t b, int64_t row) const {
    return poisonedKey && visibleColumns(b, row) > poisonedColumn();
  }

  /// One line that tells the case apart from every other; --filter searches it.
  std::string name() const;
};

/// The grid, in the order in which it is run. No two cases have the same name.
std::vector<VerifyCase> verifyGrid();
/// The grid for a CUDA device: float16 and bfloat16, at most some 60 different kernels.
std::vector<VerifyCase> cudaVerifyGrid();

struct VerifyOutcome {
  double error = 0.0; ///< largest |out - reference|
  double allowed = 0.0;
  double lseError = 0.0;   ///< largest |lse - reference| over rows that see something
  double lseAllowed = 0.0; ///< at the row with the least room
  double milliseconds = 0.0;
  /// With the CUDA reference only: the kernel's largest |out - CUDA reference|, and the CUDA reference's own error.
  std::optional<double> deviceError, deviceReferenceError;
  bool cudaFailed = false; ///< a driver call failed: if the device's context is lost, every later one will
  std::vector<std::string> failures; ///< empty: the case passed

  bool ok() const { return failures.empty(); }
};

/// Where a case runs.
struct VerifyPlace {
  const Engine *engine = nullptr;
  std::optional<int> cuda = std::nullopt; ///< a device's number; none: the CPU
  bool cudaReference = false; ///< also compute it with the CUDA reference
};

/// Runs a case twice on the engine, and checks it. The data depends on `seed` and the case's name only. Safe on several
/// threads at once.
VerifyOutcome runVerifyCase(const VerifyPlace &place, const VerifyCase &problem, uint64_t seed);

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYCASE_H
