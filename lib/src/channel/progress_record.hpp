// What a task at a worker says of how far it is: written by the worker, read by the parent at any time.
#pragma once

#include "os/kill_point.hpp"

#include <bulkhead/progress.hpp>

#include <atomic>
#include <cstdint>
#include <optional>

namespace bulkhead::channel {

/// A sequence lock (one writer at a time, readers that try again). Invariant: while `version` is even and
/// stays the same, the other members belong together. A writer that dies amid a change leaves an odd
/// version, and readers then have nothing: no more is lost than one report.
struct progress_record {
    std::atomic<std::uint64_t> version;
    std::atomic<std::uint64_t> ticket;
    std::atomic<std::uint64_t> done;
    std::atomic<std::uint64_t> total;

    void write(std::uint64_t of_ticket, const task_progress& now) noexcept {
        // Release, all of them: who sees one of these stores sees the odd version, or a later one.
        const auto before = version.exchange(version.load(std::memory_order_relaxed) | 1,
                                             std::memory_order_acq_rel);
        ticket.store(of_ticket, std::memory_order_release);
        BULKHEAD_KILL_POINT("worker.reporting");
        done.store(now.done, std::memory_order_release);
        total.store(now.total, std::memory_order_release);
        version.store((before | 1) + 1, std::memory_order_release);
    }

    /// nullopt: nothing of this ticket, or nothing whole.
    [[nodiscard]] std::optional<task_progress> read(std::uint64_t of_ticket) const noexcept {
        for (int i = 0; i != tries_max; ++i) {
            const auto before = version.load(std::memory_order_acquire);
            // Acquire: `version` is not looked at again before them.
            const auto whose = ticket.load(std::memory_order_acquire);
            const task_progress now{done.load(std::memory_order_acquire),
                                    total.load(std::memory_order_acquire)};
            if (before % 2 == 0 && version.load(std::memory_order_relaxed) == before) {
                return whose == of_ticket ? std::optional(now) : std::nullopt;
            }
        }
        return std::nullopt;
    }

    static constexpr int tries_max = 100;
};
static_assert(sizeof(progress_record) == 32);

}  // namespace bulkhead::channel
