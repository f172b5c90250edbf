// Rows of fragments: partial sums, and rescaling that is branched around.
// RUN: tilewright-opt "%s" -convert-tile-to-nvvm -split-input-file | FileCheck "%s"

// A thread holds 4 of every 16 x 8 elements; 32 columns are summed into 8, group by group, with no exchange.
// CHECK-LABEL: llvm.func @fold(
// CHECK-COUNT-16: arith.addf
// CHECK-NOT: arith.addf
// CHECK-NOT: nvvm.shfl
// CHECK: llvm.return
func.func @fold(%p: !tile.ptr<f32>, %x: f32)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 32, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %t = tile.splat %x : tensor<16x32xf32>
  %zero = arith.constant dense<0.0> : tensor<16x8xf32>
  %l = tile.fold %t into %zero : tensor<16x32xf32> into tensor<16x8xf32>
  return
}

// -----

// A thread holds two rows: if the factors of both are 1, it keeps what it has.
// CHECK-LABEL: llvm.func @rescale(
// CHECK: %[[A:.*]] = arith.cmpf une, %{{.*}}, %{{.*}} : f32
// CHECK: %[[B:.*]] = arith.cmpf une, %{{.*}}, %{{.*}} : f32
// CHECK: %[[ANY:.*]] = arith.ori %[[A]], %[[B]] : i1
// CHECK: scf.if %[[ANY]] -> (f32, f32, f32, f32) {
// CHECK-COUNT-4: arith.mulf
// CHECK: } else {
// CHECK-NOT: arith.mulf
// CHECK: llvm.return
func.func @rescale(%p: !tile.ptr<f32>, %x: f32)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %t = tile.splat %x : tensor<16x8xf32>
  %row = tile.splat %x : tensor<16xf32>
  %factors = tile.exp2 %row : tensor<16xf32>
  %r = tile.rescale %t by %factors : tensor<16x8xf32>, tensor<16xf32>
  return
}

// -----

// Of two slabs, 16 rows a warp each, every one is asked whether one of its rows ends ahead of the tile's last column, of all
// lanes alike; where none does its scores stay what they are. A thread's columns are 2 (lane % 4), one more, and 8 more.
// CHECK-LABEL: llvm.func @hide(
// CHECK: %[[COLUMN:.*]] = arith.trunci %arg2
// CHECK: %[[FIRST:.*]] = arith.addi %[[COLUMN]], %{{.*}} : i32
// CHECK: %[[LAST:.*]] = arith.addi %[[COLUMN]], %{{.*}} : i32
// CHECK: %[[A:.*]] = arith.cmpi sge, %[[LAST]], %[[ROW0:.*]] : i32
// CHECK: %[[B:.*]] = arith.cmpi sge, %[[LAST]], %[[ROW1:.*]] : i32
// CHECK: %[[SOME:.*]] = arith.ori %[[A]], %[[B]] : i1
// CHECK: %[[VOTE:.*]] = nvvm.vote.sync any %{{.*}}, %[[SOME]]
// CHECK: scf.if %[[VOTE]] -> (f32, f32, f32, f32, f32, f32, f32, f32) {
// CHECK-COUNT-8: arith.addi %[[FIRST]]
// CHECK: arith.cmpi slt, %{{.*}}, %[[ROW0]] : i32
// CHECK: arith.cmpi slt, %{{.*}}, %[[ROW0]] : i32
// CHECK: arith.cmpi slt, %{{.*}}, %[[ROW1]] : i32
// CHECK-COUNT-8: arith.select
// CHECK: } else {
// CHECK-NOT: arith
// CHECK: }
// CHECK: nvvm.vote.sync any
// CHECK: scf.if
// CHECK-NOT: nvvm.vote.sync
// CHECK: llvm.return
func.func @hide(%x: f32, %l: i64, %c: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<32 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %t = tile.splat %x : tensor<32x16xf32>
  %limit = arith.trunci %l : i64 to i32
  %column = arith.trunci %c : i64 to i32
  %rows = tile.index %limit axis 0 : tensor<32xi32>
  %h = tile.hide %t from %rows at %column : tensor<32x16xf32>, tensor<32xi32>
  return
}

