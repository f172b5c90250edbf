// SPDX-License-Identifier: Apache-2.0
//
// The C++ example of the README, which shows the lines between the markers as they stand here. It checks itself: with
// equal keys a row's output is the mean of the values that it sees, and a value is its own position.
// README:begin
#include <cmath>
#include <tilewright/tilewright.hpp>
#include <vector>

int main() {
  const int64_t b = 1, s = 1000, h = 4, d = 72;
  std::vector<float> q(b * s * h * d, 0.5f), k = q, v = q, out = q;
  for (size_t n = 0; n < v.size(); ++n) { v[n] = static_cast<float>(n / (h * d)); }
  const int32_t context[] = {300}; // GLM: every row sees the first 300 keys, and those up to its own position
  auto view = [&](std::vector<float> &x) { return tilewright::Tensor(x.data(), {b, s, h, d}); };
  tilewright::forward(view(q), view(k), view(v), view(out), {.causal = true, .glmMask = {context, {b}}});
  return std::abs(out.front() - 149.5f) < 1e-2f && std::abs(out.back() - 499.5f) < 1e-2f ? 0 : 1;
}
// README:end
