// SPDX-License-Identifier: Apache-2.0
//
// `tilewright`, the command line tool: a thin shell over libtilewright's public API.
#include "Commands.h"
#include "HelpFormatter.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <sstream>
#include <string>
#include <tilewright/tilewright.hpp>

namespace tilewright::cli {

void writeStdout(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw std::runtime_error(std::string("cannot write to standard output: ") + std::strerror(errno));
  }
}

void checkScheduleKind(const std::string &schedule, bool gpu) {
  const size_t colon = schedule.rfind(':');
  if (colon == std::string::npos || colon + 1 == schedule.size()) {
    return;
  }
  const size_t letter = schedule.find_first_of("wg", schedule.find(':') + 1);
  const bool ofGpu = letter != std::string::npos && schedule[letter - 1] == ':';
  if (ofGpu != gpu) {
    throw UsageError("--schedule is '" + schedule + "', which is a " + (ofGpu ? "GPU" : "CPU") + "'s; " +
                     (gpu ? "a GPU's ends in a number of warps, as in qk:128x64:w4"
                          : "a CPU's ends in a register tile, as in kq:64x64:8x2"));
  }
}

std::string keyField(const std::string &key, const std::string &name) {
  std::istringstream words(key);
  for (std::string word; words >> word;) {
    if (word.rfind(name + "=", 0) == 0) {
      return word.substr(name.size() + 1);
    }
  }
  throw std::runtime_error("the key '" + key + "' has no field '" + name + "'");
}

namespace {

constexpr const char *kFooter =
    "Exit status: 0 success; 1 the work failed; 2 the command line is wrong, or names something that does not exist;\n"
    "3 this machine lacks what the command needs, such as a GPU.\n"
    "\n"
    "Environment: TILEWRIGHT_CACHE_DIR, TILEWRIGHT_NUM_THREADS, TILEWRIGHT_CPU_LEVEL are defaults of the engine;\n"
    "TILEWRIGHT_PTXAS and TILEWRIGHT_NVRTC name the assembler of GPU kernels and the library that compiles the CUDA\n"
    "reference. `tilewright info` shows what they amount to here.\n"
    "\n"
    "Examples:\n"
    "  tilewright info\n"
    "  tilewright verify --quick\n"
    "  tilewright bench --head-dim 64,128 --mask none,causal\n"
    "  tilewright compile --dtype bf16 --head-dim 72 --mask glm_packed --emit tile\n";

int fail(const char *message, int status) {
  std::fprintf(stderr, "tilewright: error: %s\n", message);
  return status;
}

int run(int argc, char **argv) {
  CLI::App app("Tilewright generates attention kernels just in time. This tool compiles them and shows every stage,\n"
               "verifies them on this machine against a float64 reference, times them, and says what is installed.",
               "tilewright");
  app.formatter(std::make_shared<HelpFormatter>()); // subcommands inherit it
  app.footer(kFooter);
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.set_version_flag("--version", std::string("tilewright ") + tw_version() + " (build " + tw_build_id() + ")",
                       "Print version and build id and exit");
  app.require_subcommand(1);
  addCompileCommand(app);
  addVerifyCommand(app);
  addBenchCommand(app);
  addInfoCommand(app);
  try {
    app.parse(argc, argv); // runs the subcommand's callback
    return 0;
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
      return app.exit(error); // --help and --version arrive here
    }
    std::fprintf(stderr, "tilewright: error: %s\n", error.what());
    std::string path = "tilewright";
    for (const CLI::App *subcommand : app.get_subcommands()) {
      path += " " + subcommand->get_name();
    }
    std::fprintf(stderr, "See `%s --help`.\n", path.c_str());
    return 2;
  } catch (const UsageError &error) {
    return fail(error.what(), 2);
  } catch (const MissingError &error) {
    return fail(error.what(), 3);
  } catch (const ReportedFailure &) {
    return 1;
  } catch (const Error &error) {
    return fail(error.what(), error.status() == TW_INVALID_ARGUMENT ? 2 : 1);
  } catch (const std::exception &error) {
    return fail(error.what(), 1);
  }
}

} // namespace

} // namespace tilewright::cli

int main(int argc, char **argv) { return tilewright::cli::run(argc, argv); }
