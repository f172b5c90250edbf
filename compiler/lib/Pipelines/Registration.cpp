// SPDX-License-Identifier: Apache-2.0
#include "tilewright/Conversion/Passes.h"
#include "tilewright/Dialect/Attn/IR/Attn.h"
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Dialect/Tile/Transforms/Passes.h"
#include "tilewright/Pipelines/Pipelines.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

void tilewright::registerDialects(DialectRegistry &registry) {
  registry.insert<attn::AttnDialect, tile::TileDialect, arith::ArithDialect, cf::ControlFlowDialect,
                  func::FuncDialect, LLVM::LLVMDialect, NVVM::NVVMDialect, scf::SCFDialect, vector::VectorDialect>();
  // Without these, translation to LLVM IR fails on builtin.module, the LLVM dialect's own operations, and NVVM's.
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  registerNVVMDialectTranslation(registry);
}

void tilewright::registerPassesAndPipelines() {
  registerTilewrightConversionPasses();
  tile::registerTilewrightTilePasses();
  registerCSEPass();
  registerCanonicalizerPass();
  static PassPipelineRegistration<CpuPipelineOptions> cpu(
      "tilewright-cpu", "attn operations to the LLVM dialect, for the CPU target", buildCpuPipeline);
  static PassPipelineRegistration<GpuPipelineOptions> gpu(
      "tilewright-gpu", "attn operations to the LLVM dialect, for the sm_80 family", buildGpuPipeline);
}
