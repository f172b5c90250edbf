// SPDX-License-Identifier: Apache-2.0
//
// The disk cache: where it lies, what it writes, and everything that can be wrong with an entry.
#include "TestSupport.h"
#include "tilewright/runtime/Cache.h"
#include "tilewright/runtime/Digest.h"

#include <atomic>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace tilewright::runtime;
using namespace tilewright::tests;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

namespace {

Artifact sampleArtifact(const std::string &keyText = "forward sample=1", size_t objectBytes = 64) {
  Artifact artifact;
  artifact.keyText = keyText;
  artifact.symbol = "kernel";
  artifact.object.assign(objectBytes, '\0');
  for (size_t i = 0; i < objectBytes; ++i) {
    artifact.object[i] = static_cast<char>(i * 37);
  }
  artifact.scratchBytes = 123456789012345;
  artifact.format = CodeFormat::Ptx;
  artifact.sharedBytes = 232448;
  artifact.threads = 128;
  artifact.pipeline = "builtin.module(\"quoted\")";
  artifact.stageMs = {{"attn", 0.125}, {"llvm", 17.0625}};
  return artifact;
}

void expectSame(const Artifact &a, const Artifact &b) {
  EXPECT_EQ(a.keyText, b.keyText);
  EXPECT_EQ(a.symbol, b.symbol);
  EXPECT_EQ(a.object, b.object);
  EXPECT_EQ(a.scratchBytes, b.scratchBytes);
  EXPECT_EQ(a.format, b.format);
  EXPECT_EQ(a.sharedBytes, b.sharedBytes);
  EXPECT_EQ(a.threads, b.threads);
  EXPECT_EQ(a.pipeline, b.pipeline);
  EXPECT_EQ(a.stageMs, b.stageMs);
}

std::string readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void writeFile(const std::string &path, const std::string &bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

class DiskCacheTest : public ::testing::Test {
protected:
  TemporaryFolder folder;
  DiskCache cache{CacheLocation{folder.path, CacheSource::Option}};
  const Artifact artifact = sampleArtifact();
  const std::string digest = blake3Hex(artifact.keyText);

  /// Replaces the entry by `bytes` and expects it to be refused, set aside, and replaceable.
  void expectBad(const std::string &bytes, const std::string &words) {
    const std::string path = cache.entryPath(digest);
    writeFile(path, bytes);
    const uint64_t before = cache.badEntries();
    ::testing::internal::CaptureStderr();
    const bool found = cache.load(digest, artifact.keyText).has_value();
    const std::string log = ::testing::internal::GetCapturedStderr();
    ASSERT_FALSE(found) << words;
    EXPECT_EQ(cache.badEntries(), before + 1);
    EXPECT_THAT(log, HasSubstr(words));
    EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << "one line: " << log;
    EXPECT_FALSE(fs::exists(path));
    EXPECT_EQ(readFile(path + ".bad"), bytes);
    cache.publish(digest, artifact);
    EXPECT_TRUE(cache.load(digest, artifact.keyText).has_value());
  }
};

} // namespace

TEST_F(DiskCacheTest, PublishedEntryIsReadBack) {
  EXPECT_FALSE(cache.load(digest, artifact.keyText));
  EXPECT_TRUE(fs::is_empty(folder.path)) << "a miss creates nothing";
  cache.publish(digest, artifact);
  const auto loaded = cache.load(digest, artifact.keyText);
  ASSERT_TRUE(loaded);
  expectSame(*loaded, artifact);
  EXPECT_EQ(cache.badEntries(), 0u);

  const std::string path = cache.entryPath(digest);
  EXPECT_EQ(path, folder.path + "/v2/" + digest.substr(0, 2) + "/" + digest + ".twk");
  struct stat info;
  ASSERT_EQ(stat((folder.path + "/v2").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(std::distance(fs::directory_iterator(fs::path(path).parent_path()), fs::directory_iterator()), 1)
      << "no temporary file is left";
  EXPECT_EQ(cache.usage().entries, 1u);
  EXPECT_EQ(cache.usage().bytes, fs::file_size(path));
}

TEST_F(DiskCacheTest, EmptyObjectAndOddTextsSurvive) {
  Artifact odd = sampleArtifact("key", 0);
  odd.pipeline.clear();
  odd.stageMs.clear();
  std::string fault;
  const auto decoded = decodeEntry(encodeEntry(odd), "key", fault);
  ASSERT_TRUE(decoded) << fault;
  expectSame(*decoded, odd);
}

TEST_F(DiskCacheTest, EveryFlippedBitIsCaught) {
  const std::string good = encodeEntry(artifact);
  std::string fault;
  ASSERT_TRUE(decodeEntry(good, artifact.keyText, fault));
  for (size_t i = 0; i < good.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      fault.clear();
      ASSERT_FALSE(decodeEntry(bad, artifact.keyText, fault)) << "byte " << i << " bit " << bit;
      ASSERT_FALSE(fault.empty());
    }
  }
}

TEST_F(DiskCacheTest, EveryTruncationAndExtensionIsCaught) {
  const std::string good = encodeEntry(artifact);
  std::string fault;
  for (size_t size = 0; size < good.size(); ++size) {
    ASSERT_FALSE(decodeEntry(std::string_view(good).substr(0, size), artifact.keyText, fault)) << size;
  }
  EXPECT_FALSE(decodeEntry(good + '\0', artifact.keyText, fault));
  EXPECT_FALSE(decodeEntry(good + good, artifact.keyText, fault));
}

TEST_F(DiskCacheTest, BadFilesAreSetAside) {
  const std::string good = encodeEntry(artifact);
  cache.publish(digest, artifact);
  expectBad("", "is 0 bytes long, shorter than its header");
  expectBad(good.substr(0, 50), "shorter than its header");
  expectBad(good.substr(0, good.size() - 1), "which is not what its header says");
  expectBad("#!/bin/sh\n" + good, "is not a kernel file");
  expectBad(std::string(good.size(), '\0'), "is not a kernel file");
  std::string flipped = good;
  flipped[good.size() - 3] = static_cast<char>(flipped[good.size() - 3] ^ 4);
  expectBad(flipped, "does not match its checksum");
  std::string schema = good;
  schema[8] = 1;
  expectBad(schema, "has schema 1, expected 2");
  expectBad(encodeEntry(sampleArtifact("forward sample=2")), "holds another kernel: forward sample=2");
}

TEST_F(DiskCacheTest, SizesThatOverflowAreCaught) {
  std::string bytes = encodeEntry(artifact);
  for (size_t offset : {16, 24, 32}) {
    std::string bad = bytes;
    for (size_t i = 0; i < 8; ++i) {
      bad[offset + i] = '\xff';
    }
    std::string fault;
    EXPECT_FALSE(decodeEntry(bad, artifact.keyText, fault));
    EXPECT_THAT(fault, HasSubstr("not what its header says"));
  }
}

TEST_F(DiskCacheTest, AFolderInPlaceOfAnEntryIsAMiss) {
  fs::create_directories(cache.entryPath(digest));
  ::testing::internal::CaptureStderr();
  EXPECT_FALSE(cache.load(digest, artifact.keyText));
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("is not a file of a kernel's size"));
  cache.publish(digest, artifact);
  EXPECT_TRUE(cache.load(digest, artifact.keyText));
}

TEST_F(DiskCacheTest, ForeignEntriesAreRefusedWithOneWarning) {
  if (geteuid() != 0) {
    GTEST_SKIP() << "only root can give a file away";
  }
  cache.publish(digest, artifact);
  ASSERT_EQ(chown(cache.entryPath(digest).c_str(), 12345, 12345), 0);
  ::testing::internal::CaptureStderr();
  EXPECT_FALSE(cache.load(digest, artifact.keyText));
  EXPECT_FALSE(cache.load(digest, artifact.keyText));
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("belongs to user 12345"));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
  EXPECT_EQ(cache.badEntries(), 0u);
  EXPECT_TRUE(fs::exists(cache.entryPath(digest))) << "it is not ours to rename";
}

