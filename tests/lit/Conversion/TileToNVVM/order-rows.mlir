// RUN: tilewright-opt "%s" -pass-pipeline='builtin.module(llvm.func(nvvm-order-rows))' | FileCheck "%s"

// A thread's elements of four: two of its first row, two of its second.

// The second row's maximum comes behind what the first row's elements are taken for, each of which stands right ahead
// of its sum; the branch moves as a whole.
// CHECK-LABEL: llvm.func @ordered(
// CHECK-NOT: tile.row_by_row
// CHECK: %[[S:.*]] = llvm.inline_asm has_side_effects "wgmma.wait_group
// CHECK: %[[S0:.*]] = llvm.extractvalue %[[S]][0]
// CHECK: %[[S1:.*]] = llvm.extractvalue %[[S]][1]
// CHECK: %[[M0:.*]] = llvm.intr.maxnum(%[[S0]], %[[S1]])
// CHECK: %[[L0:.*]] = arith.cmpf ogt, %[[M0]]
// CHECK: %[[V0:.*]] = nvvm.vote.sync any %{{.*}}, %[[L0]]
// CHECK: %[[R0:.*]] = scf.if %[[V0]]
// CHECK: %[[D0:.*]] = arith.subf %[[S0]], %[[R0]]
// CHECK: %[[E0:.*]] = llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f"(%[[D0]])
// CHECK: %[[D1:.*]] = arith.subf %[[S1]], %[[R0]]
// CHECK: %[[E1:.*]] = llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f"(%[[D1]])
// CHECK: arith.addf %[[E0]], %[[E1]]
// CHECK: %[[S2:.*]] = llvm.extractvalue %[[S]][2]
// CHECK: %[[S3:.*]] = llvm.extractvalue %[[S]][3]
// CHECK: %[[M1:.*]] = llvm.intr.maxnum(%[[S2]], %[[S3]])
// CHECK: nvvm.shfl.sync bfly %{{.*}}, %[[M1]]
// CHECK: scf.if
// CHECK: llvm.inline_asm has_side_effects "use
llvm.func @ordered(%a: f32, %b: f32, %c: f32, %d: f32) attributes {tile.row_by_row} {
  %all = arith.constant -1 : i32
  %one = arith.constant 1 : i32
  %last = arith.constant 31 : i32
  %limit = arith.constant 1024.0 : f32
  %zero = arith.constant 0.0 : f32
  %s = llvm.inline_asm has_side_effects "wgmma.wait_group.sync.aligned 1;", "=f,=f,=f,=f,0,1,2,3" %a, %b, %c, %d
      : (f32, f32, f32, f32) -> !llvm.struct<(f32, f32, f32, f32)>
  %s0 = llvm.extractvalue %s[0] : !llvm.struct<(f32, f32, f32, f32)>
  %s1 = llvm.extractvalue %s[1] : !llvm.struct<(f32, f32, f32, f32)>
  %s2 = llvm.extractvalue %s[2] : !llvm.struct<(f32, f32, f32, f32)>
  %s3 = llvm.extractvalue %s[3] : !llvm.struct<(f32, f32, f32, f32)>
  %m0 = llvm.intr.maxnum(%s0, %s1) : (f32, f32) -> f32
  %h1 = llvm.intr.maxnum(%s2, %s3) : (f32, f32) -> f32
  %m1 = nvvm.shfl.sync bfly %all, %h1, %one, %last : f32 -> f32
  %l0 = arith.cmpf ogt, %m0, %limit : f32
  %l1 = arith.cmpf ogt, %m1, %limit : f32
  %v0 = nvvm.vote.sync any %all, %l0 -> i1
  %v1 = nvvm.vote.sync any %all, %l1 -> i1
  %r0 = scf.if %v0 -> f32 {
    scf.yield %zero : f32
  } else {
    scf.yield %m0 : f32
  }
  %r1 = scf.if %v1 -> f32 {
    scf.yield %zero : f32
  } else {
    scf.yield %m1 : f32
  }
  %d0 = arith.subf %s0, %r0 : f32
  %d1 = arith.subf %s1, %r0 : f32
  %d2 = arith.subf %s2, %r1 : f32
  %d3 = arith.subf %s3, %r1 : f32
  %e0 = llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f"(%d0) : (f32) -> f32
  %e1 = llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f"(%d1) : (f32) -> f32
  %e2 = llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f"(%d2) : (f32) -> f32
  %e3 = llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f"(%d3) : (f32) -> f32
  %t0 = arith.addf %e0, %e1 : f32
  %t1 = arith.addf %e2, %e3 : f32
  llvm.inline_asm has_side_effects "use $0 $1 $2 $3 $4 $5;", "f,f,f,f,f,f" %e0, %e1, %e2, %e3, %t0, %t1
      : (f32, f32, f32, f32, f32, f32) -> ()
  llvm.return
}

