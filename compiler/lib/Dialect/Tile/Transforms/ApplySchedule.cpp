// SPDX-License-Identifier: Apache-2.0
//
// tile-apply-schedule: program coordinates become arithmetic on a linear program number, products get their register
// tile. See Passes.td.
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Dialect/Tile/Transforms/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/Matchers.h"

namespace tilewright::tile {
#define GEN_PASS_DEF_TILEAPPLYSCHEDULE
#include "tilewright/Dialect/Tile/Transforms/Passes.h.inc"
} // namespace tilewright::tile

#define DEBUG_TYPE "tile-apply-schedule"

using namespace mlir;
using namespace tilewright::tile;

namespace {

/// Mixed-radix digits of the program number, first coordinate fastest.
void placeOnLinearGrid(CoordsOp op) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Value rest = ProgramOp::create(b, b.getIndexType());
  SmallVector<Value> coords;
  for (Value size : op.getSizes()) {
    coords.push_back(arith::RemUIOp::create(b, rest, size));
    rest = arith::DivUIOp::create(b, rest, size);
  }
  coords.push_back(rest);
  if (op.getHeavyLast() && !op.getSizes().empty()) {
    Value last = arith::SubIOp::create(b, op.getSizes()[0], arith::ConstantIndexOp::create(b, 1));
    coords[0] = arith::SubIOp::create(b, last, coords[0]);
  }
  op.replaceAllUsesWith(coords);
  op.erase();
}

/// n where `value` is 1 << n.
Value exponentOf(Value value) {
  auto shift = value.getDefiningOp<arith::ShLIOp>();
  return shift && matchPattern(shift.getLhs(), m_One()) ? shift.getRhs() : Value();
}

/// As placeOnLinearGrid for sizes (n, m), but in sections of `together` values of the second and third coordinate at
/// once: within one, programs with a larger first coordinate come first, whatever the others. The last section may have
/// fewer. Blocks that run one program each have nothing else to do meanwhile: in the other sections they take their
/// places by `together` itself, and so by shifts where it is a power of two.
void placeInSections(CoordsOp op, bool persistent) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Value blocks = op.getSizes()[0], columns = op.getSizes()[1], together = op.getTogether();
  Value program = ProgramOp::create(b, b.getIndexType());
  Value count = ProgramCountOp::create(b, b.getIndexType());
  Value all = persistent ? Value(arith::DivUIOp::create(b, count, blocks)) : Value();
  Value size = arith::MulIOp::create(b, blocks, together);
  Value section = arith::DivUIOp::create(b, program, size);
  Value first = arith::MulIOp::create(b, section, together);
  Value before = arith::MulIOp::create(b, first, blocks);
  Value inside = arith::SubIOp::create(b, program, before);
  // Places in a section of some width: of the block, from the last one down, and of the column.
  auto divided = [&](Value width) {
    return SmallVector<Value>{arith::DivUIOp::create(b, inside, width), arith::RemUIOp::create(b, inside, width)};
  };
  auto wholeSection = [&] {
    Value exponent = exponentOf(together);
    if (!exponent) {
      return divided(together);
    }
    Value lower = arith::SubIOp::create(b, together, arith::ConstantIndexOp::create(b, 1));
    return SmallVector<Value>{arith::ShRUIOp::create(b, inside, exponent), arith::AndIOp::create(b, inside, lower)};
  };
  SmallVector<Value> place;
  if (persistent) {
    place = divided(arith::MinUIOp::create(b, together, arith::SubIOp::create(b, all, first)));
  } else {
    Value left = arith::SubIOp::create(b, count, before);
    Value whole = arith::CmpIOp::create(b, arith::CmpIPredicate::uge, left, size);
    auto ifOp = scf::IfOp::create(b, SmallVector<Type>(2, b.getIndexType()), whole, /*withElseRegion=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(ifOp.thenBlock());
    scf::YieldOp::create(b, wholeSection());
    b.setInsertionPointToStart(ifOp.elseBlock());
    scf::YieldOp::create(b, divided(arith::DivUIOp::create(b, left, blocks)));
    place = ifOp.getResults();
  }
  Value last = arith::SubIOp::create(b, blocks, arith::ConstantIndexOp::create(b, 1));
  Value block = arith::SubIOp::create(b, last, place[0]);
  Value column = arith::AddIOp::create(b, first, place[1]);
  Value second = arith::RemUIOp::create(b, column, columns), third = arith::DivUIOp::create(b, column, columns);
  op.replaceAllUsesWith(ValueRange{block, second, third});
  op.erase();
}

class TileApplySchedulePass : public tilewright::tile::impl::TileApplyScheduleBase<TileApplySchedulePass> {
public:
  void runOnOperation() override {
    func::FuncOp func = getOperation();
    if (!func->hasAttr(kKernelAttr)) {
      return;
    }
    Attribute schedule = func->getAttr(kScheduleAttr);
    if (!isa_and_nonnull<ScheduleAttr, GpuScheduleAttr>(schedule)) {
      func.emitOpError("expected the attribute ") << kScheduleAttr << " (#tile.schedule or #tile.gpu_schedule)";
      return signalPassFailure();
    }
    SmallVector<CoordsOp> coords;
    func.walk([&](CoordsOp op) { coords.push_back(op); });
    for (CoordsOp op : coords) {
      if (op.getTogether()) {
        auto gpu = dyn_cast<GpuScheduleAttr>(schedule);
        placeInSections(op, gpu && gpu.getPersistent() != 0);
      } else {
        placeOnLinearGrid(op);
      }
    }
    if (auto cpu = dyn_cast<ScheduleAttr>(schedule)) {
      func.walk([&](DotOp op) {
        op.setMicro(ArrayRef<int64_t>{cpu.getMicroRows(), cpu.getMicroVectors()});
        ++numDots;
      });
    }
  }
};

} // namespace
