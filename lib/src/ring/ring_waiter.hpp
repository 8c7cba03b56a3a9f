// What one operation of a ring does between its attempts.
#pragma once

#include "os/kill_point.hpp"
#include "ring/ring_layout.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

namespace bulkhead::ring {

/// A busy peer answers within this; a sleep and its wake-up cost more. None on a single CPU.
inline constexpr auto spin_time_max = std::chrono::microseconds(20);
inline constexpr int pauses_per_look_at_clock = 32;
inline bool worth_spinning() {
    static const bool several_cpus = std::thread::hardware_concurrency() > 1;
    return several_cpus;
}

/// The pauses between the attempts of one operation: first spinning, then sleeping. Ends after an
/// attempt that was made at the deadline or later.
class ring_waiter {
public:
    ring_waiter(ring_layout& layout, detail::deadline until)
        : layout_(layout), until_(until), late_(until == detail::wait_not_at_all) {}

    /// Before each attempt, without the lock.
    void remember() noexcept { seen_ = layout_.commit.load(std::memory_order_relaxed); }

    /// After a failed attempt, with the lock, which it releases. False: give up.
    bool pause(operation_lock& lock, wait_channel& channel) {
        if (late_) return false;
        if (!spun_ && worth_spinning()) {
            lock.release();
            spin();
        } else {
            const auto ticket = channel.enlist();
            BULKHEAD_KILL_POINT("ring.enlisted");
            lock.release();
            BULKHEAD_KILL_POINT("ring.sleeping");
            channel.sleep(ticket, until_);
            late_ = until_ != detail::wait_for_ever && std::chrono::steady_clock::now() >= until_;
        }
        return true;
    }

    /// Whether pause() would sleep.
    [[nodiscard]] bool sleeps_next() const noexcept {
        return !late_ && (spun_ || !worth_spinning());
    }

private:
    void spin() {
        auto now = std::chrono::steady_clock::now();
        if (spin_end_ == detail::deadline{}) spin_end_ = std::min(until_, now + spin_time_max);
        while (now < spin_end_) {
            for (int i = 0; i != pauses_per_look_at_clock; ++i) {
                if (layout_.commit.load(std::memory_order_relaxed) != seen_) return;
                spin_pause();
            }
            now = std::chrono::steady_clock::now();
        }
        spun_ = true;
        late_ = now >= until_;
    }

    ring_layout& layout_;
    detail::deadline until_;
    detail::deadline spin_end_{};  // once spinning has begun
    std::uint32_t seen_ = 0;
    bool spun_ = false;
    bool late_;
};

}  // namespace bulkhead::ring
