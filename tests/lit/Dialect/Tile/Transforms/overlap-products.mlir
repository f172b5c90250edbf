// A block's last product runs beside the next block's scores.
// RUN: tilewright-opt "%s" --pass-pipeline="builtin.module(func.func(tile-overlap-products))" -split-input-file | FileCheck "%s"
// RUN: sed "s/attributes {}/attributes {tile.schedule = #tile.gpu_schedule<128 x 16, warps 8, stages 2 turns true>}/" "%s" | tilewright-opt --pass-pipeline="builtin.module(func.func(tile-overlap-products))" -split-input-file | FileCheck "%s" --check-prefix=TURNS

// TURNS-LABEL: func.func @rotated(
// TURNS: tile.take_turn
// TURNS-NEXT: tile.start_dot
// TURNS-NEXT: tile.take
// TURNS-NEXT: tile.start_dot
// TURNS-NEXT: tile.pass_turn
// TURNS-NEXT: tile.await_dot
// TURNS-LABEL: func.func @one_product(
// TURNS-NOT: tile.take_turn

!ks = !tile.shared<16 x 64 x bf16, stages 2>
!k = !tile.shared<16 x 64 x bf16>

// CHECK-LABEL: func.func @rotated(
// CHECK: tile.roles
// CHECK: %[[ANY:.*]] = arith.cmpi slt, %arg3, %arg4 : index
// CHECK-NOT: tile.take_turn
// CHECK: scf.if %[[ANY]] -> (tensor<128xf32>, tensor<128x64xf32>) {
// The first block, up to its last product; nothing to rescale yet.
// CHECK: tile.take %arg1[%arg3]
// CHECK: %[[S0:.*]] = tile.dot %arg0, %{{.*}}, %{{.*}} trans_b
// CHECK-NEXT: tile.release %arg1[%arg3]
// CHECK-NOT: tile.rescale
// CHECK: %[[P0:.*]] = arith.truncf
// CHECK: %[[SECOND:.*]] = arith.addi %arg3, %{{.*}} : index
// CHECK: scf.for %[[J:.*]] = %[[SECOND]] to %arg4 step %{{.*}} iter_args(%{{.*}} = %{{.*}}, %[[O:.*]] = %[[Z:.*]], %[[P:.*]] = %[[P0]])
// CHECK: %[[BEFORE:.*]] = arith.subi %[[J]], %{{.*}} : index
// CHECK: tile.take %arg1[%[[J]]]
// CHECK: %[[S:.*]] = tile.start_dot %arg0, %{{.*}}, %{{.*}} trans_b
// CHECK-NEXT: %[[V:.*]] = tile.take %arg2[%[[BEFORE]]]
// CHECK-NEXT: %[[PV:.*]] = tile.start_dot %[[P]], %[[V]], %[[O]]
// CHECK-NEXT: %[[SCORES:.*]] = tile.await_dot %[[S]] pending 1
// CHECK-NEXT: tile.release %arg1[%[[J]]]
// CHECK: tile.reduce max %[[SCORES]]
// What needs the accumulator waits for it, and so do the new weights, whose registers the product still reads.
// CHECK: %[[SUM:.*]] = tile.await_dot %[[PV]] : tensor<128x64xf32>
// CHECK-NEXT: tile.release %arg2[%[[BEFORE]]]
// CHECK-NEXT: %[[KEPT:.*]] = tile.rescale %[[SUM]] by %{{.*}}
// CHECK-NEXT: %[[NEXT:.*]] = arith.truncf
// CHECK-NEXT: scf.yield %{{.*}}, %[[KEPT]], %[[NEXT]]
// The last block's last product.
// CHECK: %[[LAST:.*]] = arith.subi %arg4, %{{.*}} : index
// CHECK: tile.take %arg2[%[[LAST]]]
// CHECK: %[[ALL:.*]] = tile.dot
// CHECK-NEXT: tile.release %arg2[%[[LAST]]]
// CHECK-NEXT: scf.yield %{{.*}}, %[[ALL]]
// CHECK: } else {
// CHECK-NEXT: scf.yield %{{.*}}, %[[Z]]
func.func @rotated(%q: !tile.shared<128 x 64 x bf16>, %ks: !ks, %vs: !ks, %begin: index, %end: index)
    attributes {} {
  %c1 = arith.constant 1 : index
  tile.roles producer {
  } consumer {
    %zs = arith.constant dense<0.0> : tensor<128x16xf32>
    %zo = arith.constant dense<0.0> : tensor<128x64xf32>
    %low = arith.constant dense<0xFF800000> : tensor<128xf32>
    %r:2 = scf.for %j = %begin to %end step %c1 iter_args(%m = %low, %o = %zo) -> (tensor<128xf32>, tensor<128x64xf32>) {
      %k = tile.take %ks[%j] : !ks -> !k
      %s = tile.dot %q, %k, %zs trans_b : !tile.shared<128 x 64 x bf16>, !k -> tensor<128x16xf32>
      tile.release %ks[%j] : !ks
      %top = tile.reduce max %s axis 1 : tensor<128x16xf32> -> tensor<128xf32>
      %alpha = arith.subf %m, %top : tensor<128xf32>
      %kept = tile.rescale %o by %alpha : tensor<128x64xf32>, tensor<128xf32>
      %v = tile.take %vs[%j] : !ks -> !k
      %p = arith.truncf %s : tensor<128x16xf32> to tensor<128x16xbf16>
      %next = tile.dot %p, %v, %kept : tensor<128x16xbf16>, !k -> tensor<128x64xf32>
      tile.release %vs[%j] : !ks
      scf.yield %top, %next : tensor<128xf32>, tensor<128x64xf32>
    }
  }
  return
}

