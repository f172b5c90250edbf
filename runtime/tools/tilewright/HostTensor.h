// SPDX-License-Identifier: Apache-2.0
//
// A tensor for verification: a strided view inside a larger allocation whose every other element is a sentinel NaN.
// A kernel that reads outside of the view computes NaN; one that writes outside of it destroys a sentinel.
#ifndef TILEWRIGHT_TOOLS_TILEWRIGHT_HOSTTENSOR_H
#define TILEWRIGHT_TOOLS_TILEWRIGHT_HOSTTENSOR_H

#include "Precision.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tilewright::cli {

/// How a (batch, seqlen, heads, head_dim) tensor lies in memory.
enum class Layout {
  Bshd,      ///< contiguous
  Bhsd,      ///< contiguous as (batch, heads, seqlen, head_dim)
  Packed,    ///< one of three tensors in (batch, seqlen, 3, heads, head_dim): gaps between the rows
  Strided,   ///< innermost stride 2
  Reversed,  ///< negative seqlen stride
  Broadcast, ///< inputs repeat one batch entry: batch stride 0
};

std::string_view layoutName(Layout layout);

class HostTensor {
public:
  using Shape = std::array<int64_t, 4>;

  /// Everything is sentinel at first. `mayBroadcast` is false for outputs. The lowest element lies `shift` elements
  /// after a multiple of 1024 from the start of the allocation, or of its copy on a device: 0 is as well aligned as the
  /// strides are, 1 no better than the element type demands.
  HostTensor(DType dtype, const Shape &shape, Layout layout, bool mayBroadcast, int64_t shift = 1);

  DType dtype() const { return dtype_; }
  const Shape &shape() const { return shape_; }
  bool broadcastsBatch() const { return strides_[0] == 0; }

  double get(int64_t a, int64_t b, int64_t c, int64_t d) const;
  /// Dimensions of extent 1 repeat their element.
  double getBroadcast(int64_t a, int64_t b, int64_t c, int64_t d) const;
  void set(int64_t a, int64_t b, int64_t c, int64_t d, double value);
  void poison(int64_t a, int64_t b, int64_t c, int64_t d);

  /// Dimensions `first` to `first + rank`; those left out have the extent 1.
  Tensor view(int first = 0, int rank = 4) { return viewIn(storage_.data(), first, rank); }
  /// The same view of a copy of bytes() at another address.
  Tensor viewIn(void *copy, int first = 0, int rank = 4) const;

  /// Every byte of the allocation, for comparing two of them and for copies.
  const std::vector<std::byte> &bytes() const { return storage_; }
  std::vector<std::byte> &bytes() { return storage_; }

  /// The first element outside of the view that no longer holds the sentinel, in words.
  std::optional<std::string> damagedSurroundings() const;

private:
  size_t byteOffset(int64_t a, int64_t b, int64_t c, int64_t d) const;

  DType dtype_;
  Shape shape_;
  Shape strides_{};
  int64_t origin_ = 0; ///< element offset of (0, 0, 0, 0)
  std::vector<std::byte> storage_;
};

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_HOSTTENSOR_H
