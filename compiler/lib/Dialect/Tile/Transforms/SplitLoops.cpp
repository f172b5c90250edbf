// SPDX-License-Identifier: Apache-2.0
//
// tile-split-loops: blocks that need work of their own, at the end of a loop, get a loop of their own. See Passes.td.
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Dialect/Tile/Transforms/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace tilewright::tile {
#define GEN_PASS_DEF_TILESPLITLOOPS
#include "tilewright/Dialect/Tile/Transforms/Passes.h.inc"
} // namespace tilewright::tile

#define DEBUG_TYPE "tile-split-loops"

using namespace mlir;
using namespace tilewright::tile;

namespace {

/// A branch of a loop's body that every iteration takes from the one numbered `start` on, and none before.
struct LateBranch {
  scf::IfOp op;
  Value start;
};

LateBranch findLateBranch(scf::ForOp loop) {
  for (auto ifOp : loop.getBody()->getOps<scf::IfOp>()) {
    auto compare = ifOp.getCondition().getDefiningOp<arith::CmpIOp>();
    if (compare && compare.getPredicate() == arith::CmpIPredicate::sge && compare.getLhs() == loop.getInductionVar() &&
        loop.isDefinedOutsideOfLoop(compare.getRhs()) && ifOp.elseBlock()) {
      return {ifOp, compare.getRhs()};
    }
  }
  return {};
}

/// Replaces a branch by one of its sides.
void take(scf::IfOp op, bool then) {
  Block *side = then ? op.thenBlock() : op.elseBlock();
  Operation *yield = side->getTerminator();
  op->replaceAllUsesWith(yield->getOperands());
  yield->erase();
  op->getBlock()->getOperations().splice(op->getIterator(), side->getOperations());
  op->erase();
}

void split(scf::ForOp loop, LateBranch branch) {
  ImplicitLocOpBuilder b(loop.getLoc(), loop);
  Value start = arith::MaxSIOp::create(b, branch.start, loop.getLowerBound());
  start = arith::MinSIOp::create(b, start, loop.getUpperBound());
  IRMapping mapping;
  auto late = cast<scf::ForOp>(b.clone(*loop, mapping));
  auto lateBranch = cast<scf::IfOp>(mapping.lookup(branch.op.getOperation()));
  late->moveAfter(loop);
  loop.replaceAllUsesWith(late.getResults());
  loop.setUpperBound(start);
  late.setLowerBound(start);
  late.getInitArgsMutable().assign(loop.getResults());
  take(branch.op, false);
  take(lateBranch, true);
}

class TileSplitLoopsPass : public tilewright::tile::impl::TileSplitLoopsBase<TileSplitLoopsPass> {
public:
  void runOnOperation() override {
    if (getenv("TW_NOSPLIT")) return;
    SmallVector<scf::ForOp> loops;
    getOperation().walk([&](RolesOp roles) {
      roles.getConsumer().walk([&](scf::ForOp loop) { loops.push_back(loop); });
    });
    for (scf::ForOp loop : loops) {
      if (LateBranch branch = findLateBranch(loop); branch.op) {
        split(loop, branch);
        ++numLoops;
      }
    }
  }
};

} // namespace
