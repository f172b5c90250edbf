// SPDX-License-Identifier: Apache-2.0
//
// Tilewright's C++20 API: header-only, over the C ABI of tilewright.h, so a program links nothing but libtilewright.so
// and no C++ type crosses the library's edge. Failures are thrown as tilewright::Error. Tensors are views: the caller
// keeps the memory alive, and nothing here copies it.
//
// Shapes, dtypes and the meaning of every argument are those of TwForwardArgs in tilewright.h.
#ifndef TILEWRIGHT_TILEWRIGHT_HPP
#define TILEWRIGHT_TILEWRIGHT_HPP

#include "tilewright/tilewright.h"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace tilewright {

/// What every function here throws. `what()` names the argument, what it is, and what is allowed.
class Error : public std::runtime_error {
public:
  Error(TwStatus status, const std::string &message, std::string argument = {})
      : std::runtime_error(message), status_(status), argument_(std::move(argument)) {}

  TwStatus status() const noexcept { return status_; }
  /// Name of the argument at fault, "" if none is.
  const std::string &argument() const noexcept { return argument_; }

private:
  TwStatus status_;
  std::string argument_;
};

namespace detail {

inline void check(TwStatus status) {
  if (status != TW_OK) {
    throw Error(status, tw_last_error(), tw_last_error_argument());
  }
}

/// Owns a string that the library returned.
class OwnedString {
public:
  OwnedString() = default;
  OwnedString(const OwnedString &) = delete;
  OwnedString &operator=(const OwnedString &) = delete;
  ~OwnedString() { tw_string_free(&string_); }

  TwString *get() { return &string_; }
  std::string copy() const { return string_.data ? std::string(string_.data, string_.size) : std::string(); }

private:
  TwString string_{};
};

template <typename T> inline constexpr bool kHasDType = false;
template <> inline constexpr bool kHasDType<float> = true;
template <> inline constexpr bool kHasDType<double> = true;
template <> inline constexpr bool kHasDType<int32_t> = true;
template <> inline constexpr bool kHasDType<int64_t> = true;
template <> inline constexpr bool kHasDType<bool> = sizeof(bool) == 1;

} // namespace detail

enum class DType {
  Float32 = TW_FLOAT32,
  Float16 = TW_FLOAT16,
  BFloat16 = TW_BFLOAT16,
  Int32 = TW_INT32,
  Float64 = TW_FLOAT64, ///< only for referenceForward
  Int64 = TW_INT64,     ///< only for rngState
  Bool = TW_BOOL        ///< one byte
};

enum class CausalAlign {
  BottomRight = TW_ALIGN_BOTTOM_RIGHT, ///< query row i stands at key position i + seqlen_k - seqlen_q
  TopLeft = TW_ALIGN_TOP_LEFT          ///< query row i stands at key position i
};

/// The DType of float, double, int32_t, int64_t or bool. 16-bit floats have no type that every compiler knows: their
/// tensors are built from a void pointer and a DType.
template <typename T>
  requires detail::kHasDType<T>
constexpr DType dtypeOf() {
  if constexpr (std::is_same_v<T, float>) {
    return DType::Float32;
  } else if constexpr (std::is_same_v<T, double>) {
    return DType::Float64;
  } else if constexpr (std::is_same_v<T, int32_t>) {
    return DType::Int32;
  } else if constexpr (std::is_same_v<T, bool>) {
    return DType::Bool;
  } else {
    return DType::Int64;
  }
}

/// A view of memory that is read, never written; the host's, unless onCuda() made it. Default-constructed: "not
/// given".
class ConstTensor {
public:
  using Dims = std::span<const int64_t>;

  ConstTensor() = default;

  /// `shape` has 1 to 4 dimensions. `strides` counts elements, one a dimension (0 and negative ones are fine); left
  /// empty, the tensor is contiguous, last dimension innermost. Throws Error(TW_INVALID_ARGUMENT) if they disagree.
  ConstTensor(const void *data, DType dtype, Dims shape, Dims strides = {}) {
    // The C struct has one pointer type for inputs and outputs; inputs are never written through it.
    assign(const_cast<void *>(data), dtype, shape, strides);
  }
  ConstTensor(const void *data, DType dtype, std::initializer_list<int64_t> shape,
              std::initializer_list<int64_t> strides = {})
      : ConstTensor(data, dtype, Dims(shape.begin(), shape.size()), Dims(strides.begin(), strides.size())) {}

