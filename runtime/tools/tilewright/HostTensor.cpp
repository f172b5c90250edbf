// SPDX-License-Identifier: Apache-2.0
//
// Tensors surrounded by sentinels.
#include "HostTensor.h"

#include <algorithm>
#include <cstring>
#include <span>

namespace tilewright::cli {

namespace {

/// Long enough that a vector that runs over either end stays inside the allocation.
constexpr int64_t kGuard = 1024;

} // namespace

std::string_view layoutName(Layout layout) {
  switch (layout) {
  case Layout::Bshd:
    return "bshd";
  case Layout::Bhsd:
    return "bhsd";
  case Layout::Packed:
    return "packed";
  case Layout::Strided:
    return "strided";
  case Layout::Reversed:
    return "reversed";
  case Layout::Broadcast:
    break;
  }
  return "broadcast";
}

HostTensor::HostTensor(DType dtype, const Shape &shape, Layout layout, bool mayBroadcast, int64_t shift)
    : dtype_(dtype), shape_(shape) {
  const auto [batch, seqlen, heads, dim] = shape;
  switch (layout) {
  case Layout::Bhsd:
    strides_ = {heads * seqlen * dim, dim, seqlen * dim, 1};
    break;
  case Layout::Packed:
    strides_ = {seqlen * 3 * heads * dim, 3 * heads * dim, dim, 1};
    break;
  case Layout::Strided:
    strides_ = {seqlen * heads * dim * 2, heads * dim * 2, dim * 2, 2};
    break;
  case Layout::Reversed:
    strides_ = {seqlen * heads * dim, -heads * dim, dim, 1};
    break;
  case Layout::Bshd:
  case Layout::Broadcast:
    strides_ = {seqlen * heads * dim, heads * dim, dim, 1};
    break;
  }
  if (layout == Layout::Broadcast && mayBroadcast) {
    strides_[0] = 0;
  }
  int64_t below = 0, above = 0;
  for (size_t i = 0; i < 4; ++i) {
    const int64_t reach = std::max<int64_t>(shape[i] - 1, 0) * strides_[i];
    (reach < 0 ? below : above) += reach;
  }
  origin_ = kGuard + shift - below;
  storage_.resize(static_cast<size_t>(origin_ + above + 1 + kGuard) * elementBytes(dtype));
  for (size_t at = 0; at < storage_.size(); at += elementBytes(dtype)) {
    storeSentinel(dtype, storage_.data() + at);
  }
}

size_t HostTensor::byteOffset(int64_t a, int64_t b, int64_t c, int64_t d) const {
  const int64_t element = origin_ + a * strides_[0] + b * strides_[1] + c * strides_[2] + d * strides_[3];
  return static_cast<size_t>(element) * elementBytes(dtype_);
}

double HostTensor::get(int64_t a, int64_t b, int64_t c, int64_t d) const {
  return loadElement(dtype_, storage_.data() + byteOffset(a, b, c, d));
}

double HostTensor::getBroadcast(int64_t a, int64_t b, int64_t c, int64_t d) const {
  return get(shape_[0] == 1 ? 0 : a, shape_[1] == 1 ? 0 : b, shape_[2] == 1 ? 0 : c, shape_[3] == 1 ? 0 : d);
}

void HostTensor::set(int64_t a, int64_t b, int64_t c, int64_t d, double value) {
  storeElement(dtype_, storage_.data() + byteOffset(a, b, c, d), value);
}

void HostTensor::poison(int64_t a, int64_t b, int64_t c, int64_t d) {
  storeSentinel(dtype_, storage_.data() + byteOffset(a, b, c, d));
}

Tensor HostTensor::viewIn(void *copy, int first, int rank) const {
  const auto begin = static_cast<size_t>(first), count = static_cast<size_t>(rank);
  return Tensor(static_cast<std::byte *>(copy) + byteOffset(0, 0, 0, 0), dtype_,
                std::span<const int64_t>(shape_.data() + begin, count),
                std::span<const int64_t>(strides_.data() + begin, count));
}

std::optional<std::string> HostTensor::damagedSurroundings() const {
  const size_t size = elementBytes(dtype_);
  std::vector<bool> inside(storage_.size() / size);
  for (int64_t a = 0; a < shape_[0]; ++a) {
    for (int64_t b = 0; b < shape_[1]; ++b) {
      for (int64_t c = 0; c < shape_[2]; ++c) {
        for (int64_t d = 0; d < shape_[3]; ++d) {
          inside[byteOffset(a, b, c, d) / size] = true;
        }
      }
    }
  }
  std::array<std::byte, 8> sentinel{};
  storeSentinel(dtype_, sentinel.data());
  for (size_t i = 0; i < inside.size(); ++i) {
    if (!inside[i] && std::memcmp(storage_.data() + i * size, sentinel.data(), size) != 0) {
      const int64_t distance = static_cast<int64_t>(i) - origin_;
      return "the element at offset " + std::to_string(distance) + " from the first, outside of the tensor";
    }
  }
  return std::nullopt;
}

} // namespace tilewright::cli
