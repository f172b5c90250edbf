// SPDX-License-Identifier: Apache-2.0
//
// The grid of `tilewright verify`: every feature of the forward pass against every length and head dim at which block
// arithmetic, register tiles or masks change their shape. Blocks are 16 to 512 long, 64 by default, so lengths go
// around 64 and 128; head dims go around the vector lengths and the powers of two.
#include "VerifyGrid.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>

namespace tilewright::cli {

namespace {

/// Break point `point` for the first batch entry, another one a step further for each of the others.
void setBreak(VerifyCase &problem, int64_t point, std::string note) {
  problem.mask = MaskKind::GlmBreak;
  problem.maskNote = std::move(note);
  problem.pairs = 0;
  problem.glm.clear();
  for (int64_t b = 0; b < problem.batch; ++b) {
    problem.glm.push_back(static_cast<int32_t>((point + 7 * b) % (problem.seqlenK + 1)));
  }
}

using Pairs = std::vector<std::pair<int64_t, int64_t>>;

/// The same pairs for every batch entry, but in reverse order and without the last in odd ones.
void setPairs(VerifyCase &problem, const Pairs &pairs, std::string note) {
  problem.mask = MaskKind::GlmPacked;
  problem.maskNote = std::move(note);
  problem.pairs = static_cast<int64_t>(pairs.size());
  problem.glm.clear();
  for (int64_t b = 0; b < problem.batch; ++b) {
    Pairs own = pairs;
    if (b % 2 == 1 && !own.empty()) {
      own.back() = {-1, -1};
      std::reverse(own.begin(), own.end());
    }
    for (const auto &pair : own) {
      problem.glm.push_back(static_cast<int32_t>(pair.first));
    }
    for (const auto &pair : own) {
      problem.glm.push_back(static_cast<int32_t>(pair.second));
    }
  }
}

/// Two samples, each with a context part that is seen as a whole, as packed GLM training has them.
void setTypicalPairs(VerifyCase &problem) {
  const int64_t sk = problem.seqlenK;
  setPairs(problem, {{0, sk / 4}, {sk / 2, sk / 2 + sk / 3}}, "two");
}

} // namespace

void setMask(VerifyCase &problem, MaskKind mask) {
  switch (mask) {
  case MaskKind::None:
  case MaskKind::Causal:
    problem.mask = mask;
    problem.maskNote.clear();
    problem.pairs = 0;
    problem.glm.clear();
    return;
  case MaskKind::GlmBreak:
    return setBreak(problem, problem.seqlenK / 3, "p=sk/3");
  case MaskKind::GlmPacked:
    return setTypicalPairs(problem);
  }
}

namespace {

constexpr MaskKind kMasks[] = {MaskKind::None, MaskKind::Causal, MaskKind::GlmBreak, MaskKind::GlmPacked};

void addHeadDims(GridBuilder &grid) {
  constexpr int64_t dims[] = {1, 3, 40, 64, 72, 80, 96, 128, 192, 256};
  constexpr std::pair<int64_t, int64_t> unequal[] = {{64, 128}, {128, 64}, {192, 128}, {40, 72}, {3, 1}, {1, 256}};
  // One type for each head dim, so that --quick compiles each of them once and every type several times.
  for (size_t t = 0; t < grid.types().size(); ++t) {
    size_t index = 0;
    auto addOne = [&](int64_t headDim, int64_t headDimV) {
      VerifyCase problem;
      problem.dtype = grid.types()[t];
      setSelf(problem, 100);
      problem.headDim = headDim;
      problem.headDimV = headDimV;
      setMask(problem, kMasks[(grid.cuda() ? index / 2 : index + t) % std::size(kMasks)]);
      problem.quick = index % grid.types().size() == t;
      ++index;
      if (problem.quick || !grid.cuda()) { // a GPU kernel each takes longer to compile
        grid.add(problem);
      }
    };
    for (int64_t dim : dims) {
      addOne(dim, dim);
    }
    for (auto [dim, dimV] : unequal) {
      addOne(dim, dimV);
    }
  }
}

/// Every mask, with both alignments where they differ, at one pair of lengths.
void addLengthPair(GridBuilder &grid, DType dtype, int64_t seqlenQ, int64_t seqlenK, bool quick) {
  for (MaskKind mask : kMasks) {
    for (bool topLeft : {false, true}) {
      if (topLeft && (mask == MaskKind::None || seqlenQ == seqlenK)) {
        continue;
      }
      VerifyCase problem;
      problem.dtype = dtype;
      problem.seqlenQ = seqlenQ;
      problem.seqlenK = seqlenK;
      problem.topLeft = topLeft;
      problem.quick = quick;
      setMask(problem, mask);
      grid.add(problem);
    }
  }
}

void addLengths(GridBuilder &grid) {
  size_t index = 0;
  for (int64_t length : {0, 1, 17, 63, 64, 65, 127, 128, 200, 300}) {
    addLengthPair(grid, grid.rotateType(index++), length, length, false);
  }
  constexpr std::pair<int64_t, int64_t> cross[] = {{1, 17},   {17, 1},   {63, 65},   {65, 63},   {1, 300},  {300, 1},
                                                   {64, 127}, {127, 64}, {200, 300}, {300, 200}, {17, 200}, {200, 17},
                                                   {0, 64},   {64, 0},   {128, 64},  {64, 128}};
  for (auto [seqlenQ, seqlenK] : cross) {
    addLengthPair(grid, grid.rotateType(index++), seqlenQ, seqlenK, false);
  }
  // The quick ones share one type, so that all of them together need few kernels.
  for (auto [seqlenQ, seqlenK] : {std::pair<int64_t, int64_t>{64, 64}, {65, 300}, {300, 127}, {64, 0}}) {
    addLengthPair(grid, grid.mainType(), seqlenQ, seqlenK, true);
  }
}

void addBreakPoints(GridBuilder &grid) {
  constexpr std::pair<int64_t, int64_t> lengths[] = {{200, 200}, {130, 200}, {200, 130}};
  size_t index = 0;
  for (auto [seqlenQ, seqlenK] : lengths) {
    for (bool topLeft : {false, true}) {
      if (topLeft && seqlenQ == seqlenK) {
        continue;
      }
      for (int64_t point : {int64_t{0}, int64_t{1}, int64_t{63}, int64_t{64}, int64_t{65}, seqlenK - 1, seqlenK}) {
        VerifyCase problem;
        problem.dtype = grid.rotateType(index++);
        problem.seqlenQ = seqlenQ;
        problem.seqlenK = seqlenK;
        problem.topLeft = topLeft;
        setBreak(problem, point, "p=" + std::to_string(point));
        grid.add(problem);
      }
    }
  }
  for (int64_t point : {0, 200}) {
    VerifyCase problem;
    problem.dtype = grid.mainType();
    problem.quick = true;
    setSelf(problem, 200);
    setBreak(problem, point, "p=" + std::to_string(point));
    grid.add(problem);
  }
}

/// Pair lists that a sorted, disjoint, non-empty list would not prepare a kernel for.
std::vector<std::pair<std::string, Pairs>> pairLists(int64_t sk) {
  std::mt19937 random(20240229);
  Pairs many;
  for (int n = 0; n < 64; ++n) {
    const auto start = static_cast<int64_t>(random() % static_cast<uint64_t>(sk));
    const auto length = static_cast<int64_t>(random() % 9);
    many.push_back({start, std::min(start + length, sk)});
  }
  return {{"N=0", {}},
          {"all-1", {{-1, -1}, {-1, -1}, {-1, -1}}},
          {"empty", {{5, 5}, {20, 10}, {0, 0}, {sk, sk}}},
          {"whole", {{0, sk}}},
          {"unsorted", {{sk - 20, sk}, {0, 30}, {60, 90}, {40, 50}}},
          {"nested", {{10, sk - 10}, {20, 100}, {30, 40}}},
          {"nested-inner-first", {{30, 40}, {20, 100}, {10, sk - 10}}},
          {"overlapping", {{0, 50}, {40, 80}, {70, sk}}},
          {"adjacent", {{0, 32}, {32, 64}, {64, 65}, {65, 128}}},
          {"single-keys", {{0, 1}, {63, 64}, {64, 65}, {sk - 1, sk}}},
          {"unused-between", {{-1, -1}, {100, 129}, {-1, -1}, {3, 7}}},
          {"N=64", many}};
}

void addPairLists(GridBuilder &grid) {
  constexpr std::pair<int64_t, int64_t> lengths[] = {{200, 200}, {130, 200}, {200, 130}};
  size_t index = 0;
  for (auto [seqlenQ, seqlenK] : lengths) {
    for (const auto &[note, pairs] : pairLists(seqlenK)) {
      VerifyCase problem;
      problem.dtype = grid.rotateType(index++);
      problem.seqlenQ = seqlenQ;
      problem.seqlenK = seqlenK;
      problem.batch = seqlenQ == seqlenK ? 1 : 3;
      problem.topLeft = seqlenQ != seqlenK && index % 2 == 0;
      setPairs(problem, pairs, note);
      grid.add(problem);
      if (seqlenQ == seqlenK) {
        problem.dtype = grid.mainType();
        problem.quick = true;
        grid.add(problem);
      }
    }
  }
}

void addLayouts(GridBuilder &grid) {
  size_t index = 0;
  for (Layout layout : {Layout::Bhsd, Layout::Packed, Layout::Strided, Layout::Reversed, Layout::Broadcast}) {
    for (DType dtype : grid.types()) {
      for (MaskKind mask : {MaskKind::None, kMasks[1 + index % 3]}) {
        VerifyCase problem;
        problem.dtype = dtype;
        problem.batch = 2;
        setSelf(problem, 100);
        problem.headDim = problem.headDimV = 40;
        problem.layout = layout;
        setMask(problem, mask);
        // 40 is among the head dims of --quick, in these types.
        problem.quick = mask == MaskKind::None && (layout == Layout::Strided || dtype == DType::BFloat16);
        problem.wantLse = mask != MaskKind::None || problem.quick;
        grid.add(problem);
        ++index;
      }
    }
  }
}

void addGroupedHeads(GridBuilder &grid) {
  constexpr std::pair<int64_t, int64_t> heads[] = {{4, 2}, {8, 1}, {6, 3}};
  for (auto [headsQ, headsK] : heads) {
    for (DType dtype : grid.types()) {
      for (MaskKind mask : {MaskKind::Causal, MaskKind::GlmPacked}) {
        VerifyCase problem;
        problem.dtype = dtype;
        problem.batch = 2;
        problem.heads = headsQ;
        problem.headsK = headsK;
        problem.seqlenQ = 100;
        problem.seqlenK = 130;
        setMask(problem, mask);
        problem.quick = dtype == grid.mainType() && headsK != 3;
        grid.add(problem);
      }
    }
  }
}

/// The largest error of a case is compared with the largest error of another evaluation: both need many independent
/// numbers to be more than luck. With huge logits, only rows whose two best keys nearly tie have an error to speak of;
/// with equal logits, all rows of a head are the same.
void haveManyHeads(VerifyCase &problem) {
  problem.batch = 3;
  problem.heads = problem.headsK = 4;
}

void addScales(GridBuilder &grid) {
  constexpr std::pair<double, double> settings[] = {{0.0, 1.0}, {1.0, 1.0}, {30.0, 1.0}, {100.0, 1.0}, {0.125, 20.0}};
  for (DType dtype : grid.types()) {
    for (MaskKind mask : {MaskKind::None, MaskKind::Causal}) {
      for (auto [scale, amplitude] : settings) {
        VerifyCase problem;
        problem.dtype = dtype;
        setSelf(problem, 200);
        haveManyHeads(problem);
        setMask(problem, mask);
        problem.scale = scale;
        problem.amplitude = amplitude;
        problem.quick = dtype == grid.mainType() && mask == MaskKind::Causal && scale != 1.0;
        grid.add(problem);
      }
    }
  }
}

/// NaN and infinity in a key that some rows see and others do not.
void addPoisonedKeys(GridBuilder &grid) {
  for (DType dtype : grid.types()) {
    for (MaskKind mask : {MaskKind::Causal, MaskKind::GlmBreak, MaskKind::GlmPacked}) {
      for (double value : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        VerifyCase problem;
        problem.dtype = dtype;
        setSelf(problem, 200);
        setMask(problem, mask);
        problem.poisonedKey = value;
        problem.quick = dtype == grid.mainType() && (std::isnan(value) || mask == MaskKind::Causal);
        grid.add(problem);
      }
    }
  }
}

/// Logits at the end of float32's range, where one more factor would overflow.
void addExtremes(GridBuilder &grid) {
  for (DType dtype : {DType::Float32, DType::BFloat16}) {
    if (dtype != grid.mainType() && grid.cuda()) {
      continue;
    }
    for (double size : {1e38, 3.2e38}) {
      for (MaskKind mask : {MaskKind::None, MaskKind::Causal}) {
        VerifyCase problem;
        problem.dtype = dtype;
        setSelf(problem, 100);
        haveManyHeads(problem);
        problem.headDim = 1;
        setMask(problem, mask);
        problem.scale = 1.0;
        problem.extreme = size;
        // Logits beyond float32's maximum / log2(e) are clamped (semantics A1), and the LSE with them.
        problem.wantLse = size < 2e38;
        problem.quick = dtype == grid.mainType() && mask == MaskKind::None;
        grid.add(problem);
      }
    }
  }
}

/// Many blocks in both directions, several programs a thread.
void addLong(GridBuilder &grid) {
  for (DType dtype : grid.types()) {
    VerifyCase problem;
    problem.dtype = dtype;
    setSelf(problem, 1000);
    problem.heads = problem.headsK = 1;
    setPairs(problem, pairLists(1000).back().second, "N=64");
    grid.add(problem);
    problem.seqlenQ = 700;
    problem.seqlenK = 1100;
    setMask(problem, MaskKind::GlmBreak);
    grid.add(problem);
  }
}

/// Rows that are aligned to 2, 4 and 8 bytes: other copies to shared memory than for 16, which all other cases have
/// whose head dim allows it.
void addShifts(GridBuilder &grid) {
  for (int64_t shift : {1, 2, 4}) {
    for (auto [headDim, mask] : {std::pair{int64_t{64}, MaskKind::Causal}, {int64_t{128}, MaskKind::None}}) {
      VerifyCase problem;
      problem.dtype = grid.mainType();
      problem.seqlenQ = 130;
      problem.seqlenK = 200;
      problem.headDim = problem.headDimV = headDim;
      setMask(problem, mask);
      problem.quick = shift == 1;
      grid.add(problem, shift);
    }
  }
}

std::vector<VerifyCase> buildGrid(bool cuda) {
  GridBuilder grid(cuda);
  addHeadDims(grid);
  addLengths(grid);
  addBreakPoints(grid);
  addPairLists(grid);
  addLayouts(grid);
  addGroupedHeads(grid);
  addScales(grid);
  addPoisonedKeys(grid);
  addExtremes(grid);
  addLong(grid);
  addFeatures(grid);
  if (cuda) {
    addShifts(grid);
  }
  return grid.take();
}

} // namespace

std::vector<VerifyCase> verifyGrid() { return buildGrid(false); }

std::vector<VerifyCase> cudaVerifyGrid() { return buildGrid(true); }

} // namespace tilewright::cli
