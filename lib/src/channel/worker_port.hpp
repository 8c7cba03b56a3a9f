// The worker's end of its compartment.
#pragma once

#include "channel/arena.hpp"
#include "channel/control.hpp"
#include "channel/known_segments.hpp"
#include "channel/payload.hpp"
#include "os/fd.hpp"
#include "os/fd_channel.hpp"
#include "os/memfd.hpp"
#include "os/spin.hpp"

#include <bulkhead/detail/task_encoder.hpp>

#include <chrono>
#include <optional>
#include <span>
#include <vector>

namespace bulkhead::channel {

/// What a worker does once it has had nothing else to do for a while.
class idle_work {
public:
    virtual ~idle_work() = default;
    [[nodiscard]] virtual bool pending() const = 0;
    virtual void run() = 0;
    /// From the last task on.
    [[nodiscard]] virtual std::chrono::milliseconds after() const = 0;
};

/// For the worker's one task thread, but for stop_requested() and report(). A worker believes its parent.
class worker_port final : public detail::encoder_memory {
public:
    /// Adopts the descriptors of compartment::worker_fds(). Throws bulkhead::error.
    explicit worker_port(const std::vector<int>& fds);

    /// The next task's envelope, in place, and valid until finish(); null when the parent has hung up
    /// and nothing is left to do.
    [[nodiscard]] const task_envelope* next_task(idle_work* idle = nullptr);
    /// Its arguments, in place, valid until finish().
    [[nodiscard]] std::span<const std::byte> arguments();
    [[nodiscard]] known_segments& segments() noexcept { return known_segments_; }
    [[nodiscard]] std::uint64_t ticket() const noexcept { return ticket_; }

    void enter(task_phase phase) noexcept;
    /// How far the task is. Any thread, one at a time.
    void report(const task_progress& now) noexcept;
    void start_clock() noexcept;

    /// Descriptors of what the next result, or the next item of a chunk, refers to, each once: they go to the parent
    /// ahead of it, in one message, so that no result waits for room with a part of it under way. Throws
    /// bulkhead::error when they are too many.
    void refer_to(std::vector<int> fds);
    static constexpr std::size_t references_max = os::fds_per_message_max - 1;  // and a segment
    /// Sends them now (there are some), before commit_items(). For up to messages_of_one_max - 1 items of a chunk. Throws
    /// bulkhead::error when one is no descriptor, or the system has no room for more; forgets them also then.
    [[gnu::cold]] void send_references();

    /// Gives the result, and is done with the task. Throws bulkhead::error, before any of it shows, when
    /// there is no memory for a large one, or what it refers to cannot be sent.
    void finish(result_kind kind, std::span<const std::byte> bytes,
                const std::shared_ptr<detail::shared_payload>& shared);

    /// Blocks of the result arena, for finish_in_place().
    [[nodiscard]] std::byte* allocate(std::size_t bytes) override;
    void release(std::byte* block) noexcept override;
    /// As finish(), with bytes that lie in a block of allocate(), which is the port's again, also when it throws.
    void finish_in_place(result_kind kind, std::byte* block, std::size_t bytes);

    /// A chunk starts: where its items' outcomes go. Empty when the arena is full.
    [[nodiscard]] std::span<std::byte> begin_chunk();
    /// Another item begins: it is the one to blame from now on.
    void begin_item() noexcept;
    /// The first `bytes` of it now hold `items` outcomes, and no item is to blame.
    void commit_items(std::uint64_t items, std::uint64_t bytes) noexcept;
    /// What commit_items() stores to, for code that does it itself: detail::make_chunk_word, release.
    [[nodiscard]] std::atomic<std::uint64_t>& committed() noexcept { return control_->partial; }
    /// The task that abandoned() compares with this one's ticket.
    [[nodiscard]] const std::atomic<std::uint64_t>& abandoned_ticket() const noexcept {
        return control_->abandon_ticket;
    }
    /// Gives the committed items as the result.
    void finish_chunk(std::uint64_t bytes);
    /// The block of begin_chunk() is not needed after all.
    void drop_chunk() noexcept;

    /// 0: no limit.
    [[nodiscard]] std::uint64_t memory_max_bytes() const noexcept {
        return control_->memory_max_bytes;
    }
    [[nodiscard]] bool output_by_task() const noexcept { return control_->output_by_task != 0; }
    /// Asks the parent for a successor: with the result that is given next, this worker is done.
    void is_worn() noexcept { control_->worn.store(1, std::memory_order_relaxed); }

    /// For the handler of fatal signals.
    [[nodiscard]] os::crash_report& crash() noexcept { return control_->crash; }

    [[nodiscard]] bool abandoned() const noexcept;
    [[nodiscard]] bool stop_requested(std::uint64_t ticket) const noexcept;

private:
    [[nodiscard]] slot& current() const noexcept { return control_->slots[ticket_ % slots_max]; }
    [[nodiscard]] bool is_done() const noexcept {
        return control_->worn.load(std::memory_order_relaxed) != 0;
    }
    [[nodiscard]] bool something_to_do() const noexcept;
    [[nodiscard]] std::byte* result_arena() const noexcept {
        return memory_.data() + control_bytes + arena_bytes;
    }
    void sweep_taken();
    void drop_stale_segments() noexcept;
    /// Gives the `bytes` of a block as the result; the block is free again when this throws.
    void lend(result_kind kind, std::byte* block, std::size_t bytes);
    void send_descriptors(std::span<const int> fds);
    void publish(const result_envelope& result) noexcept;
    enum class woken : std::uint8_t { by_parent, by_its_end, by_time };
    /// Without a `limit` until something happens.
    [[nodiscard]] woken sleep(std::optional<std::chrono::milliseconds> limit);

    struct lent {
        std::uint64_t ticket;
        std::size_t offset;
    };

    os::unique_fd lifeline_;
    os::unique_fd bell_;
    bool rung_ = false;                  // and not silenced yet
    std::uint8_t descriptors_sent_ = 0;  // 1: with the result that comes next
    std::vector<int> references_;        // to be sent with it
    os::mapping memory_;
    control_block* control_;
    std::uint64_t ticket_ = 1;  // of the task it is at, or waits for
    arena result_arena_{arena_bytes};
    std::vector<lent> lent_;
    std::optional<std::size_t> chunk_offset_;
    known_segments known_segments_;
    std::uint64_t stale_dropped_ = 0;  // of control_block::stale_segments
    std::shared_ptr<detail::shared_payload> arguments_segment_;
    std::uint64_t task_started_ns_ = 0;
    std::atomic<std::uint64_t> reporting_ticket_{0};  // ticket_, for any thread
    std::atomic<bool> reported_{false};
};

}  // namespace bulkhead::channel
