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
    kernels::referenceForward(reference);
  });
}
