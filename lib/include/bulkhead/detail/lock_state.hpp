/// @file
/// How a lock was got.
#pragma once

#include <cstdint>

namespace bulkhead {

/// How a lock was got.
enum class lock_state : std::uint8_t {
    clean,
    /// From a thread or process that died while it held the lock: what the lock protects may have
    /// been left half done. Told to one locker only, but see shared_mutex.
    inherited,
};

}  // namespace bulkhead
