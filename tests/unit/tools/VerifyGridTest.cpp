// SPDX-License-Identifier: Apache-2.0
//
// The grid: that it has a case of everything, that no case is there twice, and that what the cases' inputs say about an
// entry of the score matrix (hidden, dropped, poisoned) is what the float64 oracle does with it.
#include "VerifyInputs.h"
#include "VerifyJudge.h"

#include <gmock/gmock.h>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

using namespace tilewright;
using namespace tilewright::cli;

namespace {

class VerifyGrids : public ::testing::TestWithParam<bool> {
protected:
  static std::vector<VerifyCase> grid() { return GetParam() ? cudaVerifyGrid() : verifyGrid(); }
};

std::vector<std::string> knownFeatures() {
  std::vector<std::string> names;
  const nlohmann::ordered_json found = nlohmann::ordered_json::parse(info());
  for (const auto &entry : found.at("features").items()) {
    names.push_back(entry.key());
  }
  return names;
}

} // namespace

TEST_P(VerifyGrids, NoNameIsThereTwice) {
  std::set<std::string> names;
  for (const VerifyCase &problem : grid()) {
    EXPECT_TRUE(names.insert(problem.name()).second) << problem.name();
  }
}

TEST_P(VerifyGrids, HaveEveryFeatureAloneAndEveryPair) {
  std::map<std::set<std::string>, int> cases, quick;
  for (const VerifyCase &problem : grid()) {
    const std::vector<std::string_view> features = problem.featureNames();
    const std::set<std::string> key(features.begin(), features.end());
    ++cases[key];
    quick[key] += problem.quick ? 1 : 0;
  }
  const std::vector<std::string> known = knownFeatures();
  ASSERT_EQ(known.size(), 12u);
  for (const std::string &feature : known) {
    EXPECT_GE(cases[{feature}], 2) << feature;
    EXPECT_GE(quick[{feature}], 1) << feature;
    for (const std::string &other : known) {
      const bool oneTensor = feature.ends_with("attn_mask") && other.ends_with("attn_mask");
      if (feature < other && !oneTensor) {
        EXPECT_GE((cases[{feature, other}]), 1) << feature << " and " << other;
      }
    }
  }
  for (const auto &[features, count] : cases) {
    for (const std::string &feature : features) {
      EXPECT_THAT(known, ::testing::Contains(feature)) << "tilewright info does not know it: never served";
    }
  }
}

TEST_P(VerifyGrids, InputsKnowWhatTheOracleSees) {
  size_t checked = 0, hidden = 0, removed = 0, empty = 0;
  for (VerifyCase problem : grid()) {
    if (problem.featureNames().empty() || problem.poisonedKey || problem.features.poisonedSequence) {
      continue; // rows of NaN have no probabilities to look at
    }
    problem.features.probs = true;
    CaseInputs inputs(problem, 3);
    CaseOutputs exact(problem, DType::Float64, DType::Float64, Layout::Bshd);
    ForwardOptions options = inputs.options();
    for (CaseOperand &operand : inputs.operands) {
      options.*operand.argument = operand.tensor.view(operand.first, operand.rank);
    }
    options.probs = exact.probs->view();
    const int first = inputs.firstDim(), rank = 4 - first;
    options.lse = exact.lse.view(first, rank - 1);
    referenceForward(inputs.q.view(first, rank), inputs.k.view(first, rank), inputs.v.view(first, rank),
                     exact.out.view(first, rank), options);
    for (int64_t b = 0; b < problem.batch; ++b) {
      const CaseSequence &here = inputs.sequence(b);
      for (int64_t h = 0; h < problem.heads; ++h) {
        for (int64_t i = 0; i < here.lengthQ; ++i) {
          const bool seesNothing = exact.lse.get(here.entry, h, here.beginQ + i, 0) < -1e300;
          ASSERT_EQ(inputs.rowKind(b, h, i) == RowKind::Empty, seesNothing) << problem.name();
          empty += seesNothing ? 1 : 0;
          for (int64_t j = 0; j < here.lengthK && !seesNothing; ++j) {
            bool counts = inputs.visible(b, h, i, j);
            for (const HostTensor *added : {inputs.bias(), inputs.addedMask()}) {
              counts = counts && (added == nullptr || added->getBroadcast(b, h, i, j) > -1e300);
            }
            const double probability = exact.probs->get(b, h, i, j);
            ASSERT_EQ(counts, probability != 0.0) << problem.name() << ": " << b << ' ' << h << ' ' << i << ' ' << j;
            if (counts) {
              ASSERT_EQ(inputs.dropped(b, h, i, j), probability < 0.0) << problem.name();
            }
            ++checked;
            hidden += counts ? 0 : 1;
            removed += counts && probability < 0.0 ? 1 : 0;
          }
        }
      }
    }
  }
  // The cases are about something.
  EXPECT_GT(checked, 1000000u);
  EXPECT_GT(hidden, checked / 10);
  EXPECT_GT(removed, checked / 100);
  EXPECT_GT(empty, 1000u);
}

INSTANTIATE_TEST_SUITE_P(Of, VerifyGrids, ::testing::Bool(),
                         [](const auto &info) { return std::string(info.param ? "cuda" : "cpu"); });

TEST(VerifyInputs, NobodySeesWhatIsPoisoned) {
  for (const VerifyCase &problem : verifyGrid()) {
    if (problem.featureNames().empty() || problem.poisonedKey) {
      continue;
    }
    const CaseInputs inputs(problem, 0);
    for (int64_t b = 0; b < problem.batch; ++b) {
      const CaseSequence &here = inputs.sequence(b);
      const bool whole = problem.features.poisonedSequence == b;
      for (int64_t j = 0; j < here.endK; ++j) {
        bool seen = false;
        for (int64_t h = 0; h < problem.heads && !seen; ++h) {
          for (int64_t i = 0; i < here.lengthQ && j < here.lengthK && !seen; ++i) {
            seen = inputs.visible(b, h, i, j);
          }
        }
        const bool poisoned = std::isnan(inputs.v.get(here.entry, here.beginK + j, 0, 0));
        EXPECT_EQ(poisoned, std::isnan(inputs.k.get(here.entry, here.beginK + j, problem.headsK - 1, 0)));
        EXPECT_TRUE(!poisoned || whole || !seen) << problem.name() << ": key " << j << " of entry " << b;
        const bool byMask = problem.features.attnMask.has_value(); // hides more; its values are no secret
        EXPECT_TRUE(poisoned || seen || byMask) << problem.name() << ": key " << j << " of entry " << b;
      }
    }
  }
}
