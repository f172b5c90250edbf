// Access to global memory: whole vectors where a row's length is known and its stride is 1, masks for what is left of a
// row, element by element through scratch elsewhere.
// RUN: tilewright-opt "%s" -convert-tile-to-vector -canonicalize -cse -split-input-file | FileCheck "%s"

// Rows of 6 floats, 4 lanes: a vector, and the first two lanes of another. Global rows are aligned to their elements.
// CHECK-LABEL: func.func @tail(
// CHECK-SAME: tile.scratch_bytes = 0
// CHECK-DAG: %[[MASK:.*]] = arith.constant dense<[true, true, false, false]> : vector<4xi1>
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<4xf32>
// CHECK: scf.for
// CHECK: %[[X:.*]] = llvm.load %[[FROM:.*]] {alignment = 4 : i64} : !llvm.ptr -> vector<4xf32>
// CHECK: %[[REST:.*]] = llvm.getelementptr %[[FROM]][4]
// CHECK: %[[Y:.*]] = llvm.intr.masked.load %[[REST]], %[[MASK]], %[[ZERO]] {alignment = 4 : i32}
// CHECK: llvm.store %[[X]], %[[TO:.*]] {alignment = 4 : i64}
// CHECK: %[[TOREST:.*]] = llvm.getelementptr %[[TO]][4]
// CHECK: llvm.intr.masked.store %[[Y]], %[[TOREST]], %[[MASK]] {alignment = 4 : i32}
func.func @tail(%p: !tile.ptr<f32>, %q: !tile.ptr<f32>)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 8 : index
  %v = tile.view %p[%zero] sizes(%n, %n) strides(%n, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %w = tile.view %q[%zero] sizes(%n, %n) strides(%n, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  tile.fused [2, 6] {
    %t = tile.load %v[%zero, %zero] bounds [false, false] : !tile.view<2 x f32, unit> -> tensor<2x6xf32>
    tile.store %t, %w[%zero, %zero] bounds [false, false] : tensor<2x6xf32>, !tile.view<2 x f32, unit>
    tile.yield
  }
  return
}

// -----

// One lane left over is a scalar, in both directions: a one-lane masked store of truncated 32-bit lanes would write
// four bytes, two of them over the next row (LLVM 22, x86).
// CHECK-LABEL: func.func @one_lane_tail(
// CHECK-NOT: masked
// CHECK: %[[ZERO:.*]] = arith.constant dense<0> : vector<4xi16>
// CHECK: scf.for
// CHECK: %[[X:.*]] = llvm.load %[[FROM:.*]] {alignment = 2 : i64} : !llvm.ptr -> vector<4xi16>
// CHECK: %[[LAST:.*]] = llvm.getelementptr %[[FROM]][4] {{.*}}, i16
// CHECK: %[[Y:.*]] = llvm.load %[[LAST]] {alignment = 2 : i64} : !llvm.ptr -> i16
// CHECK: %[[YV:.*]] = vector.insert %[[Y]], %[[ZERO]] [0]
// CHECK: llvm.store %{{.*}}, %[[TO:.*]] {alignment = 2 : i64} : vector<4xi16>
// CHECK: %[[TOLAST:.*]] = llvm.getelementptr %[[TO]][4] {{.*}}, i16
// CHECK: %[[Z:.*]] = vector.extract %{{.*}}[0] : i16 from vector<4xi16>
// CHECK: llvm.store %[[Z]], %[[TOLAST]] {alignment = 2 : i64} : i16
// CHECK-NOT: masked
// CHECK: return
func.func @one_lane_tail(%p: !tile.ptr<bf16>, %q: !tile.ptr<bf16>)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 8 : index
  %v = tile.view %p[%zero] sizes(%n, %n) strides(%n, %one) : !tile.ptr<bf16> -> !tile.view<2 x bf16, unit>
  %w = tile.view %q[%zero] sizes(%n, %n) strides(%n, %one) : !tile.ptr<bf16> -> !tile.view<2 x bf16, unit>
  tile.fused [2, 5] {
    %t = tile.load %v[%zero, %zero] bounds [false, false] : !tile.view<2 x bf16, unit> -> tensor<2x5xbf16>
    %x = arith.extf %t : tensor<2x5xbf16> to tensor<2x5xf32>
    %y = arith.addf %x, %x : tensor<2x5xf32>
    %z = arith.truncf %y : tensor<2x5xf32> to tensor<2x5xbf16>
    tile.store %z, %w[%zero, %zero] bounds [false, false] : tensor<2x5xbf16>, !tile.view<2 x bf16, unit>
    tile.yield
  }
  return
}

