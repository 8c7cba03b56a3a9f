// The worker's end of its compartment.
#pragma once

#include "channel/arena.hpp"
#include "channel/control.hpp"
#include "channel/mailbox.hpp"
#include "channel/payload.hpp"
#include "os/fd.hpp"
#include "os/memfd.hpp"
#include "os/spin.hpp"

#include <optional>
#include <span>
#include <vector>

namespace bulkhead::channel {

/// For the worker's one task thread, but for stop_requested(). A worker believes its parent.
class worker_port {
public:
    /// Adopts the descriptors of compartment::worker_fds(), waits until the queues exist, opens them
    /// and removes their names; from then on the kernel kills this process when its parent dies (not
    /// sooner: somebody must be there to remove the names). Empty when the parent has gone.
    [[nodiscard]] static std::optional<worker_port> attach(const std::vector<int>& fds,
                                                           const std::string& name);

    /// The next task; false when the parent has hung up and nothing is left to do.
    [[nodiscard]] bool next_task(task_envelope& envelope);
    /// Its arguments, in place, valid until finish().
    [[nodiscard]] std::span<const std::byte> arguments(const task_envelope& envelope);

    void enter(std::uint64_t id, task_phase phase) noexcept;
    void start_clock() noexcept;

    /// Gives the result: publishes it, posts it, and clears `current`.
    void finish(const task_envelope& task, result_kind kind, std::span<const std::byte> bytes,
                const std::shared_ptr<detail::shared_payload>& shared);

    /// A chunk starts: where its items' outcomes go. Empty when the arena is full.
    [[nodiscard]] std::span<std::byte> begin_chunk(std::uint64_t id);
    /// The first `bytes` of it now hold `items` outcomes.
    void commit_items(std::uint64_t items, std::uint64_t bytes) noexcept;
    /// Gives the committed items as the result.
    void finish_chunk(const task_envelope& task, std::uint64_t bytes);
    /// The block of begin_chunk() is not needed after all.
    void drop_chunk() noexcept;

    [[nodiscard]] bool abandoned(std::uint64_t id) const noexcept;
    [[nodiscard]] bool stop_requested(std::uint64_t id) const noexcept;
    [[nodiscard]] int lifeline() const noexcept { return lifeline_.get(); }

private:
    worker_port(const std::vector<int>& fds, const std::string& name);

    void sweep_taken();
    [[nodiscard]] bool lend(const task_envelope& task, result_envelope& result,
                            std::span<const std::byte> bytes);
    void send(const task_envelope& task, result_envelope& result) noexcept;
    [[nodiscard]] bool sleep();

    struct lent {
        std::uint64_t id;
        std::uint32_t slot;
        std::size_t offset;
    };

    os::unique_fd lifeline_;
    os::unique_fd task_bell_;
    os::unique_fd result_bell_;
    os::mapping memory_;
    control_block* control_;
    mailbox tasks_;
    mailbox results_;
    arena result_arena_{arena_bytes};
    std::vector<lent> lent_;
    std::optional<std::size_t> chunk_offset_;
    std::shared_ptr<detail::shared_payload> arguments_segment_;
    std::uint64_t task_started_ns_ = 0;
};

}  // namespace bulkhead::channel
