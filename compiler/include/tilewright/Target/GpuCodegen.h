// SPDX-License-Identifier: Apache-2.0
//
// LLVM dialect with NVVM to PTX, for the sm_80 family, and PTX to machine code where an assembler is found.
#ifndef TILEWRIGHT_TARGET_GPUCODEGEN_H
#define TILEWRIGHT_TARGET_GPUCODEGEN_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/Support/Error.h"
#include <memory>
#include <optional>
#include <string>

namespace llvm {
class Module;
} // namespace llvm

namespace tilewright {

/// Translates a module of the LLVM dialect with NVVM intrinsics. An error (diagnostics were emitted) on failure.
llvm::Expected<std::unique_ptr<llvm::Module>> translateForGpu(mlir::ModuleOp module, llvm::LLVMContext &context);
/// The lean LLVM pipeline; ptxas allocates registers and schedules, and undoes more than it gains from -O3.
llvm::Error optimizeForGpu(llvm::Module &module);
/// PTX for sm_80, ISA 7.4: every driver from CUDA 11.4 on assembles it for every GPU from Ampere on.
llvm::Expected<std::string> emitPtx(llvm::Module &module);

/// The ptxas program: $TILEWRIGHT_PTXAS, else the first in PATH, else /usr/local/cuda/bin/ptxas. Nothing if there is
/// none.
std::optional<std::string> findPtxas();
/// PTX to a cubin for `sm`. `log`, if not null, gets what `ptxas -v` prints: registers, spills, warnings.
llvm::Expected<std::string> assemblePtx(const std::string &ptxas, const std::string &ptx, unsigned sm,
                                        std::string *log);

} // namespace tilewright

#endif // TILEWRIGHT_TARGET_GPUCODEGEN_H
