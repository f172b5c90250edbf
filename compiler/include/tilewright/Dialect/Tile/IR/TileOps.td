// SPDX-License-Identifier: Apache-2.0
#ifndef TILEWRIGHT_DIALECT_TILE_IR_TILEOPS
#define TILEWRIGHT_DIALECT_TILE_IR_TILEOPS

include "tilewright/Dialect/Tile/IR/TileDialect.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Tile_Op<string mnemonic, list<Trait> traits = []> : Op<Tile_Dialect, mnemonic, traits>;

/// A tile's shape is known, has one or two dimensions, and no dimension of 0: kernels hold tiles in registers.
def Tile_ShapePred : And<[
    HasAnyRankOfPred<[1, 2]>,
    CPred<"::llvm::all_of(::llvm::cast<::mlir::ShapedType>($_self).getShape(), [](int64_t d) { return d > 0; })">]>;
class Tile_TileOf<list<Type> types> : RankedTensorOf<types, [Tile_ShapePred],
    "statically shaped, non-empty tensor of rank 1 or 2">;

def Tile_Tile : Tile_TileOf<[AnyType]>;
def Tile_FloatTile : Tile_TileOf<[F32, F16, BF16]>;
def Tile_F32Tile : Tile_TileOf<[F32]>;
def Tile_I32Tile : Tile_TileOf<[I32]>;

//===----------------------------------------------------------------------===//
// Programs
//===----------------------------------------------------------------------===//

def Tile_CoordsOp : Tile_Op<"coords", [Pure, AttrSizedOperandSegments]> {
  let summary = "this program's coordinates in an abstract grid";
  let description = [{
    The grid has one more dimension than there are `sizes`: the outermost size is known to the launch only. The schedule
    decides how programs are enumerated: `tile-apply-schedule` replaces this operation. `heavy_last` says that programs
    whose first coordinate is larger do more work, so that a schedule may start them first; `together`, for how many
    values of the second one at once it does so, at least 1: programs that share it read the same memory.

    Constraints
    - `tile.coords-C1`: there is exactly one more result than there are sizes.
    - `tile.coords-C2`: `together` is given only with heavy_last and two sizes.

    Example: `%m, %h, %b = tile.coords sizes(%row_blocks, %heads) {heavy_last} : index, index, index`
  }];
  let arguments = (ins Variadic<Index>:$sizes, Optional<Index>:$together, UnitAttr:$heavy_last);
  let results = (outs Variadic<Index>:$coords);
  let assemblyFormat = "`sizes` `(` $sizes `)` (`together` `(` $together^ `)`)? attr-dict `:` type($coords)";
  let hasVerifier = 1;
}

def Tile_ProgramOp : Tile_Op<"program", [Pure]> {
  let summary = "this program's number in a linear launch";
  let description = [{
    Appears when a schedule has been applied. Example: `%p = tile.program : index`
  }];
  let results = (outs Index:$number);
  let assemblyFormat = "attr-dict `:` type($number)";
}

def Tile_ProgramCountOp : Tile_Op<"program_count", [Pure]> {
  let summary = "how many programs the launch has";
  let description = [{
    Where a block runs several (`tile-persist-programs`), more than there are blocks. Example:
    `%n = tile.program_count : index`
  }];
  let results = (outs Index:$count);
  let assemblyFormat = "attr-dict `:` type($count)";
}

//===----------------------------------------------------------------------===//
// Global memory
//===----------------------------------------------------------------------===//

def Tile_ViewOp : Tile_Op<"view", [Pure, AttrSizedOperandSegments]> {
  let summary = "a rank-1 or rank-2 view of global memory";
  let description = [{
    Element (i, j) of the view is at `base[offset + i * strides[0] + j * strides[1]]`; offsets and strides count
    elements and are 64 bits wide. Sizes bound the accesses that ask for bounds.

    Constraints
    - `tile.view-C1`: as many sizes and strides as the view has dimensions.
    - `tile.view-C2`: the pointer's and the view's element types are the same.

    Example:
    ```mlir
    %v = tile.view %q[%offset] sizes(%n, %d) strides(%s, %one) : !tile.ptr<bf16> -> !tile.view<2 x bf16, unit>
    ```
  }];
  let arguments = (ins Tile_PtrType:$base, Index:$offset, Variadic<Index>:$sizes, Variadic<Index>:$strides);
  let results = (outs Tile_ViewType:$view);
  let assemblyFormat = [{
    $base `[` $offset `]` `sizes` `(` $sizes `)` `strides` `(` $strides `)` attr-dict
    `:` type($base) `->` type($view)
  }];
  let hasVerifier = 1;
}

