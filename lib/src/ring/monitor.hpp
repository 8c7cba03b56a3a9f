// A small state in shared memory that threads of many processes change one at a time, each change whole
// or not at all.
//
//   valid state i --(lock owner writes state 1-i)--> still valid state i --(commit + 1)--> state 1-i
//
// Who inherits the lock from a dead owner finds the state before or after its change; there is nothing
// to repair. Only the part of a state that is in use is copied, so a change costs what its list of
// processes or threads is long.
#pragma once

#include "os/kill_point.hpp"
#include "os/life.hpp"
#include "ring/robust_mutex.hpp"
#include "ring/wait_channel.hpp"

#include <bulkhead/detail/deadline.hpp>
#include <bulkhead/error.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <type_traits>

namespace bulkhead::ring {

/// Who has a part in an object: processes or threads that hold, wait or belong to it.
struct roster_entry {
    os::life who;
    std::uint64_t count;  ///< what it means is the object's affair
    std::uint64_t mark;
};
static_assert(sizeof(roster_entry) == 24);

/// The last member of a state. In no order but that of coming.
struct roster {
    static constexpr std::uint32_t size_max = 1000;

    std::uint64_t size;
    roster_entry entries[size_max];

    [[nodiscard]] roster_entry* begin() noexcept { return entries; }
    // Somebody may overwrite the size at any time: read once, and once in each member.
    [[nodiscard]] roster_entry* end() noexcept {
        const std::uint64_t now = std::atomic_ref(size).load(std::memory_order_relaxed);
        return entries + std::min<std::uint64_t>(now, size_max);
    }
    template <class Predicate>
    [[nodiscard]] roster_entry* find_if(const Predicate& is_it) noexcept {
        roster_entry* const last = end();
        roster_entry* const found = std::find_if(begin(), last, is_it);
        return found == last ? nullptr : found;
    }
    [[nodiscard]] roster_entry* find(os::life who) noexcept {
        return find_if([&](const roster_entry& e) { return e.who == who; });
    }
    /// nullptr when it is full.
    roster_entry* add(const roster_entry& entry) noexcept {
        roster_entry* const last = end();
        if (last == entries + size_max) return nullptr;
        size = static_cast<std::uint64_t>(last - entries) + 1;
        return new (last) roster_entry(entry);
    }
    void remove(roster_entry* entry) noexcept {
        roster_entry* const last = end();
        if (entry >= last) return;
        std::move(entry + 1, last, entry);
        size = static_cast<std::uint64_t>(last - entries) - 1;
    }
    /// Removes those of whom `lives(who)` is not true; `removed(entry)` is told of each after it.
    template <class Lives, class Removed>
    void remove_dead(const Lives& lives, const Removed& removed) {
        for (roster_entry* at = begin(); at < end();) {
            if (lives(at->who)) {
                ++at;
                continue;
            }
            const roster_entry dead = *at;
            remove(at);
            removed(dead);
        }
    }
};

/// Says at most every heartbeat, to one of all that ask, that it is time to look for the dead. Lies in
/// shared memory.
class dead_look {
public:
    [[nodiscard]] bool is_due() noexcept {
        const std::uint64_t now = now_ms();
        std::uint64_t last = last_ms_.load(std::memory_order_relaxed);
        return is_long_ago(last, now) &&
               last_ms_.compare_exchange_strong(last, now, std::memory_order_relaxed);
    }
    /// For one who was told before it had the lock, and has it: false when another has looked meanwhile. A look takes
    /// longer than a heartbeat where many wait: those who are told meanwhile must not all look, one after another.
    [[nodiscard]] bool is_still_due() const noexcept {
        return is_long_ago(ended_ms_.load(std::memory_order_relaxed), now_ms());
    }
    void ended() noexcept {
        const std::uint64_t now = now_ms();
        ended_ms_.store(now, std::memory_order_relaxed);
        last_ms_.store(now, std::memory_order_relaxed);
    }

private:
    [[nodiscard]] static std::uint64_t now_ms() noexcept {
        return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() /
                                          std::chrono::milliseconds(1));
    }
    /// A time in the future, which garbage may be, is long ago.
    [[nodiscard]] static bool is_long_ago(std::uint64_t when, std::uint64_t now) noexcept {
        return now - when >= static_cast<std::uint64_t>(heartbeat.count());
    }

