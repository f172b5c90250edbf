// Copies into shared memory, by what the rows' alignment allows.
// RUN: tilewright-opt "%s" -convert-tile-to-nvvm -split-input-file | FileCheck "%s"

// 8-byte rows of 20 columns: five chunks of data and three of zeros up to the 32 columns that products read, and rows
// past the view's end copy nothing.
// CHECK-LABEL: llvm.func @eight_bytes(
// CHECK: arith.constant 40 : i32
// CHECK: arith.cmpi ult
// CHECK: arith.select
// CHECK: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 8, cache = ca, %{{.*}}
func.func @eight_bytes(%p: !tile.ptr<f16>, %n: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c20 = arith.constant 20 : index
  %rows = arith.index_cast %n : i64 to index
  %v = tile.view %p[%c0] sizes(%rows, %c20) strides(%c20, %c1) : !tile.ptr<f16> -> !tile.view<2 x f16, unit 8>
  %b = tile.alloc_shared : !tile.shared<16 x 20 x f16>
  tile.async_load %v[%c0, %c0] bounds [true, false] to %b : !tile.view<2 x f16, unit 8>, !tile.shared<16 x 20 x f16>
  return
}

// -----

// Rows that are aligned to their elements only are copied one by one.
// CHECK-LABEL: llvm.func @two_bytes(
// CHECK-NOT: cp.async
// CHECK: scf.for
// CHECK: llvm.load {{.*}} : !llvm.ptr<1> -> i16
// CHECK: llvm.store {{.*}} : i16, !llvm.ptr<3>
func.func @two_bytes(%p: !tile.ptr<f16>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c7 = arith.constant 7 : index
  %c16 = arith.constant 16 : index
  %v = tile.view %p[%c0] sizes(%c16, %c7) strides(%c7, %c1) : !tile.ptr<f16> -> !tile.view<2 x f16, unit>
  %b = tile.alloc_shared : !tile.shared<16 x 7 x f16>
  tile.async_load %v[%c0, %c0] bounds [false, false] to %b : !tile.view<2 x f16, unit>, !tile.shared<16 x 7 x f16>
  return
}
