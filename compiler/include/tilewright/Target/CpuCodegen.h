// SPDX-License-Identifier: Apache-2.0
//
// LLVM dialect to machine code for the CPU targets.
#ifndef TILEWRIGHT_TARGET_CPUCODEGEN_H
#define TILEWRIGHT_TARGET_CPUCODEGEN_H

#include "tilewright/Target/CpuLevel.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/Support/Error.h"
#include <memory>
#include <string>

namespace llvm {
class Module;
} // namespace llvm

namespace tilewright {

/// Translates a module of the LLVM dialect, for `level`'s data layout. Null (with diagnostics emitted) on failure.
llvm::Expected<std::unique_ptr<llvm::Module>> translateForCpu(mlir::ModuleOp module, CpuLevel level,
                                                              llvm::LLVMContext &context);
/// The lean LLVM pipeline: what the conversion from tiles leaves to do, and no more.
llvm::Error optimizeForCpu(llvm::Module &module, CpuLevel level);
/// An ELF relocatable object.
llvm::Expected<std::string> emitCpuObject(llvm::Module &module, CpuLevel level);

} // namespace tilewright

#endif // TILEWRIGHT_TARGET_CPUCODEGEN_H
