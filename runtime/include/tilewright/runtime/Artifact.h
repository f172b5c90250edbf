// SPDX-License-Identifier: Apache-2.0
//
// A compiled kernel as the disk cache stores it, and as the loader makes it callable. No LLVM type appears here.
#ifndef TILEWRIGHT_RUNTIME_ARTIFACT_H
#define TILEWRIGHT_RUNTIME_ARTIFACT_H

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace tilewright::runtime {

enum class CodeFormat : uint8_t {
  ElfObject = 0, ///< relocatable x86-64 object, for the CPU target
  Cubin = 1,     ///< machine code of one SM
  Ptx = 2        ///< PTX text that the driver assembles when it is loaded: no assembler was found
};

struct Artifact {
  std::string keyText;        ///< canonical, echoed and compared when a cache entry is read
  std::string symbol;         ///< entry point inside `object`
  CodeFormat format = CodeFormat::ElfObject;
  std::string object;         ///< the code, in `format`
  uint64_t scratchBytes = 0;  ///< CPU: scratch that each running program needs, 64-byte aligned
  uint64_t sharedBytes = 0;   ///< GPU: dynamic shared memory of a block
  uint32_t threads = 0;       ///< GPU: threads of a block
  std::string pipeline;       ///< textual MLIR pass pipeline that made it
  std::vector<std::pair<std::string, double>> stageMs; ///< compile time by stage, in order
};

/// The CPU kernel ABI; see kernels/KernelArguments.h.
using CpuKernelFn = void (*)(const uint64_t *slots, int64_t program, void *scratch);

/// A loaded artifact: code mapped executable. Stays valid while the object lives.
class LoadedKernel {
public:
  virtual ~LoadedKernel() = default;
  CpuKernelFn entry = nullptr; ///< null for a GPU kernel
  uint64_t scratchBytes = 0;
};

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_ARTIFACT_H
