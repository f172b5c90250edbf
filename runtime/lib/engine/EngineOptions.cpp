// SPDX-License-Identifier: Apache-2.0
//
// An engine's options: what the caller gave, else the environment, else the machine.
#include "tilewright/runtime/Engine.h"
#include "tilewright/runtime/Error.h"
#include "StructSize.h"

#include <charconv>
#include <cstdlib>
#include <cstring>

using namespace tilewright;
using namespace tilewright::runtime;

namespace {

constexpr int kMaxThreads = 4096;

[[noreturn]] void invalid(const std::string &name, const std::string &what) {
  throw Error(TW_INVALID_ARGUMENT, name + ": " + what, name);
}

std::string levelNames() {
  std::string names;
  for (const CpuLevelInfo &info : kCpuLevels) {
    names += (names.empty() ? "" : ", ") + std::string(info.name);
  }
  return names;
}

/// A variable that is set and not empty, or null.
const char *environment(const char *name) {
  const char *value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : nullptr;
}

CpuLevel resolveLevel(const char *option) {
  const std::optional<CpuLevel> host = hostCpuLevel();
  if (!host) {
    throw Error(TW_UNSUPPORTED, "cpu_level: this machine is below x86-64-v2, the least that kernels are made for",
                "cpu_level");
  }
  const char *variable = "TILEWRIGHT_CPU_LEVEL";
  const std::string name = option != nullptr ? "cpu_level" : variable;
  const char *text = option != nullptr ? option : environment(variable);
  if (text == nullptr) {
    return *host;
  }
  const std::optional<CpuLevel> level = parseCpuLevel(text);
  if (!level) {
    invalid(name, "is '" + std::string(text) + "', must be one of " + levelNames());
  }
  if (*level > *host) {
    throw Error(TW_UNSUPPORTED,
                name + ": is " + text + ", but this machine executes at most " + std::string(cpuLevelInfo(*host).name),
                name);
  }
  return *level;
}

unsigned resolveThreads(int32_t option) {
  const std::string range = "an integer in [1, " + std::to_string(kMaxThreads) + "]";
  if (option < 0 || option > kMaxThreads) {
    invalid("num_threads", "is " + std::to_string(option) + ", must be 0 (choose) or " + range);
  }
  if (option > 0) {
    return static_cast<unsigned>(option);
  }
  const char *variable = "TILEWRIGHT_NUM_THREADS";
  const char *text = environment(variable);
  if (text == nullptr) {
    return std::min<unsigned>(availableCpus(), kMaxThreads);
  }
  int threads = 0;
  const char *end = text + std::strlen(text);
  auto [parsed, error] = std::from_chars(text, end, threads);
  if (error != std::errc() || parsed != end || threads < 1 || threads > kMaxThreads) {
    invalid(variable, "is '" + std::string(text) + "', must be " + range);
  }
  return static_cast<unsigned>(threads);
}

} // namespace

EngineOptions runtime::resolveOptions(const TwEngineOptions *options) {
  TwEngineOptions given{};
  given.struct_size = sizeof(given);
  if (options != nullptr) {
    checkStructSize(*options, "TwEngineOptions");
    given = *options;
  }
  EngineOptions resolved;
  if (given.miss_policy != TW_MISS_COMPILE && given.miss_policy != TW_MISS_WARN && given.miss_policy != TW_MISS_ERROR) {
    invalid("miss_policy", "is " + std::to_string(static_cast<int>(given.miss_policy)) +
                               ", must be TW_MISS_COMPILE (0), TW_MISS_WARN (1) or TW_MISS_ERROR (2)");
  }
  resolved.missPolicy = given.miss_policy;
  if (given.schedule != nullptr) {
    resolved.plan.schedule = kernels::parseSchedule(given.schedule);
    if (!resolved.plan.schedule) {
      invalid("schedule", "is '" + std::string(given.schedule) +
                              "', must be " + std::string(kernels::kScheduleForm));
    }
  }
  if (given.cuda_target != nullptr) {
    const std::optional<GpuTargetChoice> target = parseGpuTarget(given.cuda_target);
    if (!target) {
      invalid("cuda_target", "is '" + std::string(given.cuda_target) + "', must be one of " + gpuTargetNames());
    }
    resolved.plan.sm = target->sm;
    resolved.plan.sm90a = target->sm90a;
  }
  resolved.threads = resolveThreads(given.num_threads);
  resolved.plan.level = resolveLevel(given.cpu_level);
  resolved.cache = chooseCacheLocation(given.cache_dir);
  return resolved;
}
