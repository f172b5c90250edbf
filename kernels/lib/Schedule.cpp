// SPDX-License-Identifier: Apache-2.0
//
// Schedules as text, and the choice of one from the embedded table.
#include "tilewright/kernels/Schedule.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <vector>

#include "GpuScheduleTable.inc"
#include "Sm90aScheduleTable.inc"
#include "ScheduleTables.inc"

using namespace tilewright;
using namespace tilewright::kernels;

namespace {

/// Takes a decimal number without sign or leading zeros off the front of `text`.
bool takeNumber(std::string_view &text, unsigned min, unsigned max, unsigned &value) {
  if (text.empty() || text.front() == '0') {
    return false;
  }
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < min || value > max) {
    return false;
  }
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

bool take(std::string_view &text, std::string_view expected) {
  if (!text.starts_with(expected)) {
    return false;
  }
  text.remove_prefix(expected.size());
  return true;
}

struct Row {
  CpuLevel level;
  unsigned maxHeadDim;
  int64_t maxSeqlenQ;
  Schedule schedule;
  TableRow origin;
};

struct GpuRow {
  std::optional<unsigned> sm; ///< none: every SM
  unsigned maxHeadDim;
  std::optional<bool> masked; ///< none: masked or not
  std::optional<bool> matrix; ///< none: with a matrix that joins the scores or without
  std::optional<bool> copied; ///< none: whether a matrix that joins the scores is copied to shared memory or not
  std::optional<bool> plainScores; ///< none: whether anything but masks changes scores or not
  std::optional<bool> longRows; ///< none: whether masks alone hide keys of long rows or not
  std::optional<bool> documents; ///< none: whether those, and at most a causal mask, hide keys or not
  std::optional<bool> causal; ///< none: with a causal or GLM mask or without
  int64_t minRowKeys;
  int64_t maxShared; ///< the SM's limit, in bytes
  Schedule schedule;
  TableRow origin;
};

struct Sm90aRow {
  unsigned maxHeadDim;
  int64_t maxSeqlenQ;
  std::optional<bool> masked;   ///< none: masked or not
  std::optional<bool> oddUnits; ///< none: either
  Schedule schedule;
  TableRow origin;
};

/// The tables are part of the library and covered by tests: a fault in one is a fault of the build.
[[noreturn]] void badTable(const char *what) {
  std::fprintf(stderr, "tilewright: kernels/schedules: %s\n", what);
  std::abort();
}

int64_t bound(const nlohmann::json &row, const char *name) {
  auto it = row.find(name);
  if (it == row.end()) {
    return std::numeric_limits<int64_t>::max();
  }
  if (!it->is_number_integer()) {
    badTable("a bound is not an integer");
  }
  return it->get<int64_t>();
}

unsigned headDimBound(const nlohmann::json &row) {
  return static_cast<unsigned>(std::min<int64_t>(bound(row, "maxHeadDim"), std::numeric_limits<unsigned>::max()));
}

std::string_view text(const nlohmann::json &row, const char *name) {
  auto it = row.find(name);
  if (it == row.end() || !it->is_string()) {
    badTable("a row lacks one of the texts level (cpu.json), schedule, measured");
  }
  return *it->get_ptr<const std::string *>();
}

/// No other fields are in a row: one that nobody looks at would be taken for a condition.
void checkFields(const nlohmann::json &row, std::initializer_list<std::string_view> known) {
  for (const auto &item : row.items()) {
    if (std::find(known.begin(), known.end(), item.key()) == known.end()) {
      badTable("a row has a field that its table does not know");
    }
  }
}

TableRow originOf(const nlohmann::json &row, const char *table) { return {table, std::string(text(row, "measured"))}; }

/// The row's schedule, which is one of a GPU or one of a CPU.
Schedule scheduleOf(const nlohmann::json &row, bool gpu) {
  std::optional<Schedule> schedule = parseSchedule(text(row, "schedule"));
  if (!schedule || (schedule->warps != 0) != gpu) {
    badTable("a row has a bad schedule");
  }
  return *schedule;
}

template <typename Row, typename ParseRow> std::vector<Row> parseTable(const char *json, ParseRow &&parseRow) {
  nlohmann::json table = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!table.is_object()) {
    badTable("a table is not a JSON object");
  }
  auto found = table.find("rows");
  if (found == table.end() || !found->is_array()) {
    badTable("a table has no array 'rows'");
  }
  std::vector<Row> rows;
  for (const nlohmann::json &entry : *found) {
    if (!entry.is_object()) {
      badTable("a row is not an object");
    }
    rows.push_back(parseRow(entry));
  }
  return rows;
}

