// Shared memory for large arguments, used task after task: fresh pages cost several times the copy that fills them.
//
// A segment goes to whoever encodes arguments, with them to the task, and for reading to the task's worker; it comes
// back when its last owner lets go of it. Invariants:
//  1. Only this process can write to it (os::make_own_memory), and its forks, which get none from here. So a worker
//     that goes wild spoils no arguments that may be needed for another run.
//  2. Nothing is written to it while a worker may be reading it: one that is lent is returned when its task is at no
//     worker any more (pool_core::unpost), and else goes back to the system.
//  3. A segment is with one owner or in one place here, and there are as many places as segments. So what comes
//     back finds a free one, and no lock is needed, which a fork could find locked for ever.
#pragma once

#include "channel/payload.hpp"

#include <bulkhead/detail/task_encoder.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace bulkhead::channel {

/// Thread-safe. Lives as long as what it has given.
class segment_store final : public detail::encoder_memory,
                            public std::enable_shared_from_this<segment_store> {
public:
    /// Tasks and their encoders that have one at a time; the others' arguments wait on the heap. What they touched
    /// stays allocated.
    static constexpr std::size_t segments_max = 4;
    /// Each: address space, until it is touched.
    static constexpr std::size_t segment_bytes = detail::shared_payload_bytes_min;

    segment_store() = default;
    segment_store(const segment_store&) = delete;
    segment_store& operator=(const segment_store&) = delete;
    ~segment_store();

    /// null: all are in use, that many bytes do not fit, or the system has no memory for one.
    [[nodiscard]] std::shared_ptr<detail::shared_payload> segment(std::size_t bytes) override;

private:
    [[nodiscard]] std::unique_ptr<detail::shared_payload> take() noexcept;
    void take_back(std::unique_ptr<detail::shared_payload> segment) noexcept;

    std::array<std::atomic<detail::shared_payload*>, segments_max> free_{};
    std::atomic<std::size_t> made_{0};  // and not given back to the system
};

}  // namespace bulkhead::channel
