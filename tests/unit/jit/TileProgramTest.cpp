// SPDX-License-Identifier: Apache-2.0
//
// What operations on tiles compute, run: the cases that the attention programs of today do not reach, or reach with one
// shape only. Structure is tested by tests/lit, numbers here.
#include "TileProgram.h"
#include "tilewright/kernels/ReferenceAttention.h"
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <random>

using namespace tilewright;
using namespace tilewright::tests;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// Replaces each NAME=VALUE's name in a program's text.
std::string with(std::string text, std::initializer_list<std::pair<std::string, std::string>> words) {
  for (const auto &[word, by] : words) {
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + by.size())) {
      text.replace(at, word.size(), by);
    }
  }
  return text;
}

/// Floats in memory that ends at an unreadable page.
class Floats {
public:
  explicit Floats(std::vector<float> values) : memory(values.size() * sizeof(float)) {
    std::copy(values.begin(), values.end(), memory.data<float>());
  }
  Floats(size_t count, float value) : Floats(std::vector<float>(count, value)) {}
  const void *data() const { return memory.data(); }
  float operator[](size_t i) const { return memory.data<float>()[i]; }
  std::vector<float> values() const {
    return {memory.data<float>(), memory.data<float>() + memory.bytes() / sizeof(float)};
  }

private:
  GuardedMemory memory;
};

std::vector<float> smallIntegers(size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<float> values(count);
  for (float &value : values) {
    value = static_cast<float>(static_cast<int>(generator() % 17) - 8);
  }
  return values;
}

class TilePrograms : public testing::TestWithParam<CpuLevel> {};

INSTANTIATE_TEST_SUITE_P(Host, TilePrograms, testing::ValuesIn(runnableLevels()),
                         [](const auto &info) { return "v" + std::to_string(static_cast<int>(info.param)); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TilePrograms);

// A maximum ignores NaN wherever in the row it stands: in the first vector, in the last, beside a larger number in the
// same lane of another vector. A sum does not.
TEST_P(TilePrograms, ReductionsAlongBothAxes) {
  constexpr int kRows = 5, kCols = 37;
  std::vector<float> in = smallIntegers(kRows * kCols, 3);
  for (int i : {0, 1, 17, 35, 36}) {
    in[static_cast<size_t>(0 * kCols + i)] = kNaN;
  }
  in[16] = 100.0f; // row 0: the lane of in[0] on every level
  for (int j = 0; j < kCols; ++j) {
    in[static_cast<size_t>(3 * kCols + j)] = -kInf;
  }
  const std::string text = R"(func.func @program(%in: !tile.ptr<f32>, %out: !tile.ptr<f32>) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %rows = arith.constant 5 : index
  %cols = arith.constant 37 : index
  %two = arith.constant 42 : index
  %five = arith.constant 5 : index
  %ten = arith.constant 47 : index
  %v = tile.view %in[%zero] sizes(%rows, %cols) strides(%cols, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %a = tile.view %out[%zero] sizes(%rows) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  %b = tile.view %out[%five] sizes(%cols) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  %c = tile.view %out[%two] sizes(%rows) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  %d = tile.view %out[%ten] sizes(%cols) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  %t = tile.load %v[%zero, %zero] bounds [false, false] : !tile.view<2 x f32, unit> -> tensor<5x37xf32>
  %m1 = tile.reduce max %t axis 1 : tensor<5x37xf32> -> tensor<5xf32>
  %m0 = tile.reduce max %t axis 0 : tensor<5x37xf32> -> tensor<37xf32>
  %s1 = tile.reduce sum %t axis 1 : tensor<5x37xf32> -> tensor<5xf32>
  %s0 = tile.reduce sum %t axis 0 : tensor<5x37xf32> -> tensor<37xf32>
  tile.store %m1, %a[%zero] bounds [false] : tensor<5xf32>, !tile.view<1 x f32, unit>
  tile.store %m0, %b[%zero] bounds [false] : tensor<37xf32>, !tile.view<1 x f32, unit>
  tile.store %s1, %c[%zero] bounds [false] : tensor<5xf32>, !tile.view<1 x f32, unit>
  tile.store %s0, %d[%zero] bounds [false] : tensor<37xf32>, !tile.view<1 x f32, unit>
  return
})";
  auto kernel = compileTileProgram(text, GetParam());
  Floats input(in), out(84, 77.0f);
  callTileProgram(*kernel, {input.data(), out.data()});
  auto check = [&](float got, float wantedMax, float wantedSum, float gotSum, const std::string &where) {
    EXPECT_EQ(got, wantedMax) << "maximum of " << where;
    EXPECT_TRUE(std::isnan(wantedSum) ? std::isnan(gotSum) : gotSum == wantedSum)
        << "sum of " << where << " is " << gotSum << ", should be " << wantedSum;
  };
  auto reduced = [&](int count, auto at) {
    float max = -kInf, sum = 0.0f; // small integers: every order of additions gives the same
    for (int i = 0; i < count; ++i) {
      max = at(i) > max ? at(i) : max;
      sum += at(i);
    }
    return std::pair{max, sum};
  };
  for (int i = 0; i < kRows; ++i) {
    auto [max, sum] = reduced(kCols, [&](int j) { return in[static_cast<size_t>(i * kCols + j)]; });
    check(out[static_cast<size_t>(i)], max, sum, out[static_cast<size_t>(42 + i)], "row " + std::to_string(i));
  }
  for (int j = 0; j < kCols; ++j) {
    auto [max, sum] = reduced(kRows, [&](int i) { return in[static_cast<size_t>(i * kCols + j)]; });
    check(out[static_cast<size_t>(5 + j)], max, sum, out[static_cast<size_t>(47 + j)], "column " + std::to_string(j));
  }
  EXPECT_EQ(out[0], 100.0f);
}

