// SPDX-License-Identifier: Apache-2.0
//
// tile.fused: one loop over rows. A row of a tile is a list of native vectors (chunks) held in registers; the last one
// may reach past the tile's columns, where its lanes hold anything and nobody looks. What does not depend on the row is
// computed ahead of the loop; reductions over rows are carried by it.
#include "Lowering.h"
#include <limits>

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile2vec;

namespace tilewright::tile2vec {
/// The row being computed.
struct FunctionLowering::Row {
  Value index;         ///< row number, null ahead of the loop
  int64_t cols = 0;    ///< columns of the iteration space
  int64_t chunks = 0;  ///< native vectors that cover them
  bool rank2 = false;
  DenseMap<Value, Chunks> values;           ///< tiles computed in the body
  DenseMap<Operation *, Chunks> partial;    ///< running reductions over rows
  SmallVector<Buffer> temporaries;          ///< released after the group
};
} // namespace tilewright::tile2vec

static RankedTensorType tileTypeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// Memory holds 16-bit floats as integers: vectors of half and bfloat are legal on some levels only.
static Type memoryType(Type element) {
  return element.isF16() || element.isBF16() ? IntegerType::get(element.getContext(), 16) : element;
}

FunctionLowering::Chunks FunctionLowering::loadRow(const Buffer &buffer, Value rowIndex) {
  Type type = memoryType(buffer.element);
  Value base = elementAddress(buffer, rowIndex, {});
  Chunks chunks;
  for (int64_t col = 0; col < buffer.ld; col += lanes) {
    Value chunk = loadVector(addressConstant(base, type, col), type, lanes * buffer.elementBytes());
    chunks.push_back(type == buffer.element ? chunk
                                            : arith::BitcastOp::create(b, vectorType(buffer.element), chunk));
  }
  return chunks;
}

void FunctionLowering::storeRow(const Buffer &buffer, Value rowIndex, ArrayRef<Value> chunks) {
  Type type = memoryType(buffer.element);
  Value base = elementAddress(buffer, rowIndex, {});
  for (auto [i, chunk] : llvm::enumerate(chunks)) {
    Value stored = chunk;
    Type element = cast<VectorType>(chunk.getType()).getElementType();
    if (element.isInteger(1)) {
      stored = arith::ExtUIOp::create(b, vectorType(b.getI8Type()), chunk);
    } else if (type != element) {
      stored = arith::BitcastOp::create(b, vectorType(type), chunk);
    }
    LLVM::StoreOp::create(b, stored, addressConstant(base, type, static_cast<int64_t>(i) * lanes),
                          lanes * buffer.elementBytes());
  }
}

/// The chunks of a tile in this row: computed in this group, or read from the buffer of one computed before it.
FailureOr<FunctionLowering::Chunks> FunctionLowering::chunksOf(Row &row, Value tile) {
  auto it = row.values.find(tile);
  if (it != row.values.end()) {
    return it->second;
  }
  auto home = buffers.find(tile);
  if (home == buffers.end()) {
    return emitError(tile.getLoc(), "tile has no buffer: run tile-fuse-rowwise first");
  }
  const Buffer &buffer = home->second;
  return loadTile(tile, buffer, tileTypeOf(tile).getRank() == 2 ? row.index : constant(0));
}

/// A row of a tile's buffer, as the tile's elements: i1 tiles are stored as i8.
FunctionLowering::Chunks FunctionLowering::loadTile(Value tile, const Buffer &buffer, Value rowIndex) {
  Chunks chunks = loadRow(buffer, rowIndex);
  if (tileTypeOf(tile).getElementType().isInteger(1)) {
    Value zero = arith::ConstantOp::create(b, b.getZeroAttr(vectorType(b.getI8Type())));
    for (Value &chunk : chunks) {
      chunk = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, chunk, zero);
    }
  }
  return chunks;
}

