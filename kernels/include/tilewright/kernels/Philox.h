// SPDX-License-Identifier: Apache-2.0
//
// Which entries dropout removes (semantics A6): Philox4x32 on a counter made of the entry's position. This header is
// the definition; the oracle, the tests and every kernel hold to it, so that all schedules and targets drop the same
// entries. Philox: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
#ifndef TILEWRIGHT_KERNELS_PHILOX_H
#define TILEWRIGHT_KERNELS_PHILOX_H

#include <array>
#include <cstdint>

namespace tilewright::kernels {

/// The rounds that dropout uses.
inline constexpr unsigned kDropoutRounds = 7;

/// Philox's multipliers, and what is added to the key between rounds.
inline constexpr uint32_t kPhiloxMultiply0 = 0xd2511f53u;
inline constexpr uint32_t kPhiloxMultiply1 = 0xcd9e8d57u;
inline constexpr uint32_t kPhiloxBump0 = 0x9e3779b9u;
inline constexpr uint32_t kPhiloxBump1 = 0xbb67ae85u;

using PhiloxWords = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;

constexpr PhiloxWords philox4x32(PhiloxWords counter, PhiloxKey key, unsigned rounds = kDropoutRounds) {
  for (unsigned round = 0; round < rounds; ++round) {
    const uint64_t first = uint64_t{kPhiloxMultiply0} * counter[0];
    const uint64_t second = uint64_t{kPhiloxMultiply1} * counter[2];
    counter = {static_cast<uint32_t>(second >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(second),
               static_cast<uint32_t>(first >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(first)};
    key = {key[0] + kPhiloxBump0, key[1] + kPhiloxBump1};
  }
  return counter;
}

/// One call draws for eight entries, 16 bits each: rows i and i + 8 by columns j, j + 8, j + 16 and j + 24. One thread
/// holds them in the score fragment, and in its transpose too, where a warp has 32 neighbouring keys as rows. Of a row
/// i = 16 a + 8 s + r (r < 8) the group is 8 a + r and the half is s; of a column j = 32 a + 16 p + 8 s + r they are
/// 8 a + r and s, and p is the part of the word. Rows and columns count from the start of their sequence.
constexpr uint32_t dropoutRowGroup(int64_t row) { return static_cast<uint32_t>(8 * (row / 16) + row % 8); }
constexpr uint32_t dropoutColumnGroup(int64_t column) { return static_cast<uint32_t>(8 * (column / 32) + column % 8); }
constexpr unsigned dropoutHalf(int64_t index) { return static_cast<unsigned>(index / 8 % 2); }
constexpr unsigned dropoutPart(int64_t column) { return static_cast<unsigned>(column / 16 % 2); }

constexpr PhiloxKey dropoutKey(uint64_t seed, uint64_t offset) {
  return {static_cast<uint32_t>(seed) ^ static_cast<uint32_t>(offset >> 32), static_cast<uint32_t>(seed >> 32)};
}

/// The four words of a group. `head` is batch index times heads plus head index, cut to 32 bits.
constexpr PhiloxWords dropoutWords(PhiloxKey key, uint64_t offset, uint32_t head, uint32_t rowGroup,
                                   uint32_t columnGroup) {
  return philox4x32({rowGroup, columnGroup, head, static_cast<uint32_t>(offset)}, key);
}

/// An entry's 16 bits: of word number 2 * (row's half) + (column's half) the upper ones for part 0, the lower for part
/// 1.
constexpr uint32_t dropoutBits(PhiloxKey key, uint64_t offset, uint32_t head, int64_t row, int64_t column) {
  const PhiloxWords words = dropoutWords(key, offset, head, dropoutRowGroup(row), dropoutColumnGroup(column));
  const uint32_t word = words[2 * dropoutHalf(row) + dropoutHalf(column)];
  return dropoutPart(column) == 0 ? word >> 16 : word & 0xffffu;
}

/// An entry stays if its bits are below this. 1 to 65536, so that something always stays; `p` is in [0, 1).
constexpr uint32_t dropoutThreshold(double p) {
  const auto threshold = static_cast<uint32_t>((1.0 - p) * 65536.0 + 0.5);
  return threshold < 1 ? 1 : threshold > 65536 ? 65536 : threshold;
}

constexpr bool dropoutKeeps(uint32_t bits, uint32_t threshold) { return bits < threshold; }

/// What entries that stay are multiplied by: the inverse of the probability to stay that the threshold realises.
constexpr double dropoutScale(uint32_t threshold) { return 65536.0 / threshold; }

} // namespace tilewright::kernels

#endif // TILEWRIGHT_KERNELS_PHILOX_H
