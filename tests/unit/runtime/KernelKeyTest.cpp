// SPDX-License-Identifier: Apache-2.0
//
// The key: canonical text, strict parser, digest, normal form.
#include "TestSupport.h"
#include "tilewright/runtime/Digest.h"

#include <functional>
#include <random>
#include <set>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::tests;
using kernels::KernelKind;
using ::testing::HasSubstr;

namespace {

KernelKey randomKey(std::mt19937 &random) {
  auto pick = [&](auto... values) {
    std::common_type_t<decltype(values)...> list[] = {values...};
    return list[random() % sizeof...(values)];
  };
  KernelKey key;
  key.kind = pick(KernelKind::Forward, KernelKind::Forward, KernelKind::Forward, KernelKind::Forward,
                  KernelKind::RowLimits, KernelKind::RowBounds);
  key.level = pick(CpuLevel::X86_64_v2, CpuLevel::X86_64_v3, CpuLevel::X86_64_v4);
  key.sm = random() % 2 ? pick(80, 86, 87, 89, 90, 100, 120, int{kPtxOnly}) : 0;
  key.dtype = key.sm != 0 ? pick(ElementType::F16, ElementType::BF16)
                          : pick(ElementType::F32, ElementType::F16, ElementType::BF16);
  key.mask = pick(attn::MaskKind::None, attn::MaskKind::Causal, attn::MaskKind::GlmBreak, attn::MaskKind::GlmPacked);
  key.headDim = static_cast<uint16_t>(1 + random() % 256);
  key.headDimV = static_cast<uint16_t>(1 + random() % 256);
  key.evenM = random() % 2;
  key.evenN = random() % 2;
  key.evenD = random() % 2;
  for (attn::AlignClass &align : key.align) {
    align = pick(attn::AlignClass::Strided, attn::AlignClass::Bytes2, attn::AlignClass::Bytes4,
                 attn::AlignClass::Bytes8, attn::AlignClass::Bytes16);
  }
  key.schedule.orientation = pick(kernels::Orientation::QueriesByKeys, kernels::Orientation::KeysByQueries);
  key.schedule.blockM = static_cast<uint16_t>(16 * (1 + random() % 32));
  key.schedule.blockN = static_cast<uint16_t>(16 * (1 + random() % 32));
  key.schedule.microRows = static_cast<uint8_t>(1 + random() % 16);
  key.schedule.microVectors = static_cast<uint8_t>(1 + random() % 8);
  if (key.sm != 0) {
    key.schedule.warps = static_cast<uint8_t>(1 + random() % 4);
    key.schedule.blockM = static_cast<uint16_t>(16 * key.schedule.warps * (1 + random() % 8));
  }
  for (bool KernelKey::*feature :
       {&KernelKey::alibi, &KernelKey::softcap, &KernelKey::windowLeft, &KernelKey::rowBounds, &KernelKey::keyPadding,
        &KernelKey::varlen, &KernelKey::seqUsedK, &KernelKey::dropout, &KernelKey::probs}) {
    key.*feature = random() % 4 == 0;
  }
  key.keyPaddingAlign = pick(attn::AlignClass::Strided, attn::AlignClass::Bytes2, attn::AlignClass::Bytes16);
  key.documents = random() % 2;
  if (key.kind == KernelKind::RowBounds && !key.documents) {
    key.keyPadding = true; // one of the two is what the kernel is for
  }
  key.normalize();
  return key;
}

KernelKey gpuKey() {
  KernelKey key;
  key.sm = 90;
  key.dtype = ElementType::BF16;
  key.headDim = key.headDimV = 128;
  key.evenM = true;
  key.mask = attn::MaskKind::Causal;
  key.align = {attn::AlignClass::Bytes16, attn::AlignClass::Bytes8, attn::AlignClass::Strided,
               attn::AlignClass::Bytes2};
  key.schedule = *kernels::parseSchedule("qk:128x32:w4");
  key.normalize();
  return key;
}

std::string replaced(std::string text, const std::string &from, const std::string &to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from << " in " << text;
  return text.replace(at, from.size(), to);
}

} // namespace

