// SPDX-License-Identifier: Apache-2.0
//
// The float64 oracle. Each key head is copied once to contiguous doubles (keys transposed, so that the score of many
// columns is a sum of scaled rows, which compilers vectorise without reordering any sum); then every query row is
// computed by itself, from the per-element mask.
#include "tilewright/kernels/ReferenceAttention.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>
#include <system_error>
#include <thread>
#include <vector>

namespace tilewright::kernels {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Value of a binary floating-point code with the given field widths.
template <unsigned ExponentBits, unsigned MantissaBits> double decode(uint32_t code) {
  constexpr int bias = (1 << (ExponentBits - 1)) - 1;
  constexpr uint32_t exponentMask = (1u << ExponentBits) - 1;
  constexpr uint32_t mantissaMask = (1u << MantissaBits) - 1;
  const bool negative = (code >> (ExponentBits + MantissaBits)) & 1u;
  const int exponent = static_cast<int>((code >> MantissaBits) & exponentMask);
  const uint32_t mantissa = code & mantissaMask;
  double magnitude = 0.0;
  if (exponent == static_cast<int>(exponentMask)) {
    magnitude = mantissa == 0 ? kInfinity : kNaN;
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<double>(mantissa), 1 - bias - static_cast<int>(MantissaBits));
  } else {
    magnitude = std::ldexp(static_cast<double>(mantissa | (1u << MantissaBits)),
                           exponent - bias - static_cast<int>(MantissaBits));
  }
  return std::copysign(magnitude, negative ? -1.0 : 1.0);
}

/// Nearest code to `value`, ties to even, in integer arithmetic.
template <unsigned ExponentBits, unsigned MantissaBits> uint32_t encode(double value) {
  constexpr int bias = (1 << (ExponentBits - 1)) - 1;
  constexpr int minExponent = 1 - bias;
  constexpr uint32_t infinityCode = ((1u << ExponentBits) - 1) << MantissaBits;
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  const uint32_t sign = static_cast<uint32_t>(bits >> 63) << (ExponentBits + MantissaBits);
  const int biasedExponent = static_cast<int>((bits >> 52) & 0x7ff);
  const uint64_t fraction = bits & ((uint64_t{1} << 52) - 1);
  if (biasedExponent == 0x7ff) {
    return sign | infinityCode | (fraction != 0 ? 1u << (MantissaBits - 1) : 0u);
  }
  if (biasedExponent == 0) { // zero, or a double far below half of the smallest subnormal of either type
    return sign;
  }
  const int exponent = biasedExponent - 1023;
  if (exponent > bias) {
    return sign | infinityCode;
  }
  const uint64_t significand = fraction | (uint64_t{1} << 52);
  const int shift = 52 - static_cast<int>(MantissaBits) + std::max(0, minExponent - exponent);
  if (shift > 53) { // below half of the smallest subnormal
    return sign;
  }
  uint64_t rounded = significand >> shift;
  const uint64_t rest = significand & ((uint64_t{1} << shift) - 1);
  const uint64_t half = uint64_t{1} << (shift - 1);
  if (rest > half || (rest == half && (rounded & 1) != 0)) {
    ++rounded;
  }
  // For a normal number `rounded` holds the leading one, which adds 1 to the exponent field; a carry out of the
  // mantissa adds another, and reaches exactly the code of infinity when it leaves the range.
  const auto exponentField = static_cast<uint32_t>(std::max(exponent, minExponent) - minExponent);
  return sign | ((exponentField << MantissaBits) + static_cast<uint32_t>(rounded));
}

double load(const ReferenceTensor &tensor, int64_t offset) {
  switch (tensor.type) {
  case ReferenceType::F32:
    return static_cast<double>(static_cast<const float *>(tensor.data)[offset]);
  case ReferenceType::F16:
    return halfToDouble(static_cast<const uint16_t *>(tensor.data)[offset]);
  case ReferenceType::BF16:
    return bfloat16ToDouble(static_cast<const uint16_t *>(tensor.data)[offset]);
  case ReferenceType::F64:
    break;
  }
  return static_cast<const double *>(tensor.data)[offset];
}

void store(const ReferenceTensor &tensor, int64_t offset, double value) {
  switch (tensor.type) {
  case ReferenceType::F32:
    static_cast<float *>(tensor.data)[offset] = static_cast<float>(value);
    return;
  case ReferenceType::F16:
    static_cast<uint16_t *>(tensor.data)[offset] = doubleToHalf(value);
    return;
  case ReferenceType::BF16:
    static_cast<uint16_t *>(tensor.data)[offset] = doubleToBfloat16(value);
    return;
  case ReferenceType::F64:
    static_cast<double *>(tensor.data)[offset] = value;
    return;
  }
}

int64_t offsetOf(const ReferenceTensor &tensor, int64_t a, int64_t b, int64_t c, int64_t d) {
  return a * tensor.strides[0] + b * tensor.strides[1] + c * tensor.strides[2] + d * tensor.strides[3];
}

