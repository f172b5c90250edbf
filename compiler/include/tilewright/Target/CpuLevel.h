// SPDX-License-Identifier: Apache-2.0
//
// The CPU targets: the x86-64 psABI's micro-architecture levels. A level, unlike a CPU's name plus its feature list, is
// a closed set that a key can name, another machine can compile for, and a shared cache can be searched by.
#ifndef TILEWRIGHT_TARGET_CPULEVEL_H
#define TILEWRIGHT_TARGET_CPULEVEL_H

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tilewright {

enum class CpuLevel : uint8_t { X86_64_v2 = 2, X86_64_v3 = 3, X86_64_v4 = 4 };

struct CpuLevelInfo {
  CpuLevel level;
  std::string_view name; ///< also LLVM's -mcpu name
  unsigned vectorBits;   ///< native vector width
  unsigned registers;    ///< architectural vector registers
};

inline constexpr std::array<CpuLevelInfo, 3> kCpuLevels = {{
    {CpuLevel::X86_64_v2, "x86-64-v2", 128, 16},
    {CpuLevel::X86_64_v3, "x86-64-v3", 256, 16},
    {CpuLevel::X86_64_v4, "x86-64-v4", 512, 32},
}};

constexpr const CpuLevelInfo &cpuLevelInfo(CpuLevel level) {
  return kCpuLevels[static_cast<unsigned>(level) - 2];
}

/// float32 lanes of a native vector.
constexpr unsigned vectorLanes(CpuLevel level) { return cpuLevelInfo(level).vectorBits / 32; }

constexpr std::optional<CpuLevel> parseCpuLevel(std::string_view name) {
  for (const CpuLevelInfo &info : kCpuLevels) {
    if (info.name == name) {
      return info.level;
    }
  }
  return std::nullopt;
}

/// The highest level that this machine executes; nothing on a machine below x86-64-v2.
std::optional<CpuLevel> hostCpuLevel();

} // namespace tilewright

#endif // TILEWRIGHT_TARGET_CPULEVEL_H