// Every way to transpose, in shapes that no register tile divides: (M x K) (K x N) + C, exact on small integers.
TEST_P(TilePrograms, Products) {
  constexpr int kM = 7, kK = 5, kN = 19;
  const std::string text = R"(func.func @program(%pa: !tile.ptr<f32>, %pb: !tile.ptr<f32>, %pc: !tile.ptr<f32>) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %ac = arith.constant ACOLS : index
  %bc = arith.constant BCOLS : index
  %cc = arith.constant 19 : index
  %va = tile.view %pa[%zero] sizes(%ac, %ac) strides(%ac, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %vb = tile.view %pb[%zero] sizes(%bc, %bc) strides(%bc, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %vc = tile.view %pc[%zero] sizes(%cc, %cc) strides(%cc, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %a = tile.load %va[%zero, %zero] bounds [false, false] : !tile.view<2 x f32, unit> -> tensor<ASHAPExf32>
  %b = tile.load %vb[%zero, %zero] bounds [false, false] : !tile.view<2 x f32, unit> -> tensor<BSHAPExf32>
  %c = tile.load %vc[%zero, %zero] bounds [false, false] : !tile.view<2 x f32, unit> -> tensor<7x19xf32>
  %d = tile.dot %a, %b, %c FLAGS : tensor<ASHAPExf32>, tensor<BSHAPExf32> -> tensor<7x19xf32>
  %start = arith.constant dense<2.0> : tensor<7x19xf32>
  %e = tile.dot %a, %b, %start FLAGS : tensor<ASHAPExf32>, tensor<BSHAPExf32> -> tensor<7x19xf32>
  %f = arith.addf %d, %e : tensor<7x19xf32>
  tile.store %f, %vc[%zero, %zero] bounds [false, false] : tensor<7x19xf32>, !tile.view<2 x f32, unit>
  return
})";
  for (const char *micro : {"1 x 1", "3 x 3", "2 x 2", "16 x 8", "7 x 1", "1 x 8"}) {
    for (int flags = 0; flags < 4; ++flags) {
      const bool transA = (flags & 1) != 0, transB = (flags & 2) != 0;
      auto kernel = compileTileProgram(
          with(text, {{"ACOLS", transA ? "7" : "5"},
                      {"BCOLS", transB ? "5" : "19"},
                      {"ASHAPE", transA ? "5x7" : "7x5"},
                      {"BSHAPE", transB ? "19x5" : "5x19"},
                      {"FLAGS", std::string(transA ? "trans_a " : "") + (transB ? "trans_b" : "")}}),
          GetParam(), micro);
      const std::vector<float> a = smallIntegers(kM * kK, 1), b = smallIntegers(kK * kN, 2);
      const std::vector<float> c = smallIntegers(kM * kN, 3);
      Floats ma(a), mb(b), mc(c);
      callTileProgram(*kernel, {ma.data(), mb.data(), mc.data()});
      for (int i = 0; i < kM; ++i) {
        for (int j = 0; j < kN; ++j) {
          float product = 0.0f;
          for (int k = 0; k < kK; ++k) {
            product += a[static_cast<size_t>(transA ? k * kM + i : i * kK + k)] *
                       b[static_cast<size_t>(transB ? j * kK + k : k * kN + j)];
          }
          ASSERT_EQ(mc[static_cast<size_t>(i * kN + j)], 2 * product + c[static_cast<size_t>(i * kN + j)] + 2)
              << "micro " << micro << ", flags " << flags << ", element " << i << ", " << j;
        }
      }
    }
  }
}

// Carried tiles that change places, one that is replaced, and a condition in the loop.
TEST_P(TilePrograms, LoopCarriedTiles) {
  const std::string text = R"(func.func @program(%p: !tile.ptr<f32>, %count: i64, %x: f32) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.index_cast %count : i64 to index
  %nine = arith.constant 9 : index
  %v = tile.view %p[%zero] sizes(%nine, %nine) strides(%nine, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %a = arith.constant dense<1.0> : tensor<1x9xf32>
  %b = tile.splat %x : tensor<1x9xf32>
  %c = arith.addf %b, %a : tensor<1x9xf32>
  %r:4 = scf.for %i = %zero to %n step %one iter_args(%s = %a, %t = %b, %u = %c, %w = %c)
      -> (tensor<1x9xf32>, tensor<1x9xf32>, tensor<1x9xf32>, tensor<1x9xf32>) {
    %sum = arith.addf %s, %u : tensor<1x9xf32>
    scf.yield %t, %s, %sum, %u : tensor<1x9xf32>, tensor<1x9xf32>, tensor<1x9xf32>, tensor<1x9xf32>
  }
  %two = arith.constant 2 : index
  %three = arith.constant 3 : index
  tile.store %r#0, %v[%zero, %zero] bounds [false, false] : tensor<1x9xf32>, !tile.view<2 x f32, unit>
  tile.store %r#1, %v[%one, %zero] bounds [false, false] : tensor<1x9xf32>, !tile.view<2 x f32, unit>
  tile.store %r#2, %v[%two, %zero] bounds [false, false] : tensor<1x9xf32>, !tile.view<2 x f32, unit>
  tile.store %r#3, %v[%three, %zero] bounds [false, false] : tensor<1x9xf32>, !tile.view<2 x f32, unit>
  return
})";
  auto kernel = compileTileProgram(text, GetParam());
  for (int count : {0, 1, 2, 5}) {
    float s = 1.0f, t = 10.0f, u = 11.0f, w = 11.0f;
    for (int i = 0; i < count; ++i) {
      float oldS = s, oldU = u;
      s = t;
      t = oldS;
      u = oldS + oldU;
      w = oldU;
    }
    Floats out(36, 0.0f);
    callTileProgram(*kernel, {out.data(), count, 10.0f});
    std::vector<float> wanted;
    for (float value : {s, t, u, w}) {
      wanted.insert(wanted.end(), 9, value);
    }
    EXPECT_EQ(out.values(), wanted) << count << " iterations";
  }
}

