// SPDX-License-Identifier: Apache-2.0
#include "Dropout.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::kernels;

void Dropout::begin(ProgramContext &context, Value heads) {
  ProgramBuilder &b = context.b;
  // Two numbers of the call, or, if they lie in memory, those: a loop of one turn or none reads them.
  auto read = scf::ForOp::create(b, b.indexConstant(0), b.toIndex(args_.stateGiven), b.indexConstant(1),
                                 ValueRange{args_.seed, args_.offset});
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(read.getBody());
    Value view = b.view(args_.state, {0}, {b.indexConstant(2)}, {});
    Value first = b.loadScalar(view, {b.indexConstant(0)});
    Value second = b.loadScalar(view, {b.indexConstant(1)});
    scf::YieldOp::create(b, ValueRange{first, second});
  }
  Value seed = read.getResult(0), offset = read.getResult(1);
  auto low = [&](Value number) { return arith::TruncIOp::create(b, b.getI32Type(), number).getResult(); };
  auto high = [&](Value number) {
    return low(arith::ShRUIOp::create(b, number, b.intLike(number.getType(), 32)));
  };
  Value entry = b.add(b.mul(context.batch, heads), context.head);
  head_ = low(arith::IndexCastOp::create(b, b.getI64Type(), entry));
  offset_ = low(offset);
  key0_ = arith::XOrIOp::create(b, low(seed), high(offset));
  key1_ = high(seed);
  // Upper 16 bits below the threshold: up to this number, whatever the lower ones are. It fits in 32 bits where the
  // threshold does not.
  Value shifted = arith::ShLIOp::create(b, args_.threshold, b.intLike(args_.threshold.getType(), 16));
  last_ = low(b.sub(shifted, b.intLike(shifted.getType(), 1)));
}

Value Dropout::keeps(ProgramContext &context, Value firstKey) const {
  ProgramBuilder &b = context.b;
  auto type = b.tileType(context.scoreShape(), b.getI32Type());
  Value words = tile::RandomBitsOp::create(b, type, b.toI32(context.firstRow), b.toI32(firstKey), head_, offset_, key0_,
                                          key1_, context.keysAreRows());
  return arith::CmpIOp::create(b, arith::CmpIPredicate::ule, words, b.splat(last_, context.scoreShape()));
}
