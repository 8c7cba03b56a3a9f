// The memory that the parent shares with one generation of one worker: a ring of slots, one for each
// task that is at the worker, and behind it the arenas.
//
// The parent gives each task that it hands out a ticket, counting from 1; ticket t lies in slot
// t % slots_max, and the worker goes through the tickets in order. The slot's `state` holds the ticket
// and the step it has reached, so that every step is one store, or one compare-and-swap where both
// sides may move:
//
//   posted ──▶ decode ──▶ run ──▶ encode ──▶ published ──▶ (collected: in the parent's books)
//    │  ▲        ▲                  │
//    ▼  │        └──────────────────┘ next item of a chunk
//   withdrawn ──▶ passed ──▶ (free: in the parent's books)
//
//   posted → withdrawn, withdrawn → posted    parent, compare-and-swap (the second with a new task)
//   posted → decode, withdrawn → passed       worker, compare-and-swap
//   decode ... published                      worker, store
//
// Invariants, on which recovery rests:
//  1. A task begins by posted → decode and is taken back by posted → withdrawn; one of the two swaps
//     succeeds. So a task that was taken back never begins, and one that still says `posted` when its
//     worker is dead has not begun: it may be run elsewhere.
//  2. `published` is the one store that makes a result exist; its envelope is complete before it
//     (release), and whoever reads the word (acquire) reads all of it. The ring of the bell comes after,
//     and may be lost with the worker: the parent looks at the slots of the dead.
//  3. One task is in decode, run or encode at a time; those with lower tickets are published or passed.
//     So killing a worker while nothing is posted costs the one task that it is at, and no other.
//  4. A slot is used for a new ticket only when the old one was collected, or was passed by the worker
//     and, in its walk through the tickets, by the parent's collecting side.
//  5. No lock, no pointer, no index is in here, and the parent believes nothing that is: it keeps books
//     of its own, copies, then checks. Garbage can make a worker useless, and it is then killed for it
//     (compartment::consistent), but cannot lead the parent anywhere.
#pragma once

#include "channel/envelope.hpp"
#include "channel/payload.hpp"
#include "channel/progress_record.hpp"
#include "os/crash_report.hpp"

#include <bulkhead/error.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace bulkhead::channel {

/// Tasks that may be at one worker at a time.
inline constexpr std::size_t slots_max = 256;
/// Each direction's arena. Pages are allocated when touched, and stay for the next payload: fresh
/// ones cost several times the copy that fills them.
inline constexpr std::size_t arena_bytes = 64 << 20;
/// Larger payloads get a segment of their own, so that an arena holds several.
inline constexpr std::size_t arena_payload_bytes_max = detail::shared_payload_bytes_min;
/// What the items of one chunk may write before it is given back as it is.
inline constexpr std::size_t chunk_result_bytes = std::size_t{256} * 1024;

inline constexpr std::uint64_t control_magic = 0x36'30'6b'6c'75'62;  // "bulk06": layout 6

enum class slot_step : std::uint8_t {
    empty = 0,
    decode = static_cast<std::uint8_t>(task_phase::decode),
    run = static_cast<std::uint8_t>(task_phase::run),
    encode = static_cast<std::uint8_t>(task_phase::encode),
    posted,
    withdrawn,
    passed,
    published,
};

/// A ticket and its step in one word.
[[nodiscard]] constexpr std::uint64_t make_state(std::uint64_t ticket, slot_step step) noexcept {
    return ticket << 8 | static_cast<std::uint64_t>(step);
}
[[nodiscard]] constexpr std::uint64_t ticket_of(std::uint64_t state) noexcept { return state >> 8; }
[[nodiscard]] constexpr slot_step step_of(std::uint64_t state) noexcept {
    return static_cast<slot_step>(state & 0xff);
}
[[nodiscard]] constexpr bool has_begun(slot_step step) noexcept {
    return step == slot_step::decode || step == slot_step::run || step == slot_step::encode;
}

struct alignas(64) slot {
    std::atomic<std::uint64_t> state;
    task_envelope task;
    std::atomic<std::uint64_t>
        taken;  // parent: the ticket whose result it has copied out of the arena
    result_envelope result;
};
static_assert(sizeof(slot) == 512);
static_assert(offsetof(slot, taken) == 256);

struct control_block {
    std::uint64_t magic;
    std::uint64_t arena_bytes_each;
    std::atomic<std::uint32_t> attached;        // worker: it serves tasks
    std::atomic<std::uint32_t> worn;            // worker: it has grown and had better be replaced
    std::uint64_t memory_max_bytes;             // parent, before the start; 0: no limit
    std::uint64_t output_by_task;               // parent, before the start; 1: see worker_main.cpp
    std::atomic<std::uint64_t> stop_ticket;     // parent: this task is asked to stop
    std::atomic<std::uint64_t> abandon_ticket;  // parent: this chunk may end after its item
    std::atomic<std::uint64_t> stale_segments;  // parent: those sent up to this one are of no task

    // Going to sleep: store `asleep`, fence, look at the next slot once more. Sending: store the
    // slot's state, fence, exchange `asleep`; ring if it was set. One of the two sees the other (both
    // fences are seq_cst), so no wake-up is lost; and while nobody sleeps, nobody makes a system call.
    alignas(64) std::atomic<std::uint32_t> worker_asleep;
    alignas(64) std::atomic<std::uint32_t> parent_asleep;  // its loop, until the bell rings
    std::atomic<std::uint32_t>
        caller_asleep;  // a thread in compartment::sleep_as_caller, on this word
    std::atomic<std::uint32_t> worker_cpu;  // worker, before it sleeps: where it has run

    alignas(
        64) std::atomic<std::uint64_t> started_ns;  // worker: CLOCK_MONOTONIC, of the task or item
    std::atomic<std::uint64_t> partial_ticket;      // worker: whose items `partial` counts
    std::atomic<std::uint64_t> partial_offset;      // worker: where they lie in the result arena
    /// Worker, release: detail::make_chunk_word of what is done, perhaps with detail::between_items.
    std::atomic<std::uint64_t> partial;

    alignas(64) slot slots[slots_max];

    os::crash_report crash;  // worker: where it crashed

    progress_record progress[slots_max];  // worker: of the task in that slot
};
static_assert(offsetof(control_block, worker_asleep) == 64);
static_assert(offsetof(control_block, started_ns) == 192);
static_assert(offsetof(control_block, slots) == 256);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

inline constexpr std::size_t control_bytes = (sizeof(control_block) + 4095) / 4096 * 4096;
inline constexpr std::size_t compartment_bytes = control_bytes + 2 * arena_bytes;

/// CLOCK_MONOTONIC in nanoseconds: the same clock in every process.
[[nodiscard]] std::uint64_t monotonic_ns() noexcept;
/// The same as of the last tick of the kernel, for a third of the price.
[[nodiscard]] std::uint64_t coarse_ns() noexcept;

}  // namespace bulkhead::channel
