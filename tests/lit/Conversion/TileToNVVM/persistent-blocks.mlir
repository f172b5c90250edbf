// Loops over programs of the family sm_90a: a counter in global memory, announcements in shared memory.
// RUN: tilewright-opt "%s" -convert-tile-to-nvvm -split-input-file -verify-diagnostics | FileCheck "%s"

!ks = !tile.shared<128 x 128 x bf16, stages 2>
!k = !tile.shared<128 x 128 x bf16>

// Behind the tensor map: the counter and the number of programs. A block of two consumer groups starts with 3 * 168
// registers a lane; the producer keeps more of them than that of one program.
// CHECK-LABEL: llvm.func @kernel(
// CHECK-SAME: nvvm.grid_constant}, %[[COUNTER:arg[0-9]+]]: !llvm.ptr<1>, %[[COUNT:arg[0-9]+]]: i32)
// Two buffers of 32 KiB, a full and an empty barrier for each, and two numbers with theirs.
// CHECK-SAME: tile.shared_bytes = 65608 : i64
// A warp releases a buffer of the ring, a thread a number.
// CHECK: nvvm.mbarrier.init %{{.*}}, %c1_i32{{[_0-9]*}} :
// CHECK: nvvm.mbarrier.init %{{.*}}, %c8_i32{{[_0-9]*}} :
// CHECK: nvvm.mbarrier.init %{{.*}}, %c256_i32{{[_0-9]*}} :
// CHECK: nvvm.setmaxregister decrease 40
// CHECK: %[[BLOCK:.*]] = nvvm.read.ptx.sreg.ctaid.x
// CHECK: scf.while
// Announced when the consumers have read the number but one before.
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: llvm.store %{{.*}}, %{{.*}} {alignment = 4 : i64} : i32, !llvm.ptr<3>
// CHECK: nvvm.mbarrier.arrive
// CHECK: scf.condition
// The counter wraps to 0 at the last claim.
// CHECK: %[[TOP:.*]] = arith.subi %[[COUNT]], %{{.*}} : i32
// CHECK: %[[OLD:.*]] = llvm.atomicrmw uinc_wrap %[[COUNTER]], %[[TOP]] monotonic
// CHECK: %[[GRID:.*]] = nvvm.read.ptx.sreg.nctaid.x
// CHECK: arith.addi %[[OLD]], %[[GRID]] : i32
// CHECK: } else {
// CHECK: nvvm.setmaxregister increase 232
// CHECK: scf.while
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: llvm.load %{{.*}} {alignment = 4 : i64} : !llvm.ptr<3> -> i32
// Every thread says that it has read, not one for its warp: else nothing orders the other lanes' reads.
// CHECK-NOT: scf.if
// CHECK: nvvm.mbarrier.arrive
// CHECK: scf.condition
// CHECK-NOT: tile.
func.func @kernel(%p: !tile.ptr<bf16>, %s0: i64, %s1: i64, %s2: i64, %s3: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 128, warps 8, stages 2 persistent 2>,
                tile.target = #tile.gpu<"sm_90a", sm 90>} {
  %ring = tile.alloc_shared : !ks
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c128 = arith.constant 128 : index
  %stride0 = arith.index_cast %s0 : i64 to index
  %stride1 = arith.index_cast %s1 : i64 to index
  tile.roles producer {
    %count = tile.program_count : index
    %first = tile.program : index
    %r:2 = scf.while (%n = %c0, %q = %first) : (index, index) -> (index, index) {
      tile.announce_program %q at %n
      %more = arith.cmpi ult, %q, %count : index
      scf.condition(%more) %n, %q : index, index
    } do {
    ^bb0(%n: index, %q: index):
      %offset = arith.muli %q, %stride0 : index
      %view = tile.view %p[%offset] sizes(%c128, %c128) strides(%stride1, %c1) : !tile.ptr<bf16> -> !tile.view<2 x bf16, unit 16>
      tile.fill %view[%c0, %c0] bounds [true, false] into %ring[%n] : !tile.view<2 x bf16, unit 16>, !ks
      %next = arith.addi %n, %c1 : index
      %claimed = tile.claim_program : index
      scf.yield %next, %claimed : index, index
    }
  } consumer {
    %count = tile.program_count : index
    %r:2 = scf.while (%n = %c0) : (index) -> (index, index) {
      %q = tile.await_program at %n : index
      %more = arith.cmpi ult, %q, %count : index
      scf.condition(%more) %n, %q : index, index
    } do {
    ^bb0(%n: index, %q: index):
      %k = tile.take %ring[%n] : !ks -> !k
      tile.release %ring[%n] : !ks
      %next = arith.addi %n, %c1 : index
      scf.yield %next : index
    }
  }
  return
}

// -----

func.func @carried_tile(%n: index)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 128, warps 8, stages 2>,
                tile.target = #tile.gpu<"sm_90a", sm 90>} {
  tile.roles producer {
  } consumer {
    %z = arith.constant dense<0.0> : tensor<128x128xf32>
    // expected-error @+1 {{expected a loop with a condition to carry no tiles on a GPU}}
    %r = scf.while (%t = %z) : (tensor<128x128xf32>) -> tensor<128x128xf32> {
      %more = arith.constant false
      scf.condition(%more) %t : tensor<128x128xf32>
    } do {
    ^bb0(%t: tensor<128x128xf32>):
      scf.yield %t : tensor<128x128xf32>
    }
  }
  return
}
