// SPDX-License-Identifier: Apache-2.0
//
// Internal to Target/: what all targets do with an LLVM module.
#ifndef TILEWRIGHT_TARGET_LEANPIPELINE_H
#define TILEWRIGHT_TARGET_LEANPIPELINE_H

#include "llvm/IR/Module.h"
#include "llvm/Support/Error.h"
#include "llvm/Target/TargetMachine.h"
#include <memory>
#include <string>

namespace tilewright {

/// LLVM's code generator for `cpu`; the target must have been initialised. Code is position independent.
llvm::Expected<std::unique_ptr<llvm::TargetMachine>> makeMachine(const char *triple, llvm::StringRef cpu,
                                                                 llvm::StringRef features,
                                                                 const llvm::TargetOptions &options);

/// Tile passes emit loops, vectors and matrix instructions in their final shape and order. What remains is redundant
/// address arithmetic and invariant values in inner loops; code generation has its own pass for induction variables.
void runLeanPipeline(llvm::Module &module, llvm::TargetMachine &machine);

/// An object file or assembly text.
llvm::Expected<std::string> emitCode(llvm::Module &module, llvm::TargetMachine &machine,
                                     llvm::CodeGenFileType type);

} // namespace tilewright

#endif // TILEWRIGHT_TARGET_LEANPIPELINE_H
