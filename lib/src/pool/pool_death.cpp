// Workers' ends: what the death of a process means for the tasks that it had, and for the pool. On the loop thread.
#include "pool/pool_core.hpp"

#include "os/kill_point.hpp"
#include "os/procfs.hpp"
#include "pool/crash_cause.hpp"

#include <boost/asio/post.hpp>

#include <csignal>

namespace bulkhead::detail {
namespace {

/// After this a kill of the kernel's was not one of a worker.
constexpr std::chrono::seconds oom_kill_shows_within{1};

}  // namespace

void pool_core::kill_worker(worker_index worker) {
    seat& at = *seats_[worker];
    at.process.signal_group(SIGTERM);
    BULKHEAD_KILL_POINT("parent.condemned");
    boost::asio::post(io_, [this, worker, generation = at.generation] {
        seat& mine = *seats_[worker];
        if (mine.generation != generation || !mine.box) return;
        mine.kill_timer.expires_after(options_.kill_grace);
        mine.kill_timer.async_wait(
            [this, worker, generation](const boost::system::error_code& cancelled) {
                if (cancelled || seats_[worker]->generation != generation) return;
                const lock held(mutex_);
                seats_[worker]->process.signal_group(SIGKILL);
            });
    });
}

void pool_core::on_death(worker_index worker) {
    BULKHEAD_KILL_POINT("parent.death_seen");
    seat& at = *seats_[worker];
    // What it had posted, then what it had published without the message getting through.
    std::vector<remote_task*> resolved;
    // More than there are slots comes from a child of a task only, which has escaped and goes on for ever.
    for (std::size_t results = 0; results < channel::slots_max;) {
        std::vector<collected> batch;
        drain(worker, batch, channel::slots_max);
        if (batch.empty() && !at.coming) break;
        results += batch.size();
        accept(batch, resolved);
    }
    at.coming.reset();
    const partial_references references = references_of_partial(worker);
    std::vector<pool_event> events;
    const auto streams = std::exchange(at.streams, nullptr);
    streams->finish();
    const std::string stderr_tail = streams->stderr_tail();
    // Reads symbol tables and files: not under the lock.
    std::optional<os::crash_account> account;
    try {
        account = at.box->crash(at.process.pid(), options_.executable);
    } catch (const std::exception&) {
        // No memory for it here: the death is known without its place.
    }
    count_oom_kills();
    lock held(mutex_);
    const bool exceeded_group = at.process.exceeded_group();
    const process_status status = at.process.reap();
    const pid_t pid = at.process.pid();
    const bool initialising = at.init_ticket != 0;
    // What the worker's memory says may be overwritten by now; what came of it before is known here.
    const bool idle = all_wait_at(worker);
    const bool served = at.has_served || at.box->attached() || !idle;
    const bool came_up = served && !initialising;
    const bool condemned = scheduler_.step(worker) == fsm::worker_step::condemned;
    const bool expected = at.hung_up || (condemned && !at.lied);
    if (initialising && !expected) {
        start_failure_ = !at.init_failure.empty()
                             ? at.init_failure
                             : "bulkhead: a worker process " + status.to_string() +
                                   " while it ran the initializer";
    }
    const bool by_kernel = status.signal() == SIGKILL && !expected && !at.lied && take_oom_kill();
    const bool killed =
        status.signal() == SIGKILL && at.init_failure.empty() && !by_kernel && !exceeded_group;
    at.init_ticket = 0;
    at.init_failure.clear();
    const crash_details details = explain({.status = status,
                                           .account = std::move(account),
                                           .memory_max_bytes = options_.worker_memory_max_bytes,
                                           .killed_as_liar = at.lied,
                                           .exceeded_group = exceeded_group,
                                           .oom_kill_counted = by_kernel});
    settle(worker, {status, stderr_tail, details, references}, resolved, events);
    BULKHEAD_KILL_POINT("parent.settled");
    at.death.close();
    at.bell.close();
    at.kill_timer.cancel();
    at.watch_timer.cancel();
    at.watch_due_ns = not_watched;
    const auto box = std::exchange(at.box, nullptr);
    ++at.generation;
    if (!came_up && !expected && !initialising) {
        start_failure_ = "bulkhead: a worker process " + status.to_string() +
                         " while it started, before it could take a task (does main() call "
                         "bulkhead::init first, and do global constructors work in a worker?)";
    }
    events.push_back({.what = pool_event::kind::worker_died,
                      .pid = pid,
                      .status = status,
                      .message = came_up || expected ? std::string() : start_failure_});
    if (scheduler_.died(worker, came_up, expected, killed, idle) == fsm::after_death::give_up) {
        give_up(came_up ? "bulkhead: " + std::to_string(options_.crash_limit) +
                              " workers died in a row without finishing a task (crash_limit); the "
                              "last one " +
                              status.to_string()
                        : start_failure_,
                resolved);
    } else if (!ending_ && !broken_ && is_wanted(worker) && !at.resting) {
        ++at.restarts;
        ++figures_.restarts;
        start_later(worker);
    }
    if (broken_) give_up(*broken_, resolved);  // what came back from this worker
    if (ending_) cancel_waiting(resolved);
    dispatch();
    arm_balance();
    wake_waiters(held);
    for (const auto& event : events) emit(event);
    decide_retries(resolved);
    resolve_all(resolved);
    if (box->is_watched()) box->wake_caller();
    os::keeper::revive();
    dismiss_keeper();
}

pool_core::partial_references pool_core::references_of_partial(worker_index worker) noexcept {
    seat& at = *seats_[worker];
    auto& box = *at.box;
    try {
        const std::lock_guard collecting(box.collecting());
        if (at.references.ticket != 0) return std::exchange(at.references, {});
        const auto ticket = box.next_to_collect();
        return {ticket, adopt_objects(box.descriptors_of(ticket), true)};
    } catch (const std::exception&) {
        return {};  // memory, descriptors or a liar: decoding what is not there will say so
    }
}

void pool_core::settle(worker_index worker, const worker_end& end,
                       std::vector<remote_task*>& resolved, std::vector<pool_event>& events) {
    // Newest first: what goes back to the backlog goes to its front.
    while (auto* node = scheduler_.ledger(worker).back()) {
        settle_one(static_cast<remote_task&>(*node), worker, end, resolved, events);
    }
}

void pool_core::settle_one(remote_task& task, worker_index worker, const worker_end& end,
                           std::vector<remote_task*>& resolved, std::vector<pool_event>& events) {
    seat& at = *seats_[worker];
    const auto ticket = task.ticket;
    const auto phase = at.box->phase_of(ticket);
    const auto how = at.box->at(ticket);
    note_progress(task);
    unpost(task);
    if (how == channel::progress::waiting && task.doomed == doom::none && !task.cancel_asked) {
        scheduler_.returned(task);  // it had not begun
        return;
    }
    // Whatever else: it began, and no result that can be believed came of it.
    const pid_t pid = at.process.pid();
    if (task.doomed == doom::cancelled ||
        (task.doomed == doom::none && (task.stop_asked || task.cancel_asked))) {
        scheduler_.removed(task);
        task.set_cancelled();
        ++figures_.cancelled;
        ended(task, resolved);
        return;
    }
    channel::partial_items part;
    if (task.what.chunk) {
        part = at.box->partial_items_of(ticket);
        if (ticket == end.references.ticket) part.items.keep(end.references.objects);
        if (!at.lied && part.finished != 0) scheduler_.progressed(worker);
    }
    if (part.between) {  // it was at none of its items
        scheduler_.removed(task);
        ++figures_.succeeded;
        task.set_partial(std::move(part.items), nullptr, pid);
        ended(task, resolved);
        return;
    }
    std::exception_ptr error;
    if (task.doomed == doom::timeout) {
        scheduler_.removed(task);
        error = std::make_exception_ptr(task_timeout(task.timeout, pid, task.name()));
        if (task.may_be_retried()) {
            task.doomed = doom::none;
            ask_about({.task = &task, .failure = std::move(error), .pid = pid, .timed_out = true});
            return;
        }
        ++figures_.timed_out;
    } else {
        events.push_back({.what = pool_event::kind::task_crashed,
                          .pid = pid,
                          .status = end.status,
                          .task_name = task.name()});
        if (scheduler_.crashed(task)) {
            ++figures_.retried;
            task.forget_progress();
            task.queued_ns = channel::monotonic_ns();
            return;
        }
        ++figures_.crashed;
        error = std::make_exception_ptr(
            worker_crashed(end.status, pid, phase, task.name(), end.stderr_tail, end.details));
    }
    if (task.what.chunk) {
        task.set_partial(std::move(part.items), std::move(error), pid);
    } else {
        task.set_error(std::move(error));
    }
    ended(task, resolved);
}

void pool_core::give_up(const std::string& cause, std::vector<remote_task*>& resolved) {
    if (!broken_) broken_ = cause;
    while (auto* node = scheduler_.first_waiting()) {
        auto& task = static_cast<remote_task&>(*node);
        scheduler_.removed(task);
        task.set_error(std::make_exception_ptr(pool_broken(*broken_)));
        ++figures_.failed;
        ended(task, resolved);
    }
    room_.notify_all();
    part_with_spares();
}

void pool_core::count_oom_kills() {
    const auto now = std::chrono::steady_clock::now();
    const auto kills = os::oom_kills();
    if (kills > oom_kills_seen_) {
        oom_kills_open_ += kills - oom_kills_seen_;
        oom_kills_counted_at_ = now;
    } else if (now - oom_kills_counted_at_ > oom_kill_shows_within) {
        oom_kills_open_ = 0;  // these were other processes
    }
    oom_kills_seen_ = kills;
}

bool pool_core::take_oom_kill() {
    if (oom_kills_open_ == 0) return false;
    --oom_kills_open_;
    return true;
}

void pool_core::dismiss_keeper() {
    std::shared_ptr<os::keeper> dismissed;  // its end is awaited without the lock
    const lock held(mutex_);
    if (!workers_gone()) return;
    for (worker_index i = 0; i != seats_.size(); ++i) {
        const bool returns = is_wanted(i) && !seats_[i]->resting && !ending_ && !broken_;
        if (returns) return;
    }
    dismissed = std::exchange(keeper_, nullptr);
}

}  // namespace bulkhead::detail
