// SPDX-License-Identifier: Apache-2.0
//
// Schedules: text form, and the table in the library against its file.
#include "TestSupport.h"
#include "tilewright/kernels/Schedule.h"

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <tuple>

using namespace tilewright;
using namespace tilewright::kernels;

TEST(Schedule, TextRoundTripsOverTheWholeRange) {
  for (Orientation orientation : {Orientation::QueriesByKeys, Orientation::KeysByQueries}) {
    for (int blockM : {16, 48, 512}) {
      for (int blockN : {16, 96, 512}) {
        for (int rows = 1; rows <= 16; ++rows) {
          for (int vectors = 1; vectors <= 8; ++vectors) {
            Schedule schedule{orientation, static_cast<uint16_t>(blockM), static_cast<uint16_t>(blockN),
                              static_cast<uint8_t>(rows), static_cast<uint8_t>(vectors)};
            ASSERT_EQ(parseSchedule(toText(schedule)), schedule) << toText(schedule);
          }
        }
      }
    }
  }
  EXPECT_EQ(toText(Schedule{}), "kq:64x64:8x2");
  for (int warps = 1; warps <= 16; ++warps) {
    Schedule schedule{Orientation::QueriesByKeys, static_cast<uint16_t>(32 * warps), 80, 0, 0,
                      static_cast<uint8_t>(warps)};
    ASSERT_EQ(parseSchedule(toText(schedule)), schedule) << toText(schedule);
  }
  EXPECT_EQ(toText(*parseSchedule("qk:128x64:w4")), "qk:128x64:w4");
  EXPECT_EQ(parseSchedule("qk:128x64:w4")->stages, 1);
  for (const char *text : {"qk:128x64:w4:s2", "qk:128x64:w4:s3", "qk:128x64:w4:s4", "qk:128x64:w4:s2:b2",
                           "qk:64x64:w4:c2", "qk:64x64:w4:s2:c8", "qk:128x64:w8:s2:b2:c3"}) {
    EXPECT_EQ(toText(*parseSchedule(text)), text);
  }
}

TEST(Schedule, MalformedAndOutOfRangeTextsAreRefused) {
  for (const char *text :
       {"", "kq", "kq:", "64x64:8x2", "kk:64x64:8x2", "kq:64x64", "kq:64x64:8", "kq:64x64:8x", "kq:64x64:8x2 ",
        " kq:64x64:8x2", "kq:64x64:8x2:1", "kq:0x64:8x2", "kq:8x64:8x2", "kq:65x64:8x2", "kq:528x64:8x2",
        "kq:64x0:8x2", "kq:64x24:8x2", "kq:64x1024:8x2", "kq:64x64:0x2", "kq:64x64:17x2", "kq:64x64:8x0",
        "kq:64x64:8x9", "kq:-64x64:8x2", "kq:064x64:8x2", "kq:64x64:+8x2", "kq:64X64:8x2",
        "kq:99999999999x64:8x2", "kq:128x64:w4", "qk:128x64:w", "qk:128x64:w0", "qk:528x64:w17", "qk:128x64:w3",
        "qk:64x64:w8", "qk:128x64:w4 ", "qk:128x64:w4x2", "qk:128x64:8x2w4", "qk:128x60:w4", "qk:128x64:w4:s1",
        "qk:128x64:w4:s5", "qk:128x64:w4:s", "qk:128x64:w4:s2 ", "kq:64x64:8x2:s2",
        "qk:128x64:w4:b2", "qk:128x64:w4:s2:b1", "qk:128x64:w4:s2:b3", "qk:128x64:w4:b2:s2", "qk:128x128:g2:s2:b2",
        "qk:64x64:w4:c1", "qk:64x64:w4:c9", "qk:256x64:w16:c5", "qk:64x64:w4:c3:s2", "qk:128x128:g2:c2"}) {
    EXPECT_FALSE(parseSchedule(text).has_value()) << text;
  }
}

