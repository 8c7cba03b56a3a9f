// The life of a worker process.
#pragma once

#include <vector>

namespace bulkhead::detail {

/// Serves tasks until the parent hangs up, then ends the process. `fds` as channel::compartment gave
/// them.
[[noreturn]] void serve(const std::vector<int>& fds);

/// Writes out what the program has printed but C and C++ still buffer.
void flush_output() noexcept;

}  // namespace bulkhead::detail
