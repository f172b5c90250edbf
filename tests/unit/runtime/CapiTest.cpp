// SPDX-License-Identifier: Apache-2.0
//
// The C ABI: status codes and messages, strings, info, and outputs untouched after a failure.
#include "FakeCompiler.h"
#include "TestSupport.h"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

using namespace tilewright;
using namespace tilewright::tests;
using ::testing::HasSubstr;

namespace {

std::string take(TwString &string) {
  std::string text(string.data, string.size);
  EXPECT_EQ(string.data[string.size], '\0');
  tw_string_free(&string);
  EXPECT_EQ(string.data, nullptr);
  return text;
}

class Capi : public ::testing::Test {
protected:
  void SetUp() override {
    fakeCompiler().reset();
    TwEngineOptions options{};
    options.struct_size = sizeof(options);
    options.cache_dir = "";
    options.num_threads = 2;
    ASSERT_EQ(tw_engine_create(&options, &engine), TW_OK) << tw_last_error();
  }
  void TearDown() override { tw_engine_destroy(engine); }

  TwEngine *engine = nullptr;
};

bool untouched(const TwTensor &tensor) {
  int64_t count = static_cast<int64_t>(Call::elementBytes(tensor.dtype));
  for (int32_t i = 0; i < tensor.rank; ++i) {
    count *= tensor.shape[i];
  }
  const char *bytes = static_cast<const char *>(tensor.data);
  return std::all_of(bytes, bytes + count, [](char byte) { return byte == 0x7f; });
}

} // namespace

TEST_F(Capi, VersionAndNames) {
  EXPECT_STREQ(tw_version(), "0.1.0");
  EXPECT_EQ(std::strlen(tw_build_id()), 16u);
  EXPECT_STREQ(tw_status_name(TW_CACHE_MISS), "TW_CACHE_MISS");
  EXPECT_STREQ(tw_status_name(TW_CUDA_ERROR), "TW_CUDA_ERROR");
  EXPECT_STREQ(tw_status_name(static_cast<TwStatus>(99)), "unknown status");
}

TEST_F(Capi, ForwardCountsInStats) {
  Call call;
  ASSERT_EQ(tw_forward(engine, &call.args), TW_OK) << tw_last_error();
  ASSERT_EQ(tw_forward(engine, &call.args), TW_OK);
  TwStats stats{};
  EXPECT_EQ(tw_engine_stats(engine, &stats), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error_argument(), "struct_size");
  stats.struct_size = sizeof(stats);
  ASSERT_EQ(tw_engine_stats(engine, &stats), TW_OK);
  EXPECT_EQ(stats.compiles, 1u);
  EXPECT_EQ(stats.memory_hits, 1u);
  TwString json{};
  ASSERT_EQ(tw_engine_events(engine, &json), TW_OK);
  EXPECT_EQ(nlohmann::json::parse(take(json)).size(), 1u);
}

TEST_F(Capi, FailuresNameTheArgumentAndTouchNothing) {
  Call call;
  call.withLse();
  call.args.k.shape[3] = 48;
  EXPECT_EQ(tw_forward(engine, &call.args), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error(), "k: head_dim is 48, but q's is 8");
  EXPECT_STREQ(tw_last_error_argument(), "k");
  EXPECT_EQ(tw_reference_forward(&call.args), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error(), "k: head_dim is 48, but q's is 8") << "the same words everywhere";
  EXPECT_TRUE(untouched(call.args.out));
  EXPECT_TRUE(untouched(call.args.lse));
  EXPECT_EQ(fakeCompiler().compiles, 0);

  call.args.k.shape[3] = 8;
  fakeCompiler().failCompiles = 1;
  EXPECT_EQ(tw_forward(engine, &call.args), TW_COMPILE_ERROR);
  EXPECT_THAT(tw_last_error(), HasSubstr("told to fail"));
  EXPECT_STREQ(tw_last_error_argument(), "");
  EXPECT_TRUE(untouched(call.args.out));
}

TEST_F(Capi, LastErrorBelongsToTheThread) {
  EXPECT_EQ(tw_forward(engine, nullptr), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error(), "args: is NULL, must point to something");
  std::thread([] { EXPECT_STREQ(tw_last_error(), ""); }).join();
  Call call;
  EXPECT_EQ(tw_forward(engine, &call.args), TW_OK);
  EXPECT_STREQ(tw_last_error_argument(), "args") << "a success leaves the last failure in place";
}

