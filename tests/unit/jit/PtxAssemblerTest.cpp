// SPDX-License-Identifier: Apache-2.0
//
// PTX to machine code (GpuCodegen.h): NVIDIA's compiler in this process, the program that a user names, and which of
// them is taken.
#include "tilewright/Target/GpuCodegen.h"
#include "tilewright/runtime/Compiler.h"
#include "tilewright/runtime/KernelKey.h"
#include <array>
#include <cstdlib>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <thread>

using namespace tilewright;
using namespace tilewright::runtime;
using testing::HasSubstr;

namespace {

/// An environment variable for the time of a test.
class Variable {
public:
  Variable(const char *name, const char *value) : name_(name) {
    if (const char *old = std::getenv(name)) {
      old_ = old;
    }
    value != nullptr ? ::setenv(name, value, 1) : ::unsetenv(name);
  }
  ~Variable() { old_ ? ::setenv(name_, old_->c_str(), 1) : ::unsetenv(name_); }

private:
  const char *name_;
  std::optional<std::string> old_;
};

/// out[i] = sum of i additions of a float: enough for a loop and some registers.
constexpr const char *kPtx = R"(.version 7.4
.target sm_80
.address_size 64
.visible .entry sums(.param .u64 out, .param .f32 step) {
  .reg .pred %p; .reg .b32 %r<3>; .reg .b64 %d<3>; .reg .f32 %f<3>;
  ld.param.u64 %d0, [out]; ld.param.f32 %f0, [step];
  mov.u32 %r0, %tid.x; mov.u32 %r1, 0; mov.f32 %f1, 0f00000000;
loop:
  setp.ge.u32 %p, %r1, %r0; @%p bra done;
  add.f32 %f1, %f1, %f0; add.u32 %r1, %r1, 1; bra loop;
done:
  mul.wide.u32 %d1, %r0, 4; add.s64 %d2, %d0, %d1; st.global.f32 [%d2], %f1;
  ret;
}
)";

std::string valueOrFail(llvm::Expected<std::string> value) {
  if (!value) {
    ADD_FAILURE() << llvm::toString(value.takeError());
    return {};
  }
  return *value;
}

std::string errorOrFail(llvm::Expected<std::string> value) {
  if (value) {
    ADD_FAILURE() << "assembled without an error";
    return {};
  }
  return llvm::toString(value.takeError());
}

void expectCubin(const std::string &bytes, unsigned sm) {
  ASSERT_GT(bytes.size(), 64u);
  EXPECT_EQ(bytes.substr(0, 4), "\x7f" "ELF");
  uint16_t machine = 0;
  std::memcpy(&machine, bytes.data() + 18, sizeof(machine)); // e_machine
  EXPECT_EQ(machine, 190) << "EM_CUDA";
  uint32_t flags = 0;
  std::memcpy(&flags, bytes.data() + 48, sizeof(flags)); // e_flags
  // The SM is in the lowest byte up to CUDA 12, in the second since 13.
  EXPECT_TRUE((flags & 0xff) == sm || (flags >> 8 & 0xff) == sm) << std::hex << flags;
}

class InProcess : public testing::Test {
protected:
  /// Skips the test where the build has no compiler to put into the process.
  void SetUp() override {
#ifndef TILEWRIGHT_HAS_PTX_MODULE
    GTEST_SKIP() << "this build has no in-process PTX compiler: CMake did not find nvidia-nvptxcompiler";
#endif
  }

  const PtxAssembler inProcess;
};

} // namespace

TEST_F(InProcess, MakesACubinForEachSm) {
  for (unsigned sm : {80u, 90u}) {
    SCOPED_TRACE(sm);
    expectCubin(valueOrFail(assemblePtx(inProcess, kPtx, sm, GpuInstructions::Sm80, nullptr)), sm);
  }
}

TEST_F(InProcess, TheLogCountsRegistersAndSpills) {
  std::string log = "of an earlier call";
  valueOrFail(assemblePtx(inProcess, kPtx, 80, GpuInstructions::Sm80, &log));
  EXPECT_THAT(log, testing::AllOf(HasSubstr("function 'sums' for 'sm_80'"), HasSubstr("0 bytes spill stores"),
                                  testing::ContainsRegex("Used [0-9]+ registers")));
  EXPECT_EQ(log.find('\0'), std::string::npos);
}

