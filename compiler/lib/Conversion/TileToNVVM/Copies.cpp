// SPDX-License-Identifier: Apache-2.0
//
// Copies into shared memory.
//
// The copies of a step's next block have a step to arrive, but what computes their addresses and starts them stands
// between the step's barrier and its first product, where nothing else of the warp runs. So copies that stand right
// ahead of a product, as tile-stage-loads puts those of a ring, are held back, and lowered between the products of its
// slices along the depth: the matrix unit is busy meanwhile. For that they must not branch. Where the IR asks whether
// there is a next block, the answer becomes a condition of each copy; one that is not met copies 0 bytes, and fills a
// buffer that nobody reads with zeros.
#include "Lowering.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile2nvvm;

int64_t FunctionLowering::chunkBytesOf(tile::AsyncLoadOp op) {
  tile::ViewType type = op.getView().getType();
  return type.getUnit() ? std::max<int64_t>(type.getAlign(), elementBytesOf(type.getElementType())) : 0;
}

LogicalResult FunctionLowering::lowerAsyncLoad(tile::AsyncLoadOp op) {
  const SharedBuffer &buffer = sharedBuffers.find(op.getBuffer())->second;
  int64_t chunkBytes = chunkBytesOf(op);
  tile::ViewType type = op.getView().getType();
  if (buffer.elementBytes != 2 && (!type.getElementType().isF32() || chunkBytes == 0)) {
    return op.emitOpError("expected 16-bit floats, or float32 in rows without gaps, on a GPU, got ") << type;
  }
  if (op.getBounds()[1] && chunkBytes < 4) {
    return op.emitOpError("expected no bound on columns where rows are not aligned to 4 bytes");
  }
  if (chunkBytes < 4) {
    copyByThreads(buffer, op, b.getIntegerType(16));
    return success();
  }
  heldCopies.copies.emplace_back(op, Value());
  releaseCopies();
  return success();
}

//===----------------------------------------------------------------------===//
// Copies that are held back
//===----------------------------------------------------------------------===//

bool FunctionLowering::onlyStartsCopies(scf::IfOp op) {
  // A group of a ring's: others are started in the middle of a step.
  if (roles || op.getNumResults() != 0 || op.elseBlock() || !isa_and_nonnull<tile::CommitLoadsOp>(op->getNextNode())) {
    return false;
  }
  bool any = false;
  for (Operation &inner : op.thenBlock()->without_terminator()) {
    auto copy = dyn_cast<tile::AsyncLoadOp>(inner);
    any |= static_cast<bool>(copy);
    if (copy ? chunkBytesOf(copy) < 4 : !isa<tile::SlotOp>(inner) && !isPure(&inner)) {
      return false;
    }
  }
  return any;
}

LogicalResult FunctionLowering::holdCopies(scf::IfOp op) {
  if (heldCopies.commit) {
    releaseCopies(); // a group of their own: what waits counts groups
  }
  Value condition = scalars.lookup(op.getCondition());
  for (Operation &inner : op.thenBlock()->without_terminator()) {
    if (auto copy = dyn_cast<tile::AsyncLoadOp>(inner)) {
      heldCopies.copies.emplace_back(copy, condition);
    } else if (failed(lowerOp(inner))) {
      return failure();
    }
  }
  return success();
}

/// Addresses are in registers while products run. Where accumulators leave little room for that, operands have less,
/// and products wait for them. But where products stand in branches, copies ahead of them are a part of the step in
/// which nothing else can run, and that costs more. (kernels/docs/performance.md has the figures.)
void FunctionLowering::findRoomForCopies() {
  constexpr int64_t mostAccumulators = 128;
  int64_t scores = 0, outputs = 0;
  bool branches = false;
  func.walk([&](tile::DotOp dot) {
    auto count = static_cast<int64_t>(countOf(cast<RankedTensorType>(dot.getResult().getType())));
    int64_t &most = dot.getTransB() ? scores : outputs;
    most = std::max(most, count);
    branches |= isa<scf::IfOp>(dot->getParentOp());
  });
  mayHoldCopies = branches || scores + outputs <= mostAccumulators;
}