    std::atomic<std::uint64_t> last_ms_{0};
    std::atomic<std::uint64_t> ended_ms_{0};
};

/// State: trivially copyable, its last member `roster list`.
template <class State>
struct monitor_layout {
    static_assert(std::is_trivially_copyable_v<State>);

    robust_mutex lock;
    wait_channel changed;
    alignas(64) std::atomic<std::uint32_t> commit;
    std::atomic<std::uint32_t> sequence;  ///< for waiters of their own kind
    dead_look looked;
    alignas(64) State states[2];

    /// For tools, on a copy that was read without the lock: the state that seems valid.
    [[nodiscard]] static State glimpse(const std::byte* body) noexcept {
        const auto& layout = *reinterpret_cast<const monitor_layout*>(body);
        State state = layout.states[layout.commit.load(std::memory_order_relaxed) & 1];
        state.list.size = std::min<std::uint64_t>(state.list.size, roster::size_max);
        return state;
    }

    static void construct(std::byte* body, const State& first) {
        auto* layout = new (body) monitor_layout;
        robust_mutex::construct(&layout->lock);
        layout->states[0] = first;
    }
};

/// The lock for a scope, and a draft of the next state, which begins as a copy of the valid one.
template <class State>
class monitor_session {
public:
    /// Waits for the lock until then, and a little when that has passed: it is held for moments only.
    monitor_session(monitor_layout<State>& layout, detail::deadline until, const char* what)
        : layout_(layout), lock_(layout.lock, until, what) {
        if (!lock_) return;
        BULKHEAD_KILL_POINT("monitor.locked");
        // Acquire: partner is the release in commit().
        now_ = layout_.commit.load(std::memory_order_acquire);
        const State& valid = layout_.states[now_ & 1];
        const std::uint64_t size = valid.list.size;
        if (size > roster::size_max) {
            throw error(std::string("bulkhead: the memory of ") + what +
                        " is damaged: it lists more processes than it has room for");
        }
        std::memcpy(static_cast<void*>(&draft()), &valid,
                    offsetof(State, list.entries) + size * sizeof(roster_entry));
        draft().list.size = size;
    }

    explicit operator bool() const noexcept { return static_cast<bool>(lock_); }
    [[nodiscard]] State& draft() noexcept { return layout_.states[(now_ + 1) & 1]; }

    /// The draft becomes the valid state. Once in a session.
    void commit() noexcept {
        BULKHEAD_KILL_POINT("monitor.drafted");
        // Release: the draft is whole before it counts.
        layout_.commit.store(now_ + 1, std::memory_order_release);
        BULKHEAD_KILL_POINT("monitor.committed");
    }
    /// commit(), then the lock is free, then up to `count` of those who wait for a change are woken.
    void commit_and_wake(int count = INT_MAX) noexcept {
        commit();
        pending_wake sleepers;
        sleepers.decide(layout_.changed, count);
        release();
        sleepers.give();
    }
    void release() noexcept {
        lock_.release();
        BULKHEAD_KILL_POINT("monitor.unlocked");
    }
    /// Releases the lock and sleeps until there may have been a change. False when `until` has passed.
    [[nodiscard]] bool sleep(detail::deadline until) {
        const auto ticket = layout_.changed.enlist();
        BULKHEAD_KILL_POINT("monitor.enlisted");
        release();
        layout_.changed.sleep(ticket, until);
        return until == detail::wait_for_ever || std::chrono::steady_clock::now() < until;
    }

private:
    monitor_layout<State>& layout_;
    operation_lock lock_;
    std::uint32_t now_ = 0;
};

}  // namespace bulkhead::ring
