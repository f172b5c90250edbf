// SPDX-License-Identifier: Apache-2.0
//
// No mask: every row sees the whole sequence. What is left to hide is the part of the last block past seqlen_k.
#include "tilewright/kernels/ScoreStage.h"

using namespace mlir;
using namespace tilewright::kernels;

namespace {
class SequenceEndMask : public IntervalMask {
public:
  StringRef name() const override { return "sequence_end"; }
  IrInt limitOf(ProgramContext &context, Value) override { return context.integer(context.seqlenK); }
  Value limits(ProgramContext &context) override { return context.perQuery(context.seqlenK).value; }
};
} // namespace

std::unique_ptr<IntervalMask> tilewright::kernels::makeSequenceEndMask() {
  return std::make_unique<SequenceEndMask>();
}
