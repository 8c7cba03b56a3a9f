// shared_mutex: a gate, and a list of those who share.
//
//   sharer:  takes the gate, writes itself into a free slot, and gives the gate back; leaves by
//            clearing its slot
//   alone:   takes the gate and keeps it; phase = pending; waits until every slot is free or its
//            holder dead; phase = exclusive
//
// The gate is a robust mutex, so the kernel hands on a dead owner's. A slot is one word, written by one
// store, so whoever dies is in the list or is not. Invariants:
//   a slot becomes taken only by the gate's owner; it becomes free by its holder, or, when that is dead,
//   by the gate's owner
//   phase is not `none` only while the gate is owned, or its owner is dead
//   phase = exclusive: every slot is free. Who inherits the gate in it inherits what is protected half
//   done; `half_done` is set before the phase is left, until somebody has the lock alone
//
// No wake-up of who waits alone is lost: it sets the phase and then looks at the slots, a sharer clears
// its slot and then looks at the phase, all sequentially consistent. Where the sharer dies between its
// two steps, a heartbeat ends the sleep.
#include <bulkhead/shared_mutex.hpp>

#include "os/futex.hpp"
#include "os/kill_point.hpp"
#include "os/life.hpp"
#include "ring/robust_mutex.hpp"
#include "ring/sync_object.hpp"
#include "ring/wait_channel.hpp"

#include <bulkhead/error.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <new>
#include <string>

namespace bulkhead {
namespace {

constexpr std::uint32_t sharers_max = 1000;

enum phase : std::uint32_t { none = 0, pending = 1, exclusive = 2 };

struct shared_mutex_layout {
    ring::robust_mutex gate;
    alignas(64) std::atomic<std::uint32_t> phase;
    std::atomic<std::uint32_t> half_done;
    std::atomic<std::uint32_t> departures;  ///< who waits alone sleeps on it
    std::atomic<std::uint32_t> slots_used;  ///< slots behind have never been taken
    alignas(64) std::atomic<os::life> slots[sharers_max];
};
static_assert(offsetof(shared_mutex_layout, slots) == 128);

/// One thread's operations.
class sharing {
public:
    explicit sharing(ring::sync_object& object)
        : object_(object), layout_(object.as<shared_mutex_layout>()) {}

    bool lock(detail::deadline until, lock_state& how) {
        if (find(os::own_thread()) != nullptr) throw_has_it("and would wait for itself");
        const auto got = pass_gate(until);
        if (got == ring::acquired::no) return false;
        BULKHEAD_KILL_POINT("shared.gate");
        note_heritage(got);
        layout_.phase.store(phase::pending);
        BULKHEAD_KILL_POINT("shared.pending");
        if (!await_departures(until)) {
            layout_.phase.store(phase::none);
            leave_gate();
            return false;
        }
        layout_.phase.store(phase::exclusive);
        BULKHEAD_KILL_POINT("shared.exclusive");
        const bool half_done = layout_.half_done.exchange(0) != 0;
        how = half_done ? lock_state::inherited : lock_state::clean;
        object_.note_lock(how, got == ring::acquired::inherited);
        return true;
    }

    void unlock() {
        if (!layout_.gate.is_mine()) throw_has_not("without having locked it");
        layout_.phase.store(phase::none);
        BULKHEAD_KILL_POINT("shared.leaving");
        object_.note_unlock();
        layout_.gate.unlock(object_.what());
    }

    bool lock_shared(detail::deadline until, lock_state& how) {
        const os::life self = os::own_thread();
        if (find(self) != nullptr) throw_has_it("and can share it once only");
        const auto got = pass_gate(until);
        if (got == ring::acquired::no) return false;
        BULKHEAD_KILL_POINT("shared.gate");
        note_heritage(got);
        layout_.phase.store(phase::none);
        std::atomic<os::life>* slot = free_slot();
        if (slot == nullptr) {
            leave_gate();
            throw error(std::string("bulkhead: ") + std::to_string(sharers_max) +
                        " threads share " + object_.what() + " already; no more can");
        }
        slot->store(self);
        BULKHEAD_KILL_POINT("shared.listed");
        how = layout_.half_done.load() != 0 ? lock_state::inherited : lock_state::clean;
        leave_gate();
        return true;
    }

    void unlock_shared() {
        std::atomic<os::life>* slot = find(os::own_thread());
        if (slot == nullptr) throw_has_not("as a sharer without sharing it");
        slot->store(0);
        BULKHEAD_KILL_POINT("shared.unlisted");
        if (layout_.phase.load() == phase::none) return;
        layout_.departures.fetch_add(1);
        (void)os::futex_wake(layout_.departures, 1, os::futex_scope::shared);
    }

private:
    [[noreturn]] void throw_has_it(const char* and_so) const {
        throw usage_error(std::string("bulkhead: this thread has locked ") + object_.what() +
                          " already, " + and_so);
    }
    [[noreturn]] void throw_has_not(const char* how) const {
        throw usage_error(std::string("bulkhead: this thread unlocks ") + object_.what() + " " +
                          how);
    }

