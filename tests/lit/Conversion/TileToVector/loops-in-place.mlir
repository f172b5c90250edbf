// Loop-carried tiles: one home for the whole loop, written in place where that is possible.
// RUN: tilewright-opt "%s" -convert-tile-to-vector -canonicalize -cse -split-input-file | FileCheck "%s"

// The accumulator of two loops one after the other, as the forward program has it: filled with its constant once, then
// scaled and added to at the same place (offset 128) by both loops, and stored from there. No loop copies it, and the
// whole program needs A (64 bytes), B (64) and one accumulator (64).
// CHECK-LABEL: func.func @accumulator(
// CHECK-SAME: %[[SCRATCH:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// CHECK-SAME: tile.scratch_bytes = 192
// CHECK-DAG: %[[START:.*]] = arith.constant dense<0.000000e+00> : vector<4xf32>
// CHECK-DAG: %[[X:.*]] = vector.broadcast
// A and B.
// CHECK-COUNT-2: scf.for
// CHECK: {{^ *[}]$}}
// The constant.
// CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 {
// CHECK: llvm.getelementptr %[[SCRATCH]][128]
// CHECK: llvm.store %[[START]],
// CHECK: {{^ *[}]$}}

// First loop: the group reads and writes one address.
// CHECK-NEXT: scf.for %{{.*}} = %c0 to %[[N:.*]] step %c1 {
// CHECK-NEXT: scf.for %{{.*}} = %c0 to %c2 step %c1 {
// CHECK: %[[HOME:.*]] = llvm.getelementptr %[[SCRATCH]][128]
// CHECK: %[[PLACE:.*]] = llvm.getelementptr %[[HOME]][%{{.*}}]
// CHECK-NEXT: %[[OLD:.*]] = llvm.load %[[PLACE]]
// CHECK-NEXT: %[[SCALED:.*]] = arith.mulf %[[OLD]], %[[X]]
// CHECK-NEXT: llvm.store %[[SCALED]], %[[PLACE]]
// CHECK-NEXT: {{^ *[}]$}}
// The product loads its registers from the same place and stores them there.
// CHECK-NEXT: %[[ACC:.*]] = llvm.getelementptr %[[SCRATCH]][128]
// CHECK-NEXT: %[[ROW0:.*]] = llvm.load %[[ACC]]
// CHECK: %[[SUMS:.*]]:2 = scf.for {{.*}} iter_args(%{{.*}} = %[[ROW0]],
// CHECK: scf.yield
// CHECK-NEXT: {{^ *[}]$}}
// CHECK-NEXT: llvm.store %[[SUMS]]#0, %[[ACC]]
// CHECK-NEXT: llvm.store %[[SUMS]]#1,
// CHECK-NEXT: {{^ *[}]$}}

// Second loop: it goes on where the first one stopped.
// CHECK-NEXT: scf.for %{{.*}} = %c0 to %[[N]] step %c1 {
// CHECK-NEXT: %[[ACC2:.*]] = llvm.getelementptr %[[SCRATCH]][128]
// CHECK-NEXT: llvm.load %[[ACC2]]
// CHECK: scf.for {{.*}} iter_args(
// CHECK: scf.yield
// CHECK-NEXT: {{^ *[}]$}}
// CHECK-NEXT: llvm.store %{{.*}}, %[[ACC2]]
// CHECK-NEXT: llvm.store
// CHECK-NEXT: {{^ *[}]$}}

