// SPDX-License-Identifier: Apache-2.0
//
// tw_reference_forward: the oracle behind the same argument checks as the kernels.
#include "LastError.h"
#include "tilewright/kernels/ReferenceAttention.h"
#include "tilewright/runtime/AttentionProblem.h"

using namespace tilewright;
using namespace tilewright::runtime;
using kernels::ReferenceArgs;
using kernels::ReferenceMask;
using kernels::ReferenceTable;
using kernels::ReferenceTensor;
using kernels::ReferenceType;

namespace {

ReferenceType referenceType(TwDType dtype) {
  switch (dtype) {
  case TW_FLOAT32:
    return ReferenceType::F32;
  case TW_FLOAT16:
    return ReferenceType::F16;
  case TW_BFLOAT16:
    return ReferenceType::BF16;
  case TW_FLOAT64:
    return ReferenceType::F64;
  case TW_BOOL:
    return ReferenceType::Bool;
  default:
    throw Error(TW_INTERNAL_ERROR, "the reference was given an element type that argument checking lets nobody pass");
  }
}

ReferenceMask referenceMask(attn::MaskKind mask) {
  switch (mask) {
  case attn::MaskKind::None:
    return ReferenceMask::None;
  case attn::MaskKind::Causal:
    return ReferenceMask::Causal;
  case attn::MaskKind::GlmBreak:
    return ReferenceMask::GlmBreak;
  case attn::MaskKind::GlmPacked:
    return ReferenceMask::GlmPacked;
  }
  throw Error(TW_INTERNAL_ERROR, "the reference was given a mask kind that does not exist");
}

ReferenceTensor tensor(const void *data, TwDType dtype, const std::array<int64_t, 4> &strides) {
  return {const_cast<void *>(data), referenceType(dtype), strides};
}

ReferenceTensor scoreTensor(const void *data, const ScoreTensor &score) {
  return score.given ? tensor(data, score.dtype, score.strides) : ReferenceTensor{};
}

template <typename T> ReferenceTable<T> table(const T *data, const TableTensor &tensor) {
  return {tensor.given, data, tensor.strides};
}

void addFeatures(const AttentionProblem &problem, const ForwardPointers &pointers, ReferenceArgs &reference) {
  reference.hasBias = problem.bias.given;
  reference.bias = scoreTensor(pointers.bias, problem.bias);
  reference.hasAttnMask = problem.attnMask.given;
  reference.attnMask = scoreTensor(pointers.attnMask, problem.attnMask);
  reference.keyPadding = table(pointers.keyPadding, problem.keyPadding);
  reference.alibi = table(pointers.alibi, problem.alibi);
  reference.documents = table(pointers.documents, problem.documents);
  reference.windowLeft = problem.windowLeft;
  reference.windowRight = problem.windowRight;
  reference.softcap = problem.softcap;
  reference.dropoutP = problem.dropoutP;
  reference.dropoutSeed = problem.dropoutSeed;
  reference.dropoutOffset = problem.dropoutOffset;
  if (problem.rngState.given) {
    reference.dropoutSeed = static_cast<uint64_t>(pointers.rngState[0]);
    reference.dropoutOffset = static_cast<uint64_t>(pointers.rngState[problem.rngState.strides[0]]);
  }
  reference.writeProbs = problem.probs.given;
  reference.probs = scoreTensor(pointers.probs, problem.probs);
  reference.cuSeqlensQ = table(pointers.cuSeqlensQ, problem.cuSeqlensQ);
  reference.cuSeqlensK = table(pointers.cuSeqlensK, problem.cuSeqlensK);
  reference.seqUsedK = table(pointers.seqUsedK, problem.seqUsedK);
}

} // namespace

extern "C" TwStatus tw_reference_forward(const TwForwardArgs *args) {
  return capi::guarded([&] {
    ForwardPointers pointers;
    const AttentionProblem problem =
        checkForward(capi::required(args, "args"), Purpose::Reference, &pointers);
    if (problem.empty()) {
      return;
    }
    ReferenceArgs reference;
    reference.batch = problem.batch;
    reference.seqlenQ = problem.seqlenQ;
    reference.seqlenK = problem.seqlenK;
    reference.heads = problem.heads;
    reference.headsK = problem.headsK;
    reference.headDim = problem.headDim;
    reference.headDimV = problem.headDimV;
    reference.q = tensor(pointers.q, problem.dtype, problem.q);
    reference.k = tensor(pointers.k, problem.dtype, problem.k);
    reference.v = tensor(pointers.v, problem.dtype, problem.v);
    reference.out = tensor(pointers.out, problem.outDtype, problem.out);
    reference.writeLse = problem.writeLse;
    if (problem.writeLse) {
      reference.lse = tensor(pointers.lse, problem.lseDtype, {problem.lse[0], problem.lse[1], problem.lse[2], 0});
    }
    reference.mask = referenceMask(problem.mask);
    reference.topLeft = problem.topLeft;
    reference.scale = problem.scale;
    reference.glm = pointers.glm;
    reference.glmPairs = problem.pairs;
    reference.glmStrides = problem.glm;
    addFeatures(problem, pointers, reference);
    kernels::referenceForward(reference);
  });
}
