// SPDX-License-Identifier: Apache-2.0
//
// The subcommands of `tilewright`. Each function adds one to the parser; its callback does the work, writes results to
// stdout and everything else to stderr, and throws to report a failure.
#ifndef TILEWRIGHT_TOOLS_TILEWRIGHT_COMMANDS_H
#define TILEWRIGHT_TOOLS_TILEWRIGHT_COMMANDS_H

#include <CLI/CLI.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tilewright::cli {

/// The command line asks for something that makes no sense: exit status 2.
class UsageError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// The machine lacks what the command needs: exit status 3.
class MissingError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// The work was done and its result is a failure that has been reported already: exit status 1, nothing printed.
class ReportedFailure : public std::exception {};

void addCompileCommand(CLI::App &app);
void addVerifyCommand(CLI::App &app);
void addBenchCommand(CLI::App &app);
void addInfoCommand(CLI::App &app);

/// Writes to stdout, all of it, or throws: a full disk behind a redirection is not silently ignored.
void writeStdout(std::string_view text);

/// Throws UsageError if a schedule's text, given as --schedule, is of the other kind of target: the engine would not
/// use it. A text that is no schedule passes; the engine says what is wrong with it.
void checkScheduleKind(const std::string &schedule, bool gpu);

/// The value of one `name=value` of a key's text.
std::string keyField(const std::string &key, const std::string &name);

} // namespace tilewright::cli

#endif // TILEWRIGHT_TOOLS_TILEWRIGHT_COMMANDS_H
