// SPDX-License-Identifier: Apache-2.0
//
// The tile programs: what `attn-expand` replaces an attn operation by. Each takes the kernel's arguments as values at the
// builder's insertion point and emits the body of one program.
#ifndef TILEWRIGHT_KERNELS_PROGRAMS_H
#define TILEWRIGHT_KERNELS_PROGRAMS_H

#include "tilewright/Dialect/Attn/IR/Attn.h"
#include "tilewright/kernels/KernelArguments.h"
#include "tilewright/kernels/ProgramBuilder.h"

namespace tilewright::kernels {

/// attn.forward. Scalars are of type index, but scale and softcap (f32). What a feature does not have is null.
struct ForwardProgram {
  TensorArg q, k, v, out, lse, limits, bias, attnMask, alibi;
  mlir::Value scale, softcap, positionOffset, windowOffset, seqlenQ, seqlenK, heads, headsPerKv, causalOffset, writeLse;
  int64_t headDim = 0, headDimV = 0;
  ForwardFeatures features;
  bool evenM = false, evenN = false;
};
void buildForward(ProgramBuilder &builder, const ForwardProgram &program, const ProgramShape &shape);

/// attn.row_limits.
struct RowLimitsProgram {
  TensorArg pairs, limits;
  mlir::Value seqlenQ, seqlenK, causalOffset, count;
  bool evenM = false;
};
void buildRowLimits(ProgramBuilder &builder, const RowLimitsProgram &program, const ProgramShape &shape);

} // namespace tilewright::kernels

#endif // TILEWRIGHT_KERNELS_PROGRAMS_H
