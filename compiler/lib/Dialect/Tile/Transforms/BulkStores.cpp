// SPDX-License-Identifier: Apache-2.0
//
// tile-bulk-stores: outputs leave through shared memory. See Passes.td.
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Dialect/Tile/Transforms/Passes.h"
#include "tilewright/Target/GpuTarget.h"
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

/// Whether TMA can write the tile of `store` from a buffer like this one.
bool fits(StoreOp store, SharedType buffer) {
  auto tile = cast<RankedTensorType>(store.getTile().getType());
  ViewType view = store.getView().getType();
  return view.getUnit() && view.getAlign() == 16 && tile.getDimSize(1) % 8 == 0 &&
         buffer.getRows() == tile.getDimSize(0) && buffer.getElementType() == tile.getElementType() &&
         tilewright::gpuBoxedPitch(tile.getDimSize(1)) <= tilewright::gpuBoxedPitch(buffer.getCols());
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
    SmallVector<StoreOp> stores;
    for (auto store : consumer.getOps<StoreOp>()) {
      if (cast<RankedTensorType>(store.getTile().getType()).getRank() == 2) {
        stores.push_back(store);
      }
    }
    for (StoreOp store : stores) {
      TakeOp taken;
      for (auto take : consumer.getOps<TakeOp>()) {
        if (!taken && take->isBeforeInBlock(store) && fits(store, take.getBuffer().getType())) {
          taken = take;
        }
      }
      if (!taken) {
        return store.emitOpError("expected a buffer that was filled ahead of the loop and has room for it, and rows "
                                 "aligned to 16 bytes: the schedule's bulk_stores go through the queries' buffer");
      }
      replace(store, taken, consumer);
    }
    return success();
  }

  /// The buffer is given back behind the store.
  void replace(StoreOp store, TakeOp taken, Block &consumer) {
    SmallVector<ReleaseOp> releases;
    consumer.walk([&](ReleaseOp release) {
      if (release.getRing() == taken.getRing()) {
        releases.push_back(release);
      }
    });
    for (ReleaseOp release : releases) {
      release->erase();
    }
    ImplicitLocOpBuilder b(store.getLoc(), store);
    BulkStoreOp::create(b, store.getTile(), store.getView(), store.getIndices(), store.getBounds(), taken.getBuffer());
    ReleaseOp::create(b, taken.getRing(), taken.getNumber());
    store->erase();
    ++numStores;
  }
};

} // namespace
