// The parent's end of one generation of one worker: its slots, arenas, doorbell and lifeline. Made
// for that generation and thrown away with it.
#pragma once

#include "channel/arena.hpp"
#include "channel/control.hpp"
#include "channel/payload.hpp"
#include "os/fd.hpp"
#include "os/memfd.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

namespace bulkhead::channel {

/// What became of an attempt to take a task back.
enum class withdrawal : std::uint8_t { withdrawn, begun, published, lied };

/// How far the worker is with a task, as far as it can be believed.
enum class progress : std::uint8_t { waiting, begun, published, lied };

/// Of a larger result, this much is copied in one go: some 50 us.
inline constexpr std::size_t piece_bytes = std::size_t{256} << 10;
static_assert(piece_bytes >= detail::bulk_element_bytes_max);

/// The finished items of the chunk that a worker is at, in front of them the word that counts them.
struct partial_items {
    payload items;
    bool between = false;        // no other had begun
    std::uint64_t finished = 0;  // how many there are
};

enum class harvest : std::uint8_t { result, nothing, lied };

/// Two sides: the sending side, under the pool's lock, and the collecting side, under collecting(). They
/// share two words: `book::withdrawn` and `collect_next_`.
///
/// Somebody looks for results while there are tasks: the pool's loop or, in its place, a caller that waits
/// for this worker's only task (watch, unwatch). The loop leaves a watched compartment alone, awake or
/// asleep, but for a result that it has begun to copy; so whoever stops watching does what the loop does
/// before it sleeps: says that nobody is awake, and then looks once more.
class compartment {
public:
    /// `worker_memory_max_bytes` 0: no limit. `output_by_task`: the worker tells the end of no task before its
    /// output has been read. Throws bulkhead::error.
    explicit compartment(std::uint64_t worker_memory_max_bytes = 0, bool output_by_task = false);
    compartment(const compartment&) = delete;
    compartment& operator=(const compartment&) = delete;

    /// For os::spawn_request: what the worker's process gets.
    [[nodiscard]] std::vector<int> worker_fds() const;
    /// The worker has its ends of things: forget them here, so that its death shows.
    void launched() noexcept;
    /// The worker ends once it has nothing to do.
    void hang_up() noexcept;

    /// True once the worker serves tasks. Any thread.
    [[nodiscard]] bool attached() const noexcept;
    /// The worker says that it has grown and had better be replaced.
    [[nodiscard]] bool worn() const noexcept;
    /// It serves on all the same.
    void use_again() noexcept;
    /// Readable when results came while this side slept. Any thread.
    [[nodiscard]] int bell() const noexcept { return bell_.get(); }

    // ---- the sending side

    /// False when the slots are full: a post() would fail.
    [[nodiscard]] bool has_room() const noexcept;
    /// Puts the arguments where the worker finds them and fills in the envelope; lends it the segment in which
    /// they are, if they are. False when there is no room for them just now. Throws bulkhead::error when there is
    /// no memory for a segment.
    [[nodiscard]] bool place_arguments(const payload& arguments, task_envelope& envelope);
    /// Frees what place_arguments() took.
    void release_arguments(const task_envelope& envelope) noexcept;
    /// Hands the task to the worker; gives its ticket, higher than those of all tasks that are there, or
    /// 0 when the slots are full.
    [[nodiscard]] std::uint64_t post(const task_envelope& envelope) noexcept;
    /// Takes the task back, if the worker has not begun it.
    [[nodiscard]] withdrawal withdraw(std::uint64_t ticket) noexcept;
    /// The task's result has been collected and checked: its slot may be used again.
    void settled(std::uint64_t ticket) noexcept;
    [[nodiscard]] progress at(std::uint64_t ticket) const noexcept;
    /// Whether the worker has seen that this ticket, the last one, was taken back.
    [[nodiscard]] bool has_passed(std::uint64_t ticket) const noexcept;
    /// Whether a ticket that was taken back says so, or that the worker has seen it: all that it can honestly say.
    [[nodiscard]] bool is_still_withdrawn(std::uint64_t ticket) const noexcept;
    /// The step that `at` calls begun.
    [[nodiscard]] task_phase phase_of(std::uint64_t ticket) const noexcept;
    /// CLOCK_MONOTONIC when the worker began the task (or item) it is at, or so it says.
    [[nodiscard]] std::uint64_t started_ns() const noexcept;
    /// What the task said last of how far it is; nothing when it did not, or long ago.
    [[nodiscard]] std::optional<task_progress> progress_of(std::uint64_t ticket) const noexcept;
    /// Nothing when there is none yet.
    [[nodiscard]] partial_items partial_items_of(std::uint64_t ticket) const;
    /// Whether the slots can be what an honest worker made of them. Wakes the worker if a task waits for
    /// it, so that nothing that is overwritten here makes both sides sleep for ever: to be called now
    /// and then while tasks are there.
    [[nodiscard]] bool consistent() noexcept;

    /// It has told where, and is about to die of it: the kernel may take its time, to write a core file.
    [[nodiscard]] bool has_crashed() const noexcept;
    /// Of a dead worker: where it crashed, if it could tell.
    [[nodiscard]] std::optional<os::crash_account> crash(int pid,
                                                         const std::string& executable) const;

    void ask_to_stop(std::uint64_t ticket) noexcept;
    void ask_to_abandon(std::uint64_t ticket) noexcept;

    // ---- the collecting side

