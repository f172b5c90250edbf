// SPDX-License-Identifier: Apache-2.0
//
// One forward call, checked: what the caller of the C ABI wants, without pointers. The data pointers travel beside it,
// so that plans and block maps can be made for a problem that has no data.
#ifndef TILEWRIGHT_RUNTIME_ATTENTIONPROBLEM_H
#define TILEWRIGHT_RUNTIME_ATTENTIONPROBLEM_H

#include "tilewright/runtime/KernelKey.h"
#include "tilewright/tilewright.h"
#include <array>
#include <cstdint>

namespace tilewright::runtime {

/// A tensor over (batch, heads, seqlen_q, seqlen_k).
struct ScoreTensor {
  bool given = false;
  TwDType dtype = TW_FLOAT32;
  std::array<int64_t, 4> strides{}; ///< elements; 0 where the dimension is broadcast
  /// To what every row along seqlen_k is aligned: bytes, at least the element's own, if its innermost stride is 1. One
  /// row for all queries, if its length is odd, counts as aligned to its elements only: it is read in pairs, of which
  /// none may reach past it. (Rows of matrices are copied, by cp.async, which can end anywhere.)
  attn::AlignClass align = attn::AlignClass::Bytes2;
};

/// Numbers by batch entry, and by key position or head where it has a second stride that is not 0.
struct TableTensor {
  bool given = false;
  std::array<int64_t, 2> strides{}; ///< elements
};

struct AttentionProblem {
  TwDevice device = TW_DEVICE_CPU; ///< of every tensor
  int32_t deviceIndex = 0;         ///< of a CUDA device; 0 on the CPU
  /// Of q, k and v. One of the types of the support matrix, or TW_FLOAT64 for the reference.
  TwDType dtype = TW_FLOAT32;
  TwDType outDtype = TW_FLOAT32; ///< dtype, or TW_FLOAT64 for the reference
  TwDType lseDtype = TW_FLOAT32; ///< float32, or TW_FLOAT64 for the reference
  /// Causal also for a window whose right side is 0.
  attn::MaskKind mask = attn::MaskKind::None;
  bool topLeft = false;  ///< query positions start at key position 0, else they end at the last key (semantics A2)
  bool writeLse = false;
  double scale = 1.0;    ///< softmax scale, resolved

  int64_t batch = 0;
  int64_t seqlenQ = 0; ///< varlen: max_seqlen_q
  int64_t seqlenK = 0; ///< varlen: max_seqlen_k
  int64_t heads = 0;
  int64_t headsK = 1;
  int64_t headDim = 1;
  int64_t headDimV = 1;
  int64_t pairs = 0; ///< N of packed GLM; 0 otherwise

  /// Strides in elements. q, k, v, out: (batch, seqlen, heads, head_dim). Varlen: the batch stride of these and of lse
  /// is 0, and a sequence begins at the row that cu_seqlens says.
  std::array<int64_t, 4> q{}, k{}, v{}, out{};
  std::array<int64_t, 3> lse{}; ///< (batch, heads, seqlen_q)
  std::array<int64_t, 3> glm{}; ///< (batch) for GlmBreak, (batch, 2, N) for GlmPacked
  /// q, k, v, out: true if neighbours along head_dim are neighbours in memory. A head dim of 1 and a tensor without
  /// elements count as contiguous, whatever their stride.
  std::array<bool, 4> contiguous{};
  /// q, k, v, out: bytes to which every row along head_dim is aligned: 2, 4, 8 or 16. Set for CUDA tensors only. A
  /// tensor whose address is not known (null) counts as aligned to 16 bytes at its start.
  std::array<uint8_t, 4> rowAlign{};

  ScoreTensor bias;
  ScoreTensor attnMask;    ///< TW_BOOL: true is visible; else added
  TableTensor keyPadding;  ///< (batch, seqlen_k), bool
  TableTensor alibi;       ///< (batch, heads), float32; the batch stride is 0 for slopes (heads,)
  TableTensor documents;   ///< (batch, seqlen_k), int32
  int64_t windowLeft = -1; ///< -1: unbounded; else at most 2^32
  /// -1: unbounded. Only with MaskKind::None: of the others the mask itself sets the right limit.
  int64_t windowRight = -1;
  double softcap = 0.0;  ///< 0: off
  double dropoutP = 0.0; ///< 0: off, and nothing of the next three lines is read
  uint64_t dropoutSeed = 0;
  uint64_t dropoutOffset = 0;
  TableTensor rngState; ///< if given: seed and offset lie in memory, one stride apart (the first stride)
  ScoreTensor probs;    ///< an output

