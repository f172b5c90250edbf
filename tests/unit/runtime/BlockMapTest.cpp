// SPDX-License-Identifier: Apache-2.0
//
// Block maps through the C ABI.
#include "TestSupport.h"
#include "tilewright/kernels/BlockRanges.h"
#include "tilewright/runtime/Engine.h"

#include <algorithm>
#include <random>
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

//===-- Masks and lengths of features, against the reference -----------------------------------------------------===//

namespace {

/// What a random call is made of.
struct MapCase {
  bool documents, padding, varlen, used, causal, glm, window, topLeft;

  std::string text() const {
    std::string words;
    const std::pair<bool, const char *> parts[] = {
        {documents, "documents "}, {padding, "padding "}, {varlen, "varlen "}, {used, "used "},
        {causal, "causal "},       {glm, "glm "},         {window, "window "}, {topLeft, "topLeft "}};
    for (const auto &[given, name] : parts) {
      words += given ? name : "";
    }
    return words;
  }
};

/// A call of zeros, so that every entry that is visible has a probability above 0, and what it is made of by entry.
struct MapCall : Call {
  std::vector<int64_t> lengthQ, lengthK;
  int64_t longestQ, longestK;

  MapCall(const MapCase &c, std::mt19937 &random) : Call(oneHead(random)) {
    auto below = [&](int64_t end) { return static_cast<int64_t>(random() % static_cast<uint64_t>(end)); };
    const int64_t batch = sizes.batch;
    longestQ = sizes.seqlenQ;
    longestK = sizes.seqlenK;
    lengthQ.assign(static_cast<size_t>(batch), longestQ);
    lengthK.assign(static_cast<size_t>(batch), longestK);
    args.causal = c.causal;
    args.causal_align = c.topLeft ? TW_ALIGN_TOP_LEFT : TW_ALIGN_BOTTOM_RIGHT;
    if (c.varlen) {
      std::vector<int32_t> endsQ{0}, endsK{0};
      for (int64_t b = 0; b < batch; ++b) {
        lengthQ[static_cast<size_t>(b)] = below(longestQ + 1);
        lengthK[static_cast<size_t>(b)] = below(longestK + 1);
        endsQ.push_back(endsQ.back() + static_cast<int32_t>(lengthQ[static_cast<size_t>(b)]));
        endsK.push_back(endsK.back() + static_cast<int32_t>(lengthK[static_cast<size_t>(b)]));
      }
      args.q = tensor(TW_FLOAT32, {endsQ.back(), 1, 8}, 0);
      args.k = tensor(TW_FLOAT32, {endsK.back(), 1, 8}, 0);
      args.v = tensor(TW_FLOAT32, {endsK.back(), 1, 8}, 0);
      args.out = tensor(TW_FLOAT32, {endsQ.back(), 1, 8}, 0);
      args.cu_seqlens_q = integers({batch + 1}, endsQ);
      args.cu_seqlens_k = integers({batch + 1}, endsK);
      args.max_seqlen_q = longestQ;
      args.max_seqlen_k = longestK;
    }
    if (c.used) {
      std::vector<int32_t> used;
      for (int64_t &length : lengthK) {
        length = below(length + 1);
        used.push_back(static_cast<int32_t>(length));
      }
      args.seqused_k = integers({batch}, used);
    }
    if (c.documents) {
      std::vector<int32_t> ids;
      for (int64_t b = 0; b < batch; ++b) {
        const int64_t padded = below(longestK + 1);
        int32_t id = 3;
        for (int64_t j = 0; j < longestK; ++j) {
          id += below(12) == 0 ? 2 : 0;
          ids.push_back(j < padded ? id : -1);
        }
      }
      args.document_ids = integers({batch, longestK}, ids);
    }
    if (c.padding) {
      args.key_padding_mask = tensor(TW_BOOL, {batch, longestK}, 0);
      auto *real = static_cast<uint8_t *>(args.key_padding_mask.data);
      for (int64_t b = 0; b < batch; ++b) {
        const int64_t first = below(longestK), last = below(longestK + 1);
        for (int64_t j = first; j < last; ++j) {
          real[b * longestK + j] = random() % 8 != 0;
        }
      }
    }
    if (c.window) {
      args.has_window = 1;
      args.window_left = below(40) - 1;
      args.window_right = c.causal ? -1 : below(40) - 1;
    }
    if (c.glm) {
      std::vector<int32_t> breaks;
      for (int64_t length : lengthK) {
        breaks.push_back(static_cast<int32_t>(below(length + 1)));
      }
      args.causal = 1;
      args.glm_mask = integers({batch}, breaks);
    }
    args.probs = tensor(TW_FLOAT32, {batch, 1, longestQ, longestK}, 0);
  }

