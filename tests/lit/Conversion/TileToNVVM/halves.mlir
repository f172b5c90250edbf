// One half of the rows: a warp has two slabs of 16, and the work of one of them is done.
// RUN: tilewright-opt "%s" -convert-tile-to-nvvm -split-input-file -verify-diagnostics | FileCheck "%s"

!q = !tile.shared<32 x 16 x bf16>
!k = !tile.shared<16 x 16 x bf16>

// CHECK-LABEL: llvm.func @half(
// Of what comes in, a thread's rows of one half are chosen: two limits of four, and four of eight elements that are kept.
// CHECK: %[[UPPER:.*]] = arith.cmpi ne
// CHECK-COUNT-2: arith.select %[[UPPER]], %{{.*}}, %{{.*}} : i32
// The half's rows begin 16 further on, or not.
// CHECK: %[[ROW:.*]] = arith.select %[[UPPER]], %c16_i32{{.*}}, %c0_i32{{.*}} : i32
// CHECK: arith.addi %{{.*}}, %[[ROW]] : i32
// One slab: 16 rows of queries, and two groups of 8 columns.
// CHECK-COUNT-2: nvvm.ldmatrix
// CHECK-COUNT-2: nvvm.mma.sync
// CHECK-NOT: nvvm.mma.sync
// One vote.
// CHECK: nvvm.vote.sync any
// CHECK-NOT: nvvm.vote.sync
// Either half of each element is what was computed or what was there.
// CHECK-COUNT-16: arith.select %[[UPPER]], %{{.*}}, %{{.*}} : f32
// CHECK-NOT: arith.select %[[UPPER]]
// CHECK: llvm.return
func.func @half(%p: !tile.ptr<f32>, %x: f32, %n: i64, %limit: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<32 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %q = tile.alloc_shared : !q
  %k = tile.alloc_shared : !k
  %zero = arith.constant 0 : i64
  %upper = arith.cmpi ne, %n, %zero : i64
  %column = arith.trunci %n : i64 to i32
  %first = arith.trunci %limit : i64 to i32
  %limits = tile.index %first axis 0 : tensor<32xi32>
  %kept = tile.splat %x : tensor<32x16xf32>
  %r = tile.on_half %upper keeping %kept : tensor<32x16xf32> -> tensor<32x16xf32> {
    %none = arith.constant dense<0.0> : tensor<32x16xf32>
    %s = tile.dot %q, %k, %none trans_b : !q, !k -> tensor<32x16xf32>
    %h = tile.hide %s from %limits at %column : tensor<32x16xf32>, tensor<32xi32>
    tile.yield %h : tensor<32x16xf32>
  }
  return
}

// -----

!q = !tile.shared<32 x 16 x bf16>

// What depends on the row: index tiles, what is read from shared memory, random numbers.
// CHECK-LABEL: llvm.func @rows(
// CHECK: %[[ROW:.*]] = arith.select %{{.*}}, %c16_i32{{.*}}, %c0_i32{{.*}} : i32
// CHECK: %[[WARP:.*]] = arith.addi %{{.*}}, %[[ROW]] : i32
// CHECK: %[[OWN:.*]] = arith.addi %[[WARP]], %{{.*}} : i32
// CHECK: arith.sitofp
// CHECK: %[[READ:.*]] = arith.addi %{{.*}}, %[[ROW]] : i32
// CHECK: %[[LANES:.*]] = arith.addi %[[READ]], %{{.*}} : i32
// CHECK-COUNT-1: nvvm.ldmatrix
// CHECK-NOT: nvvm.ldmatrix
// CHECK: %[[DRAWN:.*]] = arith.addi %{{.*}}, %[[ROW]] : i32
// CHECK: %[[FIRST:.*]] = arith.addi %{{.*}}, %[[DRAWN]] : i32
// CHECK: arith.shrui %[[FIRST]]
// CHECK: llvm.return
func.func @rows(%p: !tile.ptr<f32>, %x: f32, %n: i64, %limit: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<32 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %bias = tile.alloc_shared : !q
  %zero = arith.constant 0 : i64
  %upper = arith.cmpi ne, %n, %zero : i64
  %a = arith.trunci %n : i64 to i32
  %kept = tile.splat %x : tensor<32x16xf32>
  %r = tile.on_half %upper keeping %kept : tensor<32x16xf32> -> tensor<32x16xf32> {
    %rows = tile.index %a axis 0 : tensor<32x16xi32>
    %f = arith.sitofp %rows : tensor<32x16xi32> to tensor<32x16xf32>
    %half = tile.load_shared %bias : !q -> tensor<32x16xbf16>
    %b = arith.extf %half : tensor<32x16xbf16> to tensor<32x16xf32>
    %bits = tile.random_bits [%a, %a] counter(%a, %a) key(%a, %a) : tensor<32x16xi32>
    %g = arith.sitofp %bits : tensor<32x16xi32> to tensor<32x16xf32>
    %fb = arith.addf %f, %b : tensor<32x16xf32>
    %s = arith.addf %fb, %g : tensor<32x16xf32>
    tile.yield %s : tensor<32x16xf32>
  }
  return
}

// -----

func.func @slabs(%x: f32, %n: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<32 x 16, warps 2>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %zero = arith.constant 0 : i64
  %upper = arith.cmpi ne, %n, %zero : i64
  %kept = tile.splat %x : tensor<32x16xf32>
  // expected-error @+1 {{expected a kernel of the family sm_80, and rows to be a multiple of 64, 32 for each of 2 warps, got 32}}
  %r = tile.on_half %upper keeping %kept : tensor<32x16xf32> -> tensor<32x16xf32> {
    tile.yield %kept : tensor<32x16xf32>
  }
  return
}
