// SPDX-License-Identifier: Apache-2.0
//
// Runs one case of the grid and judges it.
//
// What a case must satisfy:
//   * out: largest error against the float64 reference at most twice that of the low-precision evaluation, in the worst
//     order of summation, plus one ulp of the type at the output's magnitude (semantics A12: the rounding noise of one
//     step).
//   * lse: always float32, so measured against the float32 evaluation whatever the tensors' type. For each row, twice
//     that evaluation's largest error, plus 2e-6, plus 1e-6 of the value: an approximated exp2 and the rescaling of a
//     sum from block to block are relative errors of the sum, which its logarithm makes absolute (2e-6 is 17 float32
//     steps of 1); working in base 2 rounds the maximum, once scaled and once scaled back (1e-6 is 8 to 17 steps of the
//     value).
//   * rows that see nothing: exactly 0, and an LSE of exactly -inf.
//   * rows that see a key of NaN or infinity: NaN where the reference has NaN, and an LSE that is not finite. Rows that
//     do not see it are judged as ever.
//   * nothing outside of out and lse is written, and nothing of the inputs is changed.
//   * nothing outside of the inputs is used, nor keys and values that no row sees: all of that memory is NaN.
//   * a second run gives the same bits.
#include "LowPrecision.h"
#include "VerifyCase.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <random>
#include <sstream>

namespace tilewright::cli {

namespace {

constexpr double kLseAbsolute = 2e-6;
constexpr double kLseRelative = 1e-6;

/// Reproducible data for a case whatever else the grid holds.
uint64_t seedOf(uint64_t seed, const std::string &name) {
  uint64_t hash = 14695981039346656037u ^ seed; // FNV-1a
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  }
  return hash;
}

void fill(HostTensor &tensor, double amplitude, std::mt19937_64 &random) {
  const auto [batch, seqlen, heads, dim] = tensor.shape();
  for (int64_t b = 0; b < (tensor.broadcastsBatch() ? 1 : batch); ++b) {
    for (int64_t i = 0; i < seqlen; ++i) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t d = 0; d < dim; ++d) {
          const double uniform = static_cast<double>(random() >> 11) * 0x1p-53; // [0, 1)
          tensor.set(b, i, h, d, amplitude * (2.0 * uniform - 1.0));
        }
      }
    }
  }
}

/// Makes NaN of the keys or values that no row of a batch entry sees: a call may not let them touch anything.
void poisonUnseen(HostTensor &tensor, const VerifyCase &problem) {
  for (int64_t b = 0; b < problem.batch; ++b) {
    int64_t seen = 0;
    for (int64_t i = 0; i < problem.seqlenQ; ++i) {
      seen = std::max(seen, problem.visibleColumns(b, i));
    }
    for (int64_t j = tensor.broadcastsBatch() ? problem.seqlenK : seen; j < problem.seqlenK; ++j) {
      for (int64_t h = 0; h < problem.headsK; ++h) {
        for (int64_t d = 0; d < tensor.shape()[3]; ++d) {
          tensor.poison(b, j, h, d);
        }
      }
    }
  }
}

/// The mask's numbers between others that would show every key to every row, were they read.
class GlmTensor {
public:
  explicit GlmTensor(const VerifyCase &problem) {
    const bool packed = problem.mask == MaskKind::GlmPacked;
    const int64_t rows = packed ? 2 * problem.batch : problem.batch;
    const int64_t length = packed ? problem.pairs : 1;
    // Two layouts: contiguous, and with a gap after every row of numbers.
    const int64_t pitch = length + (problem.layout == Layout::Strided ? 3 : 0);
    constexpr int64_t guard = 33;
    storage_.assign(static_cast<size_t>(rows * pitch + 2 * guard), std::numeric_limits<int32_t>::max());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t n = 0; n < length; ++n) {
        storage_[static_cast<size_t>(guard + r * pitch + n)] = problem.glm[static_cast<size_t>(r * length + n)];
      }
    }
    const int32_t *first = storage_.data() + guard;
    view_ = packed ? ConstTensor(first, {problem.batch, 2, problem.pairs}, {2 * pitch, pitch, 1})
                   : ConstTensor(first, {problem.batch}, {pitch});
  }

  const ConstTensor &view() const { return view_; }
  const std::vector<int32_t> &numbers() const { return storage_; }

