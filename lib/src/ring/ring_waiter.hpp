// What one operation of a ring does between its attempts.
#pragma once

#include "os/kill_point.hpp"
#include "ring/ring_layout.hpp"

#include <algorithm>
#include <atomic>
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

/// Where one side finds the other's next step almost at once, again and again, both fetch the same cache
/// lines from each other for every message. Then it pays to let the other get ahead by a few messages
/// first: three to six times as many in all (performance.md).
struct spin_habit {
    static constexpr auto almost_at_once = std::chrono::nanoseconds(500);
    static constexpr auto head_start = std::chrono::microseconds(1);
    static constexpr int times_min = 4;

    std::atomic<int> times{0};  ///< in a row; a hint of one process
};

/// The pauses between the attempts of one operation: first spinning until the other side's position
/// changes, then sleeping. Ends after an attempt that was made at the deadline or later.
class ring_waiter {
public:
    /// `watched`: the other side's position. `interrupted`: once set, it pauses no more; who sets
    /// it wakes the channel after.
    ring_waiter(const std::atomic<std::uint64_t>& watched, spin_habit& habit,
                detail::deadline until, const std::atomic<bool>* interrupted = nullptr)
        : watched_(watched),
          habit_(habit),
          until_(until),
          interrupted_(interrupted),
          late_(until == detail::wait_not_at_all) {}
    ring_waiter(const ring_waiter&) = delete;
    ring_waiter& operator=(const ring_waiter&) = delete;

    /// After a failed attempt, with the lock of this side if it has one, which it may release. `ready` looks anew
    /// whether another attempt would do: now, and once this process is enlisted, as what happens from
    /// then on wakes it. False: give up.
    template <class Ready>
    bool pause(operation_lock& lock, wait_channel& channel, Ready&& ready) {
        if (late_ || is_interrupted()) return false;
        if (spins_next()) {
            const std::uint64_t seen = watched_.load(std::memory_order_relaxed);
            if (ready()) return true;
            lock.release();
            spin(seen);
            return true;
        }
        const auto ticket = channel.enlist();
        BULKHEAD_KILL_POINT("ring.enlisted");
        if (ready()) return true;
        if (is_interrupted()) return false;
        lock.release();
        BULKHEAD_KILL_POINT("ring.sleeping");
        channel.sleep(ticket, until_);
        late_ = until_ != detail::wait_for_ever && std::chrono::steady_clock::now() >= until_;
        return true;
    }

    /// Whether pause() would spin.
    [[nodiscard]] bool spins_next() const noexcept { return !late_ && !spun_ && worth_spinning(); }
    /// Whether pause() would sleep.
    [[nodiscard]] bool sleeps_next() const noexcept { return !late_ && !spins_next(); }

private:
    /// Sequentially consistent, as its setter: after enlist() either this sees it, or the wake-up
    /// comes after the ticket.
    [[nodiscard]] bool is_interrupted() const noexcept {
        return interrupted_ != nullptr && interrupted_->load();
    }

    void spin(std::uint64_t seen) {
        const auto begin = std::chrono::steady_clock::now();
        auto now = begin;
        if (spin_end_ == detail::deadline{}) {
            spin_end_ = std::min(until_, now + spin_time_max);
            if (habit_.times.load(std::memory_order_relaxed) >= spin_habit::times_min) {
                const auto start = std::min(spin_end_, now + spin_habit::head_start);
                while (now < start) now = pauses();
            }
        }
        do {
            for (int i = 0; i != pauses_per_look_at_clock; ++i) {
                if (watched_.load(std::memory_order_relaxed) != seen) return note(begin);
                spin_pause();
            }
            now = std::chrono::steady_clock::now();
        } while (now < spin_end_);
        spun_ = true;
        late_ = now >= until_;
        habit_.times.store(0, std::memory_order_relaxed);
    }

    static detail::deadline pauses() {
        for (int i = 0; i != pauses_per_look_at_clock / 8; ++i) spin_pause();
        return std::chrono::steady_clock::now();
    }

    void note(detail::deadline begin) {
        const auto now = std::chrono::steady_clock::now();
        if (now >= spin_end_) {
            spun_ = true;
            late_ = now >= until_;
        }
        const int times = habit_.times.load(std::memory_order_relaxed);
        const auto took = now - begin;
        const auto quick = times >= spin_habit::times_min
                               ? spin_habit::head_start + spin_habit::almost_at_once
                               : std::chrono::nanoseconds(spin_habit::almost_at_once);
        habit_.times.store(took < quick ? std::min(times + 1, spin_habit::times_min) : 0,
                           std::memory_order_relaxed);
    }

    const std::atomic<std::uint64_t>& watched_;
    spin_habit& habit_;
    detail::deadline until_;
    const std::atomic<bool>* interrupted_;
    detail::deadline spin_end_{};  // once spinning has begun
    bool spun_ = false;
    bool late_;
};

}  // namespace bulkhead::ring
