// The worker's side of the protocol in control.hpp.
#include "channel/worker_port.hpp"

#include "channel/compartment.hpp"
#include "os/doorbell.hpp"
#include "os/fd_channel.hpp"
#include "os/spawn.hpp"

#include <bulkhead/error.hpp>

#include <fcntl.h>
#include <poll.h>

namespace bulkhead::channel {
namespace {

/// Tasks often come one after another; a sleep and a wake-up cost some fifty microseconds here.
constexpr std::chrono::microseconds spin_before_sleep{30};

}  // namespace

std::optional<worker_port> worker_port::attach(const std::vector<int>& fds,
                                               const std::string& name) {
    if (fds.size() != 4) throw error("bulkhead: a worker was started with wrong descriptors");
    for (const int fd : fds) ::fcntl(fd, F_SETFD, FD_CLOEXEC);  // not for what tasks start
    struct name_remover {
        const std::string& name;
        ~name_remover() {
            mailbox::remove(task_queue_name(name));
            mailbox::remove(result_queue_name(name));
        }
    };
    std::optional<worker_port> port;
    {
        const name_remover remover{name};
        if (os::receive_text(fds[0]) != mail_is_open) return std::nullopt;
        port = worker_port(fds, name);
    }
    os::die_with_parent();
    pollfd parent{fds[0], POLLRDHUP, 0};
    if (::poll(&parent, 1, 0) > 0 && (parent.revents & (POLLHUP | POLLERR)) != 0) {
        return std::nullopt;  // it died before the line above
    }
    port->control_->attached.store(1, std::memory_order_release);
    return port;
}

worker_port::worker_port(const std::vector<int>& fds, const std::string& name)
    : lifeline_(fds[0]),
      task_bell_(fds[2]),
      result_bell_(fds[3]),
      memory_(os::map_shared(fds[1], compartment_bytes, "the worker's compartment")),
      control_(reinterpret_cast<control_block*>(memory_.data())),
      tasks_(mailbox::open(task_queue_name(name))),
      results_(mailbox::open(result_queue_name(name))) {
    ::close(fds[1]);
    if (control_->magic != control_magic || control_->arena_bytes_each != arena_bytes) {
        throw error("bulkhead: the parent process uses another layout of this library");
    }
}

bool worker_port::sleep() {
    control_->worker_asleep.store(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with compartment::post
    if (control_->tasks_waiting.load(std::memory_order_acquire) != 0) {
        control_->worker_asleep.store(0, std::memory_order_relaxed);
        return true;
    }
    pollfd watched[2] = {{task_bell_.get(), POLLIN, 0}, {lifeline_.get(), POLLRDHUP, 0}};
    while (::poll(watched, 2, -1) < 0 && errno == EINTR) {
    }
    control_->worker_asleep.store(0, std::memory_order_relaxed);
    if ((watched[0].revents & POLLIN) != 0) {
        os::silence(task_bell_.get());
        return true;
    }
    return (watched[1].revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0;
}

bool worker_port::next_task(task_envelope& envelope) {
    os::spinner spinner(spin_before_sleep);
    while (true) {
        if (control_->tasks_waiting.load(std::memory_order_acquire) != 0) {
            std::size_t bytes = 0;
            switch (tasks_.try_receive(control_->task_gate, side::worker, &envelope,
                                       sizeof envelope, bytes)) {
                case mail::ok:
                    control_->tasks_waiting.fetch_sub(1, std::memory_order_relaxed);
                    // Before the first phase: from here on the task has begun.
                    // The clock first: `current` publishes it.
                    start_clock();
                    enter(envelope.id, task_phase::decode);
                    task_started_ns_ = control_->started_ns.load(std::memory_order_relaxed);
                    return true;
                case mail::poisoned:
                    return false;
                case mail::none:
                case mail::busy:
                    break;
            }
        }
        if (spinner.spin()) continue;
        if (!sleep()) return false;
        spinner.reset();
    }
}

std::span<const std::byte> worker_port::arguments(const task_envelope& envelope) {
    const auto bytes = static_cast<std::size_t>(envelope.bytes);
    switch (static_cast<place>(envelope.where)) {
        case place::here:
            return {envelope.payload, bytes};
        case place::arena:
            return {memory_.data() + control_bytes + envelope.offset, bytes};
        case place::segment:
            while (auto got = os::receive_fd(lifeline_.get())) {
                if (got->tag != envelope.id) continue;  // of a task that was taken back
                arguments_segment_ =
                    std::make_shared<detail::shared_payload>(std::move(got->fd), bytes);
                return {arguments_segment_->data(), bytes};
            }
            break;
    }
    throw codec_error("bulkhead: a task's arguments did not arrive");
}

void worker_port::enter(std::uint64_t id, task_phase phase) noexcept {
    control_->current.store(make_current(id, phase), std::memory_order_release);
}

void worker_port::start_clock() noexcept {
    control_->started_ns.store(monotonic_ns(), std::memory_order_release);
}

void worker_port::sweep_taken() {
    std::erase_if(lent_, [&](const lent& block) {
        if (control_->slots[block.slot].taken.load(std::memory_order_acquire) != block.id) {
            return false;
        }
        result_arena_.release(block.offset);
        return true;
    });
}

void worker_port::finish(const task_envelope& task, result_kind kind,
                         std::span<const std::byte> bytes,
                         const std::shared_ptr<detail::shared_payload>& shared) {
    result_envelope result;
    result.kind = static_cast<std::uint32_t>(kind);
    result.bytes = bytes.size();
    result.offset = 0;
    if (bytes.size() <= result_envelope::inline_bytes) {
        result.where = static_cast<std::uint32_t>(place::here);
        if (!bytes.empty()) std::memcpy(result.payload, bytes.data(), bytes.size());
    } else if (shared || !lend(task, result, bytes)) {
        result.where = static_cast<std::uint32_t>(place::segment);
        auto segment = shared;
        if (!segment) {
            segment = std::make_shared<detail::shared_payload>(bytes.size());
            std::memcpy(segment->data(), bytes.data(), bytes.size());
        }
        while (os::send_fd(lifeline_.get(), segment->fd(), task.id, true) ==
               os::send_result::full) {
            os::yield_cpu();  // ETOOMANYREFS, until the parent takes what is under way
        }
    }
    send(task, result);
}

bool worker_port::lend(const task_envelope& task, result_envelope& result,
                       std::span<const std::byte> bytes) {
    if (bytes.size() > arena_payload_bytes_max) return false;
    sweep_taken();
    const auto offset = result_arena_.allocate(bytes.size());
    if (!offset) return false;
    result.where = static_cast<std::uint32_t>(place::arena);
    result.offset = *offset;
    std::memcpy(memory_.data() + control_bytes + arena_bytes + *offset, bytes.data(), bytes.size());
    lent_.push_back({task.id, task.slot, *offset});
    return true;
}

void worker_port::send(const task_envelope& task, result_envelope& result) noexcept {
    result.id = task.id;
    result.slot = task.slot;
    result.reserved = 0;
    result.run_ns = monotonic_ns() - task_started_ns_;
    arguments_segment_.reset();
    const std::size_t used = bytes_used(result);

    slot& record = control_->slots[task.slot];
    std::memcpy(&record.result, &result, used);
    // Release: whoever reads the id reads the result that belongs to it. This store is the commit.
    record.published.store(task.id, std::memory_order_release);
    control_->current.store(0, std::memory_order_release);
    // The queue has as many places as there are slots: never full.
    (void)results_.try_send(control_->result_gate, side::worker, &result, used);
    control_->results_waiting.fetch_add(1, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with compartment::parent_sleeps
    if (control_->parent_asleep.load(std::memory_order_relaxed) != 0 &&
        control_->parent_asleep.exchange(0, std::memory_order_relaxed) != 0) {
        os::ring(result_bell_.get());
    }
}

std::span<std::byte> worker_port::begin_chunk(std::uint64_t id) {
    sweep_taken();
    chunk_offset_ = result_arena_.allocate(chunk_result_bytes);
    if (!chunk_offset_) return {};
    control_->partial.store(0, std::memory_order_relaxed);
    control_->partial_offset.store(*chunk_offset_, std::memory_order_relaxed);
    control_->partial_task.store(id, std::memory_order_release);
    return {memory_.data() + control_bytes + arena_bytes + *chunk_offset_, chunk_result_bytes};
}

void worker_port::commit_items(std::uint64_t items, std::uint64_t bytes) noexcept {
    control_->partial.store(make_partial(items, bytes), std::memory_order_release);
}

void worker_port::finish_chunk(const task_envelope& task, std::uint64_t bytes) {
    lent_.push_back({task.id, task.slot, *chunk_offset_});
    result_envelope result;
    result.kind = static_cast<std::uint32_t>(result_kind::items);
    result.bytes = bytes;
    result.offset = *chunk_offset_;
    result.where = static_cast<std::uint32_t>(place::arena);
    chunk_offset_.reset();
    send(task, result);
}

void worker_port::drop_chunk() noexcept {
    if (chunk_offset_) result_arena_.release(*chunk_offset_);
    chunk_offset_.reset();
}

bool worker_port::abandoned(std::uint64_t id) const noexcept {
    return control_->abandon_task.load(std::memory_order_relaxed) == id;
}

bool worker_port::stop_requested(std::uint64_t id) const noexcept {
    return control_->stop_task.load(std::memory_order_acquire) == id;
}

}  // namespace bulkhead::channel
