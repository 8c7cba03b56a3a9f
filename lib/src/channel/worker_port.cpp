// The worker's side of the protocol in control.hpp.
#include "channel/worker_port.hpp"

#include "os/doorbell.hpp"
#include "os/fd_channel.hpp"
#include "os/futex.hpp"
#include "os/kill_point.hpp"

#include <bulkhead/error.hpp>

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <utility>

namespace bulkhead::channel {
namespace {

/// Tasks often come one after another; a sleep and a wake-up cost some fifty microseconds here.
constexpr std::chrono::microseconds spin_before_sleep{30};

/// By parents that read, unless each of several workers waits for the others' parts.
constexpr std::chrono::seconds room_within{2};

const std::vector<int>& checked(const std::vector<int>& fds) {
    if (fds.size() != 3) throw error("bulkhead: a worker was started with wrong descriptors");
    for (const int fd : fds) ::fcntl(fd, F_SETFD, FD_CLOEXEC);  // not for what tasks start
    return fds;
}

}  // namespace

worker_port::worker_port(const std::vector<int>& fds)
    : lifeline_(checked(fds)[0]),
      bell_(fds[2]),
      memory_(os::map_shared(fds[1], compartment_bytes, "the worker's compartment")),
      control_(reinterpret_cast<control_block*>(memory_.data())) {
    ::close(fds[1]);
    if (control_->magic != control_magic || control_->arena_bytes_each != arena_bytes) {
        throw error("bulkhead: the parent process uses another layout of this library");
    }
    control_->attached.store(1, std::memory_order_release);
    BULKHEAD_KILL_POINT("worker.attached");
}

bool worker_port::something_to_do() const noexcept {
    return !is_done() && ticket_of(current().state.load(std::memory_order_acquire)) >= ticket_;
}

worker_port::woken worker_port::sleep(std::optional<std::chrono::milliseconds> limit) {
    // Not when it woke up: the task comes first.
    if (std::exchange(rung_, false)) os::silence(bell_.get());
    control_->worker_cpu.store(static_cast<std::uint32_t>(::sched_getcpu()),
                               std::memory_order_relaxed);
    control_->worker_asleep.store(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with compartment::post
    BULKHEAD_KILL_POINT("worker.asleep");
    if (something_to_do()) {
        control_->worker_asleep.store(0, std::memory_order_relaxed);
        return woken::by_parent;
    }
    pollfd watched[2] = {{bell_.get(), POLLIN, 0}, {lifeline_.get(), POLLRDHUP, 0}};
    const int timeout_ms = limit ? static_cast<int>(limit->count()) : -1;
    int ready = 0;
    while ((ready = ::poll(watched, 2, timeout_ms)) < 0 && errno == EINTR) {
    }
    control_->worker_asleep.store(0, std::memory_order_relaxed);
    if (ready == 0) return woken::by_time;
    if (ready < 0) {  // RLIMIT_NOFILE is below the two that are watched
        (void)std::fputs("bulkhead: a task has left its worker process no descriptors\n", stderr);
        std::abort();
    }
    rung_ = (watched[0].revents & POLLIN) != 0;
    if (((watched[0].revents | watched[1].revents) & POLLNVAL) != 0) {
        // Another file may get these numbers next.
        (void)std::fputs("bulkhead: a task has closed descriptors of its worker process\n", stderr);
        std::abort();
    }
    const bool hung_up = (watched[1].revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
    return hung_up && !something_to_do() ? woken::by_its_end : woken::by_parent;
}

const task_envelope* worker_port::next_task(idle_work* idle) {
    os::spinner spinner(spin_before_sleep);
    // False when nothing will ever come.
    const auto rest = [&] {
        drop_stale_segments();
        const bool has_work = idle != nullptr && idle->pending();
        const woken by = sleep(has_work ? std::optional(idle->after()) : std::nullopt);
        if (by == woken::by_time) idle->run();
        return by != woken::by_its_end;
    };
    while (true) {
        if (is_done()) {  // what is posted goes elsewhere
            if (!rest()) return nullptr;
            continue;
        }
        slot& at = current();
        auto state = at.state.load(std::memory_order_acquire);
        if (state == make_state(ticket_, slot_step::posted)) {
            // The clock first: the swap publishes it.
            start_clock();
            if (at.state.compare_exchange_strong(state, make_state(ticket_, slot_step::decode),
                                                 std::memory_order_acq_rel)) {
                BULKHEAD_KILL_POINT("worker.taken");
                task_started_ns_ = control_->started_ns.load(std::memory_order_relaxed);
                reporting_ticket_.store(ticket_, std::memory_order_relaxed);
                return &at.task;
            }
        } else if (state == make_state(ticket_, slot_step::withdrawn)) {
            if (at.state.compare_exchange_strong(state, make_state(ticket_, slot_step::passed),
                                                 std::memory_order_acq_rel)) {
                BULKHEAD_KILL_POINT("worker.passed");
                ++ticket_;
            }
        } else if (ticket_of(state) >= ticket_) {
            (void)std::fputs("bulkhead: a task has overwritten memory of its worker process\n",
                             stderr);
            std::abort();
        } else if (!spinner.spin()) {
            if (!rest()) return nullptr;
            spinner.reset();
        }
    }
}

void worker_port::drop_stale_segments() noexcept {
    const auto stale = control_->stale_segments.load(std::memory_order_acquire);
    if (stale == stale_dropped_) return;
    try {
        while (const auto tag = os::next_tag(lifeline_.get())) {
            if (*tag > stale || !os::receive_fds(lifeline_.get())) break;
        }
    } catch (const std::bad_alloc&) {
        return;  // another time
    }
    stale_dropped_ = stale;
}

std::span<const std::byte> worker_port::arguments() {
    const task_envelope& task = current().task;
    const auto bytes = static_cast<std::size_t>(task.bytes);
    switch (static_cast<place>(task.where)) {
        case place::here:
            return {task.payload, bytes};
        case place::arena:
            return {memory_.data() + control_bytes + task.offset, bytes};
        case place::segment:
            while (auto got = os::receive_fds(lifeline_.get())) {
                if (got->tag != task.offset) continue;  // of a task that was taken back
                segment_note note{};
                std::memcpy(&note, task.payload, sizeof note);
                arguments_segment_ = known_segments_.find(note.id);
                if (!arguments_segment_) {
                    if (got->fds.empty()) {
                        throw error(
                            "bulkhead: this worker has no descriptor free to receive a task's "
                            "large arguments");
                    }
                    const auto all = note.id == 0 ? bytes : static_cast<std::size_t>(note.bytes);
                    arguments_segment_ =
                        std::make_shared<detail::shared_payload>(std::move(got->fds[0]), all);
                    arguments_segment_->close_fd();
                    if (note.id != 0) known_segments_.keep(note.id, arguments_segment_);
                }
                return {arguments_segment_->data(), bytes};
            }
            break;
    }
    throw codec_error("bulkhead: a task's arguments did not arrive");
}

void worker_port::enter(task_phase phase) noexcept {
    current().state.store(make_state(ticket_, static_cast<slot_step>(phase)),
                          std::memory_order_release);
    if (phase == task_phase::run) BULKHEAD_KILL_POINT("worker.run");
    if (phase == task_phase::encode) BULKHEAD_KILL_POINT("worker.encode");
}

void worker_port::report(const task_progress& now) noexcept {
    const auto ticket = reporting_ticket_.load(std::memory_order_relaxed);
    control_->progress[ticket % slots_max].write(ticket, now);
    reported_.store(true, std::memory_order_relaxed);
}

void worker_port::start_clock() noexcept {
    control_->started_ns.store(monotonic_ns(), std::memory_order_release);
}

void worker_port::sweep_taken() {
    std::erase_if(lent_, [&](const lent& block) {
        const slot& in = control_->slots[block.ticket % slots_max];
        if (in.taken.load(std::memory_order_acquire) < block.ticket) return false;
        result_arena_.release(block.offset);
        return true;
    });
}

void worker_port::send_descriptors(std::span<const int> fds) {
    // With a part of this result under way, as the items of a chunk send theirs, waiting for room could be
    // waiting for others that wait likewise.
    using clock = std::chrono::steady_clock;
    const bool holds_room = descriptors_sent_ != 0;
    const auto give_up_at = holds_room ? clock::now() + room_within : clock::time_point::max();
    os::send_result how{};
    while ((how = os::send_fds(lifeline_.get(), fds, ticket_, !holds_room)) ==
           os::send_result::full) {
        // Until the parents take what is under way.
        if (clock::now() > give_up_at) {
            throw error(
                "bulkhead: this user has more descriptors under way between processes than "
                "'ulimit -n' allows; raise it, or use fewer workers");
        }
        drop_stale_segments();
        os::yield_cpu();
    }
    // `gone` is no matter: so is the result.
    if (how == os::send_result::refused) {
        throw error("bulkhead: cannot send a descriptor that belongs to a task's result: " +
                    os::errno_text(errno));
    }
    descriptors_sent_ = 1;
}

void worker_port::refer_to(std::vector<int> fds) {
    if (fds.size() > references_max) {
        throw error("bulkhead: a task's result refers to " + std::to_string(fds.size()) +
                    " anonymous queues, locks or shared arrays; at most " +
                    std::to_string(references_max) +
                    " can be in one result: give them names, or return them from several tasks");
    }
    references_ = std::move(fds);
}

void worker_port::send_references() {
    const auto fds = std::exchange(references_, {});
    send_descriptors(fds);
    BULKHEAD_KILL_POINT("worker.handed");
}

void worker_port::finish(result_kind kind, std::span<const std::byte> bytes,
                         const std::shared_ptr<detail::shared_payload>& shared) {
    BULKHEAD_KILL_POINT("worker.finish");
    const bool fits = !shared && bytes.size() > result_envelope::inline_bytes &&
                      bytes.size() <= arena_payload_bytes_max;
    if (std::byte* block = fits ? allocate(bytes.size()) : nullptr) {
        std::memcpy(block, bytes.data(), bytes.size());
        lend(kind, block, bytes.size());
        return;
    }
    result_envelope result;
    result.kind = static_cast<std::uint16_t>(kind);
    result.bytes = bytes.size();
    result.offset = 0;
    if (bytes.size() <= result_envelope::inline_bytes) {
        if (!references_.empty()) send_references();
        result.where = static_cast<std::uint32_t>(place::here);
        if (!bytes.empty()) std::memcpy(result.payload, bytes.data(), bytes.size());
    } else {
        result.where = static_cast<std::uint32_t>(place::segment);
        auto segment = shared;
        if (!segment) {
            segment = std::make_shared<detail::shared_payload>(bytes.size());
            std::memcpy(segment->data(), bytes.data(), bytes.size());
        }
        // One message, the segment last.
        auto fds = std::exchange(references_, {});
        fds.push_back(segment->fd());
        send_descriptors(fds);
        BULKHEAD_KILL_POINT("worker.memory_sent");
    }
    publish(result);
}

std::byte* worker_port::allocate(std::size_t bytes) {
    sweep_taken();
    const auto offset = result_arena_.allocate(bytes);
    return offset ? result_arena() + *offset : nullptr;
}

void worker_port::release(std::byte* block) noexcept {
    result_arena_.release(static_cast<std::size_t>(block - result_arena()));
}

void worker_port::finish_in_place(result_kind kind, std::byte* block, std::size_t bytes) {
    BULKHEAD_KILL_POINT("worker.finish");
    lend(kind, block, bytes);
}

void worker_port::lend(result_kind kind, std::byte* block, std::size_t bytes) {
    const auto offset = static_cast<std::size_t>(block - result_arena());
    try {
        if (!references_.empty()) send_references();
    } catch (...) {
        result_arena_.release(offset);
        throw;
    }
    result_arena_.shrink(offset, bytes);
    lent_.push_back({ticket_, offset});
    result_envelope result;
    result.kind = static_cast<std::uint16_t>(kind);
    result.bytes = bytes;
    result.offset = offset;
    result.where = static_cast<std::uint32_t>(place::arena);
    BULKHEAD_KILL_POINT("worker.lent");
    publish(result);
}

void worker_port::publish(const result_envelope& result) noexcept {
    arguments_segment_.reset();
    slot& at = current();
    std::memcpy(&at.result, &result, bytes_used(result));
    at.result.started_ns = task_started_ns_;
    at.result.reported = reported_.load(std::memory_order_relaxed) ? 1 : 0;
    reported_.store(false, std::memory_order_relaxed);
    at.result.descriptors = std::exchange(descriptors_sent_, std::uint8_t{0});
    at.result.run_ns = monotonic_ns() - task_started_ns_;
    BULKHEAD_KILL_POINT("worker.result_written");
    // Release: whoever reads the word reads the result that belongs to it. This store is the commit.
    at.state.store(make_state(ticket_, slot_step::published), std::memory_order_release);
    BULKHEAD_KILL_POINT("worker.published");
    ++ticket_;
    std::atomic_thread_fence(
        std::memory_order_seq_cst);  // pairs with compartment::parent_sleeps, sleep_as_caller
    if (control_->parent_asleep.load(std::memory_order_relaxed) != 0 &&
        control_->parent_asleep.exchange(0, std::memory_order_relaxed) != 0) {
        os::ring(bell_.get());
        BULKHEAD_KILL_POINT("worker.rung");
    }
    if (control_->caller_asleep.load(std::memory_order_relaxed) != 0 &&
        control_->caller_asleep.exchange(0, std::memory_order_relaxed) != 0) {
        (void)os::futex_wake(control_->caller_asleep, 1, os::futex_scope::shared);
        BULKHEAD_KILL_POINT("worker.caller_woken");
    }
}

std::span<std::byte> worker_port::begin_chunk() {
    sweep_taken();
    chunk_offset_ = result_arena_.allocate(chunk_result_bytes);
    if (!chunk_offset_) return {};
    control_->partial.store(0, std::memory_order_relaxed);
    control_->partial_offset.store(*chunk_offset_, std::memory_order_relaxed);
    control_->partial_ticket.store(ticket_, std::memory_order_release);
    return {result_arena() + *chunk_offset_, chunk_result_bytes};
}

void worker_port::begin_item() noexcept {
    // The swap in the slot's state or the last commit came before; nothing reads more by this store.
    const auto word = control_->partial.load(std::memory_order_relaxed);
    control_->partial.store(word & ~detail::between_items, std::memory_order_release);
}

void worker_port::commit_items(std::uint64_t items, std::uint64_t bytes) noexcept {
    const auto word = detail::make_chunk_word(items, bytes) | detail::between_items;
    control_->partial.store(word, std::memory_order_release);
    BULKHEAD_KILL_POINT("worker.item_done");
}

void worker_port::finish_chunk(std::uint64_t bytes) {
    lent_.push_back({ticket_, *chunk_offset_});
    result_envelope result;
    result.kind = static_cast<std::uint16_t>(result_kind::items);
    result.bytes = bytes;
    result.offset = *chunk_offset_;
    result.where = static_cast<std::uint32_t>(place::arena);
    chunk_offset_.reset();
    publish(result);
}

void worker_port::drop_chunk() noexcept {
    if (chunk_offset_) result_arena_.release(*chunk_offset_);
    chunk_offset_.reset();
}

bool worker_port::abandoned() const noexcept {
    return control_->abandon_ticket.load(std::memory_order_relaxed) == ticket_;
}

bool worker_port::stop_requested(std::uint64_t ticket) const noexcept {
    return control_->stop_ticket.load(std::memory_order_acquire) == ticket;
}

}  // namespace bulkhead::channel
