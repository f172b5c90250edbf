// SPDX-License-Identifier: Apache-2.0
//
// Fills the tensors of a case. q, k and v come first from the case's random numbers, so that a feature does not change
// them.
#include "VerifyInputs.h"
#include "tilewright/kernels/Philox.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tilewright::cli {

namespace {

/// Reproducible data for a case whatever else the grid holds.
uint64_t seedOf(uint64_t seed, const std::string &name) {
  uint64_t hash = 14695981039346656037u ^ seed; // FNV-1a
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  }
  return hash;
}

double uniform(std::mt19937_64 &random) { return 2.0 * (static_cast<double>(random() >> 11) * 0x1p-53) - 1.0; }

void fill(HostTensor &tensor, double amplitude, std::mt19937_64 &random) {
  const auto [batch, seqlen, heads, dim] = tensor.shape();
  for (int64_t b = 0; b < (tensor.broadcastsBatch() ? 1 : batch); ++b) {
    for (int64_t i = 0; i < seqlen; ++i) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t d = 0; d < dim; ++d) {
          tensor.set(b, i, h, d, amplitude * uniform(random));
        }
      }
    }
  }
}

double lowestOf(DType dtype) {
  switch (dtype) {
  case DType::Float16:
    return -65504.0;
  case DType::BFloat16:
    return -0x1.fep127;
  default:
    return -static_cast<double>(std::numeric_limits<float>::max());
  }
}

double scoreNumber(const ScoreOperand &operand, DType dtype, int64_t row, int64_t column, std::mt19937_64 &random) {
  const double number = uniform(random);
  const double infinity = std::numeric_limits<double>::infinity();
  switch (operand.numbers) {
  case ScoreOperand::Numbers::Uniform:
    break;
  case ScoreOperand::Numbers::Infinite: {
    const bool tile = row / 64 == 1 && column < 70;
    return tile || row % 7 == 3 || number > 0.6 ? -infinity : number;
  }
  case ScoreOperand::Numbers::Lowest:
    return row % 3 == 1 ? lowestOf(dtype) : number;
  case ScoreOperand::Numbers::Flags:
    return row % 7 != 3 && number < 0.33 ? 1.0 : 0.0;
  }
  return number;
}

bool isRealKey(Padding padding, int64_t b, int64_t column, int64_t length, std::mt19937_64 &random) {
  const bool third = random() % 3 == 0;
  switch (padding) {
  case Padding::None:
    return true;
  case Padding::Right:
    return column < length - length / 3 - b; // by an entry more for each sequence
  case Padding::Left:
    return column >= length / 3 + b;
  case Padding::Holes:
    return !third;
  case Padding::All:
    break;
  }
  return b != 1;
}

/// The document of every key of a sequence.
std::vector<int32_t> documentIds(Documents documents, int64_t b, int64_t length) {
  constexpr int64_t shortOnes[] = {1, 30, 7, 64, 2, 45, 13};
  std::vector<int32_t> ids(static_cast<size_t>(length), -1);
  const int64_t end = documents == Documents::Padded ? length - length / 5 : length;
  int64_t next = 0;
  for (int32_t id = 0; next < end; ++id) {
    const int64_t size = documents == Documents::Long ? std::max<int64_t>(length / 2 - 5 * b, 1)
                                                      : shortOnes[static_cast<size_t>(id + b) % std::size(shortOnes)];
    for (const int64_t stop = std::min(next + size, end); next < stop; ++next) {
      ids[static_cast<size_t>(next)] = 3 * id; // ids need not follow each other
    }
  }
  return ids;
}

void poisonPosition(HostTensor &tensor, int64_t entry, int64_t position) {
  for (int64_t h = 0; h < tensor.shape()[2]; ++h) {
    for (int64_t d = 0; d < tensor.shape()[3]; ++d) {
      tensor.poison(entry, position, h, d);
    }
  }
}

HostTensor::Shape inputShape(const VerifyCase &problem, int64_t seqlen, const std::vector<int64_t> &lengths,
                             int64_t heads, int64_t dim) {
  if (!problem.varlen()) {
    return {problem.batch, seqlen, heads, dim};
  }
  int64_t total = 0;
  for (const int64_t length : lengths) {
    total += length;
  }
  return {1, total, heads, dim};
}

