// SPDX-License-Identifier: Apache-2.0
//
// A KernelKey holds what generated code depends on and nothing else: never a length, a batch size, a pointer, a
// stride's value or an alignment of rows. It is plain data: comparing two keys is comparing bytes.
#ifndef TILEWRIGHT_RUNTIME_KERNELKEY_H
#define TILEWRIGHT_RUNTIME_KERNELKEY_H

#include "tilewright/Dialect/Attn/IR/AttnEnums.h"
#include "tilewright/Target/CpuLevel.h"
#include "tilewright/Target/GpuTarget.h"
#include "tilewright/kernels/KernelArguments.h"
#include "tilewright/kernels/Schedule.h"
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tilewright::runtime {

enum class ElementType : uint8_t { F32 = 0, F16 = 1, BF16 = 2 };

constexpr unsigned elementBytes(ElementType type) { return type == ElementType::F32 ? 4 : 2; }
std::string_view toText(ElementType type); ///< "f32", "f16", "bf16"

/// In place of an SM: PTX. See Target/GpuTarget.h, which also lists the SMs that machine code is made for.
inline constexpr uint16_t kPtxOnly = kPtxOnlySm;

/// The SM whose code a GPU of that compute capability runs: its own, else the last before it of the same major number
/// (machine code runs on later minor ones), else kPtxOnly; nothing below 8.0. So a GPU that is newer than this library
/// gets machine code, and the schedules, of the SM before it if its major number is known (10.3: sm_100, 12.1: sm_120),
/// and otherwise PTX with schedules for the least shared memory that any known GPU has.
std::optional<uint16_t> smOf(int major, int minor);

/// The SM whose instructions the family sm_90a is named after: no other GPU runs its code.
inline constexpr uint16_t kSm90aSm = 90;

/// What a user may ask kernels to be made for: KernelKey::sm, and whether those that the family sm_90a serves are of
/// it.
struct GpuTargetChoice {
  uint16_t sm = 0;
  bool sm90a = false;
};
/// "sm_90", "sm_90a" or "ptx"; nothing if it names no GPU of GpuTarget.h. gpuTargetNames() lists what it knows.
std::optional<GpuTargetChoice> parseGpuTarget(std::string_view text);
std::string gpuTargetNames(); ///< "sm_80, sm_86, ..., ptx"

/// Canonical text, which parses back to the same key (fields in this order; `build` last):
///   forward target=cpu:x86-64-v4 dtype=bf16 headDim=64 headDimV=64 evenM=1 evenN=0 evenD=1 mask=causal
///     align=q:a2,k:a2,v:a2,out:a2 schedule=kq:64x64:8x2 build=0123456789abcdef
///   forward target=sm_80:sm_90 dtype=bf16 headDim=128 headDimV=128 evenM=1 evenN=0 evenD=1 mask=causal
///     align=q:a16,k:a16,v:a16,out:a16 schedule=qk:128x64:w4 build=0123456789abcdef
///   (target=sm_80:ptx for kPtxOnly)
///   forward target=sm_90a:sm_90 ... schedule=qk:128x128:g2:s2 build=0123456789abcdef
///   (or target=sm_90a:ptx; exactly with a schedule that has groups)
/// A feature that the problem has stands between align and schedule, one that it has not does not appear:
///   bias=vector|matrix|vector_f32|matrix_f32:ALIGN attnMask=(as bias, or vector_bool|matrix_bool):ALIGN alibi=1
///   softcap=1 windowLeft=1 rowBounds=1 keyPadding=ALIGN varlen=1 seqUsedK=1 dropout=1 probs=1
///   row_limits target=cpu:x86-64-v4 evenM=1 schedule=kq:64x64:8x2 build=0123456789abcdef
///   row_bounds target=cpu:x86-64-v4 evenM=1 documents=1 schedule=kq:64x64:8x2 build=0123456789abcdef
/// (both may have varlen and seqUsedK, row_bounds has documents, keyPadding=1 or both)
/// Fields that a kernel kind does not depend on are absent from its text and hold one fixed value in the struct
/// (`normalize`); of the schedule, row_limits and row_bounds depend on blockM (and warps) only and print the rest at
/// its default; row_bounds of a GPU has a schedule of its own.
struct KernelKey {
  kernels::KernelKind kind = kernels::KernelKind::Forward;
  uint16_t sm = 0; ///< 0: the CPU target. Else the SM that code is assembled for, or kPtxOnly
  CpuLevel level = CpuLevel::X86_64_v2; ///< of the CPU target; the lowest level otherwise
  ElementType dtype = ElementType::F32;
  attn::MaskKind mask = attn::MaskKind::None;
  uint16_t headDim = 0;  ///< 1..256
  uint16_t headDimV = 0; ///< 1..256
  bool evenM = false;    ///< seqlen_q is a multiple of schedule.blockM
  bool evenN = false;    ///< seqlen_k is a multiple of schedule.blockN; false for every mask but none, and with a
                         ///< window, row bounds or lengths of entries' own, where the mask's own limit already ends
                         ///< the last block and the code is the same
  bool evenD = false;    ///< both head dims are multiples of the target's vector lanes, or of 16 on a GPU
                         ///< (follows from them)
  attn::ScoreOperand bias = attn::ScoreOperand::None;     ///< no bool kind; of float32 q, no _f32 kind either
  attn::ScoreOperand attnMask = attn::ScoreOperand::None; ///< of float32 q, no _f32 kind
  /// What every row of bias and attn_mask is aligned to, as in `align`; of one that is not there a2. Of bools the
  /// element's size, or strided.
  attn::AlignClass biasAlign = attn::AlignClass::Bytes2, attnMaskAlign = attn::AlignClass::Bytes2;
  bool alibi = false;
  bool softcap = false;
  bool windowLeft = false; ///< a window with a left edge; a right one is the causal mask, further on
  bool rowBounds = false;  ///< forward: documents or key padding, as a table of intervals
  bool documents = false;  ///< row_bounds only
  bool keyPadding = false;
  attn::AlignClass keyPaddingAlign = attn::AlignClass::Bytes2; ///< forward: a2, or strided
  bool varlen = false;     ///< cu_seqlens
  bool seqUsedK = false;
  bool dropout = false;
  bool probs = false;
  std::array<attn::AlignClass, 4> align{}; ///< q, k, v, out. On a CPU: the element's size, or strided.
                                             ///< On a GPU what every row is aligned to: 2, 4, 8 or 16, or strided
  kernels::Schedule schedule; ///< of a GPU exactly if sm is not 0. Of row_limits and row_bounds only blockM, and
                              ///< warps, count: the rest is what a default Schedule has

  bool operator==(const KernelKey &) const = default;
  kernels::ForwardFeatures features() const {
    return {mask, bias, attnMask, alibi, softcap, windowLeft, rowBounds, documents, keyPadding, varlen, seqUsedK,
            dropout, probs};
  }

  /// The instruction family of a GPU key: sm_90a with a schedule that has groups, else sm_80.
  bool isSm90a() const { return schedule.groups != 0; }

  void setFeatures(const kernels::ForwardFeatures &features);

  /// Clears what the kernel kind or the target does not depend on. Every key is made through this.
  void normalize();
  size_t hash() const;
};

/// Null if the family sm_90a has a kernel for this (its schedule aside), else what stands in the way, as a clause about
/// the family. It asks for what TMA and wgmma need; a plan also looks at strides and lengths.
const char *whyNotSm90a(const KernelKey &key);

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
