// SPDX-License-Identifier: Apache-2.0
//
// The tile program that turns packed GLM pairs into one limit a query row: for a block of rows, start from the causal
// limit and raise it by the end of every pair that holds the row.
#include "tilewright/kernels/BlockRanges.h"
#include "tilewright/kernels/Programs.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::kernels;

void kernels::buildRowLimits(ProgramBuilder &b, const RowLimitsProgram &p, const ProgramShape &shape) {
  int64_t blockM = shape.blockM;
  Value blocks = ceilDiv({&b, p.seqlenQ}, blockM).value;
  SmallVector<Type> types(2, b.getIndexType());
  auto coords = tile::CoordsOp::create(b, types, ValueRange{blocks}, /*together=*/Value(), /*heavy_last=*/false);
  Value batch = coords.getResult(1);
  Value firstRow = b.mul(coords.getResult(0), b.indexConstant(blockM));

  const Sequence sequence = sequenceOf(b, p.sequences, batch, p.seqlenQ, p.seqlenK);
  Value causalOffset = sequence.offset ? b.add(p.causalOffset, sequence.offset) : p.causalOffset;

  auto perRow = [&](Value scalar) { return IrInt{&b, b.splat(b.toI32(scalar), {blockM})}; };
  IrInt rows{&b, tile::IndexOp::create(b, b.tileType({blockM}, b.getI32Type()), b.toI32(firstRow), 0)};
  IrInt seqlenK = perRow(sequence.lengthK);
  IrInt offset = perRow(causalOffset);
  Value initial = causalLimit(rows, offset, seqlenK).value;

  Value zero = b.indexConstant(0), one = b.indexConstant(1);
  Value view = b.view(p.pairs, {1, 2}, {b.indexConstant(2), p.count}, {{0, batch}});
  auto loop = scf::ForOp::create(b, zero, p.count, one, ValueRange{initial});
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    // Values outside [0, seqlen_k] are clamped; an unused pair (-1, -1) becomes the empty [0, 0).
    auto clamped = [&](Value which) {
      IrInt value{&b, b.toIndex(b.loadScalar(view, {which, loop.getInductionVar()}))};
      return maxOf(minOf(value, {&b, sequence.lengthK}), {&b, zero}).value;
    };
    IrInt start = perRow(clamped(zero));
    IrInt end = perRow(clamped(one));
    Value position = (rows + offset).value;
    Value notBefore = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, position, start.value);
    Value inside = b.andI(notBefore, b.lessI(position, end.value));
    IrInt limit{&b, loop.getRegionIterArgs()[0]};
    scf::YieldOp::create(b, b.select(inside, maxOf(limit, end).value, limit.value));
  }

  Value limits = b.view(p.limits, {1}, {p.seqlenQ}, {{0, batch}});
  b.store(loop.getResult(0), limits, {firstRow}, {!p.evenM});
}
