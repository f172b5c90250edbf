// SPDX-License-Identifier: Apache-2.0
//
// Small tile programs given as text, compiled by the same stages and code generator as kernels are, and loaded.
#ifndef TILEWRIGHT_TESTS_UNIT_JIT_TILEPROGRAM_H
#define TILEWRIGHT_TESTS_UNIT_JIT_TILEPROGRAM_H

#include "GuardedMemory.h"
#include "tilewright/Target/CpuLevel.h"
#include "tilewright/runtime/Artifact.h"
#include <bit>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

namespace tilewright::tests {

/// Compiles `function`, the text of a func.func @program without attributes: `attributes {...}` is put in front of the
/// last '{' of its first line. Fails with std::runtime_error and the compiler's diagnostics.
std::unique_ptr<runtime::LoadedKernel> compileTileProgram(const std::string &function, CpuLevel level,
                                                          const std::string &micro = "2 x 1");

/// An argument slot: a pointer, an integer or a float.
struct Slot {
  Slot(const void *pointer) : value(reinterpret_cast<uintptr_t>(pointer)) {}
  Slot(int64_t integer) : value(static_cast<uint64_t>(integer)) {}
  Slot(int integer) : Slot(static_cast<int64_t>(integer)) {}
  Slot(float number) : value(std::bit_cast<uint32_t>(number)) {}
  uint64_t value;
};

/// Runs one program in scratch memory that ends at an unreadable page.
inline void callTileProgram(const runtime::LoadedKernel &kernel, std::initializer_list<Slot> arguments,
                            int64_t program = 0) {
  std::vector<uint64_t> slots;
  for (const Slot &slot : arguments) {
    slots.push_back(slot.value);
  }
  GuardedMemory scratch(kernel.scratchBytes, 0xff);
  kernel.entry(slots.data(), program, scratch.data());
}

/// One test a level that this machine runs.
std::vector<CpuLevel> runnableLevels();

} // namespace tilewright::tests

#endif // TILEWRIGHT_TESTS_UNIT_JIT_TILEPROGRAM_H
