// SPDX-License-Identifier: Apache-2.0
//
// tile-sink-rows: what only a branch of a loop's step needs of its rows is computed in that branch. See Passes.td.
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Dialect/Tile/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"

namespace tilewright::tile {
#define GEN_PASS_DEF_TILESINKROWS
#include "tilewright/Dialect/Tile/Transforms/Passes.h.inc"
} // namespace tilewright::tile

#define DEBUG_TYPE "tile-sink-rows"

using namespace mlir;
using namespace tilewright::tile;

namespace {

bool isRows(Value value) {
  auto tile = dyn_cast<RankedTensorType>(value.getType());
  return tile && tile.getRank() == 1;
}

/// Of rows made ahead of `loop`: without effects, but that it may read memory, which no kernel writes; and cheap.
bool canRepeat(Operation *op, scf::ForOp loop) {
  return op && !loop->isAncestor(op) && op->getNumRegions() == 0 && op->getNumResults() == 1 &&
         isRows(op->getResult(0)) && wouldOpBeTriviallyDead(op) && !isa<ReduceOp>(op);
}

/// The branch of a step that holds `user`, if all other uses of `rows` in the loop are in it too.
Block *onlyBranch(Value rows, scf::ForOp loop) {
  Block *branch = nullptr;
  for (Operation *user : rows.getUsers()) {
    Operation *step = loop.getBody()->findAncestorOpInBlock(*user);
    if (!step) {
      continue;
    }
    auto ifOp = dyn_cast<scf::IfOp>(step);
    Region *region = ifOp ? (ifOp.getThenRegion().isAncestor(user->getParentRegion()) ? &ifOp.getThenRegion()
                                                                                       : &ifOp.getElseRegion())
                          : nullptr;
    if (!region || (branch && branch != &region->front())) {
      return nullptr;
    }
    branch = &region->front();
  }
  return branch;
}

/// A copy of what makes `rows`, and of what that needs, before the builder's place.
Value repeat(OpBuilder &b, Value rows, scf::ForOp loop, IRMapping &done) {
  if (done.contains(rows) || !canRepeat(rows.getDefiningOp(), loop)) {
    return done.lookupOrDefault(rows);
  }
  Operation *op = rows.getDefiningOp();
  for (Value operand : op->getOperands()) {
    repeat(b, operand, loop, done);
  }
  return b.clone(*op, done)->getResult(0);
}

class TileSinkRowsPass : public tilewright::tile::impl::TileSinkRowsBase<TileSinkRowsPass> {
public:
  void runOnOperation() override {
    auto target = getOperation()->getAttrOfType<GpuTargetAttr>(kTargetAttr);
    if (!getOperation()->hasAttr(kKernelAttr) || !target || target.getFamily() == kSm90aFamily) {
      return;
    }
    getOperation().walk([&](scf::ForOp loop) { sinkInto(loop); });
  }

private:
  void sinkInto(scf::ForOp loop) {
    llvm::MapVector<Block *, SmallVector<Value>> wanted;
    for (Operation &step : *loop.getBody()) {
      if (!isa<scf::IfOp>(step)) {
        continue;
      }
      step.walk([&](Operation *user) {
        for (Value operand : user->getOperands()) {
          if (!canRepeat(operand.getDefiningOp(), loop)) {
            continue;
          }
          Block *branch = onlyBranch(operand, loop);
          if (branch && !llvm::is_contained(wanted[branch], operand)) {
            wanted[branch].push_back(operand);
          }
        }
      });
    }
    for (auto &[branch, values] : wanted) {
      OpBuilder b(branch, branch->begin());
      IRMapping done;
      for (Value rows : values) {
        Value sunk = repeat(b, rows, loop, done);
        rows.replaceUsesWithIf(sunk, [&, block = branch](OpOperand &use) {
          return use.getOwner() != sunk.getDefiningOp() && block->findAncestorOpInBlock(*use.getOwner());
        });
        ++numSunk;
      }
    }
    // What nothing outside of branches needs is gone from there.
    for (auto &[branch, values] : wanted) {
      for (Value rows : values) {
        eraseUnused(rows.getDefiningOp());
      }
    }
  }

  void eraseUnused(Operation *op) {
    if (!op || !isOpTriviallyDead(op)) {
      return;
    }
    SmallVector<Operation *> sources;
    for (Value operand : op->getOperands()) {
      if (isRows(operand) && !llvm::is_contained(sources, operand.getDefiningOp())) {
        sources.push_back(operand.getDefiningOp());
      }
    }
    op->erase();
    for (Operation *source : sources) {
      eraseUnused(source);
    }
  }
};

} // namespace