// -----

// Bounds on rows: a row at or past the view's size is neither read (it is 0) nor written. The element's address is
// offset + row * stride, all in 64 bits.
// CHECK-LABEL: func.func @row_bounds(
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0> : vector<4xi16>
// CHECK-DAG: %[[SLOT2:.*]] = llvm.getelementptr %arg0[2]
// CHECK-DAG: %[[ROW64:.*]] = llvm.load %[[SLOT2]] {{.*}} -> i64
// CHECK-DAG: %[[SLOT3:.*]] = llvm.getelementptr %arg0[3]
// CHECK-DAG: %[[STRIDE64:.*]] = llvm.load %[[SLOT3]] {{.*}} -> i64
// CHECK-DAG: %[[SLOT4:.*]] = llvm.getelementptr %arg0[4]
// CHECK-DAG: %[[OFFSET64:.*]] = llvm.load %[[SLOT4]] {{.*}} -> i64
// CHECK-DAG: %[[SLOT5:.*]] = llvm.getelementptr %arg0[5]
// CHECK-DAG: %[[ROWS64:.*]] = llvm.load %[[SLOT5]] {{.*}} -> i64
// CHECK-DAG: %[[ROW:.*]] = arith.index_cast %[[ROW64]]
// CHECK-DAG: %[[STRIDE:.*]] = arith.index_cast %[[STRIDE64]]
// CHECK-DAG: %[[OFFSET:.*]] = arith.index_cast %[[OFFSET64]]
// CHECK-DAG: %[[ROWS:.*]] = arith.index_cast %[[ROWS64]]
// CHECK: scf.for %[[I:.*]] = %c0 to %c2 step %c1 {
// CHECK: %[[GLOBAL:.*]] = arith.addi %[[ROW]], %[[I]] : index
// CHECK: %[[STEP:.*]] = arith.muli %[[GLOBAL]], %[[STRIDE]] : index
// CHECK: %[[ELEMENT:.*]] = arith.addi %[[OFFSET]], %[[STEP]] : index
// CHECK: %[[INSIDE:.*]] = arith.cmpi ult, %[[GLOBAL]], %[[ROWS]]
// CHECK: %[[ELEMENT64:.*]] = arith.index_cast %[[ELEMENT]] : index to i64
// CHECK: %[[FROM:.*]] = llvm.getelementptr %{{.*}}[%[[ELEMENT64]]] {{.*}}, i16
// CHECK: %[[T:.*]] = scf.if %[[INSIDE]] -> (vector<4xi16>) {
// CHECK-NEXT: %[[READ:.*]] = llvm.load %[[FROM]] {alignment = 2 : i64}
// CHECK-NEXT: scf.yield %[[READ]]
// CHECK-NEXT: } else {
// CHECK-NEXT: scf.yield %[[ZERO]]
// CHECK-NEXT: }
// CHECK: scf.if %[[INSIDE]] {
// CHECK-NEXT: llvm.store %[[T]],
// CHECK-NEXT: {{^ *[}]$}}
func.func @row_bounds(%p: !tile.ptr<bf16>, %q: !tile.ptr<bf16>, %r: i64, %s: i64, %o: i64, %sq: i64)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 4 : index
  %row = arith.index_cast %r : i64 to index
  %stride = arith.index_cast %s : i64 to index
  %offset = arith.index_cast %o : i64 to index
  %rows = arith.index_cast %sq : i64 to index
  %v = tile.view %p[%offset] sizes(%rows, %n) strides(%stride, %one) : !tile.ptr<bf16> -> !tile.view<2 x bf16, unit>
  %w = tile.view %q[%offset] sizes(%rows, %n) strides(%stride, %one) : !tile.ptr<bf16> -> !tile.view<2 x bf16, unit>
  tile.fused [2, 4] {
    %t = tile.load %v[%row, %zero] bounds [true, false] : !tile.view<2 x bf16, unit> -> tensor<2x4xbf16>
    tile.store %t, %w[%row, %zero] bounds [true, false] : tensor<2x4xbf16>, !tile.view<2 x bf16, unit>
    tile.yield
  }
  return
}

