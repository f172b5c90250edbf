// SPDX-License-Identifier: Apache-2.0
#include "tilewright/Conversion/Passes.h"
#include "tilewright/Dialect/Tile/Transforms/Passes.h"
#include "tilewright/Pipelines/Pipelines.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVMPass.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace tilewright;

void tilewright::addTileStage(OpPassManager &pm) {
  pm.addPass(createAttnExpand());
  // Index arithmetic of the program: one copy of each constant and offset.
  pm.addNestedPass<func::FuncOp>(createCSEPass());
}

void tilewright::addScheduleStage(OpPassManager &pm) {
  pm.addNestedPass<func::FuncOp>(tile::createTileApplySchedule());
  pm.addNestedPass<func::FuncOp>(tile::createTileFuseRowwise());
}

void tilewright::addVectorStage(OpPassManager &pm) {
  pm.addPass(createConvertTileToVector());
  // No canonicalizer: on loops that carry many vectors it costs more than all other passes together.
  pm.addNestedPass<func::FuncOp>(createCSEPass());
}

void tilewright::addLlvmStage(OpPassManager &pm) {
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createConvertFuncToLLVMPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
}

void tilewright::buildCpuPipeline(OpPassManager &pm, const CpuPipelineOptions &options) {
  struct StageBuilder {
    CpuStage stage;
    void (*add)(OpPassManager &);
  };
  const StageBuilder stages[] = {{CpuStage::Tile, addTileStage},
                                 {CpuStage::Schedule, addScheduleStage},
                                 {CpuStage::Vector, addVectorStage},
                                 {CpuStage::Llvm, addLlvmStage}};
  for (const StageBuilder &stage : stages) {
    stage.add(pm);
    if (options.until == stage.stage) {
      return;
    }
  }
}
