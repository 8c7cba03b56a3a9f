// Why a worker died, from what is known of it afterwards.
#pragma once

#include "os/crash_report.hpp"

#include <bulkhead/error.hpp>

#include <cstdint>
#include <optional>

namespace bulkhead::detail {

struct crash_evidence {
    process_status status;
    std::optional<os::crash_account> account{};  // what its signal handler left
    std::uint64_t memory_max_bytes = 0;          // its limit; 0: none
    bool killed_as_liar = false;                 // by the pool
    bool exceeded_group = false;                 // the kernel killed it at its memory_group's limit
    bool oom_kill_counted = false;               // the kernel has counted one since the last death
};

[[nodiscard]] crash_details explain(const crash_evidence& evidence);

}  // namespace bulkhead::detail
