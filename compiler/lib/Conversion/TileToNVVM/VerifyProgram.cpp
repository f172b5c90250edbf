// SPDX-License-Identifier: Apache-2.0
//
// What a GPU has no code for is refused here, before anything is lowered: later on LLVM would abort the process, or the
// lowering would read fragments that do not exist.
#include "Lowering.h"
#include "tilewright/Target/GpuTarget.h"

using namespace mlir;
using namespace tilewright;

namespace {

bool isHalf(Type type) { return type.isF16() || type.isBF16(); }

/// Walks a kernel in program order; the first fault is reported on its operation.
class ProgramVerifier {
public:
  ProgramVerifier(func::FuncOp func, tile::GpuScheduleAttr schedule, tile::GpuTargetAttr target)
      : func(func), rowUnit(16 * schedule.getWarps()), warps(schedule.getWarps()), perSm(schedule.getPerSm()),
        sm(target.getSm()), roles(target.getFamily() == tile::kSm90aFamily) {}

  LogicalResult run() {
    if (func.isExternal() || !llvm::hasSingleElement(func.getBody()) || func.getNumResults() != 0) {
      return func.emitOpError("expected a body of one block and no results: a GPU starts it as a kernel");
    }
    if (failed(verifyRoles())) {
      return failure();
    }
    WalkResult result = func.getBody().walk<WalkOrder::PreOrder>([&](Operation *op) {
      return failed(verifyOp(op)) ? WalkResult::interrupt() : WalkResult::advance();
    });
    return failure(result.wasInterrupted() || failed(verifySharedBytes()));
  }

private:
  LogicalResult verifyOp(Operation *op);
  LogicalResult verifyValue(Operation *op, Value value);
  LogicalResult verifyDot(tile::DotOp op);
  LogicalResult verifyTruncate(arith::TruncFOp op);
  LogicalResult verifyLoadShared(tile::LoadSharedOp op);
  LogicalResult verifyWord(Operation *op, RankedTensorType tile);
  LogicalResult verifyRoles();
  LogicalResult verifyRoleProduct(Operation *op, Value a, Value b, Value acc, bool transA);
  LogicalResult verifySharedBytes();

