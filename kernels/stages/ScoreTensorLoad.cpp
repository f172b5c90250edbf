// SPDX-License-Identifier: Apache-2.0
#include "ScoreTensorLoad.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::kernels;

// Matrix instructions hold score tiles in fragments, which have no rank-1 tile over keys: a vector is a matrix there
// whose rows are one stride of 0 apart. Elsewhere it is read once and repeated. Where keys are rows, floats are read in
// their own order, key after key, and transposed; bools, which are rare there, along the queries.
//
// Views end where the tensor does, not where the batch entry does: what is read beyond the entry is hidden, a GPU moves
// indices past the end to the last element, which a view of an empty entry would not have, and reads pairs where the
// tensor's rows are whole pairs, which an entry's odd length would cut.
void ScoreTensorLoad::begin(ProgramContext &context) {
  ProgramBuilder &b = context.b;
  std::pair<unsigned, Value> place[] = {{0, context.batch}, {1, context.head}};
  if (isVector()) {
    TensorArg rows = tensor_;
    rows.strides[2] = b.indexConstant(0);
    view_ = context.shape.storageOperands ? b.view(rows, {2, 3}, {context.extentQ, context.extentK}, place)
                                          : b.view(rows, {3}, {context.extentK}, place);
    return;
  }
  bool alongQueries = context.keysAreRows() && isBool();
  view_ = alongQueries ? b.view(tensor_, {3, 2}, {context.extentK, context.extentQ}, place)
                       : b.view(tensor_, {2, 3}, {context.extentQ, context.extentK}, place);
}

Value ScoreTensorLoad::load(ProgramContext &context, const ScoreTile &tile) {
  ProgramBuilder &b = context.b;
  int64_t blockM = context.shape.blockM, blockN = context.shape.blockN;
  auto asFloat = [&](Value loaded) { return b.widen(loaded); };
  auto asBool = [&](Value loaded) {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::ne, loaded, b.intLike(loaded.getType(), 0)).getResult();
  };
  auto converted = [&](Value loaded) { return isBool() ? asBool(loaded) : asFloat(loaded); };
  if (isVector() && !context.shape.storageOperands) {
    Value row = converted(b.load(view_, {tile.firstKey}, {tile.bounded}, {blockN}));
    return b.broadcast(row, 1 - context.keyAxis(), context.scoreShape());
  }
  bool rowBound = !context.evenM && !isVector();
  if (context.keysAreRows() && isBool()) {
    return converted(b.loadAny(view_, {tile.firstKey, context.firstRow}, {tile.bounded, rowBound}, {blockN, blockM}));
  }
  Value block =
      converted(b.loadAny(view_, {context.firstRow, tile.firstKey}, {rowBound, tile.bounded}, {blockM, blockN}));
  return context.keysAreRows() ? b.transpose(block) : block;
}