HostTensor inputTensor(const VerifyCase &problem, int64_t seqlen, const std::vector<int64_t> &lengths, int64_t heads,
                       int64_t dim) {
  return {problem.dtype, inputShape(problem, seqlen, lengths, heads, dim), problem.layout, true, problem.shift};
}

} // namespace

CaseInputs::CaseInputs(const VerifyCase &problem, uint64_t seed)
    : q(inputTensor(problem, problem.seqlenQ, problem.features.lengthsQ, problem.heads, problem.headDim)),
      k(inputTensor(problem, problem.seqlenK, problem.features.lengthsK, problem.headsK, problem.headDim)),
      v(inputTensor(problem, problem.seqlenK, problem.features.lengthsK, problem.headsK, problem.headDimV)),
      problem_(&problem) {
  for (int64_t b = 0; b < problem.batch; ++b) {
    sequences_.push_back(problem.sequence(b));
  }
  std::mt19937_64 random(seedOf(seed, problem.name()));
  fill(q, problem.amplitude, random);
  fill(k, problem.amplitude, random);
  fill(v, 1.0, random);
  if (problem.extreme) {
    fillExtreme();
  }
  addGlm();
  addByKey(random);
  addLengths();
  const CaseFeatures &features = problem.features;
  if (features.bias) {
    biasAt_ = addScore("bias", *features.bias, &ForwardOptions::bias, random);
  }
  if (features.attnMask) {
    const bool flags = features.attnMask->numbers == ScoreOperand::Numbers::Flags;
    (flags ? boolMaskAt_ : addedMaskAt_) =
        addScore("attn_mask", *features.attnMask, &ForwardOptions::attnMask, random);
  }

  findVisible();
  findRowKinds();
  for (int64_t b = 0; problem.poisonedKey && b < problem.batch; ++b) {
    for (int64_t h = 0; h < problem.headsK && problem.poisonedColumn() < sequence(b).lengthK; ++h) {
      k.set(sequence(b).entry, sequence(b).beginK + problem.poisonedColumn(), h, 0, *problem.poisonedKey);
    }
  }
  poisonScores(biasAt_);
  poisonScores(addedMaskAt_);
  poisonUnseen(k);
  poisonUnseen(v);
  if (features.poisonedSequence) {
    const CaseSequence &poisoned = sequence(*features.poisonedSequence);
    for (int64_t i = 0; i < poisoned.lengthQ; ++i) {
      poisonPosition(q, poisoned.entry, poisoned.beginQ + i);
    }
  }
}

int CaseInputs::addOperand(const char *name, DType dtype, const HostTensor::Shape &shape, int rank,
                           ConstTensor ForwardOptions::*argument, bool strided) {
  operands.push_back({name,
                      HostTensor(dtype, shape, strided ? Layout::Strided : Layout::Bshd, false, problem_->shift), 0,
                      rank, argument});
  return static_cast<int>(operands.size()) - 1;
}

void CaseInputs::addGlm() {
  if (problem_->mask != MaskKind::GlmBreak && problem_->mask != MaskKind::GlmPacked) {
    return;
  }
  const bool packed = problem_->mask == MaskKind::GlmPacked;
  const int64_t two = packed ? 2 : 1, pairs = packed ? problem_->pairs : 1;
  const int at = addOperand("glm_mask", DType::Int32, {problem_->batch, two, pairs, 1}, packed ? 3 : 1,
                            &ForwardOptions::glmMask, problem_->layout == Layout::Strided);
  size_t next = 0;
  for (int64_t b = 0; b < problem_->batch; ++b) {
    for (int64_t end = 0; end < two; ++end) {
      for (int64_t n = 0; n < pairs; ++n) {
        operands[static_cast<size_t>(at)].tensor.set(b, end, n, 0, problem_->glm[next++]);
      }
    }
  }
}

