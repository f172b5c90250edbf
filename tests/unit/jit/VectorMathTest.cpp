// SPDX-License-Identifier: Apache-2.0
//
// exp2, log2 and the 16-bit formats as generated code computes them, on every CPU level that this machine runs: over
// dense sets of floats, against the C library in double precision and against the oracle's own conversions.
#include "TileProgram.h"
#include "tilewright/kernels/ReferenceAttention.h"
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

using namespace tilewright;
using namespace tilewright::tests;

namespace {

constexpr int64_t kBlock = 1024; // elements of a program
constexpr float kInf = std::numeric_limits<float>::infinity();

/// A program that maps `from` elements to `to` elements through `body`, which turns %x into %y.
std::string elementwise(const std::string &from, const std::string &to, const std::string &body) {
  auto replaced = [](std::string text, const std::string &word, const std::string &by) {
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + by.size())) {
      text.replace(at, word.size(), by);
    }
    return text;
  };
  std::string text = R"(func.func @program(%in: !tile.ptr<FROM>, %out: !tile.ptr<TO>) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %rows = arith.constant 64 : index
  %cols = arith.constant 16 : index
  %block = arith.constant 1024 : index
  %program = tile.program : index
  %offset = arith.muli %program, %block : index
  %v = tile.view %in[%offset] sizes(%rows, %cols) strides(%cols, %one) : !tile.ptr<FROM> -> !tile.view<2 x FROM, unit>
  %w = tile.view %out[%offset] sizes(%rows, %cols) strides(%cols, %one) : !tile.ptr<TO> -> !tile.view<2 x TO, unit>
  %x = tile.load %v[%zero, %zero] bounds [false, false] : !tile.view<2 x FROM, unit> -> tensor<64x16xFROM>
  BODY
  tile.store %y, %w[%zero, %zero] bounds [false, false] : tensor<64x16xTO>, !tile.view<2 x TO, unit>
  return
})";
  return replaced(replaced(replaced(text, "BODY", body), "FROM", from), "TO", to);
}

template <typename To, typename From>
std::vector<To> map(const runtime::LoadedKernel &kernel, std::vector<From> in) {
  const size_t count = in.size();
  in.resize((count + kBlock - 1) / kBlock * kBlock, From());
  std::vector<To> out(in.size());
  for (int64_t program = 0; program < static_cast<int64_t>(in.size()) / kBlock; ++program) {
    callTileProgram(kernel, {in.data(), out.data()}, program);
  }
  out.resize(count);
  return out;
}

/// Floats whose codes are `step` apart: both signs, subnormals, every exponent, NaN; and the special ones by name.
std::vector<float> floats(uint32_t step) {
  std::vector<float> values = {0.0f,
                               -0.0f,
                               kInf,
                               -kInf,
                               std::numeric_limits<float>::quiet_NaN(),
                               -std::numeric_limits<float>::quiet_NaN(),
                               std::bit_cast<float>(0x7f800001u), // signalling
                               std::bit_cast<float>(0xffbfffffu),
                               std::numeric_limits<float>::min(),
                               std::numeric_limits<float>::denorm_min(),
                               -std::numeric_limits<float>::denorm_min(),
                               std::numeric_limits<float>::max(),
                               std::numeric_limits<float>::lowest()};
  for (uint64_t code = 0; code < uint64_t{1} << 32; code += step) {
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(code)));
  }
  return values;
}

class VectorMath : public testing::TestWithParam<CpuLevel> {};

