// SPDX-License-Identifier: Apache-2.0
//
// The JIT: key to artifact, artifact to callable code. The implementation (runtime/lib/jit) is the only part of the
// runtime that includes MLIR; a process that finds every kernel in a cache never calls compileKernel.
#ifndef TILEWRIGHT_RUNTIME_COMPILER_H
#define TILEWRIGHT_RUNTIME_COMPILER_H

#include "tilewright/runtime/Artifact.h"
#include "tilewright/runtime/KernelKey.h"
#include <memory>
#include <string>
#include <string_view>

namespace tilewright::runtime {

/// Compiles a kernel to an object. Thread-safe, re-entrant, no global state.
/// Throws Error(TW_COMPILE_ERROR) with the compiler's diagnostics.
Artifact compileKernel(const KernelKey &key);

/// Text of one stage: attn, tile, schedule, vector, llvm, or the object's bytes for obj; of a GPU key: attn, tile,
/// schedule, nvvm, llvm, ptx, or the machine code's bytes for cubin (TW_UNSUPPORTED without an assembler). `stageMs`
/// may be null.
/// Throws Error(TW_INVALID_ARGUMENT, argument "stage") for any other name, naming the stages.
std::string compileToStage(const KernelKey &key, std::string_view stage,
                           std::vector<std::pair<std::string, double>> *stageMs);

/// Maps a CPU artifact's object into executable memory. Throws Error(TW_COMPILE_ERROR) if it does not link.
std::unique_ptr<LoadedKernel> loadArtifact(const Artifact &artifact);

/// What makes machine code of PTX for GPU keys.
struct AssemblerInfo {
  bool found = false;
  bool inProcess = false; ///< NVIDIA's PTX compiler in this process; else the program ptxas
  std::string file;       ///< the program, or the shared library that holds the compiler
  std::string version;    ///< CUDA release, "13.0"
  std::string why;        ///< if not found: what is missing, or what failed
};
/// The assembler that compileKernel would use now, for info. May start it to ask for its version.
AssemblerInfo gpuAssembler();

/// LLVM's and MLIR's version, for info.
std::string_view llvmVersion();

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_COMPILER_H
