// SPDX-License-Identifier: Apache-2.0
//
// convert-tile-to-vector: the pass, the kernel ABI, and the walk over blocks and loops. See Passes.td; fused groups are
// lowered in Rowwise.cpp, products in Dot.cpp, and tiles get their memory in Buffers.cpp.
#include "Lowering.h"
#include "tilewright/Conversion/Passes.h"

namespace tilewright {
#define GEN_PASS_DEF_CONVERTTILETOVECTOR
#include "tilewright/Conversion/Passes.h.inc"
} // namespace tilewright

#define DEBUG_TYPE "convert-tile-to-vector"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile2vec;

static bool isTile(Value value) { return isa<RankedTensorType>(value.getType()); }

//===----------------------------------------------------------------------===//
// Shared emitters
//===----------------------------------------------------------------------===//

Value FunctionLowering::toI64(Value index) {
  return index.getType().isInteger(64) ? index : b.createOrFold<arith::IndexCastOp>(b.getI64Type(), index);
}

Value FunctionLowering::address(Value base, Type element, Value elements) {
  return LLVM::GEPOp::create(b, base.getType(), element, base, ValueRange{toI64(elements)});
}

Value FunctionLowering::addressConstant(Value base, Type element, int64_t elements) {
  if (elements == 0) {
    return base;
  }
  return LLVM::GEPOp::create(b, base.getType(), element, base,
                             ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(elements)});
}

Value FunctionLowering::bufferBase(const Buffer &buffer) {
  return addressConstant(scratch, b.getI8Type(), buffer.offset);
}

Value FunctionLowering::elementAddress(const Buffer &buffer, Value row, Value col) {
  Value offset = arith::MulIOp::create(b, row, constant(buffer.ld));
  if (col) {
    offset = arith::AddIOp::create(b, offset, col);
  }
  return address(bufferBase(buffer), buffer.element, offset);
}

Value FunctionLowering::loadVector(Value address, Type element, unsigned alignment) {
  return LLVM::LoadOp::create(b, vectorType(element), address, alignment);
}

SmallVector<Value> FunctionLowering::loop(
    Value begin, Value end, int64_t step, ValueRange carried,
    llvm::function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto forOp = scf::ForOp::create(b, begin, end, constant(step), carried);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(forOp.getBody());
  SmallVector<Value> next = body(forOp.getInductionVar(), forOp.getRegionIterArgs());
  if (!carried.empty()) {
    scf::YieldOp::create(b, next);
  }
  return SmallVector<Value>(forOp.getResults());
}

void FunctionLowering::ifThen(Value condition, llvm::function_ref<void()> body) {
  auto ifOp = scf::IfOp::create(b, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifOp.thenBlock());
  body();
}

//===----------------------------------------------------------------------===//
// Function and blocks
//===----------------------------------------------------------------------===//

/// Loads every argument of the old function from its slot (kernels/KernelArguments.h).
void FunctionLowering::emitEntry(Block *old, Block *entry) {
  Type ptr = LLVM::LLVMPointerType::get(b.getContext());
  Location loc = func.getLoc();
  slots = entry->addArgument(ptr, loc);
  program = entry->addArgument(b.getI64Type(), loc);
  scratch = entry->addArgument(ptr, loc);
  for (auto [slot, argument] : llvm::enumerate(old->getArguments())) {
    Value place = addressConstant(slots, b.getI64Type(), static_cast<int64_t>(slot));
    Type type = isa<tile::PtrType>(argument.getType()) ? ptr : argument.getType();
    scalars.map(argument, LLVM::LoadOp::create(b, type, place, 8).getResult());
  }
}

LogicalResult FunctionLowering::run() {
  if (!llvm::hasSingleElement(func.getBody())) {
    return func.emitOpError("expected a tile program of one block");
  }
  for (Type type : func.getArgumentTypes()) {
    if (!isa<tile::PtrType>(type) && !type.isInteger(64) && !type.isF32()) {
      return func.emitOpError("expected arguments of !tile.ptr, i64 or f32, got ") << type;
    }
  }
  Operation *foreign = nullptr;
  func.walk([&](Operation *op) {
    for (Value operand : op->getOperands()) {
      if (isa<tile::ViewType>(operand.getType()) && !operand.getDefiningOp<tile::ViewOp>()) {
        foreign = foreign ? foreign : op;
      }
    }
  });
  if (foreign) {
    return foreign->emitOpError("expected a view made by tile.view, not one carried by a loop");
  }
  Block *old = &func.getBody().front();
  auto *entry = new Block();
  func.getBody().push_front(entry);
  b.setInsertionPointToStart(entry);
  emitEntry(old, entry);
  if (failed(lowerBlock(*old))) {
    return failure();
  }
  func::ReturnOp::create(b);
  old->dropAllReferences();
  old->erase();
  func.setFunctionType(b.getFunctionType(entry->getArgumentTypes(), {}));
  // No two of the three overlap, and the caller aligns both memories.
  auto noalias = b.getNamedAttr("llvm.noalias", b.getUnitAttr());
  auto align64 = b.getNamedAttr("llvm.align", b.getI64IntegerAttr(64));
  const DictionaryAttr argAttrs[] = {b.getDictionaryAttr({noalias}), b.getDictionaryAttr({}),
                                     b.getDictionaryAttr({noalias, align64})};
  func.setAllArgAttrs(ArrayRef<DictionaryAttr>(argAttrs));
  func->setAttr(tile::kScratchAttr, b.getI64IntegerAttr(pool.highWater()));
  return success();
}

