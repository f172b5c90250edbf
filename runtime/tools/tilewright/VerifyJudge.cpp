// SPDX-License-Identifier: Apache-2.0
//
// Compares results, element by element.
#include "VerifyJudge.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

namespace tilewright::cli {

namespace {

constexpr double kLseAbsolute = 2e-6;
constexpr double kLseRelative = 1e-6;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

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

/// Three results of one element, to find the odd one out.
std::string describe(const std::string &where, double value, double device, double exact) {
  std::ostringstream text;
  text.precision(9);
  text << where << " is " << value << ", CUDA reference " << device << ", float64 reference " << exact;
  return text.str();
}

/// Largest error of the evaluations for one element; NaN if one of them is NaN.
double lowPrecisionError(const std::vector<LowPrecisionResult> &low, std::vector<float> LowPrecisionResult::*tensor,
                         size_t at, double exact) {
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

double lseAllowed(double lowError, double exact) {
  return 2.0 * lowError + kLseAbsolute + kLseRelative * std::fabs(exact);
}

/// The larger; NaN counts as infinite.
double larger(double largest, double error) { return std::isnan(error) ? kInfinity : std::max(largest, error); }

/// Largest error so far, and where it is.
struct Worst {
  double error = 0.0;
  std::string where;

  template <typename Where> void add(double now, Where describeIt) {
    if (larger(error, now) > error) {
      error = larger(error, now);
      where = describeIt();
    }
  }
};

std::string offBy(const Worst &worst, double lowError) {
  std::ostringstream text;
  text << worst.where << "; the low-precision evaluation is off by up to " << lowError;
  return text.str();
}

/// Why a case proves nothing.
std::string unusable(const std::string &where, double exact, double low) {
  return "the references are unusable at " + where + ": float64 " + std::to_string(exact) + ", low precision " +
         std::to_string(low);
}

/// body(b, i, h) for every row of every sequence.
template <typename Body> void forEachRow(const VerifyCase &problem, const CaseInputs &inputs, Body body) {
  for (int64_t b = 0; b < problem.batch; ++b) {
    for (int64_t i = 0; i < inputs.sequence(b).lengthQ; ++i) {
      for (int64_t h = 0; h < problem.heads; ++h) {
        body(b, i, h);
      }
    }
  }
}

HostTensor::Shape outShape(const VerifyCase &problem) {
  return problem.varlen() ? HostTensor::Shape{1, problem.rows(), problem.heads, problem.headDimV}
                          : HostTensor::Shape{problem.batch, problem.seqlenQ, problem.heads, problem.headDimV};
}

HostTensor::Shape lseShape(const VerifyCase &problem) {
  return problem.varlen() ? HostTensor::Shape{1, problem.heads, problem.rows(), 1}
                          : HostTensor::Shape{problem.batch, problem.heads, problem.seqlenQ, 1};
}

Layout layoutOfOthers(Layout layout) {
  return layout == Layout::Strided || layout == Layout::Reversed ? layout : Layout::Bshd;
}

} // namespace

CaseOutputs::CaseOutputs(const VerifyCase &problem, DType outType, DType lseType, Layout layout)
    : out(outType, outShape(problem), layout, false, problem.shift),
      lse(lseType, lseShape(problem), layoutOfOthers(layout), false, problem.shift) {
  if (problem.features.probs) {
    probs.emplace(outType, HostTensor::Shape{problem.batch, problem.heads, problem.seqlenQ, problem.seqlenK},
                  layoutOfOthers(layout), false, problem.shift);
  }
}

void Judge::judgeOut(const CaseOutputs &actual, VerifyOutcome &outcome) const {
  double lowError = 0.0, magnitude = 0.0;
  Worst worst;
  std::string firstWrong, useless;
  size_t at = 0;
  forEachRow(problem, inputs, [&](int64_t b, int64_t i, int64_t h) {
    const CaseSequence &here = inputs.sequence(b);
    const RowKind kind = inputs.rowKind(b, h, i);
    for (int64_t d = 0; d < problem.headDimV; ++d, ++at) {
      const double value = actual.out.get(here.entry, here.beginQ + i, h, d);
      const double exact = reference.out.get(here.entry, here.beginQ + i, h, d);
      auto where = [&] { return describe("out", {{"b", b}, {"i", i}, {"h", h}, {"d", d}}); };
      if (kind == RowKind::Poisoned && std::isnan(exact)) { // and so must the kernel's be
        if (!std::isnan(value) && firstWrong.empty()) {
          firstWrong = where() + " is " + describe(value, exact) + " (the row sees a poisoned key)";
        }
        continue;
      }
      const bool empty = kind == RowKind::Empty;
      const double lowHere = lowPrecisionError(low, &LowPrecisionResult::out, at, exact);
      if (!std::isfinite(exact) || !std::isfinite(lowHere) || (empty && exact != 0.0)) {
        // Neither may happen with this grid's numbers, and a comparison with them would prove nothing.
        useless = useless.empty() ? unusable(where(), exact, low.front().out[at]) : useless;
        continue;
      }
      lowError = std::max(lowError, lowHere);
      magnitude = std::max(magnitude, std::fabs(exact));
      if (firstWrong.empty() && (!std::isfinite(value) || (empty && value != 0.0))) {
        firstWrong = where() + " is " + describe(value, exact) + (empty ? " (the row sees nothing)" : "");
      }
      worst.add(std::fabs(value - exact), [&] { return where() + " is " + describe(value, exact); });
    }
  });
  outcome.error = worst.error;
  outcome.allowed = 2.0 * lowError + (at == 0 ? 0.0 : ulpAt(problem.dtype, magnitude));
  if (!useless.empty()) {
    outcome.error = kInfinity;
    outcome.failures.push_back(useless);
  } else if (!firstWrong.empty()) {
    outcome.failures.push_back(firstWrong);
  } else if (!(outcome.error <= outcome.allowed)) {
    outcome.failures.push_back(offBy(worst, lowError));
  }
}

/// Largest error of the float32 evaluations over rows that see something.
double Judge::lseLowError() const {
  double lowError = 0.0;
  size_t at = 0;
  forEachRow(problem, inputs, [&](int64_t b, int64_t i, int64_t h) {
    const double exact = reference.lse.get(inputs.sequence(b).entry, h, inputs.sequence(b).beginQ + i, 0);
    if (inputs.rowKind(b, h, i) != RowKind::Empty && std::isfinite(exact)) {
      lowError = std::max(lowError, lowPrecisionError(low, &LowPrecisionResult::lse, at, exact));
    }
    ++at;
  });
  return lowError;
}

void Judge::judgeLse(const CaseOutputs &actual, VerifyOutcome &outcome) const {
  const double lowError = lseLowError();
  double leastRoom = kInfinity;
  std::string worst, wrong;
  forEachRow(problem, inputs, [&](int64_t b, int64_t i, int64_t h) {
    const CaseSequence &here = inputs.sequence(b);
    const double value = actual.lse.get(here.entry, h, here.beginQ + i, 0);
    const double exact = reference.lse.get(here.entry, h, here.beginQ + i, 0);
    const RowKind kind = inputs.rowKind(b, h, i);
    const bool empty = kind == RowKind::Empty;
    auto where = [&] { return describe("lse", {{"b", b}, {"h", h}, {"i", i}}); };
    if (!wrong.empty()) {
      return;
    }
    if (kind == RowKind::Poisoned && !std::isfinite(exact)) {
      wrong = std::isfinite(value) ? where() + " is " + describe(value, exact) + " (the row sees a poisoned key)" : "";
      return;
    }
    if (empty != (exact == -kInfinity) || (!empty && !std::isfinite(exact)) || !std::isfinite(lowError)) {
      wrong = "the references are unusable at " + where();
      return;
    }
    if (empty ? value != exact : !std::isfinite(value)) {
      outcome.lseError = kInfinity;
      wrong = where() + " is " + describe(value, exact);
      return;
    }
    if (empty) {
      return;
    }
    const double error = std::fabs(value - exact);
    const double allowed = lseAllowed(lowError, exact);
    outcome.lseError = std::max(outcome.lseError, error);
    if (allowed - error < leastRoom) {
      leastRoom = allowed - error;
      outcome.lseAllowed = allowed;
      worst = where() + " is " + describe(value, exact);
    }
  });
  if (!wrong.empty()) {
    outcome.failures.push_back(wrong);
  } else if (leastRoom < 0.0) {
    outcome.failures.push_back(worst);
  }
}

void Judge::judgeProbs(const CaseOutputs &actual, VerifyOutcome &outcome) const {
  double lowError = 0.0, magnitude = 0.0;
  Worst worst;
  std::string firstWrong;
  for (int64_t b = 0; b < problem.batch; ++b) {
    const CaseSequence &here = inputs.sequence(b);
    for (int64_t h = 0; h < problem.heads; ++h) {
      for (int64_t i = 0; i < problem.seqlenQ; ++i) {
        for (int64_t j = 0; j < problem.seqlenK; ++j) {
          const double value = actual.probs->get(b, h, i, j), exact = reference.probs->get(b, h, i, j);
          auto where = [&] {
            return describe("probs", {{"b", b}, {"h", h}, {"i", i}, {"j", j}}) + " is " + describe(value, exact);
          };
          if (i >= here.lengthQ || j >= here.lengthK || !inputs.visible(b, h, i, j)) {
            if (value != 0.0 && firstWrong.empty()) { // NaN, left over or computed, is not 0 either
              firstWrong = where() + " (a hidden entry)";
            }
            continue;
          }
          if (std::isnan(exact)) {
            if (!std::isnan(value) && firstWrong.empty()) {
              firstWrong = where() + " (the row sees a poisoned key)";
            }
            continue;
          }
          const auto at = static_cast<size_t>(((here.rowsBefore + i) * problem.heads + h) * problem.seqlenK + j);
          lowError = larger(lowError, lowPrecisionError(low, &LowPrecisionResult::probs, at, exact));
          magnitude = std::max(magnitude, std::fabs(exact));
          worst.add(std::fabs(value - exact), where);
        }
      }
    }
  }
  outcome.probsError = worst.error;
  outcome.probsAllowed = 2.0 * lowError + ulpAt(problem.dtype, magnitude);
  if (!std::isfinite(lowError)) {
    outcome.failures.push_back("the low-precision evaluation of probs is unusable");
  } else if (!firstWrong.empty()) {
    outcome.failures.push_back(firstWrong);
  } else if (!(worst.error <= outcome.probsAllowed)) {
    outcome.failures.push_back(offBy(worst, lowError));
  }
}

void Judge::judgeByDevice(const CaseOutputs &actual, const CaseOutputs &device, VerifyOutcome &outcome) const {
  const double lseLow = lseLowError();
  Worst kernel, ofReference;
  std::string wrongLse, wrongProbs;
  forEachRow(problem, inputs, [&](int64_t b, int64_t i, int64_t h) {
    const CaseSequence &here = inputs.sequence(b);
    for (int64_t d = 0; d < problem.headDimV; ++d) {
      const double value = actual.out.get(here.entry, here.beginQ + i, h, d),
                   other = device.out.get(here.entry, here.beginQ + i, h, d),
                   exact = reference.out.get(here.entry, here.beginQ + i, h, d);
      if (std::isnan(exact) && std::isnan(other)) { // the row sees a poisoned key; the kernel was judged before
        continue;
      }
      auto where = [&] {
        return describe(describe("out", {{"b", b}, {"i", i}, {"h", h}, {"d", d}}), value, other, exact);
      };
      kernel.add(std::fabs(value - other), where);
      ofReference.add(std::fabs(other - exact), where);
    }
    const double value = actual.lse.get(here.entry, h, here.beginQ + i, 0),
                 other = device.lse.get(here.entry, h, here.beginQ + i, 0),
                 exact = reference.lse.get(here.entry, h, here.beginQ + i, 0);
    const double allowed = lseAllowed(lseLow, exact);
    const bool agree = std::isfinite(exact)
                           ? std::fabs(value - other) <= allowed && std::fabs(other - exact) <= allowed
                           : other == exact || (std::isnan(exact) && std::isnan(other));
    if (problem.wantLse && !agree && wrongLse.empty()) {
      wrongLse = describe(describe("lse", {{"b", b}, {"h", h}, {"i", i}}), value, other, exact);
    }
    for (int64_t j = 0; problem.features.probs && wrongProbs.empty() && j < problem.seqlenK; ++j) {
      const double mine = actual.probs->get(b, h, i, j), others = device.probs->get(b, h, i, j),
                   right = reference.probs->get(b, h, i, j);
      const bool same = std::isnan(right) ? std::isnan(others)
                                          : std::fabs(mine - others) <= outcome.probsAllowed &&
                                                std::fabs(others - right) <= outcome.probsAllowed;
      if (!same) {
        wrongProbs = describe(describe("probs", {{"b", b}, {"h", h}, {"i", i}, {"j", j}}), mine, others, right);
      }
    }
  });
  outcome.deviceError = kernel.error;
  outcome.deviceReferenceError = ofReference.error;
  if (!(ofReference.error <= outcome.allowed)) {
    outcome.failures.push_back("the CUDA reference is off: " + ofReference.where);
  }
  if (!(kernel.error <= outcome.allowed)) {
    outcome.failures.push_back("kernel and CUDA reference differ: " + kernel.where);
  }
  for (const std::string &wrong : {wrongLse, wrongProbs}) {
    if (!wrong.empty()) {
      outcome.failures.push_back("kernel, CUDA reference and float64 reference differ: " + wrong);
    }
  }
}

} // namespace tilewright::cli
