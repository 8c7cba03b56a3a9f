# Runs PROGRAM and compares what it prints with the lines of SOURCE that start with //>.
file(STRINGS ${SOURCE} lines REGEX "^ *//> ")
if(NOT lines)
    message(FATAL_ERROR "${SOURCE} has no line that starts with //>")
endif()
list(TRANSFORM lines REPLACE "^ *//> " "")
list(JOIN lines "\n" expected)

execute_process(COMMAND ${PROGRAM} OUTPUT_VARIABLE printed RESULT_VARIABLE code)
if(NOT code STREQUAL "0" OR NOT printed STREQUAL "${expected}\n")
    message(FATAL_ERROR "Exit code ${code}, and it printed\n${printed}instead of\n${expected}")
endif()
