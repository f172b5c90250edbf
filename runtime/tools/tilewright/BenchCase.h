// SPDX-License-Identifier: Apache-2.0
//
// One problem of `tilewright bench`: its tensors, its check, its times.
#ifndef TILEWRIGHT_TOOLS_TILEWRIGHT_BENCHCASE_H
#define TILEWRIGHT_TOOLS_TILEWRIGHT_BENCHCASE_H

#include "VerifyCase.h"
#include "VerifyRun.h"

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <tilewright/tilewright.hpp>
#include <vector>

namespace tilewright::cli {

/// Contiguous (batch, seqlen, heads, head_dim) tensors.
struct BenchShape {
  DType dtype = DType::Float32;
  int64_t batch = 1, seqlen = 1, heads = 1, headsKv = 1, headDim = 64, headDimV = 64;

  bool operator==(const BenchShape &) const = default;
  /// "bf16, b 4, s 4096, h 16, d 128": heads/headsKv and headDim/headDimV where they differ.
  std::string name() const;
};

struct BenchMask {
  MaskKind kind = MaskKind::None;
  int64_t samples = 1; ///< of a packed sequence, of equal length; half of each is context

  /// int32 (batch,), the middle, or (batch, 2, samples); empty without a GLM mask.
  std::vector<int32_t> numbers(int64_t batch, int64_t seqlen) const;
  /// (query, key) pairs of one head that are visible, over the batch.
  int64_t visiblePairs(int64_t batch, int64_t seqlen) const;
};

/// Where calls run.
struct BenchPlace {
  const Engine *engine;
  std::optional<int> cuda; ///< the device's number; none: the CPU
  ForwardFunction forward = tilewright::forward; ///< tests put another in its place
};

/// A host array aligned to a cache line.
class HostArray {
public:
  explicit HostArray(size_t bytes);
  std::byte *data() const { return data_.get(); }
  size_t bytes() const { return bytes_; }

private:
  size_t bytes_;
  std::unique_ptr<std::byte, void (*)(void *)> data_;
};

/// Random inputs of a shape, for every mask.
class BenchInputs {
public:
  /// Throws std::runtime_error if the host has not the memory, Error if the device has not.
  BenchInputs(const BenchPlace &place, const BenchShape &shape, uint64_t seed);

  const BenchShape &shape() const { return shape_; }

private:
  friend class BenchRun;
  const BenchShape shape_;
  HostArray q_, k_, v_, out_;
  std::optional<CudaMemory> deviceQ_, deviceK_, deviceV_, deviceOut_;
};

struct BenchResult {
  std::vector<double> milliseconds; ///< of the timed calls, ascending
  double tflops = 0;                ///< 2 * (headDim + headDimV) operations a visible pair and head, by the median
  double error = 0, allowed = 0;    ///< the largest of the rows that were compared with the float64 reference
  std::string key;                  ///< of the forward kernel

  double median() const;
};

/// Computes the problem into an output that holds NaN, checks it, then times `repeats` calls: on a CUDA device by
/// events, queued without waiting in between, after three that are not counted; on the CPU by the clock, after two.
/// Throws std::runtime_error if the output has an element that is not finite, or a wrong row.
BenchResult runBench(const BenchPlace &place, BenchInputs &inputs, const BenchMask &mask, int repeats);

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_BENCHCASE_H
