// SPDX-License-Identifier: Apache-2.0
//
// BLAKE3 for cache keys and file checksums. The implementation is LLVM's; only Digest.cpp includes it.
#ifndef TILEWRIGHT_RUNTIME_DIGEST_H
#define TILEWRIGHT_RUNTIME_DIGEST_H

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace tilewright::runtime {

using Digest = std::array<uint8_t, 32>;

/// BLAKE3 over the parts as if they were one string.
Digest blake3(std::initializer_list<std::string_view> parts);

/// Lower case, two digits a byte.
std::string toHex(std::span<const uint8_t> bytes);

/// 64 hex digits.
std::string blake3Hex(std::string_view text);

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_DIGEST_H