// -----

// On the other side the first column is asked about, and a row's columns from its limit on stay. Of the family sm_90a, whose
// warps have 16 rows, all are compared.
// CHECK-LABEL: llvm.func @hide_before(
// CHECK: arith.cmpi slt, %[[COLUMN:.*]], %[[ROW0:.*]] : i32
// CHECK: arith.cmpi slt, %[[COLUMN]], %{{.*}} : i32
// CHECK: nvvm.vote.sync any
// CHECK: scf.if
// CHECK: arith.cmpi sge, %{{.*}}, %[[ROW0]] : i32
// CHECK: llvm.return
func.func @hide_before(%x: f32, %l: i64, %c: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %t = tile.splat %x : tensor<16x16xf32>
  %limit = arith.trunci %l : i64 to i32
  %column = arith.trunci %c : i64 to i32
  %rows = tile.index %limit axis 0 : tensor<16xi32>
  %h = tile.hide %t before %rows at %column : tensor<16x16xf32>, tensor<16xi32>
  return
}

// -----

// A slot of a ring lies a whole buffer, 16 rows of 64 bytes, behind the one before.
// CHECK-LABEL: llvm.func @slot(
// CHECK: %[[BYTES:.*]] = arith.constant 1024 : i32
// CHECK: arith.muli %{{.*}}, %[[BYTES]] : i32
// CHECK: nvvm.cp.async.wait.group 1
// CHECK: nvvm.ldmatrix
func.func @slot(%n: i64, %x: f32)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1, stages 3>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %ring = tile.alloc_shared : !tile.shared<16 x 32 x f16, stages 3>
  %i = arith.index_cast %n : i64 to index
  %b = tile.slot %ring[%i] : !tile.shared<16 x 32 x f16, stages 3> -> !tile.shared<16 x 32 x f16>
  tile.await_loads pending 1
  %zero = arith.constant dense<0.0> : tensor<16x16xf32>
  %s = tile.dot %b, %b, %zero trans_b : !tile.shared<16 x 32 x f16>, !tile.shared<16 x 32 x f16> -> tensor<16x16xf32>
  return
}

// -----

// One fused operation an element. Before it, for references too large for that, a branch puts differences and
// references of 0 in the operands' place.
// CHECK-LABEL: llvm.func @scaled_difference(
// CHECK-COUNT-2: llvm.intr.fabs
// CHECK: %[[IF:.*]]:6 = scf.if %{{.*}} -> (f32, f32, f32, f32, f32, f32) {
// CHECK-NOT: arith.subf
// CHECK: } else {
// CHECK-COUNT-4: arith.subf
// CHECK: }
// CHECK: %[[LOW:.*]] = arith.negf %[[IF]]#4
// CHECK: %[[HIGH:.*]] = arith.negf %[[IF]]#5
// CHECK: llvm.intr.fma(%[[IF]]#0, %{{.*}}, %[[LOW]])
// CHECK: llvm.intr.fma(%[[IF]]#1, %{{.*}}, %[[LOW]])
// CHECK: llvm.intr.fma(%[[IF]]#2, %{{.*}}, %[[HIGH]])
// CHECK: llvm.intr.fma(%[[IF]]#3, %{{.*}}, %[[HIGH]])
// CHECK: llvm.return
func.func @scaled_difference(%p: !tile.ptr<f32>, %x: f32)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %row = tile.splat %x : tensor<16xf32>
  %m = tile.exp2 %row : tensor<16xf32>
  %t = tile.broadcast %m axis 1 : tensor<16xf32> -> tensor<16x8xf32>
  %s = tile.exp2 %t : tensor<16x8xf32>
  %d = tile.scaled_difference %s, %m, %x : tensor<16x8xf32>, tensor<16xf32>
  return
}
