// SPDX-License-Identifier: Apache-2.0
//
// Verifiers of the tile dialect. Each message starts with the number of the constraint in TileOps.td that it checks.
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Target/GpuTarget.h"
#include "mlir/Interfaces/LoopLikeInterface.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile;

#define GET_OP_CLASSES
#include "tilewright/Dialect/Tile/IR/TileOps.cpp.inc"

LogicalResult CoordsOp::verify() {
  if (getCoords().size() != getSizes().size() + 1) {
    return emitOpError("tile.coords-C1: expected ")
           << getSizes().size() + 1 << " results for " << getSizes().size() << " sizes, got " << getCoords().size();
  }
  if (getTogether() && (!getHeavyLast() || getSizes().size() != 2)) {
    return emitOpError("tile.coords-C2: expected together only with heavy_last and two sizes");
  }
  return success();
}

LogicalResult ViewOp::verify() {
  unsigned rank = getView().getType().getRank();
  if (getSizes().size() != rank || getStrides().size() != rank) {
    return emitOpError("tile.view-C1: expected ") << rank << " sizes and strides, got " << getSizes().size() << " and "
                                                  << getStrides().size();
  }
  if (getBase().getType().getElementType() != getView().getType().getElementType()) {
    return emitOpError("tile.view-C2: expected a view of ")
           << getBase().getType().getElementType() << ", got " << getView().getType().getElementType();
  }
  return success();
}

/// Shared by load and store: the access fits the view.
static LogicalResult verifyAccess(Operation *op, StringRef constraint, ViewType view, unsigned indices,
                                  ArrayRef<bool> bounds, RankedTensorType tile) {
  if (indices != view.getRank() || bounds.size() != view.getRank()) {
    return op->emitOpError(constraint) << ": expected " << view.getRank() << " indices and bounds, got " << indices
                                       << " and " << bounds.size();
  }
  if (tile.getRank() != view.getRank() || tile.getElementType() != view.getElementType()) {
    return op->emitOpError(constraint) << ": expected a tile of rank " << view.getRank() << " and element type "
                                       << view.getElementType() << ", got " << tile;
  }
  return success();
}

static bool choosesRows(ViewType view) { return view.getRank() == 1 && view.getElementType().isInteger(8); }

LogicalResult LoadOp::verify() {
  auto tile = cast<RankedTensorType>(getTile().getType());
  if (static_cast<bool>(getWhere()) != static_cast<bool>(getWhen())) {
    return emitOpError("tile.load-C2: expected both `where` and `when` or neither");
  }
  if (Value where = getWhere(); where && (!choosesRows(cast<ViewType>(where.getType())) || tile.getRank() != 2)) {
    return emitOpError("tile.load-C2: expected rows of a rank-2 tile to be chosen by a rank-1 view of i8, got ")
           << tile << " and " << where.getType();
  }
  return verifyAccess(*this, "tile.load-C1", getView().getType(), getIndices().size(), getBounds(), tile);
}

LogicalResult ClearRowsOp::verify() {
  if (!choosesRows(getView().getType()) || getBuffer().getType().getStages() != 1) {
    return emitOpError("tile.clear_rows-C1: expected a rank-1 view of i8 and one buffer, got ")
           << getView().getType() << " and " << getBuffer().getType();
  }
  return success();
}

LogicalResult HullOp::verify() {
  ViewType view = getView().getType();
  if (!choosesRows(view)) {
    return emitOpError("tile.hull-C1: expected a rank-1 view of i8, got ") << view;
  }
  return success();
}

LogicalResult HideUnsetOp::verify() {
  ViewType view = getView().getType();
  if (!choosesRows(view)) {
    return emitOpError("tile.hide_unset-C1: expected a rank-1 view of i8, got ") << view;
  }
  return success();
}

template <typename Op> static LogicalResult verifySetElements(Op op, StringRef constraint) {
  if (!choosesRows(op.getView().getType()) || static_cast<int64_t>(op.getCount()) < 1) {
    return op.emitOpError(constraint) << ": expected a rank-1 view of i8 and a count of at least 1, got "
                                      << op.getView().getType() << " and " << op.getCount();
  }
  return success();
}

LogicalResult AllSetOp::verify() { return verifySetElements(*this, "tile.all_set-C1"); }
LogicalResult AnySetOp::verify() { return verifySetElements(*this, "tile.any_set-C1"); }

LogicalResult RandomBitsOp::verify() {
  auto tile = cast<RankedTensorType>(getResult().getType());
  if (tile.getRank() != 2) {
    return emitOpError("tile.random_bits-C1: expected a tile of rank 2, got ") << tile;
  }
  return success();
}