TEST_F(InProcess, ErrorsKeepTheLog) {
  std::string broken = kPtx;
  broken.replace(broken.find("add.f32"), 7, "sub.f23");
  std::string log;
  EXPECT_THAT(errorOrFail(assemblePtx(inProcess, broken, 90, GpuInstructions::Sm80, &log)),
              testing::AllOf(HasSubstr("-arch=sm_90"), HasSubstr("libtilewright_ptx.so"), HasSubstr("line 10"),
                             HasSubstr(".f23"), HasSubstr(log)));
  EXPECT_THAT(log, HasSubstr("line 10"));
  EXPECT_THAT(errorOrFail(assemblePtx(inProcess, kPtx, 35, GpuInstructions::Sm80, nullptr)), HasSubstr("sm_35"));
  EXPECT_THAT(errorOrFail(assemblePtx(inProcess, "", 80, GpuInstructions::Sm80, nullptr)), HasSubstr("failed (2)"));
  // And the next one is as good as the first.
  expectCubin(valueOrFail(assemblePtx(inProcess, kPtx, 80, GpuInstructions::Sm80, nullptr)), 80);
}

TEST_F(InProcess, ThreadsGetTheBytesOfASerialCall) {
  const std::string alone[] = {valueOrFail(assemblePtx(inProcess, kPtx, 80, GpuInstructions::Sm80, nullptr)),
                               valueOrFail(assemblePtx(inProcess, kPtx, 90, GpuInstructions::Sm80, nullptr))};
  ASSERT_NE(alone[0], alone[1]);
  std::array<std::string, 2> differing;
  std::array<std::thread, 2> threads;
  for (unsigned i = 0; i < 2; ++i) {
    threads[i] = std::thread([&, i] {
      for (unsigned repeat = 0; repeat < 50; ++repeat) {
        const unsigned which = (i + repeat) % 2;
        llvm::Expected<std::string> bytes =
            assemblePtx(inProcess, kPtx, which == 0 ? 80 : 90, GpuInstructions::Sm80, nullptr);
        if (!bytes) {
          differing[i] = llvm::toString(bytes.takeError());
        } else if (*bytes != alone[which]) {
          differing[i] = "other bytes in repeat " + std::to_string(repeat);
        }
      }
    });
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
  EXPECT_THAT(differing, testing::Each(""));
}

TEST_F(InProcess, IsTakenBeforeAnyProgramInPath) {
  Variable chosen("TILEWRIGHT_PTXAS", nullptr);
  std::optional<PtxAssembler> found = findPtxAssembler();
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->inProcess()) << found->ptxas;
  EXPECT_THAT(valueOrFail(ptxAssemblerVersion(*found)), testing::MatchesRegex("[0-9]+\\.[0-9]+"));
  EXPECT_THAT(valueOrFail(ptxAssemblerFile(*found)), testing::EndsWith("/libtilewright_ptx.so"));
  const AssemblerInfo info = gpuAssembler();
  EXPECT_TRUE(info.found && info.inProcess);
  EXPECT_EQ(info.why, "");
}

TEST_F(InProcess, MakesTheMachineCodeOfAKernel) {
  Variable chosen("TILEWRIGHT_PTXAS", nullptr);
  const KernelKey key = parseKey("row_limits target=sm_80:sm_86 evenM=0 schedule=qk:128x64:w4");
  const Artifact artifact = compileKernel(key);
  EXPECT_EQ(artifact.format, CodeFormat::Cubin);
  expectCubin(artifact.object, 86);
  EXPECT_EQ(artifact.object, compileToStage(key, "cubin", nullptr)) << "the same bytes every time";
}

// What a user names goes first, with or without a compiler in the process.
TEST(PtxAssemblerChoice, TheNamedProgramGoesFirst) {
  Variable chosen("TILEWRIGHT_PTXAS", "/bin/false");
  std::optional<PtxAssembler> found = findPtxAssembler();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->ptxas, "/bin/false");
  EXPECT_THAT(errorOrFail(assemblePtx(*found, kPtx, 80, GpuInstructions::Sm80, nullptr)),
              testing::AllOf(HasSubstr("/bin/false -arch=sm_80"), HasSubstr("failed (1)")));
  const AssemblerInfo info = gpuAssembler();
  EXPECT_FALSE(info.found);
  EXPECT_EQ(info.file, "/bin/false");
  EXPECT_THAT(info.why, HasSubstr("/bin/false --version failed"));
}

TEST(PtxAssemblerChoice, WhatAProgramPrintsIsInTheError) {
  Variable chosen("TILEWRIGHT_PTXAS", "/bin/ls"); // it knows no option -arch=sm_80 and says so
  EXPECT_THAT(errorOrFail(assemblePtx(*findPtxAssembler(), kPtx, 80, GpuInstructions::Sm80, nullptr)),
              HasSubstr("option"));
}