  template <typename T>
    requires detail::kHasDType<T>
  ConstTensor(const T *data, std::initializer_list<int64_t> shape, std::initializer_list<int64_t> strides = {})
      : ConstTensor(data, dtypeOf<T>(), shape, strides) {}
  template <typename T>
    requires detail::kHasDType<T>
  ConstTensor(const T *data, Dims shape, Dims strides = {}) : ConstTensor(data, dtypeOf<T>(), shape, strides) {}

  const TwTensor &raw() const noexcept { return raw_; }
  bool given() const noexcept { return raw_.rank != 0; }
  int rank() const noexcept { return raw_.rank; }
  int64_t shape(int dim) const { return raw_.shape[checkedDim(dim)]; }
  int64_t stride(int dim) const { return raw_.strides[checkedDim(dim)]; }

  /// The same memory with two dimensions exchanged: a (b, h, s, d) tensor is seen as (b, s, h, d) by transposed(1, 2).
  ConstTensor transposed(int first, int second) const {
    ConstTensor result = *this;
    result.swapDims(first, second);
    return result;
  }

  /// The same tensor, if its memory is a CUDA device's and not the host's.
  ConstTensor onCuda(int device) const {
    ConstTensor result = *this;
    result.moveToCuda(device);
    return result;
  }

protected:
  void assign(void *data, DType dtype, Dims shape, Dims strides) {
    if (shape.empty() || shape.size() > 4) {
      throw Error(TW_INVALID_ARGUMENT, "shape has " + std::to_string(shape.size()) + " dimensions; a tensor has 1 to 4",
                  "shape");
    }
    if (!strides.empty() && strides.size() != shape.size()) {
      throw Error(TW_INVALID_ARGUMENT,
                  "strides has " + std::to_string(strides.size()) + " entries; expected none, or one for each of the " +
                      std::to_string(shape.size()) + " dimensions",
                  "strides");
    }
    raw_.data = data;
    raw_.dtype = static_cast<TwDType>(dtype);
    raw_.device = TW_DEVICE_CPU;
    raw_.rank = static_cast<int32_t>(shape.size());
    uint64_t contiguous = 1; // unsigned: a shape too large for int64 wraps here, and the library reports it
    for (size_t i = shape.size(); i-- > 0;) {
      raw_.shape[i] = shape[i];
      raw_.strides[i] = strides.empty() ? static_cast<int64_t>(contiguous) : strides[i];
      contiguous *= static_cast<uint64_t>(shape[i]);
    }
  }
  size_t checkedDim(int dim) const {
    if (dim < 0 || dim >= raw_.rank) {
      throw Error(TW_INVALID_ARGUMENT,
                  "dim is " + std::to_string(dim) + "; the tensor has " + std::to_string(raw_.rank) + " dimensions",
                  "dim");
    }
    return static_cast<size_t>(dim);
  }
  void swapDims(int first, int second) {
    const size_t a = checkedDim(first), b = checkedDim(second);
    std::swap(raw_.shape[a], raw_.shape[b]);
    std::swap(raw_.strides[a], raw_.strides[b]);
  }

  void moveToCuda(int device) {
    raw_.device = TW_DEVICE_CUDA;
    raw_.device_index = device;
  }

  TwTensor raw_{};
};

/// A view of memory that may be written. Usable wherever a ConstTensor is expected.
class Tensor : public ConstTensor {
public:
  Tensor() = default;
  Tensor(void *data, DType dtype, Dims shape, Dims strides = {}) { assign(data, dtype, shape, strides); }
  Tensor(void *data, DType dtype, std::initializer_list<int64_t> shape, std::initializer_list<int64_t> strides = {})
      : Tensor(data, dtype, Dims(shape.begin(), shape.size()), Dims(strides.begin(), strides.size())) {}
  template <typename T>
    requires detail::kHasDType<T>
  Tensor(T *data, std::initializer_list<int64_t> shape, std::initializer_list<int64_t> strides = {})
      : Tensor(data, dtypeOf<T>(), shape, strides) {}
  template <typename T>
    requires detail::kHasDType<T>
  Tensor(T *data, Dims shape, Dims strides = {}) : Tensor(data, dtypeOf<T>(), shape, strides) {}

