// Dense attention: full blocks without a mask, and at most one partial block that ends at seqlen_k.
// RUN: tilewright-opt "%s" -attn-expand -cse | FileCheck "%s"

!t = !attn.tensor<4 x f32, a4>
!lse = !attn.tensor<3 x f32, strided>

// Each tensor is a pointer and its strides: q is arguments 0 to 4, k 5 to 9, v 10 to 14, out 15 to 19, lse 20 to 23,
// then scale, seqlen_q, seqlen_k, heads, heads_per_kv, causal_offset, write_lse.
// CHECK-LABEL: func.func @any_length(
// CHECK-SAME: %[[Q:arg0]]: !tile.ptr<f32>, %[[QB:arg1]]: i64, %[[QS:arg2]]: i64, %[[QH:arg3]]: i64, %arg4: i64,
// CHECK-SAME: %[[K:arg5]]: !tile.ptr<f32>, %arg6: i64, %[[KS:arg7]]: i64, %{{.*}} %[[V:arg10]]: !tile.ptr<f32>,
// CHECK-SAME: %[[OUT:arg15]]: !tile.ptr<f32>, {{.*}} %[[LSE:arg20]]: !tile.ptr<f32>,
// CHECK-SAME: %[[SCALE:arg24]]: f32, %arg25: i64, %arg26: i64, %arg27: i64, %arg28: i64, %arg29: i64, %arg30: i64)
// CHECK-SAME: attributes {tile.kernel, tile.schedule = #tile.schedule<kq, 16 x 32, micro 4 x 2>
// CHECK-NOT: attn.
// CHECK-DAG: %[[SQ:.*]] = arith.index_cast %arg25 : i64 to index
// CHECK-DAG: %[[SK:.*]] = arith.index_cast %arg26 : i64 to index
// CHECK-DAG: %[[H:.*]] = arith.index_cast %arg27 : i64 to index
// CHECK-DAG: %[[HPK:.*]] = arith.index_cast %arg28 : i64 to index
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C16:.*]] = arith.constant 16 : index

// One program a row block of a head; the order is free, for all do the same work.
// CHECK: %[[COORDS:.*]]:3 = tile.coords sizes(%{{.*}}, %[[H]]) : index, index, index
// CHECK: %[[KVH:.*]] = arith.divui %[[COORDS]]#1, %[[HPK]] : index
// CHECK: %[[ROW:.*]] = arith.muli %[[COORDS]]#0, %[[C16]] : index

// Blocks [0, seqlen_k / 32) are full, [seqlen_k / 32, ceil(seqlen_k / 32)) partial.
// CHECK: %[[END32:.*]] = arith.index_cast %[[SK]] : index to i32
// CHECK: %[[UP:.*]] = arith.addi %[[SK]], %c31
// CHECK: %[[CEIL:.*]] = arith.divui %[[UP]], %[[C32:c32.*]] : index
// CHECK: %[[END:.*]] = arith.maxsi %[[CEIL]], %[[C0]]
// CHECK: %[[BEGIN:.*]] = arith.minsi %[[END]], %[[C0]]
// CHECK: %[[FLOOR:.*]] = arith.divui %[[SK]], %[[C32]] : index
// CHECK: %[[CAPPED:.*]] = arith.minsi %[[FLOOR]], %[[END]]
// CHECK: %[[FULLEND:.*]] = arith.maxsi %[[CAPPED]], %[[BEGIN]]

// Keys and values of the shared head end at seqlen_k.
// CHECK: %[[KV:.*]] = tile.view %[[K]][%{{.*}}] sizes(%[[SK]], %c8) strides(%{{.*}}, %c1) : <f32> -> <2 x f32, unit>
// CHECK: %[[VV:.*]] = tile.view %[[V]][%{{.*}}] sizes(%[[SK]], %c8) strides(%{{.*}}, %c1) : <f32> -> <2 x f32, unit>
// CHECK: %[[QV:.*]] = tile.view %[[Q]][%{{.*}}] sizes(%[[SQ]], %c8)
// CHECK: %[[QROWS:.*]] = tile.load %[[QV]][%[[ROW]], %[[C0]]] bounds [true, false]
// CHECK: %[[QT:.*]] = tile.transpose %[[QROWS]] : tensor<16x8xf32> -> tensor<8x16xf32>

