// Copies into shared memory, by what the rows' alignment allows, fragments read from there, and what keeps code in a step.
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

// How many of a block's rows are there is found out in 32 bits, once: rows before the view's first, and up to its last.
// Each copy then compares, and none branches.
// CHECK-LABEL: llvm.func @row_bound(
// CHECK: %[[ROW:.*]] = arith.index_cast %{{.*}} : index to i32
// CHECK: %[[ABOVE:.*]] = arith.subi %c0{{.*}}, %[[ROW]] : i32
// CHECK: %[[SOME:.*]] = arith.minsi %[[ABOVE]], %c16
// CHECK: %[[BEFORE:.*]] = arith.maxsi %[[SOME]], %{{.*}} : i32
// CHECK: %[[LEFT:.*]] = arith.subi %{{.*}}, %[[ROW]] : i32
// CHECK: %[[MOST:.*]] = arith.minsi %[[LEFT]], %c16
// CHECK: %[[END:.*]] = arith.maxsi %[[MOST]], %{{.*}} : i32
// CHECK: arith.subi %{{.*}}, %[[BEFORE]] : i32
// CHECK: %[[COUNT:.*]] = arith.subi %[[END]], %[[BEFORE]] : i32
// CHECK-NOT: scf.if
// CHECK: arith.cmpi ult, %{{.*}}, %[[COUNT]] : i32
// CHECK: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache = cg, %{{.*}} :
// CHECK: arith.cmpi ult, %{{.*}}, %[[COUNT]] : i32
// CHECK: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache = cg, %{{.*}} :
// CHECK-NOT: nvvm.cp.async.shared.global
// CHECK: llvm.return
func.func @row_bound(%p: !tile.ptr<f16>, %n: i64, %i: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c32 = arith.constant 32 : index
  %rows = arith.index_cast %n : i64 to index
  %row = arith.index_cast %i : i64 to index
  %v = tile.view %p[%c0] sizes(%rows, %c32) strides(%c32, %c1) : !tile.ptr<f16> -> !tile.view<2 x f16, unit 16>
  %a = tile.alloc_shared : !tile.shared<16 x 32 x f16>
  tile.async_load %v[%row, %c0] bounds [true, false] to %a : !tile.view<2 x f16, unit 16>, !tile.shared<16 x 32 x f16>
  return
}

// -----

// The copies of a ring's next block are held back until the step's first product, without the branch around them: whether
// there is a next block decides how much each copies. One row of both blocks follows each slice of the product, at an
// address that waits for what the slice has read; the group ends behind the last.
// CHECK-LABEL: llvm.func @beside_product(
// CHECK: scf.for %[[N:[a-z0-9]+]] =
// CHECK: nvvm.cp.async.wait.group 0
// CHECK: %[[NEXT:.*]] = arith.cmpi slt
// CHECK-NOT: scf.if
// CHECK-NOT: nvvm.cp.async.shared.global
// CHECK: nvvm.mma.sync
// CHECK: %[[BYTES:.*]] = arith.select %[[NEXT]], %c16_i32{{.*}}, %c0_i32{{.*}} : i32
// CHECK: %[[SIGN:.*]] = arith.shrui %{{.*}}, %c31_i32{{.*}} : i32
// CHECK: arith.andi %{{.*}}, %[[SIGN]] : i32
// CHECK: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache = cg, %[[BYTES]] :
// CHECK: nvvm.cp.async.shared.global
// CHECK-NOT: nvvm.cp.async
// CHECK: nvvm.mma.sync
// CHECK: nvvm.cp.async.shared.global
// CHECK: nvvm.cp.async.shared.global
// CHECK-NEXT: nvvm.cp.async.commit.group
// CHECK-NOT: nvvm.cp.async.shared.global
// CHECK: scf.yield
func.func @beside_product(%p: !tile.ptr<f16>, %w: !tile.ptr<f16>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1, stages 2>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c8 = arith.constant 8 : index
  %c16 = arith.constant 16 : index
  %c32 = arith.constant 32 : index
  %c128 = arith.constant 128 : index
  %zero = arith.constant dense<0.0> : tensor<16x16xf32>
  %v = tile.view %p[%c0] sizes(%c128, %c32) strides(%c32, %c1) : !tile.ptr<f16> -> !tile.view<2 x f16, unit 16>
  %x = tile.view %w[%c0] sizes(%c128, %c32) strides(%c32, %c1) : !tile.ptr<f16> -> !tile.view<2 x f16, unit 16>
  %q = tile.alloc_shared : !tile.shared<16 x 32 x f16>
  %k = tile.alloc_shared : !tile.shared<16 x 32 x f16, stages 2>
  %y = tile.alloc_shared : !tile.shared<16 x 32 x f16, stages 2>
  %sum = scf.for %n = %c0 to %c8 step %c1 iter_args(%acc = %zero) -> (tensor<16x16xf32>) {
    tile.await_loads
    %slot = arith.remui %n, %c2 : index
    %following = arith.addi %n, %c1 : index
    %other = arith.remui %following, %c2 : index
    %more = arith.cmpi slt, %following, %c8 : index
    scf.if %more {
      %row = arith.muli %following, %c16 : index
      %to = tile.slot %k[%other] : !tile.shared<16 x 32 x f16, stages 2> -> !tile.shared<16 x 32 x f16>
      %to2 = tile.slot %y[%other] : !tile.shared<16 x 32 x f16, stages 2> -> !tile.shared<16 x 32 x f16>
      tile.async_load %v[%row, %c0] bounds [false, false] to %to : !tile.view<2 x f16, unit 16>, !tile.shared<16 x 32 x f16>
      tile.async_load %x[%row, %c0] bounds [false, false] to %to2 : !tile.view<2 x f16, unit 16>, !tile.shared<16 x 32 x f16>
    }
    tile.commit_loads
    %keys = tile.slot %k[%slot] : !tile.shared<16 x 32 x f16, stages 2> -> !tile.shared<16 x 32 x f16>
    %s = tile.dot %q, %keys, %acc trans_b : !tile.shared<16 x 32 x f16>, !tile.shared<16 x 32 x f16> -> tensor<16x16xf32>
    scf.yield %s : tensor<16x16xf32>
  }
  return
}

