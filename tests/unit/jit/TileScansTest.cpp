// SPDX-License-Identifier: Apache-2.0
//
// Tile programs that scan and draw, run on the CPU: where the elements of a mask begin and end, rows that a mask
// chooses, random bits by position, and tiles that begin before their view does.
#include "TileProgram.h"
#include "tilewright/kernels/Philox.h"
#include <array>
#include <gtest/gtest.h>
#include <random>

using namespace tilewright;
using namespace tilewright::tests;

namespace {

class TileScans : public testing::TestWithParam<CpuLevel> {};

INSTANTIATE_TEST_SUITE_P(Host, TileScans, testing::ValuesIn(runnableLevels()),
                         [](const auto &info) { return "v" + std::to_string(static_cast<int>(info.param)); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TileScans);

TEST_P(TileScans, Hulls) {
  const std::string text = R"(func.func @program(%m: !tile.ptr<i8>, %q: !tile.ptr<i32>, %n: i64, %stride: i64) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %two = arith.constant 2 : index
  %three = arith.constant 3 : index
  %four = arith.constant 4 : index
  %size = arith.index_cast %n : i64 to index
  %step = arith.index_cast %stride : i64 to index
  %v = tile.view %m[%zero] sizes(%size) strides(%step) : !tile.ptr<i8> -> !tile.view<1 x i8>
  %first, %end, %holes:2 = tile.hull %v : !tile.view<1 x i8>
  %w = tile.view %q[%zero] sizes(%four) strides(%one) : !tile.ptr<i32> -> !tile.view<1 x i32, unit>
  %a = arith.index_cast %first : index to i32
  %b = arith.index_cast %end : index to i32
  %c = arith.index_cast %holes#0 : index to i32
  %d = arith.index_cast %holes#1 : index to i32
  %x = tile.splat %a : tensor<1xi32>
  %y = tile.splat %b : tensor<1xi32>
  %z = tile.splat %c : tensor<1xi32>
  %t = tile.splat %d : tensor<1xi32>
  tile.store %x, %w[%zero] bounds [false] : tensor<1xi32>, !tile.view<1 x i32, unit>
  tile.store %y, %w[%one] bounds [false] : tensor<1xi32>, !tile.view<1 x i32, unit>
  tile.store %z, %w[%two] bounds [false] : tensor<1xi32>, !tile.view<1 x i32, unit>
  tile.store %t, %w[%three] bounds [false] : tensor<1xi32>, !tile.view<1 x i32, unit>
  return
})";
  auto kernel = compileTileProgram(text, GetParam());
  std::mt19937 random(12);
  for (int repeat = 0; repeat < 200; ++repeat) {
    const int64_t size = repeat < 8 ? repeat : static_cast<int64_t>(random() % 90);
    const int64_t stride = 1 + repeat % 3;
    GuardedMemory mask(size == 0 ? 0 : static_cast<size_t>((size - 1) * stride + 1), 1); // ones between the elements
    int32_t first = 0, end = 0, holesBegin = 0, holesEnd = 0;
    for (int64_t i = 0; i < size; ++i) {
      const bool given = random() % 8 < static_cast<unsigned>(repeat % 9); // none, some, all
      // Any byte but 0 is given, one with its sign bit too.
      mask.data<unsigned char>()[i * stride] = given ? static_cast<unsigned char>(1 + random() % 255) : 0;
      if (given && end != 0 && end != i) {
        holesBegin = holesEnd == 0 ? end : holesBegin;
        holesEnd = static_cast<int32_t>(i);
      }
      first = given && end == 0 ? static_cast<int32_t>(i) : first;
      end = given ? static_cast<int32_t>(i + 1) : end;
    }
    GuardedMemory out(4 * sizeof(int32_t), 0x55);
    callTileProgram(*kernel, {mask.data(), out.data(), size, stride});
    EXPECT_EQ(out.data<int32_t>()[0], first) << "size " << size;
    EXPECT_EQ(out.data<int32_t>()[1], end) << "size " << size;
    EXPECT_EQ(out.data<int32_t>()[2], holesBegin) << "size " << size;
    EXPECT_EQ(out.data<int32_t>()[3], holesEnd) << "size " << size;
  }
}

