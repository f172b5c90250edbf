// SPDX-License-Identifier: Apache-2.0
//
// One problem of `tilewright verify`: shapes, masks, features, and what is put where nobody may look.
#ifndef TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYCASE_H
#define TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYCASE_H

#include "HostTensor.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tilewright::cli {

enum class MaskKind { None, Causal, GlmBreak, GlmPacked };

/// A bias or mask tensor over (batch, heads, seqlen_q, seqlen_k).
struct ScoreOperand {
  enum class Numbers {
    Uniform,  ///< in [-1, 1]
    Infinite, ///< likewise, but -inf here and there, over whole tiles, and over every seventh row
    Lowest,   ///< likewise, but every third row is the type's lowest number
    Flags,    ///< bool: two of three are true; of every seventh row none
  };
  Numbers numbers = Numbers::Uniform;
  bool float32 = false; ///< else the case's type
  /// Dimensions of their full extent: some of "bhqk", '1' for the others.
  std::string shape = "bhqk";
  bool strided = false; ///< innermost stride 2

  bool has(size_t dim) const { return shape[dim] != '1'; }
};

enum class Padding {
  None,
  Right, ///< the last third of the keys
  Left,  ///< the first third
  Holes, ///< one of three, here and there
  All,   ///< every key of the second batch entry
};

enum class Documents {
  None,
  Short, ///< from 1 key to some tens
  Long,  ///< about half of the keys
  Padded ///< short ones; the last fifth of the keys is padding
};

/// What a case asks for beyond the plain call; as in ForwardOptions, where nothing else is said.
struct CaseFeatures {
  std::optional<ScoreOperand> bias, attnMask;
  Padding padding = Padding::None;
  Documents documents = Documents::None;
  Window window = {};
  bool alibi = false;
  bool alibiByBatch = false; ///< slopes (batch, heads)
  double softcap = 0.0;
  double dropout = 0.0;
  uint64_t dropoutSeed = 0x123456789ab, dropoutOffset = 0x700000005;
  bool rngState = false; ///< seed and offset in memory
  bool probs = false;
  /// A varlen batch: one length a sequence; seqlenQ and seqlenK of the case are max_seqlen.
  std::vector<int64_t> lengthsQ, lengthsK;
  std::vector<int64_t> usedK; ///< seqused_k
  /// Queries, keys and values of this sequence are all NaN: its neighbours may not notice.
  std::optional<int64_t> poisonedSequence;
};

/// A batch entry: its lengths, and where it lies in the tensors.
struct CaseSequence {
  int64_t lengthQ = 0;
  int64_t lengthK = 0; ///< keys that count
  int64_t endK = 0;    ///< keys that there are
  int64_t entry = 0;   ///< index in the batch dimension of q, k, v, out and lse: 0 in a varlen batch
  int64_t beginQ = 0, beginK = 0; ///< in their seqlen dimensions
  int64_t offset = 0;  ///< query row i stands at key position i + offset
  int64_t rowsBefore = 0; ///< query rows of the sequences before
};

struct VerifyCase {
  DType dtype = DType::Float32;
  int64_t batch = 1;
  int64_t seqlenQ = 64;
  int64_t seqlenK = 64;
  int64_t heads = 2;
  int64_t headsK = 2;
  int64_t headDim = 64;
  int64_t headDimV = 64;
  MaskKind mask = MaskKind::None;
  bool topLeft = false;
  std::string maskNote;     ///< what is special about the GLM numbers: "nested", "p=0"
  std::vector<int32_t> glm; ///< (batch,) or (batch, 2, pairs), row-major
  int64_t pairs = 0;
  CaseFeatures features;
  Layout layout = Layout::Bshd;
  std::optional<double> scale;
  double amplitude = 1.0; ///< q and k are uniform in [-amplitude, amplitude]; v in [-1, 1]
  /// NaN or infinity in the first component of key poisonedColumn(): only rows that see this key may notice.
  std::optional<double> poisonedKey;
  /// Instead of random q and k: q is + and - this number in turn, k is 1. With head_dim 1 and scale 1, all logits of a
  /// row are equal and as large as the number, and the output is the mean of the visible values.
  std::optional<double> extreme;
  /// Elements between the best aligned place and the tensors' lowest element. CPU kernels do not depend on it, and get
  /// the worst; GPU kernels are made for an alignment.
  int64_t shift = 1;
  bool shiftShown = false; ///< in the name: the case is about it
  bool wantLse = true;
  bool quick = false; ///< part of --quick

  bool varlen() const { return !features.lengthsQ.empty(); }
  CaseSequence sequence(int64_t b) const;
  /// Query rows of all sequences.
  int64_t rows() const;
  double scaleValue() const;
  int64_t poisonedColumn() const { return seqlenK / 2; }
  /// Whether what depends on positions alone shows a key: the mask, the window and the sequence's length.
  bool visibleByPosition(int64_t b, int64_t row, int64_t column) const;

  /// What has to be served for it, as `tilewright info` names it: "bias", "dropout".
  std::vector<std::string_view> featureNames() const;
  /// One line that tells the case apart from every other; --filter searches it.
  std::string name() const;
};

/// The grid, in the order in which it is run. No two cases have the same name.
std::vector<VerifyCase> verifyGrid();
/// The grid for a CUDA device: float16 and bfloat16, at most some 250 different kernels.
std::vector<VerifyCase> cudaVerifyGrid();

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYCASE_H