// i1 tiles: across groups, broadcast both ways, carried by a loop from a constant.
TEST_P(TilePrograms, BooleanTiles) {
  const std::string text = R"(func.func @program(%in: !tile.ptr<f32>, %out: !tile.ptr<f32>, %count: i64) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.index_cast %count : i64 to index
  %six = arith.constant 6 : index
  %v = tile.view %in[%zero] sizes(%six) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  %w = tile.view %out[%zero] sizes(%six, %six) strides(%six, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %t = tile.load %v[%zero] bounds [false] : !tile.view<1 x f32, unit> -> tensor<6xf32>
  %none = arith.constant dense<0.0> : tensor<6xf32>
  %positive = arith.cmpf ogt, %t, %none : tensor<6xf32>
  %all = arith.constant dense<true> : tensor<6xi1>
  %odd = scf.for %i = %zero to %n step %one iter_args(%s = %all) -> (tensor<6xi1>) {
    %flipped = arith.xori %s, %positive : tensor<6xi1>
    scf.yield %flipped : tensor<6xi1>
  }
  %rows = tile.broadcast %positive axis 1 : tensor<6xi1> -> tensor<6x6xi1>
  %cols = tile.broadcast %odd axis 0 : tensor<6xi1> -> tensor<6x6xi1>
  %both = arith.andi %rows, %cols : tensor<6x6xi1>
  %ones = arith.constant dense<1.0> : tensor<6x6xf32>
  %zeros = arith.constant dense<0.0> : tensor<6x6xf32>
  %r = arith.select %both, %ones, %zeros : tensor<6x6xi1>, tensor<6x6xf32>
  tile.store %r, %w[%zero, %zero] bounds [false, false] : tensor<6x6xf32>, !tile.view<2 x f32, unit>
  return
})";
  auto kernel = compileTileProgram(text, GetParam());
  const std::vector<float> in = {1, -1, 2, 0, -3, 5};
  for (int count : {0, 1, 2}) {
    Floats input(in), out(36, 77.0f);
    callTileProgram(*kernel, {input.data(), out.data(), count});
    for (size_t i = 0; i < 6; ++i) {
      for (size_t j = 0; j < 6; ++j) {
        const bool col = !(in[j] > 0 && count % 2 == 1);
        EXPECT_EQ(out[i * 6 + j], in[i] > 0 && col ? 1.0f : 0.0f) << count << " flips, element " << i << ", " << j;
      }
    }
  }
}

