// SPDX-License-Identifier: Apache-2.0
//
// The part of the grid about features: every form of each alone, at several lengths, types and head dims; every pair of
// them; all together. Where a kernel serves only some of a case's features, the case is left out (VerifyCommand.cpp).
#include "VerifyGrid.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace tilewright::cli {

namespace {

using Change = std::function<void(VerifyCase &)>;

/// One form of a feature.
struct Variant {
  Change ask;
  std::optional<MaskKind> mask = std::nullopt; ///< not given: none and causal in turn
  bool ownLengths = false;                     ///< `ask` sets batch and lengths
};

//===-- Forms -----------------------------------------------------------------------------------------------------===//

ScoreOperand operand(std::string shape, ScoreOperand::Numbers numbers, bool float32 = false, bool strided = false) {
  ScoreOperand result;
  result.shape = std::move(shape);
  result.numbers = numbers;
  result.float32 = float32;
  result.strided = strided;
  return result;
}

Variant bias(ScoreOperand tensor) {
  return {[tensor](VerifyCase &problem) { problem.features.bias = tensor; }};
}

Variant attnMask(ScoreOperand tensor) {
  return {[tensor](VerifyCase &problem) {
    problem.features.attnMask = tensor;
    if (tensor.numbers == ScoreOperand::Numbers::Lowest) {
      // float16's lowest number is not large enough to make all weights equal; and the scores of such a row, and so its
      // LSE, may be cut to a somewhat smaller number (semantics A1).
      problem.features.attnMask->float32 = tensor.float32 || problem.dtype == DType::Float16;
      problem.wantLse = false;
    }
  }};
}

Variant padding(Padding padding) {
  return {[padding](VerifyCase &problem) { problem.features.padding = padding; }};
}

Variant documents(Documents documents) {
  return {[documents](VerifyCase &problem) { problem.features.documents = documents; }};
}

Variant window(int64_t left, int64_t right, std::optional<MaskKind> mask = std::nullopt, bool topLeft = false) {
  return {[=](VerifyCase &problem) {
            problem.features.window = {left, right};
            problem.topLeft = topLeft;
          },
          mask};
}

Variant alibi(bool byBatch) {
  return {[byBatch](VerifyCase &problem) {
    problem.features.alibi = true;
    problem.features.alibiByBatch = byBatch;
  }};
}

Variant softcap(double cap, double amplitude) {
  return {[=](VerifyCase &problem) {
    problem.features.softcap = cap;
    problem.amplitude = amplitude;
  }};
}

Variant dropout(double probability, bool rngState = false) {
  return {[=](VerifyCase &problem) {
    problem.features.dropout = probability;
    problem.features.rngState = rngState;
  }};
}

Variant probabilities() {
  return {[](VerifyCase &problem) { problem.features.probs = true; }};
}

/// `slack`: how much longer max_seqlen is than the longest sequence.
Variant varlen(std::vector<int64_t> lengthsQ, std::vector<int64_t> lengthsK,
               std::optional<MaskKind> mask = std::nullopt, int64_t slack = 0,
               std::optional<int64_t> poisonedSequence = std::nullopt) {
  return {[=](VerifyCase &problem) {
            problem.batch = static_cast<int64_t>(lengthsQ.size());
            problem.seqlenQ = *std::max_element(lengthsQ.begin(), lengthsQ.end()) + slack;
            problem.seqlenK = *std::max_element(lengthsK.begin(), lengthsK.end()) + slack;
            problem.features.lengthsQ = lengthsQ;
            problem.features.lengthsK = lengthsK;
            problem.features.poisonedSequence = poisonedSequence;
          },
          mask, true};
}

/// Of the first sequence all keys, of the second some, of the third none, and so on.
void setUsedKeys(VerifyCase &problem) {
  problem.features.usedK.clear();
  for (int64_t b = 0; b < problem.batch; ++b) {
    const int64_t length = problem.varlen() ? problem.features.lengthsK[static_cast<size_t>(b)] : problem.seqlenK;
    problem.features.usedK.push_back(b % 3 == 0 ? length : b % 3 == 1 ? 3 * length / 5 : 0);
  }
}

Variant usedKeys(std::optional<MaskKind> mask = std::nullopt) {
  return {[](VerifyCase &problem) {
            problem.batch = std::max<int64_t>(problem.batch, 3);
            setUsedKeys(problem);
          },
          mask};
}

Variant with(Variant first, const Variant &second) {
  return {[ask = first.ask, then = second.ask](VerifyCase &problem) {
            ask(problem);
            then(problem);
          },
          first.mask ? first.mask : second.mask, first.ownLengths || second.ownLengths};
}

Variant nanKey(const Variant &variant) {
  return with(variant, {[](VerifyCase &problem) {
                problem.poisonedKey = std::numeric_limits<double>::quiet_NaN();
              }});
}

std::vector<Variant> variants() {
  using Numbers = ScoreOperand::Numbers;
  return {
      bias(operand("bhqk", Numbers::Uniform)),
      bias(operand("1hqk", Numbers::Uniform, true)),
      bias(operand("b11k", Numbers::Uniform)),
      bias(operand("11q1", Numbers::Infinite, true)),
      bias(operand("bhqk", Numbers::Infinite, true, true)),
      attnMask(operand("b1qk", Numbers::Infinite)),
      attnMask(operand("11qk", Numbers::Infinite, true)),
      attnMask(operand("b1qk", Numbers::Lowest)),
      attnMask(operand("bhqk", Numbers::Flags)),
      attnMask(operand("b11k", Numbers::Flags)),
      attnMask(operand("11qk", Numbers::Flags, false, true)),
      nanKey(attnMask(operand("1hqk", Numbers::Flags))),
      padding(Padding::Right),
      padding(Padding::Left),
      padding(Padding::Holes),
      padding(Padding::All),
      documents(Documents::Short),
      documents(Documents::Long),
      documents(Documents::Padded),
      nanKey(documents(Documents::Long)),
      window(0, 0, MaskKind::None),
      window(5, -1, MaskKind::None),
      window(64, 64, MaskKind::None),
      window(-1, 7, MaskKind::None),
      window(3, 9, MaskKind::None, true),
      window(100, -1, MaskKind::Causal),
      window(10, 20, MaskKind::Causal),
      window(20, -1, MaskKind::GlmBreak),
      window(20, -1, MaskKind::GlmPacked),
      nanKey(window(30, -1, MaskKind::Causal)),
      alibi(false),
      alibi(true),
      softcap(30.0, 4.0),
      softcap(0.5, 1.0),
      softcap(5.0, 4.0),
      dropout(0.1),
      dropout(0.5, true),
      dropout(0.9),
      probabilities(),
      with(probabilities(), dropout(0.3)),
      varlen({17, 0, 130, 1}, {5, 64, 130, 0}, MaskKind::None),
      varlen({17, 0, 130, 1}, {5, 64, 130, 0}, MaskKind::Causal),
      varlen({63, 64, 1, 200}, {63, 64, 1, 200}, MaskKind::Causal),
      varlen({5, 9}, {0, 0}),
      varlen({30, 70}, {90, 65}, MaskKind::GlmBreak, 37),
      varlen({70, 40, 129}, {70, 65, 129}, MaskKind::GlmPacked),
      varlen({40, 50, 30}, {70, 60, 33}, MaskKind::None, 0, 1),
      varlen({40, 50, 30}, {70, 60, 33}, MaskKind::Causal, 5, 1),
      usedKeys(),
      usedKeys(MaskKind::GlmBreak),
      with(varlen({64, 33, 20}, {100, 64, 130}), usedKeys()),
  };
}

/// One form of each feature, for combinations. Varlen is first: the others' tensors have its lengths.
std::vector<Variant> representatives() {
  using Numbers = ScoreOperand::Numbers;
  return {varlen({60, 1, 130}, {75, 0, 140}),
          usedKeys(),
          bias(operand("bhqk", Numbers::Uniform)),
          attnMask(operand("b1qk", Numbers::Infinite, true)),
          attnMask(operand("1hqk", Numbers::Flags)),
          padding(Padding::Holes),
          documents(Documents::Short),
          window(40, 30),
          alibi(false),
          softcap(5.0, 4.0),
          dropout(0.3),
          probabilities()};
}

bool bothMasks(size_t first, size_t second) { return first == 3 && second == 4; } // one attn_mask, two forms of it

//===-- Cases -----------------------------------------------------------------------------------------------------===//

/// GLM numbers of a batch with lengths of its own lie in [0, its keys].
void fitGlm(VerifyCase &problem) {
  const int64_t numbers = problem.mask == MaskKind::GlmPacked ? 2 * problem.pairs : 1;
  for (size_t n = 0; n < problem.glm.size(); ++n) {
    const CaseSequence here = problem.sequence(static_cast<int64_t>(n) / numbers);
    if (problem.glm[n] > here.lengthK) {
      problem.glm[n] = static_cast<int32_t>(here.lengthK);
    }
  }
}

void addVariants(GridBuilder &grid) {
  constexpr std::pair<int64_t, int64_t> lengths[] = {{130, 200}, {300, 127}, {65, 300}, {100, 100}, {1, 200}};
  constexpr int64_t headDims[] = {64, 40, 128, 64, 72};
  const std::vector<Variant> all = variants();
  const size_t times = grid.cuda() ? 2 : 3; // a GPU kernel each takes longer to compile
  for (size_t v = 0; v < all.size(); ++v) {
    for (size_t n = 0; n < times; ++n) {
      VerifyCase problem;
      problem.dtype = grid.rotateType(v + n);
      problem.batch = 2;
      const auto [seqlenQ, seqlenK] = lengths[(v + n) % std::size(lengths)];
      problem.seqlenQ = seqlenQ;
      problem.seqlenK = seqlenK;
      problem.heads = v % 2 == 0 ? 4 : 2;
      problem.headDim = problem.headDimV = headDims[(v / 2 + n) % std::size(headDims)];
      problem.quick = n == 0;
      all[v].ask(problem);
      setMask(problem, all[v].mask.value_or((v + n) % 2 == 0 ? MaskKind::Causal : MaskKind::None));
      fitGlm(problem);
      grid.add(problem);
    }
  }
}

VerifyCase combination(const GridBuilder &grid, size_t index) {
  constexpr std::pair<int64_t, int64_t> lengths[] = {{130, 200}, {200, 130}, {100, 100}};
  VerifyCase problem;
  problem.dtype = grid.rotateType(index);
  problem.batch = 2;
  const auto [seqlenQ, seqlenK] = lengths[index / 2 % std::size(lengths)];
  problem.seqlenQ = seqlenQ;
  problem.seqlenK = seqlenK;
  problem.heads = 4;
  problem.headsK = index % 2 == 0 ? 4 : 2;
  return problem;
}

void addPairsOfFeatures(GridBuilder &grid) {
  constexpr MaskKind masks[] = {MaskKind::None, MaskKind::Causal, MaskKind::GlmPacked, MaskKind::GlmBreak,
                                MaskKind::Causal};
  const std::vector<Variant> all = representatives();
  size_t index = 0;
  for (size_t first = 0; first < all.size(); ++first) {
    for (size_t second = first + 1; second < all.size(); ++second) {
      if (bothMasks(first, second)) {
        continue;
      }
      VerifyCase problem = combination(grid, index);
      problem.quick = index % 6 == 0;
      all[first].ask(problem);
      all[second].ask(problem);
      setMask(problem, masks[index++ % std::size(masks)]);
      fitGlm(problem);
      grid.add(problem);
    }
  }
}

/// Everything that a kernel can be asked for at once; with varlen and without.
void addAllFeatures(GridBuilder &grid) {
  const std::vector<Variant> all = representatives();
  size_t index = 0;
  for (const size_t attnMaskToSkip : {3, 4}) {
    for (const size_t from : {0, 1, 2}) {
      for (const MaskKind mask : {MaskKind::None, MaskKind::GlmPacked}) {
        VerifyCase problem = combination(grid, index++);
        for (size_t n = from; n < all.size(); ++n) {
          if (n != attnMaskToSkip) {
            all[n].ask(problem);
          }
        }
        problem.features.documents = Documents::Long; // short ones would leave next to nothing visible
        setMask(problem, mask);
        fitGlm(problem);
        grid.add(problem);
      }
    }
  }
}

} // namespace

void addFeatures(GridBuilder &grid) {
  addVariants(grid);
  addPairsOfFeatures(grid);
  addAllFeatures(grid);
}

} // namespace tilewright::cli
