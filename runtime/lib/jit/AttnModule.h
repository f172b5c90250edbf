// SPDX-License-Identifier: Apache-2.0
//
// A key as IR, and back: the few readable lines that `--emit attn` prints.
#ifndef TILEWRIGHT_RUNTIME_JIT_ATTNMODULE_H
#define TILEWRIGHT_RUNTIME_JIT_ATTNMODULE_H

#include "tilewright/runtime/KernelKey.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include <optional>

namespace tilewright::runtime {

/// Name of the kernel function: "attn_forward" or "attn_row_limits".
std::string_view kernelSymbol(kernels::KernelKind kind);

/// One function with one attn operation, its schedule and its target.
mlir::OwningOpRef<mlir::ModuleOp> buildAttnModule(mlir::MLIRContext &context, const KernelKey &key);

/// The key that a module was built from; nothing if it is not such a module.
std::optional<KernelKey> keyOfModule(mlir::ModuleOp module);

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_JIT_ATTNMODULE_H