  Tensor transposed(int first, int second) const {
    Tensor result = *this;
    result.swapDims(first, second);
    return result;
  }
  Tensor onCuda(int device) const {
    Tensor result = *this;
    result.moveToCuda(device);
    return result;
  }
};

class Engine;

/// Keys visible from a row at key position p: p - left to p + right. -1: unbounded.
struct Window {
  int64_t left = -1;
  int64_t right = -1;
};

/// What kernels serve of it: supportMatrix(). Fields as in TwForwardArgs.
struct ForwardOptions {
  bool causal = false;
  CausalAlign causalAlign = CausalAlign::BottomRight;
  ConstTensor glmMask = {}; ///< int32 (batch,) break points or (batch, 2, N) pairs; needs causal
  std::optional<double> softmaxScale = std::nullopt; ///< finite, >= 0; not given: head_dim ** -0.5
  Tensor lse = {};                                   ///< (batch, heads, seqlen_q) float32, if the caller wants it
  const Engine *engine = nullptr;                    ///< not given: the process-wide engine
  void *stream = nullptr; ///< CUstream for tensors on a CUDA device; null is its legacy default stream

  ConstTensor bias = {};           ///< (batch|1, heads|1, seqlen_q|1, seqlen_k|1), dtype of q or float32: added to
                                   ///< scores
  ConstTensor attnMask = {};       ///< shaped as bias: added too, or bool: true is visible
  ConstTensor keyPaddingMask = {}; ///< bool (batch, seqlen_k): true is a real key
  ConstTensor alibiSlopes = {};    ///< float32 (heads,) or (batch, heads)
  ConstTensor documentIds = {};    ///< int32 (batch, seqlen_k): rows see keys of their own document; -1 is padding
  Window window = {};
  double softcap = 0.0;  ///< 0: off
  double dropoutP = 0.0; ///< share of the probabilities that is set to 0
  uint64_t dropoutSeed = 0;
  uint64_t dropoutOffset = 0;
  ConstTensor rngState = {}; ///< int64 (2,) seed, offset: read instead of the two above
  Tensor probs = {};         ///< (batch, heads, seqlen_q, seqlen_k), if the caller wants the probabilities
  /// int32 (batch + 1,): a batch of sequences of different lengths. q (total_q, heads, head_dim), k and v (total_k,
  /// heads_k, ...), out (total_q, heads, head_dim_v), lse (heads, total_q).
  ConstTensor cuSeqlensQ = {};
  ConstTensor cuSeqlensK = {};
  ConstTensor seqUsedK = {}; ///< int32 (batch,): only so many keys of each sequence are used
  int64_t maxSeqlenQ = 0;    ///< with cuSeqlens: no sequence is longer
  int64_t maxSeqlenK = 0;
};

struct EngineOptions {
  std::optional<std::string> cacheDir = std::nullopt; ///< "" : memory only; not given: see TwEngineOptions
  int numThreads = 0;                                 ///< 0: $TILEWRIGHT_NUM_THREADS, else this process's CPUs
  TwMissPolicy missPolicy = TW_MISS_COMPILE;
  std::optional<std::string> cpuLevel = std::nullopt; ///< "x86-64-v2", "x86-64-v3", "x86-64-v4"
  std::optional<std::string> schedule = std::nullopt; ///< a schedule's text, for every forward kernel
  std::optional<std::string> cudaTarget = std::nullopt; ///< "sm_90", "ptx", ...; not given: each device's own
};

enum class BlockKind : uint8_t { Skipped = TW_BLOCK_SKIPPED, Partial = TW_BLOCK_PARTIAL, Full = TW_BLOCK_FULL };