// -----

// One product: nothing to run beside.
!ks = !tile.shared<16 x 64 x bf16, stages 2>
!k = !tile.shared<16 x 64 x bf16>

// CHECK-LABEL: func.func @one_product(
// CHECK-NOT: tile.start_dot
// CHECK: tile.dot
func.func @one_product(%q: !tile.shared<128 x 64 x bf16>, %ks: !ks, %begin: index, %end: index)
    attributes {} {
  %c1 = arith.constant 1 : index
  tile.roles producer {
  } consumer {
    %zs = arith.constant dense<0.0> : tensor<128x16xf32>
    scf.for %j = %begin to %end step %c1 {
      %k = tile.take %ks[%j] : !ks -> !k
      %s = tile.dot %q, %k, %zs trans_b : !tile.shared<128 x 64 x bf16>, !k -> tensor<128x16xf32>
      tile.release %ks[%j] : !ks
    }
  }
  return
}

// -----

// Queries that were given back behind the loop are given back ahead of its last product, or where there is no block.
!ks = !tile.shared<16 x 64 x bf16, stages 2>
!k = !tile.shared<16 x 64 x bf16>
!q = !tile.shared<128 x 64 x bf16>

// CHECK-LABEL: func.func @queries(
// CHECK: scf.if
// CHECK: scf.for
// CHECK-NOT: tile.release %arg0
// CHECK: scf.yield
// CHECK: tile.release %arg0[%{{.*}}]
// CHECK: tile.take %arg2
// CHECK: tile.dot
// CHECK: } else {
// CHECK-NEXT: tile.release %arg0[%{{.*}}]
// CHECK-NEXT: scf.yield
// CHECK-NOT: tile.release
func.func @queries(%qs: !q, %ks: !ks, %vs: !ks, %begin: index, %end: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  tile.roles producer {
  } consumer {
    %zs = arith.constant dense<0.0> : tensor<128x16xf32>
    %zo = arith.constant dense<0.0> : tensor<128x64xf32>
    %q = tile.take %qs[%c0] : !q -> !q
    %r = scf.for %j = %begin to %end step %c1 iter_args(%o = %zo) -> (tensor<128x64xf32>) {
      %k = tile.take %ks[%j] : !ks -> !k
      %s = tile.dot %q, %k, %zs trans_b : !q, !k -> tensor<128x16xf32>
      tile.release %ks[%j] : !ks
      %v = tile.take %vs[%j] : !ks -> !k
      %p = arith.truncf %s : tensor<128x16xf32> to tensor<128x16xbf16>
      %next = tile.dot %p, %v, %o : tensor<128x16xbf16>, !k -> tensor<128x64xf32>
      tile.release %vs[%j] : !ks
      scf.yield %next : tensor<128x64xf32>
    }
    tile.release %qs[%c0] : !q
  }
  return
}
