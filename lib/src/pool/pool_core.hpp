// The heart of process_pool: one Asio loop that collects results and deaths, and the lock under which
// any thread hands tasks out. What to do is decided by fsm::scheduler; this performs it.
//
// Threads: callers submit, cancel and wait; the loop thread owns the seats (it alone makes and ends
// workers, runs callbacks and events, and collects results, but for what pool_caller.cpp says). `mutex_`
// guards the scheduler, the tasks, the figures and the compartments' sending side. Futures are resolved
// outside it.
#pragma once

#include "channel/compartment.hpp"
#include "channel/segment_store.hpp"
#include "fsm/scheduler.hpp"
#include "os/spawn.hpp"
#include "pool/fork_guard.hpp"
#include "pool/observer.hpp"
#include "pool/output_relay.hpp"
#include "pool/remote_task.hpp"

#include <bulkhead/options.hpp>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace bulkhead::detail {

/// A worker that does not serve tasks by then has failed to start.
inline constexpr std::chrono::seconds start_time_max{60};

class pool_core : public fork_guard, public std::enable_shared_from_this<pool_core> {
public:
    /// Checks the options; throws usage_error.
    explicit pool_core(process_pool_options options);
    ~pool_core();

    /// Starts the loop and returns when the first worker exists, or throws pool_broken.
    void start();

    state_ptr submit(const submission& what, const task_options& options, task_encoder& arguments,
                     when_full full);
    /// For the encoders of large arguments; none in a fork, which would write to what is the parent's too.
    [[nodiscard]] encoder_memory* argument_memory() const noexcept {
        return in_a_fork() ? nullptr : segments_.get();
    }
    [[nodiscard]] bool is_running(const remote_task& task) const;
    bool cancel(remote_task& task);
    /// cancel() without the wait. Whether the task is cancelled, or its worker being killed for it.
    bool request_cancel(remote_task& task);
    void abandon(remote_task& task);
    /// In the thread that waits for the task: looks for its result itself, for a short while, and
    /// never asleep after `until`.
    void help(remote_task& task, std::chrono::steady_clock::time_point until);
    /// See future_state.
    void check_endless_wait() const;
    [[nodiscard]] task_progress progress_of(const remote_task& task) const;
    void watch_progress(remote_task& task, progress_callback callback_function);
    void report_callback_failure(const std::exception_ptr& error,
                                 const std::string& task) const noexcept {
        tell_callback_failed(options_.on_event, error, task);
    }

    void close();
    void join();
    void watch_idle(std::shared_ptr<idle_watch> watch);
    void unwatch_idle(const idle_watch& watch);
    void cancel_queued();
    void terminate();
    void resize(std::int64_t workers);
    /// Waits for the tasks, ends the workers and the loop, and has their output passed on.
    void finish();

    [[nodiscard]] std::vector<worker_info> workers() const;
    [[nodiscard]] pool_stats stats() const;
    [[nodiscard]] std::size_t worker_count() const noexcept {
        return wanted_.load(std::memory_order_relaxed);
    }

private:
    using worker_index = fsm::worker_index;

    static constexpr std::uint64_t not_watched = ~std::uint64_t{0};

    /// A worker process and what it shares with this one, whether it has a seat yet or not.
    struct crew {
        std::shared_ptr<channel::compartment> box;
        os::child process;
        std::shared_ptr<worker_streams> streams;
        std::shared_ptr<std::atomic<worker_index>> seat;  // no_worker: a spare

        /// Kills and reaps it.
        void disband() noexcept;
    };

    /// A worker that waits for a seat.
    struct spare {
        spare(boost::asio::io_context& io, std::uint64_t id_, crew of)
            : id(id_), who(std::move(of)), death(io), kill_timer(io) {}
        std::uint64_t id;
        bool hung_up = false;
        crew who;
        boost::asio::posix::stream_descriptor death;
        boost::asio::steady_timer kill_timer;
    };

    struct collected {
        worker_index worker;
        std::uint64_t ticket;
        channel::result_envelope envelope;
        channel::payload bytes;
        std::size_t left;            // bytes that are not here yet
        std::uint64_t built_for;     // of a value that is built as it arrives: its task's id
        std::exception_ptr failure;  // this process could not take the bytes
    };

    /// Of the chunk that a worker was at: what finished items of it refer to.
    struct partial_references {
        std::uint64_t ticket = 0;  // 0: none
        std::vector<std::shared_ptr<const void>> objects;
    };

    /// A place in the pool; process after process takes it.
    struct seat {
        explicit seat(boost::asio::io_context& io)
            : death(io), bell(io), kill_timer(io), watch_timer(io), restart_timer(io) {}

