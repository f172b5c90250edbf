// The examples of AttnOps.td and AttnDialect.td, and every variant of the operations, printed and parsed back.
// RUN: tilewright-opt "%s" | tilewright-opt | FileCheck "%s"
// RUN: tilewright-opt "%s" -mlir-print-op-generic | tilewright-opt | FileCheck "%s"

// Ranks 1 to 4, all element types, all alignment classes.
// CHECK-LABEL: func.func @tensor_types(
// CHECK-SAME: %{{.*}}: !attn.tensor<4 x bf16, a2>, %{{.*}}: !attn.tensor<3 x f32, a4>,
// CHECK-SAME: %{{.*}}: !attn.tensor<2 x i32, a8>, %{{.*}}: !attn.tensor<1 x f16, a16>,
// CHECK-SAME: %{{.*}}: !attn.tensor<4 x f16, strided>)
func.func @tensor_types(%a: !attn.tensor<4 x bf16, a2>, %b: !attn.tensor<3 x f32, a4>, %c: !attn.tensor<2 x i32, a8>,
                        %d: !attn.tensor<1 x f16, a16>, %e: !attn.tensor<4 x f16, strided>) {
  return
}

// The example of attn.forward.
// CHECK-LABEL: func.func @forward_causal(
// CHECK: attn.forward q(%[[Q:[^)]*]]) k(%{{[^)]*}}) v(%{{[^)]*}}) out(%{{[^)]*}}) lse(%{{[^)]*}}) scale(
// CHECK-SAME: head_dims(64, 64) mask({{ ?}}causal) {even_m}
// CHECK-SAME: : <4 x bf16, a2>, <4 x bf16, a2>, <4 x bf16, a2>, <4 x bf16, a2>, <3 x f32, a4>
func.func @forward_causal(%q: !attn.tensor<4 x bf16, a2>, %k: !attn.tensor<4 x bf16, a2>,
    %v: !attn.tensor<4 x bf16, a2>, %out: !attn.tensor<4 x bf16, a2>, %lse: !attn.tensor<3 x f32, a4>,
    %scale: f32, %sq: i64, %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64) {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk)
      offset(%o) write_lse(%w) head_dims(64, 64) mask(causal) {even_m}
      : !attn.tensor<4 x bf16, a2>, !attn.tensor<4 x bf16, a2>, !attn.tensor<4 x bf16, a2>,
        !attn.tensor<4 x bf16, a2>, !attn.tensor<3 x f32, a4>
  return
}

// Operands keep their places: the function's arguments arrive in order, each printed where it belongs.
// CHECK-LABEL: func.func @forward_none(
// CHECK: attn.forward q(%arg0) k(%arg1) v(%arg2) out(%arg3) lse(%arg4) scale(%arg5) seqlens(%arg6, %arg7)
// CHECK-SAME: heads(%arg8, %arg9) offset(%arg10) write_lse(%arg11) head_dims(1, 256) mask({{ ?}}none) {even_m, even_n}
// CHECK-SAME: : <4 x f32, strided>, <4 x f32, a4>, <4 x f32, a8>, <4 x f32, a16>, <3 x f32, strided>
func.func @forward_none(%q: !attn.tensor<4 x f32, strided>, %k: !attn.tensor<4 x f32, a4>,
    %v: !attn.tensor<4 x f32, a8>, %out: !attn.tensor<4 x f32, a16>, %lse: !attn.tensor<3 x f32, strided>,
    %scale: f32, %sq: i64, %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64) {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk)
      offset(%o) write_lse(%w) head_dims(1, 256) mask(none) {even_m, even_n}
      : !attn.tensor<4 x f32, strided>, !attn.tensor<4 x f32, a4>, !attn.tensor<4 x f32, a8>,
        !attn.tensor<4 x f32, a16>, !attn.tensor<3 x f32, strided>
  return
}

