// How processes sleep until something in shared memory changes, without a system call while nobody
// sleeps, and without counting sleepers in a way that one who is killed could spoil.
//
//   waiter:  looks, finds nothing; takes a ticket (the sequence, then registered + 1); looks once more,
//            unless the lock that it looks under is the waker's too; releases its lock
//   waiter:  sleeps while the sequence is the ticket's, at most a heartbeat
//   waker:   changes the state; pending() tells whether anybody registered who is not known to be gone
//   waker, lock released:  sequence + 1, wakes; if nobody was there, writes down that everybody who had
//            registered by then is awake or dead (cleared)
//
// Where they share no lock, a sequentially consistent fence stands between the change and pending()
// (fence_after_unlock() is one), and registering is one: so the waiter's second look sees the change, or
// pending() sees the waiter. Who registers later is not covered by `cleared`. Who registered earlier has
// its ticket from before the waker's sequence + 1, and if it does not sleep yet, it will not: no wake-up is
// lost between these steps. One is lost when the process that was woken is killed before it acts, or leaves
// without acting, its time being up, or a waker is killed between its change and its wake; for these, every
// sleep ends after a heartbeat, and the waiter looks again.
#pragma once

#include "os/futex.hpp"

#include <bulkhead/detail/deadline.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>

namespace bulkhead::ring {

inline constexpr auto heartbeat = std::chrono::milliseconds(50);

/// Lies in shared memory, all zero at first.
class alignas(64) wait_channel {
public:
    struct ticket {
        std::uint32_t sequence;
    };

    [[nodiscard]] ticket enlist() noexcept {
        const std::uint32_t sequence = sequence_.load(std::memory_order_relaxed);
        // Sequentially consistent: partner of the fence between a change and pending(). Release: the
        // load above comes before whoever sees this registration increments the sequence.
        registered_.fetch_add(1, std::memory_order_seq_cst);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        return {sequence};
    }

    /// Without the lock. Returns when woken, at the deadline, at a heartbeat, or without a reason.
    void sleep(ticket mine, detail::deadline until) const {
        const auto beat = std::chrono::steady_clock::now() + heartbeat;
        os::futex_wait(sequence_, mine.sequence, std::min(until, beat), os::futex_scope::shared);
    }

    /// After the change: whether there may be sleepers.
    [[nodiscard]] bool pending() const noexcept {
        return registered() != cleared_.load(std::memory_order_relaxed);
    }

    /// After the change: what wake() wants to know.
    [[nodiscard]] std::uint32_t registered() const noexcept {
        return registered_.load(std::memory_order_acquire);
    }

    /// Without the lock, after the change.
    void wake(std::uint32_t registered_at_change, int count) noexcept {
        sequence_.fetch_add(1, std::memory_order_acq_rel);
        if (os::futex_wake(sequence_, count, os::futex_scope::shared) == 0) {
            cleared_.store(registered_at_change, std::memory_order_relaxed);
        }
    }

private:
    std::atomic<std::uint32_t> sequence_{0};
    std::atomic<std::uint32_t> registered_{0};
    std::atomic<std::uint32_t> cleared_{0};
};
static_assert(sizeof(wait_channel) == 64);

/// Between a change that was made under a robust_mutex and pending(), when that has just been unlocked (if
/// it could not be, its memory is damaged, and the heartbeat must do).
inline void fence_after_unlock() noexcept {
#if defined(__x86_64__) && defined(__GLIBC__)
    // The unlock was one: glibc exchanges the word of a robust mutex without priority inheritance, to see who
    // sleeps, and a locked instruction lets nothing pass. The compiler is not told so.
    std::atomic_signal_fence(std::memory_order_seq_cst);
#else
    std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

/// A wake-up decided after the change, and given without the lock.
class pending_wake {
public:
    void decide(wait_channel& channel, int count = 1) noexcept {
        if (!channel.pending()) return;
        channel_ = &channel;
        registered_ = channel.registered();
        count_ = count;
    }
    /// Without the lock.
    void give() noexcept {
        if (channel_ != nullptr) channel_->wake(registered_, count_);
    }

private:
    wait_channel* channel_ = nullptr;
    std::uint32_t registered_ = 0;
    int count_ = 0;
};

}  // namespace bulkhead::ring
