// A whole forward kernel: matrix instructions, staged copies, masks in partial blocks only.
// RUN: tilewright-opt "%s" -tilewright-gpu=until=nvvm | FileCheck "%s"

!t = !attn.tensor<4 x bf16, a16>
!lse = !attn.tensor<3 x f32, strided>

// CHECK: llvm.mlir.global external @causal_shared() {addr_space = 3 : i32, alignment = 16 : i64}
// CHECK-LABEL: llvm.func @causal(
// CHECK-SAME: !llvm.ptr<1>
// CHECK-SAME: nvvm.kernel, nvvm.minctasm = 1 : i32, nvvm.reqntid = array<i32: 32>
// q: 16 rows of 32 columns, 64 bytes; k the same with 32 rows; v 32 rows of 16 columns. Nothing is padded.
// CHECK-SAME: tile.shared_bytes = 4096 : i64
// CHECK: nvvm.read.ptx.sreg.ctaid.x
// CHECK: nvvm.cp.async.shared.global {{.*}}, 16, cache = cg

// One loop. S = Q K^T: 32 columns of depth are 2 steps, 32 keys are 4 groups.
// CHECK: scf.for
// CHECK: nvvm.cp.async.wait.group 0
// CHECK-NEXT: nvvm.barrier
// CHECK-COUNT-8: nvvm.mma.sync
// CHECK: nvvm.cp.async.wait.group 0
// Only partial blocks compare columns.
// CHECK: scf.if
// CHECK: arith.cmpi slt, %{{.*}} : i32
// CHECK: arith.select %{{.*}} : f32
// CHECK: } else {
// A row's maximum: its four lanes exchange theirs.
// CHECK: nvvm.shfl.sync bfly
// CHECK-COUNT-16: llvm.nvvm.ex2.approx.ftz.f
// Probabilities become the next product's A operand in place.
// CHECK-COUNT-8: llvm.nvvm.ff2bf16x2.rn
// CHECK: nvvm.ldmatrix {{.*}}layout = #nvvm.mma_layout<col>
// CHECK: nvvm.mma.sync
// The output goes through shared memory and is written 16 bytes at a time.
// CHECK: nvvm.barrier
// CHECK: llvm.store %{{.*}} : i32, !llvm.ptr<3>
// CHECK: nvvm.bar.warp.sync
// CHECK: llvm.load %{{.*}} : !llvm.ptr<3> -> vector<4xi32>
// CHECK: llvm.store %{{.*}} : vector<4xi32>, !llvm.ptr<1>
// CHECK: llvm.return
// CHECK-NOT: tile.
func.func @causal(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %scale: f32, %sq: i64, %sk: i64, %h: i64,
                  %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = #tile.gpu_schedule<16 x 32, warps 1>, tile.target = #tile.gpu<"sm_80", sm 90>} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(32, 16) mask(causal) : !t, !t, !t, !t, !lse
  return
}