    /// Held by whoever collects; taken before the pool's lock.
    [[nodiscard]] std::mutex& collecting() noexcept { return collecting_; }
    /// A caller looks for the results from now on; false when one does already.
    [[nodiscard]] bool watch() noexcept;
    /// It does no longer. True when a result is there, which is for the loop now: it is to be woken.
    [[nodiscard]] bool unwatch() noexcept;
    [[nodiscard]] bool is_watched() const noexcept { return watched_.load(); }
    /// For whoever watches: sleeps until there is a result, wake_caller() has been called since calls() gave this
    /// number, or the deadline passes. One thread at a time.
    void sleep_as_caller(unsigned calls_before,
                         std::chrono::steady_clock::time_point until) noexcept;
    [[nodiscard]] unsigned calls() const noexcept { return calls_.load(); }
    /// What it waits for comes another way. Any thread.
    void wake_caller() noexcept;
    /// Where the worker slept when it was woken for this task, or so it says; -1: it was awake.
    [[nodiscard]] int woken_on_cpu(std::uint64_t ticket) const noexcept;
    /// This task's result has been collected, or is being so. Any thread.
    [[nodiscard]] bool has_collected(std::uint64_t ticket) const noexcept {
        return ticket < collect_next_.load(std::memory_order_relaxed);
    }
    /// Hints, until collect(): the next result's size, and whether descriptors come with it.
    [[nodiscard]] std::uint64_t next_result_bytes() const noexcept;
    [[nodiscard]] bool next_result_has_descriptors() const noexcept;

    [[nodiscard]] bool results_waiting() const noexcept;
    /// The next result in the order of the tickets, its envelope copied out; nothing in it is checked.
    [[nodiscard]] harvest collect(std::uint64_t& ticket, result_envelope& envelope) noexcept;
    struct arrival {
        std::vector<os::unique_fd> fds;
        bool cut_off = false;  // too few were free here: some are missing
    };
    /// The bytes of a result, copied out of the worker's reach (or mapped, when sealed). Throws
    /// codec_error when the envelope lies about them.
    [[nodiscard]] payload result_bytes(std::uint64_t ticket, const result_envelope& envelope);
    /// The same with others' results in between: the last `left` bytes are still to be copied. With a maker, a
    /// value of many bytes is built in place of being copied, if it can be what that maker makes. Of a result with
    /// descriptors, `with` is what came with it: the last one, when it is the memory of a large result, is taken out.
    [[nodiscard]] payload begin_result(const result_envelope& envelope, std::size_t& left,
                                       detail::arriving_maker make_arriving = nullptr,
                                       arrival* with = nullptr);
    /// What the worker has sent with this result, or is sending with a part of it, in that order; what it sent
    /// with earlier ones is dropped. Throws codec_error when it sends what no result has.
    [[nodiscard]] arrival descriptors_of(std::uint64_t ticket);
    /// The ticket whose result would be the next. With no result waiting, the worker is at it or at a later one.
    [[nodiscard]] std::uint64_t next_to_collect() const noexcept {
        return collect_next_.load(std::memory_order_relaxed);
    }
    void copy_more(const result_envelope& envelope, payload& to, std::size_t& left) const noexcept;
    /// The worker may use the result's place in the arena again.
    void release_result(std::uint64_t ticket, const result_envelope& envelope) noexcept;
    /// Before this side sleeps; the caller then looks at results_waiting() once more.
    void parent_sleeps(bool sleeps) noexcept;

private:
    enum class use : std::uint8_t { free, handed, withdrawn };
    /// The parent's own knowledge of a slot.
    struct book {
        std::uint64_t ticket = 0;
        use is = use::free;
        /// The ticket that was, or is just being, withdrawn here: the one that the collecting side may
        /// find passed. Set before the slot's state can say so.
        std::atomic<std::uint64_t> withdrawn{0};
    };

    [[nodiscard]] slot& slot_of(std::uint64_t ticket) const noexcept {
        return control_->slots[ticket % slots_max];
    }
    [[nodiscard]] book& book_of(std::uint64_t ticket) noexcept {
        return books_[ticket % slots_max];
    }
    [[nodiscard]] const book& book_of(std::uint64_t ticket) const noexcept {
        return books_[ticket % slots_max];
    }
    [[nodiscard]] static payload large_result(std::uint64_t bytes, arrival& with);
    /// null: it is not to be built, or cannot be.
    [[nodiscard]] std::unique_ptr<detail::arriving_value> arriving(
        const result_envelope& envelope, detail::arriving_maker make_arriving) const;
    /// False when the worker's socket is full.
    [[nodiscard]] bool send_segment(const payload& arguments, task_envelope& envelope);
    [[nodiscard]] std::byte* task_arena() const noexcept;
    [[nodiscard]] std::byte* result_arena() const noexcept;
    void wake_worker() noexcept;

    os::unique_fd memory_fd_;
    os::mapping memory_;
    control_block* control_;
    os::unique_fd bell_;
    os::unique_fd worker_bell_;
    os::unique_fd lifeline_;
    os::unique_fd worker_lifeline_;

    std::array<book, slots_max> books_;
    std::uint64_t next_ = 1;  // the ticket of the next task
    std::uint64_t woken_for_ = 0;
    std::uint64_t segments_sent_ = 0;
    std::size_t segments_placed_ = 0;  // of tasks that are at the worker
    arena arguments_{arena_bytes};

    std::mutex collecting_;
    std::atomic<bool> watched_{false};
    std::atomic<unsigned> calls_{0};
    std::atomic<std::uint64_t> collect_next_{1};  // the sending side may look at it
};

}  // namespace bulkhead::channel
