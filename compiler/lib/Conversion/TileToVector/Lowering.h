// SPDX-License-Identifier: Apache-2.0
//
// Internal to convert-tile-to-vector: the state of lowering one kernel function. The old function is walked once, in
// order, and the new one emitted; there is nothing to match or to legalise, so no pattern driver is involved.
#ifndef TILEWRIGHT_CONVERSION_TILETOVECTOR_LOWERING_H
#define TILEWRIGHT_CONVERSION_TILETOVECTOR_LOWERING_H

#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Target/CpuLevel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace tilewright::tile2vec {

/// A tile's home in scratch memory: rows of whole native vectors.
struct Buffer {
  int64_t offset = -1; ///< bytes from the start of scratch, a multiple of 64
  int64_t rows = 0, cols = 0;
  int64_t ld = 0; ///< elements from row to row: cols rounded up to native vectors
  mlir::Type element; ///< as stored: i1 tiles are stored as i8

  int64_t elementBytes() const { return (element.getIntOrFloatBitWidth() + 7) / 8; }
  int64_t bytes() const { return rows * ld * elementBytes(); }
  explicit operator bool() const { return offset >= 0; }
};

/// Hands out scratch memory; a freed range serves the next tile of the same size.
class ScratchPool {
public:
  int64_t allocate(int64_t bytes);
  void release(int64_t offset, int64_t bytes);
  int64_t highWater() const { return size; }

private:
  int64_t size = 0;
  llvm::DenseMap<int64_t, llvm::SmallVector<int64_t>> free; // by size
};

/// Emits arithmetic on native vectors of float32 (and of the 16-bit formats). No library call is ever needed.
class VectorMath {
public:
  VectorMath(mlir::ImplicitLocOpBuilder &b, CpuLevel level) : b(b), level(level) {}

  mlir::Value exp2(mlir::Value x);
  mlir::Value log2(mlir::Value x);
  mlir::Value toF32(mlir::Value x);                          ///< from f16 or bf16
  mlir::Value fromF32(mlir::Value x, mlir::Type element);    ///< to f16 or bf16, nearest even
  mlir::Value fma(mlir::Value a, mlir::Value x, mlir::Value y); ///< fused where the target has it

private:
  mlir::Value f32(mlir::Value like, float value);
  mlir::Value i32(mlir::Value like, uint32_t value);
  mlir::Value bits(mlir::Value x, mlir::Type element);
  mlir::Type withElement(mlir::Value like, mlir::Type element);
  mlir::Value halfToF32(mlir::Value x);
  mlir::Value f32ToHalf(mlir::Value x);
  mlir::Value f32ToBFloat(mlir::Value x);

  mlir::ImplicitLocOpBuilder &b;
  CpuLevel level;
};

class FunctionLowering {
public:
  FunctionLowering(mlir::func::FuncOp func, CpuLevel level)
      : func(func), level(level), lanes(vectorLanes(level)), b(func.getLoc(), func.getContext()), math(b, level) {}

  mlir::LogicalResult run();

private:
  //===- TileToVector.cpp: function, blocks, loops ----------------------------------------------------------------===//
  void emitEntry(mlir::Block *old, mlir::Block *entry);
  mlir::LogicalResult lowerBlock(mlir::Block &block);
  mlir::LogicalResult lowerOp(mlir::Operation &op);
  mlir::LogicalResult lowerFor(mlir::scf::ForOp op);
  mlir::LogicalResult lowerIf(mlir::scf::IfOp op);
  mlir::LogicalResult lowerScalar(mlir::Operation &op);
  mlir::LogicalResult lowerLoadScalar(tile::LoadScalarOp op);

  //===- Buffers.cpp: where tiles live ----------------------------------------------------------------------------===//
  Buffer makeBuffer(mlir::RankedTensorType type);
  /// The buffer of a tile value; a constant gets one, filled here and now.
  Buffer bufferOf(mlir::Value tile);
  /// True if `op` is the last reader of `tile` and the tile belongs to the block `op` is in, so that its memory may be
  /// written by `op`.
  bool diesAt(mlir::Value tile, mlir::Operation *op);
  /// Gives `result` the buffer of `operand`, which dies.
  void takeOver(mlir::Value result, mlir::Value operand);
  void releaseDead(mlir::Operation *op);
  void copy(const Buffer &to, const Buffer &from);
  void fill(const Buffer &buffer, mlir::arith::ConstantOp constant);

