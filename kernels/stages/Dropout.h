// SPDX-License-Identifier: Apache-2.0
//
// Dropout (semantics A6), on probabilities rather than scores: which entries stay. Philox.h says which.
#ifndef TILEWRIGHT_KERNELS_STAGES_DROPOUT_H
#define TILEWRIGHT_KERNELS_STAGES_DROPOUT_H

#include "tilewright/kernels/ScoreStage.h"

namespace tilewright::kernels {

class Dropout {
public:
  explicit Dropout(const DropoutArgs &args) : args_(args) {}

  explicit operator bool() const { return static_cast<bool>(args_); }
  /// Once a program, ahead of the block loops: the numbers that all entries of a head share.
  void begin(ProgramContext &context, mlir::Value heads);
  /// Which entries of the block stay: i1, in the shape of a score tile.
  mlir::Value keeps(ProgramContext &context, mlir::Value firstKey) const;
  /// What entries that stay are multiplied by: f32.
  mlir::Value scale() const { return args_.keepScale; }

private:
  DropoutArgs args_;
  mlir::Value head_, offset_, key0_, key1_, last_; ///< i32; last_: the largest word that stays
};

} // namespace tilewright::kernels

#endif // TILEWRIGHT_KERNELS_STAGES_DROPOUT_H
