// SPDX-License-Identifier: Apache-2.0
//
// The option --device of the commands that run kernels.
#ifndef TILEWRIGHT_TOOLS_TILEWRIGHT_DEVICEOPTION_H
#define TILEWRIGHT_TOOLS_TILEWRIGHT_DEVICEOPTION_H

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace tilewright::cli {

/// The number of the CUDA device that --device names; none: the CPU. Throws UsageError for another text.
std::optional<int> parseDevice(const std::string &text);

/// The CUDA device's name, if it is there and served; looks before anything is compiled for it. `found` is info().
/// Throws MissingError that says what this machine lacks, UsageError if there are devices, but not that many.
std::string requireCudaDevice(const nlohmann::ordered_json &found, int device);

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_DEVICEOPTION_H
