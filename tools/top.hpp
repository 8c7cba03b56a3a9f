// bulkhead top: the worker processes on this machine.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace bulkhead::tools {

struct top_request {
    std::chrono::milliseconds interval{2000};
    std::optional<std::uint64_t> count;  ///< of tables; unset: until a signal
    bool json = false;
};

void top_command(const top_request& request);

}  // namespace bulkhead::tools
