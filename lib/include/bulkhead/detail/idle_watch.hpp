/// @file
/// Learns that a pool has no tasks left, without a thread that waits for it.
#pragma once

namespace bulkhead::detail {

class idle_watch {
public:
    idle_watch() = default;
    idle_watch(const idle_watch&) = delete;
    idle_watch& operator=(const idle_watch&) = delete;
    virtual ~idle_watch() = default;

    /// From any thread, without the pool's lock. At most once for each watch_idle().
    virtual void idle() noexcept = 0;
};

}  // namespace bulkhead::detail