// Nothing passes an operation with effects.
// CHECK-LABEL: llvm.func @parted(
// CHECK: %[[S:.*]] = llvm.inline_asm has_side_effects "wgmma.wait_group
// CHECK: %[[S0:.*]] = llvm.extractvalue %[[S]][0]
// CHECK: %[[A:.*]] = arith.negf %[[S0]]
// CHECK: %[[S2:.*]] = llvm.extractvalue %[[S]][2]
// CHECK: %[[B:.*]] = arith.negf %[[S2]]
// CHECK: llvm.inline_asm has_side_effects "arrive
// CHECK: %[[C:.*]] = arith.mulf %[[A]], %[[A]]
// CHECK: %[[D:.*]] = arith.mulf %[[B]], %[[B]]
// CHECK: llvm.inline_asm has_side_effects "use $0 $1;", "f,f" %[[D]], %[[C]]
llvm.func @parted(%a: f32, %b: f32, %c: f32) attributes {tile.row_by_row} {
  %s = llvm.inline_asm has_side_effects "wgmma.wait_group.sync.aligned 0;", "=f,=f,=f,0,1,2" %a, %b, %c
      : (f32, f32, f32) -> !llvm.struct<(f32, f32, f32)>
  %s2 = llvm.extractvalue %s[2] : !llvm.struct<(f32, f32, f32)>
  %s0 = llvm.extractvalue %s[0] : !llvm.struct<(f32, f32, f32)>
  %n2 = arith.negf %s2 : f32
  %n0 = arith.negf %s0 : f32
  llvm.inline_asm has_side_effects "arrive;", "" : () -> ()
  %p2 = arith.mulf %n2, %n2 : f32
  %p0 = arith.mulf %n0, %n0 : f32
  llvm.inline_asm has_side_effects "use $0 $1;", "f,f" %p2, %p0 : (f32, f32) -> ()
  llvm.return
}

// Without the attribute everything stays.
// CHECK-LABEL: llvm.func @unasked(
// CHECK: %[[S:.*]] = llvm.inline_asm has_side_effects "wgmma.wait_group
// CHECK: llvm.extractvalue %[[S]][2]
// CHECK: llvm.extractvalue %[[S]][0]
llvm.func @unasked(%a: f32, %b: f32, %c: f32) {
  %s = llvm.inline_asm has_side_effects "wgmma.wait_group.sync.aligned 0;", "=f,=f,=f,0,1,2" %a, %b, %c
      : (f32, f32, f32) -> !llvm.struct<(f32, f32, f32)>
  %s2 = llvm.extractvalue %s[2] : !llvm.struct<(f32, f32, f32)>
  %s0 = llvm.extractvalue %s[0] : !llvm.struct<(f32, f32, f32)>
  %d = arith.subf %s2, %s0 : f32
  llvm.inline_asm has_side_effects "use $0;", "f" %d : (f32) -> ()
  llvm.return
}
