// SPDX-License-Identifier: Apache-2.0
#include "Nvrtc.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <dlfcn.h>
#include <memory>
#include <tuple>

using namespace tilewright::runtime;
using namespace tilewright::runtime::cuda;

namespace {

constexpr const char *kVariable = "TILEWRIGHT_NVRTC";
constexpr const char *kLibraries[] = {"libnvrtc.so.13", "libnvrtc.so.12", "/usr/local/cuda/lib64/libnvrtc.so.13",
                                      "/usr/local/cuda/lib64/libnvrtc.so.12"};

std::string loaderError() {
  const char *why = ::dlerror();
  return why != nullptr ? why : "no reason given";
}

void *openLibrary(const char *name) { return ::dlopen(name, RTLD_NOW | RTLD_LOCAL); }

/// The library itself and its name. Never closed: its compiler may have threads and exit handlers.
std::pair<void *, std::string> openNvrtc() {
  const char *named = std::getenv(kVariable);
  if (named != nullptr && *named != '\0') {
    if (void *library = openLibrary(named)) {
      return {library, named};
    }
    throw Error(TW_UNSUPPORTED,
                std::string(kVariable) + ": is '" + named + "', which cannot be opened as NVRTC's library: " +
                    loaderError(),
                kVariable);
  }
  std::string tried;
  for (const char *name : kLibraries) {
    if (void *library = openLibrary(name)) {
      return {library, name};
    }
    tried += (tried.empty() ? "" : ", ") + std::string(name);
  }
  throw Error(TW_UNSUPPORTED,
              "NVRTC was not found (tried " + tried + "). It is part of the CUDA toolkit and of the PyPI package "
              "nvidia-cuda-nvrtc (nvidia/cu13/lib/libnvrtc.so.13 in its site-packages); set " +
                  kVariable + " to the library's path");
}

class Loader {
public:
  Loader() {
    std::tie(library_, name_) = openNvrtc();
  }

  template <typename Fn> void find(const char *name, Fn &function) {
    function = reinterpret_cast<Fn>(::dlsym(library_, name));
    if (function == nullptr) {
      const char *named = std::getenv(kVariable);
      throw Error(TW_UNSUPPORTED, "NVRTC: " + name_ + " has no " + name + ": NVRTC of CUDA 12.0 or later is needed",
                  named != nullptr && *named != '\0' ? kVariable : "");
    }
  }

  /// NVRTC opens a second library by its bare name, and the PyPI package's copy does not know to look beside itself.
  /// Whoever has it loaded already is found. Where it lies elsewhere, NVRTC's own search goes on.
  void openBuiltins(const NvrtcApi &api) const {
    int major = 0, minor = 0;
    Dl_info where{};
    if (api.version(&major, &minor) != 0 || ::dladdr(reinterpret_cast<void *>(api.version), &where) == 0 ||
        where.dli_fname == nullptr) {
      return;
    }
    const std::string path = where.dli_fname;
    const size_t slash = path.rfind('/');
    if (slash != std::string::npos) {
      (void)openLibrary((path.substr(0, slash + 1) + "libnvrtc-builtins.so." + std::to_string(major) + "." +
                         std::to_string(minor)).c_str());
    }
  }

private:
  void *library_ = nullptr;
  std::string name_;
};

std::unique_ptr<NvrtcApi> load() {
  Loader loader;
  auto api = std::make_unique<NvrtcApi>();
  loader.find("nvrtcVersion", api->version);
  loader.find("nvrtcGetErrorString", api->getErrorString);
  loader.find("nvrtcGetNumSupportedArchs", api->getNumSupportedArchs);
  loader.find("nvrtcGetSupportedArchs", api->getSupportedArchs);
  loader.find("nvrtcCreateProgram", api->createProgram);
  loader.find("nvrtcDestroyProgram", api->destroyProgram);
  loader.find("nvrtcCompileProgram", api->compileProgram);
  loader.find("nvrtcGetProgramLogSize", api->getProgramLogSize);
  loader.find("nvrtcGetProgramLog", api->getProgramLog);
  loader.find("nvrtcGetPTXSize", api->getPTXSize);
  loader.find("nvrtcGetPTX", api->getPTX);
  loader.find("nvrtcGetCUBINSize", api->getCUBINSize);
  loader.find("nvrtcGetCUBIN", api->getCUBIN);
  loader.openBuiltins(*api);
  return api;
}

std::atomic<const NvrtcApi *> current{nullptr};
std::atomic<const NvrtcApi *> injected{nullptr};

void check(const NvrtcApi &api, NvrtcResult result, const std::string &expression, const std::string &log = {}) {
  if (result == 0) {
    return;
  }
  const char *text = api.getErrorString(result);
  const std::string name = text != nullptr ? text : "error";
  throw NvrtcError("NVRTC: " + expression + " failed with " + name + " (" + std::to_string(result) + ")" +
                       (log.empty() ? "" : ":\n" + log),
                   expression, result, name, log);
}

/// A program that is destroyed with the scope.
class Program {
public:
  Program(const NvrtcApi &api, const CudaSource &source) : api_(api), name_(source.name) {
    std::vector<const char *> texts, names;
    for (const auto &[name, text] : source.headers) {
      names.push_back(name.c_str());
      texts.push_back(text.c_str());
    }
    check(api_, api_.createProgram(&program_, source.text.c_str(), name_.c_str(), static_cast<int>(texts.size()),
                                   texts.data(), names.data()),
          "nvrtcCreateProgram(" + name_ + ")");
  }
  ~Program() { (void)api_.destroyProgram(&program_); }
  Program(const Program &) = delete;
  Program &operator=(const Program &) = delete;

