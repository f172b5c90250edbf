// SPDX-License-Identifier: Apache-2.0
//
// Softcap (semantics A1): c * tanh(x / c) of the scaled scores.
//
// tanh(y) = 1 - 2 / (exp(2 y) + 1) is exact to a rounding of 1, which is enough beside operands of 16 bits. Where all
// is float32, small arguments, whose relative error would be large, take the fifth convergent of Lambert's continued
// fraction instead, y (945 + 105 y^2 + y^4) / (945 + 420 y^2 + 15 y^4): below |y| = 1/2 it is off by less than 2^-29.
#include "tilewright/kernels/ScoreStage.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include <numbers>

using namespace mlir;
using namespace tilewright::kernels;

namespace {
class Softcap : public ScoreStage {
public:
  explicit Softcap(Value cap) : cap_(cap) {}
  StringRef name() const override { return "softcap"; }

  void begin(ProgramContext &context) override {
    ProgramBuilder &b = context.b;
    Value one = arith::ConstantOp::create(b, b.getF32FloatAttr(1.0f));
    inverse_ = b.divF(one, cap_);
  }

  Value score(ProgramContext &context, const ScoreTile &tile) override {
    ProgramBuilder &b = context.b;
    SmallVector<int64_t, 2> shape = context.scoreShape();
    auto constant = [&](float value) { return b.fill(shape, value); };
    Value y = b.mul(tile.scores, b.splat(inverse_, shape));
    // Infinite exponentials are right too: 2 / inf is 0.
    Value exponential = b.exp2(b.mul(y, constant(2.0f * std::numbers::log2e_v<float>)));
    Value tail = b.divideFast(constant(2.0f), b.add(exponential, constant(1.0f)));
    Value tanh = b.sub(constant(1.0f), tail);
    if (!context.shape.storageOperands) {
      Value y2 = b.mul(y, y);
      Value top = b.add(b.mul(b.add(y2, constant(105.0f)), y2), constant(945.0f));
      Value bottom = b.add(b.mul(b.add(b.mul(y2, constant(15.0f)), constant(420.0f)), y2), constant(945.0f));
      Value fraction = b.mul(y, b.divF(top, bottom));
      Value small = arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, y2, constant(0.25f));
      tanh = b.select(small, fraction, tanh);
    }
    return b.mul(tanh, b.splat(cap_, shape));
  }

private:
  Value cap_, inverse_;
};
} // namespace

std::unique_ptr<ScoreStage> tilewright::kernels::makeSoftcap(Value cap) { return std::make_unique<Softcap>(cap); }
