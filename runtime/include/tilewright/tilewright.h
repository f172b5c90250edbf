// SPDX-License-Identifier: Apache-2.0
//
// Tilewright's C ABI: the only symbols that libtilewright.so exports. The C++ API (tilewright.hpp) and the Python
// binding are thin layers over this header. Every struct that may grow starts with its own size, set by the caller.
//
// Conventions
//   * Functions return a TwStatus. After a failure tw_last_error() and tw_last_error_argument() describe it for the
//     calling thread until that thread's next failing call. Arguments are checked before anything is compiled or
//     written: after TW_INVALID_ARGUMENT and TW_UNSUPPORTED every output is untouched.
//   * Strings returned through `TwString *` belong to the caller: tw_string_free().
//   * Handles are thread-safe unless said otherwise.
#ifndef TILEWRIGHT_TILEWRIGHT_H
#define TILEWRIGHT_TILEWRIGHT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TW_EXPORT __attribute__((visibility("default")))

typedef enum TwStatus {
  TW_OK = 0,
  TW_INVALID_ARGUMENT = 1, ///< an argument is wrong; the message names it, what it is and what is allowed
  TW_UNSUPPORTED = 2,      ///< the request is meaningful but this build or target cannot serve it
  TW_COMPILE_ERROR = 3,    ///< code generation failed: a fault of Tilewright, with the compiler's diagnostics
  TW_CACHE_MISS = 4,       ///< TW_MISS_ERROR was asked for and the kernel is in no cache; the message holds the key
  TW_OUT_OF_MEMORY = 5,
  TW_IO_ERROR = 6,         ///< a cache location that was explicitly asked for cannot be used
  TW_INTERNAL_ERROR = 7,
  TW_CUDA_ERROR = 8        ///< a call of the CUDA driver failed; the message holds the call, the driver's name of the
                           ///< error, the device and the stream. It may be a fault of work queued earlier
} TwStatus;

typedef enum TwDType {
  TW_FLOAT32 = 0,
  TW_FLOAT16 = 1,
  TW_BFLOAT16 = 2,
  TW_INT32 = 3,
  TW_FLOAT64 = 4, ///< only for tw_reference_forward
  TW_INT64 = 5,   ///< only for rng_state
  TW_BOOL = 6     ///< one byte, 0 or 1
} TwDType;

typedef enum TwDevice { TW_DEVICE_CPU = 0, TW_DEVICE_CUDA = 1 } TwDevice;

/// A strided tensor that the caller owns. Strides count elements, may be 0 or negative, and are read for every
/// dimension, size-1 dimensions included. rank 0 means "not given"; `data` may be NULL when the tensor has no elements.
typedef struct TwTensor {
  void *data;
  TwDType dtype;
  TwDevice device;
  int32_t device_index;
  int32_t rank;
  int64_t shape[4];
  int64_t strides[4];
} TwTensor;

typedef enum TwCausalAlign {
  TW_ALIGN_BOTTOM_RIGHT = 0, ///< query row i stands at key position i + seqlen_k - seqlen_q
  TW_ALIGN_TOP_LEFT = 1      ///< query row i stands at key position i
} TwCausalAlign;