  //===- Rowwise.cpp: tile.fused ----------------------------------------------------------------------------------===//
  mlir::LogicalResult lowerFused(tile::FusedOp op);
  using Chunks = llvm::SmallVector<mlir::Value, 8>;
  struct Row;
  mlir::LogicalResult lowerRow(Row &row, tile::FusedOp op);
  mlir::FailureOr<Chunks> chunksOf(Row &row, mlir::Value tile);
  mlir::FailureOr<Chunks> elementwise(Row &row, mlir::Operation *op);
  mlir::Value chosen(tile::LoadOp op, mlir::Value rowIndex, mlir::Value inside);
  Chunks loadGlobal(Row &row, tile::LoadOp op);
  mlir::LogicalResult storeGlobal(Row &row, tile::StoreOp op);
  mlir::LogicalResult reduce(Row &row, tile::ReduceOp op);
  Chunks loadRow(const Buffer &buffer, mlir::Value rowIndex);
  Chunks loadTile(mlir::Value tile, const Buffer &buffer, mlir::Value rowIndex);
  void storeRow(const Buffer &buffer, mlir::Value rowIndex, llvm::ArrayRef<mlir::Value> chunks);

  //===- Scans.cpp ------------------------------------------------------------------------------------------------===//
  /// `count` vectors of one row of a tile of random bits.
  Chunks randomBits(tile::RandomBitsOp op, mlir::Value rowIndex, int64_t count);
  void lowerHull(tile::HullOp op);
  void lowerAllSet(tile::AllSetOp op);

  //===- Dot.cpp: products and transposition ----------------------------------------------------------------------===//
  mlir::LogicalResult lowerDot(tile::DotOp op);
  void emitPanel(const Buffer &a, bool transA, const Buffer &b, const Buffer &acc, mlir::Attribute init,
                 const Buffer &out, mlir::Value row, int64_t rows, mlir::Value vector, int64_t vectors, int64_t depth);
  mlir::LogicalResult lowerTranspose(tile::TransposeOp op);
  void transpose(const Buffer &to, const Buffer &from);

  //===- Shared emitters ------------------------------------------------------------------------------------------===//
  mlir::Value constant(int64_t value) { return mlir::arith::ConstantIndexOp::create(b, value); }
  mlir::Value toI64(mlir::Value index);
  mlir::Value address(mlir::Value base, mlir::Type element, mlir::Value elements);
  /// An element of a view; one new index a dimension.
  mlir::Value loadElement(tile::ViewOp view, mlir::ValueRange indices);
  /// i1: whether an element of a view of bytes is not 0.
  mlir::Value isSet(tile::ViewOp view, mlir::Value index);
  mlir::Value addressConstant(mlir::Value base, mlir::Type element, int64_t elements);
  mlir::Value bufferBase(const Buffer &buffer);
  /// Address of element (row, col) of a buffer.
  mlir::Value elementAddress(const Buffer &buffer, mlir::Value row, mlir::Value col);
  mlir::VectorType vectorType(mlir::Type element) { return mlir::VectorType::get({lanes}, element); }
  mlir::Value loadVector(mlir::Value address, mlir::Type element, unsigned alignment);
  /// A loop over [begin, end) by `step`; `body` gets the induction variable and the carried values.
  llvm::SmallVector<mlir::Value> loop(mlir::Value begin, mlir::Value end, int64_t step, mlir::ValueRange carried,
                                      llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value,
                                                                                        mlir::ValueRange)> body);
  void ifThen(mlir::Value condition, llvm::function_ref<void()> body);

  mlir::func::FuncOp func;
  CpuLevel level;
  int64_t lanes;
  mlir::ImplicitLocOpBuilder b;
  VectorMath math;
  mlir::Value slots, program, scratch;
  mlir::IRMapping scalars;                      ///< old scalar to new
  llvm::DenseMap<mlir::Value, Buffer> buffers;  ///< old tile to its home
  llvm::DenseSet<mlir::Value> borrowed;         ///< tiles whose buffer somebody else releases
  ScratchPool pool;
};

} // namespace tilewright::tile2vec

#endif // TILEWRIGHT_CONVERSION_TILETOVECTOR_LOWERING_H
