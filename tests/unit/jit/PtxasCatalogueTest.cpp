// SPDX-License-Identifier: Apache-2.0
//
// A fixed catalogue of GPU kernels, each with the schedule that the table chooses, as the assembler sees it: registers,
// shared memory, and spills no worse than ptxas_spills.json says, where each spill has its explanation. Masks at all
// head dims, and what else a kernel may have at two.
//
// After a change of schedules or of the compiler, record what is measured now, then give what is new its `why`:
//   TILEWRIGHT_RECORD_SPILLS=1 build/bin/tilewright-jit-tests --gtest_filter='*PtxasCatalogue*'
#include "tilewright/Target/GpuCodegen.h"
#include "tilewright/runtime/Compiler.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <regex>
#include <set>

using namespace tilewright;
using namespace tilewright::runtime;

namespace {

/// `spills` holds, for each kernel that spills, its name, bytes of stores and loads, and why: names in `reasons`.
using Json = nlohmann::ordered_json;

Json readRecord() {
  std::ifstream file(TILEWRIGHT_PTXAS_SPILLS);
  return Json::parse(file);
}

bool recording() { return std::getenv("TILEWRIGHT_RECORD_SPILLS") != nullptr; }

struct Group {
  uint16_t sm;
  uint16_t headDim;
  attn::MaskKind mask;
  bool bias = false; ///< (1, h, s, s), of q's type, copied
};

void PrintTo(const Group &group, std::ostream *stream) {
  *stream << "sm_" << group.sm << "_d" << group.headDim << "_" << attn::stringifyMaskKind(group.mask).str()
          << (group.bias ? "_bias" : "");
}

std::string nameOf(const Group &group, bool even) {
  return "sm_" + std::to_string(group.sm) + " d" + std::to_string(group.headDim) + " " +
         attn::stringifyMaskKind(group.mask).str() + (group.bias ? " bias" : "") + (even ? " even" : " uneven");
}

constexpr int64_t kSeqlenK = 4096; ///< for which the table is asked
constexpr attn::MaskKind kMasks[] = {attn::MaskKind::None, attn::MaskKind::Causal, attn::MaskKind::GlmBreak,
                                     attn::MaskKind::GlmPacked};

std::vector<Group> catalogue() {
  std::vector<Group> groups;
  for (uint16_t headDim : {32, 40, 64, 80, 96, 128, 192, 256}) {
    for (attn::MaskKind mask : kMasks) {
      groups.push_back({90, headDim, mask});
    }
  }
  for (uint16_t headDim : {64, 128}) {
    groups.push_back({90, headDim, attn::MaskKind::None, true});
  }
  // The schedules of GPUs with less shared memory.
  for (uint16_t sm : {80, 86}) {
    for (uint16_t headDim : {64, 128, 256}) {
      groups.push_back({sm, headDim, attn::MaskKind::Causal});
    }
  }
  return groups;
}

unsigned scoreBytesOf(const KernelKey &key) {
  return kernels::sharedScoreBytes(key.bias, key.biasAlign) +
         kernels::sharedScoreBytes(key.attnMask, key.attnMaskAlign);
}

KernelKey keyOf(const Group &group, bool even) {
  KernelKey key;
  key.sm = group.sm;
  key.dtype = ElementType::BF16;
  key.mask = group.mask;
  key.headDim = key.headDimV = group.headDim;
  key.evenM = key.evenN = even;
  key.align.fill(attn::AlignClass::Bytes16);
  if (group.bias) {
    key.bias = attn::ScoreOperand::Matrix;
    key.biasAlign = attn::AlignClass::Bytes16;
  }
  const bool masked = group.mask != attn::MaskKind::None;
  key.schedule = kernels::chooseGpuSchedule(group.sm, {.headDim = group.headDim,
                                                       .headDimV = group.headDim,
                                                       .masked = masked,
                                                       .matrix = group.bias,
                                                       .scoreBytes = scoreBytesOf(key),
                                                       .plainScores = !group.bias,
                                                       .longRows = masked && !group.bias,
                                                       .rowKeys = kSeqlenK});
  key.normalize();
  return key;
}

/// What a kernel may have besides its mask.
struct FeatureKernel {
  const char *name;
  uint16_t headDim; ///< 0: of a kernel that prepares a mask, whatever the head dim
  void (*change)(KernelKey &key);
};

std::string nameOf(const FeatureKernel &kernel) {
  return "sm_90 " + (kernel.headDim != 0 ? "d" + std::to_string(kernel.headDim) + " " : "") + kernel.name;
}

void PrintTo(const FeatureKernel &kernel, std::ostream *stream) {
  *stream << std::regex_replace(nameOf(kernel), std::regex(" "), "_");
}

std::vector<FeatureKernel> featureCatalogue() {
  const std::pair<const char *, void (*)(KernelKey &)> kernels[] = {
      {"window", [](KernelKey &key) {
         key.mask = attn::MaskKind::Causal;
         key.windowLeft = true;
       }},
      {"documents", [](KernelKey &key) { key.documents = true; }},
      {"causal documents", [](KernelKey &key) {
         key.mask = attn::MaskKind::Causal;
         key.documents = true;
       }},
      {"key padding", [](KernelKey &key) { key.keyPadding = true; }},
      {"varlen causal", [](KernelKey &key) {
         key.mask = attn::MaskKind::Causal;
         key.varlen = true;
       }},
      {"used keys", [](KernelKey &key) { key.seqUsedK = true; }},
      {"dropout", [](KernelKey &key) { key.dropout = true; }},
      {"probs", [](KernelKey &key) { key.probs = true; }},
      {"dropout probs causal", [](KernelKey &key) {
         key.mask = attn::MaskKind::Causal;
         key.dropout = key.probs = true;
       }},
  };
  const std::pair<const char *, void (*)(KernelKey &)> preparations[] = {
      {"row bounds of documents", [](KernelKey &key) {
         key.documents = true;
         key.kind = kernels::KernelKind::RowBounds;
       }},
      {"row bounds of padded sequences", [](KernelKey &key) {
         key.documents = key.keyPadding = key.varlen = true;
         key.kind = kernels::KernelKind::RowBounds;
       }},
      {"row limits of sequences", [](KernelKey &key) {
         key.varlen = true;
         key.kind = kernels::KernelKind::RowLimits;
       }},
  };
  std::vector<FeatureKernel> list;
  for (uint16_t headDim : {64, 128}) {
    for (const auto &[name, change] : kernels) {
      list.push_back({name, headDim, change});
    }
  }
  for (const auto &[name, change] : preparations) {
    list.push_back({name, 0, change});
  }
  return list;
}

KernelKey keyOf(const FeatureKernel &kernel) {
  KernelKey key;
  key.sm = 90;
  key.dtype = ElementType::BF16;
  key.headDim = key.headDimV = kernel.headDim != 0 ? kernel.headDim : 64;
  key.align.fill(attn::AlignClass::Bytes16);
  kernel.change(key);
  // As Plan.cpp has it.
  const bool masked = key.mask != attn::MaskKind::None || key.documents || key.dropout || key.probs;
  const bool plainScores = !key.dropout && !key.probs, wholeSequences = plainScores && !key.varlen && !key.windowLeft;
  key.schedule = kernels::chooseGpuSchedule(
      key.sm, {.headDim = key.headDim,
               .headDimV = key.headDimV,
               .masked = masked,
               .plainScores = plainScores,
               .longRows = wholeSequences && key.keyPadding && !key.documents,
               .documents = wholeSequences && key.documents,
               .causal = key.mask != attn::MaskKind::None,
               .rowKeys = kSeqlenK});
  key.normalize();
  return key;
}

int64_t numberBefore(const std::string &log, const std::string &words, int64_t absent) {
  std::smatch match;
  return std::regex_search(log, match, std::regex("(\\d+) " + words)) ? std::stoll(match[1].str()) : absent;
}

/// Enters what was measured in the file, with the explanation that it had.
void record(const std::string &name, const kernels::Schedule &schedule, int64_t stores, int64_t loads) {
  Json json = readRecord();
  Json why = Json::array();
  Json kept = Json::array();
  for (const Json &entry : json["spills"]) {
    if (entry["kernel"] == name) {
      why = entry["why"];
    } else {
      kept.push_back(entry);
    }
  }
  if (stores != 0 || loads != 0) {
    kept.push_back({{"kernel", name}, {"schedule", kernels::toText(schedule)}, {"stores", stores}, {"loads", loads},
                    {"why", why}});
  }
  json["spills"] = kept;
  std::ofstream file(TILEWRIGHT_PTXAS_SPILLS);
  file << json.dump(2) << "\n";
  ASSERT_TRUE(file.good()) << "cannot write " << TILEWRIGHT_PTXAS_SPILLS;
}

void expectNoNewSpills(const PtxAssembler &assembler, const KernelKey &key, const std::string &name) {
  SCOPED_TRACE(toText(key));
  std::string log;
  const std::string ptx = compileToStage(key, "ptx", nullptr);
  llvm::Expected<std::string> cubin = assemblePtx(assembler, ptx, key.sm, GpuInstructions::Sm80, &log);
  ASSERT_TRUE(static_cast<bool>(cubin)) << llvm::toString(cubin.takeError());

  // wgmma is not used, so nothing may be serialised; any other warning is news as well.
  EXPECT_THAT(log, ::testing::Not(::testing::HasSubstr("serializ")));
  EXPECT_THAT(log, ::testing::Not(::testing::HasSubstr("warning")));
  const int64_t registers = numberBefore(log, "registers", -1);
  ASSERT_GT(registers, 0) << log;
  EXPECT_LE(registers, kGpuRegistersPerThread);
  EXPECT_LE((registers + 7) / 8 * 8 * 32 * key.schedule.warps, kGpuRegistersPerBlock) << registers;
  const bool forward = key.kind == kernels::KernelKind::Forward;
  const int64_t shared =
      forward ? kernels::forwardSharedBytes(key.schedule, key.headDim, key.headDimV, scoreBytesOf(key)) : 0;
  EXPECT_LE(shared + numberBefore(log, "bytes smem", 0), gpuSharedLimit(key.sm));

  const int64_t stores = numberBefore(log, "bytes spill stores", -1);
  const int64_t loads = numberBefore(log, "bytes spill loads", -1);
  ASSERT_GE(stores, 0) << log;
  ASSERT_GE(loads, 0) << log;
  if (recording()) {
    record(name, key.schedule, stores, loads);
    return;
  }
  int64_t knownStores = 0, knownLoads = 0;
  const Json json = readRecord();
  for (const Json &entry : json["spills"]) {
    if (entry["kernel"] == name) {
      knownStores = entry["stores"];
      knownLoads = entry["loads"];
    }
  }
  EXPECT_LE(stores, knownStores) << name << ": spilled bytes, stores; see the top of PtxasCatalogueTest.cpp";
  EXPECT_LE(loads, knownLoads) << name << ": spilled bytes, loads; see the top of PtxasCatalogueTest.cpp";
  if (stores < knownStores || loads < knownLoads) {
    std::cout << "[ IMPROVED ] " << name << ": spills " << stores << " and " << loads << " bytes, recorded are "
              << knownStores << " and " << knownLoads << ": record again (top of PtxasCatalogueTest.cpp)\n";
  }
}

constexpr const char *kNoAssembler =
    "no assembler: ptxas is neither $TILEWRIGHT_PTXAS nor in PATH nor in /usr/local/cuda/bin";

class PtxasCatalogue : public ::testing::TestWithParam<Group> {};
class FeaturePtxasCatalogue : public ::testing::TestWithParam<FeatureKernel> {};

} // namespace

