// SPDX-License-Identifier: Apache-2.0
//
// `tilewright verify`: selects cases of the grid, runs them, prints the table. Cases for a CUDA device run on several
// threads, since most of their time goes into compiling kernels and into the references on the CPU; a CPU case uses all
// of the engine's threads by itself.
#include "Commands.h"
#include "DeviceOption.h"
#include "Terminal.h"
#include "VerifyRun.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <tilewright/tilewright.hpp>
#include <vector>

namespace tilewright::cli {

namespace {

using Json = nlohmann::ordered_json;

struct VerifyOptions {
  std::string device = "cpu";
  bool quick = false;
  bool json = false;
  bool noCache = false;
  uint64_t seed = 0;
  std::string filter;
  std::string schedule;
  int threads = 0;
};

struct CudaSetup {
  std::string gpu;       ///< its name
  bool reference = false; ///< NVRTC is there
  std::string why;       ///< why it is not
};

/// Looks whether the device can be used, before anything is compiled for it.
CudaSetup checkCuda(int device) {
  const Json found = Json::parse(info());
  CudaSetup setup;
  setup.gpu = requireCudaDevice(found, device);
  const Json &nvrtc = found.at("nvrtc");
  setup.reference = nvrtc.at("found").get<bool>();
  if (!setup.reference) {
    setup.why = nvrtc.at("why").get<std::string>();
    const char *named = std::getenv("TILEWRIGHT_NVRTC");
    if (named != nullptr && *named != '\0') { // it was asked for
      throw MissingError(setup.why);
    }
  }
  return setup;
}

/// Has the CUDA reference compiled and loaded, once and not by every thread that needs it first; a fault of it ends the
/// run before the first case.
void warmCudaReference(int device) {
  CudaMemory memory(device, 64);
  const std::vector<char> zeros(memory.bytes(), 0);
  memory.upload(zeros.data());
  const Tensor inputs = Tensor(memory.data(), DType::BFloat16, {1, 1, 1, 1}).onCuda(device);
  const Tensor out = Tensor(static_cast<char *>(memory.data()) + 32, DType::Float32, {1, 1, 1, 1}).onCuda(device);
  cudaReferenceForward(inputs, inputs, inputs, out);
  std::vector<char> result(memory.bytes());
  memory.download(result.data());
}

/// Whether the device does no more work: an illegal access, say, ends a process's use of it.
bool deviceIsLost(int device) {
  try {
    const char byte = 0;
    CudaMemory(device, 1).upload(&byte);
    return false;
  } catch (const Error &) {
    return true;
  }
}

/// Computes outcomes, several at a time on a CUDA device, and hands them out in order.
class Runner {
public:
  Runner(const VerifyPlace &place, const std::vector<VerifyCase> &cases, uint64_t seed, size_t threads)
      : place_(place), cases_(cases), seed_(seed), outcomes_(cases.size()) {
    try {
      for (size_t i = 0; i < std::min(threads, cases.size()); ++i) {
        threads_.emplace_back([this] { work(); });
      }
    } catch (...) {
      stop();
      throw;
    }
  }
  ~Runner() { stop(); }
  Runner(const Runner &) = delete;
  Runner &operator=(const Runner &) = delete;

  /// Waits for a case that was not asked for yet, or computes it here if there are no threads.
  VerifyOutcome outcome(size_t i) {
    if (threads_.empty()) {
      return runVerifyCase(place_, cases_[i], seed_);
    }
    std::unique_lock<std::mutex> guard(lock_);
    finished_.wait(guard, [&] { return outcomes_[i] || failure_; });
    if (!outcomes_[i]) {
      std::rethrow_exception(failure_);
    }
    return std::move(*outcomes_[i]);
  }

private:
  void work() {
    try {
      for (size_t i; (i = next_.fetch_add(1)) < cases_.size();) {
        VerifyOutcome outcome;
        if (lost_.load()) {
          outcome.error = std::numeric_limits<double>::infinity();
          outcome.failures.push_back("not run: the device does no more work after a failure in another case; "
                                     "--threads 1 shows which was the first");
        } else {
          outcome = runVerifyCase(place_, cases_[i], seed_);
          if (outcome.cudaFailed && deviceIsLost(*place_.cuda)) {
            lost_.store(true);
          }
        }
        const std::lock_guard<std::mutex> guard(lock_);
        outcomes_[i] = std::move(outcome);
        finished_.notify_all();
      }
    } catch (...) {
      const std::lock_guard<std::mutex> guard(lock_);
      failure_ = std::current_exception();
      finished_.notify_all();
    }
  }
  void stop() {
    next_.store(cases_.size());
    for (std::thread &thread : threads_) {
      thread.join();
    }
  }

