// SPDX-License-Identifier: Apache-2.0
#include "CudaReference.h"
#include "Devices.h"
#include "tilewright/kernels/CudaReferenceArguments.h"
#include "tilewright/kernels/Philox.h"
#include "tilewright/runtime/ExitGuard.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "CudaReferenceArgumentsText.inc"
#include "CudaReferenceText.inc"

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::runtime::cuda;
using kernels::CudaReferenceArguments;
using kernels::CudaReferenceMask;
using kernels::CudaReferenceTensor;
using kernels::CudaReferenceType;

namespace {

constexpr const char *kSymbol = "tilewright_reference_forward";
/// Blocks of a launch; each takes one row after another.
constexpr int64_t kMaxBlocks = int64_t{1} << 20;

/// One copy a device, loaded until the process ends. Published by compare-and-swap: no lock that a fork could copy.
std::array<std::atomic<Function>, kMaxDevices> loaded{};

Function loadOn(const DeviceInfo &device) {
  auto &slot = loaded[static_cast<size_t>(device.ordinal)];
  if (Function found = slot.load(std::memory_order_acquire)) {
    return found;
  }
  const CompileScope scope; // NVRTC has locks and threads: neither a fork nor an exit may cut into it
  const CudaCode code = compileReference(static_cast<unsigned>(device.major * 10 + device.minor));
  const DriverApi &api = driver();
  std::string log(8192, '\0');
  int options[] = {kJitErrorLog, kJitErrorLogBytes};
  void *values[] = {log.data(), reinterpret_cast<void *>(static_cast<uintptr_t>(log.size()))};
  Module module = nullptr;
  const Result result = api.moduleLoadDataEx(&module, code.image.c_str(), 2, options, values);
  if (result != kSuccess) {
    const std::string said = log.c_str();
    check(result, "cuModuleLoadDataEx", device.ordinal, nullptr,
          "the CUDA reference for " + code.target + " by NVRTC " + nvrtcVersion() + (said.empty() ? "" : "; " + said));
  }
  Function function = nullptr;
  const Result found = api.moduleGetFunction(&function, module, kSymbol);
  if (found != kSuccess) {
    (void)api.moduleUnload(module);
    check(found, "cuModuleGetFunction", device.ordinal, nullptr, kSymbol);
  }
  Function expected = nullptr;
  if (!slot.compare_exchange_strong(expected, function, std::memory_order_acq_rel)) {
    check(api.moduleUnload(module), "cuModuleUnload", device.ordinal); // another thread's copy, never run
    return expected;
  }
  return function;
}

CudaReferenceMask maskOf(attn::MaskKind mask) {
  switch (mask) {
  case attn::MaskKind::None:
    return CudaReferenceMask::None;
  case attn::MaskKind::Causal:
    return CudaReferenceMask::Causal;
  case attn::MaskKind::GlmBreak:
    return CudaReferenceMask::GlmBreak;
  case attn::MaskKind::GlmPacked:
    return CudaReferenceMask::GlmPacked;
  }
  throw Error(TW_INTERNAL_ERROR, "the CUDA reference was given a mask kind that does not exist");
}

CudaReferenceType typeOf(TwDType dtype) {
  switch (dtype) {
  case TW_FLOAT16:
    return CudaReferenceType::Float16;
  case TW_BFLOAT16:
    return CudaReferenceType::BFloat16;
  case TW_FLOAT32:
    return CudaReferenceType::Float32;
  case TW_BOOL:
    return CudaReferenceType::Bool;
  default:
    throw Error(TW_INTERNAL_ERROR,
                "the CUDA reference was given an element type that argument checking lets nobody pass");
  }
}

template <size_t rank>
CudaReferenceTensor tensor(const void *data, const std::array<int64_t, rank> &strides, TwDType dtype = TW_FLOAT32) {
  CudaReferenceTensor result{const_cast<void *>(data), {}, typeOf(dtype)};
  std::copy(strides.begin(), strides.end(), result.strides);
  return result;
}

void addFeatures(const AttentionProblem &problem, const ForwardPointers &pointers, CudaReferenceArguments &args) {
  args.bias = tensor(pointers.bias, problem.bias.strides, problem.bias.dtype);
  args.attnMask = tensor(pointers.attnMask, problem.attnMask.strides, problem.attnMask.dtype);
  args.keyPadding = tensor(pointers.keyPadding, problem.keyPadding.strides);
  args.alibi = tensor(pointers.alibi, problem.alibi.strides);
  args.documents = tensor(pointers.documents, problem.documents.strides);
  args.rngState = tensor(pointers.rngState, problem.rngState.strides);
  args.probs = tensor(pointers.probs, problem.probs.strides);
  args.cuSeqlensQ = tensor(pointers.cuSeqlensQ, problem.cuSeqlensQ.strides);
  args.cuSeqlensK = tensor(pointers.cuSeqlensK, problem.cuSeqlensK.strides);
  args.seqUsedK = tensor(pointers.seqUsedK, problem.seqUsedK.strides);
  args.windowLeft = problem.windowLeft;
  args.windowRight = problem.windowRight;
  args.softcap = problem.softcap;
  args.dropoutThreshold = problem.dropoutP == 0.0 ? 0 : kernels::dropoutThreshold(problem.dropoutP);
  args.dropoutSeed = problem.dropoutSeed;
  args.dropoutOffset = problem.dropoutOffset;
}

CudaReferenceArguments argumentsOf(const AttentionProblem &problem, const ForwardPointers &pointers) {
  CudaReferenceArguments args{};
  args.q = tensor(pointers.q, problem.q, problem.dtype);
  args.k = tensor(pointers.k, problem.k, problem.dtype);
  args.v = tensor(pointers.v, problem.v, problem.dtype);
  args.out = tensor(pointers.out, problem.out);
  args.lse = tensor(pointers.lse, problem.lse);
  args.glm = tensor(pointers.glm, problem.glm);
  args.mask = maskOf(problem.mask);
  args.batch = problem.batch;
  args.heads = problem.heads;
  args.headsK = problem.headsK;
  args.headDim = problem.headDim;
  args.headDimV = problem.headDimV;
  args.pairs = problem.pairs;
  args.seqlenQ = problem.seqlenQ;
  args.seqlenK = problem.seqlenK;
  args.totalQ = problem.varlen ? problem.totalQ : problem.seqlenQ;
  args.totalK = problem.varlen ? problem.totalK : problem.seqlenK;
  args.topLeft = problem.topLeft ? 1 : 0;
  args.scale = problem.scale;
  addFeatures(problem, pointers, args);
  return args;
}

} // namespace