/// What the kernel does with every block of blockM query rows by blockN keys.
struct BlockMap {
  int64_t blockM = 0, blockN = 0;
  int64_t batch = 0, rowBlocks = 0, keyBlocks = 0;
  std::vector<uint8_t> kinds; ///< [batch][rowBlocks][keyBlocks]

  BlockKind at(int64_t b, int64_t rowBlock, int64_t keyBlock) const {
    return static_cast<BlockKind>(kinds.at(static_cast<size_t>((b * rowBlocks + rowBlock) * keyBlocks + keyBlock)));
  }
};

namespace detail {

inline TwForwardArgs forwardArgs(const ConstTensor &q, const ConstTensor &k, const ConstTensor &v, const Tensor &out,
                                 const ForwardOptions &options) {
  TwForwardArgs args{};
  args.struct_size = sizeof(args);
  args.q = q.raw();
  args.k = k.raw();
  args.v = v.raw();
  args.out = out.raw();
  args.lse = options.lse.raw();
  args.glm_mask = options.glmMask.raw();
  args.softmax_scale = options.softmaxScale.value_or(0.0);
  args.has_softmax_scale = options.softmaxScale.has_value() ? 1 : 0;
  args.causal = options.causal ? 1 : 0;
  args.causal_align = static_cast<TwCausalAlign>(options.causalAlign);
  args.stream = options.stream;
  args.bias = options.bias.raw();
  args.attn_mask = options.attnMask.raw();
  args.key_padding_mask = options.keyPaddingMask.raw();
  args.alibi_slopes = options.alibiSlopes.raw();
  args.document_ids = options.documentIds.raw();
  const bool window = options.window.left != -1 || options.window.right != -1;
  args.has_window = window ? 1 : 0;
  args.window_left = window ? options.window.left : 0;
  args.window_right = window ? options.window.right : 0;
  args.softcap = options.softcap;
  args.dropout_p = options.dropoutP;
  args.dropout_seed = options.dropoutSeed;
  args.dropout_offset = options.dropoutOffset;
  args.rng_state = options.rngState.raw();
  args.probs = options.probs.raw();
  args.cu_seqlens_q = options.cuSeqlensQ.raw();
  args.cu_seqlens_k = options.cuSeqlensK.raw();
  args.seqused_k = options.seqUsedK.raw();
  args.max_seqlen_q = options.maxSeqlenQ;
  args.max_seqlen_k = options.maxSeqlenK;
  return args;
}

} // namespace detail

/// A kernel cache with a thread pool. Functions that take no engine use the process-wide one, Engine::shared().
/// Safe to use from several threads; not to be destroyed while a call runs on it.
class Engine {
public:
  explicit Engine(const EngineOptions &options = {}) : handle_(nullptr, tw_engine_destroy) {
    TwEngineOptions raw{};
    raw.struct_size = sizeof(raw);
    raw.cache_dir = options.cacheDir ? options.cacheDir->c_str() : nullptr;
    raw.num_threads = options.numThreads;
    raw.miss_policy = options.missPolicy;
    raw.cpu_level = options.cpuLevel ? options.cpuLevel->c_str() : nullptr;
    raw.schedule = options.schedule ? options.schedule->c_str() : nullptr;
    raw.cuda_target = options.cudaTarget ? options.cudaTarget->c_str() : nullptr;
    TwEngine *engine = nullptr;
    detail::check(tw_engine_create(&raw, &engine));
    handle_.reset(engine);
  }

  /// The process-wide engine. The object returned does not own it.
  static Engine shared() {
    TwEngine *engine = nullptr;
    detail::check(tw_engine_default(&engine));
    return Engine(engine);
  }

  TwEngine *handle() const noexcept { return handle_.get(); }

  TwStats stats() const {
    TwStats stats{};
    stats.struct_size = sizeof(stats);
    detail::check(tw_engine_stats(handle(), &stats));
    return stats;
  }

  /// JSON list of the kernels that this engine obtained, oldest first.
  std::string events() const {
    detail::OwnedString json;
    detail::check(tw_engine_events(handle(), json.get()));
    return json.copy();
  }

private:
  explicit Engine(TwEngine *shared) : handle_(shared, [](TwEngine *) {}) {}

