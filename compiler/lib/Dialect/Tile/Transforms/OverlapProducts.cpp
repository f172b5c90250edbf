// SPDX-License-Identifier: Apache-2.0
//
// tile-overlap-products: a block's last product runs while the next block's softmax is computed. See Passes.td.
#include "BlockLoads.h"
#include "tilewright/Dialect/Tile/Transforms/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Matchers.h"

namespace tilewright::tile {
#define GEN_PASS_DEF_TILEOVERLAPPRODUCTS
#include "tilewright/Dialect/Tile/Transforms/Passes.h.inc"
} // namespace tilewright::tile

#define DEBUG_TYPE "tile-overlap-products"

using namespace mlir;
using namespace tilewright::tile;

namespace {

/// One loop of the form "scores = q k; weights = softmax(scores); acc = weights v + rescale(acc)".
class Overlapper {
public:
  Overlapper(scf::ForOp loop, bool turns) : loop(loop), turns(turns), b(loop.getLoc(), loop.getContext()) {}

  /// Finds the parts; false if the loop is of another form.
  bool match() {
    SmallVector<DotOp> dots(loop.getBody()->getOps<DotOp>());
    if (dots.size() != 2) {
      return false;
    }
    scores = dots[0];
    last = dots[1];
    values = last.getB().getDefiningOp<TakeOp>();
    auto keys = scores.getB().getDefiningOp<TakeOp>();
    if (!values || !keys || !matchPattern(scores.getAcc(), m_PosZeroFloat()) ||
        !isa<RankedTensorType>(last.getA().getType()) || last.getTransA() || last.getTransB() ||
        !last.getResult().hasOneUse()) {
      return false;
    }
    OpOperand &use = *last.getResult().use_begin();
    if (!isa<scf::YieldOp>(use.getOwner())) {
      return false;
    }
    accumulator = use.getOperandNumber();
    // What is computed of the accumulator, and the rounding of the weights: both wait for the last product.
    late.insert(last.getA().getDefiningOp());
    markUsers(loop.getRegionIterArg(accumulator));
    for (Operation &op : loop.getBody()->without_terminator()) {
      auto release = dyn_cast<ReleaseOp>(op);
      if (release && release.getRing() == values.getRing()) {
        valuesRelease = release;
      }
    }
    if (auto queries = scores.getA().getDefiningOp<TakeOp>()) {
      for (auto release : loop->getBlock()->getOps<ReleaseOp>()) {
        if (release.getRing() == queries.getRing()) {
          queriesReleases.push_back(release);
        }
      }
    }
    bool lateIsPure = llvm::all_of(late, [&](Operation *op) {
      return op && op->getBlock() == loop.getBody() && (op == last || (isPure(op) && op->getNumRegions() == 0));
    });
    return valuesRelease && lateIsPure && !late.contains(scores);
  }

  void run() {
    Value begin = loop.getLowerBound(), end = loop.getUpperBound();
    b.setInsertionPoint(loop);
    Value any = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, begin, end);
    auto ifOp = scf::IfOp::create(b, loop.getResultTypes(), any, /*withElseRegion=*/true);
    b.setInsertionPointToStart(ifOp.elseBlock());
    releaseQueries();
    scf::YieldOp::create(b, loop.getInitArgs());

    b.setInsertionPointToStart(ifOp.thenBlock());
    SmallVector<Value> carried = firstBlock(begin);
    Value one = arith::ConstantIndexOp::create(b, 1);
    Value second = arith::AddIOp::create(b, begin, one);
    auto rotated = scf::ForOp::create(b, second, end, loop.getStep(), carried);
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(rotated.getBody());
      scf::YieldOp::create(b, laterBlock(rotated, one));
    }
    releaseQueries();
    // The last block's last product.
    IRMapping mapping;
    mapping.map(loop.getInductionVar(), arith::SubIOp::create(b, end, one).getResult());
    Value buffer = takeValues(mapping);
    ValueRange results = rotated.getResults();
    Value sum = DotOp::create(b, last.getType(), results.back(), buffer, results[accumulator], /*trans_a=*/false,
                              /*trans_b=*/false, DenseI64ArrayAttr());
    releaseValues(mapping);
    SmallVector<Value> finals(results.drop_back());
    finals[accumulator] = sum;
    scf::YieldOp::create(b, finals);
    loop.replaceAllUsesWith(ifOp.getResults());
    loop.erase();
    for (ReleaseOp release : queriesReleases) {
      release->erase();
    }
  }

