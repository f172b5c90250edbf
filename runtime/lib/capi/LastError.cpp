// SPDX-License-Identifier: Apache-2.0
#include "LastError.h"

#include <cstdlib>
#include <cstring>
#include <string>

using namespace tilewright;
using runtime::Error;

namespace {

/// Set when the thread's message is gone: exit handlers of the host may still ask for it.
thread_local bool destroyed = false;

struct Failure {
  std::string message;
  std::string argument;
  bool outOfMemory = false; ///< there was none left for the message either
  ~Failure() { destroyed = true; }
};

thread_local Failure lastFailure;

} // namespace

TwStatus capi::fail(TwStatus status, std::string_view message, std::string_view argument) noexcept {
  if (destroyed) {
    return status;
  }
  Failure &failure = lastFailure;
  try {
    failure.message = message;
    failure.argument = argument;
    failure.outOfMemory = false;
  } catch (...) {
    failure.outOfMemory = true;
  }
  return status;
}

TwStatus capi::failWithCurrentException() noexcept {
  try {
    throw;
  } catch (const Error &error) {
    return fail(error.status(), error.what(), error.argument());
  } catch (const std::bad_alloc &) {
    return fail(TW_OUT_OF_MEMORY, "out of memory", "");
  } catch (const std::exception &error) {
    return fail(TW_INTERNAL_ERROR, error.what(), "");
  } catch (...) {
    return fail(TW_INTERNAL_ERROR, "an exception of an unknown type", "");
  }
}

TwString capi::copyString(std::string_view text) {
  TwString string{static_cast<char *>(std::malloc(text.size() + 1)), text.size()};
  if (string.data == nullptr) {
    throw std::bad_alloc();
  }
  std::memcpy(string.data, text.data(), text.size());
  string.data[text.size()] = '\0';
  return string;
}

extern "C" const char *tw_last_error(void) {
  if (destroyed) {
    return "";
  }
  return lastFailure.outOfMemory ? "out of memory" : lastFailure.message.c_str();
}

extern "C" const char *tw_last_error_argument(void) {
  return destroyed || lastFailure.outOfMemory ? "" : lastFailure.argument.c_str();
}

extern "C" const char *tw_status_name(TwStatus status) {
  switch (status) {
  case TW_OK:
    return "TW_OK";
  case TW_INVALID_ARGUMENT:
    return "TW_INVALID_ARGUMENT";
  case TW_UNSUPPORTED:
    return "TW_UNSUPPORTED";
  case TW_COMPILE_ERROR:
    return "TW_COMPILE_ERROR";
  case TW_CACHE_MISS:
    return "TW_CACHE_MISS";
  case TW_OUT_OF_MEMORY:
    return "TW_OUT_OF_MEMORY";
  case TW_IO_ERROR:
    return "TW_IO_ERROR";
  case TW_INTERNAL_ERROR:
    return "TW_INTERNAL_ERROR";
  case TW_CUDA_ERROR:
    return "TW_CUDA_ERROR";
  }
  return "unknown status";
}

extern "C" void tw_string_free(TwString *string) {
  if (string != nullptr) {
    std::free(string->data);
    *string = {nullptr, 0};
  }
}
