// The parent's side of the protocol in control.hpp.
#include "channel/compartment.hpp"

#include "os/doorbell.hpp"
#include "os/fd_channel.hpp"
#include "os/futex.hpp"
#include "os/kill_point.hpp"

#include <bulkhead/error.hpp>

#include <algorithm>
#include <cassert>
#include <ctime>
#include <iterator>
#include <new>
#include <sys/socket.h>

namespace bulkhead::channel {

namespace {

/// Messages over the lifeline until one result's are there: more than a socket holds.
constexpr std::size_t arrivals_max = 512;

std::uint64_t read_clock(clockid_t clock) noexcept {
    timespec now{};
    ::clock_gettime(clock, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

std::uint64_t monotonic_ns() noexcept { return read_clock(CLOCK_MONOTONIC); }
std::uint64_t coarse_ns() noexcept { return read_clock(CLOCK_MONOTONIC_COARSE); }

compartment::compartment(std::uint64_t worker_memory_max_bytes, bool output_by_task)
    : memory_fd_(os::make_memfd("bulkhead-compartment", compartment_bytes)),
      memory_(os::map_shared(memory_fd_.get(), compartment_bytes, "a worker's compartment")),
      control_(new(memory_.data()) control_block{}) {
    control_->magic = control_magic;
    control_->arena_bytes_each = arena_bytes;
    control_->memory_max_bytes = worker_memory_max_bytes;
    control_->output_by_task = output_by_task ? 1 : 0;
    std::tie(bell_, worker_bell_) = os::make_doorbell();
    std::tie(lifeline_, worker_lifeline_) = os::make_lifeline();
}

std::vector<int> compartment::worker_fds() const {
    return {worker_lifeline_.get(), memory_fd_.get(), worker_bell_.get()};
}

void compartment::launched() noexcept {
    worker_lifeline_.reset();
    worker_bell_.reset();
    memory_fd_.reset();
}

void compartment::hang_up() noexcept {
    // Not by closing alone: a fork that this program made may have the descriptor too.
    if (lifeline_) (void)::shutdown(lifeline_.get(), SHUT_RDWR);
    lifeline_.reset();
}

bool compartment::attached() const noexcept {
    return control_->attached.load(std::memory_order_acquire) != 0;
}

bool compartment::worn() const noexcept {
    return control_->worn.load(std::memory_order_relaxed) != 0;
}

void compartment::use_again() noexcept {
    if (control_->worn.exchange(0, std::memory_order_relaxed) != 0) os::ring(bell_.get());
}

std::byte* compartment::task_arena() const noexcept { return memory_.data() + control_bytes; }
std::byte* compartment::result_arena() const noexcept { return task_arena() + arena_bytes; }

// ---- the sending side

bool compartment::has_room() const noexcept {
    const book& last = book_of(next_);
    switch (last.is) {
        case use::free:
            return true;
        case use::handed:
            return false;
        case use::withdrawn:
            // Its own ticket is taken up again; one of the last round must be behind both sides.
            return last.ticket == next_ ||
                   last.ticket < collect_next_.load(std::memory_order_acquire);
    }
    return false;
}

bool compartment::place_arguments(const payload& arguments, task_envelope& envelope) {
    const std::size_t bytes = arguments.size();
    envelope.bytes = bytes;
    envelope.offset = 0;
    if (bytes <= task_envelope::inline_bytes) {
        envelope.where = static_cast<std::uint32_t>(place::here);
        arguments.copy_to(envelope.payload);
        return true;
    }
    const bool fits = bytes <= arena_payload_bytes_max;
    if ((arguments.shared() != nullptr || !fits) && send_segment(arguments, envelope)) return true;
    if (!fits) return false;
    const auto offset = arguments_.allocate(bytes);
    if (!offset) return false;  // until results come back and free some
    envelope.where = static_cast<std::uint32_t>(place::arena);
    envelope.offset = *offset;
    arguments.copy_to(task_arena() + *offset);
    return true;
}

bool compartment::send_segment(const payload& arguments, task_envelope& envelope) {
    std::optional<detail::shared_payload> made;
    detail::shared_payload* segment = arguments.shared();
    if (segment == nullptr) {
        segment = &made.emplace(arguments.size());
        arguments.copy_to(segment->data());
    }
    const int fd = segment->fd();
    if (os::send_fds(lifeline_.get(), {&fd, 1}, segments_sent_ + 1, false) ==
        os::send_result::full) {
        if (segments_placed_ == 0) os::ring(bell_.get());  // it is full of stale ones
        return false;
    }
    // `gone` is no matter: the worker is dying, and the task will come back with the rest.
    ++segments_placed_;
    if (segment->id() != 0) segment->lend();
    envelope.where = static_cast<std::uint32_t>(place::segment);
    envelope.offset = ++segments_sent_;
    const segment_note note{segment->id(), segment->capacity()};
    std::memcpy(envelope.payload, &note, sizeof note);
    return true;
}

void compartment::release_arguments(const task_envelope& envelope) noexcept {
    if (envelope.where == static_cast<std::uint32_t>(place::arena)) {
        arguments_.release(static_cast<std::size_t>(envelope.offset));
    }
    if (envelope.where != static_cast<std::uint32_t>(place::segment)) return;
    if (--segments_placed_ == 0) {
        control_->stale_segments.store(segments_sent_, std::memory_order_release);
    }
}

std::uint64_t compartment::post(const task_envelope& envelope) noexcept {
    while (true) {
        if (!has_room()) return 0;
        slot& at = slot_of(next_);
        book& note = book_of(next_);
        // Nobody reads a slot's task before it says `posted`.
        std::memcpy(&at.task, &envelope, bytes_used(envelope));
        if (note.is == use::withdrawn && note.ticket == next_) {
            auto expected = make_state(next_, slot_step::withdrawn);
            if (!at.state.compare_exchange_strong(expected, make_state(next_, slot_step::posted),
                                                  std::memory_order_acq_rel)) {
                ++next_;  // passed meanwhile, or garbage: consistent() will tell
                continue;
            }
            // Only now: while the swap could fail, the collecting side might have found it passed.
            note.withdrawn.store(0, std::memory_order_relaxed);
        } else {
            at.state.store(make_state(next_, slot_step::posted), std::memory_order_release);
        }
        note.ticket = next_;
        note.is = use::handed;
        break;
    }
    BULKHEAD_KILL_POINT("parent.posted");
    std::atomic_thread_fence(
        std::memory_order_seq_cst);  // pairs with the worker's, before it sleeps
    if (control_->worker_asleep.load(std::memory_order_relaxed) != 0) {
        woken_for_ = next_;
        wake_worker();
    }
    return next_++;
}

void compartment::wake_worker() noexcept {
    if (control_->worker_asleep.exchange(0, std::memory_order_relaxed) != 0) {
        os::ring(bell_.get());
        BULKHEAD_KILL_POINT("parent.told");
    }
}

withdrawal compartment::withdraw(std::uint64_t ticket) noexcept {
    // Whatever its slot says by now: the ticket must not go to another task while the result is on its way.
    if (has_collected(ticket)) return withdrawal::published;
    slot& at = slot_of(ticket);
    book& note = book_of(ticket);
    // Released by the swap, and acquired by whoever finds the ticket passed.
    note.withdrawn.store(ticket, std::memory_order_relaxed);
    auto state = make_state(ticket, slot_step::posted);
    if (at.state.compare_exchange_strong(state, make_state(ticket, slot_step::withdrawn),
                                         std::memory_order_acq_rel)) {
        note.is = use::withdrawn;
        BULKHEAD_KILL_POINT("parent.withdrawn");
        // Tickets at the end that have no task are given out again, or a worker that does not move
        // would run out of slots.
        while (book_of(next_ - 1).ticket == next_ - 1 && book_of(next_ - 1).is == use::withdrawn) {
            --next_;
        }
        return withdrawal::withdrawn;
    }
    note.withdrawn.store(0, std::memory_order_relaxed);
    if (ticket_of(state) != ticket) return withdrawal::lied;
    if (has_begun(step_of(state))) return withdrawal::begun;
    return step_of(state) == slot_step::published ? withdrawal::published : withdrawal::lied;
}

void compartment::settled(std::uint64_t ticket) noexcept { book_of(ticket).is = use::free; }

progress compartment::at(std::uint64_t ticket) const noexcept {
    const auto state = slot_of(ticket).state.load(std::memory_order_acquire);
    if (ticket_of(state) != ticket) return progress::lied;
    if (has_begun(step_of(state))) return progress::begun;
    if (step_of(state) == slot_step::posted) return progress::waiting;
    return step_of(state) == slot_step::published ? progress::published : progress::lied;
}

bool compartment::has_passed(std::uint64_t ticket) const noexcept {
    return slot_of(ticket).state.load(std::memory_order_acquire) ==
           make_state(ticket, slot_step::passed);
}

task_phase compartment::phase_of(std::uint64_t ticket) const noexcept {
    const auto state = slot_of(ticket).state.load(std::memory_order_acquire);
    return ticket_of(state) == ticket && has_begun(step_of(state))
               ? static_cast<task_phase>(step_of(state))
               : task_phase::run;
}

bool compartment::consistent() noexcept {
    // Newest first: what an honest worker does meanwhile only moves older tickets further.
    bool newer_begun = false;
    bool waiting = false;
    const std::uint64_t oldest = next_ > slots_max ? next_ - slots_max : 1;
    for (std::uint64_t ticket = next_ - 1; ticket >= oldest; --ticket) {
        const book& note = book_of(ticket);
        if (note.ticket != ticket) continue;
        if (note.is == use::withdrawn && !is_still_withdrawn(ticket)) return false;
        if (note.is != use::handed) continue;
        const auto how = at(ticket);
        waiting = how == progress::waiting;
        if (how == progress::lied) return false;
        if (newer_begun && how != progress::published) return false;
        newer_begun = newer_begun || how != progress::waiting;
    }
    if (waiting) os::ring(bell_.get());
    // A time limit would never be over. The worker's clock is this one, give or take what virtual machines do.
    constexpr std::uint64_t second = 1'000'000'000;
    const auto started = started_ns();
    return started <= monotonic_ns() + second;
}

bool compartment::is_still_withdrawn(std::uint64_t ticket) const noexcept {
    const auto state = slot_of(ticket).state.load(std::memory_order_acquire);
    return state == make_state(ticket, slot_step::withdrawn) ||
           state == make_state(ticket, slot_step::passed);
}

std::uint64_t compartment::started_ns() const noexcept {
    return control_->started_ns.load(std::memory_order_acquire);
}

std::optional<task_progress> compartment::progress_of(std::uint64_t ticket) const noexcept {
    return control_->progress[ticket % slots_max].read(ticket);
}

partial_items compartment::partial_items_of(std::uint64_t ticket) const {
    if (control_->partial_ticket.load(std::memory_order_acquire) != ticket) return {};
    const auto offset = control_->partial_offset.load(std::memory_order_relaxed);
    auto word = control_->partial.load(std::memory_order_acquire);
    const bool between = (word & detail::between_items) != 0;
    word &= ~detail::between_items;
    const auto bytes = detail::chunk_word_bytes(word);
    if (bytes < sizeof word || bytes > arena_bytes || offset > arena_bytes - bytes) return {};
    partial_items part{payload({result_arena() + offset, static_cast<std::size_t>(bytes)}), between,
                       detail::chunk_word_items(word)};
    std::memcpy(part.items.writable().data(), &word, sizeof word);  // as the worker does at the end
    return part;
}

bool compartment::has_crashed() const noexcept {
    // Pairs with the handler's store.
    return control_->crash.state.load(std::memory_order_acquire) == os::crash_report::written;
}

std::optional<os::crash_account> compartment::crash(int pid, const std::string& executable) const {
    return os::read_crash(control_->crash, pid, executable);
}

void compartment::ask_to_stop(std::uint64_t ticket) noexcept {
    control_->stop_ticket.store(ticket, std::memory_order_release);
}

void compartment::ask_to_abandon(std::uint64_t ticket) noexcept {
    control_->abandon_ticket.store(ticket, std::memory_order_release);
}

// ---- the collecting side

bool compartment::results_waiting() const noexcept {
    const auto next = collect_next_.load(std::memory_order_relaxed);
    const auto state = slot_of(next).state.load(std::memory_order_acquire);
    return state == make_state(next, slot_step::published) ||
           state == make_state(next, slot_step::passed);
}

harvest compartment::collect(std::uint64_t& ticket, result_envelope& envelope) noexcept {
    while (true) {
        const auto next = collect_next_.load(std::memory_order_relaxed);
        slot& at = slot_of(next);
        const auto state = at.state.load(std::memory_order_acquire);
        if (state == make_state(next, slot_step::published)) {
            std::memcpy(&envelope, &at.result, sizeof envelope);
            ticket = next;
            collect_next_.store(next + 1, std::memory_order_release);
            return harvest::result;
        }
        if (state != make_state(next, slot_step::passed)) return harvest::nothing;
        if (book_of(next).withdrawn.load(std::memory_order_relaxed) != next) return harvest::lied;
        // Release: has_room() lets the slot be used again.
        collect_next_.store(next + 1, std::memory_order_release);
    }
}

payload compartment::result_bytes(std::uint64_t ticket, const result_envelope& envelope) {
    std::size_t left = 0;
    arrival with;
    if (envelope.descriptors != 0) with = descriptors_of(ticket);
    payload all = begin_result(envelope, left, nullptr, &with);
    while (left != 0) copy_more(envelope, all, left);
    return all;
}

compartment::arrival compartment::descriptors_of(std::uint64_t ticket) {
    arrival all;
    std::size_t of_this_one = 0;
    for (std::size_t i = 0; i != arrivals_max; ++i) {
        const auto tag = os::next_tag(lifeline_.get());
        if (!tag) return all;
        if (*tag > ticket) {
            if (*tag - ticket > slots_max) break;
            return all;
        }
        auto got = os::receive_fds(lifeline_.get());
        if (!got) return all;
        if (got->tag != ticket) continue;  // of a result that was not wanted
        if (++of_this_one > messages_of_one_max) break;
        all.cut_off = all.cut_off || got->cut_off;
        std::move(got->fds.begin(), got->fds.end(), std::back_inserter(all.fds));
    }
    throw codec_error("bulkhead: a worker sends descriptors that belong to no result");
}

payload compartment::begin_result(const result_envelope& envelope, std::size_t& left,
                                  detail::arriving_maker make_arriving, arrival* with) {
    const auto bytes = envelope.bytes;
    left = 0;
    switch (static_cast<place>(envelope.where)) {
        case place::here:
            if (bytes > result_envelope::inline_bytes) break;
            return payload({envelope.payload, static_cast<std::size_t>(bytes)});
        case place::arena:
            if (bytes > arena_bytes || envelope.offset > arena_bytes - bytes) break;
            if (bytes > piece_bytes) {
                const auto all = static_cast<std::size_t>(bytes);
                left = all;
                if (auto value = arriving(envelope, make_arriving)) {
                    left -= sizeof(detail::bulk_count);
                    return {std::move(value), all};
                }
                auto room = std::make_unique_for_overwrite<std::byte[]>(all);
                return {std::move(room), all};
            }
            return payload({result_arena() + envelope.offset, static_cast<std::size_t>(bytes)});
        case place::segment:
            if (with == nullptr) break;
            return large_result(bytes, *with);
    }
    throw codec_error("bulkhead: a worker's result is not where its message says");
}

payload compartment::large_result(std::uint64_t bytes, arrival& with) {
    if (with.cut_off) {  // also when some came: whose the last one is cannot be told
        throw error("bulkhead: no descriptor is free to receive a task's large result");
    }
    if (with.fds.empty()) {
        throw codec_error("bulkhead: a worker's result is not where its message says");
    }
    auto segment = std::make_shared<detail::shared_payload>(std::move(with.fds.back()),
                                                            static_cast<std::size_t>(bytes));
    with.fds.pop_back();
    segment->close_fd();
    return {std::move(segment), static_cast<std::size_t>(bytes)};
}

void compartment::copy_more(const result_envelope& envelope, payload& to,
                            std::size_t& left) const noexcept {
    assert(left <= to.size());
    const std::size_t done = to.size() - left;
    const std::size_t bytes = std::min(left, piece_bytes);
    const std::byte* from = result_arena() + envelope.offset + done;
    if (auto* value = to.arriving()) {
        left -= value->append(from, bytes);
        return;
    }
    std::memcpy(to.writable().data() + done, from, bytes);
    left -= bytes;
}

std::unique_ptr<detail::arriving_value> compartment::arriving(
    const result_envelope& envelope, detail::arriving_maker make_arriving) const {
    if (make_arriving == nullptr || static_cast<result_kind>(envelope.kind) != result_kind::value ||
        envelope.offset % alignof(detail::bulk_count) != 0) {
        return nullptr;
    }
    detail::bulk_count head = 0;
    std::memcpy(&head, result_arena() + envelope.offset, sizeof head);
    // Read once: what is checked is what counts.
    asm volatile("" : "+r"(head));
    return make_arriving(head, static_cast<std::size_t>(envelope.bytes) - sizeof head);
}

void compartment::release_result(std::uint64_t ticket, const result_envelope& envelope) noexcept {
    // Only for what lies there: a later task in the same slot must not hide that this one was taken.
    if (envelope.where == static_cast<std::uint32_t>(place::arena)) {
        slot_of(ticket).taken.store(ticket, std::memory_order_release);
    }
}

bool compartment::watch() noexcept {
    if (watched_.exchange(true)) return false;
    parent_sleeps(false);
    return true;
}

bool compartment::unwatch() noexcept {
    watched_.store(false);
    parent_sleeps(true);
    return results_waiting();
}

void compartment::sleep_as_caller(unsigned calls_before,
                                  std::chrono::steady_clock::time_point until) noexcept {
    auto& word = control_->caller_asleep;
    word.store(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with worker_port::publish
    // A call before the 1 was written shows in its number, one after it in the word.
    if (!results_waiting() && calls() == calls_before) {
        (void)os::futex_wait(word, 1, until, os::futex_scope::shared);
    }
    word.store(0, std::memory_order_relaxed);
}

void compartment::wake_caller() noexcept {
    calls_.fetch_add(1);
    control_->caller_asleep.store(0);  // behind the number in the one order of all such
    (void)os::futex_wake(control_->caller_asleep, 1, os::futex_scope::shared);
}

int compartment::woken_on_cpu(std::uint64_t ticket) const noexcept {
    if (woken_for_ != ticket) return -1;
    return static_cast<int>(control_->worker_cpu.load(std::memory_order_relaxed));
}

std::uint64_t compartment::next_result_bytes() const noexcept {
    return slot_of(collect_next_.load(std::memory_order_relaxed)).result.bytes;
}

bool compartment::next_result_has_descriptors() const noexcept {
    return slot_of(collect_next_.load(std::memory_order_relaxed)).result.descriptors != 0;
}

void compartment::parent_sleeps(bool sleeps) noexcept {
    if (!sleeps) {
        control_->parent_asleep.store(0, std::memory_order_relaxed);
        return;
    }
    // Not before unwatch() has said so: pairs with pool_core::run.
    control_->parent_asleep.store(1);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with worker_port::publish
}

}  // namespace bulkhead::channel
