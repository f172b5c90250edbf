// SPDX-License-Identifier: Apache-2.0
//
// The argument list of every generated kernel, in order. The compiler builds the kernel's signature from it and the
// runtime packs launch arguments by it, so the two cannot disagree.
//
// A CPU kernel is `void kernel(const uint64_t *slots, int64_t program, void *scratch)`: it computes one program
// (a row block of one head of one batch entry). Each argument fills 8-byte slots: a tensor its base pointer and then
// one stride (in elements) a dimension, an int64 one slot, a float32 the low half of one slot.
#ifndef TILEWRIGHT_KERNELS_KERNELARGUMENTS_H
#define TILEWRIGHT_KERNELS_KERNELARGUMENTS_H

#include "tilewright/Dialect/Attn/IR/AttnEnums.h"
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tilewright::kernels {

enum class KernelKind : uint8_t {
  Forward = 0,  ///< attention forward; programs = batch * heads * ceil(seqlen_q / blockM)
  RowLimits = 1, ///< packed GLM pairs to one limit a row; programs = batch * ceil(seqlen_q / blockM)
  RowBounds = 2  ///< documents and padding to an interval a row; programs as of RowLimits
};

enum class ArgId : uint8_t {
  Q, K, V, Out, // (batch, seqlen, heads, head_dim) of the key's element type
  Lse,          // (batch, heads, seqlen_q) float32; base may be null when WriteLse is 0
  GlmBreak,     // (batch) int32
  RowLimits,    // (batch, seqlen_q) int32: first hidden key column of each row
  GlmPairs,     // (batch, 2, pairs) int32
  Scale,        // float32 softmax scale
  SeqlenQ, SeqlenK, Heads, Batch,
  HeadsPerKv,   // heads / heads_k
  CausalOffset, // o: 0 for top_left, seqlen_k - seqlen_q for bottom_right
  WriteLse,     // 0 or 1
  Pairs,        // N of GlmPairs
  Bias,         // (batch, heads, seqlen_q, seqlen_k), strides 0 where it is broadcast; the key says the element type
  AttnMask,     // likewise; bools are bytes
  AlibiSlopes,  // (batch, heads) float32
  Softcap,      // float32
  WindowOffset, // o - left: the first key of query row i's window is i + this
  PositionOffset, // o of semantics A2, where the causal offset may be another
  RowBounds,    // (batch, 2, seqlen_q) int32: first visible and first hidden key column of each row; with KeyPadding
                // (batch, 3, seqlen_q), then how many keys in between are padding
  Documents,    // (batch, seqlen_k) int32
  KeyPadding,   // (batch, seqlen_k) bools as bytes
  CuSeqlensQ, CuSeqlensK, // (batch + 1) int32
  SeqUsedK,     // (batch) int32
  BottomRight,  // 0 or 1: whether an entry's own seqlen_k - seqlen_q is added to the offsets, which lack it then
  RngState,     // (2) int64: seed, offset; base may be null when RngGiven is 0
  DropoutSeed, DropoutOffset, // int64, where RngGiven is 0
  RngGiven,     // 0 or 1
  DropoutThreshold, // Philox.h
  DropoutScale, // float32
  Probs         // (batch, heads, seqlen_q, seqlen_k) of the key's element type
};

enum class ArgType : uint8_t { Tensor, Int64, Float32 };

struct ArgInfo {
  ArgId id;
  std::string_view name;
  ArgType type;
  uint8_t rank; ///< of a tensor; 0 otherwise

  constexpr unsigned slots() const { return type == ArgType::Tensor ? 1u + rank : 1u; }
};

const ArgInfo &argInfo(ArgId id);

/// What a forward kernel computes beyond softmax(scale * q k^T) v: the features that its code depends on.
struct ForwardFeatures {
  attn::MaskKind mask = attn::MaskKind::None;
  attn::ScoreOperand bias = attn::ScoreOperand::None;     ///< none of the bool kinds
  attn::ScoreOperand attnMask = attn::ScoreOperand::None; ///< added, or, of a bool kind, hiding where false
  bool alibi = false;
  bool softcap = false;
  bool windowLeft = false; ///< a row sees nothing from before its window
  bool rowBounds = false;  ///< of documents and padding; not of RowBounds itself
  bool documents = false;  ///< RowBounds only
  bool keyPadding = false;
  bool varlen = false;     ///< cu_seqlens
  bool seqUsedK = false;
  bool dropout = false;
  bool probs = false;      ///< probabilities are an output

  /// Scores are the scaled products, but for what is hidden.
  bool onlyScaled() const {
    const bool added = attnMask != attn::ScoreOperand::None && !attn::isBool(attnMask);
    return bias == attn::ScoreOperand::None && !added && !alibi && !softcap;
  }
  bool ownLengths() const { return varlen || seqUsedK; }
  bool operator==(const ForwardFeatures &) const = default;
};

/// The arguments of a kernel, in order.
class ArgList {
public:
  void add(ArgId id) { ids_[size_++] = id; }
  const ArgId *begin() const { return ids_.data(); }
  const ArgId *end() const { return ids_.data() + size_; }
  size_t size() const { return size_; }

private:
  std::array<ArgId, 40> ids_{};
  size_t size_ = 0;
};

/// Of RowLimits only the lengths' features matter, of RowBounds also documents and keyPadding.
ArgList kernelArguments(KernelKind kind, const ForwardFeatures &features);

/// Bytes that a score's entry of a bias or mask takes in shared memory on a GPU, which copies blocks of float matrices
/// whose rows cp.async can read ahead of their use; 0 for what is read where it lies.
unsigned sharedScoreBytes(attn::ScoreOperand kind, attn::AlignClass align);

} // namespace tilewright::kernels

#endif // TILEWRIGHT_KERNELS_KERNELARGUMENTS_H
