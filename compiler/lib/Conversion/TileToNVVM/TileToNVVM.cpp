// SPDX-License-Identifier: Apache-2.0
//
// convert-tile-to-nvvm: the pass, the kernel's signature, and the walk over blocks and loops. See Passes.td.
#include "Lowering.h"
#include "tilewright/Conversion/Passes.h"
#include "llvm/ADT/TypeSwitch.h"

namespace tilewright {
#define GEN_PASS_DEF_CONVERTTILETONVVM
#include "tilewright/Conversion/Passes.h.inc"
} // namespace tilewright

#define DEBUG_TYPE "convert-tile-to-nvvm"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile2nvvm;

static bool isTile(Value value) { return isa<RankedTensorType>(value.getType()); }

Value FunctionLowering::globalAddress(Value base, Type element, Value elements) {
  Value offset = arith::IndexCastOp::create(b, b.getI64Type(), elements);
  return LLVM::GEPOp::create(b, base.getType(), element, base, ValueRange{offset});
}

Value FunctionLowering::hiddenZero() {
  return arith::ShRUIOp::create(b, loopNumbers.back(), i32(31));
}

Value FunctionLowering::addressOf(tile::ViewOp view, ValueRange indices) {
  Value offset = scalars.lookup(view.getOffset());
  for (auto [index, stride] : llvm::zip(indices, view.getStrides())) {
    Value step = arith::MulIOp::create(b, index, scalars.lookup(stride));
    offset = arith::AddIOp::create(b, offset, step);
  }
  return globalAddress(scalars.lookup(view.getBase()), view.getView().getType().getElementType(), offset);
}

Value FunctionLowering::loadElement(tile::ViewOp view, ValueRange indices) {
  Type element = view.getView().getType().getElementType();
  return LLVM::LoadOp::create(b, element, addressOf(view, indices), element.getIntOrFloatBitWidth() / 8);
}

Value FunctionLowering::rowOf(int64_t slab, int64_t half) {
  Value row = arith::AddIOp::create(b, warpRow(), laneRow);
  return arith::AddIOp::create(b, row, i32(slab * 16 * warps + half * 8));
}

Value FunctionLowering::warpRow() {
  Value first = arith::MulIOp::create(b, warp, i32(16));
  return halfRow ? arith::AddIOp::create(b, first, halfRow) : first;
}

Value FunctionLowering::rowInStep(int64_t slab, int64_t half) {
  if (loopNumbers.empty() || roles) {
    return rowOf(slab, half);
  }
  // The thread's part is what must not leave: all else is the same for all threads. Not added, or LLVM would do that
  // sum last, and everything else of it ahead of the loop.
  Value row = arith::OrIOp::create(b, rowOf(0, 0), hiddenZero());
  return arith::AddIOp::create(b, row, i32(slab * 16 * warps + half * 8));
}

Value FunctionLowering::colOf(int64_t group) { return arith::AddIOp::create(b, laneCol, i32(8 * group)); }

// Of the family sm_80 the thread's part joins what belongs to the step first: else a sum for each column would be kept
// through a loop.
Value FunctionLowering::sharedColumn(Value base) {
  return roles ? base : Value(arith::AddIOp::create(b, base, laneCol));
}

Value FunctionLowering::columnFrom(Value shared, int64_t group, int64_t e) {
  Value rest = roles ? Value(arith::AddIOp::create(b, colOf(group), i32(e % 2))) : i32(8 * group + e % 2);
  return arith::AddIOp::create(b, shared, rest);
}

void FunctionLowering::ifThen(Value condition, llvm::function_ref<void()> body) {
  auto ifOp = scf::IfOp::create(b, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifOp.thenBlock());
  body();
}