// -----

// Two groups, as a ring of three buffers starts ahead of its loop: only the second is held back, for what waits counts
// groups.
// CHECK-LABEL: llvm.func @two_groups(
// CHECK-COUNT-2: nvvm.cp.async.shared.global
// CHECK-NEXT: nvvm.cp.async.commit.group
// CHECK-NOT: nvvm.cp.async
// CHECK: nvvm.mma.sync
// CHECK-COUNT-2: nvvm.cp.async.shared.global
// CHECK-NEXT: nvvm.cp.async.commit.group
// CHECK-NOT: nvvm.cp.async
// CHECK: llvm.return
func.func @two_groups(%p: !tile.ptr<f16>, %n: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1, stages 3>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %c32 = arith.constant 32 : index
  %rows = arith.index_cast %n : i64 to index
  %zero = arith.constant dense<0.0> : tensor<16x16xf32>
  %v = tile.view %p[%c0] sizes(%rows, %c32) strides(%c32, %c1) : !tile.ptr<f16> -> !tile.view<2 x f16, unit 16>
  %q = tile.alloc_shared : !tile.shared<16 x 32 x f16>
  %k = tile.alloc_shared : !tile.shared<16 x 32 x f16, stages 3>
  %some = arith.cmpi slt, %c0, %rows : index
  scf.if %some {
    %to = tile.slot %k[%c0] : !tile.shared<16 x 32 x f16, stages 3> -> !tile.shared<16 x 32 x f16>
    tile.async_load %v[%c0, %c0] bounds [false, false] to %to : !tile.view<2 x f16, unit 16>, !tile.shared<16 x 32 x f16>
  }
  tile.commit_loads
  %more = arith.cmpi slt, %c16, %rows : index
  scf.if %more {
    %to = tile.slot %k[%c1] : !tile.shared<16 x 32 x f16, stages 3> -> !tile.shared<16 x 32 x f16>
    tile.async_load %v[%c16, %c0] bounds [false, false] to %to : !tile.view<2 x f16, unit 16>, !tile.shared<16 x 32 x f16>
  }
  tile.commit_loads
  %s = tile.dot %q, %q, %zero trans_b : !tile.shared<16 x 32 x f16>, !tile.shared<16 x 32 x f16> -> tensor<16x16xf32>
  return
}

// -----

// Rows that a branch of a step asks for (tile-sink-rows) stay there: the thread's own part of a row's number, and so all
// that is made of it, depends on a zero that no compiler knows, the sign of the loop's number.
// CHECK-LABEL: llvm.func @rows_in_step(
// CHECK: scf.for %[[N:[a-z0-9]+]] =
// CHECK: scf.if
// CHECK: %[[SIGN:.*]] = arith.shrui %[[N]], %c31_i32{{.*}} : i32
// CHECK: %[[ROW:.*]] = arith.ori %{{.*}}, %[[SIGN]] : i32
// CHECK: %[[OWN:.*]] = arith.addi %[[ROW]], %{{.*}} : i32
// CHECK: arith.addi %{{.*}}, %[[OWN]] : i32
// CHECK: scf.yield
func.func @rows_in_step(%number: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %first = arith.trunci %number : i64 to i32
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %start = tile.splat %first : tensor<16xi32>
  %r = scf.for %j = %c0 to %c16 step %c1 iter_args(%s = %start) -> (tensor<16xi32>) {
    %partial = arith.cmpi eq, %j, %c0 : index
    %next = scf.if %partial -> (tensor<16xi32>) {
      %rows = tile.index %first axis 0 : tensor<16xi32>
      %x = arith.addi %s, %rows : tensor<16xi32>
      scf.yield %x : tensor<16xi32>
    } else {
      scf.yield %s : tensor<16xi32>
    }
    scf.yield %next : tensor<16xi32>
  }
  return
}
