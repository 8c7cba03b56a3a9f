// What a task and its result look like in a slot. Fixed-width, no pointers; the parent reads a result
// by copying it out once.
#pragma once

#include <bulkhead/task.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace bulkhead::channel {

/// Where a payload lies.
enum class place : std::uint32_t {
    here = 0,   // behind the envelope
    arena = 1,  // at `offset` of the direction's arena
    segment =
        2,  // in a memfd that was sent over the lifeline; `offset` is the tag it was sent with
};

inline constexpr std::size_t envelope_bytes = 248;

struct task_envelope {
    detail::code_ref entry;
    std::uint64_t bytes;
    std::uint64_t offset;
    std::uint32_t where;
    std::uint8_t chunk;
    std::uint8_t timed;  // a time limit for each item of the chunk
    std::uint16_t takes_stop_token;

    static constexpr std::size_t inline_bytes = envelope_bytes - 40;
    std::byte payload[inline_bytes];
};
static_assert(sizeof(task_envelope) == envelope_bytes &&
              std::is_trivially_copyable_v<task_envelope>);
static_assert(offsetof(task_envelope, payload) == 40);

/// Messages with descriptors that a worker sends ahead of one result: of an item of a chunk each, and one more.
inline constexpr std::size_t messages_of_one_max = 9;

enum class result_kind : std::uint32_t {
    value = 1,
    exception = 2,
    items = 3,  // framed outcomes of a chunk, perhaps not all of it
};

struct result_envelope {
    std::uint64_t bytes;
    std::uint64_t offset;
    std::uint64_t started_ns;  // CLOCK_MONOTONIC
    std::uint64_t run_ns;
    std::uint32_t where;
    std::uint16_t kind;
    std::uint8_t reported;     // progress; it is in the control block still
    std::uint8_t descriptors;  // of what it refers to, or a part of it: they are on the lifeline

    static constexpr std::size_t inline_bytes = envelope_bytes - 40;
    std::byte payload[inline_bytes];
};
static_assert(sizeof(result_envelope) == envelope_bytes &&
              std::is_trivially_copyable_v<result_envelope>);
static_assert(offsetof(result_envelope, payload) == 40);

/// Behind the envelope of a task whose arguments are in a segment.
struct segment_note {
    std::uint64_t id;  // what the worker may know it by; 0: it is sent this once
    std::uint64_t bytes;
};

/// How much of an envelope says something.
[[nodiscard]] inline std::size_t bytes_used(const task_envelope& envelope) noexcept {
    std::size_t behind = 0;
    if (envelope.where == static_cast<std::uint32_t>(place::here)) behind = envelope.bytes;
    if (envelope.where == static_cast<std::uint32_t>(place::segment)) behind = sizeof(segment_note);
    return offsetof(task_envelope, payload) + behind;
}
[[nodiscard]] inline std::size_t bytes_used(const result_envelope& envelope) noexcept {
    return offsetof(result_envelope, payload) +
           (envelope.where == static_cast<std::uint32_t>(place::here) ? envelope.bytes : 0);
}

}  // namespace bulkhead::channel
