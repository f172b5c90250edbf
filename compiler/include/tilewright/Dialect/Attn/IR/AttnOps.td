// SPDX-License-Identifier: Apache-2.0
#ifndef TILEWRIGHT_DIALECT_ATTN_IR_ATTNOPS
#define TILEWRIGHT_DIALECT_ATTN_IR_ATTNOPS

include "tilewright/Dialect/Attn/IR/AttnDialect.td"

class Attn_Op<string mnemonic, list<Trait> traits = []> : Op<Attn_Dialect, mnemonic, traits>;

def Attn_MaskKindAttr : EnumAttr<Attn_Dialect, Attn_MaskKind, "mask"> {
  let assemblyFormat = "$value";
}

def Attn_ScoreOperandAttr : EnumAttr<Attn_Dialect, Attn_ScoreOperand, "score_operand"> {
  let assemblyFormat = "$value";
}

def Attn_ForwardOp : Attn_Op<"forward", [AttrSizedOperandSegments]> {
  let summary = "attention, forward pass";
  let description = [{
    Computes, for every batch entry `b`, head `h` and query row `i`,

        L[j] = softcap(scale * dot(q[b, i, h], k[b, j, h / heads_per_kv])) - alibi[b, h] * |i + position_offset - j|
               + bias[b, h, i, j] + attn_mask[b, h, i, j]              where column j is visible to row i, else -inf
        out[b, i, h] = dropout(softmax(L)) v[b, :, h / heads_per_kv]
        lse[b, h, i] = log(sum_j exp(L[j]))                            if write_lse != 0
        probs[b, h, i, j] = softmax(L)[j], negative where dropped      if `probs` is given

    Accumulation and statistics are float32. A row that sees nothing has `out` 0 and `lse` -inf. The mask decides what
    row `i` sees; with `o = causal_offset`, its visible columns are `[0, hi(i))`:

    | mask         | hi(i)                                                            | `limits`           |
    |--------------|------------------------------------------------------------------|--------------------|
    | `none`       | seqlen_k                                                         | absent             |
    | `causal`     | min(seqlen_k, i + o + 1)                                         | absent             |
    | `glm_break`  | max(min(seqlen_k, i + o + 1), limits[b])                         | `1 x i32`          |
    | `glm_packed` | limits[b, i], as `attn.row_limits` writes it                     | `2 x i32`          |

    With a `window` offset `w`, row `i` does not see columns before `i + w` either: its visible columns are
    `[clamp(i + w, 0, seqlen_k), hi(i))`. With `row_bounds`, which `attn.row_bounds` writes, that interval is cut to
    `[row_bounds[b, 0, i], row_bounds[b, 1, i])`, and with `key_padding` columns where it is 0 are hidden too. Values at
    columns that the padding hides count as 0, whatever they are; those between real ones lie in
    `[row_bounds[b, 2, i], row_bounds[b, 3, i])`.

    With `cu_seqlens` or `used` batch entries have lengths of their own. With `cu_seqlens`, entry `b` consists of the
    rows `cu_seqlens_q[b]` to `cu_seqlens_q[b + 1]` of q, out and lse, and of such rows of k and v, and seqlen_q and
    seqlen_k are no entry's lengths but at least the longest; every other tensor is indexed by position inside the
    sequence. With `used`, only so many keys of it count. Where `bottom_right` is 1, the entry's seqlen_k - seqlen_q is
    added to the offsets (causal, position, window).

    `dropout` removes the entries that Philox.h says, by seed and offset (the first two of its four numbers) or, if the
    third is not 0, by the two numbers in the state; an entry stays if its 16 bits are below the threshold, the fourth,
    and is multiplied by the number after them.

    With `c` the value of `softcap`, softcap(x) = c * tanh(x / c); without the operand, x. A tensor that is not given
    adds nothing. `bias` and `attn_mask` have the extents (batch, heads, seqlen_q, seqlen_k) with any strides, 0 too;
    of kind `vector` their third stride is taken as 0. An `attn_mask` of bools hides where it is false.

    Preconditions: head dims are those of the tensors; lengths fit in 31 bits; `even_m` (`even_n`) may be given only if
    seqlen_q (seqlen_k) is a multiple of the schedule's block_m (block_n) in every launch.
    Postconditions: every element of `out` within the lengths is written, nothing else is.

    Constraints
    - `attn.forward-C1`: head_dim and head_dim_v are within 1..256.
    - `attn.forward-C2`: q, k, v and out are rank 4 and have one element type: f32, f16 or bf16.
    - `attn.forward-C3`: lse is rank 3, f32.
    - `attn.forward-C4`: `limits` is given exactly for `glm_break` (rank 1) and `glm_packed` (rank 2), as i32.
    - `attn.forward-C5`: `even_n` is given only for mask `none`; any other mask ends the last block itself.
    - `attn.forward-C6`: `bias` and `attn_mask` are given exactly where their kind is not `none`, with rank 4 and the
      kind's element type: q's, f32, or, for `attn_mask` only, i8 for bools.
    - `attn.forward-C7`: `alibi` is rank 2, f32, and comes with a position offset.
    - `attn.forward-C8`: `row_bounds` is rank 3, i32; `key_padding` rank 2, i8, and comes with row bounds.
    - `attn.forward-C9`: cu_seqlens are given both or not at all; they and `used` are rank 1, i32, and come with
      bottom_right; then neither even_m (with cu_seqlens) nor even_n is given.
    - `attn.forward-C10`: the state is rank 1, i64, and comes with the numbers of dropout; `probs` is rank 4, of
      q's type.

    Example:
    ```mlir
    attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk)
        offset(%o) write_lse(%w) head_dims(64, 64) mask(causal) {even_m}
        : !attn.tensor<4 x bf16, a2>, !attn.tensor<4 x bf16, a2>, !attn.tensor<4 x bf16, a2>,
          !attn.tensor<4 x bf16, a2>, !attn.tensor<3 x f32, a4>
    ```
  }];
  let arguments = (ins
    Attn_TensorType:$q, Attn_TensorType:$k, Attn_TensorType:$v, Attn_TensorType:$out, Attn_TensorType:$lse,
    Optional<Attn_TensorType>:$limits, Optional<Attn_TensorType>:$bias, Optional<Attn_TensorType>:$attnMask,
    Optional<Attn_TensorType>:$alibi, Optional<I64>:$positionOffset, Optional<I64>:$windowOffset,
    Optional<F32>:$softcap, Optional<Attn_TensorType>:$rowBounds, Optional<Attn_TensorType>:$keyPadding,
    Optional<Attn_TensorType>:$cuSeqlensQ, Optional<Attn_TensorType>:$cuSeqlensK, Optional<Attn_TensorType>:$seqUsedK,
    Optional<I64>:$bottomRight, Optional<Attn_TensorType>:$rngState, Variadic<I64>:$dropoutNumbers,
    Optional<F32>:$keepScale, Optional<Attn_TensorType>:$probs,
    F32:$scale, I64:$seqlenQ, I64:$seqlenK, I64:$heads, I64:$headsPerKv, I64:$causalOffset, I64:$writeLse,
    I64Attr:$head_dim, I64Attr:$head_dim_v, Attn_MaskKindAttr:$mask,
    DefaultValuedAttr<Attn_ScoreOperandAttr, "::tilewright::attn::ScoreOperand::None">:$bias_kind,
    DefaultValuedAttr<Attn_ScoreOperandAttr, "::tilewright::attn::ScoreOperand::None">:$mask_kind,
    UnitAttr:$even_m, UnitAttr:$even_n);
  let assemblyFormat = [{
    `q` `(` $q `)` `k` `(` $k `)` `v` `(` $v `)` `out` `(` $out `)` `lse` `(` $lse `)`
    (`limits` `(` $limits^ `:` type($limits) `)`)?
    (`bias` `(` $bias^ `:` type($bias) `)` $bias_kind)? (`attn_mask` `(` $attnMask^ `:` type($attnMask) `)` $mask_kind)?
    (`alibi` `(` $alibi^ `,` $positionOffset `:` type($alibi) `)`)? (`window` `(` $windowOffset^ `)`)?
    (`softcap` `(` $softcap^ `)`)? (`row_bounds` `(` $rowBounds^ `:` type($rowBounds) `)`)?
    (`key_padding` `(` $keyPadding^ `:` type($keyPadding) `)`)?
    (`cu_seqlens` `(` $cuSeqlensQ^ `,` $cuSeqlensK `:` type($cuSeqlensQ) `,` type($cuSeqlensK) `)`)?
    (`used` `(` $seqUsedK^ `:` type($seqUsedK) `)`)? (`bottom_right` `(` $bottomRight^ `)`)?
    (`dropout` `(` $rngState^ `,` `[` $dropoutNumbers `]` `,` $keepScale `:` type($rngState) `)`)?
    (`probs` `(` $probs^ `:` type($probs) `)`)?
    `scale` `(` $scale `)` `seqlens` `(` $seqlenQ `,` $seqlenK `)` `heads` `(` $heads `,` $headsPerKv `)`
    `offset` `(` $causalOffset `)` `write_lse` `(` $writeLse `)`
    `head_dims` `(` $head_dim `,` $head_dim_v `)` `mask` `(` $mask `)` attr-dict
    `:` type($q) `,` type($k) `,` type($v) `,` type($out) `,` type($lse)
  }];
  let hasVerifier = 1;
}