/// One forward call. With x = scale * (q k^T), x[i][j] of query row i and key j of one sequence:
///
///   out = dropout(softmax(L)) v,   L = softcap(x) + alibi + bias + attn_mask, and -inf where (i, j) is hidden.
///
/// sq and sk are the lengths of the sequence: seqlen_q and seqlen_k; with cu_seqlens those that it gives; with
/// seqused_k sk is that number. Query row i stands at key position p = i + o, o = sk - sq (bottom right) or 0 (top
/// left). An entry is visible if j < sk and every mask that is given lets it be. A row that sees nothing, or only
/// entries of L = -inf: out 0, probs 0, lse -inf. Fields that are zero are absent. Which of them kernels serve:
/// tw_support_matrix; tw_forward refuses the others with TW_UNSUPPORTED, tw_reference_forward and
/// tw_cuda_reference_forward compute all.
///
/// Refused besides what each field says, with TW_INVALID_ARGUMENT and the name of the argument:
///   glm_mask            without causal
///   cu_seqlens_q or _k  one without the other
///   max_seqlen_q or _k  not 0 without cu_seqlens
///   rng_state           with a dropout_seed or dropout_offset that is not 0
///   window_left, _right above 0 while has_window is 0
/// Everything else combines. Numbers inside tensors (glm_mask, document_ids, cu_seqlens, seqused_k) are checked on the
/// CPU only, at the positions that are used.
typedef struct TwForwardArgs {
  size_t struct_size;    ///< sizeof(TwForwardArgs)
  TwTensor q;            ///< (batch, seqlen_q, heads, head_dim): float32, float16 or bfloat16
  TwTensor k;            ///< (batch, seqlen_k, heads_k, head_dim), heads % heads_k == 0
  TwTensor v;            ///< (batch, seqlen_k, heads_k, head_dim_v)
  TwTensor out;          ///< (batch, seqlen_q, heads, head_dim_v), dtype of q
  TwTensor lse;          ///< rank 0, or (batch, heads, seqlen_q) float32: natural log of the sum of exp(L), to which
                         ///< dropout does nothing
  TwTensor glm_mask;     ///< rank 0, or int32 (batch,) break points, or int32 (batch, 2, N) [start, end) pairs: row i
                         ///< sees j < max(p + 1, e), e its break point or the largest end of the pairs that hold p.
                         ///< Numbers in [0, sk], or a pair (-1, -1), which is unused
  double softmax_scale;  ///< finite, >= 0; read only if has_softmax_scale, else head_dim ** -0.5
  int32_t has_softmax_scale;
  int32_t causal;        ///< 0 or 1
  TwCausalAlign causal_align;
  void *stream;          ///< CUstream for tensors on a CUDA device; NULL is its legacy default stream. Not read on
                         ///< the CPU

  TwTensor bias;             ///< rank 0, or (batch|1, heads|1, seqlen_q|1, seqlen_k|1), dtype of q or float32, any
                             ///< strides: added to the score after scale and softcap
  TwTensor attn_mask;        ///< rank 0, or shaped as bias; dtype of q or float32: added as well; TW_BOOL: true is
                             ///< visible
  TwTensor key_padding_mask; ///< rank 0, or (batch, seqlen_k) TW_BOOL: true is a real key, others are hidden
  TwTensor alibi_slopes;     ///< rank 0, or (heads,) or (batch, heads) float32: adds -slope * |p - j|. Not checked to
                             ///< be finite
  TwTensor document_ids;     ///< rank 0, or (batch, seqlen_k) int32, the document of each key position: row i sees keys
                             ///< of the document at p, and none if p is outside of [0, sk). Ids are >= 0 and do not
                             ///< decrease; -1, only at the end, is padding: it sees nothing and nothing sees it
  int32_t has_window;        ///< 0 or 1
  int64_t window_left;       ///< -1: unbounded; else >= 0, and keys j >= p - window_left are visible
  int64_t window_right;      ///< -1: unbounded; else >= 0, and keys j <= p + window_right are visible. With causal the
                             ///< causal limit, which glm_mask may raise, stands in its place
  double softcap;            ///< 0: off; else finite and > 0: softcap(x) = softcap * tanh(x / softcap)
  double dropout_p;          ///< 0 <= dropout_p < 1, the share of probabilities set to 0; kernels/Philox.h says which.
                             ///< The others are scaled by the inverse of the share that is really kept
  uint64_t dropout_seed, dropout_offset;
  TwTensor rng_state;        ///< rank 0, or int64 (2,) seed, offset, on the device of q: read instead of the two above
  TwTensor probs;            ///< rank 0, or (batch, heads, seqlen_q, seqlen_k), dtype of q: receives softmax(L), not
                             ///< scaled by dropout, dropped entries negative, hidden ones 0
  TwTensor cu_seqlens_q;     ///< rank 0, or int32 (batch + 1,): where each sequence starts; from 0 to total_q, not
                             ///< decreasing. Then q is (total_q, heads, head_dim), out (total_q, heads, head_dim_v),
                             ///< lse (heads, total_q), and the other tensors are indexed by sequence and by position
                             ///< inside it: seqlen_q and seqlen_k in their shapes are the max_seqlen below, or more
                             ///< (probs: exactly; what lies outside of a sequence is set to 0)
  TwTensor cu_seqlens_k;     ///< the same for k (total_k, heads_k, head_dim) and v (total_k, heads_k, head_dim_v)
  TwTensor seqused_k;        ///< rank 0, or int32 (batch,): of each sequence only so many keys, the first, are used;
                             ///< from 0 to its length. With or without cu_seqlens
  int64_t max_seqlen_q;      ///< with cu_seqlens: no sequence is longer; else 0
  int64_t max_seqlen_k;      ///< with cu_seqlens: no sequence is longer; else 0
} TwForwardArgs;

