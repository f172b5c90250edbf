// SPDX-License-Identifier: Apache-2.0
//
// Operations of programs whose warps have roles (the sm_90a family): a producer fills rings in shared memory, consumers
// compute from them. Included by TileOps.td.
#ifndef TILEWRIGHT_DIALECT_TILE_IR_TILEROLEOPS
#define TILEWRIGHT_DIALECT_TILE_IR_TILEROLEOPS

include "tilewright/Dialect/Tile/IR/TileDialect.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Tile_RolesOp : Tile_Op<"roles", [SingleBlock, NoRegionArguments, NoTerminator, RecursiveMemoryEffects]> {
  let summary = "what the producer and the consumers of a program do";
  let description = [{
    The warps of a program part here: the producer runs one region, all consumers the other, at the same time. They meet
    in rings only. What stands ahead of the operation is computed by both. Made by `tile-specialize-warps`.

    Example: `tile.roles producer { tile.fill ... } consumer { %k = tile.take ... }`
  }];
  let regions = (region SizedRegion<1>:$producer, SizedRegion<1>:$consumer);
  let assemblyFormat = "`producer` $producer `consumer` $consumer attr-dict";
}

def Tile_FillOp : Tile_Op<"fill", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "let a tile of a view be copied into a ring, when there is room (producer)";
  let description = [{
    Fill `number` of a ring, counted from 0, goes to its buffer `number mod stages`: the producer waits until the
    consumers have released fill `number - stages`, starts the copy and goes on. Reads what `tile.load` would read,
    zeros past the view's size included, where a target's copies may take the tensor's end for the view's: who makes the
    kernel's tensor maps sees to it that they are the same.

    Constraints
    - `tile.fill-C1`: as `tile.load-C1`, on a rank-2 view; the tile is one buffer of the ring.

    Example:
    ```mlir
    tile.fill %v[%row, %zero] bounds [true, false] into %ring[%n]
      : !tile.view<2 x bf16, unit 16>, !tile.shared<128 x 64 x bf16, stages 2>
    ```
  }];
  let arguments = (ins Tile_ViewType:$view, Variadic<Index>:$indices, DenseBoolArrayAttr:$bounds,
                       Tile_SharedType:$ring, Index:$number);
  let assemblyFormat = [{
    $view `[` $indices `]` `bounds` $bounds `into` $ring `[` $number `]` attr-dict `:` type($view) `,` type($ring)
  }];
  let hasVerifier = 1;
}

def Tile_TakeOp : Tile_Op<"take", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "wait for a fill of a ring (consumer)";
  let description = [{
    Waits until the copy of fill `number` has arrived and names its buffer, which the consumer may read until it
    releases it.

    Constraints
    - `tile.take-C1`: the result is the ring's type with one stage.

    Example: `%k = tile.take %ring[%n] : !tile.shared<128 x 64 x bf16, stages 2> -> !tile.shared<128 x 64 x bf16>`
  }];
  let arguments = (ins Tile_SharedType:$ring, Index:$number);
  let results = (outs Tile_SharedType:$buffer);
  let assemblyFormat = "$ring `[` $number `]` attr-dict `:` type($ring) `->` type($buffer)";
  let hasVerifier = 1;
}

def Tile_ReleaseOp : Tile_Op<"release", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "give a buffer of a ring back to the producer (consumer)";
  let description = [{
    This consumer reads fill `number` no more; products that read it have been awaited. When all consumers have said so,
    the buffer may be filled again. Example: `tile.release %ring[%n] : !tile.shared<128 x 64 x bf16, stages 2>`
  }];
  let arguments = (ins Tile_SharedType:$ring, Index:$number);
  let assemblyFormat = "$ring `[` $number `]` attr-dict `:` type($ring)";
}

def Tile_BulkStoreOp : Tile_Op<"bulk_store", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "store a tile to a view through a ring's buffer (consumer)";
  let description = [{
    What `tile.store` does, by bulk copies of whole blocks of rows: each warp puts its rows into the buffer, which no
    product of its warpgroup reads any more, and starts their copies. Waits until these have read the buffer; its
    contents are lost. As with `tile.fill`, the tensor's end takes the place of the view's.

    Constraints
    - `tile.bulk_store-C1`: as `tile.store-C1`, on a rank-2 view.
    - `tile.bulk_store-C2`: the buffer has the tile's rows and element type, one stage, and as many boxes of 64 columns
      as the tile.

    Example:
    ```mlir
    tile.bulk_store %t, %v[%row, %zero] bounds [true, false] through %q
      : tensor<128x64xbf16>, !tile.view<2 x bf16, unit 16>, !tile.shared<128 x 64 x bf16>
    ```
  }];
  let arguments = (ins Tile_Tile:$tile, Arg<Tile_ViewType, "", [MemWrite]>:$view, Variadic<Index>:$indices,
                       DenseBoolArrayAttr:$bounds, Tile_SharedType:$through);
  let assemblyFormat = [{
    $tile `,` $view `[` $indices `]` `bounds` $bounds `through` $through attr-dict
    `:` type($tile) `,` type($view) `,` type($through)
  }];
  let extraClassDeclaration = [{
    /// Whether a buffer has room for a tile: tile.bulk_store-C2.
    static bool hasRoom(SharedType buffer, ::mlir::RankedTensorType tile);
  }];
  let hasVerifier = 1;
}

