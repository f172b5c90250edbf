// SPDX-License-Identifier: Apache-2.0
//
// Additive bias and additive mask (semantics A3): tensors that broadcast to (batch, heads, seqlen_q, seqlen_k), added
// to the scores after scale and softcap.
#include "ScoreTensorLoad.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::kernels;

namespace {
class AddedTensor : public ScoreStage {
public:
  AddedTensor(StringRef name, TensorArg tensor, attn::ScoreOperand kind)
      : name_(name), tensor_(std::move(tensor), kind) {}
  StringRef name() const override { return name_; }
  void begin(ProgramContext &context) override { tensor_.begin(context); }
  Value score(ProgramContext &context, const ScoreTile &tile) override {
    Value block = tensor_.load(context, tile);
    return context.b.add(tile.scores, block);
  }

private:
  StringRef name_;
  ScoreTensorLoad tensor_;
};
} // namespace

std::unique_ptr<ScoreStage> tilewright::kernels::makeAddedTensor(StringRef name, TensorArg tensor,
                                                                 attn::ScoreOperand kind) {
  return std::make_unique<AddedTensor>(name, std::move(tensor), kind);
}
