// The whole pipeline, attn text to the LLVM dialect, and what is left of the program at each of its stages.
// RUN: tilewright-opt "%s" -tilewright-cpu=until=tile | FileCheck "%s" --check-prefix=TILE
// RUN: tilewright-opt "%s" -tilewright-cpu=until=schedule | FileCheck "%s" --check-prefix=SCHEDULE
// RUN: tilewright-opt "%s" -tilewright-cpu=until=vector | FileCheck "%s" --check-prefix=VECTOR
// RUN: tilewright-opt "%s" -tilewright-cpu=until=llvm | FileCheck "%s" --check-prefix=LLVM
// RUN: tilewright-opt "%s" -tilewright-cpu | FileCheck "%s" --check-prefix=LLVM
// RUN: not tilewright-opt "%s" -tilewright-cpu=until=sideways 2>&1 | FileCheck "%s" --check-prefix=UNKNOWN

// UNKNOWN: for the --until option
// UNKNOWN-SAME: sideways

// Tile: a program on tiles, on an abstract grid; full loop without a mask, partial loop with it.
// TILE-LABEL: func.func @forward(
// TILE-SAME: tile.kernel
// TILE-NOT: attn.
// TILE-NOT: tile.fused
// TILE: tile.coords
// TILE: tile.view
// TILE: scf.for
// TILE-NOT: tile.index
// TILE-NOT: arith.cmpi
// TILE: tile.dot {{.*}}, %cst{{[_0-9]*}} : tensor<16x4xf32>
// TILE-NOT: tile.index
// TILE-NOT: arith.cmpi
// TILE: scf.yield
// TILE: scf.for
// TILE: tile.index
// TILE: arith.cmpi slt
// TILE: scf.yield
// TILE: tile.store
// TILE: return

// Schedule: programs have a number, products a register tile, and everything row-wise is in a group: between groups stand
// products, transpositions, loops and scalars. The shape of the two loops has not changed.
// SCHEDULE-LABEL: func.func @forward(
// SCHEDULE-NOT: tile.coords
// SCHEDULE: %[[P:.*]] = tile.program : index
// SCHEDULE: arith.remui %[[P]],
// SCHEDULE: tile.fused [16, 4]
// SCHEDULE-NEXT: tile.load
// SCHEDULE: tile.transpose
// SCHEDULE: scf.for
// SCHEDULE-NOT: tile.index
// SCHEDULE-NOT: arith.cmpi
// SCHEDULE: tile.fused [16, 4]
// SCHEDULE: tile.dot {{.*}} micro [4, 1]
// SCHEDULE: tile.fused [16, 16] -> tensor<16xf32>
// SCHEDULE: tile.reduce max
// SCHEDULE: tile.fused [16]
// SCHEDULE: tile.fused [16, 16] -> tensor<16x16xf32>, tensor<16xf32>
// SCHEDULE: tile.reduce sum
// SCHEDULE: tile.dot {{.*}} trans_a micro [4, 1]
// SCHEDULE-NOT: tile.index
// SCHEDULE-NOT: arith.cmpi
// SCHEDULE: scf.yield
// SCHEDULE: scf.for
// The mask is part of the group that takes the scores' maximum: it costs no pass of its own.
// SCHEDULE: tile.fused [16, 16] -> tensor<16x16xf32>, tensor<16xf32>
// SCHEDULE-NEXT: tile.index
// SCHEDULE-NEXT: tile.broadcast
// SCHEDULE-NEXT: arith.cmpi slt
// SCHEDULE-NEXT: arith.constant
// SCHEDULE-NEXT: arith.select
// SCHEDULE-NEXT: tile.reduce max
// SCHEDULE-NEXT: tile.yield
// SCHEDULE: scf.yield
// SCHEDULE: return

// Vector: nothing of the tile dialect but the attributes, no tensor, the kernel ABI. The partial loop is the only one
// that compares integers.
// VECTOR-LABEL: func.func @forward(
// VECTOR-SAME: !llvm.ptr {llvm.noalias}, %{{.*}}: i64, %{{.*}}: !llvm.ptr {llvm.align = 64
// VECTOR-SAME: tile.scratch_bytes
// VECTOR-NOT: {{(^ *|= )tile\.}}
// VECTOR-NOT: tensor<
// VECTOR: scf.for
// VECTOR: llvm.intr.fmuladd
// VECTOR: vector<4xf32>
// VECTOR: arith.cmpi slt, %{{.*}} : vector<4xi32>
// VECTOR-NOT: {{(^ *|= )tile\.}}
// VECTOR-NOT: tensor<
// VECTOR: return

// At the end: the LLVM dialect alone, and no call.
// LLVM-LABEL: llvm.func @forward(
// LLVM-SAME: !llvm.ptr {llvm.noalias}, %{{.*}}: i64, %{{.*}}: !llvm.ptr {llvm.align = 64
// LLVM-SAME: tile.scratch_bytes = {{[1-9][0-9]*}} : i64
// LLVM-NOT: {{(^ *|= )(arith|scf|cf|vector|func|tile|builtin)\.}}
// LLVM-NOT: llvm.call
// LLVM: llvm.mlir.constant
// LLVM-NOT: {{(^ *|= )(arith|scf|cf|vector|func|tile|builtin)\.}}
// LLVM-NOT: llvm.call
// LLVM: llvm.intr.fmuladd
// LLVM-NOT: {{(^ *|= )(arith|scf|cf|vector|func|tile|builtin)\.}}
// LLVM-NOT: llvm.call
// LLVM: llvm.return
func.func @forward(%q: !attn.tensor<4 x f32, a4>, %k: !attn.tensor<4 x f32, a4>, %v: !attn.tensor<4 x f32, a4>,
                   %out: !attn.tensor<4 x f32, a4>, %lse: !attn.tensor<3 x f32, strided>, %scale: f32, %sq: i64,
                   %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 16, micro 4 x 1>, tile.target = #tile.cpu<"x86-64-v2">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(4, 4) mask(causal)
      : !attn.tensor<4 x f32, a4>, !attn.tensor<4 x f32, a4>, !attn.tensor<4 x f32, a4>,
        !attn.tensor<4 x f32, a4>, !attn.tensor<3 x f32, strided>
  return
}

// Both kinds of kernel go through the same pipeline.
// TILE-LABEL: func.func @row_limits(
// TILE: tile.coords
// SCHEDULE-LABEL: func.func @row_limits(
// SCHEDULE: tile.program
// VECTOR-LABEL: func.func @row_limits(
// VECTOR: scf.for
// LLVM-LABEL: llvm.func @row_limits(
// LLVM: llvm.return
func.func @row_limits(%p: !attn.tensor<3 x i32, strided>, %l: !attn.tensor<2 x i32, strided>, %sq: i64, %sk: i64,
                      %o: i64, %n: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 64, micro 8 x 2>, tile.target = #tile.cpu<"x86-64-v2">} {
  attn.row_limits pairs(%p) limits(%l) seqlens(%sq, %sk) offset(%o) count(%n)
      : !attn.tensor<3 x i32, strided>, !attn.tensor<2 x i32, strided>
  return
}
