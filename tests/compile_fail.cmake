# Compiles SOURCE. Its first line is `// expect: REGEX` (it must not compile, and the compiler must
# say so in words that match) or `// expect-success`.
file(STRINGS ${SOURCE} first_line LIMIT_COUNT 1)
string(REPLACE "|" ";" includes "${INCLUDES}")
list(TRANSFORM includes PREPEND -I)

set(ENV{LC_ALL} C)
execute_process(COMMAND ${COMPILER} -std=c++20 -fsyntax-only ${includes} ${SOURCE}
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)

if(first_line STREQUAL "// expect-success")
    if(NOT result EQUAL 0)
        message("${output}")
        message(FATAL_ERROR "${SOURCE} must compile and does not")
    endif()
elseif(first_line MATCHES "^// expect: (.+)$")
    set(expected "${CMAKE_MATCH_1}")
    if(result EQUAL 0)
        message(FATAL_ERROR "${SOURCE} compiles; it should be refused with \"${expected}\"")
    elseif(NOT output MATCHES "${expected}")
        message("${output}")
        message(FATAL_ERROR "${SOURCE} is refused, but not with \"${expected}\"")
    endif()
else()
    message(FATAL_ERROR "${SOURCE} begins with neither `// expect: REGEX` nor `// expect-success`")
endif()
