// SPDX-License-Identifier: Apache-2.0
//
// NVRTC, NVIDIA's compiler of CUDA C++, opened at run time as the driver is (Driver.h). Nothing but the CUDA reference
// needs it; without it every other CUDA request works as ever.
#ifndef TILEWRIGHT_LIB_CUDA_NVRTC_H
#define TILEWRIGHT_LIB_CUDA_NVRTC_H

#include "tilewright/runtime/Error.h"
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace tilewright::runtime::cuda {

using NvrtcResult = int;                         ///< nvrtcResult; 0 is success
using NvrtcProgram = struct NvrtcProgramTag *;   ///< nvrtcProgram

/// The functions that the runtime calls, by NVRTC's names without "nvrtc". Tests fill one with their own.
struct NvrtcApi {
  NvrtcResult (*version)(int *major, int *minor);
  const char *(*getErrorString)(NvrtcResult code);
  NvrtcResult (*getNumSupportedArchs)(int *count);
  NvrtcResult (*getSupportedArchs)(int *archs);
  NvrtcResult (*createProgram)(NvrtcProgram *program, const char *text, const char *name, int headerCount,
                               const char *const *headers, const char *const *includeNames);
  NvrtcResult (*destroyProgram)(NvrtcProgram *program);
  NvrtcResult (*compileProgram)(NvrtcProgram program, int optionCount, const char *const *options);
  NvrtcResult (*getProgramLogSize)(NvrtcProgram program, size_t *bytes);
  NvrtcResult (*getProgramLog)(NvrtcProgram program, char *log);
  NvrtcResult (*getPTXSize)(NvrtcProgram program, size_t *bytes);
  NvrtcResult (*getPTX)(NvrtcProgram program, char *ptx);
  NvrtcResult (*getCUBINSize)(NvrtcProgram program, size_t *bytes);
  NvrtcResult (*getCUBIN)(NvrtcProgram program, char *cubin);
};

/// An NVRTC call that failed, TW_COMPILE_ERROR. The message holds all of it, the program's log too.
class NvrtcError : public Error {
public:
  NvrtcError(std::string message, std::string expression, NvrtcResult code, std::string codeName, std::string log)
      : Error(TW_COMPILE_ERROR, std::move(message)), expression_(std::move(expression)), code_(code),
        codeName_(std::move(codeName)), log_(std::move(log)) {}

  const std::string &expression() const { return expression_; } ///< "nvrtcCompileProgram(x.cu, --std=c++17 ...)"
  NvrtcResult code() const { return code_; }
  const std::string &codeName() const { return codeName_; } ///< "NVRTC_ERROR_COMPILATION"
  const std::string &log() const { return log_; }           ///< empty if the program has none

private:
  std::string expression_;
  NvrtcResult code_;
  std::string codeName_;
  std::string log_;
};

/// Opened by the first call: the library that $TILEWRIGHT_NVRTC names, and no other; without it libnvrtc.so.13, then
/// .12, where the loader finds libraries, then in /usr/local/cuda/lib64. Throws Error(TW_UNSUPPORTED) that says what
/// was looked for and what to do; its argument is "TILEWRIGHT_NVRTC" if that names something that cannot be used. A
/// failure is not remembered. Takes no lock.
const NvrtcApi &nvrtc();

std::string nvrtcVersion(); ///< "13.0"; throws as nvrtc() does

struct CudaSource {
  std::string name; ///< in diagnostics
  std::string text;
  std::vector<std::pair<std::string, std::string>> headers; ///< name in #include, text
};

struct CudaCode {
  std::string image;  ///< a cubin, or PTX that ends with a NUL
  bool cubin = false;
  std::string target; ///< "sm_90" of a cubin, "compute_90" of PTX
  std::string log;    ///< warnings; empty if there were none
};

/// For GPUs of compute capability sm / 10 . sm % 10: machine code if this NVRTC knows them, else PTX of the last
/// architecture before them that it knows, which the driver assembles. Throws NvrtcError, Error(TW_UNSUPPORTED) if it
/// knows none, or what nvrtc() throws.
CudaCode compileCuda(const CudaSource &source, unsigned sm);

/// Tests only, while no other thread uses NVRTC: this table in the place of the machine's; null: the machine's again.
void setNvrtcForTesting(const NvrtcApi *api);

} // namespace tilewright::runtime::cuda

#endif // TILEWRIGHT_LIB_CUDA_NVRTC_H