/// Operations that only find out what a step has to do: they may run while copies wait to be started.
static bool isScalarWork(Operation &op) {
  if (isa<tile::SlotOp, tile::ViewOp, tile::LoadScalarOp, tile::AllSetOp, tile::AnySetOp, arith::ConstantOp>(op)) {
    return true;
  }
  auto isScalar = [](Type type) { return type.isIntOrIndexOrFloat(); };
  if (!llvm::all_of(op.getOperandTypes(), isScalar) || !llvm::all_of(op.getResultTypes(), isScalar)) {
    return false;
  }
  if (isa<scf::IfOp>(op)) {
    return llvm::all_of(op.getRegions(), [](Region &region) {
      return region.empty() || llvm::all_of(region.front().without_terminator(), isScalarWork);
    });
  }
  return isPure(&op);
}

static bool holdsProduct(Operation &op) {
  return op.walk([](tile::DotOp) { return WalkResult::interrupt(); }).wasInterrupted();
}

bool FunctionLowering::mayStandAheadOfProduct(Operation &op) {
  if (auto ifOp = dyn_cast<scf::IfOp>(op); ifOp && (onlyStartsCopies(ifOp) || holdsProduct(op))) {
    return true;
  }
  return isa<tile::DotOp, tile::OnHalfOp, tile::CommitLoadsOp, tile::ClearRowsOp>(op) || isScalarWork(op);
}

FunctionLowering::HeldCopies FunctionLowering::copiesForBranchesOf(scf::IfOp op) {
  return holdsProduct(*op) ? std::exchange(heldCopies, {}) : HeldCopies();
}

FunctionLowering::CopySteps FunctionLowering::takeHeldCopies() {
  HeldCopies held = std::exchange(heldCopies, {});
  CopySteps steps;
  steps.commit = held.commit;
  SmallVector<Pieces> pieces;
  for (auto [copy, condition] : held.copies) {
    pieces.push_back(copyPieces(copy, condition, steps.first));
  }
  // Row by row of all blocks: whether a row is there is then known for a moment only, in one predicate.
  for (size_t row = 0; llvm::any_of(pieces, [&](auto &of) { return row < of.size(); }); ++row) {
    for (auto &of : pieces) {
      if (row < of.size()) {
        steps.then.push_back(std::move(of[row]));
      }
    }
  }
  return steps;
}

void FunctionLowering::finishCopies(CopySteps &steps, size_t upTo, Value behind) {
  copiesBehind = behind;
  for (auto &step : steps.first) {
    step();
  }
  steps.first.clear();
  for (; steps.done < std::min(upTo, steps.then.size()); ++steps.done) {
    steps.then[steps.done]();
  }
  if (steps.done == steps.then.size() && std::exchange(steps.commit, false)) {
    NVVM::CpAsyncCommitGroupOp::create(b);
  }
}

void FunctionLowering::releaseCopies() {
  CopySteps steps = takeHeldCopies();
  finishCopies(steps, steps.then.size());
}

//===----------------------------------------------------------------------===//
// One copy
//===----------------------------------------------------------------------===//