LogicalResult FunctionLowering::lowerBlock(Block &block) {
  for (Operation &op : block.without_terminator()) {
    b.setLoc(op.getLoc());
    if (failed(lowerOp(op))) {
      return failure();
    }
    releaseDead(&op);
  }
  return success();
}

LogicalResult FunctionLowering::lowerOp(Operation &op) {
  if (auto fused = dyn_cast<tile::FusedOp>(op)) {
    return lowerFused(fused);
  }
  if (auto dot = dyn_cast<tile::DotOp>(op)) {
    return lowerDot(dot);
  }
  if (auto transposeOp = dyn_cast<tile::TransposeOp>(op)) {
    return lowerTranspose(transposeOp);
  }
  if (auto forOp = dyn_cast<scf::ForOp>(op)) {
    return lowerFor(forOp);
  }
  if (auto ifOp = dyn_cast<scf::IfOp>(op)) {
    return lowerIf(ifOp);
  }
  if (auto load = dyn_cast<tile::LoadScalarOp>(op)) {
    return lowerLoadScalar(load);
  }
  if (auto all = dyn_cast<tile::AllSetOp>(op)) {
    lowerAllSet(all);
    return success();
  }
  if (auto hull = dyn_cast<tile::HullOp>(op)) {
    lowerHull(hull);
    return success();
  }
  if (isa<tile::ProgramOp>(op)) {
    scalars.map(op.getResult(0), arith::IndexCastOp::create(b, b.getIndexType(), program).getResult());
    return success();
  }
  if (isa<tile::ViewOp>(op)) {
    return success(); // read where it is accessed
  }
  if (auto constantOp = dyn_cast<arith::ConstantOp>(op); constantOp && isTile(constantOp)) {
    if (!isa<SplatElementsAttr>(constantOp.getValue())) {
      return op.emitOpError("expected a splat: tile programs have no other tile constants");
    }
    return success(); // read where it is used
  }
  return lowerScalar(op);
}

/// Scalar arithmetic is copied.
LogicalResult FunctionLowering::lowerScalar(Operation &op) {
  if (op.getNumRegions() != 0 || llvm::any_of(op.getOperands(), isTile) || llvm::any_of(op.getResults(), isTile)) {
    return op.emitOpError("not expected outside tile.fused: run tile-fuse-rowwise first");
  }
  if (isa<tile::CoordsOp>(op)) {
    return op.emitOpError("not expected after the schedule: run tile-apply-schedule first");
  }
  b.clone(op, scalars);
  return success();
}

LogicalResult FunctionLowering::lowerLoadScalar(tile::LoadScalarOp op) {
  auto view = op.getView().getDefiningOp<tile::ViewOp>();
  SmallVector<Value> indices;
  for (Value index : op.getIndices()) {
    indices.push_back(scalars.lookup(index));
  }
  scalars.map(op.getValue(), loadElement(view, indices));
  return success();
}

Value FunctionLowering::loadElement(tile::ViewOp view, ValueRange indices) {
  Value offset = scalars.lookup(view.getOffset());
  for (auto [index, stride] : llvm::zip(indices, view.getStrides())) {
    Value step = arith::MulIOp::create(b, index, scalars.lookup(stride));
    offset = arith::AddIOp::create(b, offset, step);
  }
  Type type = view.getView().getType().getElementType();
  Value place = address(scalars.lookup(view.getBase()), type, offset);
  return LLVM::LoadOp::create(b, type, place, type.getIntOrFloatBitWidth() / 8);
}

Value FunctionLowering::isSet(tile::ViewOp view, Value index) {
  Value byte = loadElement(view, index);
  Value zero = arith::ConstantOp::create(b, b.getZeroAttr(byte.getType()));
  return arith::CmpIOp::create(b, arith::CmpIPredicate::ne, byte, zero);
}

