// tile.transpose: element by element, between buffers whose rows are whole vectors.
// RUN: tilewright-opt "%s" -convert-tile-to-vector -canonicalize -cse | FileCheck "%s"

// 3 x 5 in rows of 8 floats, its transpose 5 x 3 in rows of 4.
// CHECK-LABEL: func.func @transpose(
// CHECK-SAME: %[[SCRATCH:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// CHECK-SAME: tile.scratch_bytes = 256
// CHECK: scf.for
// CHECK: scf.for %[[I:.*]] = %c0 to %c3 step %c1 {
// CHECK-NEXT: scf.for %[[J:.*]] = %c0 to %c5 step %c1 {
// CHECK-NEXT: %[[FROMROW:.*]] = arith.muli %[[I]], %c8
// CHECK-NEXT: %[[FROM:.*]] = arith.addi %[[FROMROW]], %[[J]]
// CHECK-NEXT: %[[FROM64:.*]] = arith.index_cast %[[FROM]]
// CHECK-NEXT: %[[PLACE:.*]] = llvm.getelementptr %[[SCRATCH]][%[[FROM64]]] {{.*}} f32
// CHECK-NEXT: %[[X:.*]] = llvm.load %[[PLACE]] {alignment = 4 : i64} : !llvm.ptr -> f32
// CHECK-NEXT: %[[TOROW:.*]] = arith.muli %[[J]], %c4
// CHECK-NEXT: %[[TO:.*]] = arith.addi %[[TOROW]], %[[I]]
// CHECK-NEXT: %[[HOME:.*]] = llvm.getelementptr %[[SCRATCH]][128]
// CHECK-NEXT: %[[TO64:.*]] = arith.index_cast %[[TO]]
// CHECK-NEXT: %[[TOPLACE:.*]] = llvm.getelementptr %[[HOME]][%[[TO64]]] {{.*}} f32
// CHECK-NEXT: llvm.store %[[X]], %[[TOPLACE]] {alignment = 4 : i64} : f32
func.func @transpose(%x: f32) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %a = tile.fused [3, 5] -> tensor<3x5xf32> {
    %t = tile.splat %x : tensor<3x5xf32>
    tile.yield %t : tensor<3x5xf32>
  }
  %b = tile.transpose %a : tensor<3x5xf32> -> tensor<5x3xf32>
  return
}