// The full loop: no bounds on a load, no index tile, no comparison of columns, nothing selected away.
// CHECK: %[[FULL:.*]]:3 = scf.for %[[J:.*]] = %[[BEGIN]] to %[[FULLEND]] step %c1
// CHECK-SAME: iter_args(%[[M:.*]] = %{{.*}}, %[[L:.*]] = %{{.*}}, %[[ACC:.*]] = %{{.*}}) ->
// CHECK-NOT: tile.index
// CHECK-NOT: arith.cmpi
// CHECK-NOT: bounds [true
// CHECK: %[[KEY:.*]] = arith.muli %[[J]], %[[C32]] : index
// CHECK-NOT: tile.index
// CHECK-NOT: arith.cmpi
// CHECK-NOT: bounds [true
// CHECK: %[[KBLOCK:.*]] = tile.load %[[KV]][%[[KEY]], %[[C0]]] bounds [false, false]
// CHECK: %[[S:.*]] = tile.dot %[[KBLOCK]], %[[QT]], %{{.*}} : tensor<32x8xf32>, tensor<8x16xf32> -> tensor<32x16xf32>
// CHECK-NOT: tile.index
// CHECK-NOT: arith.cmpi
// CHECK-NOT: bounds [true
// The maximum is taken of the product itself.
// CHECK: %[[MAX:.*]] = tile.reduce max %[[S]] axis 0 : tensor<32x16xf32> -> tensor<16xf32>
// CHECK-NEXT: %[[GREATER:.*]] = arith.cmpf ogt, %[[MAX]], %[[M]]
// CHECK-NEXT: %[[NEXTM:.*]] = arith.select %[[GREATER]], %[[MAX]], %[[M]]
// CHECK-NOT: tile.index
// CHECK-NOT: arith.cmpi
// CHECK-NOT: bounds [true
// CHECK: tile.dot {{.*}} trans_a : tensor<32x8xf32>, tensor<32x16xf32> -> tensor<8x16xf32>
// CHECK-NOT: arith.cmpi
// CHECK: scf.yield %[[NEXTM]],

// The partial loop goes on from there with the same state, and hides the columns from seqlen_k on.
// CHECK: %[[PART:.*]]:3 = scf.for %[[J2:.*]] = %[[FULLEND]] to %[[END]] step %c1
// CHECK-SAME: iter_args(%{{.*}} = %[[FULL]]#0, %{{.*}} = %[[FULL]]#1, %{{.*}} = %[[FULL]]#2) ->
// CHECK: %[[KEY2:.*]] = arith.muli %[[J2]], %[[C32]] : index
// CHECK: tile.load %[[KV]][%[[KEY2]], %[[C0]]] bounds [true, false]
// CHECK: %[[S2:.*]] = tile.dot
// CHECK: %[[KEY32:.*]] = arith.index_cast %[[KEY2]] : index to i32
// CHECK: %[[COLS:.*]] = tile.index %[[KEY32]] axis 0 : tensor<32x16xi32>
// CHECK: %[[HI:.*]] = tile.splat %[[END32]] : tensor<32x16xi32>
// CHECK: %[[SEEN:.*]] = arith.cmpi slt, %[[COLS]], %[[HI]]
// CHECK: %[[HIDDEN:.*]] = arith.constant dense<0xFF800000> : tensor<32x16xf32>
// CHECK: %[[MASKED:.*]] = arith.select %[[SEEN]], %[[S2]], %[[HIDDEN]]
// CHECK-NEXT: tile.reduce max %[[MASKED]] axis 0
// CHECK: tile.load %[[VV]][%[[KEY2]], %[[C0]]] bounds [true, false]
// CHECK: scf.yield

