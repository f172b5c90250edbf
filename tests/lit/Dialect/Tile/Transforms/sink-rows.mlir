// Rows that only a branch of a step needs are made in it, with what they are made of; others stay ahead of the loop.
// RUN: tilewright-opt "%s" -tile-sink-rows -split-input-file | FileCheck "%s"

// CHECK-LABEL: func.func @bounds(
// CHECK-NOT: tile.load
// CHECK-NOT: tensor<16xi32>
// CHECK: tile.reduce sum
// CHECK-NEXT: %[[KEPT:.*]] = tile.splat %{{.*}} : tensor<16xf32>
// CHECK: scf.for
// CHECK-NOT: tile.load
// CHECK: scf.if
// CHECK-DAG: %[[END:.*]] = tile.load %{{.*}}[%{{.*}}] bounds [true] : <1 x i32> -> tensor<16xi32>
// CHECK-DAG: %[[KEYS:.*]] = tile.splat %{{.*}} : tensor<16xi32>
// CHECK: %[[LIMIT:.*]] = arith.minsi %[[KEYS]], %[[END]] : tensor<16xi32>
// CHECK: tile.broadcast %[[LIMIT]] axis 1
// CHECK: scf.yield
// CHECK: } else {
// CHECK-NOT: tile.load
// CHECK: arith.addf %{{.*}}, %[[KEPT]]
func.func @bounds(%p: !tile.ptr<i32>, %n: i64, %keys: i32, %f: f32, %m: tensor<16x16xf32>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c8 = arith.constant 8 : index
  %rows = arith.index_cast %n : i64 to index
  %v = tile.view %p[%c0] sizes(%rows) strides(%c1) : !tile.ptr<i32> -> !tile.view<1 x i32>
  %ends = tile.load %v[%c0] bounds [true] : !tile.view<1 x i32> -> tensor<16xi32>
  %all = tile.splat %keys : tensor<16xi32>
  %limit = arith.minsi %all, %ends : tensor<16xi32>
  // A reduction is not made again, and what every step needs stays.
  %sum = tile.reduce sum %m axis 1 : tensor<16x16xf32> -> tensor<16xf32>
  %every = tile.splat %f : tensor<16xf32>
  %r:2 = scf.for %j = %c0 to %c8 step %c1 iter_args(%s = %m, %t = %every) -> (tensor<16x16xf32>, tensor<16xf32>) {
    %partial = arith.cmpi eq, %j, %c0 : index
    %hidden = scf.if %partial -> (tensor<16x16xf32>) {
      %columns = arith.constant dense<3> : tensor<16x16xi32>
      %wide = tile.broadcast %limit axis 1 : tensor<16xi32> -> tensor<16x16xi32>
      %seen = arith.cmpi slt, %columns, %wide : tensor<16x16xi32>
      %rowsum = tile.broadcast %sum axis 1 : tensor<16xf32> -> tensor<16x16xf32>
      %chosen = arith.select %seen, %s, %rowsum : tensor<16x16xi1>, tensor<16x16xf32>
      scf.yield %chosen : tensor<16x16xf32>
    } else {
      scf.yield %s : tensor<16x16xf32>
    }
    %next = arith.addf %t, %every : tensor<16xf32>
    scf.yield %hidden, %next : tensor<16x16xf32>, tensor<16xf32>
  }
  return
}

// -----

// Needed in both branches, or beside one: nothing moves. Nor does anything for the family sm_90a.
// CHECK-LABEL: func.func @both(
// CHECK: tile.load
// CHECK: scf.for
// CHECK-NOT: tile.load
// CHECK: return
func.func @both(%p: !tile.ptr<i32>, %a: tensor<16xi32>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %v = tile.view %p[%c0] sizes(%c16) strides(%c1) : !tile.ptr<i32> -> !tile.view<1 x i32>
  %ends = tile.load %v[%c0] bounds [false] : !tile.view<1 x i32> -> tensor<16xi32>
  %r = scf.for %j = %c0 to %c16 step %c1 iter_args(%s = %a) -> (tensor<16xi32>) {
    %first = arith.cmpi eq, %j, %c0 : index
    %next = scf.if %first -> (tensor<16xi32>) {
      %x = arith.addi %s, %ends : tensor<16xi32>
      scf.yield %x : tensor<16xi32>
    } else {
      %x = arith.subi %s, %ends : tensor<16xi32>
      scf.yield %x : tensor<16xi32>
    }
    scf.yield %next : tensor<16xi32>
  }
  return
}

// -----

// CHECK-LABEL: func.func @hopper(
// CHECK: tile.load
// CHECK: scf.for
// CHECK-NOT: tile.load
// CHECK: return
func.func @hopper(%p: !tile.ptr<i32>, %a: tensor<64xi32>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<64 x 16, warps 4>, tile.target = #tile.gpu<"sm_90a", sm 90>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c64 = arith.constant 64 : index
  %v = tile.view %p[%c0] sizes(%c64) strides(%c1) : !tile.ptr<i32> -> !tile.view<1 x i32>
  %ends = tile.load %v[%c0] bounds [false] : !tile.view<1 x i32> -> tensor<64xi32>
  %r = scf.for %j = %c0 to %c64 step %c1 iter_args(%s = %a) -> (tensor<64xi32>) {
    %first = arith.cmpi eq, %j, %c0 : index
    %next = scf.if %first -> (tensor<64xi32>) {
      %x = arith.addi %s, %ends : tensor<64xi32>
      scf.yield %x : tensor<64xi32>
    } else {
      scf.yield %s : tensor<64xi32>
    }
    scf.yield %next : tensor<64xi32>
  }
  return
}