LogicalResult FunctionLowering::run() {
  MLIRContext *context = b.getContext();
  Block *old = &func.getBody().front();
  auto global = LLVM::LLVMPointerType::get(context, 1);
  SmallVector<Type> types;
  for (Type type : func.getArgumentTypes()) {
    if (!isa<tile::PtrType>(type) && !type.isInteger(64) && !type.isF32()) {
      return func.emitOpError("expected arguments of !tile.ptr, i64 or f32, got ") << type;
    }
    types.push_back(isa<tile::PtrType>(type) ? Type(global) : type);
  }

  SmallVector<BlockArgument> mapped = mappedTensors(func);
  types.append(mapped.size(), LLVM::LLVMPointerType::get(context));
  const bool persistent = isPersistent(func);
  if (persistent) {
    types.append({global, IntegerType::get(context, 32)});
  }

  b.setInsertionPoint(func);
  // Dynamic shared memory: the launch says how much, from the attribute tile.shared_bytes.
  std::string sharedName = (func.getName() + "_shared").str();
  auto sharedGlobal =
      LLVM::GlobalOp::create(b, LLVM::LLVMArrayType::get(b.getI8Type(), 0), /*isConstant=*/false,
                             LLVM::Linkage::External, sharedName, Attribute(), /*alignment=*/roles ? 1024 : 16,
                             /*addrSpace=*/3);
  std::string name = func.getName().str();
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), types);
  auto kernel = LLVM::LLVMFuncOp::create(b, name + "_nvvm", type);
  kernel->setAttr("nvvm.kernel", b.getUnitAttr());
  const int64_t blockThreads = gpuBlockThreads(warps, roles);
  kernel->setAttr("nvvm.reqntid", b.getDenseI32ArrayAttr({static_cast<int32_t>(blockThreads)}));
  // Without it setmaxnreg has no effect; and ptxas may leave registers unused so that more blocks fit, for which there
  // is no shared memory (d 192, dense: 173 registers instead of 230, and products that wait for every operand).
  kernel->setAttr("nvvm.minctasm", b.getI32IntegerAttr(static_cast<int32_t>(perSm)));
  if (rowByRow) {
    kernel->setAttr(tile::kRowByRowAttr, b.getUnitAttr());
  }
  const unsigned firstMap = func.getNumArguments();
  for (size_t i = 0; i < mapped.size(); ++i) {
    auto index = firstMap + static_cast<unsigned>(i);
    kernel.setArgAttr(index, "llvm.byval", TypeAttr::get(LLVM::LLVMArrayType::get(b.getI8Type(), 128)));
    kernel.setArgAttr(index, "llvm.align", b.getI64IntegerAttr(64));
    kernel.setArgAttr(index, "nvvm.grid_constant", b.getUnitAttr());
  }
  Block *entry = kernel.addEntryBlock(b);
  b.setInsertionPointToStart(entry);
  for (auto [argument, value] : llvm::zip(old->getArguments(), entry->getArguments())) {
    scalars.map(argument, value);
  }
  ValueRange maps = entry->getArguments().slice(firstMap, mapped.size());
  for (auto [tensor, map] : llvm::zip(mapped, maps)) {
    tensorMaps[tensor] = map;
  }
  if (persistent) {
    programCounter = entry->getArguments().drop_back().back();
    programs = entry->getArguments().back();
  }
  thread = NVVM::ThreadIdXOp::create(b, b.getI32Type());
  warp = arith::ShRUIOp::create(b, thread, i32(5));
  if (roles) {
    prefetchTensorMaps(maps);
    // The same in all lanes, and known to be: roles part by it.
    warp = NVVM::ShflOp::create(b, b.getI32Type(), i32(-1), warp, i32(0), i32(31), NVVM::ShflKind::idx, UnitAttr());
  }
  lane = arith::AndIOp::create(b, thread, i32(31));
  laneRow = arith::ShRUIOp::create(b, lane, i32(2));
  laneCol = arith::ShLIOp::create(b, arith::AndIOp::create(b, lane, i32(3)), i32(1));
  shared = LLVM::AddressOfOp::create(b, sharedGlobal);

  findRoomForCopies();
  findNumbers();
  if (failed(lowerBlock(*old))) {
    return failure();
  }
  LLVM::ReturnOp::create(b, ValueRange{});
  kernel->setAttr(tile::kSharedAttr, b.getI64IntegerAttr(sharedBytes));
  func.erase();
  kernel.setSymName(name);
  return success();
}

LogicalResult FunctionLowering::lowerBlock(Block &block) {
  for (Operation &op : block.without_terminator()) {
    b.setLoc(op.getLoc());
    if (failed(lowerOp(op))) {
      return failure();
    }
  }
  releaseCopies();
  return success();
}