// Blocks that stand over the edge of a view, in both dimensions, for unit and other strides: elements outside read as 0
// and are not written. Memory ends behind the last element.
TEST_P(TilePrograms, BoundsAndStrides) {
  // What was loaded is also stored as it is, 200 elements on, behind the view's.
  const std::string text = R"(func.func @program(%in: !tile.ptr<TYPE>, %out: !tile.ptr<TYPE>, %rows64: i64,
                                   %cols64: i64, %rs64: i64, %cs64: i64, %row64: i64, %col64: i64) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %nine = arith.constant 9 : index
  %far = arith.constant 200 : index
  %rows = arith.index_cast %rows64 : i64 to index
  %cols = arith.index_cast %cols64 : i64 to index
  %rs = arith.index_cast %rs64 : i64 to index
  %cs = arith.index_cast %cs64 : i64 to index
  %row = arith.index_cast %row64 : i64 to index
  %col = arith.index_cast %col64 : i64 to index
  %v = tile.view %in[%zero] sizes(%rows, %cols) strides(%rs, STRIDE) : !tile.ptr<TYPE> -> !tile.view<VIEW>
  %w = tile.view %out[%zero] sizes(%rows, %cols) strides(%rs, STRIDE) : !tile.ptr<TYPE> -> !tile.view<VIEW>
  %t = tile.load %v[%row, %col] bounds [true, BOUND] : !tile.view<VIEW> -> tensor<4x9xTYPE>
  tile.store %t, %w[%row, %col] bounds [true, BOUND] : tensor<4x9xTYPE>, !tile.view<VIEW>
  %shown = tile.view %out[%far] sizes(%nine, %nine) strides(%nine, %one) : !tile.ptr<TYPE> -> !tile.view<2 x TYPE, unit>
  tile.store %t, %shown[%zero, %zero] bounds [false, false] : tensor<4x9xTYPE>, !tile.view<2 x TYPE, unit>
  return
})";
  for (const char *type : {"f32", "bf16", "i32"}) {
    for (bool unit : {true, false}) {
      for (bool bound : {true, false}) {
        auto kernel = compileTileProgram(
            with(text, {{"VIEW", std::string("2 x TYPE") + (unit ? ", unit" : "")},
                        {"STRIDE", unit ? "%one" : "%cs"},
                        {"BOUND", bound ? "true" : "false"},
                        {"TYPE", type}}),
            GetParam());
        const int64_t bytes = std::string(type) == "bf16" ? 2 : 4;
        const int64_t rows = 6, cols = 11, step = unit ? 1 : 2, rowStride = 13 * step;
        const auto last = static_cast<size_t>((rows - 1) * rowStride + (cols - 1) * step + 1);
        for (int64_t row : {0, 3, 5, 6, 8}) {
          for (int64_t col : bound ? std::vector<int64_t>{0, 1, 2, 5, 10, 11, 20} : std::vector<int64_t>{0, 2}) {
            GuardedMemory in(last * static_cast<size_t>(bytes)), out((200 + 36) * static_cast<size_t>(bytes), 0x33);
            for (size_t i = 0; i < in.bytes(); ++i) {
              in.data<unsigned char>()[i] = static_cast<unsigned char>(1 + i * 37 % 120);
            }
            callTileProgram(*kernel, {in.data(), out.data(), rows, cols, rowStride, step, row, col});
            std::vector<unsigned char> wanted(out.bytes(), 0x33);
            for (int64_t i = 0; i < 4; ++i) {
              for (int64_t j = 0; j < 9; ++j) {
                const bool inside = row + i < rows && col + j < cols;
                const auto at = static_cast<size_t>(((row + i) * rowStride + (col + j) * step) * bytes);
                const auto shown = static_cast<size_t>((200 + i * 9 + j) * bytes);
                for (size_t byte = 0; byte < static_cast<size_t>(bytes); ++byte) {
                  wanted[shown + byte] = inside ? in.data<unsigned char>()[at + byte] : 0;
                  if (inside) {
                    wanted[at + byte] = in.data<unsigned char>()[at + byte];
                  }
                }
              }
            }
            ASSERT_EQ(std::memcmp(out.data(), wanted.data(), wanted.size()), 0)
                << type << (unit ? " unit" : " strided") << (bound ? " bounded" : "") << ", block at " << row << ", "
                << col;
          }
        }
      }
    }
  }
}

