// SPDX-License-Identifier: Apache-2.0
//
// Kernels of the family sm_90a, with the schedules that its table chooses, as the assembler sees them: nothing spills,
// no product is serialised, and a block needs what the dispatcher computed.
#include "tilewright/Target/GpuCodegen.h"
#include "tilewright/runtime/Compiler.h"

#include <gmock/gmock.h>

#include <regex>

using namespace tilewright;
using namespace tilewright::runtime;
using ::testing::HasSubstr;
using ::testing::Not;

namespace {

constexpr int64_t kShort = 1024, kLong = 16384; ///< query rows for which the table is asked

KernelKey keyOf(uint16_t headDim, uint16_t headDimV, attn::MaskKind mask, bool even, int64_t seqlenQ) {
  KernelKey key;
  key.sm = kSm90aSm;
  key.dtype = ElementType::BF16;
  key.mask = mask;
  key.headDim = headDim;
  key.headDimV = headDimV;
  key.evenM = key.evenN = even;
  key.align.fill(attn::AlignClass::Bytes16);
  key.schedule =
      kernels::chooseSm90aSchedule(headDim, headDimV, mask != attn::MaskKind::None, seqlenQ).value();
  key.normalize();
  return key;
}

int64_t numberBefore(const std::string &log, const std::string &words, int64_t absent) {
  std::smatch match;
  return std::regex_search(log, match, std::regex("(\\d+) " + words)) ? std::stoll(match[1].str()) : absent;
}

void expectCleanAssembly(const PtxAssembler &assembler, const KernelKey &key) {
  SCOPED_TRACE(toText(key));
  std::string log;
  llvm::Expected<std::string> cubin =
      assemblePtx(assembler, compileToStage(key, "ptx", nullptr), key.sm, GpuInstructions::Sm90a, &log);
  ASSERT_TRUE(static_cast<bool>(cubin)) << llvm::toString(cubin.takeError());

  // ptxas serialises wgmma whose registers something else touches (C7510 to C7519) and ignores setmaxnreg where it
  // does not know the block's size (C7504, C7505): both cost most of the speed, neither fails. Any other warning is
  // news as well.
  EXPECT_THAT(log, Not(HasSubstr("serializ")));
  EXPECT_THAT(log, Not(HasSubstr("C75")));
  EXPECT_THAT(log, Not(HasSubstr("setmaxnreg")));
  EXPECT_THAT(log, Not(HasSubstr("warning")));
  EXPECT_EQ(numberBefore(log, "bytes spill stores", -1), 0) << log;
  EXPECT_EQ(numberBefore(log, "bytes spill loads", -1), 0) << log;
  const int64_t registers = numberBefore(log, "registers", -1);
  ASSERT_GT(registers, 0) << log;
  EXPECT_LE((registers + 7) / 8 * 8 * key.schedule.threads(), kGpuRegistersPerBlock) << registers;
  EXPECT_LE(kernels::forwardSharedBytes(key.schedule, key.headDim, key.headDimV) + numberBefore(log, "bytes smem", 0),
            gpuSharedLimit(key.sm));
}

class Sm90aCatalogue : public ::testing::TestWithParam<uint16_t> {};
class Sm90aHeadDimPairs : public ::testing::TestWithParam<std::pair<uint16_t, uint16_t>> {};

constexpr const char *kNoAssembler =
    "no assembler: ptxas is neither $TILEWRIGHT_PTXAS nor in PATH nor in /usr/local/cuda/bin";

} // namespace

TEST_P(Sm90aCatalogue, NeitherSpillsNorSerialises) {
  const std::optional<PtxAssembler> assembler = findPtxAssembler();
  if (!assembler) {
    GTEST_SKIP() << kNoAssembler;
  }
  std::vector<KernelKey> keys;
  for (attn::MaskKind mask : {attn::MaskKind::None, attn::MaskKind::Causal, attn::MaskKind::GlmBreak,
                              attn::MaskKind::GlmPacked}) {
    for (int64_t seqlenQ : {kShort, kLong}) {
      for (bool even : {true, false}) {
        const KernelKey key = keyOf(GetParam(), GetParam(), mask, even, seqlenQ);
        if (!llvm::is_contained(keys, key)) {
          keys.push_back(key);
        }
      }
    }
  }
  for (const KernelKey &key : keys) {
    expectCleanAssembly(*assembler, key);
  }
}

