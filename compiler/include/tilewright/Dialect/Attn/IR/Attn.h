// SPDX-License-Identifier: Apache-2.0
//
// The attn dialect: what attention is wanted. See AttnOps.td for the operations and their constraints.
#ifndef TILEWRIGHT_DIALECT_ATTN_IR_ATTN_H
#define TILEWRIGHT_DIALECT_ATTN_IR_ATTN_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"

#include "tilewright/Dialect/Attn/IR/AttnEnums.h"

#include "tilewright/Dialect/Attn/IR/AttnDialect.h.inc"

#define GET_TYPEDEF_CLASSES
#include "tilewright/Dialect/Attn/IR/AttnTypes.h.inc"

#define GET_ATTRDEF_CLASSES
#include "tilewright/Dialect/Attn/IR/AttnAttributes.h.inc"

#define GET_OP_CLASSES
#include "tilewright/Dialect/Attn/IR/AttnOps.h.inc"

#endif // TILEWRIGHT_DIALECT_ATTN_IR_ATTN_H
