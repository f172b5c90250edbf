// SPDX-License-Identifier: Apache-2.0
//
// tile-specialize-warps: a producer fills rings in shared memory, consumers compute from them. See Passes.td.
#include "BlockLoads.h"
#include "tilewright/Dialect/Tile/Transforms/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

namespace tilewright::tile {
#define GEN_PASS_DEF_TILESPECIALIZEWARPS
#include "tilewright/Dialect/Tile/Transforms/Passes.h.inc"
} // namespace tilewright::tile

#define DEBUG_TYPE "tile-specialize-warps"

using namespace mlir;
using namespace tilewright::tile;

namespace {

/// Whether an operation, or one inside it, works on tiles: the consumers' work. What is left is scalars, which both
/// roles compute.
bool usesTiles(Operation *op) {
  auto isTile = [](Type type) { return isa<RankedTensorType>(type); };
  WalkResult result = op->walk([&](Operation *inner) {
    bool found = llvm::any_of(inner->getOperandTypes(), isTile) || llvm::any_of(inner->getResultTypes(), isTile);
    return found ? WalkResult::interrupt() : WalkResult::advance();
  });
  return result.wasInterrupted();
}

class Specializer {
public:
  Specializer(func::FuncOp func, GpuScheduleAttr schedule)
      : func(func), stages(schedule.getStages()), stagesAhead(std::max<int64_t>(schedule.getPersistent(), 1)),
        b(func.getLoc(), func.getContext()) {}

  LogicalResult run() {
    if (func.isExternal() || !llvm::hasSingleElement(func.getBody())) {
      return func.emitOpError("expected a body of one block");
    }
    Block &entry = func.getBody().front();
    SmallVector<LoadOp> ahead = operandLoads(entry);
    SmallVector<scf::ForOp> loops;
    for (auto loop : entry.getOps<scf::ForOp>()) {
      if (operandLoads(*loop.getBody()).empty()) {
        continue;
      }
      if (failed(checkLoads(loop, operandLoads(*loop.getBody())))) {
        return failure();
      }
      if (getConstantIntValue(loop.getStep()) != 1) {
        return loop.emitOpError("expected a loop over blocks of products' operands to have step 1");
      }
      loops.push_back(loop);
    }
    if (loops.size() != 1) {
      // One set of rings, whose fills are numbered through: a second loop would have to go on counting.
      return func.emitOpError("expected one loop over blocks of products' operands, got ") << loops.size();
    }

    for (LoadOp load : operandLoads(*loops.front().getBody())) {
      if (load.getWhere()) {
        return load.emitOpError("expected no rows to be left out: TMA copies whole blocks");
      }
    }

    b.setInsertionPoint(entry.getTerminator());
    auto roles = RolesOp::create(b);
    Block &producer = roles.getProducer().emplaceBlock(), &consumer = roles.getConsumer().emplaceBlock();
    produce(producer, ahead, loops.front());
    SmallVector<Operation *> work;
    for (Operation &op : entry.without_terminator()) {
      if (&op != roles && usesTiles(&op)) {
        work.push_back(&op);
      }
    }
    for (Operation *op : work) {
      op->moveBefore(&consumer, consumer.end());
    }
    consume(ahead, loops.front());
    return success();
  }

  unsigned numRings = 0;

private:
  Value constant(int64_t value) { return arith::ConstantIndexOp::create(b, value); }

  Value makeRing(LoadOp load, int64_t count) {
    auto type = cast<RankedTensorType>(load.getTile().getType());
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&func.getBody().front());
    auto shared = SharedType::get(b.getContext(), type.getDimSize(0), type.getDimSize(1), type.getElementType(), count);
    Value ring = AllocSharedOp::create(b, shared);
    rings[load] = ring;
    ++numRings;
    return ring;
  }

  /// The number of the loop's block `block`: how many came before it.
  Value numberOf(scf::ForOp loop, Value block) {
    return b.createOrFold<arith::SubIOp>(block, loop.getLowerBound());
  }

  /// The producer: all that is read ahead of the loop, then the loop's blocks in the order in which they are read.
  void produce(Block &block, ArrayRef<LoadOp> ahead, scf::ForOp loop) {
    b.setInsertionPointToStart(&block);
    for (LoadOp load : ahead) {
      Value ring = makeRing(load, stagesAhead);
      FillOp::create(b, load.getView(), load.getIndices(), load.getBounds(), ring, constant(0));
    }
    auto fills = scf::ForOp::create(b, loop.getLowerBound(), loop.getUpperBound(), loop.getStep());
    b.setInsertionPointToStart(fills.getBody());
    Value number = numberOf(loop, fills.getInductionVar());
    IRMapping mapping;
    mapping.map(loop.getInductionVar(), fills.getInductionVar());
    for (LoadOp load : operandLoads(*loop.getBody())) {
      Value ring = makeRing(load, stages);
      SmallVector<Value> indices;
      for (Value old : load.getIndices()) {
        indices.push_back(recompute(b, old, loop, mapping));
      }
      FillOp::create(b, load.getView(), indices, load.getBounds(), ring, number);
    }
  }

  void take(LoadOp load, Value number) {
    Value ring = rings.lookup(load);
    auto type = cast<SharedType>(ring.getType());
    auto one = SharedType::get(b.getContext(), type.getRows(), type.getCols(), type.getElementType(), 1);
    Value buffer = TakeOp::create(b, one, ring, number);
    load.getTile().replaceAllUsesWith(buffer);
    load->erase();
  }

  void consume(ArrayRef<LoadOp> ahead, scf::ForOp loop) {
    for (LoadOp load : ahead) {
      b.setInsertionPoint(load);
      Value first = constant(0);
      b.setInsertionPointAfter(loop);
      ReleaseOp::create(b, rings.lookup(load), first);
      b.setInsertionPoint(load);
      take(load, first);
    }
    b.setInsertionPointToStart(loop.getBody());
    Value number = numberOf(loop, loop.getInductionVar());
    for (LoadOp load : operandLoads(*loop.getBody())) {
      Operation *lastReader = nullptr;
      for (Operation *user : load->getUsers()) {
        lastReader = !lastReader || lastReader->isBeforeInBlock(user) ? user : lastReader;
      }
      b.setInsertionPointAfter(lastReader);
      ReleaseOp::create(b, rings.lookup(load), number);
      b.setInsertionPoint(load);
      take(load, number);
    }
  }

  func::FuncOp func;
  int64_t stages;      ///< of rings that the loop fills
  int64_t stagesAhead; ///< of the others: of persistent blocks, for queries of more than one program
  ImplicitLocOpBuilder b;
  DenseMap<Operation *, Value> rings; ///< by load
};

class TileSpecializeWarpsPass : public tilewright::tile::impl::TileSpecializeWarpsBase<TileSpecializeWarpsPass> {
public:
  void runOnOperation() override {
    func::FuncOp func = getOperation();
    auto target = func->getAttrOfType<GpuTargetAttr>(kTargetAttr);
    if (!func->hasAttr(kKernelAttr) || !target || target.getFamily() != kSm90aFamily) {
      return;
    }
    auto schedule = func->getAttrOfType<GpuScheduleAttr>(kScheduleAttr);
    if (!schedule) {
      func.emitOpError("expected the attribute ") << kScheduleAttr << " (#tile.gpu_schedule)";
      return signalPassFailure();
    }
    Specializer specializer(func, schedule);
    if (failed(specializer.run())) {
      return signalPassFailure();
    }
    numRings += specializer.numRings;
  }
};

} // namespace
