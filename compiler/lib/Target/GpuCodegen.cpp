// SPDX-License-Identifier: Apache-2.0
#include "tilewright/Target/GpuCodegen.h"
#include "LeanPipeline.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"
#include <cstdlib>
#include <mutex>

extern "C" {
void LLVMInitializeNVPTXTargetInfo();
void LLVMInitializeNVPTXTarget();
void LLVMInitializeNVPTXTargetMC();
void LLVMInitializeNVPTXAsmPrinter();
}

using namespace llvm;
using namespace tilewright;

static Expected<std::unique_ptr<TargetMachine>> makeTargetMachine() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
  });
  TargetOptions options;
  // Multiplications and additions that stand side by side become one fused operation: a rounding less, never more.
  options.AllowFPOpFusion = FPOpFusion::Fast;
  return makeMachine("nvptx64-nvidia-cuda", "sm_80", "+ptx74", options);
}

Expected<std::unique_ptr<Module>> tilewright::translateForGpu(mlir::ModuleOp module, LLVMContext &context) {
  Expected<std::unique_ptr<TargetMachine>> machine = makeTargetMachine();
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

Error tilewright::optimizeForGpu(Module &module) {
  Expected<std::unique_ptr<TargetMachine>> machine = makeTargetMachine();
  if (!machine) {
    return machine.takeError();
  }
  runLeanPipeline(module, **machine);
  return Error::success();
}

Expected<std::string> tilewright::emitPtx(Module &module) {
  Expected<std::unique_ptr<TargetMachine>> machine = makeTargetMachine();
  if (!machine) {
    return machine.takeError();
  }
  return emitCode(module, **machine, CodeGenFileType::AssemblyFile);
}

std::optional<std::string> tilewright::findPtxas() {
  if (const char *chosen = std::getenv("TILEWRIGHT_PTXAS"); chosen && *chosen) {
    return std::string(chosen);
  }
  if (ErrorOr<std::string> found = sys::findProgramByName("ptxas")) {
    return *found;
  }
  if (ErrorOr<std::string> found = sys::findProgramByName("ptxas", {"/usr/local/cuda/bin"})) {
    return *found;
  }
  return std::nullopt;
}

Expected<std::string> tilewright::assemblePtx(const std::string &ptxas, const std::string &ptx, unsigned sm,
                                              std::string *log) {
  SmallString<128> source, object, output;
  SmallVector<SmallString<128> *> made;
  scope_exit removeFiles([&] {
    for (SmallString<128> *path : made) {
      sys::fs::remove(*path);
    }
  });
  for (auto [path, suffix] : {std::pair{&source, "ptx"}, {&object, "cubin"}, {&output, "log"}}) {
    if (std::error_code error = sys::fs::createTemporaryFile("tilewright", suffix, *path)) {
      return createStringError(error, "cannot make a temporary file for ptxas");
    }
    made.push_back(path);
  }
  {
    std::error_code error;
    raw_fd_ostream stream(source, error);
    stream << ptx;
    stream.close();
    if (error || stream.has_error()) {
      return createStringError("cannot write %s for ptxas", source.c_str());
    }
  }
  std::string arch = "-arch=sm_" + std::to_string(sm);
  SmallVector<StringRef> arguments = {ptxas, arch, "-v", source, "-o", object};
  std::optional<StringRef> redirects[] = {StringRef(""), StringRef(output), StringRef(output)};
  std::string message;
  int status = sys::ExecuteAndWait(ptxas, arguments, std::nullopt, redirects, /*SecondsToWait=*/120,
                                   /*MemoryLimit=*/0, &message);
  std::string text;
  if (ErrorOr<std::unique_ptr<MemoryBuffer>> printed = MemoryBuffer::getFile(output)) {
    text = (*printed)->getBuffer().str();
  }
  if (log) {
    *log = text;
  }
  if (status != 0) {
    return createStringError("%s %s failed (%d): %s%s", ptxas.c_str(), arch.c_str(), status, message.c_str(),
                             text.c_str());
  }
  ErrorOr<std::unique_ptr<MemoryBuffer>> bytes = MemoryBuffer::getFile(object);
  if (!bytes) {
    return createStringError(bytes.getError(), "cannot read the cubin that ptxas wrote");
  }
  return (*bytes)->getBuffer().str();
}
