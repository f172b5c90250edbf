// tile.fused: one loop over rows, each row a few native vectors in registers.
// RUN: tilewright-opt "%s" -convert-tile-to-vector -canonicalize -cse -split-input-file | FileCheck "%s"

// Two vectors a row. What does not depend on the row is computed ahead of the loop; a reduction of axis 0 is carried by
// it as vectors, one of axis 1 is stored element by element; what is used inside only never touches memory.
// CHECK-LABEL: func.func @rows_of_vectors(
// CHECK-SAME: %[[SLOTS:[a-z0-9]+]]: !llvm.ptr
// CHECK-SAME: %[[SCRATCH:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// The scratch holds 6 x 8, 6 and 8 floats, each from a multiple of 64 bytes.
// CHECK-SAME: tile.scratch_bytes = 320
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<4xf32>
// CHECK-DAG: %[[NONE:.*]] = arith.constant dense<0xFF800000> : vector<4xf32>
// CHECK-DAG: %[[P:.*]] = llvm.load %[[SLOTS]] {{.*}} -> !llvm.ptr
// CHECK-DAG: %[[X:.*]] = vector.broadcast %{{.*}} : f32 to vector<4xf32>
// CHECK: %[[SUMS:.*]]:2 = scf.for %[[I:.*]] = %c0 to %c6 step %c1
// CHECK-SAME: iter_args(%[[L0:.*]] = %[[ZERO]], %[[L1:.*]] = %[[ZERO]])
// CHECK-NOT: vector.broadcast
// CHECK: %[[PLACE:.*]] = llvm.getelementptr %[[P]][%{{.*}}]
// CHECK-NEXT: %[[T0:.*]] = llvm.load %[[PLACE]] {alignment = 4 : i64} : !llvm.ptr -> vector<4xf32>
// CHECK-NEXT: %[[PLACE1:.*]] = llvm.getelementptr %[[PLACE]][4]
// CHECK-NEXT: %[[T1:.*]] = llvm.load %[[PLACE1]] {alignment = 4 : i64} : !llvm.ptr -> vector<4xf32>
// CHECK-NEXT: %[[A0:.*]] = arith.mulf %[[T0]], %[[X]]
// CHECK-NEXT: %[[A1:.*]] = arith.mulf %[[T1]], %[[X]]
// The maximum: from -inf, by a comparison that is false for NaN; then over the lanes.
// CHECK-NEXT: %[[G0:.*]] = arith.cmpf ogt, %[[A0]], %[[NONE]]
// CHECK-NEXT: %[[M0:.*]] = arith.select %[[G0]], %[[A0]], %[[NONE]]
// CHECK-NEXT: %[[G1:.*]] = arith.cmpf ogt, %[[A1]], %[[M0]]
// CHECK-NEXT: %[[M1:.*]] = arith.select %[[G1]], %[[A1]], %[[M0]]
// CHECK-NEXT: %[[M:.*]] = vector.reduction <maxnumf>, %[[M1]] fastmath<reassoc>
// CHECK-NEXT: %[[MHOME:.*]] = llvm.getelementptr %[[SCRATCH]][192]
// CHECK: %[[MPLACE:.*]] = llvm.getelementptr %[[MHOME]][%{{.*}}] : {{.*}}, f32
// CHECK-NEXT: llvm.store %[[M]], %[[MPLACE]] {alignment = 4 : i64} : f32
// CHECK-DAG: %[[NEXT0:.*]] = arith.addf %[[L0]], %[[A0]]
// CHECK-DAG: %[[NEXT1:.*]] = arith.addf %[[L1]], %[[A1]]
// CHECK: %[[ROW:.*]] = llvm.getelementptr %[[SCRATCH]][%{{.*}}] : {{.*}}, f32
// CHECK-NEXT: llvm.store %[[A0]], %[[ROW]] {alignment = 16 : i64}
// CHECK: llvm.store %[[A1]], %{{.*}} {alignment = 16 : i64}
// CHECK-NEXT: scf.yield %[[NEXT0]], %[[NEXT1]]
// CHECK: %[[LHOME:.*]] = llvm.getelementptr %[[SCRATCH]][256]
// CHECK-NEXT: llvm.store %[[SUMS]]#0, %[[LHOME]] {alignment = 16 : i64}
// CHECK: llvm.store %[[SUMS]]#1,