LogicalResult FunctionLowering::lowerOp(Operation &op) {
  if (!heldCopies.copies.empty() && !mayStandAheadOfProduct(op)) {
    releaseCopies();
  }
  return llvm::TypeSwitch<Operation *, LogicalResult>(&op)
      .Case([&](scf::ForOp loop) { return lowerFor(loop); })
      .Case([&](scf::WhileOp loop) { return lowerWhile(loop); })
      .Case([&](scf::IfOp branch) { return lowerIf(branch); })
      .Case([&](tile::OnHalfOp half) { return lowerOnHalf(half); })
      // Products, in one piece and in two.
      .Case([&](tile::DotOp dot) {
        if (!roles) {
          return lowerDot(dot);
        }
        startProduct(dot.getA(), dot.getB(), dot.getAcc(), dot.getTransB(), dot.getResult());
        awaitProduct(dot.getResult(), /*pending=*/0, dot.getResult());
        return success();
      })
      .Case([&](tile::StartDotOp dot) {
        startProduct(dot.getA(), dot.getB(), dot.getAcc(), dot.getTransB(), dot.getResult());
        return success();
      })
      .Case([&](tile::AwaitDotOp dot) {
        awaitProduct(dot.getStarted(), static_cast<int64_t>(dot.getPending()), dot.getResult());
        return success();
      })
      // Rows and scores.
      .Case([&](tile::ReduceOp reduce) { return lowerReduce(reduce); })
      .Case([&](tile::FoldOp fold) { return lowerFold(fold); })
      .Case([&](tile::RescaleOp rescale) { return lowerRescale(rescale); })
      .Case([&](tile::ScaledDifferenceOp difference) { return lowerScaledDifference(difference); })
      .Case([&](tile::HideOp hide) {
        lowerHide(hide);
        return success();
      })
      .Case([&](tile::HideUnsetOp hide) {
        lowerHideUnset(hide);
        return success();
      })
      .Case([&](tile::RandomBitsOp random) { return lowerRandomBits(random); })
      // Global memory.
      .Case([&](tile::ViewOp) { return success(); }) // read where it is accessed
      .Case([&](tile::LoadOp load) { return lowerLoad(load); })
      .Case([&](tile::StoreOp store) { return lowerStore(store); })
      .Case([&](tile::BulkStoreOp store) { return lowerBulkStore(store); })
      .Case([&](tile::LoadScalarOp load) { return lowerLoadScalar(load); })
      .Case([&](tile::AllSetOp all) {
        Value vote = voteOnElements(all.getView(), all.getIndex(), all.getCount(), NVVM::VoteSyncKind::all);
        scalars.map(all.getAll(), vote);
        return success();
      })
      .Case([&](tile::AnySetOp any) {
        Value vote = voteOnElements(any.getView(), any.getIndex(), any.getCount(), NVVM::VoteSyncKind::any);
        scalars.map(any.getAny(), vote);
        return success();
      })
      .Case([&](tile::HullOp hull) { return lowerHull(hull); })
      // Shared memory, and copies into it.
      .Case([&](tile::AllocSharedOp alloc) {
        lowerAllocShared(alloc);
        return success();
      })
      .Case([&](tile::SlotOp slot) {
        lowerSlot(slot);
        return success();
      })
      .Case([&](tile::LoadSharedOp load) {
        lowerLoadShared(load);
        return success();
      })
      .Case([&](tile::ClearRowsOp clear) {
        lowerClearRows(clear);
        return success();
      })
      .Case([&](tile::AsyncLoadOp copy) { return lowerAsyncLoad(copy); })
      .Case([&](tile::CommitLoadsOp) {
        if (!heldCopies.copies.empty()) {
          heldCopies.commit = true;
          return success();
        }
        NVVM::CpAsyncCommitGroupOp::create(b);
        return success();
      })
      .Case([&](tile::AwaitLoadsOp await) {
        NVVM::CpAsyncWaitGroupOp::create(b, static_cast<uint32_t>(await.getPending()));
        NVVM::Barrier0Op::create(b);
        return success();
      })
      // Roles and programs.
      .Case([&](tile::RolesOp both) { return lowerRoles(both); })
      .Case([&](tile::FillOp fill) { return lowerFill(fill); })
      .Case([&](tile::TakeOp take) {
        lowerTake(take);
        return success();
      })
      .Case([&](tile::ReleaseOp release) {
        lowerRelease(release);
        return success();
      })
      .Case([&](tile::TakeTurnOp) {
        takeTurn();
        return success();
      })
      .Case([&](tile::PassTurnOp) {
        passTurn();
        return success();
      })
      .Case([&](tile::ClaimProgramOp claim) {
        claimProgram(claim);
        return success();
      })
      .Case([&](tile::AnnounceProgramOp announce) {
        announceProgram(announce);
        return success();
      })
      .Case([&](tile::AwaitProgramOp await) {
        awaitProgram(await);
        return success();
      })
      .Case([&](tile::ProgramCountOp count) {
        // Blocks that are not persistent are as many as programs.
        Value known = programs ? programs : NVVM::GridDimXOp::create(b, b.getI32Type()).getResult();
        scalars.map(count->getResult(0), arith::IndexCastUIOp::create(b, b.getIndexType(), known).getResult());
        return success();
      })
      .Case([&](tile::ProgramOp program) {
        Value block = NVVM::BlockIdXOp::create(b, b.getI32Type());
        scalars.map(program->getResult(0), arith::IndexCastUIOp::create(b, b.getIndexType(), block).getResult());
        return success();
      })
      .Default([&](Operation *) { return lowerOther(op); });
}

