// SPDX-License-Identifier: Apache-2.0
//
// Where cache entries lie, and how they are read and published.
#include "tilewright/runtime/Cache.h"
#include "tilewright/runtime/Error.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/random.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

using namespace tilewright::runtime;

namespace {

constexpr uint64_t kMaxEntryBytes = uint64_t{1} << 30;

void logLine(const std::string &text) { std::fprintf(stderr, "tilewright: %s\n", text.c_str()); }

std::string reason(int error) { return std::generic_category().message(error); }

class File {
public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  ~File() {
    if (descriptor_ >= 0) {
      ::close(descriptor_);
    }
  }
  File(const File &) = delete;
  File &operator=(const File &) = delete;

  bool isOpen() const { return descriptor_ >= 0; }
  int get() const { return descriptor_; }

  /// 0, or errno. Network file systems report a full disk here.
  int close() {
    const int result = ::close(descriptor_);
    descriptor_ = -1;
    return result == 0 ? 0 : errno;
  }

  int writeAll(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
      if (written < 0 && errno != EINTR) {
        return errno;
      }
      bytes.remove_prefix(written > 0 ? static_cast<size_t>(written) : 0);
    }
    return 0;
  }

  /// Reads to the end of the file, which may have changed since its size was asked for.
  int readAll(std::string &bytes, size_t sizeHint) {
    bytes.resize(sizeHint + 1);
    size_t filled = 0;
    while (true) {
      const ssize_t got = ::read(descriptor_, bytes.data() + filled, bytes.size() - filled);
      if (got < 0 && errno != EINTR) {
        return errno;
      }
      if (got == 0) {
        break;
      }
      filled += got > 0 ? static_cast<size_t>(got) : 0;
      if (filled == bytes.size()) {
        bytes.resize(2 * filled);
      }
    }
    bytes.resize(filled);
    return 0;
  }

private:
  int descriptor_;
};

/// Makes the folder and those above it, mode 0700. 0, or errno.
int makeFolders(const std::string &path) {
  for (size_t slash = path.find('/', 1); true; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      // A folder above may exist and still refuse mkdir with EROFS or EACCES.
      const int error = errno;
      struct stat info;
      if (::stat(part.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
        return error;
      }
    }
    if (slash == std::string::npos) {
      break;
    }
  }
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) {
    return errno;
  }
  return S_ISDIR(info.st_mode) ? 0 : ENOTDIR;
}

/// Distinct in every process that shares the folder, on every machine: a process id and a counter are not.
std::string uniqueSuffix() {
  uint64_t random = 0;
  if (::getrandom(&random, sizeof(random), 0) != static_cast<ssize_t>(sizeof(random))) {
    random = static_cast<uint64_t>(::getpid()) << 32 ^ reinterpret_cast<uintptr_t>(&random);
  }
  static std::atomic<uint32_t> counter{0};
  char text[64];
  std::snprintf(text, sizeof(text), ".%ld-%u-%016llx.tmp", static_cast<long>(::getpid()),
                counter.fetch_add(1, std::memory_order_relaxed), static_cast<unsigned long long>(random));
  return text;
}

/// Empty, or what went wrong.
std::string writeEntry(const std::string &folder, const std::string &path, std::string_view bytes) {
  auto failed = [&](const char *verb, const std::string &what, int error) {
    return std::string("cannot ") + verb + " " + what + ": " + reason(error);
  };
  if (const int error = makeFolders(folder)) {
    return failed("make the folder", folder, error);
  }
  const std::string temporary = path + uniqueSuffix();
  File file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.isOpen()) {
    return failed("create", temporary, errno);
  }
  int error = file.writeAll(bytes);
  if (error == 0 && ::fsync(file.get()) != 0) {
    error = errno;
  }
  if (const int closing = file.close(); error == 0) {
    error = closing;
  }
  if (error != 0) {
    ::unlink(temporary.c_str());
    return failed("write", temporary, error);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    error = errno;
    ::unlink(temporary.c_str());
    return failed("rename a finished entry to", path, error);
  }
  return {};
}

std::string fromEnvironment(const char *name) {
  const char *value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

} // namespace

std::string_view tilewright::runtime::toText(CacheSource source) {
  switch (source) {
  case CacheSource::Option:
    return "cache_dir";
  case CacheSource::Environment:
    return "TILEWRIGHT_CACHE_DIR";
  case CacheSource::XdgCacheHome:
    return "XDG_CACHE_HOME";
  case CacheSource::Home:
    return "HOME";
  case CacheSource::None:
    return "none";
  }
  return "";
}

