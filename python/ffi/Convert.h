// SPDX-License-Identifier: Apache-2.0
//
// Between TVM-FFI's values and Tilewright's C ABI: tensors in, errors out. Nothing here checks shapes, strides or
// values: libtilewright does, so that Python, C++ and the CLI report a mistake in the same words. Only what the C ABI
// has no field for (a data type or a device that TwTensor cannot name) is rejected here.
#ifndef TILEWRIGHT_PYTHON_FFI_CONVERT_H
#define TILEWRIGHT_PYTHON_FFI_CONVERT_H

#include "tilewright/tilewright.h"
#include <string>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/error.h>
#include <tvm/ffi/optional.h>
#include <tvm/ffi/string.h>

namespace tilewright::glue {

/// Throws a TVM-FFI error of kind "tilewright.<exception name>", and remembers `argument` for this thread: a TVM-FFI
/// error carries a kind and a message only.
[[noreturn]] void raise(TwStatus status, const std::string &message, const std::string &argument);

/// Returns on TW_OK; otherwise raises with the message that the C ABI left for this thread.
void check(TwStatus status);

/// Name of the argument that this thread's latest error was about, "" if it was about none.
const std::string &lastArgument();

/// The same memory as `view`, described for the C ABI. `name` is the argument's name in error messages.
TwTensor toTensor(const char *name, const tvm::ffi::TensorView &view);

/// Rank 0 ("not given") for an empty optional.
TwTensor toTensor(const char *name, const tvm::ffi::Optional<tvm::ffi::TensorView> &view);

/// Moves a string out of the C ABI. Both free it.
tvm::ffi::String takeString(TwString &text);
tvm::ffi::Bytes takeBytes(TwString &bytes);

} // namespace tilewright::glue

#endif // TILEWRIGHT_PYTHON_FFI_CONVERT_H