/// Elementwise operations, and the ones that cost nothing: constants, splats, indices, broadcasts.
FailureOr<FunctionLowering::Chunks> FunctionLowering::elementwise(Row &row, Operation *op) {
  RankedTensorType type = tileTypeOf(op->getResult(0));
  VectorType vector = vectorType(type.getElementType());
  auto repeat = [&](Value value) { return Chunks(row.chunks, value); };

  if (auto constantOp = dyn_cast<arith::ConstantOp>(op)) {
    auto splat = dyn_cast<SplatElementsAttr>(constantOp.getValue());
    if (!splat) {
      return op->emitOpError("expected a splat: tile programs have no other tile constants");
    }
    return repeat(arith::ConstantOp::create(
        b, cast<TypedAttr>(DenseElementsAttr::get(vector, splat.getSplatValue<Attribute>()))));
  }
  if (auto splat = dyn_cast<tile::SplatOp>(op)) {
    return repeat(vector::BroadcastOp::create(b, vector, scalars.lookup(splat.getScalar())));
  }
  if (auto index = dyn_cast<tile::IndexOp>(op)) {
    Value base = scalars.lookup(index.getBase());
    if (row.rank2 && index.getAxis() == 0) {
      Value rowI32 = arith::IndexCastOp::create(b, b.getI32Type(), row.index);
      return repeat(vector::BroadcastOp::create(b, vector, arith::AddIOp::create(b, base, rowI32)));
    }
    Value first = vector::BroadcastOp::create(b, vector, base);
    Chunks chunks;
    for (int64_t i = 0; i < row.chunks; ++i) {
      SmallVector<int32_t> steps;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        steps.push_back(static_cast<int32_t>(i * lanes + lane));
      }
      Value iota = arith::ConstantOp::create(b, DenseElementsAttr::get(vector, ArrayRef<int32_t>(steps)));
      chunks.push_back(arith::AddIOp::create(b, first, iota));
    }
    return chunks;
  }
  if (auto broadcast = dyn_cast<tile::BroadcastOp>(op)) {
    auto home = buffers.find(broadcast.getSource());
    if (home == buffers.end()) {
      return op->emitOpError("expected a tile that was computed by an earlier group");
    }
    const Buffer source = home->second;
    if (broadcast.getAxis() == 0) {
      return loadTile(broadcast.getSource(), source, constant(0));
    }
    Value place = elementAddress(source, constant(0), row.index);
    Value element = LLVM::LoadOp::create(b, source.element, place, source.elementBytes());
    if (type.getElementType().isInteger(1)) {
      Value zero = arith::ConstantOp::create(b, b.getZeroAttr(source.element));
      element = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, element, zero);
    }
    return repeat(vector::BroadcastOp::create(b, vector, element));
  }

  if (auto random = dyn_cast<tile::RandomBitsOp>(op)) {
    return randomBits(random, row.index, row.chunks);
  }
  SmallVector<Chunks> operands;
  for (Value operand : op->getOperands()) {
    if (!isa<RankedTensorType>(operand.getType())) {
      operands.push_back(repeat(scalars.lookup(operand)));
      continue;
    }
    FailureOr<Chunks> chunks = chunksOf(row, operand);
    if (failed(chunks)) {
      return failure();
    }
    operands.push_back(std::move(*chunks));
  }
  Chunks results;
  for (int64_t i = 0; i < row.chunks; ++i) {
    if (isa<tile::Exp2Op>(op)) {
      results.push_back(math.exp2(operands[0][i]));
    } else if (isa<tile::Log2Op>(op)) {
      results.push_back(math.log2(operands[0][i]));
    } else if (isa<arith::ExtFOp>(op)) {
      results.push_back(math.toF32(operands[0][i]));
    } else if (isa<arith::TruncFOp>(op)) {
      results.push_back(math.fromF32(operands[0][i], type.getElementType()));
    } else {
      OperationState state(op->getLoc(), op->getName());
      for (const Chunks &operand : operands) {
        state.operands.push_back(operand[i]);
      }
      state.types.push_back(vector);
      state.attributes = op->getAttrs();
      results.push_back(b.create(state)->getResult(0));
    }
  }
  return results;
}

namespace {
/// One row of an access to global memory, with what is known of it.
struct GlobalRow {
  Value start;         ///< address of the row's first element
  Value stride;        ///< elements from column to column
  Value inside;        ///< i1: the row exists; null if that is known
  Value count;         ///< where the columns that exist end; null if all do
  Value first;         ///< where they begin; null: at the first
};
} // namespace

