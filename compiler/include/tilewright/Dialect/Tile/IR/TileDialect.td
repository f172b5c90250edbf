// SPDX-License-Identifier: Apache-2.0
#ifndef TILEWRIGHT_DIALECT_TILE_IR_TILEDIALECT
#define TILEWRIGHT_DIALECT_TILE_IR_TILEDIALECT

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def Tile_Dialect : Dialect {
  let name = "tile";
  let summary = "How a kernel is computed, on whole tiles";
  let description = [{
    A tile program says what one *program* (a thread block on a GPU, one task of the thread pool on a CPU) computes, on
    statically shaped tiles with value semantics. A tile is a builtin `tensor` of rank 1 or 2; elementwise work is
    `arith` on tensors, loops are `scf.for` carrying tiles, and this dialect adds what those lack: access to global
    memory, products, reductions, broadcasts, index tiles, exp2 and log2.

    Threads, warps, registers and shared memory do not appear. A schedule (`#tile.schedule`), attached to the function
    as `tile.schedule`, fixed the tile shapes when the program was built; `tile-apply-schedule` maps programs to the
    target's grid and annotates products, and each target's conversion takes it from there.

    A kernel is a `func.func` with the unit attribute `tile.kernel` and a `tile.target`.
  }];
  let cppNamespace = "::tilewright::tile";
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
  let hasConstantMaterializer = 0;
}

class Tile_Type<string name, string typeMnemonic> : TypeDef<Tile_Dialect, name> {
  let mnemonic = typeMnemonic;
}

def Tile_PtrType : Tile_Type<"Ptr", "ptr"> {
  let summary = "pointer to elements in global memory";
  let parameters = (ins "::mlir::Type":$elementType);
  let assemblyFormat = "`<` $elementType `>`";
}

def Tile_ViewType : Tile_Type<"View", "view"> {
  let summary = "strided rank-1 or rank-2 view of global memory";
  let description = [{
    A base pointer with a size and a stride for each dimension, all dynamic. `unit` states that the innermost stride is
    1, so that a row of a tile is one vector access; a number after it states to how many bytes every row is aligned,
    where that is more than the element's size.

    Examples: `!tile.view<2 x bf16, unit>`, `!tile.view<2 x bf16, unit 16>`
  }];
  let parameters = (ins "unsigned":$rank, "::mlir::Type":$elementType, DefaultValuedParameter<"bool", "false">:$unit,
                        DefaultValuedParameter<"unsigned", "0">:$align);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

def Tile_SharedType : Tile_Type<"Shared", "shared"> {
  let summary = "a tile's buffer in the memory that a program's threads share";
  let description = [{
    Within a row, the order of its 16-byte units depends on the row (they are swizzled), so that what is read at once
    lies in different banks. With `stages` it is a ring of that many buffers. Appears when loads have been staged
    (`tile-stage-loads`). Examples: `!tile.shared<64 x 128 x bf16>`, `!tile.shared<64 x 128 x bf16, stages 2>`
  }];
  let parameters = (ins "int64_t":$rows, "int64_t":$cols, "::mlir::Type":$elementType,
                        DefaultValuedParameter<"int64_t", "1">:$stages);
  let assemblyFormat = "`<` $rows `x` $cols `x` $elementType (`,` `stages` $stages^)? `>`";
  let genVerifyDecl = 1;
}

class Tile_I32Enum<string name, string summary, list<I32EnumAttrCase> cases> : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::tilewright::tile";
  let genSpecializedAttr = 0;
}

def Tile_Orientation : Tile_I32Enum<"Orientation", "what the rows of a score tile are", [
    I32EnumAttrCase<"QueriesByKeys", 0, "qk">,
    I32EnumAttrCase<"KeysByQueries", 1, "kq">]>;

def Tile_ReduceKind : Tile_I32Enum<"ReduceKind", "what a reduction computes", [
    I32EnumAttrCase<"Max", 0, "max">,
    I32EnumAttrCase<"Sum", 1, "sum">]>;
def Tile_ReduceKindAttr : EnumAttr<Tile_Dialect, Tile_ReduceKind, "reduce_kind"> {
  let assemblyFormat = "$value";
}

class Tile_Attr<string name, string attrMnemonic> : AttrDef<Tile_Dialect, name> {
  let mnemonic = attrMnemonic;
}

