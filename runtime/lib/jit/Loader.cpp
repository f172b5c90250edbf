// SPDX-License-Identifier: Apache-2.0
//
// Maps a kernel's object into executable memory through LLVM's ORC. A kernel calls nothing but, at most, the C
// library's memory functions that LLVM makes of loops; no other symbol of the process is offered to it.
#include "tilewright/runtime/Compiler.h"
#include "tilewright/runtime/Error.h"
#include "llvm/ExecutionEngine/Orc/AbsoluteSymbols.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/ExecutionEngine/Orc/ObjectLinkingLayer.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/TargetSelect.h"
#include <cstring>
#include <mutex>

using namespace llvm;
using namespace tilewright::runtime;

namespace {

class JitKernel : public LoadedKernel {
public:
  explicit JitKernel(std::unique_ptr<orc::LLJIT> jit) : jit(std::move(jit)) {}

private:
  std::unique_ptr<orc::LLJIT> jit;
};

template <typename T> T check(Expected<T> value, const std::string &what) {
  if (!value) {
    throw tilewright::runtime::Error(TW_COMPILE_ERROR, what + ": " + toString(value.takeError()));
  }
  return std::move(*value);
}

void check(llvm::Error error, const std::string &what) {
  if (error) {
    throw tilewright::runtime::Error(TW_COMPILE_ERROR, what + ": " + toString(std::move(error)));
  }
}

} // namespace

std::unique_ptr<LoadedKernel> tilewright::runtime::loadArtifact(const Artifact &artifact) {
  static std::once_flag once;
  std::call_once(once, [] {
    InitializeNativeTarget();
    InitializeNativeTargetAsmPrinter();
  });
  std::string what = "loading " + artifact.keyText;
  orc::LLJITBuilder builder;
  // The object says which CPU it is for; a host triple is all that linking needs.
  builder.setJITTargetMachineBuilder(orc::JITTargetMachineBuilder(Triple("x86_64-unknown-linux-gnu")));
  builder.setLinkProcessSymbolsByDefault(false);
  builder.setPlatformSetUp(orc::setUpInactivePlatform);
  std::unique_ptr<orc::LLJIT> jit = check(builder.create(), what);

  orc::SymbolMap memory;
  auto offer = [&](StringRef name, void *address) {
    memory[jit->mangleAndIntern(name)] = {orc::ExecutorAddr::fromPtr(address), JITSymbolFlags::Exported};
  };
  offer("memset", reinterpret_cast<void *>(&::memset));
  offer("memcpy", reinterpret_cast<void *>(&::memcpy));
  offer("memmove", reinterpret_cast<void *>(&::memmove));
  check(jit->getMainJITDylib().define(orc::absoluteSymbols(std::move(memory))), what);

  check(jit->addObjectFile(MemoryBuffer::getMemBufferCopy(artifact.object, artifact.symbol)), what);
  orc::ExecutorAddr address = check(jit->lookup(artifact.symbol), what);
  auto kernel = std::make_unique<JitKernel>(std::move(jit));
  kernel->entry = address.toPtr<CpuKernelFn>();
  kernel->scratchBytes = artifact.scratchBytes;
  return kernel;
}
