// Handing tasks out, taking them back, and condemning a worker. Under the pool's lock, from any
// thread.
#include "pool/pool_core.hpp"

#include <boost/asio/post.hpp>

#include <ranges>

namespace bulkhead::detail {
namespace {

constexpr std::chrono::milliseconds retry_after{1};

}  // namespace

void pool_core::dispatch() {
    while (const auto out = scheduler_.next()) {
        auto& task = static_cast<remote_task&>(*out->task);
        if (!post(task, out->worker)) {
            // Its queue or arena is not to be entered just now; a result or the timer tries again.
            scheduler_.returned(task);
            if (!std::exchange(retry_wanted_, true)) {
                boost::asio::post(io_, [this] {
                    retry_timer_.expires_after(retry_after);
                    retry_timer_.async_wait([this](const boost::system::error_code& cancelled) {
                        if (cancelled) return;
                        const lock held(mutex_);
                        retry_wanted_ = false;
                        dispatch();
                    });
                });
            }
            break;
        }
    }
    handed_.store(scheduler_.handed(), std::memory_order_relaxed);
}

bool pool_core::post(remote_task& task, worker_index worker) {
    seat& at = *seats_[worker];
    if (at.free_slots.empty()) return false;
    channel::task_envelope envelope;
    envelope.id = task.id;
    envelope.entry = task.what.entry;
    envelope.chunk = task.what.chunk ? 1 : 0;
    envelope.takes_stop_token = task.what.takes_stop_token ? 1 : 0;
    try {
        if (!at.box->place_arguments(task.bytes, envelope)) return false;
    } catch (const error&) {
        return false;  // no memory for a segment now
    }
    envelope.slot = at.free_slots.back();
    if (at.box->post(envelope) != channel::mail::ok) {
        at.box->release_arguments(envelope);
        return false;
    }
    at.free_slots.pop_back();
    task.slot = envelope.slot;
    task.placed_where = envelope.where;
    task.placed_offset = envelope.offset;
    if (task.timeout.count() != 0) {
        // It cannot be late sooner; but it may be before those that are watched already.
        const auto due = channel::monotonic_ns() + static_cast<std::uint64_t>(task.timeout.count());
        if (due < at.watch_due_ns) {
            at.watch_due_ns = due;
            boost::asio::post(io_, [this, worker] { watch(worker); });
        }
    }
    return true;
}

void pool_core::unpost(remote_task& task, seat& at) {
    channel::task_envelope placed;
    placed.where = task.placed_where;
    placed.offset = task.placed_offset;
    at.box->release_arguments(placed);
    at.free_slots.push_back(task.slot);
    task.slot = no_slot;
}

remote_task* pool_core::find(worker_index worker, std::uint64_t id) const {
    if (id == 0) return nullptr;
    // Results come in the order of the ledger: nearly always the first.
    for (auto* node = scheduler_.ledger(worker).front(); node != nullptr; node = node->next) {
        if (node->id == id) return static_cast<remote_task*>(node);
    }
    return nullptr;
}

bool pool_core::take_back_all(worker_index worker, std::size_t count_max) {
    // A dying worker's tasks are settled by its end.
    if (scheduler_.step(worker) == fsm::worker_step::condemned) return true;
    seat& at = *seats_[worker];
    std::vector<remote_task*> taken;
    bool entered = true;
    channel::task_envelope envelope;
    while (taken.size() < count_max) {
        const auto result = at.box->take_back(envelope);
        if (result != channel::mail::ok) {
            entered = result == channel::mail::none;
            break;
        }
        auto* task = find(worker, envelope.id);
        if (task == nullptr || task->slot != envelope.slot || at_task(at, *task)) {
            at.lied = true;  // never posted, twice there, or begun already
            break;
        }
        unpost(*task, at);
        taken.push_back(task);
    }
    // In front of the backlog, in their old order.
    for (auto* task : std::views::reverse(taken)) scheduler_.returned(*task);
    handed_.store(scheduler_.handed(), std::memory_order_relaxed);
    return entered;
}

bool pool_core::at_task(const seat& at, const remote_task& task) const {
    return at.box && channel::current_id(at.box->current()) == task.id;
}

pool_core::condemned pool_core::condemn(remote_task& task, doom why) {
    const worker_index worker = task.worker;
    if (scheduler_.step(worker) == fsm::worker_step::condemned) {
        // It is dying for another reason; what it was running then is settled by that.
        return condemned::busy;
    }
    // control.hpp, invariant 3: once its queue is empty, a worker that is at this task holds no other,
    // so killing it costs nobody else anything.
    const bool entered = take_back_all(worker, fsm::window_max);
    if (task.step != fsm::task_step::handed || !at_task(*seats_[worker], task)) {
        if (task.step == fsm::task_step::handed) dispatch();
        return entered ? condemned::not_running : condemned::busy;
    }
    task.doomed = why;
    scheduler_.condemn(worker);
    kill_worker(worker);
    dispatch();
    return condemned::yes;
}

void pool_core::cancel_waiting(std::vector<remote_task*>& resolved) {
    while (auto* node = scheduler_.first_waiting()) {
        auto& task = static_cast<remote_task&>(*node);
        scheduler_.removed(task);
        task.set_cancelled();
        ++figures_.cancelled;
        ended(task, resolved);
    }
}

}  // namespace bulkhead::detail
