// SPDX-License-Identifier: Apache-2.0
//
// The memory cache: key to loaded kernel. Finding takes no lock and allocates nothing; adding is done by one thread at
// a time, under the engine's lock.
#ifndef TILEWRIGHT_LIB_ENGINE_KERNELTABLE_H
#define TILEWRIGHT_LIB_ENGINE_KERNELTABLE_H

#include "tilewright/runtime/Artifact.h"
#include "tilewright/runtime/KernelKey.h"
#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

namespace tilewright::runtime {

/// Open addressing over pointers to entries. A slot goes from null to an entry once; a full array is copied into one
/// of twice the size, and kept, because a reader may be in the middle of it. Kernels live as long as the table.
class KernelTable {
public:
  KernelTable() { grow(64); }

  const LoadedKernel *find(const KernelKey &key) const {
    const Slots &slots = *current_.load(std::memory_order_acquire);
    for (size_t i = key.hash();; ++i) {
      const Entry *entry = slots.entries[i & slots.mask].load(std::memory_order_acquire);
      if (entry == nullptr) {
        return nullptr;
      }
      if (entry->key == key) {
        return entry->kernel.get();
      }
    }
  }

  /// One thread at a time. The key must not be in the table.
  const LoadedKernel &add(const KernelKey &key, std::unique_ptr<LoadedKernel> kernel) {
    const size_t capacity = current_.load(std::memory_order_relaxed)->mask + 1;
    if (2 * (entries_.size() + 1) > capacity) {
      grow(2 * capacity);
    }
    entries_.push_back(std::make_unique<Entry>(Entry{key, std::move(kernel)}));
    place(*arrays_.back(), *entries_.back());
    return *entries_.back()->kernel;
  }

private:
  struct Entry {
    KernelKey key;
    std::unique_ptr<LoadedKernel> kernel;
  };
  struct Slots {
    explicit Slots(size_t capacity) : mask(capacity - 1), entries(new std::atomic<const Entry *>[capacity]()) {}
    const size_t mask;
    const std::unique_ptr<std::atomic<const Entry *>[]> entries;
  };

  static void place(Slots &slots, const Entry &entry) {
    size_t i = entry.key.hash();
    while (slots.entries[i & slots.mask].load(std::memory_order_relaxed) != nullptr) {
      ++i;
    }
    slots.entries[i & slots.mask].store(&entry, std::memory_order_release);
  }

  void grow(size_t capacity) {
    arrays_.push_back(std::make_unique<Slots>(capacity));
    for (const std::unique_ptr<Entry> &entry : entries_) {
      place(*arrays_.back(), *entry);
    }
    current_.store(arrays_.back().get(), std::memory_order_release);
  }

  std::vector<std::unique_ptr<Entry>> entries_;
  std::vector<std::unique_ptr<Slots>> arrays_; ///< all that ever were; the last is current
  std::atomic<Slots *> current_{nullptr};
};

} // namespace tilewright::runtime

#endif // TILEWRIGHT_LIB_ENGINE_KERNELTABLE_H
