// Places where a test can have a process killed: each step of the protocols between processes. Only in
// a build with BULKHEAD_KILL_POINTS; nothing at all otherwise.
#pragma once

#ifdef BULKHEAD_KILL_POINTS

#include <algorithm>
#include <array>
#include <string_view>

namespace bulkhead::os {

/// In the order in which a task, a pool, a message meets them.
inline constexpr std::array worker_kill_points = std::to_array<std::string_view>({
    "worker.attached",        // it serves tasks
    "worker.taken",           // a task has begun
    "worker.run",             // its arguments are decoded
    "worker.reporting",       // its report of progress is half written
    "worker.item_done",       // an item of a chunk is committed
    "worker.encode",          // its function has returned
    "worker.handed",          // what its result refers to is on its way to the parent
    "worker.finish",          // its result is encoded
    "worker.lent",            // the result lies in the arena
    "worker.memory_sent",     // its memory is on its way to the parent
    "worker.result_written",  // complete, not published
    "worker.published",       // the parent not told
    "worker.rung",            // told
    "worker.caller_woken",    // told, a caller
    "worker.passed",          // a task that was taken back is passed
    "worker.asleep",          // has said that it sleeps
});
inline constexpr std::array parent_kill_points = std::to_array<std::string_view>({
    "parent.keeper_started",  // it watches nothing yet
    "parent.watched",         // the keeper knows of the process, which waits to be let go
    "parent.spawned",         // the process exists, nobody here knows
    "parent.ready",           // known, takes tasks
    "parent.spare_taken",     // a worker has left the waiting ones and has no seat yet
    "parent.placed",          // arguments are where the worker will find them
    "parent.posted",          // the task is posted, the worker not told
    "parent.told",            // the worker is told
    "parent.withdrawn",       // a task is taken back
    "parent.collected",       // a result is copied out
    "parent.accepted",        // its future not resolved
    "parent.resolved",        // its future resolved
    "parent.condemned",       // a worker got SIGTERM
    "parent.death_seen",      // a worker is dead
    "parent.left",            // its group is killed, its remains are the keeper's, it is not reaped
    "parent.settled",         // its tasks are settled, its successor not started
});
inline constexpr std::array ring_kill_points = std::to_array<std::string_view>({
    "ring.locked",         // has the lock
    "ring.copied",         // the message is copied
    "ring.state_written",  // the next state is written, not valid
    "ring.committed",      // valid, the lock held
    "ring.unlocked",       // does not know whether anybody sleeps
    "ring.decided",        // has decided whom to wake
    "ring.woken",
    "ring.enlisted",  // is listed as waiting, the lock held
    "ring.sleeping",  // about to sleep
});
inline constexpr std::array monitor_kill_points = std::to_array<std::string_view>({
    "monitor.locked",     // has the lock of a semaphore, condition variable or barrier
    "monitor.drafted",    // the next state is written, not valid
    "monitor.committed",  // valid, the lock held
    "monitor.unlocked",   // has woken nobody
    "monitor.enlisted",   // is listed as waiting, the lock held
});
inline constexpr std::array shared_mutex_kill_points = std::to_array<std::string_view>({
    "shared.gate",       // has the gate
    "shared.pending",    // keeps it, and sharers out
    "shared.exclusive",  // has the lock alone
    "shared.leaving",    // has it no more, the gate held
    "shared.listed",     // shares the lock, the gate held
    "shared.unlisted",   // shares no more, has woken nobody
});
inline constexpr std::array event_kill_points = std::to_array<std::string_view>({
    "event.set",  // has woken nobody
});
inline constexpr std::array shared_map_kill_points = std::to_array<std::string_view>({
    "map.locked",     // has the lock
    "map.changing",   // has said that it changes the container, which is whole yet
    "map.allocated",  // has memory for an entry, which is not in the container
    "map.changed",    // the container is whole again, has not said so
    "map.settled",    // has said so, the lock held
    "map.logged",     // a new value is complete beside the old one, and counts
    "map.replaced",   // is where the old one was, has not said so
    "map.unlocked",
});

consteval bool is_kill_point(std::string_view name) {
    const auto in = [name](const auto& points) {
        return std::find(points.begin(), points.end(), name) != points.end();
    };
    return in(worker_kill_points) || in(parent_kill_points) || in(ring_kill_points) ||
           in(monitor_kill_points) || in(shared_mutex_kill_points) || in(event_kill_points) ||
           in(shared_map_kill_points);
}

/// SIGKILL for this process when it comes to the point `name` for the nth time from now on. Also from
/// the environment: BULKHEAD_KILL_AT=NAME:N; with BULKHEAD_KILL_ONCE=FILE only the process that
/// succeeds in removing that file dies. One thread at a time.
void arm_kill_point(std::string_view name, unsigned nth);
void pass_kill_point(std::string_view name) noexcept;

}  // namespace bulkhead::os

#define BULKHEAD_KILL_POINT(name)                                              \
    do {                                                                       \
        static_assert(::bulkhead::os::is_kill_point(name), "not in the list"); \
        ::bulkhead::os::pass_kill_point(name);                                 \
    } while (false)

#else
#define BULKHEAD_KILL_POINT(name) static_cast<void>(0)
#endif