typedef struct TwString {
  char *data; ///< NUL-terminated, but may hold NULs inside (object files)
  size_t size;
} TwString;

typedef enum TwMissPolicy {
  TW_MISS_COMPILE = 0, ///< compile silently (default)
  TW_MISS_WARN = 1,    ///< compile, one line on stderr with the key
  TW_MISS_ERROR = 2    ///< TW_CACHE_MISS
} TwMissPolicy;

typedef struct TwEngineOptions {
  size_t struct_size;
  const char *cache_dir;   ///< NULL: $TILEWRIGHT_CACHE_DIR, else $XDG_CACHE_HOME/tilewright, else ~/.cache/tilewright,
                           ///< else memory only; "" : memory only
  int32_t num_threads;     ///< 0: $TILEWRIGHT_NUM_THREADS, else the CPUs this process may run on
  TwMissPolicy miss_policy;
  const char *cpu_level;   ///< NULL: $TILEWRIGHT_CPU_LEVEL, else the best of this machine; or "x86-64-v2|v3|v4"
  const char *schedule;    ///< NULL: the schedule table; else a schedule's text, for every forward kernel of a CUDA
                           ///< device ("qk:128x64:w4") or of the CPU ("kq:64x64:8x2") (tests, tuning)
  const char *cuda_target; ///< NULL: each CUDA device's own; else "sm_80", "sm_86", "sm_87", "sm_89", "sm_90",
                           ///< "sm_90a", "sm_100", "sm_120" or "ptx" for all of them. Plans then need no device
} TwEngineOptions;

typedef struct TwStats {
  size_t struct_size;
  uint64_t memory_hits, disk_hits, compiles, bad_entries; ///< bad_entries: corrupt cache files set aside
  double compile_ms, load_ms;                             ///< totals
} TwStats;

typedef struct TwEngine TwEngine;

/// Kinds of a block in tw_forward_block_map.
enum { TW_BLOCK_SKIPPED = 0, TW_BLOCK_PARTIAL = 1, TW_BLOCK_FULL = 2 };

TW_EXPORT const char *tw_version(void);       ///< "0.1.0"
TW_EXPORT const char *tw_build_id(void);      ///< content hash of this library, in every cache key
TW_EXPORT const char *tw_last_error(void);          ///< message, "" if this thread has seen no failure
TW_EXPORT const char *tw_last_error_argument(void); ///< name of the argument at fault, "" if none is
TW_EXPORT const char *tw_status_name(TwStatus status);
TW_EXPORT void tw_string_free(TwString *string);

/// The process-wide engine, made with default options on first use. Never destroyed.
TW_EXPORT TwStatus tw_engine_default(TwEngine **engine);
TW_EXPORT TwStatus tw_engine_create(const TwEngineOptions *options, TwEngine **engine);
/// No call may be running on it. Not for the default engine.
TW_EXPORT void tw_engine_destroy(TwEngine *engine);
TW_EXPORT TwStatus tw_engine_stats(TwEngine *engine, TwStats *stats);
/// JSON list, oldest first, of the kernels this engine obtained: {"key", "origin": "compiled"|"disk", "ms", "stages"}.
TW_EXPORT TwStatus tw_engine_events(TwEngine *engine, TwString *json);

/// CPU tensors: runs on the calling thread and the engine's threads; returns when `out` is written.
/// CUDA tensors (float16, bfloat16; all on one device of compute capability 8.0 or later): queues the work on
/// args->stream, which belongs to that device's primary context, and returns; the host never waits for the device. The
/// tensors must live until the stream has done the work. GLM values are clamped to [0, seqlen_k], not checked. During a
/// stream capture every kernel must have been loaded by an earlier call, else TW_CACHE_MISS. A device without memory
/// pools makes packed GLM wait for the stream. NULL engine: the default one.
TW_EXPORT TwStatus tw_forward(TwEngine *engine, const TwForwardArgs *args);
/// The steps that tw_forward would run, without data: JSON {"steps": [{"key", "programs"}], "workspace_bytes"},
/// "schedule_row", {"table", "measured"}, where the forward kernel's schedule comes from a table and not from
/// TwEngineOptions, and "why_not_sm_90a", a text, where a Hopper GPU's forward kernel is not of its own instruction
/// family.
TW_EXPORT TwStatus tw_forward_plan(TwEngine *engine, const TwForwardArgs *args, TwString *json);
/// Which key blocks the kernel skips, runs unmasked, or masks, counted from key 0; a kernel whose rows begin to see
/// keys later counts its own from the first key that a row block sees, and so most often has fewer. Writes block_m,
/// block_n, and, if `map` is not NULL, batch * ceil(seqlen_q / block_m) * ceil(seqlen_k / block_n) bytes (TW_BLOCK_*),
/// row-major; `capacity` is map's size.
TW_EXPORT TwStatus tw_forward_block_map(TwEngine *engine, const TwForwardArgs *args, int64_t *block_m,
                                        int64_t *block_n, uint8_t *map, size_t capacity);
