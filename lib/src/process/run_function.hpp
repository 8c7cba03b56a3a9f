// The child's side of bulkhead::process.
#pragma once

#include <bulkhead/task.hpp>

#include <cstdint>
#include <vector>

namespace bulkhead::detail {

/// In front of the arguments, in the memory that a process is started with.
struct function_header {
    code_ref entry;
    std::uint64_t bytes;
};

/// Runs the function described in the memory fds[0], then ends the process: 0, or 1 when an exception
/// left the function.
[[noreturn]] void run_function(const std::vector<int>& fds);

}  // namespace bulkhead::detail
