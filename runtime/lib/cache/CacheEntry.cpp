// SPDX-License-Identifier: Apache-2.0
//
// The bytes of a cache entry; the layout is in Cache.h.
#include "tilewright/runtime/Cache.h"
#include "tilewright/runtime/Digest.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <utility>

using namespace tilewright::runtime;

namespace {

constexpr std::string_view kMagic("\x89TWK\r\n\x1a\n", 8);
constexpr size_t kChecksumOffset = 40;
constexpr size_t kHeaderBytes = kChecksumOffset + sizeof(Digest);

template <typename Int> void put(std::string &bytes, Int value) {
  for (size_t i = 0; i < sizeof(Int); ++i) {
    bytes.push_back(static_cast<char>(value >> (8 * i)));
  }
}

template <typename Int> Int get(std::string_view bytes, size_t offset) {
  Int value = 0;
  for (size_t i = 0; i < sizeof(Int); ++i) {
    value |= static_cast<Int>(static_cast<uint8_t>(bytes[offset + i])) << (8 * i);
  }
  return value;
}

constexpr std::pair<CodeFormat, std::string_view> kFormats[] = {
    {CodeFormat::ElfObject, "elf"}, {CodeFormat::Cubin, "cubin"}, {CodeFormat::Ptx, "ptx"}};

std::string_view formatName(CodeFormat format) {
  for (const auto &[known, name] : kFormats) {
    if (known == format) {
      return name;
    }
  }
  return "";
}

std::string metadataJson(const Artifact &artifact) {
  nlohmann::ordered_json json;
  json["symbol"] = artifact.symbol;
  json["format"] = formatName(artifact.format);
  json["scratchBytes"] = artifact.scratchBytes;
  json["sharedBytes"] = artifact.sharedBytes;
  json["threads"] = artifact.threads;
  json["pipeline"] = artifact.pipeline;
  json["stageMs"] = nlohmann::ordered_json::array();
  for (const auto &[stage, milliseconds] : artifact.stageMs) {
    json["stageMs"].push_back({stage, milliseconds});
  }
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

bool readMetadata(std::string_view text, Artifact &artifact) {
  nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return false;
  }
  auto symbol = json.find("symbol");
  auto format = json.find("format");
  auto scratch = json.find("scratchBytes");
  auto shared = json.find("sharedBytes");
  auto threads = json.find("threads");
  auto pipeline = json.find("pipeline");
  auto stages = json.find("stageMs");
  if (symbol == json.end() || !symbol->is_string() || scratch == json.end() || !scratch->is_number_unsigned() ||
      shared == json.end() || !shared->is_number_unsigned() || threads == json.end() ||
      !threads->is_number_unsigned() || format == json.end() || !format->is_string() || pipeline == json.end() ||
      !pipeline->is_string() || stages == json.end() || !stages->is_array()) {
    return false;
  }
  artifact.symbol = symbol->get<std::string>();
  const auto *named = std::find_if(std::begin(kFormats), std::end(kFormats), [&](const auto &entry) {
    return entry.second == *format->get_ptr<const std::string *>();
  });
  if (named == std::end(kFormats)) {
    return false;
  }
  artifact.format = named->first;
  artifact.scratchBytes = scratch->get<uint64_t>();
  artifact.sharedBytes = shared->get<uint64_t>();
  artifact.threads = threads->get<uint32_t>();
  artifact.pipeline = pipeline->get<std::string>();
  for (const nlohmann::json &stage : *stages) {
    if (!stage.is_array() || stage.size() != 2 || !stage[0].is_string() || !stage[1].is_number()) {
      return false;
    }
    artifact.stageMs.emplace_back(stage[0].get<std::string>(), stage[1].get<double>());
  }
  return true;
}

} // namespace

std::string tilewright::runtime::encodeEntry(const Artifact &artifact) {
  const std::string metadata = metadataJson(artifact);
  std::string bytes(kMagic);
  put<uint32_t>(bytes, kCacheSchema);
  put<uint32_t>(bytes, kHeaderBytes);
  put<uint64_t>(bytes, artifact.keyText.size());
  put<uint64_t>(bytes, metadata.size());
  put<uint64_t>(bytes, artifact.object.size());
  const Digest checksum = blake3({bytes, artifact.keyText, metadata, artifact.object});
  bytes.append(reinterpret_cast<const char *>(checksum.data()), checksum.size());
  return bytes + artifact.keyText + metadata + artifact.object;
}

std::optional<Artifact> tilewright::runtime::decodeEntry(std::string_view bytes, std::string_view keyText,
                                                         std::string &fault) {
  auto fail = [&](std::string what) {
    fault = std::move(what);
    return std::nullopt;
  };
  if (bytes.size() < kHeaderBytes) {
    return fail("is " + std::to_string(bytes.size()) + " bytes long, shorter than its header");
  }
  if (!bytes.starts_with(kMagic)) {
    return fail("is not a kernel file");
  }
  const auto schema = get<uint32_t>(bytes, 8);
  if (schema != kCacheSchema) {
    return fail("has schema " + std::to_string(schema) + ", expected " + std::to_string(kCacheSchema));
  }
  const auto keyBytes = get<uint64_t>(bytes, 16);
  const auto metadataBytes = get<uint64_t>(bytes, 24);
  const auto objectBytes = get<uint64_t>(bytes, 32);
  uint64_t rest = bytes.size() - kHeaderBytes;
  bool sizesFit = get<uint32_t>(bytes, 12) == kHeaderBytes && keyBytes <= rest && metadataBytes <= rest - keyBytes &&
                  objectBytes == rest - keyBytes - metadataBytes;
  if (!sizesFit) {
    return fail("is " + std::to_string(bytes.size()) + " bytes long, which is not what its header says");
  }
  const std::string_view key = bytes.substr(kHeaderBytes, keyBytes);
  const std::string_view metadata = bytes.substr(kHeaderBytes + keyBytes, metadataBytes);
  const std::string_view object = bytes.substr(kHeaderBytes + keyBytes + metadataBytes);
  const Digest checksum = blake3({bytes.substr(0, kChecksumOffset), key, metadata, object});
  if (std::memcmp(checksum.data(), bytes.data() + kChecksumOffset, checksum.size()) != 0) {
    return fail("does not match its checksum");
  }
  if (key != keyText) {
    return fail("holds another kernel: " + std::string(key));
  }
  Artifact artifact;
  if (!readMetadata(metadata, artifact)) {
    return fail("has malformed metadata");
  }
  artifact.keyText = key;
  artifact.object = object;
  return artifact;
}
