// SPDX-License-Identifier: Apache-2.0
//
// LLVM and MLIR make function-local statics and ManagedStatics during a process's first compile. Their destructors
// would be registered after ExitGuard's handler and so run before it, under the thread that is still compiling. The
// library is linked with --wrap=__cxa_atexit: every registration of a destructor inside it comes here, and those that a
// compile makes are dropped. The objects live until the process ends, as the rest of a JIT's state does.
#include "tilewright/runtime/ExitGuard.h"

extern "C" {
int __real___cxa_atexit(void (*destroy)(void *), void *object, void *library);

int __wrap___cxa_atexit(void (*destroy)(void *), void *object, void *library) {
  if (tilewright::runtime::insideCompileScope()) {
    return 0;
  }
  return __real___cxa_atexit(destroy, object, library);
}
}
