// SPDX-License-Identifier: Apache-2.0
//
// Which stages a problem has, in the order of the contract. A new feature adds one file beside this one and one line.
#include "tilewright/kernels/ScoreStage.h"

using namespace tilewright;
using namespace tilewright::kernels;

ScoreStage::~ScoreStage() = default;

KeyBlockRanges<IrInt> IntervalMask::ranges(ProgramContext &context) {
  IrInt zero = context.integer(context.b.indexConstant(0));
  RowBounds<IrInt> rows{zero, zero, limitOf(context, context.firstRow), limitOf(context, context.lastRow)};
  return keyBlockRanges(rows, context.shape.blockN);
}

static std::unique_ptr<IntervalMask> makeMask(attn::MaskKind mask) {
  switch (mask) {
  case attn::MaskKind::None:
    return makeSequenceEndMask();
  case attn::MaskKind::Causal:
    return makeCausalMask();
  case attn::MaskKind::GlmBreak:
    return makeGlmBreakMask();
  case attn::MaskKind::GlmPacked:
    return makeGlmPackedMask();
  }
  llvm_unreachable("mask kind without a stage");
}

StageList kernels::makeStages(attn::MaskKind mask) {
  StageList list;
  list.stages.push_back(makeScaleStage());
  std::unique_ptr<IntervalMask> interval = makeMask(mask);
  list.interval = interval.get();
  list.stages.push_back(std::move(interval));
  return list;
}