def Tile_LoadOp : Tile_Op<"load", [MemoryEffects<[MemRead]>, AttrSizedOperandSegments]> {
  let summary = "load a tile from a view";
  let description = [{
    Element (i, j) of the tile is element (indices[0] + i, indices[1] + j) of the view. In a dimension whose `bounds` is
    true, elements before the view's first (of the first dimension only) and at or past its size are not read and become
    0, or, with `any_past_end`, any value; where it is false the caller vouches that none is. With `where`, rows whose
    element of that view, at the same row index, is 0 become 0; where `when` is false the caller vouches that there are
    none, so a target need not look.

    Constraints
    - `tile.load-C1`: one index and one bound a dimension; the tile's rank and element type are the view's.
    - `tile.load-C2`: `where` is a rank-1 view of i8, comes with `when`, and the tile has rank 2.

    Example: `%t = tile.load %v[%row, %zero] bounds [true, false] : !tile.view<2 x bf16, unit> -> tensor<64x64xbf16>`
  }];
  let arguments = (ins Arg<Tile_ViewType, "", [MemRead]>:$view, Variadic<Index>:$indices,
                       Optional<Tile_ViewType>:$where, Optional<I1>:$when, DenseBoolArrayAttr:$bounds,
                       UnitAttr:$any_past_end);
  let results = (outs Tile_Tile:$tile);
  let assemblyFormat = [{
    $view `[` $indices `]` `bounds` $bounds (`where` $where^ `when` $when `:` type($where))? attr-dict
    `:` type($view) `->` type($tile)
  }];
  let hasVerifier = 1;
}

def Tile_StoreOp : Tile_Op<"store", [MemoryEffects<[MemWrite]>, AttrSizedOperandSegments]> {
  let summary = "store a tile to a view";
  let description = [{
    The reverse of `tile.load`: in a dimension whose `bounds` is true, elements at or past the view's size are not
    written. A buffer named by `through`, which no copy may be writing and no thread reading any more, is room in which
    threads may exchange elements to write whole rows; its contents are lost.

    Constraints
    - `tile.store-C1`: one index and one bound a dimension; the tile's rank and element type are the view's.
    - `tile.store-C2`: `through` has the tile's rows and element type, at least its columns, and one stage.

    Example: `tile.store %t, %v[%row, %zero] bounds [true, false] : tensor<64x64xbf16>, !tile.view<2 x bf16, unit>`
  }];
  let arguments = (ins Tile_Tile:$tile, Arg<Tile_ViewType, "", [MemWrite]>:$view, Variadic<Index>:$indices,
                       DenseBoolArrayAttr:$bounds, Optional<Tile_SharedType>:$through);
  let assemblyFormat = [{
    $tile `,` $view `[` $indices `]` `bounds` $bounds (`through` $through^ `:` type($through))? attr-dict
    `:` type($tile) `,` type($view)
  }];
  let hasVerifier = 1;
}

def Tile_LoadScalarOp : Tile_Op<"load_scalar", [MemoryEffects<[MemRead]>]> {
  let summary = "load one element of a view";
  let description = [{
    The element must be inside the view.

    Constraints
    - `tile.load_scalar-C1`: one index a dimension; the result's type is the view's element type.

    Example: `%p = tile.load_scalar %v[%b] : !tile.view<1 x i32, unit> -> i32`
  }];
  let arguments = (ins Arg<Tile_ViewType, "", [MemRead]>:$view, Variadic<Index>:$indices);
  let results = (outs AnyType:$value);
  let assemblyFormat = "$view `[` $indices `]` attr-dict `:` type($view) `->` type($value)";
  let hasVerifier = 1;
}

