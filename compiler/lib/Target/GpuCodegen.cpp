// SPDX-License-Identifier: Apache-2.0
#include "tilewright/Target/GpuCodegen.h"
#include "LeanPipeline.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Target/TargetMachine.h"
#include <mutex>

extern "C" {
void LLVMInitializeNVPTXTargetInfo();
void LLVMInitializeNVPTXTarget();
void LLVMInitializeNVPTXTargetMC();
void LLVMInitializeNVPTXAsmPrinter();
}

using namespace llvm;
using namespace tilewright;

/// Addresses in shared memory take 32 bits: half the instructions and registers that compute them. LLVM has this only
/// as an option of its command line; the registry is this library's own (symbols are hidden), so no other LLVM in the
/// process sees it.
static void useShortPointers() {
  auto option = cl::getRegisteredOptions().find("nvptx-short-ptr");
  if (option != cl::getRegisteredOptions().end()) {
    static_cast<cl::opt<bool> *>(option->second)->setValue(true);
  }
}

static Expected<std::unique_ptr<TargetMachine>> makeTargetMachine(GpuInstructions instructions) {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    useShortPointers();
  });
  TargetOptions options;
  // Multiplications and additions that stand side by side become one fused operation: a rounding less, never more.
  options.AllowFPOpFusion = FPOpFusion::Fast;
  const bool sm90a = instructions == GpuInstructions::Sm90a;
  return makeMachine("nvptx64-nvidia-cuda", sm90a ? "sm_90a" : "sm_80", sm90a ? "+ptx80" : "+ptx74", options);
}

Expected<std::unique_ptr<Module>> tilewright::translateForGpu(mlir::ModuleOp module, GpuInstructions instructions,
                                                              LLVMContext &context) {
  Expected<std::unique_ptr<TargetMachine>> machine = makeTargetMachine(instructions);
  if (!machine) {
    return machine.takeError();
  }
  std::unique_ptr<Module> result = mlir::translateModuleToLLVMIR(module, context, "tilewright");
  if (!result) {
    return createStringError("translation to LLVM IR failed");
  }
  result->setDataLayout((*machine)->createDataLayout());
  result->setTargetTriple((*machine)->getTargetTriple());
  return result;
}

Error tilewright::optimizeForGpu(Module &module, GpuInstructions instructions) {
  Expected<std::unique_ptr<TargetMachine>> machine = makeTargetMachine(instructions);
  if (!machine) {
    return machine.takeError();
  }
  runLeanPipeline(module, **machine);
  return Error::success();
}

Expected<std::string> tilewright::emitPtx(Module &module, GpuInstructions instructions) {
  Expected<std::unique_ptr<TargetMachine>> machine = makeTargetMachine(instructions);
  if (!machine) {
    return machine.takeError();
  }
  return emitCode(module, **machine, CodeGenFileType::AssemblyFile);
}
