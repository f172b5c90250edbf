// SPDX-License-Identifier: Apache-2.0
//
// The functions of runtime/Compiler.h without MLIR. An "object" is the key's text behind a prefix; a "kernel" records
// that it ran.
#include "FakeCompiler.h"
#include "tilewright/runtime/Compiler.h"
#include "tilewright/runtime/Error.h"

#include <chrono>
#include <cstring>
#include <thread>

using namespace tilewright::runtime;
namespace kernels = tilewright::kernels;
using tilewright::tests::fakeCompiler;
using tilewright::tests::FakeCompiler;

namespace {

constexpr std::string_view kObjectPrefix = "fake object of ";

void fakeKernel(const uint64_t *slots, int64_t program, void *scratch) {
  FakeCompiler &fake = fakeCompiler();
  if (reinterpret_cast<uintptr_t>(scratch) % 64 != 0) {
    fake.misalignedScratch.fetch_add(1);
  }
  std::memset(scratch, 0x5a, fake.scratchBytes.load());
  fake.programsRun.fetch_add(1);
  if (fake.record) {
    std::lock_guard<std::mutex> guard(fake.lock);
    fake.programs.push_back(program);
    // The shortest argument list there is has 10 slots; tests read no more of it than their kernel has.
    std::memcpy(fake.slots.data(), slots, 10 * sizeof(uint64_t));
  }
}

bool takeOne(std::atomic<int> &count) {
  int left = count.load();
  while (left > 0) {
    if (count.compare_exchange_weak(left, left - 1)) {
      return true;
    }
  }
  return false;
}

} // namespace

FakeCompiler &tilewright::tests::fakeCompiler() {
  static FakeCompiler &instance = *new FakeCompiler;
  return instance;
}

void FakeCompiler::reset() {
  compiles = 0;
  loads = 0;
  mostRunning = 0;
  delayMs = 0;
  failCompiles = 0;
  failLoads = 0;
  scratchBytes = 192;
  sharedBytes = 65536;
  record = false;
  programsRun = 0;
  misalignedScratch = 0;
  programs.clear();
  slots.fill(0);
}

Artifact tilewright::runtime::compileKernel(const KernelKey &key) {
  FakeCompiler &fake = fakeCompiler();
  const int now = fake.running.fetch_add(1) + 1;
  int most = fake.mostRunning.load();
  while (now > most && !fake.mostRunning.compare_exchange_weak(most, now)) {
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(fake.delayMs.load()));
  fake.running.fetch_sub(1);
  if (takeOne(fake.failCompiles)) {
    throw Error(TW_COMPILE_ERROR, "the fake compiler was told to fail");
  }
  Artifact artifact;
  artifact.keyText = toText(key);
  artifact.symbol = "kernel";
  artifact.object = std::string(kObjectPrefix) + artifact.keyText;
  artifact.scratchBytes = fake.scratchBytes.load();
  if (key.sm != 0) {
    artifact.format = key.sm == kPtxOnly ? CodeFormat::Ptx : CodeFormat::Cubin;
    artifact.symbol = key.kind == kernels::KernelKind::Forward ? "attn_forward" : "attn_row_limits";
    artifact.sharedBytes = fake.sharedBytes.load();
    artifact.threads = key.schedule.threads();
  }
  artifact.pipeline = "fake";
  artifact.stageMs = {{"attn", 0.25}, {"llvm", 1.5}};
  fake.compiles.fetch_add(1);
  return artifact;
}

std::string tilewright::runtime::compileToStage(const KernelKey &key, std::string_view stage,
                                                std::vector<std::pair<std::string, double>> *stageMs) {
  if (stage != "attn" && stage != "obj") {
    throw Error(TW_INVALID_ARGUMENT, "stage: is '" + std::string(stage) + "', must be attn or obj", "stage");
  }
  if (stageMs != nullptr) {
    *stageMs = {{std::string(stage), 2.0}};
  }
  // An embedded NUL, as machine code has.
  return std::string(stage) + std::string(1, '\0') + toText(key);
}

std::unique_ptr<LoadedKernel> tilewright::runtime::loadArtifact(const Artifact &artifact) {
  FakeCompiler &fake = fakeCompiler();
  if (takeOne(fake.failLoads) || artifact.object != std::string(kObjectPrefix) + artifact.keyText) {
    throw Error(TW_COMPILE_ERROR, "the fake object does not link");
  }
  auto kernel = std::make_unique<LoadedKernel>();
  kernel->entry = fakeKernel;
  kernel->scratchBytes = artifact.scratchBytes;
  fake.loads.fetch_add(1);
  return kernel;
}

AssemblerInfo tilewright::runtime::gpuAssembler() {
  AssemblerInfo info;
  info.why = "the fake compiler needs none";
  return info;
}

std::string_view tilewright::runtime::llvmVersion() { return "0.0.0-fake"; }
