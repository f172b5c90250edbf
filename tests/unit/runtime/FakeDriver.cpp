// SPDX-License-Identifier: Apache-2.0
#include "FakeDriver.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>

using namespace tilewright::runtime::cuda;
using tilewright::tests::FakeDevice;
using tilewright::tests::FakeDriver;

namespace {

FakeDriver *fake = nullptr;
std::deque<std::string> &symbols = *new std::deque<std::string>; ///< a Function is the address of its symbol

Result called(const char *name) {
  fake->calls.emplace_back(name);
  if (auto it = fake->failures.find(name); it != fake->failures.end()) {
    const Result code = it->second;
    fake->failures.erase(it);
    return code;
  }
  return kSuccess;
}

const std::string &symbolOf(Function function) { return *reinterpret_cast<std::string *>(function); }

const FakeDevice &modelOf(Device device) {
  return fake->devices.at(static_cast<size_t>(device - 100));
}

Result allocate(DevicePointer *memory, size_t bytes) {
  *memory = reinterpret_cast<DevicePointer>(std::malloc(bytes));
  ++fake->liveAllocations;
  return kSuccess;
}

Result release(DevicePointer memory) {
  std::free(reinterpret_cast<void *>(memory));
  --fake->liveAllocations;
  return kSuccess;
}

// clang-format off
const DriverApi kTable = {
    .init = [](unsigned) { return called("Init"); },
    .driverGetVersion = [](int *version) { *version = 12040; return called("DriverGetVersion"); },
    .getErrorName = [](Result code, const char **name) -> Result {
      *name = code == kErrorOutOfMemory ? "CUDA_ERROR_OUT_OF_MEMORY"
              : code == kErrorNoDevice  ? "CUDA_ERROR_NO_DEVICE"
              : code == kErrorInvalidImage    ? "CUDA_ERROR_INVALID_IMAGE"
              : code == kErrorNoBinaryForGpu  ? "CUDA_ERROR_NO_BINARY_FOR_GPU"
              : code == kErrorUnsupportedPtx  ? "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"
              : code == 700             ? "CUDA_ERROR_ILLEGAL_ADDRESS"
                                        : nullptr;
      return *name != nullptr ? kSuccess : 1;
    },
    .getErrorString = [](Result code, const char **text) -> Result {
      *text = code == 700 ? "an illegal memory access was encountered" : nullptr;
      return *text != nullptr ? kSuccess : 1;
    },
    .deviceGetCount = [](int *count) {
      *count = static_cast<int>(fake->devices.size());
      return called("DeviceGetCount");
    },
    .deviceGet = [](Device *device, int ordinal) { *device = 100 + ordinal; return called("DeviceGet"); },
    .deviceGetName = [](char *name, int bytes, Device device) {
      std::snprintf(name, static_cast<size_t>(bytes), "%s", modelOf(device).name.c_str());
      return called("DeviceGetName");
    },
    .deviceGetAttribute = [](int *value, int attribute, Device device) -> Result {
      const FakeDevice &model = modelOf(device);
      switch (attribute) {
      case kAttributeMajor: *value = model.major; break;
      case kAttributeMinor: *value = model.minor; break;
      case kAttributeSharedOptIn: *value = model.sharedBytes; break;
      case kAttributeRegisters: *value = model.registers; break;
      case kAttributeMultiprocessors: *value = model.multiprocessors; break;
      case kAttributeMemoryPools: *value = model.memoryPools; break;
      default: return 1;
      }
      return called("DeviceGetAttribute");
    },
    .devicePrimaryCtxRetain = [](Context *context, Device device) {
      *context = FakeDriver::contextOf(device - 100);
      return called("DevicePrimaryCtxRetain");
    },
    .ctxGetCurrent = [](Context *context) {
      *context = fake->contexts.empty() ? nullptr : fake->contexts.back();
      return called("CtxGetCurrent");
    },
    .ctxPushCurrent = [](Context context) { fake->contexts.push_back(context); return called("CtxPushCurrent"); },
    .ctxPopCurrent = [](Context *context) {
      *context = fake->contexts.back();
      fake->contexts.pop_back();
      return called("CtxPopCurrent");
    },
    .moduleLoadDataEx = [](Module *module, const void *image, unsigned count, int *options, void **values) {
      Result result = called("ModuleLoadDataEx");
      for (const auto &[text, code] : fake->refusedImages) {
        if (std::strstr(static_cast<const char *>(image), text.c_str()) != nullptr) {
          result = code;
        }
      }
      if (result != kSuccess) {
        for (unsigned i = 0; i < count; ++i) {
          if (options[i] == kJitErrorLog) {
            std::strcpy(static_cast<char *>(values[i]), fake->log.c_str());
          }
        }
        return result;
      }
      fake->images.emplace_back(static_cast<const char *>(image));
      *module = reinterpret_cast<Module>(fake->images.size());
      return kSuccess;
    },
    .moduleUnload = [](Module) { return called("ModuleUnload"); },
    .moduleGetFunction = [](Function *function, Module, const char *name) {
      symbols.emplace_back(name);
      *function = reinterpret_cast<Function>(&symbols.back());
      return called("ModuleGetFunction");
    },
    .funcGetAttribute = [](int *value, int attribute, Function) -> Result {
      switch (attribute) {
      case kFunctionRegisters: *value = fake->functionRegisters; break;
      case kFunctionStaticShared: *value = fake->functionStaticShared; break;
      default: return 1;
      }
      return called("FuncGetAttribute");
    },
    .funcSetAttribute = [](Function function, int attribute, int value) -> Result {
      if (attribute != kFunctionMaxDynamicShared) {
        return 1;
      }
      fake->sharedAttribute[symbolOf(function)] = value;
      return called("FuncSetAttribute");
    },
    .launchKernel = [](Function function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,
                       unsigned blockY, unsigned blockZ, unsigned sharedBytes, Stream stream, void **parameters,
                       void **extra) -> Result {
      if (gridY != 1 || gridZ != 1 || blockY != 1 || blockZ != 1 || extra != nullptr) {
        return 1;
      }
      if (const Result result = called("LaunchKernel"); result != kSuccess) {
        return result;
      }
      FakeDriver::Launch launch{fake->contexts.empty() ? nullptr : fake->contexts.back(), function,
                                symbolOf(function), gridX, blockX, sharedBytes, stream, {}, {}};
      for (size_t i = 0; i < fake->parameterCount; ++i) {
        launch.parameters.push_back(parameters[i]);
        uint64_t value;
        std::memcpy(&value, parameters[i], sizeof(value));
        launch.values.push_back(value);
      }
      fake->launches.push_back(std::move(launch));
      if (fake->onLaunch) {
        fake->onLaunch(parameters);
      }
      return kSuccess;
    },
    .memAlloc = [](DevicePointer *memory, size_t bytes) {
      const Result result = called("MemAlloc");
      return result == kSuccess ? allocate(memory, bytes) : result;
    },
    .memFree = [](DevicePointer memory) { called("MemFree"); return release(memory); },
    .memcpyHtoD = [](DevicePointer to, const void *from, size_t bytes) {
      std::memcpy(reinterpret_cast<void *>(to), from, bytes);
      return called("MemcpyHtoD");
    },
    .memcpyDtoH = [](void *to, DevicePointer from, size_t bytes) {
      std::memcpy(to, reinterpret_cast<const void *>(from), bytes);
      return called("MemcpyDtoH");
    },
    .memPoolCreate = [](MemoryPool *pool, const MemoryPoolProps *props) {
      *pool = FakeDriver::poolOf(props->locationId);
      return called("MemPoolCreate");
    },
    .memPoolDestroy = [](MemoryPool) { return called("MemPoolDestroy"); },
    .memPoolSetAttribute = [](MemoryPool pool, int attribute, void *value) {
      if (attribute == kPoolReleaseThreshold) {
        std::memcpy(&fake->poolKeeps[pool], value, sizeof(uint64_t));
      }
      return called("MemPoolSetAttribute");
    },
    .memAllocFromPoolAsync = [](DevicePointer *memory, size_t bytes, MemoryPool pool, Stream) {
      const Result result = called("MemAllocFromPoolAsync");
      fake->usedPools.push_back(pool);
      return result == kSuccess ? allocate(memory, bytes) : result;
    },
    .memFreeAsync = [](DevicePointer memory, Stream) { called("MemFreeAsync"); return release(memory); },
    .memsetD32Async = [](DevicePointer memory, unsigned value, size_t count, Stream) {
      std::fill_n(reinterpret_cast<unsigned *>(memory), count, value);
      return called("MemsetD32Async");
    },
    .streamSynchronize = [](Stream) { return called("StreamSynchronize"); },
    .streamIsCapturing = [](Stream, int *status) {
      *status = fake->captureStatus;
      return called("StreamIsCapturing");
    },
    .streamGetId = [](Stream stream, uint64_t *id) {
      const auto handle = reinterpret_cast<uintptr_t>(stream);
      const auto found = fake->streamIds.find(handle);
      *id = found != fake->streamIds.end() ? found->second : handle;
      return called("StreamGetId");
    },
    .eventCreate = [](Event *event, unsigned flags) -> Result {
      if (flags != kEventDefault) {
        return 1;
      }
      const Result result = called("EventCreate");
      if (result == kSuccess) {
        *event = reinterpret_cast<Event>(new double(-1.0));
      }
      return result;
    },
    .eventDestroy = [](Event event) { delete reinterpret_cast<double *>(event); return called("EventDestroy"); },
    .eventRecord = [](Event event, Stream stream) {
      *reinterpret_cast<double *>(event) = static_cast<double>(fake->launches.size());
      fake->eventStreams.push_back(stream);
      return called("EventRecord");
    },
    .eventSynchronize = [](Event) { return called("EventSynchronize"); },
    .eventElapsedTime = [](float *milliseconds, Event start, Event end) {
      *milliseconds = static_cast<float>(*reinterpret_cast<double *>(end) - *reinterpret_cast<double *>(start));
      return called("EventElapsedTime");
    },
    .tensorMapEncodeTiled = nullptr,
};
// clang-format on

const DriverApi kTableWithMaps = [] {
  DriverApi table = kTable;
  table.tensorMapEncodeTiled = [](TensorMap *, int type, uint32_t rank, void *memory, const uint64_t *sizes,
                                  const uint64_t *strides, const uint32_t *box, const uint32_t *, int, int, int,
                                  int) -> Result {
    fake->maps.push_back({type, memory, {sizes, sizes + rank}, {strides, strides + rank - 1}, {box, box + rank}});
    return called("TensorMapEncodeTiled");
  };
  return table;
}();

} // namespace

FakeDriver::FakeDriver(std::vector<FakeDevice> models, bool tensorMaps) : devices(std::move(models)) {
  fake = this;
  setDriverForTesting(tensorMaps ? &kTableWithMaps : &kTable);
}

FakeDriver::~FakeDriver() {
  setDriverForTesting(nullptr);
  fake = nullptr;
}

int FakeDriver::count(const std::string &function) const {
  return static_cast<int>(std::count(calls.begin(), calls.end(), function));
}

MemoryPool FakeDriver::poolOf(int device) {
  return reinterpret_cast<MemoryPool>(static_cast<uintptr_t>(0x2000 + device));
}

Context FakeDriver::contextOf(int device) { return reinterpret_cast<Context>(static_cast<uintptr_t>(0x1000 + device)); }
