// condition_variable: a list of those who wait, oldest first, each marked once it is notified.
//
//   listed --notify--> marked --(itself)--> not listed: it returns
//   listed --deadline--> (itself) not listed: it returns too late
//   listed or marked --dead--> not listed, by another waiter; its mark goes to the oldest without one of
//                              those that waited when it was given
//
// An entry is a thread's id and a number of its own, as a thread that is killed may have left one.
#include <bulkhead/condition_variable.hpp>

#include "os/futex.hpp"
#include "ring/monitor.hpp"
#include "ring/sync_object.hpp"

#include <bulkhead/error.hpp>

#include <algorithm>
#include <chrono>
#include <climits>

namespace bulkhead {
namespace {

struct condition_state {
    std::uint64_t next_number;
    ring::roster list;  ///< count: its number; mark: when notified, the next number then
};
using layout = ring::monitor_layout<condition_state>;
using session = ring::monitor_session<condition_state>;

/// Wake-ups are told apart by a bit, so that a notification wakes few others than the one it is for.
std::uint32_t bit_of(std::uint64_t number) { return std::uint32_t{1} << (number % 32); }

ring::roster_entry* find(condition_state& state, std::uint64_t number) {
    return state.list.find_if([&](const auto& entry) { return entry.count == number; });
}

/// Marks up to so many of those that waited when `before` was the next number; the bits of those marked.
std::uint32_t notify(condition_state& state, std::uint64_t how_many, std::uint64_t before) {
    std::uint32_t bits = 0;
    for (auto& entry : state.list) {
        if (how_many == 0) break;
        // One that has been reaped would only lose time; others are found out later.
        if (entry.mark != 0 || entry.count >= before ||
            !os::thread_lives(entry.who, os::look::quick)) {
            continue;
        }
        entry.mark = before;
        bits |= bit_of(entry.count);
        --how_many;
    }
    return bits;
}

/// Takes the dead off the list, and gives their notifications to others; the bits of all that are
/// notified, as a notifier may have died before it could wake them.
std::uint32_t bury_the_dead(condition_state& state) {
    state.list.remove_dead([](os::life who) { return os::thread_lives(who, os::look::thorough); },
                           [&](const ring::roster_entry& dead) {
                               if (dead.mark != 0) (void)notify(state, 1, dead.mark);
                           });
    std::uint32_t bits = 0;
    for (const auto& entry : state.list) bits |= entry.mark != 0 ? bit_of(entry.count) : 0;
    return bits;
}

void wake(layout& memory, std::uint32_t bits) {
    if (bits == 0) return;
    memory.sequence.fetch_add(1, std::memory_order_release);
    (void)os::futex_wake(memory.sequence, INT_MAX, os::futex_scope::shared, bits);
}

void notify_and_wake(ring::sync_object& object, std::uint64_t how_many) {
    auto& memory = object.as<layout>();
    session now(memory, detail::wait_for_ever, object.what());
    const std::uint32_t bits = notify(now.draft(), how_many, now.draft().next_number);
    if (bits == 0) return;
    now.commit();
    now.release();
    wake(memory, bits);
}

}  // namespace

namespace ring {

constinit const sync_traits condition_variable_traits{
    object_kind::condition_variable, sizeof(layout),
    [](std::byte* body, std::uint64_t) {
        layout::construct(body, {0, {}});
    },
    [](const std::byte* body, object_account& to) {
        condition_state state = layout::glimpse(body);
        to.add("waiters", state.list.size);
        for (const auto& entry : state.list) to.threads.push_back(entry.who);
    }};

}  // namespace ring

void condition_variable::notify_one() const { notify_and_wake(shared(), 1); }
void condition_variable::notify_all() const { notify_and_wake(shared(), UINT64_MAX); }

condition_variable::waiter::waiter(const condition_variable& on) : on_(on), number_(0), seen_(0) {
    auto& memory = on_.shared().as<layout>();
    const char* what = on_.shared().what();
    std::uint32_t bits = 0;
    {
        session now(memory, detail::wait_for_ever, what);
        condition_state& state = now.draft();
        number_ = state.next_number++;
        const ring::roster_entry self{os::own_thread(), number_, 0};
        auto* listed = state.list.add(self);
        if (listed == nullptr) {
            bits = bury_the_dead(state);
            listed = state.list.add(self);
        }
        if (listed == nullptr) {
            throw error("bulkhead: " + std::to_string(ring::roster::size_max) +
                        " threads wait on " + what + " already; no more can");
        }
        seen_ = memory.sequence.load(std::memory_order_acquire);
        now.commit();
    }
    wake(memory, bits);
}

condition_variable::waiter::~waiter() {
    if (!listed_) return;
    try {
        // Not notified in vain: another has it.
        auto& memory = on_.shared().as<layout>();
        session now(memory, detail::wait_for_ever, on_.shared().what());
        auto* self = find(now.draft(), number_);
        if (self == nullptr) return;
        const std::uint64_t notified = self->mark;
        now.draft().list.remove(self);
        const std::uint32_t bits = notified != 0 ? notify(now.draft(), 1, notified) : 0;
        now.commit();
        now.release();
        wake(memory, bits);
    } catch (const error&) {  // NOLINT(bugprone-empty-catch): damaged; the next operation says so
    }
}

bool condition_variable::waiter::sleep(detail::deadline until) {
    auto& memory = on_.shared().as<layout>();
    for (;;) {
        const auto beat = std::chrono::steady_clock::now() + ring::heartbeat;
        (void)os::futex_wait(memory.sequence, seen_, std::min(until, beat), os::futex_scope::shared,
                             bit_of(number_));
        const bool late =
            until != detail::wait_for_ever && std::chrono::steady_clock::now() >= until;
        const bool look = memory.looked.is_due();
        const std::uint32_t sequence = memory.sequence.load(std::memory_order_acquire);
        if (sequence == seen_ && !late && !look) continue;
        seen_ = sequence;

        session now(memory, detail::wait_for_ever, on_.shared().what());
        condition_state& state = now.draft();
        std::uint32_t bits = 0;
        if (look && memory.looked.is_still_due()) {
            bits = bury_the_dead(state);
            memory.looked.ended();
        }
        auto* self = find(state, number_);
        const bool notified = self != nullptr && self->mark != 0;
        if (self == nullptr) {
            throw error(std::string("bulkhead: the memory of ") + on_.shared().what() +
                        " is damaged: a thread that waits is not listed");
        }
        if (notified || late) state.list.remove(self);
        now.commit();
        now.release();
        wake(memory, bits);
        if (notified || late) {
            listed_ = false;
            return notified;
        }
    }
}

}  // namespace bulkhead
