// SPDX-License-Identifier: Apache-2.0
#include "tilewright/runtime/ProgramLoop.h"

#include <xmmintrin.h>

using namespace tilewright::runtime;

namespace {

/// Sets this thread's MXCSR to its power-on default: a host may have set flush-to-zero or a rounding mode on the
/// calling thread only (torch.set_flush_denormal does), and would get other numbers from that thread's rows.
class DefaultFloatEnvironment {
public:
  DefaultFloatEnvironment() : previous_(_mm_getcsr()) { _mm_setcsr(kDefault); }
  ~DefaultFloatEnvironment() { _mm_setcsr(previous_); }
  DefaultFloatEnvironment(const DefaultFloatEnvironment &) = delete;
  DefaultFloatEnvironment &operator=(const DefaultFloatEnvironment &) = delete;

private:
  static constexpr unsigned kDefault = 0x1f80; // all exceptions masked, nearest, no flush to zero
  const unsigned previous_;
};

} // namespace

void tilewright::runtime::runPrograms(ThreadPool &pool, const LoadedKernel &kernel, const uint64_t *slots,
                                      int64_t programs) {
  const CpuKernelFn entry = kernel.entry;
  pool.parallelFor(programs, kernel.scratchBytes, [entry, slots](int64_t program, void *scratch) {
    DefaultFloatEnvironment environment;
    entry(slots, program, scratch);
  });
}
