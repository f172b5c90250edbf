// SPDX-License-Identifier: Apache-2.0
//
// tile-bulk-stores: outputs leave through shared memory. See Passes.td.
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Dialect/Tile/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace tilewright::tile {
#define GEN_PASS_DEF_TILEBULKSTORES
#include "tilewright/Dialect/Tile/Transforms/Passes.h.inc"
} // namespace tilewright::tile

#define DEBUG_TYPE "tile-bulk-stores"

using namespace mlir;
using namespace tilewright::tile;

namespace {

/// Whether TMA can write the tile of `store` from what `take` names.
bool canWriteFrom(TakeOp take, StoreOp store) {
  auto tile = cast<RankedTensorType>(store.getTile().getType());
  ViewType view = store.getView().getType();
  return take->isBeforeInBlock(store) && view.getUnit() && view.getAlign() == 16 &&
         BulkStoreOp::hasRoom(take.getBuffer().getType(), tile) && tile.getDimSize(1) % 8 == 0;
}

class TileBulkStoresPass : public tilewright::tile::impl::TileBulkStoresBase<TileBulkStoresPass> {
public:
  void runOnOperation() override {
    auto schedule = getOperation()->getAttrOfType<GpuScheduleAttr>(kScheduleAttr);
    if (!schedule || !schedule.getBulkStores()) {
      return;
    }
    WalkResult result = getOperation().walk([&](RolesOp roles) {
      return failed(stage(roles.getConsumer().front())) ? WalkResult::interrupt() : WalkResult::advance();
    });
    if (result.wasInterrupted()) {
      signalPassFailure();
    }
  }

private:
  LogicalResult stage(Block &consumer) {
    for (auto store : llvm::make_early_inc_range(consumer.getOps<StoreOp>())) {
      if (cast<RankedTensorType>(store.getTile().getType()).getRank() != 2) {
        continue;
      }
      auto takes = consumer.getOps<TakeOp>();
      auto taken = llvm::find_if(takes, [&](TakeOp take) { return canWriteFrom(take, store); });
      if (taken == takes.end()) {
        return store.emitOpError("expected a buffer that was filled ahead of the loop and has room for it, and rows "
                                 "aligned to 16 bytes: the schedule's bulk_stores go through the queries' buffer");
      }
      replace(store, *taken, consumer);
    }
    return success();
  }

  /// The buffer is given back behind the store.
  void replace(StoreOp store, TakeOp taken, Block &consumer) {
    consumer.walk([&](ReleaseOp release) {
      if (release.getRing() == taken.getRing()) {
        release->erase();
      }
    });
    ImplicitLocOpBuilder b(store.getLoc(), store);
    BulkStoreOp::create(b, store.getTile(), store.getView(), store.getIndices(), store.getBounds(), taken.getBuffer());
    ReleaseOp::create(b, taken.getRing(), taken.getNumber());
    store->erase();
    ++numStores;
  }
};

} // namespace
