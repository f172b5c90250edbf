// Element types and alignment of the tensors: 16-bit tiles are widened behind their loads and narrowed in front of the
// store, and a tensor whose innermost stride is not known to be 1 is viewed with that stride.
// RUN: tilewright-opt "%s" -attn-expand -cse -split-input-file | FileCheck "%s"

!t = !attn.tensor<4 x bf16, a2>
!s = !attn.tensor<4 x bf16, strided>
!lse = !attn.tensor<3 x f32, a4>

// q and v are strided here, k and out are not.
// CHECK-LABEL: func.func @bf16(
// CHECK-DAG: %[[QD:.*]] = arith.index_cast %arg4 : i64 to index
// CHECK-DAG: %[[VD:.*]] = arith.index_cast %arg14 : i64 to index
// CHECK: tile.view %arg5[{{.*}}] {{.*}} strides(%{{.*}}, %c1) : <bf16> -> <2 x bf16, unit>
// CHECK: tile.view %arg10[{{.*}}] {{.*}} strides(%{{.*}}, %[[VD]]) : <bf16> -> <2 x bf16>
// CHECK: tile.view %arg0[{{.*}}] {{.*}} strides(%{{.*}}, %[[QD]]) : <bf16> -> <2 x bf16>
// CHECK: %[[Q:.*]] = tile.load {{.*}} : <2 x bf16> -> tensor<16x8xbf16>
// CHECK-NEXT: arith.extf %[[Q]] : tensor<16x8xbf16> to tensor<16x8xf32>
// CHECK: scf.for
// CHECK: %[[K:.*]] = tile.load {{.*}} : <2 x bf16, unit> -> tensor<32x8xbf16>
// CHECK-NEXT: arith.extf %[[K]] : tensor<32x8xbf16> to tensor<32x8xf32>
// CHECK: %[[V:.*]] = tile.load {{.*}} : <2 x bf16> -> tensor<32x8xbf16>
// CHECK-NEXT: arith.extf %[[V]] : tensor<32x8xbf16> to tensor<32x8xf32>
// CHECK: tile.view %arg15[{{.*}}] {{.*}} : <bf16> -> <2 x bf16, unit>
// CHECK: %[[OUT:.*]] = arith.truncf %{{.*}} : tensor<16x8xf32> to tensor<16x8xbf16>
// CHECK: tile.store %[[OUT]]
// The LSE is float32 whatever the others are; its innermost stride is 1 here.
// CHECK: tile.view %arg20[{{.*}}] {{.*}} strides(%c1) : <f32> -> <1 x f32, unit>
// CHECK: tile.store %{{.*}} : tensor<16xf32>, <1 x f32, unit>
func.func @bf16(%q: !s, %k: !t, %v: !s, %out: !t, %lse: !lse, %scale: f32, %sq: i64, %sk: i64, %h: i64, %hpk: i64,
                %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 32, micro 4 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(8, 8) mask(none) {even_n} : !s, !t, !s, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!s = !attn.tensor<4 x f16, strided>
!lse = !attn.tensor<3 x f32, strided>

// CHECK-LABEL: func.func @f16(
// CHECK: arith.extf %{{.*}} : tensor<16x8xf16> to tensor<16x8xf32>
// CHECK: %[[OD:.*]] = arith.truncf %{{.*}} : tensor<16x24xf32> to tensor<16x24xf16>
// CHECK: tile.store %[[OD]], {{.*}} : tensor<16x24xf16>, <2 x f16>
func.func @f16(%q: !t, %k: !t, %v: !t, %out: !s, %lse: !lse, %scale: f32, %sq: i64, %sk: i64, %h: i64, %hpk: i64,
               %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 32, micro 4 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(8, 24) mask(none) {even_n} : !t, !t, !t, !s, !lse
  return
}
