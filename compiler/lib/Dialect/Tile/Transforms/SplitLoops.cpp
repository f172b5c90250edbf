// SPDX-License-Identifier: Apache-2.0
//
// tile-split-loops: loops of their own for full and for partial blocks. See Passes.td.
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Dialect/Tile/Transforms/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
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

/// Blocks of a loop for which a condition is false: [begin, end). A bound that is null is the loop's.
struct FullBlocks {
  Value begin, end;
};

/// Reads `condition` as "ahead of the full blocks, or behind them".
bool readCondition(Value condition, scf::ForOp loop, FullBlocks &full) {
  if (auto either = condition.getDefiningOp<arith::OrIOp>()) {
    return readCondition(either.getLhs(), loop, full) && readCondition(either.getRhs(), loop, full);
  }
  auto compare = condition.getDefiningOp<arith::CmpIOp>();
  if (!compare || compare.getLhs() != loop.getInductionVar() || !loop.isDefinedOutsideOfLoop(compare.getRhs())) {
    return false;
  }
  const bool ahead = compare.getPredicate() == arith::CmpIPredicate::slt;
  Value &bound = ahead ? full.begin : full.end;
  if (bound || (!ahead && compare.getPredicate() != arith::CmpIPredicate::sge)) {
    return false;
  }
  bound = compare.getRhs();
  return true;
}

class Splitter {
public:
  explicit Splitter(scf::ForOp loop) : loop(loop), b(loop.getLoc(), loop.getContext()) {}

  /// Finds the branch for partial blocks; false if the loop has none.
  bool match() {
    if (getConstantIntValue(loop.getStep()) != 1) {
      return false;
    }
    for (auto candidate : loop.getBody()->getOps<scf::IfOp>()) {
      full = {};
      if (candidate.elseBlock() && readCondition(candidate.getCondition(), loop, full)) {
        partial = candidate;
        return true;
      }
    }
    return false;
  }

  void run() {
    b.setInsertionPoint(loop);
    Value begin = loop.getLowerBound(), end = loop.getUpperBound();
    SmallVector<Value> state(loop.getInitArgs());
    // Each part starts where the one before ended, and none ends past the loop: then together they are its iterations,
    // wherever the full blocks are.
    auto upTo = [&](Value bound) {
      return arith::MinSIOp::create(b, arith::MaxSIOp::create(b, bound, begin), end).getResult();
    };
    if (full.begin) {
      Value first = upTo(full.begin);
      state = part(begin, first, state, /*isPartial=*/true);
      begin = first;
    }
    Value last = full.end ? upTo(full.end) : end;
    state = part(begin, last, state, /*isPartial=*/false);
    if (full.end) {
      state = part(last, end, state, /*isPartial=*/true);
    }
    loop.replaceAllUsesWith(state);
    loop.erase();
  }

private:
  /// The loop's iterations from `begin` to `end`, for which the condition is known.
  SmallVector<Value> part(Value begin, Value end, ValueRange state, bool isPartial) {
    auto copy = scf::ForOp::create(b, begin, end, loop.getStep(), state);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(copy.getBody());
    IRMapping mapping;
    mapping.map(loop.getInductionVar(), copy.getInductionVar());
    mapping.map(loop.getRegionIterArgs(), copy.getRegionIterArgs());
    for (Operation &op : loop.getBody()->without_terminator()) {
      if (&op != partial) {
        b.clone(op, mapping);
        continue;
      }
      Block *branch = isPartial ? partial.thenBlock() : partial.elseBlock();
      for (Operation &inner : branch->without_terminator()) {
        b.clone(inner, mapping);
      }
      for (auto [result, yielded] : llvm::zip(partial.getResults(), branch->getTerminator()->getOperands())) {
        mapping.map(result, mapping.lookupOrDefault(yielded));
      }
    }
    SmallVector<Value> next;
    for (Value yielded : loop.getBody()->getTerminator()->getOperands()) {
      next.push_back(mapping.lookupOrDefault(yielded));
    }
    scf::YieldOp::create(b, next);
    // The condition itself: nobody asks any more.
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(*copy.getBody()))) {
      if (isOpTriviallyDead(&op)) {
        op.erase();
      }
    }
    return SmallVector<Value>(copy.getResults());
  }

  scf::ForOp loop;
  ImplicitLocOpBuilder b;
  scf::IfOp partial;
  FullBlocks full;
};

class TileSplitLoopsPass : public tilewright::tile::impl::TileSplitLoopsBase<TileSplitLoopsPass> {
public:
  void runOnOperation() override {
    auto schedule = getOperation()->getAttrOfType<GpuScheduleAttr>(kScheduleAttr);
    if (!schedule || !schedule.getSplitLoops()) {
      return;
    }
    SmallVector<scf::ForOp> loops;
    getOperation().walk([&](RolesOp roles) {
      roles.getConsumer().walk([&](scf::ForOp loop) { loops.push_back(loop); });
    });
    for (scf::ForOp loop : loops) {
      Splitter splitter(loop);
      if (splitter.match()) {
        splitter.run();
        ++numLoops;
      }
    }
  }
};

} // namespace