/// key_padding_mask, document_ids, alibi_slopes and rng_state.
void CaseInputs::addByKey(std::mt19937_64 &random) {
  const CaseFeatures &features = problem_->features;
  const HostTensor::Shape byKey = {problem_->batch, problem_->seqlenK, 1, 1};
  if (features.padding != Padding::None) {
    paddingAt_ = addOperand("key_padding_mask", DType::Bool, byKey, 2, &ForwardOptions::keyPaddingMask);
    for (int64_t b = 0; b < problem_->batch; ++b) {
      for (int64_t j = 0; j < sequence(b).lengthK; ++j) { // beyond, the sentinel says that it is a real key
        operands[static_cast<size_t>(paddingAt_)].tensor.set(
            b, j, 0, 0, isRealKey(features.padding, b, j, sequence(b).lengthK, random) ? 1.0 : 0.0);
      }
    }
  }
  if (features.documents != Documents::None) {
    documentsAt_ = addOperand("document_ids", DType::Int32, byKey, 2, &ForwardOptions::documentIds);
    for (int64_t b = 0; b < problem_->batch; ++b) {
      const std::vector<int32_t> ids = documentIds(features.documents, b, sequence(b).lengthK);
      for (int64_t j = 0; j < problem_->seqlenK && !ids.empty(); ++j) { // beyond, the last document goes on
        operands[static_cast<size_t>(documentsAt_)].tensor.set(
            b, j, 0, 0, ids[static_cast<size_t>(std::min(j, sequence(b).lengthK - 1))]);
      }
    }
  }
  if (features.alibi) {
    const bool byBatch = features.alibiByBatch;
    slopesAt_ = addOperand("alibi_slopes", DType::Float32,
                           byBatch ? HostTensor::Shape{problem_->batch, problem_->heads, 1, 1}
                                   : HostTensor::Shape{problem_->heads, 1, 1, 1},
                           byBatch ? 2 : 1, &ForwardOptions::alibiSlopes);
    HostTensor &slopes = operands[static_cast<size_t>(slopesAt_)].tensor;
    for (int64_t a = 0; a < slopes.shape()[0]; ++a) {
      for (int64_t h = 0; h < slopes.shape()[1]; ++h) {
        slopes.set(a, h, 0, 0, std::exp2(-1.0 - 7.0 * (0.5 + 0.5 * uniform(random)))); // as trained models have them
      }
    }
  }
  if (features.rngState) {
    const int at = addOperand("rng_state", DType::Int64, {2, 1, 1, 1}, 1, &ForwardOptions::rngState, true);
    operands[static_cast<size_t>(at)].tensor.set(0, 0, 0, 0, static_cast<double>(features.dropoutSeed));
    operands[static_cast<size_t>(at)].tensor.set(1, 0, 0, 0, static_cast<double>(features.dropoutOffset));
  }
}

void CaseInputs::addLengths() {
  auto boundaries = [&](const char *name, bool keys, ConstTensor ForwardOptions::*argument) {
    const int at = addOperand(name, DType::Int32, {problem_->batch + 1, 1, 1, 1}, 1, argument);
    for (int64_t b = 0; b < problem_->batch; ++b) {
      const CaseSequence &here = sequence(b);
      operands[static_cast<size_t>(at)].tensor.set(b, 0, 0, 0, static_cast<double>(keys ? here.beginK : here.beginQ));
      operands[static_cast<size_t>(at)].tensor.set(
          b + 1, 0, 0, 0, static_cast<double>(keys ? here.beginK + here.endK : here.beginQ + here.lengthQ));
    }
  };
  if (problem_->varlen()) {
    boundaries("cu_seqlens_q", false, &ForwardOptions::cuSeqlensQ);
    boundaries("cu_seqlens_k", true, &ForwardOptions::cuSeqlensK);
  }
  if (!problem_->features.usedK.empty()) {
    const int at = addOperand("seqused_k", DType::Int32, {problem_->batch, 1, 1, 1}, 1, &ForwardOptions::seqUsedK);
    for (int64_t b = 0; b < problem_->batch; ++b) {
      operands[static_cast<size_t>(at)].tensor.set(b, 0, 0, 0, static_cast<double>(sequence(b).lengthK));
    }
  }
}