/// The float64 reference, element by element, no blocks; every field of TwForwardArgs. q, k, v, bias and attn_mask may
/// be float64 as well; out and probs have the dtype of q or are float64, lse is float32 or float64.
TW_EXPORT TwStatus tw_reference_forward(const TwForwardArgs *args);
/// The float32 reference on a CUDA device, for checks: plain CUDA C++, a block a query row, compiled by NVRTC at the
/// first call on a device; every field of TwForwardArgs. Arguments as for tw_forward with CUDA tensors, but `out` and
/// `probs` are float32. Queues the work on args->stream. TW_UNSUPPORTED if NVRTC is not found (tw_info says what was
/// looked for; $TILEWRIGHT_NVRTC names the library), TW_COMPILE_ERROR with NVRTC's log.
TW_EXPORT TwStatus tw_cuda_reference_forward(const TwForwardArgs *args);

/// Memory of CUDA device number `device`, for programs without a CUDA library of their own. Its primary context is
/// used, and the caller's current context is left as it was. `bytes` may be 0: *memory becomes NULL. What is left when
/// the process ends goes with it. TW_CUDA_ERROR, TW_OUT_OF_MEMORY, TW_UNSUPPORTED without a driver.
TW_EXPORT TwStatus tw_cuda_alloc(int32_t device, size_t bytes, void **memory);
/// The host waits until the device has done its work. NULL is allowed.
TW_EXPORT TwStatus tw_cuda_free(int32_t device, void *memory);
/// Copy between host and device memory, after the work in the legacy default stream; the host waits until it is done.
/// A failure may be that of work queued earlier.
TW_EXPORT TwStatus tw_cuda_upload(int32_t device, void *to, const void *from, size_t bytes);
TW_EXPORT TwStatus tw_cuda_download(int32_t device, void *to, const void *from, size_t bytes);

/// Events of CUDA device number `device` (CUevent, with times), which time work on it for programs without a CUDA
/// library of their own. Errors as for the memory.
TW_EXPORT TwStatus tw_cuda_event_create(int32_t device, void **event);
/// NULL is allowed.
TW_EXPORT TwStatus tw_cuda_event_destroy(int32_t device, void *event);
/// The event is what lies in `stream` at this point; NULL is the legacy default stream. The host does not wait.
TW_EXPORT TwStatus tw_cuda_event_record(int32_t device, void *event, void *stream);
/// Milliseconds from one event to another, both recorded. The host waits until the device has come to `end`; a failure
/// may be that of work queued earlier.
TW_EXPORT TwStatus tw_cuda_event_elapsed(int32_t device, void *start, void *end, float *milliseconds);

/// Compiles a kernel from its key's text up to `stage` ("attn", "tile", "schedule", "vector", "llvm", "obj"; of a
/// GPU key "attn", "tile", "schedule", "nvvm", "llvm", "ptx", "cubin") and returns that stage's text (machine code for
/// "obj" and "cubin"). `timings`, if not NULL: JSON {stage: milliseconds}. Uses no cache.
TW_EXPORT TwStatus tw_compile(const char *key, const char *stage, TwString *output, TwString *timings);
/// A key's text in canonical form; TW_INVALID_ARGUMENT says what is wrong with it. `digest`, if not NULL: 64 hex
/// digits.
TW_EXPORT TwStatus tw_key_canonical(const char *key, TwString *text, TwString *digest);
/// JSON: versions, targets, cache location and size, what was found and what was not; "features": for each thing that a
/// call may ask for besides the masks, the devices whose kernels serve it ("cpu", "cuda").
TW_EXPORT TwStatus tw_info(TwEngine *engine, TwString *json);
/// The support matrix as Markdown, printed from the table that the dispatcher reads.
TW_EXPORT TwStatus tw_support_matrix(TwString *markdown);

#ifdef __cplusplus
}
#endif
#endif // TILEWRIGHT_TILEWRIGHT_H