// The store to global memory reads it.
// CHECK-NEXT: scf.for %{{.*}} = %c0 to %c2 step %c1 {
// CHECK: llvm.getelementptr %[[SCRATCH]][128]
// CHECK-NOT: scf.for
// CHECK: return
func.func @accumulator(%p: !tile.ptr<f32>, %x: f32, %count: i64)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.index_cast %count : i64 to index
  %v = tile.view %p[%zero] sizes(%n, %n) strides(%n, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %a = tile.fused [2, 3] -> tensor<2x3xf32> {
    %t = tile.splat %x : tensor<2x3xf32>
    tile.yield %t : tensor<2x3xf32>
  }
  %b = tile.fused [3, 4] -> tensor<3x4xf32> {
    %t = tile.splat %x : tensor<3x4xf32>
    tile.yield %t : tensor<3x4xf32>
  }
  %start = arith.constant dense<0.0> : tensor<2x4xf32>
  %first = scf.for %i = %zero to %n step %one iter_args(%acc = %start) -> (tensor<2x4xf32>) {
    %scaled = tile.fused [2, 4] -> tensor<2x4xf32> {
      %s = tile.splat %x : tensor<2x4xf32>
      %t = arith.mulf %acc, %s : tensor<2x4xf32>
      tile.yield %t : tensor<2x4xf32>
    }
    %d = tile.dot %a, %b, %scaled micro [2, 1] : tensor<2x3xf32>, tensor<3x4xf32> -> tensor<2x4xf32>
    scf.yield %d : tensor<2x4xf32>
  }
  %second = scf.for %i = %zero to %n step %one iter_args(%acc = %first) -> (tensor<2x4xf32>) {
    %d = tile.dot %a, %b, %acc micro [2, 1] : tensor<2x3xf32>, tensor<3x4xf32> -> tensor<2x4xf32>
    scf.yield %d : tensor<2x4xf32>
  }
  tile.fused [2, 4] {
    tile.store %second, %v[%zero, %zero] bounds [false, false] : tensor<2x4xf32>, !tile.view<2 x f32, unit>
    tile.yield
  }
  return
}

// -----

// Tiles that change places: each is saved before the other's home is written.
// CHECK-LABEL: func.func @swapped(
// CHECK-SAME: %[[A:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// CHECK: %[[B:.*]] = llvm.getelementptr %[[A]][64]
// CHECK: scf.for
// CHECK-NEXT: %[[X:.*]] = llvm.load %[[B]]
// CHECK-NEXT: %[[SAVEDB:.*]] = llvm.getelementptr %[[A]][128]
// CHECK-NEXT: llvm.store %[[X]], %[[SAVEDB]]
// CHECK-NEXT: %[[Y:.*]] = llvm.load %[[A]]
// CHECK-NEXT: %[[SAVEDA:.*]] = llvm.getelementptr %[[A]][192]
// CHECK-NEXT: llvm.store %[[Y]], %[[SAVEDA]]
// CHECK-NEXT: %[[X2:.*]] = llvm.load %[[SAVEDB]]
// CHECK-NEXT: llvm.store %[[X2]], %[[A]]
// CHECK-NEXT: %[[Y2:.*]] = llvm.load %[[SAVEDA]]
// CHECK-NEXT: llvm.store %[[Y2]], %[[B]]
// CHECK-NEXT: {{^ *[}]$}}
func.func @swapped(%p: !tile.ptr<f32>, %count: i64)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.index_cast %count : i64 to index
  %v = tile.view %p[%zero] sizes(%n) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  %a = arith.constant dense<1.0> : tensor<4xf32>
  %b = arith.constant dense<2.0> : tensor<4xf32>
  %r:2 = scf.for %i = %zero to %n step %one iter_args(%c = %a, %d = %b) -> (tensor<4xf32>, tensor<4xf32>) {
    scf.yield %d, %c : tensor<4xf32>, tensor<4xf32>
  }
  tile.fused [4] {
    %s = arith.subf %r#0, %r#1 : tensor<4xf32>
    tile.store %s, %v[%zero] bounds [false] : tensor<4xf32>, !tile.view<1 x f32, unit>
    tile.yield
  }
  return
}

// -----