/// Elementwise work on tiles, and scalars.
LogicalResult FunctionLowering::lowerOther(Operation &op) {
  if (op.getNumResults() == 1 && isTile(op.getResult(0))) {
    return lowerElementwise(op);
  }
  if (isa<arith::MinSIOp, arith::MaxSIOp>(op) && op.getResult(0).getType().isIndex() && !roles) {
    // Of rows and keys: numbers of 31 bits. (Roles have time for 64, beside the products of others.)
    Value operands[] = {toI32(op.getOperand(0)), toI32(op.getOperand(1))};
    OperationState state(op.getLoc(), op.getName(), operands, b.getI32Type(), {});
    scalars.map(op.getResult(0), toIndex(b.create(state)->getResult(0)));
    return success();
  }
  if (op.getNumRegions() != 0 || llvm::any_of(op.getOperands(), isTile)) {
    return op.emitOpError("has no lowering to a GPU");
  }
  b.clone(op, scalars);
  for (Value result : op.getResults()) {
    narrow(result);
  }
  return success();
}

SmallVector<Value> FunctionLowering::elementsOf(ValueRange values) {
  SmallVector<Value> elements;
  for (Value value : values) {
    if (isTile(value)) {
      llvm::append_range(elements, fragmentOf(value));
    } else {
      elements.push_back(scalars.lookup(value));
    }
  }
  return elements;
}

void FunctionLowering::bind(ValueRange olds, ValueRange elements) {
  size_t next = 0;
  for (Value old : olds) {
    auto tile = dyn_cast<RankedTensorType>(old.getType());
    if (!tile) {
      scalars.map(old, elements[next++]);
      continue;
    }
    const bool packed = isPacked(tile);
    ValueRange part = elements.slice(next, countOf(tile) / (packed ? 2 : 1));
    next += part.size();
    fragments[old] = Fragment{SmallVector<Value>(part), packed};
  }
}

/// Whether `value` is a loop's number, or the next one.
static bool isLoopNumber(Value value) {
  if (auto next = value.getDefiningOp<arith::AddIOp>()) {
    value = next.getLhs();
  }
  auto loop = dyn_cast_or_null<scf::ForOp>(value.getParentBlock()->getParentOp());
  return loop && value == loop.getInductionVar();
}

