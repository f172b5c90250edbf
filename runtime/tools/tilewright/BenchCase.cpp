// SPDX-License-Identifier: Apache-2.0
#include "BenchCase.h"
#include "Precision.h"
#include "Terminal.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>

namespace tilewright::cli {

namespace {

constexpr int64_t kCheckedRows = 8; ///< the first and the last so many of a sequence

/// Calls take(n) for each row in order; it sees the first n keys.
template <typename Fn> void forEachLimit(const BenchMask &mask, int64_t seqlen, Fn take) {
  const std::vector<int32_t> numbers = mask.numbers(1, seqlen);
  for (int64_t row = 0; row < seqlen; ++row) {
    int64_t limit = mask.kind == MaskKind::None ? seqlen : row + 1;
    if (mask.kind == MaskKind::GlmBreak) {
      limit = std::max<int64_t>(limit, numbers[0]);
    }
    for (int64_t n = 0; mask.kind == MaskKind::GlmPacked && n < mask.samples; ++n) {
      const int64_t start = numbers[static_cast<size_t>(n)], end = numbers[static_cast<size_t>(mask.samples + n)];
      limit = start <= row && row < end ? std::max(limit, end) : limit;
    }
    take(limit);
  }
}

size_t bytesOf(const BenchShape &shape, int64_t heads, int64_t dim) {
  return static_cast<size_t>(shape.batch * shape.seqlen * heads * dim) * elementBytes(shape.dtype);
}

/// Normal random numbers, a table of which is repeated: drawing each by itself would take longer than all else. Its
/// length is prime, so no two rows of a tensor are equal.
void fillRandom(const HostArray &array, DType dtype, uint64_t seed) {
  constexpr size_t length = 1048573;
  const size_t size = elementBytes(dtype), period = std::min(length * size, array.bytes());
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  for (size_t at = 0; at < period; at += size) {
    storeElement(dtype, array.data() + at, normal(random));
  }
  for (size_t at = period; at < array.bytes(); at += period) {
    std::memcpy(array.data() + at, array.data(), std::min(period, array.bytes() - at));
  }
}

CudaMemory copied(int device, const HostArray &array) {
  CudaMemory memory(device, array.bytes());
  memory.upload(array.data());
  return memory;
}

/// The distance between 1 and the next number.
double stepOf(DType dtype) {
  return dtype == DType::Float32 ? 0x1p-23 : dtype == DType::Float16 ? 0x1p-10 : 0x1p-7;
}

} // namespace

std::string BenchShape::name() const {
  auto both = [](const char *what, int64_t first, int64_t second) {
    const std::string text = std::string(", ") + what + " " + std::to_string(first);
    return first == second ? text : text + "/" + std::to_string(second);
  };
  return std::string(dtypeName(dtype)) + ", b " + std::to_string(batch) + ", s " + std::to_string(seqlen) +
         both("h", heads, headsKv) + both("d", headDim, headDimV);
}

std::vector<int32_t> BenchMask::numbers(int64_t batch, int64_t seqlen) const {
  std::vector<int32_t> one;
  if (kind == MaskKind::GlmBreak) {
    one.push_back(static_cast<int32_t>(seqlen / 2));
  } else if (kind == MaskKind::GlmPacked) {
    one.resize(static_cast<size_t>(2 * samples));
    for (int64_t n = 0; n < samples; ++n) {
      const int64_t start = seqlen * n / samples, next = seqlen * (n + 1) / samples;
      one[static_cast<size_t>(n)] = static_cast<int32_t>(start);
      one[static_cast<size_t>(samples + n)] = static_cast<int32_t>(start + (next - start) / 2);
    }
  }
  std::vector<int32_t> all;
  for (int64_t b = 0; b < batch; ++b) {
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

int64_t BenchMask::visiblePairs(int64_t batch, int64_t seqlen) const {
  int64_t pairs = 0;
  forEachLimit(*this, seqlen, [&](int64_t limit) { pairs += limit; });
  return batch * pairs;
}

HostArray::HostArray(size_t bytes)
    : bytes_(bytes), data_(static_cast<std::byte *>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)), std::free) {
  if (data_ == nullptr) {
    throw std::runtime_error("the host has no memory for a tensor of " + std::to_string(bytes) + " bytes");
  }
}

BenchInputs::BenchInputs(const BenchPlace &place, const BenchShape &shape, uint64_t seed)
    : shape_(shape), q_(bytesOf(shape, shape.heads, shape.headDim)), k_(bytesOf(shape, shape.headsKv, shape.headDim)),
      v_(bytesOf(shape, shape.headsKv, shape.headDimV)), out_(bytesOf(shape, shape.heads, shape.headDimV)) {
  fillRandom(q_, shape.dtype, 3 * seed);
  fillRandom(k_, shape.dtype, 3 * seed + 1);
  fillRandom(v_, shape.dtype, 3 * seed + 2);
  if (place.cuda) {
    deviceQ_.emplace(copied(*place.cuda, q_));
    deviceK_.emplace(copied(*place.cuda, k_));
    deviceV_.emplace(copied(*place.cuda, v_));
    deviceOut_.emplace(*place.cuda, out_.bytes());
  }
}

double BenchResult::median() const {
  const size_t half = milliseconds.size() / 2;
  return milliseconds.size() % 2 == 1 ? milliseconds[half] : (milliseconds[half - 1] + milliseconds[half]) / 2;
}

/// A problem with a mask on the inputs.
class BenchRun {
public:
  BenchRun(const BenchPlace &place, BenchInputs &inputs, const BenchMask &mask)
      : place_(place), inputs_(inputs), shape_(inputs.shape()), mask_(mask),
        numbers_(mask.numbers(shape_.batch, shape_.seqlen)) {
    if (place.cuda && !numbers_.empty()) {
      deviceNumbers_.emplace(*place.cuda, numbers_.size() * sizeof(int32_t));
      deviceNumbers_->upload(numbers_.data());
    }
    q_ = whole(inputs.q_, inputs.deviceQ_, shape_.heads, shape_.headDim);
    k_ = whole(inputs.k_, inputs.deviceK_, shape_.headsKv, shape_.headDim);
    v_ = whole(inputs.v_, inputs.deviceV_, shape_.headsKv, shape_.headDimV);
    out_ = whole(inputs.out_, inputs.deviceOut_, shape_.heads, shape_.headDimV);
    options_ = maskOptions(0, shape_.batch, deviceNumbers_ ? deviceNumbers_->data() : numbers_.data());
    options_.engine = place.engine;
    if (place.cuda) {
      options_.glmMask = options_.glmMask.onCuda(*place.cuda);
    }
  }

