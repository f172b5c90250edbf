// SPDX-License-Identifier: Apache-2.0
//
// PTX to machine code: which assembler there is, and the program ptxas. The one in this process is in PtxInProcess.cpp.
#include "PtxInProcess.h"
#include "tilewright/Target/GpuCodegen.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"
#include <cstdlib>

using namespace llvm;
using namespace tilewright;

namespace {

/// Temporary files that are gone with the object.
class ScratchFiles {
public:
  ~ScratchFiles() {
    for (const std::string &path : paths) {
      sys::fs::remove(path);
    }
  }
  Expected<std::string> make(StringRef suffix) {
    SmallString<128> path;
    if (std::error_code error = sys::fs::createTemporaryFile("tilewright", suffix, path)) {
      return createStringError(error, "cannot make a temporary file for ptxas");
    }
    return paths.emplace_back(path.str());
  }

private:
  SmallVector<std::string> paths;
};

/// Runs a program to its end. What it printed, on both streams, is in `printed`.
Error runProgram(const std::string &program, ArrayRef<StringRef> arguments, std::string &printed) {
  ScratchFiles scratch;
  Expected<std::string> output = scratch.make("log");
  if (!output) {
    return output.takeError();
  }
  std::optional<StringRef> redirects[] = {StringRef(""), StringRef(*output), StringRef(*output)};
  std::string message;
  int status = sys::ExecuteAndWait(program, arguments, std::nullopt, redirects, /*SecondsToWait=*/120,
                                   /*MemoryLimit=*/0, &message);
  if (ErrorOr<std::unique_ptr<MemoryBuffer>> text = MemoryBuffer::getFile(*output)) {
    printed = (*text)->getBuffer().str();
  }
  if (status != 0) {
    return createStringError("%s failed (%d): %s%s", join(arguments, " ").c_str(), status, message.c_str(),
                             printed.c_str());
  }
  return Error::success();
}

Expected<std::string> assembleByProgram(const std::string &ptxas, const std::string &ptx, const std::string &arch,
                                        std::string *log) {
  ScratchFiles scratch;
  Expected<std::string> source = scratch.make("ptx");
  if (!source) {
    return source.takeError();
  }
  Expected<std::string> object = scratch.make("cubin");
  if (!object) {
    return object.takeError();
  }
  {
    std::error_code error;
    raw_fd_ostream stream(*source, error);
    stream << ptx;
    stream.close();
    if (error || stream.has_error()) {
      stream.clear_error(); // the stream's destructor would end the process
      return createStringError("cannot write %s for ptxas", source->c_str());
    }
  }
  std::string text;
  Error failure = runProgram(ptxas, {ptxas, arch, "-v", *source, "-o", *object}, text);
  if (log) {
    *log = text;
  }
  if (failure) {
    return failure;
  }
  ErrorOr<std::unique_ptr<MemoryBuffer>> bytes = MemoryBuffer::getFile(*object);
  if (!bytes) {
    return createStringError(bytes.getError(), "cannot read the cubin that ptxas wrote");
  }
  return (*bytes)->getBuffer().str();
}

} // namespace

std::optional<PtxAssembler> tilewright::findPtxAssembler(std::string *whyNotInProcess) {
  if (const char *chosen = std::getenv("TILEWRIGHT_PTXAS"); chosen && *chosen) {
    return PtxAssembler{chosen};
  }
  if (Expected<InProcessAssembler> found = findInProcessAssembler()) {
    return PtxAssembler{};
  } else {
    std::string why = toString(found.takeError());
    if (whyNotInProcess) {
      *whyNotInProcess = why;
    }
  }
  if (ErrorOr<std::string> found = sys::findProgramByName("ptxas")) {
    return PtxAssembler{*found};
  }
  // The wheel's library is in <site-packages>/tilewright/lib; NVIDIA's packages are in <site-packages>/nvidia.
  SmallString<256> packages(ownFolder());
  sys::path::append(packages, "..", "..", "nvidia");
  SmallString<256> cuda13(packages), cuda12(packages);
  sys::path::append(cuda13, "cu13", "bin");
  sys::path::append(cuda12, "cuda_nvcc", "bin");
  if (ErrorOr<std::string> found = sys::findProgramByName("ptxas", {"/usr/local/cuda/bin", cuda13, cuda12})) {
    return PtxAssembler{*found};
  }
  return std::nullopt;
}

Expected<std::string> tilewright::assemblePtx(const PtxAssembler &assembler, const std::string &ptx, unsigned sm,
                                              GpuInstructions instructions, std::string *log) {
  std::string arch = "-arch=sm_" + std::to_string(sm) + (instructions == GpuInstructions::Sm90a ? "a" : "");
  if (assembler.inProcess()) {
    return assembleInProcess(ptx, {arch.c_str(), "-v"}, log);
  }
  return assembleByProgram(assembler.ptxas, ptx, arch, log);
}

Expected<std::string> tilewright::ptxAssemblerVersion(const PtxAssembler &assembler) {
  if (assembler.inProcess()) {
    Expected<InProcessAssembler> found = findInProcessAssembler();
    if (!found) {
      return found.takeError();
    }
    return found->version;
  }
  std::string text;
  if (Error failure = runProgram(assembler.ptxas, {assembler.ptxas, "--version"}, text)) {
    return failure;
  }
  StringRef release = StringRef(text).split("release ").second.split(',').first;
  if (release.empty()) {
    return createStringError("%s --version names no release: %s", assembler.ptxas.c_str(), text.c_str());
  }
  return release.str();
}

Expected<std::string> tilewright::ptxAssemblerFile(const PtxAssembler &assembler) {
  if (!assembler.inProcess()) {
    return assembler.ptxas;
  }
  Expected<InProcessAssembler> found = findInProcessAssembler();
  if (!found) {
    return found.takeError();
  }
  return found->path;
}
