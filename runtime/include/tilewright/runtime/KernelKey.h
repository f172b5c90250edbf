// SPDX-License-Identifier: Apache-2.0
//
// A KernelKey holds what generated code depends on and nothing else: never a length, a batch size, a pointer, a
// stride's value or an alignment of rows. It is plain data: comparing two keys is comparing bytes.
#ifndef TILEWRIGHT_RUNTIME_KERNELKEY_H
#define TILEWRIGHT_RUNTIME_KERNELKEY_H

#include "tilewright/Dialect/Attn/IR/AttnEnums.h"
#include "tilewright/Target/CpuLevel.h"
#include "tilewright/kernels/KernelArguments.h"
#include "tilewright/kernels/Schedule.h"
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace tilewright::runtime {

enum class ElementType : uint8_t { F32 = 0, F16 = 1, BF16 = 2 };

constexpr unsigned elementBytes(ElementType type) { return type == ElementType::F32 ? 4 : 2; }
std::string_view toText(ElementType type); ///< "f32", "f16", "bf16"

/// Canonical text, which parses back to the same key (fields in this order; `build` last):
///   forward target=cpu:x86-64-v4 dtype=bf16 headDim=64 headDimV=64 evenM=1 evenN=0 evenD=1 mask=causal
///     align=q:a2,k:a2,v:a2,out:a2 schedule=kq:64x64:8x2 build=0123456789abcdef
///   row_limits target=cpu:x86-64-v4 evenM=1 schedule=kq:64x64:8x2 build=0123456789abcdef
/// Fields that a kernel kind does not depend on are absent from its text and hold one fixed value in the struct
/// (`normalize`); of the schedule, row_limits depends on blockM only and prints the rest at its default.
struct KernelKey {
  kernels::KernelKind kind = kernels::KernelKind::Forward;
  CpuLevel level = CpuLevel::X86_64_v2;
  ElementType dtype = ElementType::F32;
  attn::MaskKind mask = attn::MaskKind::None;
  uint16_t headDim = 0;  ///< 1..256
  uint16_t headDimV = 0; ///< 1..256
  bool evenM = false;    ///< seqlen_q is a multiple of schedule.blockM
  bool evenN = false;    ///< seqlen_k is a multiple of schedule.blockN; false for every mask but none, where the
                         ///< mask's own limit already ends the last block and the code is the same
  bool evenD = false;    ///< both head dims are multiples of the target's vector lanes (follows from them)
  std::array<attn::AlignClass, 4> align{}; ///< q, k, v, out. On a CPU: the element's size, or strided
  kernels::Schedule schedule;

  bool operator==(const KernelKey &) const = default;

  /// Clears what the kernel kind or the target does not depend on. Every key is made through this.
  void normalize();
  size_t hash() const;
};

/// This library's content hash, 16 hex digits: the `build` field of every key that it makes.
std::string_view buildId();

std::string toText(const KernelKey &key);
/// Throws Error(TW_INVALID_ARGUMENT, argument "key") that names the field, its text and what is allowed. A missing
/// `build` means this build; another build's is an error that names both.
KernelKey parseKey(std::string_view text);
/// 64 hex digits of BLAKE3 over the canonical text: the disk cache's file name.
std::string digest(const KernelKey &key);

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_KERNELKEY_H
