// SPDX-License-Identifier: Apache-2.0
//
// NVIDIA's driver API, opened at run time. libtilewright.so links nothing of CUDA: without a driver every CUDA request
// ends in an error that says so, and nothing else changes.
#ifndef TILEWRIGHT_LIB_CUDA_DRIVER_H
#define TILEWRIGHT_LIB_CUDA_DRIVER_H

#include "DriverTypes.h"
#include "tilewright/runtime/Error.h"
#include <string>

namespace tilewright::runtime::cuda {

/// The functions that the runtime calls, by the driver's names without "cu". Tests fill one with their own.
struct DriverApi {
  Result (*init)(unsigned flags);
  Result (*driverGetVersion)(int *version);
  Result (*getErrorName)(Result code, const char **name);
  Result (*getErrorString)(Result code, const char **text);
  Result (*deviceGetCount)(int *count);
  Result (*deviceGet)(Device *device, int ordinal);
  Result (*deviceGetName)(char *name, int bytes, Device device);
  Result (*deviceGetAttribute)(int *value, int attribute, Device device);
  Result (*devicePrimaryCtxRetain)(Context *context, Device device);
  Result (*ctxGetCurrent)(Context *context);
  Result (*ctxPushCurrent)(Context context);
  Result (*ctxPopCurrent)(Context *context);
  Result (*moduleLoadDataEx)(Module *module, const void *image, unsigned count, int *options, void **values);
  Result (*moduleUnload)(Module module);
  Result (*moduleGetFunction)(Function *function, Module module, const char *name);
  Result (*funcGetAttribute)(int *value, int attribute, Function function);
  Result (*funcSetAttribute)(Function function, int attribute, int value);
  Result (*launchKernel)(Function function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,
                         unsigned blockY, unsigned blockZ, unsigned sharedBytes, Stream stream, void **parameters,
                         void **extra);
  Result (*memAlloc)(DevicePointer *memory, size_t bytes);
  Result (*memFree)(DevicePointer memory);
  Result (*memcpyHtoD)(DevicePointer to, const void *from, size_t bytes);
  Result (*memcpyDtoH)(void *to, DevicePointer from, size_t bytes);
  Result (*memPoolCreate)(MemoryPool *pool, const MemoryPoolProps *props);
  Result (*memPoolDestroy)(MemoryPool pool);
  Result (*memPoolSetAttribute)(MemoryPool pool, int attribute, void *value);
  Result (*memAllocFromPoolAsync)(DevicePointer *memory, size_t bytes, MemoryPool pool, Stream stream);
  Result (*memFreeAsync)(DevicePointer memory, Stream stream);
  Result (*memsetD32Async)(DevicePointer memory, unsigned value, size_t count, Stream stream);
  Result (*streamSynchronize)(Stream stream);
  Result (*streamIsCapturing)(Stream stream, int *status);
  Result (*streamGetId)(Stream stream, uint64_t *id);
  Result (*eventCreate)(Event *event, unsigned flags);
  Result (*eventDestroy)(Event event);
  Result (*eventRecord)(Event event, Stream stream);
  Result (*eventSynchronize)(Event event);
  Result (*eventElapsedTime)(float *milliseconds, Event start, Event end);
  /// Null where the driver has none: no kernel of the sm_90a family is planned then.
  Result (*tensorMapEncodeTiled)(TensorMap *map, int type, uint32_t rank, void *memory, const uint64_t *sizes,
                                 const uint64_t *strides, const uint32_t *box, const uint32_t *steps, int interleave,
                                 int swizzle, int promotion, int fill);
};

inline constexpr int kNoDevice = -1;

/// A driver call that failed. Its status is TW_OUT_OF_MEMORY if the driver says so, else TW_CUDA_ERROR.
class CudaError : public Error {
public:
  CudaError(TwStatus status, std::string message, std::string expression, Result code, std::string codeName, int device,
            Stream stream)
      : Error(status, std::move(message)), expression_(std::move(expression)), code_(code),
        codeName_(std::move(codeName)), device_(device), stream_(stream) {}

  const std::string &expression() const { return expression_; } ///< the call, as "cuLaunchKernel(attn_forward)"
  Result code() const { return code_; }
  const std::string &codeName() const { return codeName_; } ///< "CUDA_ERROR_INVALID_VALUE"
  int device() const { return device_; }                    ///< ordinal, or kNoDevice
  Stream stream() const { return stream_; }

private:
  std::string expression_;
  Result code_;
  std::string codeName_;
  int device_;
  Stream stream_;
};

/// The driver, opened and initialised by the first call. Throws Error(TW_UNSUPPORTED) that says what is missing: the
/// library, a function, or a device. Takes no lock: a fork cannot find one taken.
const DriverApi &driver();

/// Returns on success; otherwise throws CudaError. `what` completes the expression: "(" what ")"; may be empty.
void check(Result result, const char *function, int device, Stream stream = nullptr, const std::string &what = {});

/// Tests only, while no other thread uses CUDA: this table in place of the machine's driver; null: the machine's again.
/// Devices.h forgets what it knew.
void setDriverForTesting(const DriverApi *api);

} // namespace tilewright::runtime::cuda

#endif // TILEWRIGHT_LIB_CUDA_DRIVER_H
