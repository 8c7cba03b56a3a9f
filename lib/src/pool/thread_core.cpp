// Tasks of a thread_pool: queued by priority, each posted to Asio as "run the best that waits".
#include "pool/thread_core.hpp"

#include "os/procfs.hpp"
#include "pool/exception_travel.hpp"

#include <bulkhead/error.hpp>
#include <bulkhead/thread_pool.hpp>

#include <boost/asio/post.hpp>

#include <algorithm>
#include <unistd.h>

namespace bulkhead::detail {
namespace {

/// Which pool's thread this is.
thread_local const thread_core* current_core = nullptr;

std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

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
    : options_(checked(std::move(options))),
      threads_(checked_threads(options_.workers)),
      threads_made_(threads_),
      threads_pool_(threads_) {}

state_ptr thread_core::submit(const task_options& options, when_full full,
                              const std::function<local_state*(thread_core&)>& make) {
    if (options.timeout.count() != 0) {
        throw usage_error(
            "bulkhead: a thread_pool cannot keep a task's timeout, since a thread cannot be "
            "killed: "
            "use a process_pool, or a std::stop_token in the task");
    }
    if (options.retries < 0) throw usage_error("bulkhead: a task's retries cannot be negative");
    std::unique_lock held(mutex_);
    const auto check_open = [&] {
        if (closed_) {
            throw pool_closed("bulkhead: a task was submitted to a pool that has been closed");
        }
    };
    check_open();
    if (backlog_full()) {
        if (full == when_full::refuse) return {};
        // A task or callback of this very pool would wait for itself.
        if (full == when_full::wait && !on_own_thread()) {
            room_.wait(held, [&] { return !backlog_full() || closed_; });
            check_open();
        }
    }
    state_ptr state(make(*this));
    auto& task = static_cast<local_state&>(*state);
    if (task.retry_on_ && task.retries_left_ != 0 && !task.can_run_again()) {
        throw usage_error(
            "bulkhead: a task of a thread_pool whose arguments cannot be copied cannot run again: "
            "leave retry_on out");
    }
    task.queued_ns_ = steady_ns();
    backlog_[options.priority].push_back(state);
    ++queued_;
    ++unresolved_;
    ++figures_.submitted;
    held.unlock();
    boost::asio::post(threads_pool_, [self = shared_from_this()] { self->run_one(); });
    return state;
}

void thread_core::run_one() {
    current_core = this;
    state_ptr state;
    {
        const std::lock_guard held(mutex_);
        const auto best = std::find_if(backlog_.begin(), backlog_.end(),
                                       [](const auto& entry) { return !entry.second.empty(); });
        if (best == backlog_.end()) return;  // it was cancelled
        if (running_.size() >= threads_) {
            ++passed_over_;
            return;
        }
        state = std::move(best->second.front());
        best->second.pop_front();
        --queued_;
        auto& task = static_cast<local_state&>(*state);
        task.step_.store(local_state::step::running);
        running_.emplace(&task, running_task{std::this_thread::get_id(), task.name_, task.stop_});
    }
    auto& task = static_cast<local_state&>(*state);
    std::exception_ptr error;
    while (true) {
        const bool perhaps_again = task.retry_on_ && task.retries_left_ > 0;
        error = nullptr;
        const auto started = steady_ns();
        const thread_sink reports_to(task);
        try {
            task.run(perhaps_again);
        } catch (...) {
            error = as_remote(std::current_exception(), task.name_);
        }
        const auto ended = steady_ns();
        const bool again = error && perhaps_again && is_worth_retrying(task, error);
        const std::lock_guard held(mutex_);
        figures_.queue_wait.add(std::chrono::nanoseconds(started - task.queued_ns_));
        figures_.run_time.add(std::chrono::nanoseconds(ended - started));
        if (!again) break;
        --task.retries_left_;
        ++figures_.retried;
        task.queued_ns_ = ended;
        task.forget_progress();
    }
    task.drop();
    end(state, std::move(error));
}

void thread_core::post_turns(std::size_t count) {
    passed_over_ -= count;
    while (count-- != 0) {
        boost::asio::post(threads_pool_, [self = shared_from_this()] { self->run_one(); });
    }
}

void thread_core::resize(std::int64_t workers) {
    const std::size_t wanted = checked_threads(workers);
    // Not finish()'s: a task may resize its pool while another thread waits for the task's end.
    const std::lock_guard once(resize_mutex_);
    // A thread of Asio's pool cannot be told to end: those that are too many have nothing to do.
    while (threads_made_ < wanted) {
        attached_.emplace_back([this] { threads_pool_.attach(); });
        ++threads_made_;
    }
    {
        const std::lock_guard held(mutex_);
        threads_ = wanted;
        post_turns(passed_over_);
    }
    room_.notify_all();
}

std::size_t thread_core::worker_count() const {
    const std::lock_guard held(mutex_);
    return threads_;
}

bool thread_core::is_worth_retrying(const local_state& task,
                                    const std::exception_ptr& error) noexcept {
    try {
        return !task.stop_.stop_requested() && task.retry_on_(error);
    } catch (...) {
        report_callback_failure(std::current_exception(), task.name_);
        return false;
    }
}

void thread_core::end(const state_ptr& state, std::exception_ptr error) {
    auto& task = static_cast<local_state&>(*state);
    {
        const std::lock_guard held(mutex_);
        running_.erase(&task);
        ++(error ? figures_.failed : figures_.succeeded);
        ++tasks_done_[std::this_thread::get_id()];
        task.step_.store(local_state::step::done);
        if (passed_over_ != 0 && running_.size() < threads_) post_turns(1);
    }
    room_.notify_one();
    task.error_ = std::move(error);
    task.tell_last_progress();
    task.finish();
    resolved();
}

void thread_core::resolved() {
    std::unique_lock held(mutex_);
    --unresolved_;
    tell_if_idle(held);
}

void thread_core::tell_if_idle(std::unique_lock<std::mutex>& held) {
    if (unresolved_ != 0) return;
    std::vector<std::shared_ptr<idle_watch>> watches;
    watches.swap(idle_watches_);
    idle_.notify_all();
    held.unlock();
    for (const auto& watch : watches) watch->idle();
}

bool thread_core::cancel(local_state& state) {
    std::unique_lock held(mutex_);
    switch (state.step_.load()) {
        case local_state::step::done:
            return state.cancelled();
        case local_state::step::running: {
            std::stop_source stop = state.stop_;
            held.unlock();
            stop.request_stop();  // runs the task's stop callbacks
            return false;
        }
        case local_state::step::queued:
            break;
    }
    auto& waiting = backlog_.at(state.priority_);
    const auto at = std::find_if(waiting.begin(), waiting.end(),
                                 [&](const auto& other) { return other.get() == &state; });
    const state_ptr kept = std::move(*at);
    waiting.erase(at);
    --queued_;
    ++figures_.cancelled;
    state.was_cancelled_.store(true);
    state.step_.store(local_state::step::done);
    held.unlock();
    room_.notify_one();
    state.drop();
    state.finish();
    resolved();
    return true;
}

void thread_core::abandon(local_state& state) {
    if (state.step_.load() == local_state::step::queued) (void)cancel(state);
}

void thread_core::close() {
    {
        const std::lock_guard held(mutex_);
        closed_ = true;
    }
    room_.notify_all();
}

void thread_core::join() {
    if (on_own_thread()) {
        throw usage_error("bulkhead: join() from one of the pool's own tasks would wait for ever");
    }
    std::unique_lock held(mutex_);
    idle_.wait(held, [&] { return unresolved_ == 0; });
}

void thread_core::watch_idle(std::shared_ptr<idle_watch> watch) {
    std::unique_lock held(mutex_);
    idle_watches_.push_back(std::move(watch));
    tell_if_idle(held);
}

void thread_core::unwatch_idle(const idle_watch& watch) {
    const std::lock_guard held(mutex_);
    std::erase_if(idle_watches_, [&](const auto& one) { return one.get() == &watch; });
}

void thread_core::cancel_queued() {
    while (true) {
        state_ptr next;
        {
            const std::lock_guard held(mutex_);
            for (const auto& [priority, waiting] : backlog_) {
                if (!waiting.empty()) next = waiting.back();
            }
        }
        if (!next) return;
        (void)next->cancel();
    }
}

void thread_core::stop_running() {
    std::vector<std::stop_source> sources;
    {
        const std::lock_guard held(mutex_);
        for (const auto& [state, task] : running_) sources.push_back(task.stop);
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
    threads_pool_.join();
    std::vector<std::thread> attached;
    {
        const std::lock_guard no_more(resize_mutex_);
        attached.swap(attached_);
        threads_made_ = workers_max;
    }
    for (auto& thread : attached) thread.join();
    finished_ = true;
}

bool thread_core::on_own_thread() const { return current_core == this; }

std::vector<worker_info> thread_core::workers() const {
    const std::lock_guard held(mutex_);
    std::vector<worker_info> all;
    for (const auto& [state, task] : running_) {
        worker_info info{.pid = ::getpid(), .state = worker_state::busy, .task_name = task.name};
        if (const auto done = tasks_done_.find(task.thread); done != tasks_done_.end()) {
            info.tasks_done = done->second;
        }
        all.push_back(std::move(info));
    }
    for (const auto& [thread, done] : tasks_done_) {
        const bool busy = std::any_of(running_.begin(), running_.end(), [&](const auto& entry) {
            return entry.second.thread == thread;
        });
        if (!busy && all.size() < threads_) {
            all.push_back({.pid = ::getpid(), .state = worker_state::idle, .tasks_done = done});
        }
    }
    while (all.size() < threads_) {
        all.push_back({.pid = ::getpid(), .state = worker_state::idle});
    }
    return all;
}

pool_stats thread_core::stats() const {
    const std::lock_guard held(mutex_);
    pool_stats figures = figures_;
    figures.queued = queued_;
    figures.running = running_.size();
    return figures;
}

void thread_core::report_callback_failure(const std::exception_ptr& error,
                                          const std::string& task) noexcept {
    if (!options_.on_event) return;
    pool_event event{.what = pool_event::kind::callback_failed, .task_name = task};
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& thrown) {
        event.message = thrown.what();
    } catch (...) {
        event.message = "an exception of a type that is not derived from std::exception";
    }
    try {
        options_.on_event(event);
    } catch (...) {
        // Documented: an observer's trouble is its own.
    }
}

// ---- the tasks

local_state::local_state(thread_core& core, const task_options& options)
    : core_(core.weak_from_this()),
      priority_(options.priority),
      name_(options.name),
      retries_left_(options.retries),
      retry_on_(options.retry_on) {
    if (options.on_progress) watchers_.push_back(options.on_progress);
}

local_state::~local_state() = default;

bool local_state::running() const { return step_.load() == step::running; }

bool local_state::failed() const { return done() && !was_cancelled_.load() && error_ != nullptr; }

bool local_state::cancelled() const { return done() && was_cancelled_.load(); }

bool local_state::cancel() {
    if (const auto core = core_.lock()) return core->cancel(*this);
    return cancelled();
}

void local_state::abandon() {
    if (const auto core = core_.lock()) core->abandon(*this);
}

void local_state::take(result_reader, void* out) {
    if (was_cancelled_.load()) {
        throw task_cancelled(name_.empty() ? "bulkhead: the task was cancelled"
                                           : "bulkhead: task '" + name_ + "' was cancelled");
    }
    // Moved: the exception's last owner shall be the thread that handles it.
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    take_value(out);
}

task_progress local_state::progress() const {
    const std::lock_guard held(progress_mutex_);
    return said_;
}

void local_state::on_progress(progress_callback callback_function) {
    const std::lock_guard held(progress_mutex_);
    if (step_.load() != step::done) watchers_.push_back(std::move(callback_function));
}

void local_state::report(task_progress now) noexcept {
    std::unique_lock held(progress_mutex_);
    said_ = now;
    if (watchers_.empty()) return;
    const auto time = std::chrono::steady_clock::now();
    if (time < next_telling_) return;
    next_telling_ = time + progress_interval;
    tell_progress(held);
}

void local_state::forget_progress() noexcept {
    const std::lock_guard held(progress_mutex_);
    said_ = {};
}

void local_state::tell_last_progress() noexcept {
    std::unique_lock held(progress_mutex_);
    if (!watchers_.empty()) tell_progress(held);
}

void local_state::tell_progress(std::unique_lock<std::mutex>& held) noexcept {
    if (said_ == told_) return;
    told_ = said_;
    const auto said = said_;
    // A watcher may add another one: only those that are there by now, and without the lock.
    auto watcher = watchers_.begin();
    for (std::size_t left = watchers_.size(); left != 0; --left, ++watcher) {
        held.unlock();
        try {
            (*watcher)(said);
        } catch (...) {
            callback_failed(std::current_exception());
        }
        held.lock();
    }
}

void local_state::callback_failed(std::exception_ptr error) noexcept {
    if (const auto core = core_.lock()) core->report_callback_failure(error, name_);
}

state_ptr submit_local(thread_core& core, const task_options& options, when_full full,
                       const std::function<local_state*(thread_core&)>& make) {
    return core.submit(options, full, make);
}

void watch_idle(thread_core& core, std::shared_ptr<idle_watch> watch) {
    core.watch_idle(std::move(watch));
}

void unwatch_idle(thread_core& core, const idle_watch& watch) { core.unwatch_idle(watch); }

std::size_t worker_count(const thread_core& core) { return core.worker_count(); }

}  // namespace bulkhead::detail

namespace bulkhead {

thread_pool::thread_pool(thread_pool_options options)
    : core_(std::make_shared<detail::thread_core>(std::move(options))) {}

thread_pool::~thread_pool() { core_->finish(); }

void thread_pool::close() { core_->close(); }

void thread_pool::join() { core_->join(); }

void thread_pool::shutdown(const shutdown_options& options) {
    core_->close();
    if (options.cancel_queued) core_->cancel_queued();
    if (options.wait) core_->finish();
}

void thread_pool::terminate() {
    core_->close();
    core_->cancel_queued();
    core_->stop_running();
    core_->finish();
}

std::vector<worker_info> thread_pool::workers() const { return core_->workers(); }

void thread_pool::resize_to(std::int64_t workers) { core_->resize(workers); }

pool_stats thread_pool::stats() const { return core_->stats(); }

}  // namespace bulkhead
