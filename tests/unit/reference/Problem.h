// SPDX-License-Identifier: Apache-2.0
//
// A dense float64 problem for the oracle's tests: owns its buffers, all strides row-major.
#ifndef TILEWRIGHT_TESTS_UNIT_REFERENCE_PROBLEM_H
#define TILEWRIGHT_TESTS_UNIT_REFERENCE_PROBLEM_H

#include "tilewright/kernels/ReferenceAttention.h"
#include <random>
#include <vector>

namespace tilewright::kernels::test {

struct Problem {
  Problem(int64_t batch, int64_t seqlenQ, int64_t seqlenK, int64_t heads, int64_t headsK, int64_t headDim,
          int64_t headDimV) {
    args.batch = batch;
    args.seqlenQ = seqlenQ;
    args.seqlenK = seqlenK;
    args.heads = heads;
    args.headsK = headsK;
    args.headDim = headDim;
    args.headDimV = headDimV;
    args.q = tensor(q, batch, seqlenQ, heads, headDim);
    args.k = tensor(k, batch, seqlenK, headsK, headDim);
    args.v = tensor(v, batch, seqlenK, headsK, headDimV);
    args.out = tensor(out, batch, seqlenQ, heads, headDimV);
    args.writeLse = true;
    args.lse = tensor(lse, batch, heads, seqlenQ, 1);
    out.assign(out.size(), kUnwritten);
    lse.assign(lse.size(), kUnwritten);
  }
  // args points into the vectors.
  Problem(const Problem &) = delete;
  Problem &operator=(const Problem &) = delete;

  void randomize(unsigned seed) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<double> uniform(-1.0, 1.0);
    for (std::vector<double> *tensor : {&q, &k, &v}) {
      for (double &value : *tensor) {
        value = uniform(generator);
      }
    }
  }

  void setBreakPoints(std::vector<int32_t> points) {
    glm = std::move(points);
    args.mask = ReferenceMask::GlmBreak;
    args.glm = glm.data();
    args.glmStrides = {1, 0, 0};
  }

  /// `pairs` of every batch entry: all starts, then all ends, as the tensor (batch, 2, N) lies in memory.
  void setPairs(std::vector<int32_t> pairs) {
    glm = std::move(pairs);
    args.mask = ReferenceMask::GlmPacked;
    args.glm = glm.data();
    args.glmPairs = static_cast<int64_t>(glm.size()) / (2 * args.batch);
    args.glmStrides = {2 * args.glmPairs, args.glmPairs, 1};
  }

  double &qAt(int64_t b, int64_t i, int64_t h, int64_t d) { return q[index(args.q, b, i, h, d)]; }
  double &kAt(int64_t b, int64_t j, int64_t h, int64_t d) { return k[index(args.k, b, j, h, d)]; }
  double &vAt(int64_t b, int64_t j, int64_t h, int64_t d) { return v[index(args.v, b, j, h, d)]; }
  double outAt(int64_t b, int64_t i, int64_t h, int64_t d) const { return out[index(args.out, b, i, h, d)]; }
  double lseAt(int64_t b, int64_t h, int64_t i) const { return lse[index(args.lse, b, h, i, 0)]; }

  static constexpr double kUnwritten = 12345.0;
  ReferenceArgs args;
  std::vector<double> q, k, v, out, lse;
  std::vector<int32_t> glm;

private:
  static ReferenceTensor tensor(std::vector<double> &storage, int64_t a, int64_t b, int64_t c, int64_t d) {
    storage.assign(static_cast<size_t>(a * b * c * d), 0.0);
    return {storage.data(), ReferenceType::F64, {b * c * d, c * d, d, 1}};
  }
  static size_t index(const ReferenceTensor &t, int64_t a, int64_t b, int64_t c, int64_t d) {
    return static_cast<size_t>(a * t.strides[0] + b * t.strides[1] + c * t.strides[2] + d * t.strides[3]);
  }
};

} // namespace tilewright::kernels::test

#endif // TILEWRIGHT_TESTS_UNIT_REFERENCE_PROBLEM_H
