// Matrices that join the scores are read by the threads that hold their elements.
// RUN: tilewright-opt "%s" -convert-tile-to-nvvm -split-input-file | FileCheck "%s"

// Aligned pairs of bf16: one register each, the last one inside in place of those past the end; widened by shifts.
// CHECK-LABEL: llvm.func @pairs(
// CHECK-COUNT-4: arith.minsi
// CHECK: llvm.load %{{.*}} {alignment = 4 : i64} : !llvm.ptr<1> -> i32
// CHECK: llvm.load %{{.*}} {alignment = 4 : i64} : !llvm.ptr<1> -> i32
// CHECK-NOT: scf.if
// CHECK: arith.shli
// CHECK: arith.bitcast %{{.*}} : i32 to f32
// CHECK: llvm.return
func.func @pairs(%p: !tile.ptr<bf16>, %n: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %size = arith.index_cast %n : i64 to index
  %v = tile.view %p[%c0] sizes(%size, %size) strides(%size, %c1) : !tile.ptr<bf16> -> !tile.view<2 x bf16, unit 16>
  %t = tile.load %v[%c0, %c0] bounds [true, true] {any_past_end} : !tile.view<2 x bf16, unit 16> -> tensor<16x16xbf16>
  %f = arith.extf %t : tensor<16x16xbf16> to tensor<16x16xf32>
  return
}

// -----

// Rows that are aligned to their elements only, and bools, one by one.
// CHECK-LABEL: llvm.func @single(
// CHECK-COUNT-8: llvm.load %{{.*}} {alignment = 2 : i64} : !llvm.ptr<1> -> i16
// CHECK: llvm.fpext
// CHECK-COUNT-8: llvm.load %{{.*}} {alignment = 1 : i64} : !llvm.ptr<1> -> i8
// CHECK: arith.cmpi ne, %{{.*}} : i8
// CHECK: llvm.return
func.func @single(%p: !tile.ptr<f16>, %m: !tile.ptr<i8>, %n: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %size = arith.index_cast %n : i64 to index
  %v = tile.view %p[%c0] sizes(%size, %size) strides(%size, %c1) : !tile.ptr<f16> -> !tile.view<2 x f16, unit>
  %t = tile.load %v[%c0, %c0] bounds [false, false] : !tile.view<2 x f16, unit> -> tensor<16x16xf16>
  %f = arith.extf %t : tensor<16x16xf16> to tensor<16x16xf32>
  %w = tile.view %m[%c0] sizes(%size, %size) strides(%size, %c1) : !tile.ptr<i8> -> !tile.view<2 x i8, unit>
  %b = tile.load %w[%c0, %c0] bounds [false, false] : !tile.view<2 x i8, unit> -> tensor<16x16xi8>
  %zero = arith.constant dense<0> : tensor<16x16xi8>
  %visible = arith.cmpi ne, %b, %zero : tensor<16x16xi8>
  return
}
