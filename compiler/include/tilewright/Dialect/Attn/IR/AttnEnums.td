// SPDX-License-Identifier: Apache-2.0
//
// The enumerations of the `attn` dialect. The runtime's KernelKey uses the same generated C++ (AttnEnums.h), so a mask
// kind has one spelling and one number everywhere: IR, key text, support matrix.
#ifndef TILEWRIGHT_DIALECT_ATTN_IR_ATTNENUMS
#define TILEWRIGHT_DIALECT_ATTN_IR_ATTNENUMS

include "mlir/IR/EnumAttr.td"

def Attn_MaskKind : I32EnumAttr<"MaskKind", "which key columns a query row sees", [
    I32EnumAttrCase<"None", 0, "none">,
    I32EnumAttrCase<"Causal", 1, "causal">,
    I32EnumAttrCase<"GlmBreak", 2, "glm_break">,
    I32EnumAttrCase<"GlmPacked", 3, "glm_packed">]> {
  let cppNamespace = "::tilewright::attn";
  let genSpecializedAttr = 0; // plain C++ enumerations: the runtime includes them without MLIR
}

def Attn_ScoreOperand : I32EnumAttr<"ScoreOperand",
    "a tensor that joins the scores: one row for all queries (vector) or one a query (matrix), of q's element type, "
    "float32 or bool", [
    I32EnumAttrCase<"None", 0, "none">,
    I32EnumAttrCase<"Vector", 1, "vector">,
    I32EnumAttrCase<"Matrix", 2, "matrix">,
    I32EnumAttrCase<"VectorF32", 3, "vector_f32">,
    I32EnumAttrCase<"MatrixF32", 4, "matrix_f32">,
    I32EnumAttrCase<"VectorBool", 5, "vector_bool">,
    I32EnumAttrCase<"MatrixBool", 6, "matrix_bool">]> {
  let cppNamespace = "::tilewright::attn";
  let genSpecializedAttr = 0; // plain C++ enumerations: the runtime includes them without MLIR
}

def Attn_AlignClass : I32EnumAttr<"AlignClass",
    "bytes to which every row of a tensor is aligned; strided: the innermost stride is not 1", [
    I32EnumAttrCase<"Strided", 0, "strided">,
    I32EnumAttrCase<"Bytes2", 2, "a2">,
    I32EnumAttrCase<"Bytes4", 4, "a4">,
    I32EnumAttrCase<"Bytes8", 8, "a8">,
    I32EnumAttrCase<"Bytes16", 16, "a16">]> {
  let cppNamespace = "::tilewright::attn";
  let genSpecializedAttr = 0; // plain C++ enumerations: the runtime includes them without MLIR
}

#endif // TILEWRIGHT_DIALECT_ATTN_IR_ATTNENUMS
