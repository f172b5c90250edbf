// SPDX-License-Identifier: Apache-2.0
//
// `tilewright compile`: any stage of a kernel, given its key's text or a few flags that a key is made from.
//
// The flags describe an attention problem, and the engine is asked for its plan: so a key made here is one that a call
// would look up, schedule included, and nothing about keys is decided twice.
#include "Commands.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <tilewright/tilewright.hpp>
#include <unistd.h>
#include <vector>

namespace tilewright::cli {

namespace {

using Json = nlohmann::ordered_json;

struct CompileOptions {
  std::string key;
  std::string emit;
  std::string output;
  bool timing = false;
  bool json = false;
  bool printKey = false;

  std::string target = "cpu";
  std::string kernel = "forward";
  std::optional<std::string> dtype; ///< f32, of a GPU bf16
  int64_t headDim = 64;
  std::optional<int64_t> headDimV;
  std::string mask = "none";
  std::string bias = "none", attnMask = "none"; ///< a tensor's kind: vector, matrix_f32, ...
  bool alibi = false, softcap = false, windowLeft = false, dropout = false, probs = false;
  bool documents = false, keyPadding = false;
  bool varlen = false, seqUsedK = false;
  bool evenM = false;
  bool evenN = false;
  int64_t seqlenQ = 1024;
  std::string cpuLevel;
  std::string schedule;
  std::vector<std::string> strided;
  std::vector<std::string> align; ///< "a8", or "q:a8"
  std::string forwardOnly; ///< a flag that was given and that matters to --kernel forward only
};

/// What makes a last block of keys end elsewhere, if anything does: then --even-n has nothing to say.
std::string endOfKeys(const CompileOptions &options) {
  const std::pair<bool, const char *> causes[] = {
      {options.windowLeft, "--window-left"}, {options.documents, "--documents"}, {options.keyPadding, "--key-padding"},
      {options.varlen, "--varlen"},          {options.seqUsedK, "--seqused-k"}};
  for (const auto &[given, flag] : causes) {
    if (given) {
      return flag;
    }
  }
  return options.mask != "none" ? "--mask " + options.mask : "";
}

constexpr const char *kTensors[] = {"q", "k", "v", "out"};

const std::map<std::string, DType> kDTypes = {
    {"f32", DType::Float32}, {"f16", DType::Float16}, {"bf16", DType::BFloat16}};

/// Replaces one `name=value` of a key's text.
std::string withField(const std::string &key, const std::string &name, const std::string &value) {
  std::istringstream words(key);
  std::string result, word;
  bool found = false;
  while (words >> word) {
    if (word.rfind(name + "=", 0) == 0) {
      word = name + "=" + value;
      found = true;
    }
    result += (result.empty() ? "" : " ") + word;
  }
  if (!found) {
    throw std::runtime_error("the key '" + key + "' has no field '" + name + "'");
  }
  return result;
}

/// The key for another CPU, its schedule unchanged. evenD follows from the head dims and that CPU's vector length,
/// which the library knows: one of the two values is canonical.
std::string withTarget(const std::string &key, const std::string &cpuLevel) {
  const std::string moved = withField(key, "target", "cpu:" + cpuLevel);
  try {
    return canonicalKey(withField(moved, "evenD", "1")).text;
  } catch (const Error &) {
    return withField(moved, "evenD", "0");
  }
}

/// A problem's tensor without data: (1, seqlen, 1, dim), or, packed, (seqlen, 1, dim).
Tensor shapeOnly(DType dtype, int64_t seqlen, int64_t dim, bool strided, bool packed) {
  const int64_t step = strided ? 2 : 1;
  if (packed) {
    return Tensor(nullptr, dtype, {seqlen, 1, dim}, {dim * step, dim * step, step});
  }
  return Tensor(nullptr, dtype, {1, seqlen, 1, dim}, {seqlen * dim * step, dim * step, dim * step, step});
}

/// The key's `align` with what --align says in its place; --strided has been applied.
std::string withAlign(const std::string &key, const std::vector<std::string> &given) {
  std::map<std::string, std::string> classes;
  std::istringstream items(keyField(key, "align"));
  for (std::string item; std::getline(items, item, ',');) {
    classes[item.substr(0, item.find(':'))] = item.substr(item.find(':') + 1);
  }
  std::set<std::string> named;
  for (const std::string &item : given) {
    const size_t colon = item.find(':');
    const std::string tensor = colon == std::string::npos ? "" : item.substr(0, colon);
    const std::string align = colon == std::string::npos ? item : item.substr(colon + 1);
    const bool known = tensor.empty() || classes.count(tensor) != 0;
    if (!known || (align != "a2" && align != "a4" && align != "a8" && align != "a16")) {
      throw UsageError("--align is '" + item + "'; allowed: A or TENSOR:A with TENSOR one of q, k, v, out and A one of "
                       "a2, a4, a8, a16");
    }
    if (!named.insert(tensor).second) {
      throw UsageError("--align is given twice for " + (tensor.empty() ? "all tensors" : tensor));
    }
    for (const char *name : kTensors) {
      // What names a tensor goes before what names none, wherever it stands.
      const bool mine = tensor == name || (tensor.empty() && named.count(name) == 0);
      if (mine && classes[name] == "strided") {
        if (tensor.empty()) {
          continue;
        }
        throw UsageError("--align names " + tensor + ", and so does --strided: rows of that tensor have no alignment");
      }
      classes[name] = mine ? align : classes[name];
    }
  }
  std::string text;
  for (const char *name : kTensors) {
    text += (text.empty() ? "" : ",") + std::string(name) + ":" + classes[name];
  }
  return withField(key, "align", text);
}

Engine planningEngine(const EngineOptions &options) {
  try {
    return Engine(options);
  } catch (const Error &error) {
    if (error.status() == TW_UNSUPPORTED && error.argument() == "cpu_level") {
      throw UsageError(std::string(error.what()) + "; give --schedule as well to compile for it nevertheless");
    }
    throw;
  }
}

std::string keyFromFlags(const CompileOptions &options) {
  const bool forward = options.kernel == "forward", rowLimits = options.kernel == "row_limits";
  if (!forward && !options.forwardOnly.empty()) {
    throw UsageError(options.forwardOnly + " is given with --kernel " + options.kernel +
                     ", whose code does not depend on it");
  }
  if (rowLimits && (options.documents || options.keyPadding)) {
    throw UsageError(std::string(options.documents ? "--documents" : "--key-padding") +
                     " is given with --kernel row_limits, whose code does not depend on it");
  }
  if (options.kernel == "row_bounds" && !options.documents && !options.keyPadding) {
    throw UsageError("--kernel row_bounds needs --documents, --key-padding or both");
  }
  const std::string mask = rowLimits ? "glm_packed" : options.mask;
  if (const std::string cause = endOfKeys(options); options.evenN && !cause.empty()) {
    throw UsageError("--even-n is true with " + cause +
                     "; it changes code only where nothing but seqlen_k ends the last block of keys");
  }
  if (options.evenM && options.varlen) {
    throw UsageError("--even-m is true with --varlen; sequences of any length run its kernels");
  }
  const bool gpu = options.target != "cpu";
  if (gpu && !options.cpuLevel.empty()) {
    throw UsageError("--cpu-level is given with --target " + options.target + "; it is for --target cpu");
  }
  if (!gpu && !options.align.empty()) {
    throw UsageError("--align is given with --target cpu; code for a CPU depends on --strided only");
  }
  if (gpu && options.dtype == "f32") {
    throw UsageError("--dtype is f32 with --target " + options.target + "; a GPU's kernels are for f16 and bf16");
  }
  if (gpu && options.kernel == "row_bounds" && !options.schedule.empty()) {
    throw UsageError("--schedule is given with --kernel row_bounds and --target " + options.target +
                     "; on GPUs these kernels have one of their own");
  }
  checkScheduleKind(options.schedule, gpu);
  const DType dtype = kDTypes.at(options.dtype.value_or(gpu ? "bf16" : "f32"));
  auto isStrided = [&](const char *name) {
    return std::find(options.strided.begin(), options.strided.end(), name) != options.strided.end();
  };
  const int64_t headDimV = options.headDimV.value_or(options.headDim);
  const int64_t seqlenK = options.seqlenQ;
  auto tensor = [&](int64_t seqlen, int64_t dim, const char *name) {
    const Tensor onCpu = shapeOnly(dtype, seqlen, dim, isStrided(name), options.varlen);
    return gpu ? onCpu.onCuda(0) : onCpu;
  };
  const Tensor q = tensor(options.seqlenQ, options.headDim, "q");
  const Tensor k = tensor(seqlenK, options.headDim, "k");
  const Tensor v = tensor(seqlenK, headDimV, "v");
  const Tensor out = tensor(options.seqlenQ, headDimV, "out");

  EngineOptions engineOptions;
  engineOptions.cacheDir = ""; // nothing is run, so nothing is worth looking for on disk
  engineOptions.numThreads = 1;
  // An engine is for CPUs that this machine can stand in for. It is asked about the level only to look into the
  // schedule table; with a schedule given, a key for any level can be written.
  const bool anyLevel = !options.cpuLevel.empty() && !options.schedule.empty();
  if (!options.cpuLevel.empty() && !anyLevel) {
    engineOptions.cpuLevel = options.cpuLevel;
  }
  if (!options.schedule.empty()) {
    engineOptions.schedule = options.schedule;
  }
  if (gpu) {
    engineOptions.cudaTarget = options.target;
  }
  const Engine engine = planningEngine(engineOptions);
  const std::vector<int32_t> glm = {0, 0};
  ForwardOptions forwardOptions;
  forwardOptions.engine = &engine;
  forwardOptions.causal = mask != "none";
  if (mask == "glm_break") {
    forwardOptions.glmMask = ConstTensor(glm.data(), {1});
  } else if (mask == "glm_packed") {
    forwardOptions.glmMask = ConstTensor(glm.data(), {1, 2, 1});
  }
  if (gpu && forwardOptions.glmMask.given()) { // its numbers are not read
    forwardOptions.glmMask = forwardOptions.glmMask.onCuda(0);
  }
  auto scoreTensor = [&](const std::string &kind) -> ConstTensor {
    if (kind == "none") {
      return {};
    }
    auto endsWith = [&](const std::string &end) {
      return kind.size() > end.size() && kind.compare(kind.size() - end.size(), end.size(), end) == 0;
    };
    const DType element = endsWith("_f32") ? DType::Float32 : endsWith("_bool") ? DType::Bool : dtype;
    const int64_t rows = kind.rfind("vector", 0) == 0 ? 1 : options.seqlenQ;
    const Tensor shape(nullptr, element, {1, 1, rows, seqlenK}, {rows * seqlenK, rows * seqlenK, seqlenK, 1});
    return gpu ? shape.onCuda(0) : shape;
  };
  forwardOptions.bias = scoreTensor(options.bias);
  forwardOptions.attnMask = scoreTensor(options.attnMask);
  // Contiguous, without data; not given where `wanted` is false.
  auto table = [&](bool wanted, DType type, std::initializer_list<int64_t> shape) -> Tensor {
    const Tensor onCpu(nullptr, type, shape);
    return !wanted ? Tensor() : gpu ? onCpu.onCuda(0) : onCpu;
  };
  forwardOptions.alibiSlopes = table(options.alibi, DType::Float32, {1});
  forwardOptions.softcap = options.softcap ? 1.0 : 0.0;
  if (options.windowLeft) {
    forwardOptions.window.left = seqlenK / 2; // the table asks how many keys it shows
  }
  forwardOptions.documentIds = table(options.documents, DType::Int32, {1, seqlenK});
  forwardOptions.keyPaddingMask = table(options.keyPadding, DType::Bool, {1, seqlenK});
  forwardOptions.cuSeqlensQ = table(options.varlen, DType::Int32, {2});
  forwardOptions.cuSeqlensK = table(options.varlen, DType::Int32, {2});
  if (options.varlen) {
    forwardOptions.maxSeqlenQ = options.seqlenQ;
    forwardOptions.maxSeqlenK = seqlenK;
  }
  forwardOptions.seqUsedK = table(options.seqUsedK, DType::Int32, {1});
  forwardOptions.dropoutP = options.dropout ? 0.5 : 0.0;
  forwardOptions.probs = table(options.probs, dtype, {1, 1, options.seqlenQ, seqlenK});
  const Json steps = Json::parse(plan(q, k, v, out, forwardOptions)).at("steps");
  for (const Json &step : steps) {
    std::string key = step.at("key").get<std::string>();
    if (key.substr(0, key.find(' ')) != options.kernel) {
      continue;
    }
    key = withField(key, "evenM", options.evenM ? "1" : "0");
    if (forward) {
      key = withField(key, "evenN", options.evenN ? "1" : "0");
    }
    if (!options.align.empty()) {
      key = withAlign(key, options.align);
    }
    if (!anyLevel) {
      return key;
    }
    return forward ? withTarget(key, options.cpuLevel) : withField(key, "target", "cpu:" + options.cpuLevel);
  }
  throw std::runtime_error("the engine's plan for these flags has no step '" + options.kernel + "'");
}

void writeFile(const std::string &path, const std::string &text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  file.close();
  if (!file) {
    throw std::runtime_error("cannot write '" + path + "' (-o): " + std::strerror(errno));
  }
}

void printTimings(const Json &timings) {
  double total = 0.0;
  std::fprintf(stderr, "%-12s %10s\n", "stage", "ms");
  for (const auto &[stage, milliseconds] : timings.items()) {
    std::fprintf(stderr, "%-12s %10.2f\n", stage.c_str(), milliseconds.get<double>());
    total += milliseconds.get<double>();
  }
  std::fprintf(stderr, "%-12s %10.2f\n", "total", total);
}

void runCompile(const CompileOptions &options) {
  if (options.emit.empty() && !options.printKey) {
    throw UsageError("--emit is not given; allowed: attn, tile, schedule, vector, llvm, obj; of a GPU key attn, tile, "
                     "schedule, nvvm, llvm, ptx, cubin (or --print-key)");
  }
  const bool toFile = !options.output.empty() && options.output != "-";
  if ((options.emit == "obj" || options.emit == "cubin") && !toFile) {
    if (options.json) {
      throw UsageError("--emit " + options.emit + " with --json needs -o FILE: machine code does not fit into JSON");
    }
    if (isatty(STDOUT_FILENO) != 0) {
      throw UsageError("--emit " + options.emit +
                       " would print binary data to a terminal; give -o FILE, or redirect the output");
    }
  }
  const Key key = canonicalKey(options.key.empty() ? keyFromFlags(options) : options.key);
  Json result = {{"key", key.text}, {"digest", key.digest}};
  if (options.printKey) {
    writeStdout(options.json ? result.dump(2) + "\n" : key.text + "\n");
    return;
  }

  const Compilation compilation = compile(key.text, options.emit);
  const Json timings = Json::parse(compilation.timings);
  if (toFile) {
    writeFile(options.output, compilation.output);
  }
  if (options.json) {
    result["emit"] = options.emit;
    result["bytes"] = compilation.output.size();
    if (toFile) {
      result["file"] = options.output;
    } else {
      result["output"] = compilation.output;
    }
    if (options.timing) {
      result["timings_ms"] = timings;
    }
    writeStdout(result.dump(2) + "\n");
    return;
  }
  if (!toFile) {
    writeStdout(compilation.output);
  }
  if (options.timing) {
    std::fprintf(stderr, "%s\n", key.text.c_str());
    printTimings(timings);
  }
}

} // namespace

void addCompileCommand(CLI::App &app) {
  CLI::App *command = app.add_subcommand("compile", "Compile a kernel and print any stage of it");
  auto options = std::make_shared<CompileOptions>();
  CLI::Option *key = command
                         ->add_option("--key", options->key,
                                      "The kernel's key, as printed by --print-key, plans, and cache misses; excludes "
                                      "the flags that describe a kernel")
                         ->type_name("TEXT");
  command
      ->add_option("--emit", options->emit,
                   "Stage to print: the problem (attn), the tile program (tile), with its schedule applied (schedule), "
                   "as vector code (vector), LLVM IR (llvm), or an object file (obj). For a GPU nvvm, ptx and cubin "
                   "take the place of vector and obj; none needs a GPU, cubin needs an assembler "
                   "(`tilewright info` shows it)")
      ->check(CLI::IsMember({"attn", "tile", "schedule", "vector", "nvvm", "llvm", "obj", "ptx", "cubin"}));
  command->add_option("-o,--output", options->output, "Write the stage to this file; - is standard output")
      ->type_name("FILE");
  command->add_flag("--timing", options->timing,
                    "Also print the time of each compile stage: to stderr, or into the JSON");
  command->add_flag("--json", options->json, "Print JSON: key, digest, bytes, and the stage's text or the file's name");
  command->add_flag("--print-key", options->printKey, "Print the canonical key and compile nothing; excludes --emit")
      ->excludes("--emit");

  const std::string group = "The kernel, without --key";
  std::vector<CLI::Option *> described;
  auto describe = [&](CLI::Option *option) {
    option->group(group)->excludes(key);
    described.push_back(option);
    return option;
  };
  describe(command->add_option("--target", options->target,
                               "cpu, or a GPU: the architecture that machine code is for (sm_90a: with the instructions "
                               "that only SM 90 has, where a kernel of those serves, which is what such a GPU gets), "
                               "ptx for any that the driver assembles for"))
      ->check(CLI::IsMember({"cpu", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_90a", "sm_100", "sm_120", "ptx"}))
      ->capture_default_str();
  describe(command->add_option("--kernel", options->kernel,
                               "forward, or a program that prepares a mask for it: row_limits turns packed GLM pairs "
                               "into one limit a row, row_bounds --documents and --key-padding into an interval a row"))
      ->check(CLI::IsMember({"forward", "row_limits", "row_bounds"}))
      ->capture_default_str();
  describe(command->add_option("--dtype", options->dtype, "Element type of q, k, v and out"))
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->default_str("f32; bf16 for a GPU, which has no f32");
  describe(command->add_option("--head-dim", options->headDim, "Head dim of q and k, 1 to 256"))
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  describe(command->add_option("--head-dim-v", options->headDimV, "Head dim of v and out, 1 to 256"))
      ->check(CLI::Range(1, 256))
      ->default_str("that of q");
  describe(command->add_option("--mask", options->mask, "Which keys a row sees"))
      ->check(CLI::IsMember({"none", "causal", "glm_break", "glm_packed"}))
      ->capture_default_str();
  describe(command->add_option("--even-m", options->evenM,
                               "true: only for a seqlen_q that is a multiple of the schedule's block"))
      ->type_name("BOOL")
      ->default_str("false");
  describe(
      command->add_option("--even-n", options->evenN,
                          "true: only for a seqlen_k that is a multiple of the schedule's block; only where nothing "
                          "else ends the last block of keys"))
      ->type_name("BOOL")
      ->default_str("false");
  describe(command->add_option("--seqlen-q", options->seqlenQ,
                               "Query rows for which the schedule table is asked; any length may run the kernel"))
      ->check(CLI::Range(int64_t{1}, int64_t{std::numeric_limits<int32_t>::max()}))
      ->capture_default_str();
  describe(command->add_option("--cpu-level", options->cpuLevel,
                               "CPU to compile for; one that this machine is not needs --schedule"))
      ->check(CLI::IsMember({"x86-64-v2", "x86-64-v3", "x86-64-v4"}))
      ->default_str("the best of this machine");
  describe(command->add_option("--schedule", options->schedule,
                               "Schedule: orientation, blocks, and a register tile, such as kq:64x64:8x2, or for a GPU "
                               "warps, such as qk:128x64:w4, for sm_90a groups, such as qk:128x128:g2:s2"))
      ->type_name("TEXT")
      ->default_str("the schedule table's choice");
  describe(command->add_option("--strided", options->strided,
                               "Tensors whose innermost stride is not 1, separated by commas"))
      ->delimiter(',')
      ->check(CLI::IsMember({"q", "k", "v", "out"}));
  const std::vector<std::string> floats = {"none", "vector", "matrix", "vector_f32", "matrix_f32"};
  std::vector<std::string> masks = floats;
  masks.insert(masks.end(), {"vector_bool", "matrix_bool"});
  describe(command->add_option("--bias", options->bias,
                               "Bias: one row for all queries (vector) or one a query (matrix), of --dtype or float32"))
      ->check(CLI::IsMember(floats))
      ->capture_default_str();
  describe(command->add_option("--attn-mask", options->attnMask, "Mask tensor, added as --bias, or of bools"))
      ->check(CLI::IsMember(masks))
      ->capture_default_str();
  describe(command->add_flag("--alibi", options->alibi, "ALiBi slopes"));
  describe(command->add_flag("--softcap", options->softcap, "Softcap"));
  describe(command->add_flag("--window-left", options->windowLeft,
                             "A window's left edge, any (the schedule table is asked about one that shows half the "
                             "keys); a right one is --mask causal, further on"));
  describe(command->add_flag("--documents", options->documents, "Document ids, which row_bounds turns into intervals"));
  describe(command->add_flag("--key-padding", options->keyPadding, "A key padding mask, of which the same is true"));
  describe(command->add_flag("--varlen", options->varlen, "Sequences of different lengths, packed: cu_seqlens"));
  describe(command->add_flag("--seqused-k", options->seqUsedK, "A number of used keys for each batch entry"));
  describe(command->add_flag("--dropout", options->dropout, "Dropout, of any probability"));
  describe(command->add_flag("--probs", options->probs, "Probabilities as an output"));
  describe(command->add_option("--align", options->align,
                               "For a GPU: bytes that every row is aligned to, a2, a4, a8 or a16, of all tensors, or "
                               "as q:a8,k:a16 of some"))
      ->delimiter(',')
      ->type_name("A|TENSOR:A ...")
      ->default_str("what contiguous tensors of these head dims have");
  command->footer("Examples:\n"
                  "  tilewright compile --emit tile --mask causal\n"
                  "  tilewright compile --dtype f16 --head-dim 80 --emit obj --timing -o kernel.o\n"
                  "  tilewright compile --print-key --mask glm_packed --even-m true --cpu-level x86-64-v3\n"
                  "  tilewright compile --target sm_90 --head-dim 128 --mask causal --emit ptx\n"
                  "  tilewright compile --target sm_90 --bias matrix --attn-mask vector_bool --print-key\n"
                  "  tilewright compile --kernel row_bounds --documents --varlen --emit tile\n"
                  "  tilewright compile --emit llvm --key \"$(tilewright compile --print-key --head-dim 40)\"\n");
  command->callback([options, command] {
    for (const char *flag : {"--dtype", "--mask", "--even-n", "--strided", "--align", "--bias", "--attn-mask", "--alibi",
                             "--softcap", "--window-left", "--dropout", "--probs"}) {
      if (command->count(flag) != 0) {
        options->forwardOnly = flag;
      }
    }
    runCompile(*options);
  });
}

} // namespace tilewright::cli
