// SPDX-License-Identifier: Apache-2.0
//
// One process-wide state, allocated and never freed: threads may still wait on it while static destructors run, and
// destroying a condition variable that has waiters blocks.
#include "tilewright/runtime/ExitGuard.h"
#include "tilewright/kernels/Schedule.h"
#include "tilewright/runtime/Error.h"
#include "tilewright/runtime/KernelKey.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <pthread.h>
#include <thread>
#include <vector>

using namespace tilewright;
using namespace tilewright::runtime;

namespace {

constexpr std::chrono::seconds kPatience{10};

struct ProcessState {
  std::mutex lock;
  std::condition_variable changed;
  int openScopes = 0;
  bool registered = false;
  bool exiting = false;
  std::thread::id exitingThread;

  std::mutex participantsLock;
  std::vector<ForkParticipant *> participants;
};

ProcessState &state() {
  static ProcessState &instance = *new ProcessState;
  return instance;
}

std::atomic<uint64_t> generation{0};
thread_local int scopesOfThisThread = 0;

void waitForScopes(ProcessState &process, std::unique_lock<std::mutex> &guard) {
  // A thread that forks or exits from inside its own scope must not wait for itself.
  process.changed.wait_for(guard, kPatience, [&] { return process.openScopes <= scopesOfThisThread; });
}

void onExit() {
  ProcessState &process = state();
  std::unique_lock<std::mutex> guard(process.lock);
  process.exiting = true;
  process.exitingThread = std::this_thread::get_id();
  waitForScopes(process, guard);
}

/// What is made once, outside of every lock, by whoever asks first: the compiler's guard of such a static lets others
/// wait for that thread, in a child forever. Whoever forks makes it, or waits until it is made.
void finishStatics() {
  (void)buildId();
  kernels::readScheduleTables();
}

void beforeFork() {
  finishStatics();
  ProcessState &process = state();
  std::unique_lock<std::mutex> guard(process.lock);
  waitForScopes(process, guard);
  guard.release(); // held until the process is copied
  process.participantsLock.lock();
  for (ForkParticipant *participant : process.participants) {
    participant->beforeFork();
  }
}

void afterForkInParent() {
  ProcessState &process = state();
  for (ForkParticipant *participant : process.participants) {
    participant->afterForkInParent();
  }
  process.participantsLock.unlock();
  process.lock.unlock();
}

void afterForkInChild() {
  ProcessState &process = state();
  generation.fetch_add(1, std::memory_order_relaxed);
  // The condition variable may record waiters that do not exist here, and would wait for them: start afresh.
  new (&process.changed) std::condition_variable;
  process.openScopes = scopesOfThisThread;
  process.exiting = false;
  for (ForkParticipant *participant : process.participants) {
    participant->afterForkInChild();
  }
  process.participantsLock.unlock();
  process.lock.unlock();
}

} // namespace

void tilewright::runtime::installForkHandlers() {
  static const int result = pthread_atfork(beforeFork, afterForkInParent, afterForkInChild);
  if (result != 0) {
    throw std::bad_alloc();
  }
}

bool tilewright::runtime::insideCompileScope() { return scopesOfThisThread > 0; }

uint64_t tilewright::runtime::forkGeneration() { return generation.load(std::memory_order_relaxed); }

CompileScope::CompileScope() {
  installForkHandlers();
  ProcessState &process = state();
  std::unique_lock<std::mutex> guard(process.lock);
  if (process.exiting) {
    if (process.exitingThread == std::this_thread::get_id()) {
      throw Error(TW_INTERNAL_ERROR, "the process is exiting: no kernel can be compiled or loaded any more");
    }
    while (process.exiting) {
      process.changed.wait(guard);
    }
  }
  if (!process.registered) {
    if (std::atexit(onExit) != 0) {
      throw std::bad_alloc();
    }
    process.registered = true;
  }
  ++process.openScopes;
  ++scopesOfThisThread;
}

CompileScope::~CompileScope() {
  ProcessState &process = state();
  std::unique_lock<std::mutex> guard(process.lock);
  --process.openScopes;
  --scopesOfThisThread;
  process.changed.notify_all();
}

void ForkParticipant::joinForks() {
  installForkHandlers();
  ProcessState &process = state();
  std::lock_guard<std::mutex> guard(process.participantsLock);
  process.participants.push_back(this);
}

void ForkParticipant::leaveForks() {
  ProcessState &process = state();
  std::lock_guard<std::mutex> guard(process.participantsLock);
  process.participants.erase(std::remove(process.participants.begin(), process.participants.end(), this),
                             process.participants.end());
}
