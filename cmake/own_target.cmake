# bulkhead_own_target(target): what this project's targets are compiled with and its users' are not.
include_guard()

set(bulkhead_sanitize_flags "")
if(BULKHEAD_SANITIZE STREQUAL "address")
    # Not `null`: a task that dereferences null dies by SIGSEGV here too, as its tests expect. Not
    # `vptr`: it looks at objects through a pipe, and calls them bad when descriptors run out.
    set(bulkhead_sanitize_flags
        -fsanitize=address,undefined -fno-sanitize=null,vptr -fno-sanitize-recover=all
        -fno-omit-frame-pointer)
elseif(BULKHEAD_SANITIZE STREQUAL "thread")
    set(bulkhead_sanitize_flags -fsanitize=thread -fno-omit-frame-pointer)
elseif(BULKHEAD_SANITIZE)
    message(FATAL_ERROR
        "BULKHEAD_SANITIZE is \"${BULKHEAD_SANITIZE}\"; it can be empty, address or thread")
endif()

if(BULKHEAD_FUZZ)
    list(APPEND bulkhead_sanitize_flags -fsanitize=fuzzer-no-link)
endif()

function(bulkhead_own_target target)
    target_compile_options(${target} PRIVATE
        -Wall -Wextra -Wconversion -Wshadow $<$<BOOL:${BULKHEAD_WERROR}>:-Werror>
        ${bulkhead_sanitize_flags})
    target_link_options(${target} PRIVATE ${bulkhead_sanitize_flags})
    set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
endfunction()
