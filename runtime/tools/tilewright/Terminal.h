// SPDX-License-Identifier: Apache-2.0
//
// Lines of tables, and a line that shows where a long run is.
#ifndef TILEWRIGHT_TOOLS_TILEWRIGHT_TERMINAL_H
#define TILEWRIGHT_TOOLS_TILEWRIGHT_TERMINAL_H

#include <cstdio>
#include <string>
#include <unistd.h>

namespace tilewright::cli {

/// As printf.
template <typename... Values> std::string format(const char *pattern, Values... values) {
  std::string text(static_cast<size_t>(std::snprintf(nullptr, 0, pattern, values...)), '\0');
  std::snprintf(text.data(), text.size() + 1, pattern, values...);
  return text;
}

/// A line on stderr that shows where the run is, if somebody is looking.
class Progress {
public:
  Progress() = default;
  ~Progress() { clear(); } // an error's message starts on an empty line
  Progress(const Progress &) = delete;
  Progress &operator=(const Progress &) = delete;

  /// `done` of `total` are done, and `name` is next.
  void show(size_t done, size_t total, const std::string &name) {
    if (enabled_) {
      std::fprintf(stderr, "\r\x1b[K[%zu/%zu] %s", done + 1, total, name.c_str());
      std::fflush(stderr);
    }
  }
  void clear() {
    if (enabled_) {
      std::fputs("\r\x1b[K", stderr);
      std::fflush(stderr);
    }
  }

private:
  const bool enabled_ = isatty(STDERR_FILENO) != 0;
};

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_TERMINAL_H