def Tile_StartDotOp : Tile_Op<"start_dot", [MemoryEffects<[MemRead, MemWrite]>, AllTypesMatch<["acc", "result"]>]> {
  let summary = "start a product whose result is awaited later (consumer)";
  let description = [{
    Computes what `tile.dot` does and returns at once. The result, and the registers of `acc` and of an operand that is
    a tile, are the matrix unit's until `tile.await_dot`, which is the only operation that may read the result. Products
    finish in the order in which they were started.

    Constraints
    - `tile.start_dot-C1`: as `tile.dot-C1`; a is not transposed.
    - `tile.start_dot-C2`: the result has one use, by `tile.await_dot`.

    Example: `%0 = tile.start_dot %q, %k, %zero trans_b : !tile.shared<128 x 64 x bf16>, ... -> tensor<128x128xf32>`
  }];
  let arguments = (ins Tile_DotOperand:$a, Tile_DotOperand:$b, Tile_F32Tile:$acc, UnitAttr:$trans_b);
  let results = (outs Tile_F32Tile:$result);
  let assemblyFormat = [{
    $a `,` $b `,` $acc (`trans_b` $trans_b^)? attr-dict `:` type($a) `,` type($b) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Tile_AwaitDotOp : Tile_Op<"await_dot", [MemoryEffects<[MemRead, MemWrite]>, AllTypesMatch<["started", "result"]>]> {
  let summary = "the result of a started product (consumer)";
  let description = [{
    Waits until all started products but the last `pending` have finished, `started` among them.

    Example: `%s = tile.await_dot %0 pending 1 : tensor<128x128xf32>`
  }];
  let arguments = (ins Tile_F32Tile:$started, DefaultValuedAttr<I64Attr, "0">:$pending);
  let results = (outs Tile_F32Tile:$result);
  let assemblyFormat = "$started (`pending` $pending^)? attr-dict `:` type($result)";
}

def Tile_TakeTurnOp : Tile_Op<"take_turn", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "wait for this warpgroup's turn to start products (consumer)";
  let description = [{
    Warpgroups take turns, in order, the first one first; `tile.pass_turn` ends a turn. While one starts its products,
    the others compute from theirs. All consumers take as many turns. Example: `tile.take_turn`
  }];
  let assemblyFormat = "attr-dict";
}

def Tile_PassTurnOp : Tile_Op<"pass_turn", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "end this warpgroup's turn (consumer)";
  let description = "Example: `tile.pass_turn`";
  let assemblyFormat = "attr-dict";
}

def Tile_ClaimProgramOp : Tile_Op<"claim_program", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "the number of a program that no block has run (producer)";
  let description = [{
    Programs below the number of blocks are the blocks' first ones; the others are given out in ascending order, to
    whichever block asks. At `tile.program_count` or above: none is left, and the block must not ask again.

    Example: `%next = tile.claim_program : index`
  }];
  let results = (outs Index:$number);
  let assemblyFormat = "attr-dict `:` type($number)";
}

def Tile_AnnounceProgramOp : Tile_Op<"announce_program", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "tell the consumers which program comes next (producer)";
  let description = [{
    `turn` counts the announcements of a block from 0. Waits until all consumers have read the last but one. Example:
    `tile.announce_program %p at %n`
  }];
  let arguments = (ins Index:$program, Index:$turn);
  let assemblyFormat = "$program `at` $turn attr-dict";
}

def Tile_AwaitProgramOp : Tile_Op<"await_program", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "the program that the producer announced (consumer)";
  let description = "Example: `%p = tile.await_program at %n : index`";
  let arguments = (ins Index:$turn);
  let results = (outs Index:$program);
  let assemblyFormat = "`at` $turn attr-dict `:` type($program)";
}

#endif // TILEWRIGHT_DIALECT_TILE_IR_TILEROLEOPS
