// SPDX-License-Identifier: Apache-2.0
#include "ForwardCase.h"
#include <gtest/gtest.h>
#include "tilewright/kernels/Philox.h"
#include "tilewright/runtime/Compiler.h"
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <random>

using namespace tilewright;
using namespace tilewright::tests;
using kernels::ArgId;
using kernels::KernelKind;
using runtime::ElementType;

namespace {

constexpr unsigned char kPattern = 0x5a; // of memory that a kernel may write, until it does

void callProgram(const runtime::LoadedKernel &kernel, const std::vector<uint64_t> &slots, int64_t program) {
  // Scratch ends where it was said to end, and holds nothing useful.
  GuardedMemory scratch(kernel.scratchBytes, 0xff);
  kernel.entry(slots.data(), program, scratch.data());
}

} // namespace

std::vector<CpuLevel> tests::runnableLevels() {
  std::vector<CpuLevel> levels;
  for (const CpuLevelInfo &info : kCpuLevels) {
    if (hostCpuLevel() && info.level <= *hostCpuLevel()) {
      levels.push_back(info.level);
    }
  }
  return levels;
}

const runtime::LoadedKernel &tests::kernelFor(const runtime::KernelKey &key) {
  static auto &loaded = *new std::map<std::string, std::unique_ptr<runtime::LoadedKernel>>();
  std::unique_ptr<runtime::LoadedKernel> &kernel = loaded[toText(key)];
  if (!kernel) {
    kernel = runtime::loadArtifact(runtime::compileKernel(key));
  }
  return *kernel;
}

runtime::KernelKey tests::forwardKey(CpuLevel level, const kernels::Schedule &schedule, unsigned headDim,
                                     unsigned headDimV) {
  runtime::KernelKey key;
  key.kind = KernelKind::Forward;
  key.level = level;
  key.headDim = static_cast<uint16_t>(headDim);
  key.headDimV = static_cast<uint16_t>(headDimV);
  key.schedule = schedule;
  key.align.fill(attn::AlignClass::Bytes16); // normalize() narrows it to the element
  key.normalize();
  return key;
}

void GuardedTensor::allocate(std::array<int64_t, 4> newShape, std::array<unsigned, 4> order, int64_t step, int64_t gap,
                             unsigned char fill) {
  shape = newShape;
  int64_t stride = step;
  for (size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = stride;
    stride *= shape[order[i]];
    if (i + 1 == order.size()) {
      stride += gap;
    }
  }
  // To the last element, not to the last gap: the guard page stands behind it.
  int64_t elements = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    elements = shape[i] == 0 ? 0 : elements + (shape[i] - 1) * strides[i];
    if (elements == 0) {
      break;
    }
  }
  memory = std::make_unique<GuardedMemory>(static_cast<size_t>(elements) * runtime::elementBytes(type), fill);
}

double GuardedTensor::get(int64_t offset) const {
  switch (type) {
  case ElementType::F32:
    return memory->data<float>()[offset];
  case ElementType::F16:
    return kernels::halfToDouble(memory->data<uint16_t>()[offset]);
  case ElementType::BF16:
    return kernels::bfloat16ToDouble(memory->data<uint16_t>()[offset]);
  }
  return 0;
}

void GuardedTensor::set(int64_t offset, double value) {
  switch (type) {
  case ElementType::F32:
    memory->data<float>()[offset] = static_cast<float>(value);
    return;
  case ElementType::F16:
    memory->data<uint16_t>()[offset] = kernels::doubleToHalf(value);
    return;
  case ElementType::BF16:
    memory->data<uint16_t>()[offset] = kernels::doubleToBfloat16(value);
    return;
  }
}

kernels::ReferenceTensor GuardedTensor::reference() const {
  const kernels::ReferenceType types[] = {kernels::ReferenceType::F32, kernels::ReferenceType::F16,
                                          kernels::ReferenceType::BF16};
  return {memory->data(), types[static_cast<int>(type)], strides};
}

void ForwardCase::fillInput(GuardedTensor &tensor, unsigned salt) {
  std::mt19937 generator(seed * 7919 + salt);
  std::normal_distribution<double> normal(0.0, 1.0);
  // Everything NaN, then the elements: what lies between rows may not count.
  const size_t count = tensor.memory->bytes() / runtime::elementBytes(tensor.type);
  for (size_t i = 0; i < count; ++i) {
    tensor.set(static_cast<int64_t>(i), std::numeric_limits<double>::quiet_NaN());
  }
  for (int64_t a = 0; a < tensor.shape[0]; ++a) {
    for (int64_t b = 0; b < tensor.shape[1]; ++b) {
      for (int64_t c = 0; c < tensor.shape[2]; ++c) {
        for (int64_t d = 0; d < tensor.shape[3]; ++d) {
          tensor.set(tensor.offset(a, b, c, d), normal(generator));
        }
      }
    }
  }
}