/// cp.async, `chunkBytes` at a time: neighbouring threads take neighbouring chunks of a row. What lies past the row's
/// last column, or past the view's end, is filled with zeros by copying fewer bytes than the chunk has.
/// (compute-sanitizer counts the whole chunk all the same, and reports one that an allocation ends within.)
///
/// The block copies a power of two of rows at a time, so a thread has the same chunk of rows that are one step apart,
/// and its addresses follow from the first by additions of constants; threads that are too many for whole rows do not
/// copy. Rows' swizzles repeat every eight rows, and so every few steps.
FunctionLowering::Pieces FunctionLowering::copyPieces(tile::AsyncLoadOp op, Value condition, Pieces &branching) {
  const int64_t chunkBytes = chunkBytesOf(op);
  const SharedBuffer &buffer = sharedBuffers.find(op.getBuffer())->second;
  const int64_t chunks = buffer.pitch / chunkBytes; // of a row
  int64_t rowStep = 1;
  while (2 * rowStep * chunks <= threads() && buffer.rows % (2 * rowStep) == 0) {
    rowStep *= 2;
  }
  auto all = [](Pieces pieces) {
    for (auto &piece : pieces) {
      piece();
    }
  };
  if (chunks > threads()) {
    // Rows longer than the block has threads, one at a time: a thread has several chunks of each.
    branching.push_back([=, this] {
      for (int64_t start = 0; start < chunks; start += threads()) {
        Value next = arith::AddIOp::create(b, thread, i32(start));
        if (start + threads() <= chunks) {
          all(copyChunks(op, condition, i32(0), next, 1));
        } else {
          ifThen(arith::CmpIOp::create(b, arith::CmpIPredicate::slt, next, i32(chunks)),
                 [&] { all(copyChunks(op, condition, i32(0), next, 1)); });
        }
      }
    });
    return {};
  }
  Value threadRow = arith::DivUIOp::create(b, thread, i32(chunks));
  Value chunk = arith::RemUIOp::create(b, thread, i32(chunks));
  if (rowStep * chunks < threads()) {
    branching.push_back([=, this] {
      Value copies = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, thread, i32(rowStep * chunks));
      ifThen(copies, [&] { all(copyChunks(op, condition, threadRow, chunk, rowStep)); });
    });
    return {};
  }
  return copyChunks(op, condition, threadRow, chunk, rowStep);
}

