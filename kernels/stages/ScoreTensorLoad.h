// SPDX-License-Identifier: Apache-2.0
//
// Blocks of tensors over (batch, heads, seqlen_q, seqlen_k), as the score tile stands. Internal to the stages.
#ifndef TILEWRIGHT_KERNELS_STAGES_SCORETENSORLOAD_H
#define TILEWRIGHT_KERNELS_STAGES_SCORETENSORLOAD_H

#include "tilewright/kernels/ScoreStage.h"

namespace tilewright::kernels {

/// A bias or mask in memory: where it begins for this program, and how a block of it is read.
class ScoreTensorLoad {
public:
  ScoreTensorLoad(TensorArg tensor, attn::ScoreOperand kind) : tensor_(std::move(tensor)), kind_(kind) {}

  /// Once a program, ahead of the block loops.
  void begin(ProgramContext &context);
  /// The block that belongs to `tile`: f32, or, of a bool kind, i1. Elements past the sequences have any value.
  mlir::Value load(ProgramContext &context, const ScoreTile &tile);

private:
  bool isBool() const { return attn::isBool(kind_); }
  bool isVector() const { return attn::isVector(kind_); }

  TensorArg tensor_;
  attn::ScoreOperand kind_;
  mlir::Value view_;
};

} // namespace tilewright::kernels

#endif // TILEWRIGHT_KERNELS_STAGES_SCORETENSORLOAD_H
