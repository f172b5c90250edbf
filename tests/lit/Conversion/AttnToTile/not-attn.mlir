// A function without an attn operation passes through attn-expand untouched, and its neighbours do not mind.
// RUN: tilewright-opt "%s" -attn-expand | FileCheck "%s"

// CHECK-LABEL: func.func @bystander(
// CHECK-SAME: %[[X:.*]]: tensor<8xf32>) -> tensor<8xf32> {
// CHECK-NEXT: %[[Y:.*]] = tile.exp2 %[[X]]
// CHECK-NEXT: return %[[Y]]
func.func @bystander(%x: tensor<8xf32>) -> tensor<8xf32> {
  %y = tile.exp2 %x : tensor<8xf32>
  return %y : tensor<8xf32>
}

// CHECK-LABEL: func.func @limits(
// CHECK-SAME: attributes {tile.kernel,
// CHECK: tile.coords
func.func @limits(%p: !attn.tensor<3 x i32, a4>, %l: !attn.tensor<2 x i32, a4>, %i: i64)
    attributes {tile.schedule = #tile.schedule<kq, 64 x 64, micro 8 x 2>} {
  attn.row_limits pairs(%p) limits(%l) seqlens(%i, %i) offset(%i) count(%i)
      : !attn.tensor<3 x i32, a4>, !attn.tensor<2 x i32, a4>
  return
}

// CHECK-LABEL: func.func private @declaration(
func.func private @declaration(%x: f32)
