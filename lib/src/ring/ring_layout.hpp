// The byte ring's memory.
//
//   writers' lock | readers' lock | data, space, tasks: wait channels | geometry | marks |
//   writers' side | readers' side | buffer
//
// A message is a 64-bit length and its bytes, padded to a multiple of 8; the buffer is one too, so a
// length never wraps around its end, only bytes do. Messages lie from `head` to `tail`. Writers change
// their side and the buffer's free part, under their lock; readers theirs, under the other: one writer
// and one reader do not wait for each other, but for the moment of going on at the beginning (below).
//
// A side is a position and two tallies, of which the position's lowest bit says which is valid:
//
//   position p, tally i --(lock owner writes tally 1-i wholly; a writer also message bytes behind p)-->
//   still p and i --(the position is stored: the one store that counts)--> position q, tally 1-i
//
// Whoever gets the lock, from a living or a dead owner, finds the side before or after an operation
// and never one between; there is nothing to repair. Invariants, for what is read under both locks:
//   head and tail are less than one round of the buffer apart, or exactly one
//   put - got = number of messages between them
//   done <= put
// Each side may look at the other's position without its lock, and keeps what it saw: that is never
// ahead of the truth, so a writer sees no more room, and a reader no more messages, than there are.
// Anybody may read a tally without a lock: it is whole when the position is the same before and after.
//
// A reader that empties the buffer, and gets the other lock too without waiting, may have the writers go on
// at the beginning: it leaves skip_to_begin at the tail and moves the tail, then the head. Killed in
// between, it leaves the latter to whoever is at the head next.
#pragma once

#include "ring/robust_mutex.hpp"
#include "ring/wait_channel.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace bulkhead::ring {

/// Where in the buffer, in which round through it, and which tally goes with it: one word.
class ring_position {
public:
    ring_position() = default;
    explicit ring_position(std::uint64_t word) noexcept : word_(word) {}

    [[nodiscard]] std::uint64_t word() const noexcept { return word_; }
    [[nodiscard]] std::uint64_t offset() const noexcept { return word_ & offset_mask; }
    [[nodiscard]] std::uint64_t round() const noexcept { return word_ >> offset_bits; }
    [[nodiscard]] unsigned tally() const noexcept { return word_ & 1; }
    [[nodiscard]] bool is_at(ring_position other) const noexcept {
        return ((word_ ^ other.word_) & ~std::uint64_t{tally_mask}) == 0;
    }
    /// `bytes`: a multiple of 8, at most buffer_bytes.
    [[nodiscard]] ring_position after(std::uint64_t bytes,
                                      std::uint64_t buffer_bytes) const noexcept {
        const std::uint64_t offset = this->offset() + bytes;
        return offset < buffer_bytes ? ring_position(word_ + bytes)
                                     : begin_of_next(offset - buffer_bytes);
    }
    [[nodiscard]] ring_position next_begin() const noexcept { return begin_of_next(0); }
    [[nodiscard]] ring_position with_tally(unsigned tally) const noexcept {
        return ring_position((word_ & ~std::uint64_t{1}) | tally);
    }

private:
    static constexpr unsigned offset_bits = 42;
    static constexpr std::uint64_t tally_mask = 7;  // offsets are multiples of 8
    static constexpr std::uint64_t offset_mask =
        ((std::uint64_t{1} << offset_bits) - 1) & ~tally_mask;

    [[nodiscard]] ring_position begin_of_next(std::uint64_t offset) const noexcept {
        return ring_position(((round() + 1) << offset_bits) | offset | (word_ & tally_mask));
    }

    std::uint64_t word_ = 0;
};

/// In the place of a length: the next message begins at the beginning of the buffer.
inline constexpr std::uint64_t skip_to_begin = UINT64_MAX;

struct alignas(64) writers_side {
    std::atomic<std::uint64_t> tail;
    std::atomic<std::uint64_t> head_seen;     ///< under the lock
    std::atomic<std::uint64_t> put[2];        ///< tallies: messages ever put
    std::atomic<std::uint64_t> space_wanted;  ///< a hint: free bytes that make waking a writer pay
    std::atomic<std::uint32_t> closed;        ///< 0 or 1; set under the lock; back only by reopen()
    std::uint32_t reserved;
};
static_assert(sizeof(writers_side) == 64);

struct alignas(64) readers_side {
    std::atomic<std::uint64_t> head;
    std::atomic<std::uint64_t> tail_seen;  ///< under the lock
    std::atomic<std::uint64_t> got[2];     ///< tallies: messages ever taken
    std::atomic<std::uint64_t> done;       ///< messages reported by task_done; needs no lock
};
static_assert(sizeof(readers_side) == 64);

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
    robust_mutex writers_lock;
    robust_mutex readers_lock;
    wait_channel data;
    wait_channel space;
    wait_channel tasks;
    ring_geometry geometry;
    ring_marks marks;
    writers_side writers;
    readers_side readers;
};
static_assert(sizeof(ring_layout) == 576);
static_assert(offsetof(ring_layout, geometry) == 320);
static_assert(offsetof(ring_layout, writers) == 448);
static_assert(offsetof(ring_layout, readers) == 512);

}  // namespace bulkhead::ring
