// SPDX-License-Identifier: Apache-2.0
#include "tilewright/kernels/KernelArguments.h"
#include <cassert>
#include <initializer_list>

using namespace tilewright;
using namespace tilewright::kernels;

static constexpr std::array<ArgInfo, 37> kArgs = {{
    {ArgId::Q, "q", ArgType::Tensor, 4},
    {ArgId::K, "k", ArgType::Tensor, 4},
    {ArgId::V, "v", ArgType::Tensor, 4},
    {ArgId::Out, "out", ArgType::Tensor, 4},
    {ArgId::Lse, "lse", ArgType::Tensor, 3},
    {ArgId::GlmBreak, "glm_break", ArgType::Tensor, 1},
    {ArgId::RowLimits, "row_limits", ArgType::Tensor, 2},
    {ArgId::GlmPairs, "glm_pairs", ArgType::Tensor, 3},
    {ArgId::Scale, "scale", ArgType::Float32, 0},
    {ArgId::SeqlenQ, "seqlen_q", ArgType::Int64, 0},
    {ArgId::SeqlenK, "seqlen_k", ArgType::Int64, 0},
    {ArgId::Heads, "heads", ArgType::Int64, 0},
    {ArgId::Batch, "batch", ArgType::Int64, 0},
    {ArgId::HeadsPerKv, "heads_per_kv", ArgType::Int64, 0},
    {ArgId::CausalOffset, "causal_offset", ArgType::Int64, 0},
    {ArgId::WriteLse, "write_lse", ArgType::Int64, 0},
    {ArgId::Pairs, "pairs", ArgType::Int64, 0},
    {ArgId::Bias, "bias", ArgType::Tensor, 4},
    {ArgId::AttnMask, "attn_mask", ArgType::Tensor, 4},
    {ArgId::AlibiSlopes, "alibi_slopes", ArgType::Tensor, 2},
    {ArgId::Softcap, "softcap", ArgType::Float32, 0},
    {ArgId::WindowOffset, "window_offset", ArgType::Int64, 0},
    {ArgId::PositionOffset, "position_offset", ArgType::Int64, 0},
    {ArgId::RowBounds, "row_bounds", ArgType::Tensor, 3},
    {ArgId::Documents, "documents", ArgType::Tensor, 2},
    {ArgId::KeyPadding, "key_padding", ArgType::Tensor, 2},
    {ArgId::CuSeqlensQ, "cu_seqlens_q", ArgType::Tensor, 1},
    {ArgId::CuSeqlensK, "cu_seqlens_k", ArgType::Tensor, 1},
    {ArgId::SeqUsedK, "seqused_k", ArgType::Tensor, 1},
    {ArgId::BottomRight, "bottom_right", ArgType::Int64, 0},
    {ArgId::RngState, "rng_state", ArgType::Tensor, 1},
    {ArgId::DropoutSeed, "dropout_seed", ArgType::Int64, 0},
    {ArgId::DropoutOffset, "dropout_offset", ArgType::Int64, 0},
    {ArgId::RngGiven, "rng_given", ArgType::Int64, 0},
    {ArgId::DropoutThreshold, "dropout_threshold", ArgType::Int64, 0},
    {ArgId::DropoutScale, "dropout_scale", ArgType::Float32, 0},
    {ArgId::Probs, "probs", ArgType::Tensor, 4},
}};

const ArgInfo &kernels::argInfo(ArgId id) {
  const ArgInfo &info = kArgs[static_cast<unsigned>(id)];
  assert(info.id == id && "kArgs is out of order");
  return info;
}

static void add(ArgList &list, std::initializer_list<ArgId> ids) {
  for (ArgId id : ids) {
    list.add(id);
  }
}

/// Lengths that batch entries have of their own.
static void addLengths(ArgList &list, const ForwardFeatures &features) {
  if (features.varlen) {
    add(list, {ArgId::CuSeqlensQ, ArgId::CuSeqlensK});
  }
  if (features.seqUsedK) {
    list.add(ArgId::SeqUsedK);
  }
  if (features.ownLengths()) {
    list.add(ArgId::BottomRight);
  }
}

// The operands that a feature adds stand between the tensors and the scalars.
ArgList kernels::kernelArguments(KernelKind kind, const ForwardFeatures &features) {
  ArgList list;
  if (kind == KernelKind::RowLimits) {
    add(list, {ArgId::GlmPairs, ArgId::RowLimits});
    addLengths(list, features);
    add(list, {ArgId::SeqlenQ, ArgId::SeqlenK, ArgId::CausalOffset, ArgId::Pairs});
    return list;
  }
  if (kind == KernelKind::RowBounds) {
    list.add(ArgId::RowBounds);
    if (features.documents) {
      list.add(ArgId::Documents);
    }
    if (features.keyPadding) {
      list.add(ArgId::KeyPadding);
    }
    addLengths(list, features);
    add(list, {ArgId::SeqlenQ, ArgId::SeqlenK, ArgId::PositionOffset});
    return list;
  }
  add(list, {ArgId::Q, ArgId::K, ArgId::V, ArgId::Out, ArgId::Lse});
  if (features.mask == attn::MaskKind::GlmBreak) {
    list.add(ArgId::GlmBreak);
  }
  if (features.mask == attn::MaskKind::GlmPacked) {
    list.add(ArgId::RowLimits);
  }
  if (features.bias != attn::ScoreOperand::None) {
    list.add(ArgId::Bias);
  }
  if (features.attnMask != attn::ScoreOperand::None) {
    list.add(ArgId::AttnMask);
  }
  if (features.alibi) {
    add(list, {ArgId::AlibiSlopes, ArgId::PositionOffset});
  }
  if (features.windowLeft) {
    list.add(ArgId::WindowOffset);
  }
  if (features.softcap) {
    list.add(ArgId::Softcap);
  }
  if (features.rowBounds) {
    list.add(ArgId::RowBounds);
  }
  if (features.keyPadding) {
    list.add(ArgId::KeyPadding);
  }
  addLengths(list, features);
  if (features.dropout) {
    add(list, {ArgId::RngState, ArgId::DropoutSeed, ArgId::DropoutOffset, ArgId::RngGiven, ArgId::DropoutThreshold,
               ArgId::DropoutScale});
  }
  if (features.probs) {
    list.add(ArgId::Probs);
  }
  add(list, {ArgId::Scale, ArgId::SeqlenQ, ArgId::SeqlenK, ArgId::Heads, ArgId::HeadsPerKv, ArgId::CausalOffset,
             ArgId::WriteLse});
  return list;
}

// What tile-stage-loads does: copies have 4 bytes at least.
unsigned kernels::sharedScoreBytes(attn::ScoreOperand kind, attn::AlignClass align) {
  switch (kind) {
  case attn::ScoreOperand::Matrix:
    return align == attn::AlignClass::Strided || align == attn::AlignClass::Bytes2 ? 0 : 2;
  case attn::ScoreOperand::MatrixF32:
    return align == attn::AlignClass::Strided ? 0 : 4;
  default:
    return 0;
  }
}
