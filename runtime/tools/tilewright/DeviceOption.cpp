// SPDX-License-Identifier: Apache-2.0
#include "DeviceOption.h"
#include "Commands.h"

#include <charconv>

namespace tilewright::cli {

std::optional<int> parseDevice(const std::string &text) {
  if (text == "cpu") {
    return std::nullopt;
  }
  if (text == "cuda") {
    return 0;
  }
  const std::string prefix = "cuda:";
  int number = 0;
  const char *end = text.data() + text.size();
  if (text.rfind(prefix, 0) == 0 && text.size() > prefix.size() && text[prefix.size()] != '-') {
    auto [parsed, error] = std::from_chars(text.data() + prefix.size(), end, number);
    if (error == std::errc() && parsed == end) {
      return number;
    }
  }
  throw UsageError("--device is '" + text + "'; allowed: cpu, cuda, cuda:N with the number N of a device");
}

std::string requireCudaDevice(const nlohmann::ordered_json &found, int device) {
  const auto &cuda = found.at("devices").at("cuda");
  const std::string name = "cuda:" + std::to_string(device);
  if (!cuda.at("found").get<bool>()) {
    throw MissingError("--device " + name + " needs an NVIDIA GPU and its driver (libcuda.so.1 of CUDA 12.0 or later), "
                       "which this machine does not have: " + cuda.at("why").get<std::string>() +
                       ". Without a GPU, `tilewright compile --target sm_90 --emit ptx` still compiles kernels for it");
  }
  const auto &devices = cuda.at("devices");
  if (static_cast<size_t>(device) >= devices.size()) {
    throw UsageError("--device is " + name + ", but there are " + std::to_string(devices.size()) +
                     " CUDA devices, counted from 0");
  }
  const auto &mine = devices.at(static_cast<size_t>(device));
  const std::string gpu = mine.at("name").get<std::string>();
  if (!mine.at("served").get<bool>()) {
    throw MissingError("--device " + name + " is " + gpu + " of compute capability " +
                       mine.at("compute_capability").get<std::string>() + "; 8.0 or later is needed");
  }
  return gpu;
}

} // namespace tilewright::cli