LogicalResult StoreOp::verify() {
  auto tile = cast<RankedTensorType>(getTile().getType());
  if (Value through = getThrough()) {
    auto buffer = cast<SharedType>(through.getType());
    if (tile.getRank() != 2 || buffer.getRows() != tile.getDimSize(0) || buffer.getCols() < tile.getDimSize(1) ||
        buffer.getElementType() != tile.getElementType() || buffer.getStages() != 1) {
      return emitOpError("tile.store-C2: expected one buffer that holds ") << tile << ", got " << buffer;
    }
  }
  return verifyAccess(*this, "tile.store-C1", getView().getType(), getIndices().size(), getBounds(), tile);
}

bool BulkStoreOp::hasRoom(SharedType buffer, RankedTensorType tile) {
  return tile.getRank() == 2 && buffer.getRows() == tile.getDimSize(0) &&
         gpuBoxedPitch(buffer.getCols()) >= gpuBoxedPitch(tile.getDimSize(1)) &&
         buffer.getElementType() == tile.getElementType() && buffer.getStages() == 1;
}

LogicalResult BulkStoreOp::verify() {
  auto tile = cast<RankedTensorType>(getTile().getType());
  if (!hasRoom(getThrough().getType(), tile)) {
    return emitOpError("tile.bulk_store-C2: expected one buffer with boxes that hold ")
           << tile << ", got " << getThrough().getType();
  }
  return verifyAccess(*this, "tile.bulk_store-C1", getView().getType(), getIndices().size(), getBounds(), tile);
}

LogicalResult LoadScalarOp::verify() {
  ViewType view = getView().getType();
  if (getIndices().size() != view.getRank() || getValue().getType() != view.getElementType()) {
    return emitOpError("tile.load_scalar-C1: expected ")
           << view.getRank() << " indices and a result of " << view.getElementType() << ", got "
           << getIndices().size() << " and " << getValue().getType();
  }
  return success();
}

/// Shape and element type of a product's operand, wherever it is held.
static RankedTensorType operandType(Type type) {
  if (auto shared = dyn_cast<SharedType>(type)) {
    return RankedTensorType::get({shared.getRows(), shared.getCols()}, shared.getElementType());
  }
  return cast<RankedTensorType>(type);
}

/// (M x K) (K x N) -> (M x N), of one element type.
static LogicalResult verifyProduct(Operation *op, StringRef constraint, Type left, Type right, Type accumulator,
                                   bool transA, bool transB) {
  RankedTensorType a = operandType(left);
  RankedTensorType b = operandType(right);
  auto acc = cast<RankedTensorType>(accumulator);
  if (a.getRank() != 2 || b.getRank() != 2 || acc.getRank() != 2 || a.getElementType() != b.getElementType()) {
    return op->emitOpError(constraint) << ": expected rank-2 operands, a and b of one element type, got "
                                       << a << ", " << b << " and " << acc;
  }
  int64_t m = a.getDimSize(transA ? 1 : 0), ka = a.getDimSize(transA ? 0 : 1);
  int64_t kb = b.getDimSize(transB ? 1 : 0), n = b.getDimSize(transB ? 0 : 1);
  if (ka != kb || acc.getDimSize(0) != m || acc.getDimSize(1) != n) {
    return op->emitOpError(constraint) << ": expected (M x K) (K x N) -> (M x N), got ("
                                       << m << " x " << ka << ") (" << kb << " x " << n << ") -> ("
                                       << acc.getDimSize(0) << " x " << acc.getDimSize(1) << ")";
  }
  return success();
}

LogicalResult DotOp::verify() {
  return verifyProduct(*this, "tile.dot-C1", getA().getType(), getB().getType(), getAcc().getType(), getTransA(),
                       getTransB());
}

LogicalResult StartDotOp::verify() {
  if (!getResult().hasOneUse() || !isa<AwaitDotOp>(*getResult().user_begin())) {
    return emitOpError("tile.start_dot-C2: expected tile.await_dot to be what reads the result, and nothing else");
  }
  return verifyProduct(*this, "tile.start_dot-C1", getA().getType(), getB().getType(), getAcc().getType(),
                       /*transA=*/false, getTransB());
}

LogicalResult TransposeOp::verify() {
  auto source = cast<RankedTensorType>(getSource().getType());
  auto result = cast<RankedTensorType>(getResult().getType());
  if (source.getRank() != 2 || result.getRank() != 2 || source.getElementType() != result.getElementType() ||
      source.getDimSize(0) != result.getDimSize(1) || source.getDimSize(1) != result.getDimSize(0)) {
    return emitOpError("tile.transpose-C1: expected the result to be the operand's shape reversed, got ")
           << source << " -> " << result;
  }
  return success();
}