Row parseCpuRow(const nlohmann::json &entry) {
  checkFields(entry, {"level", "maxHeadDim", "maxSeqlenQ", "schedule", "measured"});
  std::optional<CpuLevel> level = parseCpuLevel(text(entry, "level"));
  if (!level) {
    badTable("a row has a bad level");
  }
  return {*level, headDimBound(entry), bound(entry, "maxSeqlenQ"), scheduleOf(entry, /*gpu=*/false),
          originOf(entry, "cpu.json")};
}

std::optional<bool> flag(const nlohmann::json &row, const char *name) {
  auto found = row.find(name);
  if (found == row.end()) {
    return std::nullopt;
  }
  if (!found->is_boolean()) {
    badTable("masked, matrix, copied, plainScores, longRows, documents, causal or oddUnits is neither true nor false");
  }
  return found->get<bool>();
}

GpuRow parseGpuRow(const nlohmann::json &entry) {
  checkFields(entry, {"sm", "maxSharedKiB", "maxHeadDim", "minRowKeys", "masked", "matrix", "copied", "plainScores",
                      "longRows", "documents", "causal", "schedule", "measured"});
  GpuRow row{};
  row.maxHeadDim = headDimBound(entry);
  row.schedule = scheduleOf(entry, /*gpu=*/true);
  row.origin = originOf(entry, "gpu.json");
  row.maxShared = entry.contains("maxSharedKiB") ? bound(entry, "maxSharedKiB") * 1024 : gpuMostShared();
  row.minRowKeys = entry.contains("minRowKeys") ? bound(entry, "minRowKeys") : 0;
  if (entry.contains("sm")) {
    row.sm = static_cast<unsigned>(bound(entry, "sm"));
  }
  row.masked = flag(entry, "masked");
  row.matrix = flag(entry, "matrix");
  row.copied = flag(entry, "copied");
  row.plainScores = flag(entry, "plainScores");
  row.longRows = flag(entry, "longRows");
  row.documents = flag(entry, "documents");
  row.causal = flag(entry, "causal");
  return row;
}

Sm90aRow parseSm90aRow(const nlohmann::json &entry) {
  checkFields(entry, {"maxHeadDim", "maxSeqlenQ", "masked", "oddUnits", "schedule", "measured"});
  const Schedule schedule = scheduleOf(entry, /*gpu=*/true);
  if (schedule.groups == 0) {
    badTable("a row of sm_90a.json has no groups");
  }
  return {headDimBound(entry), bound(entry, "maxSeqlenQ"), flag(entry, "masked"), flag(entry, "oddUnits"), schedule,
          originOf(entry, "sm_90a.json")};
}

// Never destroyed: a thread may still choose a schedule while the process exits.
const std::vector<Row> &cpuTable() {
  static const std::vector<Row> &rows = *new std::vector<Row>(parseTable<Row>(kCpuScheduleTable, parseCpuRow));
  return rows;
}

const std::vector<GpuRow> &gpuTable() {
  static const std::vector<GpuRow> &rows = *new std::vector<GpuRow>(parseTable<GpuRow>(kGpuScheduleTable, parseGpuRow));
  return rows;
}

const std::vector<Sm90aRow> &sm90aTable() {
  static const std::vector<Sm90aRow> &rows =
      *new std::vector<Sm90aRow>(parseTable<Sm90aRow>(kSm90aScheduleTable, parseSm90aRow));
  return rows;
}

} // namespace

