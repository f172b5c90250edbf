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

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!b = !attn.tensor<2 x i32, strided>
func.func @forward_C8_row_bounds_rank(%q: !t, %lse: !lse, %b: !b, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C8: expected row_bounds of rank 3 and element type 'i32', got '!attn.tensor<2 x i32, strided>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) row_bounds(%b : !b) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!b = !attn.tensor<3 x i64, strided>
func.func @forward_C8_row_bounds_element_type(%q: !t, %lse: !lse, %b: !b, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C8: expected row_bounds of rank 3 and element type 'i32', got '!attn.tensor<3 x i64, strided>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) row_bounds(%b : !b) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!b = !attn.tensor<3 x i32, strided>
!p = !attn.tensor<4 x i8, a2>
func.func @forward_C8_key_padding_rank(%q: !t, %lse: !lse, %b: !b, %p: !p, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C8: expected key_padding of rank 2 and element type 'i8', got '!attn.tensor<4 x i8, a2>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) row_bounds(%b : !b) key_padding(%p : !p) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!b = !attn.tensor<3 x i32, strided>
!p = !attn.tensor<2 x i32, a4>
func.func @forward_C8_key_padding_element_type(%q: !t, %lse: !lse, %b: !b, %p: !p, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C8: expected key_padding of rank 2 and element type 'i8', got '!attn.tensor<2 x i32, a4>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) row_bounds(%b : !b) key_padding(%p : !p) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!p = !attn.tensor<2 x i8, a2>
func.func @forward_C8_key_padding_without_row_bounds(%q: !t, %lse: !lse, %p: !p, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C8: expected row_bounds with key_padding}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) key_padding(%p : !p) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!n = !attn.tensor<1 x i32, strided>
!m = !attn.tensor<2 x i32, strided>
func.func @forward_C9_cu_seqlens_q(%q: !t, %lse: !lse, %n: !n, %m: !m, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C9: expected cu_seqlens_q of rank 1 and element type 'i32', got '!attn.tensor<2 x i32, strided>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) cu_seqlens(%m, %n : !m, !n) bottom_right(%i) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!n = !attn.tensor<1 x i32, strided>
!m = !attn.tensor<1 x i64, strided>
func.func @forward_C9_cu_seqlens_k(%q: !t, %lse: !lse, %n: !n, %m: !m, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C9: expected cu_seqlens_k of rank 1 and element type 'i32', got '!attn.tensor<1 x i64, strided>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) cu_seqlens(%n, %m : !n, !m) bottom_right(%i) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!m = !attn.tensor<1 x i64, strided>
func.func @forward_C9_used(%q: !t, %lse: !lse, %m: !m, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C9: expected used of rank 1 and element type 'i32', got '!attn.tensor<1 x i64, strided>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) used(%m : !m) bottom_right(%i) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!n = !attn.tensor<1 x i32, strided>
func.func @forward_C9_cu_seqlens_without_bottom_right(%q: !t, %lse: !lse, %n: !n, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C9: expected bottom_right exactly with cu_seqlens or used}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) cu_seqlens(%n, %n : !n, !n) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!n = !attn.tensor<1 x i32, strided>
func.func @forward_C9_used_without_bottom_right(%q: !t, %lse: !lse, %n: !n, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C9: expected bottom_right exactly with cu_seqlens or used}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) used(%n : !n) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!n = !attn.tensor<1 x i32, strided>
func.func @forward_C9_bottom_right_alone(%q: !t, %lse: !lse, %n: !n, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C9: expected bottom_right exactly with cu_seqlens or used}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) bottom_right(%i) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!n = !attn.tensor<1 x i32, strided>
func.func @forward_C9_even_m(%q: !t, %lse: !lse, %n: !n, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C9: expected no even_m with cu_seqlens}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) cu_seqlens(%n, %n : !n, !n) bottom_right(%i) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) {even_m} : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!n = !attn.tensor<1 x i32, strided>
func.func @forward_C9_even_n_with_cu_seqlens(%q: !t, %lse: !lse, %n: !n, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C9: expected no even_n where lengths are the entries' own}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) cu_seqlens(%n, %n : !n, !n) bottom_right(%i) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) {even_n} : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!n = !attn.tensor<1 x i32, strided>
func.func @forward_C9_even_n_with_used(%q: !t, %lse: !lse, %n: !n, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C9: expected no even_n where lengths are the entries' own}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) used(%n : !n) bottom_right(%i) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) {even_n} : !t, !t, !t, !t, !lse
  return
}

// -----

// The format writes both; the generic form need not.
!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!n = !attn.tensor<1 x i32, strided>
func.func @forward_C9_one_cu_seqlens(%q: !t, %lse: !lse, %n: !n, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C9: expected both cu_seqlens or neither}}
  "attn.forward"(%q, %q, %q, %q, %lse, %n, %i, %f, %i, %i, %i, %i, %i, %i)
      <{head_dim = 64 : i64, head_dim_v = 64 : i64, mask = #attn<mask none>,
        operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1>}>
      : (!t, !t, !t, !t, !lse, !n, i64, f32, i64, i64, i64, i64, i64, i64) -> ()
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!s = !attn.tensor<2 x i64, strided>
func.func @forward_C10_state_rank(%q: !t, %lse: !lse, %s: !s, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C10: expected the state of rank 1 and element type 'i64', got '!attn.tensor<2 x i64, strided>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) dropout(%s, [%i, %i, %i, %i], %f : !s) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!s = !attn.tensor<1 x i32, strided>
func.func @forward_C10_state_element_type(%q: !t, %lse: !lse, %s: !s, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C10: expected the state of rank 1 and element type 'i64', got '!attn.tensor<1 x i32, strided>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) dropout(%s, [%i, %i, %i, %i], %f : !s) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!s = !attn.tensor<1 x i64, strided>
func.func @forward_C10_too_few_numbers(%q: !t, %lse: !lse, %s: !s, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C10: expected 4 numbers of dropout and a scale, got 3}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) dropout(%s, [%i, %i, %i], %f : !s) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!s = !attn.tensor<1 x i64, strided>
func.func @forward_C10_too_many_numbers(%q: !t, %lse: !lse, %s: !s, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C10: expected 4 numbers of dropout and a scale, got 5}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) dropout(%s, [%i, %i, %i, %i, %i], %f : !s) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!p = !attn.tensor<3 x f16, strided>
func.func @forward_C10_probs_rank(%q: !t, %lse: !lse, %p: !p, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C10: expected probs of rank 4 and element type 'f16', got '!attn.tensor<3 x f16, strided>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) probs(%p : !p) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, a4>
!p = !attn.tensor<4 x f32, strided>
func.func @forward_C10_probs_element_type(%q: !t, %lse: !lse, %p: !p, %i: i64, %f: f32) {
  // expected-error @+1 {{attn.forward-C10: expected probs of rank 4 and element type 'f16', got '!attn.tensor<4 x f32, strided>'}}
  attn.forward q(%q) k(%q) v(%q) out(%q) lse(%lse) probs(%p : !p) scale(%f) seqlens(%i, %i)
      heads(%i, %i) offset(%i) write_lse(%i) head_dims(64, 64) mask(none) : !t, !t, !t, !t, !lse
  return
}

// -----

!p = !attn.tensor<3 x i32, a4>
!l = !attn.tensor<2 x i32, a4>
!m = !attn.tensor<1 x i8, a2>
func.func @row_limits_C2_used_element_type(%p: !p, %l: !l, %m: !m, %i: i64) {
  // expected-error @+1 {{attn.row_limits-C2: expected used of rank 1 and element type 'i32', got '!attn.tensor<1 x i8, a2>'}}
  attn.row_limits pairs(%p) limits(%l) used(%m : !m) bottom_right(%i) seqlens(%i, %i) offset(%i) count(%i) : !p, !l
  return
}

// -----

!p = !attn.tensor<3 x i32, a4>
!l = !attn.tensor<2 x i32, a4>
!n = !attn.tensor<1 x i32, strided>
func.func @row_limits_C2_no_bottom_right(%p: !p, %l: !l, %n: !n, %i: i64) {
  // expected-error @+1 {{attn.row_limits-C2: expected bottom_right exactly with cu_seqlens or used}}
  attn.row_limits pairs(%p) limits(%l) cu_seqlens(%n, %n : !n, !n) seqlens(%i, %i) offset(%i) count(%i) : !p, !l
  return
}

// -----

!p = !attn.tensor<3 x i32, a4>
!l = !attn.tensor<2 x i32, a4>
!n = !attn.tensor<1 x i32, strided>
func.func @row_limits_C2_bottom_right_alone(%p: !p, %l: !l, %n: !n, %i: i64) {
  // expected-error @+1 {{attn.row_limits-C2: expected bottom_right exactly with cu_seqlens or used}}
  attn.row_limits pairs(%p) limits(%l) bottom_right(%i) seqlens(%i, %i) offset(%i) count(%i) : !p, !l
  return
}

// -----

!p = !attn.tensor<3 x i32, a4>
!l = !attn.tensor<2 x i32, a4>
!n = !attn.tensor<1 x i32, strided>
func.func @row_limits_C2_even_m(%p: !p, %l: !l, %n: !n, %i: i64) {
  // expected-error @+1 {{attn.row_limits-C2: expected no even_m with cu_seqlens}}
  attn.row_limits pairs(%p) limits(%l) cu_seqlens(%n, %n : !n, !n) bottom_right(%i) seqlens(%i, %i) offset(%i) count(%i) {even_m} : !p, !l
  return
}

// -----

!b = !attn.tensor<2 x i32, strided>
!d = !attn.tensor<2 x i32, strided>
!k = !attn.tensor<2 x i8, strided>
!n = !attn.tensor<1 x i32, strided>
func.func @row_bounds_C1_bounds_rank(%b: !b, %d: !d, %k: !k, %n: !n, %i: i64) {
  // expected-error @+1 {{attn.row_bounds-C1: expected bounds of rank 3 and element type 'i32', got '!attn.tensor<2 x i32, strided>'}}
  attn.row_bounds bounds(%b) documents(%d : !d) seqlens(%i, %i) offset(%i) : !b
  return
}

// -----

!b = !attn.tensor<3 x i64, strided>
!d = !attn.tensor<2 x i32, strided>
!k = !attn.tensor<2 x i8, strided>
!n = !attn.tensor<1 x i32, strided>
func.func @row_bounds_C1_bounds_element_type(%b: !b, %d: !d, %k: !k, %n: !n, %i: i64) {
  // expected-error @+1 {{attn.row_bounds-C1: expected bounds of rank 3 and element type 'i32', got '!attn.tensor<3 x i64, strided>'}}
  attn.row_bounds bounds(%b) documents(%d : !d) seqlens(%i, %i) offset(%i) : !b
  return
}

// -----

!b = !attn.tensor<3 x i32, strided>
!d = !attn.tensor<1 x i32, strided>
!k = !attn.tensor<2 x i8, strided>
!n = !attn.tensor<1 x i32, strided>
func.func @row_bounds_C1_documents(%b: !b, %d: !d, %k: !k, %n: !n, %i: i64) {
  // expected-error @+1 {{attn.row_bounds-C1: expected documents of rank 2 and element type 'i32', got '!attn.tensor<1 x i32, strided>'}}
  attn.row_bounds bounds(%b) documents(%d : !d) seqlens(%i, %i) offset(%i) : !b
  return
}

// -----

!b = !attn.tensor<3 x i32, strided>
!d = !attn.tensor<2 x i32, strided>
!k = !attn.tensor<2 x i32, strided>
!n = !attn.tensor<1 x i32, strided>
func.func @row_bounds_C1_key_padding(%b: !b, %d: !d, %k: !k, %n: !n, %i: i64) {
  // expected-error @+1 {{attn.row_bounds-C1: expected key_padding of rank 2 and element type 'i8', got '!attn.tensor<2 x i32, strided>'}}
  attn.row_bounds bounds(%b) key_padding(%k : !k) seqlens(%i, %i) offset(%i) : !b
  return
}

// -----

!b = !attn.tensor<3 x i32, strided>
!d = !attn.tensor<2 x i32, strided>
!k = !attn.tensor<2 x i8, strided>
!n = !attn.tensor<1 x i32, strided>
func.func @row_bounds_C1_nothing(%b: !b, %d: !d, %k: !k, %n: !n, %i: i64) {
  // expected-error @+1 {{attn.row_bounds-C1: expected documents or key_padding}}
  attn.row_bounds bounds(%b) seqlens(%i, %i) offset(%i) : !b
  return
}

// -----

!b = !attn.tensor<3 x i32, strided>
!d = !attn.tensor<2 x i32, strided>
!k = !attn.tensor<2 x i8, strided>
!n = !attn.tensor<2 x i32, strided>
func.func @row_bounds_C2_used(%b: !b, %d: !d, %k: !k, %n: !n, %i: i64) {
  // expected-error @+1 {{attn.row_bounds-C2: expected used of rank 1 and element type 'i32', got '!attn.tensor<2 x i32, strided>'}}
  attn.row_bounds bounds(%b) documents(%d : !d) used(%n : !n) bottom_right(%i) seqlens(%i, %i) offset(%i) : !b
  return
}

// -----

!b = !attn.tensor<3 x i32, strided>
!d = !attn.tensor<2 x i32, strided>
!k = !attn.tensor<2 x i8, strided>
!n = !attn.tensor<1 x i32, strided>
func.func @row_bounds_C2_no_bottom_right(%b: !b, %d: !d, %k: !k, %n: !n, %i: i64) {
  // expected-error @+1 {{attn.row_bounds-C2: expected bottom_right exactly with cu_seqlens or used}}
  attn.row_bounds bounds(%b) documents(%d : !d) used(%n : !n) seqlens(%i, %i) offset(%i) : !b
  return
}

// -----

!b = !attn.tensor<3 x i32, strided>
!d = !attn.tensor<2 x i32, strided>
!k = !attn.tensor<2 x i8, strided>
!n = !attn.tensor<1 x i32, strided>
func.func @row_bounds_C2_even_m(%b: !b, %d: !d, %k: !k, %n: !n, %i: i64) {
  // expected-error @+1 {{attn.row_bounds-C2: expected no even_m with cu_seqlens}}
  attn.row_bounds bounds(%b) key_padding(%k : !k) cu_seqlens(%n, %n : !n, !n) bottom_right(%i) seqlens(%i, %i) offset(%i) {even_m} : !b
  return
}
