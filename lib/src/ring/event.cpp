// event: one word, which is also what its waiters sleep on. Who sets it may die between the store and
// the wake-up; a heartbeat ends their sleep then.
//
// The word counts the changes, so that who slept through a clear() has nevertheless been woken: odd means set.
#include <bulkhead/event.hpp>

#include "os/futex.hpp"
#include "os/kill_point.hpp"
#include "ring/sync_object.hpp"
#include "ring/wait_channel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <new>

namespace bulkhead {
namespace {

struct event_layout {
    alignas(64) std::atomic<std::uint32_t> changes;
};

bool is_odd(std::uint32_t changes) { return changes % 2 != 0; }

/// Makes it odd or even; false when it was. Writes in any case, so that what was written before a set()
/// of an event that is set is seen by who clears it and then looks.
bool change(event_layout& layout, bool to_odd) {
    std::uint32_t seen = layout.changes.load(std::memory_order_relaxed);
    std::uint32_t next = 0;
    do {
        next = is_odd(seen) == to_odd ? seen : seen + 1;
    } while (!layout.changes.compare_exchange_weak(seen, next, std::memory_order_acq_rel));
    return next != seen;
}

}  // namespace

namespace ring {

constinit const sync_traits event_traits{
    object_kind::event, sizeof(event_layout),
    [](std::byte* body, std::uint64_t) { new (body) event_layout{}; },
    [](const std::byte* body, object_account& to) {
        const auto& layout = *reinterpret_cast<const event_layout*>(body);
        to.add("set", is_odd(layout.changes.load()) ? 1 : 0);
    }};

}  // namespace ring

void event::set() const noexcept {
    auto& layout = shared().as<event_layout>();
    if (!change(layout, true)) return;
    BULKHEAD_KILL_POINT("event.set");
    (void)os::futex_wake(layout.changes, INT_MAX, os::futex_scope::shared);
}

void event::clear() const noexcept { (void)change(shared().as<event_layout>(), false); }

bool event::is_set() const noexcept {
    return is_odd(shared().as<event_layout>().changes.load(std::memory_order_acquire));
}

bool event::wait_until_deadline(detail::deadline until) const {
    auto& layout = shared().as<event_layout>();
    const std::uint32_t first = layout.changes.load(std::memory_order_acquire);
    if (is_odd(first)) return true;
    for (;;) {
        const auto now = std::chrono::steady_clock::now();
        if (now >= until) return false;
        (void)os::futex_wait(layout.changes, first, std::min(until, now + ring::heartbeat),
                             os::futex_scope::shared);
        // Not even a set() that was followed by clear() is missed.
        if (layout.changes.load(std::memory_order_acquire) != first) return true;
    }
}

}  // namespace bulkhead
