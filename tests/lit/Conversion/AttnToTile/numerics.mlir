// The float32 operations of one block. Where nothing but the scale stands between the product and L, the maximum is
// taken of the product, and the scale joins log2(e) in one factor that is applied after the subtraction;
// rows that saw nothing are set aside before a subtraction could make NaN of them.
// RUN: tilewright-opt "%s" -attn-expand -cse | FileCheck "%s"

!t = !attn.tensor<4 x f32, a4>
!lse = !attn.tensor<3 x f32, strided>

// CHECK-LABEL: func.func @online_softmax(
// CHECK: %[[L2E:.*]] = arith.constant 1.44269502 : f32
// CHECK: %[[SCALED:.*]] = arith.mulf %[[SCALE:.*]], %[[L2E]] : f32
// A scale of 0 must not meet -inf; what stands for it is so small that no difference of finite scores feels it.
// CHECK: %[[TINY:.*]] = arith.constant 1.401300e-45 : f32
// CHECK: %[[FACTOR2:.*]] = arith.maximumf %[[SCALED]], %[[TINY]] : f32
// CHECK-DAG: %[[NONE:.*]] = arith.constant dense<0xFF800000> : tensor<16xf32>
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : tensor<16xf32>
// CHECK-DAG: %[[ZEROS:.*]] = arith.constant dense<0.000000e+00> : tensor<8x16xf32>
// CHECK: %[[LOOP:.*]]:3 = scf.for
// CHECK-SAME: iter_args(%[[M:.*]] = %[[NONE]], %[[L:.*]] = %[[ZERO]], %[[ACC:.*]] = %[[ZEROS]])
// CHECK: %[[S:.*]] = tile.dot {{.*}} -> tensor<32x16xf32>
// CHECK: %[[MAX:.*]] = tile.reduce max %[[S]]
// CHECK: %[[MNEXT:.*]] = arith.select %{{.*}}, %[[MAX]], %[[M]]
// CHECK: %[[EMPTY:.*]] = arith.cmpf oeq, %[[MNEXT]], %[[NONE]]
// CHECK: %[[SAFE:.*]] = arith.select %[[EMPTY]], %[[ZERO]], %[[MNEXT]]
// CHECK: %[[DM:.*]] = arith.subf %[[M]], %[[SAFE]]
// CHECK: %[[FTILE:.*]] = tile.splat %[[FACTOR2]] : tensor<16xf32>
// CHECK: %[[DM2:.*]] = arith.mulf %[[DM]], %[[FTILE]]
// CHECK: %[[ALPHA:.*]] = tile.exp2 %[[DM2]]
// CHECK: %[[LOLD:.*]] = arith.mulf %[[L]], %[[ALPHA]]
// CHECK: %[[B:.*]] = tile.broadcast %[[SAFE]]
// CHECK: %[[DS:.*]] = arith.subf %[[S]], %[[B]]
// CHECK: %[[LOG2ES:.*]] = tile.splat %[[FACTOR2]] : tensor<32x16xf32>
// CHECK: %[[DS2:.*]] = arith.mulf %[[DS]], %[[LOG2ES]]
// CHECK: %[[P:.*]] = tile.exp2 %[[DS2]]
// CHECK: %[[PSUM:.*]] = tile.reduce sum %[[P]]
// CHECK: %[[LNEXT:.*]] = arith.addf %[[LOLD]], %[[PSUM]]
// The block's product starts from zero, and is added to what the blocks before left.
// CHECK: %[[PV:.*]] = tile.dot %{{.*}}, %[[P]], %[[ZEROS]] trans_a
// CHECK: %[[ALPHAS:.*]] = tile.broadcast %[[ALPHA]]
// CHECK: %[[ACCOLD:.*]] = arith.mulf %[[ACC]], %[[ALPHAS]]
// CHECK: %[[ACCNEXT:.*]] = arith.addf %[[ACCOLD]], %[[PV]]
// CHECK: scf.yield %[[MNEXT]], %[[LNEXT]], %[[ACCNEXT]]

// Output 0 and LSE -inf where the sum is 0; the LSE only if it is wanted.
// CHECK: %[[NOTHING:.*]] = arith.cmpf oeq, %[[LOOP]]#1, %[[ZERO]]
// CHECK: %[[INVERSE:.*]] = arith.divf %{{.*}}, %[[LOOP]]#1
// CHECK: %[[FACTOR:.*]] = arith.select %[[NOTHING]], %[[ZERO]], %[[INVERSE]]
// CHECK: %[[FACTORS:.*]] = tile.broadcast %[[FACTOR]]
// CHECK: arith.mulf %[[LOOP]]#2, %[[FACTORS]]
// CHECK: %[[WANTED:.*]] = arith.cmpi ne, %{{.*}}, %c0
// CHECK: scf.if %[[WANTED]] {
// CHECK: %[[LN2:.*]] = arith.constant dense<0.693147182> : tensor<16xf32>
// CHECK: %[[LOG:.*]] = tile.log2 %[[LOOP]]#1
// CHECK: %[[LN:.*]] = arith.mulf %[[LOG]], %[[LN2]]
// CHECK: %[[SCALES:.*]] = tile.splat %[[SCALE]] : tensor<16xf32>
// CHECK: %[[MAXL:.*]] = arith.mulf %[[LOOP]]#0, %[[SCALES]]
// CHECK: %[[LSE:.*]] = arith.addf %[[MAXL]], %[[LN]]
// CHECK: arith.select %[[NOTHING]], %[[NONE]], %[[LSE]]
func.func @online_softmax(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %scale: f32, %sq: i64, %sk: i64, %h: i64,
                          %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 32, micro 4 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(8, 8) mask(none) {even_n} : !t, !t, !t, !t, !lse
  return
}