TEST(KernelKey, TextIsTheDocumentedOne) {
  KernelKey key;
  key.level = CpuLevel::X86_64_v4;
  key.dtype = ElementType::BF16;
  key.headDim = key.headDimV = 64;
  key.evenM = true;
  key.evenN = true; // cleared: the mask is not none
  key.mask = attn::MaskKind::Causal;
  key.align.fill(attn::AlignClass::Bytes16);
  key.align[2] = attn::AlignClass::Strided;
  key.normalize();
  EXPECT_EQ(toText(key), "forward target=cpu:x86-64-v4 dtype=bf16 headDim=64 headDimV=64 evenM=1 evenN=0 evenD=1 "
                         "mask=causal align=q:a2,k:a2,v:strided,out:a2 schedule=kq:64x64:8x2 build=" +
                             std::string(buildId()));

  key.kind = KernelKind::RowLimits;
  key.schedule = {kernels::Orientation::QueriesByKeys, 32, 128, 4, 1};
  key.normalize();
  EXPECT_EQ(toText(key),
            "row_limits target=cpu:x86-64-v4 evenM=1 schedule=kq:32x64:8x2 build=" + std::string(buildId()));

  key.kind = KernelKind::RowBounds;
  key.documents = true;
  key.normalize();
  EXPECT_EQ(toText(key), "row_bounds target=cpu:x86-64-v4 evenM=1 documents=1 schedule=kq:32x64:8x2 build=" +
                             std::string(buildId()));
}

TEST(KernelKey, GpuTextIsTheDocumentedOne) {
  KernelKey key = gpuKey();
  EXPECT_EQ(toText(key), "forward target=sm_80:sm_90 dtype=bf16 headDim=128 headDimV=128 evenM=1 evenN=0 evenD=1 "
                         "mask=causal align=q:a16,k:a8,v:strided,out:a2 schedule=qk:128x32:w4 build=" +
                             std::string(buildId()));
  key.kind = KernelKind::RowLimits;
  key.normalize();
  EXPECT_EQ(toText(key), "row_limits target=sm_80:sm_90 evenM=1 schedule=qk:128x64:w4 build=" + std::string(buildId()));
  key.sm = kPtxOnly;
  EXPECT_EQ(toText(key).find("row_limits target=sm_80:ptx "), 0u);
}

TEST(KernelKey, WithoutPartialBlocksThereIsOneBody) {
  KernelKey key = gpuKey();
  key.schedule = *kernels::parseSchedule("qk:128x64:w4:s2:b2");
  key.evenN = true;
  key.normalize();
  EXPECT_EQ(kernels::toText(key.schedule), "qk:128x64:w4:s2:b2") << "a causal mask cuts blocks of any length";
  key.mask = attn::MaskKind::None;
  key.evenN = true;
  key.normalize();
  EXPECT_EQ(kernels::toText(key.schedule), "qk:128x64:w4:s2");
  key.mask = attn::MaskKind::Causal;
  key.schedule.bodies = 2;
  key.attnMask = attn::ScoreOperand::MatrixBool;
  key.normalize();
  EXPECT_EQ(kernels::toText(key.schedule), "qk:128x64:w4:s2") << "a tensor is read ahead of branches";
}

