// SPDX-License-Identifier: Apache-2.0
//
// Internal to convert-tile-to-nvvm: the state of lowering one kernel function. As on the CPU, the old function is walked
// once and the new one emitted.
#ifndef TILEWRIGHT_CONVERSION_TILETONVVM_LOWERING_H
#define TILEWRIGHT_CONVERSION_TILETONVVM_LOWERING_H

#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace tilewright::tile2nvvm {

/// A tile's elements that one thread holds. Of a rank-2 tile: for each slab, for each group of 8 columns, the four
/// elements (row l/4, row l/4, row l/4 + 8, row l/4 + 8) by (column 2(l%4), +1, 2(l%4), +1). Of a rank-1 tile over rows:
/// for each slab, rows l/4 and l/4 + 8. A tile of 16-bit floats is packed: one i32 holds the two columns of a row.
struct Fragment {
  llvm::SmallVector<mlir::Value> elements;
  bool packed = false;
};

/// A buffer in shared memory.
struct SharedBuffer {
  int64_t offset = 0;
  int64_t rows = 0, cols = 0;
  int64_t paddedCols = 0; ///< columns rounded up to 16: what a matrix instruction may touch
  int64_t pitch = 0;      ///< bytes from row to row: an odd number of 16-byte units, so that eight rows share no banks
};

/// Refuses, with a diagnostic on the operation, what the lowering or LLVM's backend has no code for.
mlir::LogicalResult verifyProgram(mlir::func::FuncOp func, tile::GpuScheduleAttr schedule, tile::GpuTargetAttr target);

class FunctionLowering {
public:
  FunctionLowering(mlir::func::FuncOp func, tile::GpuScheduleAttr schedule)
      : func(func), warps(schedule.getWarps()), b(func.getLoc(), func.getContext()) {}

  mlir::LogicalResult run();

private:
  //===- TileToNVVM.cpp: function, blocks, loops ------------------------------------------------------------------===//
  mlir::LogicalResult lowerBlock(mlir::Block &block);
  mlir::LogicalResult lowerOp(mlir::Operation &op);
  mlir::LogicalResult lowerFor(mlir::scf::ForOp op);
  mlir::LogicalResult lowerIf(mlir::scf::IfOp op);

  //===- Fragments.cpp: elementwise work, rows, global memory of fragments ----------------------------------------===//
  mlir::LogicalResult lowerElementwise(mlir::Operation &op);
  mlir::LogicalResult lowerTruncate(mlir::arith::TruncFOp op);
  mlir::LogicalResult lowerReduce(tile::ReduceOp op);
  mlir::LogicalResult lowerLoad(tile::LoadOp op);
  mlir::LogicalResult lowerStore(tile::StoreOp op);
  mlir::LogicalResult lowerLoadScalar(tile::LoadScalarOp op);
  void storeVector(tile::StoreOp op, tile::ViewOp view);
  void storeMatrix(tile::StoreOp op, tile::ViewOp view);
  /// Elements of a tile; constants are materialised.
  llvm::ArrayRef<mlir::Value> fragmentOf(mlir::Value tile);

  //===- SharedMemory.cpp: copies and products --------------------------------------------------------------------===//
  void lowerAllocShared(tile::AllocSharedOp op);
  mlir::LogicalResult lowerAsyncLoad(tile::AsyncLoadOp op);
  void copyByThreads(const SharedBuffer &buffer, tile::ViewOp view, mlir::Value firstRow, mlir::Value firstCol,
                     bool rowBound, mlir::Type memory);
  void copyAsync(const SharedBuffer &buffer, tile::ViewOp view, mlir::Value firstRow, mlir::Value firstCol,
                 bool rowBound, int64_t chunkBytes);
  mlir::LogicalResult lowerDot(tile::DotOp op);
  llvm::SmallVector<mlir::Value> loadMatrix(mlir::Value address, bool transposed);
  mlir::Value sharedAddress(const SharedBuffer &buffer, mlir::Value bytes, int64_t constantBytes);

  //===- Shared emitters ------------------------------------------------------------------------------------------===//
  mlir::Value i32(int64_t value) { return mlir::arith::ConstantOp::create(b, b.getI32IntegerAttr(value)); }
  mlir::Value index(int64_t value) { return mlir::arith::ConstantIndexOp::create(b, value); }
  mlir::Value toIndex(mlir::Value i32Value) {
    return mlir::arith::IndexCastOp::create(b, b.getIndexType(), i32Value);
  }
  mlir::Value globalAddress(mlir::Value base, mlir::Type element, mlir::Value elements);
  /// Row of slab `slab`, lower (0) or upper (1) half, that this thread holds: i32.
  mlir::Value rowOf(int64_t slab, int64_t half);
  /// First of the two columns of group `group` that this thread holds: i32.
  mlir::Value colOf(int64_t group);
  int64_t slabsOf(int64_t rows) const { return rows / (16 * warps); }
  static int64_t groupsOf(int64_t cols) { return (cols + 7) / 8; }
  void ifThen(mlir::Value condition, llvm::function_ref<void()> body);
  int64_t threads() const { return 32 * warps; }

  mlir::func::FuncOp func;
  int64_t warps;
  mlir::ImplicitLocOpBuilder b;
  mlir::Value thread, warp, lane, laneRow, laneCol; ///< i32; laneRow = lane / 4, laneCol = 2 (lane % 4)
  mlir::Value shared;                               ///< base of dynamic shared memory
  mlir::IRMapping scalars;
  llvm::DenseMap<mlir::Value, Fragment> fragments;
  llvm::DenseMap<mlir::Value, SharedBuffer> sharedBuffers;
  int64_t sharedBytes = 0;
};

} // namespace tilewright::tile2nvvm

#endif // TILEWRIGHT_CONVERSION_TILETONVVM_LOWERING_H