private:
  /// All operations of the body that read `value`, directly or not, but the terminator.
  void markUsers(Value value) {
    for (Operation *user : value.getUsers()) {
      if (user == loop.getBody()->getTerminator() || !late.insert(user).second || user == last) {
        continue;
      }
      for (Value result : user->getResults()) {
        markUsers(result);
      }
    }
  }

  Value takeValues(IRMapping &mapping) {
    Value number = recompute(b, values.getNumber(), loop, mapping);
    return TakeOp::create(b, values.getBuffer().getType(), values.getRing(), number);
  }

  void releaseValues(IRMapping &mapping) {
    ReleaseOp::create(b, valuesRelease.getRing(), recompute(b, valuesRelease.getNumber(), loop, mapping));
  }

  /// Behind the loop buffers of the scores' left operand were given back: no product after the last scores reads them.
  void releaseQueries() {
    for (ReleaseOp release : queriesReleases) {
      b.clone(*release);
    }
  }

  void clone(Operation &op, IRMapping &mapping) {
    auto rescale = dyn_cast<RescaleOp>(op);
    if (rescale && matchPattern(mapping.lookupOrDefault(rescale.getSource()), m_PosZeroFloat())) {
      // Nothing times a factor: only a NaN would differ, whose row's weights are NaN too.
      mapping.map(rescale.getResult(), mapping.lookupOrDefault(rescale.getSource()));
      return;
    }
    b.clone(op, mapping);
  }

  bool belongsToLastProduct(Operation &op) { return &op == last || &op == values || &op == valuesRelease; }

  /// What goes around the loop: its old values, but the accumulator as the last product takes it, and the weights.
  SmallVector<Value> nextCarried(IRMapping &mapping) {
    SmallVector<Value> next;
    for (Value old : loop.getBody()->getTerminator()->getOperands()) {
      next.push_back(old == last.getResult() ? mapping.lookupOrDefault(last.getAcc()) : mapping.lookupOrDefault(old));
    }
    next.push_back(mapping.lookupOrDefault(last.getA()));
    return next;
  }

  /// The first block up to its last product.
  SmallVector<Value> firstBlock(Value begin) {
    IRMapping mapping;
    mapping.map(loop.getInductionVar(), begin);
    mapping.map(loop.getRegionIterArgs(), loop.getInitArgs());
    for (Operation &op : loop.getBody()->without_terminator()) {
      if (!belongsToLastProduct(op)) {
        clone(op, mapping);
      }
    }
    return nextCarried(mapping);
  }

  /// The scores' product of one block, beside the last product of the block before.
  SmallVector<Value> laterBlock(scf::ForOp rotated, Value one) {
    IRMapping mapping, before;
    mapping.map(loop.getInductionVar(), rotated.getInductionVar());
    before.map(loop.getInductionVar(), arith::SubIOp::create(b, rotated.getInductionVar(), one).getResult());
    ValueRange carried = rotated.getRegionIterArgs();
    for (auto [old, now] : llvm::zip(loop.getRegionIterArgs(), carried.drop_back())) {
      mapping.map(old, now); // the accumulator's is replaced when its product has been awaited
    }
    Value lastStarted;
    for (Operation &op : loop.getBody()->without_terminator()) {
      if (belongsToLastProduct(op) || late.contains(&op)) {
        continue;
      }
      if (&op != scores) {
        clone(op, mapping);
        continue;
      }
      if (turns) {
        TakeTurnOp::create(b);
      }
      Value scoresStarted =
          StartDotOp::create(b, scores.getType(), mapping.lookupOrDefault(scores.getA()),
                             mapping.lookupOrDefault(scores.getB()), mapping.lookupOrDefault(scores.getAcc()),
                             scores.getTransB());
      Value buffer = takeValues(before);
      lastStarted = StartDotOp::create(b, last.getType(), carried.back(), buffer, carried[accumulator],
                                       /*trans_b=*/false);
      if (turns) {
        PassTurnOp::create(b);
      }
      Value awaited = AwaitDotOp::create(b, scores.getType(), scoresStarted, /*pending=*/1);
      mapping.map(scores.getResult(), awaited);
    }
    Value sum = AwaitDotOp::create(b, last.getType(), lastStarted, /*pending=*/0);
    releaseValues(before);
    mapping.map(loop.getRegionIterArg(accumulator), sum);
    for (Operation &op : loop.getBody()->without_terminator()) {
      if (late.contains(&op) && &op != last) {
        clone(op, mapping);
      }
    }
    return nextCarried(mapping);
  }

  scf::ForOp loop;
  bool turns;
  ImplicitLocOpBuilder b;
  DotOp scores, last;
  TakeOp values;
  ReleaseOp valuesRelease;
  SmallVector<ReleaseOp, 1> queriesReleases;
  unsigned accumulator = 0;
  llvm::SmallPtrSet<Operation *, 8> late;
};

class TileOverlapProductsPass : public tilewright::tile::impl::TileOverlapProductsBase<TileOverlapProductsPass> {
public:
  void runOnOperation() override {
    auto schedule = getOperation()->getAttrOfType<GpuScheduleAttr>(kScheduleAttr);
    SmallVector<scf::ForOp> loops;
    getOperation().walk([&](RolesOp roles) {
      llvm::append_range(loops, roles.getConsumer().getOps<scf::ForOp>());
    });
    for (scf::ForOp loop : loops) {
      Overlapper overlapper(loop, schedule && schedule.getTurns());
      if (overlapper.match()) {
        overlapper.run();
        ++numLoops;
      }
    }
  }
};

} // namespace