// The next group: a broadcast along axis 0 is a row loaded once, one along axis 1 an element a row.
// CHECK: %[[B0:.*]] = llvm.load %[[LHOME]] {alignment = 16 : i64} : !llvm.ptr -> vector<4xf32>
// CHECK: scf.for %[[I2:.*]] = %c0 to %c6 step %c1 {
// CHECK: %[[MHOME2:.*]] = llvm.getelementptr %[[SCRATCH]][192]
// CHECK: %[[ELEMENT:.*]] = llvm.load %{{.*}} {alignment = 4 : i64} : !llvm.ptr -> f32
// CHECK-NEXT: %[[REPEATED:.*]] = vector.broadcast %[[ELEMENT]] : f32 to vector<4xf32>
// CHECK: %[[AGAIN:.*]] = llvm.load %{{.*}} {alignment = 16 : i64} : !llvm.ptr -> vector<4xf32>
// CHECK: %[[D0:.*]] = arith.subf %[[AGAIN]], %[[REPEATED]]
// CHECK: arith.addf %[[D0]], %[[B0]]
// CHECK: return
func.func @rows_of_vectors(%p: !tile.ptr<f32>, %q: !tile.ptr<f32>, %s: i64, %x: f32)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 6 : index
  %stride = arith.index_cast %s : i64 to index
  %v = tile.view %p[%zero] sizes(%n, %n) strides(%stride, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %w = tile.view %q[%zero] sizes(%n, %n) strides(%stride, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %r:3 = tile.fused [6, 8] -> tensor<6x8xf32>, tensor<6xf32>, tensor<8xf32> {
    %t = tile.load %v[%zero, %zero] bounds [false, false] : !tile.view<2 x f32, unit> -> tensor<6x8xf32>
    %f = tile.splat %x : tensor<6x8xf32>
    %a = arith.mulf %t, %f : tensor<6x8xf32>
    %m = tile.reduce max %a axis 1 : tensor<6x8xf32> -> tensor<6xf32>
    %l = tile.reduce sum %a axis 0 : tensor<6x8xf32> -> tensor<8xf32>
    tile.yield %a, %m, %l : tensor<6x8xf32>, tensor<6xf32>, tensor<8xf32>
  }
  tile.fused [6, 8] {
    %b = tile.broadcast %r#1 axis 1 : tensor<6xf32> -> tensor<6x8xf32>
    %c = tile.broadcast %r#2 axis 0 : tensor<8xf32> -> tensor<6x8xf32>
    %d = arith.subf %r#0, %b : tensor<6x8xf32>
    %e = arith.addf %d, %c : tensor<6x8xf32>
    tile.store %e, %w[%zero, %zero] bounds [false, false] : tensor<6x8xf32>, !tile.view<2 x f32, unit>
    tile.yield
  }
  return
}

// -----

// The width of a vector is the target's: one of 16 lanes covers 12 columns, and the lanes behind them stay out of the
// reductions over the row, each in its own way.
// CHECK-LABEL: func.func @lanes_past_the_columns(
// CHECK-DAG: %[[INSIDE:.*]] = arith.constant dense<[true, true, true, true, true, true, true, true, true, true, true, true, false, false, false, false]>
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<16xf32>
// CHECK-DAG: %[[NONE:.*]] = arith.constant dense<0xFF800000> : vector<16xf32>
// CHECK: %[[T:.*]] = llvm.intr.masked.load %{{.*}}, %[[INSIDE]], %[[ZERO]]
// CHECK: %[[FORMAX:.*]] = arith.select %[[INSIDE]], %[[T]], %[[NONE]]
// CHECK: arith.cmpf ogt, %[[FORMAX]]
// CHECK: vector.reduction <maxnumf>
// CHECK: %[[FORSUM:.*]] = arith.select %[[INSIDE]], %[[T]], %[[ZERO]]
// CHECK: vector.reduction <add>, %[[FORSUM]] fastmath<reassoc>
func.func @lanes_past_the_columns(%p: !tile.ptr<f32>)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v4">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 12 : index
  %v = tile.view %p[%zero] sizes(%n, %n) strides(%n, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %w = tile.view %p[%zero] sizes(%n) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  %r:2 = tile.fused [4, 12] -> tensor<4xf32>, tensor<4xf32> {
    %t = tile.load %v[%zero, %zero] bounds [false, false] : !tile.view<2 x f32, unit> -> tensor<4x12xf32>
    %m = tile.reduce max %t axis 1 : tensor<4x12xf32> -> tensor<4xf32>
    %l = tile.reduce sum %t axis 1 : tensor<4x12xf32> -> tensor<4xf32>
    tile.yield %m, %l : tensor<4xf32>, tensor<4xf32>
  }
  tile.fused [4] {
    %s = arith.addf %r#0, %r#1 : tensor<4xf32>
    tile.store %s, %w[%zero] bounds [false] : tensor<4xf32>, !tile.view<1 x f32, unit>
    tile.yield
  }
  return
}

// -----

// Index tiles: of rows, a scalar that is repeated; of columns, the same vectors in every row. The comparison outlives
// its group: i1 is stored as i8 and compared with 0 where it is read.
// CHECK-LABEL: func.func @i1_across_groups(
// CHECK-SAME: %[[SCRATCH:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// CHECK-DAG: %[[LOW:.*]] = arith.constant dense<[0, 1, 2, 3]> : vector<4xi32>
// CHECK-DAG: %[[HIGH:.*]] = arith.constant dense<[4, 5, 6, 7]> : vector<4xi32>
// CHECK-DAG: %[[FALSE:.*]] = arith.constant dense<0> : vector<4xi8>
// CHECK: %[[FIRST:.*]] = arith.trunci
// CHECK: %[[BASE:.*]] = vector.broadcast %[[FIRST]] : i32 to vector<4xi32>
// CHECK-DAG: %[[COLS0:.*]] = arith.addi %[[BASE]], %[[LOW]]
// CHECK-DAG: %[[COLS1:.*]] = arith.addi %[[BASE]], %[[HIGH]]
// CHECK: scf.for
// CHECK: %[[ROW:.*]] = arith.addi %[[FIRST]], %{{.*}} : i32
// CHECK: %[[ROWS:.*]] = vector.broadcast %[[ROW]] : i32 to vector<4xi32>
// CHECK: %[[LESS:.*]] = arith.cmpi slt, %[[ROWS]], %[[COLS0]]
// CHECK: %[[BYTES:.*]] = arith.extui %[[LESS]] : vector<4xi1> to vector<4xi8>
// CHECK: llvm.store %[[BYTES]], %{{.*}} {alignment = 4 : i64} : vector<4xi8>
// CHECK: scf.for
// CHECK: %[[LOADED:.*]] = llvm.load %{{.*}} {alignment = 4 : i64} : !llvm.ptr -> vector<4xi8>
// CHECK: %[[SEEN:.*]] = arith.cmpi ne, %[[LOADED]], %[[FALSE]]
// CHECK: arith.select %[[SEEN]],
func.func @i1_across_groups(%p: !tile.ptr<i32>, %f: i64)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 8 : index
  %first = arith.trunci %f : i64 to i32
  %v = tile.view %p[%zero] sizes(%n, %n) strides(%n, %one) : !tile.ptr<i32> -> !tile.view<2 x i32, unit>
  %m = tile.fused [4, 8] -> tensor<4x8xi1> {
    %rows = tile.index %first axis 0 : tensor<4x8xi32>
    %cols = tile.index %first axis 1 : tensor<4x8xi32>
    %l = arith.cmpi slt, %rows, %cols : tensor<4x8xi32>
    tile.yield %l : tensor<4x8xi1>
  }
  tile.fused [4, 8] {
    %a = arith.constant dense<1> : tensor<4x8xi32>
    %b = arith.constant dense<0> : tensor<4x8xi32>
    %s = arith.select %m, %a, %b : tensor<4x8xi1>, tensor<4x8xi32>
    tile.store %s, %v[%zero, %zero] bounds [false, false] : tensor<4x8xi32>, !tile.view<2 x i32, unit>
    tile.yield
  }
  return
}