int CaseInputs::addScore(const char *name, const ScoreOperand &operand, ConstTensor ForwardOptions::*argument,
                         std::mt19937_64 &random) {
  const HostTensor::Shape full = {problem_->batch, problem_->heads, problem_->seqlenQ, problem_->seqlenK};
  HostTensor::Shape shape{};
  for (size_t dim = 0; dim < 4; ++dim) {
    shape[dim] = operand.has(dim) ? full[dim] : 1;
  }
  const bool flags = operand.numbers == ScoreOperand::Numbers::Flags;
  const DType dtype = flags ? DType::Bool : operand.float32 ? DType::Float32 : problem_->dtype;
  const int at = addOperand(name, dtype, shape, 4, argument, operand.strided);
  HostTensor &tensor = operands[static_cast<size_t>(at)].tensor;
  for (int64_t b = 0; b < shape[0]; ++b) {
    for (int64_t h = 0; h < shape[1]; ++h) {
      for (int64_t i = 0; i < shape[2]; ++i) {
        for (int64_t j = 0; j < shape[3]; ++j) {
          tensor.set(b, h, i, j, scoreNumber(operand, dtype, i, j, random));
        }
      }
    }
  }
  return at;
}

bool CaseInputs::shown(int64_t b, int64_t row, int64_t column) const {
  if (!problem_->visibleByPosition(b, row, column)) {
    return false;
  }
  const HostTensor *padding = tensorOf(paddingAt_), *documents = tensorOf(documentsAt_);
  if (padding != nullptr && padding->get(b, column, 0, 0) == 0.0) {
    return false;
  }
  if (documents == nullptr) {
    return true;
  }
  const int64_t position = row + sequence(b).offset;
  if (position < 0 || position >= sequence(b).lengthK) {
    return false;
  }
  const double document = documents->get(b, position, 0, 0);
  return document >= 0.0 && documents->get(b, column, 0, 0) == document;
}

void CaseInputs::findVisible() {
  visible_.assign(static_cast<size_t>(problem_->rows() * problem_->heads * problem_->seqlenK), 0);
  const HostTensor *flags = tensorOf(boolMaskAt_);
  for (int64_t b = 0; b < problem_->batch; ++b) {
    for (int64_t i = 0; i < sequence(b).lengthQ; ++i) {
      for (int64_t j = 0; j < sequence(b).lengthK; ++j) {
        const bool here = shown(b, i, j);
        for (int64_t h = 0; h < problem_->heads; ++h) {
          visible_[entry(b, h, i, j)] = here && (flags == nullptr || flags->getBroadcast(b, h, i, j) != 0.0);
        }
      }
    }
  }
}

void CaseInputs::findRowKinds() {
  rowKinds_.assign(static_cast<size_t>(problem_->rows() * problem_->heads), RowKind::Empty);
  auto isMinusInfinity = [](const HostTensor *added, int64_t b, int64_t h, int64_t i, int64_t j) {
    return added != nullptr && added->getBroadcast(b, h, i, j) == -std::numeric_limits<double>::infinity();
  };
  const int64_t poisoned = problem_->poisonedColumn();
  for (int64_t b = 0; b < problem_->batch; ++b) {
    const CaseSequence &here = sequence(b);
    for (int64_t i = 0; i < here.lengthQ; ++i) {
      for (int64_t h = 0; h < problem_->heads; ++h) {
        RowKind &kind = rowKinds_[static_cast<size_t>((here.rowsBefore + i) * problem_->heads + h)];
        for (int64_t j = 0; j < here.lengthK && kind == RowKind::Empty; ++j) {
          if (visible(b, h, i, j) && !isMinusInfinity(bias(), b, h, i, j) &&
              !isMinusInfinity(addedMask(), b, h, i, j)) {
            kind = RowKind::Plain;
          }
        }
        const bool seesKey = problem_->poisonedKey && poisoned < here.lengthK && visible(b, h, i, poisoned);
        if (seesKey || (problem_->features.poisonedSequence == b && kind == RowKind::Plain)) {
          kind = RowKind::Poisoned;
        }
      }
    }
  }
}