// CHECK-LABEL: func.func @forward_glm_break(
// CHECK: attn.forward {{.*}} lse(%arg4) limits(%arg5 : !attn.tensor<1 x i32, a4>) scale(%arg6)
// CHECK-SAME: head_dims(80, 40) mask({{ ?}}glm_break) : <4 x f16, a2>
func.func @forward_glm_break(%q: !attn.tensor<4 x f16, a2>, %k: !attn.tensor<4 x f16, a2>,
    %v: !attn.tensor<4 x f16, a2>, %out: !attn.tensor<4 x f16, a2>, %lse: !attn.tensor<3 x f32, a4>,
    %limits: !attn.tensor<1 x i32, a4>,
    %scale: f32, %sq: i64, %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64) {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) limits(%limits : !attn.tensor<1 x i32, a4>) scale(%scale)
      seqlens(%sq, %sk) heads(%h, %hpk) offset(%o) write_lse(%w) head_dims(80, 40) mask(glm_break)
      : !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>,
        !attn.tensor<4 x f16, a2>, !attn.tensor<3 x f32, a4>
  return
}

// CHECK-LABEL: func.func @forward_glm_packed(
// CHECK: attn.forward {{.*}} limits(%arg5 : !attn.tensor<2 x i32, strided>) {{.*}} mask({{ ?}}glm_packed) : <4 x f16, a2>
func.func @forward_glm_packed(%q: !attn.tensor<4 x f16, a2>, %k: !attn.tensor<4 x f16, a2>,
    %v: !attn.tensor<4 x f16, a2>, %out: !attn.tensor<4 x f16, a2>, %lse: !attn.tensor<3 x f32, a4>,
    %limits: !attn.tensor<2 x i32, strided>,
    %scale: f32, %sq: i64, %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64) {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) limits(%limits : !attn.tensor<2 x i32, strided>) scale(%scale)
      seqlens(%sq, %sk) heads(%h, %hpk) offset(%o) write_lse(%w) head_dims(80, 80) mask(glm_packed)
      : !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>,
        !attn.tensor<4 x f16, a2>, !attn.tensor<3 x f32, a4>
  return
}

// The example of attn.row_limits, and its only attribute.
// CHECK-LABEL: func.func @row_limits(
// CHECK: attn.row_limits pairs(%arg0) limits(%arg1) seqlens(%arg2, %arg3) offset(%arg4) count(%arg5)
// CHECK-SAME: : <3 x i32, a4>, <2 x i32, a4>
// CHECK: attn.row_limits pairs({{.*}}) {even_m} : <3 x i32, a4>, <2 x i32, a4>
func.func @row_limits(%p: !attn.tensor<3 x i32, a4>, %l: !attn.tensor<2 x i32, a4>, %sq: i64, %sk: i64, %o: i64,
                      %n: i64) {
  attn.row_limits pairs(%p) limits(%l) seqlens(%sq, %sk) offset(%o) count(%n)
      : !attn.tensor<3 x i32, a4>, !attn.tensor<2 x i32, a4>
  attn.row_limits pairs(%p) limits(%l) seqlens(%sq, %sk) offset(%o) count(%n) {even_m}
      : !attn.tensor<3 x i32, a4>, !attn.tensor<2 x i32, a4>
  return
}

// Bias, mask, ALiBi and softcap.
// CHECK-LABEL: func.func @forward_features(
// CHECK: attn.forward {{.*}} bias(%arg5 : !attn.tensor<4 x f32, a16>){{ ?}}matrix_f32 attn_mask(%arg6 : !attn.tensor<4 x i8, a2>){{ ?}}vector_bool
// CHECK-SAME: alibi(%arg7, %arg8 : !attn.tensor<2 x f32, strided>) window(%arg8) softcap(%arg9)
func.func @forward_features(%q: !attn.tensor<4 x f16, a2>, %k: !attn.tensor<4 x f16, a2>,
    %v: !attn.tensor<4 x f16, a2>, %out: !attn.tensor<4 x f16, a2>, %lse: !attn.tensor<3 x f32, a4>,
    %bias: !attn.tensor<4 x f32, a16>, %mask: !attn.tensor<4 x i8, a2>, %slopes: !attn.tensor<2 x f32, strided>,
    %po: i64, %cap: f32, %scale: f32, %sq: i64, %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64) {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) bias(%bias : !attn.tensor<4 x f32, a16>) matrix_f32
      attn_mask(%mask : !attn.tensor<4 x i8, a2>) vector_bool alibi(%slopes, %po : !attn.tensor<2 x f32, strided>)
      window(%po) softcap(%cap) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o) write_lse(%w) head_dims(80, 80)
      mask(none) : !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>,
      !attn.tensor<4 x f16, a2>, !attn.tensor<3 x f32, a4>
  return
}