// One tile that starts two carried ones: each gets a copy, for both may be written. A scalar is carried beside them, as
// a value. The one that is passed on unchanged costs nothing in the loop.
// CHECK-LABEL: func.func @one_start_for_two(
// CHECK-SAME: %[[START:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// CHECK-SAME: tile.scratch_bytes = 192
// CHECK: %[[FIRST:.*]] = llvm.load %[[START]] {{.*}} vector<4xf32>
// CHECK-NEXT: %[[C:.*]] = llvm.getelementptr %[[START]][64]
// CHECK-NEXT: llvm.store %[[FIRST]], %[[C]]
// CHECK: %[[SECOND:.*]] = llvm.load %[[START]] {{.*}} vector<4xf32>
// CHECK-NEXT: %[[D:.*]] = llvm.getelementptr %[[START]][128]
// CHECK-NEXT: llvm.store %[[SECOND]], %[[D]]
// CHECK: %[[K:.*]] = scf.for %[[I:.*]] = {{.*}} iter_args(%[[SUM:.*]] = %c0) -> (index) {
// CHECK-NEXT: %[[X:.*]] = llvm.load %[[C]]
// CHECK-NEXT: %[[Y:.*]] = llvm.load %[[D]]
// CHECK-NEXT: %[[Z:.*]] = arith.addf %[[X]], %[[Y]]
// CHECK-NEXT: llvm.store %[[Z]], %[[C]]
// CHECK-NEXT: %[[NEXT:.*]] = arith.addi %[[SUM]], %[[I]]
// CHECK-NEXT: scf.yield %[[NEXT]] : index
func.func @one_start_for_two(%p: !tile.ptr<f32>, %x: f32, %count: i64)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.index_cast %count : i64 to index
  %v = tile.view %p[%zero] sizes(%n) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  %a = tile.fused [4] -> tensor<4xf32> {
    %t = tile.splat %x : tensor<4xf32>
    tile.yield %t : tensor<4xf32>
  }
  %r:3 = scf.for %i = %zero to %n step %one iter_args(%c = %a, %d = %a, %k = %zero)
      -> (tensor<4xf32>, tensor<4xf32>, index) {
    %e = tile.fused [4] -> tensor<4xf32> {
      %t = arith.addf %c, %d : tensor<4xf32>
      tile.yield %t : tensor<4xf32>
    }
    %sum = arith.addi %k, %i : index
    scf.yield %e, %d, %sum : tensor<4xf32>, tensor<4xf32>, index
  }
  tile.fused [4] {
    %s = arith.subf %r#0, %r#1 : tensor<4xf32>
    tile.store %s, %v[%r#2] bounds [false] : tensor<4xf32>, !tile.view<1 x f32, unit>
    tile.yield
  }
  return
}

// -----

// A start that is read again after the loop keeps its memory (0): the loop works on a copy (64).
// CHECK-LABEL: func.func @start_lives_on(
// CHECK-SAME: %[[START:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// CHECK: %[[COPY:.*]] = llvm.getelementptr %[[START]][64]
// CHECK: scf.for
// CHECK-NOT: llvm.store %{{.*}}, %[[START]] {
// CHECK: llvm.store %{{.*}}, %[[COPY]] {
// CHECK-NOT: llvm.store %{{.*}}, %[[START]] {
// CHECK: {{^ *[}]$}}
// CHECK: %[[NEW:.*]] = llvm.load %[[COPY]]
// CHECK: %[[OLD:.*]] = llvm.load %[[START]]
// CHECK: arith.subf %[[NEW]], %[[OLD]]
func.func @start_lives_on(%p: !tile.ptr<f32>, %x: f32, %count: i64)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.index_cast %count : i64 to index
  %v = tile.view %p[%zero] sizes(%n) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  %a = tile.fused [4] -> tensor<4xf32> {
    %t = tile.splat %x : tensor<4xf32>
    tile.yield %t : tensor<4xf32>
  }
  %r = scf.for %i = %zero to %n step %one iter_args(%c = %a) -> (tensor<4xf32>) {
    %e = tile.fused [4] -> tensor<4xf32> {
      %t = arith.addf %c, %c : tensor<4xf32>
      tile.yield %t : tensor<4xf32>
    }
    scf.yield %e : tensor<4xf32>
  }
  tile.fused [4] {
    %s = arith.subf %r, %a : tensor<4xf32>
    tile.store %s, %v[%zero] bounds [false] : tensor<4xf32>, !tile.view<1 x f32, unit>
    tile.yield
  }
  return
}

// -----

