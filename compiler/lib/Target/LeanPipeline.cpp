// SPDX-License-Identifier: Apache-2.0
#include "LeanPipeline.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Transforms/InstCombine/InstCombine.h"
#include "llvm/Transforms/Scalar/EarlyCSE.h"
#include "llvm/Transforms/Scalar/LICM.h"
#include "llvm/Transforms/Scalar/LoopPassManager.h"
#include "llvm/Transforms/Scalar/SimplifyCFG.h"

using namespace llvm;

Expected<std::unique_ptr<TargetMachine>> tilewright::makeMachine(const char *triple, StringRef cpu, StringRef features,
                                                                 const TargetOptions &options) {
  Triple parsed(triple);
  std::string message;
  const llvm::Target *target = TargetRegistry::lookupTarget(parsed, message);
  if (!target) {
    return createStringError(message);
  }
  std::unique_ptr<TargetMachine> machine(target->createTargetMachine(parsed, cpu, features, options, Reloc::PIC_,
                                                                     std::nullopt, CodeGenOptLevel::Default));
  if (!machine) {
    return createStringError("LLVM has no code generator for " + cpu);
  }
  return machine;
}

void tilewright::runLeanPipeline(Module &module, TargetMachine &machine) {
  LoopAnalysisManager lam;
  FunctionAnalysisManager fam;
  CGSCCAnalysisManager cgam;
  ModuleAnalysisManager mam;
  PassBuilder builder(&machine);
  builder.registerModuleAnalyses(mam);
  builder.registerCGSCCAnalyses(cgam);
  builder.registerFunctionAnalyses(fam);
  builder.registerLoopAnalyses(lam);
  builder.crossRegisterProxies(lam, fam, cgam, mam);

  FunctionPassManager fpm;
  fpm.addPass(EarlyCSEPass());
  fpm.addPass(InstCombinePass());
  fpm.addPass(SimplifyCFGPass());
  fpm.addPass(createFunctionToLoopPassAdaptor(LICMPass(LICMOptions()), /*UseMemorySSA=*/true));
  fpm.addPass(EarlyCSEPass(/*UseMemorySSA=*/true));
  ModulePassManager mpm;
  mpm.addPass(createModuleToFunctionPassAdaptor(std::move(fpm)));
  mpm.run(module, mam);
}

Expected<std::string> tilewright::emitCode(Module &module, TargetMachine &machine, CodeGenFileType type) {
  SmallVector<char, 0> buffer;
  raw_svector_ostream stream(buffer);
  legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, type)) {
    return createStringError("LLVM cannot write this kind of file for " + machine.getTargetCPU());
  }
  passes.run(module);
  return std::string(buffer.begin(), buffer.end());
}