  const VerifyPlace place_;
  const std::vector<VerifyCase> &cases_;
  const uint64_t seed_;
  std::mutex lock_; ///< of outcomes_ and failure_
  std::condition_variable finished_;
  std::vector<std::optional<VerifyOutcome>> outcomes_;
  std::exception_ptr failure_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> lost_{false};
  std::vector<std::thread> threads_;
};

/// Cases side by side on a CUDA device: each compiles its kernel, which takes memory too.
size_t cudaThreads(int given) {
  constexpr unsigned most = 32;
  return given > 0 ? static_cast<size_t>(given) : std::clamp(std::thread::hardware_concurrency(), 1u, most);
}

struct Selection {
  std::vector<VerifyCase> cases;
  size_t leftOut = 0;                 ///< cases that need a feature that kernels of the device do not serve
  std::vector<std::string> notServed; ///< those features

  /// "4 cases left out: kernels of the CPU do not serve dropout, probs yet"; empty if there are none.
  std::string leftOutText(bool cuda) const {
    std::string names;
    for (const std::string &name : notServed) {
      names += (names.empty() ? "" : ", ") + name;
    }
    return leftOut == 0 ? ""
                        : format("%zu cases left out: kernels of %s do not serve %s yet", leftOut,
                                 cuda ? "CUDA devices" : "the CPU", names.c_str());
  }
};

Selection selectCases(const VerifyOptions &options, bool cuda) {
  const Json served = Json::parse(info()).at("features");
  Selection selection;
  for (VerifyCase &problem : cuda ? cudaVerifyGrid() : verifyGrid()) {
    if ((options.quick && !problem.quick) || problem.name().find(options.filter) == std::string::npos) {
      continue;
    }
    bool runs = true;
    for (const std::string_view feature : problem.featureNames()) {
      const Json &devices = served.at(std::string(feature));
      if (std::find(devices.begin(), devices.end(), cuda ? "cuda" : "cpu") == devices.end()) {
        runs = false;
        if (std::find(selection.notServed.begin(), selection.notServed.end(), feature) == selection.notServed.end()) {
          selection.notServed.emplace_back(feature);
        }
      }
    }
    if (runs) {
      selection.cases.push_back(std::move(problem));
    } else {
      ++selection.leftOut;
    }
  }
  if (selection.cases.empty()) {
    const std::string quick = options.quick ? " of --quick" : "";
    const std::string why = selection.leftOut == 0 ? "no case" + quick + " has that in its name"
                                                   : "no case" + quick + " with that in its name can run: " +
                                                         selection.leftOutText(cuda);
    throw UsageError("--filter is '" + options.filter + "'; " + why);
  }
  return selection;
}

/// JSON has no infinity: null stands for "not finite".
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json rowOf(const VerifyCase &problem, const VerifyOutcome &outcome) {
  return {{"name", problem.name()},
          {"dtype", dtypeName(problem.dtype)},
          {"batch", problem.batch},
          {"seqlen_q", problem.seqlenQ},
          {"seqlen_k", problem.seqlenK},
          {"heads", problem.heads},
          {"heads_k", problem.headsK},
          {"head_dim", problem.headDim},
          {"head_dim_v", problem.headDimV},
          {"features", problem.featureNames()},
          {"error", number(outcome.error)},
          {"allowed", number(outcome.allowed)},
          {"lse_error", problem.wantLse ? number(outcome.lseError) : Json(nullptr)},
          {"lse_allowed", problem.wantLse ? number(outcome.lseAllowed) : Json(nullptr)},
          {"probs_error", problem.features.probs ? number(outcome.probsError) : Json(nullptr)},
          {"probs_allowed", problem.features.probs ? number(outcome.probsAllowed) : Json(nullptr)},
          {"cuda_reference_difference", outcome.deviceError ? number(*outcome.deviceError) : Json(nullptr)},
          {"cuda_reference_error",
           outcome.deviceReferenceError ? number(*outcome.deviceReferenceError) : Json(nullptr)},
          {"ms", outcome.milliseconds},
          {"ok", outcome.ok()},
          {"failures", outcome.failures}};
}

std::string tableLine(int width, const VerifyCase &problem, const VerifyOutcome &outcome, bool cuda) {
  std::string line = format("%-*s %10.2e %10.2e", width, problem.name().c_str(), outcome.error, outcome.allowed);
  if (cuda) {
    line += outcome.deviceError ? format(" %10.2e", *outcome.deviceError) : format(" %10s", "-");
  }
  const std::string lse = problem.wantLse ? format("%.2e", outcome.lseError) : "-";
  line += format(" %10s %9.3f %s\n", lse.c_str(), outcome.milliseconds, outcome.ok() ? "ok" : "FAIL");
  for (const std::string &failure : outcome.failures) {
    line += "    " + failure + "\n";
  }
  return line;
}

std::string tableHead(int width, bool cuda) {
  return format("%-*s %10s %10s", width, "case", "error", "allowed") + (cuda ? format(" %10s", "to ref") : "") +
         format(" %10s %9s\n", "lse error", "ms");
}

void runVerify(const VerifyOptions &options) {
  const std::optional<int> device = parseDevice(options.device);
  checkScheduleKind(options.schedule, device.has_value());
  const Selection selection = selectCases(options, device.has_value());
  const std::vector<VerifyCase> &cases = selection.cases;
  const CudaSetup setup = device ? checkCuda(*device) : CudaSetup();
  EngineOptions engineOptions;
  engineOptions.numThreads = options.threads;
  if (options.noCache) {
    engineOptions.cacheDir = "";
  }
  if (!options.schedule.empty()) {
    engineOptions.schedule = options.schedule;
  }
  const Engine engine(engineOptions);

  if (setup.reference) {
    warmCudaReference(*device);
  }

  int width = 4;
  for (const VerifyCase &problem : cases) { // the names of many features at once shift their lines
    width = std::clamp(static_cast<int>(problem.name().size()), width, 90);
  }
  if (!options.json) {
    writeStdout(tableHead(width, device.has_value()));
  }
  Progress progress;
  Json rows = Json::array();
  size_t failed = 0;
  const auto start = std::chrono::steady_clock::now();
  Runner runner({&engine, device, setup.reference}, cases, options.seed, device ? cudaThreads(options.threads) : 0);
  for (size_t i = 0; i < cases.size(); ++i) {
    const VerifyCase &problem = cases[i];
    progress.show(i, cases.size(), problem.name());
    const VerifyOutcome outcome = runner.outcome(i);
    progress.clear();
    failed += outcome.ok() ? 0 : 1;
    if (options.json) {
      rows.push_back(rowOf(problem, outcome));
    } else {
      writeStdout(tableLine(width, problem, outcome, device.has_value()));
    }
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const TwStats stats = engine.stats();

  if (options.json) {
    const Json reference = setup.reference ? Json("compared") : Json("skipped: " + setup.why);
    const Json result = {{"device", options.device},
                         {"gpu", device ? Json(setup.gpu) : Json(nullptr)},
                         {"cuda_reference", device ? reference : Json(nullptr)},
                         {"seed", options.seed},
                         {"schedule", options.schedule.empty() ? Json(nullptr) : Json(options.schedule)},
                         {"passed", cases.size() - failed},
                         {"failed", failed},
                         {"left_out", selection.leftOut},
                         {"features_not_served", selection.notServed},
                         {"seconds", seconds},
                         {"compiles", stats.compiles},
                         {"compile_ms", stats.compile_ms},
                         {"disk_hits", stats.disk_hits},
                         {"cases", std::move(rows)}};
    writeStdout(result.dump(2) + "\n");
  } else {
    writeStdout(
        format("%zu cases, %zu ok, %zu failed in %.1f s; %llu kernels compiled in %.1f s, %llu from the cache\n",
               cases.size(), cases.size() - failed, failed, seconds, static_cast<unsigned long long>(stats.compiles),
               stats.compile_ms / 1e3, static_cast<unsigned long long>(stats.disk_hits)));
    if (selection.leftOut != 0) {
      writeStdout(selection.leftOutText(device.has_value()) + "\n");
    }
    if (device) {
      writeStdout(setup.gpu + ", compared with the float64 reference" +
                  (setup.reference ? " and the CUDA reference\n" : "; CUDA reference SKIPPED: " + setup.why + "\n"));
    }
  }
  if (failed != 0) {
    throw ReportedFailure();
  }
}

} // namespace

void addVerifyCommand(CLI::App &app) {
  CLI::App *command = app.add_subcommand("verify", "Check generated kernels on this machine against float64 attention");
  auto options = std::make_shared<VerifyOptions>();
  command->add_option("--device", options->device, "Where the kernels run: cpu, cuda or cuda:N")
      ->type_name("DEVICE")
      ->capture_default_str();
  command->add_flag("--quick", options->quick, "A selection of the grid: every feature, some seconds");
  command->add_flag("--json", options->json, "Print JSON with every row, after the last case");
  command->add_option("--seed", options->seed, "Seed of the random inputs")->capture_default_str();
  command->add_option("--filter", options->filter, "Only cases whose name, as printed, contains this text")
      ->type_name("TEXT");
  command
      ->add_option("--schedule", options->schedule, "Run every forward kernel with this schedule, such as kq:64x64:8x2")
      ->type_name("TEXT")
      ->default_str("the schedule table's choice");
  command
      ->add_option("--threads", options->threads,
                   "Threads; 0: $TILEWRIGHT_NUM_THREADS, else this process's CPUs. For a CUDA device: cases side by "
                   "side; 0: this process's CPUs")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_flag("--no-cache", options->noCache, "Compile every kernel afresh, leave the disk cache alone");
  command->footer(
      "Each case is computed twice by generated kernels and once in float64 from the definition. It passes\n"
      "if the largest error is at most twice that of the same formula computed step by step in the tensors'\n"
      "own type, plus one unit in the last place; the log-sum-exp agrees; both runs have equal bits; nothing\n"
      "around the outputs was written; and nothing around the inputs was used, nor keys and values that no\n"
      "row sees (behind a sequence, in another one, padded): there all is NaN. The same holds for the\n"
      "probabilities, where a case wants them.\n"
      "\n"
      "Features beyond masks are in the grid alone, in pairs and all together. A case is run if kernels of the\n"
      "device serve all that it asks for (`tilewright info`); a line at the end says how many were left out,\n"
      "and which features are not served.\n"
      "\n"
      "On a CUDA device (compute capability 8.0 or later) the grid is one of float16 and bfloat16, and each\n"
      "kernel is compared with the CUDA reference as well: plain CUDA C++ in float32, compiled by NVRTC. The\n"
      "column `to ref` is the largest difference to it; the same error is allowed. Where NVRTC is not found\n"
      "(TILEWRIGHT_NVRTC names its library) this is skipped, and the last line says so. `ms` includes the copy\n"
      "of the output to the host. Exit status 3: there is no such GPU or driver here.\n"
      "\n"
      "A case's name: type, batch, seqlen_q[xseqlen_k], heads[/heads_k], head_dim[/head_dim_v], mask[:note],\n"
      "then what is unusual: alignment, features, layout, elements between a 16-byte boundary and the tensors\n"
      "(shift), scale, range of q and k. Features: varlen=LENGTHS of the queries x those of the keys, seqused=,\n"
      "bias=, attn_mask= and bool_mask= with the dimensions that are not broadcast out of bhqk, padding=,\n"
      "documents=, window=LEFT,RIGHT, alibi=, softcap=, dropout=, probs; nan_key and nan_sequence: who does not\n"
      "see it may not notice.\n"
      "\n"
      "Examples:\n"
      "  tilewright verify --quick\n"
      "  tilewright verify --filter glm_packed --seed 7\n"
      "  tilewright verify --filter dropout\n"
      "  tilewright verify --filter 'bf16 b1 s300x200' --schedule qk:64x64:8x2 --threads 1\n"
      "  tilewright verify --device cuda:0\n"
      "  tilewright verify --json > verify.json\n");
  command->callback([options] { runVerify(*options); });
}

} // namespace tilewright::cli