/// NaN in a bias or mask at entries that are hidden, where each entry has a number of its own.
void CaseInputs::poisonScores(int at) {
  if (at < 0) {
    return;
  }
  HostTensor &tensor = operands[static_cast<size_t>(at)].tensor;
  const HostTensor::Shape full = {problem_->batch, problem_->heads, problem_->seqlenQ, problem_->seqlenK};
  if (tensor.shape() != full) {
    return;
  }
  for (int64_t b = 0; b < problem_->batch; ++b) {
    for (int64_t h = 0; h < problem_->heads; ++h) {
      for (int64_t i = 0; i < problem_->seqlenQ; ++i) {
        for (int64_t j = 0; j < problem_->seqlenK; ++j) {
          if (i >= sequence(b).lengthQ || j >= sequence(b).lengthK || !visible(b, h, i, j)) {
            tensor.poison(b, h, i, j);
          }
        }
      }
    }
  }
}

/// Makes NaN of the keys or values that no row of a sequence sees: a call may not let them touch anything. What hides
/// a key from every row is its position, its document or its padding; of values that only attn_mask hides from every
/// row, nothing is promised (semantics A5).
void CaseInputs::poisonUnseen(HostTensor &tensor) {
  if (tensor.broadcastsBatch() && !problem_->varlen()) {
    return; // what one entry does not see another may
  }
  for (int64_t b = 0; b < problem_->batch; ++b) {
    const CaseSequence &here = sequence(b);
    for (int64_t j = 0; j < here.endK; ++j) {
      bool seen = false;
      for (int64_t i = 0; j < here.lengthK && !seen && i < here.lengthQ; ++i) {
        seen = shown(b, i, j);
      }
      if (!seen || problem_->features.poisonedSequence == b) {
        poisonPosition(tensor, here.entry, here.beginK + j);
      }
    }
  }
}

void CaseInputs::fillExtreme() {
  for (int64_t b = 0; b < problem_->batch; ++b) {
    for (int64_t h = 0; h < problem_->heads; ++h) {
      for (int64_t i = 0; i < problem_->seqlenQ; ++i) {
        q.set(b, i, h, 0, i % 2 == 0 ? *problem_->extreme : -*problem_->extreme);
      }
      for (int64_t j = 0; h < problem_->headsK && j < problem_->seqlenK; ++j) {
        k.set(b, j, h, 0, 1.0);
      }
    }
  }
}

float CaseInputs::slope(int64_t b, int64_t head) const {
  const HostTensor *slopes = tensorOf(slopesAt_);
  if (slopes == nullptr) {
    return 0.0f;
  }
  return static_cast<float>(problem_->features.alibiByBatch ? slopes->get(b, head, 0, 0) : slopes->get(head, 0, 0, 0));
}

bool CaseInputs::dropped(int64_t b, int64_t head, int64_t row, int64_t column) const {
  const CaseFeatures &features = problem_->features;
  if (features.dropout == 0.0) {
    return false;
  }
  const uint32_t bits = kernels::dropoutBits(kernels::dropoutKey(features.dropoutSeed, features.dropoutOffset),
                                             features.dropoutOffset, static_cast<uint32_t>(b * problem_->heads + head),
                                             row, column);
  return !kernels::dropoutKeeps(bits, kernels::dropoutThreshold(features.dropout));
}

ForwardOptions CaseInputs::options() const {
  const CaseFeatures &features = problem_->features;
  ForwardOptions options;
  options.causal = problem_->mask != MaskKind::None;
  options.causalAlign = problem_->topLeft ? CausalAlign::TopLeft : CausalAlign::BottomRight;
  options.softmaxScale = problem_->scale;
  options.window = features.window;
  options.softcap = features.softcap;
  options.dropoutP = features.dropout;
  if (features.dropout != 0.0 && !features.rngState) {
    options.dropoutSeed = features.dropoutSeed;
    options.dropoutOffset = features.dropoutOffset;
  }
  if (problem_->varlen()) {
    options.maxSeqlenQ = problem_->seqlenQ;
    options.maxSeqlenK = problem_->seqlenK;
  }
  return options;
}

} // namespace tilewright::cli
