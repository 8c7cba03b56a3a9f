// The byte ring of a queue: messages of any size, many writers and readers, each of which may be
// killed at any instruction. Encoding, names and mappings are left to others.
#pragma once

#include "ring/ring_waiter.hpp"

#include <bulkhead/detail/byte_sink.hpp>
#include <bulkhead/detail/deadline.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

namespace bulkhead::ring {

using message = std::span<const std::byte>;

enum class outcome : std::uint8_t { done, timed_out, closed };

/// Part of a ring's memory, in the hands of one thread.
class ring_hold {
public:
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }

private:
    friend class byte_ring;

    operation_lock lock_;
    ring_position at_;
    std::span<std::byte> bytes_;
    std::unique_ptr<std::byte[]> copy_;  ///< of one that lies around the end of the buffer
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
    /// `interrupted`, once set, ends the waiting as the deadline does; see wake_writers().
    outcome put(std::span<const message> messages, detail::deadline until, std::size_t& count,
                const std::atomic<bool>* interrupted = nullptr);
    /// Takes up to `count_max` messages in one go, at least one, waiting for the first; `closed` only
    /// when nothing is left. What the sink throws passes through, and the messages stay.
    outcome get(detail::byte_sink sink, std::size_t count_max, detail::deadline until,
                std::size_t& count, const std::atomic<bool>* interrupted = nullptr);
    /// All that sleep look again: for who has set an `interrupted`.
    void wake_writers() noexcept;
    void wake_readers() noexcept;

    /// Room for one message, waiting until there is. On `done` the calling thread has the writers'
    /// lock, and no other writer goes on, until `to` ends; then there is no message unless put() was
    /// called before. std::length_error as put().
    outcome lend(std::size_t bytes, detail::deadline until, ring_hold& to);
    /// The first `bytes` of what was lent become a message.
    void put(ring_hold& lent, std::size_t bytes);
    /// The next message, waiting for one. On `done` the calling thread has the readers' lock, and no
    /// other reader goes on, until `to` ends; then the message is still there unless take() was called
    /// before.
    outcome borrow(detail::deadline until, ring_hold& to);
    /// The message is taken.
    void take(ring_hold& borrowed);
    /// Releases the lock; of what was neither put nor taken, too. False when that cannot be done: it is
    /// another thread's, or its memory was overwritten. The ring must then stay mapped, as the C library
    /// keeps the lock's address.
    [[nodiscard]] bool let_go(ring_hold& held) noexcept;

    void close();
    /// Undoes close() if no reader can have been told of it: if messages are there still. False when there are none,
    /// and nothing is changed then; true also when it was open.
    [[nodiscard]] bool reopen();

    void task_done();
    outcome join_tasks(detail::deadline until);

    [[nodiscard]] bool closed() const;
    /// Messages in it at some moment during the call; where others never rest, a guess.
    [[nodiscard]] std::uint64_t size() const;
    [[nodiscard]] std::size_t capacity_bytes() const noexcept { return capacity_bytes_; }
    [[nodiscard]] ring_marks& marks() noexcept { return layout_.marks; }

private:
    // Which get the lock, and leave it to the caller on `done`:
    outcome await_room(std::uint64_t needed, ring_waiter&& wait, detail::deadline until,
                       operation_lock& lock, ring_position& tail, std::uint64_t& room);
    outcome await_message(bool newest, ring_waiter&& wait, detail::deadline until,
                          operation_lock& lock, ring_position& head, std::uint64_t& used);
    [[nodiscard]] ring_waiter waiting_writer(detail::deadline until,
                                             const std::atomic<bool>* interrupted = nullptr);
    [[nodiscard]] ring_waiter waiting_reader(detail::deadline until,
                                             const std::atomic<bool>* interrupted = nullptr);
    // Under the writers' lock:
    void hold(ring_hold& to, std::size_t bytes);  // or the readers'
    [[nodiscard]] ring_position own_tail() const;
    std::uint64_t room_for(std::uint64_t needed, ring_position tail);
    void append(ring_position& tail, message bytes) noexcept;
    ring_position commit_tail(ring_position from, ring_position to, std::uint64_t count) noexcept;
    /// And releases the lock.
    void end_put(operation_lock& lock, std::uint64_t room) noexcept;
    bool pass_skip();
    void want_space(std::uint64_t needed) noexcept;
    // Under the readers' lock:
    [[nodiscard]] ring_position own_head() const;
    ring_position tail_beyond(ring_position head, bool newest);
    ring_position skip(ring_position head) noexcept;
    [[nodiscard]] std::uint64_t checked_length_at(ring_position head, std::uint64_t used) const;
    bool take(ring_position& head, std::uint64_t& used, detail::byte_sink sink);
    ring_position commit_head(ring_position from, ring_position to, std::uint64_t count) noexcept;
    ring_position restart(ring_position head);
    /// And releases the lock.
    void end_get(operation_lock& lock, ring_position head, std::uint64_t used) noexcept;
    // Under none:
    void refuse_too_large(std::size_t bytes) const;
    void refuse_foreign(const robust_mutex& lock) const;
    [[nodiscard]] std::uint64_t put_count() const noexcept;
    [[nodiscard]] std::uint64_t got_count() const noexcept;

    /// None when the two do not go together.
    [[nodiscard]] std::optional<std::uint64_t> bytes_between(ring_position head,
                                                             ring_position tail) const noexcept;
    [[nodiscard]] std::uint64_t used_bytes(ring_position head, ring_position tail) const;
    void write_length(ring_position at, std::uint64_t length) noexcept;
    [[nodiscard]] std::uint64_t length_at(ring_position at) const noexcept;
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
