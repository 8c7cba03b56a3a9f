// The byte ring of a queue: messages of any size, many writers and readers, each of which may be
// killed at any instruction. Encoding, names and mappings are left to others.
#pragma once

#include "ring/ring_layout.hpp"

#include <bulkhead/detail/byte_sink.hpp>
#include <bulkhead/detail/deadline.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace bulkhead::ring {

using message = std::span<const std::byte>;

enum class outcome : std::uint8_t { done, timed_out, closed };

struct ring_counts {
    std::uint64_t messages;
    std::uint64_t unfinished;
    bool closed;
};

/// A view of a ring's memory, which somebody else keeps mapped. All operations from any thread of
/// any process. A memory that breaks the invariants makes them throw bulkhead::error.
///
/// Waiting is not queued up: of several that wait, any may be next, and a writer of a large message
/// may be overtaken by writers of small ones as long as these keep the ring full.
class byte_ring {
public:
    static constexpr std::size_t capacity_bytes_max = std::size_t{1} << 40;

    [[nodiscard]] static std::size_t body_bytes(std::size_t capacity_bytes) noexcept;
    /// `body`: zeroed memory of body_bytes(capacity_bytes), aligned to 64.
    static void construct(std::byte* body, std::size_t capacity_bytes);

    /// Views what construct() made; `what` names it in sentences and must outlive the view.
    byte_ring(std::byte* body, std::size_t body_bytes, const char* what);

    /// Puts as many of `messages` as fit in one go, at least the first, waiting until that fits;
    /// `count` says how many. Throws std::length_error if the first is larger than the capacity.
    outcome put(std::span<const message> messages, detail::deadline until, std::size_t& count);
    /// Takes up to `count_max` messages in one go, at least one, waiting for the first; `closed` only
    /// when nothing is left. What the sink throws passes through, and the messages stay.
    outcome get(detail::byte_sink sink, std::size_t count_max, detail::deadline until,
                std::size_t& count);
    void close();

    void task_done();
    outcome join_tasks(detail::deadline until);

    [[nodiscard]] ring_counts counts();
    [[nodiscard]] std::size_t capacity_bytes() const noexcept { return capacity_bytes_; }
    [[nodiscard]] ring_marks& marks() noexcept { return layout_.marks; }

private:
    [[nodiscard]] ring_state valid_state() const;
    void commit(const ring_state& next) noexcept;
    void append(ring_state& state, message bytes) noexcept;
    bool take(ring_state& state, detail::byte_sink sink);
    void copy_in(std::uint64_t at, const std::byte* from, std::size_t bytes) noexcept;
    void copy_out(std::uint64_t at, std::byte* to, std::size_t bytes) const noexcept;
    [[noreturn]] void fail_damaged(const char* why) const;

    ring_layout& layout_;
    std::byte* buffer_;
    std::uint64_t capacity_bytes_;  ///< as checked; the shared ones are not believed twice
    std::uint64_t buffer_bytes_;
    const char* what_;
};

}  // namespace bulkhead::ring
