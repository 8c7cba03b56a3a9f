// Workers' beginnings and ends. On the loop thread.
#include "pool/pool_core.hpp"

#include "os/doorbell.hpp"
#include "os/kill_point.hpp"
#include "os/procfs.hpp"
#include "pool/crash_cause.hpp"
#include "pool/exception_travel.hpp"

#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <cassert>
#include <csignal>

namespace bulkhead::detail {
namespace {

/// After the n-th failed start in a row: this, times 2^n.
constexpr std::chrono::milliseconds first_back_off{10};
constexpr unsigned back_off_doublings_max = 6;
/// Programs that make a pool for one task, and are in a hurry, are done by then.
constexpr std::chrono::milliseconds spare_after{20};
/// After this a kill of the kernel's was not one of a worker.
constexpr std::chrono::seconds oom_kill_shows_within{1};
constexpr std::uint64_t no_ticket = ~std::uint64_t{0};

}  // namespace

void pool_core::start_worker(worker_index worker) {
    seat& at = *seats_[worker];
    {
        const lock held(mutex_);
        if (ending_ || broken_ || !is_wanted(worker) || at.resting || at.box ||
            scheduler_.step(worker) != fsm::worker_step::absent) {
            return;
        }
        scheduler_.starting(worker);
    }
    std::vector<remote_task*> resolved;
    try {
        seat_crew(worker, take_crew());
    } catch (const std::exception& cause) {
        lock held(mutex_);
        const auto* from_asio = dynamic_cast<const boost::system::system_error*>(&cause);
        start_failure_ = from_asio == nullptr
                             ? cause.what()
                             : os::cannot_start(os::errno_text(from_asio->code().value()));
        if (scheduler_.start_failed(worker) == fsm::after_death::give_up) {
            give_up(start_failure_, resolved);
        } else {
            start_later(worker);
        }
        wake_waiters(held);
    }
    resolve_all(resolved);
}

void pool_core::seat_crew(worker_index worker, crew who) {
    seat& at = *seats_[worker];
    const pid_t pid = who.process.pid();
    try {
        // Duplicates: Asio closes what it is given.
        os::unique_fd death = os::duplicate(who.process.pidfd());
        os::unique_fd bell = os::duplicate(who.box->bell());
        at.death.assign(death.get());
        (void)death.release();
        at.bell.assign(bell.get());
        (void)bell.release();
    } catch (...) {
        boost::system::error_code ignored;
        at.death.close(ignored);
        who.disband();
        throw;
    }
    {
        const lock held(mutex_);
        who.seat->store(worker);
        assert(!at.coming);
        at.box = std::move(who.box);
        at.process = std::move(who.process);
        at.streams = std::move(who.streams);
        ++at.generation;
        at.hung_up = false;
        at.lied = false;
        at.waiting_ticket = at.stalled_ticket = 0;
        at.started_at = std::chrono::steady_clock::now();
        listen(worker);
        if (options_.initializer) {
            initialise(worker);
        } else {
            now_ready(worker);
        }
    }
    emit({.what = pool_event::kind::worker_started, .pid = pid});
}

void pool_core::now_ready(worker_index worker) {
    scheduler_.ready(worker);
    BULKHEAD_KILL_POINT("parent.ready");
    seats_[worker]->idle_since = std::chrono::steady_clock::now();
    if (!is_wanted(worker) || seats_[worker]->hung_up) retire(worker);  // resized in between
    dispatch();
    arm_balance();
    arm_idle();
    spares_dismissed_ = false;
    arm_spares(spare_after);
}

void pool_core::initialise(worker_index worker) {
    seat& at = *seats_[worker];
    const auto& call = options_.initializer.call();
    const channel::payload arguments =
        call.arguments.shared() ? channel::payload(call.arguments.shared(), call.arguments.size())
                                : channel::payload(call.arguments.bytes());
    channel::task_envelope envelope;
    envelope.entry = call.what.entry;
    envelope.chunk = 0;
    envelope.timed = 0;
    envelope.takes_stop_token = call.what.takes_stop_token ? 1 : 0;
    at.init_failure.clear();
    try {
        if (!at.box->place_arguments(arguments, envelope)) {
            throw error("bulkhead: there is no room for the initializer's arguments");
        }
        at.init_ticket = at.box->post(envelope);
    } catch (const error& cause) {
        at.init_ticket = no_ticket;
        fail_initializer(at, cause.what());
        return;
    }
    watch_initializer(worker, std::chrono::steady_clock::now() + initializer_timeout_default);
}

void pool_core::watch_initializer(worker_index worker, std::chrono::steady_clock::time_point last) {
    seat& at = *seats_[worker];
    const std::chrono::nanoseconds limit =
        options_.task_timeout.count() != 0 ? options_.task_timeout : initializer_timeout_default;
    at.watch_timer.expires_after(limit);
    at.watch_timer.async_wait([this, worker, limit, last, generation = at.generation](
                                  const boost::system::error_code& cancelled) {
        if (cancelled) return;
        const lock held(mutex_);
        seat& mine = *seats_[worker];
        if (mine.generation != generation || mine.init_ticket == 0) return;
        // The clock starts with the initializer, not with the process.
        const auto now = channel::monotonic_ns();
        const bool late = mine.box->at(mine.init_ticket) != channel::progress::waiting &&
                          now - std::min(now, mine.box->started_ns()) >=
                              static_cast<std::uint64_t>(limit.count());
        if (late || std::chrono::steady_clock::now() >= last) {
            fail_initializer(mine, "bulkhead: the initializer ran longer than its time limit");
        } else {
            watch_initializer(worker, last);
        }
    });
}

void pool_core::initialised(collected& result) {
    seat& at = *seats_[result.worker];
    at.box->release_result(result.ticket, result.envelope);
    at.box->settled(result.ticket);
    if (!at.init_failure.empty() || scheduler_.step(result.worker) != fsm::worker_step::starting) {
        return;  // it is being killed already
    }
    if (static_cast<channel::result_kind>(result.envelope.kind) == channel::result_kind::value) {
        at.init_ticket = 0;
        at.watch_timer.cancel();
        at.box->use_again();  // what the initializer needs is no wear
        now_ready(result.worker);
        return;
    }
    std::string why = "bulkhead: the initializer failed: ";
    try {
        if (result.failure) std::rethrow_exception(result.failure);
        throw_remote(result.bytes.bytes(), at.process.pid(), "");
    } catch (const std::exception& thrown) {
        why += thrown.what();
    }
    fail_initializer(at, why);
}

void pool_core::fail_initializer(seat& at, const std::string& why) {
    at.init_failure = why;
    at.process.signal_group(SIGKILL);  // the rest is done at its end
}

void pool_core::start_later(worker_index worker) {
    seat& at = *seats_[worker];
    const unsigned failures = scheduler_.back_off();
    if (failures == 0) {
        boost::asio::post(io_, [this, worker] { start_worker(worker); });
        return;
    }
    at.restart_timer.expires_after(first_back_off *
                                   (1 << std::min(failures, back_off_doublings_max)));
    at.restart_timer.async_wait([this, worker](const boost::system::error_code& cancelled) {
        if (!cancelled) start_worker(worker);
    });
}

void pool_core::listen(worker_index worker) {
    seat& at = *seats_[worker];
    at.death.async_wait(
        boost::asio::posix::stream_descriptor::wait_read,
        [this, worker, generation = at.generation](const boost::system::error_code& cancelled) {
            if (!cancelled && seats_[worker]->generation == generation) {
                on_death(worker);
            }
        });
    struct bell_waiter {
        pool_core* core;
        worker_index worker;
        std::uint64_t generation;
        void arm() {
            core->seats_[worker]->bell.async_wait(
                boost::asio::posix::stream_descriptor::wait_read,
                [self = *this](const boost::system::error_code& cancelled) mutable {
                    seat& mine = *self.core->seats_[self.worker];
                    if (cancelled || mine.generation != self.generation || !mine.box) return;
                    // Its end is the worker's: that is told by its death.
                    if (os::silence(mine.box->bell())) self.arm();
                });
        }
    };
    bell_waiter{this, worker, at.generation}.arm();
}

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
    while (true) {
        std::vector<collected> batch;
        drain(worker, batch, channel::slots_max);
        if (batch.empty() && !at.coming) break;
        accept(batch, resolved);
    }
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
    const bool came_up = at.box->attached() && !initialising;
    const bool expected = at.hung_up || scheduler_.step(worker) == fsm::worker_step::condemned;
    if (initialising && !expected) {
        start_failure_ = !at.init_failure.empty()
                             ? at.init_failure
                             : "bulkhead: a worker process " + status.to_string() +
                                   " while it ran the initializer";
    }
    const bool killed = status.signal() == SIGKILL && at.init_failure.empty();
    at.init_ticket = 0;
    at.init_failure.clear();
    const bool idle = running_at(worker) == nullptr;
    const bool by_kernel = status.signal() == SIGKILL && !expected && take_oom_kill();
    crash_details details;
    if (!idle) {
        details = explain({.status = status,
                           .account = std::move(account),
                           .memory_max_bytes = options_.worker_memory_max_bytes,
                           .killed_as_liar = at.lied,
                           .exceeded_group = exceeded_group,
                           .oom_kill_counted = by_kernel});
    }
    settle(worker, {status, stderr_tail, details}, resolved, events);
    BULKHEAD_KILL_POINT("parent.settled");
    at.death.close();
    at.bell.close();
    at.kill_timer.cancel();
    at.watch_timer.cancel();
    at.watch_due_ns = not_watched;
    const auto box = std::exchange(at.box, nullptr);
    ++at.generation;
    events.push_back({.what = pool_event::kind::worker_died, .pid = pid, .status = status});

    if (!came_up && !expected && !initialising) {
        start_failure_ = "bulkhead: a worker process " + status.to_string() +
                         " while it started, before it could take a task (does main() call "
                         "bulkhead::init first, and do global constructors work in a worker?)";
    }
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
    dismiss_keeper();
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
    if (how == channel::progress::waiting && task.doomed == doom::none) {
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
        task.set_partial(at.box->partial_items_of(ticket), std::move(error), pid);
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

void pool_core::emit(const pool_event& event) noexcept {
    if (!options_.on_event) return;
    try {
        options_.on_event(event);
    } catch (...) {
        // Documented: an observer's trouble is its own.
    }
}

void pool_core::report_callback_failure(const std::exception_ptr& error,
                                        const std::string& task) noexcept {
    pool_event event{.what = pool_event::kind::callback_failed, .task_name = task};
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& thrown) {
        event.message = thrown.what();
    } catch (...) {
        event.message = "an exception of a type that is not derived from std::exception";
    }
    emit(event);
}

}  // namespace bulkhead::detail
