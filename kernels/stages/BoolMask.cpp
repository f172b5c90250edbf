// SPDX-License-Identifier: Apache-2.0
//
// A mask of bools, true where a key is visible (semantics A3), in every block: it says nothing of where it is false.
#include "ScoreTensorLoad.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::kernels;

namespace {
class BoolMask : public ScoreStage {
public:
  BoolMask(TensorArg tensor, attn::ScoreOperand kind) : tensor_(std::move(tensor), kind) {}
  StringRef name() const override { return "bool_mask"; }
  void begin(ProgramContext &context) override { tensor_.begin(context); }
  Value visibleAnywhere(ProgramContext &context, const ScoreTile &tile) override {
    return tensor_.load(context, tile);
  }

private:
  ScoreTensorLoad tensor_;
};
} // namespace

std::unique_ptr<ScoreStage> tilewright::kernels::makeBoolMask(TensorArg tensor, attn::ScoreOperand kind) {
  return std::make_unique<BoolMask>(std::move(tensor), kind);
}
