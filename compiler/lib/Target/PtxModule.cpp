// SPDX-License-Identifier: Apache-2.0
//
// libtilewright_ptx.so: NVIDIA's static PTX compiler behind the two functions of PtxModule.h. Nothing else is exported.
#include "PtxModule.h"
#include <memory>
#include <new>
#include <nvPTXCompiler.h>
#include <type_traits>
#include <utility>

using namespace tilewright;

#define TILEWRIGHT_PTX_EXPORT extern "C" __attribute__((visibility("default")))

// The compiler's own statics are never destroyed: a thread may be assembling while the process exits. The library is
// linked with --wrap=__cxa_atexit, so every registration of a destructor comes here.
extern "C" int __wrap___cxa_atexit(void (*)(void *), void *, void *);
extern "C" int __wrap___cxa_atexit(void (*)(void *), void *, void *) { return 0; }

namespace {

using SizeFn = nvPTXCompileResult(nvPTXCompilerHandle, size_t *);

/// Hands out one output. `get` writes as many bytes as `getSize` says.
template <typename Byte>
nvPTXCompileResult handOut(nvPTXCompilerHandle compiler, SizeFn *getSize,
                           nvPTXCompileResult (*get)(nvPTXCompilerHandle, Byte *), PtxOutput output, PtxTaker take,
                           void *taker) {
  size_t size = 0;
  if (nvPTXCompileResult result = getSize(compiler, &size); result != NVPTXCOMPILE_SUCCESS || size == 0) {
    return result;
  }
  // One byte more: the size of a log does not count its NUL.
  std::unique_ptr<char[]> bytes(new (std::nothrow) char[size + 1]());
  if (!bytes) {
    return NVPTXCOMPILE_ERROR_OUT_OF_MEMORY;
  }
  nvPTXCompileResult result = get(compiler, bytes.get());
  if (result == NVPTXCOMPILE_SUCCESS) {
    take(taker, output, bytes.get(), size);
  }
  return result;
}

} // namespace

TILEWRIGHT_PTX_EXPORT int tilewright_ptx_version_1(unsigned *major, unsigned *minor) {
  return nvPTXCompilerGetVersion(major, minor);
}

TILEWRIGHT_PTX_EXPORT int tilewright_ptx_assemble_1(const char *ptx, size_t bytes, const char *const *options,
                                                    int optionCount, PtxTaker take, void *taker) {
  nvPTXCompilerHandle compiler = nullptr;
  nvPTXCompileResult result = nvPTXCompilerCreate(&compiler, bytes, ptx);
  if (result != NVPTXCOMPILE_SUCCESS) {
    return result;
  }
  result = nvPTXCompilerCompile(compiler, optionCount, options);
  for (auto [getSize, get] : {std::pair{&nvPTXCompilerGetInfoLogSize, &nvPTXCompilerGetInfoLog},
                              std::pair{&nvPTXCompilerGetErrorLogSize, &nvPTXCompilerGetErrorLog}}) {
    // A log that cannot be had does not turn a success into a failure.
    (void)handOut(compiler, getSize, get, PtxOutput::Log, take, taker);
  }
  if (result == NVPTXCOMPILE_SUCCESS) {
    result = handOut(compiler, &nvPTXCompilerGetCompiledProgramSize, &nvPTXCompilerGetCompiledProgram, PtxOutput::Cubin,
                     take, taker);
  }
  (void)nvPTXCompilerDestroy(&compiler);
  return result;
}

static_assert(std::is_same_v<decltype(tilewright_ptx_version_1), PtxVersionFn>);
static_assert(std::is_same_v<decltype(tilewright_ptx_assemble_1), PtxAssembleFn>);
