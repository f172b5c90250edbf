// SPDX-License-Identifier: Apache-2.0
//
// A schedule says how a tile program runs on a target: block sizes, orientation of the score tile, register tile of the
// products. It is data: rows of kernels/schedules/*.json, embedded in the library, chosen by `chooseSchedule`.
#ifndef TILEWRIGHT_KERNELS_SCHEDULE_H
#define TILEWRIGHT_KERNELS_SCHEDULE_H

#include "tilewright/Target/CpuLevel.h"
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

  bool operator==(const Schedule &) const = default;
};

/// "kq:64x64:8x2": orientation (kq, qk), blockM x blockN, microRows x microVectors.
std::string toText(const Schedule &schedule);
/// Nothing if the text is malformed or a field is out of its range.
std::optional<Schedule> parseSchedule(std::string_view text);

/// The row of the schedule table for a forward problem; the first row that matches wins.
/// The choice may look at lengths: the result is part of the key, the lengths are not.
Schedule chooseSchedule(CpuLevel level, unsigned headDim, unsigned headDimV, int64_t seqlenQ);

} // namespace tilewright::kernels

#endif // TILEWRIGHT_KERNELS_SCHEDULE_H
