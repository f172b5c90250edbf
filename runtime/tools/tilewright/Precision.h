// SPDX-License-Identifier: Apache-2.0
//
// The element types as the tool handles them: names, sizes, and conversion between a stored code and its value. Written
// with the compiler's own _Float16, so that a conversion error in the oracle or in a kernel cannot hide behind the same
// error here.
#ifndef TILEWRIGHT_TOOLS_TILEWRIGHT_PRECISION_H
#define TILEWRIGHT_TOOLS_TILEWRIGHT_PRECISION_H

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <tilewright/tilewright.hpp>

namespace tilewright::cli {

std::string_view dtypeName(DType dtype); ///< "f32", "f16", "bf16", "f64"
size_t elementBytes(DType dtype);

/// The nearest value of the type, ties to even.
float roundTo(DType dtype, float value);
/// Distance between neighbouring values of the type at this magnitude.
double ulpAt(DType dtype, double magnitude);

/// Reads and writes one element. A bool is 0 or 1; an int64 within 2^53.
double loadElement(DType dtype, const std::byte *address);
void storeElement(DType dtype, std::byte *address, double value);
/// A NaN that no arithmetic produces: as input it poisons whatever reads it, as output it shows what was not written.
/// Of integers the largest, of bool true: a mask's number that shows what it should not.
void storeSentinel(DType dtype, std::byte *address);

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_PRECISION_H
