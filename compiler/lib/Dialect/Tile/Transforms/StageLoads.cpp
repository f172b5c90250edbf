// SPDX-License-Identifier: Apache-2.0
//
// tile-stage-loads: operands of products, and matrices that join the scores, come through shared memory, copied while
// the step before computes. See Passes.td.
#include "BlockLoads.h"
#include "tilewright/Dialect/Tile/Transforms/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Matchers.h"

namespace tilewright::tile {
#define GEN_PASS_DEF_TILESTAGELOADS
#include "tilewright/Dialect/Tile/Transforms/Passes.h.inc"
} // namespace tilewright::tile

#define DEBUG_TYPE "tile-stage-loads"

using namespace mlir;
using namespace tilewright::tile;

namespace {

/// A matrix that joins the scores of the products which read `first`: floats, in rows that cp.async can copy. A row
/// that serves for all (stride 0) is read where it lies: copies would repeat it in shared memory.
bool joinsScores(LoadOp load, LoadOp first) {
  auto loop = dyn_cast<scf::ForOp>(load->getParentOp());
  auto tile = cast<RankedTensorType>(load.getTile().getType());
  if (!loop || !load.getAnyPastEnd() || tile.getRank() != 2 || !isa<FloatType>(tile.getElementType()) ||
      tile.getDimSize(1) % 16 != 0) {
    return false;
  }
  int64_t elementBytes = tile.getElementTypeBitWidth() / 8;
  ViewType type = load.getView().getType();
  if (!type.getUnit() || std::max<int64_t>(type.getAlign(), elementBytes) < 4) {
    return false;
  }
  auto view = load.getView().getDefiningOp<ViewOp>();
  if (load.getView().getParentBlock() == loop.getBody() || (view && matchPattern(view.getStrides()[0], m_Zero())) ||
      !llvm::all_of(load.getIndices(), [&](Value index) { return canRecompute(index, loop); })) {
    return false;
  }
  // Threads meet after those products, by then it has arrived.
  return llvm::all_of(first->getUsers(), [&](Operation *user) {
    return user->getBlock() == load->getBlock() && user->isBeforeInBlock(load);
  });
}

/// In program order; the first feeds products.
SmallVector<LoadOp> stagedLoads(Block &block) {
  SmallVector<LoadOp> loads;
  for (auto load : block.getOps<LoadOp>()) {
    if (feedsDots(load) || (!loads.empty() && joinsScores(load, loads.front()))) {
      loads.push_back(load);
    }
  }
  return loads;
}

/// Loops over consecutive parts of one range, each with the same loads.
struct Chain {
  SmallVector<scf::ForOp> loops;
  SmallVector<SmallVector<bool>> bounds; ///< of each load of the body: the strictest of all loops
  SmallVector<Value> buffers;
};

class Stager {
public:
  Stager(func::FuncOp func, int64_t stages) : func(func), stages(stages), b(func.getLoc(), func.getContext()) {}

  FailureOr<unsigned> run() {
    if (func.isExternal()) {
      func.emitOpError("expected a body");
      return failure();
    }
    Block &entry = func.getBody().front();
    SmallVector<LoadOp> ahead = stagedLoads(entry);
    for (LoadOp load : ahead) {
      if (load.getWhere()) {
        load.emitOpError("expected a load whose rows are chosen to stand in a loop, beside its readers");
        return failure();
      }
    }
    chains = findChains(entry);
    for (const Chain &chain : chains) {
      for (scf::ForOp loop : chain.loops) {
        // Copies of a ring have arrived when a step begins; of one buffer, the step itself awaits them.
        if (failed(checkLoads(loop, stagedLoads(*loop.getBody()), /*nested=*/stages > 1))) {
          return failure();
        }
      }
    }
    for (LoadOp load : ahead) {
      stageOutside(load);
    }
    for (Chain &chain : chains) {
      stageChain(chain);
      freeBuffers.append(chain.buffers);
    }
    stageStores(entry);
    return staged;
  }

private:
  Value makeBuffer(LoadOp load, int64_t stages = 1) {
    auto type = cast<RankedTensorType>(load.getTile().getType());
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&func.getBody().front());
    auto shared = SharedType::get(b.getContext(), type.getDimSize(0), type.getDimSize(1), type.getElementType(),
                                  stages);
    return AllocSharedOp::create(b, shared);
  }

  /// A chain's buffer: one of an earlier chain's, which is done with it, if one fits.
  Value chainBuffer(LoadOp load) {
    auto type = cast<RankedTensorType>(load.getTile().getType());
    for (Value buffer : freeBuffers) {
      auto shared = cast<SharedType>(buffer.getType());
      if (shared.getRows() == type.getDimSize(0) && shared.getCols() == type.getDimSize(1) &&
          shared.getElementType() == type.getElementType()) {
        llvm::erase(freeBuffers, buffer);
        return buffer;
      }
    }
    return makeBuffer(load, stages);
  }

