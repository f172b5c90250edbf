// tile.dot: register tiles of `micro` rows by native vectors over the whole depth, with fused multiply-adds.
// RUN: tilewright-opt "%s" -convert-tile-to-vector -canonicalize -cse -split-input-file | FileCheck "%s"

// 3 x 5 by 5 x 12, in registers of 2 rows by 2 vectors: four tiles, of 2 x 2, 1 x 2, 2 x 1 and 1 x 1. A constant
// accumulator starts the registers and is never in memory.
// CHECK-LABEL: func.func @remainders(
// CHECK-SAME: %[[SCRATCH:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// A: rows of 8 (offset 0, 128 bytes used), B: rows of 12 (offset 128), the result: rows of 12 (offset 384).
// CHECK-SAME: tile.scratch_bytes = 576
// CHECK-DAG: %[[ONE:.*]] = arith.constant dense<1.000000e+00> : vector<4xf32>
// CHECK-COUNT-2: scf.for
// CHECK: {{^ *[}]$}}
// CHECK: %[[B:.*]] = llvm.getelementptr %[[SCRATCH]][128]
// CHECK: %[[T:.*]]:4 = scf.for %[[K:.*]] = %c0 to %c5 step %c1
// CHECK-SAME: iter_args(%[[S0:.*]] = %[[ONE]], %[[S1:.*]] = %[[ONE]], %[[S2:.*]] = %[[ONE]], %[[S3:.*]] = %[[ONE]])
// CHECK: %[[BROW:.*]] = llvm.getelementptr %[[B]][%{{.*}}]
// CHECK: %[[B0:.*]] = llvm.load %[[BROW]] {alignment = 16 : i64} : !llvm.ptr -> vector<4xf32>
// CHECK: %[[BNEXT:.*]] = llvm.getelementptr %[[BROW]][4]
// CHECK: %[[B1:.*]] = llvm.load %[[BNEXT]] {alignment = 16 : i64} : !llvm.ptr -> vector<4xf32>
// CHECK: %[[APLACE:.*]] = llvm.getelementptr %[[SCRATCH]][%{{.*}}]
// CHECK: %[[A0:.*]] = llvm.load %[[APLACE]] {alignment = 4 : i64} : !llvm.ptr -> f32
// CHECK: %[[A0V:.*]] = vector.broadcast %[[A0]]
// CHECK: %[[N0:.*]] = llvm.intr.fmuladd(%[[A0V]], %[[B0]], %[[S0]])
// CHECK: %[[N1:.*]] = llvm.intr.fmuladd(%[[A0V]], %[[B1]], %[[S1]])
// The next row of A is 8 floats on.
// CHECK: %[[ANEXT:.*]] = llvm.getelementptr %[[APLACE]][8]
// CHECK: %[[A1:.*]] = llvm.load %[[ANEXT]]
// CHECK: %[[A1V:.*]] = vector.broadcast %[[A1]]
// CHECK: %[[N2:.*]] = llvm.intr.fmuladd(%[[A1V]], %[[B0]], %[[S2]])
// CHECK: %[[N3:.*]] = llvm.intr.fmuladd(%[[A1V]], %[[B1]], %[[S3]])
// CHECK: scf.yield %[[N0]], %[[N1]], %[[N2]], %[[N3]]
// CHECK: %[[C:.*]] = llvm.getelementptr %[[SCRATCH]][384]
// CHECK: llvm.store %[[T]]#0, %[[C]]
// CHECK: %[[C01:.*]] = llvm.getelementptr %[[C]][4]
// CHECK: llvm.store %[[T]]#1, %[[C01]]
// CHECK: %[[C10:.*]] = llvm.getelementptr %[[C]][12]
// CHECK: llvm.store %[[T]]#2, %[[C10]]
// CHECK: %[[C11:.*]] = llvm.getelementptr %[[C]][16]
// CHECK: llvm.store %[[T]]#3, %[[C11]]
// The last row, then the last vector of both.
// CHECK: %[[R:.*]]:2 = scf.for %{{.*}} = %c0 to %c5 step %c1
// CHECK: %[[C20:.*]] = llvm.getelementptr %[[C]][24]
// CHECK: llvm.store %[[R]]#0, %[[C20]]
// CHECK: %[[V:.*]]:2 = scf.for %{{.*}} = %c0 to %c5 step %c1
// CHECK: %[[C02:.*]] = llvm.getelementptr %[[C]][8]
// CHECK: llvm.store %[[V]]#0, %[[C02]]
// CHECK: %[[L:.*]] = scf.for %{{.*}} = %c0 to %c5 step %c1
// CHECK: %[[C22:.*]] = llvm.getelementptr %[[C]][32]
// CHECK: llvm.store %[[L]], %[[C22]]
func.func @remainders(%p: !tile.ptr<f32>, %x: f32) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 12 : index
  %v = tile.view %p[%zero] sizes(%n, %n) strides(%n, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %a = tile.fused [3, 5] -> tensor<3x5xf32> {
    %t = tile.splat %x : tensor<3x5xf32>
    tile.yield %t : tensor<3x5xf32>
  }
  %b = tile.fused [5, 12] -> tensor<5x12xf32> {
    %t = tile.splat %x : tensor<5x12xf32>
    tile.yield %t : tensor<5x12xf32>
  }
  %c = arith.constant dense<1.0> : tensor<3x12xf32>
  %d = tile.dot %a, %b, %c micro [2, 2] : tensor<3x5xf32>, tensor<5x12xf32> -> tensor<3x12xf32>
  tile.fused [3, 12] {
    tile.store %d, %v[%zero, %zero] bounds [false, false] : tensor<3x12xf32>, !tile.view<2 x f32, unit>
    tile.yield
  }
  return
}

