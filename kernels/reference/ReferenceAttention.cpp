// SPDX-License-Identifier: Apache-2.0
//
// The float64 oracle. Each key head of a sequence is copied once to contiguous doubles (keys transposed, so that the
// score of many columns is a sum of scaled rows, which compilers vectorise without reordering any sum); then every
// query row is computed by itself, from the per-element masks.
#include "ReferenceScores.h"
#include "tilewright/kernels/Philox.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <system_error>
#include <thread>
#include <vector>

namespace tilewright::kernels {

namespace {

using reference::load;
using reference::offsetOf;
using reference::RowMask;
using reference::Sequence;
using reference::store;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Most keys of a sequence: seqlenK may be far above it where the caller gives a bound.
int64_t mostKeys(const ReferenceArgs &args) {
  int64_t most = 0;
  for (int64_t b = 0; b < args.batch; ++b) {
    most = std::max(most, Sequence(args, b).lengthK);
  }
  return most;
}

/// Working memory of one thread, allocated before anything is written.
struct Workspace {
  Workspace(const ReferenceArgs &args, int64_t pitch)
      : pitch(pitch), keys(static_cast<size_t>(args.headDim * pitch)),
        values(static_cast<size_t>(args.headDimV * pitch)), query(static_cast<size_t>(args.headDim)),
        logits(static_cast<size_t>(pitch)), output(static_cast<size_t>(args.headDimV)),
        columns(static_cast<size_t>(pitch)) {}

