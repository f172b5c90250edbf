// SPDX-License-Identifier: Apache-2.0
//
// The few types and numbers of NVIDIA's driver API that the runtime uses. The driver's own header is not needed to
// build Tilewright: the API is a C ABI, found at run time (Driver.h). Comments give the driver's name of each number.
#ifndef TILEWRIGHT_LIB_CUDA_DRIVERTYPES_H
#define TILEWRIGHT_LIB_CUDA_DRIVERTYPES_H

#include <cstddef>
#include <cstdint>

namespace tilewright::runtime::cuda {

using Result = int;                  ///< CUresult
using Device = int;                  ///< CUdevice
using DevicePointer = uint64_t;      ///< CUdeviceptr
using Context = struct ContextTag *; ///< CUcontext
using Module = struct ModuleTag *;   ///< CUmodule
using Function = struct FunctionTag *; ///< CUfunction
using MemoryPool = struct MemoryPoolTag *; ///< CUmemoryPool
using Event = struct EventTag *;       ///< CUevent
using Stream = struct StreamTag *;     ///< CUstream; null is the legacy default stream

inline constexpr Result kSuccess = 0;               // CUDA_SUCCESS
inline constexpr Result kErrorOutOfMemory = 2;      // CUDA_ERROR_OUT_OF_MEMORY
inline constexpr Result kErrorNoDevice = 100;       // CUDA_ERROR_NO_DEVICE
inline constexpr Result kErrorInvalidImage = 200;    // CUDA_ERROR_INVALID_IMAGE
inline constexpr Result kErrorNoBinaryForGpu = 209;  // CUDA_ERROR_NO_BINARY_FOR_GPU
inline constexpr Result kErrorUnsupportedPtx = 222;  // CUDA_ERROR_UNSUPPORTED_PTX_VERSION
inline constexpr Result kErrorInvalidSource = 300;   // CUDA_ERROR_INVALID_SOURCE
inline constexpr Result kErrorCaptureImplicit = 906; // CUDA_ERROR_STREAM_CAPTURE_IMPLICIT

inline constexpr int kAttributeRegisters = 12;       // CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK
inline constexpr int kAttributeMultiprocessors = 16; // CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
inline constexpr int kAttributeMajor = 75;           // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
inline constexpr int kAttributeMinor = 76;           // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
inline constexpr int kAttributeSharedOptIn = 97;     // CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
inline constexpr int kAttributeMemoryPools = 115;    // CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED

inline constexpr int kFunctionStaticShared = 1;      // CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES
inline constexpr int kFunctionRegisters = 4;         // CU_FUNC_ATTRIBUTE_NUM_REGS
inline constexpr int kFunctionMaxDynamicShared = 8;  // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES

inline constexpr int kJitErrorLog = 5;               // CU_JIT_ERROR_LOG_BUFFER
inline constexpr int kJitErrorLogBytes = 6;          // CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES

inline constexpr int kPoolReleaseThreshold = 4;      // CU_MEMPOOL_ATTR_RELEASE_THRESHOLD

/// CUmemPoolProps
struct MemoryPoolProps {
  int allocationType = 1; ///< CU_MEM_ALLOCATION_TYPE_PINNED
  int handleTypes = 0;    ///< CU_MEM_HANDLE_TYPE_NONE: not shared with other processes
  int locationType = 1;   ///< CU_MEM_LOCATION_TYPE_DEVICE
  int locationId = 0;     ///< device ordinal
  void *securityAttributes = nullptr;
  size_t maxBytes = 0;    ///< 0: what the driver allows
  unsigned char reserved[56] = {};
};
static_assert(sizeof(MemoryPoolProps) == 88);

/// CUtensorMap: how TMA finds a tensor's blocks. Opaque; passed to kernels by value.
struct alignas(64) TensorMap {
  uint64_t opaque[16];
};
static_assert(sizeof(TensorMap) == 128);

inline constexpr int kTensorMapFloat16 = 6;          // CU_TENSOR_MAP_DATA_TYPE_FLOAT16
inline constexpr int kTensorMapBFloat16 = 9;         // CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
inline constexpr int kTensorMapNoInterleave = 0;     // CU_TENSOR_MAP_INTERLEAVE_NONE
inline constexpr int kTensorMapSwizzle128 = 3;       // CU_TENSOR_MAP_SWIZZLE_128B
inline constexpr int kTensorMapPromote256 = 3;       // CU_TENSOR_MAP_L2_PROMOTION_L2_256B
inline constexpr int kTensorMapFillZero = 0;         // CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE: zeros

inline constexpr unsigned kEventDefault = 0;         // CU_EVENT_DEFAULT: with a time

inline const Stream kStreamPerThread = reinterpret_cast<Stream>(uintptr_t{2}); // CU_STREAM_PER_THREAD

inline constexpr int kCaptureNone = 0;               // CU_STREAM_CAPTURE_STATUS_NONE

/// Dynamic shared memory of a block that needs no attribute.
inline constexpr uint64_t kDefaultSharedBytes = 48 * 1024;

} // namespace tilewright::runtime::cuda

#endif // TILEWRIGHT_LIB_CUDA_DRIVERTYPES_H
