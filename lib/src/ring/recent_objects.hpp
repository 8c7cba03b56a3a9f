// Objects that this process keeps mapped for a while after their last handle here has gone: a worker is
// handed the same array task after task, and would map it, and fault its pages in, for each.
#pragma once

#include "ring/shared_object.hpp"

#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

namespace bulkhead::ring {

/// Thread-safe. Holds only kinds to which a holder without a handle makes no difference: a barrier, say, is
/// broken by the death of a process that has it.
class recent_objects {
public:
    using clock = std::chrono::steady_clock;

    /// After its last use, or to the end of the task after it; what memory an object has that all others have
    /// dropped stays as long.
    static constexpr clock::duration keep_for = std::chrono::seconds(1);
    /// The most recently used so many.
    static constexpr std::size_t kept_max = 64;
    static constexpr std::size_t seen_max = 64;

    [[nodiscard]] static recent_objects& of_this_process();

    /// From now on; before that, keep() does nothing.
    void enable() noexcept { enabled_ = true; }
    /// It has been handed to this process now. Kept from the second time on: one that is made for a single task
    /// shall not stay, which may be large.
    void keep(const std::shared_ptr<shared_object>& object, object_kind kind);
    [[nodiscard]] bool any() const;
    /// Parts with those that have not been used for keep_for.
    void age();
    /// Parts with all.
    void drop() noexcept;

private:
    struct entry {
        std::shared_ptr<shared_object> object;
        clock::time_point used;
    };

    /// Whether it has come before, as far as is remembered.
    [[nodiscard]] bool seen(const object_id& id);

    mutable std::mutex mutex_;
    std::vector<entry> entries_;  // the least recently used first
    std::deque<object_id> seen_;  // the latest last
    bool enabled_ = false;        // set before there are tasks
};

}  // namespace bulkhead::ring
