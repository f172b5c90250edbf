// SPDX-License-Identifier: Apache-2.0
//
// The tensors of a case, filled; and what they say about an entry of its score matrix.
#ifndef TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYINPUTS_H
#define TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYINPUTS_H

#include "VerifyCase.h"

#include <cstdint>
#include <random>
#include <vector>

namespace tilewright::cli {

enum class RowKind : uint8_t {
  Plain,
  Empty,   ///< sees nothing, or only entries of -inf
  Poisoned ///< sees a key of NaN or infinity that the case put there
};

/// A tensor of a case besides q, k and v.
struct CaseOperand {
  const char *name; ///< of the argument
  HostTensor tensor;
  int first, rank;  ///< the dimensions of `tensor` that the argument has
  ConstTensor ForwardOptions::*argument;
};

/// Everything around the tensors is NaN, or what shows keys; so is what lies inside of them where no row of the problem
/// may look: keys and values that no row of a sequence sees, bias and mask beyond a sequence and at hidden entries.
class CaseInputs {
public:
  CaseInputs(const VerifyCase &problem, uint64_t seed);

  HostTensor q, k, v;
  std::vector<CaseOperand> operands;

  /// The first dimension of q, k, v and out that the argument has: 1 in a varlen batch.
  int firstDim() const { return problem_->varlen() ? 1 : 0; }
  const CaseSequence &sequence(int64_t b) const { return sequences_[static_cast<size_t>(b)]; }
  bool visible(int64_t b, int64_t head, int64_t row, int64_t column) const {
    return visible_[entry(b, head, row, column)] != 0;
  }
  RowKind rowKind(int64_t b, int64_t head, int64_t row) const {
    return rowKinds_[static_cast<size_t>((sequence(b).rowsBefore + row) * problem_->heads + head)];
  }
  /// The numbers of bias and attn_mask at an entry; null if they are not given, or bool.
  const HostTensor *bias() const { return tensorOf(biasAt_); }
  const HostTensor *addedMask() const { return tensorOf(addedMaskAt_); }
  float slope(int64_t b, int64_t head) const;
  /// Whether dropout removes an entry.
  bool dropped(int64_t b, int64_t head, int64_t row, int64_t column) const;

  /// All of the call but the tensors.
  ForwardOptions options() const;

private:
  size_t entry(int64_t b, int64_t head, int64_t row, int64_t column) const {
    return static_cast<size_t>(((sequence(b).rowsBefore + row) * problem_->heads + head) * problem_->seqlenK + column);
  }
  const HostTensor *tensorOf(int at) const { return at < 0 ? nullptr : &operands[static_cast<size_t>(at)].tensor; }
  int addOperand(const char *name, DType dtype, const HostTensor::Shape &shape, int rank,
                 ConstTensor ForwardOptions::*argument, bool strided = false);
  void addGlm();
  void addByKey(std::mt19937_64 &random);
  void addLengths();
  int addScore(const char *name, const ScoreOperand &operand, ConstTensor ForwardOptions::*argument,
               std::mt19937_64 &random);
  /// Whether everything but attn_mask shows a key to a row: that is the same for all heads.
  bool shown(int64_t b, int64_t row, int64_t column) const;
  void findVisible();
  void findRowKinds();
  void poisonScores(int at);
  void poisonUnseen(HostTensor &tensor);
  void fillExtreme();

  const VerifyCase *problem_;
  std::vector<CaseSequence> sequences_;
  int biasAt_ = -1, addedMaskAt_ = -1, boolMaskAt_ = -1, paddingAt_ = -1, documentsAt_ = -1, slopesAt_ = -1;
  std::vector<uint8_t> visible_;
  std::vector<RowKind> rowKinds_;
};

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYINPUTS_H
