// SPDX-License-Identifier: Apache-2.0
//
// The tile program that turns document ids and a padding mask into an interval of keys for each query row.
//
// Ids, taken as unsigned numbers, do not decrease: padding, -1, is the largest. So the document of position p is the
// keys from L = #{j : id(j) < id(p)} to H = #{j : id(j) <= id(p)}. A block of rows stands at positions p0 to p1. All
// keys before p0 have ids up to that of p0, and all behind p1 ids from that of p1 on; so a row whose id is not that of
// p0 has L = p0 + #{j in p0..p1 : id(j) < id}, and for id(p0) L is found by search; likewise H with p1. A block costs
// as many steps as it has rows, plus one for each time that the length is four times as large.
#include "tilewright/kernels/BlockRanges.h"
#include "tilewright/kernels/Programs.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::kernels;

namespace {

constexpr int32_t kPadding = -1;

class BoundsProgram {
public:
  BoundsProgram(ProgramBuilder &b, const RowBoundsProgram &p, const ProgramShape &shape)
      : b(b), p(p), blockM(shape.blockM), zero(b.indexConstant(0)), one(b.indexConstant(1)) {}

  void build();

private:
  struct Interval {
    Value begin, end; ///< rank-1 tiles of i32
  };
  Interval documentBounds(const Interval &none);
  Interval inDocuments(Value view);
  Value rowIds(Value view);
  std::pair<Value, Value> countBelow(Value view, Value first, Value second);

  Value perRow(Value scalar) { return b.splat(b.toI32(scalar), {blockM}); }
  Value below(Value a, Value c) { return arith::CmpIOp::create(b, arith::CmpIPredicate::ult, a, c); }
  Value equal(Value a, Value c) { return arith::CmpIOp::create(b, arith::CmpIPredicate::eq, a, c); }
  Value constantI32(int32_t value) { return b.intLike(b.getI32Type(), value); }
  /// A loop over [begin, end) that carries `init`; `body` returns what it carries on.
  SmallVector<Value> loop(Value begin, Value end, ValueRange init,
                          llvm::function_ref<SmallVector<Value>(Value, ValueRange)> body) {
    auto loop = scf::ForOp::create(b, begin, end, one, init);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    SmallVector<Value> next = body(loop.getInductionVar(), loop.getRegionIterArgs());
    scf::YieldOp::create(b, next);
    return SmallVector<Value>(loop.getResults());
  }

