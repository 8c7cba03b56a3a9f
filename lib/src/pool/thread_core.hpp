// The heart of thread_pool: a priority backlog in front of boost::asio::thread_pool.
#pragma once

#include <bulkhead/detail/local_state.hpp>
#include <bulkhead/options.hpp>

#include <boost/asio/thread_pool.hpp>

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace bulkhead::detail {

class thread_core : public std::enable_shared_from_this<thread_core> {
public:
    /// Throws usage_error.
    explicit thread_core(thread_pool_options options);

    state_ptr submit(const task_options& options, when_full full,
                     const std::function<local_state*(thread_core&)>& make);
    bool cancel(local_state& state);
    void abandon(local_state& state);
    void report_callback_failure(const std::exception_ptr& error, const std::string& task) noexcept;

    void close();
    void join();
    void watch_idle(std::shared_ptr<idle_watch> watch);
    void unwatch_idle(const idle_watch& watch);
    void cancel_queued();
    void stop_running();
    /// close(), join(), and the threads end. Once.
    void finish();

    /// From now on at most so many tasks run at a time. Throws usage_error.
    void resize(std::int64_t workers);

    [[nodiscard]] std::vector<worker_info> workers() const;
    [[nodiscard]] pool_stats stats() const;
    [[nodiscard]] std::size_t worker_count() const;

private:
    struct running_task {
        std::thread::id thread;
        std::string name;
        std::stop_source stop;
    };

    void run_one();
    /// For so many waiting tasks whose turn was passed over.
    void post_turns(std::size_t count);
    [[nodiscard]] bool is_worth_retrying(const local_state& task,
                                         const std::exception_ptr& error) noexcept;
    void end(const state_ptr& state, std::exception_ptr error);
    [[nodiscard]] bool backlog_full() const noexcept {
        return queued_ + running_.size() >= threads_ + options_.backlog_max;
    }
    [[nodiscard]] bool on_own_thread() const;
    /// A task is told to its future.
    void resolved();
    void tell_if_idle(std::unique_lock<std::mutex>& held);

    thread_pool_options options_;

    mutable std::mutex mutex_;
    std::size_t threads_;          // that may run tasks; there may be more
    std::size_t passed_over_ = 0;  // turns of waiting tasks that found so many running already
    std::condition_variable room_;
    std::condition_variable idle_;
    std::vector<std::shared_ptr<idle_watch>> idle_watches_;
    std::map<std::int32_t, std::deque<state_ptr>, std::greater<>> backlog_;
    std::map<local_state*, running_task> running_;
    std::map<std::thread::id, std::uint64_t> tasks_done_;
    std::size_t queued_ = 0;
    std::size_t unresolved_ = 0;
    bool closed_ = false;
    pool_stats figures_;

    std::mutex finish_mutex_;
    bool finished_ = false;
    std::mutex resize_mutex_;                // before mutex_
    std::size_t threads_made_;               // of resize_mutex_, and so is attached_
    boost::asio::thread_pool threads_pool_;  // behind the rest, which its threads use
    std::vector<std::thread> attached_;      // that came by resize()
};

}  // namespace bulkhead::detail