TEST(KernelKey, GpuFieldsChangeTextDigestAndHash) {
  const KernelKey base = gpuKey();
  const std::vector<std::pair<const char *, std::function<void(KernelKey &)>>> changes = {
      {"sm", [](KernelKey &key) { key.sm = 80; }},
      {"ptx", [](KernelKey &key) { key.sm = kPtxOnly; }},
      {"warps", [](KernelKey &key) { key.schedule.warps = 8; }},
      {"stages", [](KernelKey &key) { key.schedule.stages = 2; }},
      {"bodies",
       [](KernelKey &key) {
         key.schedule.stages = 2;
         key.schedule.bodies = 2;
       }},
      {"blocks per SM", [](KernelKey &key) { key.schedule.perSm = 3; }},
      {"bias", [](KernelKey &key) { key.bias = attn::ScoreOperand::Matrix; }},
      {"bias vector", [](KernelKey &key) { key.bias = attn::ScoreOperand::Vector; }},
      {"bias type", [](KernelKey &key) { key.bias = attn::ScoreOperand::MatrixF32; }},
      {"bias align",
       [](KernelKey &key) {
         key.bias = attn::ScoreOperand::Matrix;
         key.biasAlign = attn::AlignClass::Bytes8;
       }},
      {"mask", [](KernelKey &key) { key.attnMask = attn::ScoreOperand::Matrix; }},
      {"bool mask", [](KernelKey &key) { key.attnMask = attn::ScoreOperand::MatrixBool; }},
      {"alibi", [](KernelKey &key) { key.alibi = true; }},
      {"softcap", [](KernelKey &key) { key.softcap = true; }},
      {"window", [](KernelKey &key) { key.windowLeft = true; }},
      {"row bounds", [](KernelKey &key) { key.rowBounds = true; }},
      {"key padding", [](KernelKey &key) { key.keyPadding = true; }},
      {"strided key padding",
       [](KernelKey &key) {
         key.keyPadding = true;
         key.keyPaddingAlign = attn::AlignClass::Strided;
       }},
      {"varlen", [](KernelKey &key) { key.varlen = true; }},
      {"used keys", [](KernelKey &key) { key.seqUsedK = true; }},
      {"dropout", [](KernelKey &key) { key.dropout = true; }},
      {"probs", [](KernelKey &key) { key.probs = true; }},
      {"row limits", [](KernelKey &key) { key.kind = KernelKind::RowLimits; }},
      {"row limits of used keys",
       [](KernelKey &key) {
         key.kind = KernelKind::RowLimits;
         key.seqUsedK = true;
       }},
      {"row bounds of documents",
       [](KernelKey &key) {
         key.kind = KernelKind::RowBounds;
         key.documents = true;
       }},
      {"row bounds of padding",
       [](KernelKey &key) {
         key.kind = KernelKind::RowBounds;
         key.keyPadding = true;
       }},
      {"row bounds of both",
       [](KernelKey &key) {
         key.kind = KernelKind::RowBounds;
         key.documents = key.keyPadding = true;
       }},
      {"row bounds of sequences",
       [](KernelKey &key) {
         key.kind = KernelKind::RowBounds;
         key.documents = key.varlen = true;
       }},
      {"align q", [](KernelKey &key) { key.align[0] = attn::AlignClass::Bytes8; }},
      {"align out", [](KernelKey &key) { key.align[3] = attn::AlignClass::Bytes4; }},
  };
  std::set<std::string> texts{toText(base)};
  std::set<size_t> hashes{base.hash()};
  for (const auto &[name, change] : changes) {
    KernelKey key = base;
    change(key);
    key.normalize();
    EXPECT_TRUE(texts.insert(toText(key)).second) << name;
    EXPECT_TRUE(hashes.insert(key.hash()).second) << name;
  }
}

TEST(KernelKey, NormalFormDropsTheOtherTargetsFields) {
  KernelKey gpu = gpuKey();
  KernelKey same = gpu;
  same.level = CpuLevel::X86_64_v4;
  same.schedule.microRows = 4;
  same.schedule.orientation = kernels::Orientation::KeysByQueries;
  same.normalize();
  EXPECT_TRUE(same == gpu);
  gpu.headDimV = 40; // a multiple of every CPU's lanes, not of 16
  gpu.normalize();
  EXPECT_FALSE(gpu.evenD);

  KernelKey cpu = sampleKey();
  cpu.schedule.warps = 4;
  cpu.normalize();
  EXPECT_TRUE(cpu == sampleKey());
}

TEST(KernelKey, FaultyGpuTextsAreNamed) {
  const std::string good = toText(gpuKey());
  ASSERT_NO_THROW(parseKey(good));
  auto message = [](const std::string &text) {
    return expectError(TW_INVALID_ARGUMENT, "key", [&] { parseKey(text); });
  };
  EXPECT_THAT(message(replaced(good, "sm_80:sm_90", "sm_80:sm_75")),
              ::testing::AllOf(HasSubstr("target is 'sm_80:sm_75', must be one of cpu:x86-64-v2"),
                               HasSubstr("sm_80:sm_80, sm_80:sm_86"), HasSubstr("sm_80:sm_120, sm_80:ptx")));
  EXPECT_THAT(message(replaced(good, "sm_80:sm_90", "sm_90")), HasSubstr("target is 'sm_90'"));
  EXPECT_THAT(message(replaced(good, "bf16", "f32")), HasSubstr("dtype is 'f32', must be one of f16, bf16"));
  EXPECT_THAT(message(replaced(good, "q:a16", "q:a32")), HasSubstr("each A a2, a4, a8, a16 or strided"));
  EXPECT_THAT(message(replaced(good, "qk:128x32:w4", "kq:64x64:8x2")),
              HasSubstr("schedule is 'kq:64x64:8x2', must be a GPU's"));
  EXPECT_THAT(message(replaced(toText(sampleKey()), "kq:64x64:8x2", "qk:128x32:w4")),
              HasSubstr("schedule is 'qk:128x32:w4', must be a CPU's"));
  EXPECT_THAT(message(replaced(good, "evenD=1", "evenD=0")),
              HasSubstr("evenD is 0, but head dims 128 and 128 with a GPU's step of 16 make it 1"));
  EXPECT_THAT(message("row_limits target=sm_80:sm_90 evenM=1 schedule=qk:128x32:w4"),
              HasSubstr("must be 'qk:128x64:w4': a row_limits kernel depends on blockM and warps only"));
}

