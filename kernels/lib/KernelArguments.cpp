// SPDX-License-Identifier: Apache-2.0
#include "tilewright/kernels/KernelArguments.h"
#include <array>
#include <cassert>

using namespace tilewright;
using namespace tilewright::kernels;

static constexpr std::array<ArgInfo, 17> kArgs = {{
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
}};

const ArgInfo &kernels::argInfo(ArgId id) {
  const ArgInfo &info = kArgs[static_cast<unsigned>(id)];
  assert(info.id == id && "kArgs is out of order");
  return info;
}

// The operands that a mask adds stand between the tensors and the scalars.
static constexpr ArgId kForward[] = {ArgId::Q,       ArgId::K,       ArgId::V,     ArgId::Out,
                                     ArgId::Lse,     ArgId::Scale,   ArgId::SeqlenQ, ArgId::SeqlenK,
                                     ArgId::Heads,   ArgId::HeadsPerKv, ArgId::CausalOffset, ArgId::WriteLse};
static constexpr ArgId kForwardGlmBreak[] = {
    ArgId::Q,       ArgId::K,       ArgId::V,     ArgId::Out,        ArgId::Lse,          ArgId::GlmBreak, ArgId::Scale,
    ArgId::SeqlenQ, ArgId::SeqlenK, ArgId::Heads, ArgId::HeadsPerKv, ArgId::CausalOffset, ArgId::WriteLse};
static constexpr ArgId kForwardGlmPacked[] = {
    ArgId::Q,       ArgId::K,       ArgId::V,     ArgId::Out,        ArgId::Lse,          ArgId::RowLimits, ArgId::Scale,
    ArgId::SeqlenQ, ArgId::SeqlenK, ArgId::Heads, ArgId::HeadsPerKv, ArgId::CausalOffset, ArgId::WriteLse};
static constexpr ArgId kRowLimits[] = {ArgId::GlmPairs, ArgId::RowLimits, ArgId::SeqlenQ,
                                       ArgId::SeqlenK,  ArgId::CausalOffset, ArgId::Pairs};

std::span<const ArgId> kernels::kernelArguments(KernelKind kind, attn::MaskKind mask) {
  if (kind == KernelKind::RowLimits) {
    return kRowLimits;
  }
  switch (mask) {
  case attn::MaskKind::GlmBreak:
    return kForwardGlmBreak;
  case attn::MaskKind::GlmPacked:
    return kForwardGlmPacked;
  case attn::MaskKind::None:
  case attn::MaskKind::Causal:
    return kForward;
  }
  return {};
}