void ForwardCase::prepare() {
  if (mayBeEven) {
    key.evenM = seqlenQ % key.schedule.blockM == 0;
    key.evenN = seqlenK % key.schedule.blockN == 0;
  }
  key.normalize();
  const std::array<unsigned, 4> order =
      headsOutside ? std::array<unsigned, 4>{0, 2, 1, 3} : std::array<unsigned, 4>{0, 1, 2, 3};
  auto make = [&](GuardedTensor &tensor, size_t which, int64_t seqlen, int64_t tensorHeads, int64_t dim) {
    tensor.type = key.dtype;
    const int64_t step = key.align[which] == attn::AlignClass::Strided ? 3 : 1;
    tensor.allocate({batch, seqlen, tensorHeads, dim}, order, step, /*gap=*/5, kPattern);
  };
  make(q, 0, seqlenQ, heads, key.headDim);
  make(k, 1, seqlenK, headsK, key.headDim);
  make(v, 2, seqlenK, headsK, key.headDimV);
  make(out, 3, seqlenQ, heads, key.headDimV);
  fillInput(q, 1);
  fillInput(k, 2);
  fillInput(v, 3);
  lse.type = ElementType::F32;
  lse.allocate({batch, heads, seqlenQ, 1}, {0, 1, 3, 2}, /*step=*/2, /*gap=*/1, kPattern);
  if (key.probs) {
    probs.type = key.dtype;
    probs.allocate({batch, heads, seqlenQ, seqlenK}, {0, 1, 2, 3}, /*step=*/1, /*gap=*/3, kPattern);
  }

  std::mt19937 generator(seed * 104729);
  auto position = [&] { return static_cast<int32_t>(generator() % static_cast<uint64_t>(seqlenK + 1)); };
  if (key.mask == attn::MaskKind::GlmBreak && glm.empty()) {
    for (int64_t b = 0; b < batch; ++b) {
      glm.push_back(position());
    }
  }
  if (key.mask == attn::MaskKind::GlmPacked && glm.empty() && pairs != 0) {
    glm.assign(static_cast<size_t>(batch * 2 * pairs), -1);
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t n = 0; n + 1 < pairs; ++n) { // the last pair stays unused
        int32_t start = position(), end = position();
        glm[static_cast<size_t>((b * 2 + 0) * pairs + n)] = std::min(start, end);
        glm[static_cast<size_t>((b * 2 + 1) * pairs + n)] = std::max(start, end);
      }
    }
  }
}