// -----

// Without bounds there is no condition.
// CHECK-LABEL: func.func @no_bounds(
// CHECK-NOT: scf.if
// CHECK-NOT: arith.cmpi
// CHECK: return
func.func @no_bounds(%p: !tile.ptr<f32>, %r: i64) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 4 : index
  %row = arith.index_cast %r : i64 to index
  %v = tile.view %p[%zero] sizes(%n, %n) strides(%n, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  tile.fused [2, 4] {
    %t = tile.load %v[%row, %zero] bounds [false, false] : !tile.view<2 x f32, unit> -> tensor<2x4xf32>
    tile.store %t, %v[%row, %zero] bounds [false, false] : tensor<2x4xf32>, !tile.view<2 x f32, unit>
    tile.yield
  }
  return
}

// -----

// Bounds on the innermost dimension: a row of unknown length goes through scratch, which is 0 where nothing is read.
// The elements that exist end at size - column, at least 0 and at most the tile's, and begin at 0 or, of a tile that begins
// before the view does, later.
// CHECK-LABEL: func.func @column_bounds(
// CHECK-SAME: %[[SCRATCH:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// CHECK-SAME: tile.scratch_bytes = 128
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<4xf32>
// CHECK: %[[LEFT:.*]] = arith.subi %[[SIZE:.*]], %[[COL:.*]] : index
// CHECK: %[[POSITIVE:.*]] = arith.maxsi %[[LEFT]], %c0
// CHECK: %[[COUNT:.*]] = arith.minsi %[[POSITIVE]], %c6
// CHECK: %[[BEFORE:.*]] = arith.subi %c0, %[[COL]] : index
// CHECK: %[[FIRST:.*]] = arith.maxsi %[[BEFORE]], %c0
// CHECK: llvm.store %[[ZERO]], %[[SCRATCH]] {alignment = 16 : i64}
// CHECK: llvm.store %[[ZERO]], %{{.*}} {alignment = 16 : i64}
// CHECK: scf.for %[[I:.*]] = %[[FIRST]] to %[[COUNT]] step %c1 {
// CHECK: %[[X:.*]] = llvm.load %{{.*}} {alignment = 4 : i64} : !llvm.ptr -> f32
// CHECK: %[[PLACE:.*]] = llvm.getelementptr %[[SCRATCH]][%{{.*}}]
// CHECK: llvm.store %[[X]], %[[PLACE]] {alignment = 4 : i64} : f32
// CHECK: {{^ *[}]$}}
// CHECK: llvm.load %[[SCRATCH]] {alignment = 16 : i64} : !llvm.ptr -> vector<4xf32>
// The store: to scratch, and as many elements from there.
// CHECK: %[[OUT:.*]] = llvm.getelementptr %[[SCRATCH]][64]
// CHECK: llvm.store %{{.*}}, %[[OUT]] {alignment = 16 : i64} : vector<4xf32>
// CHECK: scf.for %{{.*}} = %c0 to %[[COUNT]] step %c1 {
// CHECK: %[[Y:.*]] = llvm.load %{{.*}} {alignment = 4 : i64} : !llvm.ptr -> f32
// CHECK: llvm.store %[[Y]], %{{.*}} {alignment = 4 : i64} : f32
func.func @column_bounds(%p: !tile.ptr<f32>, %q: !tile.ptr<f32>, %c: i64, %s: i64)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %col = arith.index_cast %c : i64 to index
  %size = arith.index_cast %s : i64 to index
  %v = tile.view %p[%zero] sizes(%size) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  %w = tile.view %q[%zero] sizes(%size) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  tile.fused [6] {
    %t = tile.load %v[%col] bounds [true] : !tile.view<1 x f32, unit> -> tensor<6xf32>
    tile.store %t, %w[%col] bounds [true] : tensor<6xf32>, !tile.view<1 x f32, unit>
    tile.yield
  }
  return
}