// -----

// Both broadcasts of an i1 tile: read as bytes, used as bits.
// CHECK-LABEL: func.func @broadcast_i1(
// CHECK: %[[BYTES:.*]] = llvm.load {{.*}} -> vector<4xi8>
// CHECK: %[[BITS:.*]] = arith.cmpi ne, %[[BYTES]], %{{.*}} : vector<4xi8>
// CHECK: scf.for
// CHECK: %[[BYTE:.*]] = llvm.load {{.*}} -> i8
// CHECK: %[[BIT:.*]] = arith.cmpi ne, %[[BYTE]], %{{.*}} : i8
// CHECK: %[[REPEATED:.*]] = vector.broadcast %[[BIT]] : i1 to vector<4xi1>
// CHECK: arith.andi %[[BITS]], %[[REPEATED]] : vector<4xi1>
func.func @broadcast_i1(%p: !tile.ptr<f32>) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 4 : index
  %v = tile.view %p[%zero] sizes(%n, %n) strides(%n, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %w = tile.view %p[%zero] sizes(%n) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  %m = tile.fused [4] -> tensor<4xi1> {
    %t = tile.load %w[%zero] bounds [false] : !tile.view<1 x f32, unit> -> tensor<4xf32>
    %z = arith.constant dense<0.0> : tensor<4xf32>
    %c = arith.cmpf oeq, %t, %z : tensor<4xf32>
    tile.yield %c : tensor<4xi1>
  }
  tile.fused [4, 4] {
    %b0 = tile.broadcast %m axis 0 : tensor<4xi1> -> tensor<4x4xi1>
    %b1 = tile.broadcast %m axis 1 : tensor<4xi1> -> tensor<4x4xi1>
    %b = arith.andi %b0, %b1 : tensor<4x4xi1>
    %x = arith.constant dense<1.0> : tensor<4x4xf32>
    %y = arith.constant dense<2.0> : tensor<4x4xf32>
    %s = arith.select %b, %x, %y : tensor<4x4xi1>, tensor<4x4xf32>
    tile.store %s, %v[%zero, %zero] bounds [false, false] : tensor<4x4xf32>, !tile.view<2 x f32, unit>
    tile.yield
  }
  return
}

// -----

// A reduction that nobody reads costs nothing, and writes nowhere.
// CHECK-LABEL: func.func @dead_reductions(
// CHECK-SAME: tile.scratch_bytes = 0
// CHECK: scf.for %{{.*}} = %c0 to %c4 step %c1 {
// CHECK-NOT: vector.reduction
// CHECK-NOT: arith.cmpf
// CHECK: return
func.func @dead_reductions(%p: !tile.ptr<f32>) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 4 : index
  %v = tile.view %p[%zero] sizes(%n, %n) strides(%n, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  tile.fused [4, 4] {
    %t = tile.load %v[%zero, %zero] bounds [false, false] : !tile.view<2 x f32, unit> -> tensor<4x4xf32>
    %r = tile.reduce sum %t axis 1 : tensor<4x4xf32> -> tensor<4xf32>
    %m = tile.reduce max %t axis 0 : tensor<4x4xf32> -> tensor<4xf32>
    tile.store %t, %v[%zero, %zero] bounds [false, false] : tensor<4x4xf32>, !tile.view<2 x f32, unit>
    tile.yield
  }
  return
}
