// SPDX-License-Identifier: Apache-2.0
//
// GLM break point (semantics A4): the first p columns are visible to every row of the batch entry, the rest is causal.
#include "tilewright/kernels/ScoreStage.h"

using namespace mlir;
using namespace tilewright::kernels;

namespace {
class GlmBreakMask : public IntervalMask {
public:
  StringRef name() const override { return "glm_break"; }

  void begin(ProgramContext &context) override {
    ProgramBuilder &b = context.b;
    Value view = b.view(context.limits, {0}, {b.add(context.batch, b.indexConstant(1))}, {});
    breakPoint_ = b.toIndex(b.loadScalar(view, {context.batch}));
    IntervalMask::begin(context);
  }

  IrInt limitOf(ProgramContext &context, Value row) override {
    IrInt seqlenK = context.integer(context.seqlenK);
    IrInt causal = causalLimit(context.integer(row), context.integer(context.causalOffset), seqlenK);
    return glmLimit(causal, context.integer(breakPoint_), seqlenK);
  }

  Value limits(ProgramContext &context) override {
    IrInt seqlenK = context.perQuery(context.seqlenK);
    IrInt causal = causalLimit(context.integer(context.queryRows()), context.perQuery(context.causalOffset), seqlenK);
    return glmLimit(causal, context.perQuery(breakPoint_), seqlenK).value;
  }

private:
  Value breakPoint_;
};
} // namespace

std::unique_ptr<IntervalMask> tilewright::kernels::makeGlmBreakMask() { return std::make_unique<GlmBreakMask>(); }
