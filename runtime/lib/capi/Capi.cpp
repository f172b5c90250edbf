// SPDX-License-Identifier: Apache-2.0
//
// The C ABI over the engine. Nothing is decided here: arguments are turned into calls, results into C types.
#include "../cuda/Devices.h"
#include "../cuda/Nvrtc.h"
#include "LastError.h"
#include "tilewright/runtime/BlockMap.h"
#include "tilewright/runtime/Compiler.h"
#include "tilewright/runtime/Engine.h"
#include "tilewright/runtime/SupportMatrix.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>

using namespace tilewright;
using namespace tilewright::runtime;
using capi::copyString;
using capi::guarded;
using capi::required;

struct TwEngine {
  Engine engine;
  explicit TwEngine(EngineOptions options) : engine(std::move(options)) {}
};

namespace {

/// Set once and never destroyed: other threads may be inside it when the process exits.
std::atomic<TwEngine *> defaultEngine{nullptr};

TwEngine &theDefaultEngine() {
  TwEngine *current = defaultEngine.load(std::memory_order_acquire);
  if (current == nullptr) {
    // No lock, which a fork could leave locked: two threads may both make one, and the loser's is unused.
    auto fresh = std::make_unique<TwEngine>(resolveOptions(nullptr));
    if (defaultEngine.compare_exchange_strong(current, fresh.get(), std::memory_order_acq_rel)) {
      current = fresh.release();
    }
  }
  return *current;
}

Engine &resolve(TwEngine *engine) { return engine != nullptr ? engine->engine : theDefaultEngine().engine; }

std::string_view name(CpuLevel level) { return cpuLevelInfo(level).name; }

nlohmann::ordered_json nvrtcJson() {
  nlohmann::ordered_json json;
  try {
    const std::string version = cuda::nvrtcVersion();
    json["found"] = true;
    json["version"] = version;
  } catch (const Error &error) {
    json["found"] = false;
    json["why"] = error.what();
  }
  return json;
}

nlohmann::ordered_json cudaJson() {
  nlohmann::ordered_json json;
  json["found"] = false;
  try {
    int version = 0;
    cuda::check(cuda::driver().driverGetVersion(&version), "cuDriverGetVersion", cuda::kNoDevice);
    nlohmann::ordered_json devices = nlohmann::ordered_json::array();
    for (int ordinal = 0; ordinal < std::min(cuda::deviceCount(), cuda::kMaxDevices); ++ordinal) {
      const cuda::DeviceInfo info = cuda::deviceInfo(ordinal);
      devices.push_back({{"index", ordinal},
                         {"name", info.name},
                         {"compute_capability", std::to_string(info.major) + "." + std::to_string(info.minor)},
                         {"served", smOf(info.major, info.minor).has_value()},
                         {"shared_bytes_per_block", info.sharedBytes},
                         {"memory_pools", info.memoryPools}});
    }
    json["driver_api"] = std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
    if (devices.empty()) {
      json["why"] = "the driver sees no device";
    } else {
      json["found"] = true;
      json["devices"] = devices;
    }
  } catch (const Error &error) {
    json["why"] = error.what();
  }
  return json;
}

nlohmann::ordered_json assemblerJson() {
  const AssemblerInfo info = gpuAssembler();
  nlohmann::ordered_json json;
  json["found"] = info.found;
  if (!info.file.empty()) {
    json["kind"] = info.inProcess ? "NVIDIA's PTX compiler in this process" : "ptxas";
    json["file"] = info.file;
  }
  if (!info.version.empty()) {
    json["cuda"] = info.version;
  }
  if (!info.why.empty()) {
    json["why"] = info.why;
  }
  return json;
}

/// What a call may ask for besides the mask kinds, named by the argument that asks for it, and on which devices kernels
/// serve it. Every feature is listed.
nlohmann::ordered_json featuresJson() {
  constexpr std::pair<const char *, Feature> features[] = {
      {"bias", Feature::Bias},
      {"attn_mask", Feature::AdditiveMask},
      {"bool_attn_mask", Feature::BoolMask},
      {"key_padding_mask", Feature::KeyPadding},
      {"document_ids", Feature::Documents},
      {"window", Feature::Window},
      {"alibi_slopes", Feature::Alibi},
      {"softcap", Feature::Softcap},
      {"dropout", Feature::Dropout},
      {"probs", Feature::Probs},
      {"cu_seqlens", Feature::Varlen},
      {"seqused_k", Feature::SeqUsedK},
  };
  nlohmann::ordered_json json;
  for (const auto &[featureName, feature] : features) {
    json[featureName] = nlohmann::ordered_json::array();
    for (const auto &[deviceName, device] : {std::pair{"cpu", TW_DEVICE_CPU}, {"cuda", TW_DEVICE_CUDA}}) {
      if (supportsFeature(feature, device)) {
        json[featureName].push_back(deviceName);
      }
    }
  }
  return json;
}

nlohmann::ordered_json infoJson(TwEngine *handle) {
  nlohmann::ordered_json json;
  json["version"] = tw_version();
  json["build_id"] = buildId();
  json["llvm"] = llvmVersion();
  json["gpu_assembler"] = assemblerJson();

  nlohmann::ordered_json cpu;
  const std::optional<CpuLevel> host = hostCpuLevel();
  cpu["found"] = host.has_value();
  if (host) {
    cpu["host_level"] = name(*host);
  } else {
    cpu["why"] = "this machine is below x86-64-v2, the least that kernels are made for";
  }
  nlohmann::ordered_json cache;
  // A bad environment variable must not keep the report from saying so.
  try {
    const Engine &engine = resolve(handle);
    cpu["level"] = name(engine.options().plan.level);
    cpu["threads"] = engine.options().threads;
    const CacheLocation &location = engine.cache().location();
    const DiskCache::Usage usage = engine.cache().usage();
    cache["directory"] = engine.cache().enabled() ? nlohmann::ordered_json(location.directory) : nullptr;
    cache["source"] = toText(location.source);
    cache["entries"] = usage.entries;
    cache["bytes"] = usage.bytes;
  } catch (const Error &error) {
    json["engine_error"] = error.what();
  }
  json["cache"] = cache;
  json["devices"]["cpu"] = cpu;
  json["devices"]["cuda"] = cudaJson();
  json["nvrtc"] = nvrtcJson();
  json["features"] = featuresJson();
  return json;
}

} // namespace

