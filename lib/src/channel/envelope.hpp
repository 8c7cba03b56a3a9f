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
    std::uint16_t reported;  // progress; it is in the control block still

    static constexpr std::size_t inline_bytes = envelope_bytes - 40;
    std::byte payload[inline_bytes];
};
static_assert(sizeof(result_envelope) == envelope_bytes &&
              std::is_trivially_copyable_v<result_envelope>);
static_assert(offsetof(result_envelope, payload) == 40);

/// How much of an envelope says something.
template <class Envelope>
[[nodiscard]] std::size_t bytes_used(const Envelope& envelope) noexcept {
    return offsetof(Envelope, payload) +
           (envelope.where == static_cast<std::uint32_t>(place::here) ? envelope.bytes : 0);
}

}  // namespace bulkhead::channel