def Tile_HullOp : Tile_Op<"hull", [MemoryEffects<[MemRead]>]> {
  let summary = "where the elements of a view that are not 0 begin and end";
  let description = [{
    `first` is the index of the first element that is not 0, and `end` one more than that of the last; both are 0 if all
    are. `holes_begin` is the index of the first element between them that is 0, and `holes_end` one more than that of
    the last; both are 0 if there is none.

    Constraints
    - `tile.hull-C1`: the view has rank 1 and elements of i8.

    Example: `%first, %end, %holes:2 = tile.hull %v : !tile.view<1 x i8, unit>`
  }];
  let arguments = (ins Arg<Tile_ViewType, "", [MemRead]>:$view);
  let results = (outs Index:$first, Index:$end, Index:$holes_begin, Index:$holes_end);
  let assemblyFormat = "$view attr-dict `:` type($view)";
  let hasVerifier = 1;
}

def Tile_AllSetOp : Tile_Op<"all_set", [MemoryEffects<[MemRead]>]> {
  let summary = "whether no element of a stretch of a view is 0";
  let description = [{
    True if the elements `index` to `index + count - 1` that the view has, which may be none, are all other than 0.

    Constraints
    - `tile.all_set-C1`: the view has rank 1 and elements of i8, and count is at least 1.

    Example: `%all = tile.all_set %v[%first] count 64 : !tile.view<1 x i8, unit>`
  }];
  let arguments = (ins Arg<Tile_ViewType, "", [MemRead]>:$view, Index:$index, I64Attr:$count);
  let results = (outs I1:$all);
  let assemblyFormat = "$view `[` $index `]` `count` $count attr-dict `:` type($view)";
  let hasVerifier = 1;
}

