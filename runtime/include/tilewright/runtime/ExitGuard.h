// SPDX-License-Identifier: Apache-2.0
//
// What exit() and fork() of the host process may not break.
//
// exit(): LLVM's static destructors must not run under a thread that compiles. Compiling and loading happen inside a
// CompileScope; an atexit handler, registered by the first scope, stops new ones and waits, at most ten seconds, for
// the running ones. Objects with static storage that a compile itself makes would be destroyed before that handler
// runs: they are never destroyed (runtime/lib/jit/StaticLifetime.cpp).
//
// fork(): the child has the forking thread only. A lock that another thread holds, inside the engine or inside LLVM,
// would stay locked in the child forever. So fork() waits (bounded as above) until no CompileScope is open, and holds
// the lock of every ForkParticipant while the process is copied. Statics that are made when they are first asked for,
// outside of all these, are made ahead of the copy.
#ifndef TILEWRIGHT_RUNTIME_EXITGUARD_H
#define TILEWRIGHT_RUNTIME_EXITGUARD_H

#include <cstdint>

namespace tilewright::runtime {

/// Open while code generation or loading runs on this thread.
class CompileScope {
public:
  /// Once the process is exiting: throws Error(TW_INTERNAL_ERROR) on the thread that called exit(), and never returns
  /// on any other thread.
  CompileScope();
  ~CompileScope();
  CompileScope(const CompileScope &) = delete;
  CompileScope &operator=(const CompileScope &) = delete;
};

/// Whether the calling thread has a CompileScope open.
bool insideCompileScope();

/// An object whose locks must be free, and whose records of other threads must be dropped, in a forked child.
/// Locks: no participant may open a CompileScope, or register itself, while it holds the lock of `beforeFork`.
class ForkParticipant {
public:
  virtual void beforeFork() = 0;        ///< take the locks
  virtual void afterForkInParent() = 0; ///< release them
  virtual void afterForkInChild() = 0;  ///< renew them; forget what other threads were doing
  void joinForks();  ///< call when fully constructed
  void leaveForks(); ///< call before destruction begins

protected:
  ~ForkParticipant() = default;
};

/// Number of forks between the process that loaded the library and this one. Threads started under another value do
/// not exist here. Counts from the first call of installForkHandlers.
uint64_t forkGeneration();
void installForkHandlers();

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_EXITGUARD_H
