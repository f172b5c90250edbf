// SPDX-License-Identifier: Apache-2.0
//
// The functions of libtilewright_ffi.so, exported by TVM-FFI's calling convention as `__tvm_ffi_<name>`. Each one is
// one call of Tilewright's C ABI. An engine travels as an integer handle; 0 is the process-wide default engine.
//
// Functions that describe an attention call share one argument list:
//   q, k, v          tensors (batch, seqlen, heads, head_dim)
//   out              tensor (batch, seqlen_q, heads, head_dim_v); may be None where nothing is computed
//   lse              None, or float32 (batch, heads, seqlen_q)
//   glm_mask         None, or int32 (batch,) or (batch, 2, N)
//   softmax_scale    None (head_dim ** -0.5) or a float
//   causal           bool
//   causal_align     "bottom_right" or "top_left"
// `forward_features` has all arguments of the C ABI: after these the tensors
//   bias, attn_mask, key_padding_mask, alibi_slopes, document_ids, rng_state, probs, cu_seqlens_q, cu_seqlens_k,
//   seqused_k   None or a tensor
// and the numbers
//   window_left, window_right, softcap, dropout_p, dropout_seed, dropout_offset, max_seqlen_q, max_seqlen_k
// Seed and offset are the 64 bits of a signed integer. It is a function of its own because every argument, given or
// not, costs a plain call its time. Its first argument says whether to compute, or to plan only (Mode).
//
// CUDA tensors: `forward` works on the stream that TVM-FFI's environment holds for the device, `forward_on_stream` on
// the one that it is given. Neither waits for it.
#include "Convert.h"
#include <optional>
#include <string>

#include <tvm/ffi/container/array.h>
#include <tvm/ffi/extra/c_env_api.h>
#include <tvm/ffi/function.h>