/// The thread's chunks of rows `threadRow`, `threadRow + rowStep` and so on.
FunctionLowering::Pieces FunctionLowering::copyChunks(tile::AsyncLoadOp op, Value condition, Value threadRow,
                                                      Value chunk, int64_t rowStep) {
  const SharedBuffer buffer = sharedBuffers.find(op.getBuffer())->second;
  const int64_t chunkBytes = chunkBytesOf(op);
  struct State {
    Value from, step, byte;
    Value behind;      ///< what the address was last made to wait for
    Value bytes;       ///< i32, of a chunk whose row is there; null for the whole chunk
    Value row, inside; ///< i32: the thread's first row, counted from the first that is there, and how many are
    SmallVector<Value> places; ///< by the row modulo 8, which the swizzle depends on
  };
  auto state = std::make_shared<State>();
  Type word = b.getIntegerType(8 * buffer.elementBytes);

  auto start = [=, this]() mutable {
    auto view = op.getView().getDefiningOp<tile::ViewOp>();
    Value firstRow = scalars.lookup(op.getIndices()[0]), firstCol = scalars.lookup(op.getIndices()[1]);
    Value base = scalars.lookup(view.getBase()), rowStride = scalars.lookup(view.getStrides()[0]);
    state->byte = arith::MulIOp::create(b, chunk, i32(chunkBytes));
    Value firstCopied = arith::AddIOp::create(b, firstRow, toIndex(threadRow));
    Value origin = arith::AddIOp::create(b, scalars.lookup(view.getOffset()), firstCol);
    Value offset = arith::AddIOp::create(b, origin, arith::MulIOp::create(b, firstCopied, rowStride));
    Value col = arith::MulIOp::create(b, chunk, i32(chunkBytes / buffer.elementBytes));
    state->from = globalAddress(base, word, arith::AddIOp::create(b, offset, toIndex(col)));
    state->step = arith::IndexCastOp::create(b, b.getI64Type(), arith::MulIOp::create(b, rowStride, index(rowStep)));
    if (op.getBounds()[1] || buffer.cols != buffer.paddedCols) {
      Value inRow = i32(buffer.cols * buffer.elementBytes); // bytes
      if (op.getBounds()[1]) {
        Value inView = arith::SubIOp::create(b, scalars.lookup(view.getSizes()[1]), firstCol);
        inView = arith::MinSIOp::create(b, inView, index(buffer.cols));
        inView = arith::IndexCastOp::create(b, b.getI32Type(), inView);
        inRow = arith::MulIOp::create(b, inView, i32(buffer.elementBytes));
      }
      Value left = arith::SubIOp::create(b, inRow, state->byte);
      state->bytes = arith::MaxSIOp::create(b, arith::MinSIOp::create(b, left, i32(chunkBytes)), i32(0));
    }
    if (op.getBounds()[0]) {
      // In 32 bits, as all numbers of rows, and of all threads once: rows of the block before the view's first one, and
      // up to its last.
      auto inBlock = [&](Value rows) -> Value {
        return arith::MaxSIOp::create(b, arith::MinSIOp::create(b, rows, i32(buffer.rows)), i32(0));
      };
      Value first = toI32(op.getIndices()[0]);
      Value before = inBlock(arith::SubIOp::create(b, i32(0), first));
      Value end = inBlock(arith::SubIOp::create(b, toI32(view.getSizes()[0]), first));
      state->row = arith::SubIOp::create(b, threadRow, before);
      state->inside = arith::SubIOp::create(b, end, before);
      if (condition) {
        state->inside = arith::SelectOp::create(b, condition, state->inside, i32(0));
      }
    } else if (condition) {
      state->bytes = arith::SelectOp::create(b, condition, state->bytes ? state->bytes : i32(chunkBytes), i32(0));
    }
    state->places.resize(std::max<int64_t>(1, 8 / rowStep));
  };

  Pieces pieces;
  for (int64_t row = 0; row < buffer.rows; row += rowStep) {
    pieces.push_back([=, this]() mutable {
      if (row == 0) {
        start();
      } else {
        state->from = LLVM::GEPOp::create(b, state->from.getType(), word, state->from, ValueRange{state->step});
      }
      if (copiesBehind && !loopNumbers.empty() && state->behind != copiesBehind) {
        // Else ptxas would start all copies at once, ahead of the products.
        Value zero = arith::AndIOp::create(b, copiesBehind, hiddenZero());
        zero = arith::ExtUIOp::create(b, b.getI64Type(), zero);
        state->from = LLVM::GEPOp::create(b, state->from.getType(), b.getI8Type(), state->from, ValueRange{zero});
        state->behind = copiesBehind;
      }
      const auto steps = static_cast<int64_t>(state->places.size());
      Value &place = state->places[row / rowStep % steps];
      const int64_t placeRow = row / rowStep % steps * rowStep;
      if (!place) {
        place = placeOf(buffer, arith::AddIOp::create(b, threadRow, i32(placeRow)), state->byte);
      }
      Value bytes = state->bytes;
      if (state->inside) {
        Value there = arith::CmpIOp::create(b, arith::CmpIPredicate::ult,
                                            arith::AddIOp::create(b, state->row, i32(row)), state->inside);
        bytes = arith::SelectOp::create(b, there, bytes ? bytes : i32(chunkBytes), i32(0));
      }
      Value to = sharedAddress(buffer, place, (row - placeRow) * buffer.pitch);
      // .cg bypasses L1 and exists for 16 bytes only.
      auto cache = chunkBytes == 16 ? NVVM::LoadCacheModifierKind::CG : NVVM::LoadCacheModifierKind::CA;
      NVVM::CpAsyncOp::create(b, to, state->from, static_cast<uint32_t>(chunkBytes), cache, bytes);
    });
  }
  return pieces;
}