        std::shared_ptr<channel::compartment> box;  // none: no process
        os::child process;
        std::shared_ptr<worker_streams> streams;
        std::uint64_t generation = 0;
        boost::asio::posix::stream_descriptor death;  // readable when the process has ended
        boost::asio::posix::stream_descriptor bell;
        boost::asio::steady_timer kill_timer;
        boost::asio::steady_timer watch_timer;
        boost::asio::steady_timer restart_timer;
        std::uint64_t watch_due_ns = not_watched;  // CLOCK_MONOTONIC
        std::uint64_t init_ticket = 0;  // of the initializer while it runs, 0 before and after
        channel::task_envelope init_placed{};  // where its arguments are
        std::string init_failure;              // why it counts as failed
        bool hung_up = false;
        bool has_served = false;        // a result of a task came from it
        std::atomic<bool> lied{false};  // set under the lock, or by the loop thread
        /// A large result, collected piece by piece. The loop thread's.
        std::optional<collected> coming;
        partial_references references;  // of a chunk whose result came after its fate was decided
        bool keeps_the_rest = false;    // call_back() is through with it
        bool resting = false;           // ended for want of work; started when there is some
        std::chrono::steady_clock::time_point idle_since{};
        std::chrono::steady_clock::time_point started_at{};
        std::uint64_t waiting_ticket = 0;  // its oldest task at the last audit, not begun then
        std::uint64_t stalled_ticket = 0;  // the task that it did not begin: it gets no more
        std::uint64_t tasks_done = 0;
        std::uint64_t restarts = 0;
    };

    /// A task that has failed, and may be tried again: the user's predicate is to be asked without the
    /// lock. Either bytes of an exception, or the failure itself.
    struct failed_task {
        remote_task* task = nullptr;
        channel::payload exception{};
        std::exception_ptr failure{};
        pid_t pid = 0;
        std::uint64_t run_ns = 0;
        bool timed_out = false;
        bool again = false;
    };

    using lock = std::unique_lock<std::mutex>;

    // ---- pool_core.cpp: the callers' side
    [[nodiscard]] std::size_t unresolved() const noexcept;
    [[nodiscard]] bool backlog_full() const noexcept;
    [[nodiscard]] bool on_loop_thread() const noexcept;
    void end_once();
    void check_open() const;
    /// CLOCK_MONOTONIC, cheaply: late by a tick (1 to 4 ms) at most where tasks take longer than that, and
    /// else not later than the last result.
    [[nodiscard]] std::uint64_t now_or_so() const noexcept;
    /// Notes a task that has its outcome, for resolve_all() once the lock is free.
    void ended(remote_task& task, std::vector<remote_task*>& resolved);
    /// Cancels a task that waits, and unlocks.
    void drop_and_tell(remote_task& task, lock& held);
    void wake_waiters(lock& held);

    // ---- pool_caller.cpp: a caller that collects the one result that it waits for
    enum class pick : std::uint8_t { something, nothing, not_for_a_caller };
    [[nodiscard]] pick collect_for_caller(worker_index worker,
                                          const std::shared_ptr<channel::compartment>& box);
    void resolve_for_caller(remote_task& task);

    // ---- pool_dispatch.cpp: tasks to and from workers, under the lock
    void dispatch();
    [[nodiscard]] bool post(remote_task& task, worker_index worker);
    /// The task is at its worker no longer, which has given its result, has not begun it, or is dead: frees what its
    /// arguments took.
    void unpost(remote_task& task);
    /// Takes back the newest tasks that `worker` has not begun; they wait again.
    void take_back(worker_index worker, std::size_t count_max);
    /// Takes back from the ends of all ledgers what has not begun, as long as `is_to_come` says so of the last
    /// one; the newest first, to the front of the backlog: they keep their order.
    void call_back(const std::function<bool(worker_index, const remote_task&)>& is_to_come);
    /// Takes this one back; false when it has begun.
    [[nodiscard]] bool take_back(remote_task& task);
    [[nodiscard]] bool has_begun(const remote_task& task) const;
    /// Kills the worker that runs the task, which has begun; what waits behind it goes elsewhere. False
    /// when it has just ended.
    [[nodiscard]] bool condemn(remote_task& task, doom why);
    /// The worker lies about its tasks: kills it.
    void denounce(worker_index worker);
    [[nodiscard]] remote_task* find(worker_index worker, std::uint64_t ticket) const;
    [[nodiscard]] const remote_task* running_at(worker_index worker) const;
    /// It has begun nothing of what it has, and lies about none of it.
    [[nodiscard]] bool all_wait_at(worker_index worker) const;
    [[nodiscard]] std::string running_name(worker_index worker) const;
    void cancel_waiting(std::vector<remote_task*>& resolved);