TEST_F(DiskCacheTest, ExplicitPlaceThatCannotBeWrittenIsAnError) {
  writeFile(folder.path + "/file", "x");
  DiskCache broken(CacheLocation{folder.path + "/file/cache", CacheSource::Environment});
  EXPECT_FALSE(broken.load(digest, artifact.keyText));
  EXPECT_THAT(expectError(TW_IO_ERROR, "TILEWRIGHT_CACHE_DIR", [&] { broken.requireWritable(); }),
              HasSubstr("TILEWRIGHT_CACHE_DIR: cannot write to " + folder.path + "/file/cache/v2"));
  // A kernel that has been compiled is not lost for it: the disk may have filled up meanwhile.
  ::testing::internal::CaptureStderr();
  EXPECT_NO_THROW(broken.publish(digest, artifact));
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("kernels stay in memory only"));
}

TEST_F(DiskCacheTest, ImplicitPlaceThatCannotBeWrittenWarnsOnce) {
  writeFile(folder.path + "/file", "x");
  DiskCache broken(CacheLocation{folder.path + "/file/cache", CacheSource::Home});
  ::testing::internal::CaptureStderr();
  EXPECT_NO_THROW(broken.requireWritable());
  EXPECT_NO_THROW(broken.publish(digest, artifact));
  EXPECT_NO_THROW(broken.publish(digest, artifact));
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("kernels stay in memory only"));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
}

