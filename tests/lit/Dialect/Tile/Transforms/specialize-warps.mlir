// A producer fills rings, consumers compute from them.
// RUN: tilewright-opt "%s" --pass-pipeline="builtin.module(func.func(tile-specialize-warps))" -split-input-file -verify-diagnostics | FileCheck "%s"

!v = !tile.view<2 x bf16, unit 16>

// CHECK-LABEL: func.func @rings(
// A ring of the schedule's stages for each load of the loop, one buffer for what is read ahead of it.
// CHECK-DAG: %[[VS:.*]] = tile.alloc_shared : <16 x 64 x bf16, stages 3>
// CHECK-DAG: %[[KS:.*]] = tile.alloc_shared : <16 x 128 x bf16, stages 3>
// CHECK-DAG: %[[QS:.*]] = tile.alloc_shared : <128 x 128 x bf16>
// Scalars stay ahead of the roles, even those that stood behind work on tiles.
// CHECK: %[[BEHIND:.*]] = arith.cmpi ne, %arg4, %arg5 : index
// CHECK: tile.roles producer {
// CHECK: tile.fill %arg0[%{{.*}}, %{{.*}}] bounds [true, false] into %[[QS]][%{{.*}}]
// CHECK: scf.for %[[J:.*]] = %arg4 to %arg5 step %{{.*}} {
// Fills are numbered from 0, whatever the loop begins with.
// CHECK: %[[N:.*]] = arith.subi %[[J]], %arg4 : index
// CHECK: %[[ROW:.*]] = arith.muli %[[J]], %{{.*}} : index
// CHECK: tile.fill %arg1[%[[ROW]], %{{.*}}] bounds [true, false] into %[[KS]][%[[N]]]
// CHECK: tile.fill %arg2[%{{.*}}, %{{.*}}] bounds [true, false] into %[[VS]][%[[N]]]
// CHECK: } consumer {
// CHECK: %[[Q:.*]] = tile.take %[[QS]][%{{.*}}]
// CHECK: scf.for %[[I:.*]] = %arg4 to %arg5
// CHECK: %[[M:.*]] = arith.subi %[[I]], %arg4 : index
// CHECK: %[[K:.*]] = tile.take %[[KS]][%[[M]]]
// CHECK-NEXT: tile.dot %[[Q]], %[[K]], %{{.*}} trans_b
// CHECK-NEXT: tile.release %[[KS]][%[[M]]]
// CHECK: %[[V:.*]] = tile.take %[[VS]][%[[M]]]
// CHECK-NEXT: tile.dot %{{.*}}, %[[V]], %{{.*}}
// CHECK-NEXT: tile.release %[[VS]][%[[M]]]
// Behind the loop nothing reads q; the store does without its buffer.
// CHECK: tile.release %[[QS]][%{{.*}}]
// CHECK-NOT: through
// CHECK: scf.if %[[BEHIND]] {
// CHECK-NOT: tile.load
func.func @rings(%q: !v, %k: !v, %v: !v, %out: !v, %begin: index, %end: index)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 16, warps 8, stages 3>,
                tile.target = #tile.gpu<"sm_90a", sm 90>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %zs = arith.constant dense<0.0> : tensor<128x16xf32>
  %zo = arith.constant dense<0.0> : tensor<128x64xf32>
  %qt = tile.load %q[%c0, %c0] bounds [true, false] : !v -> tensor<128x128xbf16>
  %sum = scf.for %j = %begin to %end step %c1 iter_args(%o = %zo) -> (tensor<128x64xf32>) {
    %row = arith.muli %j, %c16 : index
    %kt = tile.load %k[%row, %c0] bounds [true, false] : !v -> tensor<16x128xbf16>
    %s = tile.dot %qt, %kt, %zs trans_b : tensor<128x128xbf16>, tensor<16x128xbf16> -> tensor<128x16xf32>
    %p = arith.truncf %s : tensor<128x16xf32> to tensor<128x16xbf16>
    %vt = tile.load %v[%row, %c0] bounds [true, false] : !v -> tensor<16x64xbf16>
    %next = tile.dot %p, %vt, %o : tensor<128x16xbf16>, tensor<16x64xbf16> -> tensor<128x64xf32>
    scf.yield %next : tensor<128x64xf32>
  }
  %narrow = arith.truncf %sum : tensor<128x64xf32> to tensor<128x64xbf16>
  tile.store %narrow, %out[%c0, %c0] bounds [true, false] : tensor<128x64xbf16>, !v
  %any = arith.cmpi ne, %begin, %end : index
  scf.if %any {
    tile.store %narrow, %out[%c0, %c0] bounds [true, false] : tensor<128x64xbf16>, !v
  }
  return
}

// -----

// Of persistent blocks queries have as many buffers as the schedule says.
!v = !tile.view<2 x bf16, unit 16>

// CHECK-LABEL: func.func @persistent(
// CHECK-DAG: tile.alloc_shared : <128 x 128 x bf16, stages 2>
// CHECK-DAG: tile.alloc_shared : <16 x 128 x bf16, stages 3>
func.func @persistent(%q: !v, %k: !v, %begin: index, %end: index)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 16, warps 8, stages 3 persistent 2>,
                tile.target = #tile.gpu<"sm_90a", sm 90>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %z = arith.constant dense<0.0> : tensor<128x16xf32>
  %qt = tile.load %q[%c0, %c0] bounds [true, false] : !v -> tensor<128x128xbf16>
  scf.for %j = %begin to %end step %c1 {
    %kt = tile.load %k[%j, %c0] bounds [true, false] : !v -> tensor<16x128xbf16>
    %s = tile.dot %qt, %kt, %z trans_b : tensor<128x128xbf16>, tensor<16x128xbf16> -> tensor<128x16xf32>
  }
  return
}