/// Resolves (row index, view, indices, bounds) to addresses. Offsets are 64 bits wide throughout.
template <typename AccessOp>
static GlobalRow resolve(ImplicitLocOpBuilder &b, const IRMapping &scalars, AccessOp op, Value rowIndex, Type memory,
                         int64_t cols) {
  auto view = op.getView().template getDefiningOp<tile::ViewOp>();
  bool rank2 = view.getStrides().size() == 2;
  GlobalRow row;
  auto at = [&](Value old) { return scalars.lookup(old); };
  Value colStart = at(op.getIndices().back());
  row.stride = at(view.getStrides().back());
  Value offset = arith::AddIOp::create(b, at(view.getOffset()), arith::MulIOp::create(b, colStart, row.stride));
  if (rank2) {
    Value globalRow = arith::AddIOp::create(b, at(op.getIndices()[0]), rowIndex);
    offset = arith::AddIOp::create(b, offset, arith::MulIOp::create(b, globalRow, at(view.getStrides()[0])));
    if (op.getBounds()[0]) {
      // Unsigned: a row before the view is outside of it too.
      row.inside = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, globalRow, at(view.getSizes()[0]));
    }
  }
  if (op.getBounds().back()) {
    Value left = arith::SubIOp::create(b, at(view.getSizes().back()), colStart);
    Value zero = arith::ConstantIndexOp::create(b, 0);
    left = arith::MaxSIOp::create(b, left, zero);
    row.count = arith::MinSIOp::create(b, left, arith::ConstantIndexOp::create(b, cols));
    if (!rank2) {
      row.first = arith::MaxSIOp::create(b, arith::SubIOp::create(b, zero, colStart), zero);
    }
  }
  Value offset64 = arith::IndexCastOp::create(b, b.getI64Type(), offset);
  Value base = at(view.getBase());
  row.start = LLVM::GEPOp::create(b, base.getType(), memory, base, ValueRange{offset64});
  return row;
}

/// Lanes of the last chunk that are columns of the tile.
static Value tailMask(ImplicitLocOpBuilder &b, int64_t lanes, int64_t valid) {
  SmallVector<bool> bits(lanes, false);
  std::fill_n(bits.begin(), valid, true);
  auto type = VectorType::get({lanes}, b.getI1Type());
  return arith::ConstantOp::create(b, DenseElementsAttr::get(type, ArrayRef<bool>(bits)));
}

/// Whether a row that is `inside` (null: known to be) is one that the load's `where` chooses. It is asked only then,
/// and always then: a row costs far more than its byte.
Value FunctionLowering::chosen(tile::LoadOp op, Value rowIndex, Value inside) {
  auto view = op.getWhere().getDefiningOp<tile::ViewOp>();
  Type i8 = b.getI8Type();
  Value row = arith::AddIOp::create(b, scalars.lookup(op.getIndices()[0]), rowIndex);
  Value place = arith::MulIOp::create(b, row, scalars.lookup(view.getStrides()[0]));
  place = arith::AddIOp::create(b, place, scalars.lookup(view.getOffset()));
  auto ask = [&]() -> Value {
    Value byte = LLVM::LoadOp::create(b, i8, address(scalars.lookup(view.getBase()), i8, place), 1);
    Value zero = arith::ConstantOp::create(b, b.getIntegerAttr(i8, 0));
    return arith::CmpIOp::create(b, arith::CmpIPredicate::ne, byte, zero);
  };
  if (!inside) {
    return ask();
  }
  auto ifInside = scf::IfOp::create(b, TypeRange{b.getI1Type()}, inside, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifInside.thenBlock());
  scf::YieldOp::create(b, ask());
  b.setInsertionPointToStart(ifInside.elseBlock());
  scf::YieldOp::create(b, inside);
  return ifInside.getResult(0);
}

