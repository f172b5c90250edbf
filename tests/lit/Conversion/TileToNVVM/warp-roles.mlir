// Roles, rings and products of the family sm_90a.
// RUN: tilewright-opt "%s" -convert-tile-to-nvvm | FileCheck "%s"

!ks = !tile.shared<128 x 128 x bf16, stages 2>
!k = !tile.shared<128 x 128 x bf16>

// Eight consumer warps and four that produce; a tensor map behind the other parameters.
// CHECK: llvm.mlir.global external @kernel_shared() {addr_space = 3 : i32, alignment = 1024 : i64}
// CHECK-LABEL: llvm.func @kernel(
// CHECK-SAME: %[[MAP:arg[0-9]+]]: !llvm.ptr {llvm.align = 64 : i64, llvm.byval = !llvm.array<128 x i8>, nvvm.grid_constant}
// CHECK-SAME: nvvm.minctasm = 1 : i32, nvvm.reqntid = array<i32: 384>
// Buffers of 2 * 32 KiB, then two barriers that say full and two that say empty.
// CHECK-SAME: tile.shared_bytes = 65568 : i64
// One thread announces fills, eight warps release them.
// CHECK: nvvm.prefetch tensormap, %[[MAP]]
// CHECK: nvvm.mbarrier.init %{{.*}}, %{{.*}} : !llvm.ptr<3>, i32
// CHECK: nvvm.fence.mbarrier.init
// CHECK: nvvm.barrier0
// CHECK: %[[PRODUCES:.*]] = arith.cmpi sge, %{{.*}}, %{{.*}} : i32
// CHECK: scf.if %[[PRODUCES]] {
// CHECK: nvvm.setmaxregister decrease 24
// CHECK: nvvm.elect.sync
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: nvvm.mbarrier.arrive.expect_tx
// Two boxes of 64 columns.
// CHECK-COUNT-2: nvvm.cp.async.bulk.tensor.shared.cluster.global %{{.*}}, %[[MAP]]
// CHECK: } else {
// CHECK: nvvm.setmaxregister increase 240
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: nvvm.wgmma.fence.aligned
// The first product of eight needs no zeros to add to.
// CHECK: llvm.inline_asm has_side_effects {{.*}}wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {{.*}}, 0, 1, 1, 0, 0;
// CHECK-COUNT-7: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {{.*}}, 1, 1, 1, 0, 0;
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// Weights from registers, by values stored as rows.
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-COUNT-8: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {{.*}}, 1, 1, 1, 1;
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// The results pass through the waits.
// CHECK: wgmma.wait_group.sync.aligned 1;
// CHECK: wgmma.wait_group.sync.aligned 0;
// CHECK: nvvm.mbarrier.arrive
// CHECK-NOT: tile.
func.func @kernel(%p: !tile.ptr<bf16>, %s0: i64, %s1: i64, %s2: i64, %s3: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 128, warps 8, stages 2>,
                tile.target = #tile.gpu<"sm_90a", sm 90>} {
  %ring = tile.alloc_shared : !ks
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c128 = arith.constant 128 : index
  %stride0 = arith.index_cast %s0 : i64 to index
  %stride1 = arith.index_cast %s1 : i64 to index
  %program = tile.program : index
  %offset = arith.muli %program, %stride0 : index
  %view = tile.view %p[%offset] sizes(%c128, %c128) strides(%stride1, %c1) : !tile.ptr<bf16> -> !tile.view<2 x bf16, unit 16>
  tile.roles producer {
    tile.fill %view[%c0, %c0] bounds [true, false] into %ring[%c0] : !tile.view<2 x bf16, unit 16>, !ks
  } consumer {
    %z = arith.constant dense<0.0> : tensor<128x128xf32>
    %m = arith.constant dense<1.0> : tensor<128x128xf32>
    %k = tile.take %ring[%c0] : !ks -> !k
    %w = arith.truncf %m : tensor<128x128xf32> to tensor<128x128xbf16>
    %0 = tile.start_dot %k, %k, %z trans_b : !k, !k -> tensor<128x128xf32>
    %1 = tile.start_dot %w, %k, %m : tensor<128x128xbf16>, !k -> tensor<128x128xf32>
    %s = tile.await_dot %0 pending 1 : tensor<128x128xf32>
    %o = tile.await_dot %1 : tensor<128x128xf32>
    tile.release %ring[%c0] : !ks
  }
  return
}
