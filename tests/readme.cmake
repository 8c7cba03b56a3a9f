# The program that README shows first is SOURCE, and PROGRAM, made of it, prints what README says.
file(READ ${README} readme)
file(READ ${SOURCE} source)
string(FIND "${readme}" "```cpp\n${source}```\n" at)
if(at EQUAL -1)
    message(FATAL_ERROR "The first program of ${README} is not ${SOURCE}")
endif()

string(REGEX MATCH "\nIt prints ([^\n]*)\\.\n" found "${readme}")
string(REGEX MATCHALL "`[^`]*`" lines "${CMAKE_MATCH_1}")
list(JOIN lines "\n" expected)
string(REPLACE "`" "" expected "${expected}\n")
string(REGEX REPLACE "worker [0-9]+ " "worker PID " expected "${expected}")

execute_process(COMMAND ${PROGRAM} OUTPUT_VARIABLE printed RESULT_VARIABLE code)
string(REGEX REPLACE "worker [0-9]+ " "worker PID " printed "${printed}")
if(NOT code STREQUAL "0" OR NOT printed STREQUAL expected)
    message(FATAL_ERROR "Exit code ${code}, and it printed\n${printed}instead of\n${expected}")
endif()
