// SPDX-License-Identifier: Apache-2.0
//
// What the parts of the grid are built with.
#ifndef TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYGRID_H
#define TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYGRID_H

#include "VerifyCase.h"

#include <algorithm>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace tilewright::cli {

class GridBuilder {
public:
  explicit GridBuilder(bool cuda) : cuda_(cuda) {}

  bool cuda() const { return cuda_; }
  std::span<const DType> types() const { return std::span(kTypes).subspan(cuda_ ? 1 : 0); }
  DType rotateType(size_t index) const { return types()[index % types().size()]; }
  /// The one that --quick has most cases of.
  DType mainType() const { return cuda_ ? DType::BFloat16 : DType::Float32; }

  void add(VerifyCase problem, std::optional<int64_t> shift = std::nullopt) {
    problem.shift = shift.value_or(cuda_ ? 0 : 1);
    problem.shiftShown = shift.has_value();
    if (names_.insert(problem.name()).second) {
      cases_.push_back(problem);
    } else if (problem.quick) { // already there from a block of the full grid
      std::find_if(cases_.begin(), cases_.end(), [&](const VerifyCase &c) {
        return c.name() == problem.name();
      })->quick = true;
    }
  }
  std::vector<VerifyCase> take() { return std::move(cases_); }

private:
  static constexpr DType kTypes[] = {DType::Float32, DType::Float16, DType::BFloat16};
  const bool cuda_;
  std::vector<VerifyCase> cases_;
  std::set<std::string> names_;
};

inline void setSelf(VerifyCase &problem, int64_t length) { problem.seqlenQ = problem.seqlenK = length; }

/// The mask, with the numbers that cases have which are not about them.
void setMask(VerifyCase &problem, MaskKind mask);

/// VerifyFeatures.cpp: what a call may ask for beyond masks.
void addFeatures(GridBuilder &grid);

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_VERIFYGRID_H
