// Tasks of a thread_pool: queued by priority, each posted to Asio as "run the best that waits".
#include "pool/thread_core.hpp"

#include "channel/control.hpp"
#include "os/own_thread.hpp"
#include "os/procfs.hpp"
#include "os/spin.hpp"
#include "pool/exception_travel.hpp"
#include "pool/worker_main.hpp"

#include <bulkhead/detail/progress_sink.hpp>
#include <bulkhead/error.hpp>

#include <boost/asio/post.hpp>

#include <algorithm>
#include <unistd.h>

namespace bulkhead::detail {
namespace {

/// Which pool's thread this is, and its record there.
thread_local const thread_core* current_core = nullptr;
thread_local void* own_record_of_thread = nullptr;

/// A sleep and a wake-up cost some tens of microseconds.
constexpr std::chrono::microseconds spin_before_sleep{20};

std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

/// Priorities that are remembered though nothing waits.
constexpr std::size_t empty_priorities_max = 8;
/// Cancelled tasks that may stay in the backlog in any case.
constexpr std::size_t cancelled_free = 64;

std::size_t checked_threads(std::int64_t workers) {
    if (workers < 0 || workers > workers_max) {
        throw usage_error("bulkhead: a thread_pool takes 1 to " + std::to_string(workers_max) +
                          " workers, or 0 for one per CPU");
    }
    return workers == 0 ? os::usable_cpus() : static_cast<std::size_t>(workers);
}

thread_pool_options checked(thread_pool_options options) {
    if (options.backlog_max == 0) {
        throw usage_error(
            "bulkhead: backlog_max is 0, so no task could ever wait: give at least 1");
    }
    return options;
}

}  // namespace

thread_core::thread_core(thread_pool_options options)
    : fork_guard("thread_pool"),
      options_(checked(std::move(options))),
      threads_(checked_threads(options_.workers)),
      threads_pool_(0) {
    try {
        attach_threads(threads_);
    } catch (...) {
        end_threads();
        throw;
    }
}

void thread_core::attach_threads(std::size_t wanted) {
    threads_there_.reserve(wanted);
    while (threads_there_.size() < wanted) {
        threads_there_.push_back(os::start_thread([this] { threads_pool_.attach(); }));
    }
}

void thread_core::end_threads() {
    threads_pool_.stop();
    for (auto& thread : threads_there_) thread.join();
    threads_there_.clear();
}

/// What the thread's task reports, to that task.
class thread_core::task_sink final : public progress_sink {
public:
    void report(task_progress now) noexcept override {
        if (task != nullptr) task->report(now);
    }
    local_state* task = nullptr;
};

void thread_core::check_open() const {
    if (closed_) {
        throw pool_closed("bulkhead: the pool has been closed: it takes no more tasks");
    }
}

state_ptr thread_core::submit(const task_options& options, when_full full, task_maker make) {
    check_process();
    if (options.timeout.count() != 0) {
        throw usage_error(
            "bulkhead: a thread_pool cannot keep a task's timeout, since a thread cannot be "
            "killed: "
            "use a process_pool, or a std::stop_token in the task");
    }
    if (options.retries < 0) throw usage_error("bulkhead: a task's retries cannot be negative");
    const auto made = [&] {
        state_ptr state = make(*this);
        const auto& task = static_cast<const local_state&>(*state);
        if (task.may_be_retried() && !task.can_run_again()) {
            throw usage_error(
                "bulkhead: a task of a thread_pool whose arguments cannot be copied cannot run "
                "again: leave retry_on out");
        }
        return state;
    };
    // A refused task must not have been made. The user's copies and conversions are no business of the lock.
    check_open();
    state_ptr state;
    if (full != when_full::refuse) state = made();
    lock held(mutex_);
    check_open();
    if (backlog_full()) {
        if (full == when_full::refuse) return {};
        // A task or callback of this very pool would wait for itself.
        if (full == when_full::wait && !on_own_thread()) {
            room_.wait(held, [&] { return !backlog_full() || closed_; });
            check_open();
        }
    }
    if (!state) {
        ++promised_;
        held.unlock();
        std::exception_ptr failure;
        try {
            state = made();
        } catch (...) {
            failure = std::current_exception();
        }
        held.lock();
        --promised_;
        if (failure) {
            held.unlock();
            room_.notify_one();
            std::rethrow_exception(failure);
        }
        check_open();
    }
    auto& task = static_cast<local_state&>(*state);
    task.queued_ns_ = running_ == 0
                          ? steady_ns()
                          : std::max(static_cast<std::int64_t>(channel::coarse_ns()), last_end_ns_);
    queued_.fetch_add(1, std::memory_order_relaxed);
    try {
        call_threads();
        backlog_[options.priority].push_back(state);
    } catch (...) {
        queued_.fetch_sub(1, std::memory_order_relaxed);
        throw;
    }
    ++unresolved_;
    ++figures_.submitted;
    return state;
}

void thread_core::call_threads() {
    while (turns_ < threads_ && turns_ < queued_ + busy_) {
        boost::asio::post(threads_pool_, [self = shared_from_this()] { self->run(); });
        ++turns_;
    }
}

thread_core::thread_record& thread_core::own_record() {
    // A thread is one pool's for as long as it lives.
    if (own_record_of_thread == nullptr) {
        current_core = this;
        const lock held(mutex_);
        own_record_of_thread = &records_.emplace_back();
    }
    return *static_cast<thread_record*>(own_record_of_thread);
}

state_ptr thread_core::take_best(std::vector<state_ptr>& skipped) {
    for (auto at = backlog_.begin(); at != backlog_.end();) {
        auto& waiting = at->second;
        while (!waiting.empty()) {
            state_ptr first = std::move(waiting.front());
            waiting.pop_front();
            const auto& task = static_cast<const local_state&>(*first);
            if (task.step_.load(std::memory_order_relaxed) == local_state::step::queued) {
                return first;
            }
            --cancelled_there_;
            try {
                skipped.push_back(std::move(first));
            } catch (const std::bad_alloc&) {
                // Then it is freed here.
            }
        }
        at = backlog_.size() > empty_priorities_max ? backlog_.erase(at) : std::next(at);
    }
    return {};
}

std::vector<state_ptr> thread_core::take_cancelled() {
    std::vector<state_ptr> taken;
    if (cancelled_there_ <= queued_ + cancelled_free) return taken;
    taken.reserve(cancelled_there_);
    for (auto& [priority, waiting] : backlog_) {
        std::size_t kept = 0;
        for (auto& state : waiting) {
            const auto& task = static_cast<const local_state&>(*state);
            if (task.step_.load(std::memory_order_relaxed) != local_state::step::queued) {
                taken.push_back(std::move(state));
            } else if (&waiting[kept++] != &state) {
                waiting[kept - 1] = std::move(state);
            }
        }
        waiting.resize(kept);
    }
    cancelled_there_ = 0;
    return taken;
}

state_ptr thread_core::next(thread_record& me, std::vector<state_ptr>& skipped) {
    state_ptr state;
    if (turns_ <= threads_) state = take_best(skipped);
    if (!state) {
        if (--turns_ == 0) idle_.notify_all();
        return {};
    }
    auto& task = static_cast<local_state&>(*state);
    queued_.fetch_sub(1, std::memory_order_relaxed);
    ++running_;
    ++busy_;
    me.running = &task;
    task.step_.store(local_state::step::running);
    return state;
}

void thread_core::run() {
    thread_record& me = own_record();
    task_sink reports;
    const thread_sink reports_to(reports);
    os::spinner spinner(spin_before_sleep);
    std::vector<state_ptr> skipped;
    lock held(mutex_);
    while (state_ptr state = next(me, skipped)) {
        held.unlock();
        skipped.clear();
        reports.task = &static_cast<local_state&>(*state);
        run_task(reports, me);
        state = {};
        held.lock();
        if (--unresolved_ == 0) {
            tell_if_idle(held);
            if (!held) held.lock();
        }
        --busy_;
        // The next one may be on its way.
        if (queued_ == 0) {
            held.unlock();
            spinner.reset();
            while (queued_.load(std::memory_order_relaxed) == 0 && spinner.spin()) {
            }
            held.lock();
        }
    }
    held.unlock();  // before what was skipped is freed
}

std::exception_ptr thread_core::try_once(local_state& task) {
    std::exception_ptr error;
    try {
        task.run(task.may_be_retried());
    } catch (...) {
        error = as_remote(std::current_exception(), task.name());
    }
    if (in_a_fork()) leave_fork();
    return error;
}

void thread_core::run_task(task_sink& reports, thread_record& me) {
    local_state& task = *reports.task;
    auto started = steady_ns();
    auto queued = task.queued_ns_;
    std::exception_ptr error = try_once(task);
    auto ended = steady_ns();
    while (error && task.may_be_retried() && is_worth_retrying(task, error)) {
        {
            const lock held(mutex_);
            if (task.stop_asked_) break;
            note_times(started - queued, ended - started);
            ++figures_.retried;
        }
        --task.retries_left_;
        task.forget_progress();
        queued = ended;
        started = steady_ns();
        error = try_once(task);
        ended = steady_ns();
    }
    reports.task = nullptr;
    task.drop();
    {
        const lock held(mutex_);
        note_times(started - queued, ended - started);
        last_end_ns_ = ended;
        me.running = nullptr;
        ++me.tasks_done;
        --running_;
        ++(task.stop_asked_ ? figures_.cancelled : error ? figures_.failed : figures_.succeeded);
        task.was_cancelled_.store(task.stop_asked_);
        task.step_.store(local_state::step::done);
    }
    room_.notify_one();
    if (task.stop_asked_) {  // nobody sets it any more
        error = nullptr;
        task.drop_value();
    }
    task.failed_ = error != nullptr;
    task.error_ = std::move(error);
    task.tell_last_progress();
    task.finish();
}

void thread_core::note_times(std::int64_t waited_ns, std::int64_t ran_ns) {
    figures_.queue_wait.add(std::chrono::nanoseconds(waited_ns));
    figures_.run_time.add(std::chrono::nanoseconds(ran_ns));
}

void thread_core::resize(std::int64_t workers) {
    const std::size_t wanted = checked_threads(workers);
    // Not finish()'s: a task may resize its pool while another thread waits for the task's end.
    const std::lock_guard once(resize_mutex_);
    // A thread of Asio's pool cannot be told to end: those that are too many have nothing to do.
    if (!ended_) attach_threads(wanted);
    {
        const lock held(mutex_);
        threads_ = wanted;
        call_threads();
    }
    room_.notify_all();
}

std::size_t thread_core::worker_count() const {
    check_process();
    const lock held(mutex_);
    return threads_;
}

bool thread_core::is_worth_retrying(const local_state& task,
                                    const std::exception_ptr& error) noexcept {
    try {
        // Again behind it, as it may take its time.
        return !task.stop_.stop_requested() && task.having()->retry_on(error) &&
               !task.stop_.stop_requested();
    } catch (...) {
        report_callback_failure(std::current_exception(), task.name());
        return false;
    }
}

void thread_core::resolved(std::size_t count) {
    lock held(mutex_);
    unresolved_ -= count;
    tell_if_idle(held);
}

void thread_core::tell_if_idle(lock& held) {
    if (unresolved_ != 0) return;
    std::vector<std::shared_ptr<idle_watch>> watches;
    watches.swap(idle_watches_);
    idle_.notify_all();
    if (watches.empty()) return;
    held.unlock();
    for (const auto& watch : watches) watch->idle();
}

void thread_core::mark_cancelled(local_state& task) {
    queued_.fetch_sub(1, std::memory_order_relaxed);
    ++figures_.cancelled;
    ++cancelled_there_;
    task.was_cancelled_.store(true);
    task.step_.store(local_state::step::done);
}

bool thread_core::cancel(local_state& state) {
    check_process();
    std::vector<state_ptr> freed_later;
    {
        lock held(mutex_);
        switch (state.step_.load()) {
            case local_state::step::done:
                return state.was_cancelled_.load();  // perhaps by another that has yet to finish it
            case local_state::step::running: {
                std::stop_source stop = state.mark_stopped();
                held.unlock();
                stop.request_stop();
                return state.takes_token_;
            }
            case local_state::step::queued:
                break;
        }
        mark_cancelled(state);
        try {
            freed_later = take_cancelled();
        } catch (const std::bad_alloc&) {
            // They stay for the time being.
        }
    }
    room_.notify_one();
    state.drop();
    state.finish();
    resolved(1);
    return true;
}

void thread_core::abandon(local_state& state) {
    if (state.step_.load() == local_state::step::queued) (void)cancel(state);
}

void thread_core::close() {
    {
        const lock held(mutex_);
        closed_ = true;
    }
    room_.notify_all();
}

void thread_core::join() {
    if (on_own_thread()) {
        throw usage_error("bulkhead: join() from one of the pool's own tasks would wait for ever");
    }
    lock held(mutex_);
    idle_.wait(held, [&] { return unresolved_ == 0; });
}

void thread_core::watch_idle(std::shared_ptr<idle_watch> watch) {
    check_process();
    lock held(mutex_);
    idle_watches_.push_back(std::move(watch));
    tell_if_idle(held);
}

void thread_core::unwatch_idle(const idle_watch& watch) {
    if (in_a_fork()) return;
    const lock held(mutex_);
    std::erase_if(idle_watches_, [&](const auto& one) { return one.get() == &watch; });
}

void thread_core::cancel_queued() {
    std::vector<state_ptr> cancelled;
    std::vector<state_ptr> skipped;
    {
        const lock held(mutex_);
        while (state_ptr next = take_best(skipped)) {
            mark_cancelled(static_cast<local_state&>(*next));
            --cancelled_there_;  // it is not there any more
            cancelled.push_back(std::move(next));
        }
    }
    room_.notify_all();
    for (const auto& state : cancelled) {
        auto& task = static_cast<local_state&>(*state);
        task.drop();
        task.finish();
    }
    resolved(cancelled.size());
}

void thread_core::stop_running() {
    std::vector<std::stop_source> sources;
    {
        const lock held(mutex_);
        sources.reserve(records_.size());
        for (const auto& thread : records_) {
            if (thread.running != nullptr) sources.push_back(thread.running->mark_stopped());
        }
    }
    for (auto& source : sources) source.request_stop();
}

void thread_core::finish() {
    // Before the lock, which a thread that waits for this very task may have.
    if (on_own_thread()) {
        throw usage_error(
            "bulkhead: a pool is shut down from one of its own tasks, whose end it would wait for");
    }
    const std::lock_guard once(finish_mutex_);
    if (finished_) return;
    close();
    join();
    {
        // A turn that were left in Asio's pool would keep this object, and so itself.
        lock held(mutex_);
        idle_.wait(held, [&] { return turns_ == 0; });
    }
    const std::lock_guard no_more(resize_mutex_);
    ended_ = true;
    end_threads();
    finished_ = true;
}

bool thread_core::on_own_thread() const { return current_core == this; }

std::vector<worker_info> thread_core::workers() const {
    const lock held(mutex_);
    std::vector<worker_info> all;
    const auto add = [&](worker_state state, std::uint64_t done, std::string task) {
        all.push_back(
            {.pid = ::getpid(), .state = state, .tasks_done = done, .task_name = std::move(task)});
    };
    for (const auto& thread : records_) {
        if (thread.running == nullptr) continue;
        add(worker_state::busy, thread.tasks_done, thread.running->name());
    }
    for (const auto& thread : records_) {
        if (thread.running != nullptr || all.size() >= threads_) continue;
        add(worker_state::idle, thread.tasks_done, {});
    }
    while (all.size() < threads_) add(worker_state::idle, 0, {});
    return all;
}

pool_stats thread_core::stats() const {
    const lock held(mutex_);
    pool_stats figures = figures_;
    figures.queued = queued_;
    figures.running = running_;
    return figures;
}

state_ptr submit_local(thread_core& core, const task_options& options, when_full full,
                       task_maker make) {
    return core.submit(options, full, make);
}

state_ptr refused_task(const thread_core& core, const task_options& options,
                       std::exception_ptr error) {
    return refused_by(core, options, std::move(error));
}

void watch_idle(thread_core& core, std::shared_ptr<idle_watch> watch) {
    core.watch_idle(std::move(watch));
}

void unwatch_idle(thread_core& core, const idle_watch& watch) { core.unwatch_idle(watch); }

std::size_t worker_count(const thread_core& core) { return core.worker_count(); }

}  // namespace bulkhead::detail
