// The memory that the parent shares with one generation of one worker, beside its message queues.
//
//   a task at a worker, as its slot and `current` tell it:
//
//   posted ──received──▶ taken ──▶ decode ──▶ run ──▶ encode ──▶ published ──▶ collected
//   (parent)             (worker stores `current` = id | phase)  (worker stores  (parent, from the
//                                                                 slot.published)  queue or the slot)
//
// Invariants, on which recovery rests:
//  1. A task whose id was never in `current` has not begun: it may be run elsewhere.
//  2. `slot.published == id` is the one store that makes a result exist; the envelope in the slot is
//     complete before it. The message in the result queue is a copy of it: should the worker die inside
//     the queue's lock, the parent reads the slots instead.
//  3. `current` is cleared after publishing and before the next task is received. So if the task queue
//     is empty and `current` still names a task, the worker is at that task and holds no other.
//  4. Everything here may be overwritten by the worker with anything: the parent copies, then checks,
//     and takes no address, size or id from it unchecked.
#pragma once

#include "channel/envelope.hpp"
#include "channel/mailbox.hpp"
#include "channel/payload.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace bulkhead::channel {

/// Tasks that may be at one worker at a time, and messages that a queue holds: it is never full.
inline constexpr std::size_t slots_max = 256;
/// Each direction's arena. Pages are allocated when touched, and stay for the next payload: fresh
/// ones cost several times the copy that fills them.
inline constexpr std::size_t arena_bytes = 64 << 20;
/// Larger payloads get a segment of their own, so that an arena holds several.
inline constexpr std::size_t arena_payload_bytes_max = detail::shared_payload_bytes_min;
/// What the items of one chunk may write before it is given back as it is.
inline constexpr std::size_t chunk_result_bytes = std::size_t{256} * 1024;

/// Sent over the lifeline when the queues exist.
inline constexpr const char* mail_is_open = "open";

inline constexpr std::uint64_t control_magic = 0x31'30'6b'6c'75'62;  // "bulk01": layout 1

struct alignas(64) slot {
    std::atomic<std::uint64_t> published;  // worker, release; pairs with the parent's acquire
    std::atomic<std::uint64_t> taken;  // parent: it has copied the result; frees its arena block
    std::uint64_t reserved[6];
    result_envelope result;
};
static_assert(sizeof(slot) == 320);

/// `current` and `partial` are words of two parts, so that each changes by one store.
[[nodiscard]] constexpr std::uint64_t make_current(std::uint64_t id, task_phase phase) noexcept {
    return id << 8 | static_cast<std::uint64_t>(phase);
}
[[nodiscard]] constexpr std::uint64_t current_id(std::uint64_t word) noexcept { return word >> 8; }
[[nodiscard]] constexpr std::uint64_t make_partial(std::uint64_t items,
                                                   std::uint64_t bytes) noexcept {
    return items << 40 | bytes;
}
[[nodiscard]] constexpr std::uint64_t partial_items(std::uint64_t word) noexcept {
    return word >> 40;
}
[[nodiscard]] constexpr std::uint64_t partial_bytes(std::uint64_t word) noexcept {
    return word & ((std::uint64_t{1} << 40) - 1);
}

struct control_block {
    std::uint64_t magic;
    std::uint64_t arena_bytes_each;
    std::atomic<std::uint32_t> attached;      // worker: it has opened its queues
    std::atomic<std::uint32_t> worker_spins;  // parent: 0 = go to sleep at once
    std::atomic<std::uint64_t> stop_task;     // parent: this task is asked to stop
    std::atomic<std::uint64_t> abandon_task;  // parent: this chunk may end after the item it is at

    // Going to sleep: store `asleep`, fence, look at `waiting` once more. Sending: add to `waiting`,
    // fence, exchange `asleep`; ring if it was set. One of the two sees the other (both fences are
    // seq_cst), so no wake-up is lost; and while nobody sleeps, nobody makes a system call.
    alignas(64) std::atomic<std::uint32_t> tasks_waiting;
    gate task_gate;
    alignas(64) std::atomic<std::uint32_t> worker_asleep;
    alignas(64) std::atomic<std::uint32_t> results_waiting;
    gate result_gate;
    alignas(64) std::atomic<std::uint32_t> parent_asleep;

    alignas(64) std::atomic<std::uint64_t> current;  // worker; 0: no task
    std::atomic<std::uint64_t> started_ns;           // worker: CLOCK_MONOTONIC, of the task or item
    std::atomic<std::uint64_t> partial_task;         // worker: whose items `partial` counts
    std::atomic<std::uint64_t> partial_offset;       // worker: where they lie in the result arena
    std::atomic<std::uint64_t> partial;  // worker, release: items and bytes that are done

    alignas(64) slot slots[slots_max];
};
static_assert(offsetof(control_block, tasks_waiting) == 64);
static_assert(offsetof(control_block, current) == 320);
static_assert(offsetof(control_block, slots) == 384);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

inline constexpr std::size_t control_bytes = (sizeof(control_block) + 4095) / 4096 * 4096;
inline constexpr std::size_t compartment_bytes = control_bytes + 2 * arena_bytes;

/// CLOCK_MONOTONIC in nanoseconds: the same clock in every process.
[[nodiscard]] std::uint64_t monotonic_ns() noexcept;

}  // namespace bulkhead::channel
