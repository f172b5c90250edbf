// SPDX-License-Identifier: Apache-2.0
//
// Which stages a problem has, in the order of the contract. A new feature adds one file beside this one and one line.
#include "tilewright/kernels/ScoreStage.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::kernels;

ScoreStage::~ScoreStage() = default;

void IntervalMask::begin(ProgramContext &context) {
  perQuery_ = limits(context);
  if (context.windowOffset) {
    starts_ = windowStart(context.integer(context.queryRows()), context.perQuery(context.windowOffset),
                          context.perQuery(context.seqlenK))
                  .value;
  }
}

Value IntervalMask::visible(ProgramContext &context, const ScoreTile &tile) {
  ProgramBuilder &b = context.b;
  Value before = b.lessI(tile.keys, context.broadcastQueries(perQuery_));
  if (!starts_) {
    return before;
  }
  Value from = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, tile.keys, context.broadcastQueries(starts_));
  return b.andI(before, from);
}

IrInt IntervalMask::startOf(ProgramContext &context, Value row) {
  if (!context.windowOffset) {
    return context.integer(context.b.indexConstant(0));
  }
  return windowStart(context.integer(row), context.integer(context.windowOffset), context.integer(context.seqlenK));
}

KeyBlockRanges<IrInt> IntervalMask::ranges(ProgramContext &context) {
  IrInt firstStart = startOf(context, context.firstRow), lastStart = startOf(context, context.lastRow);
  IrInt firstLimit = limitOf(context, context.firstRow), lastLimit = limitOf(context, context.lastRow);
  RowBounds<IrInt> rows{firstStart, lastStart, firstLimit, lastLimit};
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

StageList kernels::makeStages(const ForwardProgram &program) {
  const ForwardFeatures &features = program.features;
  StageList list;
  list.onlyScaled = features.onlyScaled();
  list.stages.push_back(makeScaleStage());
  if (features.softcap) {
    list.stages.push_back(makeSoftcap(program.softcap));
  }
  if (features.alibi) {
    list.stages.push_back(makeAlibi(program.alibi, program.positionOffset));
  }
  if (features.bias != attn::ScoreOperand::None) {
    list.stages.push_back(makeAddedTensor("bias", program.bias, features.bias));
  }
  if (attn::isBool(features.attnMask)) {
    list.stages.push_back(makeBoolMask(program.attnMask, features.attnMask));
  } else if (features.attnMask != attn::ScoreOperand::None) {
    list.stages.push_back(makeAddedTensor("attn_mask", program.attnMask, features.attnMask));
  }
  std::unique_ptr<IntervalMask> interval = makeMask(features.mask);
  list.interval = interval.get();
  list.stages.push_back(std::move(interval));
  return list;
}
