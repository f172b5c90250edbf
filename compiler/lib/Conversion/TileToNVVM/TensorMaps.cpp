// SPDX-License-Identifier: Apache-2.0
//
// What TMA copies between tensors and shared memory (the sm_90a family): blocks by their coordinates in a tensor map.
// How they lie in shared memory: WarpRoles.cpp.
#include "Lowering.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile2nvvm;

namespace {

/// Dimensions of tensors (batch, seqlen, heads, head dim) in the order of their maps (runtime/lib/cuda/TensorMaps.cpp):
/// what a block's columns and rows run along comes first.
constexpr unsigned kRowDim = 1, kColDim = 3;
constexpr std::array<unsigned, 4> kTensorMapDims = {kColDim, kRowDim, 2, 0};

/// A tensor's block in the terms of its tensor map: the kernel's pointer argument, and a coordinate in each dimension.
struct TensorPlace {
  BlockArgument base;
  std::array<Value, 4> coordinates; ///< null: 0
};

/// The argument that `stride` is, as it came or cast to index.
BlockArgument strideArgument(Value stride) {
  if (auto cast = stride.getDefiningOp<arith::IndexCastOp>()) {
    stride = cast.getIn();
  }
  return dyn_cast<BlockArgument>(stride);
}

/// Reads a view's address as coordinates: an argument's strides follow its pointer, and the offset is a sum of
/// coordinates times strides.
class PlaceReader {
public:
  explicit PlaceReader(tile::ViewOp view) : view(view) {}

  FailureOr<TensorPlace> read() {
    place.base = dyn_cast<BlockArgument>(view.getBase());
    if (!place.base) {
      return view.emitOpError("expected its pointer to be an argument: TMA copies what a tensor map describes");
    }
    std::optional<unsigned> row = dimensionOf(view.getStrides()[0]);
    if (row != kRowDim || failed(readTerm(view.getOffset()))) {
      return view.emitOpError("expected an offset of coordinates times the tensor's strides, and rows along its "
                              "dimension 1: TMA copies what a tensor map describes");
    }
    return place;
  }

private:
  std::optional<unsigned> dimensionOf(Value stride) {
    BlockArgument argument = strideArgument(stride);
    if (!argument || argument.getArgNumber() <= place.base.getArgNumber() ||
        argument.getArgNumber() > place.base.getArgNumber() + 4) {
      return std::nullopt;
    }
    return argument.getArgNumber() - place.base.getArgNumber() - 1;
  }

  LogicalResult readTerm(Value term) {
    if (matchPattern(term, m_Zero())) {
      return success();
    }
    if (auto sum = term.getDefiningOp<arith::AddIOp>()) {
      return failure(failed(readTerm(sum.getLhs())) || failed(readTerm(sum.getRhs())));
    }
    auto product = term.getDefiningOp<arith::MulIOp>();
    if (!product) {
      return failure();
    }
    Value coordinate = product.getLhs();
    std::optional<unsigned> dim = dimensionOf(product.getRhs());
    if (!dim) {
      coordinate = product.getRhs();
      dim = dimensionOf(product.getLhs());
    }
    if (!dim || place.coordinates[*dim]) {
      return failure();
    }
    place.coordinates[*dim] = coordinate;
    return success();
  }

  tile::ViewOp view;
  TensorPlace place;
};

} // namespace

SmallVector<BlockArgument> tile2nvvm::mappedTensors(func::FuncOp func) {
  SmallVector<BlockArgument> tensors;
  auto add = [&](Value view) {
    auto base = dyn_cast<BlockArgument>(view.getDefiningOp<tile::ViewOp>().getBase());
    if (base && !llvm::is_contained(tensors, base)) {
      tensors.push_back(base);
    }
  };
  func.walk([&](tile::FillOp fill) { add(fill.getView()); });
  func.walk([&](tile::BulkStoreOp store) { add(store.getView()); });
  llvm::sort(tensors, [](BlockArgument a, BlockArgument b) { return a.getArgNumber() < b.getArgNumber(); });
  return tensors;
}

/// The first copies would wait for their maps else: asked for before anything is computed.
void FunctionLowering::prefetchTensorMaps(ValueRange maps) {
  ifThen(arith::CmpIOp::create(b, arith::CmpIPredicate::eq, thread, i32(0)), [&] {
    for (Value map : maps) {
      NVVM::PrefetchOp::create(b, NVVM::PrefetchCacheLevelAttr(), NVVM::CacheEvictionPriorityAttr(), map, Value(),
                               /*tensormap=*/b.getUnitAttr());
    }
  });
}

SmallVector<Value> FunctionLowering::MapPlace::ofBox(ImplicitLocOpBuilder &b, int64_t box) const {
  SmallVector<Value> result(coordinates);
  Value columns = arith::ConstantOp::create(b, b.getI32IntegerAttr(box * kTmaBoxColumns));
  result.front() = arith::AddIOp::create(b, result.front(), columns);
  return result;
}

FailureOr<FunctionLowering::MapPlace> FunctionLowering::placeInMap(Value viewed, ValueRange indices) {
  FailureOr<TensorPlace> place = PlaceReader(viewed.getDefiningOp<tile::ViewOp>()).read();
  if (failed(place)) {
    return failure();
  }
  MapPlace result{tensorMaps.lookup(place->base), {}};
  for (unsigned dim : kTensorMapDims) {
    Value old = place->coordinates[dim];
    Value coordinate = old ? toI32(old) : i32(0);
    if (dim == kRowDim || dim == kColDim) {
      coordinate = arith::AddIOp::create(b, coordinate, toI32(indices[dim == kRowDim ? 0 : 1]));
    }
    result.coordinates.push_back(coordinate);
  }
  return result;
}