  func::FuncOp func;
  int64_t rowUnit; ///< rows of one slab of every warp
  int64_t warps;
  int64_t perSm; ///< programs that are to fit an SM
  unsigned sm;
  bool roles; ///< of the sm_90a family
  int64_t sharedBytes = 0;
};

bool isRoleOp(Operation *op) {
  return isa<tile::RolesOp, tile::FillOp, tile::TakeOp, tile::ReleaseOp, tile::StartDotOp, tile::AwaitDotOp,
             tile::TakeTurnOp, tile::PassTurnOp, tile::ClaimProgramOp, tile::AnnounceProgramOp, tile::AwaitProgramOp,
             tile::BulkStoreOp>(op);
}

/// Operations that the conversion, and the passes behind it, have code for.
bool isKnown(Operation *op) {
  if (isa<arith::CeilDivSIOp, arith::CeilDivUIOp, arith::FloorDivSIOp>(op)) {
    return false; // no pass of the pipeline expands them
  }
  return isa<arith::ArithDialect>(op->getDialect()) ||
         isa<scf::ForOp, scf::IfOp, scf::WhileOp, scf::ConditionOp, scf::YieldOp, func::ReturnOp, tile::ProgramOp,
             tile::ViewOp, tile::LoadOp, tile::StoreOp, tile::LoadScalarOp, tile::DotOp, tile::ReduceOp,
             tile::BroadcastOp, tile::SplatOp, tile::IndexOp, tile::Exp2Op, tile::Log2Op, tile::FoldOp, tile::RescaleOp,
             tile::OnHalfOp, tile::YieldOp, tile::HideOp, tile::HideUnsetOp, tile::ScaledDifferenceOp, tile::HullOp,
             tile::AllSetOp, tile::AnySetOp, tile::RandomBitsOp, tile::AllocSharedOp, tile::SlotOp, tile::AsyncLoadOp,
             tile::LoadSharedOp, tile::ClearRowsOp, tile::CommitLoadsOp, tile::AwaitLoadsOp,
             tile::ProgramCountOp>(op) ||
         isRoleOp(op);
}

/// A value that `op` defines, as a result or as a block's argument.
LogicalResult ProgramVerifier::verifyValue(Operation *op, Value value) {
  Type type = value.getType();
  if (auto tile = dyn_cast<RankedTensorType>(type)) {
    if (!tile.hasStaticShape() || tile.getRank() < 1 || tile.getRank() > 2 || llvm::is_contained(tile.getShape(), 0)) {
      return op->emitOpError("expected tiles of one or two known dimensions, got ") << tile;
    }
    if (tile.getDimSize(0) % rowUnit != 0) {
      return op->emitOpError("expected rows to be a multiple of ")
             << rowUnit << ", 16 for each of " << warps << " warps, got " << tile;
    }
    Type element = tile.getElementType();
    const bool carried = roles && tile.getRank() == 2 && isa<scf::ForOp, scf::IfOp>(op);
    if (isHalf(element) && !isa<arith::TruncFOp, tile::LoadOp, tile::LoadSharedOp>(op) && !carried) {
      return op->emitOpError("expected 16-bit floats to come from arith.truncf or tile.load, got ") << tile;
    }
    if (element.isInteger(8) && (isa<tile::LoadOp>(op) || op->hasTrait<OpTrait::ConstantLike>())) {
      return success(); // bools in memory, and what they are compared with
    }
    if (!isHalf(element) && !element.isF32() && !element.isInteger(32) && !element.isInteger(1)) {
      return op->emitOpError("expected a tile of f32, i32 or i1 on a GPU, got ") << tile;
    }
    return success();
  }
  if (isa<tile::ViewType, tile::SharedType>(type)) {
    if (!isa<tile::ViewOp, tile::AllocSharedOp, tile::SlotOp, tile::TakeOp>(op)) {
      return op->emitOpError("expected views and buffers to be used where they are made, got one of ") << type;
    }
    return success();
  }
  if (!type.isIndex() && !type.isF32() &&
      !llvm::any_of(std::array{1, 8, 16, 32, 64}, [&](unsigned bits) { return type.isInteger(bits); })) {
    return op->emitOpError("expected scalars of index, f32, i1, i8, i16, i32 or i64 on a GPU, got ") << type;
  }
  return success();
}

LogicalResult ProgramVerifier::verifyTruncate(arith::TruncFOp op) {
  auto source = dyn_cast<RankedTensorType>(op.getIn().getType());
  if (!source) {
    return success(); // a scalar: verifyValue has its say
  }
  if (source.getRank() != 2 || !source.getElementType().isF32() ||
      !isHalf(cast<RankedTensorType>(op.getType()).getElementType())) {
    return op.emitOpError("expected a rank-2 tile of f32 to become f16 or bf16, got ")
           << source << " -> " << op.getType();
  }
  return success();
}

/// Fragments are read two groups of columns at a time, or as words.
LogicalResult ProgramVerifier::verifyLoadShared(tile::LoadSharedOp op) {
  tile::SharedType type = op.getBuffer().getType();
  if ((!isHalf(type.getElementType()) && !type.getElementType().isF32()) || type.getCols() % 16 != 0) {
    return op.emitOpError("expected f16, bf16 or f32 and a multiple of 16 columns, got ") << type;
  }
  return success();
}

LogicalResult ProgramVerifier::verifyDot(tile::DotOp op) {
  auto elementOf = [](Type type) {
    auto shared = dyn_cast<tile::SharedType>(type);
    return shared ? shared.getElementType() : cast<RankedTensorType>(type).getElementType();
  };
  if (!isHalf(elementOf(op.getB().getType()))) {
    return op.emitOpError("expected operands of f16 or bf16 on a GPU, got ") << elementOf(op.getB().getType());
  }
  auto b = dyn_cast<tile::SharedType>(op.getB().getType());
  if (!b || op.getTransA()) {
    return success(); // refused where it is lowered
  }
  if (b.getRows() % 16 != 0) {
    return op.emitOpError("expected b to have a multiple of 16 rows, as matrix instructions take them, got ")
           << b.getRows();
  }
  auto a = dyn_cast<RankedTensorType>(op.getA().getType());
  if (a && a.getDimSize(1) % 16 != 0) {
    return op.emitOpError("expected a to have a multiple of 16 columns where it is held in registers, got ")
           << a.getDimSize(1);
  }
  return success();
}

/// Per-row values are accessed as words of 4 bytes.
LogicalResult ProgramVerifier::verifyWord(Operation *op, RankedTensorType tile) {
  if (tile.getRank() == 1 && !tile.getElementType().isF32() && !tile.getElementType().isInteger(32)) {
    return op->emitOpError("expected a rank-1 tile of f32 or i32 on a GPU, got ") << tile;
  }
  return success();
}

LogicalResult ProgramVerifier::verifyOp(Operation *op) {
  if (!isKnown(op)) {
    return op->emitOpError("has no lowering to a GPU");
  }
  for (Value result : op->getResults()) {
    if (failed(verifyValue(op, result))) {
      return failure();
    }
  }
  for (Region &region : op->getRegions()) {
    for (Value argument : region.getArguments()) {
      if (failed(verifyValue(op, argument))) {
        return failure();
      }
    }
  }
  // Packed fragments hold half as many registers as others: nothing may take them for those.
  const bool carries = roles && isa<scf::ForOp, scf::YieldOp>(op);
  if (!isa<tile::DotOp, tile::StartDotOp, tile::StoreOp, tile::BulkStoreOp, arith::ExtFOp>(op) && !carries) {
    for (Type type : op->getOperandTypes()) {
      auto tile = dyn_cast<RankedTensorType>(type);
      if (tile && isHalf(tile.getElementType())) {
        return op->emitOpError("expected 16-bit floats to be read by products, stores and arith.extf only, got ")
               << tile;
      }
    }
  }
  if (auto loop = dyn_cast<scf::WhileOp>(op)) {
    if (llvm::any_of(loop->getResultTypes(), [](Type type) { return isa<RankedTensorType>(type); })) {
      return op->emitOpError("expected a loop with a condition to carry no tiles on a GPU");
    }
  }
  if (auto half = dyn_cast<tile::OnHalfOp>(op)) {
    const int64_t rows = cast<RankedTensorType>(half.getResult(0).getType()).getDimSize(0);
    if (roles || rows % (2 * rowUnit) != 0) {
      return op->emitOpError("expected a kernel of the family sm_80, and rows to be a multiple of ")
             << 2 * rowUnit << ", 32 for each of " << warps << " warps, got " << rows;
    }
    return success();
  }
  if (auto dot = dyn_cast<tile::DotOp>(op)) {
    return roles ? verifyRoleProduct(op, dot.getA(), dot.getB(), dot.getAcc(), dot.getTransA()) : verifyDot(dot);
  }
  if (auto dot = dyn_cast<tile::StartDotOp>(op)) {
    return verifyRoleProduct(op, dot.getA(), dot.getB(), dot.getAcc(), /*transA=*/false);
  }
  if (auto truncate = dyn_cast<arith::TruncFOp>(op)) {
    return verifyTruncate(truncate);
  }
  if (auto load = dyn_cast<tile::LoadOp>(op)) {
    return verifyWord(op, cast<RankedTensorType>(load.getTile().getType()));
  }
  if (auto load = dyn_cast<tile::LoadSharedOp>(op)) {
    return verifyLoadShared(load);
  }
  if (auto store = dyn_cast<tile::StoreOp>(op)) {
    return verifyWord(op, cast<RankedTensorType>(store.getTile().getType()));
  }
  if (auto alloc = dyn_cast<tile::AllocSharedOp>(op)) {
    tile::SharedType type = alloc.getBuffer().getType();
    if (!roles) {
      int64_t bytes = tile2nvvm::elementBytesOf(type.getElementType());
      sharedBytes += type.getStages() * type.getRows() * gpuSharedPitch(type.getCols(), bytes);
      return success();
    }
    if (type.getRows() % 8 != 0 || type.getRows() > 256 || !isHalf(type.getElementType())) {
      return op->emitOpError("expected at most 256 rows, a multiple of 8, of f16 or bf16, which TMA copies at once, ")
             << "got " << type;
    }
    sharedBytes += type.getStages() * type.getRows() * gpuBoxedPitch(type.getCols());
    sharedBytes += gpuRingBarrierBytes(type.getStages());
  }
  return success();
}

/// With roles: one tile.roles, in the function's block, and rings; without: none of those.
LogicalResult ProgramVerifier::verifyRoles() {
  int64_t found = 0;
  Operation *wrong = nullptr;
  func.walk([&](Operation *op) {
    found += isa<tile::RolesOp>(op);
    const bool staged = isa<tile::AsyncLoadOp, tile::LoadSharedOp, tile::ClearRowsOp, tile::CommitLoadsOp,
                            tile::AwaitLoadsOp, tile::SlotOp>(op);
    const bool known = roles ? !staged : !isRoleOp(op);
    wrong = known || wrong ? wrong : op;
  });
  if (wrong) {
    return wrong->emitOpError("is of another instruction family than the kernel's target ")
           << (roles ? tile::kSm90aFamily : tile::kSm80Family);
  }
  if (!roles) {
    return success();
  }
  if (found != 1 || func.getBody().front().getOps<tile::RolesOp>().empty()) {
    return func.emitOpError("expected one tile.roles in its block, got ")
           << found << ": run tile-specialize-warps first";
  }
  if (tile2nvvm::isPersistent(func)) {
    sharedBytes += kGpuProgramRingBytes;
  }
  if (warps != 8 && warps != 12) {
    return func.emitOpError("expected 8 or 12 consumer warps, two or three warpgroups, got ") << warps;
  }
  if (perSm != 1) {
    return func.emitOpError("expected 1 program per SM, whose registers its roles share out, got ") << perSm;
  }
  return success();
}

/// One wgmma serves a warpgroup's 64 rows and all columns.
LogicalResult ProgramVerifier::verifyRoleProduct(Operation *op, Value a, Value b, Value acc, bool transA) {
  auto type = cast<RankedTensorType>(acc.getType());
  auto right = dyn_cast<tile::SharedType>(b.getType());
  if (transA || !right) {
    return op->emitOpError("expected b in shared memory and a not transposed: run tile-specialize-warps first");
  }
  if (type.getDimSize(0) != 16 * warps || type.getDimSize(1) % 8 != 0 || type.getDimSize(1) > 256) {
    return op->emitOpError("expected 64 rows for each of ")
           << warps / 4 << " warpgroups and at most 256 columns, a multiple of 8, got " << type;
  }
  auto left = dyn_cast<RankedTensorType>(a.getType());
  if (left && (left.getDimSize(1) % 16 != 0 || right.getRows() % 16 != 0)) {
    return op->emitOpError("expected a to have a multiple of 16 columns where it is held in registers, got ") << left;
  }
  return success();
}

LogicalResult ProgramVerifier::verifySharedBytes() {
  // For PTX the GPU is not known: only what no GPU has is refused, and the rest when the kernel is loaded.
  int64_t limit = sm == kPtxOnlySm ? gpuMostShared() : gpuSharedLimit(sm);
  if (sharedBytes > limit) {
    InFlightDiagnostic error = func.emitOpError("needs ") << sharedBytes << " bytes of shared memory, but ";
    if (sm == kPtxOnlySm) {
      error << "no GPU has more than ";
    } else {
      error << "sm_" << sm << " has ";
    }
    return error << limit << " a block: choose smaller blocks than those of " << tile::kScheduleAttr;
  }
  return success();
}

} // namespace

LogicalResult tile2nvvm::verifyProgram(func::FuncOp func, tile::GpuScheduleAttr schedule, tile::GpuTargetAttr target) {
  return ProgramVerifier(func, schedule, target).run();
}
