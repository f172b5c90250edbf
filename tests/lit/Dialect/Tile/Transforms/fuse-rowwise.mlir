// Groups of tile-fuse-rowwise: where they start and end, what is copied into them, what comes out of them.
// RUN: tilewright-opt "%s" -tile-fuse-rowwise | FileCheck "%s"

// A load, elementwise work, a reduction: one group. Its results are what is read outside, in the order of computation.
// CHECK-LABEL: func.func @one_group(
// CHECK: %[[G:.*]]:2 = tile.fused [8, 16] -> tensor<8x16xf32>, tensor<8xf32> {
// CHECK-NEXT: %[[T:.*]] = tile.load
// CHECK-NEXT: %[[X:.*]] = tile.exp2 %[[T]]
// CHECK-NEXT: %[[Y:.*]] = arith.addf %[[X]], %[[T]]
// CHECK-NEXT: %[[R:.*]] = tile.reduce max %[[Y]] axis 1
// CHECK-NEXT: tile.yield %[[Y]], %[[R]] :
// CHECK-NEXT: }
// CHECK-NEXT: return %[[G]]#0, %[[G]]#1
func.func @one_group(%v: !tile.view<2 x f32, unit>, %i: index) -> (tensor<8x16xf32>, tensor<8xf32>)
    attributes {tile.kernel} {
  %t = tile.load %v[%i, %i] bounds [false, false] : !tile.view<2 x f32, unit> -> tensor<8x16xf32>
  %x = tile.exp2 %t : tensor<8x16xf32>
  %y = arith.addf %x, %t : tensor<8x16xf32>
  %r = tile.reduce max %y axis 1 : tensor<8x16xf32> -> tensor<8xf32>
  return %y, %r : tensor<8x16xf32>, tensor<8xf32>
}

// The reader of a reduction starts a new group, whatever stands between them: the broadcast is copied to its reader.
// The scores go through memory because the second group reads them; the group keeps its place at its last member.
// CHECK-LABEL: func.func @split_at_reduction(
// CHECK-SAME: %[[S:[a-z0-9]+]]: tensor<8x16xf32>,
// CHECK: %[[M:.*]]:2 = tile.fused [8, 16] -> tensor<8x16xf32>, tensor<16xf32> {
// CHECK-NEXT: %[[D:.*]] = arith.mulf %[[S]], %[[S]]
// CHECK-NEXT: %[[R:.*]] = tile.reduce max %[[D]] axis 0
// CHECK-NEXT: tile.yield %[[D]], %[[R]]
// CHECK-NEXT: }
// CHECK-NEXT: tile.fused [8, 16] {
// CHECK-NEXT: %[[B:.*]] = tile.broadcast %[[M]]#1 axis 0
// CHECK-NEXT: %[[E:.*]] = arith.subf %[[M]]#0, %[[B]]
// CHECK-NEXT: tile.store %[[E]]
// CHECK-NEXT: tile.yield
// CHECK-NEXT: }
// CHECK-NEXT: return
func.func @split_at_reduction(%s: tensor<8x16xf32>, %v: !tile.view<2 x f32, unit>, %i: index)
    attributes {tile.kernel} {
  %d = arith.mulf %s, %s : tensor<8x16xf32>
  %m = tile.reduce max %d axis 0 : tensor<8x16xf32> -> tensor<16xf32>
  %b = tile.broadcast %m axis 0 : tensor<16xf32> -> tensor<8x16xf32>
  %e = arith.subf %d, %b : tensor<8x16xf32>
  tile.store %e, %v[%i, %i] bounds [false, false] : tensor<8x16xf32>, !tile.view<2 x f32, unit>
  return
}

// What does not read the reduction may stay with it: two reductions of one pass over the tile.
// CHECK-LABEL: func.func @two_reductions(
// CHECK: tile.fused [8, 16] -> tensor<8xf32>, tensor<8xf32> {
// CHECK-NEXT: tile.reduce max
// CHECK-NEXT: tile.exp2
// CHECK-NEXT: tile.reduce sum
// CHECK-NEXT: tile.yield
// CHECK-NOT: tile.fused
func.func @two_reductions(%s: tensor<8x16xf32>) -> (tensor<8xf32>, tensor<8xf32>) attributes {tile.kernel} {
  %m = tile.reduce max %s axis 1 : tensor<8x16xf32> -> tensor<8xf32>
  %e = tile.exp2 %s : tensor<8x16xf32>
  %l = tile.reduce sum %e axis 1 : tensor<8x16xf32> -> tensor<8xf32>
  return %m, %l : tensor<8xf32>, tensor<8xf32>
}

