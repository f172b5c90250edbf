// SPDX-License-Identifier: Apache-2.0
//
// LLVM dialect with NVVM to PTX, for both instruction families, and PTX to machine code where an assembler is found.
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

/// What PTX is written for. Sm80: compute capability 8.0, ISA 7.4, which every driver from CUDA 11.4 on assembles for
/// every GPU from Ampere on. Sm90a: 9.0 and no other, ISA 8.0, for drivers from CUDA 12.0 on.
enum class GpuInstructions : uint8_t { Sm80, Sm90a };

/// Translates a module of the LLVM dialect with NVVM intrinsics. An error (diagnostics were emitted) on failure.
llvm::Expected<std::unique_ptr<llvm::Module>> translateForGpu(mlir::ModuleOp module, GpuInstructions instructions,
                                                              llvm::LLVMContext &context);
/// The lean LLVM pipeline; ptxas allocates registers and schedules, and undoes more than it gains from -O3.
llvm::Error optimizeForGpu(llvm::Module &module, GpuInstructions instructions);
llvm::Expected<std::string> emitPtx(llvm::Module &module, GpuInstructions instructions);

/// What turns PTX into machine code.
struct PtxAssembler {
  /// The program ptxas; empty: NVIDIA's PTX compiler inside this process (libtilewright_ptx.so).
  std::string ptxas;

  bool inProcess() const { return ptxas.empty(); }
};

/// The first that there is: the program $TILEWRIGHT_PTXAS, NVIDIA's PTX compiler in this process, the program ptxas in
/// PATH, in /usr/local/cuda/bin, or of the Python package nvidia-cuda-nvcc where this library is installed as a wheel.
/// Nothing if there is none; `whyNotInProcess`, if not null, then says why the second was not taken.
std::optional<PtxAssembler> findPtxAssembler(std::string *whyNotInProcess = nullptr);
/// PTX to a cubin for `sm`, which is 90 for the instructions Sm90a, by ptxas -O3. `log`, if not null, gets what
/// `ptxas -v` prints, on failure too: registers, spills, warnings. The error of a failure holds it. Thread-safe.
llvm::Expected<std::string> assemblePtx(const PtxAssembler &assembler, const std::string &ptx, unsigned sm,
                                        GpuInstructions instructions, std::string *log);
/// The CUDA release that the assembler belongs to, as "13.0". Starts the program, if it is one.
llvm::Expected<std::string> ptxAssemblerVersion(const PtxAssembler &assembler);
/// The file of the program, or of the library in this process.
llvm::Expected<std::string> ptxAssemblerFile(const PtxAssembler &assembler);

} // namespace tilewright

#endif // TILEWRIGHT_TARGET_GPUCODEGEN_H
