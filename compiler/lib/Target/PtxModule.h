// SPDX-License-Identifier: Apache-2.0
//
// The two C functions of libtilewright_ptx.so, the shared object that holds NVIDIA's PTX compiler. It is a file of its
// own, beside libtilewright.so: what is not loaded costs a CPU-only process nothing, and a package may leave it out.
#ifndef TILEWRIGHT_LIB_TARGET_PTXMODULE_H
#define TILEWRIGHT_LIB_TARGET_PTXMODULE_H

#include <cstddef>

namespace tilewright {

/// What the assembler hands out.
enum class PtxOutput : int { Cubin = 0, Log = 1 };
/// Gets the bytes of one output, which are valid during the call only. Must not throw.
using PtxTaker = void (*)(void *taker, PtxOutput output, const char *bytes, size_t size);

/// tilewright_ptx_version_1: the CUDA release that the compiler belongs to. 0 on success.
using PtxVersionFn = int(unsigned *major, unsigned *minor);
/// tilewright_ptx_assemble_1: assembles NUL-terminated PTX, `bytes` long without the NUL. `options` are those of the
/// program ptxas. Hands out the log, on failure too, and on success the cubin. Thread-safe. 0 on success, else
/// nvPTXCompileResult.
using PtxAssembleFn = int(const char *ptx, size_t bytes, const char *const *options, int optionCount, PtxTaker take,
                          void *taker);

inline constexpr const char *kPtxModuleFile = "libtilewright_ptx.so";
inline constexpr const char *kPtxVersionName = "tilewright_ptx_version_1";
inline constexpr const char *kPtxAssembleName = "tilewright_ptx_assemble_1";

} // namespace tilewright

#endif // TILEWRIGHT_LIB_TARGET_PTXMODULE_H
