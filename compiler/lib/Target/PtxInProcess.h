// SPDX-License-Identifier: Apache-2.0
//
// The assembler in libtilewright_ptx.so, and where the library lies that this code is linked into.
#ifndef TILEWRIGHT_LIB_TARGET_PTXINPROCESS_H
#define TILEWRIGHT_LIB_TARGET_PTXINPROCESS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <string>

namespace tilewright {

struct InProcessAssembler {
  std::string path;    ///< of libtilewright_ptx.so
  std::string version; ///< CUDA release, "13.0"
};

/// Opens the library if need be. An error that says where it was looked for, or why it does not load.
llvm::Expected<InProcessAssembler> findInProcessAssembler();

/// `options` as ptxas takes them, the first of them -arch. `log`, if not null, is set on failure too.
llvm::Expected<std::string> assembleInProcess(const std::string &ptx, llvm::ArrayRef<const char *> options,
                                              std::string *log);

/// The folder of the shared library or program that holds this code.
std::string ownFolder();

} // namespace tilewright

#endif // TILEWRIGHT_LIB_TARGET_PTXINPROCESS_H
