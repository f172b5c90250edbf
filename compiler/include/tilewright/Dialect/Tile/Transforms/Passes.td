// SPDX-License-Identifier: Apache-2.0
#ifndef TILEWRIGHT_DIALECT_TILE_TRANSFORMS_PASSES
#define TILEWRIGHT_DIALECT_TILE_TRANSFORMS_PASSES

include "mlir/Pass/PassBase.td"

def TileApplySchedule : Pass<"tile-apply-schedule", "::mlir::func::FuncOp"> {
  let summary = "Map programs to a linear launch and annotate products";
  let description = [{
    Replaces `tile.coords` by arithmetic on `tile.program`, the number of a program in a linear launch: the first
    coordinate varies fastest, so that programs that run at the same time share a head's keys and values. With
    `heavy_last` the first coordinate runs backwards: the programs with the most work start first, and none of them is
    left for the end. With `together` so many values of the other coordinates share a section, in which the last blocks
    of all of them come first; else a launch ends with the heavy blocks of its last head, while most SMs have nothing to
    do. Marks every `tile.dot` with the register tile of the function's `tile.schedule`.

    Runs after `attn-expand`. Bit-preserving.

    Example: `%m, %b = tile.coords sizes(%n) : index, index` becomes
    ```mlir
    %p = tile.program : index
    %m = arith.remui %p, %n : index
    %b = arith.divui %p, %n : index
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect",
                           "::tilewright::tile::TileDialect"];
  let statistics = [Statistic<"numDots", "dots", "Number of products annotated">];
}

def TileFuseRowwise : Pass<"tile-fuse-rowwise", "::mlir::func::FuncOp"> {
  let summary = "Group row-wise operations into tile.fused";
  let description = [{
    Walks each block and gathers loads, stores, elementwise operations and reductions that share one iteration space
    into `tile.fused`, as long as no operation reads a reduction of its own group. Constants, splats, index tiles and
    broadcasts cost nothing to repeat: they are copied into every group that reads them. What is left outside is
    products, transposes, loops, scalars, and tile constants that start a loop or an accumulator.

    Runs after `tile-apply-schedule` and before `convert-tile-to-vector`. Afterwards every operation on tiles is inside
    a `tile.fused`, or is `tile.dot`, `tile.transpose`, `scf.for` or such a constant. Bit-preserving: only the place of
    operations changes.
  }];
  let dependentDialects = ["::tilewright::tile::TileDialect"];
  let statistics = [Statistic<"numGroups", "groups", "Number of groups made">];
}

def TileSinkRows : Pass<"tile-sink-rows", "::mlir::func::FuncOp"> {
  let summary = "Compute what only partial blocks need of a program's rows in their branch (GPU)";
  let description = [{
    The first and last key that each row sees is known ahead of the loop over blocks of keys, but only a branch of a
    step compares with it, that of partial blocks. Kept in registers through the loop it would take one to two for each
    of a thread's rows; where accumulators leave few, products then wait for their operands, because there is no room
    to load the next ones meanwhile.

    So rank-1 tiles that are made ahead of a loop and used, within it, in one branch of its step only are made in that
    branch: with all rank-1 tiles that they are made of, loads of row bounds included. Reductions stay where they are.
    `convert-tile-to-nvvm` keeps LLVM from moving them back.

    Runs after `tile-apply-schedule`, before `convert-tile-to-nvvm`. Leaves kernels of the family `sm_90a` alone: their
    consumers have registers to spare. Bit-preserving.

    Example: with `%last = tile.load %bounds[%row] bounds [true] : ...` ahead of the loop,
    ```mlir
    %masked = scf.if %partial -> (tensor<128x64xf32>) {
      %last = tile.load %bounds[%row] bounds [true] : !tile.view<1 x i32> -> tensor<128xi32>
      %limit = tile.broadcast %last axis 1 : tensor<128xi32> -> tensor<128x64xi32>
      // compare and select
    }
    ```
  }];
  let dependentDialects = ["::tilewright::tile::TileDialect"];
  let statistics = [Statistic<"numSunk", "sunk", "Number of tiles that moved into a branch">];
}

def TileStageLoads : Pass<"tile-stage-loads", "::mlir::func::FuncOp"> {
  let summary = "Stage the operands of products, and what joins scores, in shared memory ahead of their use (GPU)";
  let description = [{
    Every `tile.load` that feeds a product becomes an asynchronous copy into shared memory. Ahead of the loops, the
    copy is awaited where it is. In block loops, copies run while the previous step computes: the first load of the
    body (a block of keys) is started one iteration ahead, each later one (a block of values) at the start of its own
    iteration. Loops that follow one another on the same range (full blocks, then partial ones) form one chain: the
    last iteration of one starts the first copy of the next. Bounds of a chain's copies are those of its strictest
    loop.

    A load of a float matrix in a block loop that leaves elements past its bounds open (a bias or a mask that joins the
    scores) is copied like a block of values, and `tile.load_shared` reads it where the load stood, if it comes after
    the products of the body's first load, its indices follow from the loop's number, and its rows are aligned to 4
    bytes, without gaps, and more than one (a row stride of 0 would repeat one row in shared memory). Others stay.

    Refused with a message: a load whose view is made in the loop, whose indices do not follow from the loop's number,
    or which feeds a product in another block (with one stage also one inside it), for its copy could not be started
    ahead.

    With one stage (`#tile.gpu_schedule`) there is one buffer for each load of the body: a copy starts when all threads
    have finished reading what was there, and threads meet at each load. With more stages each load has a ring of that
    many buffers: all copies of a block start `stages - 1` iterations ahead, and threads meet once an iteration; the
    products may then stand in branches of the iteration, whose condition is the same for all rows of the program.

    A store of a rank-2 tile after the loops goes through a buffer of a load ahead of them, if one is large enough.

    Runs after `tile-apply-schedule`, before `convert-tile-to-nvvm`. Leaves kernels of the family `sm_90a` alone:
    `tile-specialize-warps` is for them. Bit-preserving.

    Example: in a loop over %j, `%k = tile.load %v[%row, %zero]; %s = tile.dot %q, %k, %c trans_b` becomes
    ```mlir
    tile.commit_loads
    tile.await_loads
    %s = tile.dot %q, %buffer, %c trans_b
    tile.commit_loads
    tile.await_loads
    // started for the next block, if there is one
    tile.async_load %v[%next, %zero] bounds [true, false] to %buffer
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect", "::tilewright::tile::TileDialect"];
  let statistics = [Statistic<"numStaged", "loads", "Number of loads staged">];
}

def TileSpecializeWarps : Pass<"tile-specialize-warps", "::mlir::func::FuncOp"> {
  let summary = "Part a program into a producer that copies and consumers that compute (sm_90a)";
  let description = [{
    Every `tile.load` that feeds a product becomes a ring in shared memory: with one buffer if it stands ahead of the
    loop over blocks, with as many as the schedule has stages inside it. A `tile.roles` holds the producer, which fills
    the rings in the order in which they are read, and the consumers, which take a buffer where the load stood and
    release it behind the last product that reads it, or, where it was filled ahead of the loop, behind the loop. All
    other work on tiles moves to the consumers; scalars stay ahead and are computed by both.

    Refused with a message: what `tile-stage-loads` refuses, loads that leave rows out, more than one loop over blocks,
    and one whose step is not 1.

    Runs after `tile-apply-schedule`, on kernels whose target is of the family `sm_90a`. Bit-preserving.

    Example: in a loop over %j, `%k = tile.load %v[%row, %zero]; %s = tile.dot %q, %k, %c trans_b` becomes
    ```mlir
    tile.roles producer {
      scf.for %j = ... { tile.fill %v[%row, %zero] bounds [true, false] into %ring[%n] }
    } consumer {
      scf.for %j = ... {
        %k = tile.take %ring[%n]
        %s = tile.dot %q, %k, %c trans_b
        tile.release %ring[%n]
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect", "::tilewright::tile::TileDialect"];
  let statistics = [Statistic<"numRings", "rings", "Number of rings made">];
}

def TileOverlapProducts : Pass<"tile-overlap-products", "::mlir::func::FuncOp"> {
  let summary = "Run a block's last product beside the next block's softmax (sm_90a)";
  let description = [{
    In the consumers of `tile.roles`, a loop with two products, scores into zeros and an accumulating one whose left
    operand is a tile, is rotated by one block: ahead of it stands the first block up to the last product; an iteration
    starts the scores of its block and the last product of the block before, awaits the scores, computes what follows
    from them, and only then awaits the other product, rescales the accumulator and rounds the new weights (whose
    registers the product was reading). Behind the loop the last product of the last block is left. All of it is in an
    `scf.if`, for ranges may be empty. Loops of another form stay as they are.

    A buffer of the scores' left operand that was released behind the loop is released ahead of that last product.

    Where the schedule has `turns`, warpgroups take turns to start the two products (`tile.take_turn`,
    `tile.pass_turn`), so that one computes its softmax while another's products run.

    Runs after `tile-specialize-warps`. Bit-preserving: the same operations in another order, but for the rescaling of
    zeros ahead of the first block, which is left out.

    Example: the body of the rotated loop
    ```mlir
    tile.take_turn
    %0 = tile.start_dot %q, %k, %zero trans_b
    %1 = tile.start_dot %weights_before, %v_before, %acc
    tile.pass_turn
    %s = tile.await_dot %0 pending 1
    ... softmax of %s ...
    %sum = tile.await_dot %1
    %kept = tile.rescale %sum by %alpha
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect", "::tilewright::tile::TileDialect"];
  let statistics = [Statistic<"numLoops", "loops", "Number of loops rotated">];
}

def TileSplitLoops : Pass<"tile-split-loops", "::mlir::func::FuncOp"> {
  let summary = "Give full and partial blocks loops of their own (sm_90a)";
  let description = [{
    Where the schedule says so (`split_loops` of `#tile.gpu_schedule`): a loop of the consumers that branches on whether
    its number lies ahead of the full blocks (`slt`) or behind them (`sge`), both if joined by `ori`, becomes a loop for
    each of these ranges, one behind the other, that has the branch's code and asks nothing. Blocks that are skipped are
    in none. A loop that asks for something else as well, or whose step is not 1, stays as it is.

    Runs after `tile-overlap-products`. Bit-preserving.

    Example: the body of `scf.for %j = %begin to %end` that starts with
    ```mlir
    %partial = arith.cmpi sge, %j, %full_end : index
    %s = scf.if %partial -> (tensor<128x128xf32>) { ... hidden ... } else { scf.yield %scores : ... }
    ```
    becomes
    ```mlir
    %later = arith.maxsi %full_end, %begin : index
    %middle = arith.minsi %later, %end : index
    %full:2 = scf.for %j = %begin to %middle step %c1 iter_args(...) { ... %scores ... }
    %all:2 = scf.for %j = %middle to %end step %c1 iter_args(... = %full#0 ...) { ... hidden ... }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect", "::tilewright::tile::TileDialect"];
  let statistics = [Statistic<"numLoops", "loops", "Number of loops split">];
}

def TileBulkStores : Pass<"tile-bulk-stores", "::mlir::func::FuncOp"> {
  let summary = "Let outputs leave through shared memory, by TMA (sm_90a)";
  let description = [{
    Where the schedule says so (`bulk_stores` of `#tile.gpu_schedule`): a store of a rank-2 tile by the consumers
    becomes a `tile.bulk_store` through the first buffer that was taken ahead of the loop and has room for it, the
    queries'. It is released behind the store, and nowhere else any more. Refused with a message where no buffer has
    room, or rows of the view are not aligned to 16 bytes.

    Runs after `tile-overlap-products`, before `tile-persist-programs`. Bit-preserving.

    Example: `tile.store %out, %v[%row, %zero] bounds [true, false]` becomes
    ```mlir
    tile.bulk_store %out, %v[%row, %zero] bounds [true, false] through %q
    tile.release %queries[%zero]
    ```
  }];
  let dependentDialects = ["::tilewright::tile::TileDialect"];
  let statistics = [Statistic<"numStores", "stores", "Number of stores that go through shared memory">];
}

def TilePersistPrograms : Pass<"tile-persist-programs", "::mlir::func::FuncOp"> {
  let summary = "Let a block run one program after the other (sm_90a)";
  let description = [{
    Where the schedule says so (`persistent` of `#tile.gpu_schedule`), both roles of `tile.roles` become loops over
    programs. The producer starts with the program of its block's number (`tile.program`), claims the next one when all
    copies of this one have been started, and announces each to the consumers; so it copies for the next program while
    they finish this one. What stood ahead of the roles and follows from the program's number is computed in both
    loops, right before it is first needed. Fills of rings are numbered through from program to program.

    Runs after `tile-overlap-products` and `tile-bulk-stores`. Bit-preserving.

    Example: the consumers
    ```mlir
    %r:3 = scf.while (%n = %zero, %fills = %zero) : (index, index) -> (index, index, index) {
      %p = tile.await_program at %n : index
      %more = arith.cmpi ult, %p, %count : index
      scf.condition(%more) %n, %fills, %p : index, index, index
    } do {
    ^bb0(%n: index, %fills: index, %p: index):
      ... coordinates from %p, tile.take %ring[%n], the loop over blocks ...
      tile.release %ring[%n]
      scf.yield %next, %fills_after : index, index
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect", "::tilewright::tile::TileDialect"];
}

#endif // TILEWRIGHT_DIALECT_TILE_TRANSFORMS_PASSES
