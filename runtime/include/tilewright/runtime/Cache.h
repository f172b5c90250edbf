// SPDX-License-Identifier: Apache-2.0
//
// The disk cache: one self-contained file a key, `<dir>/v2/<two digits>/<digest>.twk`.
//
//   offset  size
//        0     8  magic "\x89TWK\r\n\x1a\n": text-mode transfers damage it
//        8     4  schema version
//       12     4  bytes of this header
//       16     8  bytes of the key's text
//       24     8  bytes of the metadata, JSON: symbol, format (elf, cubin, ptx), scratchBytes, sharedBytes, threads,
//                 pipeline, stageMs
//       32     8  bytes of the object
//       40    32  BLAKE3 over bytes 0..39 and everything after the header
//       72        key's text, metadata, object
//
// Numbers are little-endian. An entry is written to a file of another name in the same folder, synced, and renamed: a
// reader sees a whole entry or none, and two writers of one key leave one of two equal entries. No locks are used, so
// none can be left behind. An entry that fails any check is a miss: it is renamed to `<digest>.twk.bad`, reported in
// one line on stderr, and built again. An entry that another user owns is not read: a cache is code.
#ifndef TILEWRIGHT_RUNTIME_CACHE_H
#define TILEWRIGHT_RUNTIME_CACHE_H

#include "tilewright/runtime/Artifact.h"
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tilewright::runtime {

enum class CacheSource : uint8_t { Option, Environment, XdgCacheHome, Home, None };

struct CacheLocation {
  std::string directory; ///< absolute; empty: no disk cache
  CacheSource source = CacheSource::None;

  /// Somebody asked for this place: if it cannot be used that is an error, not a warning.
  bool isExplicit() const { return source == CacheSource::Option || source == CacheSource::Environment; }
};

std::string_view toText(CacheSource source);

/// `option` if not null, else $TILEWRIGHT_CACHE_DIR if set (an empty text in either: no disk cache), else
/// $XDG_CACHE_HOME/tilewright, else $HOME/.cache/tilewright, else none. Looks at no file and creates nothing.
/// Throws Error(TW_IO_ERROR) if an explicit place exists and is not a folder.
CacheLocation chooseCacheLocation(const char *option);

/// One entry as bytes, and back. `decode` returns what is wrong in `fault`.
std::string encodeEntry(const Artifact &artifact);
std::optional<Artifact> decodeEntry(std::string_view bytes, std::string_view keyText, std::string &fault);

inline constexpr uint32_t kCacheSchema = 2;

class DiskCache {
public:
  explicit DiskCache(CacheLocation location) : location_(std::move(location)) {}

  const CacheLocation &location() const { return location_; }
  bool enabled() const { return !location_.directory.empty(); }

  /// Nothing on a miss of any kind.
  std::optional<Artifact> load(const std::string &digest, std::string_view keyText);

  /// Call before the work of compiling. Explicit location: makes its folders, throws Error(TW_IO_ERROR) if that
  /// fails or they cannot be written. Implicit: does nothing.
  void requireWritable();

  /// If the entry cannot be written (a full disk, say): one warning on stderr, and the cache is only read from then on.
  void publish(const std::string &digest, const Artifact &artifact);

  /// Renames an entry that passed its checks and still does not load.
  void setAside(const std::string &digest, std::string_view why);

  uint64_t badEntries() const { return badEntries_.load(std::memory_order_relaxed); }

  struct Usage {
    uint64_t entries = 0;
    uint64_t bytes = 0;
  };
  Usage usage() const;

  std::string entryPath(const std::string &digest) const;

private:
  std::string folder(const std::string &digest) const;

  const CacheLocation location_;
  std::atomic<uint64_t> badEntries_{0};
  std::atomic<bool> readOnly_{false};
  std::atomic<bool> warnedUnreadable_{false};
  std::atomic<bool> warnedForeign_{false};
};

} // namespace tilewright::runtime

#endif // TILEWRIGHT_RUNTIME_CACHE_H
