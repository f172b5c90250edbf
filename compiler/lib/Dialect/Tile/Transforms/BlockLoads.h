// SPDX-License-Identifier: Apache-2.0
//
// Shared by the passes that move loads of products' operands into shared memory: which loads those are, and their
// addresses for another iteration of a block loop.
#ifndef TILEWRIGHT_LIB_DIALECT_TILE_TRANSFORMS_BLOCKLOADS_H
#define TILEWRIGHT_LIB_DIALECT_TILE_TRANSFORMS_BLOCKLOADS_H

#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace tilewright::tile {

/// Whether products read what is loaded, and nothing else does.
bool feedsDots(LoadOp load);

/// The loads of a block (not of regions inside it) that feed products.
llvm::SmallVector<LoadOp> operandLoads(mlir::Block &block);

/// Whether `value`, in the body of `loop`, follows from the loop's number: it can be computed for another iteration.
bool canRecompute(mlir::Value value, mlir::scf::ForOp loop);

/// Fails, with a diagnostic, where a load of the loop's body could not be started in another iteration, or has readers
/// outside of its block; with `nested`, outside of its block and the regions in it.
mlir::LogicalResult checkLoads(mlir::scf::ForOp loop, llvm::ArrayRef<LoadOp> loads, bool nested = false);

/// `value` for the induction variable that `mapping` holds: what the body computes of it is computed again.
mlir::Value recompute(mlir::ImplicitLocOpBuilder &b, mlir::Value value, mlir::scf::ForOp loop,
                      mlir::IRMapping &mapping);

} // namespace tilewright::tile

#endif // TILEWRIGHT_LIB_DIALECT_TILE_TRANSFORMS_BLOCKLOADS_H