  bool varlen = false;
  int64_t totalQ = 0; ///< varlen: extents of the packed dimension of q, and of k and v
  int64_t totalK = 0;
  TableTensor cuSeqlensQ, cuSeqlensK; ///< (batch + 1), int32: given if varlen
  TableTensor seqUsedK;               ///< (batch), int32

  bool glmMask() const { return mask == attn::MaskKind::GlmBreak || mask == attn::MaskKind::GlmPacked; }
  bool window() const { return windowLeft >= 0 || windowRight >= 0; }
  /// The lengths, and so the offset, of every batch entry are seqlenQ and seqlenK.
  bool sameLengths() const { return !varlen && !seqUsedK.given; }
  /// The mask of a kernel: a right window edge is the causal mask, so much further on (causalOffset() + windowRight).
  attn::MaskKind kernelMask() const { return windowRight >= 0 ? attn::MaskKind::Causal : mask; }
  /// How much further than a causal row a row sees.
  int64_t rightSide() const { return windowRight >= 0 ? windowRight : 0; }
  int64_t limitOffset() const { return causalOffset() + rightSide(); }
  /// o of semantics A2: query row i stands at key position i + o. Only if sameLengths(), or with topLeft.
  int64_t causalOffset() const { return topLeft ? 0 : seqlenK - seqlenQ; }
  bool empty() const { return batch == 0 || heads == 0 || seqlenQ == 0; }
};

struct ForwardPointers {
  const void *q = nullptr;
  const void *k = nullptr;
  const void *v = nullptr;
  void *out = nullptr;
  void *lse = nullptr;          ///< null if the LSE is not wanted
  const int32_t *glm = nullptr; ///< null without a GLM mask, or if it has no elements
  /// Null if not given, or without elements.
  const void *bias = nullptr;
  const void *attnMask = nullptr;
  const uint8_t *keyPadding = nullptr;
  const float *alibi = nullptr;
  const int32_t *documents = nullptr;
  const int64_t *rngState = nullptr;
  void *probs = nullptr;
  const int32_t *cuSeqlensQ = nullptr;
  const int32_t *cuSeqlensK = nullptr;
  const int32_t *seqUsedK = nullptr;
};

/// What the checked arguments are for: which data must be there, which types are allowed.
enum class Purpose : uint8_t {
  Run,      ///< a kernel reads and writes the tensors
  Plan,     ///< shapes only; no data pointer is looked at, no GLM value is checked
  BlockMap, ///< as Plan, but the GLM mask's values are read and checked
  Reference, ///< as Run; float64 is allowed
  CudaReference ///< as Run, on a CUDA device; out and probs are float32
};

/// All tensors lie on one device. On CUDA the numbers of a GLM mask are not read, so they are not checked: kernels
/// clamp them to [0, seqlen_k] (semantics A4). For Purpose::BlockMap, which reads them, the mask lies on the CPU even
/// where the other tensors do not, and so do the other tensors whose
/// numbers say which blocks there are. Purpose::Reference takes CPU tensors only,
/// Purpose::CudaReference tensors of a CUDA device only.
///
/// Checks everything (semantics A1 to A4, A6, A8, A9, A11) before anything is compiled or written. Throws Error with
/// TW_INVALID_ARGUMENT or TW_UNSUPPORTED; the message names the argument, what it is and what is allowed. A feature
/// that no kernel of the device serves (SupportMatrix.h) is TW_UNSUPPORTED for every purpose but the references, after
/// all other checks.
///
/// GLM values: a break point lies in [0, seqlen_k]. A pair is unused, (-1, -1), or both its numbers lie in
/// [0, seqlen_k]. A pair whose start is not below its end holds no row: it is legal and changes nothing, because a
/// packer that shrinks a sample to nothing writes exactly that. In a varlen batch, and with seqused_k, seqlen_k is that
/// of the sequence.
AttentionProblem checkForward(const TwForwardArgs &args, Purpose purpose, ForwardPointers *pointers = nullptr);

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_ATTENTIONPROBLEM_H
