// A block runs one program after the other.
// RUN: tilewright-opt "%s" --pass-pipeline="builtin.module(func.func(tile-persist-programs))" -split-input-file -verify-diagnostics | FileCheck "%s"

!v = !tile.view<2 x bf16, unit 16>
!qs = !tile.shared<128 x 64 x bf16, stages 2>
!ks = !tile.shared<16 x 64 x bf16, stages 3>

// CHECK-LABEL: func.func @both_roles(
// What does not follow from the program's number stays ahead.
// CHECK: %[[OTHER:.*]] = arith.addi %arg2, %{{.*}} : index
// CHECK: tile.roles producer {
// CHECK: %[[COUNT:.*]] = tile.program_count : index
// CHECK: %[[FIRST:.*]] = tile.program : index
// CHECK: scf.while (%[[N:.*]] = %{{.*}}, %[[F:.*]] = %{{.*}}, %[[P:.*]] = %[[FIRST]])
// CHECK-NEXT: tile.announce_program %[[P]] at %[[N]]
// CHECK-NEXT: %[[MORE:.*]] = arith.cmpi ult, %[[P]], %[[COUNT]] : index
// CHECK-NEXT: scf.condition(%[[MORE]]) %[[N]], %[[F]], %[[P]]
// CHECK: ^bb0(%[[TURN:.*]]: index, %[[FILLS:.*]]: index, %[[PROGRAM:.*]]: index):
// CHECK-NEXT: %[[ROW:.*]] = arith.muli %[[PROGRAM]], %{{.*}} : index
// A ring that is filled once a program counts programs; the loop's counts on.
// CHECK-NEXT: tile.fill %arg0[%[[ROW]], %{{.*}}] bounds [true, false] into %[[QS:.*]][%[[TURN]]]
// What follows from the program stands where it is needed.
// CHECK-NEXT: %[[END:.*]] = arith.minsi %[[ROW]], %[[OTHER]] : index
// CHECK-NEXT: scf.for %[[J:.*]] = %arg2 to %[[END]] step
// CHECK: %[[OWN:.*]] = arith.subi %[[J]], %arg2 : index
// CHECK: %[[NUMBER:.*]] = arith.addi %[[OWN]], %[[FILLS]] : index
// CHECK: tile.fill %arg1[%[[J]], %{{.*}}] bounds [true, false] into %[[KS:.*]][%[[NUMBER]]]
// CHECK: %[[DIFF:.*]] = arith.subi %[[END]], %arg2 : index
// CHECK: %[[BLOCKS:.*]] = arith.maxsi %[[DIFF]], %{{.*}} : index
// CHECK: %[[NEXTTURN:.*]] = arith.addi %[[TURN]], %{{.*}} : index
// CHECK: %[[NEXTFILLS:.*]] = arith.addi %[[FILLS]], %[[BLOCKS]] : index
// CHECK: %[[CLAIMED:.*]] = tile.claim_program : index
// CHECK: scf.yield %[[NEXTTURN]], %[[NEXTFILLS]], %[[CLAIMED]]
// CHECK: } consumer {
// CHECK: scf.while (%[[CN:.*]] = %{{.*}}, %[[CF:.*]] = %{{.*}})
// CHECK-NEXT: %[[TOLD:.*]] = tile.await_program at %[[CN]] : index
// CHECK-NEXT: arith.cmpi ult, %[[TOLD]]
// CHECK: ^bb0(%[[CTURN:.*]]: index, %[[CFILLS:.*]]: index, %[[CPROGRAM:.*]]: index):
// CHECK-NEXT: tile.take %[[QS]][%[[CTURN]]]
// CHECK: %[[CROW:.*]] = arith.muli %[[CPROGRAM]]
// CHECK-NEXT: %[[CEND:.*]] = arith.minsi %[[CROW]]
// CHECK: scf.for %{{.*}} = %arg2 to %[[CEND]] step
// CHECK: %[[CNUMBER:.*]] = arith.addi %{{.*}}, %[[CFILLS]] : index
// CHECK: tile.take %[[KS]][%[[CNUMBER]]]
// CHECK: tile.release %[[KS]][%{{.*}}]
// CHECK: tile.release %[[QS]][%[[CTURN]]]
// CHECK-NOT: tile.claim_program
func.func @both_roles(%q: !v, %k: !v, %begin: index)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 16, warps 8, stages 3 persistent 2>,
                tile.target = #tile.gpu<"sm_90a", sm 90>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c128 = arith.constant 128 : index
  %ks = tile.alloc_shared : !ks
  %qs = tile.alloc_shared : !qs
  %other = arith.addi %begin, %c128 : index
  %p = tile.program : index
  %row = arith.muli %p, %c128 : index
  %end = arith.minsi %row, %other : index
  tile.roles producer {
    tile.fill %q[%row, %c0] bounds [true, false] into %qs[%c0] : !v, !qs
    scf.for %j = %begin to %end step %c1 {
      %n = arith.subi %j, %begin : index
      tile.fill %k[%j, %c0] bounds [true, false] into %ks[%n] : !v, !ks
    }
  } consumer {
    %z = arith.constant dense<0.0> : tensor<128x16xf32>
    %qt = tile.take %qs[%c0] : !qs -> !tile.shared<128 x 64 x bf16>
    scf.for %j = %begin to %end step %c1 {
      %n = arith.subi %j, %begin : index
      %kt = tile.take %ks[%n] : !ks -> !tile.shared<16 x 64 x bf16>
      %s = tile.dot %qt, %kt, %z trans_b : !tile.shared<128 x 64 x bf16>, !tile.shared<16 x 64 x bf16> -> tensor<128x16xf32>
      tile.release %ks[%n] : !ks
    }
    tile.release %qs[%c0] : !qs
  }
  return
}

// -----

// Where blocks are not persistent, nothing changes.
// CHECK-LABEL: func.func @one_program(
// CHECK-NOT: scf.while
func.func @one_program() attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 16, warps 8, stages 3>,
                                     tile.target = #tile.gpu<"sm_90a", sm 90>} {
  tile.roles producer {
  } consumer {
  }
  return
}

// -----

// expected-error @+1 {{expected a tile.roles in a kernel whose blocks are persistent: run tile-specialize-warps first}}
func.func @no_roles() attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 16, warps 8 persistent 1>,
                                  tile.target = #tile.gpu<"sm_90a", sm 90>} {
  return
}

// -----

func.func @no_loop() attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 16, warps 8 persistent 1>,
                                 tile.target = #tile.gpu<"sm_90a", sm 90>} {
  // expected-error @+1 {{expected the producer to have a loop over blocks}}
  tile.roles producer {
  } consumer {
  }
  return
}