  /// Returns the log.
  std::string compile(const std::vector<std::string> &options) const {
    std::vector<const char *> texts;
    std::string expression = "nvrtcCompileProgram(" + name_;
    for (const std::string &option : options) {
      texts.push_back(option.c_str());
      expression += ", " + option;
    }
    const NvrtcResult result = api_.compileProgram(program_, static_cast<int>(texts.size()), texts.data());
    std::string log = read("ProgramLog", api_.getProgramLogSize, api_.getProgramLog);
    while (!log.empty() && (log.back() == '\0' || log.back() == '\n')) {
      log.pop_back();
    }
    check(api_, result, expression + ")", log);
    return log;
  }

  std::string ptx() const { return read("PTX", api_.getPTXSize, api_.getPTX); }
  std::string cubin() const { return read("CUBIN", api_.getCUBINSize, api_.getCUBIN); }

private:
  template <typename GetSize, typename Get> std::string read(const char *what, GetSize getSize, Get get) const {
    size_t bytes = 0;
    check(api_, getSize(program_, &bytes), std::string("nvrtcGet") + what + "Size(" + name_ + ")");
    std::string text(bytes, '\0');
    check(api_, get(program_, text.data()), std::string("nvrtcGet") + what + "(" + name_ + ")");
    return text;
  }

  const NvrtcApi &api_;
  const std::string name_;
  NvrtcProgram program_ = nullptr;
};

std::vector<int> supportedArchs(const NvrtcApi &api) {
  int count = 0;
  check(api, api.getNumSupportedArchs(&count), "nvrtcGetNumSupportedArchs()");
  std::vector<int> archs(static_cast<size_t>(std::max(count, 0)));
  check(api, api.getSupportedArchs(archs.data()), "nvrtcGetSupportedArchs()");
  return archs;
}

} // namespace

const NvrtcApi &cuda::nvrtc() {
  if (const NvrtcApi *api = current.load(std::memory_order_acquire)) {
    return *api;
  }
  const NvrtcApi *fresh = injected.load(std::memory_order_acquire);
  std::unique_ptr<NvrtcApi> loaded;
  if (fresh == nullptr) {
    loaded = load();
    fresh = loaded.get();
  }
  // Two threads may both load; the loser's table is dropped. The library itself is opened once.
  const NvrtcApi *expected = nullptr;
  if (current.compare_exchange_strong(expected, fresh, std::memory_order_acq_rel)) {
    (void)loaded.release();
    return *fresh;
  }
  return *expected;
}

std::string cuda::nvrtcVersion() {
  const NvrtcApi &api = nvrtc();
  int major = 0, minor = 0;
  check(api, api.version(&major, &minor), "nvrtcVersion()");
  return std::to_string(major) + "." + std::to_string(minor);
}

CudaCode cuda::compileCuda(const CudaSource &source, unsigned sm) {
  const NvrtcApi &api = nvrtc();
  int best = 0;
  for (int arch : supportedArchs(api)) {
    best = arch <= static_cast<int>(sm) ? std::max(best, arch) : best;
  }
  if (best == 0) {
    throw Error(TW_UNSUPPORTED, "NVRTC " + nvrtcVersion() + " knows no architecture up to sm_" + std::to_string(sm));
  }
  CudaCode code;
  code.cubin = best == static_cast<int>(sm);
  code.target = (code.cubin ? "sm_" : "compute_") + std::to_string(best);
  const Program program(api, source);
  code.log = program.compile({"--gpu-architecture=" + code.target, "--std=c++17"});
  code.image = code.cubin ? program.cubin() : program.ptx();
  return code;
}

void cuda::setNvrtcForTesting(const NvrtcApi *api) {
  injected.store(api, std::memory_order_release);
  current.store(nullptr, std::memory_order_release);
}
