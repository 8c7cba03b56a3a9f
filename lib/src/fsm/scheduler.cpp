// Transitions only; see the header for the states.
#include "fsm/scheduler.hpp"

#include <algorithm>
#include <cassert>
#include <functional>
#include <limits>

namespace bulkhead::fsm {

void task_list::push_back(task_node& task) noexcept {
    task.previous = last_;
    task.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &task;
    last_ = &task;
    ++size_;
}

void task_list::push_front(task_node& task) noexcept {
    task.previous = nullptr;
    task.next = first_;
    (first_ != nullptr ? first_->previous : last_) = &task;
    first_ = &task;
    ++size_;
}

void task_list::remove(task_node& task) noexcept {
    (task.previous != nullptr ? task.previous->next : first_) = task.next;
    (task.next != nullptr ? task.next->previous : last_) = task.previous;
    task.previous = task.next = nullptr;
    --size_;
}

scheduler::scheduler(std::size_t workers, const limits& limits)
    : limits_(limits), workers_(workers) {}

void scheduler::submitted(task_node& task) {
    task.step = task_step::waiting;
    auto& equals = backlog_[task.priority];
    equals.push_back(task);
    ++waiting_;
    if (equals.size() == 1) no_room_ = false;  // it may be the first now
}

scheduler::backlog::iterator scheduler::first_backlog() noexcept {
    return std::find_if(backlog_.begin(), backlog_.end(),
                        [](const auto& equals) { return !equals.second.empty(); });
}

task_node* scheduler::first_waiting() noexcept {
    const auto equals = first_backlog();
    return equals == backlog_.end() ? nullptr : equals->second.front();
}

std::optional<std::int32_t> scheduler::outranked() noexcept {
    if (waiting_ == 0 || handed_ == 0) return std::nullopt;
    const auto first = first_waiting()->priority;
    return first > lowest_handed_ ? std::optional(first) : std::nullopt;
}

void scheduler::called_back(std::int32_t below) noexcept {
    lowest_handed_ = std::numeric_limits<std::int32_t>::max();
    for (const auto& at : workers_) {
        const auto* last = at.ledger.back();
        // What is lower still has begun.
        if (last != nullptr && last->priority >= below) {
            lowest_handed_ = std::min(lowest_handed_, last->priority);
        }
    }
}

bool scheduler::is_at_long_task(seat& worker) const noexcept {
    if (worker.front_seen_at == not_seen) worker.front_seen_at = finished_;
    return worker.front_is_long || finished_ - worker.front_seen_at > overtaken_max * ready_;
}

std::size_t scheduler::window(seat& worker) const noexcept {
    if (is_at_long_task(worker)) return 1;
    if (worker.mean_run_ns == 0 || worker.mean_run_ns >= long_task_ns) return 1;
    return std::clamp<std::size_t>(window_ns / worker.mean_run_ns, 2, window_max);
}

std::optional<hand_out> scheduler::next() {
    if (no_room_ || waiting_ == 0) return std::nullopt;
    const auto equals = first_backlog();
    task_node& task = *equals->second.front();
    const worker_index chosen = place(task.priority, equals->second.size() == waiting_);
    if (chosen == no_worker) {
        no_room_ = true;
        return std::nullopt;
    }
    unlink_waiting(task, equals);
    task.step = task_step::handed;
    task.worker = chosen;
    seat& to = workers_[chosen];
    to.ledger.push_back(task);
    --to.budget;
    ++handed_;
    lowest_handed_ = std::min(lowest_handed_, task.priority);
    return hand_out{&task, chosen};
}

worker_index scheduler::place(std::int32_t priority, bool may_queue) noexcept {
    const worker_index vacant = vacant_worker();
    if (vacant != no_worker) {
        run_at_ = vacant;
        in_a_row_ = 1;
        return vacant;
    }
    return may_queue ? worker_with_room(priority) : no_worker;
}

worker_index scheduler::vacant_worker() noexcept {
    if (none_vacant_) return no_worker;
    for (std::size_t i = 0; i != workers_.size(); ++i) {
        const worker_index at = cursor_;
        cursor_ = after(at);
        if (takes_tasks(workers_[at]) && workers_[at].ledger.empty()) return at;
    }
    none_vacant_ = true;
    return no_worker;
}

worker_index scheduler::worker_with_room(std::int32_t priority) noexcept {
    const bool goes_on =
        in_a_row_ < in_a_row_max && (in_a_row_ + 1) * workers_[run_at_].mean_run_ns <= in_a_row_ns;
    worker_index at = goes_on ? run_at_ : after(run_at_);
    for (std::size_t i = 0; i != workers_.size(); ++i, at = after(at)) {
        seat& candidate = workers_[at];
        if (!takes_tasks(candidate) || candidate.ledger.empty() ||
            candidate.ledger.back()->priority != priority ||
            candidate.ledger.size() >= window(candidate)) {
            continue;
        }
        in_a_row_ = goes_on && at == run_at_ ? in_a_row_ + 1 : 1;
        run_at_ = at;
        return at;
    }
    return no_worker;
}

worker_index scheduler::after(worker_index worker) const noexcept {
    return worker + 1 == workers_.size() ? 0 : worker + 1;
}

void scheduler::unlink_waiting(task_node& task, backlog::iterator equals) {
    equals->second.remove(task);
    --waiting_;
    if (!equals->second.empty()) return;
    no_room_ = false;
    // The usual single priority keeps its list; of many, only those in use are kept.
    if (backlog_.size() > 1) backlog_.erase(equals);
}

void scheduler::leave_worker(task_node& task) {
    seat& from = workers_[task.worker];
    const bool was_first = from.ledger.front() == &task;
    from.ledger.remove(task);
    if (was_first) new_front(from);
    if (from.ledger.empty()) none_vacant_ = false;
    if (--handed_ == 0) lowest_handed_ = std::numeric_limits<std::int32_t>::max();
    no_room_ = false;
}

void scheduler::wait_again(task_node& task) {
    assert(task.step == task_step::handed);
    leave_worker(task);
    task.worker = no_worker;
    wait_in_front(task);
}

void scheduler::wait_in_front(task_node& task) {
    task.step = task_step::waiting;
    backlog_[task.priority].push_front(task);
    ++waiting_;
    no_room_ = false;
}

void scheduler::returned(task_node& task) {
    ++workers_[task.worker].budget;
    in_a_row_ = in_a_row_max;  // whose turn it is may have no room after all
    wait_again(task);
}

void scheduler::finished(task_node& task, std::uint64_t run_ns) {
    seat& by = workers_[task.worker];
    // A moving mean that follows within a few tasks; never 0, which would mean unmeasured.
    const std::uint64_t bounded = std::clamp<std::uint64_t>(run_ns, 1, std::uint64_t{1} << 50);
    by.mean_run_ns = std::max<std::uint64_t>(
        1, by.mean_run_ns == 0 ? bounded : (3 * by.mean_run_ns + bounded) / 4);
    ++finished_;
    progressed(task.worker);
    removed(task);
}

void scheduler::progressed(worker_index worker) {
    deaths_in_row_ = idle_deaths_ = 0;
    has_come_up(worker);
}

void scheduler::has_come_up(worker_index worker) {
    start_failures_ = start_kills_ = workers_[worker].start_failures = 0;
}

void scheduler::removed(task_node& task) {
    if (task.step == task_step::handed) {
        leave_worker(task);
    } else if (task.step == task_step::waiting) {
        unlink_waiting(task, backlog_.find(task.priority));
    }
    task.worker = no_worker;
    task.step = task_step::gone;
}

bool scheduler::crashed(task_node& task) {
    if (task.retries_left == 0) {
        removed(task);
        return false;
    }
    --task.retries_left;
    wait_again(task);
    return true;
}

void scheduler::again(task_node& task) {
    assert(task.step == task_step::gone && task.retries_left != 0);
    --task.retries_left;
    wait_in_front(task);
}

void scheduler::starting(worker_index index) {
    assert(workers_[index].step == worker_step::absent);
    move(workers_[index], worker_step::starting);
}

void scheduler::ready(worker_index index) {
    move(workers_[index], worker_step::ready);
    workers_[index].mean_run_ns = 0;
    workers_[index].suspended = false;
    workers_[index].budget = limits_.tasks_per_worker_max != 0
                                 ? limits_.tasks_per_worker_max
                                 : std::numeric_limits<std::uint64_t>::max();
    no_room_ = none_vacant_ = false;
}

void scheduler::suspend(worker_index index, bool suspended) {
    workers_[index].suspended = suspended;
    no_room_ = none_vacant_ = false;
}

void scheduler::at_long_task(worker_index index) { workers_[index].front_is_long = true; }

void scheduler::new_front(seat& worker) noexcept {
    worker.front_seen_at = not_seen;
    worker.front_is_long = false;
}

void scheduler::move(seat& worker, worker_step to) noexcept {
    if (worker.step == worker_step::ready) --ready_;
    if (to == worker_step::ready) ++ready_;
    worker.step = to;
}

void scheduler::retire(worker_index index) { move(workers_[index], worker_step::retiring); }

bool scheduler::is_spent(worker_index index) const {
    const seat& at = workers_[index];
    return at.step == worker_step::ready && at.budget == 0 && at.ledger.empty();
}

void scheduler::grow(std::size_t workers) {
    if (workers > workers_.size()) workers_.resize(workers);
}

void scheduler::condemn(worker_index index) { move(workers_[index], worker_step::condemned); }

after_death scheduler::died(worker_index index, bool came_up, bool expected, bool killed,
                            bool idle) {
    assert(workers_[index].ledger.empty());
    move(workers_[index], worker_step::absent);
    if (expected) return after_death::restart;
    if (!came_up && killed) {
        ++workers_[index].start_failures;
        return ++start_kills_ >= limits_.start_kills_max ? after_death::give_up
                                                         : after_death::restart;
    }
    if (!came_up) {
        ++workers_[index].start_failures;
        return ++start_failures_ >= limits_.start_failures_max ? after_death::give_up
                                                               : after_death::restart;
    }
    has_come_up(index);
    ++deaths_in_row_;
    if (idle) ++idle_deaths_;
    const bool too_many = limits_.crash_limit != 0 && deaths_in_row_ >= limits_.crash_limit;
    return too_many ? after_death::give_up : after_death::restart;
}

after_death scheduler::start_failed(worker_index index) {
    move(workers_[index], worker_step::absent);
    ++workers_[index].start_failures;
    return ++start_failures_ >= limits_.start_failures_max ? after_death::give_up
                                                           : after_death::restart;
}

worker_index scheduler::overloaded() const {
    if (waiting_ != 0) return no_worker;
    worker_index most = no_worker;
    bool idle = false;
    for (worker_index i = 0; i != workers_.size(); ++i) {
        const seat& at = workers_[i];
        if (at.step != worker_step::ready) continue;
        if (at.ledger.empty()) {
            idle = idle || (at.budget != 0 && !at.suspended);
        } else if (at.ledger.size() > 1 &&
                   (most == no_worker || at.ledger.size() > workers_[most].ledger.size())) {
            most = i;
        }
    }
    return idle ? most : no_worker;
}

worker_index scheduler::obstructed() noexcept {
    if (ready_ < 2) return no_worker;
    for (worker_index i = 0; i != workers_.size(); ++i) {
        seat& at = workers_[i];
        if (at.step == worker_step::ready && at.ledger.size() > 1 && is_at_long_task(at)) return i;
    }
    return no_worker;
}

}  // namespace bulkhead::fsm
