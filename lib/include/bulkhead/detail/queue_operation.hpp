/// @file
/// A get or a put that waits without the thread that began it.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <span>

namespace bulkhead::detail {

/// Begun by queue_core::get_later() or put_later(). Ends exactly once.
class queue_operation {
public:
    queue_operation() = default;
    queue_operation(const queue_operation&) = delete;
    queue_operation& operator=(const queue_operation&) = delete;
    virtual ~queue_operation() = default;

    /// Of a get: room for the message that it takes. What this throws ends the operation, and the
    /// message stays.
    [[nodiscard]] virtual std::byte* room(std::size_t bytes) = 0;
    /// Of a put: what to put, the same until the end.
    [[nodiscard]] virtual std::span<const std::byte> message() const = 0;

    /// The end. nullptr: the message has been taken or put. In the line's thread, or in the one
    /// that withdraws it; nothing of the library holds the queue for it any more.
    virtual void ended(std::exception_ptr error) noexcept = 0;
};

/// The operations of one side of a queue that wait in this process. The first is at work in a
/// thread of the line's, which is there while operations are, and a moment longer.
class queue_line;

/// Ends the operation with task_cancelled, unless its message is taken or put by then: at once, or
/// if it is at work, in the line's thread, without delay (100 ms at most, where another has a loan
/// or a message borrowed). Nothing if it has ended.
void withdraw(queue_line& from, const queue_operation& operation);
/// As withdraw(), and waits until the line's thread has let go of operation and queue. Not from
/// ended().
void withdraw_and_wait(queue_line& from, const queue_operation& operation);

}  // namespace bulkhead::detail
