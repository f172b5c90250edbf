// SPDX-License-Identifier: Apache-2.0
//
// Memory that ends, to the byte, at a page which nobody may touch, with another such page in front: generated code that
// reads or writes past the end of what it was given stops the test there.
#ifndef TILEWRIGHT_TESTS_UNIT_JIT_GUARDEDMEMORY_H
#define TILEWRIGHT_TESTS_UNIT_JIT_GUARDEDMEMORY_H

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <sys/mman.h>
#include <unistd.h>

namespace tilewright::tests {

class GuardedMemory {
public:
  /// `bytes` of memory filled with `fill`. Its end is aligned to a page, so its start is aligned as `bytes` is.
  explicit GuardedMemory(size_t bytes, unsigned char fill = 0) : bytes_(bytes) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t inner = (bytes + page - 1) / page * page;
    mapped_ = inner + 2 * page;
    base_ = static_cast<unsigned char *>(
        mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED) {
      throw std::bad_alloc();
    }
    mprotect(base_, page, PROT_NONE);
    mprotect(base_ + page + inner, page, PROT_NONE);
    data_ = base_ + page + inner - bytes;
    std::memset(data_, fill, bytes);
  }
  ~GuardedMemory() { munmap(base_, mapped_); }
  GuardedMemory(const GuardedMemory &) = delete;
  GuardedMemory &operator=(const GuardedMemory &) = delete;

  template <typename T = void> T *data() const { return reinterpret_cast<T *>(data_); }
  size_t bytes() const { return bytes_; }

private:
  size_t bytes_, mapped_ = 0;
  unsigned char *base_ = nullptr, *data_ = nullptr;
};

} // namespace tilewright::tests

#endif // TILEWRIGHT_TESTS_UNIT_JIT_GUARDEDMEMORY_H
