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
};

/// The table is part of the library and covered by a test: a fault in it is a fault of the build.
[[noreturn]] void badTable(const char *what) {
  std::fprintf(stderr, "tilewright: kernels/schedules/cpu.json: %s\n", what);
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

std::string_view text(const nlohmann::json &row, const char *name) {
  auto it = row.find(name);
  if (it == row.end() || !it->is_string()) {
    badTable("a row lacks one of the texts level, schedule, measured");
  }
  return *it->get_ptr<const std::string *>();
}

std::vector<Row> parseTable() {
  nlohmann::json table = nlohmann::json::parse(kCpuScheduleTable, nullptr, /*allow_exceptions=*/false);
  if (!table.is_object()) {
    badTable("is not a JSON object");
  }
  auto found = table.find("rows");
  if (found == table.end() || !found->is_array()) {
    badTable("has no array 'rows'");
  }
  std::vector<Row> rows;
  for (const nlohmann::json &entry : *found) {
    if (!entry.is_object()) {
      badTable("a row is not an object");
    }
    std::optional<CpuLevel> level = parseCpuLevel(text(entry, "level"));
    std::optional<Schedule> schedule = parseSchedule(text(entry, "schedule"));
    text(entry, "measured");
    if (!level || !schedule) {
      badTable("a row has a bad level or schedule");
    }
    int64_t maxHeadDim = std::min<int64_t>(bound(entry, "maxHeadDim"), std::numeric_limits<unsigned>::max());
    rows.push_back({*level, static_cast<unsigned>(maxHeadDim), bound(entry, "maxSeqlenQ"), *schedule});
  }
  return rows;
}

const std::vector<Row> &table() {
  // Never destroyed: a thread may still choose a schedule while the process exits.
  static const std::vector<Row> &rows = *new std::vector<Row>(parseTable());
  return rows;
}

} // namespace

std::string kernels::toText(const Schedule &schedule) {
  std::string text = schedule.orientation == Orientation::KeysByQueries ? "kq:" : "qk:";
  text += std::to_string(schedule.blockM) + "x" + std::to_string(schedule.blockN) + ":";
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
  unsigned blockM, blockN, microRows, microVectors;
  bool wellFormed = takeNumber(text, 16, 512, blockM) && take(text, "x") && takeNumber(text, 16, 512, blockN) &&
                    take(text, ":") && takeNumber(text, 1, 16, microRows) && take(text, "x") &&
                    takeNumber(text, 1, 8, microVectors) && text.empty();
  if (!wellFormed || blockM % 16 != 0 || blockN % 16 != 0) {
    return std::nullopt;
  }
  schedule.blockM = static_cast<uint16_t>(blockM);
  schedule.blockN = static_cast<uint16_t>(blockN);
  schedule.microRows = static_cast<uint8_t>(microRows);
  schedule.microVectors = static_cast<uint8_t>(microVectors);
  return schedule;
}

Schedule kernels::chooseSchedule(CpuLevel level, unsigned headDim, unsigned headDimV, int64_t seqlenQ) {
  const unsigned widest = std::max(headDim, headDimV);
  for (const Row &row : table()) {
    if (row.level == level && widest <= row.maxHeadDim && seqlenQ <= row.maxSeqlenQ) {
      return row.schedule;
    }
  }
  badTable("no row matches: the last row of a level must have no bound");
}