// -----

// A view of unknown innermost stride: element by element through scratch, the stride multiplied in.
// CHECK-LABEL: func.func @strided(
// CHECK-SAME: %[[SCRATCH:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// CHECK: %[[STRIDE:.*]] = arith.index_cast %{{.*}} : i64 to index
// CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 {
// CHECK: scf.for %[[J:.*]] = %c0 to %c4 step %c1 {
// CHECK-NEXT: %[[STEP:.*]] = arith.muli %[[J]], %[[STRIDE]]
// CHECK: %[[X:.*]] = llvm.load %{{.*}} {alignment = 2 : i64} : !llvm.ptr -> i16
// CHECK: llvm.store %[[X]], %{{.*}} {alignment = 2 : i64} : i16
// CHECK: {{^ *[}]$}}
// CHECK: llvm.load %[[SCRATCH]] {alignment = 8 : i64} : !llvm.ptr -> vector<4xi16>
// CHECK: scf.for %{{.*}} = %c0 to %c4 step %c1 {
// CHECK: llvm.load %{{.*}} {alignment = 2 : i64} : !llvm.ptr -> i16
// CHECK: llvm.store %{{.*}} {alignment = 2 : i64} : i16
func.func @strided(%p: !tile.ptr<f16>, %q: !tile.ptr<f16>, %s: i64)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %n = arith.constant 100 : index
  %stride = arith.index_cast %s : i64 to index
  %v = tile.view %p[%zero] sizes(%n, %n) strides(%n, %stride) : !tile.ptr<f16> -> !tile.view<2 x f16>
  %w = tile.view %q[%zero] sizes(%n, %n) strides(%n, %stride) : !tile.ptr<f16> -> !tile.view<2 x f16>
  tile.fused [2, 4] {
    %t = tile.load %v[%zero, %zero] bounds [false, false] : !tile.view<2 x f16> -> tensor<2x4xf16>
    tile.store %t, %w[%zero, %zero] bounds [false, false] : tensor<2x4xf16>, !tile.view<2 x f16>
    tile.yield
  }
  return
}

// -----

// Scalars of a view of either rank.
// CHECK-LABEL: func.func @load_scalar(
// CHECK: %[[OFFSET:.*]] = arith.index_cast %{{.*}} : i64 to index
// CHECK: %[[I:.*]] = arith.index_cast %{{.*}} : i64 to index
// CHECK: %[[A:.*]] = arith.muli %[[I]], %c10
// CHECK: %[[B:.*]] = arith.addi %[[OFFSET]], %[[A]]
// CHECK: %[[C:.*]] = arith.muli %[[I]], %c3
// CHECK: %[[D:.*]] = arith.addi %[[B]], %[[C]]
// CHECK: %[[D64:.*]] = arith.index_cast %[[D]]
// CHECK: %[[PLACE:.*]] = llvm.getelementptr %{{.*}}[%[[D64]]] {{.*}}, i32
// CHECK: llvm.load %[[PLACE]] {alignment = 4 : i64} : !llvm.ptr -> i32
func.func @load_scalar(%p: !tile.ptr<i32>, %q: !tile.ptr<i32>, %o: i64, %k: i64)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %ten = arith.constant 10 : index
  %three = arith.constant 3 : index
  %one = arith.constant 1 : index
  %offset = arith.index_cast %o : i64 to index
  %i = arith.index_cast %k : i64 to index
  %v = tile.view %p[%offset] sizes(%ten, %ten) strides(%ten, %three) : !tile.ptr<i32> -> !tile.view<2 x i32>
  %w = tile.view %q[%zero] sizes(%ten) strides(%one) : !tile.ptr<i32> -> !tile.view<1 x i32, unit>
  %x = tile.load_scalar %v[%i, %i] : !tile.view<2 x i32> -> i32
  tile.fused [4] {
    %t = tile.splat %x : tensor<4xi32>
    tile.store %t, %w[%zero] bounds [false] : tensor<4xi32>, !tile.view<1 x i32, unit>
    tile.yield
  }
  return
}
