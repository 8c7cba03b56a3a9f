// The byte ring's memory.
//
//   lock | data, space, tasks: wait channels | geometry | marks | commit | state 0, state 1 | buffer
//
// A message is a 64-bit length and its bytes, padded to a multiple of 8; the buffer is one too, so a
// length never wraps around its end, only bytes do.
//
// Everything that changes is in two states, of which `commit` (its lowest bit) says which is valid:
//
//   valid state i --(lock owner writes state 1-i wholly, and message bytes outside of what state i
//                    calls used)--> still valid state i --(commit + 1: the one store that counts)-->
//   valid state 1-i
//
// Whoever gets the lock, from a living or a dead owner, finds the state before or after an operation
// and never one between; there is nothing to repair. Invariants of a valid state:
//   head < buffer_bytes, used <= buffer_bytes, both multiples of 8; head = 0 when used = 0
//   put - got = number of messages in [head, head + used); used = 0 exactly when it is 0
//   unfinished <= put
#pragma once

#include "ring/robust_mutex.hpp"
#include "ring/wait_channel.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace bulkhead::ring {

struct alignas(64) ring_state {
    std::uint64_t head;        ///< where the oldest message begins
    std::uint64_t used;        ///< bytes from there on that hold messages
    std::uint64_t put;         ///< messages ever put
    std::uint64_t got;         ///< messages ever taken
    std::uint64_t unfinished;  ///< messages put, and not yet reported by task_done
    std::uint32_t closed;      ///< 0 or 1; never goes back
    std::uint32_t reserved;
};
static_assert(sizeof(ring_state) == 64);
static_assert(offsetof(ring_state, closed) == 40);

/// Written by the maker, then constant.
struct alignas(64) ring_geometry {
    std::uint64_t capacity_bytes;
    std::uint64_t buffer_bytes;
};
static_assert(sizeof(ring_geometry) == 64);

/// For programs that stream through a queue; the ring itself does not look at them.
struct alignas(64) ring_marks {
    std::atomic<std::uint32_t> writers_started;
    std::atomic<std::uint32_t> writers_ended;
    std::atomic<std::uint32_t> keep;
};
static_assert(sizeof(ring_marks) == 64);

struct ring_layout {
    robust_mutex lock;
    wait_channel data;
    wait_channel space;
    wait_channel tasks;
    ring_geometry geometry;
    ring_marks marks;
    alignas(64) std::atomic<std::uint32_t> commit;
    std::uint64_t
        space_wanted;  ///< a hint, under the lock: free bytes that make waking a writer pay
    ring_state states[2];
};
static_assert(sizeof(ring_layout) == 576);
static_assert(offsetof(ring_layout, geometry) == 256);
static_assert(offsetof(ring_layout, commit) == 384);
static_assert(offsetof(ring_layout, states) == 448);

}  // namespace bulkhead::ring
