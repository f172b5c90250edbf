# SPDX-License-Identifier: Apache-2.0
#
# Finds NVIDIA's static PTX compiler: nvPTXCompiler.h and libnvptxcompiler_static.a, of the Python package
# nvidia-nvptxcompiler in the environment that the build runs with, or of a CUDA toolkit.
#
# Defines: the target tilewright_nvptxcompiler, if it was found and is wanted.

set(TILEWRIGHT_NVPTXCOMPILER AUTO CACHE STRING
  "Assemble GPU kernels in the process by NVIDIA's static PTX compiler: AUTO (if it is found), ON (or stop), OFF")
set_property(CACHE TILEWRIGHT_NVPTXCOMPILER PROPERTY STRINGS AUTO ON OFF)
# Off: its licence does not name it among what may be passed on (third_party/README.md).
option(TILEWRIGHT_WHEEL_NVPTXCOMPILER "Put libtilewright_ptx.so, which holds NVIDIA's PTX compiler, into the wheel" OFF)

if(NOT TILEWRIGHT_NVPTXCOMPILER MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "TILEWRIGHT_NVPTXCOMPILER is '${TILEWRIGHT_NVPTXCOMPILER}'; allowed: AUTO, ON, OFF")
endif()

if(TILEWRIGHT_NVPTXCOMPILER STREQUAL "OFF")
  message(STATUS "In-process PTX compiler: turned off (TILEWRIGHT_NVPTXCOMPILER)")
else()
  find_package(Python3 COMPONENTS Interpreter)
  set(nvptx_roots)
  if(Python3_Interpreter_FOUND)
    execute_process(COMMAND "${Python3_EXECUTABLE}" -c "import sysconfig; print(sysconfig.get_path('purelib'))"
      OUTPUT_VARIABLE site_packages OUTPUT_STRIP_TRAILING_WHITESPACE)
    file(GLOB nvptx_roots "${site_packages}/nvidia/*/include/nvPTXCompiler.h")
    list(TRANSFORM nvptx_roots REPLACE "/include/nvPTXCompiler.h$" "")
  endif()
  list(APPEND nvptx_roots "$ENV{CUDA_HOME}" "$ENV{CUDA_PATH}" /usr/local/cuda)
  # Not cached: the environment may have got or lost the package since the last configuration.
  unset(nvptx_root)
  foreach(root IN LISTS nvptx_roots)
    foreach(lib lib lib64)
      if(root AND NOT nvptx_root AND EXISTS "${root}/include/nvPTXCompiler.h"
         AND EXISTS "${root}/${lib}/libnvptxcompiler_static.a")
        set(nvptx_root "${root}")
        set(nvptx_archive "${root}/${lib}/libnvptxcompiler_static.a")
      endif()
    endforeach()
  endforeach()
  if(nvptx_root)
    add_library(tilewright_nvptxcompiler STATIC IMPORTED)
    set_target_properties(tilewright_nvptxcompiler PROPERTIES
      IMPORTED_LOCATION "${nvptx_archive}" INTERFACE_INCLUDE_DIRECTORIES "${nvptx_root}/include")
    message(STATUS "In-process PTX compiler: ${nvptx_archive}")
  else()
    set(nvptx_missing "nvPTXCompiler.h and libnvptxcompiler_static.a are neither in the Python environment of "
      "'${Python3_EXECUTABLE}' (package nvidia-nvptxcompiler) nor in a CUDA toolkit ($CUDA_HOME, $CUDA_PATH, "
      "/usr/local/cuda)")
    if(TILEWRIGHT_NVPTXCOMPILER STREQUAL "ON")
      message(FATAL_ERROR ${nvptx_missing})
    endif()
    message(STATUS "In-process PTX compiler: none; GPU kernels need ptxas, or their driver assembles them. "
      ${nvptx_missing})
  endif()
endif()