CacheLocation tilewright::runtime::chooseCacheLocation(const char *option) {
  const char *environment = std::getenv("TILEWRIGHT_CACHE_DIR");
  if (option != nullptr || environment != nullptr) {
    const CacheSource source = option != nullptr ? CacheSource::Option : CacheSource::Environment;
    const std::string asked = option != nullptr ? option : environment;
    if (asked.empty()) {
      return {"", source};
    }
    // Absolute, so that a later chdir of the host does not move the cache.
    std::error_code error;
    const std::filesystem::path path = std::filesystem::absolute(asked, error);
    const std::string name(toText(source));
    if (error) {
      throw Error(TW_IO_ERROR, name + ": '" + asked + "' cannot be made absolute: " + error.message(), name);
    }
    if (std::filesystem::exists(path, error) && !std::filesystem::is_directory(path, error)) {
      throw Error(TW_IO_ERROR, name + ": '" + asked + "' exists and is not a folder", name);
    }
    return {path.string(), source};
  }
  // The XDG rules: a relative path is ignored, an empty one is unset.
  if (const std::string xdg = fromEnvironment("XDG_CACHE_HOME"); xdg.starts_with('/')) {
    return {xdg + "/tilewright", CacheSource::XdgCacheHome};
  }
  if (const std::string home = fromEnvironment("HOME"); home.starts_with('/')) {
    return {home + "/.cache/tilewright", CacheSource::Home};
  }
  return {};
}

std::string DiskCache::folder(const std::string &digest) const {
  return location_.directory + "/v" + std::to_string(kCacheSchema) + "/" + digest.substr(0, 2);
}

std::string DiskCache::entryPath(const std::string &digest) const { return folder(digest) + "/" + digest + ".twk"; }

std::optional<Artifact> DiskCache::load(const std::string &digest, std::string_view keyText) {
  if (!enabled()) {
    return std::nullopt;
  }
  const std::string path = entryPath(digest);
  auto unreadable = [&](int error) {
    if (!warnedUnreadable_.exchange(true)) {
      logLine("cannot read the cache entry " + path + ": " + reason(error) + "; it counts as a miss");
    }
    return std::nullopt;
  };
  File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.isOpen()) {
    const bool absent = errno == ENOENT || errno == ENOTDIR;
    return absent ? std::nullopt : unreadable(errno);
  }
  struct stat info;
  if (::fstat(file.get(), &info) != 0) {
    return unreadable(errno);
  }
  if (info.st_uid != ::geteuid()) {
    if (!warnedForeign_.exchange(true)) {
      logLine("the cache entry " + path + " belongs to user " + std::to_string(info.st_uid) + ", not to this one (" +
              std::to_string(::geteuid()) + "): not used, it counts as a miss");
    }
    return std::nullopt;
  }
  if (!S_ISREG(info.st_mode) || static_cast<uint64_t>(info.st_size) > kMaxEntryBytes) {
    setAside(digest, "is not a file of a kernel's size");
    return std::nullopt;
  }
  std::string bytes;
  if (const int error = file.readAll(bytes, static_cast<size_t>(info.st_size))) {
    return unreadable(error);
  }
  std::string fault;
  std::optional<Artifact> artifact = decodeEntry(bytes, keyText, fault);
  if (!artifact) {
    setAside(digest, fault);
  }
  return artifact;
}

void DiskCache::setAside(const std::string &digest, std::string_view why) {
  badEntries_.fetch_add(1, std::memory_order_relaxed);
  const std::string path = entryPath(digest);
  const bool moved = ::rename(path.c_str(), (path + ".bad").c_str()) == 0;
  logLine("the cache entry " + path + " " + std::string(why) + (moved ? "; renamed to .bad" : "; it stays") +
          ", the kernel is compiled again");
}

void DiskCache::requireWritable() {
  if (!enabled() || !location_.isExplicit()) {
    return;
  }
  const std::string directory = location_.directory + "/v" + std::to_string(kCacheSchema);
  int error = makeFolders(directory);
  if (error == 0 && ::access(directory.c_str(), W_OK | X_OK) != 0) {
    error = errno;
  }
  if (error != 0) {
    const std::string name(toText(location_.source));
    throw Error(TW_IO_ERROR, name + ": cannot write to " + directory + ": " + reason(error), name);
  }
}

void DiskCache::publish(const std::string &digest, const Artifact &artifact) {
  if (!enabled() || readOnly_.load(std::memory_order_relaxed)) {
    return;
  }
  const std::string fault = writeEntry(folder(digest), entryPath(digest), encodeEntry(artifact));
  if (fault.empty()) {
    return;
  }
  // The kernel exists: a full disk costs the next process a compile, not this one its call. A location that cannot be
  // written at all was refused before the compile (requireWritable) if it was asked for.
  if (!readOnly_.exchange(true)) {
    logLine(fault + "; kernels stay in memory only");
  }
}

DiskCache::Usage DiskCache::usage() const {
  Usage usage;
  if (!enabled()) {
    return usage;
  }
  // Other processes add and rename entries meanwhile: whatever vanishes is not counted.
  std::error_code error;
  std::filesystem::recursive_directory_iterator it(location_.directory + "/v" + std::to_string(kCacheSchema), error);
  while (!error && it != std::filesystem::recursive_directory_iterator()) {
    std::error_code gone;
    if (it->path().extension() == ".twk" && it->is_regular_file(gone) && !gone) {
      const uint64_t size = it->file_size(gone);
      if (!gone) {
        usage.entries += 1;
        usage.bytes += size;
      }
    }
    it.increment(error);
  }
  return usage;
}
