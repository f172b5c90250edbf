// SPDX-License-Identifier: Apache-2.0
//
// Which stages a problem has, in the order of the contract. A new feature adds one file beside this one and one line.
#include "tilewright/kernels/ScoreStage.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::kernels;

ScoreStage::~ScoreStage() = default;

Value ScoreStage::hide(ProgramContext &context, const ScoreTile &tile, Value scores) {
  Value shown = visible(context, tile);
  return shown ? context.b.hideUnless(shown, scores) : scores;
}

void IntervalMask::begin(ProgramContext &context) {
  ProgramBuilder &b = context.b;
  ends_ = limits(context);
  if (context.windowOffset) {
    // Not cut to the sequence, as windowStart is: no column is compared that lies outside of it.
    starts_ = (context.integer(context.queryRows()) + context.perQuery(context.windowOffset)).value;
  }
  if (!context.rowBounds) {
    return;
  }
  Value bounds[2];
  for (int64_t which : {0, 1}) {
    bounds_[which] =
        b.view(context.rowBounds, {2}, {context.seqlenQ}, {{0, context.batch}, {1, b.indexConstant(which)}});
    bounds[which] = b.load(bounds_[which], {context.firstRow}, {!context.evenM}, {context.shape.blockM});
  }
  starts_ = starts_ ? maxOf(context.integer(starts_), context.integer(bounds[0])).value : bounds[0];
  ends_ = minOf(context.integer(ends_), context.integer(bounds[1])).value;
}

Value IntervalMask::visible(ProgramContext &context, const ScoreTile &tile) {
  ProgramBuilder &b = context.b;
  return b.lessI(tile.keys, context.broadcastQueries(ends_));
}

Value IntervalMask::hide(ProgramContext &context, const ScoreTile &tile, Value scores) {
  ProgramBuilder &b = context.b;
  return context.hidesBySlabs() ? b.hide(scores, ends_, b.toI32(tile.firstKey), /*before=*/false)
                                : ScoreStage::hide(context, tile, scores);
}

Value IntervalMask::hideBeforeStart(ProgramContext &context, const ScoreTile &tile, Value scores) {
  ProgramBuilder &b = context.b;
  if (context.hidesBySlabs()) {
    return b.hide(scores, starts_, b.toI32(tile.firstKey), /*before=*/true);
  }
  Value starts = context.broadcastQueries(starts_);
  return b.hideUnless(arith::CmpIOp::create(b, arith::CmpIPredicate::sge, tile.keys, starts), scores);
}

IrInt IntervalMask::boundOf(ProgramContext &context, int64_t which, Value row) {
  return context.integer(context.b.toIndex(context.b.loadScalar(bounds_[which], {row})));
}

IrInt IntervalMask::startOf(ProgramContext &context, Value row) {
  IrInt start = context.integer(context.b.indexConstant(0));
  if (context.windowOffset) {
    start = windowStart(context.integer(row), context.integer(context.windowOffset), context.integer(context.seqlenK));
  }
  return context.rowBounds ? maxOf(start, boundOf(context, 0, row)) : start;
}

IrInt IntervalMask::endOf(ProgramContext &context, Value row) {
  IrInt limit = limitOf(context, row);
  return context.rowBounds ? minOf(limit, boundOf(context, 1, row)) : limit;
}

VisitedKeys IntervalMask::visited(ProgramContext &context) {
  IrInt firstStart = startOf(context, context.firstRow), lastStart = startOf(context, context.lastRow);
  IrInt firstEnd = endOf(context, context.firstRow), lastEnd = endOf(context, context.lastRow);
  RowBounds<IrInt> rows{firstStart, lastStart, firstEnd, lastEnd};
  if (!context.hasStart()) {
    return {{}, lastEnd.value, keyBlockRanges(rows, context.shape.blockN, /*starts=*/false)};
  }
  IrInt firstKey = firstStart;
  if (context.keyStep != 1) {
    firstKey = alignDown(firstKey, context.keyStep);
  }
  KeyBlockRanges<IrInt> ranges = keyBlockRanges(countedFrom(rows, firstKey), context.shape.blockN);
  // It is 0, which only a constant says, or, if a block is shorter than a step, may be: what is before is masked.
  ranges.begin = context.integer(context.b.indexConstant(0));
  return {firstKey.value, lastEnd.value, ranges};
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

StageList kernels::makeStages(ProgramBuilder &builder, const ForwardProgram &program) {
  const ForwardFeatures &features = program.features;
  StageList list;
  list.onlyScaled = features.onlyScaled();
  list.stages.push_back(makeScaleStage());
  if (features.softcap) {
    list.stages.push_back(makeSoftcap(program.softcap));
  }
  if (features.alibi) {
    list.stages.push_back(makeAlibi(program.alibi));
  }
  if (features.bias != attn::ScoreOperand::None) {
    list.stages.push_back(makeAddedTensor("bias", program.bias, features.bias));
  }
  if (attn::isBool(features.attnMask)) {
    list.stages.push_back(makeBoolMask(program.attnMask, features.attnMask));
  } else if (features.attnMask != attn::ScoreOperand::None) {
    list.stages.push_back(makeAddedTensor("attn_mask", program.attnMask, features.attnMask));
  }
  if (features.keyPadding) {
    // As a tensor over scores: one row for all heads and queries.
    TensorArg padding = program.keyPadding;
    Value none = builder.indexConstant(0);
    padding.strides = {padding.strides[0], none, none, padding.strides[1]};
    list.stages.push_back(makeKeyPadding(padding));
  }
  std::unique_ptr<IntervalMask> interval = makeMask(features.mask);
  list.interval = interval.get();
  list.stages.push_back(std::move(interval));
  return list;
}
