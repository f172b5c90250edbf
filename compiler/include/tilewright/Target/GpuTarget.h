// SPDX-License-Identifier: Apache-2.0
//
// The known GPUs: what a block may use on each, and how tiles lie in shared memory. Verifiers, schedules, the
// dispatcher and the conversion all read it here, so that what a schedule needs is known before any code is made.
#ifndef TILEWRIGHT_TARGET_GPUTARGET_H
#define TILEWRIGHT_TARGET_GPUTARGET_H

#include <algorithm>
#include <array>
#include <cstdint>

namespace tilewright {

/// An SM that machine code is made for.
struct GpuTarget {
  uint16_t sm;          ///< compute capability, major * 10 + minor
  int64_t sharedBytes;  ///< the most shared memory of a block, static and dynamic (the opt-in limit)
};

/// In ascending order. Registers need no column: all of these have 65,536 a block and 255 a thread.
inline constexpr std::array<GpuTarget, 7> kGpuTargets = {{
    {80, 163 * 1024},
    {86, 99 * 1024},
    {87, 163 * 1024},
    {89, 99 * 1024},
    {90, 227 * 1024},
    {100, 227 * 1024},
    {120, 99 * 1024},
}};

/// In place of an SM: no machine code, but PTX of the sm_80 family, which the driver of any later GPU assembles.
inline constexpr uint16_t kPtxOnlySm = 0xffff;

inline constexpr int64_t kGpuRegistersPerBlock = 65536;
inline constexpr int64_t kGpuRegistersPerThread = 255;
inline constexpr int64_t kGpuWarpsPerSm = 64; ///< at most; some GPUs have 48, where fewer blocks fit then

/// Null for an SM that is not in the table, kPtxOnlySm among them.
constexpr const GpuTarget *findGpuTarget(unsigned sm) {
  for (const GpuTarget &target : kGpuTargets) {
    if (target.sm == sm) {
      return &target;
    }
  }
  return nullptr;
}

/// The most shared memory that a block of any GPU has.
constexpr int64_t gpuMostShared() {
  int64_t most = 0;
  for (const GpuTarget &target : kGpuTargets) {
    most = std::max(most, target.sharedBytes);
  }
  return most;
}

/// The most shared memory of a block on `sm`; for kPtxOnlySm, where the GPU is not known, the least of all known ones.
constexpr int64_t gpuSharedLimit(unsigned sm) {
  if (const GpuTarget *target = findGpuTarget(sm)) {
    return target->sharedBytes;
  }
  int64_t least = kGpuTargets[0].sharedBytes;
  for (const GpuTarget &target : kGpuTargets) {
    least = std::min(least, target.sharedBytes);
  }
  return least;
}

/// Columns of a tile in shared memory: what matrix instructions, 16 columns deep, may touch.
constexpr int64_t gpuSharedColumns(int64_t cols) { return (cols + 15) / 16 * 16; }

/// Bytes from row to row of such a tile: nothing is padded, rows are swizzled (TileToNVVM/Lowering.h).
constexpr int64_t gpuSharedPitch(int64_t cols, int64_t elementBytes = 2) {
  return gpuSharedColumns(cols) * elementBytes;
}

/// Columns of 16-bit elements that one TMA copy of the sm_90a family takes of each row: 128 bytes, its widest swizzle.
inline constexpr int64_t kTmaBoxColumns = 64;

/// Rows that one TMA copy to a tensor takes: a warp's.
inline constexpr int64_t kTmaStoreRows = 16;

/// Bytes that a row takes in shared memory in that family: whole boxes, the last one filled up with zeros.
constexpr int64_t gpuBoxedPitch(int64_t cols) {
  return (cols + kTmaBoxColumns - 1) / kTmaBoxColumns * kTmaBoxColumns * 2;
}

/// Bytes of a ring's barriers: one that says full and one that says empty for each buffer.
constexpr int64_t gpuRingBarrierBytes(int64_t stages) { return 16 * stages; }

/// Announcements of programs by a producer that its consumers may not have read yet, and the bytes that they take: a
/// ring of numbers, its barriers ahead of it.
inline constexpr int64_t kGpuProgramRingStages = 2;
inline constexpr int64_t kGpuProgramRingBytes = gpuRingBarrierBytes(kGpuProgramRingStages) + 4 * kGpuProgramRingStages;

/// Threads of a block: `warps` share tiles, and where they have roles (the sm_90a family) a warpgroup more produces.
constexpr int64_t gpuBlockThreads(int64_t warps, bool roles) { return 32 * warps + (roles ? 128 : 0); }

} // namespace tilewright

#endif // TILEWRIGHT_TARGET_GPUTARGET_H
