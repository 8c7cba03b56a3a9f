// Handing tasks out, taking them back, and condemning a worker. Under the pool's lock, from any
// thread.
#include "pool/pool_core.hpp"

#include "os/kill_point.hpp"

#include <boost/asio/post.hpp>

#include <atomic>
#include <csignal>

namespace bulkhead::detail {
namespace {

constexpr std::chrono::milliseconds retry_after{1};

}  // namespace

void pool_core::dispatch() {
    if (const auto urgent = scheduler_.outranked()) {
        call_back([&](worker_index, const remote_task& last) { return last.priority < *urgent; });
        scheduler_.called_back(*urgent);
    }
    while (const auto out = scheduler_.next()) {
        auto& task = static_cast<remote_task&>(*out->task);
        if (!post(task, out->worker)) {
            // Its slots or its arena are full; a result or the timer tries again.
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
    std::size_t behind = 0;  // tasks that wait behind another at a worker
    for (worker_index i = 0; resting_ != 0 && i != seats_.size(); ++i) {
        const auto there = scheduler_.ledger(i).size();
        if (there > 1) behind += there - 1;
    }
    if (resting_ != 0 && scheduler_.waiting() + behind != 0) {
        std::size_t needed = scheduler_.waiting() + behind;
        for (worker_index i = 0; i != seats_.size() && resting_ != 0 && needed != 0; ++i) {
            if (!seats_[i]->resting) continue;
            seats_[i]->resting = false;
            --resting_;
            --needed;
            boost::asio::post(io_, [this, i] { start_worker(i); });
        }
    }
    if (!audit_armed_ && scheduler_.handed() != 0) {
        audit_armed_ = true;
        boost::asio::post(io_, [this] { arm_audit(); });
    }
}

bool pool_core::post(remote_task& task, worker_index worker) {
    seat& at = *seats_[worker];
    if (!at.box->has_room()) return false;
    channel::task_envelope envelope;
    envelope.entry = task.what.entry;
    envelope.chunk = task.what.chunk ? 1 : 0;
    envelope.timed = task.timeout.count() != 0 ? 1 : 0;
    envelope.takes_stop_token = task.what.takes_stop_token ? 1 : 0;
    try {
        if (!at.box->place_arguments(task.bytes, envelope)) return false;
    } catch (const error&) {
        return false;  // no memory for a segment now
    }
    BULKHEAD_KILL_POINT("parent.placed");
    const auto ticket = at.box->post(envelope);
    if (ticket == 0) {
        at.box->release_arguments(envelope);
        return false;
    }
    task.ticket = ticket;
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

void pool_core::unpost(remote_task& task) {
    channel::task_envelope placed;
    placed.where = task.placed_where;
    placed.offset = task.placed_offset;
    seats_[task.worker]->box->release_arguments(placed);
    if (auto* lent = task.bytes.shared()) lent->returned();
    task.ticket = 0;
}

remote_task* pool_core::find(worker_index worker, std::uint64_t ticket) const {
    // Results come in the order of the ledger: nearly always the first.
    for (auto* node = scheduler_.ledger(worker).front(); node != nullptr; node = node->next) {
        auto* task = static_cast<remote_task*>(node);
        if (task->ticket == ticket) return task;
    }
    return nullptr;
}

const remote_task* pool_core::running_at(worker_index worker) const {
    for (auto* node = scheduler_.ledger(worker).front(); node != nullptr; node = node->next) {
        const auto* task = static_cast<const remote_task*>(node);
        if (has_begun(*task)) return task;
    }
    return nullptr;
}

bool pool_core::all_wait_at(worker_index worker) const {
    const auto& box = seats_[worker]->box;
    for (auto* node = scheduler_.ledger(worker).front(); node != nullptr; node = node->next) {
        const auto* task = static_cast<const remote_task*>(node);
        if (box->at(task->ticket) != channel::progress::waiting) return false;
    }
    return true;
}

std::string pool_core::running_name(worker_index worker) const {
    const lock held(mutex_);
    if (worker >= seats_.size() || !seats_[worker]->box) return {};
    const auto* task = running_at(worker);
    return task != nullptr ? task->name() : std::string();
}

bool pool_core::has_begun(const remote_task& task) const {
    const auto& box = seats_[task.worker]->box;
    return box && box->at(task.ticket) == channel::progress::begun;
}

bool pool_core::take_back(remote_task& task) {
    if (task.doomed != doom::none) return false;
    switch (seats_[task.worker]->box->withdraw(task.ticket)) {
        case channel::withdrawal::withdrawn:
            if (seats_[task.worker]->box->is_watched()) seats_[task.worker]->box->wake_caller();
            unpost(task);
            scheduler_.returned(task);
            return true;
        case channel::withdrawal::lied:
            denounce(task.worker);
            return false;
        case channel::withdrawal::begun:
        case channel::withdrawal::published:
            break;
    }
    return false;
}

void pool_core::take_back(worker_index worker, std::size_t count_max) {
    // From the end, to the front of the backlog: they keep their order.
    auto* node = scheduler_.ledger(worker).back();
    for (std::size_t i = 0; i != count_max && node != nullptr; ++i) {
        auto& task = static_cast<remote_task&>(*node);
        node = node->previous;
        if (!take_back(task)) break;  // those before it have begun sooner
    }
    handed_.store(scheduler_.handed(), std::memory_order_relaxed);
}

void pool_core::call_back(const std::function<bool(worker_index, const remote_task&)>& is_to_come) {
    for (auto& at : seats_) at->keeps_the_rest = false;
    while (true) {
        remote_task* newest = nullptr;
        for (worker_index i = 0; i != seats_.size(); ++i) {
            if (!seats_[i]->box || seats_[i]->keeps_the_rest) continue;
            auto* last = static_cast<remote_task*>(scheduler_.ledger(i).back());
            if (last == nullptr || !is_to_come(i, *last)) continue;
            if (newest == nullptr || newest->id < last->id) newest = last;
        }
        if (newest == nullptr) return;
        const worker_index from = newest->worker;
        if (!take_back(*newest)) seats_[from]->keeps_the_rest = true;
    }
}

bool pool_core::condemn(remote_task& task, doom why) {
    const worker_index worker = task.worker;
    // control.hpp, invariant 3: then killing it costs nobody else anything.
    take_back(worker, fsm::window_max);
    if (task.step != fsm::task_step::handed) {
        // Its worker said that it had begun, and then that it had not.
        denounce(worker);
        return false;
    }
    // What says that it waits has refused to be taken back: a lie, and a kill is the answer to that too.
    bool yes = seats_[worker]->box->at(task.ticket) != channel::progress::published;
    if (yes && task.what.chunk) {
        // An item that ends all the same is the chunk's last, or the next would be taken for the late one.
        seats_[worker]->box->ask_to_abandon(task.ticket);
        // Pairs with the worker's between an item's clock and its look at that wish.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        const bool next_has_begun =
            why == doom::timeout && running_for(worker, channel::monotonic_ns()) < task.timeout;
        if (next_has_begun) yes = false;
    }
    // The first cause counts: one that dies of a crash is late for that.
    const bool crashed = why == doom::timeout && seats_[worker]->box->has_crashed();
    if (yes && !crashed) task.doomed = why;
    if (yes && scheduler_.step(worker) != fsm::worker_step::condemned) {
        scheduler_.condemn(worker);
        kill_worker(worker);
    }
    dispatch();
    return yes;
}

void pool_core::denounce(worker_index worker) {
    seat& at = *seats_[worker];
    at.lied = true;
    const auto step = scheduler_.step(worker);
    if (step == fsm::worker_step::ready || step == fsm::worker_step::retiring) {
        scheduler_.condemn(worker);
    }
    at.process.signal_group(SIGKILL);
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