std::string kernels::toText(const Schedule &schedule) {
  std::string text = schedule.orientation == Orientation::KeysByQueries ? "kq:" : "qk:";
  text += std::to_string(schedule.blockM) + "x" + std::to_string(schedule.blockN) + ":";
  if (schedule.warps != 0) {
    text += schedule.groups != 0 ? "g" + std::to_string(schedule.groups) : "w" + std::to_string(schedule.warps);
    text += schedule.stages == 1 ? "" : ":s" + std::to_string(schedule.stages);
    text += schedule.bodies == 1 ? "" : ":b" + std::to_string(schedule.bodies);
    text += schedule.perSm == 1 ? "" : ":c" + std::to_string(schedule.perSm);
    text += schedule.persistent == 0 ? "" : ":p" + std::to_string(schedule.persistent);
    text += schedule.turns ? ":t" : "";
    text += schedule.rowByRow ? ":r" : "";
    text += schedule.splitLoops ? ":f" : "";
    text += schedule.bulkStores ? ":o" : "";
    return text;
  }
  text += std::to_string(schedule.microRows) + "x" + std::to_string(schedule.microVectors);
  return text;
}

std::optional<Schedule> kernels::parseSchedule(std::string_view text) {
  Schedule schedule;
  if (take(text, "kq:")) {
    schedule.orientation = Orientation::KeysByQueries;
  } else if (take(text, "qk:")) {
    schedule.orientation = Orientation::QueriesByKeys;
  } else {
    return std::nullopt;
  }
  unsigned blockM, blockN, microRows = 0, microVectors = 0, warps = 0, stages = 1, groups = 0, persistent = 0;
  unsigned bodies = 1, perSm = 1;
  bool blocks = takeNumber(text, 16, 512, blockM) && take(text, "x") && takeNumber(text, 16, 512, blockN) &&
                take(text, ":") && blockM % 16 == 0 && blockN % 16 == 0;
  if (!blocks) {
    return std::nullopt;
  }
  bool wellFormed, turns = false, rowByRow = false, splitLoops = false, bulkStores = false;
  const bool roles = take(text, "g");
  if (roles || take(text, "w")) {
    if (roles) {
      wellFormed = takeNumber(text, 2, 3, groups) && blockM == 64 * groups && blockN <= 256;
      warps = 4 * groups;
    } else {
      // Each warp holds whole fragments of 16 rows.
      wellFormed = takeNumber(text, 1, 16, warps) && blockM % (16 * warps) == 0;
    }
    wellFormed = wellFormed && schedule.orientation == Orientation::QueriesByKeys;
    if (wellFormed && take(text, ":s")) {
      wellFormed = takeNumber(text, 2, 4, stages); // one has one spelling: none
      if (wellFormed && !roles && take(text, ":b")) {
        wellFormed = takeNumber(text, 2, 2, bodies);
      }
    }
    if (wellFormed && !roles && take(text, ":c")) {
      wellFormed = takeNumber(text, 2, 8, perSm) && perSm * warps <= kGpuWarpsPerSm;
    }
    if (wellFormed && roles && take(text, ":p")) {
      wellFormed = takeNumber(text, 1, 2, persistent);
    }
    turns = roles && take(text, ":t");
    rowByRow = roles && take(text, ":r");
    splitLoops = roles && take(text, ":f");
    bulkStores = roles && take(text, ":o");
  } else {
    wellFormed = takeNumber(text, 1, 16, microRows) && take(text, "x") && takeNumber(text, 1, 8, microVectors);
  }
  if (!wellFormed || !text.empty()) {
    return std::nullopt;
  }
  schedule.blockM = static_cast<uint16_t>(blockM);
  schedule.blockN = static_cast<uint16_t>(blockN);
  schedule.microRows = static_cast<uint8_t>(microRows);
  schedule.microVectors = static_cast<uint8_t>(microVectors);
  schedule.warps = static_cast<uint8_t>(warps);
  schedule.stages = static_cast<uint8_t>(stages);
  schedule.groups = static_cast<uint8_t>(groups);
  schedule.persistent = static_cast<uint8_t>(persistent);
  schedule.turns = turns;
  schedule.rowByRow = rowByRow;
  schedule.splitLoops = splitLoops;
  schedule.bulkStores = bulkStores;
  schedule.bodies = static_cast<uint8_t>(bodies);
  schedule.perSm = static_cast<uint8_t>(perSm);
  return schedule;
}

