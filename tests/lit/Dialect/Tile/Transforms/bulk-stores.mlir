// Outputs leave through the queries' buffer.
// RUN: tilewright-opt "%s" --pass-pipeline="builtin.module(func.func(tile-bulk-stores))" -split-input-file -verify-diagnostics | FileCheck "%s"
// RUN: sed "s/ bulk_stores true//; s/expected-error/gone/" "%s" | tilewright-opt --pass-pipeline="builtin.module(func.func(tile-bulk-stores))" -split-input-file | FileCheck "%s" --check-prefix=OFF

// OFF-LABEL: func.func @staged(
// OFF-NOT: tile.bulk_store
// OFF: tile.store

!qs = !tile.shared<128 x 72 x bf16, stages 2>
!ks = !tile.shared<16 x 72 x bf16, stages 2>
!out = !tile.view<2 x bf16, unit 16>

// Two boxes of 64 columns have room for 128. The buffer was given back in both branches; now it is behind the store.
// CHECK-LABEL: func.func @staged(
// CHECK: %[[Q:.*]] = tile.take %[[QS:.*]][%[[N:.*]]] : <128 x 72 x bf16, stages 2>
// CHECK-NOT: tile.release %[[QS]]
// CHECK: tile.release %{{.*}} : <16 x 72 x bf16, stages 2>
// CHECK-NOT: tile.release %[[QS]]
// CHECK: tile.bulk_store %{{.*}}, %{{.*}}[%{{.*}}, %{{.*}}] bounds [true, false] through %[[Q]] : tensor<128x128xbf16>
// CHECK-NEXT: tile.release %[[QS]][%[[N]]]
// CHECK: tile.store %{{.*}} : tensor<128xf32>
func.func @staged(%any: i1, %row: index, %out: !out, %lse: !tile.view<1 x f32>)
    attributes {tile.schedule = #tile.gpu_schedule<128 x 16, warps 8, stages 2 bulk_stores true>} {
  %qs = tile.alloc_shared : !qs
  %ks = tile.alloc_shared : !ks
  %c0 = arith.constant 0 : index
  tile.roles producer {
  } consumer {
    %z = arith.constant dense<0.0> : tensor<128x128xf32>
    %l = arith.constant dense<0.0> : tensor<128xf32>
    %q = tile.take %qs[%c0] : !qs -> !tile.shared<128 x 72 x bf16>
    scf.if %any {
      %k = tile.take %ks[%c0] : !ks -> !tile.shared<16 x 72 x bf16>
      tile.release %ks[%c0] : !ks
      tile.release %qs[%c0] : !qs
    } else {
      tile.release %qs[%c0] : !qs
    }
    %o = arith.truncf %z : tensor<128x128xf32> to tensor<128x128xbf16>
    tile.store %o, %out[%row, %c0] bounds [true, false] : tensor<128x128xbf16>, !out
    tile.store %l, %lse[%row] bounds [true] : tensor<128xf32>, !tile.view<1 x f32>
  }
  return
}

// -----

!qs = !tile.shared<128 x 64 x bf16, stages 2>

func.func @no_room(%out: !tile.view<2 x bf16, unit 16>)
    attributes {tile.schedule = #tile.gpu_schedule<128 x 16, warps 8, stages 2 bulk_stores true>} {
  %qs = tile.alloc_shared : !qs
  %c0 = arith.constant 0 : index
  tile.roles producer {
  } consumer {
    %z = arith.constant dense<0.0> : tensor<128x72xf32>
    %q = tile.take %qs[%c0] : !qs -> !tile.shared<128 x 64 x bf16>
    %o = arith.truncf %z : tensor<128x72xf32> to tensor<128x72xbf16>
    // expected-error @+1 {{expected a buffer that was filled ahead of the loop and has room for it, and rows aligned to 16 bytes: the schedule's bulk_stores go through the queries' buffer}}
    tile.store %o, %out[%c0, %c0] bounds [true, false] : tensor<128x72xbf16>, !tile.view<2 x bf16, unit 16>
  }
  return
}

// -----

!qs = !tile.shared<128 x 64 x bf16, stages 2>

func.func @not_aligned(%out: !tile.view<2 x bf16, unit 8>)
    attributes {tile.schedule = #tile.gpu_schedule<128 x 16, warps 8, stages 2 bulk_stores true>} {
  %qs = tile.alloc_shared : !qs
  %c0 = arith.constant 0 : index
  tile.roles producer {
  } consumer {
    %z = arith.constant dense<0.0> : tensor<128x64xf32>
    %q = tile.take %qs[%c0] : !qs -> !tile.shared<128 x 64 x bf16>
    %o = arith.truncf %z : tensor<128x64xf32> to tensor<128x64xbf16>
    // expected-error @+1 {{rows aligned to 16 bytes}}
    tile.store %o, %out[%c0, %c0] bounds [true, false] : tensor<128x64xbf16>, !tile.view<2 x bf16, unit 8>
  }
  return
}
