// SPDX-License-Identifier: Apache-2.0
//
// Help pages that fit a terminal: CLI11's own put an option's choices, default and exclusions on one endless line.
#ifndef TILEWRIGHT_TOOLS_TILEWRIGHT_HELPFORMATTER_H
#define TILEWRIGHT_TOOLS_TILEWRIGHT_HELPFORMATTER_H

#include <CLI/CLI.hpp>
#include <sstream>
#include <string>

namespace tilewright::cli {

class HelpFormatter : public CLI::Formatter {
public:
  HelpFormatter() { column_width(kColumn); }

  /// " VALUE": an option's type. Choices and defaults are part of the description.
  std::string make_option_opts(const CLI::Option *option) const override {
    const std::string type = option->get_type_name();
    return type.empty() ? "" : " " + type.substr(0, type.find(':'));
  }

  std::string make_option_desc(const CLI::Option *option) const override {
    std::string text = option->get_description();
    const std::string type = option->get_type_name();
    if (const size_t choices = type.find('{'); choices != std::string::npos) {
      text += " " + spaced(type.substr(choices));
    }
    if (!option->get_default_str().empty()) {
      text += " [" + option->get_default_str() + "]";
    }
    return wrapped(text);
  }

private:
  static constexpr size_t kColumn = 26; ///< where descriptions begin
  static constexpr size_t kWidth = 100;

  /// "{a,b}" with a space after the comma, so that it can wrap.
  static std::string spaced(const std::string &choices) {
    std::string result;
    for (const char c : choices) {
      result += c;
      if (c == ',') {
        result += ' ';
      }
    }
    return result;
  }

  static std::string wrapped(const std::string &text) {
    std::istringstream words(text);
    std::string result, word;
    size_t line = 0;
    while (words >> word) {
      if (line != 0 && line + 1 + word.size() > kWidth - kColumn) {
        result += '\n';
        line = 0;
      } else if (line != 0) {
        result += ' ';
        ++line;
      }
      result += word;
      line += word.size();
    }
    return result;
  }
};

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_HELPFORMATTER_H
