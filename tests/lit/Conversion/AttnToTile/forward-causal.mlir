// The causal mask: row i sees the columns below min(seqlen_k, i + o + 1). Blocks below the first row's limit are full,
// blocks up to the last row's limit are partial, and the rest is not visited.
// RUN: tilewright-opt "%s" -attn-expand -cse | FileCheck "%s"

!t = !attn.tensor<4 x f32, a4>
!lse = !attn.tensor<3 x f32, strided>

// CHECK-LABEL: func.func @causal(
// CHECK-DAG: %[[SQ:.*]] = arith.index_cast %arg25 : i64 to index
// CHECK-DAG: %[[SK:.*]] = arith.index_cast %arg26 : i64 to index
// CHECK-DAG: %[[O:.*]] = arith.index_cast %arg29 : i64 to index
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index

// Later rows see more.
// CHECK: %[[COORDS:.*]]:3 = tile.coords sizes({{.*}}) {heavy_last} : index, index, index
// CHECK: %[[ROW:.*]] = arith.muli %[[COORDS]]#0, %c16
// CHECK: %[[FINAL:.*]] = arith.subi %[[SQ]], %c1
// CHECK: %[[BLOCKEND:.*]] = arith.addi %[[ROW]], %c15
// CHECK: %[[LAST:.*]] = arith.minsi %[[BLOCKEND]], %[[FINAL]]

// The limit of each row, once a program: a tile of i32 over the queries.
// CHECK: %[[SK32:.*]] = arith.index_cast %[[SK]] : index to i32
// CHECK: %[[SKTILE:.*]] = tile.splat %[[SK32]] : tensor<16xi32>
// CHECK: %[[O32:.*]] = arith.index_cast %[[O]] : index to i32
// CHECK: %[[OTILE:.*]] = tile.splat %[[O32]] : tensor<16xi32>
// CHECK: %[[ROW32:.*]] = arith.index_cast %[[ROW]] : index to i32
// CHECK: %[[ROWS:.*]] = tile.index %[[ROW32]] axis 0 : tensor<16xi32>
// CHECK: %[[POS:.*]] = arith.addi %[[ROWS]], %[[OTILE]]
// CHECK: %[[NEXT:.*]] = arith.addi %[[POS]], %{{.*}} : tensor<16xi32>
// CHECK: %[[CAPPED:.*]] = arith.minsi %[[NEXT]], %[[SKTILE]]
// CHECK: %[[LIMITS:.*]] = arith.maxsi %[[CAPPED]], %{{.*}} : tensor<16xi32>

// The same formula for the first row, for the last one of the block, and for the last one of the sequence.
// CHECK: %[[A0:.*]] = arith.addi %[[ROW]], %[[O]] : index
// CHECK: %[[A1:.*]] = arith.addi %[[A0]], %c1
// CHECK: %[[A2:.*]] = arith.minsi %[[A1]], %[[SK]]
// CHECK: %[[FIRSTLIMIT:.*]] = arith.maxsi %[[A2]], %[[C0]]
// CHECK: %[[B0:.*]] = arith.addi %[[LAST]], %[[O]] : index
// CHECK: %[[B1:.*]] = arith.addi %[[B0]], %c1
// CHECK: %[[B2:.*]] = arith.minsi %[[B1]], %[[SK]]
// CHECK: %[[LASTLIMIT:.*]] = arith.maxsi %[[B2]], %[[C0]]
// CHECK: %[[UP:.*]] = arith.addi %[[LASTLIMIT]], %c31
// CHECK: %[[CEIL:.*]] = arith.divui %[[UP]], %c32
// CHECK: %[[END:.*]] = arith.maxsi %[[CEIL]], %[[C0]]
// CHECK: %[[BEGIN:.*]] = arith.minsi %[[END]], %[[C0]]
// CHECK: %[[FLOOR:.*]] = arith.divui %[[FIRSTLIMIT]], %c32
// CHECK: %[[F1:.*]] = arith.minsi %[[FLOOR]], %[[END]]
// CHECK: %[[FULLEND:.*]] = arith.maxsi %[[F1]], %[[BEGIN]]
// CHECK: %[[C0S:.*]] = arith.addi %[[FINAL]], %[[O]] : index
// CHECK: %[[C1S:.*]] = arith.addi %[[C0S]], %c1
// CHECK: %[[C2S:.*]] = arith.minsi %[[C1S]], %[[SK]]
// CHECK: %[[VISIBLE:.*]] = arith.maxsi %[[C2S]], %[[C0]]

