// SPDX-License-Identifier: Apache-2.0
//
// PTX to machine code inside the process: libtilewright_ptx.so, opened when the first kernel is assembled.
#include "PtxInProcess.h"
#include "PtxModule.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <atomic>
#include <dlfcn.h>
#include <memory>

using namespace llvm;
using namespace tilewright;

namespace {

struct Module {
  std::string path;
  PtxVersionFn *version = nullptr;
  PtxAssembleFn *assemble = nullptr;
};

/// Opens the first of the library's places that has it. The error names them all.
Expected<std::unique_ptr<Module>> open() {
  std::string tried;
  std::string own = ownFolder();
  for (StringRef below : {"", "../lib"}) {
    SmallString<256> path(own);
    sys::path::append(path, below, kPtxModuleFile);
    tried += (tried.empty() ? "" : ", ") + std::string(path);
    if (!sys::fs::exists(path)) {
      continue;
    }
    // Local: the compiler's names must not answer to anybody else's symbols. Never closed: it may be running.
    void *library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library) {
      const char *why = ::dlerror();
      return createStringError("cannot load %s: %s", path.c_str(), why ? why : "unknown");
    }
    auto module = std::make_unique<Module>();
    module->path = std::string(path);
    module->version = reinterpret_cast<PtxVersionFn *>(::dlsym(library, kPtxVersionName));
    module->assemble = reinterpret_cast<PtxAssembleFn *>(::dlsym(library, kPtxAssembleName));
    if (!module->version || !module->assemble) {
      return createStringError("%s is of another version of Tilewright", path.c_str());
    }
    return module;
  }
  return createStringError("not there: %s", tried.c_str());
}

/// Takes no lock, which a fork could copy: of two threads that open the library one's record wins.
Expected<const Module *> module() {
  static std::atomic<const Module *> current{nullptr};
  if (const Module *known = current.load(std::memory_order_acquire)) {
    return known;
  }
  Expected<std::unique_ptr<Module>> opened = open();
  if (!opened) {
    return opened.takeError();
  }
  const Module *expected = nullptr;
  if (current.compare_exchange_strong(expected, opened->get(), std::memory_order_acq_rel)) {
    return opened->release();
  }
  return expected;
}

struct Taken {
  std::string cubin, log;
};

void takeOutput(void *taker, PtxOutput output, const char *bytes, size_t size) {
  auto &taken = *static_cast<Taken *>(taker);
  if (output == PtxOutput::Cubin) {
    taken.cubin.assign(bytes, size);
    return;
  }
  // Sizes of logs count a NUL in some releases.
  taken.log += StringRef(bytes, size).rtrim('\0');
}

} // namespace

std::string tilewright::ownFolder() {
  Dl_info info{};
  SmallString<256> path;
  if (::dladdr(reinterpret_cast<void *>(&tilewright::ownFolder), &info) == 0 || !info.dli_fname ||
      sys::fs::real_path(info.dli_fname, path)) {
    return ".";
  }
  return sys::path::parent_path(path).str();
}

Expected<InProcessAssembler> tilewright::findInProcessAssembler() {
  Expected<const Module *> found = module();
  if (!found) {
    return found.takeError();
  }
  unsigned major = 0, minor = 0;
  if (int status = (*found)->version(&major, &minor)) {
    return createStringError("%s does not know its version (%d)", (*found)->path.c_str(), status);
  }
  return InProcessAssembler{(*found)->path, std::to_string(major) + "." + std::to_string(minor)};
}

Expected<std::string> tilewright::assembleInProcess(const std::string &ptx, ArrayRef<const char *> options,
                                                    std::string *log) {
  Expected<const Module *> found = module();
  if (!found) {
    return found.takeError();
  }
  Taken taken;
  int status = (*found)->assemble(ptx.c_str(), ptx.size(), options.data(), static_cast<int>(options.size()), takeOutput,
                                  &taken);
  if (log) {
    *log = taken.log;
  }
  if (status != 0 || taken.cubin.empty()) {
    return createStringError("the PTX compiler in %s, %s, failed (%d): %s", (*found)->path.c_str(), options.front(),
                             status, taken.log.c_str());
  }
  return std::move(taken.cubin);
}