TEST_F(Capi, NullPointersAreRefused) {
  TwString string{};
  Call call;
  EXPECT_EQ(tw_engine_create(nullptr, nullptr), TW_INVALID_ARGUMENT);
  EXPECT_EQ(tw_engine_default(nullptr), TW_INVALID_ARGUMENT);
  EXPECT_EQ(tw_engine_stats(engine, nullptr), TW_INVALID_ARGUMENT);
  EXPECT_EQ(tw_engine_events(engine, nullptr), TW_INVALID_ARGUMENT);
  EXPECT_EQ(tw_forward_plan(engine, &call.args, nullptr), TW_INVALID_ARGUMENT);
  EXPECT_EQ(tw_forward_plan(engine, nullptr, &string), TW_INVALID_ARGUMENT);
  EXPECT_EQ(tw_forward_block_map(engine, &call.args, nullptr, nullptr, nullptr, 0), TW_INVALID_ARGUMENT);
  EXPECT_EQ(tw_reference_forward(nullptr), TW_INVALID_ARGUMENT);
  EXPECT_EQ(tw_compile(nullptr, "attn", &string, nullptr), TW_INVALID_ARGUMENT);
  EXPECT_EQ(tw_key_canonical(nullptr, &string, nullptr), TW_INVALID_ARGUMENT);
  EXPECT_EQ(tw_info(engine, nullptr), TW_INVALID_ARGUMENT);
  EXPECT_EQ(tw_support_matrix(nullptr), TW_INVALID_ARGUMENT);
  tw_string_free(nullptr);
  tw_engine_destroy(nullptr);
}

TEST_F(Capi, DefaultEngineIsOneAndStays) {
  ScopedEnvironment cache("TILEWRIGHT_CACHE_DIR", "");
  {
    ScopedEnvironment threads("TILEWRIGHT_NUM_THREADS", "none");
    TwEngine *broken = nullptr;
    EXPECT_EQ(tw_engine_default(&broken), TW_INVALID_ARGUMENT);
    EXPECT_STREQ(tw_last_error_argument(), "TILEWRIGHT_NUM_THREADS");
    TwString json{};
    ASSERT_EQ(tw_info(nullptr, &json), TW_OK) << "the report says what is wrong";
    EXPECT_THAT(nlohmann::json::parse(take(json))["engine_error"].get<std::string>(), HasSubstr("is 'none'"));
  }
  TwEngine *first = nullptr, *second = nullptr;
  ASSERT_EQ(tw_engine_default(&first), TW_OK) << tw_last_error();
  tw_engine_destroy(first); // refused
  ASSERT_EQ(tw_engine_default(&second), TW_OK);
  EXPECT_EQ(first, second);
  Call call;
  EXPECT_EQ(tw_forward(nullptr, &call.args), TW_OK) << tw_last_error();
}

TEST_F(Capi, KeyCanonicalAndCompile) {
  const std::string text = runtime::toText(sampleKey());
  const std::string loose = "  " + text.substr(0, text.find(" build="));
  TwString canonical{}, digest{};
  ASSERT_EQ(tw_key_canonical(loose.c_str(), &canonical, &digest), TW_OK) << tw_last_error();
  EXPECT_EQ(take(canonical), text);
  EXPECT_EQ(take(digest), runtime::digest(sampleKey()));
  ASSERT_EQ(tw_key_canonical(text.c_str(), &canonical, nullptr), TW_OK);
  take(canonical);
  EXPECT_EQ(tw_key_canonical("forward", &canonical, nullptr), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error_argument(), "key");

  TwString output{}, timings{};
  ASSERT_EQ(tw_compile(text.c_str(), "obj", &output, &timings), TW_OK) << tw_last_error();
  EXPECT_EQ(take(output), std::string("obj") + '\0' + text);
  EXPECT_EQ(nlohmann::json::parse(take(timings))["obj"], 2.0);
  EXPECT_EQ(tw_compile(text.c_str(), "ptx", &output, nullptr), TW_INVALID_ARGUMENT);
  EXPECT_STREQ(tw_last_error_argument(), "stage");
}

