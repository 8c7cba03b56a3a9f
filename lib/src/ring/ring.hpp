// The byte ring of a queue: messages of any size, many writers and readers, each of which may be
// killed at any instruction. Encoding, names and mappings are left to others.
#pragma once

#include "ring/ring_waiter.hpp"

#include <bulkhead/detail/byte_sink.hpp>
#include <bulkhead/detail/deadline.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace bulkhead::ring {

using message = std::span<const std::byte>;

enum class outcome : std::uint8_t { done, timed_out, closed };

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

    [[nodiscard]] bool closed() const;
    /// Messages in it at some moment during the call, or a few more where others take them meanwhile.
    [[nodiscard]] std::uint64_t size();
    [[nodiscard]] std::size_t capacity_bytes() const noexcept { return capacity_bytes_; }
    [[nodiscard]] ring_marks& marks() noexcept { return layout_.marks; }

private:
    // Under the writers' lock:
    [[nodiscard]] ring_position own_tail() const;
    std::uint64_t room_for(std::uint64_t needed, ring_position tail);
    void append(ring_position& tail, message bytes) noexcept;
    void commit(ring_position tail, std::uint64_t put) noexcept;
    bool pass_skip();
    void want_space(std::uint64_t needed) noexcept;
    // Under the readers' lock:
    [[nodiscard]] ring_position own_head() const;
    ring_position tail_beyond(ring_position head, bool newest);
    bool skips(ring_position head) const noexcept;
    void skip(ring_position head) noexcept;
    bool take(ring_position& head, std::uint64_t& used, detail::byte_sink sink);
    void commit(ring_position head, const readers_tally& tally) noexcept;
    void restart();
    void decide_writers_wake(pending_wake& writer, ring_position head) const;
    // Which take the lock:
    std::uint64_t put_count();
    readers_tally taken();

    [[nodiscard]] std::uint64_t used_bytes(ring_position head, ring_position tail) const;
    void copy_in(std::uint64_t at, const std::byte* from, std::size_t bytes) noexcept;
    void copy_out(std::uint64_t at, std::byte* to, std::size_t bytes) const noexcept;
    [[noreturn]] void fail_damaged(const char* why) const;

    ring_layout& layout_;
    std::byte* buffer_;
    std::uint64_t capacity_bytes_;  ///< as checked; the shared ones are not believed twice
    std::uint64_t buffer_bytes_;
    const char* what_;
    spin_habit writers_habit_;
    spin_habit readers_habit_;
};

}  // namespace bulkhead::ring
