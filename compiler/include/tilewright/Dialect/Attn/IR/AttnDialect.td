// SPDX-License-Identifier: Apache-2.0
#ifndef TILEWRIGHT_DIALECT_ATTN_IR_ATTNDIALECT
#define TILEWRIGHT_DIALECT_ATTN_IR_ATTNDIALECT

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "tilewright/Dialect/Attn/IR/AttnEnums.td"

def Attn_Dialect : Dialect {
  let name = "attn";
  let summary = "What attention is wanted";
  let description = [{
    The `attn` dialect says *what* a kernel computes: which mask, which element types, which head dims, which lengths
    are known to be multiples of a block. It says nothing of how: no tiles, no loops, no threads. A kernel is one
    `func.func` with one `attn` operation in it; the function's arguments are the kernel's arguments, tensors among
    them as `!attn.tensor`. The pass `attn-expand` turns that operation into a tile program.
  }];
  let cppNamespace = "::tilewright::attn";
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

def Attn_TensorType : TypeDef<Attn_Dialect, "Tensor"> {
  let mnemonic = "tensor";
  let summary = "a strided tensor in global memory";
  let description = [{
    A tensor that the caller owns: base pointer and one stride (in elements) a dimension, all known at run time. The
    type holds what the generated code may assume: rank, element type, and how far every innermost row is aligned
    (`strided`: the innermost stride is not known to be 1).

    Example: `!attn.tensor<4 x bf16, a2>`
  }];
  let parameters = (ins "unsigned":$rank, "::mlir::Type":$elementType,
                        EnumParameter<Attn_AlignClass>:$align);
  let assemblyFormat = "`<` $rank `x` $elementType `,` $align `>`";
  let genVerifyDecl = 1;
}

#endif // TILEWRIGHT_DIALECT_ATTN_IR_ATTNDIALECT
