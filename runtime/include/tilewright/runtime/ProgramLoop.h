// SPDX-License-Identifier: Apache-2.0
//
// Runs a loaded CPU kernel: all its programs, on the pool's threads.
#ifndef TILEWRIGHT_RUNTIME_PROGRAMLOOP_H
#define TILEWRIGHT_RUNTIME_PROGRAMLOOP_H

#include "tilewright/runtime/Artifact.h"
#include "tilewright/runtime/ThreadPool.h"
#include <cstdint>

namespace tilewright::runtime {

/// Programs 0 to `programs` - 1 in that order of starting. The floating-point environment inside is the default one
/// (round to nearest, denormals kept) whatever the caller's is: results may not depend on which thread runs what.
void runPrograms(ThreadPool &pool, const LoadedKernel &kernel, const uint64_t *slots, int64_t programs);

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_PROGRAMLOOP_H