// Constants of i1 and of a 16-bit float start a loop too: as bytes, and as integers of 16 bits.
// CHECK-LABEL: func.func @constant_starts(
// CHECK-SAME: %[[SCRATCH:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// CHECK-DAG: %[[TRUE:.*]] = arith.constant dense<1> : vector<4xi8>
// CHECK-DAG: llvm.store %[[TRUE]], %[[SCRATCH]] {alignment = 4 : i64} : vector<4xi8>
// CHECK-DAG: llvm.store %{{.*}}, %{{.*}} {alignment = 8 : i64} : vector<4xi16>
// CHECK: scf.for
func.func @constant_starts(%p: !tile.ptr<f16>, %count: i64)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.index_cast %count : i64 to index
  %v = tile.view %p[%zero] sizes(%n) strides(%one) : !tile.ptr<f16> -> !tile.view<1 x f16, unit>
  %a = arith.constant dense<true> : tensor<4xi1>
  %b = arith.constant dense<1.0> : tensor<4xf16>
  %r:2 = scf.for %i = %zero to %n step %one iter_args(%c = %a, %d = %b) -> (tensor<4xi1>, tensor<4xf16>) {
    %e:2 = tile.fused [4] -> tensor<4xi1>, tensor<4xf16> {
      %t = tile.load %v[%i] bounds [false] : !tile.view<1 x f16, unit> -> tensor<4xf16>
      %s = arith.select %c, %t, %d : tensor<4xi1>, tensor<4xf16>
      %m = arith.xori %c, %c : tensor<4xi1>
      tile.yield %m, %s : tensor<4xi1>, tensor<4xf16>
    }
    scf.yield %e#0, %e#1 : tensor<4xi1>, tensor<4xf16>
  }
  tile.fused [4] {
    tile.store %r#1, %v[%zero] bounds [false] : tensor<4xf16>, !tile.view<1 x f16, unit>
    tile.yield
  }
  return
}

// -----

// Memory of a tile that died serves the next one of its size; one that still lives keeps its own. The stored group
// reads its operand for the last time, so its result takes that operand's place without asking for any.
// CHECK-LABEL: func.func @reuse(
// CHECK-SAME: tile.scratch_bytes = 128
func.func @reuse(%p: !tile.ptr<f32>, %x: f32) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 4 : index
  %v = tile.view %p[%zero] sizes(%n, %n) strides(%n, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %a = tile.fused [4, 4] -> tensor<4x4xf32> {
    %t = tile.splat %x : tensor<4x4xf32>
    tile.yield %t : tensor<4x4xf32>
  }
  %b = tile.fused [4, 4] -> tensor<4x4xf32> {
    %t = arith.addf %a, %a : tensor<4x4xf32>
    tile.yield %t : tensor<4x4xf32>
  }
  %c = tile.transpose %b : tensor<4x4xf32> -> tensor<4x4xf32>
  %d = tile.transpose %c : tensor<4x4xf32> -> tensor<4x4xf32>
  %e = tile.transpose %d : tensor<4x4xf32> -> tensor<4x4xf32>
  tile.fused [4, 4] {
    tile.store %e, %v[%zero, %zero] bounds [false, false] : tensor<4x4xf32>, !tile.view<2 x f32, unit>
    tile.yield
  }
  return
}

// -----

// A tile that is broadcast is read by other rows than its own: it cannot be written in place.
// CHECK-LABEL: func.func @broadcast_is_not_in_place(
// CHECK-SAME: %[[SCRATCH:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64
// CHECK: %[[SUM:.*]] = arith.addf
// CHECK: llvm.store %[[SUM]], %[[SCRATCH]] {
// CHECK: scf.for
// CHECK: %[[HOME:.*]] = llvm.getelementptr %[[SCRATCH]][64]
// CHECK: llvm.store
func.func @broadcast_is_not_in_place(%x: f32) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %a = tile.fused [4] -> tensor<4xf32> {
    %t = tile.splat %x : tensor<4xf32>
    %s = arith.addf %t, %t : tensor<4xf32>
    tile.yield %s : tensor<4xf32>
  }
  %b = tile.fused [4, 4] -> tensor<4x4xf32> {
    %t = tile.broadcast %a axis 0 : tensor<4xf32> -> tensor<4x4xf32>
    %s = tile.broadcast %a axis 1 : tensor<4xf32> -> tensor<4x4xf32>
    %u = arith.addf %t, %s : tensor<4x4xf32>
    tile.yield %u : tensor<4x4xf32>
  }
  return
}
