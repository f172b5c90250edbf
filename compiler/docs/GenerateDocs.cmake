# SPDX-License-Identifier: Apache-2.0
#
# Writes the reference of operations and passes from TableGen, or compares it with what is committed:
#
#   cmake [-DMLIR_TBLGEN=/path/to/mlir-tblgen] [-DCHECK=ON] -P compiler/docs/GenerateDocs.cmake
#
#   MLIR_TBLGEN   the program, whose installation also holds MLIR's .td files (default: the one in PATH)
#   CHECK         write nothing; fail if a file is not what TableGen says
cmake_minimum_required(VERSION 3.20)

set(docs ${CMAKE_CURRENT_LIST_DIR})
get_filename_component(include ${docs}/../include ABSOLUTE)

if(NOT MLIR_TBLGEN)
  find_program(MLIR_TBLGEN mlir-tblgen REQUIRED)
endif()
get_filename_component(tblgen ${MLIR_TBLGEN} REALPATH)
get_filename_component(mlir_include ${tblgen}/../../include ABSOLUTE)
if(NOT EXISTS ${mlir_include}/mlir/IR/OpBase.td)
  message(FATAL_ERROR "${tblgen} has no MLIR headers beside it: ${mlir_include}/mlir/IR/OpBase.td is missing; "
    "-DMLIR_TBLGEN=... names another")
endif()

# What TableGen says of one .td file, as a part of a document: without its first comment and table of contents, its
# headings moved to `level` and below, blank lines single.
function(generate output td level)
  execute_process(COMMAND ${tblgen} ${ARGN} -I ${mlir_include} -I ${include} ${include}/tilewright/${td}
    OUTPUT_VARIABLE text ERROR_VARIABLE error RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "mlir-tblgen ${ARGN} ${td} failed:\n${error}")
  endif()
  string(REGEX REPLACE "^<!--[^\n]*-->\n" "" text "${text}")
  string(REPLACE "\n[TOC]\n" "" text "${text}")
  # A heading's hashes end in a space, which tells them from attributes such as #tile.cpu at the start of a line.
  string(REGEX REPLACE "\n#(#*) " "\n${level}\\1 " text "${text}")
  string(REGEX REPLACE "\n\n\n+" "\n\n" text "${text}")
  string(STRIP "${text}" text)
  set(${output} "${text}" PARENT_SCOPE)
endfunction()

function(finish file text)
  if(NOT CHECK)
    file(WRITE ${docs}/${file} "${text}")
    return()
  endif()
  set(committed "")
  if(EXISTS ${docs}/${file})
    file(READ ${docs}/${file} committed)
  endif()
  if(NOT committed STREQUAL text)
    message(FATAL_ERROR "compiler/docs/${file} is not what TableGen says: run `ninja -C build tilewright-docs`")
  endif()
endfunction()

set(generated "<!-- Generated from TableGen by `ninja -C build tilewright-docs`; do not edit. -->\n\n")

generate(attn Dialect/Attn/IR/AttnOps.td "##" -gen-dialect-doc -dialect=attn)
generate(tile Dialect/Tile/IR/TileOps.td "##" -gen-dialect-doc -dialect=tile)
finish(ops.md "${generated}# Operations, types and attributes

What each operation is and requires. How they follow from each other: [../README.md](../README.md).

${attn}

${tile}
")

generate(conversions Conversion/Passes.td "#" -gen-pass-doc)
generate(transforms Dialect/Tile/Transforms/Passes.td "#" -gen-pass-doc)
finish(passes.md "${generated}# Passes

In the order of the pipeline `tilewright-cpu`: `attn-expand`, `tile-apply-schedule`, `tile-fuse-rowwise`,
`convert-tile-to-vector`, then MLIR's own conversions to the LLVM dialect; see [../README.md](../README.md). Each runs on
its own under `tilewright-opt`.

## Conversions

${conversions}

## Transforms of tile programs

${transforms}
")
