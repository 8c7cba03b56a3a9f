// One direction of a compartment: a boost message_queue, touched by try_ operations only, behind a
// gate.
#pragma once

#include <boost/interprocess/ipc/message_queue.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace bulkhead::channel {

/// Lies in the control block. A message_queue locks its mutex even in try_ calls, and would make the
/// parent wait for a worker that was stopped inside; so each side takes this word first, and the
/// parent gives up instead of waiting.
///
/// 0 free, 1 held. A worker that dies holding it takes its whole generation along; the parent never
/// leaves it held.
struct gate {
    std::atomic<std::uint32_t> held{0};
};

enum class mail : std::uint8_t {
    ok,
    none,      // receive: nothing there; send: no room
    busy,      // the other side is inside and does not move: try again later
    poisoned,  // the other side died inside the queue's lock
};

enum class side : std::uint8_t { parent, worker };

class mailbox {
public:
    /// Parent: makes the queue under a name that the worker removes when it has opened it. Throws
    /// bulkhead::error naming /dev/shm.
    [[nodiscard]] static mailbox create(const std::string& name, std::size_t messages_max,
                                        std::size_t message_bytes_max);
    /// Worker. Throws bulkhead::error.
    [[nodiscard]] static mailbox open(const std::string& name);
    /// No effect when there is none.
    static void remove(const std::string& name) noexcept;

    mail try_send(gate& gate, side who, const void* message, std::size_t bytes) noexcept;
    /// `bytes` receives the message's length.
    mail try_receive(gate& gate, side who, void* buffer, std::size_t capacity,
                     std::size_t& bytes) noexcept;

private:
    explicit mailbox(std::unique_ptr<boost::interprocess::message_queue> queue)
        : queue_(std::move(queue)) {}

    std::unique_ptr<boost::interprocess::message_queue> queue_;
};

}  // namespace bulkhead::channel