TEST(KernelKey, SmOfComputeCapabilities) {
  EXPECT_EQ(smOf(7, 5), std::nullopt);
  for (const GpuTarget &target : kGpuTargets) {
    EXPECT_EQ(smOf(target.sm / 10, target.sm % 10), target.sm);
  }
  EXPECT_EQ(smOf(10, 3), 100) << "machine code runs on later minor numbers";
  EXPECT_EQ(smOf(12, 1), 120);
  EXPECT_EQ(smOf(11, 0), kPtxOnly);
  EXPECT_EQ(smOf(13, 0), kPtxOnly);
}

TEST(KernelKey, BuildIdIsSixteenHexDigits) {
  EXPECT_EQ(buildId().size(), 16u);
  EXPECT_EQ(buildId().find_first_not_of("0123456789abcdef"), std::string_view::npos);
}

TEST(KernelKey, EveryFieldChangesTextDigestAndHash) {
  const KernelKey base = sampleKey();
  const std::vector<std::pair<const char *, std::function<void(KernelKey &)>>> changes = {
      {"kind", [](KernelKey &key) { key.kind = KernelKind::RowLimits; }},
      {"level", [](KernelKey &key) { key.level = CpuLevel::X86_64_v4; }},
      {"dtype", [](KernelKey &key) { key.dtype = ElementType::F16; }},
      {"mask", [](KernelKey &key) { key.mask = attn::MaskKind::GlmPacked; }},
      {"headDim", [](KernelKey &key) { key.headDim = 63; }},
      {"headDimV", [](KernelKey &key) { key.headDimV = 33; }},
      {"evenM", [](KernelKey &key) { key.evenM = !key.evenM; }},
      {"evenN", [](KernelKey &key) { key.evenN = !key.evenN; }},
      {"align q", [](KernelKey &key) { key.align[0] = attn::AlignClass::Strided; }},
      {"align k", [](KernelKey &key) { key.align[1] = attn::AlignClass::Strided; }},
      {"align v", [](KernelKey &key) { key.align[2] = attn::AlignClass::Strided; }},
      {"align out", [](KernelKey &key) { key.align[3] = attn::AlignClass::Strided; }},
      {"orientation", [](KernelKey &key) { key.schedule.orientation = kernels::Orientation::QueriesByKeys; }},
      {"blockM", [](KernelKey &key) { key.schedule.blockM = 128; }},
      {"blockN", [](KernelKey &key) { key.schedule.blockN = 128; }},
      {"microRows", [](KernelKey &key) { key.schedule.microRows = 9; }},
      {"microVectors", [](KernelKey &key) { key.schedule.microVectors = 3; }},
  };
  std::set<std::string> texts{toText(base)};
  std::set<std::string> digests{digest(base)};
  std::set<size_t> hashes{base.hash()};
  for (const auto &[name, change] : changes) {
    KernelKey key = base;
    change(key);
    key.normalize();
    EXPECT_FALSE(key == base) << name;
    EXPECT_TRUE(texts.insert(toText(key)).second) << name;
    EXPECT_TRUE(digests.insert(digest(key)).second) << name;
    EXPECT_TRUE(hashes.insert(key.hash()).second) << name;
  }
}

TEST(KernelKey, RandomKeysRoundTrip) {
  std::mt19937 random(20240607);
  std::set<std::string> texts;
  for (int i = 0; i < 5000; ++i) {
    const KernelKey key = randomKey(random);
    const std::string text = toText(key);
    const KernelKey parsed = parseKey(text);
    ASSERT_TRUE(parsed == key) << text;
    ASSERT_EQ(toText(parsed), text);
    ASSERT_EQ(parsed.hash(), key.hash());
    KernelKey again = key;
    again.normalize();
    ASSERT_TRUE(again == key) << "normalize is not idempotent: " << text;
    texts.insert(text);
  }
  EXPECT_GT(texts.size(), 3000u) << "a third are row_limits and row_bounds keys, of which there are few";
}