/// `vector` is `tile` without dimension `axis`.
static bool dropsAxis(RankedTensorType tile, RankedTensorType vector, int64_t axis) {
  return tile.getRank() == 2 && vector.getRank() == 1 && (axis == 0 || axis == 1) &&
         tile.getDimSize(1 - axis) == vector.getDimSize(0) && tile.getElementType() == vector.getElementType();
}

LogicalResult ReduceOp::verify() {
  auto source = cast<RankedTensorType>(getSource().getType());
  auto result = cast<RankedTensorType>(getResult().getType());
  if (!dropsAxis(source, result, static_cast<int64_t>(getAxis()))) {
    return emitOpError("tile.reduce-C1: expected the operand without dimension ")
           << static_cast<int64_t>(getAxis()) << " as the result, got " << source << " -> " << result;
  }
  return success();
}

LogicalResult FoldOp::verify() {
  auto source = cast<RankedTensorType>(getSource().getType());
  auto acc = cast<RankedTensorType>(getAcc().getType());
  if (source.getRank() != 2 || acc.getRank() != 2 || source.getDimSize(0) != acc.getDimSize(0) ||
      source.getDimSize(1) % acc.getDimSize(1) != 0) {
    return emitOpError("tile.fold-C1: expected as many rows, and a multiple of the result's columns, got ")
           << source << " into " << acc;
  }
  return success();
}

LogicalResult RescaleOp::verify() {
  auto source = cast<RankedTensorType>(getSource().getType());
  auto factors = cast<RankedTensorType>(getFactors().getType());
  if (!dropsAxis(source, factors, 1)) {
    return emitOpError("tile.rescale-C1: expected a factor for each row, got ") << source << " and " << factors;
  }
  return success();
}

LogicalResult HideOp::verify() {
  auto source = cast<RankedTensorType>(getSource().getType());
  auto limits = cast<RankedTensorType>(getLimits().getType());
  if (source.getRank() != 2 || limits.getShape() != source.getShape().drop_back()) {
    return emitOpError("tile.hide-C1: expected a limit for each row, got ") << source << " and " << limits;
  }
  return success();
}

LogicalResult ScaledDifferenceOp::verify() {
  auto source = cast<RankedTensorType>(getSource().getType());
  auto reference = cast<RankedTensorType>(getReference().getType());
  if (!dropsAxis(source, reference, 1)) {
    return emitOpError("tile.scaled_difference-C1: expected a reference for each row, got ")
           << source << " and " << reference;
  }
  return success();
}

LogicalResult BroadcastOp::verify() {
  auto source = cast<RankedTensorType>(getSource().getType());
  auto result = cast<RankedTensorType>(getResult().getType());
  if (!dropsAxis(result, source, static_cast<int64_t>(getAxis()))) {
    return emitOpError("tile.broadcast-C1: expected the result without dimension ")
           << static_cast<int64_t>(getAxis()) << " as the operand, got " << source << " -> " << result;
  }
  return success();
}

LogicalResult IndexOp::verify() {
  int64_t rank = cast<RankedTensorType>(getResult().getType()).getRank();
  auto axis = static_cast<int64_t>(getAxis());
  if (axis < 0 || axis >= rank) {
    return emitOpError("tile.index-C1: expected an axis within 0..") << rank - 1 << ", got " << axis;
  }
  return success();
}

bool tile::isRepeatable(Operation *op) {
  return isa<SplatOp, IndexOp, BroadcastOp>(op) ||
         (op->hasTrait<OpTrait::ConstantLike>() && isa<RankedTensorType>(op->getResult(0).getType()));
}

ArrayRef<int64_t> tile::rowwiseShape(Operation *op) {
  if (auto reduce = dyn_cast<ReduceOp>(op)) {
    return cast<RankedTensorType>(reduce.getSource().getType()).getShape();
  }
  if (auto store = dyn_cast<StoreOp>(op)) {
    return cast<RankedTensorType>(store.getTile().getType()).getShape();
  }
  bool elementwise = op->hasTrait<OpTrait::Elementwise>() || isa<LoadOp, RandomBitsOp>(op);
  if (!elementwise || op->getNumResults() != 1) {
    return {};
  }
  auto type = dyn_cast<RankedTensorType>(op->getResult(0).getType());
  return type ? type.getShape() : ArrayRef<int64_t>();
}