private:
  std::vector<int32_t> storage_;
  ConstTensor view_;
};

struct Inputs {
  Inputs(const VerifyCase &problem, uint64_t seed)
      : q(problem.dtype, {problem.batch, problem.seqlenQ, problem.heads, problem.headDim}, problem.layout, true),
        k(problem.dtype, {problem.batch, problem.seqlenK, problem.headsK, problem.headDim}, problem.layout, true),
        v(problem.dtype, {problem.batch, problem.seqlenK, problem.headsK, problem.headDimV}, problem.layout, true) {
    std::mt19937_64 random(seedOf(seed, problem.name()));
    fill(q, problem.amplitude, random);
    fill(k, problem.amplitude, random);
    fill(v, 1.0, random);
    if (problem.extreme) {
      fillExtreme(problem);
    }
    for (int64_t b = 0; problem.poisonedKey && b < problem.batch; ++b) {
      for (int64_t h = 0; h < problem.headsK; ++h) {
        k.set(b, problem.poisonedColumn(), h, 0, *problem.poisonedKey);
      }
    }
    poisonUnseen(k, problem);
    poisonUnseen(v, problem);
    if (problem.mask == MaskKind::GlmBreak || problem.mask == MaskKind::GlmPacked) {
      glm.emplace(problem);
    }
  }

  HostTensor q, k, v;
  std::optional<GlmTensor> glm;

private:
  void fillExtreme(const VerifyCase &problem) {
    for (int64_t b = 0; b < problem.batch; ++b) {
      for (int64_t h = 0; h < problem.heads; ++h) {
        for (int64_t i = 0; i < problem.seqlenQ; ++i) {
          q.set(b, i, h, 0, i % 2 == 0 ? *problem.extreme : -*problem.extreme);
        }
        for (int64_t j = 0; h < problem.headsK && j < problem.seqlenK; ++j) {
          k.set(b, j, h, 0, 1.0);
        }
      }
    }
  }
};

struct Outputs {
  Outputs(const VerifyCase &problem, DType outType, DType lseType, Layout layout)
      : out(outType, {problem.batch, problem.seqlenQ, problem.heads, problem.headDimV}, layout, false),
        lse(lseType, {problem.batch, problem.heads, problem.seqlenQ, 1},
            layout == Layout::Strided || layout == Layout::Reversed ? layout : Layout::Bshd, false) {}

  HostTensor out, lse;
};

ForwardOptions optionsOf(const VerifyCase &problem, Inputs &inputs, Outputs &outputs, bool wantLse) {
  ForwardOptions options;
  options.causal = problem.mask != MaskKind::None;
  options.causalAlign = problem.topLeft ? CausalAlign::TopLeft : CausalAlign::BottomRight;
  options.softmaxScale = problem.scale;
  if (inputs.glm) {
    options.glmMask = inputs.glm->view();
  }
  if (wantLse) {
    options.lse = outputs.lse.view(3);
  }
  return options;
}

