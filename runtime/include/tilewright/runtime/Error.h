// SPDX-License-Identifier: Apache-2.0
//
// The runtime's one error type. Thrown inside libtilewright, turned into a TwStatus plus message at the C boundary
// (runtime/lib/capi): no exception crosses the library's edge.
#ifndef TILEWRIGHT_RUNTIME_ERROR_H
#define TILEWRIGHT_RUNTIME_ERROR_H

#include "tilewright/tilewright.h"
#include <stdexcept>
#include <string>

namespace tilewright::runtime {

class Error : public std::runtime_error {
public:
  /// `argument` names the argument at fault, or is empty.
  Error(TwStatus status, std::string message, std::string argument = {})
      : std::runtime_error(std::move(message)), status_(status), argument_(std::move(argument)) {}

  TwStatus status() const { return status_; }
  const std::string &argument() const { return argument_; }

private:
  TwStatus status_;
  std::string argument_;
};

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_ERROR_H