// A 16-bit tile keeps its bits through transposition, selection and broadcast: no conversion on the way.
TEST_P(TilePrograms, SixteenBitTilesKeepTheirBits) {
  const std::string text = R"(func.func @program(%in: !tile.ptr<TYPE>, %out: !tile.ptr<TYPE>) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %five = arith.constant 5 : index
  %three = arith.constant 3 : index
  %half = arith.constant 15 : index
  %v = tile.view %in[%zero] sizes(%three, %five) strides(%five, %one) : !tile.ptr<TYPE> -> !tile.view<2 x TYPE, unit>
  %w = tile.view %out[%zero] sizes(%five, %three) strides(%three, %one) : !tile.ptr<TYPE> -> !tile.view<2 x TYPE, unit>
  %u = tile.view %out[%half] sizes(%three, %five) strides(%five, %one) : !tile.ptr<TYPE> -> !tile.view<2 x TYPE, unit>
  %l = tile.view %in[%zero] sizes(%five) strides(%one) : !tile.ptr<TYPE> -> !tile.view<1 x TYPE, unit>
  %t = tile.load %v[%zero, %zero] bounds [false, false] : !tile.view<2 x TYPE, unit> -> tensor<3x5xTYPE>
  %x = tile.transpose %t : tensor<3x5xTYPE> -> tensor<5x3xTYPE>
  tile.store %x, %w[%zero, %zero] bounds [false, false] : tensor<5x3xTYPE>, !tile.view<2 x TYPE, unit>
  %row = tile.load %l[%zero] bounds [false] : !tile.view<1 x TYPE, unit> -> tensor<5xTYPE>
  %col = tile.load %l[%five] bounds [false] : !tile.view<1 x TYPE, unit> -> tensor<3xTYPE>
  %b = tile.broadcast %row axis 0 : tensor<5xTYPE> -> tensor<3x5xTYPE>
  %c = tile.broadcast %col axis 1 : tensor<3xTYPE> -> tensor<3x5xTYPE>
  %zero32 = arith.constant 0 : i32
  %i = tile.index %zero32 axis 0 : tensor<3x5xi32>
  %j = tile.index %zero32 axis 1 : tensor<3x5xi32>
  %less = arith.cmpi slt, %i, %j : tensor<3x5xi32>
  %s = arith.select %less, %b, %c : tensor<3x5xi1>, tensor<3x5xTYPE>
  tile.store %s, %u[%zero, %zero] bounds [false, false] : tensor<3x5xTYPE>, !tile.view<2 x TYPE, unit>
  return
})";
  for (const char *type : {"f16", "bf16"}) {
    auto kernel = compileTileProgram(with(text, {{"TYPE", type}}), GetParam());
    // Subnormals, both zeros, infinities, and NaN that a conversion would make quiet.
    const uint16_t codes[15] = {0x0001, 0x8001, 0x0000, 0x8000, 0x7c01, 0xfc01, 0x7f81, 0xff81,
                                0x7c00, 0x7f80, 0x3c00, 0x1234, 0xffff, 0x7e00, 0x03ff};
    GuardedMemory in(sizeof(codes)), out(30 * 2, 0x55);
    std::memcpy(in.data(), codes, sizeof(codes));
    callTileProgram(*kernel, {in.data(), out.data()});
    const auto *result = out.data<uint16_t>();
    for (size_t i = 0; i < 3; ++i) {
      for (size_t j = 0; j < 5; ++j) {
        EXPECT_EQ(result[j * 3 + i], codes[i * 5 + j]) << type << " transposed " << i << ", " << j;
        EXPECT_EQ(result[15 + i * 5 + j], i < j ? codes[j] : codes[5 + i]) << type << " selected " << i << ", " << j;
      }
    }
  }
}