CudaCode cuda::compileReference(unsigned sm) {
  const CudaSource source = {
      "CudaReference.cu", kCudaReferenceText, {{"CudaReferenceArguments.h", kCudaReferenceArgumentsText}}};
  return compileCuda(source, sm);
}

void cuda::referenceForward(const AttentionProblem &problem, const ForwardPointers &pointers, Stream stream) {
  if (problem.empty()) {
    return;
  }
  int64_t rows = 0;
  if (__builtin_mul_overflow(problem.batch, problem.heads, &rows) ||
      __builtin_mul_overflow(rows, problem.seqlenQ, &rows)) {
    throw Error(TW_INVALID_ARGUMENT, "q: batch, heads and seqlen_q make more than 2^63 rows", "q");
  }
  const DeviceInfo &device = cuda::device(problem.deviceIndex);
  const ContextScope context(device);
  const Function function = loadOn(device);
  CudaReferenceArguments args = argumentsOf(problem, pointers);
  void *parameters[] = {&args};
  check(driver().launchKernel(function, static_cast<unsigned>(std::min(rows, kMaxBlocks)), 1, 1,
                              kernels::kCudaReferenceThreads, 1, 1, 0, stream, parameters, nullptr),
        "cuLaunchKernel", device.ordinal, stream, kSymbol);
}

void cuda::forgetReferencesForTesting() {
  for (auto &slot : loaded) {
    slot.store(nullptr, std::memory_order_release);
  }
}
