// SPDX-License-Identifier: Apache-2.0
#include "TileProgram.h"
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Pipelines/Pipelines.h"
#include "tilewright/Target/CpuCodegen.h"
#include "tilewright/runtime/Compiler.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/IR/Module.h"
#include <stdexcept>

using namespace tilewright;
using namespace tilewright::tests;

namespace {

template <typename T> T take(llvm::Expected<T> value) {
  if (!value) {
    throw std::runtime_error(llvm::toString(value.takeError()));
  }
  return std::move(*value);
}

} // namespace

std::unique_ptr<runtime::LoadedKernel> tests::compileTileProgram(const std::string &function, CpuLevel level,
                                                                 const std::string &micro) {
  std::string text = function;
  const std::string attributes = "attributes {tile.kernel, tile.schedule = #tile.schedule<kq, 16 x 16, micro " + micro +
                                 ">, tile.target = #tile.cpu<\"" + std::string(cpuLevelInfo(level).name) + "\">} ";
  text.insert(text.rfind('{', text.find(") {") + 2), attributes);

  mlir::DialectRegistry registry;
  registerDialects(registry);
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  std::string said;
  mlir::ScopedDiagnosticHandler handler(&context, [&](mlir::Diagnostic &d) { said += d.str() + "\n"; });
  mlir::OwningOpRef<mlir::ModuleOp> module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  if (!module) {
    throw std::runtime_error("parsing:\n" + said + text);
  }
  mlir::PassManager pm(&context);
  addScheduleStage(pm);
  addVectorStage(pm);
  if (mlir::failed(pm.run(*module))) {
    throw std::runtime_error("passes:\n" + said);
  }
  auto func = *module->getOps<mlir::func::FuncOp>().begin();
  runtime::Artifact artifact;
  artifact.keyText = "a tile program";
  artifact.symbol = "program";
  artifact.scratchBytes = static_cast<uint64_t>(func->getAttrOfType<mlir::IntegerAttr>(tile::kScratchAttr).getInt());
  mlir::PassManager toLlvm(&context);
  addLlvmStage(toLlvm);
  if (mlir::failed(toLlvm.run(*module))) {
    throw std::runtime_error("passes:\n" + said);
  }
  llvm::LLVMContext llvmContext;
  std::unique_ptr<llvm::Module> llvmModule = take(translateForCpu(*module, level, llvmContext));
  if (llvm::Error error = optimizeForCpu(*llvmModule, level)) {
    throw std::runtime_error(llvm::toString(std::move(error)));
  }
  artifact.object = take(emitCpuObject(*llvmModule, level));
  return runtime::loadArtifact(artifact);
}