INSTANTIATE_TEST_SUITE_P(HeadDims, Sm90aCatalogue, ::testing::Values(8, 32, 40, 64, 72, 80, 96, 120, 128, 136, 192, 256),
                         [](const auto &info) { return "d" + std::to_string(info.param); });

/// A head dim of the values that is smaller than the keys' leaves registers free, a larger one shared memory.
TEST_P(Sm90aHeadDimPairs, NeitherSpillNorSerialise) {
  const std::optional<PtxAssembler> assembler = findPtxAssembler();
  if (!assembler) {
    GTEST_SKIP() << kNoAssembler;
  }
  const auto [headDim, headDimV] = GetParam();
  for (attn::MaskKind mask : {attn::MaskKind::None, attn::MaskKind::Causal}) {
    expectCleanAssembly(*assembler, keyOf(headDim, headDimV, mask, false, kLong));
  }
}

INSTANTIATE_TEST_SUITE_P(
    HeadDims, Sm90aHeadDimPairs,
    ::testing::Values(std::pair(64, 128), std::pair(128, 64), std::pair(192, 128), std::pair(128, 192),
                      std::pair(128, 256), std::pair(256, 64), std::pair(40, 72), std::pair(72, 40), std::pair(8, 256),
                      std::pair(256, 8)),
    [](const auto &info) { return "d" + std::to_string(info.param.first) + "x" + std::to_string(info.param.second); });

/// Where the table has neither: loops of their own for full blocks, outputs by TMA. (At head dim 256 the latter spills
/// with 80 keys: kernels/docs/performance.md.)
TEST(Sm90aCatalogue, LoopsAndStoresNeitherSpillNorSerialise) {
  const std::optional<PtxAssembler> assembler = findPtxAssembler();
  if (!assembler) {
    GTEST_SKIP() << kNoAssembler;
  }
  const std::tuple<uint16_t, attn::MaskKind, const char *> samples[] = {
      {64, attn::MaskKind::None, "qk:192x128:g3:s2:p2:o"},
      {64, attn::MaskKind::Causal, "qk:192x128:g3:s2:p2:t:f:o"},
      {72, attn::MaskKind::Causal, "qk:192x96:g3:s2:p2:f:o"},
      {128, attn::MaskKind::None, "qk:128x128:g2:s2:p2:r:o"},
      {128, attn::MaskKind::Causal, "qk:128x128:g2:s2:p2:f"},
      {128, attn::MaskKind::GlmPacked, "qk:128x128:g2:s2:p2:f:o"},
      {192, attn::MaskKind::Causal, "qk:128x96:g2:s2:p1:f"},
      {256, attn::MaskKind::Causal, "qk:128x80:g2:s2:p1:f"}};
  for (const auto &[headDim, mask, schedule] : samples) {
    KernelKey key = keyOf(headDim, headDim, mask, false, kLong);
    key.schedule = kernels::parseSchedule(schedule).value();
    key.normalize();
    ASSERT_EQ(toText(key.schedule), schedule);
    expectCleanAssembly(*assembler, key);
  }
}

/// What the dispatcher computes before any code exists is what the compiler then takes: boxes and barriers.
TEST(Sm90aSharedMemory, TheHostsFigureIsTheCompilers) {
  const std::tuple<uint16_t, uint16_t, const char *> samples[] = {
      {64, 64, "qk:192x128:g3:s3"}, {72, 72, "qk:128x64:g2:s2"}, {256, 256, "qk:128x64:g2:s2"}, {8, 8, "qk:128x16:g2"},
      {40, 136, "qk:128x64:g2:s2"}, {192, 128, "qk:128x96:g2:s2"}};
  for (const auto &[headDim, headDimV, schedule] : samples) {
    KernelKey key = keyOf(headDim, headDimV, attn::MaskKind::Causal, false, kLong);
    key.sm = kPtxOnly;
    key.schedule = kernels::parseSchedule(schedule).value();
    key.normalize();
    const Artifact artifact = compileKernel(key);
    EXPECT_EQ(static_cast<int64_t>(artifact.sharedBytes),
              kernels::forwardSharedBytes(key.schedule, headDim, headDimV));
    EXPECT_EQ(artifact.threads, key.schedule.threads());
  }
}
