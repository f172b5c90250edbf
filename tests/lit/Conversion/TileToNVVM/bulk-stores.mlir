// Outputs by TMA: a warp's sixteen rows through swizzled shared memory.
// RUN: tilewright-opt "%s" -convert-tile-to-nvvm | FileCheck "%s"

!qs = !tile.shared<128 x 72 x bf16, stages 1>
!view = !tile.view<2 x bf16, unit 16>

// Maps of the queries and of the output, in the order of the arguments.
// CHECK-LABEL: llvm.func @kernel(
// CHECK-SAME: %[[QMAP:arg10]]: !llvm.ptr {llvm.align = 64 : i64, llvm.byval
// CHECK-SAME: %[[OMAP:arg11]]: !llvm.ptr {llvm.align = 64 : i64, llvm.byval
// CHECK: nvvm.cp.async.bulk.tensor.shared.cluster.global %{{.*}}, %[[QMAP]]
// The warpgroup's four warps have finished their products.
// CHECK: nvvm.setmaxregister increase
// CHECK: %[[FIRST:.*]] = arith.constant 4 : i32
// CHECK-NEXT: %[[ID:.*]] = arith.addi %{{.*}}, %[[FIRST]] : i32
// CHECK: nvvm.barrier id = %[[ID]] number_of_threads = %{{.*}}
// Nine units of eight columns: four pairs and a single one.
// CHECK-COUNT-4: nvvm.stmatrix %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {eltType = {{.*}}b16{{.*}}} : !llvm.ptr<3>, i32, i32, i32, i32
// CHECK: nvvm.stmatrix %{{.*}}, %{{.*}}, %{{.*}} {{{.*}}} : !llvm.ptr<3>, i32, i32
// CHECK-NOT: nvvm.stmatrix
// CHECK: nvvm.fence.proxy
// CHECK-SAME: async.shared
// CHECK-NEXT: arith.constant -1
// CHECK-NEXT: nvvm.bar.warp.sync
// CHECK: scf.if
// CHECK-COUNT-2: nvvm.cp.async.bulk.tensor.global.shared.cta %[[OMAP]]
// CHECK-NOT: nvvm.cp.async.bulk.tensor.global.shared.cta
// CHECK: nvvm.cp.async.bulk.commit.group
// CHECK-NEXT: nvvm.cp.async.bulk.wait_group 0 {read}
// The same lane gives the buffer back.
// CHECK: nvvm.mbarrier.arrive
func.func @kernel(%p: !tile.ptr<bf16>, %s0: i64, %s1: i64, %s2: i64, %s3: i64,
                  %o: !tile.ptr<bf16>, %t0: i64, %t1: i64, %t2: i64, %t3: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 128, warps 8 bulk_stores true>,
                tile.target = #tile.gpu<"sm_90a", sm 90>} {
  %ring = tile.alloc_shared : !qs
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c72 = arith.constant 72 : index
  %c128 = arith.constant 128 : index
  %stride1 = arith.index_cast %s1 : i64 to index
  %ostride1 = arith.index_cast %t1 : i64 to index
  %program = tile.program : index
  %row = arith.muli %program, %c128 : index
  %q = tile.view %p[%c0] sizes(%c128, %c72) strides(%stride1, %c1) : !tile.ptr<bf16> -> !view
  %out = tile.view %o[%c0] sizes(%c128, %c72) strides(%ostride1, %c1) : !tile.ptr<bf16> -> !view
  tile.roles producer {
    tile.fill %q[%row, %c0] bounds [true, false] into %ring[%c0] : !view, !qs
  } consumer {
    %m = arith.constant dense<1.0> : tensor<128x72xf32>
    %b = tile.take %ring[%c0] : !qs -> !tile.shared<128 x 72 x bf16>
    %w = arith.truncf %m : tensor<128x72xf32> to tensor<128x72xbf16>
    tile.bulk_store %w, %out[%row, %c0] bounds [true, false] through %b : tensor<128x72xbf16>, !view, !tile.shared<128 x 72 x bf16>
    tile.release %ring[%c0] : !qs
  }
  return
}
