// GLM break points: the first p columns are visible to every row of a batch entry, the rest is causal.
// RUN: tilewright-opt "%s" -attn-expand -cse | FileCheck "%s"

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, strided>
!limits = !attn.tensor<1 x i32, strided>

// The break points are arguments 24 (pointer) and 25 (stride); what follows moves on by two.
// CHECK-LABEL: func.func @glm_break(
// CHECK-SAME: %[[P:arg24]]: !tile.ptr<i32>, %arg25: i64, %arg26: f32,
// CHECK-DAG: %[[PSTRIDE:.*]] = arith.index_cast %arg25 : i64 to index
// CHECK-DAG: %[[SK:.*]] = arith.index_cast %arg28 : i64 to index
// CHECK-DAG: %[[O:.*]] = arith.index_cast %arg31 : i64 to index
// CHECK: %[[COORDS:.*]]:3 = tile.coords sizes({{.*}}) {heavy_last}

// One point a program, read once ahead of the loops: that of its batch entry.
// CHECK: %[[PV:.*]] = tile.view %[[P]][%c0] sizes(%{{.*}}) strides(%[[PSTRIDE]]) : <i32> -> <1 x i32>
// CHECK: %[[POINT32:.*]] = tile.load_scalar %[[PV]][%[[COORDS]]#2] : <1 x i32> -> i32
// CHECK: %[[POINT:.*]] = arith.index_cast %[[POINT32]] : i32 to index

// Limits of all rows: the causal ones, raised to the point, which is capped at seqlen_k.
// CHECK: %[[SKTILE:.*]] = tile.splat %{{.*}} : tensor<16xi32>
// CHECK: arith.minsi %{{.*}}, %[[SKTILE]] : tensor<16xi32>
// CHECK: %[[CAUSAL:.*]] = arith.maxsi %{{.*}} : tensor<16xi32>
// CHECK: %[[PTILE:.*]] = tile.splat %{{.*}} : tensor<16xi32>
// CHECK: %[[PCAPPED:.*]] = arith.minsi %[[PTILE]], %[[SKTILE]] : tensor<16xi32>
// CHECK: %[[LIMITS:.*]] = arith.maxsi %[[CAUSAL]], %[[PCAPPED]] : tensor<16xi32>

// The same for the first and the last row, in index arithmetic: so a block below the point is full for every row.
// CHECK: %[[FIRSTCAUSAL:.*]] = arith.maxsi %{{.*}}, %c0 : index
// CHECK: %[[CAPPED:.*]] = arith.minsi %[[POINT]], %[[SK]] : index
// CHECK: %[[FIRSTLIMIT:.*]] = arith.maxsi %[[FIRSTCAUSAL]], %[[CAPPED]] : index
// CHECK: %[[LASTCAUSAL:.*]] = arith.maxsi %{{.*}}, %c0 : index
// CHECK: %[[LASTLIMIT:.*]] = arith.maxsi %[[LASTCAUSAL]], %[[CAPPED]] : index
// CHECK: %[[UP:.*]] = arith.addi %[[LASTLIMIT]], %c31
// CHECK: %[[CEIL:.*]] = arith.divui %[[UP]], %c32
// CHECK: %[[END:.*]] = arith.maxsi %[[CEIL]], %c0
// CHECK: arith.divui %[[FIRSTLIMIT]], %c32
// CHECK: %[[FULLEND:.*]] = arith.maxsi
// CHECK: %[[FINALCAUSAL:.*]] = arith.maxsi %{{.*}}, %c0 : index
// CHECK: %[[VISIBLE:.*]] = arith.maxsi %[[FINALCAUSAL]], %[[CAPPED]] : index
// CHECK: tile.view %arg5[{{.*}}] sizes(%[[VISIBLE]], %c8)
// CHECK: tile.view %arg10[{{.*}}] sizes(%[[VISIBLE]], %c8)

// CHECK: scf.for %{{.*}} = %{{.*}} to %[[FULLEND]] step %c1
// CHECK-NOT: tile.load_scalar
// CHECK-NOT: tile.index
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
func.func @glm_break(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %p: !limits, %scale: f32, %sq: i64, %sk: i64,
                     %h: i64, %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 32, micro 4 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) limits(%p : !limits) scale(%scale) seqlens(%sq, %sk)
      heads(%h, %hpk) offset(%o) write_lse(%w) head_dims(8, 8) mask(glm_break) : !t, !t, !t, !t, !lse
  return
}
