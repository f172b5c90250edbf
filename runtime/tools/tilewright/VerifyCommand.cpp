// SPDX-License-Identifier: Apache-2.0
//
// `tilewright verify`: selects cases of the grid, runs them, prints the table.
#include "Commands.h"
#include "VerifyCase.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <tilewright/tilewright.hpp>
#include <unistd.h>
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

/// A line on stderr that shows where the run is, if somebody is looking.
class Progress {
public:
  void show(size_t done, size_t total, const std::string &name) {
    if (enabled_) {
      std::fprintf(stderr, "\r\x1b[K[%zu/%zu] %s", done + 1, total, name.c_str());
      std::fflush(stderr);
    }
  }
  void clear() {
    if (enabled_) {
      std::fputs("\r\x1b[K", stderr);
      std::fflush(stderr);
    }
  }

private:
  const bool enabled_ = isatty(STDERR_FILENO) != 0;
};

template <typename... Values> std::string format(const char *pattern, Values... values) {
  std::string text(static_cast<size_t>(std::snprintf(nullptr, 0, pattern, values...)), '\0');
  std::snprintf(text.data(), text.size() + 1, pattern, values...);
  return text;
}

std::vector<VerifyCase> selectCases(const VerifyOptions &options) {
  std::vector<VerifyCase> cases = verifyGrid();
  std::erase_if(cases, [&](const VerifyCase &problem) {
    return (options.quick && !problem.quick) || problem.name().find(options.filter) == std::string::npos;
  });
  if (cases.empty()) {
    throw UsageError("--filter is '" + options.filter + "'; no case" + (options.quick ? " of --quick" : "") +
                     " has that in its name");
  }
  return cases;
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
          {"error", number(outcome.error)},
          {"allowed", number(outcome.allowed)},
          {"lse_error", problem.wantLse ? number(outcome.lseError) : Json(nullptr)},
          {"lse_allowed", problem.wantLse ? number(outcome.lseAllowed) : Json(nullptr)},
          {"ms", outcome.milliseconds},
          {"ok", outcome.ok()},
          {"failures", outcome.failures}};
}

void runVerify(const VerifyOptions &options) {
  const std::vector<VerifyCase> cases = selectCases(options);
  EngineOptions engineOptions;
  engineOptions.numThreads = options.threads;
  if (options.noCache) {
    engineOptions.cacheDir = "";
  }
  if (!options.schedule.empty()) {
    engineOptions.schedule = options.schedule;
  }
  const Engine engine(engineOptions);

  int width = 4;
  for (const VerifyCase &problem : cases) {
    width = std::max(width, static_cast<int>(problem.name().size()));
  }
  if (!options.json) {
    writeStdout(format("%-*s %10s %10s %10s %9s\n", width, "case", "error", "allowed", "lse error", "ms"));
  }
  Progress progress;
  Json rows = Json::array();
  size_t failed = 0;
  const auto start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < cases.size(); ++i) {
    const VerifyCase &problem = cases[i];
    progress.show(i, cases.size(), problem.name());
    const VerifyOutcome outcome = runVerifyCase(engine, problem, options.seed);
    progress.clear();
    failed += outcome.ok() ? 0 : 1;
    if (options.json) {
      rows.push_back(rowOf(problem, outcome));
      continue;
    }
    const std::string lse = problem.wantLse ? format("%.2e", outcome.lseError) : "-";
    std::string line = format("%-*s %10.2e %10.2e %10s %9.3f %s\n", width, problem.name().c_str(), outcome.error,
                              outcome.allowed, lse.c_str(), outcome.milliseconds, outcome.ok() ? "ok" : "FAIL");
    for (const std::string &failure : outcome.failures) {
      line += "    " + failure + "\n";
    }
    writeStdout(line);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const TwStats stats = engine.stats();

  if (options.json) {
    const Json result = {{"device", options.device},
                         {"seed", options.seed},
                         {"schedule", options.schedule.empty() ? Json(nullptr) : Json(options.schedule)},
                         {"passed", cases.size() - failed},
                         {"failed", failed},
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
  }
  if (failed != 0) {
    throw ReportedFailure();
  }
}

} // namespace

void addVerifyCommand(CLI::App &app) {
  CLI::App *command = app.add_subcommand("verify", "Check generated kernels on this machine against float64 attention");
  auto options = std::make_shared<VerifyOptions>();
  command->add_option("--device", options->device, "Where the kernels run; this build has cpu only")
      ->check(CLI::IsMember({"cpu"}))
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
  command->add_option("--threads", options->threads, "Threads; 0: $TILEWRIGHT_NUM_THREADS, else this process's CPUs")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_flag("--no-cache", options->noCache, "Compile every kernel afresh, leave the disk cache alone");
  command->footer(
      "Each case is computed twice by generated kernels and once in float64 from the definition. It passes\n"
      "if the largest error is at most twice that of the same formula computed step by step in the tensors'\n"
      "own type, plus one unit in the last place; the log-sum-exp agrees; both runs have equal bits; nothing\n"
      "around the outputs was written; and nothing around the inputs, where all is NaN, was used.\n"
      "\n"
      "A case's name: type, batch, seqlen_q[xseqlen_k], heads[/heads_k], head_dim[/head_dim_v], mask[:note],\n"
      "then what is unusual: alignment, layout, scale, range of q and k.\n"
      "\n"
      "Examples:\n"
      "  tilewright verify --quick\n"
      "  tilewright verify --filter glm_packed --seed 7\n"
      "  tilewright verify --filter 'bf16 b1 s300x200' --schedule qk:64x64:8x2 --threads 1\n"
      "  tilewright verify --json > verify.json\n");
  command->callback([options] { runVerify(*options); });
}

} // namespace tilewright::cli
