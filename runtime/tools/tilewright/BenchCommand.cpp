// SPDX-License-Identifier: Apache-2.0
//
// `tilewright bench`: times the forward pass over lists of head dims, lengths and masks, prints the table.
#include "BenchCase.h"
#include "Commands.h"
#include "DeviceOption.h"
#include "Precision.h"
#include "Terminal.h"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <tilewright/tilewright.hpp>
#include <vector>

namespace tilewright::cli {

namespace {

using Json = nlohmann::ordered_json;

struct BenchOptions {
  std::string device = "cpu";
  std::vector<int64_t> headDim = {64, 128};
  std::optional<int64_t> headDimV;
  std::vector<int64_t> seqlen; ///< empty: the device's default
  std::vector<std::string> mask = {"none", "causal"};
  std::optional<int64_t> batch, heads, headsKv;
  int64_t samples = 8;
  std::string dtype; ///< empty: the device's default
  int repeats = 20;
  std::string schedule, cudaTarget, cpuLevel;
  int threads = 0;
  uint64_t seed = 0;
  bool json = false;
  bool noCache = false;
};

const std::map<std::string, MaskKind> kMasks = {{"none", MaskKind::None},
                                                {"causal", MaskKind::Causal},
                                                {"glm_break", MaskKind::GlmBreak},
                                                {"glm_packed", MaskKind::GlmPacked}};
const std::map<std::string, DType> kDTypes = {
    {"f32", DType::Float32}, {"f16", DType::Float16}, {"bf16", DType::BFloat16}};

/// What is timed where nothing else is asked for: a size that fills a GPU, and one that takes two CPUs no second.
struct Defaults {
  std::vector<int64_t> seqlen;
  int64_t tokens, channels; ///< batch * seqlen and heads * head_dim, where they can be met
  std::string dtype;
};

Defaults defaultsOf(bool cuda) {
  return cuda ? Defaults{{512, 1024, 2048, 4096, 8192, 16384}, 16384, 2048, "bf16"}
              : Defaults{{512, 2048}, 2048, 512, "f32"};
}

/// Refuses what the engine would not use, or would take for a fault of its own.
void checkOptions(const BenchOptions &options, const std::optional<int> &device, const std::string &dtype) {
  checkScheduleKind(options.schedule, device.has_value());
  if (device && dtype == "f32") {
    throw UsageError("--dtype is f32 with --device " + options.device + "; a GPU's kernels are for f16 and bf16");
  }
  if (device && !options.cpuLevel.empty()) {
    throw UsageError("--cpu-level is given with --device " + options.device + "; it is for --device cpu");
  }
  if (device && options.threads != 0) {
    throw UsageError("--threads is given with --device " + options.device + "; it is for --device cpu");
  }
  if (!device && !options.cudaTarget.empty()) {
    throw UsageError("--cuda-target is given with --device cpu; it is for a CUDA device");
  }
}

std::vector<BenchShape> shapesOf(const BenchOptions &options, const Defaults &defaults, DType dtype) {
  std::vector<BenchShape> shapes;
  for (const int64_t headDim : options.headDim) {
    for (const int64_t seqlen : options.seqlen.empty() ? defaults.seqlen : options.seqlen) {
      BenchShape shape;
      shape.dtype = dtype;
      shape.seqlen = seqlen;
      shape.headDim = headDim;
      shape.headDimV = options.headDimV.value_or(headDim);
      shape.batch = options.batch.value_or(std::max<int64_t>(1, defaults.tokens / seqlen));
      shape.heads = options.heads.value_or(std::max<int64_t>(1, defaults.channels / headDim));
      shape.headsKv = options.headsKv.value_or(shape.heads);
      if (shape.heads % shape.headsKv != 0) {
        throw UsageError("--heads-kv is " + std::to_string(shape.headsKv) + ", which does not divide the " +
                         std::to_string(shape.heads) + " heads of head dim " + std::to_string(headDim));
      }
      const auto elements = [&](int64_t count, int64_t dim) {
        return static_cast<double>(shape.batch) * static_cast<double>(seqlen) * static_cast<double>(count * dim);
      };
      if (elements(shape.heads, std::max(headDim, shape.headDimV)) > 0x1p40) {
        throw UsageError(shape.name() + ": a tensor has more than 2^40 elements");
      }
      shapes.push_back(shape);
    }
  }
  return shapes;
}

Json rowOf(const BenchShape &shape, const std::string &maskName, const BenchMask &mask, const BenchResult &result) {
  return {{"head_dim", shape.headDim},
          {"head_dim_v", shape.headDimV},
          {"mask", maskName},
          {"seqlen", shape.seqlen},
          {"batch", shape.batch},
          {"heads", shape.heads},
          {"heads_kv", shape.headsKv},
          {"dtype", dtypeName(shape.dtype)},
          {"visible_pairs", mask.visiblePairs(shape.batch, shape.seqlen)},
          {"ms", result.median()},
          {"ms_min", result.milliseconds.front()},
          {"ms_max", result.milliseconds.back()},
          {"tflops", result.tflops},
          {"max_error", result.error},
          {"allowed_error", result.allowed},
          {"target", keyField(result.key, "target")},
          {"schedule", keyField(result.key, "schedule")},
          {"key", result.key}};
}

std::string tableHead() {
  return format("%7s  %-10s %7s %6s %7s %10s %10s %10s %9s  %-12s %s\n", "d", "mask", "s", "b", "h", "ms", "least",
                "greatest", "TFLOP/s", "target", "schedule");
}

std::string tableLine(const Json &row) {
  auto pair = [&](const char *first, const char *second) {
    const std::string a = row.at(first).dump(), b = row.at(second).dump();
    return a == b ? a : a + "/" + b;
  };
  const double rate = row.at("tflops").get<double>();
  return format("%7s  %-10s %7s %6s %7s %10.4f %10.4f %10.4f %9s  %-12s %s\n", pair("head_dim", "head_dim_v").c_str(),
                row.at("mask").get<std::string>().c_str(), row.at("seqlen").dump().c_str(),
                row.at("batch").dump().c_str(), pair("heads", "heads_kv").c_str(), row.at("ms").get<double>(),
                row.at("ms_min").get<double>(), row.at("ms_max").get<double>(),
                format(rate < 10 ? "%.3f" : "%.0f", rate).c_str(), row.at("target").get<std::string>().c_str(),
                row.at("schedule").get<std::string>().c_str());
}

void runBenchCommand(const BenchOptions &options) {
  const std::optional<int> device = parseDevice(options.device);
  const Defaults defaults = defaultsOf(device.has_value());
  const std::string dtype = options.dtype.empty() ? defaults.dtype : options.dtype;
  checkOptions(options, device, dtype);
  const std::vector<BenchShape> shapes = shapesOf(options, defaults, kDTypes.at(dtype));
  const Json found = Json::parse(info());
  const std::string gpu = device ? requireCudaDevice(found, *device) : "";

  EngineOptions engineOptions;
  engineOptions.numThreads = options.threads;
  if (options.noCache) {
    engineOptions.cacheDir = "";
  }
  for (const auto &[text, member] : {std::pair{&options.schedule, &EngineOptions::schedule},
                                     std::pair{&options.cudaTarget, &EngineOptions::cudaTarget},
                                     std::pair{&options.cpuLevel, &EngineOptions::cpuLevel}}) {
    if (!text->empty()) {
      engineOptions.*member = *text;
    }
  }
  const Engine engine(engineOptions);
  const Json mine = Json::parse(info(&engine)).at("devices").at("cpu");
  const std::string threads = mine.at("threads").dump();

  const BenchPlace place{&engine, device};
  Json rows = Json::array();
  if (!options.json) {
    writeStdout((device ? gpu : "CPU, " + threads + (threads == "1" ? " thread" : " threads")) + ", " + dtype +
                ", tilewright " + std::string(version()) + " (build " + std::string(buildId()) + "), median of " +
                std::to_string(options.repeats) + "\n" + tableHead());
  }
  Progress progress;
  const size_t total = shapes.size() * options.mask.size();
  for (const BenchShape &shape : shapes) {
    std::optional<BenchInputs> inputs;
    for (const std::string &maskName : options.mask) {
      progress.show(rows.size(), total, shape.name() + ", " + maskName);
      if (!inputs) {
        inputs.emplace(place, shape, options.seed);
      }
      const BenchMask mask{kMasks.at(maskName), options.samples};
      rows.push_back(rowOf(shape, maskName, mask, runBench(place, *inputs, mask, options.repeats)));
      progress.clear();
      if (!options.json) {
        writeStdout(tableLine(rows.back()));
      }
    }
  }
  if (options.json) {
    const Json result = {{"device", options.device},
                         {"gpu", device ? Json(gpu) : Json(nullptr)},
                         {"threads", device ? Json(nullptr) : mine.at("threads")},
                         {"tilewright", version()},
                         {"build_id", buildId()},
                         {"seed", options.seed},
                         {"repeats", options.repeats},
                         {"schedule", options.schedule.empty() ? Json(nullptr) : Json(options.schedule)},
                         {"cases", std::move(rows)}};
    writeStdout(result.dump(2) + "\n");
  }
}

} // namespace

void addBenchCommand(CLI::App &app) {
  CLI::App *command = app.add_subcommand("bench", "Time the forward pass on this machine, its results checked first");
  auto options = std::make_shared<BenchOptions>();
  const auto lengths = CLI::Range(int64_t{1}, int64_t{std::numeric_limits<int32_t>::max()});
  const auto counts = CLI::Range(int64_t{1}, int64_t{65535});
  command->add_option("--device", options->device, "Where the kernels run: cpu, cuda or cuda:N")
      ->type_name("DEVICE")
      ->capture_default_str();
  command->add_option("--head-dim", options->headDim, "Head dims, 1 to 256, separated by commas")
      ->delimiter(',')
      ->check(CLI::Range(1, 256))
      ->type_name("LIST")
      ->default_str("64,128");
  command->add_option("--head-dim-v", options->headDimV, "Head dim of v and out, 1 to 256")
      ->check(CLI::Range(1, 256))
      ->type_name("N")
      ->default_str("that of q");
  command->add_option("--seqlen", options->seqlen, "Lengths of queries and keys, separated by commas")
      ->delimiter(',')
      ->check(lengths)
      ->type_name("LIST")
      ->default_str("cpu: 512,2048; cuda: 512,1024,2048,4096,8192,16384");
  command->add_option("--mask", options->mask, "Masks, separated by commas")
      ->delimiter(',')
      ->check(CLI::IsMember({"none", "causal", "glm_break", "glm_packed"}))
      ->default_str("none,causal");
  command->add_option("--batch", options->batch, "Sequences")
      ->check(counts)
      ->type_name("N")
      ->default_str("2048 tokens by the seqlen, on cuda 16384; at least 1");
  command->add_option("--heads", options->heads, "Heads of q and out")
      ->check(counts)
      ->type_name("N")
      ->default_str("512 channels by the head dim, on cuda 2048; at least 1");
  command->add_option("--heads-kv", options->headsKv, "Heads of k and v")
      ->check(counts)
      ->type_name("N")
      ->default_str("as many as of q");
  command->add_option("--pairs", options->samples,
                      "Samples of a glm_packed sequence, of equal length; half of each is context")
      ->check(CLI::Range(int64_t{1}, int64_t{65535}))
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--dtype", options->dtype, "Element type of q, k, v and out")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->default_str("cpu: f32; cuda: bf16, since f32 is not served there");
  command->add_option("--repeats", options->repeats, "Timed calls of each")
      ->check(CLI::Range(1, 100000))
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--schedule", options->schedule,
                   "Run every forward kernel with this schedule, such as kq:64x64:8x2, or qk:128x128:g2:s2 on cuda")
      ->type_name("TEXT")
      ->default_str("the schedule table's choice");
  command
      ->add_option("--cuda-target", options->cudaTarget,
                   "What a CUDA device's kernels are made for, such as sm_90, which leaves those of the family sm_90a "
                   "out")
      ->type_name("SM")
      ->default_str("the device's own");
  command->add_option("--cpu-level", options->cpuLevel, "x86-64-v2, x86-64-v3 or x86-64-v4: what to compile for")
      ->type_name("LEVEL")
      ->default_str("the best of this machine");
  command
      ->add_option("--threads", options->threads,
                   "Threads of a call on the CPU; 0: $TILEWRIGHT_NUM_THREADS, else this process's CPUs")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Seed of the random inputs")->capture_default_str();
  command->add_flag("--no-cache", options->noCache, "Compile every kernel afresh, leave the disk cache alone");
  command->add_flag("--json", options->json, "Print JSON with every row, after the last case");
  command->footer(
      "Every head dim is run with every length and every mask. `ms` is the median of the timed calls; `least` and\n"
      "`greatest` are theirs too. On a CUDA device times are those of events around each call, which are queued\n"
      "without waiting in between, after three calls that are not counted; on the CPU those of the clock, after\n"
      "two. TFLOP/s counts 2 * (head_dim + head_dim_v) operations for every visible pair of query and key, by the\n"
      "median. glm_break has its break point in the middle. `target` and `schedule` are the kernel's; packed GLM\n"
      "has a small one ahead of it, which is in the time.\n"
      "\n"
      "Inputs are normal random numbers. Before anything is timed, the output, which held NaN, must be finite\n"
      "throughout, and its first and last eight rows must be those of the float64 reference, in the first and last\n"
      "head of the first and last sequence; otherwise the run ends with status 1. Exit status 3: there is no such\n"
      "GPU or driver here. `python -m tilewright.bench` has PyTorch's attention beside it.\n"
      "\n"
      "Examples:\n"
      "  tilewright bench\n"
      "  tilewright bench --head-dim 72 --seqlen 1024 --mask glm_packed --dtype bf16 --schedule kq:64x64:8x2\n"
      "  tilewright bench --device cuda:0\n"
      "  tilewright bench --device cuda:0 --batch 4 --heads 16 --mask causal,glm_break,glm_packed --seqlen 4096\n"
      "  tilewright bench --json > bench.json\n");
  command->callback([options] { runBenchCommand(*options); });
}

} // namespace tilewright::cli
