// SPDX-License-Identifier: Apache-2.0
#include "TensorMaps.h"

#include <algorithm>
#include <string>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::runtime::cuda;

namespace {

/// A (batch, seqlen, heads, head_dim) tensor and the rows of its blocks.
struct Tensor {
  const char *name;
  const void *data;
  const std::array<int64_t, 4> &strides; ///< in elements
  int64_t batch, seqlen, heads, headDim;
  int64_t blockRows;
};

void encode(const DeviceInfo &device, ElementType type, const Tensor &tensor, TensorMap &map) {
  // The order of TileToNVVM/WarpRoles.cpp; of the innermost dimension no stride is given. A dimension of 1 may have any
  // stride: one that the driver accepts takes its place.
  const uint64_t sizes[4] = {static_cast<uint64_t>(tensor.headDim), static_cast<uint64_t>(tensor.seqlen),
                             static_cast<uint64_t>(tensor.heads), static_cast<uint64_t>(tensor.batch)};
  const int64_t elements[3] = {tensor.strides[1], tensor.strides[2], tensor.strides[0]};
  uint64_t strides[3];
  for (size_t i = 0; i < 3; ++i) {
    strides[i] = sizes[i + 1] > 1 ? static_cast<uint64_t>(elements[i]) * 2 : 16;
  }
  const uint32_t box[4] = {static_cast<uint32_t>(kTmaBoxColumns), static_cast<uint32_t>(tensor.blockRows), 1, 1};
  const uint32_t steps[4] = {1, 1, 1, 1};
  const Result result = driver().tensorMapEncodeTiled(
      &map, type == ElementType::BF16 ? kTensorMapBFloat16 : kTensorMapFloat16, 4, const_cast<void *>(tensor.data),
      sizes, strides, box, steps, kTensorMapNoInterleave, kTensorMapSwizzle128, kTensorMapPromote256,
      kTensorMapFillZero);
  if (result != kSuccess) {
    check(result, "cuTensorMapEncodeTiled", device.ordinal, nullptr, tensor.name);
  }
}

} // namespace

bool cuda::servesSm90a(const DeviceInfo &device) {
  return smOf(device.major, device.minor) == kSm90aSm && driver().tensorMapEncodeTiled != nullptr;
}

TensorMaps::TensorMaps(const DeviceInfo &device, const KernelKey &key, const AttentionProblem &problem,
                       const ForwardPointers &pointers) {
  if (!key.isSm90a()) {
    return;
  }
  const int64_t keys = visibleKeys(problem); // with a GLM mask all: others have no such key (Plan.cpp)
  const Tensor tensors[] = {
      {"q", pointers.q, problem.q, problem.batch, problem.seqlenQ, problem.heads, problem.headDim, key.schedule.blockM},
      {"k", pointers.k, problem.k, problem.batch, keys, problem.headsK, problem.headDim, key.schedule.blockN},
      {"v", pointers.v, problem.v, problem.batch, keys, problem.headsK, problem.headDimV, key.schedule.blockN}};
  for (const Tensor &tensor : tensors) {
    encode(device, key.dtype, tensor, maps_[count_++]);
  }
  if (key.schedule.bulkStores) {
    encode(device, key.dtype,
           {"out", pointers.out, problem.out, problem.batch, problem.seqlenQ, problem.heads, problem.headDimV,
            kTmaStoreRows},
           maps_[count_++]);
  }
}
