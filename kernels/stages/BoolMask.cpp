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
/// Padding: a mask of bools with one row for all, whose program knows whether it has holes between the first and the
/// last real key, which end the interval. Blocks are partial where it has.
class KeyPadding : public ScoreStage {
public:
  explicit KeyPadding(TensorArg tensor) : tensor_(std::move(tensor), attn::ScoreOperand::VectorBool) {}
  StringRef name() const override { return "key_padding"; }
  void begin(ProgramContext &context) override { tensor_.begin(context); }
  Value visible(ProgramContext &context, const ScoreTile &tile) override { return tensor_.load(context, tile); }
  /// In a step of their own partial blocks may take more registers: in one body with full blocks these spilled (5
  /// percent of the time of padding without holes at head dim 128).
  Value hide(ProgramContext &context, const ScoreTile &tile, Value scores) override {
    return context.shape.twoBodies
               ? context.b.hideUnset(scores, context.realKeys, context.fromView(tile.firstKey))
               : ScoreStage::hide(context, tile, scores);
  }

private:
  ScoreTensorLoad tensor_;
};
} // namespace

std::unique_ptr<ScoreStage> tilewright::kernels::makeKeyPadding(TensorArg tensor) {
  return std::make_unique<KeyPadding>(std::move(tensor));
}

std::unique_ptr<ScoreStage> tilewright::kernels::makeBoolMask(TensorArg tensor, attn::ScoreOperand kind) {
  return std::make_unique<BoolMask>(std::move(tensor), kind);
}
