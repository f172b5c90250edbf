// SPDX-License-Identifier: Apache-2.0
//
// Dropout's random numbers: Philox4x32 against the known answers that its authors publish with Random123, and the
// entries of a score matrix against written-down numbers, which every kernel must reproduce.
#include "tilewright/kernels/Philox.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace tilewright::kernels;

namespace {

constexpr uint32_t kOnes = 0xffffffffu;
// The digits of pi, as in the published vectors.
constexpr PhiloxWords kPiCounter = {0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u};
constexpr PhiloxKey kPiKey = {0xa4093822u, 0x299f31d0u};

} // namespace

TEST(Philox, KnownAnswersOfTenRounds) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}, 10), (PhiloxWords{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}, 10),
            (PhiloxWords{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_EQ(philox4x32(kPiCounter, kPiKey, 10), (PhiloxWords{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

TEST(Philox, KnownAnswersOfSevenRounds) {
  static_assert(kDropoutRounds == 7);
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (PhiloxWords{0x5f6fb709u, 0x0d893f64u, 0x4f121f81u, 0x4f730a48u}));
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (PhiloxWords{0x5207ddc2u, 0x45165e59u, 0x4d8ee751u, 0x8c52f662u}));
  EXPECT_EQ(philox4x32(kPiCounter, kPiKey), (PhiloxWords{0x4dfccabau, 0x190a87f0u, 0xc47362bau, 0xb6b5242au}));
}

TEST(Dropout, GroupsOfEightEntries) {
  // Rows 16 a + r and 16 a + r + 8 share a group and differ in the half.
  EXPECT_EQ(dropoutRowGroup(0), 0u);
  EXPECT_EQ(dropoutRowGroup(7), 7u);
  EXPECT_EQ(dropoutRowGroup(8), 0u);
  EXPECT_EQ(dropoutRowGroup(15), 7u);
  EXPECT_EQ(dropoutRowGroup(16), 8u);
  EXPECT_EQ(dropoutRowGroup(45), 21u);
  EXPECT_EQ(dropoutHalf(45), 1u);
  EXPECT_EQ(dropoutHalf(16), 0u);
  EXPECT_EQ(dropoutHalf(8), 1u);
  // Columns 32 a + r, + 8, + 16 and + 24 share one.
  EXPECT_EQ(dropoutColumnGroup(31), 7u);
  EXPECT_EQ(dropoutColumnGroup(32), 8u);
  EXPECT_EQ(dropoutColumnGroup(77), 21u);
  EXPECT_EQ(dropoutPart(15), 0u);
  EXPECT_EQ(dropoutPart(16), 1u);
  EXPECT_EQ(dropoutPart(32), 0u);
  int64_t rows[64] = {}, columns[32] = {};
  for (int64_t i = 0; i < 128; ++i) {
    ASSERT_LT(dropoutRowGroup(i), 64u);
    rows[dropoutRowGroup(i)] += dropoutHalf(i) == 0 ? 1 : 100;
    ASSERT_LT(dropoutColumnGroup(i), 32u);
    columns[dropoutColumnGroup(i)] += (dropoutHalf(i) == 0 ? 1 : 100) * (dropoutPart(i) == 0 ? 1 : 10);
  }
  for (int64_t count : rows) {
    EXPECT_EQ(count, 101);
  }
  for (int64_t count : columns) {
    EXPECT_EQ(count, 1111) << "each word's each part once";
  }
}

TEST(Dropout, KeyAndCounterUseEveryBit) {
  constexpr uint64_t seed = 0x0123456789abcdefu;
  constexpr uint64_t offset = 0xfedcba9876543210u;
  EXPECT_EQ(dropoutKey(seed, offset), (PhiloxKey{0x89abcdefu ^ 0xfedcba98u, 0x01234567u}));
  EXPECT_EQ(dropoutWords(dropoutKey(seed, offset), offset, 5, 21, 9),
            philox4x32({21, 9, 5, 0x76543210u}, {0x77777777u, 0x01234567u}));
}

TEST(Dropout, WrittenDownWords) {
  EXPECT_EQ(dropoutWords(dropoutKey(42, 0), 0, 0, 0, 0),
            (PhiloxWords{0x92cbc19au, 0xca38a8e0u, 0x3263f2b4u, 0x0153ad48u}));
  EXPECT_EQ(dropoutWords(dropoutKey(42, 7), 7, 3, 21, 9),
            (PhiloxWords{0xe80f28a0u, 0x534722a7u, 0x4719a0ebu, 0xe2493e4cu}));
  EXPECT_EQ(dropoutWords(dropoutKey(0x0123456789abcdefu, 0xfedcba9876543210u), 0xfedcba9876543210u, 5, 21, 9),
            (PhiloxWords{0x01cc1e6eu, 0xb1925b7du, 0x3548077au, 0xd8e5eb01u}));
}

TEST(Dropout, BitsOfAnEntry) {
  // The words of seed 42, offset 7, head 3, groups 21 and 9 stand above: rows 37 and 45, columns 33, 41, 49, 57.
  constexpr PhiloxKey key = dropoutKey(42, 7);
  EXPECT_EQ(dropoutBits(key, 7, 3, 37, 33), 0xe80fu);
  EXPECT_EQ(dropoutBits(key, 7, 3, 37, 49), 0x28a0u);
  EXPECT_EQ(dropoutBits(key, 7, 3, 37, 41), 0x5347u);
  EXPECT_EQ(dropoutBits(key, 7, 3, 37, 57), 0x22a7u);
  EXPECT_EQ(dropoutBits(key, 7, 3, 45, 33), 0x4719u);
  EXPECT_EQ(dropoutBits(key, 7, 3, 45, 57), 0x3e4cu);
}

TEST(Dropout, Threshold) {
  EXPECT_EQ(dropoutThreshold(0.0), 65536u);
  EXPECT_EQ(dropoutThreshold(0.5), 32768u);
  EXPECT_EQ(dropoutThreshold(0.1), 58982u); // 58982.4
  EXPECT_EQ(dropoutThreshold(0.17), 54395u); // 54394.88
  EXPECT_EQ(dropoutThreshold(1e-9), 65536u);
  EXPECT_EQ(dropoutThreshold(std::nextafter(1.0, 0.0)), 1u) << "something stays";
  EXPECT_DOUBLE_EQ(dropoutScale(dropoutThreshold(0.5)), 2.0);
  EXPECT_DOUBLE_EQ(dropoutScale(58982), 65536.0 / 58982.0);
  EXPECT_TRUE(dropoutKeeps(0x7fffu, 32768));
  EXPECT_FALSE(dropoutKeeps(0x8000u, 32768));
  EXPECT_TRUE(dropoutKeeps(0xffffu, 65536)) << "at 65536 nothing is dropped";
}