// What other features of the forward pass bring: each operand stands where its own word does.
// CHECK-LABEL: func.func @forward_masks_and_lengths(
// CHECK: attn.forward {{.*}} row_bounds(%arg5 : !attn.tensor<3 x i32, strided>) key_padding(%arg6 : !attn.tensor<2 x i8, a2>)
// CHECK-SAME: cu_seqlens(%arg7, %arg8 : !attn.tensor<1 x i32, strided>, !attn.tensor<1 x i32, a4>)
// CHECK-SAME: used(%arg9 : !attn.tensor<1 x i32, strided>) bottom_right(%arg10) scale(
func.func @forward_masks_and_lengths(%q: !attn.tensor<4 x f16, a2>, %k: !attn.tensor<4 x f16, a2>,
    %v: !attn.tensor<4 x f16, a2>, %out: !attn.tensor<4 x f16, a2>, %lse: !attn.tensor<3 x f32, a4>,
    %bounds: !attn.tensor<3 x i32, strided>, %padding: !attn.tensor<2 x i8, a2>,
    %cuq: !attn.tensor<1 x i32, strided>, %cuk: !attn.tensor<1 x i32, a4>, %used: !attn.tensor<1 x i32, strided>,
    %br: i64, %scale: f32, %sq: i64, %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64) {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) row_bounds(%bounds : !attn.tensor<3 x i32, strided>)
      key_padding(%padding : !attn.tensor<2 x i8, a2>)
      cu_seqlens(%cuq, %cuk : !attn.tensor<1 x i32, strided>, !attn.tensor<1 x i32, a4>)
      used(%used : !attn.tensor<1 x i32, strided>) bottom_right(%br) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk)
      offset(%o) write_lse(%w) head_dims(80, 80) mask(causal) : !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>,
      !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<3 x f32, a4>
  return
}

// Row bounds of documents need no padding; `used` needs no cu_seqlens.
// CHECK-LABEL: func.func @forward_some_masks_and_lengths(
// CHECK: attn.forward {{.*}} lse(%arg4) row_bounds(%arg5 : !attn.tensor<3 x i32, strided>)
// CHECK-SAME: used(%arg6 : !attn.tensor<1 x i32, strided>) bottom_right(%arg7) scale(
func.func @forward_some_masks_and_lengths(%q: !attn.tensor<4 x f16, a2>, %k: !attn.tensor<4 x f16, a2>,
    %v: !attn.tensor<4 x f16, a2>, %out: !attn.tensor<4 x f16, a2>, %lse: !attn.tensor<3 x f32, a4>,
    %bounds: !attn.tensor<3 x i32, strided>, %used: !attn.tensor<1 x i32, strided>, %br: i64, %scale: f32, %sq: i64,
    %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64) {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) row_bounds(%bounds : !attn.tensor<3 x i32, strided>)
      used(%used : !attn.tensor<1 x i32, strided>) bottom_right(%br) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk)
      offset(%o) write_lse(%w) head_dims(80, 80) mask(none) {even_m} : !attn.tensor<4 x f16, a2>,
      !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<3 x f32, a4>
  return
}

// Dropout and probabilities.
// CHECK-LABEL: func.func @forward_dropout(
// CHECK: attn.forward {{.*}} lse(%arg4) dropout(%arg5, [%arg6, %arg7, %arg8, %arg9], %arg10 : !attn.tensor<1 x i64, strided>)
// CHECK-SAME: probs(%arg11 : !attn.tensor<4 x f16, strided>) scale(%arg10)
func.func @forward_dropout(%q: !attn.tensor<4 x f16, a2>, %k: !attn.tensor<4 x f16, a2>,
    %v: !attn.tensor<4 x f16, a2>, %out: !attn.tensor<4 x f16, a2>, %lse: !attn.tensor<3 x f32, a4>,
    %state: !attn.tensor<1 x i64, strided>, %seed: i64, %seed_offset: i64, %given: i64, %threshold: i64, %keep: f32,
    %probs: !attn.tensor<4 x f16, strided>, %sq: i64, %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64) {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse)
      dropout(%state, [%seed, %seed_offset, %given, %threshold], %keep : !attn.tensor<1 x i64, strided>)
      probs(%probs : !attn.tensor<4 x f16, strided>) scale(%keep) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(80, 80) mask(none) {even_n} : !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>,
      !attn.tensor<4 x f16, a2>, !attn.tensor<4 x f16, a2>, !attn.tensor<3 x f32, a4>
  return
}

