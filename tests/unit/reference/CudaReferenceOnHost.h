// SPDX-License-Identifier: Apache-2.0
//
// The CUDA reference's source, compiled as C++ and run by 128 threads that stand for a block's: what it computes is
// tested without a GPU and without NVRTC. tests/unit/runtime/NvrtcTest.cpp compiles it as CUDA. One file of a program
// may include this.
#ifndef TILEWRIGHT_TESTS_UNIT_REFERENCE_CUDAREFERENCEONHOST_H
#define TILEWRIGHT_TESTS_UNIT_REFERENCE_CUDAREFERENCEONHOST_H

#include <barrier>
#include <bit>
#include <cmath>
#include <thread>
#include <vector>

namespace {

struct Dim3 {
  int x = 0;
};
thread_local Dim3 threadIdx;
constexpr Dim3 blockIdx{0};
constexpr Dim3 gridDim{1};
std::barrier<> &blockBarrier() {
  static std::barrier<> barrier(128);
  return barrier;
}
void __syncthreads() { blockBarrier().arrive_and_wait(); }
float __int_as_float(int code) { return std::bit_cast<float>(code); }

} // namespace

#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(threads)
// The kernel includes its arguments by the bare name that NVRTC knows; the tests' CMakeLists.txt add the folder that
// has it.
#include "reference/CudaReference.cu"

namespace {

/// A grid of one block. Returns when it has computed every row.
void runCudaReferenceOnHost(const tilewright::kernels::CudaReferenceArguments &args) {
  std::vector<std::thread> threads;
  for (int i = 0; i < tilewright::kernels::kCudaReferenceThreads; ++i) {
    threads.emplace_back([&args, i] {
      threadIdx.x = i;
      tilewright_reference_forward(args);
    });
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
}

} // namespace

#endif // TILEWRIGHT_TESTS_UNIT_REFERENCE_CUDAREFERENCEONHOST_H
