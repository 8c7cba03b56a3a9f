// semaphore: how many permits there are, and which process holds how many.
//
// Invariants of a valid state: no process is listed twice, and none with 0 permits; the permits listed are
// no more than `permits`. What is not listed is available.
#include <bulkhead/semaphore.hpp>

#include "ring/monitor.hpp"
#include "ring/sync_object.hpp"

#include <bulkhead/error.hpp>

#include <algorithm>

namespace bulkhead {
namespace {

struct semaphore_state {
    std::uint64_t permits;  ///< available, or held by a process that is listed
    std::uint64_t first_permits;
    ring::roster list;
};
using layout = ring::monitor_layout<semaphore_state>;
using session = ring::monitor_session<semaphore_state>;

std::uint64_t held(semaphore_state& state) {
    std::uint64_t sum = 0;
    for (const auto& entry : state.list) sum += entry.count;
    return sum;
}

std::uint64_t available_in(semaphore_state& state) {
    const std::uint64_t in_hands = held(state);
    return state.permits - std::min(in_hands, state.permits);
}

/// True when permits of the dead have become available.
bool release_of_the_dead(semaphore_state& state, os::look how) {
    const std::uint64_t before = available_in(state);
    state.list.remove_dead([&](os::life who) { return os::process_lives(who, how); },
                           [&](const ring::roster_entry& dead) {
                               const std::uint64_t surplus =
                                   state.permits - std::min(state.permits, state.first_permits);
                               state.permits -= std::min(dead.count, surplus);
                           });
    return available_in(state) > before;
}

/// Reduces `add` by what the entry had.
void give_back(semaphore_state& state, ring::roster_entry* entry, std::uint64_t& add) {
    const std::uint64_t part = std::min(entry->count, add);
    entry->count -= part;
    add -= part;
    if (entry->count == 0) state.list.remove(entry);
}

void take(semaphore_state& state, const char* what) {
    const os::life self = os::own_process();
    auto* mine = state.list.find(self);
    if (mine == nullptr) {
        mine = state.list.add({self, 0, 0});
        if (mine == nullptr) {
            (void)release_of_the_dead(state, os::look::thorough);
            mine = state.list.add({self, 0, 0});
        }
        if (mine == nullptr) {
            throw error("bulkhead: " + std::to_string(ring::roster::size_max) +
                        " processes hold permits of " + what + " already; no more can");
        }
    }
    ++mine->count;
}

}  // namespace

namespace ring {

constinit const sync_traits semaphore_traits{object_kind::semaphore, sizeof(layout),
                                             [](std::byte* body, std::uint64_t permits) {
                                                 layout::construct(body, {permits, permits, {}});
                                             },
                                             [](const std::byte* body, object_account& to) {
                                                 semaphore_state state = layout::glimpse(body);
                                                 to.add("available", available_in(state));
                                                 to.add("held", held(state));
                                                 for (const auto& entry : state.list)
                                                     to.processes.push_back(entry.who);
                                             }};

}  // namespace ring

std::uint64_t semaphore::checked(std::ptrdiff_t permits) {
    if (permits < 0 || permits > max()) {
        throw usage_error("bulkhead: a semaphore of " + std::to_string(permits) +
                          " permits; 0 to " + std::to_string(max()) + " are possible");
    }
    return static_cast<std::uint64_t>(permits);
}

bool semaphore::acquire_until(detail::deadline until) const {
    auto& memory = shared().as<layout>();
    bool late = until == detail::wait_not_at_all;
    bool slept = false;
    for (;;) {
        session now(memory, until, shared().what());
        if (!now) return false;
        const auto look = [&] {
            return late || (slept && memory.looked.is_due()) ? os::look::thorough : os::look::quick;
        };
        if (available_in(now.draft()) != 0 || release_of_the_dead(now.draft(), look())) {
            take(now.draft(), shared().what());
            // Who was woken for the next one may have died, or nobody, when it came from the dead.
            if (available_in(now.draft()) != 0) {
                now.commit_and_wake(1);
            } else {
                now.commit();
            }
            return true;
        }
        if (late) return false;
        late = !now.sleep(until);
        slept = true;
    }
}

void semaphore::release(std::ptrdiff_t permits) const {
    if (permits < 0) {
        throw usage_error("bulkhead: release(" + std::to_string(permits) +
                          ") of a semaphore; it takes 0 or more");
    }
    session now(shared().as<layout>(), detail::wait_for_ever, shared().what());
    semaphore_state& state = now.draft();
    auto add = static_cast<std::uint64_t>(permits);
    const std::uint64_t there = available_in(state);
    constexpr auto most = static_cast<std::uint64_t>(max());
    if (add > most || there > most - add) {
        throw usage_error(std::string("bulkhead: release(") + std::to_string(permits) + ") of " +
                          shared().what() + ", which has " + std::to_string(there) +
                          " available; there can be " + std::to_string(max()));
    }
    if (add == 0) return;
    if (auto* mine = state.list.find(os::own_process())) give_back(state, mine, add);
    // Then for others: what one process acquires and another releases is in nobody's hands.
    while (add != 0 && state.list.begin() != state.list.end()) {
        give_back(state, state.list.begin(), add);
    }
    state.permits += add;
    now.commit_and_wake(permits > INT_MAX ? INT_MAX : static_cast<int>(permits));
}

std::ptrdiff_t semaphore::available() const {
    session now(shared().as<layout>(), detail::wait_for_ever, shared().what());
    const bool more = release_of_the_dead(now.draft(), os::look::thorough);
    const auto count = static_cast<std::ptrdiff_t>(available_in(now.draft()));
    if (more) now.commit_and_wake();
    return count;
}

}  // namespace bulkhead