  /// Products read the buffer themselves; others, what is read from it where the load stood.
  void replaceByBuffer(LoadOp load, Value buffer) {
    if (load.getWhere()) {
      // Right before the first product that reads it, or the branch that holds it, when the copy has arrived.
      Operation *reader = nullptr;
      for (Operation *user : load->getUsers()) {
        Operation *place = load->getBlock()->findAncestorOpInBlock(*user);
        reader = !reader || place->isBeforeInBlock(reader) ? place : reader;
      }
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPoint(reader);
      ClearRowsOp::create(b, buffer, load.getWhere(), load.getIndices()[0], load.getWhen());
    }
    if (!feedsDots(load)) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPoint(load);
      buffer = LoadSharedOp::create(b, load.getTile().getType(), buffer);
    }
    load.getTile().replaceAllUsesWith(buffer);
    load->erase();
    ++staged;
  }

  /// Started where it stood; awaited with the first copy of the chain, or at once if there is none.
  void stageOutside(LoadOp load) {
    Value buffer = makeBuffer(load);
    outsideBuffers.push_back(buffer);
    b.setInsertionPoint(load);
    AsyncLoadOp::create(b, load.getView(), load.getIndices(), load.getBounds(), buffer);
    replaceByBuffer(load, buffer);
  }

  /// A store of a whole tile after the loops may use a buffer that was read before them: nobody needs it any more once
  /// all threads have come here, and no copy still writes it once all have arrived (a loop without iterations awaits
  /// none).
  void stageStores(Block &block) {
    for (auto store : block.getOps<StoreOp>()) {
      auto tile = cast<RankedTensorType>(store.getTile().getType());
      for (Value buffer : outsideBuffers) {
        auto type = cast<SharedType>(buffer.getType());
        if (tile.getRank() == 2 && type.getRows() == tile.getDimSize(0) && type.getCols() >= tile.getDimSize(1) &&
            type.getElementType() == tile.getElementType()) {
          b.setInsertionPoint(store);
          awaitAll();
          store.getThroughMutable().assign(buffer);
          return; // one: a second store would have to wait for the first
        }
      }
    }
  }

  SmallVector<Chain> findChains(Block &block) {
    SmallVector<Chain> chains;
    for (auto loop : block.getOps<scf::ForOp>()) {
      SmallVector<LoadOp> loads = stagedLoads(*loop.getBody());
      if (loads.empty()) {
        continue;
      }
      bool continues = !chains.empty() && chains.back().loops.back().getUpperBound() == loop.getLowerBound() &&
                       chains.back().bounds.size() == loads.size();
      if (!continues) {
        chains.emplace_back();
        chains.back().bounds.resize(loads.size(), SmallVector<bool>{false, false});
      }
      Chain &chain = chains.back();
      chain.loops.push_back(loop);
      for (auto [bounds, load] : llvm::zip(chain.bounds, loads)) {
        for (unsigned i = 0; i < 2; ++i) {
          bounds[i] |= load.getBounds()[i];
        }
      }
    }
    return chains;
  }

  /// Copies what `load` reads for the block `index`, given the loop it is in: its address computation is repeated with
  /// another induction variable.
  void startCopy(LoadOp load, scf::ForOp loop, Value index, ArrayRef<bool> bounds, Value buffer) {
    IRMapping mapping;
    mapping.map(loop.getInductionVar(), index);
    SmallVector<Value> indices;
    for (Value old : load.getIndices()) {
      indices.push_back(recompute(b, old, loop, mapping));
    }
    AsyncLoadOp::create(b, load.getView(), indices, bounds, buffer);
  }

  void stageChain(Chain &chain) {
    scf::ForOp first = chain.loops.front(), last = chain.loops.back();
    Value begin = first.getLowerBound(), end = last.getUpperBound();
    SmallVector<LoadOp> firstLoads = stagedLoads(*first.getBody());
    b.setInsertionPoint(first);
    for (LoadOp load : firstLoads) {
      chain.buffers.push_back(chainBuffer(load));
    }
    if (&chain != &chains.front()) {
      awaitAll(); // the chain before may still be read, by threads that are behind
    }
    if (stages > 1) {
      // The first blocks' copies, a group a block: a group may be empty, but their number is what waits count.
      for (int64_t stage = 0; stage + 1 < stages; ++stage) {
        Value block = b.createOrFold<arith::AddIOp>(begin, times(first.getStep(), stage));
        startBlock(chain, first, block, end, constant(stage));
      }
      for (scf::ForOp loop : chain.loops) {
        stageRing(chain, loop, begin, end);
      }
      return;
    }
    // The first copy of all, if there is any block.
    ifLess(begin, end, [&] { startCopy(firstLoads[0], first, begin, chain.bounds[0], chain.buffers[0]); });
    for (scf::ForOp loop : chain.loops) {
      stageBody(chain, loop, end);
    }
  }

  Value constant(int64_t value) { return arith::ConstantIndexOp::create(b, value); }
  Value times(Value step, int64_t factor) { return b.createOrFold<arith::MulIOp>(step, constant(factor)); }

  void ifLess(Value a, Value limit, function_ref<void()> body) {
    Value less = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, a, limit);
    auto ifOp = scf::IfOp::create(b, less, /*withElseRegion=*/false);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(ifOp.thenBlock());
    body();
  }

  void awaitAll() {
    CommitLoadsOp::create(b);
    AwaitLoadsOp::create(b);
  }

  Value slotOf(Value ring, Value index) {
    auto type = cast<SharedType>(ring.getType());
    auto one = SharedType::get(b.getContext(), type.getRows(), type.getCols(), type.getElementType(), 1);
    return SlotOp::create(b, one, ring, index);
  }

  /// Starts all copies of the loop's block `block`, if there is one, as a group.
  void startBlock(Chain &chain, scf::ForOp loop, Value block, Value end, Value slot) {
    SmallVector<LoadOp> loads = stagedLoads(*loop.getBody());
    ifLess(block, end, [&] {
      // Addresses first, copies behind them: those of the same rows can then be lowered as one.
      IRMapping mapping;
      mapping.map(loop.getInductionVar(), block);
      SmallVector<SmallVector<Value>> indices(loads.size());
      SmallVector<Value> slots;
      for (auto [i, load] : llvm::enumerate(loads)) {
        for (Value old : load.getIndices()) {
          indices[i].push_back(recompute(b, old, loop, mapping));
        }
        slots.push_back(slotOf(chain.buffers[i], slot));
      }
      for (auto [i, load] : llvm::enumerate(loads)) {
        AsyncLoadOp::create(b, load.getView(), indices[i], chain.bounds[i], slots[i]);
      }
    });
    CommitLoadsOp::create(b);
  }

  /// A ring: one barrier an iteration. When all threads have come to iteration n, all are done with the slot of
  /// iteration n - 1, and that is the one which block n + stages - 1 goes to.
  void stageRing(Chain &chain, scf::ForOp loop, Value begin, Value end) {
    SmallVector<LoadOp> loads = stagedLoads(*loop.getBody());
    b.setInsertionPointToStart(loop.getBody());
    AwaitLoadsOp::create(b, stages - 2);
    Value passed = b.createOrFold<arith::SubIOp>(loop.getInductionVar(), begin);
    Value number = b.createOrFold<arith::DivUIOp>(passed, loop.getStep());
    Value slot = b.createOrFold<arith::RemUIOp>(number, constant(stages));
    Value ahead = arith::AddIOp::create(b, number, constant(stages - 1));
    Value block = arith::AddIOp::create(b, loop.getInductionVar(), times(loop.getStep(), stages - 1));
    startBlock(chain, loop, block, end, arith::RemUIOp::create(b, ahead, constant(stages)));
    for (auto [load, ring] : llvm::zip(loads, chain.buffers)) {
      replaceByBuffer(load, slotOf(ring, slot));
    }
  }

  void stageBody(Chain &chain, scf::ForOp loop, Value end) {
    SmallVector<LoadOp> loads = stagedLoads(*loop.getBody());
    // What this iteration needs first has arrived, and nobody reads the other buffers any more: refill those.
    b.setInsertionPointToStart(loop.getBody());
    awaitAll();
    for (size_t i = 1; i < loads.size(); ++i) {
      startCopy(loads[i], loop, loop.getInductionVar(), chain.bounds[i], chain.buffers[i]);
    }
    // After the last product that reads the first buffer: await the other copies, then start the next block's first.
    Operation *lastReader = nullptr;
    for (Operation *user : loads[0]->getUsers()) {
      if (!lastReader || lastReader->isBeforeInBlock(user)) {
        lastReader = user;
      }
    }
    b.setInsertionPointAfter(lastReader);
    awaitAll();
    Value next = arith::AddIOp::create(b, loop.getInductionVar(), loop.getStep());
    ifLess(next, end, [&] { startCopy(loads[0], loop, next, chain.bounds[0], chain.buffers[0]); });
    for (auto [load, buffer] : llvm::zip(loads, chain.buffers)) {
      replaceByBuffer(load, buffer);
    }
  }

  func::FuncOp func;
  int64_t stages;
  ImplicitLocOpBuilder b;
  SmallVector<Chain> chains;
  SmallVector<Value> freeBuffers;    ///< of chains that are done
  SmallVector<Value> outsideBuffers; ///< of loads ahead of the loops
  unsigned staged = 0;
};

class TileStageLoadsPass : public tilewright::tile::impl::TileStageLoadsBase<TileStageLoadsPass> {
public:
  void runOnOperation() override {
    auto target = getOperation()->getAttrOfType<GpuTargetAttr>(kTargetAttr);
    if (!getOperation()->hasAttr(kKernelAttr) || (target && target.getFamily() == kSm90aFamily)) {
      return;
    }
    auto schedule = getOperation()->getAttrOfType<GpuScheduleAttr>(kScheduleAttr);
    FailureOr<unsigned> staged = Stager(getOperation(), schedule ? schedule.getStages() : 1).run();
    if (failed(staged)) {
      return signalPassFailure();
    }
    numStaged += *staged;
  }
};

} // namespace
