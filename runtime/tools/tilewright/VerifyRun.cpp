// SPDX-License-Identifier: Apache-2.0
//
// Runs one case of the grid. VerifyJudge.h says what its results must be; besides,
//   * nothing outside of the outputs is written, and nothing of the inputs is changed.
//   * nothing outside of the inputs is used, nor what no row sees (VerifyInputs.h): all of that memory is NaN.
//   * a second run gives the same bits.
// On a CUDA device the same bytes are copied there and back, NaNs and sentinels too.
#include "VerifyRun.h"
#include "VerifyJudge.h"

#include <chrono>
#include <limits>

namespace tilewright::cli {

namespace {

class Stopwatch {
public:
  double milliseconds() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count();
  }

private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// lse and probs among the options: views of the host's bytes, or of the copies.
void addOutputs(const CaseInputs &inputs, const CaseOutputs &outputs, void *lse, void *probs, ForwardOptions &options) {
  options.lse = outputs.lse.viewIn(lse, inputs.firstDim(), inputs.firstDim() == 1 ? 2 : 3);
  if (outputs.probs) {
    options.probs = outputs.probs->viewIn(probs);
  }
}

/// A call on the host.
void runOnHost(const ForwardFunction &function, CaseInputs &inputs, CaseOutputs &outputs, bool wantLse,
               const Engine *engine) {
  ForwardOptions options = inputs.options();
  options.engine = engine;
  for (CaseOperand &operand : inputs.operands) {
    options.*operand.argument = operand.tensor.view(operand.first, operand.rank);
  }
  addOutputs(inputs, outputs, outputs.lse.bytes().data(), outputs.probs ? outputs.probs->bytes().data() : nullptr,
             options);
  if (!wantLse) {
    options.lse = {};
  }
  const int first = inputs.firstDim(), rank = 4 - first;
  function(inputs.q.view(first, rank), inputs.k.view(first, rank), inputs.v.view(first, rank),
           outputs.out.view(first, rank), options);
}

CudaMemory copyOnDevice(int device, const HostTensor &tensor) {
  CudaMemory memory(device, tensor.bytes().size());
  memory.upload(tensor.bytes().data());
  return memory;
}

/// The inputs' bytes on a device.
class DeviceInputs {
public:
  DeviceInputs(int device, const CaseInputs &inputs)
      : q_(copyOnDevice(device, inputs.q)), k_(copyOnDevice(device, inputs.k)), v_(copyOnDevice(device, inputs.v)) {
    for (const CaseOperand &operand : inputs.operands) {
      operands_.push_back(copyOnDevice(device, operand.tensor));
    }
  }

  /// Runs it with outputs that hold what `outputs` holds at first, and fetches them. Returns milliseconds.
  double run(const ForwardFunction &function, const VerifyCase &problem, const CaseInputs &inputs, CaseOutputs &outputs,
             const Engine *engine) const {
    const int device = q_.device();
    const CudaMemory out = copyOnDevice(device, outputs.out), lse = copyOnDevice(device, outputs.lse);
    std::optional<CudaMemory> probs;
    if (outputs.probs) {
      probs.emplace(copyOnDevice(device, *outputs.probs));
    }
    ForwardOptions options = inputs.options();
    options.engine = engine;
    for (size_t i = 0; i < operands_.size(); ++i) {
      const CaseOperand &operand = inputs.operands[i];
      options.*operand.argument =
          operand.tensor.viewIn(operands_[i].data(), operand.first, operand.rank).onCuda(device);
    }
    addOutputs(inputs, outputs, lse.data(), probs ? probs->data() : nullptr, options);
    options.lse = problem.wantLse ? options.lse.onCuda(device) : Tensor();
    options.probs = probs ? options.probs.onCuda(device) : Tensor();
    const int first = inputs.firstDim(), rank = 4 - first;
    auto view = [&](const HostTensor &tensor, const CudaMemory &copy) {
      return tensor.viewIn(copy.data(), first, rank).onCuda(device);
    };
    const Stopwatch watch;
    function(view(inputs.q, q_), view(inputs.k, k_), view(inputs.v, v_), view(outputs.out, out), options);
    out.download(outputs.out.bytes().data());
    const double milliseconds = watch.milliseconds();
    lse.download(outputs.lse.bytes().data());
    if (probs) {
      probs->download(outputs.probs->bytes().data());
    }
    return milliseconds;
  }

