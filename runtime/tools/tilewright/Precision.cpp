// SPDX-License-Identifier: Apache-2.0
//
// Conversions of element types.
#include "Precision.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace tilewright::cli {

namespace {

uint16_t toBfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) {
    return static_cast<uint16_t>((bits >> 16) | 0x40);
  }
  // Adding just under half, plus the lowest kept bit, carries exactly when rounding to nearest even goes up.
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float fromBfloat16(uint16_t code) { return std::bit_cast<float>(static_cast<uint32_t>(code) << 16); }

template <typename T> T read(const std::byte *address) {
  T value;
  std::memcpy(&value, address, sizeof(value));
  return value;
}

template <typename T> void write(std::byte *address, T value) { std::memcpy(address, &value, sizeof(value)); }

} // namespace

std::string_view dtypeName(DType dtype) {
  switch (dtype) {
  case DType::Float32:
    return "f32";
  case DType::Float16:
    return "f16";
  case DType::BFloat16:
    return "bf16";
  case DType::Float64:
    return "f64";
  case DType::Int32:
    return "i32";
  case DType::Bool:
    return "bool";
  case DType::Int64:
    break;
  }
  return "i64";
}

size_t elementBytes(DType dtype) {
  switch (dtype) {
  case DType::Float16:
  case DType::BFloat16:
    return 2;
  case DType::Float32:
  case DType::Int32:
    return 4;
  case DType::Bool:
    return 1;
  case DType::Float64:
  case DType::Int64:
    break;
  }
  return 8;
}

float roundTo(DType dtype, float value) {
  switch (dtype) {
  case DType::Float16:
    return static_cast<float>(static_cast<_Float16>(value));
  case DType::BFloat16:
    return fromBfloat16(toBfloat16(value));
  default:
    return value;
  }
}

double ulpAt(DType dtype, double magnitude) {
  const int mantissaBits = dtype == DType::Float16    ? 10
                           : dtype == DType::BFloat16 ? 7
                           : dtype == DType::Float32  ? 23
                                                      : 52;
  const int minExponent = dtype == DType::Float16 ? -14 : dtype == DType::Float64 ? -1022 : -126;
  const int exponent = magnitude > 0.0 ? std::max(std::ilogb(magnitude), minExponent) : minExponent;
  return std::ldexp(1.0, exponent - mantissaBits);
}

double loadElement(DType dtype, const std::byte *address) {
  switch (dtype) {
  case DType::Float16:
    return static_cast<double>(read<_Float16>(address));
  case DType::BFloat16:
    return fromBfloat16(read<uint16_t>(address));
  case DType::Float32:
    return read<float>(address);
  case DType::Int32:
    return read<int32_t>(address);
  case DType::Int64:
    return static_cast<double>(read<int64_t>(address));
  case DType::Bool:
    return read<uint8_t>(address) != 0 ? 1.0 : 0.0;
  case DType::Float64:
    break;
  }
  return read<double>(address);
}

void storeElement(DType dtype, std::byte *address, double value) {
  switch (dtype) {
  case DType::Float16:
    return write(address, static_cast<_Float16>(value));
  case DType::BFloat16:
    return write(address, toBfloat16(static_cast<float>(value)));
  case DType::Float32:
    return write(address, static_cast<float>(value));
  case DType::Int32:
    return write(address, static_cast<int32_t>(value));
  case DType::Int64:
    return write(address, static_cast<int64_t>(value));
  case DType::Bool:
    return write(address, static_cast<uint8_t>(value != 0.0));
  case DType::Float64:
    break;
  }
  write(address, value);
}

void storeSentinel(DType dtype, std::byte *address) {
  switch (dtype) {
  case DType::Float16:
    return write(address, uint16_t{0x7ea5});
  case DType::BFloat16:
    return write(address, uint16_t{0x7fe5});
  case DType::Float32:
    return write(address, uint32_t{0x7fe5a5a5});
  case DType::Int32:
    return write(address, std::numeric_limits<int32_t>::max());
  case DType::Int64:
    return write(address, std::numeric_limits<int64_t>::max());
  case DType::Bool:
    return write(address, uint8_t{1});
  case DType::Float64:
    break;
  }
  write(address, uint64_t{0x7ffca5a5a5a5a5a5});
}

} // namespace tilewright::cli