def Attn_RowLimitsOp : Attn_Op<"row_limits", [AttrSizedOperandSegments]> {
  let summary = "packed GLM pairs to one limit a query row";
  let description = [{
    For every batch entry `b` and query row `i`, with `o = causal_offset` and all values clamped to [0, seqlen_k]:

        limits[b, i] = max(min(seqlen_k, i + o + 1), max{ end : start <= i + o < end over the pairs of b })

    `pairs` is (batch, 2, N): starts, then ends; an unused pair is (-1, -1), and any order, nesting or overlap is legal.
    With cu_seqlens or used, as for `attn.forward`, seqlen_k and o are those of the batch entry, and the table keeps
    seqlen_q rows an entry.

    This turns O(N) work an element into one comparison, and gives the forward and the backward pass a table that does
    not decrease with `i`, which is what block ranges are looked up in.

    Constraints
    - `attn.row_limits-C1`: pairs is rank 3, limits is rank 2, both i32.
    - `attn.row_limits-C2`: as `attn.forward-C9`.

    Example:
    ```mlir
    attn.row_limits pairs(%p) limits(%l) seqlens(%sq, %sk) offset(%o) count(%n)
        : !attn.tensor<3 x i32, a4>, !attn.tensor<2 x i32, a4>
    ```
  }];
  let arguments = (ins Attn_TensorType:$pairs, Attn_TensorType:$limits,
                       Optional<Attn_TensorType>:$cuSeqlensQ, Optional<Attn_TensorType>:$cuSeqlensK,
                       Optional<Attn_TensorType>:$seqUsedK, Optional<I64>:$bottomRight,
                       I64:$seqlenQ, I64:$seqlenK, I64:$causalOffset, I64:$count, UnitAttr:$even_m);
  let assemblyFormat = [{
    `pairs` `(` $pairs `)` `limits` `(` $limits `)`
    (`cu_seqlens` `(` $cuSeqlensQ^ `,` $cuSeqlensK `:` type($cuSeqlensQ) `,` type($cuSeqlensK) `)`)?
    (`used` `(` $seqUsedK^ `:` type($seqUsedK) `)`)? (`bottom_right` `(` $bottomRight^ `)`)?
    `seqlens` `(` $seqlenQ `,` $seqlenK `)`
    `offset` `(` $causalOffset `)` `count` `(` $count `)` attr-dict `:` type($pairs) `,` type($limits)
  }];
  let hasVerifier = 1;
}