/// Key position at which a query row stands: i + o.
int64_t rowPosition(const ReferenceArgs &args, int64_t row) {
  return row + (args.topLeft ? 0 : args.seqlenK - args.seqlenQ);
}

int64_t clampToKeys(const ReferenceArgs &args, int64_t value) { return std::clamp<int64_t>(value, 0, args.seqlenK); }

/// `e` of semantics A4 for one row: the break point, or the largest end of the pairs that the row is inside of.
/// 0 if there is none: it raises nothing.
int64_t glmEnd(const ReferenceArgs &args, int64_t batch, int64_t position) {
  if (args.mask == ReferenceMask::GlmBreak) {
    return clampToKeys(args, args.glm[batch * args.glmStrides[0]]);
  }
  int64_t largest = 0;
  if (args.mask == ReferenceMask::GlmPacked) {
    const int32_t *pairs = args.glm + batch * args.glmStrides[0];
    for (int64_t n = 0; n < args.glmPairs; ++n) {
      const int64_t start = clampToKeys(args, pairs[n * args.glmStrides[2]]);
      const int64_t end = clampToKeys(args, pairs[args.glmStrides[1] + n * args.glmStrides[2]]);
      if (start <= position && position < end) {
        largest = std::max(largest, end);
      }
    }
  }
  return largest;
}

bool visibleAt(const ReferenceArgs &args, int64_t position, int64_t end, int64_t column) {
  if (column < 0 || column >= args.seqlenK) {
    return false;
  }
  return args.mask == ReferenceMask::None || column <= position || column < end;
}

/// Working memory of one thread, allocated before anything is written.
struct Workspace {
  explicit Workspace(const ReferenceArgs &args)
      : keys(static_cast<size_t>(args.headDim * args.seqlenK)),
        values(static_cast<size_t>(args.headDimV * args.seqlenK)), query(static_cast<size_t>(args.headDim)),
        logits(static_cast<size_t>(args.seqlenK)), output(static_cast<size_t>(args.headDimV)),
        columns(static_cast<size_t>(args.seqlenK)) {}

  std::vector<double> keys;     ///< [headDim][seqlenK]
  std::vector<double> values;   ///< [seqlenK][headDimV]
  std::vector<double> query;    ///< [headDim]
  std::vector<double> logits;   ///< [seqlenK], then the weights of the visible columns
  std::vector<double> output;   ///< [headDimV]
  std::vector<int64_t> columns; ///< visible columns of the current row, ascending
};

void copyKeyHead(const ReferenceArgs &args, int64_t batch, int64_t headK, Workspace &work) {
  for (int64_t j = 0; j < args.seqlenK; ++j) {
    for (int64_t d = 0; d < args.headDim; ++d) {
      work.keys[d * args.seqlenK + j] = load(args.k, offsetOf(args.k, batch, j, headK, d));
    }
    for (int64_t d = 0; d < args.headDimV; ++d) {
      work.values[j * args.headDimV + d] = load(args.v, offsetOf(args.v, batch, j, headK, d));
    }
  }
}

/// y[i] += a0 * x0[i] + a1 * x1[i] + a2 * x2[i] + a3 * x3[i]
void addScaledRows(double *__restrict y, const double *__restrict x0, const double *__restrict x1,
                   const double *__restrict x2, const double *__restrict x3, const double *a, int64_t count) {
  const double a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];
  for (int64_t i = 0; i < count; ++i) {
    y[i] += (a0 * x0[i] + a1 * x1[i]) + (a2 * x2[i] + a3 * x3[i]);
  }
}

void addScaledRow(double *__restrict y, const double *__restrict x, double a, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    y[i] += a * x[i];
  }
}

/// q.k of one row with columns [0, count). Hidden columns among them may hold anything; their result is not read.
void computeDots(const ReferenceArgs &args, Workspace &work, int64_t count) {
  double *dots = work.logits.data();
  std::fill_n(dots, count, 0.0);
  const double *keys = work.keys.data();
  const double *query = work.query.data();
  const int64_t pitch = args.seqlenK;
  int64_t d = 0;
  for (; d + 4 <= args.headDim; d += 4) {
    addScaledRows(dots, keys + d * pitch, keys + (d + 1) * pitch, keys + (d + 2) * pitch, keys + (d + 3) * pitch,
                  query + d, count);
  }
  for (; d < args.headDim; ++d) {
    addScaledRow(dots, keys + d * pitch, query[d], count);
  }
}

/// output = sum of weight * value over the visible columns, whose weights stand at the front of `logits`.
void sumValues(const ReferenceArgs &args, Workspace &work, int64_t visibleCount) {
  double *output = work.output.data();
  std::fill_n(output, args.headDimV, 0.0);
  const double *values = work.values.data();
  const double *weights = work.logits.data();
  const int64_t *columns = work.columns.data();
  const int64_t pitch = args.headDimV;
  int64_t n = 0;
  for (; n + 4 <= visibleCount; n += 4) {
    addScaledRows(output, values + columns[n] * pitch, values + columns[n + 1] * pitch, values + columns[n + 2] * pitch,
                  values + columns[n + 3] * pitch, weights + n, pitch);
  }
  for (; n < visibleCount; ++n) {
    addScaledRow(output, values + columns[n] * pitch, weights[n], pitch);
  }
}

