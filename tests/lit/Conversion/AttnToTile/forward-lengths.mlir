// Batch entries with lengths of their own. A varlen batch is packed: its entry's first row joins the views' offsets, and
// its lengths, not the call's, end the views and move the offsets where the last row stands at the last key.
// RUN: sed -e 's/SCHEDULE/#tile.schedule<qk, 16 x 32, micro 4 x 1>/;s/TARGET/#tile.cpu<"x86-64-v3">/' "%s" | tilewright-opt - -attn-expand -cse | FileCheck "%s"
// RUN: sed -e 's/SCHEDULE/#tile.schedule<kq, 16 x 32, micro 4 x 1>/;s/TARGET/#tile.cpu<"x86-64-v3">/' "%s" | tilewright-opt - -attn-expand -cse | FileCheck "%s"
// RUN: sed -e 's/SCHEDULE/#tile.gpu_schedule<16 x 32, warps 1>/;s/TARGET/#tile.gpu<"sm_80", sm 80>/' "%s" | tilewright-opt - -attn-expand -cse | FileCheck "%s"

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, strided>
!n = !attn.tensor<1 x i32, strided>

// CHECK-LABEL: func.func @varlen(
// CHECK-SAME: %[[CUQ:arg24]]: !tile.ptr<i32>, %arg25: i64, %[[CUK:arg26]]: !tile.ptr<i32>, %arg27: i64, %[[USED:arg28]]: !tile.ptr<i32>, %arg29: i64, %arg30: i64,
// CHECK-DAG: %[[MAXQ:.*]] = arith.index_cast %arg32 : i64 to index
// CHECK-DAG: %[[OFFSET:.*]] = arith.index_cast %arg36 : i64 to index
// CHECK-DAG: %[[RIGHT:.*]] = arith.index_cast %arg30 : i64 to index
// CHECK: %[[COORDS:.*]]:3 = tile.coords
// CHECK: %[[ROW:.*]] = arith.muli %[[COORDS]]#0, %c16
// Two neighbouring numbers each; a table that decreases makes empty sequences.
// CHECK: %[[NEXT:.*]] = arith.addi %[[COORDS]]#2, %c1 : index
// CHECK: tile.view %[[CUQ]]
// CHECK: %[[B0:.*]] = tile.load_scalar %{{.*}}[%[[COORDS]]#2]
// CHECK: %[[BEGINQ:.*]] = arith.index_cast %[[B0]] : i32 to index
// CHECK: tile.load_scalar %{{.*}}[%[[NEXT]]]
// CHECK: arith.subi %{{.*}}, %[[BEGINQ]] : index
// CHECK: %[[PACKEDQ:.*]] = arith.maxsi
// CHECK: tile.view %[[CUK]]
// CHECK: %[[B1:.*]] = tile.load_scalar %{{.*}}[%[[COORDS]]#2]
// CHECK: %[[BEGINK:.*]] = arith.index_cast %[[B1]] : i32 to index
// CHECK: %[[PACKEDK:.*]] = arith.maxsi
// CHECK: %[[LENGTHQ:.*]] = arith.minsi %[[PACKEDQ]], %[[MAXQ]] : index
// CHECK: tile.view %[[USED]]
// CHECK: %[[LENGTHK:.*]] = arith.minsi %{{.*}}, %[[PACKEDK]] : index
// CHECK: %[[DIFFERENCE:.*]] = arith.subi %[[LENGTHK]], %[[LENGTHQ]] : index
// CHECK: %[[MOVED:.*]] = arith.muli %[[RIGHT]], %[[DIFFERENCE]] : index
// A program of rows past this sequence's end has no keys.
// CHECK: %[[SOME:.*]] = arith.cmpi slt, %[[ROW]], %[[LENGTHQ]] : index
// CHECK: %[[KEYS:.*]] = arith.select %[[SOME]], %[[LENGTHK]], %c0 : index
// CHECK: arith.addi %[[OFFSET]], %[[MOVED]] : index
// CHECK: arith.index_cast %[[KEYS]] : index to i32
// CHECK: arith.muli %[[BEGINK]], %{{.*}} : index
// CHECK: tile.view %arg5[
// CHECK: arith.muli %[[BEGINK]], %{{.*}} : index
// CHECK: tile.view %arg10[
// CHECK: arith.muli %[[BEGINQ]], %{{.*}} : index
// CHECK: tile.view %arg0[%{{.*}}] sizes(%[[LENGTHQ]], %c32)
// CHECK: scf.for
// CHECK: arith.muli %[[BEGINQ]], %{{.*}} : index
// CHECK: tile.view %arg15[%{{.*}}] sizes(%[[LENGTHQ]], %c16)
// CHECK: tile.store {{.*}} bounds [true, false]
// CHECK: arith.muli %[[BEGINQ]], %{{.*}} : index
// CHECK: tile.view %arg20[%{{.*}}] sizes(%[[LENGTHQ]])
// CHECK: tile.store {{.*}} bounds [true]
func.func @varlen(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %cuq: !n, %cuk: !n, %used: !n, %br: i64, %scale: f32,
                  %sq: i64, %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = SCHEDULE, tile.target = TARGET} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) cu_seqlens(%cuq, %cuk : !n, !n) used(%used : !n) bottom_right(%br)
      scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o) write_lse(%w) head_dims(32, 16) mask(causal)
      : !t, !t, !t, !t, !lse
  return
}

// Used keys alone: nothing is packed, and tensors over scores end where they end, not where the entry does. A GPU moves
// indices past the end to the last element, which a view of no keys would not have, and reads pairs, which an odd number
// of keys would cut.
// CHECK-LABEL: func.func @used(
// CHECK-SAME: %[[BIAS:arg24]]: !tile.ptr<f16>
// CHECK-DAG: %[[SQ:.*]] = arith.index_cast %arg33 : i64 to index
// CHECK-DAG: %[[SK:.*]] = arith.index_cast %arg34 : i64 to index
// CHECK: %[[LENGTHK:.*]] = arith.minsi %{{.*}}, %[[SK]] : index
// CHECK: tile.view %[[BIAS]][{{.*}}] sizes(%[[SQ]], %[[SK]])
// CHECK: arith.index_cast %[[LENGTHK]] : index to i32
// CHECK: tile.view %arg5[{{.*}}] sizes(%[[LENGTHK]], %c32)
// CHECK: tile.view %arg0[{{.*}}] sizes(%[[SQ]], %c32)
// CHECK: return
func.func @used(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %bias: !attn.tensor<4 x f16, a4>, %used: !n, %br: i64,
                %scale: f32, %sq: i64, %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = SCHEDULE, tile.target = TARGET} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) bias(%bias : !attn.tensor<4 x f16, a4>) matrix used(%used : !n)
      bottom_right(%br) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o) write_lse(%w) head_dims(32, 16)
      mask(none) : !t, !t, !t, !t, !lse
  return
}