// What no row of the sequence sees is outside the views.
// CHECK: %[[KV:.*]] = tile.view %arg5[{{.*}}] sizes(%[[VISIBLE]], %c8)
// CHECK: %[[VV:.*]] = tile.view %arg10[{{.*}}] sizes(%[[VISIBLE]], %c8)

// CHECK: %[[FULL:.*]]:3 = scf.for %{{.*}} = %[[BEGIN]] to %[[FULLEND]] step %c1
// CHECK-NOT: tile.index
// CHECK-NOT: arith.cmpi
// CHECK-NOT: tile.broadcast %[[LIMITS]]
// CHECK-NOT: bounds [true
// CHECK: %[[S:.*]] = tile.dot {{.*}} -> tensor<32x16xf32>
// CHECK: tile.reduce max %[[S]] axis 0
// CHECK-NOT: tile.index
// CHECK-NOT: arith.cmpi
// CHECK-NOT: bounds [true
// CHECK: scf.yield

// CHECK: scf.for %[[J:.*]] = %[[FULLEND]] to %[[END]] step %c1 iter_args(%{{.*}} = %[[FULL]]#0,
// CHECK: %[[KEY:.*]] = arith.muli %[[J]], %c32
// CHECK: tile.load %[[KV]][%[[KEY]], %[[C0]]] bounds [true, false]
// CHECK: %[[S2:.*]] = tile.dot
// CHECK: %[[KEY32:.*]] = arith.index_cast %[[KEY]] : index to i32
// CHECK: %[[COLS:.*]] = tile.index %[[KEY32]] axis 0 : tensor<32x16xi32>
// CHECK: %[[HI:.*]] = tile.broadcast %[[LIMITS]] axis 0 : tensor<16xi32> -> tensor<32x16xi32>
// CHECK: %[[SEEN:.*]] = arith.cmpi slt, %[[COLS]], %[[HI]]
// CHECK: %[[MASKED:.*]] = arith.select %[[SEEN]], %[[S2]], %{{.*}}
// CHECK-NEXT: tile.reduce max %[[MASKED]] axis 0
// CHECK: tile.load %[[VV]][%[[KEY]], %[[C0]]] bounds [true, false]
// CHECK: scf.yield
// CHECK-NOT: scf.for
// CHECK: return
func.func @causal(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %scale: f32, %sq: i64, %sk: i64, %h: i64, %hpk: i64,
                  %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 32, micro 4 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(8, 8) mask(causal) : !t, !t, !t, !t, !lse
  return
}

// With an even seqlen_q the last row of the block is known to exist; the two loops stay, for the diagonal is still there.
// CHECK-LABEL: func.func @causal_even_m(
// CHECK: %[[ROW:.*]] = arith.muli %{{.*}}#0, %c16
// CHECK: %[[LAST:.*]] = arith.addi %[[ROW]], %c15
// CHECK-NOT: arith.minsi %[[LAST]],
// CHECK: arith.addi %[[LAST]], %{{.*}} : index
// CHECK: tile.load {{.*}} bounds [false, false] : {{.*}} -> tensor<16x8xf32>
// CHECK: scf.for
// CHECK-NOT: arith.cmpi
// CHECK: scf.yield
// CHECK: scf.for
// CHECK: arith.cmpi slt
// CHECK: scf.yield
// CHECK: tile.store {{.*}} bounds [false, false]
// CHECK: tile.store {{.*}} bounds [false] :
func.func @causal_even_m(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %scale: f32, %sq: i64, %sk: i64, %h: i64,
                         %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 32, micro 4 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(8, 8) mask(causal) {even_m} : !t, !t, !t, !t, !lse
  return
}