TEST(Schedule, TableServesEveryLevelHeadDimAndLength) {
  constexpr int64_t longest = std::numeric_limits<int32_t>::max();
  for (const CpuLevelInfo &info : kCpuLevels) {
    for (unsigned headDim = 1; headDim <= 256; ++headDim) {
      for (int64_t seqlenQ : {int64_t{0}, int64_t{1}, int64_t{16}, int64_t{17}, longest}) {
        const Schedule schedule = chooseSchedule(info.level, headDim, 257 - headDim, seqlenQ);
        ASSERT_EQ(parseSchedule(toText(schedule)), schedule);
        // The register tile of a product leaves registers for one operand's row and the other's broadcast.
        ASSERT_LE(schedule.microRows * schedule.microVectors + schedule.microVectors + 1u, info.registers)
            << info.name << " " << toText(schedule);
        if (seqlenQ <= 16) {
          ASSERT_EQ(schedule.blockM, 16) << "a short query should not be padded to a long block";
        }
      }
    }
  }
}

TEST(Schedule, FirstMatchingRowWinsAndBothHeadDimsCount) {
  std::ifstream file(TILEWRIGHT_SCHEDULE_TABLE);
  const nlohmann::json table = nlohmann::json::parse(file);
  ASSERT_EQ(table["target"], "cpu");
  ASSERT_FALSE(table["rows"].empty());
  int64_t probes = 0;
  for (const CpuLevelInfo &info : kCpuLevels) {
    for (unsigned headDim : {1u, 64u, 128u, 129u, 256u}) {
      for (unsigned headDimV : {1u, 128u, 129u, 256u}) {
        for (int64_t seqlenQ : {int64_t{0}, int64_t{16}, int64_t{17}, int64_t{100000}}) {
          const unsigned widest = std::max(headDim, headDimV);
          for (const nlohmann::json &row : table["rows"]) {
            if (row["level"] == info.name && widest <= row.value("maxHeadDim", 256u) &&
                seqlenQ <= row.value("maxSeqlenQ", int64_t{1} << 40)) {
              EXPECT_EQ(toText(chooseSchedule(info.level, headDim, headDimV, seqlenQ)), row["schedule"]);
              ++probes;
              break;
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(probes, 3 * 5 * 4 * 4);
}

TEST(Schedule, GpuTableServesEveryHeadDim) {
  for (unsigned sm : {80u, 90u, 120u, 0xffffu}) {
    for (unsigned headDim = 1; headDim <= 256; ++headDim) {
      for (bool masked : {false, true}) {
        const Schedule schedule = chooseGpuSchedule(
            sm, {.headDim = headDim, .headDimV = 257 - headDim, .masked = masked, .rowKeys = 4096});
        ASSERT_EQ(parseSchedule(toText(schedule)), schedule);
        ASSERT_GT(schedule.warps, 0);
      }
    }
  }
}

TEST(Schedule, GpuSchedulesFitEveryGpusSharedMemory) {
  // One GPU of each size, and PTX for one that is not known.
  for (auto [sm, limit] : {std::pair{86u, 99 * 1024}, {80u, 163 * 1024}, {90u, 227 * 1024}, {0xffffu, 99 * 1024}}) {
    ASSERT_EQ(gpuSharedLimit(sm), limit);
    for (unsigned headDim = 1; headDim <= 256; ++headDim) {
      for (unsigned headDimV : {1u, 16u, 17u, 64u, 96u, 128u, 192u, 255u, 256u, headDim}) {
        // Scores' entries in shared memory: none, 16-bit floats, float32, two of it.
        for (auto [masked, matrix, bytes] :
             {std::tuple{false, false, 0u}, {true, false, 0u}, {false, true, 0u}, {true, true, 2u}, {true, true, 4u},
              {false, true, 8u}}) {
          const Schedule schedule = chooseGpuSchedule(sm, {.headDim = headDim,
                                                                .headDimV = headDimV,
                                                                .masked = masked,
                                                                .matrix = matrix,
                                                                .scoreBytes = bytes,
                                                                .rowKeys = 4096});
          ASSERT_LE(forwardSharedBytes(schedule, headDim, headDimV, bytes), limit)
              << "sm_" << sm << " " << headDim << " " << headDimV << " " << toText(schedule);
          // ptxas keeps a block's registers below the limit if a thread may have any at all; with fewer it spills.
          ASSERT_GE(kGpuRegistersPerBlock / (32 * schedule.warps), 128) << toText(schedule);
        }
      }
    }
  }
}

TEST(Schedule, SharedBytesCountWholeMatricesAndStages) {
  // 128 rows of q and 64 of k, 64 columns of 2 bytes; v has 40 columns, held as 48.
  EXPECT_EQ(forwardSharedBytes(*parseSchedule("qk:128x64:w4"), 64, 40), (128 + 64) * 128 + 64 * 96);
  EXPECT_EQ(forwardSharedBytes(*parseSchedule("qk:64x64:w4"), 256, 256), 96 * 1024);
  EXPECT_EQ(forwardSharedBytes(*parseSchedule("qk:128x64:w4:s2"), 128, 72), 128 * 256 + 2 * 64 * (256 + 160));
  // A bias of bfloat16 and a mask of float32: 6 bytes a score.
  EXPECT_EQ(forwardSharedBytes(*parseSchedule("qk:128x48:w4:s2"), 64, 64, 6),
            128 * 128 + 2 * (48 * 256 + 128 * 48 * 6));
}

TEST(Schedule, KnownGpusAreSorted) {
  EXPECT_TRUE(std::is_sorted(kGpuTargets.begin(), kGpuTargets.end(),
                             [](const GpuTarget &a, const GpuTarget &b) { return a.sm < b.sm; }))
      << "smOf takes the last that fits";
  EXPECT_EQ(findGpuTarget(81), nullptr);
  EXPECT_EQ(findGpuTarget(90)->sharedBytes, gpuMostShared());
}

TEST(Schedule, GpuTableIsReadFromTheTop) {
  std::ifstream file(TILEWRIGHT_GPU_SCHEDULE_TABLE);
  const nlohmann::json table = nlohmann::json::parse(file);
  ASSERT_EQ(table["target"], "gpu");
  int probes = 0;
  for (auto [sm, kib] : {std::pair{86u, 99}, {80u, 163}, {90u, 227}}) {
    for (unsigned headDim : {1u, 64u, 65u, 96u, 128u, 129u, 256u}) {
      for (unsigned headDimV : {1u, 64u, 128u, 256u}) {
        for (const auto &asked : std::initializer_list<GpuCall>{{},
                                                                {.rowKeys = 1024},
                                                                {.plainScores = true, .rowKeys = 1024},
                                                                {.masked = true},
                                                                {.masked = true, .longRows = true},
                                                                {.masked = true, .longRows = true, .rowKeys = 1023},
                                                                {.masked = true, .longRows = true, .rowKeys = 1024},
                                                                {.longRows = true, .rowKeys = 5000},
                                                                {.masked = true, .documents = true, .causal = true},
                                                                {.masked = true, .documents = true, .rowKeys = 4095},
                                                                {.masked = true, .documents = true, .rowKeys = 4096},
                                                                {.masked = true, .plainScores = true, .rowKeys = 1024},
                                                                {.masked = true, .plainScores = true, .rowKeys = 16384},
                                                                {.matrix = true},
                                                                {.masked = true, .matrix = true},
                                                                {.matrix = true, .scoreBytes = 4}}) {
          GpuCall call = asked;
          call.headDim = headDim;
          call.headDimV = headDimV;
          for (const nlohmann::json &row : table["rows"]) {
            const Schedule schedule = parseSchedule(row["schedule"].get<std::string>()).value();
            if (row.value("sm", sm) == sm && std::max(headDim, headDimV) <= row.value("maxHeadDim", 256u) &&
                row.value("masked", call.masked) == call.masked && row.value("matrix", call.matrix) == call.matrix &&
                row.value("copied", call.scoreBytes != 0) == (call.scoreBytes != 0) &&
                kib <= row.value("maxSharedKiB", 227) && row.value("longRows", call.longRows) == call.longRows &&
                row.value("documents", call.documents) == call.documents &&
                row.value("causal", call.causal) == call.causal &&
                row.value("plainScores", call.plainScores) == call.plainScores &&
                call.rowKeys >= row.value("minRowKeys", int64_t{0}) &&
                forwardSharedBytes(schedule, headDim, headDimV, call.scoreBytes) <= kib * 1024) {
              const TableRow *chosen = nullptr;
              EXPECT_EQ(toText(chooseGpuSchedule(sm, call, &chosen)),
                        row["schedule"]);
              ASSERT_NE(chosen, nullptr);
              EXPECT_STREQ(chosen->table, "gpu.json");
              EXPECT_EQ(chosen->measured, row["measured"]);
              ++probes;
              break;
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(probes, 3 * 7 * 4 * 16);
}
