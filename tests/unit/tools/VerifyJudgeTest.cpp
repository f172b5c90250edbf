// SPDX-License-Identifier: Apache-2.0
//
// The float64 oracle in a kernel's place: rounded to the case's types, it passes every case that has a feature; with
// one feature left out or done otherwise, none that has it. So each case can fail.
#include "VerifyJudge.h"

#include <algorithm>
#include <cstring>
#include <gmock/gmock.h>

using namespace tilewright;
using namespace tilewright::cli;
using ::testing::HasSubstr;

namespace {

using Options = ForwardOptions;

/// The oracle with other options, or with results changed afterwards.
VerifyPlace oracle(std::function<void(Options &)> change = {},
                   std::function<void(const Tensor &out, const Options &)> spoil = {}) {
  VerifyPlace place;
  place.forward = [=](const ConstTensor &q, const ConstTensor &k, const ConstTensor &v, const Tensor &out,
                      const ForwardOptions &given) {
    ForwardOptions options = given;
    if (change) {
      change(options);
    }
    referenceForward(q, k, v, out, options);
    if (spoil) {
      spoil(out, given);
    }
  };
  return place;
}

std::string said(const VerifyOutcome &outcome) {
  std::string text;
  for (const std::string &failure : outcome.failures) {
    text += failure + "; ";
  }
  return text;
}

bool has(const VerifyCase &problem, std::string_view feature) {
  const auto names = problem.featureNames();
  return std::find(names.begin(), names.end(), feature) != names.end();
}

/// The CPU's grid, and of the one for CUDA devices, which has the same forms, the quick cases; those with features.
const std::vector<VerifyCase> &featureCases() {
  static const std::vector<VerifyCase> cases = [] {
    std::vector<VerifyCase> all = verifyGrid();
    for (const VerifyCase &problem : cudaVerifyGrid()) {
      if (problem.quick) {
        all.push_back(problem);
      }
    }
    std::erase_if(all, [](const VerifyCase &problem) { return problem.featureNames().empty(); });
    return all;
  }();
  return cases;
}

/// Cases with a feature, and no other.
std::vector<VerifyCase> casesOf(std::string_view feature) {
  std::vector<VerifyCase> cases;
  for (const VerifyCase &problem : featureCases()) {
    if (has(problem, feature) && problem.featureNames().size() == 1) {
      cases.push_back(problem);
    }
  }
  return cases;
}

/// Every case of the feature fails, and by its numbers. `exempt`: cases on which it makes no difference.
void expectCaught(std::string_view feature, const VerifyPlace &place,
                  const std::function<bool(const VerifyCase &)> &exempt = {}) {
  size_t caught = 0;
  for (const VerifyCase &problem : casesOf(feature)) {
    if (exempt && exempt(problem)) {
      continue;
    }
    const VerifyOutcome outcome = runVerifyCase(place, problem, 0);
    EXPECT_FALSE(outcome.ok()) << problem.name();
    EXPECT_THAT(said(outcome), ::testing::Not(HasSubstr("TW_"))) << problem.name();
    ++caught;
  }
  EXPECT_GE(caught, 3u) << feature;
}

} // namespace

TEST(VerifyJudge, TheOraclePassesEveryFeature) {
  for (const VerifyCase &problem : featureCases()) {
    const VerifyOutcome outcome = runVerifyCase(oracle(), problem, 0);
    EXPECT_TRUE(outcome.ok()) << problem.name() << ": " << said(outcome);
  }
}

TEST(VerifyJudge, AFeatureLeftOutIsCaught) {
  expectCaught("bias", oracle([](Options &o) { o.bias = {}; }));
  expectCaught("attn_mask", oracle([](Options &o) { o.attnMask = {}; }));
  expectCaught("bool_attn_mask", oracle([](Options &o) { o.attnMask = {}; }));
  expectCaught("key_padding_mask", oracle([](Options &o) { o.keyPaddingMask = {}; }));
  expectCaught("document_ids", oracle([](Options &o) { o.documentIds = {}; }));
  expectCaught("window", oracle([](Options &o) { o.window = {}; }),
               [](const VerifyCase &c) { return c.seqlenQ == 1 && c.features.window.left < 0; });
  expectCaught("alibi_slopes", oracle([](Options &o) { o.alibiSlopes = {}; }));
  expectCaught("softcap", oracle([](Options &o) { o.softcap = 0.0; }));
  expectCaught("dropout", oracle([](Options &o) {
                 o.dropoutP = 0.0;
                 o.rngState = {};
                 o.dropoutSeed = o.dropoutOffset = 0;
               }));
  expectCaught("probs", oracle([](Options &o) { o.probs = {}; }));
  expectCaught("seqused_k", oracle([](Options &o) { o.seqUsedK = {}; }));
}

