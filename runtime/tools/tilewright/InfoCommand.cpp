// SPDX-License-Identifier: Apache-2.0
//
// `tilewright info`.
#include "Commands.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <tilewright/tilewright.hpp>

namespace tilewright::cli {

namespace {

using Json = nlohmann::ordered_json;

struct InfoOptions {
  bool json = false;
  bool supportMatrix = false;
};

std::string scalarText(const Json &value) {
  if (value.is_null()) {
    return "not found";
  }
  if (value.is_boolean()) {
    return value.get<bool>() ? "yes" : "no";
  }
  return value.is_string() ? value.get<std::string>() : value.dump();
}

bool isScalar(const Json &value) { return !value.is_structured(); }

bool allScalars(const Json &list) { return std::all_of(list.begin(), list.end(), isScalar); }

/// "name: value" lines; objects and lists of objects indented below their name.
void printTree(std::ostream &out, const Json &object, int indent) {
  const std::string margin(static_cast<size_t>(indent), ' ');
  for (const auto &[name, value] : object.items()) {
    out << margin << name << ':';
    if (value.empty() && value.is_structured()) {
      out << " none\n";
    } else if (value.is_object()) {
      out << '\n';
      printTree(out, value, indent + 2);
    } else if (value.is_array() && allScalars(value)) {
      const char *separator = " ";
      for (const Json &entry : value) {
        out << separator << scalarText(entry);
        separator = ", ";
      }
      out << '\n';
    } else if (value.is_array()) {
      out << '\n';
      printTree(out, value, indent + 2); // named by their index
    } else {
      out << ' ' << scalarText(value) << '\n';
    }
  }
}

void runInfo(const InfoOptions &options) {
  if (options.supportMatrix) {
    const std::string matrix = supportMatrix();
    writeStdout(options.json ? Json{{"support_matrix", matrix}}.dump(2) + "\n" : matrix);
    return;
  }
  const Json info = Json::parse(tilewright::info());
  if (options.json) {
    writeStdout(info.dump(2) + "\n");
    return;
  }
  std::ostringstream text;
  printTree(text, info, 0);
  writeStdout(text.str());
}

} // namespace

void addInfoCommand(CLI::App &app) {
  CLI::App *command = app.add_subcommand("info", "Show versions, targets, the cache, and what was found and what not");
  auto options = std::make_shared<InfoOptions>();
  command->add_flag("--json", options->json, "Print JSON for programs");
  command->add_flag("--support-matrix", options->supportMatrix,
                    "Print the table of supported targets, types and masks as Markdown instead");
  command->footer("Examples:\n"
                  "  tilewright info\n"
                  "  tilewright info --json\n"
                  "  tilewright info --support-matrix\n");
  command->callback([options] { runInfo(*options); });
}

} // namespace tilewright::cli
