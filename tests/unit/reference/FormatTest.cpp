// SPDX-License-Identifier: Apache-2.0
//
// The oracle's 16-bit conversions: every code decoded against a second definition, and encoded from its own value, from
// both sides of every rounding boundary, and from the boundary itself.
#include "tilewright/kernels/ReferenceAttention.h"
#include <bit>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <gtest/gtest.h>
#include <limits>
#include <utility>

using namespace tilewright::kernels;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Codes of non-negative finite numbers ascend with their values, so a neighbour is code + 1, and the rounding boundary
/// between two of them is their mean (exact in double). `firstInfinite` follows the largest finite code.
void checkRounding(double (*decode)(uint16_t), uint16_t (*encode)(double), uint16_t firstInfinite, double beyond) {
  for (uint32_t code = 0; code < firstInfinite; ++code) {
    const double value = decode(static_cast<uint16_t>(code));
    // The step above the largest finite number ends at the power of two that infinity's code would stand for.
    const double above = code + 1 == firstInfinite ? beyond : decode(static_cast<uint16_t>(code + 1));
    const double middle = (value + above) / 2;
    const uint32_t even = code % 2 == 0 ? code : code + 1;
    ASSERT_EQ(encode(value), code);
    ASSERT_EQ(encode(-value), code | 0x8000u);
    ASSERT_EQ(encode(middle), even) << "tie above code " << code;
    ASSERT_EQ(encode(-middle), even | 0x8000u) << "tie below code " << (code | 0x8000u);
    ASSERT_EQ(encode(std::nextafter(middle, 0.0)), code);
    ASSERT_EQ(encode(std::nextafter(middle, kInfinity)), code + 1);
  }
}

TEST(ReferenceFormat, HalfDecodesEveryCode) {
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const double value = halfToDouble(static_cast<uint16_t>(code));
    const bool negative = code >= 0x8000;
    const uint32_t exponent = (code >> 10) & 31;
    const uint32_t mantissa = code & 1023;
    ASSERT_EQ(std::signbit(value), negative) << code;
    if (exponent == 31) {
      ASSERT_EQ(std::isnan(value), mantissa != 0) << code;
      ASSERT_EQ(std::isinf(value), mantissa == 0) << code;
      continue;
    }
    const double expected = exponent == 0
                                ? mantissa * std::pow(2.0, -24.0)
                                : (1.0 + mantissa / 1024.0) * std::pow(2.0, static_cast<int>(exponent) - 15.0);
    ASSERT_EQ(std::fabs(value), expected) << code;
  }
}

TEST(ReferenceFormat, Bfloat16IsTheUpperHalfOfAFloat) {
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const auto expected = static_cast<double>(std::bit_cast<float>(code << 16));
    const double value = bfloat16ToDouble(static_cast<uint16_t>(code));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << code;
      ASSERT_EQ(std::signbit(value), code >= 0x8000) << code;
    } else {
      ASSERT_EQ(std::bit_cast<uint64_t>(value), std::bit_cast<uint64_t>(expected)) << code;
    }
  }
}

TEST(ReferenceFormat, HalfRoundsToNearestEven) { checkRounding(halfToDouble, doubleToHalf, 0x7c00, 65536.0); }

TEST(ReferenceFormat, Bfloat16RoundsToNearestEven) {
  checkRounding(bfloat16ToDouble, doubleToBfloat16, 0x7f80, std::ldexp(1.0, 128));
}

TEST(ReferenceFormat, SpecialValues) {
  for (auto [encode, infinite] : {std::pair{&doubleToHalf, 0x7c00}, std::pair{&doubleToBfloat16, 0x7f80}}) {
    EXPECT_EQ(encode(kInfinity), infinite);
    EXPECT_EQ(encode(-kInfinity), infinite | 0x8000);
    EXPECT_EQ(encode(std::numeric_limits<double>::max()), infinite);
    EXPECT_EQ(encode(std::numeric_limits<double>::denorm_min()), 0);
    EXPECT_EQ(encode(-std::numeric_limits<double>::min()), 0x8000);
    EXPECT_EQ(encode(-0.0), 0x8000);
    for (double sign : {1.0, -1.0}) {
      const int code = encode(std::copysign(std::numeric_limits<double>::quiet_NaN(), sign));
      EXPECT_GT(code & 0x7fff, infinite);
      EXPECT_EQ(code >= 0x8000, sign < 0);
    }
    // A NaN whose payload lies only in bits that the short type drops must not become infinity.
    EXPECT_GT(encode(std::bit_cast<double>(uint64_t{0x7ff0000000000001})) & 0x7fff, infinite);
  }
}

TEST(ReferenceFormat, RoundsOnceNotThroughFloat) {
  // Just above the tie between 1 and the next half; as a float it would be the tie itself, and round down to 1.
  EXPECT_EQ(doubleToHalf(1.0 + std::ldexp(1.0, -11) + std::ldexp(1.0, -40)), 0x3c01);
  EXPECT_EQ(doubleToBfloat16(1.0 + std::ldexp(1.0, -8) + std::ldexp(1.0, -40)), 0x3f81);
}

TEST(ReferenceFormat, IgnoresTheRoundingMode) {
  const int before = std::fegetround();
  ASSERT_EQ(std::fesetround(FE_UPWARD), 0);
  const uint16_t half = doubleToHalf(1.0 + std::ldexp(1.0, -12));
  const uint16_t bfloat = doubleToBfloat16(1.0 + std::ldexp(1.0, -12));
  std::fesetround(before);
  EXPECT_EQ(half, 0x3c00);
  EXPECT_EQ(bfloat, 0x3f80);
}

} // namespace