TEST(VerifyJudge, AFeatureDoneOtherwiseIsCaught) {
  auto otherDrops = [](Options &o) {
    o.rngState = {};
    o.dropoutSeed = 1;
    o.dropoutOffset = 0;
  };
  expectCaught("dropout", oracle(otherDrops));
  expectCaught("dropout", oracle([](Options &o) { o.dropoutP *= 0.9; }));
  expectCaught("softcap", oracle([](Options &o) { o.softcap *= 1.2; }));
  auto otherEnd = [](Options &o) {
    o.causalAlign = o.causalAlign == CausalAlign::TopLeft ? CausalAlign::BottomRight : CausalAlign::TopLeft;
  };
  auto sameAnyway = [](const VerifyCase &c) {
    bool equal = true;
    for (int64_t b = 0; b < c.batch; ++b) {
      equal = equal && (c.sequence(b).lengthQ == c.sequence(b).lengthK || c.sequence(b).lengthK == 0);
    }
    return equal || c.mask == MaskKind::None;
  };
  expectCaught("cu_seqlens", oracle(otherEnd), sameAnyway);
  expectCaught("seqused_k", oracle(otherEnd), sameAnyway);
}

TEST(VerifyJudge, WrongProbabilitiesAreCaught) {
  // An element of the case's 16-bit or 32-bit type, at (b, h, i, j).
  auto element = [](const ConstTensor &probs, int64_t b, int64_t h, int64_t i, int64_t j) {
    const TwTensor &raw = probs.raw();
    const int64_t bytes = raw.dtype == TW_FLOAT32 ? 4 : 2;
    return static_cast<char *>(raw.data) +
           bytes * (b * raw.strides[0] + h * raw.strides[1] + i * raw.strides[2] + j * raw.strides[3]);
  };
  auto isNegative = [](const char *address, bool wide) { return (address[wide ? 3 : 1] & 0x80) != 0; };
  auto lostSigns = [=](const Tensor &, const Options &o) {
    const bool wide = o.probs.raw().dtype == TW_FLOAT32;
    for (int64_t i = 0; i < o.probs.shape(2); ++i) {
      for (int64_t j = 0; j < o.probs.shape(3); ++j) {
        char *address = element(o.probs, 0, 0, i, j);
        if (isNegative(address, wide)) {
          address[wide ? 3 : 1] ^= static_cast<char>(0x80);
        }
      }
    }
  };
  auto leftOver = [=](const Tensor &, const Options &o) { // beyond the first sequence
    std::memset(element(o.probs, 0, 0, o.probs.shape(2) - 1, o.probs.shape(3) - 1), 0x3c, 2);
  };
  size_t signs = 0, beyond = 0;
  for (const VerifyCase &problem : featureCases()) {
    if (!problem.features.probs) {
      continue;
    }
    if (problem.features.dropout != 0.0 && problem.featureNames().size() == 2) {
      EXPECT_FALSE(runVerifyCase(oracle({}, lostSigns), problem, 0).ok()) << problem.name();
      ++signs;
    }
    if (problem.varlen() && problem.featureNames().size() == 2) {
      EXPECT_THAT(said(runVerifyCase(oracle({}, leftOver), problem, 0)), HasSubstr("(a hidden entry)"))
          << problem.name();
      ++beyond;
    }
  }
  EXPECT_GE(signs, 1u);
  EXPECT_GE(beyond, 1u);
}