namespace tilewright::glue {
namespace {

using tvm::ffi::Any;
using tvm::ffi::Array;
using tvm::ffi::Bytes;
using tvm::ffi::Optional;
using tvm::ffi::String;
using tvm::ffi::TensorView;

TwEngine *toEngine(int64_t handle) { return reinterpret_cast<TwEngine *>(handle); }

TwCausalAlign toAlign(const String &text) {
  if (text == "bottom_right") {
    return TW_ALIGN_BOTTOM_RIGHT;
  }
  if (text == "top_left") {
    return TW_ALIGN_TOP_LEFT;
  }
  raise(TW_INVALID_ARGUMENT,
        "causal_align: is \"" + std::string(text.data(), text.size()) + "\", must be \"bottom_right\" or \"top_left\"",
        "causal_align");
}

/// An output that exists only as a description: what a caller who gives none would get, contiguous, without memory.
TwTensor impliedOutput(const TwTensor &q, const TwTensor &v) {
  TwTensor out = q;
  out.data = nullptr;
  out.shape[3] = v.rank == 4 ? v.shape[3] : 0;
  out.strides[3] = 1;
  for (int i = 2; i >= 0; --i) {
    out.strides[i] = out.strides[i + 1] * (out.shape[i + 1] > 0 ? out.shape[i + 1] : 1);
  }
  return out;
}

TwForwardArgs toArgs(const TensorView &q, const TensorView &k, const TensorView &v, const Optional<TensorView> &out,
                     const Optional<TensorView> &lse, const Optional<TensorView> &glmMask,
                     const Optional<double> &softmaxScale, bool causal, const String &causalAlign) {
  TwForwardArgs args{};
  args.struct_size = sizeof(args);
  args.q = toTensor("q", q);
  args.k = toTensor("k", k);
  args.v = toTensor("v", v);
  args.out = out.has_value() ? toTensor("out", out.value()) : impliedOutput(args.q, args.v);
  args.lse = toTensor("lse", lse);
  args.glm_mask = toTensor("glm_mask", glmMask);
  args.has_softmax_scale = softmaxScale.has_value();
  args.softmax_scale = softmaxScale.value_or(0.0);
  args.causal = causal;
  args.causal_align = toAlign(causalAlign);
  return args;
}

void forward(int64_t engine, TensorView q, TensorView k, TensorView v, TensorView out, Optional<TensorView> lse,
             Optional<TensorView> glmMask, Optional<double> softmaxScale, bool causal, String causalAlign) {
  TwForwardArgs args = toArgs(q, k, v, out, lse, glmMask, softmaxScale, causal, causalAlign);
  if (args.q.device == TW_DEVICE_CUDA) {
    args.stream = TVMFFIEnvGetStream(kDLCUDA, args.q.device_index);
  }
  check(tw_forward(toEngine(engine), &args));
}

/// `forward` on a stream that the caller names: a CUstream as an integer.
void forwardOnStream(int64_t engine, int64_t stream, TensorView q, TensorView k, TensorView v, TensorView out,
                     Optional<TensorView> lse, Optional<TensorView> glmMask, Optional<double> softmaxScale, bool causal,
                     String causalAlign) {
  TwForwardArgs args = toArgs(q, k, v, out, lse, glmMask, softmaxScale, causal, causalAlign);
  args.stream = reinterpret_cast<void *>(stream);
  check(tw_forward(toEngine(engine), &args));
}

/// [block_m, block_n]. `map`, if given, is uint8, contiguous, of at least batch * row blocks * key blocks.
Array<int64_t> blockMap(int64_t engine, const TwForwardArgs &args, const Optional<TensorView> &map) {
  uint8_t *data = nullptr;
  size_t capacity = 0;
  if (map.has_value()) {
    const TensorView &view = map.value();
    DLDataType dtype = view.dtype();
    if (dtype.code != kDLUInt || dtype.bits != 8 || dtype.lanes != 1 || !view.IsContiguous()) {
      raise(TW_INVALID_ARGUMENT, "map: must be a contiguous uint8 tensor", "map");
    }
    data = static_cast<uint8_t *>(view.data_ptr()) + view.byte_offset();
    capacity = static_cast<size_t>(view.numel());
  }
  int64_t blockM = 0;
  int64_t blockN = 0;
  check(tw_forward_block_map(toEngine(engine), &args, &blockM, &blockN, data, capacity));
  return {blockM, blockN};
}

String plan(int64_t engine, const TwForwardArgs &args) {
  TwString json{};
  check(tw_forward_plan(toEngine(engine), &args, &json));
  return takeString(json);
}

/// What forwardFeatures does with its arguments.
enum Mode : int64_t {
  kRun = 0,       ///< the kernels compute; returns None
  kReference = 1, ///< the float64 reference computes; returns None
  kPlan = 2,      ///< returns the plan as JSON; `out` may be None
  kBlockMap = 3   ///< returns [block_m, block_n] and fills `map`, if given; `out` may be None
};

/// Every argument there is. `stream`: a CUstream as an integer, None for that of TVM-FFI's environment.
Any forwardFeatures(int64_t mode, int64_t engine, Optional<int64_t> stream, TensorView q, TensorView k, TensorView v,
                    Optional<TensorView> out, Optional<TensorView> lse, Optional<TensorView> glmMask,
                    Optional<double> softmaxScale, bool causal, String causalAlign, Optional<TensorView> bias,
                    Optional<TensorView> attnMask, Optional<TensorView> keyPaddingMask,
                    Optional<TensorView> alibiSlopes, Optional<TensorView> documentIds, Optional<TensorView> rngState,
                    Optional<TensorView> probs, Optional<TensorView> cuSeqlensQ, Optional<TensorView> cuSeqlensK,
                    Optional<TensorView> seqUsedK, int64_t windowLeft, int64_t windowRight, double softcap,
                    double dropoutP, int64_t dropoutSeed, int64_t dropoutOffset, int64_t maxSeqlenQ,
                    int64_t maxSeqlenK, Optional<TensorView> map) {
  TwForwardArgs args = toArgs(q, k, v, out, lse, glmMask, softmaxScale, causal, causalAlign);
  args.bias = toTensor("bias", bias);
  args.attn_mask = toTensor("attn_mask", attnMask);
  args.key_padding_mask = toTensor("key_padding_mask", keyPaddingMask);
  args.alibi_slopes = toTensor("alibi_slopes", alibiSlopes);
  args.document_ids = toTensor("document_ids", documentIds);
  args.rng_state = toTensor("rng_state", rngState);
  args.probs = toTensor("probs", probs);
  args.cu_seqlens_q = toTensor("cu_seqlens_q", cuSeqlensQ);
  args.cu_seqlens_k = toTensor("cu_seqlens_k", cuSeqlensK);
  args.seqused_k = toTensor("seqused_k", seqUsedK);
  args.has_window = windowLeft != -1 || windowRight != -1;
  args.window_left = args.has_window ? windowLeft : 0;
  args.window_right = args.has_window ? windowRight : 0;
  args.softcap = softcap;
  args.dropout_p = dropoutP;
  args.dropout_seed = static_cast<uint64_t>(dropoutSeed);
  args.dropout_offset = static_cast<uint64_t>(dropoutOffset);
  args.max_seqlen_q = maxSeqlenQ;
  args.max_seqlen_k = maxSeqlenK;
  switch (mode) {
  case kReference:
    check(tw_reference_forward(&args));
    return nullptr;
  case kPlan:
    return plan(engine, args);
  case kBlockMap:
    return blockMap(engine, args, map);
  default:
    break;
  }
  if (stream.has_value()) {
    args.stream = reinterpret_cast<void *>(stream.value());
  } else if (args.q.device == TW_DEVICE_CUDA) {
    args.stream = TVMFFIEnvGetStream(kDLCUDA, args.q.device_index);
  }
  check(tw_forward(toEngine(engine), &args));
  return nullptr;
}

int64_t engineCreate(Optional<String> cacheDir, int64_t numThreads, int64_t missPolicy, Optional<String> cpuLevel,
                     Optional<String> schedule, Optional<String> cudaTarget) {
  // Copies that outlive the call: value() returns a temporary, and short strings live inside it.
  auto copied = [](const Optional<String> &text) {
    return text.has_value() ? std::optional<std::string>(text.value()) : std::nullopt;
  };
  const std::optional<std::string> cacheDirText = copied(cacheDir);
  const std::optional<std::string> cpuLevelText = copied(cpuLevel);
  const std::optional<std::string> scheduleText = copied(schedule);
  const std::optional<std::string> cudaTargetText = copied(cudaTarget);
  TwEngineOptions options{};
  options.struct_size = sizeof(options);
  options.cache_dir = cacheDirText ? cacheDirText->c_str() : nullptr;
  options.num_threads = static_cast<int32_t>(numThreads);
  options.miss_policy = static_cast<TwMissPolicy>(missPolicy);
  options.cpu_level = cpuLevelText ? cpuLevelText->c_str() : nullptr;
  options.schedule = scheduleText ? scheduleText->c_str() : nullptr;
  options.cuda_target = cudaTargetText ? cudaTargetText->c_str() : nullptr;
  TwEngine *engine = nullptr;
  check(tw_engine_create(&options, &engine));
  return reinterpret_cast<int64_t>(engine);
}

void engineDestroy(int64_t engine) { tw_engine_destroy(toEngine(engine)); }

TwEngine *orDefault(int64_t handle) {
  TwEngine *engine = toEngine(handle);
  if (!engine) {
    check(tw_engine_default(&engine));
  }
  return engine;
}

/// [memory_hits, disk_hits, compiles, bad_entries, compile_ms, load_ms]
Array<Any> engineStats(int64_t engine) {
  TwStats stats{};
  stats.struct_size = sizeof(stats);
  check(tw_engine_stats(orDefault(engine), &stats));
  return {static_cast<int64_t>(stats.memory_hits), static_cast<int64_t>(stats.disk_hits),
          static_cast<int64_t>(stats.compiles), static_cast<int64_t>(stats.bad_entries), stats.compile_ms,
          stats.load_ms};
}

String engineEvents(int64_t engine) {
  TwString json{};
  check(tw_engine_events(orDefault(engine), &json));
  return takeString(json);
}

/// [bytes of the stage, JSON of the milliseconds by stage]
Array<Any> compileKey(String key, String stage) {
  TwString output{};
  TwString timings{};
  check(tw_compile(key.c_str(), stage.c_str(), &output, &timings));
  Bytes bytes = takeBytes(output);
  return {bytes, takeString(timings)};
}

/// [canonical text, digest]
Array<Any> keyCanonical(String key) {
  TwString text{};
  TwString digest{};
  check(tw_key_canonical(key.c_str(), &text, &digest));
  String canonical = takeString(text);
  return {canonical, takeString(digest)};
}

String info(int64_t engine) {
  TwString json{};
  check(tw_info(orDefault(engine), &json));
  return takeString(json);
}

String supportMatrix() {
  TwString markdown{};
  check(tw_support_matrix(&markdown));
  return takeString(markdown);
}

String version() { return tw_version(); }
String buildId() { return tw_build_id(); }
String lastErrorArgument() { return lastArgument(); }

} // namespace
} // namespace tilewright::glue

TVM_FFI_DLL_EXPORT_TYPED_FUNC(forward, tilewright::glue::forward)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(forward_on_stream, tilewright::glue::forwardOnStream)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(forward_features, tilewright::glue::forwardFeatures)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(engine_create, tilewright::glue::engineCreate)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(engine_destroy, tilewright::glue::engineDestroy)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(engine_stats, tilewright::glue::engineStats)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(engine_events, tilewright::glue::engineEvents)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(compile, tilewright::glue::compileKey)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(key_canonical, tilewright::glue::keyCanonical)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(info, tilewright::glue::info)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(support_matrix, tilewright::glue::supportMatrix)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(version, tilewright::glue::version)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(build_id, tilewright::glue::buildId)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(last_error_argument, tilewright::glue::lastErrorArgument)
