// SPDX-License-Identifier: Apache-2.0
//
// Packed GLM pairs (semantics A4), as the table of row limits that the row_limits kernel made of them: one int32 a row,
// the causal limit included, already clamped to [0, seqlen_k].
#include "tilewright/kernels/ScoreStage.h"

using namespace mlir;
using namespace tilewright::kernels;

namespace {
class GlmPackedMask : public IntervalMask {
public:
  StringRef name() const override { return "glm_packed"; }

  void begin(ProgramContext &context) override {
    view_ = context.b.view(context.limits, {1}, {context.seqlenQ}, {{0, context.batch}});
    IntervalMask::begin(context);
  }

  IrInt limitOf(ProgramContext &context, Value row) override {
    IrInt limit = context.integer(context.b.toIndex(context.b.loadScalar(view_, {row})));
    return minOf(limit, context.integer(context.seqlenK)); // 0 for rows past the sequence, whatever the table says
  }

  Value limits(ProgramContext &context) override {
    return context.b.load(view_, {context.firstRow}, {!context.evenM}, {context.shape.blockM});
  }

private:
  Value view_;
};
} // namespace

std::unique_ptr<IntervalMask> tilewright::kernels::makeGlmPackedMask() { return std::make_unique<GlmPackedMask>(); }