  void call() const { place_.forward(q_, k_, v_, out_, options_); }

  std::string forwardKey() const {
    const auto steps = nlohmann::json::parse(plan(q_, k_, v_, out_, options_)).at("steps");
    return steps.back().at("key").get<std::string>();
  }

  /// One call into NaN, whose result is then on the host.
  void computeOnce() {
    const DType dtype = shape_.dtype;
    const size_t size = elementBytes(dtype);
    std::byte *const out = inputs_.out_.data();
    for (size_t at = 0; at < inputs_.out_.bytes(); at += size) {
      storeSentinel(dtype, out + at);
    }
    if (inputs_.deviceOut_) {
      inputs_.deviceOut_->upload(out);
    }
    call();
    if (inputs_.deviceOut_) {
      inputs_.deviceOut_->download(out);
    }
  }

  void checkFinite() const {
    const size_t size = elementBytes(shape_.dtype), count = inputs_.out_.bytes() / size;
    for (size_t i = 0; i < count; ++i) {
      if (!std::isfinite(loadElement(shape_.dtype, inputs_.out_.data() + i * size))) {
        throw std::runtime_error(shape_.name() + ": element " + std::to_string(i) + " of " + std::to_string(count) +
                                 " of the output is not finite, or was not written: its time would mean nothing");
      }
    }
  }

  /// The first and last rows of the first and last head of the first and last sequence.
  void checkRows(BenchResult &result) const {
    double largest = 0;
    for (size_t at = 0; at < inputs_.v_.bytes(); at += elementBytes(shape_.dtype)) {
      largest = std::max(largest, std::abs(loadElement(shape_.dtype, inputs_.v_.data() + at)));
    }
    // Rounding of the weights and of the result to the type, and sums in float32.
    result.allowed = 2 * stepOf(shape_.dtype) * largest + 0x1p-17;
    const int64_t rows = std::min(kCheckedRows, shape_.seqlen);
    for (const int64_t b : {int64_t{0}, shape_.batch - 1}) {
      for (const int64_t head : {int64_t{0}, shape_.heads - 1}) {
        for (const int64_t first : {int64_t{0}, shape_.seqlen - rows}) {
          result.error = std::max(result.error, errorOf(b, head, first, rows));
        }
      }
    }
    if (result.error > result.allowed) {
      throw std::runtime_error(shape_.name() + format(": the result is wrong, and its time would mean nothing: error "
                                                      "%.2e against the float64 reference, allowed %.2e",
                                                      result.error, result.allowed));
    }
  }

private:
  Tensor whole(const HostArray &host, const std::optional<CudaMemory> &device, int64_t heads, int64_t dim) const {
    const Tensor view(device ? device->data() : host.data(), shape_.dtype, {shape_.batch, shape_.seqlen, heads, dim});
    return device ? view.onCuda(device->device()) : view;
  }

