// SPDX-License-Identifier: Apache-2.0
//
// 16-bit floating-point numbers to double and back, in integer arithmetic.
#include "tilewright/kernels/ReferenceAttention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace tilewright::kernels {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Value of a binary floating-point code with the given field widths.
template <unsigned ExponentBits, unsigned MantissaBits> double decode(uint32_t code) {
  constexpr int bias = (1 << (ExponentBits - 1)) - 1;
  constexpr uint32_t exponentMask = (1u << ExponentBits) - 1;
  constexpr uint32_t mantissaMask = (1u << MantissaBits) - 1;
  const bool negative = (code >> (ExponentBits + MantissaBits)) & 1u;
  const int exponent = static_cast<int>((code >> MantissaBits) & exponentMask);
  const uint32_t mantissa = code & mantissaMask;
  double magnitude = 0.0;
  if (exponent == static_cast<int>(exponentMask)) {
    magnitude = mantissa == 0 ? kInfinity : kNaN;
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<double>(mantissa), 1 - bias - static_cast<int>(MantissaBits));
  } else {
    magnitude = std::ldexp(static_cast<double>(mantissa | (1u << MantissaBits)),
                           exponent - bias - static_cast<int>(MantissaBits));
  }
  return std::copysign(magnitude, negative ? -1.0 : 1.0);
}

/// Nearest code to `value`, ties to even, in integer arithmetic.
template <unsigned ExponentBits, unsigned MantissaBits> uint32_t encode(double value) {
  constexpr int bias = (1 << (ExponentBits - 1)) - 1;
  constexpr int minExponent = 1 - bias;
  constexpr uint32_t infinityCode = ((1u << ExponentBits) - 1) << MantissaBits;
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  const uint32_t sign = static_cast<uint32_t>(bits >> 63) << (ExponentBits + MantissaBits);
  const int biasedExponent = static_cast<int>((bits >> 52) & 0x7ff);
  const uint64_t fraction = bits & ((uint64_t{1} << 52) - 1);
  if (biasedExponent == 0x7ff) {
    return sign | infinityCode | (fraction != 0 ? 1u << (MantissaBits - 1) : 0u);
  }
  if (biasedExponent == 0) { // zero, or a double far below half of the smallest subnormal of either type
    return sign;
  }
  const int exponent = biasedExponent - 1023;
  if (exponent > bias) {
    return sign | infinityCode;
  }
  const uint64_t significand = fraction | (uint64_t{1} << 52);
  const int shift = 52 - static_cast<int>(MantissaBits) + std::max(0, minExponent - exponent);
  if (shift > 53) { // below half of the smallest subnormal
    return sign;
  }
  uint64_t rounded = significand >> shift;
  const uint64_t rest = significand & ((uint64_t{1} << shift) - 1);
  const uint64_t half = uint64_t{1} << (shift - 1);
  if (rest > half || (rest == half && (rounded & 1) != 0)) {
    ++rounded;
  }
  // For a normal number `rounded` holds the leading one, which adds 1 to the exponent field; a carry out of the
  // mantissa adds another, and reaches exactly the code of infinity when it leaves the range.
  const auto exponentField = static_cast<uint32_t>(std::max(exponent, minExponent) - minExponent);
  return sign | ((exponentField << MantissaBits) + static_cast<uint32_t>(rounded));
}

} // namespace

double halfToDouble(uint16_t code) { return decode<5, 10>(code); }
double bfloat16ToDouble(uint16_t code) { return decode<8, 7>(code); }
uint16_t doubleToHalf(double value) { return static_cast<uint16_t>(encode<5, 10>(value)); }
uint16_t doubleToBfloat16(double value) { return static_cast<uint16_t>(encode<8, 7>(value)); }

} // namespace tilewright::kernels