/// Element by element, for rows whose alignment or stride cp.async cannot serve.
void FunctionLowering::copyByThreads(const SharedBuffer &buffer, tile::AsyncLoadOp op, Type memory) {
  auto view = op.getView().getDefiningOp<tile::ViewOp>();
  Value firstRow = scalars.lookup(op.getIndices()[0]), firstCol = scalars.lookup(op.getIndices()[1]);
  Value base = scalars.lookup(view.getBase());
  Value rowStride = scalars.lookup(view.getStrides()[0]), colStride = scalars.lookup(view.getStrides()[1]);
  Value size = scalars.lookup(view.getSizes()[0]);
  Value columns = index(buffer.paddedCols);
  auto loop = scf::ForOp::create(b, toIndex(thread), index(buffer.rows * buffer.paddedCols), index(threads()));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  Value row = arith::DivUIOp::create(b, loop.getInductionVar(), columns);
  Value col = arith::RemUIOp::create(b, loop.getInductionVar(), columns);
  Value globalRow = arith::AddIOp::create(b, firstRow, row);
  Value inside = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, col, index(buffer.cols));
  if (op.getBounds()[0]) {
    inside = arith::AndIOp::create(b, inside,
                                   arith::CmpIOp::create(b, arith::CmpIPredicate::ult, globalRow, size));
  }
  auto ifOp = scf::IfOp::create(b, TypeRange{memory}, inside, /*withElseRegion=*/true);
  {
    OpBuilder::InsertionGuard inner(b);
    b.setInsertionPointToStart(ifOp.thenBlock());
    Value offset = arith::AddIOp::create(b, scalars.lookup(view.getOffset()),
                                         arith::MulIOp::create(b, globalRow, rowStride));
    Value globalCol = arith::AddIOp::create(b, firstCol, col);
    offset = arith::AddIOp::create(b, offset, arith::MulIOp::create(b, globalCol, colStride));
    scf::YieldOp::create(b, LLVM::LoadOp::create(b, memory, globalAddress(base, memory, offset), 2).getResult());
    b.setInsertionPointToStart(ifOp.elseBlock());
    scf::YieldOp::create(b, arith::ConstantOp::create(b, b.getZeroAttr(memory)).getResult());
  }
  Value row32 = arith::IndexCastOp::create(b, b.getI32Type(), row);
  Value byte = arith::IndexCastOp::create(b, b.getI32Type(), arith::MulIOp::create(b, col, index(2)));
  LLVM::StoreOp::create(b, ifOp.getResult(0), sharedAddress(buffer, placeOf(buffer, row32, byte), 0), 2);
}

/// A thread a row, or several: rows to clear are rare. The condition is the same for all threads, so they may wait for
/// each other inside.
void FunctionLowering::lowerClearRows(tile::ClearRowsOp op) {
  const SharedBuffer buffer = sharedBuffers.find(op.getBuffer())->second;
  auto view = op.getView().getDefiningOp<tile::ViewOp>();
  Type i8 = b.getI8Type(), unit = VectorType::get({4}, b.getI32Type());
  ifThen(scalars.lookup(op.getWhen()), [&] {
    auto loop = scf::ForOp::create(b, toIndex(thread), index(buffer.rows), index(threads()));
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(loop.getBody());
      Value row = arith::IndexCastOp::create(b, b.getI32Type(), loop.getInductionVar());
      Value number = arith::AddIOp::create(b, scalars.lookup(op.getIndex()), loop.getInductionVar());
      Value inside = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, number, scalars.lookup(view.getSizes()[0]));
      ifThen(inside, [&] {
        Value byte = loadElement(view, number);
        Value zero = arith::ConstantOp::create(b, b.getIntegerAttr(i8, 0));
        ifThen(arith::CmpIOp::create(b, arith::CmpIPredicate::eq, byte, zero), [&] {
          // A row's swizzle only permutes its units.
          Value start = arith::MulIOp::create(b, row, i32(buffer.pitch));
          Value zeros = arith::ConstantOp::create(b, b.getZeroAttr(unit));
          for (int64_t at = 0; at < buffer.pitch; at += 16) {
            LLVM::StoreOp::create(b, zeros, sharedAddress(buffer, start, at), 16);
          }
        });
      });
    }
    NVVM::Barrier0Op::create(b);
  });
}