  /// The bytes as they are now.
  void fetch(CaseInputs &inputs) const {
    q_.download(inputs.q.bytes().data());
    k_.download(inputs.k.bytes().data());
    v_.download(inputs.v.bytes().data());
    for (size_t i = 0; i < operands_.size(); ++i) {
      operands_[i].download(inputs.operands[i].tensor.bytes().data());
    }
  }

private:
  CudaMemory q_, k_, v_;
  std::vector<CudaMemory> operands_;
};

/// What was computed, and the inputs afterwards.
struct Runs {
  CaseOutputs first, second;
  std::optional<CaseOutputs> device; ///< of the CUDA reference
};

/// Both runs, and the CUDA reference's if it is wanted; `inputs` becomes what it is afterwards.
void runAll(const VerifyPlace &place, const VerifyCase &problem, CaseInputs &inputs, Runs &runs,
            VerifyOutcome &outcome) {
  if (!place.cuda) {
    runOnHost(place.forward, inputs, runs.first, problem.wantLse, place.engine);
    const Stopwatch watch;
    runOnHost(place.forward, inputs, runs.second, problem.wantLse, place.engine);
    outcome.milliseconds = watch.milliseconds();
    return;
  }
  const DeviceInputs onDevice(*place.cuda, inputs);
  onDevice.run(place.forward, problem, inputs, runs.first, place.engine);
  outcome.milliseconds = onDevice.run(place.forward, problem, inputs, runs.second, place.engine);
  if (place.cudaReference) {
    runs.device.emplace(problem, DType::Float32, DType::Float32, Layout::Bshd);
    onDevice.run(cudaReferenceForward, problem, inputs, *runs.device, nullptr);
  }
  onDevice.fetch(inputs);
}

std::vector<std::pair<const char *, const HostTensor *>> tensorsOf(const CaseOutputs &outputs) {
  std::vector<std::pair<const char *, const HostTensor *>> tensors = {{"out", &outputs.out}, {"lse", &outputs.lse}};
  if (outputs.probs) {
    tensors.push_back({"probs", &*outputs.probs});
  }
  return tensors;
}

void checkSurroundings(const char *who, const CaseOutputs &outputs, VerifyOutcome &outcome) {
  for (const auto &[name, tensor] : tensorsOf(outputs)) {
    if (const auto damage = tensor->damagedSurroundings()) {
      outcome.failures.push_back(std::string(who) + " wrote around " + name + ": " + *damage);
    }
  }
}

void checkUnchanged(const CaseInputs &before, const CaseInputs &now, VerifyOutcome &outcome) {
  auto check = [&](const char *name, const HostTensor &then, const HostTensor &after) {
    if (then.bytes() != after.bytes()) {
      outcome.failures.push_back(std::string("the call changed ") + name);
    }
  };
  check("q", before.q, now.q);
  check("k", before.k, now.k);
  check("v", before.v, now.v);
  for (size_t i = 0; i < before.operands.size(); ++i) {
    check(before.operands[i].name, before.operands[i].tensor, now.operands[i].tensor);
  }
}

} // namespace

VerifyOutcome runVerifyCase(const VerifyPlace &place, const VerifyCase &problem, uint64_t seed) {
  VerifyOutcome outcome;
  CaseInputs inputs(problem, seed);
  CaseOutputs reference(problem, DType::Float64, DType::Float64, Layout::Bshd);
  runOnHost(referenceForward, inputs, reference, true, nullptr);
  std::vector<LowPrecisionResult> low;
  for (const SumOrder order : kSumOrders) {
    low.push_back(lowPrecisionForward(problem, inputs, order));
  }

  const CaseInputs before = inputs;
  const CaseOutputs untouched(problem, problem.dtype, DType::Float32, problem.layout);
  Runs runs{untouched, untouched, std::nullopt};
  try {
    runAll(place, problem, inputs, runs, outcome);
  } catch (const Error &error) {
    outcome.error = std::numeric_limits<double>::infinity();
    outcome.cudaFailed = error.status() == TW_CUDA_ERROR;
    outcome.failures.push_back(std::string(tw_status_name(error.status())) + ": " + error.what());
    return outcome;
  }

  const Judge judge{problem, before, reference, low};
  judge.judgeOut(runs.first, outcome);
  if (problem.wantLse) {
    judge.judgeLse(runs.first, outcome);
  } else if (runs.first.lse.bytes() != untouched.lse.bytes()) {
    outcome.failures.push_back("the call wrote an lse that it was not given");
  }
  if (problem.features.probs) {
    judge.judgeProbs(runs.first, outcome);
  }
  checkSurroundings("the call", runs.first, outcome);
  if (runs.device) {
    judge.judgeByDevice(runs.first, *runs.device, outcome);
    checkSurroundings("the CUDA reference", *runs.device, outcome);
  }
  const auto first = tensorsOf(runs.first), second = tensorsOf(runs.second);
  for (size_t i = 0; i < first.size(); ++i) {
    if (first[i].second->bytes() != second[i].second->bytes()) {
      outcome.failures.push_back(std::string("a second run gave other bits in ") + first[i].first);
    }
  }
  checkUnchanged(before, inputs, outcome);
  return outcome;
}

} // namespace tilewright::cli