TEST(KernelKey, FieldOrderSpacingAndMissingBuildDoNotMatter) {
  const KernelKey key = sampleKey();
  const std::string build = std::string(buildId());
  const std::string shuffled = "  forward build=" + build +
                               "  schedule=kq:64x64:8x2\tmask=none evenD=1 evenN=0 evenM=0 "
                               "align=q:a2,k:a2,v:a2,out:a2 headDimV=32 headDim=64\n dtype=bf16 target=cpu:x86-64-v3 ";
  EXPECT_EQ(toText(parseKey(shuffled)), toText(key));
  EXPECT_EQ(digest(parseKey(shuffled)), digest(key));
  EXPECT_EQ(toText(parseKey(replaced(toText(key), " build=" + build, ""))), toText(key));
}

TEST(KernelKey, ConstructionOrderDoesNotMatter) {
  KernelKey first, second;
  first.headDim = 96;
  first.level = CpuLevel::X86_64_v4;
  first.dtype = ElementType::F16;
  first.headDimV = 80;
  first.normalize();
  second.dtype = ElementType::F16;
  second.headDimV = 80;
  second.normalize();
  second.level = CpuLevel::X86_64_v4;
  second.headDim = 96;
  second.normalize();
  EXPECT_EQ(toText(first), toText(second));
  EXPECT_EQ(first.hash(), second.hash());
}