/// A loop-carried tile has one home for the whole loop: the initial value's memory if that dies here, else a copy of
/// it. The body's result is computed in place where it can be, and copied home where it was not.
LogicalResult FunctionLowering::lowerFor(scf::ForOp op) {
  SmallVector<Value> carried;
  SmallVector<Buffer> homes;
  for (auto [init, argument, result] : llvm::zip(op.getInitArgs(), op.getRegionIterArgs(), op.getResults())) {
    if (!isTile(init)) {
      carried.push_back(scalars.lookup(init));
      homes.emplace_back();
      continue;
    }
    // Two arguments that start from one tile need a home each: only one can take it over.
    bool adopt = buffers.count(init) && diesAt(init, op) && llvm::count(op.getInitArgs(), init) == 1 &&
                 llvm::all_of(init.getUsers(), [&](Operation *user) { return !op->isProperAncestor(user); });
    if (adopt) {
      takeOver(result, init);
    } else if (init.getDefiningOp<arith::ConstantOp>()) {
      buffers[result] = bufferOf(init); // a constant's buffer is made for this use
    } else {
      Buffer home = makeBuffer(cast<RankedTensorType>(init.getType()));
      copy(home, bufferOf(init));
      buffers[result] = home;
    }
    homes.push_back(buffers.lookup(result));
    buffers[argument] = homes.back();
    borrowed.insert(argument);
  }

  auto newLoop = scf::ForOp::create(b, scalars.lookup(op.getLowerBound()), scalars.lookup(op.getUpperBound()),
                                    scalars.lookup(op.getStep()), carried);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(newLoop.getBody());
  scalars.map(op.getInductionVar(), newLoop.getInductionVar());
  unsigned next = 0;
  for (Value argument : op.getRegionIterArgs()) {
    if (!isTile(argument)) {
      scalars.map(argument, newLoop.getRegionIterArgs()[next++]);
    }
  }
  if (failed(lowerBlock(*op.getBody()))) {
    return failure();
  }

  auto yield = cast<scf::YieldOp>(op.getBody()->getTerminator());
  SmallVector<Value> yielded;
  SmallVector<std::pair<Buffer, Buffer>> moves; // home, value
  for (auto [home, value] : llvm::zip(homes, yield.getOperands())) {
    if (!isTile(value)) {
      yielded.push_back(scalars.lookup(value));
    } else if (Buffer from = bufferOf(value); from.offset != home.offset) {
      moves.emplace_back(home, from);
    }
  }
  // A carried tile that is yielded in another's place must be read before its home is written.
  for (auto &[home, from] : moves) {
    bool clobbered = llvm::any_of(moves, [&](const auto &move) { return move.first.offset == from.offset; });
    if (clobbered) {
      Buffer saved = from;
      saved.offset = pool.allocate(from.bytes());
      copy(saved, from);
      from = saved;
    }
  }
  for (const auto &[home, from] : moves) {
    copy(home, from);
  }
  releaseDead(yield);
  if (!yielded.empty()) {
    scf::YieldOp::create(b, yielded);
  }
  next = 0;
  for (Value result : op.getResults()) {
    if (!isTile(result)) {
      scalars.map(result, newLoop.getResult(next++));
    }
  }
  for (Value argument : op.getRegionIterArgs()) {
    buffers.erase(argument);
  }
  return success();
}

LogicalResult FunctionLowering::lowerIf(scf::IfOp op) {
  if (op.getNumResults() != 0 || op.elseBlock()) {
    return op.emitOpError("expected no results and no else block");
  }
  auto newIf = scf::IfOp::create(b, scalars.lookup(op.getCondition()), /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(newIf.thenBlock());
  return lowerBlock(*op.thenBlock());
}

namespace {

class ConvertTileToVectorPass : public tilewright::impl::ConvertTileToVectorBase<ConvertTileToVectorPass> {
public:
  void runOnOperation() override {
    for (auto func : getOperation().getOps<func::FuncOp>()) {
      if (!func->hasAttr(tile::kKernelAttr)) {
        continue;
      }
      auto target = func->getAttrOfType<tile::CpuTargetAttr>(tile::kTargetAttr);
      if (!target) {
        func.emitOpError("expected the attribute ") << tile::kTargetAttr << " (#tile.cpu)";
        return signalPassFailure();
      }
      CpuLevel level = *parseCpuLevel(std::string_view(target.getLevel()));
      if (failed(FunctionLowering(func, level).run())) {
        return signalPassFailure();
      }
    }
  }
};

} // namespace