  ProgramBuilder &b;
  const RowBoundsProgram &p;
  int64_t blockM;
  Value zero, one;
  Value batch, firstRow, positions; ///< positions: rank-1 tile of i32
  Value firstRowsPosition;           ///< inside of it or not
  Value firstPosition, lastPosition; ///< p0 and p1: positions inside the sequence
  Sequence sequence;
};

/// Ids of this block's rows, padding for rows whose position is outside of the sequence.
Value BoundsProgram::rowIds(Value view) {
  Value ids = b.load(view, {firstRowsPosition}, {true}, {blockM});
  Value outside = arith::CmpIOp::create(b, arith::CmpIPredicate::uge, positions, perRow(sequence.lengthK));
  return b.select(outside, b.intLike(positions.getType(), kPadding), ids);
}

/// How many ids are below each of two (i32 scalars), by search for both at once.
std::pair<Value, Value> BoundsProgram::countBelow(Value view, Value first, Value second) {
  // Steps of 4^15 to 1, lengths fitting in 31 bits: the first of them are longer than this sequence. Up to three of
  // each are taken, whose ends are looked at together, for the loads to be under way together.
  constexpr int64_t kSteps = 16, kBits = 2, kEnds = (1 << kBits) - 1;
  Value skipped = zero;
  for (int64_t bit = 0; bit < kSteps; ++bit) {
    Value shorter = b.lessI(sequence.lengthK, b.indexConstant(int64_t{1} << kBits * bit));
    skipped = b.add(skipped, arith::IndexCastUIOp::create(b, b.getIndexType(), shorter));
  }
  const Value bounds[] = {first, second};
  SmallVector<Value> found = loop(
      skipped, b.indexConstant(kSteps), {zero, zero}, [&](Value number, ValueRange counts) -> SmallVector<Value> {
        Value shift = b.mul(b.sub(b.indexConstant(kSteps - 1), number), b.indexConstant(kBits));
        Value step = arith::ShLIOp::create(b, one, shift);
        SmallVector<Value> insides, ids, next;
        for (Value count : counts) {
          Value more = count;
          for (int64_t i = 0; i < kEnds; ++i) {
            more = b.add(more, step);
            insides.push_back(arith::CmpIOp::create(b, arith::CmpIPredicate::sle, more, sequence.lengthK));
            ids.push_back(b.loadScalar(view, {b.select(insides.back(), b.sub(more, one), zero)}));
          }
        }
        for (size_t which = 0; which < 2; ++which) {
          Value taken = zero;
          for (size_t i = which * kEnds; i < (which + 1) * kEnds; ++i) {
            Value whole = b.andI(insides[i], below(ids[i], bounds[which]));
            taken = b.add(taken, arith::IndexCastUIOp::create(b, b.getIndexType(), whole));
          }
          next.push_back(b.add(counts[which], b.mul(taken, step)));
        }
        return next;
      });
  return {found[0], found[1]};
}

BoundsProgram::Interval BoundsProgram::inDocuments(Value view) {
  Value ids = rowIds(view);
  Value idOfFirst = b.loadScalar(view, {firstPosition}), idOfLast = b.loadScalar(view, {lastPosition});
  // H counts ids up to that of p1: those below the next number. For padding there is none: then it is where the
  // documents end.
  Value pad = constantI32(kPadding);
  Value afterLast = b.select(equal(idOfLast, pad), pad, b.add(idOfLast, constantI32(1)));
  auto [begins, ends] = countBelow(view, idOfFirst, afterLast);

  Value start = perRow(firstPosition);
  // Several at once, for their loads to be under way together. Behind p1 the id of p1 is read again: it adds to the
  // count of no row whose H is taken from here, those with smaller ids, and to no row's L.
  constexpr int64_t kAtOnce = 8; // divides every block's rows
  Value up = b.intLike(positions.getType(), 1), no = b.intLike(positions.getType(), 0);
  Value turns = b.indexConstant(blockM / kAtOnce);
  SmallVector<Value> counted = loop(
      zero, turns, {start, start}, [&](Value number, ValueRange counts) -> SmallVector<Value> {
        Value position = b.add(firstPosition, b.mul(number, b.indexConstant(kAtOnce)));
        SmallVector<Value> next;
        for (int64_t i = 0; i < kAtOnce; ++i) {
          IrInt inBlock = minOf(IrInt{&b, position} + i, {&b, lastPosition});
          next.push_back(b.loadScalar(view, {inBlock.value}));
        }
        Value less = counts[0], notMore = counts[1];
        for (Value id : next) {
          Value ofAll = b.splat(id, {blockM});
          less = b.add(less, b.select(below(ofAll, ids), up, no));
          notMore = b.add(notMore, b.select(below(ids, ofAll), no, up));
        }
        return {less, notMore};
      });
  Value begin = b.select(equal(ids, b.splat(idOfFirst, {blockM})), perRow(begins), counted[0]);
  Value end = b.select(equal(ids, b.splat(idOfLast, {blockM})), perRow(ends), counted[1]);

  // Rows that are in no document: before the first key nothing, else where the documents end, so that bounds never
  // decrease. A block with such rows ends in padding, or, if there is none, with the last key: its H is that end.
  Value none = b.intLike(positions.getType(), 0);
  Value outside = equal(ids, b.intLike(positions.getType(), kPadding));
  Value nothing = b.select(b.lessI(positions, none), none, perRow(ends));
  return {b.select(outside, nothing, begin), b.select(outside, nothing, end)};
}

/// The bounds that documents set; `none` if there is no key at all, whose id could be read.
BoundsProgram::Interval BoundsProgram::documentBounds(const Interval &none) {
  Value view = b.view(p.documents, {1}, {sequence.lengthK}, {{0, batch}});
  Value any = minOf({&b, sequence.lengthK}, {&b, one}).value;
  SmallVector<Value> bounds = loop(zero, any, {none.begin, none.end}, [&](Value, ValueRange) -> SmallVector<Value> {
    Interval documents = inDocuments(view);
    return {documents.begin, documents.end};
  });
  return {bounds[0], bounds[1]};
}

void BoundsProgram::build() {
  Value blocks = ceilDiv({&b, p.seqlenQ}, blockM).value;
  SmallVector<Type> types(2, b.getIndexType());
  auto coords = tile::CoordsOp::create(b, types, ValueRange{blocks}, /*together=*/Value(), /*heavy_last=*/false);
  batch = coords.getResult(1);
  firstRow = b.mul(coords.getResult(0), b.indexConstant(blockM));
  sequence = sequenceOf(b, p.sequences, batch, p.seqlenQ, p.seqlenK);
  Value offset = sequence.offset ? b.add(p.positionOffset, sequence.offset) : p.positionOffset;
  IrInt rows{&b, tile::IndexOp::create(b, b.tileType({blockM}, b.getI32Type()), b.toI32(firstRow), 0)};
  positions = (rows + IrInt{&b, perRow(offset)}).value;

  IrInt noKey{&b, zero}, lastKey = maxOf(IrInt{&b, sequence.lengthK} - IrInt{&b, one}, noKey);
  IrInt first = IrInt{&b, firstRow} + IrInt{&b, offset};
  firstRowsPosition = first.value;
  firstPosition = minOf(maxOf(first, noKey), lastKey).value;
  lastPosition = minOf(maxOf(first + (blockM - 1), noKey), lastKey).value;

  SmallVector<Value> holes;
  Interval bounds{b.intLike(positions.getType(), 0), perRow(sequence.lengthK)};
  if (p.documents) {
    bounds = documentBounds(bounds);
  }
  if (p.keyPadding) {
    Value view = b.view(p.keyPadding, {1}, {sequence.lengthK}, {{0, batch}});
    auto hull = tile::HullOp::create(b, SmallVector<Type>(4, b.getIndexType()), view);
    Value holesBegin = perRow(hull.getHolesBegin()), holesEnd = perRow(hull.getHolesEnd());
    holes = {holesBegin, holesEnd};
    bounds.begin = maxOf({&b, bounds.begin}, {&b, perRow(hull.getFirst())}).value;
    bounds.end = minOf({&b, bounds.end}, {&b, perRow(hull.getEnd())}).value;
  }
  SmallVector<Value> rowsOfTable{bounds.begin, bounds.end};
  rowsOfTable.append(holes);
  for (const auto &[which, row] : llvm::enumerate(rowsOfTable)) {
    Value number = b.indexConstant(static_cast<int64_t>(which));
    b.store(row, b.view(p.bounds, {2}, {p.seqlenQ}, {{0, batch}, {1, number}}), {firstRow}, {!p.evenM});
  }
}

} // namespace

void kernels::buildRowBounds(ProgramBuilder &builder, const RowBoundsProgram &program, const ProgramShape &shape) {
  BoundsProgram(builder, program, shape).build();
}