// Another iteration space is another group, in both directions.
// CHECK-LABEL: func.func @shapes(
// CHECK: tile.fused [8, 16] ->
// CHECK-NEXT: tile.exp2
// CHECK-NEXT: tile.yield
// CHECK: tile.fused [16, 8] ->
// CHECK-NEXT: tile.exp2
// CHECK-NEXT: tile.yield
// CHECK: tile.fused [8, 16] ->
// CHECK-NEXT: tile.log2
// CHECK-NEXT: tile.yield
// CHECK: tile.fused [16] ->
// CHECK-NEXT: tile.exp2
// CHECK-NEXT: tile.yield
func.func @shapes(%a: tensor<8x16xf32>, %b: tensor<16x8xf32>, %c: tensor<16xf32>)
    -> (tensor<8x16xf32>, tensor<16x8xf32>, tensor<16xf32>) attributes {tile.kernel} {
  %x = tile.exp2 %a : tensor<8x16xf32>
  %y = tile.exp2 %b : tensor<16x8xf32>
  %z = tile.log2 %x : tensor<8x16xf32>
  %w = tile.exp2 %c : tensor<16xf32>
  return %z, %y, %w : tensor<8x16xf32>, tensor<16x8xf32>, tensor<16xf32>
}

// Constants, splats, index tiles and broadcasts go into every group that reads them, with what they are made of, and
// nothing of them is left behind.
// CHECK-LABEL: func.func @free_operations(
// CHECK-SAME: %[[V:[a-z0-9]+]]: tensor<16xi32>, %[[X:[a-z0-9]+]]: f32, %[[I:[a-z0-9]+]]: i32,
// CHECK-NEXT: %[[FIRST:.*]] = tile.fused [8, 16] -> tensor<8x16xf32> {
// CHECK-DAG: %[[ROWS:.*]] = tile.index %[[I]] axis 0 : tensor<8x16xi32>
// CHECK-DAG: %[[B:.*]] = tile.broadcast %[[V]] axis 0 : tensor<16xi32> -> tensor<8x16xi32>
// CHECK: %[[LESS:.*]] = arith.cmpi slt, %[[ROWS]], %[[B]]
// CHECK-DAG: %[[SPLAT:.*]] = tile.splat %[[X]] : tensor<8x16xf32>
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : tensor<8x16xf32>
// CHECK: %[[S:.*]] = arith.select %[[LESS]], %[[SPLAT]], %[[ZERO]]
// CHECK: tile.yield %[[S]]
// CHECK: tile.fused [8] ->
// CHECK: tile.fused [8, 16] -> tensor<8x16xf32> {
// CHECK-NEXT: %[[AGAIN:.*]] = tile.splat %[[X]] : tensor<8x16xf32>
// CHECK-NEXT: arith.mulf %[[FIRST]], %[[AGAIN]]
// CHECK-NOT: tile.splat
// CHECK-NOT: tile.broadcast
// CHECK: return
func.func @free_operations(%v: tensor<16xi32>, %x: f32, %i: i32, %u: tensor<8xf32>)
    -> (tensor<8x16xf32>, tensor<8xf32>) attributes {tile.kernel} {
  %rows = tile.index %i axis 0 : tensor<8x16xi32>
  %b = tile.broadcast %v axis 0 : tensor<16xi32> -> tensor<8x16xi32>
  %splat = tile.splat %x : tensor<8x16xf32>
  %unused = tile.splat %x : tensor<4x4xf32>
  %zero = arith.constant dense<0.0> : tensor<8x16xf32>
  %less = arith.cmpi slt, %rows, %b : tensor<8x16xi32>
  %s = arith.select %less, %splat, %zero : tensor<8x16xi1>, tensor<8x16xf32>
  %e = tile.exp2 %u : tensor<8xf32>
  %t = arith.mulf %s, %splat : tensor<8x16xf32>
  return %t, %e : tensor<8x16xf32>, tensor<8xf32>
}