// There is no third loop; rows past seqlen_q are not written.
// CHECK-NOT: scf.for
// CHECK: %[[OV:.*]] = tile.view %[[OUT]][%{{.*}}] sizes(%[[SQ]], %c8)
// CHECK: tile.store %{{.*}}, %[[OV]][%[[ROW]], %[[C0]]] bounds [true, false] : tensor<16x8xf32>
// CHECK: scf.if
// CHECK: %[[LV:.*]] = tile.view %[[LSE]][%{{.*}}] sizes(%[[SQ]])
// CHECK: tile.store %{{.*}}, %[[LV]][%[[ROW]]] bounds [true] : tensor<16xf32>
func.func @any_length(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %scale: f32, %sq: i64, %sk: i64, %h: i64,
                      %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 32, micro 4 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(8, 8) mask(none) : !t, !t, !t, !t, !lse
  return
}

// Both lengths are multiples of the blocks: no access has bounds, nothing compares columns, and there is one loop.
// CHECK-LABEL: func.func @even_lengths(
// CHECK-NOT: tile.index
// CHECK-NOT: arith.cmpi slt
// CHECK-NOT: bounds [true
// CHECK: tile.load {{.*}} bounds [false, false] : {{.*}} -> tensor<16x8xf32>
// CHECK-NOT: tile.index
// CHECK-NOT: arith.cmpi slt
// CHECK-NOT: bounds [true
// CHECK: scf.for
// CHECK-NOT: scf.for
// CHECK-NOT: tile.index
// CHECK-NOT: arith.cmpi slt
// CHECK-NOT: bounds [true
// CHECK: tile.store {{.*}} bounds [false, false]
// CHECK-NOT: scf.for
// CHECK-NOT: bounds [true
// CHECK: scf.if
// CHECK: tile.store {{.*}} bounds [false] :
// CHECK: return
func.func @even_lengths(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %scale: f32, %sq: i64, %sk: i64, %h: i64,
                        %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 32, micro 4 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(8, 8) mask(none) {even_m, even_n} : !t, !t, !t, !t, !lse
  return
}

// Only seqlen_q is even: queries and results without bounds, the last key block with its mask.
// CHECK-LABEL: func.func @even_m(
// CHECK: tile.load {{.*}} bounds [false, false] : {{.*}} -> tensor<16x8xf32>
// CHECK: scf.for
// CHECK-NOT: bounds [true
// CHECK: scf.yield
// CHECK: scf.for
// CHECK: tile.load {{.*}} bounds [true, false] : {{.*}} -> tensor<32x8xf32>
// CHECK: scf.yield
// CHECK-NOT: bounds [true
// CHECK: return
func.func @even_m(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %scale: f32, %sq: i64, %sk: i64, %h: i64, %hpk: i64,
                  %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 32, micro 4 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(8, 8) mask(none) {even_m} : !t, !t, !t, !t, !lse
  return
}

// Only seqlen_k is even: one loop, and bounds on queries and results.
// CHECK-LABEL: func.func @even_n(
// CHECK: tile.load {{.*}} bounds [true, false] : {{.*}} -> tensor<16x8xf32>
// CHECK: scf.for
// CHECK-NOT: tile.index
// CHECK-NOT: bounds [true
// CHECK: scf.yield
// CHECK-NOT: scf.for
// CHECK: tile.store {{.*}} bounds [true, false]
// CHECK: tile.store {{.*}} bounds [true] :
func.func @even_n(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %scale: f32, %sq: i64, %sk: i64, %h: i64, %hpk: i64,
                  %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 32, micro 4 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(8, 8) mask(none) {even_n} : !t, !t, !t, !t, !lse
  return
}
