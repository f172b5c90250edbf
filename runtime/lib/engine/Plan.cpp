// SPDX-License-Identifier: Apache-2.0
//
// Problem to plan: which kernels, how many programs, and which argument goes into which slot.
#include "tilewright/runtime/Plan.h"
#include "tilewright/kernels/BlockRanges.h"
#include "tilewright/kernels/Philox.h"
#include "tilewright/runtime/Error.h"
#include "tilewright/runtime/SupportMatrix.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>

using namespace tilewright;
using namespace tilewright::runtime;
using kernels::ArgId;
using kernels::KernelKind;

namespace {

int64_t product(int64_t a, int64_t b, const char *what) {
  int64_t result;
  if (__builtin_mul_overflow(a, b, &result)) {
    throw Error(TW_INVALID_ARGUMENT,
                "q: " + std::string(what) + " for " + std::to_string(a) + " times " + std::to_string(b) +
                    " does not fit in 64 bits",
                "q");
  }
  return result;
}

void checkGrid(int64_t programs) {
  if (programs > kMaxCudaPrograms) {
    throw Error(TW_INVALID_ARGUMENT,
                "q: batch, heads and seqlen_q make " + std::to_string(programs) +
                    " programs, but a CUDA launch has at most " + std::to_string(kMaxCudaPrograms),
                "q");
  }
}

attn::AlignClass alignClass(const AttentionProblem &problem, size_t tensor) {
  if (!problem.contiguous[tensor]) {
    return attn::AlignClass::Strided;
  }
  // On a CPU normalize() narrows this to the element's size.
  return problem.device == TW_DEVICE_CUDA ? static_cast<attn::AlignClass>(problem.rowAlign[tensor])
                                          : attn::AlignClass::Bytes16;
}

/// Bytes of shared memory a score, of those biases and masks that are copied there.
unsigned scoreBytes(const KernelKey &key) {
  return kernels::sharedScoreBytes(key.bias, key.biasAlign) +
         kernels::sharedScoreBytes(key.attnMask, key.attnMaskAlign);
}

/// The table's schedules fit; one that a caller chose may not. For PTX the GPU is not known here: loading checks.
void checkSharedMemory(const KernelKey &key) {
  if (key.sm == 0 || key.sm == kPtxOnly) {
    return;
  }
  const int64_t need = kernels::forwardSharedBytes(key.schedule, key.headDim, key.headDimV, scoreBytes(key));
  if (need > gpuSharedLimit(key.sm)) {
    throw Error(TW_UNSUPPORTED,
                "schedule: " + kernels::toText(key.schedule) + " needs " + std::to_string(need) +
                    " bytes of shared memory with head dims " + std::to_string(key.headDim) + " and " +
                    std::to_string(key.headDimV) + ", but a block of sm_" + std::to_string(key.sm) + " has " +
                    std::to_string(gpuSharedLimit(key.sm)) + ": choose smaller blocks",
                "schedule");
  }
}

/// It has a row a query: a stride leads from one to the next.
bool isMatrix(const ScoreTensor &tensor) { return tensor.given && tensor.strides[2] != 0; }

/// Which kind of tensor it is: of q's type, float32 or bool; one row for all queries, or one a query.
attn::ScoreOperand scoreOperand(const ScoreTensor &tensor) {
  if (!tensor.given) {
    return attn::ScoreOperand::None;
  }
  const bool vector = !isMatrix(tensor);
  switch (tensor.dtype) {
  case TW_BOOL:
    return vector ? attn::ScoreOperand::VectorBool : attn::ScoreOperand::MatrixBool;
  case TW_FLOAT32:
    return vector ? attn::ScoreOperand::VectorF32 : attn::ScoreOperand::MatrixF32;
  default:
    return vector ? attn::ScoreOperand::Vector : attn::ScoreOperand::Matrix;
  }
}

/// The forward kernel's key but for its schedule and what follows from that.
KernelKey problemKey(const AttentionProblem &problem, const PlanOptions &options) {
  std::optional<ElementType> dtype = supportedElementType(problem.dtype, problem.device);
  if (!dtype) {
    throw Error(TW_INTERNAL_ERROR, "a plan was asked for an element type that no kernel has");
  }
  KernelKey key;
  key.kind = KernelKind::Forward;
  if (problem.device == TW_DEVICE_CUDA) {
    if (options.sm == 0) {
      throw Error(TW_INTERNAL_ERROR, "a CUDA plan was asked for without an SM");
    }
    key.sm = options.sm;
  } else {
    key.level = options.level;
  }
  key.dtype = *dtype;
  key.mask = problem.kernelMask();
  key.windowLeft = problem.windowLeft >= 0;
  key.headDim = static_cast<uint16_t>(problem.headDim);
  key.headDimV = static_cast<uint16_t>(problem.headDimV);
  for (size_t i = 0; i < key.align.size(); ++i) {
    key.align[i] = alignClass(problem, i);
  }
  key.bias = scoreOperand(problem.bias);
  key.biasAlign = problem.bias.align;
  key.attnMask = scoreOperand(problem.attnMask);
  key.attnMaskAlign = problem.attnMask.align;
  key.alibi = problem.alibi.given;
  key.documents = problem.documents.given;
  key.keyPadding = problem.keyPadding.given;
  key.keyPaddingAlign = problem.keyPadding.strides[1] == 1 ? attn::AlignClass::Bytes2 : attn::AlignClass::Strided;
  key.varlen = problem.varlen;
  key.seqUsedK = problem.seqUsedK.given;
  key.dropout = problem.dropoutP != 0.0;
  key.probs = problem.probs.given;
  key.softcap = problem.softcap != 0.0;
  return key;
}

/// TMA copies what a tensor map describes: strides that are multiples of 16 bytes, above 0 and below 2^40.
bool fitsTensorMap(const std::array<int64_t, 4> &strides, std::array<int64_t, 3> extents) {
  for (size_t i = 0; i < extents.size(); ++i) {
    if (extents[i] > 1 && (strides[i] <= 0 || strides[i] % 8 != 0 || strides[i] >= int64_t{1} << 39)) {
      return false;
    }
  }
  return true;
}

/// A forward kernel's schedule, and, where the SM has the sm_90a family but the schedule is not of it, why.
struct ScheduleChoice {
  kernels::Schedule schedule;
  const char *whyNotSm90a = nullptr;
  const kernels::TableRow *row = nullptr; ///< null: the schedule that options ask for
};

/// Null if the sm_90a family serves a problem whose key is complete but for its schedule; else what stands in the way.
const char *obstacle(const AttentionProblem &problem, const PlanOptions &options, const KernelKey &key) {
  if (!options.sm90a) {
    return "cuda_target asks for sm_90, or the driver cannot encode tensor maps";
  }
  if (const char *reason = whyNotSm90a(key)) {
    return reason;
  }
  if (visibleKeys(problem) == 0) {
    return "no row sees a key";
  }
  // Keys that no row sees may be NaN, so a map of the values must end before them.
  if (problem.glmMask() && visibleKeys(problem) != problem.seqlenK) {
    return "its tensor maps end where the last row's sight does, which with this GLM mask only the device knows: "
           "causal_align top_left and seqlen_q < seqlen_k";
  }
  if (!fitsTensorMap(problem.q, {problem.batch, problem.seqlenQ, problem.heads})) {
    return "strides of q must be above 0, and below 2^40 bytes";
  }
  if (!fitsTensorMap(problem.k, {problem.batch, problem.seqlenK, problem.headsK})) {
    return "strides of k must be above 0, and below 2^40 bytes";
  }
  if (!fitsTensorMap(problem.v, {problem.batch, problem.seqlenK, problem.headsK})) {
    return "strides of v must be above 0, and below 2^40 bytes";
  }
  if (options.schedule && options.schedule->warps != 0 && options.schedule->groups == 0) {
    return "the engine's schedule is of the family sm_80";
  }
  return nullptr;
}

/// How many keys a row may see.
int64_t keysOfRow(const AttentionProblem &problem) {
  if (problem.windowLeft < 0 || problem.kernelMask() != attn::MaskKind::Causal) {
    return problem.seqlenK;
  }
  return std::min(problem.seqlenK, problem.windowLeft + 1 + problem.rightSide());
}

ScheduleChoice chooseSchedule(const AttentionProblem &problem, const PlanOptions &options, const KernelKey &key) {
  const bool gpu = problem.device == TW_DEVICE_CUDA;
  ScheduleChoice choice;
  if (gpu && key.sm == kSm90aSm) {
    choice.whyNotSm90a = obstacle(problem, options, key);
    if (choice.whyNotSm90a == nullptr) {
      std::optional<kernels::Schedule> schedule = options.schedule;
      if (!schedule || schedule->groups == 0) {
        schedule = kernels::chooseSm90aSchedule(key.headDim, key.headDimV, key.mask != attn::MaskKind::None,
                                                problem.seqlenQ, &choice.row);
        if (schedule && !options.persistent) {
          schedule->persistent = 0;
        }
      }
      if (schedule) {
        choice.schedule = *schedule;
        return choice;
      }
      choice.whyNotSm90a = "its schedule table has no row for these head dims";
    }
  }
  if (options.schedule && (options.schedule->warps != 0) == gpu && options.schedule->groups == 0) {
    choice.schedule = *options.schedule;
  } else if (gpu) {
    // Smaller blocks pay where rows see unequal numbers of keys, and where random numbers, a hyperbolic tangent or a
    // second pass for probabilities take registers; not for padding, which ends all rows alike.
    const bool masked = problem.mask != attn::MaskKind::None || problem.window() || problem.documents.given ||
                        problem.dropoutP != 0.0 || problem.softcap != 0.0 || problem.probs.given;
    const bool plainScores = !key.alibi && !key.softcap && !key.dropout && !key.probs &&
                             key.bias == attn::ScoreOperand::None && key.attnMask == attn::ScoreOperand::None;
    const bool wholeSequences = plainScores && !key.windowLeft && !key.varlen && !key.seqUsedK;
    const bool causal = key.mask != attn::MaskKind::None, documents = problem.documents.given;
    const kernels::GpuCall call{.headDim = static_cast<unsigned>(problem.headDim),
                                .headDimV = static_cast<unsigned>(problem.headDimV),
                                .masked = masked,
                                .matrix = isMatrix(problem.bias) || isMatrix(problem.attnMask),
                                .scoreBytes = scoreBytes(key),
                                .plainScores = plainScores,
                                .longRows = wholeSequences && !documents && (causal || key.keyPadding),
                                .documents = wholeSequences && documents,
                                .causal = causal,
                                .rowKeys = keysOfRow(problem)};
    choice.schedule = kernels::chooseGpuSchedule(options.sm, call, &choice.row);
  } else {
    choice.schedule = kernels::chooseSchedule(options.level, static_cast<unsigned>(problem.headDim),
                                              static_cast<unsigned>(problem.headDimV), problem.seqlenQ, &choice.row);
  }
  return choice;
}

/// And what `plan` says of its schedule.
KernelKey forwardKey(const AttentionProblem &problem, const PlanOptions &options, Plan &plan) {
  KernelKey key = problemKey(problem, options);
  const ScheduleChoice choice = chooseSchedule(problem, options, key);
  key.schedule = choice.schedule;
  key.schedule.bulkStores = key.schedule.bulkStores &&
                            fitsTensorMap(problem.out, {problem.batch, problem.seqlenQ, problem.heads});
  plan.whyNotSm90a = choice.whyNotSm90a;
  plan.scheduleRow = choice.row;
  key.evenM = problem.seqlenQ % key.schedule.blockM == 0;
  key.evenN = problem.seqlenK % key.schedule.blockN == 0;
  key.normalize();
  checkSharedMemory(key);
  return key;
}

/// The key of a kernel that prepares a mask for a forward one.
KernelKey preparationKey(const KernelKey &forward, KernelKind kind, const AttentionProblem &problem) {
  KernelKey key = forward;
  key.kind = kind;
  key.documents = problem.documents.given;
  key.normalize();
  key.evenM = !key.varlen && problem.seqlenQ % key.schedule.blockM == 0; // its blocks may be others
  return key;
}

/// Numbers of the row bounds' table for each query row: where its keys begin and end, and, of padding, its holes.
int64_t boundsOfRow(const AttentionProblem &problem) { return problem.keyPadding.given ? 4 : 2; }

/// Bytes of `rows` numbers a query row, rounded up to what the next table needs.
size_t tableBytes(const AttentionProblem &problem, int64_t rows) {
  const char *what = "the size of a mask's table";
  const int64_t entries = product(product(problem.batch, problem.seqlenQ, what), rows, what);
  const auto bytes = static_cast<size_t>(product(entries, sizeof(int32_t), what));
  return (bytes + kWorkspaceAlign - 1) / kWorkspaceAlign * kWorkspaceAlign;
}

/// Writes argument slots one after the other.
class SlotWriter {
public:
  explicit SlotWriter(Step &step) : step_(step) { step_.slotCount = 0; }

