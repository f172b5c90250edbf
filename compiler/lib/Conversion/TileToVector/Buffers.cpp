// SPDX-License-Identifier: Apache-2.0
//
// Where tiles live: scratch memory, who dies where, and whose memory is written in place.
#include "Lowering.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile2vec;

int64_t ScratchPool::allocate(int64_t bytes) {
  bytes = llvm::alignTo(bytes, 64);
  SmallVector<int64_t> &ranges = free[bytes];
  if (!ranges.empty()) {
    return ranges.pop_back_val();
  }
  int64_t offset = size;
  size += bytes;
  return offset;
}

void ScratchPool::release(int64_t offset, int64_t bytes) { free[llvm::alignTo(bytes, 64)].push_back(offset); }

Buffer FunctionLowering::makeBuffer(RankedTensorType type) {
  Buffer buffer;
  buffer.rows = type.getRank() == 2 ? type.getDimSize(0) : 1;
  buffer.cols = type.getDimSize(type.getRank() - 1);
  buffer.ld = llvm::alignTo(buffer.cols, lanes);
  buffer.element = type.getElementType().isInteger(1) ? b.getI8Type() : type.getElementType();
  buffer.offset = pool.allocate(buffer.bytes());
  return buffer;
}

Buffer FunctionLowering::bufferOf(Value tile) {
  auto it = buffers.find(tile);
  if (it != buffers.end()) {
    return it->second;
  }
  // Only constants reach this point: every other tile got its buffer where it was computed. The buffer is this use's
  // own, for the constant may be needed again after the memory has been written.
  auto constant = tile.getDefiningOp<arith::ConstantOp>();
  if (!constant) {
    llvm::report_fatal_error("convert-tile-to-vector: a tile is used before it is computed");
  }
  Buffer buffer = makeBuffer(cast<RankedTensorType>(tile.getType()));
  fill(buffer, constant);
  return buffer;
}

bool FunctionLowering::diesAt(Value tile, Operation *op) {
  if (tile.getParentBlock() != op->getBlock() || !buffers.count(tile)) {
    return false;
  }
  return llvm::all_of(tile.getUsers(), [&](Operation *user) {
    Operation *ancestor = op->getBlock()->findAncestorOpInBlock(*user);
    return ancestor == op || (ancestor && ancestor->isBeforeInBlock(op));
  });
}

void FunctionLowering::takeOver(Value result, Value operand) {
  buffers[result] = buffers.lookup(operand);
  // Whoever owned the memory still does: a loop-carried tile's home is the loop's, any other passes on.
  if (borrowed.contains(operand)) {
    borrowed.insert(result);
  }
  buffers.erase(operand);
}

void FunctionLowering::releaseDead(Operation *op) {
  SmallVector<Value> candidates(op->getOperands());
  op->walk([&](Operation *nested) { candidates.append(nested->operand_begin(), nested->operand_end()); });
  candidates.append(op->result_begin(), op->result_end()); // results that nobody reads
  for (Value value : candidates) {
    if (!isa<RankedTensorType>(value.getType()) || !diesAt(value, op)) {
      continue;
    }
    Buffer buffer = buffers.lookup(value);
    if (!borrowed.contains(value)) {
      pool.release(buffer.offset, buffer.bytes());
    }
    buffers.erase(value);
  }
}

void FunctionLowering::copy(const Buffer &to, const Buffer &from) {
  if (to.offset == from.offset) {
    return;
  }
  loop(constant(0), constant(from.rows), 1, {}, [&](Value row, ValueRange) -> SmallVector<Value> {
    storeRow(to, row, loadRow(from, row));
    return {};
  });
}

void FunctionLowering::fill(const Buffer &buffer, arith::ConstantOp constantOp) {
  auto splat = cast<SplatElementsAttr>(constantOp.getValue());
  Value vector = arith::ConstantOp::create(
      b, DenseElementsAttr::get(vectorType(buffer.element), splat.getSplatValue<Attribute>()));
  SmallVector<Value> chunks(buffer.ld / lanes, vector);
  loop(constant(0), constant(buffer.rows), 1, {}, [&](Value row, ValueRange) -> SmallVector<Value> {
    storeRow(buffer, row, chunks);
    return {};
  });
}
