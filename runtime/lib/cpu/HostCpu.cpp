// SPDX-License-Identifier: Apache-2.0
//
// The level of this machine. __builtin_cpu_supports reads CPUID and XGETBV: a level counts only if the operating system
// saves its registers, as containers and old hypervisors may not.
#include "tilewright/Target/CpuLevel.h"

std::optional<tilewright::CpuLevel> tilewright::hostCpuLevel() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) {
    return CpuLevel::X86_64_v4;
  }
  if (__builtin_cpu_supports("x86-64-v3")) {
    return CpuLevel::X86_64_v3;
  }
  if (__builtin_cpu_supports("x86-64-v2")) {
    return CpuLevel::X86_64_v2;
  }
  return std::nullopt;
}