    // ---- pool_loop.cpp: the loop thread
    void run();
    [[nodiscard]] bool workers_gone() const noexcept;
    /// How long it has been at what it began last.
    [[nodiscard]] std::chrono::nanoseconds running_for(worker_index worker,
                                                       std::uint64_t now) const;
    void watch(worker_index worker);
    void rebalance();
    void arm_balance();
    /// Looks now and then, while tasks are at workers, whether these keep to the protocol.
    void audit();
    void arm_audit();
    /// Takes tasks from a worker that has not begun its oldest one since the last audit.
    void look_for_stall(worker_index worker);

    // ---- pool_results.cpp: from the workers to the futures
    /// For the loop to collect.
    [[nodiscard]] static bool has_results(const seat& at) noexcept;
    [[nodiscard]] bool any_results() const noexcept;
    [[nodiscard]] bool collect_all();
    /// One piece of a large result at most, so that other workers' results come in between.
    void drain(worker_index worker, std::vector<collected>& batch, std::size_t count_max);
    /// What builds the value of a large result, and for which task.
    struct builder {
        arriving_maker make = nullptr;  // null: it is copied, and decoded when it is asked for
        std::uint64_t task_id = 0;
    };
    [[nodiscard]] builder builder_for(worker_index worker, std::uint64_t ticket,
                                      const channel::result_envelope& envelope) const;
    /// nullopt when the envelope lies.
    [[nodiscard]] std::optional<collected> read_result(worker_index worker, std::uint64_t ticket,
                                                       const channel::result_envelope& envelope,
                                                       builder by);
    [[gnu::cold]] static void read_with_references(channel::compartment& box, collected& result,
                                                   builder by);
    /// Throws bulkhead::error when one is no object of this library, cannot be mapped, or is one too many; with
    /// `as_far_as_it_goes` those are left out.
    [[nodiscard]] static std::vector<std::shared_ptr<const void>> adopt_objects(
        channel::compartment::arrival with, bool as_far_as_it_goes);
    void accept(std::vector<collected>& batch, std::vector<remote_task*>& resolved);
    void accept_one(collected& result, std::vector<remote_task*>& resolved);
    void note_times(const remote_task& task, const channel::result_envelope& envelope);
    /// Keeps the task from its end until decide_retries(). Under the lock.
    void ask_about(failed_task what);
    /// Without the lock.
    void decide_retries(std::vector<remote_task*>& resolved);
    void resolve_all(std::vector<remote_task*>& resolved);

    // ---- pool_size.cpp: fewer workers and more, on the loop thread
    void apply_size();
    /// No more tasks for this worker; it is parted with when it has finished what it has begun.
    void retire(worker_index worker);
    /// Hangs up on a worker that has no task; kills it when it does not go.
    void part_with(worker_index worker);
    void part_with_idle_workers();
    /// What a worker's result may call for: that the worker be replaced, or be watched for idleness.
    [[nodiscard]] bool needs_a_look(worker_index worker) const;
    void look_after(worker_index worker);
    void arm_idle();
    void rest_idle_workers();

    // ---- pool_progress.cpp
    [[nodiscard]] task_progress progress_now(const remote_task& task) const;
    /// A task that has just got its first watcher, if it has one. Under the lock.
    void count_watched(const remote_task& task);
    /// Keeps what a task has said that leaves its worker. Under the lock, before unpost().
    void note_progress(remote_task& task);
    void arm_progress();
    void tell_progress();

    // ---- pool_spares.cpp: workers in waiting, on the loop thread
    [[nodiscard]] crew launch_crew();
    /// A spare if there is one, else a new process.
    [[nodiscard]] crew take_crew();
    void arm_spares(std::chrono::nanoseconds after);
    void start_spares();
    [[nodiscard]] static bool is_ready(const std::unique_ptr<spare>& one);
    [[nodiscard]] std::size_t spares_ready() const;
    [[nodiscard]] spare* find_spare(std::uint64_t id) const noexcept;
    void on_spare_death(std::uint64_t id);
    /// Another one, the later the more have failed in a row.
    void arm_spares_after_failure();
    void part_with_spares();

