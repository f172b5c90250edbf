// The two orientations of a score tile. With keys as rows (kq) scores are S^T: statistics reduce axis 0, Q and the
// output are transposed once a program. With queries as rows (qk) they reduce axis 1 and nothing is transposed by
// itself: the product reads K transposed. Masks lie along the keys in both.
// RUN: tilewright-opt "%s" -attn-expand -cse -split-input-file | FileCheck "%s"

!t = !attn.tensor<4 x f32, a4>
!lse = !attn.tensor<3 x f32, strided>

// CHECK-LABEL: func.func @keys_are_rows(
// CHECK: %[[ROWS:.*]] = tile.load {{.*}} -> tensor<16x8xf32>
// CHECK-NEXT: %[[Q:.*]] = tile.transpose %[[ROWS]] : tensor<16x8xf32> -> tensor<8x16xf32>
// CHECK-COUNT-2: scf.for
// CHECK-NOT: tile.transpose
// CHECK: %[[K:.*]] = tile.load {{.*}} -> tensor<32x8xf32>
// CHECK: %[[S:.*]] = tile.dot %[[K]], %[[Q]], %{{[^ ]*}} : tensor<32x8xf32>, tensor<8x16xf32> -> tensor<32x16xf32>
// CHECK: tile.index %{{.*}} axis 0 : tensor<32x16xi32>
// CHECK: tile.broadcast %{{.*}} axis 0 : tensor<16xi32> -> tensor<32x16xi32>
// CHECK: tile.reduce max %{{.*}} axis 0 : tensor<32x16xf32> -> tensor<16xf32>
// CHECK: tile.broadcast %{{.*}} axis 0 : tensor<16xf32> -> tensor<32x16xf32>
// CHECK: %[[P:.*]] = tile.exp2 %{{.*}} : tensor<32x16xf32>
// CHECK: tile.reduce sum %[[P]] axis 0 : tensor<32x16xf32> -> tensor<16xf32>
// The output is held transposed, (head_dim_v, block_m), and rescaled along its columns.
// CHECK: %[[V:.*]] = tile.load {{.*}} -> tensor<32x24xf32>
// CHECK: tile.dot %[[V]], %[[P]], %{{[^ ]*}} trans_a : tensor<32x24xf32>, tensor<32x16xf32> -> tensor<24x16xf32>
// CHECK: tile.broadcast %{{.*}} axis 0 : tensor<16xf32> -> tensor<24x16xf32>
// CHECK: scf.yield
// CHECK: tile.broadcast %{{.*}} axis 0 : tensor<16xf32> -> tensor<24x16xf32>
// CHECK: %[[OUT:.*]] = tile.transpose %{{.*}} : tensor<24x16xf32> -> tensor<16x24xf32>
// CHECK: tile.store %[[OUT]]
// CHECK-NOT: tile.transpose
// CHECK: return
func.func @keys_are_rows(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %scale: f32, %sq: i64, %sk: i64, %h: i64,
                         %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 32, micro 4 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(8, 24) mask(causal) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f32, a4>
!lse = !attn.tensor<3 x f32, strided>

// CHECK-LABEL: func.func @queries_are_rows(
// CHECK-NOT: tile.transpose
// CHECK: %[[LIMITS:.*]] = arith.maxsi %{{.*}} : tensor<16xi32>
// CHECK: %[[Q:.*]] = tile.load {{.*}} -> tensor<16x8xf32>

// The full loop.
// CHECK: scf.for
// CHECK-NOT: tile.transpose
// CHECK-NOT: tile.index
// CHECK-NOT: arith.cmpi
// CHECK: %[[K:.*]] = tile.load {{.*}} bounds [false, false] {{.*}} -> tensor<32x8xf32>
// CHECK: tile.dot %[[Q]], %[[K]], %{{[^ ]*}} trans_b : tensor<16x8xf32>, tensor<32x8xf32> -> tensor<16x32xf32>
// CHECK-NOT: tile.index
// CHECK-NOT: arith.cmpi
// CHECK: tile.reduce max %{{.*}} axis 1 : tensor<16x32xf32> -> tensor<16xf32>
// CHECK-NOT: arith.cmpi
// CHECK: scf.yield

// The partial loop.
// CHECK: scf.for
// CHECK: %[[K2:.*]] = tile.load {{.*}} bounds [true, false] {{.*}} -> tensor<32x8xf32>
// CHECK: tile.dot %[[Q]], %[[K2]], %{{[^ ]*}} trans_b
// CHECK: %[[COLS:.*]] = tile.index %{{.*}} axis 1 : tensor<16x32xi32>
// CHECK: %[[HI:.*]] = tile.broadcast %[[LIMITS]] axis 1 : tensor<16xi32> -> tensor<16x32xi32>
// CHECK: arith.cmpi slt, %[[COLS]], %[[HI]]
// CHECK: tile.reduce max %{{.*}} axis 1 : tensor<16x32xf32> -> tensor<16xf32>
// CHECK: tile.broadcast %{{.*}} axis 1 : tensor<16xf32> -> tensor<16x32xf32>
// CHECK: %[[P:.*]] = tile.exp2 %{{.*}} : tensor<16x32xf32>
// CHECK: tile.reduce sum %[[P]] axis 1
// CHECK: %[[V:.*]] = tile.load {{.*}} -> tensor<32x24xf32>
// CHECK: tile.dot %[[P]], %[[V]], %{{[^ ]*}} : tensor<16x32xf32>, tensor<32x24xf32> -> tensor<16x24xf32>
// CHECK: tile.broadcast %{{.*}} axis 1 : tensor<16xf32> -> tensor<16x24xf32>
// CHECK: scf.yield
// CHECK: tile.broadcast %{{.*}} axis 1 : tensor<16xf32> -> tensor<16x24xf32>
// CHECK-NEXT: %[[OUT:.*]] = arith.mulf
// CHECK-NOT: tile.transpose
// CHECK: tile.store %[[OUT]]
// CHECK-NOT: tile.transpose
// CHECK: return
func.func @queries_are_rows(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %scale: f32, %sq: i64, %sk: i64, %h: i64,
                            %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<qk, 16 x 32, micro 4 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(8, 24) mask(causal) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f32, a4>
!lse = !attn.tensor<3 x f32, strided>

// Dense and even in the other orientation: one loop without bounds or masks here too.
// CHECK-LABEL: func.func @queries_are_rows_even(
// CHECK: scf.for
// CHECK-NOT: scf.for
// CHECK-NOT: tile.index
// CHECK-NOT: arith.cmpi slt
// CHECK-NOT: bounds [true
// CHECK: return
func.func @queries_are_rows_even(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %scale: f32, %sq: i64, %sk: i64,
                                 %h: i64, %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = #tile.schedule<qk, 16 x 32, micro 4 x 2>, tile.target = #tile.cpu<"x86-64-v3">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(8, 24) mask(none) {even_m, even_n} : !t, !t, !t, !t, !lse
  return
}
