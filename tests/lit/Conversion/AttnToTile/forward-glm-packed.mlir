// Packed GLM pairs: the forward program reads the table of row limits that attn.row_limits wrote. Block ranges are
// looked up in it, for the table does not decrease with the row; no limit lies beyond the keys that the program has.
// RUN: tilewright-opt "%s" -attn-expand -cse | FileCheck "%s"

!t = !attn.tensor<4 x bf16, a2>
!lse = !attn.tensor<3 x f32, strided>
!limits = !attn.tensor<2 x i32, strided>

// CHECK-LABEL: func.func @glm_packed(
// CHECK-SAME: %[[TABLE:arg24]]: !tile.ptr<i32>, %arg25: i64, %arg26: i64, %arg27: f32,
// CHECK-DAG: %[[BSTRIDE:.*]] = arith.index_cast %arg25 : i64 to index
// CHECK-DAG: %[[RSTRIDE:.*]] = arith.index_cast %arg26 : i64 to index
// CHECK-DAG: %[[SQ:.*]] = arith.index_cast %arg28 : i64 to index
// CHECK-DAG: %[[SK:.*]] = arith.index_cast %arg29 : i64 to index
// CHECK: %[[COORDS:.*]]:3 = tile.coords sizes({{.*}}) {heavy_last}
// CHECK: %[[ROW:.*]] = arith.muli %[[COORDS]]#0, %c16
// CHECK: %[[FINAL:.*]] = arith.subi %[[SQ]], %c1
// CHECK: %[[BLOCKEND:.*]] = arith.addi %[[ROW]], %c15
// CHECK: %[[LAST:.*]] = arith.minsi %[[BLOCKEND]], %[[FINAL]]

// This batch entry's row of the table; limits of rows past the sequence are not read.
// CHECK: %[[OFFSET:.*]] = arith.muli %[[COORDS]]#2, %[[BSTRIDE]]
// CHECK: %[[TV:.*]] = tile.view %[[TABLE]][%[[OFFSET]]] sizes(%[[SQ]]) strides(%[[RSTRIDE]]) : <i32> -> <1 x i32>
// CHECK: %[[LIMITS:.*]] = tile.load %[[TV]][%[[ROW]]] bounds [true] : <1 x i32> -> tensor<16xi32>
// CHECK: %[[FIRST32:.*]] = tile.load_scalar %[[TV]][%[[ROW]]]
// CHECK: %[[FIRSTINDEX:.*]] = arith.index_cast %[[FIRST32]]
// CHECK: %[[FIRSTLIMIT:.*]] = arith.minsi %[[FIRSTINDEX]], %[[SK]] : index
// CHECK: %[[LAST32:.*]] = tile.load_scalar %[[TV]][%[[LAST]]]
// CHECK: %[[LASTINDEX:.*]] = arith.index_cast %[[LAST32]]
// CHECK: %[[LASTLIMIT:.*]] = arith.minsi %[[LASTINDEX]], %[[SK]] : index
// CHECK: %[[UP:.*]] = arith.addi %[[LASTLIMIT]], %c31
// CHECK: %[[CEIL:.*]] = arith.divui %[[UP]], %c32
// CHECK: %[[END:.*]] = arith.maxsi %[[CEIL]], %c0
// CHECK: arith.divui %[[FIRSTLIMIT]], %c32
// CHECK: %[[FULLEND:.*]] = arith.maxsi
// CHECK: %[[FINAL32:.*]] = tile.load_scalar %[[TV]][%[[FINAL]]]
// CHECK: %[[FINALINDEX:.*]] = arith.index_cast %[[FINAL32]]
// CHECK: %[[VISIBLE:.*]] = arith.minsi %[[FINALINDEX]], %[[SK]] : index
// CHECK: tile.view %arg5[{{.*}}] sizes(%[[VISIBLE]], %c8)
// CHECK: tile.view %arg10[{{.*}}] sizes(%[[VISIBLE]], %c8)

// The limits stay out of the full loop, and are broadcast against the columns in the partial one.
// CHECK: scf.for %{{.*}} = %{{.*}} to %[[FULLEND]] step %c1
// CHECK-NOT: %[[LIMITS]]
// CHECK-NOT: tile.load_scalar
// CHECK-NOT: arith.cmpi
// CHECK-NOT: bounds [true
// CHECK: scf.yield
// CHECK: scf.for %{{.*}} = %[[FULLEND]] to %[[END]] step %c1
// CHECK: %[[COLS:.*]] = tile.index %{{.*}} axis 0 : tensor<32x16xi32>
// CHECK: %[[HI:.*]] = tile.broadcast %[[LIMITS]] axis 0
// CHECK: arith.cmpi slt, %[[COLS]], %[[HI]]
// CHECK: scf.yield
// CHECK-NOT: scf.for
// CHECK: return
func.func @glm_packed(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %p: !limits, %scale: f32, %sq: i64, %sk: i64,
                      %h: i64, %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 32, micro 4 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) limits(%p : !limits) scale(%scale) seqlens(%sq, %sk)
      heads(%h, %hpk) offset(%o) write_lse(%w) head_dims(8, 8) mask(glm_packed) : !t, !t, !t, !t, !lse
  return
}

// With an even seqlen_q the limits are loaded without bounds.
// CHECK-LABEL: func.func @glm_packed_even_m(
// CHECK: tile.load {{.*}} bounds [false] : <1 x i32> -> tensor<16xi32>
// CHECK: tile.load {{.*}} bounds [false, false] : {{.*}} -> tensor<16x8xbf16>
func.func @glm_packed_even_m(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %p: !limits, %scale: f32, %sq: i64,
                             %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 32, micro 4 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) limits(%p : !limits) scale(%scale) seqlens(%sq, %sk)
      heads(%h, %hpk) offset(%o) write_lse(%w) head_dims(8, 8) mask(glm_packed) {even_m} : !t, !t, !t, !t, !lse
  return
}
