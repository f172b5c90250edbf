// SPDX-License-Identifier: Apache-2.0
//
// The tile dialect: how a kernel is computed, on whole tiles. See TileOps.td for the operations.
#ifndef TILEWRIGHT_DIALECT_TILE_IR_TILE_H
#define TILEWRIGHT_DIALECT_TILE_IR_TILE_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "tilewright/Dialect/Tile/IR/TileEnums.h.inc"

#include "tilewright/Dialect/Tile/IR/TileDialect.h.inc"

#define GET_TYPEDEF_CLASSES
#include "tilewright/Dialect/Tile/IR/TileTypes.h.inc"

#define GET_ATTRDEF_CLASSES
#include "tilewright/Dialect/Tile/IR/TileAttributes.h.inc"

#define GET_OP_CLASSES
#include "tilewright/Dialect/Tile/IR/TileOps.h.inc"

namespace tilewright::tile {

/// Names of the attributes that a kernel function carries.
inline constexpr llvm::StringLiteral kKernelAttr = "tile.kernel";        ///< unit: marks a kernel
inline constexpr llvm::StringLiteral kScheduleAttr = "tile.schedule";    ///< ScheduleAttr or GpuScheduleAttr
inline constexpr llvm::StringLiteral kTargetAttr = "tile.target";        ///< CpuTargetAttr or GpuTargetAttr
inline constexpr llvm::StringLiteral kScratchAttr = "tile.scratch_bytes"; ///< i64: scratch a running program needs
inline constexpr llvm::StringLiteral kRowByRowAttr = "tile.row_by_row";  ///< unit: of a kernel for nvvm-order-rows
inline constexpr llvm::StringLiteral kSharedAttr = "tile.shared_bytes";   ///< i64: dynamic shared memory of a block

/// Instruction families of a GpuTargetAttr.
inline constexpr llvm::StringLiteral kSm80Family = "sm_80";   ///< mma.sync and cp.async: every GPU from Ampere on
inline constexpr llvm::StringLiteral kSm90aFamily = "sm_90a"; ///< wgmma and TMA: Hopper only

/// Constants, splats, index tiles and broadcasts: `tile.fused` repeats them wherever they are read.
bool isRepeatable(mlir::Operation *op);
/// The shape that a load, a store, an elementwise operation or a reduction runs over; empty for any other operation.
llvm::ArrayRef<int64_t> rowwiseShape(mlir::Operation *op);

} // namespace tilewright::tile

#endif // TILEWRIGHT_DIALECT_TILE_IR_TILE_H