// A tile made of one scalar, of an index or of a broadcast, where a product reads it.
TEST_P(TilePrograms, ProductsOfTilesMadeOfScalars) {
  const std::string text = R"(func.func @program(%p: !tile.ptr<f32>, %x: f32) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %six = arith.constant 6 : index
  %v = tile.view %p[%zero] sizes(%six, %six) strides(%six, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %t = tile.load %v[%zero, %zero] bounds [false, false] : !tile.view<2 x f32, unit> -> tensor<6x6xf32>
  %r = tile.reduce sum %t axis 1 : tensor<6x6xf32> -> tensor<6xf32>
  %b = tile.broadcast %r axis 1 : tensor<6xf32> -> tensor<6x6xf32>
  %s = tile.splat %x : tensor<6x6xf32>
  %zeros = arith.constant dense<0.0> : tensor<6x6xf32>
  %d = tile.dot %b, %s, %zeros : tensor<6x6xf32>, tensor<6x6xf32> -> tensor<6x6xf32>
  %e = arith.addf %d, %t : tensor<6x6xf32>
  tile.store %e, %v[%zero, %zero] bounds [false, false] : tensor<6x6xf32>, !tile.view<2 x f32, unit>
  return
})";
  auto kernel = compileTileProgram(text, GetParam());
  const std::vector<float> in = smallIntegers(36, 11);
  Floats memory(in);
  callTileProgram(*kernel, {memory.data(), 3.0f});
  for (size_t i = 0; i < 6; ++i) {
    float sum = 0.0f;
    for (size_t j = 0; j < 6; ++j) {
      sum += in[i * 6 + j];
    }
    for (size_t j = 0; j < 6; ++j) {
      EXPECT_EQ(memory[i * 6 + j], 6 * sum * 3 + in[i * 6 + j]) << "element " << i << ", " << j;
    }
  }
}

} // namespace
