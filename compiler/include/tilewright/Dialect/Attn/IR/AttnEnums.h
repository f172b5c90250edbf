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

namespace tilewright::attn {

/// The kinds that hold bools, one byte each.
constexpr bool isBool(ScoreOperand kind) {
  return kind == ScoreOperand::VectorBool || kind == ScoreOperand::MatrixBool;
}
/// The kinds with one row for all queries.
constexpr bool isVector(ScoreOperand kind) {
  return kind == ScoreOperand::Vector || kind == ScoreOperand::VectorF32 || kind == ScoreOperand::VectorBool;
}

} // namespace tilewright::attn

#endif // TILEWRIGHT_DIALECT_ATTN_IR_ATTNENUMS_H
