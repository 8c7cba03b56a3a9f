// What callers of a process_pool do: submit, cancel, close, wait, look.
#include "pool/pool_core.hpp"

#include "os/own_thread.hpp"
#include "os/procfs.hpp"

#include <bulkhead/init.hpp>

#include <boost/asio/post.hpp>

#include <algorithm>
#include <filesystem>
#include <future>
#include <system_error>
#include <unistd.h>

namespace bulkhead::detail {
namespace {

std::size_t checked_worker_count(std::int64_t workers) {
    if (workers < 0 || workers > workers_max) {
        throw usage_error("bulkhead: a pool of " +
                          (workers > workers_max ? "more than " + std::to_string(workers_max)
                                                 : std::to_string(workers)) +
                          " workers: give 1 to " + std::to_string(workers_max) +
                          ", or 0 for one per CPU");
    }
    return workers == 0 ? os::usable_cpus() : static_cast<std::size_t>(workers);
}

process_pool_options checked(process_pool_options options) {
    if (options.backlog_max == 0) {
        throw usage_error(
            "bulkhead: backlog_max is 0, so no task could ever wait: give at least 1");
    }
    if (options.task_timeout.count() < 0 || options.kill_grace.count() < 0 ||
        options.idle_timeout.count() < 0) {
        throw usage_error("bulkhead: task_timeout, kill_grace and idle_timeout cannot be negative");
    }
    if (options.worker_memory_max_bytes != 0 &&
        options.worker_memory_max_bytes < worker_memory_bytes_min) {
        throw usage_error("bulkhead: worker_memory_max_bytes is " +
                          std::to_string(options.worker_memory_max_bytes) +
                          ": a worker needs at least " + std::to_string(worker_memory_bytes_min));
    }
    if (!options.worker_cgroup.empty() && options.worker_memory_max_bytes == 0) {
        throw usage_error(
            "bulkhead: worker_cgroup is for a limit: give worker_memory_max_bytes too");
    }
    const std::size_t levels = os::outer_levels();
    if (options.nesting_max != 0 && levels >= options.nesting_max) {
        throw usage_error("bulkhead: a pool within " + std::to_string(levels) +
                          " pools and processes, one in a task of the other: nesting_max allows " +
                          std::to_string(options.nesting_max) + " levels");
    }
    if (!options.executable.empty()) {
        std::error_code failure;
        const auto found = std::filesystem::canonical(options.executable, failure);
        if (!failure) options.executable = found;
        if (!std::filesystem::is_regular_file(options.executable, failure) ||
            ::access(options.executable.c_str(), X_OK) != 0) {
            throw usage_error("bulkhead: the pool's executable " + options.executable.string() +
                              " is no file that can be executed");
        }
    }
    if (options.spare_workers > spare_workers_max) {
        throw usage_error("bulkhead: spare_workers is " + std::to_string(options.spare_workers) +
                          ": give at most " + std::to_string(spare_workers_max));
    }
    return options;
}

}  // namespace

pool_core::pool_core(process_pool_options options)
    : fork_guard("process_pool"),
      options_(checked(std::move(options))),
      scheduler_(checked_worker_count(options_.workers),
                 {.tasks_per_worker_max = options_.tasks_per_worker_max,
                  .crash_limit = options_.crash_limit,
                  .start_failures_max = start_failures_max}),
      relay_((require_init("process_pool"), options_.worker_output)) {
    if (!options_.worker_cgroup.empty()) {
        cgroup_ = std::make_shared<os::memory_cgroup>(options_.worker_cgroup);
    }
    wanted_ = scheduler_.size();
    for (std::size_t i = 0; i != scheduler_.size(); ++i) {
        seats_.push_back(std::make_unique<seat>(io_));
    }
}

pool_core::~pool_core() = default;

void pool_core::start() {
    std::promise<std::string> first;
    auto failure = first.get_future();
    loop_ = os::start_thread([this, &first] {
        loop_id_.store(std::this_thread::get_id());
        start_worker(0);
        oom_kills_seen_ = os::oom_kills();  // files are read while the worker loads
        // Looked at before the loop runs: a worker that exists but dies at once is a matter for it.
        first.set_value(seats_[0]->box ? std::string() : start_failure_);
        for (worker_index i = 1; i < seats_.size(); ++i) {
            boost::asio::post(io_, [this, i] { start_worker(i); });
        }
        run();
    });
    const std::string cause = failure.get();
    if (!cause.empty()) {
        finish();
        throw pool_broken(cause);
    }
}

std::size_t pool_core::unresolved() const noexcept {
    return scheduler_.waiting() + scheduler_.handed();
}

bool pool_core::backlog_full() const noexcept {
    const std::size_t all = unresolved();
    const std::size_t workers = worker_count();
    return all >= workers && all - workers >= options_.backlog_max;
}

bool pool_core::on_loop_thread() const noexcept {
    return loop_id_.load() == std::this_thread::get_id();
}

void pool_core::check_endless_wait() const {
    if (!on_loop_thread()) return;
    throw usage_error(
        "bulkhead: a callback of a pool that waits for another of its futures would wait for ever: "
        "it runs on the thread that ends the pool's tasks; give a time limit, or use that future's "
        "on_done()");
}

void pool_core::check_open() const {
    if (broken_) throw pool_broken(*broken_);
    if (closed_) {
        throw pool_closed(
            "bulkhead: the pool has been closed: it takes no more tasks and no other size");
    }
}

state_ptr pool_core::submit(const submission& what, const task_options& options,
                            task_encoder& arguments, when_full full) {
    check_process();
    if (options.retries < 0 || options.timeout.count() < 0) {
        throw usage_error("bulkhead: a task's retries and timeout cannot be negative");
    }
    const auto timeout = options.timeout.count() != 0 ? options.timeout : options_.task_timeout;
    auto* task = new remote_task(weak_from_this(), what, options, timeout);
    state_ptr future(task);
    try {
        task->set_arguments(arguments);
    } catch (const error&) {  // no memory for a segment
        return refused_by(*this, options, std::current_exception());
    }

    lock held(mutex_);
    check_open();
    if (backlog_full()) {
        if (full == when_full::refuse) return {};
        if (full == when_full::wait && !on_loop_thread()) {
            ++submitters_waiting_;
            room_.wait(held, [&] { return !backlog_full() || closed_ || broken_; });
            --submitters_waiting_;
            check_open();
        }
    }
    task->id = ++last_id_;
    task->queued_ns = now_or_so();
    task->add_ref();  // the pool's
    ++figures_.submitted;
    count_watched(*task);
    scheduler_.submitted(*task);
    dispatch();
    return future;
}

std::uint64_t pool_core::now_or_so() const noexcept {
    if (scheduler_.handed() == 0) return channel::monotonic_ns();
    return std::max(channel::coarse_ns(), last_accept_ns_);
}

bool pool_core::is_running(const remote_task& task) const {
    const lock held(mutex_);
    return task.step == fsm::task_step::handed && has_begun(task);
}

bool pool_core::cancel(remote_task& task) {
    const bool asked = request_cancel(task);
    if (on_loop_thread()) return asked || task.cancelled();
    task.wait(std::nullopt);
    return task.cancelled();
}

bool pool_core::request_cancel(remote_task& task) {
    check_process();
    lock held(mutex_);
    if (task.step == fsm::task_step::handed) (void)take_back(task);
    if (task.step == fsm::task_step::waiting) {
        drop_and_tell(task, held);
        return true;
    }
    task.cancel_asked = true;
    if (task.step == fsm::task_step::handed && task.doomed == doom::none && !task.stop_asked) {
        if (task.what.takes_stop_token && has_begun(task)) {
            task.stop_asked = true;
            seats_[task.worker]->box->ask_to_stop(task.ticket);
            boost::asio::post(
                io_, [self = shared_from_this(), index = task.worker] { self->watch(index); });
        } else if (!condemn(task, doom::cancelled) && task.step == fsm::task_step::waiting) {
            drop_and_tell(task, held);  // its worker lied
            return true;
        }  // or it has just ended, or its worker is dying
    }
    return task.doomed == doom::cancelled;
}

void pool_core::abandon(remote_task& task) {
    lock held(mutex_);
    // A worker knows one such wish at a time: it must be that of the task which it is at.
    if (task.step == fsm::task_step::handed && !take_back(task) && has_begun(task)) {
        seats_[task.worker]->box->ask_to_abandon(task.ticket);
    }
    if (task.step == fsm::task_step::waiting) drop_and_tell(task, held);
}

void pool_core::drop_and_tell(remote_task& task, lock& held) {
    std::vector<remote_task*> resolved;
    scheduler_.removed(task);
    task.set_cancelled();
    ++figures_.cancelled;
    ended(task, resolved);
    dispatch();
    wake_waiters(held);
    resolve_all(resolved);
}

void pool_core::ended(remote_task& task, std::vector<remote_task*>& resolved) {
    if (task.is_watched()) --progress_watched_;
    resolved.push_back(&task);
    ++resolving_;
}

void pool_core::wake_waiters(lock& held) {
    const bool room = submitters_waiting_ != 0 && !backlog_full();
    const bool idle = unresolved() + resolving_ == 0;
    std::vector<std::shared_ptr<idle_watch>> watches;
    if (idle) watches.swap(idle_watches_);
    held.unlock();
    if (room) room_.notify_all();
    if (idle) idle_.notify_all();
    for (const auto& watch : watches) watch->idle();
}

void pool_core::close() {
    {
        const lock held(mutex_);
        closed_ = true;
    }
    room_.notify_all();
}

void pool_core::join() {
    if (on_loop_thread()) {
        throw usage_error(
            "bulkhead: join() from a callback of the pool itself would wait for ever");
    }
    lock held(mutex_);
    idle_.wait(held, [&] { return unresolved() + resolving_ == 0; });
}

void pool_core::watch_idle(std::shared_ptr<idle_watch> watch) {
    check_process();
    lock held(mutex_);
    idle_watches_.push_back(std::move(watch));
    wake_waiters(held);
}

void pool_core::unwatch_idle(const idle_watch& watch) {
    if (in_a_fork()) return;
    const lock held(mutex_);
    std::erase_if(idle_watches_, [&](const auto& one) { return one.get() == &watch; });
}

void pool_core::cancel_queued() {
    std::vector<remote_task*> resolved;
    lock held(mutex_);
    for (worker_index i = 0; i != seats_.size(); ++i) {
        if (seats_[i]->box) take_back(i, fsm::window_max);
    }
    cancel_waiting(resolved);
    wake_waiters(held);
    resolve_all(resolved);
}

void pool_core::terminate() {
    close();
    std::vector<remote_task*> resolved;
    lock held(mutex_);
    ending_ = true;  // no new workers
    for (worker_index i = 0; i != seats_.size(); ++i) {
        if (!seats_[i]->box) continue;
        take_back(i, fsm::window_max);  // a task that lives on in its grace has no successor
        for (auto* node = scheduler_.ledger(i).front(); node != nullptr; node = node->next) {
            auto& task = static_cast<remote_task&>(*node);
            if (task.doomed == doom::none) task.doomed = doom::cancelled;
            if (task.what.chunk && has_begun(task)) {  // nor has an item
                seats_[i]->box->ask_to_abandon(task.ticket);
            }
        }
        scheduler_.condemn(i);
        kill_worker(i);
    }
    cancel_waiting(resolved);
    wake_waiters(held);
    resolve_all(resolved);
    finish();
}

void pool_core::resize(std::int64_t workers) {
    const auto count = checked_worker_count(workers);
    std::promise<void> applied;
    {
        // Under one lock with the check, so that finish() comes after the handler.
        const lock held(mutex_);
        check_open();
        wanted_ = count;
        if (!on_loop_thread()) {
            boost::asio::post(io_, [&] {
                apply_size();
                applied.set_value();
            });
        }
    }
    if (on_loop_thread()) {
        apply_size();
    } else {
        applied.get_future().wait();
    }
}

void pool_core::finish() {
    if (on_loop_thread()) {
        throw usage_error(
            "bulkhead: a pool cannot be shut down with waiting from one of its own callbacks");
    }
    end_once();
    // Not under the mutex: a callback may shut the pool down, too.
    relay_.flush();
}

void pool_core::end_once() {
    const std::lock_guard once(finish_mutex_);
    if (finished_) return;
    close();
    join();
    boost::asio::post(io_, [this] {
        const lock held(mutex_);
        ending_ = true;
        leaving_ = true;
        part_with_idle_workers();
    });
    if (loop_.joinable()) loop_.join();
    loop_id_.store({});  // another thread may get the same id
    io_.poll();          // a resize() may wait for its handler
    keeper_.reset();
    finished_ = true;
}

std::vector<worker_info> pool_core::workers() const {
    std::vector<worker_info> all;
    {
        const lock held(mutex_);
        for (worker_index i = 0; i != seats_.size(); ++i) {
            const seat& at = *seats_[i];
            if (!is_wanted(i) && !at.box) continue;
            worker_info info;
            info.tasks_done = at.tasks_done;
            info.restarts = at.restarts;
            if (at.box) {
                info.pid = at.process.pid();
                if (const auto* running = running_at(i)) info.task_name = running->name();
                const bool up = at.box->attached() && at.init_ticket == 0;
                info.state = !scheduler_.ledger(i).empty() ? worker_state::busy
                             : up                          ? worker_state::idle
                                                           : worker_state::starting;
            } else if (!at.resting && !broken_ && !ending_) {
                info.state = worker_state::starting;
            }
            all.push_back(std::move(info));
        }
    }
    for (auto& info : all) {
        if (info.pid != 0) info.rss_bytes = os::resident_bytes(info.pid);
    }
    return all;
}

pool_stats pool_core::stats() const {
    const lock held(mutex_);
    pool_stats figures = figures_;
    for (worker_index i = 0; i != seats_.size(); ++i) {
        if (!scheduler_.ledger(i).empty()) ++figures.running;
    }
    figures.spares = spares_ready();
    figures.queued = unresolved() + undecided_ - figures.running;
    return figures;
}

state_ptr submit_encoded(pool_core& core, const submission& what, const task_options& options,
                         task_encoder& arguments, when_full full) {
    return core.submit(what, options, arguments, full);
}

state_ptr refused_task(const pool_core& core, const task_options& options,
                       std::exception_ptr error) {
    return refused_by(core, options, std::move(error));
}

encoder_memory* argument_memory(pool_core& core) noexcept { return core.argument_memory(); }

void watch_idle(pool_core& core, std::shared_ptr<idle_watch> watch) {
    core.watch_idle(std::move(watch));
}

void unwatch_idle(pool_core& core, const idle_watch& watch) { core.unwatch_idle(watch); }

std::size_t worker_count(const pool_core& core) { return core.worker_count(); }

}  // namespace bulkhead::detail
