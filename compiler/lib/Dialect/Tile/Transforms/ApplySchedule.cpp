// SPDX-License-Identifier: Apache-2.0
//
// tile-apply-schedule: program coordinates become arithmetic on a linear program number, products get their register
// tile. See Passes.td.
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Dialect/Tile/Transforms/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

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

/// As placeOnLinearGrid for sizes (n, m), but in sections of `together` values of the second and third coordinate at
/// once: within one, programs with a larger first coordinate come first, whatever the others. The last section may have
/// fewer.
void placeInSections(CoordsOp op) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Value blocks = op.getSizes()[0], columns = op.getSizes()[1], together = op.getTogether();
  Value program = ProgramOp::create(b, b.getIndexType());
  Value all = arith::DivUIOp::create(b, ProgramCountOp::create(b, b.getIndexType()), blocks);
  Value section = arith::DivUIOp::create(b, program, arith::MulIOp::create(b, blocks, together));
  Value first = arith::MulIOp::create(b, section, together);
  Value inside = arith::SubIOp::create(b, program, arith::MulIOp::create(b, first, blocks));
  Value width = arith::MinUIOp::create(b, together, arith::SubIOp::create(b, all, first));
  Value last = arith::SubIOp::create(b, blocks, arith::ConstantIndexOp::create(b, 1));
  Value block = arith::SubIOp::create(b, last, arith::DivUIOp::create(b, inside, width));
  Value column = arith::AddIOp::create(b, first, arith::RemUIOp::create(b, inside, width));
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
        placeInSections(op);
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