std::vector<uint64_t> ForwardCase::slots(KernelKind kind) const {
  std::vector<uint64_t> values;
  auto tensor = [&](const void *base, std::initializer_list<int64_t> strides) {
    values.push_back(reinterpret_cast<uintptr_t>(base));
    for (int64_t stride : strides) {
      values.push_back(static_cast<uint64_t>(stride));
    }
  };
  auto rows = [&](const GuardedTensor &t) {
    tensor(t.memory->data(), {t.strides[0], t.strides[1], t.strides[2], t.strides[3]});
  };
  for (ArgId id : kernels::kernelArguments(kind, key.features())) {
    switch (id) {
    case ArgId::Q:
      rows(q);
      break;
    case ArgId::K:
      tensor(keysElsewhere ? keysElsewhere : k.memory->data(),
             {k.strides[0], k.strides[1], k.strides[2], k.strides[3]});
      break;
    case ArgId::V:
      rows(v);
      break;
    case ArgId::Out:
      rows(out);
      break;
    case ArgId::Lse:
      tensor(writeLse ? lse.memory->data() : nullptr, {lse.strides[0], lse.strides[1], lse.strides[2]});
      break;
    case ArgId::GlmBreak:
      tensor(glm.data(), {1});
      break;
    case ArgId::RowLimits:
      tensor(rowLimits.data(), {seqlenQ, 1});
      break;
    case ArgId::GlmPairs:
      tensor(glm.data(), {2 * pairs, pairs, 1});
      break;
    case ArgId::Scale:
      values.push_back(std::bit_cast<uint32_t>(scale) | uint64_t{0xdeadbeef} << 32); // the upper half is not read
      break;
    case ArgId::SeqlenQ:
      values.push_back(static_cast<uint64_t>(seqlenQ));
      break;
    case ArgId::SeqlenK:
      values.push_back(static_cast<uint64_t>(seqlenK));
      break;
    case ArgId::Heads:
      values.push_back(static_cast<uint64_t>(heads));
      break;
    case ArgId::Batch:
      values.push_back(static_cast<uint64_t>(batch));
      break;
    case ArgId::HeadsPerKv:
      values.push_back(static_cast<uint64_t>(heads / headsK));
      break;
    case ArgId::CausalOffset:
      values.push_back(static_cast<uint64_t>(topLeft ? 0 : seqlenK - seqlenQ));
      break;
    case ArgId::WriteLse:
      values.push_back(writeLse ? 1 : 0);
      break;
    case ArgId::Pairs:
      values.push_back(static_cast<uint64_t>(pairs));
      break;
    case ArgId::RngState:
      tensor(rngState ? dropoutNumbers.data() : nullptr, {1});
      break;
    case ArgId::DropoutSeed: // nobody reads these two where the state is given
      values.push_back(rngState ? 77 : static_cast<uint64_t>(dropoutNumbers[0]));
      break;
    case ArgId::DropoutOffset:
      values.push_back(rngState ? 77 : static_cast<uint64_t>(dropoutNumbers[1]));
      break;
    case ArgId::RngGiven:
      values.push_back(rngState ? 1 : 0);
      break;
    case ArgId::DropoutThreshold:
      values.push_back(kernels::dropoutThreshold(dropoutP));
      break;
    case ArgId::DropoutScale:
      values.push_back(std::bit_cast<uint32_t>(
          static_cast<float>(kernels::dropoutScale(kernels::dropoutThreshold(dropoutP)))));
      break;
    case ArgId::Probs:
      rows(probs);
      break;
    default: // an operand of another feature
      ADD_FAILURE() << "a case has no " << kernels::argInfo(id).name;
      break;
    }
  }
  return values;
}

int64_t ForwardCase::programs() const {
  return batch * heads * ((seqlenQ + key.schedule.blockM - 1) / key.schedule.blockM);
}

void ForwardCase::runProgram(int64_t program) {
  callProgram(kernelFor(key), slots(KernelKind::Forward), program);
}

void ForwardCase::run(bool backwards) {
  if (key.mask == attn::MaskKind::GlmPacked) {
    rowLimits.assign(static_cast<size_t>(batch * seqlenQ), -77);
    runtime::KernelKey limits = key;
    limits.kind = KernelKind::RowLimits;
    limits.normalize();
    const std::vector<uint64_t> arguments = slots(KernelKind::RowLimits);
    for (int64_t i = 0; i < programs() / heads; ++i) {
      callProgram(kernelFor(limits), arguments, i);
    }
  }
  for (int64_t i = 0; i < programs(); ++i) {
    runProgram(backwards ? programs() - 1 - i : i);
  }
}

/// Every byte of an output that belongs to no element still holds the pattern.
std::string ForwardCase::untouched(const GuardedTensor &tensor, const char *name) const {
  const size_t bytes = runtime::elementBytes(tensor.type);
  std::vector<bool> element(tensor.memory->bytes() / bytes, false);
  for (int64_t a = 0; a < tensor.shape[0]; ++a) {
    for (int64_t b = 0; b < tensor.shape[1]; ++b) {
      for (int64_t c = 0; c < tensor.shape[2]; ++c) {
        for (int64_t d = 0; d < tensor.shape[3]; ++d) {
          element[static_cast<size_t>(tensor.offset(a, b, c, d))] = true;
        }
      }
    }
  }
  for (size_t i = 0; i < tensor.memory->bytes(); ++i) {
    if (!element[i / bytes] && tensor.memory->data<unsigned char>()[i] != kPattern) {
      return std::string(name) + ": byte " + std::to_string(i) + ", which belongs to no element, was written";
    }
  }
  return {};
}

