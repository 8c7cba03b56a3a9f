// The parent's side of the protocol in control.hpp.
#include "channel/compartment.hpp"

#include "os/doorbell.hpp"
#include "os/fd_channel.hpp"
#include "os/spawn.hpp"

#include <bulkhead/error.hpp>

#include <ctime>
#include <filesystem>
#include <new>

namespace bulkhead::channel {
namespace {

constexpr const char* name_prefix = "bulkhead-worker-";

std::string next_name() {
    static std::atomic<std::uint64_t> generation{0};
    return name_prefix + std::to_string(::geteuid()) + "-" + os::process_tag() + "-" +
           std::to_string(generation.fetch_add(1, std::memory_order_relaxed));
}

}  // namespace

std::uint64_t monotonic_ns() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

std::string task_queue_name(const std::string& name) { return name + "-t"; }
std::string result_queue_name(const std::string& name) { return name + "-r"; }

compartment::compartment()
    : memory_fd_(os::make_memfd("bulkhead-compartment", compartment_bytes)),
      memory_(os::map_shared(memory_fd_.get(), compartment_bytes, "a worker's compartment")),
      control_(new(memory_.data()) control_block{}),
      task_bell_(os::make_doorbell()),
      result_bell_(os::make_doorbell()),
      name_(next_name()) {
    control_->magic = control_magic;
    control_->arena_bytes_each = arena_bytes;
    std::tie(lifeline_, worker_lifeline_) = os::make_lifeline();
}

compartment::~compartment() {
    if (tasks_ || results_) {
        mailbox::remove(task_queue_name(name_));
        mailbox::remove(result_queue_name(name_));
    }
}

std::vector<int> compartment::worker_fds() const {
    return {worker_lifeline_.get(), memory_fd_.get(), task_bell_.get(), result_bell_.get()};
}

void compartment::open_mail() {
    worker_lifeline_.reset();
    memory_fd_.reset();
    tasks_ = mailbox::create(task_queue_name(name_), slots_max, envelope_bytes);
    results_ = mailbox::create(result_queue_name(name_), slots_max, envelope_bytes);
    // A worker that is already gone will be noticed by its death.
    (void)os::send_text(lifeline_.get(), mail_is_open);
}

bool compartment::attached() const noexcept {
    return control_->attached.load(std::memory_order_acquire) != 0;
}

std::byte* compartment::task_arena() const noexcept { return memory_.data() + control_bytes; }
std::byte* compartment::result_arena() const noexcept { return task_arena() + arena_bytes; }

bool compartment::place_arguments(const payload& arguments, task_envelope& envelope) {
    const auto bytes = arguments.bytes();
    envelope.bytes = bytes.size();
    envelope.offset = 0;
    if (bytes.size() <= task_envelope::inline_bytes) {
        envelope.where = static_cast<std::uint32_t>(place::here);
        if (!bytes.empty()) std::memcpy(envelope.payload, bytes.data(), bytes.size());
        return true;
    }
    if (!arguments.shared() && bytes.size() <= arena_payload_bytes_max) {
        if (const auto offset = arguments_.allocate(bytes.size())) {
            envelope.where = static_cast<std::uint32_t>(place::arena);
            envelope.offset = *offset;
            std::memcpy(task_arena() + *offset, bytes.data(), bytes.size());
            return true;
        }
        return false;  // until results come back and free some
    }
    envelope.where = static_cast<std::uint32_t>(place::segment);
    std::shared_ptr<detail::shared_payload> segment = arguments.shared();
    if (!segment) {
        segment = std::make_shared<detail::shared_payload>(bytes.size());
        std::memcpy(segment->data(), bytes.data(), bytes.size());
    }
    // `gone`: the worker is dying; the envelope will come back with the rest.
    return os::send_fd(lifeline_.get(), segment->fd(), envelope.id, false) != os::send_result::full;
}

void compartment::release_arguments(const task_envelope& envelope) noexcept {
    if (envelope.where == static_cast<std::uint32_t>(place::arena)) {
        arguments_.release(static_cast<std::size_t>(envelope.offset));
    }
}

mail compartment::post(const task_envelope& envelope) noexcept {
    const mail result =
        tasks_->try_send(control_->task_gate, side::parent, &envelope, bytes_used(envelope));
    if (result != mail::ok) return result;
    control_->tasks_waiting.fetch_add(1, std::memory_order_release);
    std::atomic_thread_fence(
        std::memory_order_seq_cst);  // pairs with the worker's, before it sleeps
    if (control_->worker_asleep.load(std::memory_order_relaxed) != 0 &&
        control_->worker_asleep.exchange(0, std::memory_order_relaxed) != 0) {
        os::ring(task_bell_.get());
    }
    return result;
}

mail compartment::take_back(task_envelope& envelope) noexcept {
    std::size_t bytes = 0;
    const mail result =
        tasks_->try_receive(control_->task_gate, side::parent, &envelope, sizeof envelope, bytes);
    if (result != mail::ok) return result;
    control_->tasks_waiting.fetch_sub(1, std::memory_order_relaxed);
    return bytes >= offsetof(task_envelope, payload) ? mail::ok : mail::poisoned;
}

bool compartment::results_waiting() const noexcept {
    return control_->results_waiting.load(std::memory_order_acquire) != 0;
}

mail compartment::collect(result_envelope& envelope) noexcept {
    std::size_t bytes = 0;
    const mail result = results_->try_receive(control_->result_gate, side::parent, &envelope,
                                              sizeof envelope, bytes);
    if (result != mail::ok) return result;
    control_->results_waiting.fetch_sub(1, std::memory_order_relaxed);
    if (bytes < offsetof(result_envelope, payload) ||
        (envelope.where == static_cast<std::uint32_t>(place::here) &&
         envelope.bytes > bytes - offsetof(result_envelope, payload))) {
        return mail::poisoned;
    }
    return mail::ok;
}

std::optional<result_envelope> compartment::published(std::uint32_t index,
                                                      std::uint64_t id) const noexcept {
    const slot& from = control_->slots[index];
    if (from.published.load(std::memory_order_acquire) != id) return std::nullopt;
    result_envelope copy;
    std::memcpy(&copy, &from.result, sizeof copy);
    if (copy.id != id || copy.slot != index) return std::nullopt;
    return copy;
}

payload compartment::result_bytes(const result_envelope& envelope) {
    const auto bytes = envelope.bytes;
    switch (static_cast<place>(envelope.where)) {
        case place::here:
            if (bytes > result_envelope::inline_bytes) break;
            return payload({envelope.payload, static_cast<std::size_t>(bytes)});
        case place::arena:
            if (bytes > arena_bytes || envelope.offset > arena_bytes - bytes) break;
            return payload({result_arena() + envelope.offset, static_cast<std::size_t>(bytes)});
        case place::segment:
            while (auto got = os::receive_fd(lifeline_.get())) {
                // After a death results are read in another order than they were sent.
                if (arrived_.size() < slots_max)
                    arrived_.insert_or_assign(got->tag, std::move(got->fd));
            }
            if (auto got = arrived_.extract(envelope.id)) {
                if (!got.mapped()) {
                    throw error("bulkhead: no descriptor is free to receive a task's large result");
                }
                auto segment = std::make_shared<detail::shared_payload>(
                    std::move(got.mapped()), static_cast<std::size_t>(bytes));
                segment->close_fd();
                return {std::move(segment), static_cast<std::size_t>(bytes)};
            }
            break;
    }
    throw codec_error("bulkhead: a worker's result is not where its message says");
}

void compartment::release_result(const result_envelope& envelope) noexcept {
    // Only for what lies there: a later task in the same slot must not hide that this one was taken.
    if (envelope.where == static_cast<std::uint32_t>(place::arena)) {
        control_->slots[envelope.slot].taken.store(envelope.id, std::memory_order_release);
    }
}

std::uint64_t compartment::current() const noexcept {
    return control_->current.load(std::memory_order_acquire);
}

std::uint64_t compartment::started_ns() const noexcept {
    return control_->started_ns.load(std::memory_order_acquire);
}

payload compartment::partial_items_of(std::uint64_t id) const {
    if (control_->partial_task.load(std::memory_order_acquire) != id) return {};
    const auto offset = control_->partial_offset.load(std::memory_order_relaxed);
    const auto bytes = partial_bytes(control_->partial.load(std::memory_order_acquire));
    if (bytes > arena_bytes || offset > arena_bytes - bytes) return {};
    return payload({result_arena() + offset, static_cast<std::size_t>(bytes)});
}

void compartment::ask_to_stop(std::uint64_t id) noexcept {
    control_->stop_task.store(id, std::memory_order_release);
}

void compartment::ask_to_abandon(std::uint64_t id) noexcept {
    control_->abandon_task.store(id, std::memory_order_release);
}

void compartment::parent_sleeps(bool sleeps) noexcept {
    control_->parent_asleep.store(sleeps ? 1 : 0, std::memory_order_relaxed);
    if (sleeps)
        std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with worker_port::post
}

void compartment::sweep_dead_owners() noexcept {
    try {
        const std::string mine = name_prefix + std::to_string(::geteuid()) + "-";
        for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
            const std::string name = entry.path().filename();
            if (name.rfind(mine, 0) != 0) continue;
            const auto end = name.find('-', mine.size());
            if (end == std::string::npos) continue;
            if (!os::tag_lives(name.substr(mine.size(), end - mine.size()))) {
                mailbox::remove(name);
            }
        }
    } catch (const std::filesystem::filesystem_error&) {
        // No /dev/shm: making the queues will say so.
    }
}

}  // namespace bulkhead::channel
