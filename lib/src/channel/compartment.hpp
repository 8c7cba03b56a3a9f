// The parent's end of one generation of one worker: its queues, arenas, doorbells and lifeline. Made
// for that generation and thrown away with it.
#pragma once

#include "channel/arena.hpp"
#include "channel/control.hpp"
#include "channel/mailbox.hpp"
#include "channel/payload.hpp"
#include "os/fd.hpp"
#include "os/memfd.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace bulkhead::channel {

/// Not thread-safe, but for the const members and wake-ups; the pool's lock guards it.
class compartment {
public:
    /// Makes all of it but the queues. Throws bulkhead::error.
    compartment();
    compartment(const compartment&) = delete;
    compartment& operator=(const compartment&) = delete;
    ~compartment();

    /// For os::spawn_request: what the worker's process gets.
    [[nodiscard]] std::vector<int> worker_fds() const;
    /// What the queues' names begin with: the worker is told it at its start.
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    /// The worker exists: forget its ends of things here, make the queues, and tell it so. Only now, so
    /// that when this process is killed in between, somebody is there who knows the names and removes
    /// them. Throws bulkhead::error.
    void open_mail();

    /// True once the worker has opened its queues.
    [[nodiscard]] bool attached() const noexcept;
    /// Readable when results came while this side slept.
    [[nodiscard]] int result_bell() const noexcept { return result_bell_.get(); }

    /// Puts the arguments where the worker finds them and fills in the envelope. False when there is
    /// no room for them just now.
    [[nodiscard]] bool place_arguments(const payload& arguments, task_envelope& envelope);
    /// Frees what place_arguments() took.
    void release_arguments(const task_envelope& envelope) noexcept;
    [[nodiscard]] mail post(const task_envelope& envelope) noexcept;
    /// Takes a task back that the worker has not received.
    [[nodiscard]] mail take_back(task_envelope& envelope) noexcept;

    [[nodiscard]] bool results_waiting() const noexcept;
    /// The next result, its envelope copied out; nothing in it is checked yet.
    [[nodiscard]] mail collect(result_envelope& envelope) noexcept;
    /// The result that the worker published in a slot, if it is task `id`'s: for when the queue is
    /// lost.
    [[nodiscard]] std::optional<result_envelope> published(std::uint32_t index,
                                                           std::uint64_t id) const noexcept;
    /// The bytes of a result, copied out of the worker's reach (or mapped, when sealed). Throws
    /// codec_error when the envelope lies about them.
    [[nodiscard]] payload result_bytes(const result_envelope& envelope);
    /// The worker may use the result's place again.
    void release_result(const result_envelope& envelope) noexcept;

    /// The task the worker is at, and its phase; 0 when at none.
    [[nodiscard]] std::uint64_t current() const noexcept;
    [[nodiscard]] std::uint64_t started_ns() const noexcept;
    /// The finished items of chunk `id`, if it is made of several.
    [[nodiscard]] payload partial_items_of(std::uint64_t id) const;

    void ask_to_stop(std::uint64_t id) noexcept;
    void ask_to_abandon(std::uint64_t id) noexcept;
    /// Before the parent sleeps; the caller then looks at results_waiting() once more.
    void parent_sleeps(bool sleeps) noexcept;
    /// The worker ends once it has nothing to do.
    void hang_up() noexcept { lifeline_.reset(); }

    /// Removes queues of processes that are gone; once at a program's first pool.
    static void sweep_dead_owners() noexcept;

private:
    [[nodiscard]] std::byte* task_arena() const noexcept;
    [[nodiscard]] std::byte* result_arena() const noexcept;

    os::unique_fd memory_fd_;
    os::mapping memory_;
    control_block* control_;
    os::unique_fd task_bell_;
    os::unique_fd result_bell_;
    os::unique_fd lifeline_;
    os::unique_fd worker_lifeline_;
    std::string name_;
    std::optional<mailbox> tasks_;
    std::optional<mailbox> results_;
    arena arguments_{arena_bytes};
    std::map<std::uint64_t, os::unique_fd> arrived_;  // large results' memory, by task
};

/// The names of a generation's two queues.
[[nodiscard]] std::string task_queue_name(const std::string& name);
[[nodiscard]] std::string result_queue_name(const std::string& name);

}  // namespace bulkhead::channel
