// SPDX-License-Identifier: Apache-2.0
#include "tilewright/Dialect/Attn/IR/Attn.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::attn;

#include "tilewright/Dialect/Attn/IR/AttnDialect.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "tilewright/Dialect/Attn/IR/AttnTypes.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "tilewright/Dialect/Attn/IR/AttnAttributes.cpp.inc"

#define GET_OP_CLASSES
#include "tilewright/Dialect/Attn/IR/AttnOps.cpp.inc"

void AttnDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "tilewright/Dialect/Attn/IR/AttnTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "tilewright/Dialect/Attn/IR/AttnAttributes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "tilewright/Dialect/Attn/IR/AttnOps.cpp.inc"
      >();
}

LogicalResult tilewright::attn::TensorType::verify(function_ref<InFlightDiagnostic()> emitError, unsigned rank,
                                                   Type elementType, AlignClass align) {
  if (rank < 1 || rank > 4) {
    return emitError() << "expected a rank within 1..4, got " << rank;
  }
  if (!elementType.isF32() && !elementType.isF16() && !elementType.isBF16() && !elementType.isInteger(32) &&
      !elementType.isInteger(8)) {
    return emitError() << "expected element type f32, f16, bf16, i32 or i8, got " << elementType;
  }
  return success();
}

static LogicalResult checkHeadDim(ForwardOp op, StringRef name, int64_t value) {
  if (value < 1 || value > 256) {
    return op.emitOpError("attn.forward-C1: expected ") << name << " within 1..256, got " << value;
  }
  return success();
}

/// A tensor that joins the scores, of the kind that the attribute says.
static LogicalResult checkScoreOperand(ForwardOp op, StringRef name, Value tensor, ScoreOperand kind, bool mayBeBool) {
  if ((kind == ScoreOperand::None) == static_cast<bool>(tensor)) {
    return op.emitOpError("attn.forward-C6: ")
           << name << " of kind " << stringifyScoreOperand(kind) << (tensor ? " is given" : " is not given");
  }
  if (!tensor) {
    return success();
  }
  bool bools = isBool(kind);
  bool isF32 = kind == ScoreOperand::VectorF32 || kind == ScoreOperand::MatrixF32;
  Type expected = bools   ? Type(IntegerType::get(op.getContext(), 8))
                  : isF32 ? Type(Float32Type::get(op.getContext()))
                          : op.getQ().getType().getElementType();
  auto type = cast<attn::TensorType>(tensor.getType());
  if (type.getRank() != 4 || type.getElementType() != expected || (bools && !mayBeBool)) {
    return op.emitOpError("attn.forward-C6: expected ")
           << name << " of rank 4 and element type " << expected << (mayBeBool ? "" : ", and no bools,") << " for kind "
           << stringifyScoreOperand(kind) << ", got " << type;
  }
  return success();
}

LogicalResult ForwardOp::verify() {
  if (failed(checkHeadDim(*this, "head_dim", getHeadDim())) ||
      failed(checkHeadDim(*this, "head_dim_v", getHeadDimV()))) {
    return failure();
  }
  Type element = getQ().getType().getElementType();
  if (element.isInteger()) {
    return emitOpError("attn.forward-C2: expected q of f32, f16 or bf16, got ") << element;
  }
  const std::pair<StringRef, attn::TensorType> tensors[] = {
      {"q", getQ().getType()}, {"k", getK().getType()}, {"v", getV().getType()}, {"out", getOut().getType()}};
  for (const auto &[name, type] : tensors) {
    if (type.getRank() != 4 || type.getElementType() != element) {
      return emitOpError("attn.forward-C2: expected ") << name << " of rank 4 and element type " << element
                                                       << ", got " << type;
    }
  }
  if (attn::TensorType lse = getLse().getType(); lse.getRank() != 3 || !lse.getElementType().isF32()) {
    return emitOpError("attn.forward-C3: expected lse of rank 3 and element type f32, got ") << lse;
  }
  unsigned limitsRank = getMask() == MaskKind::GlmBreak ? 1 : getMask() == MaskKind::GlmPacked ? 2 : 0;
  if (limitsRank == 0 && getLimits()) {
    return emitOpError("attn.forward-C4: mask ") << stringifyMaskKind(getMask()) << " takes no limits";
  }
  if (limitsRank != 0) {
    if (!getLimits()) {
      return emitOpError("attn.forward-C4: mask ")
             << stringifyMaskKind(getMask()) << " expects limits of rank " << limitsRank << ", got none";
    }
    auto limits = cast<attn::TensorType>(getLimits().getType());
    if (limits.getRank() != limitsRank || !limits.getElementType().isInteger(32)) {
      return emitOpError("attn.forward-C4: mask ")
             << stringifyMaskKind(getMask()) << " expects limits of rank " << limitsRank
             << " and element type i32, got " << limits;
    }
  }
  if (getEvenN() && getMask() != MaskKind::None) {
    return emitOpError("attn.forward-C5: expected even_n for mask none only, got mask ")
           << stringifyMaskKind(getMask());
  }
  if (failed(checkScoreOperand(*this, "bias", getBias(), getBiasKind(), /*mayBeBool=*/false)) ||
      failed(checkScoreOperand(*this, "attn_mask", getAttnMask(), getMaskKind(), /*mayBeBool=*/true))) {
    return failure();
  }
  if (Value alibi = getAlibi()) {
    auto type = cast<attn::TensorType>(alibi.getType());
    if (type.getRank() != 2 || !type.getElementType().isF32() || !getPositionOffset()) {
      return emitOpError("attn.forward-C7: expected alibi of rank 2 and element type f32 with a position offset, got ")
             << type;
    }
  }
  return success();
}

LogicalResult RowLimitsOp::verify() {
  attn::TensorType pairs = getPairs().getType();
  attn::TensorType limits = getLimits().getType();
  if (pairs.getRank() != 3 || !pairs.getElementType().isInteger(32)) {
    return emitOpError("attn.row_limits-C1: expected pairs of rank 3 and element type i32, got ") << pairs;
  }
  if (limits.getRank() != 2 || !limits.getElementType().isInteger(32)) {
    return emitOpError("attn.row_limits-C1: expected limits of rank 2 and element type i32, got ") << limits;
  }
  return success();
}