  void put(uint64_t value) {
    if (step_.slotCount == kMaxSlots) {
      throw Error(TW_INTERNAL_ERROR, "a kernel takes more than " + std::to_string(kMaxSlots) + " argument slots");
    }
    step_.slots[step_.slotCount++] = value;
  }
  void integer(int64_t value) { put(static_cast<uint64_t>(value)); }
  void float32(double value) { put(std::bit_cast<uint32_t>(static_cast<float>(value))); }
  void tensor(const void *base, std::span<const int64_t> strides) {
    put(reinterpret_cast<uintptr_t>(base));
    for (int64_t stride : strides) {
      integer(stride);
    }
  }

private:
  Step &step_;
};

void putArgument(SlotWriter &slots, ArgId id, const AttentionProblem &problem, const ForwardPointers &pointers,
                 void *rowLimits, void *rowBounds) {
  // Where entries have lengths of their own, kernels add their difference.
  const int64_t offset = problem.sameLengths() ? problem.causalOffset() : 0;
  switch (id) {
  case ArgId::Q:
    return slots.tensor(pointers.q, problem.q);
  case ArgId::K:
    return slots.tensor(pointers.k, problem.k);
  case ArgId::V:
    return slots.tensor(pointers.v, problem.v);
  case ArgId::Out:
    return slots.tensor(pointers.out, problem.out);
  case ArgId::Lse:
    return slots.tensor(pointers.lse, problem.lse);
  case ArgId::GlmBreak:
    return slots.tensor(pointers.glm, std::span(problem.glm).first(1));
  case ArgId::RowLimits:
    return slots.tensor(rowLimits, std::array<int64_t, 2>{problem.seqlenQ, 1});
  case ArgId::GlmPairs:
    return slots.tensor(pointers.glm, problem.glm);
  case ArgId::Scale:
    return slots.float32(problem.scale);
  case ArgId::SeqlenQ:
    return slots.integer(problem.seqlenQ);
  case ArgId::SeqlenK:
    return slots.integer(problem.seqlenK);
  case ArgId::Heads:
    return slots.integer(problem.heads);
  case ArgId::Batch:
    return slots.integer(problem.batch);
  case ArgId::HeadsPerKv:
    return slots.integer(problem.heads / problem.headsK);
  case ArgId::CausalOffset:
    return slots.integer(offset + problem.rightSide());
  case ArgId::WindowOffset:
    return slots.integer(offset - problem.windowLeft);
  case ArgId::WriteLse:
    return slots.integer(problem.writeLse ? 1 : 0);
  case ArgId::Pairs:
    return slots.integer(problem.pairs);
  case ArgId::Bias:
    return slots.tensor(pointers.bias, problem.bias.strides);
  case ArgId::AttnMask:
    return slots.tensor(pointers.attnMask, problem.attnMask.strides);
  case ArgId::AlibiSlopes:
    return slots.tensor(pointers.alibi, problem.alibi.strides);
  case ArgId::Softcap:
    return slots.float32(problem.softcap);
  case ArgId::PositionOffset:
    return slots.integer(offset);
  case ArgId::RowBounds:
    return slots.tensor(rowBounds, std::array<int64_t, 3>{boundsOfRow(problem) * problem.seqlenQ, problem.seqlenQ, 1});
  case ArgId::Documents:
    return slots.tensor(pointers.documents, problem.documents.strides);
  case ArgId::KeyPadding:
    return slots.tensor(pointers.keyPadding, problem.keyPadding.strides);
  case ArgId::CuSeqlensQ:
    return slots.tensor(pointers.cuSeqlensQ, std::span(problem.cuSeqlensQ.strides).first(1));
  case ArgId::CuSeqlensK:
    return slots.tensor(pointers.cuSeqlensK, std::span(problem.cuSeqlensK.strides).first(1));
  case ArgId::SeqUsedK:
    return slots.tensor(pointers.seqUsedK, std::span(problem.seqUsedK.strides).first(1));
  case ArgId::BottomRight:
    return slots.integer(problem.topLeft ? 0 : 1);
  case ArgId::RngState:
    return slots.tensor(pointers.rngState, std::span(problem.rngState.strides).first(1));
  case ArgId::DropoutSeed:
    return slots.put(problem.dropoutSeed);
  case ArgId::DropoutOffset:
    return slots.put(problem.dropoutOffset);
  case ArgId::RngGiven:
    return slots.integer(problem.rngState.given ? 1 : 0);
  case ArgId::DropoutThreshold:
    return slots.integer(kernels::dropoutThreshold(problem.dropoutP));
  case ArgId::DropoutScale:
    return slots.float32(kernels::dropoutScale(kernels::dropoutThreshold(problem.dropoutP)));
  case ArgId::Probs:
    return slots.tensor(pointers.probs, problem.probs.strides);
  }
  throw Error(TW_INTERNAL_ERROR, "a kernel argument has no value");
}

} // namespace

