// barrier: how many have arrived in this phase, and which processes have a handle.
//
// Invariants of a valid state: arrived < missing at first = expected, unless both are 0, as all parties have
// dropped; parties <= expected; `broken` never goes back; no process is listed twice, and none with 0
// handles.
#include <bulkhead/barrier.hpp>

#include "os/life.hpp"
#include "ring/monitor.hpp"
#include "ring/sync_object.hpp"

#include <bulkhead/error.hpp>

#include <algorithm>

namespace bulkhead {
namespace {

struct barrier_state {
    std::uint64_t parties;   ///< of the phases that follow
    std::uint64_t expected;  ///< in this phase
    std::uint64_t arrived;
    std::uint64_t phase;
    std::uint64_t broken;  ///< 0 or 1
    ring::roster list;     ///< count: handles of the process
};
using layout = ring::monitor_layout<barrier_state>;
using session = ring::monitor_session<barrier_state>;

[[noreturn]] void throw_broken(const ring::sync_object& object) {
    throw barrier_broken(std::string("bulkhead: ") + object.what() +
                         " is broken: a process that had it died, or it was aborted");
}

/// Breaks the barrier if one of those that have a handle is dead; whether it is broken.
bool is_broken(layout& memory, session& now, bool thorough) {
    barrier_state& state = now.draft();
    if (state.broken != 0) return true;
    const os::look how = thorough || memory.looked.is_due() ? os::look::thorough : os::look::quick;
    const bool all_live = std::all_of(state.list.begin(), state.list.end(), [&](const auto& entry) {
        return os::process_lives(entry.who, how);
    });
    if (all_live) return false;
    state.broken = 1;
    now.commit_and_wake();
    return true;
}

/// Another handle of this process.
void enlist(barrier_state& state, const char* what) {
    auto* self = state.list.find(os::own_process());
    if (self == nullptr) self = state.list.add({os::own_process(), 0, 0});
    if (self == nullptr) {
        throw error("bulkhead: " + std::to_string(ring::roster::size_max) + " processes have " +
                    what + " already; no more can");
    }
    ++self->count;
}

void attach(ring::sync_object& object) {
    session now(object.as<layout>(), detail::wait_for_ever, object.what());
    enlist(now.draft(), object.what());
    now.commit();
}

void detach(ring::sync_object& object) noexcept {
    try {
        session now(object.as<layout>(), detail::wait_for_ever, object.what());
        barrier_state& state = now.draft();
        auto* self = state.list.find(os::own_process());
        if (self == nullptr) return;
        if (--self->count == 0) state.list.remove(self);
        now.commit();
    } catch (const error&) {  // NOLINT(bugprone-empty-catch): damaged; the next operation says so
    }
}

}  // namespace

namespace ring {

constinit const sync_traits barrier_traits{
    object_kind::barrier,
    sizeof(layout),
    [](std::byte* body, std::uint64_t parties) {
        layout::construct(body, {parties, parties, 0, 0, 0, {}});
    },
    [](const std::byte* body, object_account& to) {
        barrier_state state = layout::glimpse(body);
        to.add("parties", state.parties);
        to.add("arrived", state.arrived);
        to.add("broken", state.broken);
        for (const auto& entry : state.list) to.processes.push_back(entry.who);
    },
    attach,
    detach};

}  // namespace ring

std::uint64_t barrier::checked(std::ptrdiff_t parties) {
    if (parties < 1 || parties > max()) {
        throw usage_error("bulkhead: a barrier for " + std::to_string(parties) + " parties; 1 to " +
                          std::to_string(max()) + " are possible");
    }
    return static_cast<std::uint64_t>(parties);
}

std::uint64_t barrier::arrive_as(std::ptrdiff_t count, bool and_drop) const {
    auto& memory = shared().as<layout>();
    session now(memory, detail::wait_for_ever, shared().what());
    barrier_state& state = now.draft();
    if (state.broken != 0) throw_broken(shared());
    const std::uint64_t missing = state.expected - std::min(state.arrived, state.expected);
    if (count < 1 || static_cast<std::uint64_t>(count) > missing) {
        throw usage_error("bulkhead: " + std::to_string(count) + " arrive at " + shared().what() +
                          ", where " + std::to_string(missing) + " are missing");
    }
    // One that completes the phase needs nobody else.
    if (static_cast<std::uint64_t>(count) != missing && is_broken(memory, now, false)) {
        throw_broken(shared());
    }
    // In the step in which the fork arrives: never one without the other.
    if (!shared().is_attached()) {
        enlist(state, shared().what());
        shared().note_attached();
    }
    const std::uint64_t phase = state.phase;
    state.arrived += static_cast<std::uint64_t>(count);
    if (and_drop) --state.parties;
    if (state.arrived != state.expected) {
        now.commit();
        return phase;
    }
    state.arrived = 0;
    state.expected = state.parties;
    ++state.phase;
    now.commit_and_wake();
    return phase;
}

bool barrier::wait_until_deadline(std::uint64_t phase, detail::deadline until) const {
    auto& memory = shared().as<layout>();
    bool late = until == detail::wait_not_at_all;
    for (;;) {
        session now(memory, until, shared().what());
        if (!now) return false;
        barrier_state& state = now.draft();
        // A phase that was complete before the barrier broke is complete.
        if (state.phase != phase) return true;
        if (is_broken(memory, now, late)) throw_broken(shared());
        if (late) return false;
        late = !now.sleep(until);
    }
}

void barrier::abort() const {
    session now(shared().as<layout>(), detail::wait_for_ever, shared().what());
    now.draft().broken = 1;
    now.commit_and_wake();
}

bool barrier::broken() const {
    auto& memory = shared().as<layout>();
    session now(memory, detail::wait_for_ever, shared().what());
    return is_broken(memory, now, true);
}

}  // namespace bulkhead
