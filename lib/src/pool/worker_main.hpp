// The life of a worker process.
#pragma once

#include <vector>

namespace bulkhead::detail {

/// Serves tasks until the parent hangs up, then ends the process. `fds` as channel::compartment gave
/// them.
[[noreturn]] void serve(const std::vector<int>& fds);

/// Writes out what the program has printed but C and C++ still buffer.
void flush_output() noexcept;

/// Ends this process, which a task has forked, and which came to the end of the task's function: it is neither a
/// worker nor a thread of the pool. With a line on stderr.
[[noreturn]] void leave_fork();

}  // namespace bulkhead::detail