  std::unique_ptr<TwEngine, void (*)(TwEngine *)> handle_;
};

namespace detail {

inline TwEngine *handleOf(const ForwardOptions &options) {
  return options.engine != nullptr ? options.engine->handle() : nullptr;
}

} // namespace detail

/// out = softmax(scale * q k^T, hidden entries -inf) v, and what the options add (TwForwardArgs has the formula). q
/// (batch, seqlen_q, heads, head_dim), k and v (batch, seqlen_k, heads_k, head_dim or head_dim_v), out (batch,
/// seqlen_q, heads, head_dim_v). Throws Error(TW_UNSUPPORTED) for an option that no kernel serves yet. Returns when out
/// is written; for tensors on a CUDA device when the work is queued on options.stream (see tw_forward).
inline void forward(const ConstTensor &q, const ConstTensor &k, const ConstTensor &v, const Tensor &out,
                    const ForwardOptions &options = {}) {
  const TwForwardArgs args = detail::forwardArgs(q, k, v, out, options);
  detail::check(tw_forward(detail::handleOf(options), &args));
}

/// The same in float64, element by element, without generated code, every option: for checks. Tensors may be float64
/// too, and lse float32 or float64; the engine is not used.
inline void referenceForward(const ConstTensor &q, const ConstTensor &k, const ConstTensor &v, const Tensor &out,
                             const ForwardOptions &options = {}) {
  const TwForwardArgs args = detail::forwardArgs(q, k, v, out, options);
  detail::check(tw_reference_forward(&args));
}

/// The same in float32 on a CUDA device, by plain CUDA C++ that NVRTC compiles, every option: for checks. Tensors as
/// for forward() on a CUDA device, but out and probs are float32; queued on options.stream. Throws
/// Error(TW_UNSUPPORTED) without NVRTC.
inline void cudaReferenceForward(const ConstTensor &q, const ConstTensor &k, const ConstTensor &v, const Tensor &out,
                                 const ForwardOptions &options = {}) {
  const TwForwardArgs args = detail::forwardArgs(q, k, v, out, options);
  detail::check(tw_cuda_reference_forward(&args));
}