double runOnce(const Engine &engine, const VerifyCase &problem, Inputs &inputs, Outputs &outputs) {
  ForwardOptions options = optionsOf(problem, inputs, outputs, problem.wantLse);
  options.engine = &engine;
  const auto start = std::chrono::steady_clock::now();
  forward(inputs.q.view(), inputs.k.view(), inputs.v.view(), outputs.out.view(), options);
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

std::string describe(double value, double reference) {
  std::ostringstream text;
  text.precision(9);
  text << value << ", reference " << reference;
  return text.str();
}

std::string describe(const char *tensor, std::initializer_list<std::pair<const char *, int64_t>> index) {
  std::ostringstream text;
  text << tensor << '[';
  for (const auto &[name, value] : index) {
    text << (name == index.begin()->first ? "" : ", ") << name << '=' << value;
  }
  text << ']';
  return text.str();
}

/// The evaluations of one case in every order of summation.
using LowPrecision = std::vector<LowPrecisionResult>;

/// Largest error of the evaluations for one element; NaN if one of them is NaN.
double lowPrecisionError(const LowPrecision &low, std::vector<float> LowPrecisionResult::*tensor, size_t at,
                         double exact) {
  double largest = 0.0;
  for (const LowPrecisionResult &result : low) {
    const double error = std::fabs((result.*tensor)[at] - exact);
    if (std::isnan(error)) {
      return error;
    }
    largest = std::max(largest, error);
  }
  return largest;
}

void judgeOut(const VerifyCase &problem, const Outputs &actual, const Outputs &reference, const LowPrecision &low,
              VerifyOutcome &outcome) {
  double lowError = 0.0, magnitude = 0.0;
  std::string worst, firstWrong;
  size_t at = 0;
  for (int64_t b = 0; b < problem.batch; ++b) {
    for (int64_t i = 0; i < problem.seqlenQ; ++i) {
      const bool empty = problem.visibleColumns(b, i) == 0;
      for (int64_t h = 0; h < problem.heads; ++h) {
        for (int64_t d = 0; d < problem.headDimV; ++d, ++at) {
          const double value = actual.out.get(b, i, h, d), exact = reference.out.get(b, i, h, d);
          const double error = std::fabs(value - exact);
          const double lowHere = lowPrecisionError(low, &LowPrecisionResult::out, at, exact);
          if (problem.seesPoisonedKey(b, i) && std::isnan(exact)) { // and so must the kernel's be
            if (!std::isnan(value) && firstWrong.empty()) {
              firstWrong = describe("out", {{"b", b}, {"i", i}, {"h", h}, {"d", d}}) + " is " + describe(value, exact) +
                           " (the row sees the poisoned key)";
            }
            continue;
          }
          if (!std::isfinite(exact) || !std::isfinite(lowHere) || (empty && exact != 0.0)) {
            // Neither may happen with this grid's numbers, and a comparison with them would prove nothing.
            outcome.failures.push_back(
                "the references are unusable at " + describe("out", {{"b", b}, {"i", i}, {"h", h}, {"d", d}}) +
                ": float64 " + std::to_string(exact) + ", low precision " + std::to_string(low.front().out[at]));
            outcome.error = std::numeric_limits<double>::infinity();
            return;
          }
          lowError = std::max(lowError, lowHere);
          magnitude = std::max(magnitude, std::fabs(exact));
          if (firstWrong.empty() && (!std::isfinite(value) || (empty && value != 0.0))) {
            firstWrong = describe("out", {{"b", b}, {"i", i}, {"h", h}, {"d", d}}) + " is " + describe(value, exact) +
                         (empty ? " (the row sees nothing)" : "");
          }
          if (error > outcome.error || std::isnan(error)) {
            outcome.error = std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
            worst = describe("out", {{"b", b}, {"i", i}, {"h", h}, {"d", d}}) + " is " + describe(value, exact);
          }
        }
      }
    }
  }
  outcome.allowed = 2.0 * lowError + (at == 0 ? 0.0 : ulpAt(problem.dtype, magnitude));
  if (!firstWrong.empty()) {
    outcome.failures.push_back(firstWrong);
  } else if (!(outcome.error <= outcome.allowed)) {
    std::ostringstream text;
    text << worst << "; the low-precision evaluation is off by up to " << lowError;
    outcome.failures.push_back(text.str());
  }
}

void judgeLse(const VerifyCase &problem, const Outputs &actual, const Outputs &reference, const LowPrecision &low,
              VerifyOutcome &outcome) {
  double lowError = 0.0;
  size_t at = 0;
  for (int64_t b = 0; b < problem.batch; ++b) {
    for (int64_t h = 0; h < problem.heads; ++h) {
      for (int64_t i = 0; i < problem.seqlenQ; ++i, ++at) {
        if (problem.visibleColumns(b, i) > 0 && std::isfinite(reference.lse.get(b, h, i, 0))) {
          lowError =
              std::max(lowError, lowPrecisionError(low, &LowPrecisionResult::lse, at, reference.lse.get(b, h, i, 0)));
        }
      }
    }
  }
  double leastRoom = std::numeric_limits<double>::infinity();
  std::string worst;
  for (int64_t b = 0; b < problem.batch; ++b) {
    for (int64_t h = 0; h < problem.heads; ++h) {
      for (int64_t i = 0; i < problem.seqlenQ; ++i) {
        const double value = actual.lse.get(b, h, i, 0), exact = reference.lse.get(b, h, i, 0);
        const bool empty = problem.visibleColumns(b, i) == 0;
        const std::string where = describe("lse", {{"b", b}, {"h", h}, {"i", i}});
        if (problem.seesPoisonedKey(b, i) && !std::isfinite(exact)) {
          if (std::isfinite(value)) {
            outcome.failures.push_back(where + " is " + describe(value, exact) + " (the row sees the poisoned key)");
            return;
          }
          continue;
        }
        if (empty != (exact == -std::numeric_limits<double>::infinity()) || (!empty && !std::isfinite(exact)) ||
            !std::isfinite(lowError)) {
          outcome.failures.push_back("the references are unusable at " + where);
          return;
        }
        if (empty ? value != exact : !std::isfinite(value)) {
          outcome.lseError = std::numeric_limits<double>::infinity();
          outcome.failures.push_back(where + " is " + describe(value, exact));
          return;
        }
        if (empty) {
          continue;
        }
        const double error = std::fabs(value - exact);
        const double allowed = 2.0 * lowError + kLseAbsolute + kLseRelative * std::fabs(exact);
        outcome.lseError = std::max(outcome.lseError, error);
        if (allowed - error < leastRoom) {
          leastRoom = allowed - error;
          outcome.lseAllowed = allowed;
          worst = where + " is " + describe(value, exact);
        }
      }
    }
  }
  if (leastRoom < 0.0) {
    outcome.failures.push_back(worst);
  }
}

void checkSurroundings(const Outputs &outputs, VerifyOutcome &outcome) {
  for (const auto &[name, tensor] : {std::pair{"out", &outputs.out}, std::pair{"lse", &outputs.lse}}) {
    if (const auto damage = tensor->damagedSurroundings()) {
      outcome.failures.push_back(std::string("the call wrote around ") + name + ": " + *damage);
    }
  }
}

} // namespace