TEST_P(PtxasCatalogue, AssemblesWithoutNewSpills) {
  const std::optional<PtxAssembler> assembler = findPtxAssembler();
  if (!assembler) {
    GTEST_SKIP() << kNoAssembler;
  }
  for (bool even : {true, false}) {
    expectNoNewSpills(*assembler, keyOf(GetParam(), even), nameOf(GetParam(), even));
  }
}

TEST_P(FeaturePtxasCatalogue, AssemblesWithoutNewSpills) {
  const std::optional<PtxAssembler> assembler = findPtxAssembler();
  if (!assembler) {
    GTEST_SKIP() << kNoAssembler;
  }
  expectNoNewSpills(*assembler, keyOf(GetParam()), nameOf(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Kernels, FeaturePtxasCatalogue, ::testing::ValuesIn(featureCatalogue()),
                         [](const auto &info) { return ::testing::PrintToString(info.param); });

INSTANTIATE_TEST_SUITE_P(Kernels, PtxasCatalogue, ::testing::ValuesIn(catalogue()),
                         [](const auto &info) { return ::testing::PrintToString(info.param); });

TEST(PtxasCatalogueRecord, EveryEntryIsOfTheCatalogueAndExplained) {
  std::vector<std::string> names;
  for (const Group &group : catalogue()) {
    names.push_back(nameOf(group, true));
    names.push_back(nameOf(group, false));
  }
  for (const FeatureKernel &kernel : featureCatalogue()) {
    names.push_back(nameOf(kernel));
  }
  const Json record = readRecord();
  std::vector<std::string> seen;
  std::set<std::string> used;
  for (const Json &entry : record["spills"]) {
    const std::string name = entry["kernel"];
    EXPECT_THAT(names, ::testing::Contains(name));
    EXPECT_THAT(seen, ::testing::Not(::testing::Contains(name))) << "recorded twice";
    seen.push_back(name);
    EXPECT_GT(entry["stores"].get<int64_t>() + entry["loads"].get<int64_t>(), 0) << name;
    EXPECT_FALSE(entry["why"].empty()) << name << " spills, and nobody has said why";
    for (const Json &why : entry["why"]) {
      EXPECT_TRUE(record["reasons"].contains(why.get<std::string>())) << name << ": " << why;
      used.insert(why.get<std::string>());
    }
  }
  for (const auto &[name, text] : record["reasons"].items()) {
    EXPECT_TRUE(used.contains(name)) << "nothing spills for the reason " << name;
    EXPECT_FALSE(text.get<std::string>().empty()) << name;
  }
}

/// What the dispatcher computes before any code exists is what the compiler then takes.
TEST(GpuSharedMemory, TheHostsFigureIsTheCompilers) {
  const struct {
    uint16_t headDim, headDimV;
    const char *schedule;
    attn::MaskKind mask;
    attn::ScoreOperand bias = attn::ScoreOperand::None, attnMask = attn::ScoreOperand::None;
    attn::AlignClass scoreAlign = attn::AlignClass::Bytes2;
  } samples[] = {
      {1, 1, "qk:16x16:w1", attn::MaskKind::None},
      {40, 24, "qk:64x32:w2", attn::MaskKind::Causal},
      {64, 64, "qk:128x128:w4", attn::MaskKind::None},
      {72, 128, "qk:32x48:w1", attn::MaskKind::GlmBreak},
      {129, 200, "qk:64x16:w4", attn::MaskKind::None},
      {256, 256, "qk:64x64:w4", attn::MaskKind::GlmPacked},
      // Copied, each to a ring of its own; read in place.
      {64, 64, "qk:64x32:w2:s2", attn::MaskKind::None, attn::ScoreOperand::Matrix, attn::ScoreOperand::MatrixF32,
       attn::AlignClass::Bytes4},
      {40, 24, "qk:32x48:w1:s3", attn::MaskKind::Causal, attn::ScoreOperand::MatrixF32, attn::ScoreOperand::MatrixBool},
      {64, 64, "qk:64x32:w2", attn::MaskKind::None, attn::ScoreOperand::None, attn::ScoreOperand::Matrix,
       attn::AlignClass::Bytes16},
      {64, 64, "qk:64x32:w2", attn::MaskKind::None, attn::ScoreOperand::Matrix, attn::ScoreOperand::VectorF32},
      {64, 64, "qk:64x32:w2", attn::MaskKind::None, attn::ScoreOperand::Vector, attn::ScoreOperand::MatrixF32,
       attn::AlignClass::Strided},
  };
  for (const auto &sample : samples) {
    KernelKey key;
    key.sm = kPtxOnly;
    key.dtype = ElementType::F16;
    key.mask = sample.mask;
    key.headDim = sample.headDim;
    key.headDimV = sample.headDimV;
    key.align.fill(attn::AlignClass::Bytes2);
    key.bias = sample.bias;
    key.attnMask = sample.attnMask;
    key.biasAlign = key.attnMaskAlign = sample.scoreAlign;
    key.schedule = kernels::parseSchedule(sample.schedule).value();
    key.normalize();
    EXPECT_EQ(static_cast<int64_t>(compileKernel(key).sharedBytes),
              kernels::forwardSharedBytes(key.schedule, key.headDim, key.headDimV, scoreBytesOf(key)))
        << toText(key);
    // Probabilities are a second pass, which takes the first one's buffers.
    key.probs = key.dropout = key.keyPadding = true;
    key.normalize();
    EXPECT_EQ(static_cast<int64_t>(compileKernel(key).sharedBytes),
              kernels::forwardSharedBytes(key.schedule, key.headDim, key.headDimV, scoreBytesOf(key)))
        << toText(key);
  }
}
