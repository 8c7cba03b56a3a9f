/// @file
/// Options, events and figures of the executors. All are plain aggregates for designated
/// initialisers: `process_pool pool({.workers = 3, .task_timeout = 2s});`
#pragma once

#include <bulkhead/error.hpp>
#include <bulkhead/histogram.hpp>
#include <bulkhead/initializer.hpp>
#include <bulkhead/progress.hpp>
#include <bulkhead/retry.hpp>
#include <bulkhead/worker_output.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <sys/types.h>
#include <utility>

namespace bulkhead {

/// A pool has at most this many workers.
inline constexpr std::int64_t workers_max = 4096;

/// For one task.
struct task_options {
    /// Run time after which the worker is killed and the future fails with task_timeout. The clock
    /// starts when the task starts, not when it is queued. 0: the pool's task_timeout. Refused
    /// (usage_error) by thread_pool, which cannot kill a thread.
    std::chrono::nanoseconds timeout{0};
    /// How often the task is run again after its worker crashed, or after a failure that retry_on
    /// names. Never after a cancel.
    int retries = 0;
    /// Among waiting tasks the highest goes first; equal ones in order of submission. A task waits until it begins:
    /// what has been handed to a worker ahead of time is taken back for a higher one.
    int priority = 0;
    /// Names the task in errors, events and worker_info.
    std::string name{};
    /// Which exceptions of the task, and whether its timeouts, are worth another run too, as long as there
    /// are retries left. Not asked about crashes: these always are. In a thread_pool the task's arguments
    /// must be copyable (usage_error).
    retry_predicate retry_on{};
    /// As future::on_progress, from the start.
    std::function<void(const task_progress&)> on_progress{};
};

/// Something that happened in a pool, for process_pool_options::on_event.
struct pool_event {
    enum class kind : std::uint8_t {
        worker_started,   ///< pid
        worker_died,      ///< pid, status; message, if it had not come up; also at an ordered end
        task_crashed,     ///< pid, status, task_name
        callback_failed,  ///< a future's on_done callback threw; message
    };
    kind what{};
    pid_t pid = 0;
    process_status status{};
    std::string task_name{};
    std::string message{};
};

/// The members' order is fixed: new ones come last, so that designated initialisers go on compiling.
struct process_pool_options {
    /// Worker processes, 0 to workers_max; 0: as many as this process may use CPUs (affinity mask and
    /// cgroup quota).
    std::int64_t workers = 0;
    /// Tasks that may wait for a worker; submit() waits at this bound, try_submit() says no. At
    /// least 1. Submitting from a callback of the pool's own futures never waits.
    std::size_t backlog_max = 1'000'000;
    /// For tasks that set no timeout of their own; 0: none.
    std::chrono::nanoseconds task_timeout{0};
    /// Between SIGTERM, to the worker's process group, and SIGKILL. Once the worker has died, what is left of its
    /// group is killed at once: a task whose children need time to clean up catches SIGTERM and waits for them.
    std::chrono::nanoseconds kill_grace = std::chrono::milliseconds(500);
    /// Tasks after which a worker is replaced (a chunk of map() counts as one); 0: never. For code that
    /// leaks.
    std::size_t tasks_per_worker_max = 0;
    /// Private memory (heap, stacks, anonymous mappings) that a worker may have; 0: no limit. What
    /// would need more fails while the task runs: std::bad_alloc in C++, a null pointer from malloc. A
    /// worker that has more than three quarters of it after a task is replaced. At least
    /// worker_memory_bytes_min.
    std::uint64_t worker_memory_max_bytes = 0;
    /// A worker that has had nothing to do for so long ends, and is started again when there is work;
    /// 0: never.
    std::chrono::nanoseconds idle_timeout{0};
    /// A task run in each new worker before any other. While it runs, the worker takes no tasks. If it
    /// throws, crashes, or runs longer than task_timeout (or initializer_timeout_default, if that is
    /// 0), the start has failed; the pool breaks after start_failures_max of these in a row.
    worker_initializer initializer{};
    /// Worker deaths in a row, with no task nor item of a map finished between, after which the pool stops
    /// restarting and fails what is queued with pool_broken. 0: no limit for deaths inside tasks. Workers that
    /// die or fail while they start break the pool after start_failures_max in a row in any case.
    std::size_t crash_limit = 0;
    /// Called in the parent, by the pool's own thread: be brief, do not wait for this pool's
    /// futures. callback_failed comes from the thread that ran the callback of on_done(), any thread, also beside
    /// another call. An exception from it is swallowed.
    std::function<void(const pool_event&)> on_event{};
    /// Where workers' standard output and error go: `inherit`, `discard`, or a callback for each line.
    output_policy worker_output{};
    /// Another program, whose main() calls init(), to be the workers; empty: this one. Its tasks go by name:
    /// BULKHEAD_TASK there, named_task here. Relative to this process's working directory as it is when the
    /// pool is made. usage_error when it is no file that can be executed.
    std::filesystem::path executable{};
    /// Workers kept started beside the others, at most spare_workers_max: when one dies or is replaced, a
    /// spare takes its place at once, and the next task does not wait for a process to start. They come
    /// up when the pool has been at work for a moment; the initializer runs when they take a place.
    std::size_t spare_workers = 1;
    /// A directory of cgroup v2, or of v1's memory controller, in which this program may make groups ("":
    /// none): one that was delegated to it, and that in v2 has no processes of its own. Each worker then runs
    /// in a group in there, with all that it starts, and the kernel holds what they have together (memory of
    /// every kind, of shared memory and cached files what they touched first) to worker_memory_max_bytes and
    /// worker_group_extra_bytes for the pool's own. At that limit the worker is killed: worker_crashed, with
    /// crash_cause::memory_limit. The groups are removed with the workers, also when this program is killed.
    std::string worker_cgroup{};
    /// Of pools within tasks of pools (or in a `process`): so many levels, this one included; a deeper pool is a usage_error, so that
    /// a task that makes a pool for itself cannot go on for ever. 0: no bound.
    unsigned nesting_max = 4;
};

inline constexpr std::size_t spare_workers_max = 64;
inline constexpr std::uint64_t worker_memory_bytes_min = std::uint64_t{16} << 20;
/// The way of a worker's results, at most (64 MiB), its page tables and the like.
inline constexpr std::uint64_t worker_group_extra_bytes = std::uint64_t{80} << 20;

/// Failed starts in a row after which a pool is broken.
inline constexpr unsigned start_failures_max = 5;
inline constexpr std::chrono::seconds initializer_timeout_default{60};

struct thread_pool_options {
    /// Threads, 0 to workers_max; 0: as many as this process may use CPUs.
    std::int64_t workers = 0;
    /// As process_pool_options::backlog_max.
    std::size_t backlog_max = 1'000'000;
    /// Only callback_failed occurs.
    std::function<void(const pool_event&)> on_event{};
};

struct shutdown_options {
    /// Wait until every task has ended. If not, the destructor will.
    bool wait = true;
    /// Tasks that have not started are cancelled.
    bool cancel_queued = false;
};

/// For map(); 0 means: chosen by measuring the tasks.
struct map_options {
    /// Items that travel in one message: at most half of a worker's share of lookahead_max. A process_pool
    /// groups small tasks; a thread_pool need not, and ignores it.
    std::size_t chunk_size = 0;
    /// Items taken from the input but not yet consumed by the caller.
    std::size_t lookahead_max = 0;
};

/// `starting` from the moment when it is to be there, also before it has a process; `dead` when it is not to be
/// there: ended for want of work, or with its pool.
enum class worker_state : std::uint8_t { starting, idle, busy, dead };

struct worker_info {
    pid_t pid = 0;  ///< 0 while there is no process
    worker_state state = worker_state::dead;
    std::uint64_t tasks_done = 0;  ///< by this place in the pool, all its processes together
    std::uint64_t restarts = 0;
    std::uint64_t rss_bytes = 0;  ///< resident memory; 0 when unknown
    std::string task_name{};      ///< of the running task
};

/// Counts since the pool was made. submitted = queued + running + succeeded + failed + crashed +
/// timed_out + cancelled.
struct pool_stats {
    std::uint64_t submitted = 0;
    std::uint64_t queued = 0;
    std::uint64_t running = 0;
    std::uint64_t succeeded = 0;
    std::uint64_t failed = 0;  ///< threw an exception, or the pool broke
    std::uint64_t crashed = 0;
    std::uint64_t timed_out = 0;
    std::uint64_t cancelled = 0;
    std::uint64_t retried = 0;   ///< runs beyond a task's first
    std::uint64_t restarts = 0;  ///< workers started in place of dead ones
    std::uint64_t spares = 0;    ///< that stand by now, ready to take a place
    /// From submission (or the decision to retry) to the start, and from there to the end, of each run
    /// that gave a value or an exception; a chunk of map() is one run.
    histogram queue_wait{};
    histogram run_time{};
};

namespace detail {
/// Any integer type as process_pool_options::workers, without narrowing.
template <std::integral Count>
[[nodiscard]] constexpr std::int64_t checked_workers(Count workers) noexcept {
    return std::in_range<std::int64_t>(workers) ? static_cast<std::int64_t>(workers)
                                                : workers_max + 1;
}
}  // namespace detail

}  // namespace bulkhead