LogicalResult FusedOp::verify() {
  if (getShape().empty() || getShape().size() > 2) {
    return emitOpError("tile.fused-C1: expected one or two dimensions, got ") << getShape().size();
  }
  Operation &last = getBody().front().back();
  if (!isa<YieldOp>(last) || last.getOperandTypes() != getResultTypes()) {
    return emitOpError("tile.fused-C2: expected tile.yield of (")
           << getResultTypes() << "), got " << last.getName() << " of (" << last.getOperandTypes() << ")";
  }
  llvm::SmallPtrSet<Operation *, 8> reduced; // reductions, and what repeats their values
  for (Operation &op : getBody().front().without_terminator()) {
    bool repeatable = isRepeatable(&op);
    ArrayRef<int64_t> shape = rowwiseShape(&op);
    if (!repeatable && shape != getShape()) {
      InFlightDiagnostic error = emitOpError("tile.fused-C3: expected row-wise operations over [");
      error << getShape() << "], got " << op.getName();
      if (!shape.empty()) {
        error << " over [" << shape << "]";
      }
      return error;
    }
    bool readsReduction = llvm::any_of(op.getOperands(), [&](Value operand) {
      return operand.getDefiningOp() && reduced.contains(operand.getDefiningOp());
    });
    if (readsReduction && !repeatable) {
      return emitOpError("tile.fused-C4: expected no operation to read a reduction of the group, but ")
             << op.getName() << " does";
    }
    if (readsReduction || isa<ReduceOp>(op)) {
      reduced.insert(&op);
    }
  }
  return success();
}

LogicalResult OnHalfOp::verify() {
  Operation &last = getBody().front().back();
  if (getNumResults() == 0) {
    return emitOpError("tile.on_half-C1: expected at least one kept tile");
  }
  if (!isa<YieldOp>(last) || last.getOperandTypes() != getResultTypes() || getKept().getTypes() != getResultTypes()) {
    return emitOpError("tile.on_half-C1: expected kept tiles and tile.yield of (")
           << getResultTypes() << "), got (" << getKept().getTypes() << ") and " << last.getName() << " of ("
           << last.getOperandTypes() << ")";
  }
  for (Type type : getResultTypes()) {
    const int64_t rows = cast<RankedTensorType>(type).getDimSize(0);
    if (rows % 2 != 0 || rows != cast<RankedTensorType>(getResultTypes().front()).getDimSize(0)) {
      return emitOpError("tile.on_half-C2: expected an even number of rows, the same in all tiles, got ") << type;
    }
  }
  WalkResult result = getBody().walk([&](Operation *op) -> WalkResult {
    auto reduce = dyn_cast<ReduceOp>(op);
    if (!isa<LoopLikeOpInterface, OnHalfOp, TransposeOp, StoreOp>(op) && !(reduce && reduce.getAxis() == 0)) {
      return success();
    }
    return emitOpError("tile.on_half-C3: expected no loop, half, transpose, reduction over rows or store, got ")
           << op->getName();
  });
  return failure(result.wasInterrupted());
}

/// The result is one buffer of the ring.
template <typename Op> static LogicalResult verifySlot(Op op, StringRef constraint) {
  SharedType ring = op.getRing().getType();
  auto expected = SharedType::get(op.getContext(), ring.getRows(), ring.getCols(), ring.getElementType(), 1);
  if (op.getBuffer().getType() != expected) {
    return op.emitOpError(constraint) << ": expected " << expected << ", got " << op.getBuffer().getType();
  }
  return success();
}

LogicalResult SlotOp::verify() { return verifySlot(*this, "tile.slot-C1"); }
LogicalResult TakeOp::verify() { return verifySlot(*this, "tile.take-C1"); }

LogicalResult FillOp::verify() {
  SharedType ring = getRing().getType();
  auto tile = RankedTensorType::get({ring.getRows(), ring.getCols()}, ring.getElementType());
  return verifyAccess(*this, "tile.fill-C1", getView().getType(), getIndices().size(), getBounds(), tile);
}

LogicalResult LoadSharedOp::verify() {
  SharedType buffer = getBuffer().getType();
  auto expected = RankedTensorType::get({buffer.getRows(), buffer.getCols()}, buffer.getElementType());
  if (buffer.getStages() != 1 || getTile().getType() != expected) {
    return emitOpError("tile.load_shared-C1: expected one buffer and a tile of its shape and element type, got ")
           << buffer << " and " << getTile().getType();
  }
  return success();
}

LogicalResult AwaitLoadsOp::verify() {
  if (static_cast<int64_t>(getPending()) < 0) {
    return emitOpError("tile.await_loads-C1: expected pending to be at least 0, got ")
           << static_cast<int64_t>(getPending());
  }
  return success();
}

LogicalResult AsyncLoadOp::verify() {
  SharedType buffer = getBuffer().getType();
  if (buffer.getStages() != 1) {
    return emitOpError("tile.async_load-C1: expected one buffer, got the ring ") << buffer;
  }
  auto tile = RankedTensorType::get({buffer.getRows(), buffer.getCols()}, buffer.getElementType());
  return verifyAccess(*this, "tile.async_load-C1", getView().getType(), getIndices().size(), getBounds(), tile);
}
