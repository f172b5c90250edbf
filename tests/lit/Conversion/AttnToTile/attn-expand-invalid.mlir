// What attn-expand refuses.
// RUN: tilewright-opt "%s" -attn-expand -split-input-file -verify-diagnostics

!p = !attn.tensor<3 x i32, a4>
!l = !attn.tensor<2 x i32, a4>
// expected-error @+1 {{'func.func' op expected the attribute tile.schedule (#tile.schedule or #tile.gpu_schedule)}}
func.func @no_schedule(%p: !p, %l: !l, %i: i64) attributes {tile.target = #tile.cpu<"x86-64-v2">} {
  attn.row_limits pairs(%p) limits(%l) seqlens(%i, %i) offset(%i) count(%i) : !p, !l
  return
}

// -----

!p = !attn.tensor<3 x i32, a4>
!l = !attn.tensor<2 x i32, a4>
// expected-error @+1 {{'func.func' op expected one attn operation in one block, got 2 operations}}
func.func @two_operations(%p: !p, %l: !l, %i: i64)
    attributes {tile.schedule = #tile.schedule<kq, 64 x 64, micro 8 x 2>} {
  attn.row_limits pairs(%p) limits(%l) seqlens(%i, %i) offset(%i) count(%i) : !p, !l
  attn.row_limits pairs(%p) limits(%l) seqlens(%i, %i) offset(%i) count(%i) : !p, !l
  return
}

// -----

!p = !attn.tensor<3 x i32, a4>
!l = !attn.tensor<2 x i32, a4>
// expected-error @+1 {{'func.func' op expected one attn operation in one block, got 1 operations}}
func.func @two_blocks(%p: !p, %l: !l, %i: i64)
    attributes {tile.schedule = #tile.schedule<kq, 64 x 64, micro 8 x 2>} {
  attn.row_limits pairs(%p) limits(%l) seqlens(%i, %i) offset(%i) count(%i) : !p, !l
  cf.br ^bb1
^bb1:
  return
}

// -----

!p = !attn.tensor<3 x i32, a4>
!l = !attn.tensor<2 x i32, a4>
func.func @computed_operand(%p: !p, %l: !l, %i: i64)
    attributes {tile.schedule = #tile.schedule<kq, 64 x 64, micro 8 x 2>} {
  %n = arith.constant 4 : i64
  // expected-error @+1 {{'attn.row_limits' op expected every operand to be an argument of the function}}
  attn.row_limits pairs(%p) limits(%l) seqlens(%i, %i) offset(%i) count(%n) : !p, !l
  return
}