  int64_t pitch;                ///< keys that there is room for
  std::vector<double> keys;     ///< [headDim][pitch]
  std::vector<double> values;   ///< [pitch][headDimV]
  std::vector<double> query;    ///< [headDim]
  std::vector<double> logits;   ///< [pitch], then the weights of the visible columns
  std::vector<double> output;   ///< [headDimV]
  std::vector<int64_t> columns; ///< visible columns of the current row, ascending
};

void copyKeyHead(const ReferenceArgs &args, const Sequence &sequence, int64_t headK, Workspace &work) {
  for (int64_t j = 0; j < sequence.lengthK; ++j) {
    for (int64_t d = 0; d < args.headDim; ++d) {
      work.keys[d * work.pitch + j] = load(args.k, offsetOf(args.k, sequence.batch, sequence.beginK + j, headK, d));
    }
    for (int64_t d = 0; d < args.headDimV; ++d) {
      work.values[j * args.headDimV + d] =
          load(args.v, offsetOf(args.v, sequence.batch, sequence.beginK + j, headK, d));
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
  const int64_t pitch = work.pitch;
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

/// Which entries of one row dropout keeps.
class Dropout {
public:
  Dropout(const ReferenceArgs &args, const Sequence &sequence, int64_t head, int64_t row)
      : active_(args.dropoutP != 0.0), key_(dropoutKey(args.dropoutSeed, args.dropoutOffset)),
        offset_(args.dropoutOffset), threshold_(dropoutThreshold(args.dropoutP)),
        head_(static_cast<uint32_t>(sequence.batch * args.heads + head)), row_(row) {}

  bool active() const { return active_; }
  double scale() const { return dropoutScale(threshold_); }
  bool keeps(int64_t column) const {
    return dropoutKeeps(dropoutBits(key_, offset_, head_, row_, column), threshold_);
  }

private:
  const bool active_;
  const PhiloxKey key_;
  const uint64_t offset_;
  const uint32_t threshold_;
  const uint32_t head_;
  const int64_t row_;
};

/// Writes one row of the probabilities: hidden columns 0, dropped ones negative. Of the visible columns the weights at
/// the front of `logits`, divided by `sum`, are the probabilities.
void storeProbs(const ReferenceArgs &args, const Sequence &sequence, int64_t row, int64_t head, const Dropout &dropout,
                const Workspace &work, int64_t visibleCount, double sum) {
  const int64_t base = offsetOf(args.probs, sequence.batch, head, row, 0);
  for (int64_t j = 0; j < args.seqlenK; ++j) {
    store(args.probs, base + j * args.probs.strides[3], 0.0);
  }
  for (int64_t n = 0; n < visibleCount; ++n) {
    const int64_t column = work.columns[n];
    const double probability = work.logits[n] / sum;
    const bool dropped = dropout.active() && !dropout.keeps(column);
    store(args.probs, base + column * args.probs.strides[3], dropped ? -probability : probability);
  }
}

/// Computes one row into work.output, writes its probabilities, and returns its LSE.
double computeRow(const ReferenceArgs &args, const Sequence &sequence, int64_t row, int64_t head, Workspace &work) {
  const RowMask mask(args, sequence, head, row);
  const Dropout dropout(args, sequence, head, row);
  int64_t visibleCount = 0;
  for (int64_t j = 0; j < sequence.lengthK; ++j) {
    if (mask.visible(j)) {
      work.columns[visibleCount++] = j;
    }
  }
  double largest = -kInfinity;
  bool sawNaN = false;
  if (visibleCount > 0) {
    for (int64_t d = 0; d < args.headDim; ++d) {
      work.query[d] = load(args.q, offsetOf(args.q, sequence.batch, sequence.beginQ + row, head, d));
    }
    computeDots(args, work, work.columns[visibleCount - 1] + 1);
    for (int64_t n = 0; n < visibleCount; ++n) {
      // n <= columns[n], so gathering to the front overwrites only dots that have been read.
      const int64_t column = work.columns[n];
      const double logit = reference::score(args, sequence, head, row, column, work.logits[column]);
      work.logits[n] = logit;
      sawNaN = sawNaN || std::isnan(logit);
      largest = std::max(largest, logit);
    }
  }
  double lse = -kInfinity;
  double sum = 1.0;
  if (!sawNaN && largest == -kInfinity) { // nothing visible, or only logits of -inf
    std::fill_n(work.logits.data(), visibleCount, 0.0);
    std::fill_n(work.output.data(), args.headDimV, 0.0);
  } else if (sawNaN || largest == kInfinity) {
    std::fill_n(work.logits.data(), visibleCount, kNaN);
    std::fill_n(work.output.data(), args.headDimV, kNaN);
    lse = sawNaN ? kNaN : kInfinity;
  } else {
    sum = 0.0;
    for (int64_t n = 0; n < visibleCount; ++n) {
      work.logits[n] = std::exp(work.logits[n] - largest);
      sum += work.logits[n];
    }
    lse = largest + std::log(sum);
  }
  if (args.writeProbs) {
    storeProbs(args, sequence, row, head, dropout, work, visibleCount, sum);
  }
  if (!std::isfinite(lse)) {
    return lse;
  }
  if (dropout.active()) {
    for (int64_t n = 0; n < visibleCount; ++n) {
      work.logits[n] = dropout.keeps(work.columns[n]) ? work.logits[n] * dropout.scale() : 0.0;
    }
  }
  sumValues(args, work, visibleCount);
  for (int64_t d = 0; d < args.headDimV; ++d) {
    work.output[d] /= sum;
  }
  return lse;
}

/// Rows of the probabilities that lie beyond a shorter sequence's end.
void clearProbs(const ReferenceArgs &args, const Sequence &sequence, int64_t head) {
  for (int64_t row = sequence.lengthQ; row < args.seqlenQ; ++row) {
    for (int64_t j = 0; j < args.seqlenK; ++j) {
      store(args.probs, offsetOf(args.probs, sequence.batch, head, row, j), 0.0);
    }
  }
}

/// All query heads that read one key head.
void computeKeyHead(const ReferenceArgs &args, int64_t batch, int64_t headK, Workspace &work) {
  const Sequence sequence(args, batch);
  copyKeyHead(args, sequence, headK, work);
  const int64_t headsPerKey = args.heads / args.headsK;
  for (int64_t head = headK * headsPerKey; head < (headK + 1) * headsPerKey; ++head) {
    for (int64_t row = 0; row < sequence.lengthQ; ++row) {
      const double lse = computeRow(args, sequence, row, head, work);
      for (int64_t d = 0; d < args.headDimV; ++d) {
        store(args.out, offsetOf(args.out, batch, sequence.beginQ + row, head, d), work.output[d]);
      }
      if (args.writeLse) {
        store(args.lse, offsetOf(args.lse, batch, head, sequence.beginQ + row, 0), lse);
      }
    }
    if (args.writeProbs) {
      clearProbs(args, sequence, head);
    }
  }
}

} // namespace

void referenceForward(const ReferenceArgs &args) {
  const int64_t tasks = args.batch * args.headsK;
  if (tasks <= 0 || args.seqlenQ <= 0) {
    return;
  }
  const int64_t wanted = args.threads > 0 ? args.threads : std::max(1u, std::thread::hardware_concurrency());
  const auto workers = static_cast<size_t>(std::clamp<int64_t>(wanted, 1, tasks));
  const int64_t pitch = mostKeys(args);
  std::vector<Workspace> workspaces;
  workspaces.reserve(workers);
  for (size_t w = 0; w < workers; ++w) {
    workspaces.emplace_back(args, pitch);
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
