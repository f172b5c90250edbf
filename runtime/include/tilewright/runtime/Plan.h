// SPDX-License-Identifier: Apache-2.0
//
// What one call launches, in order: a kernel key and a number of programs a step, and the workspace that steps share.
// Making a plan reads no data and allocates nothing.
#ifndef TILEWRIGHT_RUNTIME_PLAN_H
#define TILEWRIGHT_RUNTIME_PLAN_H

#include "tilewright/runtime/AttentionProblem.h"
#include "tilewright/runtime/KernelKey.h"
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace tilewright::runtime {

/// More than the longest argument list of KernelArguments.h needs (a test holds them together).
inline constexpr size_t kMaxSlots = 80;

struct Step {
  KernelKey key;
  int64_t programs = 0;
  size_t slotCount = 0; ///< 0 until bindPlan
  std::array<uint64_t, kMaxSlots> slots; ///< the kernel's argument slots, in KernelArguments.h's order
};

struct Plan {
  size_t stepCount = 0; ///< 0: nothing to compute
  std::array<Step, 3> steps;
  /// Bytes that the caller provides to bindPlan, 64-byte aligned: packed GLM's row limits, int32 (batch, seqlen_q), and
  /// the row bounds of documents and key padding, int32 (batch, 2, seqlen_q), (batch, 3, seqlen_q) with padding.
  size_t workspaceBytes = 0;
  size_t rowBoundsAt = 0; ///< where the row bounds begin in it
  /// Where a forward kernel for SM 9.0 is of the family sm_80: why not of sm_90a, a clause about that family; else null.
  const char *whyNotSm90a = nullptr;
  const kernels::TableRow *scheduleRow = nullptr; ///< of the forward kernel's schedule; null: the caller's own

  std::span<Step> list() { return {steps.data(), stepCount}; }
  std::span<const Step> list() const { return {steps.data(), stepCount}; }
};

inline constexpr size_t kWorkspaceAlign = 64;

struct PlanOptions {
  CpuLevel level = CpuLevel::X86_64_v2;
  /// For every forward kernel of its kind of target (with warps: CUDA, without: CPU); otherwise the table's choice.
  std::optional<kernels::Schedule> schedule;
  /// KernelKey::sm of CUDA problems; not read for others. Of an engine's options: 0 is each device's own.
  uint16_t sm = 0;
  /// Kernels are of the sm_90a family where it serves the problem; sm is then 90. Of an engine's options with sm 0:
  /// each device's own, as sm.
  bool sm90a = false;
  /// Schedules of the table may have persistent blocks, whose counter is memory of the stream or the call. Of an
  /// engine's options with sm 0: on a device without memory pools, where memory makes the host wait, they have none.
  bool persistent = true;
};

/// Programs of a CUDA launch: the x extent of a grid.
inline constexpr int64_t kMaxCudaPrograms = 0x7fffffff;

/// Keys from the first on that some row sees by the causal limit alone; all without a mask. A GLM mask's limits may
/// show more.
int64_t visibleKeys(const AttentionProblem &problem);

/// The schedule of the problem's forward kernel.
kernels::Schedule forwardSchedule(const AttentionProblem &problem, const PlanOptions &options);

/// The problem must be one of the support matrix's types (Purpose::Reference makes others).
/// Throws Error(TW_INVALID_ARGUMENT) if the number of programs or the workspace does not fit in 64 bits, or if a CUDA
/// step has more than kMaxCudaPrograms programs.
Plan makePlan(const AttentionProblem &problem, const PlanOptions &options);

/// Fills every step's slots. `workspace` may be null if the plan needs none.
void bindPlan(Plan &plan, const AttentionProblem &problem, const ForwardPointers &pointers, void *workspace);

/// {"steps": [{"key": text, "programs": n}], "workspace_bytes": n}, "schedule_row": {"table": file, "measured": text}
/// where the forward kernel's schedule is a table's, and "why_not_sm_90a": text where there is one.
std::string planJson(const Plan &plan);

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_PLAN_H
