// SPDX-License-Identifier: Apache-2.0
#include "tilewright/Conversion/Passes.h"
#include "tilewright/Dialect/Tile/Transforms/Passes.h"
#include "tilewright/Pipelines/Pipelines.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/NVVMToLLVM/NVVMToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace tilewright;

void tilewright::addGpuScheduleStage(OpPassManager &pm) {
  pm.addNestedPass<func::FuncOp>(tile::createTileApplySchedule());
  pm.addNestedPass<func::FuncOp>(tile::createTileSinkRows());
  // Each kernel has loads for one of the two: by its target's family.
  pm.addNestedPass<func::FuncOp>(tile::createTileStageLoads());
  pm.addNestedPass<func::FuncOp>(tile::createTileSpecializeWarps());
  pm.addNestedPass<func::FuncOp>(tile::createTileOverlapProducts());
  pm.addNestedPass<func::FuncOp>(tile::createTileSplitLoops());
  pm.addNestedPass<func::FuncOp>(tile::createTileBulkStores());
  pm.addNestedPass<func::FuncOp>(tile::createTilePersistPrograms());
}

void tilewright::addNvvmStage(OpPassManager &pm) {
  pm.addPass(createConvertTileToNVVM());
  pm.addNestedPass<LLVM::LLVMFuncOp>(createCSEPass());
  pm.addNestedPass<LLVM::LLVMFuncOp>(createNvvmOrderRows());
}

void tilewright::addGpuLlvmStage(OpPassManager &pm) {
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createConvertNVVMToLLVMPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
}

void tilewright::buildGpuPipeline(OpPassManager &pm, const GpuPipelineOptions &options) {
  struct StageBuilder {
    GpuStage stage;
    void (*add)(OpPassManager &);
  };
  const StageBuilder stages[] = {{GpuStage::Tile, addTileStage},
                                 {GpuStage::Schedule, addGpuScheduleStage},
                                 {GpuStage::Nvvm, addNvvmStage},
                                 {GpuStage::Llvm, addGpuLlvmStage}};
  for (const StageBuilder &stage : stages) {
    stage.add(pm);
    if (options.until == stage.stage) {
      return;
    }
  }
}
