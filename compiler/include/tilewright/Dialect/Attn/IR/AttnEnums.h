// SPDX-License-Identifier: Apache-2.0
//
// The attn dialect's enumerations without the dialect: needs LLVM's ADT headers only, so the runtime can share them.
#ifndef TILEWRIGHT_DIALECT_ATTN_IR_ATTNENUMS_H
#define TILEWRIGHT_DIALECT_ATTN_IR_ATTNENUMS_H

#include "mlir/Support/LLVM.h" // FailureOr, named by the generated parsers; a header only, no MLIR library is needed
#include "llvm/ADT/DenseMapInfo.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/raw_ostream.h"
#include <cstdint>
#include <optional>
#include <string>

#include "tilewright/Dialect/Attn/IR/AttnEnums.h.inc"

#endif // TILEWRIGHT_DIALECT_ATTN_IR_ATTNENUMS_H
