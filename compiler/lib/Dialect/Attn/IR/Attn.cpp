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
      !elementType.isInteger(8) && !elementType.isInteger(64)) {
    return emitError() << "expected element type f32, f16, bf16, i64, i32 or i8, got " << elementType;
  }
  return success();
}

static LogicalResult checkHeadDim(ForwardOp op, StringRef name, int64_t value) {
  if (value < 1 || value > 256) {
    return op.emitOpError("attn.forward-C1: expected ") << name << " within 1..256, got " << value;
  }
  return success();
}

/// `tensor`, if it is given, has this rank and element type.
static LogicalResult checkTensor(Operation *op, StringRef constraint, StringRef name, Value tensor, unsigned rank,
                                 Type element) {
  if (!tensor) {
    return success();
  }
  auto type = cast<attn::TensorType>(tensor.getType());
  if (type.getRank() != rank || type.getElementType() != element) {
    return op->emitOpError(constraint) << ": expected " << name << " of rank " << rank << " and element type "
                                       << element << ", got " << type;
  }
  return success();
}

/// Batch entries with lengths of their own.
template <typename OpT> static LogicalResult checkSequences(OpT op, StringRef constraint) {
  Type i32 = IntegerType::get(op.getContext(), 32);
  if (failed(checkTensor(op, constraint, "cu_seqlens_q", op.getCuSeqlensQ(), 1, i32)) ||
      failed(checkTensor(op, constraint, "cu_seqlens_k", op.getCuSeqlensK(), 1, i32)) ||
      failed(checkTensor(op, constraint, "used", op.getSeqUsedK(), 1, i32))) {
    return failure();
  }
  if (static_cast<bool>(op.getCuSeqlensQ()) != static_cast<bool>(op.getCuSeqlensK())) {
    return op.emitOpError(constraint) << ": expected both cu_seqlens or neither";
  }
  const bool own = op.getCuSeqlensQ() || op.getSeqUsedK();
  if (own != static_cast<bool>(op.getBottomRight())) {
    return op.emitOpError(constraint) << ": expected bottom_right exactly with cu_seqlens or used";
  }
  if (op.getCuSeqlensQ() && op.getEvenM()) {
    return op.emitOpError(constraint) << ": expected no even_m with cu_seqlens";
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
  Type i32 = IntegerType::get(getContext(), 32), i8 = IntegerType::get(getContext(), 8);
  if (failed(checkTensor(*this, "attn.forward-C8", "row_bounds", getRowBounds(), 3, i32)) ||
      failed(checkTensor(*this, "attn.forward-C8", "key_padding", getKeyPadding(), 2, i8))) {
    return failure();
  }
  if (getKeyPadding() && !getRowBounds()) {
    return emitOpError("attn.forward-C8: expected row_bounds with key_padding");
  }
  if (failed(checkSequences(*this, "attn.forward-C9"))) {
    return failure();
  }
  if (getBottomRight() && getEvenN()) {
    return emitOpError("attn.forward-C9: expected no even_n where lengths are the entries' own");
  }
  Type i64 = IntegerType::get(getContext(), 64);
  if (failed(checkTensor(*this, "attn.forward-C10", "the state", getRngState(), 1, i64)) ||
      failed(checkTensor(*this, "attn.forward-C10", "probs", getProbs(), 4, element))) {
    return failure();
  }
  const size_t numbers = getRngState() ? 4 : 0;
  if (getDropoutNumbers().size() != numbers || static_cast<bool>(getKeepScale()) != static_cast<bool>(getRngState())) {
    return emitOpError("attn.forward-C10: expected ")
           << numbers << " numbers of dropout" << (numbers ? " and a scale" : "") << ", got "
           << getDropoutNumbers().size();
  }
  return success();
}

LogicalResult RowBoundsOp::verify() {
  Type i32 = IntegerType::get(getContext(), 32), i8 = IntegerType::get(getContext(), 8);
  if (failed(checkTensor(*this, "attn.row_bounds-C1", "bounds", getBounds(), 3, i32)) ||
      failed(checkTensor(*this, "attn.row_bounds-C1", "documents", getDocuments(), 2, i32)) ||
      failed(checkTensor(*this, "attn.row_bounds-C1", "key_padding", getKeyPadding(), 2, i8))) {
    return failure();
  }
  if (!getDocuments() && !getKeyPadding()) {
    return emitOpError("attn.row_bounds-C1: expected documents or key_padding");
  }
  return checkSequences(*this, "attn.row_bounds-C2");
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
  return checkSequences(*this, "attn.row_limits-C2");
}