TEST_P(TileScans, WhetherAllAreSet) {
  const std::string text = R"(func.func @program(%m: !tile.ptr<i8>, %q: !tile.ptr<i32>, %n: i64, %first: i64,
                                   %stride: i64) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %size = arith.index_cast %n : i64 to index
  %at = arith.index_cast %first : i64 to index
  %step = arith.index_cast %stride : i64 to index
  %v = tile.view %m[%zero] sizes(%size) strides(%step) : !tile.ptr<i8> -> !tile.view<1 x i8>
  %all = tile.all_set %v[%at] count 7 : !tile.view<1 x i8>
  %w = tile.view %q[%zero] sizes(%one) strides(%one) : !tile.ptr<i32> -> !tile.view<1 x i32, unit>
  %a = arith.extui %all : i1 to i32
  %x = tile.splat %a : tensor<1xi32>
  tile.store %x, %w[%zero] bounds [false] : tensor<1xi32>, !tile.view<1 x i32, unit>
  return
})";
  auto kernel = compileTileProgram(text, GetParam());
  for (const int64_t stride : {1, 2}) {
    for (const int64_t size : {0, 1, 5, 7, 20}) {
      for (int64_t hole = -1; hole < size; ++hole) { // -1: none
        // Zeros between the elements.
        GuardedMemory mask(size == 0 ? 0 : static_cast<size_t>((size - 1) * stride + 1), 0);
        for (int64_t i = 0; i < size; ++i) {
          mask.data<unsigned char>()[i * stride] = i == hole ? 0 : static_cast<unsigned char>(0x80 >> i % 8);
        }
        for (int64_t first = -9; first <= size + 1; ++first) {
          GuardedMemory out(sizeof(int32_t), 0x55);
          callTileProgram(*kernel, {mask.data(), out.data(), size, first, stride});
          const bool seen = hole >= 0 && hole >= first && hole < first + 7;
          ASSERT_EQ(out.data<int32_t>()[0], seen ? 0 : 1) << "size " << size << ", hole " << hole << ", from " << first;
        }
      }
    }
  }
}

// Rows that are hidden are neither read nor 0 * NaN: memory behind the last row that is chosen cannot be read at all.
TEST_P(TileScans, ChosenRows) {
  const std::string text = R"(func.func @program(%p: !tile.ptr<f32>, %m: !tile.ptr<i8>, %q: !tile.ptr<f32>, %n: i64,
                                   %first: i64) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %five = arith.constant 5 : index
  %eight = arith.constant 8 : index
  %when = arith.constant true
  %rows = arith.index_cast %n : i64 to index
  %row = arith.index_cast %first : i64 to index
  %v = tile.view %p[%zero] sizes(%rows, %five) strides(%five, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %c = tile.view %m[%zero] sizes(%rows) strides(%one) : !tile.ptr<i8> -> !tile.view<1 x i8, unit>
  %w = tile.view %q[%zero] sizes(%eight, %five) strides(%five, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %t = tile.load %v[%row, %zero] bounds [true, false] where %c when %when : !tile.view<1 x i8, unit>
      : !tile.view<2 x f32, unit> -> tensor<8x5xf32>
  tile.store %t, %w[%zero, %zero] bounds [false, false] : tensor<8x5xf32>, !tile.view<2 x f32, unit>
  return
})";
  auto kernel = compileTileProgram(text, GetParam());
  for (const int64_t first : {-3, -8, 0, 2, 9}) {
    constexpr int64_t kRows = 10, kReal = 7; // the last three rows are hidden, and have no memory
    GuardedMemory in(kReal * 5 * sizeof(float)), mask(kRows), out(40 * sizeof(float), 0x55);
    for (int64_t i = 0; i < kReal * 5; ++i) {
      in.data<float>()[i] = static_cast<float>(i + 1);
    }
    for (const int64_t i : {0, 1, 3, 6}) {
      mask.data<unsigned char>()[i] = static_cast<unsigned char>(0x80 >> i);
    }
    callTileProgram(*kernel, {in.data(), mask.data(), out.data(), kRows, first});
    for (int64_t i = 0; i < 8; ++i) {
      const int64_t row = first + i;
      const bool chosen = row == 0 || row == 1 || row == 3 || row == 6;
      for (int64_t j = 0; j < 5; ++j) {
        EXPECT_EQ(out.data<float>()[i * 5 + j], chosen ? static_cast<float>(row * 5 + j + 1) : 0.0f)
            << "row " << row << ", column " << j;
      }
    }
  }
}

