// SPDX-License-Identifier: Apache-2.0
//
// A stand-in for NVIDIA's driver: a table of functions that record what they were asked and fail on request. Device
// memory is host memory, so that a test may look at what a launch was given.
#ifndef TILEWRIGHT_TESTS_FAKEDRIVER_H
#define TILEWRIGHT_TESTS_FAKEDRIVER_H

#include "cuda/Driver.h"
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace tilewright::tests {

struct FakeDevice {
  std::string name = "Fake H100";
  int major = 9, minor = 0;
  int sharedBytes = 232448;
  bool memoryPools = true;
  int registers = 65536;
  int multiprocessors = 132;
};

/// In place of the machine's driver while it lives. One at a time, used by one thread, unless said otherwise.
class FakeDriver {
public:
  struct Launch {
    runtime::cuda::Context context; ///< current at the launch
    runtime::cuda::Function function;
    std::string symbol;
    unsigned grid, block, sharedBytes;
    runtime::cuda::Stream stream;
    std::vector<void *> parameters;  ///< addresses, valid during the call only
    std::vector<uint64_t> values;    ///< 8 bytes at each of the first `parameterCount` addresses
  };

  struct EncodedMap {
    int type;
    void *memory;
    std::vector<uint64_t> sizes, strides;
    std::vector<uint32_t> box;
  };

  /// `tensorMaps`: it can encode tensor maps, as drivers of Hopper can, so kernels of the family sm_90a are planned.
  explicit FakeDriver(std::vector<FakeDevice> devices = std::vector<FakeDevice>(1), bool tensorMaps = false);
  ~FakeDriver();
  FakeDriver(const FakeDriver &) = delete;
  FakeDriver &operator=(const FakeDriver &) = delete;

  /// The next call of the function (the driver's name without "cu") returns `code`.
  void failNext(const std::string &function, runtime::cuda::Result code) { failures[function] = code; }
  int count(const std::string &function) const;
  static runtime::cuda::Context contextOf(int device);
  static runtime::cuda::MemoryPool poolOf(int device);

  std::vector<FakeDevice> devices;
  std::vector<std::string> calls; ///< names, in order
  std::vector<Launch> launches;
  std::vector<EncodedMap> maps;
  std::vector<std::string> images;           ///< what modules were loaded from
  std::map<std::string, int> sharedAttribute; ///< by symbol: dynamic shared memory that was allowed
  std::vector<runtime::cuda::Context> contexts; ///< the stack; the last is current
  std::map<std::string, runtime::cuda::Result> failures;
  std::string log;           ///< what a failing module load says
  int functionRegisters = 168;   ///< of a thread, in every kernel
  int functionStaticShared = 0; ///< bytes
  /// Images that hold the text are refused with the code.
  std::map<std::string, runtime::cuda::Result> refusedImages;
  int captureStatus = 0;     ///< of every stream
  std::map<uintptr_t, uint64_t> streamIds; ///< by handle; of others the handle itself
  size_t parameterCount = 0; ///< of the kernels to come: how many parameters a launch reads
  std::function<void(void **parameters)> onLaunch; ///< stands for the kernel's work, if set
  size_t liveAllocations = 0;
  std::map<runtime::cuda::MemoryPool, uint64_t> poolKeeps; ///< release threshold of the pools that were made
  std::vector<runtime::cuda::Stream> eventStreams; ///< where events were recorded; one's time is the launches before it
  std::vector<runtime::cuda::MemoryPool> usedPools;        ///< of allocations, in order
};

} // namespace tilewright::tests

#endif // TILEWRIGHT_TESTS_FAKEDRIVER_H