    [[nodiscard]] std::uint32_t slots_used() const {
        return std::min(layout_.slots_used.load(), sharers_max);
    }

    [[nodiscard]] std::atomic<os::life>* find(os::life who) const {
        const std::uint32_t used = slots_used();
        for (std::uint32_t i = 0; i != used; ++i) {
            if (layout_.slots[i].load(std::memory_order_relaxed) == who) return &layout_.slots[i];
        }
        return nullptr;
    }

    /// The gate's owner only, as all that follows.
    [[nodiscard]] std::atomic<os::life>* free_slot() {
        if (auto* slot = find(0)) return slot;
        const std::uint32_t used = slots_used();
        if (used != sharers_max) {
            layout_.slots_used.store(used + 1);
            return &layout_.slots[used];
        }
        (void)nobody_shares(os::look::thorough);
        return find(0);
    }

    void note_heritage(ring::acquired got) {
        if (got == ring::acquired::inherited && layout_.phase.load() == phase::exclusive) {
            layout_.half_done.store(1);
        }
    }

    /// Frees the slots of those found dead.
    [[nodiscard]] bool nobody_shares(os::look how) {
        bool nobody = true;
        const std::uint32_t used = slots_used();
        for (std::uint32_t i = 0; i != used; ++i) {
            os::life who = layout_.slots[i].load();
            if (who == 0) continue;
            if (os::thread_lives(who, how)) {
                nobody = false;
            } else {
                layout_.slots[i].compare_exchange_strong(who, 0);
            }
        }
        return nobody;
    }

    [[nodiscard]] bool await_departures(detail::deadline until) {
        // By the clock: signals may end every sleep early.
        auto next_look = std::chrono::steady_clock::now() + ring::heartbeat;
        for (;;) {
            const std::uint32_t seen = layout_.departures.load();
            const auto now = std::chrono::steady_clock::now();
            const bool late = now >= until;
            const bool thorough = late || now >= next_look;
            if (nobody_shares(thorough ? os::look::thorough : os::look::quick)) return true;
            if (late) return false;
            if (thorough) next_look = now + ring::heartbeat;
            (void)os::futex_wait(layout_.departures, seen, std::min(until, next_look),
                                 os::futex_scope::shared);
        }
    }

    /// Who only tries waits nevertheless for a sharer that is just passing.
    ring::acquired pass_gate(detail::deadline until) {
        if (until != detail::wait_not_at_all) return layout_.gate.lock(until, object_.what());
        const auto patient = std::chrono::steady_clock::now() + ring::lock_patience;
        for (;;) {
            const auto got = layout_.gate.lock(detail::wait_not_at_all, object_.what());
            const bool late = std::chrono::steady_clock::now() >= patient;
            if (got != ring::acquired::no || layout_.phase.load() != phase::none || late)
                return got;
        }
    }

    void leave_gate() { layout_.gate.unlock(object_.what()); }

    ring::sync_object& object_;
    shared_mutex_layout& layout_;
};

}  // namespace

namespace ring {

constinit const sync_traits shared_mutex_traits{
    object_kind::shared_mutex, sizeof(shared_mutex_layout),
    [](std::byte* body, std::uint64_t) {
        auto* layout = new (body) shared_mutex_layout{};
        robust_mutex::construct(&layout->gate);
    },
    [](const std::byte* body, object_account& to) {
        const auto& layout = *reinterpret_cast<const shared_mutex_layout*>(body);
        if (layout.phase.load() != phase::none) to.add_lock(layout.gate);
        std::uint64_t sharers = 0;
        for (const auto& slot : layout.slots) {
            if (slot.load() == 0) continue;
            ++sharers;
            to.threads.push_back(slot.load());
        }
        to.add("sharers", sharers);
    }};

}  // namespace ring

bool shared_mutex::lock_until(detail::deadline until, lock_state* how) const {
    lock_state state = lock_state::clean;
    if (!sharing(shared()).lock(until, state)) return false;
    if (how != nullptr) *how = state;
    return true;
}

void shared_mutex::unlock() const { sharing(shared()).unlock(); }

lock_state shared_mutex::lock_shared() const {
    lock_state how = lock_state::clean;
    static_cast<void>(lock_shared_until(detail::wait_for_ever, &how));
    return how;
}

bool shared_mutex::lock_shared_until(detail::deadline until, lock_state* how) const {
    lock_state state = lock_state::clean;
    if (!sharing(shared()).lock_shared(until, state)) return false;
    if (how != nullptr) *how = state;
    return true;
}

void shared_mutex::unlock_shared() const { sharing(shared()).unlock_shared(); }

}  // namespace bulkhead