// A broadcast that stands between the members of the group whose result it reads: the group is placed where its last
// member was, so the broadcast has to follow it, and reads the group's result.
// CHECK-LABEL: func.func @broadcast_between_members(
// CHECK-SAME: %[[S:[a-z0-9]+]]: tensor<8x16xf32>)
// CHECK-NEXT: %[[G:.*]]:2 = tile.fused [8, 16] -> tensor<8xf32>, tensor<8x16xf32> {
// CHECK-NEXT: %[[R:.*]] = tile.reduce sum %[[S]] axis 1
// CHECK-NEXT: %[[E:.*]] = tile.exp2 %[[S]]
// CHECK-NEXT: tile.yield %[[R]], %[[E]]
// CHECK-NEXT: }
// CHECK-NEXT: %[[H:.*]] = tile.fused [8, 16] -> tensor<8x16xf32> {
// CHECK-NEXT: %[[B:.*]] = tile.broadcast %[[G]]#0 axis 1
// CHECK-NEXT: arith.mulf %[[G]]#1, %[[B]]
func.func @broadcast_between_members(%s: tensor<8x16xf32>) -> tensor<8x16xf32> attributes {tile.kernel} {
  %r = tile.reduce sum %s axis 1 : tensor<8x16xf32> -> tensor<8xf32>
  %b = tile.broadcast %r axis 1 : tensor<8xf32> -> tensor<8x16xf32>
  %e = tile.exp2 %s : tensor<8x16xf32>
  %p = arith.mulf %e, %b : tensor<8x16xf32>
  return %p : tensor<8x16xf32>
}

// Products and transpositions read memory. One that reads a member ends the group; one that does not, leaves it open,
// and the group's later members may read it.
// CHECK-LABEL: func.func @products(
// CHECK-SAME: %[[A:[a-z0-9]+]]: tensor<8x8xf32>, %[[B:[a-z0-9]+]]: tensor<8x8xf32>)
// CHECK: %[[C:.*]] = tile.dot %[[A]], %[[A]],
// CHECK: %[[G:.*]]:2 = tile.fused [8, 8] -> tensor<8x8xf32>, tensor<8x8xf32> {
// CHECK-NEXT: tile.exp2 %[[B]]
// CHECK-NEXT: arith.addf %[[C]]
// CHECK: tile.transpose %[[G]]#0
// CHECK: tile.fused [8, 8]
// CHECK-NEXT: tile.log2 %[[G]]#1
func.func @products(%a: tensor<8x8xf32>, %b: tensor<8x8xf32>) -> (tensor<8x8xf32>, tensor<8x8xf32>)
    attributes {tile.kernel} {
  %zero = arith.constant dense<0.0> : tensor<8x8xf32>
  %e = tile.exp2 %b : tensor<8x8xf32>
  %c = tile.dot %a, %a, %zero : tensor<8x8xf32>, tensor<8x8xf32> -> tensor<8x8xf32>
  %s = arith.addf %c, %c : tensor<8x8xf32>
  %t = tile.transpose %e : tensor<8x8xf32> -> tensor<8x8xf32>
  %l = tile.log2 %s : tensor<8x8xf32>
  return %t, %l : tensor<8x8xf32>, tensor<8x8xf32>
}

// What a product, a loop or its yield reads must be in memory: a broadcast or a splat there becomes a member of a group.
// A constant does not: its readers fill their own.
// CHECK-LABEL: func.func @free_operations_in_memory(
// CHECK-SAME: %[[A:[a-z0-9]+]]: tensor<8x8xf32>, %[[X:[a-z0-9]+]]: f32,
// CHECK: %[[R:.*]] = tile.fused [8, 8] -> tensor<8xf32>
// CHECK-NEXT: tile.reduce
// CHECK: %[[B:.*]] = tile.fused [8, 8] -> tensor<8x8xf32> {
// CHECK-NEXT: tile.broadcast %[[R]] axis 1
// CHECK: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : tensor<8x8xf32>
// CHECK: %[[D:.*]] = tile.dot %[[B]], %[[B]], %[[ZERO]]
// CHECK: scf.for {{.*}} iter_args(%{{.*}} = %[[D]])
// CHECK: %[[S:.*]] = tile.fused [8, 8] -> tensor<8x8xf32> {
// CHECK-NEXT: tile.splat %[[X]]
// CHECK: scf.yield %[[S]]
func.func @free_operations_in_memory(%a: tensor<8x8xf32>, %x: f32, %n: index) -> tensor<8x8xf32>
    attributes {tile.kernel} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %r = tile.reduce sum %a axis 1 : tensor<8x8xf32> -> tensor<8xf32>
  %b = tile.broadcast %r axis 1 : tensor<8xf32> -> tensor<8x8xf32>
  %zeros = arith.constant dense<0.0> : tensor<8x8xf32>
  %d = tile.dot %b, %b, %zeros : tensor<8x8xf32>, tensor<8x8xf32> -> tensor<8x8xf32>
  %l = scf.for %i = %zero to %n step %one iter_args(%t = %d) -> (tensor<8x8xf32>) {
    %s = tile.splat %x : tensor<8x8xf32>
    scf.yield %s : tensor<8x8xf32>
  }
  return %l : tensor<8x8xf32>
}

