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
//   * with the CUDA reference: it differs from the kernel, and from the float64 reference, by no more than the kernel
//     may from the float64 reference, in out and lse. (Its own error is some float32 steps, far below that; asking for
//     more would judge it and not the kernel.)
// On a CUDA device the same bytes are copied there and back, NaNs and sentinels too.
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
    pitch_ = length + (problem.layout == Layout::Strided ? 3 : 0);
    shape_ = packed ? std::vector<int64_t>{problem.batch, 2, length} : std::vector<int64_t>{problem.batch};
    storage_.assign(static_cast<size_t>(rows * pitch_ + 2 * kGuard), std::numeric_limits<int32_t>::max());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t n = 0; n < length; ++n) {
        storage_[static_cast<size_t>(kGuard + r * pitch_ + n)] = problem.glm[static_cast<size_t>(r * length + n)];
      }
    }
  }

  ConstTensor view() const { return viewIn(storage_.data()); }
  /// The same view of a copy of numbers() at another address.
  ConstTensor viewIn(const void *copy) const {
    const int32_t *first = static_cast<const int32_t *>(copy) + kGuard;
    return shape_.size() == 3 ? ConstTensor(first, {shape_[0], 2, shape_[2]}, {2 * pitch_, pitch_, 1})
                              : ConstTensor(first, {shape_[0]}, {pitch_});
  }
  const std::vector<int32_t> &numbers() const { return storage_; }
  std::vector<int32_t> &numbers() { return storage_; }

private:
  static constexpr int64_t kGuard = 33;
  int64_t pitch_ = 0;
  std::vector<int64_t> shape_;
  std::vector<int32_t> storage_;
};

struct Inputs {
  Inputs(const VerifyCase &problem, uint64_t seed)
      : q(problem.dtype, {problem.batch, problem.seqlenQ, problem.heads, problem.headDim}, problem.layout, true,
          problem.shift),
        k(problem.dtype, {problem.batch, problem.seqlenK, problem.headsK, problem.headDim}, problem.layout, true,
          problem.shift),
        v(problem.dtype, {problem.batch, problem.seqlenK, problem.headsK, problem.headDimV}, problem.layout, true,
          problem.shift) {
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
      : out(outType, {problem.batch, problem.seqlenQ, problem.heads, problem.headDimV}, layout, false,
            problem.shift),
        lse(lseType, {problem.batch, problem.heads, problem.seqlenQ, 1},
            layout == Layout::Strided || layout == Layout::Reversed ? layout : Layout::Bshd, false, problem.shift) {}

  HostTensor out, lse;
};

/// All but the tensors.
ForwardOptions optionsOf(const VerifyCase &problem) {
  ForwardOptions options;
  options.causal = problem.mask != MaskKind::None;
  options.causalAlign = problem.topLeft ? CausalAlign::TopLeft : CausalAlign::BottomRight;
  options.softmaxScale = problem.scale;
  return options;
}

ForwardOptions optionsOf(const VerifyCase &problem, Inputs &inputs, Outputs &outputs, bool wantLse) {
  ForwardOptions options = optionsOf(problem);
  if (inputs.glm) {
    options.glmMask = inputs.glm->view();
  }
  if (wantLse) {
    options.lse = outputs.lse.view(3);
  }
  return options;
}

class Stopwatch {
public:
  double milliseconds() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count();
  }

private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

template <typename T> CudaMemory copyOnDevice(int device, const std::vector<T> &values) {
  CudaMemory memory(device, values.size() * sizeof(T));
  memory.upload(values.data());
  return memory;
}

/// The inputs' bytes on a device.
class DeviceInputs {
public:
  DeviceInputs(int device, const Inputs &inputs)
      : q_(copyOnDevice(device, inputs.q.bytes())), k_(copyOnDevice(device, inputs.k.bytes())),
        v_(copyOnDevice(device, inputs.v.bytes())) {
    if (inputs.glm) {
      glm_.emplace(copyOnDevice(device, inputs.glm->numbers()));
    }
  }