/// Numbers of blocks and rows fit in 31 bits: what branches of roles are decided by, what is compared with a loop's
/// number, and what is divided is narrowed, so that comparisons and counters, which matrix instructions wait for, take
/// one instruction and one register each, and divisions no call and no branch. Other sums may be larger, such as a
/// search's next position.
void FunctionLowering::findNumbers() {
  func.walk([&](Operation *user) {
    const bool divides = isa<arith::DivUIOp, arith::RemUIOp>(user);
    const bool decides = isa<arith::CmpIOp>(user) && (user->getParentOfType<tile::RolesOp>() ||
                                                      llvm::any_of(user->getOperands(), isLoopNumber));
    if (!divides && !decides) {
      return;
    }
    for (Value value : user->getOperands()) {
      Operation *def = value.getDefiningOp();
      if (value.getType().isIndex() && def && !isa<arith::ConstantOp>(def)) {
        bool &natural = numbers[value];
        natural |= divides;
      }
    }
  });
}

void FunctionLowering::narrow(Value value) {
  auto found = numbers.find(value);
  if (found == numbers.end()) {
    return;
  }
  Value narrow = arith::IndexCastOp::create(b, b.getI32Type(), scalars.lookup(value));
  Value wide = found->second ? arith::IndexCastUIOp::create(b, b.getIndexType(), narrow).getResult() : toIndex(narrow);
  scalars.map(value, wide);
}

LogicalResult FunctionLowering::lowerFor(scf::ForOp op) {
  // Numbers of blocks are narrow: see findNumbers.
  Value begin = toI32(op.getLowerBound()), end = toI32(op.getUpperBound()), step = toI32(op.getStep());
  auto newLoop = scf::ForOp::create(b, begin, end, step, elementsOf(op.getInitArgs()));
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(newLoop.getBody());
    Value number = newLoop.getInductionVar();
    scalars.map(op.getInductionVar(), toIndex(number));
    loopNumbers.push_back(number);
    bind(op.getRegionIterArgs(), newLoop.getRegionIterArgs());
    if (failed(lowerBlock(*op.getBody()))) {
      return failure();
    }
    SmallVector<Value> next = elementsOf(op.getBody()->getTerminator()->getOperands());
    if (!next.empty()) {
      scf::YieldOp::create(b, next);
    }
  }
  loopNumbers.pop_back();
  bind(op.getResults(), newLoop.getResults());
  return success();
}

/// Carries scalars only (verifyProgram).
LogicalResult FunctionLowering::lowerWhile(scf::WhileOp op) {
  auto newLoop = scf::WhileOp::create(b, op.getResultTypes(), elementsOf(op.getInits()));
  OpBuilder::InsertionGuard guard(b);
  for (auto [from, to] : {std::pair{&op.getBefore(), &newLoop.getBefore()}, {&op.getAfter(), &newLoop.getAfter()}}) {
    Block &old = from->front();
    SmallVector<Location> locations(old.getNumArguments(), b.getLoc());
    Block *block = b.createBlock(to, {}, old.getArgumentTypes(), locations);
    bind(old.getArguments(), block->getArguments());
    if (failed(lowerBlock(old))) {
      return failure();
    }
    b.clone(*old.getTerminator(), scalars);
  }
  bind(op.getResults(), newLoop.getResults());
  return success();
}

LogicalResult FunctionLowering::lowerIf(scf::IfOp op) {
  Value condition = scalars.lookup(op.getCondition());
  LogicalResult status = success();
  if (mayHoldCopies && onlyStartsCopies(op)) {
    return holdCopies(op);
  }
  if (op.getNumResults() == 0) {
    if (op.elseBlock()) {
      return op.emitOpError("expected results, or no else block");
    }
    releaseCopies(); // every thread starts them, whether it comes into the branch or not
    ifThen(condition, [&] { status = lowerBlock(*op.thenBlock()); });
    return status;
  }
  SmallVector<Type> types;
  for (Value result : op.getResults()) {
    auto tile = dyn_cast<RankedTensorType>(result.getType());
    if (tile && isPacked(tile)) {
      types.append(countOf(tile) / 2, b.getI32Type());
    } else {
      types.append(tile ? countOf(tile) : 1, tile ? tile.getElementType() : result.getType());
    }
  }
  if (consuming) {
    // Threads agree on every scalar, which the assembler cannot know: behind a branch that might part a warp it would
    // no longer keep matrix descriptors in uniform registers, and move 64 bits into them ahead of every wgmma.
    condition = NVVM::VoteSyncOp::create(b, b.getI1Type(), i32(-1), condition, NVVM::VoteSyncKind::any);
  }
  auto newIf = scf::IfOp::create(b, types, condition, /*withElseRegion=*/true);
  {
    OpBuilder::InsertionGuard guard(b);
    const HeldCopies inBranches = copiesForBranchesOf(op), behind = std::exchange(heldCopies, {});
    for (auto [from, to] : {std::pair{op.thenBlock(), newIf.thenBlock()}, {op.elseBlock(), newIf.elseBlock()}}) {
      b.setInsertionPointToStart(to);
      heldCopies = inBranches;
      if (failed(lowerBlock(*from))) {
        return failure();
      }
      scf::YieldOp::create(b, elementsOf(from->getTerminator()->getOperands()));
    }
    heldCopies = behind;
  }
  bind(op.getResults(), newIf.getResults());
  return success();
}