def Tile_AnySetOp : Tile_Op<"any_set", [MemoryEffects<[MemRead]>]> {
  let summary = "whether some element of a stretch of a view is not 0";
  let description = [{
    True if one of the elements `index` to `index + count - 1` that the view has, which may be none, is other than 0.

    Constraints
    - `tile.any_set-C1`: the view has rank 1 and elements of i8, and count is at least 1.

    Example: `%any = tile.any_set %v[%first] count 64 : !tile.view<1 x i8, unit>`
  }];
  let arguments = (ins Arg<Tile_ViewType, "", [MemRead]>:$view, Index:$index, I64Attr:$count);
  let results = (outs I1:$any);
  let assemblyFormat = "$view `[` $index `]` `count` $count attr-dict `:` type($view)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

def Tile_DotOperand : AnyTypeOf<[Tile_FloatTile, Tile_SharedType]>;

def Tile_DotOp : Tile_Op<"dot", [MemoryEffects<[MemRead]>, AllTypesMatch<["acc", "result"]>]> {
  let summary = "product of two tiles, added to a third";
  let description = [{
    `result = acc + op(a) op(b)` with float32 accumulation, where `op` transposes an operand marked `trans_a` or
    `trans_b`. A transposed operand costs what its target charges for reading it so; no copy is implied. `micro` is the
    register tile (rows, native vectors) that a CPU schedule chose. An operand is a tile, or, when loads have been
    staged, a tile's buffer in shared memory.

    Constraints
    - `tile.dot-C1`: op(a) is M x K, op(b) is K x N, acc is M x N f32; a and b have one element type.

    Example: `%s = tile.dot %k, %q, %zero trans_a : tensor<64x32xf32>, tensor<64x16xf32> -> tensor<32x16xf32>`
  }];
  let arguments = (ins Tile_DotOperand:$a, Tile_DotOperand:$b, Tile_F32Tile:$acc, UnitAttr:$trans_a, UnitAttr:$trans_b,
                       OptionalAttr<DenseI64ArrayAttr>:$micro);
  let results = (outs Tile_F32Tile:$result);
  let assemblyFormat = [{
    $a `,` $b `,` $acc (`trans_a` $trans_a^)? (`trans_b` $trans_b^)? (`micro` $micro^)? attr-dict
    `:` type($a) `,` type($b) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Tile_TransposeOp : Tile_Op<"transpose", [Pure]> {
  let summary = "transpose a tile";
  let description = [{
    Constraints
    - `tile.transpose-C1`: the result's shape is the operand's, reversed.

    Example: `%t = tile.transpose %q : tensor<64x72xf32> -> tensor<72x64xf32>`
  }];
  let arguments = (ins Tile_Tile:$source);
  let results = (outs Tile_Tile:$result);
  let assemblyFormat = "$source attr-dict `:` type($source) `->` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Rows, columns, indices
//===----------------------------------------------------------------------===//

def Tile_ReduceOp : Tile_Op<"reduce", [Pure]> {
  let summary = "reduce a tile along one axis";
  let description = [{
    `axis` is the dimension that disappears. `max` ignores NaN unless all elements are NaN; the caller lets NaN reach
    its result another way. The order of a `sum` is the target's, the same in every run.

    Constraints
    - `tile.reduce-C1`: the operand has rank 2, axis is 0 or 1, and the result is the operand without that dimension.

    Example: `%m = tile.reduce max %s axis 0 : tensor<64x32xf32> -> tensor<32xf32>`
  }];
  let arguments = (ins Tile_ReduceKindAttr:$kind, Tile_F32Tile:$source, I64Attr:$axis);
  let results = (outs Tile_F32Tile:$result);
  let assemblyFormat = "$kind $source `axis` $axis attr-dict `:` type($source) `->` type($result)";
  let hasVerifier = 1;
}

def Tile_FoldOp : Tile_Op<"fold", [Pure, AllTypesMatch<["acc", "result"]>]> {
  let summary = "sum columns that are a whole number of result widths apart (GPU)";
  let description = [{
    Element (i, c) of the result, which has `W` columns, is `acc[i, c]` plus the sum of `source[i, j]` over the columns
    `j` with `j mod W = c`. A row sum that is carried through a loop as `W` partial sums needs no exchange between the
    lanes that share a row until the loop has ended. The order of the sum is the target's, the same in every run.

    Constraints
    - `tile.fold-C1`: source and acc have rank 2 and the same rows, and the source's columns are a multiple of acc's.

    Example: `%l = tile.fold %p into %carried : tensor<128x64xf32> into tensor<128x8xf32>`
  }];
  let arguments = (ins Tile_F32Tile:$source, Tile_F32Tile:$acc);
  let results = (outs Tile_F32Tile:$result);
  let assemblyFormat = "$source `into` $acc attr-dict `:` type($source) `into` type($acc)";
  let hasVerifier = 1;
}

def Tile_RescaleOp : Tile_Op<"rescale", [Pure, AllTypesMatch<["source", "result"]>]> {
  let summary = "multiply each row by its factor, most often 1 (GPU)";
  let description = [{
    Element (i, j) is `source[i, j] * factors[i]`. Where all the factors that a thread needs are 1, which they are when
    no row's reference moved, a target may skip the multiplications: the result is the same, a NaN's payload aside.

    Constraints
    - `tile.rescale-C1`: the factors are the source without dimension 1.

    Example: `%a = tile.rescale %acc by %alpha : tensor<128x64xf32>, tensor<128xf32>`
  }];
  let arguments = (ins Tile_F32Tile:$source, Tile_F32Tile:$factors);
  let results = (outs Tile_F32Tile:$result);
  let assemblyFormat = "$source `by` $factors attr-dict `:` type($source) `,` type($factors)";
  let hasVerifier = 1;
}

def Tile_HideOp : Tile_Op<"hide", [Pure, AllTypesMatch<["source", "result"]>]> {
  let summary = "-inf where a row's columns lie on one side of its limit (GPU)";
  let description = [{
    Element (i, j), of column `c = column + j`, is -inf where `c >= limits[i]` or, with `before`, where `c < limits[i]`,
    and else `source[i, j]`. Rows that a warp holds next to each other are compared only if one of them has something to
    hide: a block that a mask's edge crosses has rows on either side of it.

    Constraints
    - `tile.hide-C1`: the limits are the source without dimension 1.

    Example: `%s = tile.hide %scores from %ends at %first : tensor<128x64xf32>, tensor<128xi32>`
  }];
  let arguments = (ins Tile_F32Tile:$source, Tile_I32Tile:$limits, I32:$column, UnitAttr:$before);
  let results = (outs Tile_F32Tile:$result);
  let assemblyFormat = [{
    $source (`before` $before^):(`from`)? $limits `at` $column attr-dict `:` type($source) `,` type($limits)
  }];
  let hasVerifier = 1;
}

def Tile_HideUnsetOp : Tile_Op<"hide_unset", [MemoryEffects<[MemRead]>, AllTypesMatch<["source", "result"]>]> {
  let summary = "-inf in columns whose element of a view is 0 (GPU)";
  let description = [{
    Element (i, j) is `source[i, j]` where element `index + j` of the view is other than 0, and -inf where it is 0, or
    the view does not have it. Each lane of a warp reads one of 32 elements, and a vote tells it the others.

    Constraints
    - `tile.hide_unset-C1`: the view has rank 1 and elements of i8.

    Example: `%s = tile.hide_unset %scores by %real[%first] : tensor<128x64xf32>, !tile.view<1 x i8, unit>`
  }];
  let arguments = (ins Tile_F32Tile:$source, Arg<Tile_ViewType, "", [MemRead]>:$view, Index:$index);
  let results = (outs Tile_F32Tile:$result);
  let assemblyFormat = "$source `by` $view `[` $index `]` attr-dict `:` type($source) `,` type($view)";
  let hasVerifier = 1;
}

def Tile_ScaledDifferenceOp : Tile_Op<"scaled_difference", [Pure, AllTypesMatch<["source", "result"]>]> {
  let summary = "(source - reference) * factor, the exponent of a weight (GPU)";
  let description = [{
    Element (i, j) is `(source[i, j] - reference[i]) * factor`. Where `|reference[i] * factor|` is below 1024 for all
    rows that a thread, or a warp, holds, which it is for any usual score, a target may compute
    `source[i, j] * factor - round(reference[i] * factor)` as one fused operation instead: as a reference, the rounded
    product is as good as any number near it, and differs from the exact one by less than 2^-14. Beyond, its rounding
    could be larger than an exponent's range, and the difference comes first.

    Constraints
    - `tile.scaled_difference-C1`: the references are the source without dimension 1.

    Example: `%x = tile.scaled_difference %s, %m, %f : tensor<128x64xf32>, tensor<128xf32>`
  }];
  let arguments = (ins Tile_F32Tile:$source, Tile_F32Tile:$reference, F32:$factor);
  let results = (outs Tile_F32Tile:$result);
  let assemblyFormat = "$source `,` $reference `,` $factor attr-dict `:` type($source) `,` type($reference)";
  let hasVerifier = 1;
}

def Tile_BroadcastOp : Tile_Op<"broadcast", [Pure]> {
  let summary = "repeat a rank-1 tile along a new axis";
  let description = [{
    Constraints
    - `tile.broadcast-C1`: the operand has rank 1, axis is 0 or 1, and the operand is the result without that dimension.

    Example: `%b = tile.broadcast %m axis 0 : tensor<32xf32> -> tensor<64x32xf32>`
  }];
  let arguments = (ins Tile_Tile:$source, I64Attr:$axis);
  let results = (outs Tile_Tile:$result);
  let assemblyFormat = "$source `axis` $axis attr-dict `:` type($source) `->` type($result)";
  let hasVerifier = 1;
}

def Tile_SplatOp : Tile_Op<"splat", [Pure,
    TypesMatchWith<"the scalar has the tile's element type", "result", "scalar",
                   "::llvm::cast<::mlir::RankedTensorType>($_self).getElementType()">]> {
  let summary = "a tile of one scalar";
  let description = [{
    Example: `%t = tile.splat %scale : tensor<64x32xf32>`
  }];
  let arguments = (ins AnyType:$scalar);
  let results = (outs Tile_Tile:$result);
  let assemblyFormat = "$scalar attr-dict `:` type($result)";
}

def Tile_IndexOp : Tile_Op<"index", [Pure]> {
  let summary = "an index tile: which row, or which column";
  let description = [{
    Element (i, j) is `base + i` for axis 0 and `base + j` for axis 1, as i32. Sequence positions fit in 31 bits.

    Constraints
    - `tile.index-C1`: axis is a dimension of the tile.

    Example: `%cols = tile.index %first axis 1 : tensor<64x32xi32>`
  }];
  let arguments = (ins I32:$base, I64Attr:$axis);
  let results = (outs Tile_I32Tile:$result);
  let assemblyFormat = "$base `axis` $axis attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Tile_RandomBitsOp : Tile_Op<"random_bits", [Pure]> {
  let summary = "16 random bits an element, from its position";
  let description = [{
    Element (i, j) is drawn for row `row + i` and column `col + j`, or, with `transposed`, for row `row + j` and column
    `col + i`: its upper 16 bits are those that `kernels/Philox.h` (dropoutBits) says, with the key's two words, and
    `head` and `offset` as the last two of the counter; its lower 16 bits may be any. They depend on nothing else, so
    every schedule and target draws the same.

    Constraints
    - `tile.random_bits-C1`: the tile has rank 2.

    `row` and `col` are multiples of 16.

    Example: `%r = tile.random_bits [%row, %col] counter(%head, %offset) key(%k0, %k1) : tensor<64x32xi32>`
  }];
  let arguments = (ins I32:$row, I32:$col, I32:$head, I32:$offset, I32:$key0, I32:$key1, UnitAttr:$transposed);
  let results = (outs Tile_I32Tile:$result);
  let assemblyFormat = [{
    `[` $row `,` $col `]` `counter` `(` $head `,` $offset `)` `key` `(` $key0 `,` $key1 `)` (`transposed` $transposed^)?
    attr-dict `:` type($result)
  }];
  let hasVerifier = 1;
}

class Tile_UnaryOp<string mnemonic> : Tile_Op<mnemonic, [Pure, Elementwise, SameOperandsAndResultType]> {
  let arguments = (ins Tile_F32Tile:$source);
  let results = (outs Tile_F32Tile:$result);
  let assemblyFormat = "$source attr-dict `:` type($result)";
}

def Tile_Exp2Op : Tile_UnaryOp<"exp2"> {
  let summary = "2 to the power of each element";
  let description = [{
    exp2(-inf) is 0, exp2(+inf) is +inf, NaN stays NaN; results below the smallest normal number may be 0, and results
    from 2^127.5 on may be +inf. Relative error at most 2^-22 otherwise. Example: `%p = tile.exp2 %x :
    tensor<64x32xf32>`
  }];
}

def Tile_Log2Op : Tile_UnaryOp<"log2"> {
  let summary = "base-2 logarithm of each element";
  let description = [{
    For positive normal numbers, with a relative error of at most 2^-21; NaN stays NaN, log2(+inf) is +inf, other
    arguments give an unspecified value. Example: `%y = tile.log2 %x : tensor<64xf32>`
  }];
}

//===----------------------------------------------------------------------===//
// Staging (GPU)
//===----------------------------------------------------------------------===//

def Tile_AllocSharedOp : Tile_Op<"alloc_shared", [MemoryEffects<[MemAlloc]>]> {
  let summary = "a buffer in shared memory, for the whole program";
  let description = "Example: `%k = tile.alloc_shared : !tile.shared<64 x 128 x bf16, stages 2>`";
  let results = (outs Tile_SharedType:$buffer);
  let assemblyFormat = "attr-dict `:` type($buffer)";
}

def Tile_SlotOp : Tile_Op<"slot", [Pure]> {
  let summary = "one buffer of a ring";
  let description = [{
    `index` is within 0..stages - 1.

    Constraints
    - `tile.slot-C1`: the result is the ring's type with one stage.

    Example: `%b = tile.slot %ring[%i] : !tile.shared<64 x 128 x bf16, stages 2> -> !tile.shared<64 x 128 x bf16>`
  }];
  let arguments = (ins Tile_SharedType:$ring, Index:$index);
  let results = (outs Tile_SharedType:$buffer);
  let assemblyFormat = "$ring `[` $index `]` attr-dict `:` type($ring) `->` type($buffer)";
  let hasVerifier = 1;
}

def Tile_AsyncLoadOp : Tile_Op<"async_load", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "start copying a tile of a view into shared memory";
  let description = [{
    Reads what `tile.load` would read, zeros past the view's size included, and returns before it has arrived:
    `tile.await_loads` waits. The buffer must not be read or written by another copy in between.

    Constraints
    - `tile.async_load-C1`: as `tile.load-C1`, on a rank-2 view; the buffer is one, not a ring.

    Example:
    ```mlir
    tile.async_load %v[%row, %zero] bounds [true, false] to %k : !tile.view<2 x bf16, unit>, !tile.shared<64 x 128 x
    bf16>
    ```
  }];
  let arguments = (ins Tile_ViewType:$view, Variadic<Index>:$indices, DenseBoolArrayAttr:$bounds,
                       Tile_SharedType:$buffer);
  let assemblyFormat = [{
    $view `[` $indices `]` `bounds` $bounds `to` $buffer attr-dict `:` type($view) `,` type($buffer)
  }];
  let hasVerifier = 1;
}

def Tile_LoadSharedOp : Tile_Op<"load_shared", [MemoryEffects<[MemRead]>]> {
  let summary = "a tile from its buffer in shared memory";
  let description = [{
    Each thread reads the elements that it holds. What a copy writes is there after `tile.await_loads`.

    Constraints
    - `tile.load_shared-C1`: the buffer is one, not a ring, and has the tile's shape and element type.

    Example: `%t = tile.load_shared %b : !tile.shared<128 x 64 x bf16> -> tensor<128x64xbf16>`
  }];
  let arguments = (ins Tile_SharedType:$buffer);
  let results = (outs Tile_Tile:$tile);
  let assemblyFormat = "$buffer attr-dict `:` type($buffer) `->` type($tile)";
  let hasVerifier = 1;
}

def Tile_ClearRowsOp : Tile_Op<"clear_rows", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "set rows of a buffer to 0";
  let description = [{
    Where `when` is true, rows of the buffer whose element of the view, which counts from `index`, is 0 become 0, and
    all threads see that afterwards; rows before the view's first element and past its last stay as they are. The
    buffer holds what was copied, and no copy writes to it.

    Constraints
    - `tile.clear_rows-C1`: the view has rank 1 and elements of i8; the buffer is one, not a ring.

    Example: `tile.clear_rows %buffer where %v[%row] when %holes : !tile.shared<64 x 128 x bf16>, !tile.view<1 x i8,
    unit>`
  }];
  let arguments = (ins Tile_SharedType:$buffer, Arg<Tile_ViewType, "", [MemRead]>:$view, Index:$index, I1:$when);
  let assemblyFormat = [{
    $buffer `where` $view `[` $index `]` `when` $when attr-dict `:` type($buffer) `,` type($view)
  }];
  let hasVerifier = 1;
}

def Tile_AwaitLoadsOp : Tile_Op<"await_loads", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "wait until copies have arrived and all threads have come here";
  let description = [{
    Afterwards every thread sees the buffers of all copies of all groups but the last `pending`, and may let new copies
    write to buffers that were last read before. Examples: `tile.await_loads`, `tile.await_loads pending 1`

    Constraints
    - `tile.await_loads-C1`: pending is at least 0.
  }];
  let arguments = (ins DefaultValuedAttr<I64Attr, "0">:$pending);
  let assemblyFormat = "(`pending` $pending^)? attr-dict";
  let hasVerifier = 1;
}

def Tile_CommitLoadsOp : Tile_Op<"commit_loads", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "close a group of copies";
  let description = [{
    The copies that the program started since the last `tile.commit_loads` form a group, which may be empty;
    `tile.await_loads` counts groups. Example: `tile.commit_loads`
  }];
  let assemblyFormat = "attr-dict";
}

//===----------------------------------------------------------------------===//
// Fusion (CPU)
//===----------------------------------------------------------------------===//

def Tile_FusedOp : Tile_Op<"fused", [SingleBlock, NoRegionArguments, RecursiveMemoryEffects]> {
  let summary = "a group of operations computed together, row by row";
  let description = [{
    Made by `tile-fuse-rowwise`. The body holds operations that share one iteration space, `shape`, and in which no
    operation reads another's reduction; a target computes them in one loop nest over that space, without storing what
    is used inside only. Results are the tiles that are used outside.

    Constraints
    - `tile.fused-C1`: shape has one or two dimensions.
    - `tile.fused-C2`: the terminator yields one tile of the right type for each result.
    - `tile.fused-C3`: the body holds only loads, stores, elementwise operations and reductions over exactly `shape`,
      and constants, splats, index tiles and broadcasts, which are repeated wherever they are read.
    - `tile.fused-C4`: no operation reads a reduction of the group, be it through a broadcast; the terminator may.

    Example:
    ```mlir
    %p = tile.fused [64, 32] -> tensor<64x32xf32> {
      %0 = arith.subf %s, %m : tensor<64x32xf32>
      %1 = tile.exp2 %0 : tensor<64x32xf32>
      tile.yield %1 : tensor<64x32xf32>
    }
    ```
  }];
  let arguments = (ins DenseI64ArrayAttr:$shape);
  let results = (outs Variadic<Tile_Tile>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$shape (`->` type($results)^)? $body attr-dict";
  let hasVerifier = 1;
}

def Tile_OnHalfOp : Tile_Op<"on_half", [SingleBlock, NoRegionArguments, RecursiveMemoryEffects]> {
  let summary = "tiles of which one half of the rows is computed, and the other one kept (GPU)";
  let description = [{
    With `upper` the results' second half of rows is what the body computes, and the first half what `kept` has there;
    without it is the other way round. The body is written for whole tiles, and only that half of its work is done: so
    no row of what it yields may depend on other rows. Threads agree on `upper`. A step of a block of keys that one half
    of a program's rows does not see is done in half the time.

    Constraints
    - `tile.on_half-C1`: there is a kept tile; kept ones, and those that the terminator yields, have the results' types.
    - `tile.on_half-C2`: all of them have the same number of rows, an even one.
    - `tile.on_half-C3`: the body holds no loop, no other half, no transpose, no reduction over rows and no store.

    Example:
    ```mlir
    %next:2 = tile.on_half %upper keeping %m, %acc : tensor<128xf32>, tensor<128x64xf32>
        -> tensor<128xf32>, tensor<128x64xf32> {
      %s = tile.dot %q, %k, %zero trans_b : ... -> tensor<128x96xf32>
      ...
      tile.yield %m_next, %acc_next : tensor<128xf32>, tensor<128x64xf32>
    }
    ```
  }];
  let arguments = (ins I1:$upper, Variadic<Tile_F32Tile>:$kept);
  let results = (outs Variadic<Tile_F32Tile>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$upper `keeping` $kept `:` type($kept) `->` type($results) $body attr-dict";
  let hasVerifier = 1;
}

def Tile_YieldOp : Tile_Op<"yield", [Pure, Terminator, ReturnLike, ParentOneOf<["FusedOp", "OnHalfOp"]>]> {
  let summary = "ends the body of `tile.fused` or `tile.on_half`";
  let description = "Names the tiles that the results are made of. Example: `tile.yield %p : tensor<64x32xf32>`";
  let arguments = (ins Variadic<Tile_Tile>:$results);
  let assemblyFormat = "attr-dict ($results^ `:` type($results))?";
}

include "tilewright/Dialect/Tile/IR/TileRoleOps.td"

#endif // TILEWRIGHT_DIALECT_TILE_IR_TILEOPS
