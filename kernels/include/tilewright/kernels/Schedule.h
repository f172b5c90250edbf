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

  /// Of the sm_90a family: consumer warpgroups, 2 or 3, of 64 rows each; then warps is 4 * groups, blockM 64 * groups
  /// and blockN at most 256. 0 everywhere else.
  uint8_t groups = 0;
  /// Of that family: buffers for queries of blocks that run one program after the other, 1 or 2; 0: each block runs
  /// one.
  uint8_t persistent = 0;
  bool turns = false; ///< of that family: warpgroups take turns to start products
  /// Of that family: each thread computes the softmax of its first row, then that of its second.
  bool rowByRow = false;
  bool splitLoops = false; ///< of that family: loops of their own for full and for partial key blocks
  bool bulkStores = false; ///< of that family: outputs leave through the queries' shared memory, by TMA

  /// Of the sm_80 family: copies of a step's code, 1 or 2; with 2, which takes more than one stage, key blocks that a
  /// mask cuts have a step of their own. 1 everywhere else.
  uint8_t bodies = 1;
  /// Of the sm_80 family: blocks that an SM's registers are to suffice for, 1 to 8, of at most 64 warps. 1 everywhere
  /// else.
  uint8_t perSm = 1;

  bool operator==(const Schedule &) const = default;
  /// Threads of a GPU's block, a producer warpgroup included.
  unsigned threads() const { return static_cast<unsigned>(gpuBlockThreads(warps, groups != 0)); }
};

/// "kq:64x64:8x2": orientation (kq, qk), blockM x blockN, microRows x microVectors; a GPU's: "qk:128x64:w4", with
/// more than one stage "qk:128x64:w4:s2", with two bodies besides "qk:128x64:w4:s2:b2", with registers for four blocks
/// an SM "qk:64x64:w4:s2:c4"; one of the sm_90a family has groups for warps, p with a number where blocks are
/// persistent, t where groups take turns, r where threads go row by row, f where full blocks have a loop of their own,
/// and o where outputs leave by TMA: "qk:192x128:g3:s2:p2:t:f", "qk:128x128:g2:s2:p2:r", "qk:128x128:g2:s2:p2:o".
std::string toText(const Schedule &schedule);
/// Nothing if the text is malformed or a field is out of its range.
std::optional<Schedule> parseSchedule(std::string_view text);

/// What parseSchedule accepts.
inline constexpr std::string_view kScheduleForm =
    "kq|qk:blockM x blockN:microRows x microVectors on a CPU as in kq:64x64:8x2, or qk:blockM x blockN:w and warps on "
    "a GPU as in qk:128x64:w4, or with stages as in qk:128x64:w4:s2, with two bodies as in qk:128x64:w4:s2:b2, and "
    "with registers for 2 to 8 blocks an SM, of at most 64 warps, as in qk:64x64:w4:s2:c4, with blocks a multiple of "
    "16 in [16, 512], microRows in [1, 16], microVectors in [1, 8], warps in [1, 16], blockM a multiple of 16 * warps "
    "and stages in [2, 4]; for target sm_90a with g and 2 or 3 warpgroups as in qk:128x128:g2:s2, blockM 64 a group "
    "and blockN at most 256, then :p and 1 or 2 buffers for queries where blocks run many programs, :t where groups "
    "take turns to start products, :r where threads compute one row's softmax after the other's, :f where full blocks "
    "have a loop of their own, and :o where outputs leave by TMA, as in qk:192x128:g3:s2:p2:t:f and "
    "qk:128x128:g2:s2:p2:r:o";

/// Which row of a schedule table was chosen. Lives as long as the process.
struct TableRow {
  const char *table;    ///< "cpu.json", "gpu.json" or "sm_90a.json"
  std::string measured; ///< what was compared for it; empty if nothing was
};

/// The row of the schedule table for a forward problem; the first row that matches wins, and `*row` is set to it.
/// The choice may look at lengths: the result is part of the key, the lengths are not.
Schedule chooseSchedule(CpuLevel level, unsigned headDim, unsigned headDimV, int64_t seqlenQ,
                        const TableRow **row = nullptr);

/// Bytes of shared memory that a block of the forward kernel has on a GPU: a block of q, rings of k and of v, and rings
/// of blocks of those biases and masks that are copied, `scoreBytes` a score (the sum of sharedScoreBytes).
/// Known before any code is made, and equal to what the compiler reports for it.
int64_t forwardSharedBytes(const Schedule &schedule, unsigned headDim, unsigned headDimV, unsigned scoreBytes = 0);

/// What the GPU table is asked about a forward problem.
struct GpuCall {
  unsigned headDim = 0, headDimV = 0;
  bool masked = false;     ///< a mask hides keys, or dropout, a softcap or probabilities; padding alone is no mask here
  bool matrix = false;     ///< a bias or mask with a row a query joins the scores
  unsigned scoreBytes = 0; ///< as of forwardSharedBytes
  bool plainScores = false; ///< but for masks of keys, nothing is added to scores or made of them
  /// Scores are plain, a mask or padding hides keys, and rows may see all keys up to some end, but for padding: no
  /// window, no documents, no sequences of different lengths.
  bool longRows = false;
  bool documents = false; ///< scores are plain, and documents hide keys, with a causal or GLM mask or without
  bool causal = false;    ///< a causal or GLM mask hides keys
  int64_t rowKeys = 0;    ///< that a row may see: those of the longest sequence, or of a window
};

/// Reads the tables, unless it has been done; else the first choice from each does. No choice is in the middle of that
/// when it returns.
void readScheduleTables();

/// The same from the GPU table, for the SM (80, 86, 90..., or kPtxOnlySm) that the kernel is assembled for. Rows whose
/// blocks do not fit in that SM's shared memory do not match.
Schedule chooseGpuSchedule(unsigned sm, const GpuCall &call, const TableRow **row = nullptr);

/// A schedule of the sm_90a family, from the table sm_90a.json; nothing where it has none for these head dims, which is
/// where the other family is as fast.
std::optional<Schedule> chooseSm90aSchedule(unsigned headDim, unsigned headDimV, bool masked, int64_t seqlenQ,
                                            const TableRow **row = nullptr);

} // namespace tilewright::kernels

#endif // TILEWRIGHT_KERNELS_SCHEDULE_H
