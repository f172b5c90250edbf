// The GPU pipeline on what a GPU cannot do: a message and exit status 1. `not` fails where a program crashes.
// RUN: not tilewright-opt "%s" -tilewright-gpu -split-input-file -o /dev/null 2>&1 | FileCheck "%s"

!t = !attn.tensor<4 x f32, strided>
!lse = !attn.tensor<3 x f32, strided>

// CHECK: 'tile.dot' op expected operands of f16 or bf16 on a GPU, got 'f32'
func.func @float32(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %scale: f32, %sq: i64, %sk: i64, %h: i64,
                   %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = #tile.gpu_schedule<16 x 32, warps 1>, tile.target = #tile.gpu<"sm_80", sm 90>} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(32, 16) mask(causal) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x bf16, a16>
!lse = !attn.tensor<3 x f32, strided>

// 128 rows of q and 64 of k and of v, 528 bytes each, fit in sm_80 but not in sm_86.
// CHECK: 'func.func' op needs 131072 bytes of shared memory, but sm_86 has 101376 a block
func.func @shared_memory(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %scale: f32, %sq: i64, %sk: i64, %h: i64,
                         %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = #tile.gpu_schedule<128 x 64, warps 8>, tile.target = #tile.gpu<"sm_80", sm 86>} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(256, 256) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x bf16, a16>
!lse = !attn.tensor<3 x f32, strided>

// CHECK: expected the attributes tile.target (#tile.gpu) and tile.schedule (#tile.gpu_schedule)
func.func @cpu_target(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %scale: f32, %sq: i64, %sk: i64, %h: i64,
                      %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = #tile.gpu_schedule<16 x 32, warps 1>, tile.target = #tile.cpu<"x86-64-v4">} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(32, 16) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

// CHECK: 'tile.transpose' op has no lowering to a GPU
func.func @transpose(%p: !tile.ptr<f16>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %v = tile.view %p[%c0] sizes(%c0, %c0) strides(%c0, %c0) : !tile.ptr<f16> -> !tile.view<2 x f16>
  %s = arith.constant dense<0.0> : tensor<16x16xf32>
  %t = tile.transpose %s : tensor<16x16xf32> -> tensor<16x16xf32>
  %h = arith.truncf %t : tensor<16x16xf32> to tensor<16x16xf16>
  tile.store %h, %v[%c0, %c0] bounds [false, false] : tensor<16x16xf16>, !tile.view<2 x f16>
  return
}

// -----

// CHECK: 'arith.constant' op expected a tile of f32, i32 or i1 on a GPU, got 'tensor<16x16xf64>'
func.func @float64(%p: !tile.ptr<f16>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %v = tile.view %p[%c0] sizes(%c0, %c0) strides(%c0, %c0) : !tile.ptr<f16> -> !tile.view<2 x f16>
  %s = arith.constant dense<0.0> : tensor<16x16xf64>
  %h = arith.truncf %s : tensor<16x16xf64> to tensor<16x16xf16>
  tile.store %h, %v[%c0, %c0] bounds [false, false] : tensor<16x16xf16>, !tile.view<2 x f16>
  return
}

// -----

// CHECK: expected an SM among 80, 86, 87, 89, 90, 100, 120, or 65535 (PTX only), got 70
func.func @old_gpu() attributes {tile.kernel, tile.target = #tile.gpu<"sm_80", sm 70>} { return }

// -----

// CHECK: expected block m to be a multiple of 16 rows a warp (48) up to 512, got 64
func.func @warps() attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<64 x 64, warps 3>} { return }
