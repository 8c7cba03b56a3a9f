// The heart of thread_pool: a backlog by priority, emptied by the threads of a boost::asio::thread_pool. A
// thread is called by one posted turn, and then takes task after task until none waits.
#pragma once

#include "pool/fork_guard.hpp"
#include "pool/observer.hpp"

#include <bulkhead/detail/local_state.hpp>
#include <bulkhead/options.hpp>

#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace bulkhead::detail {

class thread_core : public fork_guard, public std::enable_shared_from_this<thread_core> {
public:
    /// Throws usage_error, os::thread_failure.
    explicit thread_core(thread_pool_options options);

    state_ptr submit(const task_options& options, when_full full, task_maker make);
    bool cancel(local_state& state);
    void abandon(local_state& state);
    void report_callback_failure(const std::exception_ptr& error,
                                 const std::string& task) const noexcept {
        tell_callback_failed(options_.on_event, error, task);
    }

    void close();
    void join();
    void watch_idle(std::shared_ptr<idle_watch> watch);
    void unwatch_idle(const idle_watch& watch);
    void cancel_queued();
    void stop_running();
    /// close(), join(), and the threads end. Once.
    void finish();

    /// From now on at most so many tasks run at a time. Throws usage_error, os::thread_failure.
    void resize(std::int64_t workers);

    [[nodiscard]] std::vector<worker_info> workers() const;
    [[nodiscard]] pool_stats stats() const;
    [[nodiscard]] std::size_t worker_count() const;

private:
    using lock = std::unique_lock<std::mutex>;

    /// Of each thread that has run tasks.
    struct thread_record {
        local_state* running = nullptr;
        std::uint64_t tasks_done = 0;
    };

    /// What a thread does for as long as tasks wait.
    void run();
    [[nodiscard]] thread_record& own_record();
    /// The next task, which is this thread's now; null, and the thread has no turn any more, when there is
    /// none, or too many threads have one.
    [[nodiscard]] state_ptr next(thread_record& me, std::vector<state_ptr>& skipped);
    /// What has been cancelled goes to `skipped`, which may own the last of it: to be freed without the lock.
    [[nodiscard]] state_ptr take_best(std::vector<state_ptr>& skipped);
    /// The cancelled tasks of the backlog, once there are more of them than of others.
    [[nodiscard]] std::vector<state_ptr> take_cancelled();
    class task_sink;
    /// Gives idle threads a turn for what waits.
    void call_threads();
    void run_task(task_sink& reports, thread_record& me);
    [[nodiscard]] std::exception_ptr try_once(local_state& task);
    /// Under the lock.
    void note_times(std::int64_t waited_ns, std::int64_t ran_ns);
    [[nodiscard]] bool is_worth_retrying(const local_state& task,
                                         const std::exception_ptr& error) noexcept;
    /// Cancels a task that waits; finish() is left to do. Under the lock.
    void mark_cancelled(local_state& task);
    void check_open() const;
    [[nodiscard]] bool backlog_full() const noexcept {
        const std::size_t all = queued_ + promised_ + running_;
        return all >= threads_ && all - threads_ >= options_.backlog_max;
    }
    [[nodiscard]] bool on_own_thread() const;
    void attach_threads(std::size_t wanted);
    void end_threads();
    /// So many tasks are told to their futures.
    void resolved(std::size_t count);
    void tell_if_idle(lock& held);

    thread_pool_options options_;

    mutable std::mutex mutex_;
    std::size_t threads_;      // that may run tasks; there may be more
    std::size_t turns_ = 0;    // threads in run(), or on their way into it
    std::size_t running_ = 0;  // tasks
    std::size_t busy_ = 0;     // threads with a task, or still with what follows from its end
    std::condition_variable room_;
    std::condition_variable idle_;
    std::vector<std::shared_ptr<idle_watch>> idle_watches_;
    /// By priority. What has been cancelled stays for a while.
    std::map<std::int32_t, std::deque<state_ptr>, std::greater<>> backlog_;
    std::size_t cancelled_there_ = 0;
    std::list<thread_record> records_;
    std::atomic<std::size_t> queued_{0};  // threads look at it before they sleep
    std::size_t promised_ = 0;            // places in the backlog, of tasks that are being made
    std::size_t unresolved_ = 0;
    std::int64_t last_end_ns_ = 0;     // steady_clock
    std::atomic<bool> closed_{false};  // set under the lock
    pool_stats figures_;

    std::mutex finish_mutex_;
    bool finished_ = false;
    std::mutex resize_mutex_;  // before mutex_
    bool ended_ = false;       // of resize_mutex_, and so is threads_there_
    /// Behind the rest, which its threads use. It makes none itself: its constructor would wait for ever for
    /// those that it has made when it cannot make another; and made with one, it would let what that one
    /// posts wait for that one, whoever else is attached.
    boost::asio::thread_pool threads_pool_;
    std::vector<std::thread> threads_there_;
};

}  // namespace bulkhead::detail
