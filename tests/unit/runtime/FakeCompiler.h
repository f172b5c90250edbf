// SPDX-License-Identifier: Apache-2.0
//
// Controls of the stand-in for the JIT: what it was asked for, how long it takes, when it fails.
#ifndef TILEWRIGHT_TESTS_FAKECOMPILER_H
#define TILEWRIGHT_TESTS_FAKECOMPILER_H

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

namespace tilewright::tests {

struct FakeCompiler {
  std::atomic<int> compiles{0};       ///< compileKernel calls that finished well
  std::atomic<int> loads{0};          ///< loadArtifact calls that finished well
  std::atomic<int> running{0};        ///< threads inside compileKernel now
  std::atomic<int> mostRunning{0};    ///< the most at one time
  std::atomic<int> delayMs{0};        ///< how long compileKernel takes
  std::atomic<int> failCompiles{0};   ///< that many compileKernel calls to come throw TW_COMPILE_ERROR
  std::atomic<int> failLoads{0};      ///< that many loadArtifact calls to come throw TW_COMPILE_ERROR
  std::atomic<uint64_t> scratchBytes{192};
  std::atomic<uint64_t> sharedBytes{65536}; ///< of GPU kernels

  /// What the fake kernels were run with. Recorded only while `record` is set.
  std::atomic<bool> record{false};
  std::atomic<int64_t> programsRun{0};
  std::atomic<int> misalignedScratch{0};
  std::mutex lock;
  std::vector<int64_t> programs;
  std::array<uint64_t, 40> slots{};

  void reset();
};

FakeCompiler &fakeCompiler();

} // namespace tilewright::tests

#endif // TILEWRIGHT_TESTS_FAKECOMPILER_H