/// Of every tile that comes in the threads' slabs of one half are chosen, and all within is lowered for tiles of so
/// many slabs, whose rows begin at the half's.
LogicalResult FunctionLowering::lowerOnHalf(tile::OnHalfOp op) {
  Value upper = scalars.lookup(op.getUpper());
  SmallVector<SmallVector<Value>> kept;
  for (Value tile : op.getKept()) {
    kept.emplace_back(fragmentOf(tile));
  }
  llvm::MapVector<Value, Fragment> outside;
  op.walk([&](Operation *inner) {
    for (Value operand : inner->getOperands()) {
      if (inner != op && isTile(operand) && !op.getBody().isAncestor(operand.getParentRegion())) {
        outside.try_emplace(operand, fragments.lookup(operand));
      }
    }
  });
  for (auto &[tile, whole] : outside) {
    const size_t count = whole.elements.size() / 2;
    SmallVector<Value> &half = fragments[tile].elements;
    half.clear();
    for (size_t i = 0; i < count; ++i) {
      Value lower = whole.elements[i], higher = whole.elements[count + i];
      half.push_back(lower == higher ? lower : Value(arith::SelectOp::create(b, upper, higher, lower)));
    }
  }
  const int64_t rows = cast<RankedTensorType>(op.getResult(0).getType()).getDimSize(0);
  halfRow = arith::SelectOp::create(b, upper, i32(rows / 2), i32(0));
  LogicalResult status = lowerBlock(op.getBody().front());
  halfRow = {};
  if (failed(status)) {
    return failure();
  }
  for (auto [i, tile] : llvm::enumerate(op.getBody().front().getTerminator()->getOperands())) {
    const SmallVector<Value> computed(fragmentOf(tile));
    SmallVector<Value> &both = kept[i];
    for (size_t e = 0; e < computed.size(); ++e) {
      Value &lower = both[e], &higher = both[computed.size() + e];
      lower = arith::SelectOp::create(b, upper, lower, computed[e]);
      higher = arith::SelectOp::create(b, upper, computed[e], higher);
    }
  }
  for (auto &[tile, whole] : outside) {
    fragments[tile] = whole;
  }
  for (auto [result, elements] : llvm::zip_equal(op.getResults(), kept)) {
    fragments[result] = Fragment{elements, false};
  }
  return success();
}

namespace {

class ConvertTileToNVVMPass : public tilewright::impl::ConvertTileToNVVMBase<ConvertTileToNVVMPass> {
public:
  void runOnOperation() override {
    SmallVector<func::FuncOp> kernels;
    for (auto func : getOperation().getOps<func::FuncOp>()) {
      if (func->hasAttr(tile::kKernelAttr)) {
        kernels.push_back(func);
      }
    }
    for (func::FuncOp func : kernels) {
      auto schedule = func->getAttrOfType<tile::GpuScheduleAttr>(tile::kScheduleAttr);
      auto target = func->getAttrOfType<tile::GpuTargetAttr>(tile::kTargetAttr);
      if (!schedule || !target) {
        func.emitOpError("expected the attributes ")
            << tile::kTargetAttr << " (#tile.gpu) and " << tile::kScheduleAttr << " (#tile.gpu_schedule)";
        return signalPassFailure();
      }
      if (failed(verifyProgram(func, schedule, target)) || failed(FunctionLowering(func, schedule, target).run())) {
        return signalPassFailure();
      }
    }
  }
};

} // namespace