  bool visible(int64_t b, int64_t i, int64_t j) const {
    return j < longestK && static_cast<const float *>(args.probs.data)[(b * longestQ + i) * longestK + j] > 0;
  }

private:
  static Sizes oneHead(std::mt19937 &random) {
    Sizes result;
    result.batch = 2;
    result.heads = result.headsK = 1;
    result.headDim = result.headDimV = 8;
    result.seqlenQ = static_cast<int64_t>(1 + random() % 70);
    result.seqlenK = static_cast<int64_t>(1 + random() % 200);
    return result;
  }
};

} // namespace

TEST_F(BlockMap, FeaturesAgainstTheReference) {
  std::mt19937 random(2718);
  constexpr int64_t kBlockM = 16, kBlockN = 32;
  int64_t skipped = 0, full = 0, partial = 0;
  for (int repeat = 0; repeat < 600; ++repeat) {
    auto sometimes = [&] { return random() % 3 == 0; };
    MapCase c{};
    c.documents = sometimes();
    c.padding = sometimes();
    c.varlen = sometimes();
    c.used = sometimes();
    c.causal = sometimes();
    c.topLeft = sometimes();
    c.window = sometimes();
    c.glm = !c.window && sometimes();
    MapCall call(c, random);
    SCOPED_TRACE("repeat " + std::to_string(repeat) + ": " + c.text() + "sq " + std::to_string(call.longestQ) + " sk " +
                 std::to_string(call.longestK));
    ASSERT_EQ(tw_reference_forward(&call.args), TW_OK) << tw_last_error();
    const int64_t rowBlocks = kernels::ceilDiv(call.longestQ, kBlockM);
    const int64_t keyBlocks = kernels::ceilDiv(call.longestK, kBlockN);
    std::vector<uint8_t> map(static_cast<size_t>(call.sizes.batch * rowBlocks * keyBlocks), 9);
    int64_t blockM = 0, blockN = 0;
    ASSERT_EQ(tw_forward_block_map(engine, &call.args, &blockM, &blockN, map.data(), map.size()), TW_OK)
        << tw_last_error();
    ASSERT_EQ(blockM, kBlockM);
    ASSERT_EQ(blockN, kBlockN);
    for (int64_t b = 0; b < call.sizes.batch; ++b) {
      const int64_t rows = call.lengthQ[static_cast<size_t>(b)], keys = call.lengthK[static_cast<size_t>(b)];
      for (int64_t rowBlock = 0; rowBlock < rowBlocks; ++rowBlock) {
        const int64_t firstRow = rowBlock * kBlockM, endRow = std::min(firstRow + kBlockM, rows);
        // Nothing is visited ahead of the first key that one of the rows sees, or behind the last; where none sees
        // anything, at most the block that their empty intervals lie in.
        int64_t least = call.longestK, most = -1, visited = 0;
        for (int64_t i = firstRow; i < endRow; ++i) {
          for (int64_t j = 0; j < call.longestK; ++j) {
            least = call.visible(b, i, j) ? std::min(least, j) : least;
            most = call.visible(b, i, j) ? std::max(most, j) : most;
          }
        }
        for (int64_t keyBlock = 0; keyBlock < keyBlocks; ++keyBlock) {
          const int64_t firstKey = keyBlock * kBlockN, endKey = firstKey + kBlockN;
          bool any = false, all = firstRow < endRow && endKey <= keys;
          for (int64_t i = firstRow; i < endRow; ++i) {
            for (int64_t j = firstKey; j < endKey; ++j) {
              any = any || call.visible(b, i, j);
              all = all && call.visible(b, i, j);
            }
          }
          const uint8_t found = map[static_cast<size_t>((b * rowBlocks + rowBlock) * keyBlocks + keyBlock)];
          SCOPED_TRACE("batch " + std::to_string(b) + " rows " + std::to_string(firstRow) + " keys " +
                       std::to_string(firstKey));
          ASSERT_TRUE(found != TW_BLOCK_SKIPPED || !any) << "a visible key is skipped";
          visited += found != TW_BLOCK_SKIPPED;
          if (most >= 0) {
            ASSERT_TRUE(found == TW_BLOCK_SKIPPED || (endKey > least && firstKey <= most)) << "nothing to visit";
          } else {
            ASSERT_LE(visited, firstRow < rows ? 1 : 0) << "nothing to visit";
          }
          // Padding may have holes anywhere, so with it no block counts as full.
          ASSERT_EQ(found == TW_BLOCK_FULL, all && !c.padding);
          ++(found == TW_BLOCK_SKIPPED ? skipped : found == TW_BLOCK_FULL ? full : partial);
        }
      }
    }
  }
  EXPECT_GT(skipped, 1000);
  EXPECT_GT(full, 500);
  EXPECT_GT(partial, 1000);
}