LogicalResult FunctionLowering::lowerFill(tile::FillOp op) {
  SharedBuffer ring = sharedBuffers.find(op.getRing())->second;
  FailureOr<MapPlace> place = placeInMap(op.getView(), op.getIndices());
  if (failed(place)) {
    return failure();
  }
  RingPosition position = positionOf(ring, op.getNumber());
  // A buffer's first fill finds a barrier of which no phase has ended: to wait for the one before returns at once.
  waitBarrier(barrierOf(ring, true, position.slot), arith::XOrIOp::create(b, position.parity, i32(1)));
  Value full = barrierOf(ring, false, position.slot);
  NVVM::MBarrierArriveExpectTxOp::create(b, Type(), full, i32(ring.bytes()), NVVM::MemScopeKind::CTA,
                                         /*relaxed=*/false, Value());
  ring.slotBytes = arith::MulIOp::create(b, position.slot, i32(ring.bytes()));
  auto clusterMemory = LLVM::LLVMPointerType::get(b.getContext(), 7);
  for (int64_t box = 0; box < ring.boxes(); ++box) {
    SmallVector<Value> coordinates = place->ofBox(b, box);
    Value target = LLVM::AddrSpaceCastOp::create(b, clusterMemory, sharedAddress(ring, {}, box * ring.boxBytes));
    NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(
        b, target, place->map, coordinates, full, ValueRange{}, Value(), Value(), NVVM::TMALoadMode::TILE,
        /*isCTAOnly=*/false, NVVM::CTAGroupKindAttr(), Value());
  }
  return success();
}

/// Each warp's sixteen rows are a copy of their own, so that its first lane, which starts it, also waits for it and
/// then releases the buffer, as for any other.
LogicalResult FunctionLowering::lowerBulkStore(tile::BulkStoreOp op) {
  FailureOr<MapPlace> place = placeInMap(op.getView(), op.getIndices());
  if (failed(place)) {
    return failure();
  }
  const SharedBuffer &buffer = sharedBuffers.find(op.getThrough())->second;
  ArrayRef<Value> values = fragmentOf(op.getTile());
  const int64_t cols = cast<RankedTensorType>(op.getTile().getType()).getDimSize(1), units = groupsOf(cols);

  // The last product that reads the buffer has been awaited by each warp for itself, and reads rows of all four.
  Value group = arith::ShRUIOp::create(b, warp, i32(2));
  Value id = arith::AddIOp::create(b, group, i32(kFirstStoreBarrier));
  NVVM::BarrierOp::create(b, TypeRange{}, id, i32(kWarpgroup), NVVM::BarrierReductionAttr(), Value());

  // Lane l names row l % 8 of matrix l / 8: (rows 0-7, first unit), (rows 8-15, first), (rows 0-7, second), ...
  Value firstRow = arith::MulIOp::create(b, warp, i32(kTmaStoreRows));
  Value row = arith::AddIOp::create(b, firstRow, arith::AndIOp::create(b, lane, i32(15)));
  Value start = arith::MulIOp::create(b, row, i32(kBoxBytes));
  Value swizzle = arith::AndIOp::create(b, lane, i32(7));
  Value second = arith::ShRUIOp::create(b, lane, i32(4));
  const auto shape = NVVM::LdStMatrixShapeAttr::get(b.getContext(), 8, 8);
  for (int64_t unit = 0; unit < units; unit += 2) {
    const int64_t box = unit * 8 / kTmaBoxColumns, inBox = unit % 8;
    SmallVector<Value> sources(values.slice(2 * unit, unit + 1 < units ? 4 : 2));
    Value inRow = arith::XOrIOp::create(b, arith::AddIOp::create(b, second, i32(inBox)), swizzle);
    Value bytes = arith::AddIOp::create(b, start, arith::MulIOp::create(b, inRow, i32(16)));
    NVVM::StMatrixOp::create(b, sharedAddress(buffer, bytes, box * buffer.boxBytes), sources, NVVM::MMALayout::row,
                             shape, NVVM::LdStMatrixEltType::B16);
  }
  NVVM::FenceProxyOp::create(b, NVVM::ProxyKind::async_shared,
                             NVVM::SharedSpaceAttr::get(b.getContext(), NVVM::SharedSpace::shared_cta));
  NVVM::SyncWarpOp::create(b, i32(-1));
  ifThen(arith::CmpIOp::create(b, arith::CmpIPredicate::eq, lane, i32(0)), [&] {
    Value source = arith::MulIOp::create(b, firstRow, i32(kBoxBytes));
    for (int64_t box = 0; box * kTmaBoxColumns < cols; ++box) {
      SmallVector<Value> coordinates = place->ofBox(b, box);
      coordinates[1] = arith::AddIOp::create(b, coordinates[1], firstRow);
      NVVM::CpAsyncBulkTensorSharedCTAToGlobalOp::create(b, place->map,
                                                         sharedAddress(buffer, source, box * buffer.boxBytes),
                                                         coordinates, Value(), NVVM::TMAStoreMode::TILE, Value());
    }
    NVVM::CpAsyncBulkCommitGroupOp::create(b);
    NVVM::CpAsyncBulkWaitGroupOp::create(b, 0, /*read=*/b.getUnitAttr());
  });
  return success();
}
