// SPDX-License-Identifier: Apache-2.0
//
// Problems with memory of their own, folders that vanish, and a check of what a failing call reports.
#ifndef TILEWRIGHT_TESTS_TESTSUPPORT_H
#define TILEWRIGHT_TESTS_TESTSUPPORT_H

#include "tilewright/runtime/Error.h"
#include "tilewright/runtime/KernelKey.h"
#include "tilewright/tilewright.h"

#include <cstdint>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <initializer_list>
#include <string>
#include <vector>

namespace tilewright::tests {

struct Sizes {
  int64_t batch = 2, seqlenQ = 5, seqlenK = 7, heads = 4, headsK = 2, headDim = 8, headDimV = 6;
  TwDType dtype = TW_FLOAT32;
};

/// A valid call, which tests then spoil. Owns all memory; outputs are filled with 0x7f bytes.
class Call {
public:
  explicit Call(const Sizes &sizes = {}) : sizes(sizes) {
    args.struct_size = sizeof(args);
    args.q = tensor(sizes.dtype, {sizes.batch, sizes.seqlenQ, sizes.heads, sizes.headDim}, 0);
    args.k = tensor(sizes.dtype, {sizes.batch, sizes.seqlenK, sizes.headsK, sizes.headDim}, 0);
    args.v = tensor(sizes.dtype, {sizes.batch, sizes.seqlenK, sizes.headsK, sizes.headDimV}, 0);
    args.out = tensor(sizes.dtype, {sizes.batch, sizes.seqlenQ, sizes.heads, sizes.headDimV}, 0x7f);
  }

  Call &withLse(TwDType dtype = TW_FLOAT32) {
    args.lse = tensor(dtype, {sizes.batch, sizes.heads, sizes.seqlenQ}, 0x7f);
    return *this;
  }
  Call &withBreaks(const std::vector<int32_t> &values) {
    args.causal = 1;
    args.glm_mask = integers({static_cast<int64_t>(values.size())}, values);
    return *this;
  }
  /// All starts of a batch entry, then all its ends, as the tensor lies in memory.
  Call &withPairs(int64_t pairs, const std::vector<int32_t> &values) {
    args.causal = 1;
    args.glm_mask = integers({sizes.batch, 2, pairs}, values);
    return *this;
  }

  /// Contiguous, row-major.
  TwTensor tensor(TwDType dtype, std::initializer_list<int64_t> shape, int fill) {
    TwTensor tensor{};
    tensor.dtype = dtype;
    tensor.rank = static_cast<int32_t>(shape.size());
    int64_t stride = 1;
    for (size_t i = shape.size(); i-- > 0;) {
      tensor.shape[i] = shape.begin()[i];
      tensor.strides[i] = stride;
      stride *= tensor.shape[i];
    }
    const size_t bytes = static_cast<size_t>(stride) * elementBytes(dtype);
    if (bytes != 0) {
      memory_.emplace_back(bytes, static_cast<char>(fill));
      tensor.data = memory_.back().data();
    }
    return tensor;
  }

  TwTensor integers(std::initializer_list<int64_t> shape, const std::vector<int32_t> &values) {
    TwTensor result = tensor(TW_INT32, shape, 0);
    std::copy(values.begin(), values.end(), static_cast<int32_t *>(result.data));
    return result;
  }

  static size_t elementBytes(TwDType dtype) {
    if (dtype == TW_BOOL) {
      return 1;
    }
    return dtype == TW_FLOAT64 || dtype == TW_INT64 ? 8 : dtype == TW_FLOAT32 || dtype == TW_INT32 ? 4 : 2;
  }

  Sizes sizes;
  TwForwardArgs args{};

private:
  std::deque<std::vector<char>> memory_;
};

class TemporaryFolder {
public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "tilewright-test-XXXXXX").string();
    path = ::mkdtemp(name.data()) != nullptr ? name : std::string();
    EXPECT_FALSE(path.empty());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  TemporaryFolder(const TemporaryFolder &) = delete;
  TemporaryFolder &operator=(const TemporaryFolder &) = delete;

  std::string path;
};

/// Sets an environment variable, or removes it (null), until the end of the scope.
class ScopedEnvironment {
public:
  ScopedEnvironment(const char *name, const char *value) : name_(name) {
    const char *before = std::getenv(name);
    had_ = before != nullptr;
    before_ = had_ ? before : "";
    set(value);
  }
  ~ScopedEnvironment() { set(had_ ? before_.c_str() : nullptr); }
  ScopedEnvironment(const ScopedEnvironment &) = delete;
  ScopedEnvironment &operator=(const ScopedEnvironment &) = delete;

private:
  void set(const char *value) { value != nullptr ? ::setenv(name_, value, 1) : ::unsetenv(name_); }
  const char *const name_;
  bool had_;
  std::string before_;
};

/// A forward key that every field of may be changed.
inline runtime::KernelKey sampleKey() {
  runtime::KernelKey key;
  key.level = CpuLevel::X86_64_v3;
  key.dtype = runtime::ElementType::BF16;
  key.mask = attn::MaskKind::None;
  key.headDim = 64;
  key.headDimV = 32;
  key.align = {attn::AlignClass::Bytes2, attn::AlignClass::Bytes2, attn::AlignClass::Bytes2, attn::AlignClass::Bytes2};
  key.normalize();
  return key;
}

/// Runs `body`, expects it to throw a runtime::Error with that status and argument, and returns its message.
template <typename Body> std::string expectError(TwStatus status, const std::string &argument, Body &&body) {
  try {
    body();
  } catch (const runtime::Error &error) {
    EXPECT_EQ(error.status(), status) << error.what();
    EXPECT_EQ(error.argument(), argument) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return "";
}

} // namespace tilewright::tests

#endif // TILEWRIGHT_TESTS_TESTSUPPORT_H
