// Softcap, ALiBi, bias and a bool mask, in the order of the contract, with queries as rows and with keys as rows.
// RUN: sed -e 's/SCHEDULE/#tile.schedule<qk, 16 x 32, micro 4 x 1>/' "%s" | tilewright-opt - -attn-expand | FileCheck "%s" --check-prefixes=CHECK,QK
// RUN: sed -e 's/SCHEDULE/#tile.schedule<kq, 16 x 32, micro 4 x 1>/' "%s" | tilewright-opt - -attn-expand | FileCheck "%s" --check-prefixes=CHECK,KQ

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, strided>

// CHECK-LABEL: func.func @features(
// The slope is read once a program.
// CHECK: tile.load_scalar {{.*}} -> f32
// CHECK: scf.for
// QK: tile.dot {{.*}} -> tensor<16x32xf32>
// KQ: tile.dot {{.*}} -> tensor<32x16xf32>
// scale
// CHECK: arith.mulf
// softcap
// CHECK: tile.exp2
// CHECK: arith.divf {{.*}} fastmath<arcp,afn>
// ALiBi: the distance of positions
// CHECK: arith.maxsi
// CHECK: arith.sitofp
// CHECK: arith.subf
// The bias is read in its own order.
// CHECK: tile.load {{.*}} {any_past_end} : {{.*}} -> tensor<16x32xf16>
// CHECK: arith.extf
// KQ: tile.transpose {{.*}} : tensor<16x32xf32> -> tensor<32x16xf32>
// CHECK: arith.addf
// The bools hide.
// QK: tile.load {{.*}} -> tensor<16x32xi8>
// KQ: tile.load {{.*}} -> tensor<32x16xi8>
// CHECK: arith.cmpi ne
// CHECK: arith.select
// CHECK: tile.reduce max
func.func @features(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %bias: !t, %mask: !attn.tensor<4 x i8, a2>,
                    %slopes: !attn.tensor<2 x f32, strided>, %po: i64, %cap: f32, %scale: f32, %sq: i64, %sk: i64,
                    %h: i64, %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = SCHEDULE, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) bias(%bias : !t) matrix
      attn_mask(%mask : !attn.tensor<4 x i8, a2>) matrix_bool
      alibi(%slopes, %po : !attn.tensor<2 x f32, strided>) softcap(%cap) scale(%scale) seqlens(%sq, %sk)
      heads(%h, %hpk) offset(%o) write_lse(%w) head_dims(32, 16) mask(none) : !t, !t, !t, !t, !lse
  return
}