// Stores stay in order, inside one group and across groups.
// CHECK-LABEL: func.func @order_of_stores(
// CHECK-SAME: %[[A:[a-z0-9]+]]: tensor<8x16xf32>, %[[B:[a-z0-9]+]]: tensor<16xf32>,
// CHECK: tile.fused [8, 16] {
// CHECK-NEXT: tile.store %[[A]], %[[V:.*]][%[[I:.*]], %[[I]]]
// CHECK-NEXT: %[[E:.*]] = tile.exp2 %[[A]]
// CHECK-NEXT: tile.store %[[E]], %[[V]]
// CHECK-NEXT: tile.yield
// CHECK: tile.fused [16] {
// CHECK-NEXT: tile.store %[[B]]
// CHECK-NEXT: tile.yield
// CHECK: tile.fused [8, 16] {
// CHECK-NEXT: tile.store %[[A]], %[[V]]
// CHECK-NEXT: tile.yield
func.func @order_of_stores(%a: tensor<8x16xf32>, %b: tensor<16xf32>, %v: !tile.view<2 x f32, unit>,
                           %w: !tile.view<1 x f32, unit>, %i: index) attributes {tile.kernel} {
  tile.store %a, %v[%i, %i] bounds [false, false] : tensor<8x16xf32>, !tile.view<2 x f32, unit>
  %e = tile.exp2 %a : tensor<8x16xf32>
  tile.store %e, %v[%i, %i] bounds [false, false] : tensor<8x16xf32>, !tile.view<2 x f32, unit>
  tile.store %b, %w[%i] bounds [false] : tensor<16xf32>, !tile.view<1 x f32, unit>
  tile.store %a, %v[%i, %i] bounds [false, false] : tensor<8x16xf32>, !tile.view<2 x f32, unit>
  return
}

// Scalars may stand between the members of a group: their group comes after them. A loop or an if ends a group, and is
// fused inside.
// CHECK-LABEL: func.func @scalars_and_regions(
// CHECK: %[[X:.*]] = tile.load_scalar
// CHECK-NEXT: tile.fused [8, 16] ->
// CHECK-NEXT: tile.exp2
// CHECK-NEXT: tile.splat %[[X]]
// CHECK-NEXT: arith.mulf
// CHECK: scf.if
// CHECK-NEXT: tile.fused [8, 16] {
// CHECK-NEXT: tile.store
// CHECK: tile.fused [8, 16] ->
// CHECK-NEXT: tile.log2
func.func @scalars_and_regions(%a: tensor<8x16xf32>, %w: !tile.view<1 x f32>, %v: !tile.view<2 x f32>, %i: index,
                               %c: i1) -> tensor<8x16xf32> attributes {tile.kernel} {
  %e = tile.exp2 %a : tensor<8x16xf32>
  %x = tile.load_scalar %w[%i] : !tile.view<1 x f32> -> f32
  %s = tile.splat %x : tensor<8x16xf32>
  %p = arith.mulf %e, %s : tensor<8x16xf32>
  scf.if %c {
    tile.store %p, %v[%i, %i] bounds [false, false] : tensor<8x16xf32>, !tile.view<2 x f32>
  }
  %l = tile.log2 %p : tensor<8x16xf32>
  return %l : tensor<8x16xf32>
}

// CHECK-LABEL: func.func @not_a_kernel(
// CHECK-NOT: tile.fused
func.func @not_a_kernel(%a: tensor<8x16xf32>) -> tensor<8x16xf32> {
  %e = tile.exp2 %a : tensor<8x16xf32>
  return %e : tensor<8x16xf32>
}