// -----

// Whole register tiles: loops over columns and, inside, over rows. Depth innermost.
// CHECK-LABEL: func.func @loops(
// CHECK: scf.for %[[COL:.*]] = %c0 to %c16 step %c8 {
// CHECK-NEXT: scf.for %[[ROW:.*]] = %c0 to %c4 step %c2 {
// CHECK: scf.for %{{.*}} = %c0 to %c3 step %c1 iter_args(
// CHECK-COUNT-4: llvm.intr.fmuladd
// CHECK-NOT: llvm.intr.fmuladd
// CHECK: return
func.func @loops(%x: f32) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %a = tile.fused [4, 3] -> tensor<4x3xf32> {
    %t = tile.splat %x : tensor<4x3xf32>
    tile.yield %t : tensor<4x3xf32>
  }
  %b = tile.fused [3, 16] -> tensor<3x16xf32> {
    %t = tile.splat %x : tensor<3x16xf32>
    tile.yield %t : tensor<3x16xf32>
  }
  %c = arith.constant dense<0.0> : tensor<4x16xf32>
  %d = tile.dot %a, %b, %c micro [2, 2] : tensor<4x3xf32>, tensor<3x16xf32> -> tensor<4x16xf32>
  return
}

// -----

// An accumulator that dies here is updated in place: its registers are loaded from where they are stored again, and no
// other memory is asked for. A is 2 x 3 (0), B 3 x 4 (64), the accumulator 2 x 4 (128).
// CHECK-LABEL: func.func @in_place(
// CHECK-SAME: %[[SCRATCH:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// CHECK-SAME: tile.scratch_bytes = 192
// CHECK-COUNT-3: scf.for
// CHECK: {{^ *[}]$}}
// CHECK: %[[ACC:.*]] = llvm.getelementptr %[[SCRATCH]][128]
// CHECK: %[[ROW0:.*]] = llvm.load %[[ACC]]
// CHECK: %[[NEXT:.*]] = llvm.getelementptr %[[ACC]][4]
// CHECK: %[[ROW1:.*]] = llvm.load %[[NEXT]]
// CHECK: %[[SUMS:.*]]:2 = scf.for {{.*}} iter_args(%{{.*}} = %[[ROW0]], %{{.*}} = %[[ROW1]])
// CHECK: scf.yield
// CHECK-NEXT: }
// CHECK-NEXT: llvm.store %[[SUMS]]#0, %[[ACC]]
// CHECK-NEXT: llvm.store %[[SUMS]]#1, %[[NEXT]]
// CHECK-NEXT: return
func.func @in_place(%x: f32) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %a = tile.fused [2, 3] -> tensor<2x3xf32> {
    %t = tile.splat %x : tensor<2x3xf32>
    tile.yield %t : tensor<2x3xf32>
  }
  %b = tile.fused [3, 4] -> tensor<3x4xf32> {
    %t = tile.splat %x : tensor<3x4xf32>
    tile.yield %t : tensor<3x4xf32>
  }
  %c = tile.fused [2, 4] -> tensor<2x4xf32> {
    %t = tile.splat %x : tensor<2x4xf32>
    tile.yield %t : tensor<2x4xf32>
  }
  %d = tile.dot %a, %b, %c micro [2, 1] : tensor<2x3xf32>, tensor<3x4xf32> -> tensor<2x4xf32>
  return
}

// -----