void kernels::readScheduleTables() {
  (void)cpuTable();
  (void)gpuTable();
  (void)sm90aTable();
}

/// Tells where a chosen schedule comes from, if anybody asks.
template <typename Row> static Schedule take(const Row &row, const TableRow **origin) {
  if (origin != nullptr) {
    *origin = &row.origin;
  }
  return row.schedule;
}

Schedule kernels::chooseSchedule(CpuLevel level, unsigned headDim, unsigned headDimV, int64_t seqlenQ,
                                 const TableRow **origin) {
  const unsigned widest = std::max(headDim, headDimV);
  for (const Row &row : cpuTable()) {
    if (row.level == level && widest <= row.maxHeadDim && seqlenQ <= row.maxSeqlenQ) {
      return take(row, origin);
    }
  }
  badTable("no row matches: the last row of a level must have no bound");
}

int64_t kernels::forwardSharedBytes(const Schedule &schedule, unsigned headDim, unsigned headDimV,
                                    unsigned scoreBytes) {
  if (schedule.groups != 0) {
    const int64_t row = gpuBoxedPitch(headDim), both = row + gpuBoxedPitch(headDimV);
    const int64_t queries = std::max<int64_t>(schedule.persistent, 1);
    return queries * schedule.blockM * row + schedule.stages * schedule.blockN * both + gpuRingBarrierBytes(queries) +
           2 * gpuRingBarrierBytes(schedule.stages) + (schedule.persistent != 0 ? kGpuProgramRingBytes : 0);
  }
  const int64_t keysAndValues = schedule.blockN * (gpuSharedPitch(headDim) + gpuSharedPitch(headDimV));
  const int64_t scores = schedule.blockM * gpuSharedPitch(schedule.blockN, scoreBytes);
  return schedule.blockM * gpuSharedPitch(headDim) + schedule.stages * (keysAndValues + scores);
}

/// Whether a row that may ask for `wanted` matches what is.
static bool matches(std::optional<bool> wanted, bool is) { return wanted.value_or(is) == is; }

Schedule kernels::chooseGpuSchedule(unsigned sm, const GpuCall &call, const TableRow **origin) {
  const unsigned widest = std::max(call.headDim, call.headDimV);
  const int64_t limit = gpuSharedLimit(sm);
  for (const GpuRow &row : gpuTable()) {
    if (row.sm.value_or(sm) == sm && widest <= row.maxHeadDim && call.rowKeys >= row.minRowKeys &&
        matches(row.masked, call.masked) && matches(row.matrix, call.matrix) &&
        matches(row.copied, call.scoreBytes != 0) && matches(row.plainScores, call.plainScores) &&
        matches(row.longRows, call.longRows) && matches(row.documents, call.documents) &&
        matches(row.causal, call.causal) && limit <= row.maxShared &&
        forwardSharedBytes(row.schedule, call.headDim, call.headDimV, call.scoreBytes) <= limit) {
      return take(row, origin);
    }
  }
  badTable("no row matches: the last row of gpu.json must have no bound and fit every GPU");
}

std::optional<Schedule> kernels::chooseSm90aSchedule(unsigned headDim, unsigned headDimV, bool masked,
                                                     int64_t seqlenQ, const TableRow **origin) {
  const unsigned widest = std::max(headDim, headDimV);
  const bool oddUnits = headDim % 16 != 0 || headDimV % 16 != 0;
  for (const Sm90aRow &row : sm90aTable()) {
    if (widest <= row.maxHeadDim && seqlenQ <= row.maxSeqlenQ && row.masked.value_or(masked) == masked &&
        row.oddUnits.value_or(oddUnits) == oddUnits) {
      return take(row, origin);
    }
  }
  return std::nullopt;
}