def Tile_ScheduleAttr : Tile_Attr<"Schedule", "schedule"> {
  let summary = "block sizes, orientation and register tile of a tile program";
  let description = [{
    `blockM` query rows and `blockN` keys a block, both positive multiples of 16; the orientation of score tiles; the
    register tile of products, in rows and native vectors. On a function it is the attribute `tile.schedule`.

    Example: `#tile.schedule<kq, 64 x 64, micro 8 x 2>`
  }];
  let parameters = (ins EnumParameter<Tile_Orientation>:$orientation, "int64_t":$blockM, "int64_t":$blockN,
                        "int64_t":$microRows, "int64_t":$microVectors);
  let assemblyFormat = [{
    `<` $orientation `,` $blockM `x` $blockN `,` `micro` $microRows `x` $microVectors `>`
  }];
  let genVerifyDecl = 1;
}

def Tile_CpuTargetAttr : Tile_Attr<"CpuTarget", "cpu"> {
  let summary = "the CPU target: an x86-64 micro-architecture level";
  let description = [{
    On a function it is the attribute `tile.target`. Example: `#tile.cpu<"x86-64-v4">`
  }];
  let parameters = (ins StringRefParameter<"level name">:$level);
  let assemblyFormat = "`<` $level `>`";
  let genVerifyDecl = 1;
}

def Tile_GpuScheduleAttr : Tile_Attr<"GpuSchedule", "gpu_schedule"> {
  let summary = "block sizes and warps of a tile program on a GPU";
  let description = [{
    `blockM` query rows and `blockN` keys a block, both multiples of 16; score tiles have queries as rows. Each of
    `warps` warps owns an equal share of the rows, in slabs of 16. Key and value blocks are copied into a ring of
    `stages` buffers each. With 2 `bodies`, which takes more than one stage, a program's step for key blocks that a mask
    cuts is code of its own; with 1 all blocks share one, which asks. Registers are given out so that `per_sm` programs
    fit an SM, which the family `sm_90a` leaves at 1. There these are the consumers' warps, four for each 64 rows, and
    four more produce; with `persistent` a block runs one program after the other, and has so many buffers for queries;
    with `turns` their warpgroups take turns to start products; with `row_by_row` a thread computes the softmax of its
    first row, then that of its second; with `split_loops` full and partial key blocks have loops of their own; with
    `bulk_stores` outputs leave through the queries' shared memory, by TMA. On a function it is the attribute
    `tile.schedule`.

    Examples: `#tile.gpu_schedule<128 x 64, warps 4>`, `#tile.gpu_schedule<128 x 64, warps 4, stages 2 bodies 2 per_sm 3>`,
    `#tile.gpu_schedule<192 x 128, warps 12, stages 2 persistent 2 turns true>`,
    `#tile.gpu_schedule<128 x 128, warps 8, stages 2 persistent 2 row_by_row true>`,
    `#tile.gpu_schedule<128 x 128, warps 8, stages 2 split_loops true bulk_stores true>`
  }];
  let parameters = (ins "int64_t":$blockM, "int64_t":$blockN, "int64_t":$warps,
                        DefaultValuedParameter<"int64_t", "1">:$stages,
                        DefaultValuedParameter<"int64_t", "0">:$persistent,
                        DefaultValuedParameter<"bool", "false">:$turns,
                        DefaultValuedParameter<"bool", "false">:$rowByRow,
                        DefaultValuedParameter<"bool", "false">:$splitLoops,
                        DefaultValuedParameter<"bool", "false">:$bulkStores,
                        DefaultValuedParameter<"int64_t", "1">:$bodies,
                        DefaultValuedParameter<"int64_t", "1">:$perSm);
  let assemblyFormat = [{
    `<` $blockM `x` $blockN `,` `warps` $warps (`,` `stages` $stages^)? (`bodies` $bodies^)? (`per_sm` $perSm^)?
    (`persistent` $persistent^)? (`turns` $turns^)? (`row_by_row` $rowByRow^)?
    (`split_loops` $splitLoops^)? (`bulk_stores` $bulkStores^)? `>`
  }];
  let genVerifyDecl = 1;
}

def Tile_GpuTargetAttr : Tile_Attr<"GpuTarget", "gpu"> {
  let summary = "a GPU target: the instruction family that code is generated for";
  let description = [{
    `sm_80`: mma.sync, ldmatrix and cp.async, which every NVIDIA GPU from Ampere on executes; `sm_90a`: wgmma, TMA and
    warps with roles, which SM 90 alone executes. `sm` is the one that machine code is assembled for, one of the table
    in `tilewright/Target/GpuTarget.h`, which bounds a block's shared memory; 65535 stands for PTX that a driver
    assembles. On a function it is the attribute `tile.target`.

    Example: `#tile.gpu<"sm_80", sm 90>`
  }];
  let parameters = (ins StringRefParameter<"family">:$family, "unsigned":$sm);
  let assemblyFormat = "`<` $family `,` `sm` $sm `>`";
  let genVerifyDecl = 1;
}

#endif // TILEWRIGHT_DIALECT_TILE_IR_TILEDIALECT
