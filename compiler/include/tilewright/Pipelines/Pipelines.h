// SPDX-License-Identifier: Apache-2.0
//
// The only place that orders passes. The JIT, tilewright-opt and the tests build the same pipelines from here.
#ifndef TILEWRIGHT_PIPELINES_PIPELINES_H
#define TILEWRIGHT_PIPELINES_PIPELINES_H

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"

namespace mlir {
class DialectRegistry;
} // namespace mlir

namespace tilewright {

/// The stages of the CPU pipeline, in order. Each names the IR after its passes.
enum class CpuStage { Tile, Schedule, Vector, Llvm };

struct CpuPipelineOptions : public mlir::PassPipelineOptions<CpuPipelineOptions> {
  Option<CpuStage> until{*this, "until", llvm::cl::desc("Stop after this stage"), llvm::cl::init(CpuStage::Llvm),
                         llvm::cl::values(clEnumValN(CpuStage::Tile, "tile", "the tile program"),
                                          clEnumValN(CpuStage::Schedule, "schedule", "with its schedule applied"),
                                          clEnumValN(CpuStage::Vector, "vector", "vector code, the kernel ABI"),
                                          clEnumValN(CpuStage::Llvm, "llvm", "the LLVM dialect"))};
};

/// attn -> tile: score stages expanded into a tile program.
void addTileStage(mlir::OpPassManager &pm);
/// tile -> schedule: programs on a grid, products annotated, row-wise work grouped.
void addScheduleStage(mlir::OpPassManager &pm);
/// schedule -> vector: native vectors, scratch buffers, the CPU kernel ABI.
void addVectorStage(mlir::OpPassManager &pm);
/// vector -> llvm: the LLVM dialect, ready for translation.
void addLlvmStage(mlir::OpPassManager &pm);

/// All stages up to and including `until`.
void buildCpuPipeline(mlir::OpPassManager &pm, const CpuPipelineOptions &options);

/// The stages of the GPU pipeline, in order.
enum class GpuStage { Tile, Schedule, Nvvm, Llvm };

struct GpuPipelineOptions : public mlir::PassPipelineOptions<GpuPipelineOptions> {
  Option<GpuStage> until{*this, "until", llvm::cl::desc("Stop after this stage"), llvm::cl::init(GpuStage::Llvm),
                         llvm::cl::values(clEnumValN(GpuStage::Tile, "tile", "the tile program"),
                                          clEnumValN(GpuStage::Schedule, "schedule", "with its loads staged"),
                                          clEnumValN(GpuStage::Nvvm, "nvvm", "fragments and matrix instructions"),
                                          clEnumValN(GpuStage::Llvm, "llvm", "the LLVM dialect"))};
};

/// tile -> schedule: programs on a grid, operands of products staged in shared memory.
void addGpuScheduleStage(mlir::OpPassManager &pm);
/// schedule -> nvvm: fragments in registers, matrix instructions.
void addNvvmStage(mlir::OpPassManager &pm);
/// nvvm -> llvm: the LLVM dialect, ready for translation.
void addGpuLlvmStage(mlir::OpPassManager &pm);

/// All stages up to and including `until`.
void buildGpuPipeline(mlir::OpPassManager &pm, const GpuPipelineOptions &options);

/// Dialects and interfaces that the pipelines and the translation to LLVM IR need.
void registerDialects(mlir::DialectRegistry &registry);
/// All passes and pipelines, for command lines (tilewright-opt). Global; the JIT never calls it.
void registerPassesAndPipelines();

} // namespace tilewright

#endif // TILEWRIGHT_PIPELINES_PIPELINES_H
