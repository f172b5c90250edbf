// SPDX-License-Identifier: Apache-2.0
//
// On a GPU (ctest's label `gpu`): every kind of schedule that the table has for it loads and runs within what a block
// may use. Results are compared elsewhere (tests/python/test_cuda.py).
#include "cuda/Devices.h"
#include "tilewright/runtime/Engine.h"

#include <gtest/gtest.h>

using namespace tilewright;
using namespace tilewright::runtime;

namespace {

/// Memory of the device whose context is current; contents are whatever lies there.
class DeviceMemory {
public:
  explicit DeviceMemory(size_t bytes) { cuda::check(cuda::driver().memAlloc(&address_, bytes), "cuMemAlloc", 0); }
  ~DeviceMemory() { (void)cuda::driver().memFree(address_); }
  DeviceMemory(const DeviceMemory &) = delete;
  DeviceMemory &operator=(const DeviceMemory &) = delete;
  void *data() const { return reinterpret_cast<void *>(address_); }

private:
  cuda::DevicePointer address_ = 0;
};

TwTensor tensor(void *data, int64_t seqlen, int64_t headDim) {
  return {data, TW_BFLOAT16, TW_DEVICE_CUDA, 0, 4, {1, seqlen, 1, headDim}, {seqlen * headDim, headDim, headDim, 1}};
}

/// Why no GPU test can run; empty if one can.
std::string whyNot() {
  try {
    if (cuda::deviceCount() == 0) {
      return "the CUDA driver sees no device";
    }
    const cuda::DeviceInfo info = cuda::deviceInfo(0);
    return smOf(info.major, info.minor) ? "" : "cuda:0 (" + info.name + ") is below compute capability 8.0";
  } catch (const Error &error) {
    return error.what();
  }
}

} // namespace

TEST(GpuDevice, EveryScheduleOfTheTableRuns) {
  if (const std::string why = whyNot(); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const cuda::DeviceInfo &device = cuda::device(0);
  const cuda::ContextScope context(device);
  ASSERT_GE(device.sharedBytes, gpuSharedLimit(smOf(device.major, device.minor).value()))
      << device.name << " has less than the table in Target/GpuTarget.h says";
  Engine engine{EngineOptions()}; // no disk cache
  constexpr int64_t seqlen = 300, widest = 256;
  const DeviceMemory q(seqlen * widest * 2), k(seqlen * widest * 2), v(seqlen * widest * 2), out(seqlen * widest * 2);
  for (int64_t headDim : {33, 64, 80, 96, 128, 192, 256}) {
    for (int32_t causal : {0, 1}) {
      SCOPED_TRACE("head dim " + std::to_string(headDim) + (causal ? ", causal" : ", no mask"));
      TwForwardArgs args{};
      args.struct_size = sizeof(args);
      args.q = tensor(q.data(), seqlen, headDim);
      args.k = tensor(k.data(), seqlen, headDim);
      args.v = tensor(v.data(), seqlen, headDim);
      args.out = tensor(out.data(), seqlen, headDim);
      args.causal = causal;
      EXPECT_NO_THROW(engine.forward(args));
      EXPECT_EQ(cuda::driver().streamSynchronize(nullptr), cuda::kSuccess);
    }
  }
}
