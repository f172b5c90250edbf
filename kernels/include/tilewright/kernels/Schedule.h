// SPDX-License-Identifier: Apache-2.0
//
// A schedule says how a tile program runs on a target: block sizes, orientation of the score tile, register tile of the
// products. It is data: rows of kernels/schedules/*.json, embedded in the library, chosen by `chooseSchedule`.
#ifndef TILEWRIGHT_KERNELS_SCHEDULE_H
#define TILEWRIGHT_KERNELS_SCHEDULE_H

#include "tilewright/Target/CpuLevel.h"
#include "tilewright/Target/GpuTarget.h"
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tilewright::kernels {

/// What the rows of a score tile are. KeysByQueries is S^T: row statistics lie along vector lanes.
enum class Orientation : uint8_t { QueriesByKeys = 0, KeysByQueries = 1 };

struct Schedule {
  Orientation orientation = Orientation::KeysByQueries;
  uint16_t blockM = 64; ///< query rows of a program: a multiple of 16, 16..512
  uint16_t blockN = 64; ///< keys of a block: a multiple of 16, 16..512
  uint8_t microRows = 8;    ///< rows of a product's register tile: 1..16
  uint8_t microVectors = 2; ///< native vectors of a product's register tile: 1..8
  uint8_t warps = 0;        ///< of a GPU block: 1..16, blockM a multiple of 16 * warps; 0 on a CPU. With warps the
                            ///< orientation is QueriesByKeys and the register tile 0 x 0
  uint8_t stages = 1;       ///< of a GPU: buffers in the ring of key and value blocks, 1..4; 1 on a CPU

  bool operator==(const Schedule &) const = default;
};

/// "kq:64x64:8x2": orientation (kq, qk), blockM x blockN, microRows x microVectors; a GPU's: "qk:128x64:w4", with
/// more than one stage "qk:128x64:w4:s2".
std::string toText(const Schedule &schedule);
/// Nothing if the text is malformed or a field is out of its range.
std::optional<Schedule> parseSchedule(std::string_view text);

/// What parseSchedule accepts.
inline constexpr std::string_view kScheduleForm =
    "kq|qk:blockM x blockN:microRows x microVectors on a CPU as in kq:64x64:8x2, or qk:blockM x blockN:w and warps on "
    "a GPU as in qk:128x64:w4, or with stages as in qk:128x64:w4:s2, with blocks a multiple of 16 in [16, 512], "
    "microRows in [1, 16], microVectors in [1, 8], warps in [1, 16], blockM a multiple of 16 * warps and stages in "
    "[2, 4]";

/// The row of the schedule table for a forward problem; the first row that matches wins.
/// The choice may look at lengths: the result is part of the key, the lengths are not.
Schedule chooseSchedule(CpuLevel level, unsigned headDim, unsigned headDimV, int64_t seqlenQ);

/// Bytes of shared memory that a block of the forward kernel has on a GPU: a block of q, rings of k and of v, and rings
/// of blocks of those biases and masks that are copied, `scoreBytes` a score (the sum of sharedScoreBytes).
/// Known before any code is made, and equal to what the compiler reports for it.
int64_t forwardSharedBytes(const Schedule &schedule, unsigned headDim, unsigned headDimV, unsigned scoreBytes = 0);

/// The same from the GPU table, for the SM (80, 86, 90..., or kPtxOnlySm) that the kernel is assembled for. Rows whose
/// blocks do not fit in that SM's shared memory do not match.
/// `matrix`: a bias or mask with a row a query joins the scores; `scoreBytes` as above.
Schedule chooseGpuSchedule(unsigned sm, unsigned headDim, unsigned headDimV, bool masked, bool matrix = false,
                           unsigned scoreBytes = 0);

} // namespace tilewright::kernels

#endif // TILEWRIGHT_KERNELS_SCHEDULE_H
