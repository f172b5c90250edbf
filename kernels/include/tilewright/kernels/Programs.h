// SPDX-License-Identifier: Apache-2.0
//
// The tile programs: what `attn-expand` replaces an attn operation by. Each takes the kernel's arguments as values at
// the builder's insertion point and emits the body of one program.
#ifndef TILEWRIGHT_KERNELS_PROGRAMS_H
#define TILEWRIGHT_KERNELS_PROGRAMS_H

#include "tilewright/Dialect/Attn/IR/Attn.h"
#include "tilewright/kernels/KernelArguments.h"
#include "tilewright/kernels/ProgramBuilder.h"

namespace tilewright::kernels {

/// Lengths that batch entries have of their own; null where all have seqlen_q and seqlen_k.
struct SequenceArgs {
  TensorArg cuSeqlensQ, cuSeqlensK; ///< both or neither
  TensorArg seqUsedK;
  mlir::Value bottomRight; ///< index, 0 or 1: given if one of the others is

  bool own() const { return static_cast<bool>(bottomRight); }
};

/// One batch entry. All of type index.
struct Sequence {
  mlir::Value lengthQ, lengthK;
  mlir::Value beginQ, beginK; ///< its first row in the packed tensors; null if they are not packed
  mlir::Value offset;         ///< what its lengths add to causal, window and position offsets; null if nothing
};
/// `seqlenQ` and `seqlenK` are the lengths of an entry that has none of its own.
Sequence sequenceOf(ProgramBuilder &builder, const SequenceArgs &args, mlir::Value batch, mlir::Value seqlenQ,
                    mlir::Value seqlenK);

/// What dropout needs to know; all null without it.
struct DropoutArgs {
  TensorArg state;                      ///< (2,) i64: seed and offset, read if `stateGiven` is not 0
  mlir::Value seed, offset, stateGiven; ///< i64
  mlir::Value threshold;                ///< i64: what an entry's 16 bits must be below to stay
  mlir::Value keepScale;                ///< f32: what entries that stay are multiplied by

  explicit operator bool() const { return static_cast<bool>(keepScale); }
};

/// attn.forward. Scalars are of type index, but scale and softcap (f32). What a feature does not have is null.
struct ForwardProgram {
  TensorArg q, k, v, out, lse, limits, bias, attnMask, alibi, rowBounds, keyPadding, probs;
  mlir::Value scale, softcap, positionOffset, windowOffset, seqlenQ, seqlenK, heads, headsPerKv, causalOffset, writeLse;
  SequenceArgs sequences;
  DropoutArgs dropout;
  int64_t headDim = 0, headDimV = 0;
  ForwardFeatures features;
  bool evenM = false, evenN = false;
};
/// What the operation asks for, by its attributes and by which operands it has.
ForwardFeatures featuresOf(attn::ForwardOp op);
void buildForward(ProgramBuilder &builder, const ForwardProgram &program, const ProgramShape &shape);

/// attn.row_limits.
struct RowLimitsProgram {
  TensorArg pairs, limits;
  mlir::Value seqlenQ, seqlenK, causalOffset, count;
  SequenceArgs sequences;
  bool evenM = false;
};
void buildRowLimits(ProgramBuilder &builder, const RowLimitsProgram &program, const ProgramShape &shape);

/// attn.row_bounds.
struct RowBoundsProgram {
  TensorArg bounds, documents, keyPadding;
  mlir::Value seqlenQ, seqlenK, positionOffset;
  SequenceArgs sequences;
  bool evenM = false;
};
void buildRowBounds(ProgramBuilder &builder, const RowBoundsProgram &program, const ProgramShape &shape);

} // namespace tilewright::kernels

#endif // TILEWRIGHT_KERNELS_PROGRAMS_H