TEST(KernelKey, DigestIsBlake3OfTheText) {
  // The published test vector of the empty input.
  EXPECT_EQ(blake3Hex(""), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
  EXPECT_EQ(digest(sampleKey()), blake3Hex(toText(sampleKey())));
  EXPECT_EQ(blake3({"ab", "", "c"}), blake3({"abc"}));
}

TEST(KernelKey, EvenDFollowsFromTheHeadDims) {
  KernelKey key = sampleKey(); // 64 and 32 on 8 lanes
  EXPECT_TRUE(key.evenD);
  key.headDimV = 20;
  key.normalize();
  EXPECT_FALSE(key.evenD);
  key.level = CpuLevel::X86_64_v2; // 4 lanes
  key.normalize();
  EXPECT_TRUE(key.evenD);
}

TEST(KernelKey, FaultyTextsAreNamed) {
  const std::string good = toText(sampleKey());
  ASSERT_NO_THROW(parseKey(good));
  auto message = [](const std::string &text) {
    return expectError(TW_INVALID_ARGUMENT, "key", [&] { parseKey(text); });
  };
  EXPECT_THAT(message(""), HasSubstr("must be forward, row_limits or row_bounds"));
  EXPECT_THAT(message(replaced(good, "forward", "backward")),
              HasSubstr("'backward', must be forward, row_limits or row_bounds"));
  EXPECT_THAT(message(replaced(good, "cpu:x86-64-v3", "cpu:x86-64-v5")),
              HasSubstr("target is 'cpu:x86-64-v5', must be one of cpu:x86-64-v2, cpu:x86-64-v3, cpu:x86-64-v4"));
  EXPECT_THAT(message(replaced(good, "cpu:x86-64-v3", "x86-64-v3")), HasSubstr("target is 'x86-64-v3'"));
  EXPECT_THAT(message(replaced(good, "bf16", "f64")), HasSubstr("dtype is 'f64', must be one of f32, f16, bf16"));
  for (const char *bad : {"0", "257", "064", "-1", "+8", "64.0", "", "99999999999999999999"}) {
    EXPECT_THAT(message(replaced(good, "headDim=64", std::string("headDim=") + bad)),
                HasSubstr("headDim is '" + std::string(bad) + "', must be an integer in [1, 256]"));
  }
  EXPECT_THAT(message(replaced(good, "headDimV=32", "headDimV=300")), HasSubstr("headDimV is '300'"));
  EXPECT_THAT(message(replaced(good, "evenM=0", "evenM=yes")), HasSubstr("evenM is 'yes', must be 0 or 1"));
  EXPECT_THAT(message(replaced(good, "mask=none", "mask=window")), HasSubstr("mask is 'window', must be one of none"));
  EXPECT_THAT(message(replaced(good, "out:a2", "out:a4")), HasSubstr("each A a2 (the element's size) or strided"));
  EXPECT_THAT(message(replaced(good, ",out:a2", "")), HasSubstr("align is 'q:a2,k:a2,v:a2'"));
  EXPECT_THAT(message(replaced(good, "out:a2", "out:a2,x:a2")), HasSubstr("align is"));
  EXPECT_THAT(message(replaced(good, "q:a2,k:a2", "k:a2,q:a2")), HasSubstr("align is"));
  EXPECT_THAT(message(replaced(good, "kq:64x64:8x2", "kq:60x64:8x2")), HasSubstr("schedule is 'kq:60x64:8x2'"));
  EXPECT_THAT(message(replaced(good, "evenD=1", "evenD=0")),
              HasSubstr("evenD is 0, but head dims 64 and 32 with 8 lanes make it 1"));
  EXPECT_THAT(message(replaced(replaced(good, "evenN=0", "evenN=1"), "mask=none", "mask=causal")),
              HasSubstr("evenN is 1, must be 0 with mask=causal"));
  EXPECT_THAT(message(replaced(good, " evenN=0", "")), HasSubstr("field evenN is missing"));
  EXPECT_THAT(message(good + " drop=1"), HasSubstr("field 'drop' is not known here"));
  EXPECT_THAT(message(good + " documents=1"), HasSubstr("field 'documents' is not known here; a forward key has"));
  EXPECT_THAT(message(good + " pairs=1"),
              HasSubstr("rowBounds keyPadding varlen seqUsedK dropout probs) schedule build"));
  EXPECT_THAT(message(good + " evenM=0"), HasSubstr("field 'evenM' is given twice"));
  EXPECT_THAT(message(good + " evenM"), HasSubstr("'evenM' is not a field, expected name=value"));
  EXPECT_THAT(message(good + " =1"), HasSubstr("'=1' is not a field"));
  EXPECT_THAT(message(replaced(good, std::string(buildId()), "0123456789abcdef")),
              ::testing::AllOf(HasSubstr("build is '0123456789abcdef'"), HasSubstr(std::string(buildId()))));
}

TEST(KernelKey, RowLimitsTextHoldsNothingElse) {
  auto message = [](const std::string &text) {
    return expectError(TW_INVALID_ARGUMENT, "key", [&] { parseKey(text); });
  };
  const std::string good = "row_limits target=cpu:x86-64-v3 evenM=1 schedule=kq:32x64:8x2";
  EXPECT_EQ(parseKey(good).schedule.blockM, 32);
  EXPECT_THAT(message(good + " mask=glm_packed"), HasSubstr("field 'mask' is not known here"));
  EXPECT_THAT(message(replaced(good, "32x64", "32x32")),
              HasSubstr("schedule is 'kq:32x32:8x2', must be 'kq:32x64:8x2'"));
  EXPECT_THAT(message(good + " dropout=1"), HasSubstr("field 'dropout' is not known here; a row_limits key has the "
                                                      "fields target evenM (varlen seqUsedK) schedule build"));
  EXPECT_THAT(message(good + " documents=1"), HasSubstr("field 'documents' is not known here"));
  EXPECT_TRUE(parseKey(replaced(good, "evenM=1", "evenM=0 varlen=1")).varlen);
  EXPECT_TRUE(parseKey(good + " seqUsedK=1").seqUsedK);
  EXPECT_THAT(message(good + " varlen=1"), HasSubstr("evenM is 1, must be 0 with varlen=1"));
}

TEST(KernelKey, RowBoundsTextHoldsNothingElse) {
  auto message = [](const std::string &text) {
    return expectError(TW_INVALID_ARGUMENT, "key", [&] { parseKey(text); });
  };
  const std::string bare = "row_bounds target=cpu:x86-64-v3 evenM=1 schedule=kq:32x64:8x2";
  EXPECT_THAT(message(bare), HasSubstr("a row_bounds kernel has documents=1, keyPadding=1 or both"));
  const std::string good = bare + " documents=1";
  EXPECT_EQ(parseKey(good).kind, KernelKind::RowBounds);
  EXPECT_EQ(parseKey(good).schedule.blockM, 32);
  EXPECT_TRUE(parseKey(good).documents);
  EXPECT_FALSE(parseKey(good).keyPadding);
  EXPECT_TRUE(parseKey(bare + " keyPadding=1").keyPadding);
  EXPECT_TRUE(parseKey(good + " keyPadding=1 seqUsedK=1").keyPadding);
  EXPECT_TRUE(parseKey(replaced(good, "evenM=1", "evenM=0 varlen=1")).varlen);
  EXPECT_THAT(message(bare + " keyPadding=a2"), HasSubstr("keyPadding is 'a2', must be 1, or left out"));
  EXPECT_THAT(message(bare + " documents=0"), HasSubstr("documents is '0', must be 1, or left out"));
  EXPECT_THAT(message(good + " varlen=1"), HasSubstr("evenM is 1, must be 0 with varlen=1"));
  EXPECT_THAT(message(good + " mask=causal"),
              HasSubstr("field 'mask' is not known here; a row_bounds key has the fields target evenM (documents "
                        "keyPadding varlen seqUsedK) schedule build"));
  EXPECT_THAT(message(good + " probs=1"), HasSubstr("field 'probs' is not known here"));
  EXPECT_THAT(message(replaced(good, "32x64", "32x32")),
              HasSubstr("must be 'kq:32x64:8x2': a row_bounds kernel depends on blockM only"));
  EXPECT_THAT(message("row_bounds target=sm_80:sm_90 evenM=1 documents=1 schedule=qk:128x64:w4"),
              HasSubstr("must be 'qk:32x64:w1': row_bounds kernels of GPUs with these fields have it"));
}

TEST(KernelKey, NormalFormOfMasksAndLengths) {
  // Documents and key padding reach the forward kernel as row bounds; which of them made the table it does not see.
  KernelKey documents = gpuKey();
  documents.documents = true;
  documents.normalize();
  EXPECT_TRUE(documents.rowBounds);
  EXPECT_FALSE(documents.documents);
  KernelKey padding = gpuKey();
  padding.keyPadding = true;
  padding.keyPaddingAlign = attn::AlignClass::Bytes16; // bytes are read one by one
  padding.normalize();
  EXPECT_TRUE(padding.rowBounds);
  EXPECT_EQ(padding.keyPaddingAlign, attn::AlignClass::Bytes2);
  KernelKey without = gpuKey();
  without.keyPaddingAlign = attn::AlignClass::Strided; // of no mask
  without.normalize();
  EXPECT_TRUE(without == gpuKey());

  // Even numbers of blocks mean nothing where an interval or a length ends the last block.
  for (bool KernelKey::*feature : {&KernelKey::windowLeft, &KernelKey::rowBounds, &KernelKey::keyPadding,
                                   &KernelKey::varlen, &KernelKey::seqUsedK}) {
    KernelKey key = sampleKey();
    key.evenM = key.evenN = true;
    key.*feature = true;
    key.normalize();
    EXPECT_FALSE(key.evenN) << toText(key);
    EXPECT_EQ(key.evenM, feature != &KernelKey::varlen) << toText(key);
  }
  for (bool KernelKey::*feature : {&KernelKey::dropout, &KernelKey::probs}) {
    KernelKey key = sampleKey();
    key.evenM = key.evenN = true;
    key.*feature = true;
    key.normalize();
    EXPECT_TRUE(key.evenM && key.evenN) << toText(key);
  }

  // A kernel that prepares a mask depends on no feature of the forward one but the lengths.
  KernelKey all = gpuKey();
  all.alibi = all.softcap = all.windowLeft = all.rowBounds = all.documents = all.keyPadding = true;
  all.varlen = all.seqUsedK = all.dropout = all.probs = true;
  all.keyPaddingAlign = attn::AlignClass::Strided;
  KernelKey bounds = all, limits = all;
  bounds.kind = KernelKind::RowBounds;
  bounds.normalize();
  EXPECT_EQ(toText(bounds), "row_bounds target=sm_80:sm_90 evenM=0 documents=1 keyPadding=1 varlen=1 seqUsedK=1 "
                            "schedule=qk:32x64:w2 build=" +
                                std::string(buildId()));
  EXPECT_EQ(parseKey(toText(bounds)), bounds);
  limits.kind = KernelKind::RowLimits;
  limits.normalize();
  EXPECT_EQ(toText(limits), "row_limits target=sm_80:sm_90 evenM=0 varlen=1 seqUsedK=1 schedule=qk:128x64:w4 build=" +
                                std::string(buildId()));
  EXPECT_EQ(parseKey(toText(limits)), limits);
}

TEST(KernelKey, FeaturesStandBetweenAlignAndSchedule) {
  KernelKey key = gpuKey();
  key.bias = attn::ScoreOperand::MatrixF32;
  key.biasAlign = attn::AlignClass::Bytes16;
  key.attnMask = attn::ScoreOperand::VectorBool;
  key.attnMaskAlign = attn::AlignClass::Bytes16; // of bools: their size
  key.alibi = key.softcap = true;
  key.normalize();
  const std::string text = toText(key);
  EXPECT_THAT(text, HasSubstr(" bias=matrix_f32:a16 attnMask=vector_bool:a2 alibi=1 softcap=1 schedule="));
  EXPECT_EQ(parseKey(text), key);

  key.windowLeft = key.keyPadding = key.varlen = key.seqUsedK = key.dropout = key.probs = true;
  key.normalize();
  const std::string all = toText(key);
  EXPECT_THAT(all, HasSubstr(" softcap=1 windowLeft=1 rowBounds=1 keyPadding=a2 varlen=1 seqUsedK=1 dropout=1 probs=1 "
                             "schedule="));
  EXPECT_EQ(parseKey(all), key);
  key.keyPaddingAlign = attn::AlignClass::Strided;
  EXPECT_THAT(toText(key), HasSubstr(" keyPadding=strided "));
  EXPECT_EQ(parseKey(toText(key)), key);

  // A CPU reads rows of any alignment the same way, and float32 has one spelling.
  KernelKey cpu;
  cpu.headDim = cpu.headDimV = 64;
  cpu.bias = attn::ScoreOperand::VectorF32;
  cpu.biasAlign = attn::AlignClass::Bytes16;
  cpu.normalize();
  EXPECT_EQ(cpu.bias, attn::ScoreOperand::Vector);
  EXPECT_EQ(cpu.biasAlign, attn::AlignClass::Bytes2);
  EXPECT_EQ(parseKey(toText(cpu)), cpu);
}

TEST(KernelKey, WrongFeaturesAreNamed) {
  const std::string text = toText(gpuKey());
  const size_t at = text.find(" schedule=");
  auto with = [&](const std::string &field) { return text.substr(0, at) + " " + field + text.substr(at); };
  const std::pair<const char *, const char *> cases[] = {
      {"bias=matrix", "bias is 'matrix', must be KIND:A"},
      {"bias=none:a2", "bias is 'none:a2', must be KIND:A"},
      {"bias=matrix_bool:a2", "bias is 'matrix_bool:a2', must be KIND:A"},
      {"attnMask=matrix:a3", "attnMask is 'matrix:a3', must be KIND:A"},
      {"attnMask=matrix_bool:a16", "must be spelled as in"},
      {"alibi=0", "alibi is '0', must be 1, or left out"},
      {"softcap=30", "softcap is '30', must be 1, or left out"},
      {"windowLeft=64", "windowLeft is '64', must be 1, or left out"},
      {"rowBounds=0", "rowBounds is '0', must be 1, or left out"},
      {"rowBounds=1 keyPadding=1", "keyPadding is '1', must be a2 or strided, or left out"},
      {"rowBounds=1 keyPadding=a16", "keyPadding is 'a16', must be a2 or strided, or left out"},
      {"keyPadding=a2", "rowBounds is not given, must be 1 with keyPadding"},
      {"varlen=2", "varlen is '2', must be 1, or left out"},
      {"varlen=1", "evenM is 1, must be 0 with varlen=1"},
      {"seqUsedK=0", "seqUsedK is '0', must be 1, or left out"},
      {"dropout=0.1", "dropout is '0.1', must be 1, or left out"},
      {"probs=f32", "probs is 'f32', must be 1, or left out"},
  };
  for (const auto &[field, message] : cases) {
    EXPECT_THAT(expectError(TW_INVALID_ARGUMENT, "key", [&, field = field] { parseKey(with(field)); }),
                HasSubstr(message))
        << field;
  }
}

TEST(KernelKey, EvenNIsNamedWithWhatForbidsIt) {
  KernelKey key = sampleKey();
  key.evenN = true;
  const std::string text = toText(key);
  ASSERT_NE(text.find("evenN=1"), std::string::npos);
  const size_t at = text.find(" schedule=");
  const std::pair<const char *, const char *> cases[] = {
      {"windowLeft=1", "evenN is 1, must be 0 with windowLeft=1"},
      {"rowBounds=1", "evenN is 1, must be 0 with rowBounds=1"},
      {"rowBounds=1 keyPadding=a2", "evenN is 1, must be 0 with rowBounds=1"},
      {"keyPadding=a2", "rowBounds is not given, must be 1 with keyPadding"},
      {"varlen=1", "evenN is 1, must be 0 with varlen=1"},
      {"seqUsedK=1", "evenN is 1, must be 0 with seqUsedK=1"},
  };
  for (const auto &[fields, message] : cases) {
    const std::string faulty = text.substr(0, at) + " " + fields + text.substr(at);
    EXPECT_THAT(expectError(TW_INVALID_ARGUMENT, "key", [&] { parseKey(faulty); }), HasSubstr(message)) << fields;
  }
}
