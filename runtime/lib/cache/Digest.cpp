// SPDX-License-Identifier: Apache-2.0
//
// BLAKE3 from LLVM's support library: it is linked anyway, and no other file of the runtime needs to know.
#include "tilewright/runtime/Digest.h"

#include "llvm-c/blake3.h"

using namespace tilewright::runtime;

Digest tilewright::runtime::blake3(std::initializer_list<std::string_view> parts) {
  llvm_blake3_hasher hasher;
  llvm_blake3_hasher_init(&hasher);
  for (std::string_view part : parts) {
    llvm_blake3_hasher_update(&hasher, part.data(), part.size());
  }
  Digest digest;
  static_assert(sizeof(digest) == LLVM_BLAKE3_OUT_LEN);
  llvm_blake3_hasher_finalize(&hasher, digest.data(), digest.size());
  return digest;
}

std::string tilewright::runtime::toHex(std::span<const uint8_t> bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (uint8_t byte : bytes) {
    text.push_back(digits[byte >> 4]);
    text.push_back(digits[byte & 15]);
  }
  return text;
}

std::string tilewright::runtime::blake3Hex(std::string_view text) { return toHex(blake3({text})); }