/// Computes one row into work.output and returns its LSE.
double computeRow(const ReferenceArgs &args, int64_t batch, int64_t row, int64_t head, Workspace &work) {
  const int64_t position = rowPosition(args, row);
  const int64_t end = glmEnd(args, batch, position);
  int64_t visibleCount = 0;
  for (int64_t j = 0; j < args.seqlenK; ++j) {
    if (visibleAt(args, position, end, j)) {
      work.columns[visibleCount++] = j;
    }
  }
  double largest = -kInfinity;
  bool sawNaN = false;
  if (visibleCount > 0) {
    for (int64_t d = 0; d < args.headDim; ++d) {
      work.query[d] = load(args.q, offsetOf(args.q, batch, row, head, d));
    }
    computeDots(args, work, work.columns[visibleCount - 1] + 1);
    for (int64_t n = 0; n < visibleCount; ++n) {
      // n <= columns[n], so gathering to the front overwrites only dots that have been read.
      const double logit = args.scale * work.logits[work.columns[n]];
      work.logits[n] = logit;
      sawNaN = sawNaN || std::isnan(logit);
      largest = std::max(largest, logit);
    }
  }
  if (!sawNaN && largest == -kInfinity) { // nothing visible, or only logits of -inf
    std::fill_n(work.output.data(), args.headDimV, 0.0);
    return -kInfinity;
  }
  if (sawNaN || largest == kInfinity) {
    std::fill_n(work.output.data(), args.headDimV, kNaN);
    return sawNaN ? kNaN : kInfinity;
  }
  double sum = 0.0;
  for (int64_t n = 0; n < visibleCount; ++n) {
    work.logits[n] = std::exp(work.logits[n] - largest);
    sum += work.logits[n];
  }
  sumValues(args, work, visibleCount);
  for (int64_t d = 0; d < args.headDimV; ++d) {
    work.output[d] /= sum;
  }
  return largest + std::log(sum);
}

/// All query heads that read one key head.
void computeKeyHead(const ReferenceArgs &args, int64_t batch, int64_t headK, Workspace &work) {
  copyKeyHead(args, batch, headK, work);
  const int64_t headsPerKey = args.heads / args.headsK;
  for (int64_t head = headK * headsPerKey; head < (headK + 1) * headsPerKey; ++head) {
    for (int64_t row = 0; row < args.seqlenQ; ++row) {
      const double lse = computeRow(args, batch, row, head, work);
      for (int64_t d = 0; d < args.headDimV; ++d) {
        store(args.out, offsetOf(args.out, batch, row, head, d), work.output[d]);
      }
      if (args.writeLse) {
        store(args.lse, offsetOf(args.lse, batch, head, row, 0), lse);
      }
    }
  }
}

} // namespace

double halfToDouble(uint16_t code) { return decode<5, 10>(code); }
double bfloat16ToDouble(uint16_t code) { return decode<8, 7>(code); }
uint16_t doubleToHalf(double value) { return static_cast<uint16_t>(encode<5, 10>(value)); }
uint16_t doubleToBfloat16(double value) { return static_cast<uint16_t>(encode<8, 7>(value)); }

bool visible(const ReferenceArgs &args, int64_t batch, int64_t row, int64_t column) {
  const int64_t position = rowPosition(args, row);
  return visibleAt(args, position, glmEnd(args, batch, position), column);
}

void referenceForward(const ReferenceArgs &args) {
  const int64_t tasks = args.batch * args.headsK;
  if (tasks <= 0 || args.seqlenQ <= 0) {
    return;
  }
  const int64_t wanted = args.threads > 0 ? args.threads : std::max(1u, std::thread::hardware_concurrency());
  const auto workers = static_cast<size_t>(std::clamp<int64_t>(wanted, 1, tasks));
  std::vector<Workspace> workspaces;
  workspaces.reserve(workers);
  for (size_t w = 0; w < workers; ++w) {
    workspaces.emplace_back(args);
  }
  std::atomic<int64_t> next{0};
  auto work = [&](size_t w) {
    for (int64_t task = next++; task < tasks; task = next++) {
      computeKeyHead(args, task / args.headsK, task % args.headsK, workspaces[w]);
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(workers - 1);
  for (size_t w = 1; w < workers; ++w) {
    try {
      threads.emplace_back(work, w);
    } catch (const std::system_error &) { // no more threads to be had: those that run take the remaining tasks
      break;
    }
  }
  work(0);
  for (std::thread &thread : threads) {
    thread.join();
  }
}

} // namespace tilewright::kernels