TEST_F(DiskCacheTest, ConcurrentPublishersAndReadersSeeWholeEntries) {
  // Threads and processes replace and read the same few entries; every read is a hit or a plain miss.
  auto hammer = [&](int seed) {
    DiskCache own(CacheLocation{folder.path, CacheSource::Option});
    for (int i = 0; i < 60; ++i) {
      const std::string keyText = "key " + std::to_string((seed + i) % 3);
      const std::string name = blake3Hex(keyText);
      if ((seed + i) % 2 == 0) {
        own.publish(name, sampleArtifact(keyText, 20000));
      }
      if (const auto loaded = own.load(name, keyText); loaded && loaded->object.size() != 20000) {
        return false;
      }
    }
    return own.badEntries() == 0;
  };
  std::vector<pid_t> children;
  for (int n = 0; n < 3; ++n) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(60);
      _exit(hammer(n) ? 0 : 1);
    }
    children.push_back(child);
  }
  std::atomic<bool> good{true};
  std::vector<std::thread> threads;
  for (int n = 0; n < 3; ++n) {
    threads.emplace_back([&, n] { good = hammer(10 + n) && good; });
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
  EXPECT_TRUE(good);
  for (pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  EXPECT_EQ(cache.usage().entries, 3u);
}

TEST(CacheLocation, OrderOfPlaces) {
  ScopedEnvironment variable("TILEWRIGHT_CACHE_DIR", "/from/variable");
  ScopedEnvironment xdg("XDG_CACHE_HOME", "/from/xdg");
  ScopedEnvironment home("HOME", "/from/home");
  auto expect = [](const char *option, const std::string &directory, CacheSource source) {
    const CacheLocation location = chooseCacheLocation(option);
    EXPECT_EQ(location.directory, directory);
    EXPECT_EQ(toText(location.source), toText(source));
  };
  expect("/from/option", "/from/option", CacheSource::Option);
  expect("", "", CacheSource::Option);
  expect("relative", fs::absolute("relative").string(), CacheSource::Option);
  expect(nullptr, "/from/variable", CacheSource::Environment);
  {
    ScopedEnvironment empty("TILEWRIGHT_CACHE_DIR", "");
    expect(nullptr, "", CacheSource::Environment);
  }
  ScopedEnvironment noVariable("TILEWRIGHT_CACHE_DIR", nullptr);
  expect(nullptr, "/from/xdg/tilewright", CacheSource::XdgCacheHome);
  {
    ScopedEnvironment relative("XDG_CACHE_HOME", "relative");
    expect(nullptr, "/from/home/.cache/tilewright", CacheSource::Home);
  }
  ScopedEnvironment noXdg("XDG_CACHE_HOME", nullptr);
  expect(nullptr, "/from/home/.cache/tilewright", CacheSource::Home);
  ScopedEnvironment noHome("HOME", nullptr);
  expect(nullptr, "", CacheSource::None);
}

TEST(CacheLocation, ExplicitPlaceThatIsAFileIsAnError) {
  TemporaryFolder folder;
  writeFile(folder.path + "/file", "x");
  EXPECT_THAT(expectError(TW_IO_ERROR, "cache_dir", [&] { chooseCacheLocation((folder.path + "/file").c_str()); }),
              HasSubstr("exists and is not a folder"));
}