  /// Runs it with outputs that hold what `outputs` holds at first, and fetches them.
  template <typename Forward>
  double run(const VerifyCase &problem, const Inputs &inputs, Outputs &outputs, Forward &&forwardFunction) const {
    const int device = q_.device();
    const CudaMemory out = copyOnDevice(device, outputs.out.bytes()), lse = copyOnDevice(device, outputs.lse.bytes());
    ForwardOptions options = optionsOf(problem);
    if (glm_) {
      options.glmMask = inputs.glm->viewIn(glm_->data()).onCuda(device);
    }
    if (problem.wantLse) {
      options.lse = outputs.lse.viewIn(lse.data(), 3).onCuda(device);
    }
    const Stopwatch watch;
    forwardFunction(inputs.q.viewIn(q_.data()).onCuda(device), inputs.k.viewIn(k_.data()).onCuda(device),
                    inputs.v.viewIn(v_.data()).onCuda(device), outputs.out.viewIn(out.data()).onCuda(device), options);
    out.download(outputs.out.bytes().data());
    const double milliseconds = watch.milliseconds();
    lse.download(outputs.lse.bytes().data());
    return milliseconds;
  }

  /// The bytes as they are now.
  void fetch(Inputs &inputs) const {
    q_.download(inputs.q.bytes().data());
    k_.download(inputs.k.bytes().data());
    v_.download(inputs.v.bytes().data());
    if (glm_) {
      glm_->download(inputs.glm->numbers().data());
    }
  }

private:
  CudaMemory q_, k_, v_;
  std::optional<CudaMemory> glm_;
};

double runOnCpu(const Engine &engine, const VerifyCase &problem, Inputs &inputs, Outputs &outputs) {
  ForwardOptions options = optionsOf(problem, inputs, outputs, problem.wantLse);
  options.engine = &engine;
  const Stopwatch watch;
  forward(inputs.q.view(), inputs.k.view(), inputs.v.view(), outputs.out.view(), options);
  return watch.milliseconds();
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

/// Largest error of the float32 evaluations over rows that see something.
double lseLowError(const VerifyCase &problem, const Outputs &reference, const LowPrecision &low) {
  double lowError = 0.0;
  size_t at = 0;
  for (int64_t b = 0; b < problem.batch; ++b) {
    for (int64_t h = 0; h < problem.heads; ++h) {
      for (int64_t i = 0; i < problem.seqlenQ; ++i, ++at) {
        const double exact = reference.lse.get(b, h, i, 0);
        if (problem.visibleColumns(b, i) > 0 && std::isfinite(exact)) {
          lowError = std::max(lowError, lowPrecisionError(low, &LowPrecisionResult::lse, at, exact));
        }
      }
    }
  }
  return lowError;
}

double lseAllowed(double lowError, double exact) {
  return 2.0 * lowError + kLseAbsolute + kLseRelative * std::fabs(exact);
}

void judgeLse(const VerifyCase &problem, const Outputs &actual, const Outputs &reference, double lowError,
              VerifyOutcome &outcome) {
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
        const double allowed = lseAllowed(lowError, exact);
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

/// The larger; NaN counts as infinite.
double larger(double largest, double error) {
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(largest, error);
}

/// Three results of one element, to find the odd one out.
std::string describe(const std::string &where, double value, double device, double exact) {
  std::ostringstream text;
  text.precision(9);
  text << where << " is " << value << ", CUDA reference " << device << ", float64 reference " << exact;
  return text.str();
}

/// Kernel against CUDA reference, and that against the float64 one.
void judgeByDevice(const VerifyCase &problem, const Outputs &actual, const Outputs &device, const Outputs &reference,
                   double lseLow, VerifyOutcome &outcome) {
  double error = 0.0, referenceError = 0.0;
  std::string worst, worstReference, wrongLse;
  for (int64_t b = 0; b < problem.batch; ++b) {
    for (int64_t i = 0; i < problem.seqlenQ; ++i) {
      for (int64_t h = 0; h < problem.heads; ++h) {
        for (int64_t d = 0; d < problem.headDimV; ++d) {
          const double value = actual.out.get(b, i, h, d), other = device.out.get(b, i, h, d),
                       exact = reference.out.get(b, i, h, d);
          if (std::isnan(exact) && std::isnan(other)) { // the row sees a poisoned key; the kernel was judged before
            continue;
          }
          const std::string where = describe("out", {{"b", b}, {"i", i}, {"h", h}, {"d", d}});
          const double now = larger(error, std::fabs(value - other));
          const double nowReference = larger(referenceError, std::fabs(other - exact));
          if (now > error) {
            error = now;
            worst = describe(where, value, other, exact);
          }
          if (nowReference > referenceError) {
            referenceError = nowReference;
            worstReference = describe(where, value, other, exact);
          }
        }
        if (!problem.wantLse || !wrongLse.empty()) {
          continue;
        }
        const double value = actual.lse.get(b, h, i, 0), other = device.lse.get(b, h, i, 0),
                     exact = reference.lse.get(b, h, i, 0);
        const double allowed = lseAllowed(lseLow, exact);
        const bool agree = std::isfinite(exact)
                               ? std::fabs(value - other) <= allowed && std::fabs(other - exact) <= allowed
                               : other == exact || (std::isnan(exact) && std::isnan(other));
        if (!agree) {
          wrongLse = describe(describe("lse", {{"b", b}, {"h", h}, {"i", i}}), value, other, exact);
        }
      }
    }
  }
  outcome.deviceError = error;
  outcome.deviceReferenceError = referenceError;
  if (!(referenceError <= outcome.allowed)) {
    outcome.failures.push_back("the CUDA reference is off: " + worstReference);
  }
  if (!(error <= outcome.allowed)) {
    outcome.failures.push_back("kernel and CUDA reference differ: " + worst);
  }
  if (!wrongLse.empty()) {
    outcome.failures.push_back("kernel, CUDA reference and float64 reference differ: " + wrongLse);
  }
}

void checkSurroundings(const char *who, const Outputs &outputs, VerifyOutcome &outcome) {
  for (const auto &[name, tensor] : {std::pair{"out", &outputs.out}, std::pair{"lse", &outputs.lse}}) {
    if (const auto damage = tensor->damagedSurroundings()) {
      outcome.failures.push_back(std::string(who) + " wrote around " + name + ": " + *damage);
    }
  }
}

/// What was computed, and the inputs afterwards.
struct Runs {
  Outputs first, second;
  std::optional<Outputs> device; ///< of the CUDA reference
};

/// Both runs, and the CUDA reference's if it is wanted; `inputs` becomes what it is afterwards.
void runAll(const VerifyPlace &place, const VerifyCase &problem, Inputs &inputs, Runs &runs, VerifyOutcome &outcome) {
  if (!place.cuda) {
    runOnCpu(*place.engine, problem, inputs, runs.first);
    outcome.milliseconds = runOnCpu(*place.engine, problem, inputs, runs.second);
    return;
  }
  const DeviceInputs onDevice(*place.cuda, inputs);
  auto kernel = [&](const ConstTensor &q, const ConstTensor &k, const ConstTensor &v, const Tensor &out,
                    ForwardOptions options) {
    options.engine = place.engine;
    forward(q, k, v, out, options);
  };
  onDevice.run(problem, inputs, runs.first, kernel);
  outcome.milliseconds = onDevice.run(problem, inputs, runs.second, kernel);
  if (place.cudaReference) {
    runs.device.emplace(problem, DType::Float32, DType::Float32, Layout::Bshd);
    onDevice.run(problem, inputs, *runs.device, cudaReferenceForward);
  }
  onDevice.fetch(inputs);
}

} // namespace

VerifyOutcome runVerifyCase(const VerifyPlace &place, const VerifyCase &problem, uint64_t seed) {
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
  const Outputs untouched(problem, problem.dtype, DType::Float32, problem.layout);
  Runs runs{untouched, untouched, std::nullopt};
  try {
    runAll(place, problem, inputs, runs, outcome);
  } catch (const Error &error) {
    outcome.error = std::numeric_limits<double>::infinity();
    outcome.cudaFailed = error.status() == TW_CUDA_ERROR;
    outcome.failures.push_back(std::string(tw_status_name(error.status())) + ": " + error.what());
    return outcome;
  }

  judgeOut(problem, runs.first, reference, low, outcome);
  const double lseLow = lseLowError(problem, reference, low);
  if (problem.wantLse) {
    judgeLse(problem, runs.first, reference, lseLow, outcome);
  } else if (runs.first.lse.bytes() != untouched.lse.bytes()) {
    outcome.failures.push_back("the call wrote an lse that it was not given");
  }
  checkSurroundings("the call", runs.first, outcome);
  if (runs.device) {
    judgeByDevice(problem, runs.first, *runs.device, reference, lseLow, outcome);
    checkSurroundings("the CUDA reference", *runs.device, outcome);
  }
  if (runs.first.out.bytes() != runs.second.out.bytes()) {
    outcome.failures.push_back("a second run gave other bits in out");
  }
  if (runs.first.lse.bytes() != runs.second.lse.bytes()) {
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