    // ---- pool_start.cpp: workers' beginnings, on the loop thread
    void start_worker(worker_index worker);
    void seat_crew(worker_index worker, crew who);
    /// The worker can take tasks. Under the lock.
    void now_ready(worker_index worker);
    /// Posts the initializer. Under the lock.
    void initialise(worker_index worker);
    [[nodiscard]] std::chrono::nanoseconds initializer_limit() const noexcept;
    /// `last` is for a worker that does not get to it, or sets its clock again and again.
    void watch_initializer(worker_index worker, std::chrono::steady_clock::time_point last);
    void initialised(collected& result);
    void fail_initializer(seat& at, const std::string& why);
    [[nodiscard]] bool is_wanted(worker_index worker) const noexcept { return worker < wanted_; }
    void start_later(worker_index worker);
    void listen(worker_index worker);

    // ---- pool_death.cpp: workers' ends, on the loop thread
    struct worker_end {
        process_status status;
        const std::string& stderr_tail;
        const crash_details& details;
        const partial_references& references;
    };
    [[nodiscard]] partial_references references_of_partial(worker_index worker) noexcept;
    void kill_worker(worker_index worker);
    void on_death(worker_index worker);
    void settle(worker_index worker, const worker_end& end, std::vector<remote_task*>& resolved,
                std::vector<pool_event>& events);
    void settle_one(remote_task& task, worker_index worker, const worker_end& end,
                    std::vector<remote_task*>& resolved, std::vector<pool_event>& events);
    void give_up(const std::string& cause, std::vector<remote_task*>& resolved);
    /// What the kernel's OOM killer has done since the last look; not under the lock.
    void count_oom_kills();
    /// One of these, if there is one that no death has been put down to.
    [[nodiscard]] bool take_oom_kill();
    /// Lets go of the keeper when there are no workers and none is about to be started.
    void dismiss_keeper();

    void emit(const pool_event& event) const noexcept { tell(options_.on_event, event); }

    process_pool_options options_;
    boost::asio::io_context io_{1};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
        io_.get_executor()};
    boost::asio::steady_timer retry_timer_{io_};
    boost::asio::steady_timer balance_timer_{io_};
    bool balance_armed_ = false;
    boost::asio::steady_timer idle_timer_{io_};
    bool idle_armed_ = false;
    boost::asio::steady_timer spare_timer_{io_};
    bool spares_armed_ = false;
    bool spares_dismissed_ = false;  // until a worker takes tasks again
    unsigned spare_failures_ = 0;    // in a row
    std::chrono::steady_clock::time_point spares_not_before_{};
    std::uint64_t last_spare_id_ = 0;
    boost::asio::steady_timer audit_timer_{io_};
    bool audit_armed_ = false;
    boost::asio::steady_timer progress_timer_{io_};
    bool progress_armed_ = false;

    mutable std::mutex mutex_;
    std::condition_variable room_;
    std::condition_variable idle_;
    std::vector<std::shared_ptr<idle_watch>> idle_watches_;
    fsm::scheduler scheduler_;
    std::uint64_t oom_kills_seen_ = 0;  // this and the next two: the loop thread's
    std::uint64_t oom_kills_open_ = 0;
    std::chrono::steady_clock::time_point oom_kills_counted_at_{};
    std::shared_ptr<os::keeper> keeper_;          // the loop thread's; held from worker to worker
    std::vector<failed_task> failed_;             // the loop thread's
    std::vector<std::unique_ptr<spare>> spares_;  // as the seats
    std::vector<std::unique_ptr<seat>> seats_;    // the loop thread changes it, under the lock
    std::atomic<std::size_t> wanted_{0};          // seats from this one on are to be empty
    std::size_t resting_ = 0;                     // seats that rest
    pool_stats figures_;
    std::uint64_t last_id_ = 0;
    std::uint64_t last_accept_ns_ = 0;
    std::size_t progress_watched_ = 0;  // tasks whose progress somebody wants to hear of
    std::size_t undecided_ = 0;         // failed; whether they run again is being asked
    std::size_t resolving_ = 0;         // ended for the scheduler, not yet told to their futures
    std::size_t submitters_waiting_ = 0;
    bool closed_ = false;
    bool ending_ = false;
    bool leaving_ = false;  // the loop's: all is resolved and told, and nothing comes any more
    std::optional<std::string> broken_;
    std::string start_failure_;  // of the last worker that did not come up
    bool retry_wanted_ = false;

    std::atomic<std::size_t> handed_{0};   // scheduler_.handed(), for the loop to look at
    std::atomic<std::size_t> watched_{0};  // compartments that callers look at in its place
    std::shared_ptr<channel::segment_store> segments_ = std::make_shared<channel::segment_store>();
    std::shared_ptr<const os::memory_cgroup> cgroup_;  // null: none
    output_relay relay_;                               // its threads look at what is above
    std::thread loop_;
    std::atomic<std::thread::id> loop_id_{};
    std::mutex finish_mutex_;
    bool finished_ = false;
};

}  // namespace bulkhead::detail
