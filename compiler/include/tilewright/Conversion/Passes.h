// SPDX-License-Identifier: Apache-2.0
//
// Conversions between dialects; what each does is in Passes.td.
#ifndef TILEWRIGHT_CONVERSION_PASSES_H
#define TILEWRIGHT_CONVERSION_PASSES_H

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Pass/Pass.h"

namespace tilewright {

#define GEN_PASS_DECL
#include "tilewright/Conversion/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "tilewright/Conversion/Passes.h.inc"

} // namespace tilewright

#endif // TILEWRIGHT_CONVERSION_PASSES_H