int64_t runtime::visibleKeys(const AttentionProblem &problem) {
  if (problem.kernelMask() == attn::MaskKind::None) {
    return problem.seqlenK;
  }
  return std::clamp<int64_t>(problem.seqlenQ + problem.limitOffset(), 0, problem.seqlenK);
}

kernels::Schedule runtime::forwardSchedule(const AttentionProblem &problem, const PlanOptions &options) {
  return chooseSchedule(problem, options, problemKey(problem, options)).schedule;
}

Plan runtime::makePlan(const AttentionProblem &problem, const PlanOptions &options) {
  Plan plan;
  if (problem.empty()) {
    return plan;
  }
  const KernelKey key = forwardKey(problem, options, plan);
  const int64_t rowBlocks = kernels::ceilDiv(problem.seqlenQ, key.schedule.blockM);
  const int64_t batchRowBlocks = product(problem.batch, rowBlocks, "the number of programs");
  if (problem.mask == attn::MaskKind::GlmPacked) {
    Step &limits = plan.steps[plan.stepCount++];
    limits.key = preparationKey(key, KernelKind::RowLimits, problem);
    limits.programs = batchRowBlocks;
    plan.workspaceBytes = tableBytes(problem, 1);
  }
  if (key.rowBounds) {
    Step &bounds = plan.steps[plan.stepCount++];
    bounds.key = preparationKey(key, KernelKind::RowBounds, problem);
    bounds.programs = product(problem.batch, kernels::ceilDiv(problem.seqlenQ, bounds.key.schedule.blockM),
                              "the number of programs");
    if (bounds.key.sm != 0) {
      checkGrid(bounds.programs);
    }
    plan.rowBoundsAt = plan.workspaceBytes;
    plan.workspaceBytes += tableBytes(problem, boundsOfRow(problem));
  }
  Step &forward = plan.steps[plan.stepCount++];
  forward.key = key;
  forward.programs = product(batchRowBlocks, problem.heads, "the number of programs");
  if (key.sm != 0) {
    checkGrid(forward.programs); // row limits have no more, row bounds were looked at
  }
  return plan;
}

void runtime::bindPlan(Plan &plan, const AttentionProblem &problem, const ForwardPointers &pointers, void *workspace) {
  void *rowBounds = workspace == nullptr ? nullptr : static_cast<char *>(workspace) + plan.rowBoundsAt;
  for (Step &step : plan.list()) {
    SlotWriter slots(step);
    for (ArgId id : kernels::kernelArguments(step.key.kind, step.key.features())) {
      putArgument(slots, id, problem, pointers, workspace, rowBounds);
    }
  }
}

std::string runtime::planJson(const Plan &plan) {
  nlohmann::ordered_json json;
  json["steps"] = nlohmann::ordered_json::array();
  for (const Step &step : plan.list()) {
    json["steps"].push_back({{"key", toText(step.key)}, {"programs", step.programs}});
  }
  json["workspace_bytes"] = plan.workspaceBytes;
  if (plan.scheduleRow != nullptr) {
    json["schedule_row"] = {{"table", plan.scheduleRow->table}, {"measured", plan.scheduleRow->measured}};
  }
  if (plan.whyNotSm90a != nullptr) {
    json["why_not_sm_90a"] = plan.whyNotSm90a;
  }
  return json.dump();
}
