// SPDX-License-Identifier: Apache-2.0
//
// The edge of the library: exceptions in, status codes and a per-thread message out.
#ifndef TILEWRIGHT_LIB_CAPI_LASTERROR_H
#define TILEWRIGHT_LIB_CAPI_LASTERROR_H

#include "tilewright/runtime/Error.h"
#include "tilewright/tilewright.h"
#include <exception>
#include <new>
#include <string_view>

namespace tilewright::capi {

/// Remembers a failure for the calling thread and returns its status. Does not throw.
TwStatus fail(TwStatus status, std::string_view message, std::string_view argument) noexcept;

/// The failure that is being handled. Call from a catch block only.
TwStatus failWithCurrentException() noexcept;

/// Runs `body`; no exception leaves.
template <typename Body> TwStatus guarded(Body &&body) noexcept {
  try {
    body();
    return TW_OK;
  } catch (...) {
    return failWithCurrentException();
  }
}

/// Throws if a pointer that the caller must give is null.
template <typename T> T &required(T *pointer, const char *name) {
  if (pointer == nullptr) {
    throw runtime::Error(TW_INVALID_ARGUMENT, std::string(name) + ": is NULL, must point to something", name);
  }
  return *pointer;
}

/// A copy that tw_string_free releases.
TwString copyString(std::string_view text);

} // namespace tilewright::capi

#endif // TILEWRIGHT_LIB_CAPI_LASTERROR_H
