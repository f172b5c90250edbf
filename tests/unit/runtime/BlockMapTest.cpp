// SPDX-License-Identifier: Apache-2.0
//
// Block maps through the C ABI.
#include "TestSupport.h"
#include "tilewright/runtime/Engine.h"

#include <string>

using namespace tilewright;
using namespace tilewright::tests;
using ::testing::HasSubstr;

namespace {

class BlockMap : public ::testing::Test {
protected:
  void SetUp() override {
    TwEngineOptions options{};
    options.struct_size = sizeof(options);
    options.cache_dir = "";
    options.num_threads = 1;
    options.cpu_level = "x86-64-v2";
    options.schedule = "kq:16x32:4x2";
    ASSERT_EQ(tw_engine_create(&options, &engine), TW_OK) << tw_last_error();
  }
  void TearDown() override { tw_engine_destroy(engine); }

  /// Rows of a map as text, one line a row block: '.' skipped, 'o' partial, '#' full; batch entries one after another.
  std::string picture(const Call &call, int64_t rowBlocks, int64_t keyBlocks) {
    std::vector<uint8_t> map(static_cast<size_t>(call.sizes.batch * rowBlocks * keyBlocks) + 1, 9);
    int64_t blockM = 0, blockN = 0;
    EXPECT_EQ(tw_forward_block_map(engine, &call.args, &blockM, &blockN, map.data(), map.size() - 1), TW_OK)
        << tw_last_error();
    EXPECT_EQ(blockM, 16);
    EXPECT_EQ(blockN, 32);
    EXPECT_EQ(map.back(), 9) << "written beyond the end";
    std::string text;
    for (size_t i = 0; i + 1 < map.size(); ++i) {
      text += ".o#"[map[i]];
      text += (i + 1) % static_cast<size_t>(keyBlocks) == 0 ? "\n" : "";
    }
    return text;
  }

  TwEngine *engine = nullptr;
};

Sizes sizes(int64_t seqlenQ, int64_t seqlenK) {
  Sizes result;
  result.batch = 1;
  result.seqlenQ = seqlenQ;
  result.seqlenK = seqlenK;
  return result;
}

} // namespace

TEST_F(BlockMap, Dense) {
  EXPECT_EQ(picture(Call(sizes(17, 70)), 2, 3), "##o\n##o\n");
  EXPECT_EQ(picture(Call(sizes(17, 64)), 2, 2), "##\n##\n");
}

TEST_F(BlockMap, Causal) {
  Call call(sizes(64, 96));
  call.args.causal = 1;
  EXPECT_EQ(picture(call, 4, 3), "#o.\n#o.\n##o\n##o\n");
  call.args.causal_align = TW_ALIGN_TOP_LEFT;
  EXPECT_EQ(picture(call, 4, 3), "o..\no..\n#o.\n#o.\n");
}

TEST_F(BlockMap, GlmBreakAndPairs) {
  Sizes two = sizes(64, 64);
  two.batch = 2;
  Call breaks(two);
  breaks.withBreaks({64, 0});
  EXPECT_EQ(picture(breaks, 4, 2), "##\n##\n##\n##\no.\no.\n#o\n#o\n");
  Call pairs(two);
  pairs.withPairs(2, {32, -1, 64, -1, 0, 0, 32, 33});
  EXPECT_EQ(picture(pairs, 4, 2), "o.\no.\n##\n##\n#o\n#o\n#o\n#o\n");
}

TEST_F(BlockMap, EmptyAndUndersized) {
  EXPECT_EQ(picture(Call(sizes(20, 0)), 2, 0), "");
  Call call(sizes(17, 70));
  int64_t blockM = 0, blockN = 0;
  EXPECT_EQ(tw_forward_block_map(engine, &call.args, &blockM, &blockN, nullptr, 0), TW_OK);
  EXPECT_EQ(blockM, 16);
  std::vector<uint8_t> map(5, 9);
  EXPECT_EQ(tw_forward_block_map(engine, &call.args, &blockM, &blockN, map.data(), map.size()), TW_INVALID_ARGUMENT);
  EXPECT_THAT(tw_last_error(), HasSubstr("capacity: is 5 bytes, but the map has 1 x 2 x 3"));
  EXPECT_EQ(map, std::vector<uint8_t>(5, 9));
}

TEST_F(BlockMap, NeedsTheGlmValuesAndNoOtherData) {
  Call call(sizes(17, 70));
  call.withBreaks({3});
  call.args.q.data = call.args.k.data = call.args.v.data = call.args.out.data = nullptr;
  EXPECT_EQ(picture(call, 2, 3), "#oo\n##o\n");
  call.args.glm_mask.data = nullptr;
  int64_t blockM = 0, blockN = 0;
  EXPECT_EQ(tw_forward_block_map(engine, &call.args, &blockM, &blockN, nullptr, 0), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error_argument(), "glm_mask");
}
