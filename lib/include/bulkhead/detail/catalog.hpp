/// @file
/// The named objects in shared memory that are on this machine, for tools.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace bulkhead::detail {

struct object_report {
    std::string kind;  ///< "queue", "shared_array", ...
    std::string name;
    std::string path;
    std::string holds;  ///< the type of its elements; empty when there are none
    uid_t owner = 0;
    std::uint64_t bytes = 0;  ///< of memory
    std::chrono::seconds age{0};
    /// Processes that have it mapped or open, as far as this user may see.
    std::vector<pid_t> attached;
    /// Processes or threads that have died and are still listed in it: owners of locks, holders of
    /// permits. The next who needs them finds out, and goes on.
    std::vector<pid_t> dead;
    /// What is in it, by its kind: "messages", "available", "locked_by" and the like. Read without its lock.
    std::vector<std::pair<std::string, std::int64_t>> details;
    /// Why its content, or who uses it, cannot be told; empty when both can.
    std::string trouble;
    /// False: made in another PID namespace, another user's, or used by processes that this one may not look into.
    bool users_known = true;
};

/// Of all users, sorted by name. Throws bulkhead::error when there is no /dev/shm to look into.
[[nodiscard]] std::vector<object_report> list_objects();

/// Takes its name away, in use or not. False when it had gone already. Throws bulkhead::error when it
/// may not.
bool remove_object(const object_report& which);

enum class removal : std::uint8_t { removed, in_use, gone };
/// Takes its name away if no living process uses it, also none that begins to meanwhile.
[[nodiscard]] removal remove_unused_object(const object_report& which);

}  // namespace bulkhead::detail
