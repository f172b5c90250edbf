# SPDX-License-Identifier: Apache-2.0
#
# Turns a text file into a C++ header that holds it as a raw string. Called at build time:
#   cmake -DINPUT=cpu.json -DOUTPUT=ScheduleTables.inc -DNAME=kCpuScheduleTable -P EmbedText.cmake
foreach(argument INPUT OUTPUT NAME)
  if(NOT DEFINED ${argument})
    message(FATAL_ERROR "EmbedText.cmake: -D${argument}=... is missing")
  endif()
endforeach()
file(READ "${INPUT}" text)
string(FIND "${text}" ")tilewright\"" terminator)
if(NOT terminator EQUAL -1)
  message(FATAL_ERROR "EmbedText.cmake: ${INPUT} contains the raw string's terminator")
endif()
get_filename_component(file_name "${INPUT}" NAME)
file(WRITE "${OUTPUT}"
  "// Generated from ${file_name}; do not edit.\n"
  "static constexpr char ${NAME}[] = R\"tilewright(${text})tilewright\";\n")