// A rank-1 tile over either edge of its view.
TEST_P(TileScans, TilesThatBeginBeforeTheirView) {
  const std::string text = R"(func.func @program(%p: !tile.ptr<i32>, %q: !tile.ptr<i32>, %n: i64, %first: i64,
                                   %stride: i64) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %eleven = arith.constant 11 : index
  %size = arith.index_cast %n : i64 to index
  %at = arith.index_cast %first : i64 to index
  %step = arith.index_cast %stride : i64 to index
  %v = tile.view %p[%zero] sizes(%size) strides(%step) : !tile.ptr<i32> -> !tile.view<1 x i32>
  %w = tile.view %q[%zero] sizes(%eleven) strides(%one) : !tile.ptr<i32> -> !tile.view<1 x i32, unit>
  %t = tile.load %v[%at] bounds [true] : !tile.view<1 x i32> -> tensor<11xi32>
  tile.store %t, %w[%zero] bounds [false] : tensor<11xi32>, !tile.view<1 x i32, unit>
  return
})";
  auto kernel = compileTileProgram(text, GetParam());
  for (const int64_t stride : {1, 3}) {
    for (const int64_t size : {0, 1, 4, 11, 30}) {
      for (int64_t first = -14; first <= size + 2; ++first) {
        GuardedMemory in(size == 0 ? 0 : static_cast<size_t>((size - 1) * stride + 1) * sizeof(int32_t));
        GuardedMemory out(11 * sizeof(int32_t), 0x55);
        for (int64_t i = 0; i < size; ++i) {
          in.data<int32_t>()[i * stride] = static_cast<int32_t>(i + 1);
        }
        callTileProgram(*kernel, {in.data(), out.data(), size, first, stride});
        for (int64_t i = 0; i < 11; ++i) {
          const int64_t index = first + i;
          ASSERT_EQ(out.data<int32_t>()[i], index >= 0 && index < size ? index + 1 : 0)
              << "size " << size << ", from " << first << ", element " << i;
        }
      }
    }
  }
}

// The upper 16 bits follow from the position alone: in both orientations, from columns in the first and in the second
// half of a Philox call's, and up to the last ones that 32 bits hold. The lower ones may be any.
TEST_P(TileScans, RandomBits) {
  const std::string text = R"(func.func @program(%p: !tile.ptr<i32>, %q: !tile.ptr<i32>, %row: i64, %col: i64,
                                   %head: i64, %offset: i64, %k0: i64, %k1: i64) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %w = arith.constant 21 : index
  %h = arith.constant 19 : index
  %a = arith.trunci %row : i64 to i32
  %b = arith.trunci %col : i64 to i32
  %c = arith.trunci %head : i64 to i32
  %d = arith.trunci %offset : i64 to i32
  %e = arith.trunci %k0 : i64 to i32
  %f = arith.trunci %k1 : i64 to i32
  %v = tile.view %p[%zero] sizes(%h, %w) strides(%w, %one) : !tile.ptr<i32> -> !tile.view<2 x i32, unit>
  %u = tile.view %q[%zero] sizes(%w, %h) strides(%h, %one) : !tile.ptr<i32> -> !tile.view<2 x i32, unit>
  %r = tile.random_bits [%a, %b] counter(%c, %d) key(%e, %f) : tensor<19x21xi32>
  %t = tile.random_bits [%a, %b] counter(%c, %d) key(%e, %f) transposed : tensor<21x19xi32>
  tile.store %r, %v[%zero, %zero] bounds [false, false] : tensor<19x21xi32>, !tile.view<2 x i32, unit>
  tile.store %t, %u[%zero, %zero] bounds [false, false] : tensor<21x19xi32>, !tile.view<2 x i32, unit>
  return
})";
  auto kernel = compileTileProgram(text, GetParam());
  const std::array<int64_t, 6> cases[] = {{0, 0, 0, 0, 0, 0},
                                          {32, 48, 5, 7, 0x12345678, 0x9abcdef0},
                                          {48, 16, 0xffffffff, 0xfffffffe, 0xffffffff, 0xffffffff},
                                          {0x7fffffe0, 0x7fffffe0, 1, 2, 3, 4}};
  for (const auto &[row, col, head, offset, key0, key1] : cases) {
    GuardedMemory straight(19 * 21 * 4), turned(19 * 21 * 4);
    callTileProgram(*kernel, {straight.data(), turned.data(), row, col, head, offset, key0, key1});
    for (int64_t i = 0; i < 19; ++i) {
      for (int64_t j = 0; j < 21; ++j) {
        const uint32_t wanted = kernels::dropoutBits({static_cast<uint32_t>(key0), static_cast<uint32_t>(key1)},
                                                     static_cast<uint64_t>(offset), static_cast<uint32_t>(head),
                                                     row + i, col + j);
        ASSERT_EQ(straight.data<uint32_t>()[i * 21 + j] >> 16, wanted) << i << ", " << j << " from " << row;
        ASSERT_EQ(turned.data<uint32_t>()[j * 19 + i] >> 16, wanted) << i << ", " << j << " transposed";
      }
    }
  }
}

} // namespace