// -----

// Values wider than queries: each ring has its own columns.
!v = !tile.view<2 x bf16, unit 16>

// CHECK-LABEL: func.func @wide_values(
// CHECK-DAG: tile.alloc_shared : <16 x 96 x bf16, stages 2>
// CHECK-DAG: tile.alloc_shared : <16 x 64 x bf16, stages 2>
// CHECK-DAG: tile.alloc_shared : <128 x 64 x bf16>
// CHECK: } consumer {
// CHECK: tile.store %{{.*}}, %arg3[%{{.*}}, %{{.*}}] bounds [true, false] : tensor<128x96xbf16>
func.func @wide_values(%q: !v, %k: !v, %v: !v, %out: !v, %begin: index, %end: index)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 16, warps 8, stages 2>,
                tile.target = #tile.gpu<"sm_90a", sm 90>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %zs = arith.constant dense<0.0> : tensor<128x16xf32>
  %zo = arith.constant dense<0.0> : tensor<128x96xf32>
  %qt = tile.load %q[%c0, %c0] bounds [true, false] : !v -> tensor<128x64xbf16>
  %sum = scf.for %j = %begin to %end step %c1 iter_args(%o = %zo) -> (tensor<128x96xf32>) {
    %kt = tile.load %k[%j, %c0] bounds [true, false] : !v -> tensor<16x64xbf16>
    %s = tile.dot %qt, %kt, %zs trans_b : tensor<128x64xbf16>, tensor<16x64xbf16> -> tensor<128x16xf32>
    %p = arith.truncf %s : tensor<128x16xf32> to tensor<128x16xbf16>
    %vt = tile.load %v[%j, %c0] bounds [true, false] : !v -> tensor<16x96xbf16>
    %next = tile.dot %p, %vt, %o : tensor<128x16xbf16>, tensor<16x96xbf16> -> tensor<128x96xf32>
    scf.yield %next : tensor<128x96xf32>
  }
  %narrow = arith.truncf %sum : tensor<128x96xf32> to tensor<128x96xbf16>
  tile.store %narrow, %out[%c0, %c0] bounds [true, false] : tensor<128x96xbf16>, !v
  return
}

// -----

// Kernels of the other family are left alone.
!v = !tile.view<2 x bf16, unit 16>

// CHECK-LABEL: func.func @other_family(
// CHECK-NOT: tile.roles
// CHECK: tile.load
func.func @other_family(%q: !v) -> tensor<64x64xf32>
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<64 x 64, warps 4>,
                tile.target = #tile.gpu<"sm_80", sm 90>} {
  %c0 = arith.constant 0 : index
  %z = arith.constant dense<0.0> : tensor<64x64xf32>
  %a = tile.load %q[%c0, %c0] bounds [true, false] : !v -> tensor<64x64xbf16>
  %s = tile.dot %a, %a, %z : tensor<64x64xbf16>, tensor<64x64xbf16> -> tensor<64x64xf32>
  return %s : tensor<64x64xf32>
}

// -----

!v = !tile.view<2 x bf16, unit 16>

// expected-error @+1 {{expected one loop over blocks of products' operands, got 0}}
func.func @no_loop(%q: !v)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 64, warps 8>,
                tile.target = #tile.gpu<"sm_90a", sm 90>} {
  %c0 = arith.constant 0 : index
  %z = arith.constant dense<0.0> : tensor<128x128xf32>
  %a = tile.load %q[%c0, %c0] bounds [true, false] : !v -> tensor<128x128xbf16>
  %s = tile.dot %a, %a, %z : tensor<128x128xbf16>, tensor<128x128xbf16> -> tensor<128x128xf32>
  return
}

// -----

!v = !tile.view<2 x bf16, unit 16>

func.func @step(%q: !v, %begin: index, %end: index)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 64, warps 8>,
                tile.target = #tile.gpu<"sm_90a", sm 90>} {
  %c0 = arith.constant 0 : index
  %c2 = arith.constant 2 : index
  %z = arith.constant dense<0.0> : tensor<128x128xf32>
  // expected-error @+1 {{expected a loop over blocks of products' operands to have step 1}}
  scf.for %j = %begin to %end step %c2 {
    %a = tile.load %q[%j, %c0] bounds [true, false] : !v -> tensor<128x128xbf16>
    %s = tile.dot %a, %a, %z : tensor<128x128xbf16>, tensor<128x128xbf16> -> tensor<128x128xf32>
  }
  return
}

// -----

// expected-error @+1 {{expected the attribute tile.schedule (#tile.gpu_schedule)}}
func.func @no_schedule() attributes {tile.kernel, tile.target = #tile.gpu<"sm_90a", sm 90>} {
  return
}

// -----

!v = !tile.view<2 x bf16, unit 16>

func.func @chosen_rows(%q: !v, %k: !v, %m: !tile.view<1 x i8, unit>, %when: i1, %begin: index, %end: index)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 16, warps 8>,
                tile.target = #tile.gpu<"sm_90a", sm 90>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %z = arith.constant dense<0.0> : tensor<128x16xf32>
  %qt = tile.load %q[%c0, %c0] bounds [true, false] : !v -> tensor<128x64xbf16>
  scf.for %j = %begin to %end step %c1 {
    // expected-error @+1 {{expected no rows to be left out: TMA copies whole blocks}}
    %kt = tile.load %k[%j, %c0] bounds [true, false] where %m when %when : !tile.view<1 x i8, unit> : !v -> tensor<16x64xbf16>
    %s = tile.dot %qt, %kt, %z trans_b : tensor<128x64xbf16>, tensor<16x64xbf16> -> tensor<128x16xf32>
  }
  return
}
