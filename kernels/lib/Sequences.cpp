// SPDX-License-Identifier: Apache-2.0
//
// The lengths of a batch entry inside generated code: those that all entries have, or the entry's own.
#include "tilewright/kernels/Programs.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include <tuple>

using namespace mlir;
using namespace tilewright;
using namespace tilewright::kernels;

namespace {
/// Element `index` of a table by batch entry, as an index.
Value entryOf(ProgramBuilder &b, const TensorArg &table, Value index) {
  Value view = b.view(table, {0}, {b.add(index, b.indexConstant(1))}, {});
  return b.toIndex(b.loadScalar(view, {index}));
}

/// Where the sequence begins, and how many rows it has; a table that decreases makes empty ones.
std::pair<Value, Value> packedRows(ProgramBuilder &b, const TensorArg &table, Value batch) {
  Value begin = entryOf(b, table, batch);
  Value end = entryOf(b, table, b.add(batch, b.indexConstant(1)));
  Value zero = b.indexConstant(0);
  return {begin, maxOf({&b, b.sub(end, begin)}, {&b, zero}).value};
}
} // namespace

Sequence kernels::sequenceOf(ProgramBuilder &b, const SequenceArgs &args, Value batch, Value seqlenQ, Value seqlenK) {
  Sequence sequence{seqlenQ, seqlenK, {}, {}, {}};
  if (args.cuSeqlensQ) {
    std::tie(sequence.beginQ, sequence.lengthQ) = packedRows(b, args.cuSeqlensQ, batch);
    std::tie(sequence.beginK, sequence.lengthK) = packedRows(b, args.cuSeqlensK, batch);
    // Tables of row limits and bounds have room for the longest that the caller named, no more.
    sequence.lengthQ = minOf({&b, sequence.lengthQ}, {&b, seqlenQ}).value;
  }
  if (args.seqUsedK) {
    IrInt used{&b, entryOf(b, args.seqUsedK, batch)}, zero{&b, b.indexConstant(0)};
    sequence.lengthK = minOf(maxOf(used, zero), {&b, sequence.lengthK}).value;
  }
  if (args.own()) {
    sequence.offset = b.mul(args.bottomRight, b.sub(sequence.lengthK, sequence.lengthQ));
  }
  return sequence;
}