  /// `rows` rows of one head of one sequence, as a problem of its own.
  Tensor part(const HostArray &host, int64_t heads, int64_t dim, int64_t b, int64_t head, int64_t row,
              int64_t rows) const {
    const int64_t element = ((b * shape_.seqlen + row) * heads + head) * dim;
    return Tensor(host.data() + static_cast<size_t>(element) * elementBytes(shape_.dtype), shape_.dtype,
                  {1, rows, 1, dim}, {shape_.seqlen * heads * dim, heads * dim, dim, 1});
  }

  /// The mask of `count` sequences from `b` on; `numbers` is where those of the first sequence lie.
  ForwardOptions maskOptions(int64_t b, int64_t count, const void *numbers) const {
    ForwardOptions options;
    options.causal = mask_.kind != MaskKind::None;
    const auto *from = static_cast<const int32_t *>(numbers);
    if (mask_.kind == MaskKind::GlmBreak) {
      options.glmMask = ConstTensor(from + b, DType::Int32, {count});
    } else if (mask_.kind == MaskKind::GlmPacked) {
      options.glmMask = ConstTensor(from + 2 * mask_.samples * b, DType::Int32, {count, 2, mask_.samples});
    }
    return options;
  }

  double errorOf(int64_t b, int64_t head, int64_t first, int64_t rows) const {
    const int64_t dim = shape_.headDimV, headKv = head / (shape_.heads / shape_.headsKv);
    std::vector<double> exact(static_cast<size_t>(rows * dim));
    ForwardOptions options = maskOptions(b, 1, numbers_.data());
    options.causalAlign = first == 0 ? CausalAlign::TopLeft : CausalAlign::BottomRight;
    referenceForward(part(inputs_.q_, shape_.heads, shape_.headDim, b, head, first, rows),
                     part(inputs_.k_, shape_.headsKv, shape_.headDim, b, headKv, 0, shape_.seqlen),
                     part(inputs_.v_, shape_.headsKv, dim, b, headKv, 0, shape_.seqlen),
                     Tensor(exact.data(), DType::Float64, {1, rows, 1, dim}), options);
    const size_t size = elementBytes(shape_.dtype);
    double error = 0;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t element = ((b * shape_.seqlen + first + row) * shape_.heads + head) * dim;
      const std::byte *computed = inputs_.out_.data() + static_cast<size_t>(element) * size;
      for (int64_t d = 0; d < dim; ++d) {
        const double off = loadElement(shape_.dtype, computed + static_cast<size_t>(d) * size) -
                           exact[static_cast<size_t>(row * dim + d)];
        error = std::max(error, std::abs(off));
      }
    }
    return error;
  }

  const BenchPlace &place_;
  BenchInputs &inputs_;
  const BenchShape &shape_;
  const BenchMask &mask_;
  const std::vector<int32_t> numbers_;
  std::optional<CudaMemory> deviceNumbers_;
  Tensor q_, k_, v_, out_;
  ForwardOptions options_;
};

namespace {

std::vector<double> timeOnCuda(const BenchRun &run, int device, int repeats) {
  std::vector<CudaEvent> starts, ends;
  for (int i = 0; i < repeats; ++i) {
    starts.emplace_back(device);
    ends.emplace_back(device);
  }
  for (int i = 0; i < 3; ++i) {
    run.call();
  }
  // Queued without waiting in between: what is timed is the device's work, not how soon the host sends it.
  for (size_t i = 0; i < starts.size(); ++i) {
    starts[i].record();
    run.call();
    ends[i].record();
  }
  std::vector<double> times;
  for (size_t i = 0; i < starts.size(); ++i) {
    times.push_back(ends[i].millisecondsSince(starts[i]));
  }
  return times;
}

std::vector<double> timeOnCpu(const BenchRun &run, int repeats) {
  for (int i = 0; i < 2; ++i) {
    run.call();
  }
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run.call();
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  return times;
}

} // namespace

BenchResult runBench(const BenchPlace &place, BenchInputs &inputs, const BenchMask &mask, int repeats) {
  const BenchShape &shape = inputs.shape();
  BenchRun run(place, inputs, mask);
  BenchResult result;
  result.key = run.forwardKey();
  run.computeOnce();
  run.checkFinite();
  run.checkRows(result);
  result.milliseconds = place.cuda ? timeOnCuda(run, *place.cuda, repeats) : timeOnCpu(run, repeats);
  std::sort(result.milliseconds.begin(), result.milliseconds.end());
  const double pairs = static_cast<double>(mask.visiblePairs(shape.batch, shape.seqlen));
  const double operations =
      2.0 * static_cast<double>(shape.headDim + shape.headDimV) * static_cast<double>(shape.heads) * pairs;
  result.tflops = operations / result.median() / 1e9;
  return result;
}

} // namespace tilewright::cli
