// SPDX-License-Identifier: Apache-2.0
//
// Products and transpositions on buffers. A product is a register tile of `micro` rows by native vectors that walks the
// depth: each step broadcasts one element of A a row, loads one row piece of B, and multiplies and adds. Which way A is
// stored does not matter to that, so a transposed A costs nothing; a transposed B is transposed in scratch first.
#include "Lowering.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile2vec;

LogicalResult FunctionLowering::lowerDot(tile::DotOp op) {
  auto aType = cast<RankedTensorType>(op.getA().getType());
  auto accType = cast<RankedTensorType>(op.getAcc().getType());
  if (!aType.getElementType().isF32()) {
    return op.emitOpError("expected float32 operands on a CPU, got ") << aType;
  }
  if (!op.getMicro() || op.getMicro()->size() != 2) {
    return op.emitOpError("expected a register tile (micro): run tile-apply-schedule first");
  }
  int64_t microRows = (*op.getMicro())[0], microVectors = (*op.getMicro())[1];
  Buffer a = bufferOf(op.getA());
  Buffer right = bufferOf(op.getB());
  int64_t depth = aType.getDimSize(op.getTransA() ? 0 : 1);
  int64_t rows = accType.getDimSize(0);

  Buffer packed;
  if (op.getTransB()) {
    packed = makeBuffer(RankedTensorType::get({right.cols, right.rows}, b.getF32Type()));
    transpose(packed, right);
    right = packed;
  }
  // The accumulator: a constant starts the registers, a tile that dies here is updated in place.
  Attribute init;
  Buffer acc;
  if (auto constantOp = op.getAcc().getDefiningOp<arith::ConstantOp>()) {
    init = cast<SplatElementsAttr>(constantOp.getValue()).getSplatValue<Attribute>();
    buffers[op.getResult()] = makeBuffer(accType);
  } else {
    acc = bufferOf(op.getAcc());
    if (diesAt(op.getAcc(), op) && op.getAcc() != op.getA() && op.getAcc() != op.getB()) {
      takeOver(op.getResult(), op.getAcc());
    } else {
      buffers[op.getResult()] = makeBuffer(accType);
    }
  }
  Buffer out = buffers.lookup(op.getResult());

  int64_t vectors = out.ld / lanes;
  int64_t fullRows = rows - rows % microRows;
  int64_t fullVectors = vectors - vectors % microVectors;
  auto rowLoops = [&](Value vector, int64_t width) {
    if (fullRows != 0) {
      loop(constant(0), constant(fullRows), microRows, {}, [&](Value row, ValueRange) -> SmallVector<Value> {
        emitPanel(a, op.getTransA(), right, acc, init, out, row, microRows, vector, width, depth);
        return {};
      });
    }
    if (fullRows != rows) {
      emitPanel(a, op.getTransA(), right, acc, init, out, constant(fullRows), rows - fullRows, vector, width, depth);
    }
  };
  if (fullVectors != 0) {
    loop(constant(0), constant(fullVectors * lanes), microVectors * lanes, {},
         [&](Value col, ValueRange) -> SmallVector<Value> {
           rowLoops(col, microVectors);
           return {};
         });
  }
  if (fullVectors != vectors) {
    rowLoops(constant(fullVectors * lanes), vectors - fullVectors);
  }
  if (packed) {
    pool.release(packed.offset, packed.bytes());
  }
  return success();
}

/// One register tile: rows [row, row + rows) by `vectors` native vectors from column `col`, over the whole depth.
void FunctionLowering::emitPanel(const Buffer &a, bool transA, const Buffer &right, const Buffer &acc, Attribute init,
                                 const Buffer &out, Value row, int64_t rows, Value col, int64_t vectors,
                                 int64_t depth) {
  Type f32 = b.getF32Type();
  auto pieceOf = [&](const Buffer &buffer, Value base, int64_t i, int64_t j) {
    return addressConstant(base, f32, i * buffer.ld + j * lanes);
  };
  SmallVector<Value> sums;
  if (init) {
    Value start = arith::ConstantOp::create(b, DenseElementsAttr::get(vectorType(f32), init));
    sums.assign(rows * vectors, start);
  } else {
    Value base = elementAddress(acc, row, col);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < vectors; ++j) {
        sums.push_back(loadVector(pieceOf(acc, base, i, j), f32, lanes * 4));
      }
    }
  }
  Value aBase = transA ? elementAddress(a, constant(0), row) : elementAddress(a, row, {});
  Value bBase = elementAddress(right, constant(0), col);
  sums = loop(constant(0), constant(depth), 1, sums, [&](Value k, ValueRange carried) {
    Value bRow = address(bBase, f32, arith::MulIOp::create(b, k, constant(right.ld)));
    SmallVector<Value> pieces;
    for (int64_t j = 0; j < vectors; ++j) {
      pieces.push_back(loadVector(addressConstant(bRow, f32, j * lanes), f32, lanes * 4));
    }
    Value aPlace = address(aBase, f32, transA ? Value(arith::MulIOp::create(b, k, constant(a.ld))) : k);
    SmallVector<Value> next;
    for (int64_t i = 0; i < rows; ++i) {
      Value element = LLVM::LoadOp::create(b, f32, addressConstant(aPlace, f32, transA ? i : i * a.ld), 4);
      Value repeated = vector::BroadcastOp::create(b, vectorType(f32), element);
      for (int64_t j = 0; j < vectors; ++j) {
        next.push_back(math.fma(repeated, pieces[j], carried[i * vectors + j]));
      }
    }
    return next;
  });
  Value base = elementAddress(out, row, col);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < vectors; ++j) {
      LLVM::StoreOp::create(b, sums[i * vectors + j], pieceOf(out, base, i, j), lanes * 4);
    }
  }
}

LogicalResult FunctionLowering::lowerTranspose(tile::TransposeOp op) {
  Buffer from = bufferOf(op.getSource());
  Buffer to = makeBuffer(cast<RankedTensorType>(op.getResult().getType()));
  buffers[op.getResult()] = to;
  transpose(to, from);
  return success();
}

/// Element by element. Transpositions stand outside the block loops of the schedules in use (of Q and of the output,
/// once a program), where they are one part in a hundred of the work.
void FunctionLowering::transpose(const Buffer &to, const Buffer &from) {
  loop(constant(0), constant(from.rows), 1, {}, [&](Value row, ValueRange) -> SmallVector<Value> {
    loop(constant(0), constant(from.cols), 1, {}, [&](Value col, ValueRange) -> SmallVector<Value> {
      Value value = LLVM::LoadOp::create(b, from.element, elementAddress(from, row, col), from.elementBytes());
      LLVM::StoreOp::create(b, value, elementAddress(to, col, row), to.elementBytes());
      return {};
    });
    return {};
  });
}