extern "C" const char *tw_version(void) { return TILEWRIGHT_VERSION; }

extern "C" const char *tw_build_id(void) { return buildId().data(); }

extern "C" TwStatus tw_engine_default(TwEngine **engine) {
  return guarded([&] {
    TwEngine *&result = required(engine, "engine");
    result = &theDefaultEngine();
  });
}

extern "C" TwStatus tw_engine_create(const TwEngineOptions *options, TwEngine **engine) {
  return guarded([&] {
    TwEngine *&result = required(engine, "engine");
    result = new TwEngine(resolveOptions(options));
  });
}

extern "C" void tw_engine_destroy(TwEngine *engine) {
  if (engine != defaultEngine.load(std::memory_order_acquire)) {
    delete engine;
  }
}

extern "C" TwStatus tw_engine_stats(TwEngine *engine, TwStats *stats) {
  return guarded([&] {
    TwStats &result = required(stats, "stats");
    if (result.struct_size < sizeof(TwStats)) {
      throw Error(TW_INVALID_ARGUMENT,
                  "struct_size: is " + std::to_string(result.struct_size) + ", must be sizeof(TwStats) = " +
                      std::to_string(sizeof(TwStats)),
                  "struct_size");
    }
    resolve(engine).stats(result);
  });
}

extern "C" TwStatus tw_engine_events(TwEngine *engine, TwString *json) {
  return guarded([&] {
    TwString &result = required(json, "json");
    result = copyString(resolve(engine).eventsJson());
  });
}

extern "C" TwStatus tw_forward(TwEngine *engine, const TwForwardArgs *args) {
  return guarded([&] {
    const TwForwardArgs &given = required(args, "args");
    resolve(engine).forward(given);
  });
}

extern "C" TwStatus tw_forward_plan(TwEngine *engine, const TwForwardArgs *args, TwString *json) {
  return guarded([&] {
    TwString &result = required(json, "json");
    const AttentionProblem problem = checkForward(required(args, "args"), Purpose::Plan);
    result = copyString(planJson(resolve(engine).plan(problem)));
  });
}

extern "C" TwStatus tw_forward_block_map(TwEngine *engine, const TwForwardArgs *args, int64_t *blockM, int64_t *blockN,
                                         uint8_t *map, size_t capacity) {
  return guarded([&] {
    int64_t &rows = required(blockM, "block_m");
    int64_t &columns = required(blockN, "block_n");
    ForwardPointers pointers;
    const AttentionProblem problem = checkForward(required(args, "args"), Purpose::BlockMap, &pointers);
    const BlockMapShape shape =
        blockMapShape(problem, forwardSchedule(problem, resolve(engine).planOptions(problem)));
    if (map != nullptr) {
      size_t bytes;
      if (__builtin_mul_overflow(shape.rowBlocks, shape.keyBlocks, &bytes) ||
          __builtin_mul_overflow(bytes, problem.batch, &bytes) || capacity < bytes) {
        throw Error(TW_INVALID_ARGUMENT,
                    "capacity: is " + std::to_string(capacity) + " bytes, but the map has " +
                        std::to_string(problem.batch) + " x " + std::to_string(shape.rowBlocks) + " x " +
                        std::to_string(shape.keyBlocks),
                    "capacity");
      }
      fillBlockMap(problem, pointers, shape, map);
    }
    rows = shape.blockM;
    columns = shape.blockN;
  });
}

extern "C" TwStatus tw_compile(const char *key, const char *stage, TwString *output, TwString *timings) {
  return guarded([&] {
    TwString &result = required(output, "output");
    const KernelKey parsed = parseKey(&required(key, "key"));
    const std::string_view stageName = &required(stage, "stage");
    std::vector<std::pair<std::string, double>> stageMs;
    std::string text;
    {
      CompileScope scope;
      text = compileToStage(parsed, stageName, &stageMs);
    }
    TwString copy = copyString(text);
    if (timings != nullptr) {
      try {
        nlohmann::ordered_json json = nlohmann::ordered_json::object();
        for (const auto &[name, ms] : stageMs) {
          json[name] = ms;
        }
        *timings = copyString(json.dump());
      } catch (...) {
        tw_string_free(&copy);
        throw;
      }
    }
    result = copy;
  });
}

extern "C" TwStatus tw_key_canonical(const char *key, TwString *text, TwString *digest) {
  return guarded([&] {
    TwString &result = required(text, "text");
    const KernelKey parsed = parseKey(&required(key, "key"));
    TwString copy = copyString(toText(parsed));
    if (digest != nullptr) {
      try {
        *digest = copyString(runtime::digest(parsed));
      } catch (...) {
        tw_string_free(&copy);
        throw;
      }
    }
    result = copy;
  });
}

extern "C" TwStatus tw_info(TwEngine *engine, TwString *json) {
  return guarded([&] {
    TwString &result = required(json, "json");
    result = copyString(infoJson(engine).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  });
}

extern "C" TwStatus tw_support_matrix(TwString *markdown) {
  return guarded([&] {
    TwString &result = required(markdown, "markdown");
    result = copyString(supportMatrixMarkdown());
  });
}
