// SPDX-License-Identifier: Apache-2.0
//
// softmax_scale: the first stage, on the raw product q.k.
#include "tilewright/kernels/ScoreStage.h"

using namespace mlir;
using namespace tilewright::kernels;

namespace {
class Scale : public ScoreStage {
public:
  StringRef name() const override { return "scale"; }
  Value score(ProgramContext &context, const ScoreTile &tile) override {
    return context.b.mul(tile.scores, context.b.splat(context.scale, context.scoreShape()));
  }
};
} // namespace

std::unique_ptr<ScoreStage> tilewright::kernels::makeScaleStage() { return std::make_unique<Scale>(); }
