// Copies into shared memory, by what the rows' alignment allows, and fragments read from there.
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

// -----

// Columns past the view's last are zeros too: what a thread copies follows from how many are left.
// CHECK-LABEL: llvm.func @column_bound(
// CHECK: %[[LEFT:.*]] = arith.subi %{{.*}}, %{{.*}} : index
// CHECK: %[[INSIDE:.*]] = arith.minsi %[[LEFT]], %{{.*}} : index
// CHECK: %[[COLS:.*]] = arith.index_cast %[[INSIDE]] : index to i32
// CHECK: %[[BYTES:.*]] = arith.muli %[[COLS]], %{{.*}} : i32
// CHECK: %[[REST:.*]] = arith.subi %[[BYTES]], %{{.*}} : i32
// CHECK: %[[AT_MOST:.*]] = arith.minsi %[[REST]], %{{.*}} : i32
// CHECK: %[[COPIED:.*]] = arith.maxsi %[[AT_MOST]], %{{.*}} : i32
// CHECK: arith.select %{{.*}}, %[[COPIED]], %{{.*}} : i32
// CHECK: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache = cg, %{{.*}}
func.func @column_bound(%p: !tile.ptr<bf16>, %n: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c64 = arith.constant 64 : index
  %size = arith.index_cast %n : i64 to index
  %v = tile.view %p[%c0] sizes(%size, %size) strides(%c64, %c1) : !tile.ptr<bf16> -> !tile.view<2 x bf16, unit 16>
  %b = tile.alloc_shared : !tile.shared<16 x 16 x bf16>
  tile.async_load %v[%c0, %c0] bounds [true, true] to %b : !tile.view<2 x bf16, unit 16>, !tile.shared<16 x 16 x bf16>
  return
}

// -----

// Two groups of columns of 16-bit elements a ldmatrix, in the order of the fragment's registers.
// CHECK-LABEL: llvm.func @read_halves(
// CHECK-COUNT-2: nvvm.ldmatrix %{{.*}} {eltType = #nvvm.ld_st_matrix_elt_type<b16>, layout = #nvvm.mma_layout<row>, num = 4
// CHECK-NOT: nvvm.ldmatrix
// CHECK: llvm.return
func.func @read_halves()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 32, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %b = tile.alloc_shared : !tile.shared<16 x 32 x bf16>
  %t = tile.load_shared %b : !tile.shared<16 x 32 x bf16> -> tensor<16x32xbf16>
  %f = arith.extf %t : tensor<16x32xbf16> to tensor<16x32xf32>
  return
}

// -----

// Pairs of float32, 8 bytes a lane; 1024 bytes of buffer.
// CHECK-LABEL: llvm.func @read_words(
// CHECK-SAME: tile.shared_bytes = 1024
// CHECK-COUNT-4: llvm.load %{{.*}} {alignment = 8 : i64} : !llvm.ptr<3> -> vector<2xf32>
// CHECK-NOT: llvm.load
// CHECK: llvm.return
func.func @read_words()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %b = tile.alloc_shared : !tile.shared<16 x 16 x f32>
  %t = tile.load_shared %b : !tile.shared<16 x 16 x f32> -> tensor<16x16xf32>
  return
}

// -----

// Two copies of the same rows, one behind the other: whether they reach out of their views is asked once. The third is of
// other rows, and asks for itself.
// CHECK-LABEL: llvm.func @same_rows(
// CHECK: scf.if
// CHECK-COUNT-4: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache = cg :
// CHECK: } else {
// CHECK-COUNT-4: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache = cg, %{{.*}} :
// CHECK: }
// CHECK: scf.if
// CHECK-COUNT-2: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache = cg :
// CHECK: } else {
// CHECK-COUNT-2: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache = cg, %{{.*}} :
// CHECK-NOT: nvvm.cp.async.shared.global
// CHECK: llvm.return
func.func @same_rows(%p: !tile.ptr<f16>, %n: i64, %i: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c32 = arith.constant 32 : index
  %rows = arith.index_cast %n : i64 to index
  %row = arith.index_cast %i : i64 to index
  %v = tile.view %p[%c0] sizes(%rows, %c32) strides(%c32, %c1) : !tile.ptr<f16> -> !tile.view<2 x f16, unit 16>
  %w = tile.view %p[%c1] sizes(%rows, %c32) strides(%c32, %c1) : !tile.ptr<f16> -> !tile.view<2 x f16, unit 16>
  %a = tile.alloc_shared : !tile.shared<16 x 32 x f16>
  %b = tile.alloc_shared : !tile.shared<16 x 32 x f16>
  %c = tile.alloc_shared : !tile.shared<16 x 32 x f16>
  tile.async_load %v[%row, %c0] bounds [true, false] to %a : !tile.view<2 x f16, unit 16>, !tile.shared<16 x 32 x f16>
  tile.async_load %w[%row, %c0] bounds [true, false] to %b : !tile.view<2 x f16, unit 16>, !tile.shared<16 x 32 x f16>
  tile.async_load %w[%c0, %c0] bounds [true, false] to %c : !tile.view<2 x f16, unit 16>, !tile.shared<16 x 32 x f16>
  return
}