// CHECK-LABEL: func.func @row_limits_lengths(
// CHECK: attn.row_limits pairs(%arg0) limits(%arg1) cu_seqlens(%arg2, %arg2 : !attn.tensor<1 x i32, strided>, !attn.tensor<1 x i32, strided>)
// CHECK-SAME: used(%arg2 : !attn.tensor<1 x i32, strided>) bottom_right(%arg3) seqlens(
// CHECK: attn.row_limits pairs(%arg0) limits(%arg1) used(%arg2 : !attn.tensor<1 x i32, strided>) bottom_right(%arg3) seqlens({{.*}} {even_m}
func.func @row_limits_lengths(%p: !attn.tensor<3 x i32, a4>, %l: !attn.tensor<2 x i32, a4>,
                              %n: !attn.tensor<1 x i32, strided>, %i: i64) {
  attn.row_limits pairs(%p) limits(%l)
      cu_seqlens(%n, %n : !attn.tensor<1 x i32, strided>, !attn.tensor<1 x i32, strided>)
      used(%n : !attn.tensor<1 x i32, strided>) bottom_right(%i) seqlens(%i, %i) offset(%i) count(%i)
      : !attn.tensor<3 x i32, a4>, !attn.tensor<2 x i32, a4>
  attn.row_limits pairs(%p) limits(%l) used(%n : !attn.tensor<1 x i32, strided>) bottom_right(%i) seqlens(%i, %i)
      offset(%i) count(%i) {even_m} : !attn.tensor<3 x i32, a4>, !attn.tensor<2 x i32, a4>
  return
}

// The example of attn.row_bounds, then with everything.
// CHECK-LABEL: func.func @row_bounds(
// CHECK: attn.row_bounds bounds(%arg0) documents(%arg1 : !attn.tensor<2 x i32, strided>) seqlens(%arg4, %arg4)
// CHECK-SAME: offset(%arg4) : <3 x i32, strided>
// CHECK: attn.row_bounds bounds(%arg0) documents(%arg1 : !attn.tensor<2 x i32, strided>)
// CHECK-SAME: key_padding(%arg2 : !attn.tensor<2 x i8, strided>)
// CHECK-SAME: cu_seqlens(%arg3, %arg3 : !attn.tensor<1 x i32, strided>, !attn.tensor<1 x i32, strided>)
// CHECK-SAME: used(%arg3 : !attn.tensor<1 x i32, strided>) bottom_right(%arg4) seqlens(
// CHECK: attn.row_bounds bounds(%arg0) key_padding(%arg2 : !attn.tensor<2 x i8, strided>) seqlens({{.*}} {even_m} : <3 x i32, strided>
func.func @row_bounds(%t: !attn.tensor<3 x i32, strided>, %d: !attn.tensor<2 x i32, strided>,
                      %k: !attn.tensor<2 x i8, strided>, %n: !attn.tensor<1 x i32, strided>, %i: i64) {
  attn.row_bounds bounds(%t) documents(%d : !attn.tensor<2 x i32, strided>) seqlens(%i, %i) offset(%i)
      : !attn.tensor<3 x i32, strided>
  attn.row_bounds bounds(%t) documents(%d : !attn.tensor<2 x i32, strided>)
      key_padding(%k : !attn.tensor<2 x i8, strided>)
      cu_seqlens(%n, %n : !attn.tensor<1 x i32, strided>, !attn.tensor<1 x i32, strided>)
      used(%n : !attn.tensor<1 x i32, strided>) bottom_right(%i) seqlens(%i, %i) offset(%i)
      : !attn.tensor<3 x i32, strided>
  attn.row_bounds bounds(%t) key_padding(%k : !attn.tensor<2 x i8, strided>) seqlens(%i, %i) offset(%i) {even_m}
      : !attn.tensor<3 x i32, strided>
  return
}
