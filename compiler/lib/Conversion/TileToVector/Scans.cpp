// SPDX-License-Identifier: Apache-2.0
//
// What is neither arithmetic on elements nor a product: random bits, and where a view's elements begin and end.
#include "../PhiloxEmitter.h"
#include "Lowering.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile2vec;

/// Each lane makes its own Philox call and takes its 16 bits: the others belong to rows and columns that are other
/// iterations.
FunctionLowering::Chunks FunctionLowering::randomBits(tile::RandomBitsOp op, Value rowIndex, int64_t count) {
  VectorType type = vectorType(b.getI32Type());
  auto repeat = [&](Value value) -> Value { return vector::BroadcastOp::create(b, type, value); };
  auto at = [&](Value old) { return repeat(scalars.lookup(old)); };
  PhiloxEmitter philox(b, at(op.getKey0()), at(op.getKey1()));
  Value rowNumber = arith::IndexCastOp::create(b, b.getI32Type(), rowIndex);
  Value first = at(op.getRow()), second = at(op.getCol());
  Value head = at(op.getHead()), offset = at(op.getOffset());
  Value &down = op.getTransposed() ? second : first;
  down = arith::AddIOp::create(b, down, repeat(rowNumber));
  Chunks chunks;
  for (int64_t i = 0; i < count; ++i) {
    SmallVector<int32_t> steps;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      steps.push_back(static_cast<int32_t>(i * lanes + lane));
    }
    Value iota = arith::ConstantOp::create(b, DenseElementsAttr::get(type, ArrayRef<int32_t>(steps)));
    Value row = first, col = second;
    Value &across = op.getTransposed() ? row : col;
    across = arith::AddIOp::create(b, across, iota);
    PhiloxEmitter::Words words = philox({philox.rowGroup(row), philox.columnGroup(col), head, offset});
    Value rowHalf = philox.half(row), colHalf = philox.half(col);
    Value upper = arith::SelectOp::create(b, colHalf, words[1], words[0]);
    Value lower = arith::SelectOp::create(b, colHalf, words[3], words[2]);
    Value word = arith::SelectOp::create(b, rowHalf, lower, upper);
    Value second = philox.part(col);
    Value low = philox.lowerPart(word);
    chunks.push_back(arith::SelectOp::create(b, second, low, word));
  }
  return chunks;
}

void FunctionLowering::lowerHull(tile::HullOp op) {
  auto view = op.getView().getDefiningOp<tile::ViewOp>();
  const SmallVector<Value> nothing(4, constant(0));
  // An end of 0 says that nothing was found yet.
  SmallVector<Value> hull = loop(
      nothing[0], scalars.lookup(view.getSizes()[0]), 1, nothing,
      [&](Value number, ValueRange carried) -> SmallVector<Value> {
        Value first = carried[0], end = carried[1], holesBegin = carried[2], holesEnd = carried[3];
        auto equal = [&](Value x, Value y) -> Value {
          return arith::CmpIOp::create(b, arith::CmpIPredicate::eq, x, y);
        };
        auto select = [&](Value when, Value x, Value y) -> Value { return arith::SelectOp::create(b, when, x, y); };
        Value given = isSet(view, number);
        Value isFirst = arith::AndIOp::create(b, given, equal(end, constant(0)));
        first = select(isFirst, number, first);
        // From where the elements before end, up to here.
        Value apart = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, end, number);
        Value known = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, end, constant(0));
        Value closes = arith::AndIOp::create(b, given, arith::AndIOp::create(b, apart, known));
        Value opens = arith::AndIOp::create(b, closes, equal(holesEnd, constant(0)));
        holesBegin = select(opens, end, holesBegin);
        holesEnd = select(closes, number, holesEnd);
        end = select(given, arith::AddIOp::create(b, number, constant(1)), end);
        return {first, end, holesBegin, holesEnd};
      });
  for (auto [result, value] : llvm::zip_equal(op.getResults(), hull)) {
    scalars.map(result, value);
  }
}

void FunctionLowering::lowerAllSet(tile::AllSetOp op) {
  auto view = op.getView().getDefiningOp<tile::ViewOp>();
  Value first = scalars.lookup(op.getIndex()), size = scalars.lookup(view.getSizes()[0]);
  Value last = arith::AddIOp::create(b, first, constant(static_cast<int64_t>(op.getCount())));
  Value begin = arith::MaxSIOp::create(b, first, constant(0)), end = arith::MinSIOp::create(b, last, size);
  Value yes = arith::ConstantOp::create(b, b.getBoolAttr(true));
  SmallVector<Value> all = loop(begin, end, 1, {yes}, [&](Value number, ValueRange carried) -> SmallVector<Value> {
    return {arith::AndIOp::create(b, carried[0], isSet(view, number))};
  });
  scalars.map(op.getAll(), all[0]);
}
