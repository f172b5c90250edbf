// SPDX-License-Identifier: Apache-2.0
//
// ALiBi (Press, Smith, Lewis, "Train Short, Test Long", 2022; semantics A1): -slope * |i + o - j|, one slope a head.
#include "tilewright/kernels/ScoreStage.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace tilewright::kernels;

namespace {
class Alibi : public ScoreStage {
public:
  explicit Alibi(TensorArg slopes) : slopes_(std::move(slopes)) {}
  StringRef name() const override { return "alibi"; }

  void begin(ProgramContext &context) override {
    ProgramBuilder &b = context.b;
    Value one = b.indexConstant(1);
    Value view = b.view(slopes_, {0, 1}, {b.add(context.batch, one), b.add(context.head, one)}, {});
    slope_ = b.loadScalar(view, {context.batch, context.head});
    IrInt rows = context.integer(context.queryRows());
    positions_ = (rows + context.perQuery(context.positionOffset)).value;
  }

  Value score(ProgramContext &context, const ScoreTile &tile) override {
    ProgramBuilder &b = context.b;
    IrInt behind = context.integer(context.broadcastQueries(positions_)) - context.integer(tile.keys);
    IrInt ahead = context.integer(b.intLike(tile.keys.getType(), 0)) - behind;
    Value distance = maxOf(behind, ahead).value;
    Value asFloat = arith::SIToFPOp::create(b, b.tileType(context.scoreShape(), b.getF32Type()), distance);
    return b.sub(tile.scores, b.mul(asFloat, b.splat(slope_, context.scoreShape())));
  }

private:
  TensorArg slopes_;
  Value slope_, positions_;
};
} // namespace

std::unique_ptr<ScoreStage> tilewright::kernels::makeAlibi(TensorArg slopes) {
  return std::make_unique<Alibi>(std::move(slopes));
}
