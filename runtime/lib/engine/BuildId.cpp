// SPDX-License-Identifier: Apache-2.0
//
// The content hash of the library (or program) that this code is linked into: the linker's build id, a hash over the
// whole output file, read from the mapped image; without one, a hash of the mapped code and constants. Freshness of
// cached kernels is decided by content, never by file times or version numbers alone.
#include "tilewright/runtime/Digest.h"
#include "tilewright/runtime/KernelKey.h"

#include <elf.h>
#include <link.h>

using namespace tilewright::runtime;

namespace {

constexpr size_t kIdBytes = 8;

struct Search {
  uintptr_t address; ///< of something inside the image wanted
  std::string id;
};

/// Code and constants as mapped. Nothing writes to them after loading: position-independent code has its relocations
/// in the writable segments.
std::string hashReadOnlySegments(const dl_phdr_info &info) {
  std::string digests;
  for (ElfW(Half) i = 0; i < info.dlpi_phnum; ++i) {
    const ElfW(Phdr) &segment = info.dlpi_phdr[i];
    if (segment.p_type == PT_LOAD && (segment.p_flags & PF_R) && !(segment.p_flags & PF_W)) {
      const Digest digest =
          blake3({{reinterpret_cast<const char *>(info.dlpi_addr + segment.p_vaddr), segment.p_filesz}});
      digests.append(reinterpret_cast<const char *>(digest.data()), digest.size());
    }
  }
  return blake3Hex(digests).substr(0, 2 * kIdBytes);
}

size_t padded(size_t size) { return (size + 3) & ~size_t{3}; }

/// The GNU build-id note in a PT_NOTE segment; empty if there is none.
std::string findBuildIdNote(const char *notes, size_t size) {
  while (size >= sizeof(ElfW(Nhdr))) {
    const auto *note = reinterpret_cast<const ElfW(Nhdr) *>(notes);
    const size_t nameSize = padded(note->n_namesz);
    const size_t total = sizeof(*note) + nameSize + padded(note->n_descsz);
    if (total > size) {
      break;
    }
    const char *name = notes + sizeof(*note);
    if (note->n_type == NT_GNU_BUILD_ID && std::string_view(name, note->n_namesz) == std::string_view("GNU\0", 4) &&
        note->n_descsz >= kIdBytes) {
      return toHex({reinterpret_cast<const uint8_t *>(name + nameSize), kIdBytes});
    }
    notes += total;
    size -= total;
  }
  return {};
}

int visitImage(dl_phdr_info *info, size_t, void *data) {
  auto *search = static_cast<Search *>(data);
  bool ours = false;
  for (ElfW(Half) i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr) &segment = info->dlpi_phdr[i];
    const uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
    ours |= segment.p_type == PT_LOAD && search->address >= begin && search->address - begin < segment.p_memsz;
  }
  if (!ours) {
    return 0;
  }
  for (ElfW(Half) i = 0; i < info->dlpi_phnum && search->id.empty(); ++i) {
    const ElfW(Phdr) &segment = info->dlpi_phdr[i];
    if (segment.p_type == PT_NOTE) {
      search->id =
          findBuildIdNote(reinterpret_cast<const char *>(info->dlpi_addr + segment.p_vaddr), segment.p_memsz);
    }
  }
  if (search->id.empty()) { // linked without --build-id
    search->id = hashReadOnlySegments(*info);
  }
  return 1;
}

std::string computeBuildId() {
  Search search{reinterpret_cast<uintptr_t>(&visitImage), {}};
  dl_iterate_phdr(visitImage, &search);
  return search.id;
}

} // namespace

std::string_view tilewright::runtime::buildId() {
  static const std::string &id = *new std::string(computeBuildId()); // threads may read it while the process exits
  return id;
}
