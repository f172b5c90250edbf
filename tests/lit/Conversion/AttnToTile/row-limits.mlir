// attn.row_limits: one pass over the pairs of a batch entry, raising the causal limit of a block of rows.
// RUN: tilewright-opt "%s" -attn-expand -cse | FileCheck "%s"

!pairs = !attn.tensor<3 x i32, strided>
!limits = !attn.tensor<2 x i32, strided>

// CHECK-LABEL: func.func @row_limits(
// CHECK-SAME: %[[PAIRS:arg0]]: !tile.ptr<i32>, %arg1: i64, %arg2: i64, %arg3: i64,
// CHECK-SAME: %[[OUT:arg4]]: !tile.ptr<i32>, %arg5: i64, %arg6: i64,
// CHECK-SAME: %arg7: i64, %arg8: i64, %arg9: i64, %arg10: i64) attributes {tile.kernel,
// CHECK-DAG: %[[SQ:.*]] = arith.index_cast %arg7 : i64 to index
// CHECK-DAG: %[[SK:.*]] = arith.index_cast %arg8 : i64 to index
// CHECK-DAG: %[[N:.*]] = arith.index_cast %arg10 : i64 to index
// CHECK: %[[COORDS:.*]]:2 = tile.coords sizes(%{{.*}}) : index, index
// CHECK: %[[ROW:.*]] = arith.muli %[[COORDS]]#0, %c32
// CHECK: %[[ROWS:.*]] = tile.index %{{.*}} axis 0 : tensor<32xi32>
// CHECK: %[[POS:.*]] = arith.addi %[[ROWS]], %{{.*}} : tensor<32xi32>
// CHECK: %[[CAPPED:.*]] = arith.minsi
// CHECK: %[[CAUSAL:.*]] = arith.maxsi %[[CAPPED]], %{{.*}} : tensor<32xi32>

// (2, N) of this batch entry.
// CHECK: %[[VIEW:.*]] = tile.view %[[PAIRS]][{{.*}}] sizes(%c2, %[[N]]) strides({{.*}}) : <i32> -> <2 x i32>
// CHECK: %[[LOOP:.*]] = scf.for %[[I:.*]] = %c0 to %[[N]] step %c1 iter_args(%[[LIMIT:.*]] = %[[CAUSAL]])
// Both ends are clamped to [0, seqlen_k], so that an unused pair (-1, -1) holds no row.
// CHECK: %[[START0:.*]] = tile.load_scalar %[[VIEW]][%c0, %[[I]]]
// CHECK: %[[START1:.*]] = arith.index_cast %[[START0]]
// CHECK: %[[START2:.*]] = arith.minsi %[[START1]], %[[SK]]
// CHECK: %[[START3:.*]] = arith.maxsi %[[START2]], %c0
// CHECK: %[[START4:.*]] = arith.index_cast %[[START3]] : index to i32
// CHECK: %[[START:.*]] = tile.splat %[[START4]] : tensor<32xi32>
// CHECK: %[[END0:.*]] = tile.load_scalar %[[VIEW]][%c1, %[[I]]]
// CHECK: %[[END1:.*]] = arith.index_cast %[[END0]]
// CHECK: %[[END2:.*]] = arith.minsi %[[END1]], %[[SK]]
// CHECK: %[[END3:.*]] = arith.maxsi %[[END2]], %c0
// CHECK: %[[END4:.*]] = arith.index_cast %[[END3]] : index to i32
// CHECK: %[[END:.*]] = tile.splat %[[END4]] : tensor<32xi32>
// CHECK-DAG: %[[BEFORE:.*]] = arith.cmpi slt, %[[POS]], %[[END]]
// CHECK-DAG: %[[BEHIND:.*]] = arith.cmpi sge, %[[POS]], %[[START]]
// CHECK: %[[INSIDE:.*]] = arith.andi %[[BEHIND]], %[[BEFORE]]
// CHECK: %[[RAISED:.*]] = arith.maxsi %[[LIMIT]], %[[END]]
// CHECK: %[[NEXT:.*]] = arith.select %[[INSIDE]], %[[RAISED]], %[[LIMIT]]
// CHECK: scf.yield %[[NEXT]]
// CHECK: %[[OV:.*]] = tile.view %[[OUT]][{{.*}}] sizes(%[[SQ]])
// CHECK: tile.store %[[LOOP]], %[[OV]][%[[ROW]]] bounds [true] : tensor<32xi32>
func.func @row_limits(%p: !pairs, %l: !limits, %sq: i64, %sk: i64, %o: i64, %n: i64)
    attributes {tile.schedule = #tile.schedule<kq, 32 x 64, micro 8 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.row_limits pairs(%p) limits(%l) seqlens(%sq, %sk) offset(%o) count(%n) : !pairs, !limits
  return
}

// CHECK-LABEL: func.func @row_limits_even_m(
// CHECK: tile.store {{.*}} bounds [false] : tensor<32xi32>
func.func @row_limits_even_m(%p: !pairs, %l: !limits, %sq: i64, %sk: i64, %o: i64, %n: i64)
    attributes {tile.schedule = #tile.schedule<kq, 32 x 64, micro 8 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.row_limits pairs(%p) limits(%l) seqlens(%sq, %sk) offset(%o) count(%n) {even_m} : !pairs, !limits
  return
}

// Used keys: values are clamped to the entry's own length, and rows stand where its last key is.
// CHECK-LABEL: func.func @row_limits_used(
// CHECK-DAG: %[[SQ:.*]] = arith.index_cast %arg10 : i64 to index
// CHECK-DAG: %[[SK:.*]] = arith.index_cast %arg11 : i64 to index
// CHECK-DAG: %[[OFFSET:.*]] = arith.index_cast %arg12 : i64 to index
// CHECK-DAG: %[[RIGHT:.*]] = arith.index_cast %arg9 : i64 to index
// CHECK: tile.view %arg7
// CHECK: %[[LENGTH:.*]] = arith.minsi %{{.*}}, %[[SK]] : index
// CHECK: %[[DIFFERENCE:.*]] = arith.subi %[[LENGTH]], %[[SQ]] : index
// CHECK: %[[MOVED:.*]] = arith.muli %[[RIGHT]], %[[DIFFERENCE]] : index
// CHECK: arith.addi %[[OFFSET]], %[[MOVED]] : index
// CHECK: scf.for
// CHECK-COUNT-2: arith.minsi %{{.*}}, %[[LENGTH]] : index
// CHECK: scf.yield
// CHECK: tile.view %arg4[{{.*}}] sizes(%[[SQ]])
func.func @row_limits_used(%p: !pairs, %l: !limits, %used: !attn.tensor<1 x i32, strided>, %br: i64, %sq: i64, %sk: i64,
                           %o: i64, %n: i64)
    attributes {tile.schedule = #tile.schedule<kq, 32 x 64, micro 8 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.row_limits pairs(%p) limits(%l) used(%used : !attn.tensor<1 x i32, strided>) bottom_right(%br)
      seqlens(%sq, %sk) offset(%o) count(%n) : !pairs, !limits
  return
}