/// Memory of a CUDA device, freed with the object (the host then waits for the device); for programs without a CUDA
/// library of their own. Copies wait for the work in the legacy default stream, and for their own end.
class CudaMemory {
public:
  CudaMemory(int device, std::size_t bytes) : device_(device), bytes_(bytes) {
    detail::check(tw_cuda_alloc(device, bytes, &data_));
  }
  CudaMemory(CudaMemory &&other) noexcept
      : device_(other.device_), bytes_(std::exchange(other.bytes_, 0)), data_(std::exchange(other.data_, nullptr)) {}
  CudaMemory &operator=(CudaMemory &&other) noexcept {
    std::swap(device_, other.device_);
    std::swap(bytes_, other.bytes_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~CudaMemory() { (void)tw_cuda_free(device_, data_); } // a failure is that of earlier work, which others report

  int device() const noexcept { return device_; }
  std::size_t bytes() const noexcept { return bytes_; }
  void *data() const noexcept { return data_; } ///< on the device

  /// All bytes() of it, from and to the host.
  void upload(const void *from) { detail::check(tw_cuda_upload(device_, data_, from, bytes_)); }
  void download(void *to) const { detail::check(tw_cuda_download(device_, to, data_, bytes_)); }

private:
  int device_;
  std::size_t bytes_;
  void *data_ = nullptr;
};

/// A point in the work of a CUDA device's stream; two of them time what lies between. For programs without a CUDA
/// library of their own.
class CudaEvent {
public:
  explicit CudaEvent(int device) : device_(device) { detail::check(tw_cuda_event_create(device, &event_)); }
  CudaEvent(CudaEvent &&other) noexcept : device_(other.device_), event_(std::exchange(other.event_, nullptr)) {}
  CudaEvent &operator=(CudaEvent &&other) noexcept {
    std::swap(device_, other.device_);
    std::swap(event_, other.event_);
    return *this;
  }
  ~CudaEvent() { (void)tw_cuda_event_destroy(device_, event_); } // as ~CudaMemory()

  /// Puts the event behind what is queued in the stream (CUstream; null: the legacy default one). Does not wait.
  void record(void *stream = nullptr) { detail::check(tw_cuda_event_record(device_, event_, stream)); }
  /// From `start`, which like this one was recorded. Waits until the device has come to this one.
  double millisecondsSince(const CudaEvent &start) const {
    float milliseconds = 0;
    detail::check(tw_cuda_event_elapsed(device_, start.event_, event_, &milliseconds));
    return milliseconds;
  }

private:
  int device_;
  void *event_ = nullptr;
};

/// JSON of the steps that forward() would run: {"steps": [{"key", "programs"}], "workspace_bytes"}. Reads no tensor
/// data: pointers may be null.
inline std::string plan(const ConstTensor &q, const ConstTensor &k, const ConstTensor &v, const Tensor &out,
                        const ForwardOptions &options = {}) {
  const TwForwardArgs args = detail::forwardArgs(q, k, v, out, options);
  detail::OwnedString json;
  detail::check(tw_forward_plan(detail::handleOf(options), &args, json.get()));
  return json.copy();
}

/// Which blocks forward() skips, runs unmasked, or masks. Reads the data of glmMask only.
inline BlockMap blockMap(const ConstTensor &q, const ConstTensor &k, const ConstTensor &v, const Tensor &out,
                         const ForwardOptions &options = {}) {
  const TwForwardArgs args = detail::forwardArgs(q, k, v, out, options);
  BlockMap map;
  detail::check(tw_forward_block_map(detail::handleOf(options), &args, &map.blockM, &map.blockN, nullptr, 0));
  map.batch = q.shape(0);
  map.rowBlocks = (q.shape(1) + map.blockM - 1) / map.blockM;
  map.keyBlocks = (k.shape(1) + map.blockN - 1) / map.blockN;
  map.kinds.resize(static_cast<size_t>(map.batch * map.rowBlocks * map.keyBlocks));
  detail::check(tw_forward_block_map(detail::handleOf(options), &args, &map.blockM, &map.blockN, map.kinds.data(),
                                     map.kinds.size()));
  return map;
}

struct Compilation {
  std::string output;  ///< the stage's text; an ELF object's bytes for "obj"
  std::string timings; ///< JSON {stage: milliseconds}
};

/// Compiles the kernel of a key's text up to a stage: "attn", "tile", "schedule", "vector", "llvm", "obj". No cache.
inline Compilation compile(const std::string &key, const std::string &stage) {
  detail::OwnedString output, timings;
  detail::check(tw_compile(key.c_str(), stage.c_str(), output.get(), timings.get()));
  return {output.copy(), timings.copy()};
}

struct Key {
  std::string text;   ///< canonical
  std::string digest; ///< 64 hex digits: the cache file's name
};

/// A key's text in canonical form; throws Error(TW_INVALID_ARGUMENT) that says what is wrong with it.
inline Key canonicalKey(const std::string &text) {
  detail::OwnedString canonical, digest;
  detail::check(tw_key_canonical(text.c_str(), canonical.get(), digest.get()));
  return {canonical.copy(), digest.copy()};
}

/// JSON: versions, targets, an engine's cache and threads, what was found and what was not. Without an engine: what the
/// process-wide one is or would be; if it cannot be made, the report says why and nothing is thrown.
inline std::string info(const Engine *engine = nullptr) {
  detail::OwnedString json;
  detail::check(tw_info(engine != nullptr ? engine->handle() : nullptr, json.get()));
  return json.copy();
}

/// The support matrix as Markdown.
inline std::string supportMatrix() {
  detail::OwnedString markdown;
  detail::check(tw_support_matrix(markdown.get()));
  return markdown.copy();
}

inline std::string_view version() { return tw_version(); }
inline std::string_view buildId() { return tw_build_id(); }

} // namespace tilewright

#endif // TILEWRIGHT_TILEWRIGHT_HPP