TEST(VerifyJudge, ANeighboursNanIsCaught) {
  // A kernel that multiplies the keys after a sequence's end by a weight of 0: V there is NaN, so is the output.
  auto lookOver = [](const Tensor &out, const Options &) {
    const int64_t bytes = out.raw().dtype == TW_FLOAT32 ? 4 : 2;
    std::memset(static_cast<char *>(out.raw().data), 0x7f, static_cast<size_t>(bytes));
  };
  size_t cases = 0;
  for (const VerifyCase &problem : casesOf("cu_seqlens")) {
    if (problem.features.poisonedSequence) {
      EXPECT_THAT(said(runVerifyCase(oracle({}, lookOver), problem, 0)), HasSubstr("out[b=0, i=0, h=0, d=0] is"))
          << problem.name();
      ++cases;
    }
  }
  EXPECT_GE(cases, 2u);
}

TEST(VerifyJudge, ACudaReferenceThatDiffersIsCaught) {
  size_t cases = 0;
  for (const VerifyCase &problem : featureCases()) {
    if (!problem.quick || !problem.wantLse || problem.dtype == DType::Float32 || problem.features.poisonedSequence ||
        (!problem.varlen() && !problem.features.probs)) {
      continue;
    }
    CaseInputs inputs(problem, 0);
    CaseOutputs exact(problem, DType::Float64, DType::Float64, Layout::Bshd);
    CaseOutputs device(problem, DType::Float32, DType::Float32, Layout::Bshd);
    CaseOutputs kernel(problem, problem.dtype, DType::Float32, Layout::Bshd);
    // float32 results of 16-bit inputs are no output type of the oracle: it computes in float64, and they are rounded.
    auto compute = [&](CaseOutputs &outputs) {
      ForwardOptions options = inputs.options();
      for (CaseOperand &operand : inputs.operands) {
        options.*operand.argument = operand.tensor.view(operand.first, operand.rank);
      }
      const int first = inputs.firstDim(), rank = 4 - first;
      options.lse = outputs.lse.view(first, rank - 1);
      if (outputs.probs) {
        options.probs = outputs.probs->view();
      }
      referenceForward(inputs.q.view(first, rank), inputs.k.view(first, rank), inputs.v.view(first, rank),
                       outputs.out.view(first, rank), options);
    };
    auto round = [](const HostTensor &from, HostTensor &to) {
      const HostTensor::Shape shape = from.shape();
      for (int64_t n = 0; n < shape[0] * shape[1] * shape[2] * shape[3]; ++n) {
        const int64_t d = n % shape[3], c = n / shape[3] % shape[2], b = n / shape[3] / shape[2] % shape[1],
                      a = n / shape[3] / shape[2] / shape[1];
        to.set(a, b, c, d, from.get(a, b, c, d));
      }
    };
    compute(exact);
    compute(kernel);
    round(exact.out, device.out);
    round(exact.lse, device.lse);
    if (exact.probs) {
      round(*exact.probs, *device.probs);
    }
    std::vector<LowPrecisionResult> low;
    for (const SumOrder order : kSumOrders) {
      low.push_back(lowPrecisionForward(problem, inputs, order));
    }
    const Judge judge{problem, inputs, exact, low};
    auto judged = [&] {
      VerifyOutcome outcome;
      judge.judgeOut(kernel, outcome);
      judge.judgeLse(kernel, outcome);
      if (kernel.probs) {
        judge.judgeProbs(kernel, outcome);
      }
      judge.judgeByDevice(kernel, device, outcome);
      return said(outcome);
    };
    EXPECT_EQ(judged(), "") << problem.name();
    const int64_t lastHead = problem.heads - 1, lastRow = device.out.shape()[1] - 1;
    const int64_t entry = device.out.shape()[0] - 1;
    auto moved = [&](HostTensor &tensor, int64_t a, int64_t b, int64_t c, int64_t d) {
      const double before = tensor.get(a, b, c, d);
      tensor.set(a, b, c, d, std::isfinite(before) ? before + 0.25 : 0.0);
      const std::string text = judged();
      tensor.set(a, b, c, d, before);
      return text;
    };
    EXPECT_THAT(moved(device.out, entry, lastRow, lastHead, 0), HasSubstr("the CUDA reference is off: out"))
        << problem.name();
    EXPECT_THAT(moved(device.lse, entry, lastHead, lastRow, 0), HasSubstr("float64 reference differ: lse"))
        << problem.name();
    if (device.probs) {
      EXPECT_THAT(moved(*device.probs, 0, lastHead, 0, 0), HasSubstr("float64 reference differ: probs"))
          << problem.name();
    }
    ++cases;
  }
  EXPECT_GE(cases, 5u);
}
