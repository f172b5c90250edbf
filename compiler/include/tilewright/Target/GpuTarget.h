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

} // namespace tilewright

#endif // TILEWRIGHT_TARGET_GPUTARGET_H