def Attn_RowBoundsOp : Attn_Op<"row_bounds", [AttrSizedOperandSegments]> {
  let summary = "documents and padding to an interval of keys for each query row";
  let description = [{
    For every batch entry `b` and query row `i`, at key position `p = i + position_offset`:

        bounds[b, 0, i], bounds[b, 1, i] = the keys of the document that p is in,
                                           cut to [first, last + 1) of the keys where key_padding[b] is not 0

    Documents are the runs of equal numbers in `documents[b]`, which do not decrease but for -1, the padding at the
    end. With key_padding [bounds[b, 2, i], bounds[b, 3, i]) is where all keys are that it hides between its first and
    its last real one, or [0, 0). A row whose position is outside of [0, seqlen_k), or is padding, gets an empty
    interval. Neither bound decreases with `i`, which is what block ranges rest on. Without `documents` every row starts
    from [0, seqlen_k).

    With cu_seqlens or used, as for `attn.forward`, the lengths and the offset are those of the batch entry, and the
    table keeps seqlen_q rows an entry.

    Constraints
    - `attn.row_bounds-C1`: bounds is rank 3, i32; documents rank 2, i32; key_padding rank 2, i8; one of the last two is
      given.
    - `attn.row_bounds-C2`: as `attn.forward-C9`.

    Example:
    ```mlir
    attn.row_bounds bounds(%t) documents(%d : !attn.tensor<2 x i32, strided>) seqlens(%sq, %sk) offset(%o)
        : !attn.tensor<3 x i32, strided>
    ```
  }];
  let arguments = (ins Attn_TensorType:$bounds, Optional<Attn_TensorType>:$documents,
                       Optional<Attn_TensorType>:$keyPadding,
                       Optional<Attn_TensorType>:$cuSeqlensQ, Optional<Attn_TensorType>:$cuSeqlensK,
                       Optional<Attn_TensorType>:$seqUsedK, Optional<I64>:$bottomRight,
                       I64:$seqlenQ, I64:$seqlenK, I64:$positionOffset, UnitAttr:$even_m);
  let assemblyFormat = [{
    `bounds` `(` $bounds `)` (`documents` `(` $documents^ `:` type($documents) `)`)?
    (`key_padding` `(` $keyPadding^ `:` type($keyPadding) `)`)?
    (`cu_seqlens` `(` $cuSeqlensQ^ `,` $cuSeqlensK `:` type($cuSeqlensQ) `,` type($cuSeqlensK) `)`)?
    (`used` `(` $seqUsedK^ `:` type($seqUsedK) `)`)? (`bottom_right` `(` $bottomRight^ `)`)?
    `seqlens` `(` $seqlenQ `,` $seqlenK `)` `offset` `(` $positionOffset `)` attr-dict `:` type($bounds)
  }];
  let hasVerifier = 1;
}

#endif // TILEWRIGHT_DIALECT_ATTN_IR_ATTNOPS
