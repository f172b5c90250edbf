// SPDX-License-Identifier: Apache-2.0
#include "tilewright/Target/CpuCodegen.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/InstCombine/InstCombine.h"
#include "llvm/Transforms/Scalar/EarlyCSE.h"
#include "llvm/Transforms/Scalar/LICM.h"
#include "llvm/Transforms/Scalar/LoopPassManager.h"
#include "llvm/Transforms/Scalar/SimplifyCFG.h"
#include <mutex>

using namespace llvm;
using namespace tilewright;

static Expected<std::unique_ptr<TargetMachine>> makeTargetMachine(CpuLevel level) {
  static std::once_flag once;
  std::call_once(once, [] {
    InitializeNativeTarget();
    InitializeNativeTargetAsmPrinter();
  });
  Triple triple("x86_64-unknown-linux-gnu");
  std::string message;
  const llvm::Target *target = TargetRegistry::lookupTarget(triple, message);
  if (!target) {
    return createStringError(message);
  }
  TargetOptions options;
  // Position independent: the loader may map code anywhere.
  std::unique_ptr<TargetMachine> machine(target->createTargetMachine(triple, cpuLevelInfo(level).name, "", options,
                                                                     Reloc::PIC_, CodeModel::Small,
                                                                     CodeGenOptLevel::Default));
  if (!machine) {
    return createStringError("LLVM has no code generator for %s", cpuLevelInfo(level).name.data());
  }
  return machine;
}

Expected<std::unique_ptr<Module>> tilewright::translateForCpu(mlir::ModuleOp module, CpuLevel level,
                                                              LLVMContext &context) {
  Expected<std::unique_ptr<TargetMachine>> machine = makeTargetMachine(level);
  if (!machine) {
    return machine.takeError();
  }
  std::unique_ptr<Module> result = mlir::translateModuleToLLVMIR(module, context, "tilewright");
  if (!result) {
    return createStringError("translation to LLVM IR failed");
  }
  result->setDataLayout((*machine)->createDataLayout());
  result->setTargetTriple((*machine)->getTargetTriple());
  for (Function &function : *result) {
    if (function.isDeclaration()) {
      continue;
    }
    // LLVM tunes generic levels for 256-bit vectors even where 512-bit ones exist; the code is written for these.
    function.addFnAttr("prefer-vector-width", std::to_string(cpuLevelInfo(level).vectorBits));
    function.addFnAttr("target-cpu", cpuLevelInfo(level).name);
    function.addFnAttr(Attribute::NoUnwind);
  }
  return result;
}

Error tilewright::optimizeForCpu(Module &module, CpuLevel level) {
  Expected<std::unique_ptr<TargetMachine>> machine = makeTargetMachine(level);
  if (!machine) {
    return machine.takeError();
  }
  LoopAnalysisManager lam;
  FunctionAnalysisManager fam;
  CGSCCAnalysisManager cgam;
  ModuleAnalysisManager mam;
  PassBuilder builder(machine->get());
  builder.registerModuleAnalyses(mam);
  builder.registerCGSCCAnalyses(cgam);
  builder.registerFunctionAnalyses(fam);
  builder.registerLoopAnalyses(lam);
  builder.crossRegisterProxies(lam, fam, cgam, mam);

  // Tile passes emit loops and vectors in their final shape: what remains is redundant address arithmetic and invariant
  // values in inner loops. Code generation has its own pass for induction variables.
  FunctionPassManager fpm;
  fpm.addPass(EarlyCSEPass());
  fpm.addPass(InstCombinePass());
  fpm.addPass(SimplifyCFGPass());
  fpm.addPass(createFunctionToLoopPassAdaptor(LICMPass(LICMOptions()), /*UseMemorySSA=*/true));
  fpm.addPass(EarlyCSEPass(/*UseMemorySSA=*/true));
  ModulePassManager mpm;
  mpm.addPass(createModuleToFunctionPassAdaptor(std::move(fpm)));
  mpm.run(module, mam);
  return Error::success();
}

Expected<std::string> tilewright::emitCpuObject(Module &module, CpuLevel level) {
  Expected<std::unique_ptr<TargetMachine>> machine = makeTargetMachine(level);
  if (!machine) {
    return machine.takeError();
  }
  SmallVector<char, 0> buffer;
  raw_svector_ostream stream(buffer);
  legacy::PassManager passes;
  if ((*machine)->addPassesToEmitFile(passes, stream, nullptr, CodeGenFileType::ObjectFile)) {
    return createStringError("LLVM cannot write object files for %s", cpuLevelInfo(level).name.data());
  }
  passes.run(module);
  return std::string(buffer.begin(), buffer.end());
}