INSTANTIATE_TEST_SUITE_P(Host, VectorMath, testing::ValuesIn(runnableLevels()),
                         [](const auto &info) { return "v" + std::to_string(static_cast<int>(info.param)); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(VectorMath);

TEST_P(VectorMath, Exp2) {
  auto kernel = compileTileProgram(elementwise("f32", "f32", "%y = tile.exp2 %x : tensor<64x16xf32>"), GetParam());
  std::vector<float> inputs = floats(1021);
  for (int i = -150 * 4096; i <= 130 * 4096; ++i) { // where the results are, densely
    inputs.push_back(static_cast<float>(i) / 4096.0f);
  }
  const std::vector<float> results = map<float>(*kernel, inputs);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const float x = inputs[i], y = results[i];
    if (std::isnan(x)) {
      ASSERT_TRUE(std::isnan(y)) << "exp2(NaN) is " << y;
      continue;
    }
    if (x >= 128.0f) {
      ASSERT_EQ(y, kInf) << "exp2(" << x << ")";
      continue;
    }
    const double wanted = std::exp2(static_cast<double>(x));
    if (x < -126.0f) { // below the smallest normal number 0 will do
      ASSERT_TRUE(y == 0.0f || std::abs(y - wanted) <= 0x1p-22 * wanted + 0x1p-149) << "exp2(" << x << ") is " << y;
      continue;
    }
    if (x >= 127.5f && y == kInf) { // the upper half of the last binade, as TileOps.td says
      continue;
    }
    const double error = std::abs(y - wanted) / wanted;
    ASSERT_LE(error, 0x1p-22) << "exp2(" << x << ") is " << y;
  }
  const std::vector<float> known = {-kInf, kInf, 0.0f, -0.0f, 1.0f, -126.0f, 10.0f};
  EXPECT_EQ(map<float>(*kernel, known), (std::vector<float>{0.0f, kInf, 1.0f, 1.0f, 2.0f, 0x1p-126f, 1024.0f}));
}

TEST_P(VectorMath, Log2) {
  auto kernel = compileTileProgram(elementwise("f32", "f32", "%y = tile.log2 %x : tensor<64x16xf32>"), GetParam());
  std::vector<float> inputs;
  for (float x : floats(1021)) { // what TileOps.td promises: positive normal numbers, +inf, NaN
    if (std::isnan(x) || x >= std::numeric_limits<float>::min()) {
      inputs.push_back(x);
    }
  }
  for (uint32_t code = std::bit_cast<uint32_t>(0.99f); code < std::bit_cast<uint32_t>(1.01f); ++code) {
    inputs.push_back(std::bit_cast<float>(code)); // around 1, where the result is small: all of them
  }
  const std::vector<float> results = map<float>(*kernel, inputs);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const float x = inputs[i], y = results[i];
    if (std::isnan(x)) {
      ASSERT_TRUE(std::isnan(y)) << "log2(NaN) is " << y;
    } else if (std::isinf(x)) {
      ASSERT_EQ(y, kInf);
    } else {
      const double wanted = std::log2(static_cast<double>(x));
      ASSERT_LE(std::abs(y - wanted), 0x1p-21 * std::abs(wanted)) << "log2(" << std::hexfloat << x << ") is " << y;
    }
  }
  const std::vector<float> known = {1.0f, 2.0f, 0.5f, 1024.0f, 0x1p-126f, 0x1p127f};
  EXPECT_EQ(map<float>(*kernel, known), (std::vector<float>{0.0f, 1.0f, -1.0f, 10.0f, -126.0f, 127.0f}));
}

std::vector<uint16_t> allCodes() {
  std::vector<uint16_t> codes(65536);
  for (uint32_t code = 0; code < codes.size(); ++code) {
    codes[code] = static_cast<uint16_t>(code);
  }
  return codes;
}

/// All codes of a 16-bit format to float32: exact, and NaN stays NaN with its sign.
void checkWidening(const std::string &type, double (*value)(uint16_t), CpuLevel level) {
  auto kernel = compileTileProgram(
      elementwise(type, "f32", "%y = arith.extf %x : tensor<64x16x" + type + "> to tensor<64x16xf32>"), level);
  const std::vector<uint16_t> codes = allCodes();
  const std::vector<float> results = map<float>(*kernel, codes);
  for (size_t i = 0; i < codes.size(); ++i) {
    const auto wanted = static_cast<float>(value(codes[i]));
    if (std::isnan(wanted)) {
      ASSERT_TRUE(std::isnan(results[i])) << type << " code " << codes[i];
      ASSERT_EQ(std::signbit(results[i]), (codes[i] & 0x8000) != 0) << type << " code " << codes[i];
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(results[i]), std::bit_cast<uint32_t>(wanted)) << type << " code " << codes[i];
    }
  }
}

/// float32 to a 16-bit format, bit by bit: floats of every kind, and every number of the format with its neighbours,
/// the midpoints to the next number (ties) and theirs.
void checkNarrowing(const std::string &type, double (*value)(uint16_t), uint16_t (*encode)(double), CpuLevel level) {
  auto kernel = compileTileProgram(
      elementwise("f32", type, "%y = arith.truncf %x : tensor<64x16xf32> to tensor<64x16x" + type + ">"), level);
  std::vector<float> inputs = floats(1021);
  auto around = [&](double number) {
    const auto x = static_cast<float>(number);
    inputs.insert(inputs.end(), {x, std::nextafter(x, kInf), std::nextafter(x, -kInf)});
  };
  for (uint16_t code : allCodes()) {
    if (std::isfinite(value(code))) {
      around(value(code));
      const auto next = static_cast<uint16_t>(code + 1); // away from 0
      if (std::isfinite(value(next)) && (code ^ next) < 0x8000) {
        around((value(code) + value(next)) / 2);
      }
    }
  }
  const std::vector<uint16_t> results = map<uint16_t>(*kernel, inputs);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const float x = inputs[i];
    if (std::isnan(x)) {
      ASSERT_TRUE(std::isnan(value(results[i]))) << type << " of NaN " << std::bit_cast<uint32_t>(x);
    } else {
      ASSERT_EQ(results[i], encode(x)) << type << " of " << std::hexfloat << x;
    }
  }
}

TEST_P(VectorMath, F16ToF32) { checkWidening("f16", kernels::halfToDouble, GetParam()); }
TEST_P(VectorMath, BF16ToF32) { checkWidening("bf16", kernels::bfloat16ToDouble, GetParam()); }
TEST_P(VectorMath, F32ToF16) { checkNarrowing("f16", kernels::halfToDouble, kernels::doubleToHalf, GetParam()); }
TEST_P(VectorMath, F32ToBF16) {
  checkNarrowing("bf16", kernels::bfloat16ToDouble, kernels::doubleToBfloat16, GetParam());
}

} // namespace
