// Each constraint of the attn dialect, violated; a function is named after the constraint.
// RUN: tilewright-opt "%s" -split-input-file -verify-diagnostics

!t = !attn.tensor<4 x f32, a4>
!lse = !attn.tensor<3 x f32, a4>
func.func @forward_C1_head_dim_zero(%q: !t, %lse: !lse, %f: f32, %i: i64) {
  // expected-error @+1 {{attn.forward-C1: expected head_dim within 1..256, got 0}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) scale(%f) seqlens(%i, %i) heads(%i, %i) offset(%i) write_lse(%i)
      head_dims(0, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f32, a4>
!lse = !attn.tensor<3 x f32, a4>
func.func @forward_C1_head_dim_v_large(%q: !t, %lse: !lse, %f: f32, %i: i64) {
  // expected-error @+1 {{attn.forward-C1: expected head_dim_v within 1..256, got 257}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) scale(%f) seqlens(%i, %i) heads(%i, %i) offset(%i) write_lse(%i)
      head_dims(64, 257) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x i32, a4>
!lse = !attn.tensor<3 x f32, a4>
func.func @forward_C2_integer_q(%q: !t, %lse: !lse, %f: f32, %i: i64) {
  // expected-error @+1 {{attn.forward-C2: expected q of f32, f16 or bf16, got 'i32'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) scale(%f) seqlens(%i, %i) heads(%i, %i) offset(%i) write_lse(%i)
      head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!b = !attn.tensor<4 x bf16, a2>
!lse = !attn.tensor<3 x f32, a4>
func.func @forward_C2_two_element_types(%q: !t, %v: !b, %lse: !lse, %f: f32, %i: i64) {
  // expected-error @+1 {{attn.forward-C2: expected v of rank 4 and element type 'f16', got '!attn.tensor<4 x bf16, a2>'}}
  attn.forward q(%q) k(%q) v(%v) out(%q) lse(%lse) scale(%f) seqlens(%i, %i) heads(%i, %i) offset(%i) write_lse(%i)
      head_dims(64, 64) mask(none) : !t, !t, !b, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!r3 = !attn.tensor<3 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
func.func @forward_C2_rank(%q: !t, %out: !r3, %lse: !lse, %f: f32, %i: i64) {
  // expected-error @+1 {{attn.forward-C2: expected out of rank 4 and element type 'f16', got '!attn.tensor<3 x f16, a2>'}}
  attn.forward q(%q) k(%q) v(%q) out(%out) lse(%lse) scale(%f) seqlens(%i, %i) heads(%i, %i) offset(%i) write_lse(%i)
      head_dims(64, 64) mask(none) : !t, !t, !t, !r3, !lse
  return
}

// -----

!t = !attn.tensor<3 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
func.func @forward_C2_rank_of_q(%q: !t, %lse: !lse, %f: f32, %i: i64) {
  // expected-error @+1 {{attn.forward-C2: expected q of rank 4 and element type 'f16', got '!attn.tensor<3 x f16, a2>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) scale(%f) seqlens(%i, %i) heads(%i, %i) offset(%i) write_lse(%i)
      head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<4 x f32, a4>
func.func @forward_C3_rank(%q: !t, %lse: !lse, %f: f32, %i: i64) {
  // expected-error @+1 {{attn.forward-C3: expected lse of rank 3 and element type f32, got '!attn.tensor<4 x f32, a4>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) scale(%f) seqlens(%i, %i) heads(%i, %i) offset(%i) write_lse(%i)
      head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f16, a2>
func.func @forward_C3_element_type(%q: !t, %lse: !lse, %f: f32, %i: i64) {
  // expected-error @+1 {{attn.forward-C3: expected lse of rank 3 and element type f32, got '!attn.tensor<3 x f16, a2>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) scale(%f) seqlens(%i, %i) heads(%i, %i) offset(%i) write_lse(%i)
      head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f32, a4>
!lse = !attn.tensor<3 x f32, a4>
!lim = !attn.tensor<1 x i32, a4>
func.func @forward_C4_limits_without_glm(%q: !t, %lse: !lse, %l: !lim, %f: f32, %i: i64) {
  // expected-error @+1 {{attn.forward-C4: mask causal takes no limits}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) limits(%l : !lim) scale(%f) seqlens(%i, %i) heads(%i, %i)
      offset(%i) write_lse(%i) head_dims(64, 64) mask(causal) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f32, a4>
!lse = !attn.tensor<3 x f32, a4>
func.func @forward_C4_glm_break_without_limits(%q: !t, %lse: !lse, %f: f32, %i: i64) {
  // expected-error @+1 {{attn.forward-C4: mask glm_break expects limits of rank 1, got none}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) scale(%f) seqlens(%i, %i) heads(%i, %i)
      offset(%i) write_lse(%i) head_dims(64, 64) mask(glm_break) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f32, a4>
!lse = !attn.tensor<3 x f32, a4>
!lim = !attn.tensor<1 x i32, a4>
func.func @forward_C4_glm_packed_rank(%q: !t, %lse: !lse, %l: !lim, %f: f32, %i: i64) {
  // expected-error @+1 {{attn.forward-C4: mask glm_packed expects limits of rank 2 and element type i32, got '!attn.tensor<1 x i32, a4>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) limits(%l : !lim) scale(%f) seqlens(%i, %i) heads(%i, %i)
      offset(%i) write_lse(%i) head_dims(64, 64) mask(glm_packed) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f32, a4>
!lse = !attn.tensor<3 x f32, a4>
!lim = !attn.tensor<1 x f32, a4>
func.func @forward_C4_glm_break_element_type(%q: !t, %lse: !lse, %l: !lim, %f: f32, %i: i64) {
  // expected-error @+1 {{attn.forward-C4: mask glm_break expects limits of rank 1 and element type i32, got '!attn.tensor<1 x f32, a4>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) limits(%l : !lim) scale(%f) seqlens(%i, %i) heads(%i, %i)
      offset(%i) write_lse(%i) head_dims(64, 64) mask(glm_break) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f32, a4>
!lse = !attn.tensor<3 x f32, a4>
func.func @forward_C5_even_n_with_a_mask(%q: !t, %lse: !lse, %f: f32, %i: i64) {
  // expected-error @+1 {{attn.forward-C5: expected even_n for mask none only, got mask causal}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) scale(%f) seqlens(%i, %i) heads(%i, %i)
      offset(%i) write_lse(%i) head_dims(64, 64) mask(causal) {even_n} : !t, !t, !t, !t, !lse
  return
}

// -----

!p = !attn.tensor<2 x i32, a4>
func.func @row_limits_C1_pairs_rank(%p: !p, %i: i64) {
  // expected-error @+1 {{attn.row_limits-C1: expected pairs of rank 3 and element type i32, got '!attn.tensor<2 x i32, a4>'}}
  attn.row_limits pairs(%p) limits(%p) seqlens(%i, %i) offset(%i) count(%i) : !p, !p
  return
}

// -----

!p = !attn.tensor<3 x f32, a4>
!l = !attn.tensor<2 x i32, a4>
func.func @row_limits_C1_pairs_element_type(%p: !p, %l: !l, %i: i64) {
  // expected-error @+1 {{attn.row_limits-C1: expected pairs of rank 3 and element type i32, got '!attn.tensor<3 x f32, a4>'}}
  attn.row_limits pairs(%p) limits(%l) seqlens(%i, %i) offset(%i) count(%i) : !p, !l
  return
}

// -----

!p = !attn.tensor<3 x i32, a4>
func.func @row_limits_C1_limits_rank(%p: !p, %i: i64) {
  // expected-error @+1 {{attn.row_limits-C1: expected limits of rank 2 and element type i32, got '!attn.tensor<3 x i32, a4>'}}
  attn.row_limits pairs(%p) limits(%p) seqlens(%i, %i) offset(%i) count(%i) : !p, !p
  return
}

// -----

// expected-error @+1 {{expected a rank within 1..4, got 5}}
func.func @tensor_rank(%t: !attn.tensor<5 x f32, a4>)

// -----

// expected-error @+1 {{expected element type f32, f16, bf16, i64, i32 or i8, got 'f64'}}
func.func @tensor_element_type(%t: !attn.tensor<4 x f64, a4>)

// -----

// expected-error @+2 {{to be one of: strided, a2, a4, a8, a16}}
// expected-error @+1 {{failed to parse Attn_TensorType parameter 'align'}}
func.func @tensor_align(%t: !attn.tensor<4 x f32, a3>)

// -----

!t = !attn.tensor<4 x f32, a4>
!lse = !attn.tensor<3 x f32, a4>
func.func @mask_name(%q: !t, %lse: !lse, %f: f32, %i: i64) {
  // expected-error @+3 {{to be one of: none, causal, glm_break, glm_packed}}
  // expected-error @+2 {{failed to parse}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) scale(%f) seqlens(%i, %i) heads(%i, %i)
      offset(%i) write_lse(%i) head_dims(64, 64) mask(diagonal) : !t, !t, !t, !t, !lse
  return
}

// -----

func.func @bias_type(%q: !attn.tensor<4 x f16, a2>, %lse: !attn.tensor<3 x f32, a4>, %x: !attn.tensor<4 x f32, a4>, %n: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C6: expected bias of rank 4 and element type 'f16', and no bools, for kind matrix, got '!attn.tensor<4 x f32, a4>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) bias(%x : !attn.tensor<4 x f32, a4>) matrix scale(%f)
      seqlens(%n, %n) heads(%n, %n) offset(%n) write_lse(%n) head_dims(8, 8) mask(none)
      : !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>,
        !attn.tensor<3 x f32, a4>
  return
}

// -----

func.func @bias_bool(%q: !attn.tensor<4 x f16, a2>, %lse: !attn.tensor<3 x f32, a4>, %x: !attn.tensor<4 x i8, a2>, %n: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C6: expected bias of rank 4}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) bias(%x : !attn.tensor<4 x i8, a2>) matrix_bool scale(%f)
      seqlens(%n, %n) heads(%n, %n) offset(%n) write_lse(%n) head_dims(8, 8) mask(none)
      : !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>,
        !attn.tensor<3 x f32, a4>
  return
}

// -----

func.func @bias_without_kind(%q: !attn.tensor<4 x f16, a2>, %lse: !attn.tensor<3 x f32, a4>, %x: !attn.tensor<4 x f16, a2>, %n: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C6: bias of kind none is given}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) bias(%x : !attn.tensor<4 x f16, a2>) none scale(%f)
      seqlens(%n, %n) heads(%n, %n) offset(%n) write_lse(%n) head_dims(8, 8) mask(none)
      : !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>,
        !attn.tensor<3 x f32, a4>
  return
}

// -----

func.func @mask_rank(%q: !attn.tensor<4 x f16, a2>, %lse: !attn.tensor<3 x f32, a4>, %x: !attn.tensor<2 x f16, a2>, %n: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C6: expected attn_mask of rank 4}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) attn_mask(%x : !attn.tensor<2 x f16, a2>) vector scale(%f)
      seqlens(%n, %n) heads(%n, %n) offset(%n) write_lse(%n) head_dims(8, 8) mask(none)
      : !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>,
        !attn.tensor<3 x f32, a4>
  return
}

// -----

func.func @alibi_type(%q: !attn.tensor<4 x f16, a2>, %lse: !attn.tensor<3 x f32, a4>, %x: !attn.tensor<2 x f16, a2>, %n: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C7: expected alibi of rank 2 and element type f32 with a position offset, got '!attn.tensor<2 x f16, a2>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) alibi(%x, %n : !attn.tensor<2 x f16, a2>) scale(%f)
      seqlens(%n, %n) heads(%n, %n) offset(%n) write_lse(%n) head_dims(8, 8) mask(none)
      : !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>,
        !attn.tensor<3 x f32, a4>
  return
}
