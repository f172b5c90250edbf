// SPDX-License-Identifier: Apache-2.0
//
// The size that a caller writes into a struct of the C ABI, checked.
#ifndef TILEWRIGHT_LIB_ENGINE_STRUCTSIZE_H
#define TILEWRIGHT_LIB_ENGINE_STRUCTSIZE_H

#include "tilewright/runtime/Error.h"
#include <cstddef>
#include <string>

namespace tilewright::runtime {

/// A caller built against a later header may pass a longer struct, as long as it uses nothing of the new part.
template <typename Struct> void checkStructSize(const Struct &value, const char *name) {
  constexpr size_t known = sizeof(Struct);
  if (value.struct_size < known) {
    throw Error(TW_INVALID_ARGUMENT,
                "struct_size: is " + std::to_string(value.struct_size) + ", must be sizeof(" + name +
                    ") = " + std::to_string(known),
                "struct_size");
  }
  const char *bytes = reinterpret_cast<const char *>(&value);
  for (size_t i = known; i < value.struct_size; ++i) {
    if (bytes[i] != 0) {
      throw Error(TW_UNSUPPORTED,
                  "struct_size: is " + std::to_string(value.struct_size) + ", and the " + name +
                      " uses fields beyond the " + std::to_string(known) + " bytes that this version knows",
                  "struct_size");
    }
  }
}

} // namespace tilewright::runtime

#endif // TILEWRIGHT_LIB_ENGINE_STRUCTSIZE_H
