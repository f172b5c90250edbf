// SPDX-License-Identifier: Apache-2.0
//
// Batches whose sequences have lengths of their own: cu_seqlens, max_seqlen, seqused_k.
#include "Checks.h"

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::runtime::checks;

namespace {

constexpr DimNames kBoundaryDims = {"(batch + 1,)", {"batch + 1", "", "", ""}};
constexpr DimNames kBatchDims = {"(batch,)", {"batch", "", "", ""}};

int32_t element(const TwTensor &tensor, int64_t index) {
  return static_cast<const int32_t *>(tensor.data)[index * tensor.strides[0]];
}

void checkBoundaries(const char *name, const TwTensor &tensor) {
  checkForm(name, tensor, 1, kBoundaryDims);
  checkDtype(name, tensor, TW_INT32);
  if (tensor.shape[0] < 1) {
    invalid(name, "shape is " + shapeText(tensor) + ", must be (batch + 1,): at least one number, 0");
  }
}

void checkMaxSeqlen(const char *name, int64_t value, bool varlen) {
  if (!varlen && value != 0) {
    invalid(name, "is " + std::to_string(value) + ", but cu_seqlens are not given: without them it must be 0");
  }
  if (value < 0 || value > kMaxExtent) {
    invalid(name, "is " + std::to_string(value) + ", must be in [0, " + std::to_string(kMaxExtent) + "]");
  }
}

void checkBoundaryValues(const char *name, const TwTensor &tensor, int64_t total, const char *totalName,
                         int64_t longest, const char *longestName) {
  auto entry = [&](int64_t index) {
    return "entry " + std::to_string(index) + " is " + std::to_string(element(tensor, index));
  };
  const int64_t last = tensor.shape[0] - 1;
  if (element(tensor, 0) != 0) {
    invalid(name, entry(0) + ", must be 0");
  }
  for (int64_t b = 0; b < last; ++b) {
    const int64_t length = int64_t{element(tensor, b + 1)} - element(tensor, b);
    if (length < 0) {
      invalid(name, entry(b + 1) + ", but the one before is " + std::to_string(element(tensor, b)) +
                        ": they must not decrease");
    }
    if (length > longest) {
      invalid(name, "sequence " + std::to_string(b) + " has " + std::to_string(length) +
                        " positions, must be at most " + longestName + ", " + std::to_string(longest));
    }
  }
  if (element(tensor, last) != total) {
    invalid(name, "the last " + entry(last) + ", must be " + totalName + ", " + std::to_string(total));
  }
}

bool onCpuWithData(const TwTensor &tensor) {
  return tensor.rank != 0 && tensor.device == TW_DEVICE_CPU && hasElements(tensor);
}

} // namespace

bool checks::checkVarlenForm(const TwForwardArgs &args, CallSizes &sizes) {
  const TwTensor &cuQ = args.cu_seqlens_q;
  const TwTensor &cuK = args.cu_seqlens_k;
  sizes.varlen = cuQ.rank != 0 || cuK.rank != 0;
  if (sizes.varlen) {
    if (cuQ.rank == 0) {
      invalid("cu_seqlens_q", "is not given, but cu_seqlens_k is: a varlen batch needs both");
    }
    if (cuK.rank == 0) {
      invalid("cu_seqlens_k", "is not given, but cu_seqlens_q is: a varlen batch needs both");
    }
    checkBoundaries("cu_seqlens_q", cuQ);
    checkBoundaries("cu_seqlens_k", cuK);
    checkExtent("cu_seqlens_k", cuK, 0, "batch + 1", cuQ.shape[0], "that of cu_seqlens_q");
    sizes.batch = cuQ.shape[0] - 1;
    sizes.seqlenQ = args.max_seqlen_q;
    sizes.seqlenK = args.max_seqlen_k;
  }
  checkMaxSeqlen("max_seqlen_q", args.max_seqlen_q, sizes.varlen);
  checkMaxSeqlen("max_seqlen_k", args.max_seqlen_k, sizes.varlen);
  return sizes.varlen;
}

void checks::checkSeqUsedForm(const TwForwardArgs &args, const CallSizes &sizes) {
  if (args.seqused_k.rank != 0) {
    checkForm("seqused_k", args.seqused_k, 1, kBatchDims);
    checkDtype("seqused_k", args.seqused_k, TW_INT32);
    checkExtent("seqused_k", args.seqused_k, 0, "batch", sizes.batch, whoseBatch(sizes));
  }
}

void checks::checkVarlenValues(const TwForwardArgs &args, const CallSizes &sizes) {
  if (onCpuWithData(args.cu_seqlens_q)) {
    checkBoundaryValues("cu_seqlens_q", args.cu_seqlens_q, sizes.totalQ, "total_q", sizes.seqlenQ, "max_seqlen_q");
  }
  if (onCpuWithData(args.cu_seqlens_k)) {
    checkBoundaryValues("cu_seqlens_k", args.cu_seqlens_k, sizes.totalK, "total_k", sizes.seqlenK, "max_seqlen_k");
  }
  if (!onCpuWithData(args.seqused_k)) {
    return;
  }
  for (int64_t b = 0; b < sizes.batch; ++b) {
    const int64_t length =
        sizes.varlen ? element(args.cu_seqlens_k, b + 1) - element(args.cu_seqlens_k, b) : sizes.seqlenK;
    const int64_t used = element(args.seqused_k, b);
    if (used < 0 || used > length) {
      invalid("seqused_k", "is " + std::to_string(used) + " for batch entry " + std::to_string(b) +
                               ", must be in [0, " + std::to_string(length) + "], the keys that it has");
    }
  }
}

KeyLengths::KeyLengths(const TwForwardArgs &args, const CallSizes &sizes, bool readable)
    : cuSeqlens_(readable && onCpuWithData(args.cu_seqlens_k) ? &args.cu_seqlens_k : nullptr),
      seqUsed_(readable && onCpuWithData(args.seqused_k) ? &args.seqused_k : nullptr), seqlenK_(sizes.seqlenK) {}

int64_t KeyLengths::at(int64_t batch) const {
  if (seqUsed_ != nullptr) {
    return element(*seqUsed_, batch);
  }
  if (cuSeqlens_ != nullptr) {
    return element(*cuSeqlens_, batch + 1) - element(*cuSeqlens_, batch);
  }
  return seqlenK_;
}
