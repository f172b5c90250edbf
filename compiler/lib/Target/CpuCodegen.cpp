// SPDX-License-Identifier: Apache-2.0
#include "tilewright/Target/CpuCodegen.h"
#include "LeanPipeline.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include <mutex>

using namespace llvm;
using namespace tilewright;

static Expected<std::unique_ptr<TargetMachine>> makeTargetMachine(CpuLevel level) {
  static std::once_flag once;
  std::call_once(once, [] {
    InitializeNativeTarget();
    InitializeNativeTargetAsmPrinter();
  });
  return makeMachine("x86_64-unknown-linux-gnu", cpuLevelInfo(level).name, "", TargetOptions());
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
  runLeanPipeline(module, **machine);
  return Error::success();
}

Expected<std::string> tilewright::emitCpuObject(Module &module, CpuLevel level) {
  Expected<std::unique_ptr<TargetMachine>> machine = makeTargetMachine(level);
  if (!machine) {
    return machine.takeError();
  }
  return emitCode(module, **machine, CodeGenFileType::ObjectFile);
}