FunctionLowering::Chunks FunctionLowering::loadGlobal(Row &row, tile::LoadOp op) {
  Type element = op.getView().getType().getElementType();
  Type memory = memoryType(element);
  unsigned bytes = memory.getIntOrFloatBitWidth() / 8;
  VectorType vector = vectorType(memory);
  Value zero = arith::ConstantOp::create(b, b.getZeroAttr(vector));
  GlobalRow global = resolve(b, scalars, op, row.index, memory, row.cols);
  if (op.getWhere()) {
    global.inside = chosen(op, row.index, global.inside);
  }
  // A row of unit stride whose length is known is read as vectors; any other element by element through scratch.
  bool direct = op.getView().getType().getUnit() && !global.count;
  Buffer staging;
  if (!direct) {
    staging = makeBuffer(RankedTensorType::get({row.cols}, memory));
    row.temporaries.push_back(staging);
  }
  auto read = [&]() {
    if (!direct) {
      storeRow(staging, constant(0), Chunks(row.chunks, zero));
      loop(global.first ? global.first : constant(0), global.count ? global.count : constant(row.cols), 1, {},
           [&](Value col, ValueRange) -> SmallVector<Value> {
             Value from = address(global.start, memory, arith::MulIOp::create(b, col, global.stride));
             Value value = LLVM::LoadOp::create(b, memory, from, bytes);
             LLVM::StoreOp::create(b, value, elementAddress(staging, constant(0), col), bytes);
             return {};
           });
      return loadRow(staging, constant(0));
    }
    Chunks chunks;
    for (int64_t i = 0; i < row.chunks; ++i) {
      Value from = addressConstant(global.start, memory, i * lanes);
      int64_t valid = row.cols - i * lanes;
      if (valid >= lanes) {
        chunks.push_back(loadVector(from, memory, bytes));
      } else if (valid == 1) { // as in storeGlobal
        Value element = LLVM::LoadOp::create(b, memory, from, bytes);
        chunks.push_back(vector::InsertOp::create(b, element, zero, ArrayRef<int64_t>{0}));
      } else {
        chunks.push_back(LLVM::MaskedLoadOp::create(b, vector, from, tailMask(b, lanes, valid), zero, bytes));
      }
    }
    return chunks;
  };

  Chunks chunks;
  if (!global.inside) {
    chunks = read();
  } else {
    SmallVector<Type> types(row.chunks, vector);
    auto ifOp = scf::IfOp::create(b, types, global.inside, /*withElseRegion=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(ifOp.thenBlock());
    scf::YieldOp::create(b, ValueRange(read()));
    b.setInsertionPointToStart(ifOp.elseBlock());
    scf::YieldOp::create(b, ValueRange(Chunks(row.chunks, zero)));
    chunks.assign(ifOp.result_begin(), ifOp.result_end());
  }
  if (memory != element) {
    for (Value &chunk : chunks) {
      chunk = arith::BitcastOp::create(b, vectorType(element), chunk);
    }
  }
  return chunks;
}

LogicalResult FunctionLowering::storeGlobal(Row &row, tile::StoreOp op) {
  FailureOr<Chunks> values = chunksOf(row, op.getTile());
  if (failed(values)) {
    return failure();
  }
  Type element = op.getView().getType().getElementType();
  Type memory = memoryType(element);
  unsigned bytes = memory.getIntOrFloatBitWidth() / 8;
  Chunks chunks = *values;
  if (memory != element) {
    for (Value &chunk : chunks) {
      chunk = arith::BitcastOp::create(b, vectorType(memory), chunk);
    }
  }
  GlobalRow global = resolve(b, scalars, op, row.index, memory, row.cols);
  bool direct = op.getView().getType().getUnit() && !global.count;
  Buffer staging;
  if (!direct) {
    staging = makeBuffer(RankedTensorType::get({row.cols}, memory));
    row.temporaries.push_back(staging);
  }
  auto write = [&]() {
    if (!direct) {
      storeRow(staging, constant(0), chunks);
      loop(constant(0), global.count ? global.count : constant(row.cols), 1, {},
           [&](Value col, ValueRange) -> SmallVector<Value> {
             Value value = LLVM::LoadOp::create(b, memory, elementAddress(staging, constant(0), col), bytes);
             Value to = address(global.start, memory, arith::MulIOp::create(b, col, global.stride));
             LLVM::StoreOp::create(b, value, to, bytes);
             return {};
           });
      return;
    }
    for (int64_t i = 0; i < row.chunks; ++i) {
      Value to = addressConstant(global.start, memory, i * lanes);
      int64_t valid = row.cols - i * lanes;
      if (valid >= lanes) {
        LLVM::StoreOp::create(b, chunks[i], to, bytes);
      } else if (valid == 1) {
        // LLVM 22 on x86 makes a one-lane masked store of truncated 32-bit lanes write all 32 bits of the lane: past
        // the row's end, over the next one.
        LLVM::StoreOp::create(b, vector::ExtractOp::create(b, chunks[i], ArrayRef<int64_t>{0}), to, bytes);
      } else {
        LLVM::MaskedStoreOp::create(b, chunks[i], to, tailMask(b, lanes, valid), bytes);
      }
    }
  };
  if (global.inside) {
    ifThen(global.inside, write);
  } else {
    write();
  }
  return success();
}

LogicalResult FunctionLowering::reduce(Row &row, tile::ReduceOp op) {
  if (!buffers.count(op.getResult())) {
    return success(); // nobody reads it, so it has no home
  }
  FailureOr<Chunks> chunks = chunksOf(row, op.getSource());
  if (failed(chunks)) {
    return failure();
  }
  bool isMax = op.getKind() == tile::ReduceKind::Max;
  auto combine = [&](Value x, Value sum) -> Value {
    if (!isMax) {
      return arith::AddFOp::create(b, sum, x);
    }
    // False for NaN: the running maximum stays.
    return arith::SelectOp::create(b, arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, x, sum), x, sum);
  };
  if (op.getAxis() == 0) {
    Chunks &partial = row.partial[op];
    for (auto [sum, chunk] : llvm::zip(partial, *chunks)) {
      sum = combine(chunk, sum);
    }
    return success();
  }
  float neutral = isMax ? -std::numeric_limits<float>::infinity() : 0.0f;
  Value none = arith::ConstantOp::create(b, DenseElementsAttr::get(vectorType(b.getF32Type()), neutral));
  // A maximum starts from -inf: a NaN in the first chunk would stay, and hide its lane's elements in all others.
  Value total = isMax ? none : Value();
  for (auto [i, chunk] : llvm::enumerate(*chunks)) {
    Value x = chunk;
    int64_t valid = row.cols - static_cast<int64_t>(i) * lanes;
    if (valid < lanes) {
      x = arith::SelectOp::create(b, tailMask(b, lanes, valid), x, none);
    }
    total = total ? combine(x, total) : x;
  }
  // Reassociation lets LLVM reduce lanes as a tree, the same one in every run.
  Value result = vector::ReductionOp::create(b, isMax ? vector::CombiningKind::MAXNUMF : vector::CombiningKind::ADD,
                                             total, arith::FastMathFlags::reassoc);
  Buffer buffer = buffers.lookup(op.getResult());
  LLVM::StoreOp::create(b, result, elementAddress(buffer, constant(0), row.index), 4);
  return success();
}

/// Whether an operation of a group computes the same for every row.
static bool isRowInvariant(Operation *op, bool rank2, function_ref<bool(Value)> known) {
  if (!rank2) {
    return false; // a single row: there is no loop to leave
  }
  if (auto index = dyn_cast<tile::IndexOp>(op)) {
    return index.getAxis() == 1;
  }
  if (auto broadcast = dyn_cast<tile::BroadcastOp>(op)) {
    return broadcast.getAxis() == 0;
  }
  if (isa<arith::ConstantOp, tile::SplatOp>(op)) {
    return true;
  }
  return op->hasTrait<OpTrait::Elementwise>() && llvm::all_of(op->getOperands(), known);
}

/// The operations of the group's body that depend on the row.
LogicalResult FunctionLowering::lowerRow(Row &row, tile::FusedOp op) {
  for (Operation &inner : op.getBody().front().without_terminator()) {
    b.setLoc(inner.getLoc());
    if (inner.getNumResults() == 1 && row.values.count(inner.getResult(0))) {
      continue;
    }
    if (auto load = dyn_cast<tile::LoadOp>(inner)) {
      row.values[load.getTile()] = loadGlobal(row, load);
    } else if (auto store = dyn_cast<tile::StoreOp>(inner)) {
      if (failed(storeGlobal(row, store))) {
        return failure();
      }
    } else if (auto reduceOp = dyn_cast<tile::ReduceOp>(inner)) {
      if (failed(reduce(row, reduceOp))) {
        return failure();
      }
    } else {
      FailureOr<Chunks> chunks = elementwise(row, &inner);
      if (failed(chunks)) {
        return failure();
      }
      row.values[inner.getResult(0)] = std::move(*chunks);
    }
  }
  return success();
}

LogicalResult FunctionLowering::lowerFused(tile::FusedOp op) {
  ArrayRef<int64_t> shape = op.getShape();
  Row row;
  row.rank2 = shape.size() == 2;
  row.cols = shape.back();
  row.chunks = llvm::divideCeil(row.cols, lanes);
  Block &body = op.getBody().front();
  auto yield = cast<tile::YieldOp>(body.getTerminator());

  // Homes for the results: over an operand that dies here and is only read element by element, else new ones.
  // A reduction along rows is stored while rows are still being read, so it never takes an operand's place.
  llvm::SetVector<Value> captured;
  for (Operation &inner : body) {
    for (Value operand : inner.getOperands()) {
      if (isa<RankedTensorType>(operand.getType()) && operand.getParentBlock() != &body) {
        captured.insert(operand);
      }
    }
  }
  for (auto [result, value] : llvm::zip(op.getResults(), yield.getResults())) {
    Value reuse;
    for (Value tile : captured) {
      bool elementOnly = llvm::none_of(tile.getUsers(), [&](Operation *user) {
        return user->getBlock() == &body && isa<tile::BroadcastOp>(user);
      });
      if (tile.getType() == result.getType() && tileTypeOf(tile).getShape() == shape && elementOnly &&
          diesAt(tile, op) && !value.getDefiningOp<tile::ReduceOp>()) {
        reuse = tile;
        break;
      }
    }
    if (!reuse) {
      buffers[result] = makeBuffer(tileTypeOf(result));
      continue;
    }
    captured.remove(reuse);
    buffers[result] = buffers.lookup(reuse);
    if (borrowed.contains(reuse)) {
      borrowed.insert(result);
    }
    borrowed.insert(reuse); // its memory is the result's to release
  }
  // Reductions inside the body write to their results' homes.
  SmallVector<tile::ReduceOp> rowReductions;
  for (auto [result, value] : llvm::zip(op.getResults(), yield.getResults())) {
    if (auto reduceOp = value.getDefiningOp<tile::ReduceOp>()) {
      buffers[value] = buffers.lookup(result);
      if (reduceOp.getAxis() == 0) {
        rowReductions.push_back(reduceOp);
      }
    }
  }

  auto emitBody = [&]() -> LogicalResult {
    if (failed(lowerRow(row, op))) {
      return failure();
    }
    b.setLoc(op.getLoc());
    for (auto [result, value] : llvm::zip(op.getResults(), yield.getResults())) {
      if (value.getDefiningOp<tile::ReduceOp>()) {
        continue;
      }
      FailureOr<Chunks> chunks = chunksOf(row, value);
      if (failed(chunks)) {
        return failure();
      }
      storeRow(buffers.lookup(result), row.rank2 ? row.index : constant(0), *chunks);
    }
    return success();
  };

  LogicalResult status = success();
  if (!row.rank2) {
    row.index = constant(0);
    status = emitBody();
  } else {
    for (Operation &inner : body.without_terminator()) {
      if (isRowInvariant(&inner, true, [&](Value value) { return row.values.count(value) != 0; })) {
        FailureOr<Chunks> chunks = elementwise(row, &inner);
        if (failed(chunks)) {
          return failure();
        }
        row.values[inner.getResult(0)] = std::move(*chunks);
      }
    }
    SmallVector<Value> carried;
    for (tile::ReduceOp reduceOp : rowReductions) {
      float neutral = reduceOp.getKind() == tile::ReduceKind::Max ? -std::numeric_limits<float>::infinity() : 0.0f;
      Value start = arith::ConstantOp::create(b, DenseElementsAttr::get(vectorType(b.getF32Type()), neutral));
      carried.append(row.chunks, start);
    }
    SmallVector<Value> totals =
        loop(constant(0), constant(shape[0]), 1, carried, [&](Value index, ValueRange running) {
          row.index = index;
          for (auto [i, reduceOp] : llvm::enumerate(rowReductions)) {
            auto part = running.slice(i * row.chunks, row.chunks);
            row.partial[reduceOp] = Chunks(part.begin(), part.end());
          }
          status = emitBody();
          SmallVector<Value> next;
          for (tile::ReduceOp reduceOp : rowReductions) {
            next.append(row.partial[reduceOp].begin(), row.partial[reduceOp].end());
          }
          return next;
        });
    for (auto [i, reduceOp] : llvm::enumerate(rowReductions)) {
      storeRow(buffers.lookup(reduceOp.getResult()), constant(0),
               ArrayRef<Value>(totals).slice(i * row.chunks, row.chunks));
    }
  }
  for (tile::ReduceOp reduceOp : body.getOps<tile::ReduceOp>()) {
    buffers.erase(reduceOp.getResult());
  }
  for (const Buffer &buffer : row.temporaries) {
    pool.release(buffer.offset, buffer.bytes());
  }
  return status;
}
