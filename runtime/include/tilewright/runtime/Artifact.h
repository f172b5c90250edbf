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

struct Artifact {
  std::string keyText;        ///< canonical, echoed and compared when a cache entry is read
  std::string symbol;         ///< entry point inside `object`
  std::string object;         ///< ELF relocatable object
  uint64_t scratchBytes = 0;  ///< scratch that each running program needs, 64-byte aligned
  std::string pipeline;       ///< textual MLIR pass pipeline that made it
  std::vector<std::pair<std::string, double>> stageMs; ///< compile time by stage, in order
};

/// The CPU kernel ABI; see kernels/KernelArguments.h.
using CpuKernelFn = void (*)(const uint64_t *slots, int64_t program, void *scratch);

/// A loaded artifact: code mapped executable. Stays valid while the object lives.
class LoadedKernel {
public:
  virtual ~LoadedKernel() = default;
  CpuKernelFn entry = nullptr;
  uint64_t scratchBytes = 0;
};

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_ARTIFACT_H
