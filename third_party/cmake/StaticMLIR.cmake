# SPDX-License-Identifier: Apache-2.0
#
# Finds LLVM/MLIR 22 from distribution packages and makes its exported targets link statically. Debian's exports name
# the shared libraries beside the archives and pull in libraries that a JIT never calls; both are taken out here.
#
# Defines: TILEWRIGHT_LLVM_LIBS (LLVM components), include directories, TableGen and dialect helper functions, and the
# function tilewright_static_llvm(target) that links a final target (shared library or program).

# Debian's LLVMExports.cmake refers to zstd's imported target whether or not its package is installed.
foreach(lib zstd::libzstd_shared zstd::libzstd_static)
  if(NOT TARGET ${lib})
    add_library(${lib} INTERFACE IMPORTED)
  endif()
endforeach()

set(TILEWRIGHT_LLVM_ROOT /usr/lib/llvm-22 CACHE PATH "Root of an LLVM/MLIR 22 installation")
find_package(MLIR REQUIRED CONFIG PATHS ${TILEWRIGHT_LLVM_ROOT}/lib/cmake/mlir NO_DEFAULT_PATH)
if(NOT LLVM_VERSION_MAJOR EQUAL 22)
  message(FATAL_ERROR "LLVM/MLIR 22 is needed, ${TILEWRIGHT_LLVM_ROOT} holds ${LLVM_PACKAGE_VERSION}: set TILEWRIGHT_LLVM_ROOT")
endif()
message(STATUS "Using LLVM/MLIR ${LLVM_PACKAGE_VERSION} in ${TILEWRIGHT_LLVM_ROOT}")

# Without these two, add_mlir_dialect_library silently links libLLVM.so.
set(LLVM_LINK_LLVM_DYLIB OFF)
set(MLIR_LINK_MLIR_DYLIB OFF)

list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
include(TableGen)
include(AddLLVM)
include(AddMLIR)

get_property(mlir_targets GLOBAL PROPERTY MLIR_ALL_LIBS)
foreach(t IN LISTS mlir_targets)
  get_target_property(l ${t} INTERFACE_LINK_LIBRARIES)
  if(l)
    list(REMOVE_ITEM l LLVM MLIR)
    set_target_properties(${t} PROPERTIES INTERFACE_LINK_LIBRARIES "${l}")
  endif()
endforeach()
# z3, libxml2, libffi and libedit are named but unused; Compression.cpp needs zlib and zstd, linked as archives below.
set_target_properties(LLVMSupport PROPERTIES INTERFACE_LINK_LIBRARIES "rt;dl;m;LLVMDemangle")
find_library(TILEWRIGHT_ZLIB NAMES libz.a REQUIRED)
find_library(TILEWRIGHT_ZSTD NAMES libzstd.a REQUIRED)

llvm_map_components_to_libnames(TILEWRIGHT_LLVM_LIBS core support passes analysis target mc codegen nativecodegen nvptxcodegen nvptxdesc nvptxinfo
  asmparser orcjit orctargetprocess orcshared jitlink executionengine object irreader bitreader bitwriter transformutils instcombine scalaropts
  ipo vectorize asmprinter selectiondag option targetparser frontendopenmp perfjitevents)

include_directories(SYSTEM ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
separate_arguments(llvm_definitions NATIVE_COMMAND "${LLVM_DEFINITIONS}")
add_definitions(${llvm_definitions})

# Links LLVM into a final target: archives, lld, dead sections dropped, no C++ runtime of the machine's.
function(tilewright_static_llvm target)
  target_link_libraries(${target} PRIVATE ${ARGN} ${TILEWRIGHT_LLVM_LIBS} ${TILEWRIGHT_ZLIB} ${TILEWRIGHT_ZSTD})
  target_link_options(${target} PRIVATE -fuse-ld=lld -B${TILEWRIGHT_LLVM_ROOT}/bin -static-libstdc++ -static-libgcc
    -Wl,--gc-sections -Wl,--icf=all -Wl,-z,defs -Wl,--build-id=sha1)
endfunction()
