// SPDX-License-Identifier: Apache-2.0
//
// Causal mask (semantics A2): row i, at key position i + o, sees columns up to and including that position.
#include "tilewright/kernels/ScoreStage.h"

using namespace mlir;
using namespace tilewright::kernels;

namespace {
class CausalMask : public IntervalMask {
public:
  StringRef name() const override { return "causal"; }
  IrInt limitOf(ProgramContext &context, Value row) override {
    return causalLimit(context.integer(row), context.integer(context.causalOffset),
                       context.integer(context.seqlenK));
  }
  Value limits(ProgramContext &context) override {
    return causalLimit(context.integer(context.queryRows()), context.perQuery(context.causalOffset),
                       context.perQuery(context.seqlenK))
        .value;
  }
};
} // namespace

std::unique_ptr<IntervalMask> tilewright::kernels::makeCausalMask() { return std::make_unique<CausalMask>(); }