// An accumulator that is read again is left alone: the result has a home of its own (192).
// CHECK-LABEL: func.func @accumulator_lives_on(
// CHECK-SAME: %[[SCRATCH:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// CHECK-COUNT-3: scf.for
// CHECK: {{^ *[}]$}}
// CHECK: %[[ACC:.*]] = llvm.getelementptr %[[SCRATCH]][128]
// CHECK: llvm.load %[[ACC]]
// CHECK: %[[SUMS:.*]]:2 = scf.for {{.*}} iter_args(
// CHECK: %[[HOME:.*]] = llvm.getelementptr %[[SCRATCH]][192]
// CHECK-NEXT: llvm.store %[[SUMS]]#0, %[[HOME]]
func.func @accumulator_lives_on(%x: f32, %p: !tile.ptr<f32>)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 4 : index
  %v = tile.view %p[%zero] sizes(%n, %n) strides(%n, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %a = tile.fused [2, 3] -> tensor<2x3xf32> {
    %t = tile.splat %x : tensor<2x3xf32>
    tile.yield %t : tensor<2x3xf32>
  }
  %b = tile.fused [3, 4] -> tensor<3x4xf32> {
    %t = tile.splat %x : tensor<3x4xf32>
    tile.yield %t : tensor<3x4xf32>
  }
  %c = tile.fused [2, 4] -> tensor<2x4xf32> {
    %t = tile.splat %x : tensor<2x4xf32>
    tile.yield %t : tensor<2x4xf32>
  }
  %d = tile.dot %a, %b, %c micro [2, 1] : tensor<2x3xf32>, tensor<3x4xf32> -> tensor<2x4xf32>
  tile.fused [2, 4] {
    %s = arith.addf %c, %d : tensor<2x4xf32>
    tile.store %s, %v[%zero, %zero] bounds [false, false] : tensor<2x4xf32>, !tile.view<2 x f32, unit>
    tile.yield
  }
  return
}

// -----

// A transposed A is only read another way: element (row, k) is at k * 8 + row, so the rows of a register tile are next
// to each other.
// CHECK-LABEL: func.func @transposed_a(
// CHECK-SAME: %[[SCRATCH:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// CHECK: scf.for %[[ROW:.*]] = %c0 to %c6 step %c2 {
// CHECK: %[[ROW64:.*]] = arith.index_cast %[[ROW]] : index to i64
// CHECK: %[[COLUMN:.*]] = llvm.getelementptr %[[SCRATCH]][%[[ROW64]]]
// CHECK: scf.for %[[K:.*]] = %c0 to %c3 step %c1 iter_args(
// CHECK: %[[STEP:.*]] = arith.muli %[[K]], %c8
// CHECK: %[[STEP64:.*]] = arith.index_cast %[[STEP]] : index to i64
// CHECK: %[[PLACE:.*]] = llvm.getelementptr %[[COLUMN]][%[[STEP64]]]
// CHECK: llvm.load %[[PLACE]] {alignment = 4 : i64} : !llvm.ptr -> f32
// CHECK: %[[NEXT:.*]] = llvm.getelementptr %[[PLACE]][1]
// CHECK: llvm.load %[[NEXT]] {alignment = 4 : i64} : !llvm.ptr -> f32
func.func @transposed_a(%x: f32) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %a = tile.fused [3, 6] -> tensor<3x6xf32> {
    %t = tile.splat %x : tensor<3x6xf32>
    tile.yield %t : tensor<3x6xf32>
  }
  %b = tile.fused [3, 4] -> tensor<3x4xf32> {
    %t = tile.splat %x : tensor<3x4xf32>
    tile.yield %t : tensor<3x4xf32>
  }
  %c = arith.constant dense<0.0> : tensor<6x4xf32>
  %d = tile.dot %a, %b, %c trans_a micro [2, 1] : tensor<3x6xf32>, tensor<3x4xf32> -> tensor<6x4xf32>
  return
}

// -----

// A transposed B is transposed into scratch first (5 x 3 at 64 becomes 3 x 8 at 192), and read from there.
// CHECK-LABEL: func.func @transposed_b(
// CHECK-SAME: %[[SCRATCH:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// CHECK-COUNT-2: scf.for
// CHECK: {{^ *[}]$}}
// CHECK-NEXT: scf.for %[[I:.*]] = %c0 to %c5 step %c1 {
// CHECK-NEXT: scf.for %[[J:.*]] = %c0 to %c3 step %c1 {
// CHECK: llvm.getelementptr %[[SCRATCH]][64]
// CHECK: %[[X:.*]] = llvm.load
// CHECK: arith.muli %[[J]], %c8
// CHECK: %[[PACKED:.*]] = llvm.getelementptr %[[SCRATCH]][192]
// CHECK: llvm.store %[[X]],
// CHECK: {{^ *[}]$}}
// CHECK: %[[B:.*]] = llvm.getelementptr %[[SCRATCH]][192]
// CHECK: scf.for %{{.*}} = %c0 to %c3 step %c1 iter_args(
// CHECK: %[[ROW:.*]] = llvm.getelementptr %[[B]][%{{.*}}]
// CHECK: llvm.load %[[ROW]] {alignment = 16 : i64} : !llvm.ptr -> vector<4xf32>
func.func @transposed_b(%x: f32) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %a = tile.fused [2, 3] -> tensor<2x3xf32> {
    %t = tile.splat %x : tensor<2x3xf32>
    tile.yield %t : tensor<2x3xf32>
  }
  %b = tile.fused [5, 3] -> tensor<5x3xf32> {
    %t = tile.splat %x : tensor<5x3xf32>
    tile.yield %t : tensor<5x3xf32>
  }
  %c = arith.constant dense<0.0> : tensor<2x5xf32>
  %d = tile.dot %a, %b, %c trans_b micro [2, 2] : tensor<2x3xf32>, tensor<5x3xf32> -> tensor<2x5xf32>
  return
}