VerifyOutcome runVerifyCase(const Engine &engine, const VerifyCase &problem, uint64_t seed) {
  VerifyOutcome outcome;
  Inputs inputs(problem, seed);
  Outputs reference(problem, DType::Float64, DType::Float64, Layout::Bshd);
  referenceForward(inputs.q.view(), inputs.k.view(), inputs.v.view(), reference.out.view(),
                   optionsOf(problem, inputs, reference, true));
  LowPrecision low;
  for (const SumOrder order : kSumOrders) {
    low.push_back(lowPrecisionForward(problem, inputs.q, inputs.k, inputs.v, order));
  }

  const Inputs before = inputs;
  Outputs first(problem, problem.dtype, DType::Float32, problem.layout);
  Outputs second = first;
  try {
    runOnce(engine, problem, inputs, first);
    outcome.milliseconds = runOnce(engine, problem, inputs, second);
  } catch (const Error &error) {
    outcome.error = std::numeric_limits<double>::infinity();
    outcome.failures.push_back(std::string(tw_status_name(error.status())) + ": " + error.what());
    return outcome;
  }

  judgeOut(problem, first, reference, low, outcome);
  if (problem.wantLse) {
    judgeLse(problem, first, reference, low, outcome);
  } else if (first.lse.bytes() != Outputs(problem, problem.dtype, DType::Float32, problem.layout).lse.bytes()) {
    outcome.failures.push_back("the call wrote an lse that it was not given");
  }
  checkSurroundings(first, outcome);
  if (first.out.bytes() != second.out.bytes()) {
    outcome.failures.push_back("a second run gave other bits in out");
  }
  if (first.lse.bytes() != second.lse.bytes()) {
    outcome.failures.push_back("a second run gave other bits in lse");
  }
  for (const auto &[name, now, then] : {std::tuple{"q", &inputs.q, &before.q}, std::tuple{"k", &inputs.k, &before.k},
                                        std::tuple{"v", &inputs.v, &before.v}}) {
    if (now->bytes() != then->bytes()) {
      outcome.failures.push_back(std::string("the call changed ") + name);
    }
  }
  if (inputs.glm && inputs.glm->numbers() != before.glm->numbers()) {
    outcome.failures.push_back("the call changed glm_mask");
  }
  return outcome;
}

} // namespace tilewright::cli