std::string ForwardCase::mismatch() const {
  kernels::ReferenceArgs args;
  args.batch = batch;
  args.seqlenQ = seqlenQ;
  args.seqlenK = seqlenK;
  args.heads = heads;
  args.headsK = headsK;
  args.headDim = key.headDim;
  args.headDimV = key.headDimV;
  args.q = q.reference();
  args.k = k.reference();
  args.v = v.reference();
  std::vector<double> wantedOut(static_cast<size_t>(batch * seqlenQ * heads * key.headDimV));
  std::vector<double> wantedLse(static_cast<size_t>(batch * heads * seqlenQ));
  args.out = {wantedOut.data(),
              kernels::ReferenceType::F64,
              {seqlenQ * heads * key.headDimV, heads * key.headDimV, key.headDimV, 1}};
  args.lse = {wantedLse.data(), kernels::ReferenceType::F64, {heads * seqlenQ, seqlenQ, 1, 0}};
  args.writeLse = true;
  args.mask = static_cast<kernels::ReferenceMask>(key.mask);
  args.topLeft = topLeft;
  args.scale = scale;
  args.glm = glm.data();
  if (key.mask == attn::MaskKind::GlmBreak) {
    args.glmStrides = {1, 0, 0};
  } else if (key.mask == attn::MaskKind::GlmPacked) {
    args.glmPairs = pairs;
    args.glmStrides = {2 * pairs, pairs, 1};
  }
  std::vector<double> wantedProbs;
  if (key.dropout) {
    args.dropoutP = dropoutP;
    args.dropoutSeed = static_cast<uint64_t>(dropoutNumbers[0]);
    args.dropoutOffset = static_cast<uint64_t>(dropoutNumbers[1]);
  }
  if (key.probs) {
    wantedProbs.resize(static_cast<size_t>(batch * heads * seqlenQ * seqlenK));
    args.writeProbs = true;
    args.probs = {wantedProbs.data(),
                  kernels::ReferenceType::F64,
                  {heads * seqlenQ * seqlenK, seqlenQ * seqlenK, seqlenK, 1}};
  }
  args.threads = 1;
  kernels::referenceForward(args);

  // float32 noise of a few hundred additions, and half a unit in the last place of the output's type.
  const double noise = 1e-5;
  const double rounding = key.dtype == ElementType::F32 ? 0x1p-22 : key.dtype == ElementType::F16 ? 0x1p-11 : 0x1p-8;
  auto differs = [](double got, double wanted, double tolerance) {
    if (std::isnan(wanted) || std::isinf(wanted)) {
      return !(std::isnan(wanted) ? std::isnan(got) : got == wanted);
    }
    return !(std::abs(got - wanted) <= tolerance);
  };
  auto where = [&](const char *name, int64_t b, int64_t i, int64_t h, int64_t d, double got, double wanted) {
    return std::string(name) + "(batch " + std::to_string(b) + ", row " + std::to_string(i) + ", head " +
           std::to_string(h) + ", " + std::to_string(d) + ") is " + std::to_string(got) + ", should be " +
           std::to_string(wanted);
  };
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t i = 0; i < seqlenQ; ++i) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t d = 0; d < key.headDimV; ++d) {
          double got = out.get(out.offset(b, i, h, d));
          double wanted = wantedOut[static_cast<size_t>(((b * seqlenQ + i) * heads + h) * key.headDimV + d)];
          if (differs(got, wanted, noise + rounding * std::abs(wanted))) {
            return where("out", b, i, h, d, got, wanted);
          }
        }
        if (writeLse) {
          double got = lse.get(lse.offset(b, h, i, 0));
          double wanted = wantedLse[static_cast<size_t>((b * heads + h) * seqlenQ + i)];
          if (differs(got, wanted, noise + 0x1p-21 * std::abs(wanted))) {
            return where("lse", b, i, h, 0, got, wanted);
          }
        }
        for (int64_t j = 0; key.probs && j < seqlenK; ++j) {
          double got = probs.get(probs.offset(b, h, i, j));
          double wanted = wantedProbs[static_cast<size_t>(((b * heads + h) * seqlenQ + i) * seqlenK + j)];
          if (differs(got, wanted, noise + rounding * std::abs(wanted))) {
            return where("probs", b, i, h, j, got, wanted);
          }
        }
      }
    }
  }
  if (!writeLse) {
    for (size_t i = 0; i < lse.memory->bytes(); ++i) {
      if (lse.memory->data<unsigned char>()[i] != kPattern) {
        return "lse was written although write_lse is 0";
      }
    }
  }
  std::string outside = untouched(out, "out");
  if (outside.empty() && key.probs) {
    outside = untouched(probs, "probs");
  }
  return outside.empty() ? untouched(lse, "lse") : outside;
}