TEST_F(Capi, Plan) {
  Call call;
  call.args.q.data = nullptr;
  TwString json{};
  ASSERT_EQ(tw_forward_plan(engine, &call.args, &json), TW_OK) << tw_last_error();
  const nlohmann::json plan = nlohmann::json::parse(take(json));
  ASSERT_EQ(plan["steps"].size(), 1u);
  EXPECT_EQ(plan["steps"][0]["programs"], 8);
  EXPECT_EQ(plan["workspace_bytes"], 0);
  EXPECT_EQ(fakeCompiler().compiles, 0);
}

TEST_F(Capi, Info) {
  TwString json{};
  ASSERT_EQ(tw_info(engine, &json), TW_OK) << tw_last_error();
  const nlohmann::json info = nlohmann::json::parse(take(json));
  EXPECT_EQ(info["version"], "0.1.0");
  EXPECT_EQ(info["build_id"], tw_build_id());
  EXPECT_EQ(info["llvm"], "0.0.0-fake");
  EXPECT_EQ(info["gpu_assembler"]["found"], false);
  EXPECT_EQ(info["gpu_assembler"]["why"], "the fake compiler needs none");
  EXPECT_EQ(info["devices"]["cpu"]["threads"], 2);
  EXPECT_EQ(info["devices"]["cpu"]["level"], info["devices"]["cpu"]["host_level"]);
  // Devices or the reason for none, whatever this machine has. CudaTest looks at each with a driver of its own.
  const nlohmann::json &cuda = info["devices"]["cuda"];
  EXPECT_EQ(cuda["found"].get<bool>(), cuda.contains("devices"));
  EXPECT_NE(cuda["found"].get<bool>(), cuda.contains("why"));
  EXPECT_TRUE(info["cache"]["directory"].is_null());
  EXPECT_EQ(info["cache"]["source"], "cache_dir");

  TemporaryFolder folder;
  TwEngineOptions options{};
  options.struct_size = sizeof(options);
  options.cache_dir = folder.path.c_str();
  TwEngine *cached = nullptr;
  ASSERT_EQ(tw_engine_create(&options, &cached), TW_OK);
  Call call;
  ASSERT_EQ(tw_forward(cached, &call.args), TW_OK) << tw_last_error();
  ASSERT_EQ(tw_info(cached, &json), TW_OK);
  tw_engine_destroy(cached);
  const nlohmann::json cache = nlohmann::json::parse(take(json))["cache"];
  EXPECT_EQ(cache["directory"], folder.path);
  EXPECT_EQ(cache["entries"], 1);
  EXPECT_GT(cache["bytes"].get<int64_t>(), 100);
}

TEST_F(Capi, SupportMatrix) {
  TwString markdown{};
  ASSERT_EQ(tw_support_matrix(&markdown), TW_OK);
  EXPECT_THAT(take(markdown), HasSubstr("| bfloat16 | yes | yes |"));
}

TEST_F(Capi, ReferenceComputesThroughStridesAndTypes) {
  // One key is visible to row 0, so its output is that key's value and its LSE that key's logit.
  Sizes sizes;
  sizes.batch = 1;
  sizes.heads = sizes.headsK = 1;
  sizes.seqlenQ = sizes.seqlenK = 2;
  sizes.headDim = 1;
  sizes.headDimV = 2;
  sizes.dtype = TW_FLOAT64;
  Call call(sizes);
  call.withLse(TW_FLOAT64);
  auto *q = static_cast<double *>(call.args.q.data);
  auto *k = static_cast<double *>(call.args.k.data);
  auto *v = static_cast<double *>(call.args.v.data);
  q[0] = 2.0, q[1] = 0.0;
  k[0] = 3.0, k[1] = 5.0;
  v[0] = 10.0, v[1] = 20.0, v[2] = 30.0, v[3] = 40.0;
  call.args.causal = 1;
  call.args.has_softmax_scale = 1;
  call.args.softmax_scale = 0.5;
  ASSERT_EQ(tw_reference_forward(&call.args), TW_OK) << tw_last_error();
  const auto *out = static_cast<const double *>(call.args.out.data);
  const auto *lse = static_cast<const double *>(call.args.lse.data);
  EXPECT_DOUBLE_EQ(out[0], 10.0);
  EXPECT_DOUBLE_EQ(out[1], 20.0);
  EXPECT_DOUBLE_EQ(out[2], 20.0); // equal weights
  EXPECT_DOUBLE_EQ(out[3], 30.0);
  EXPECT_DOUBLE_EQ(lse[0], 3.0);
  EXPECT_DOUBLE_EQ(lse[1], std::log(2.0));
}
