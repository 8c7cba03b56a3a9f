// The decisions of a pool: which task goes where, what becomes of it when a worker dies, when to start
// workers and when to give up. No I/O, no clock, no threads; the pool's loop tells it what happened
// and does what it says.
//
//   task:    waiting ──next()──▶ handed ──finished()──▶ (gone)
//               ▲                  │
//               └──────────────────┘  taken back, or its worker died before it began, or a retry
//
//   worker:  absent ──starting()──▶ starting ──ready()──▶ ready ──retire()──▶ retiring
//               ▲                       │                   │ └──condemn()──▶ condemned
//               └───────died()──────────┴───────────────────┴─────────┴───────────┘
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <vector>

namespace bulkhead::fsm {

using worker_index = std::uint32_t;
inline constexpr worker_index no_worker = ~worker_index{0};

/// Tasks that may wait in one worker, whatever they take.
inline constexpr std::size_t window_max = 200;
/// Work that may wait in one worker: enough to hide a wake-up or two.
inline constexpr std::uint64_t window_ns = 400'000;
/// From this run time on a worker gets one task at a time.
inline constexpr std::uint64_t long_task_ns = 10'000'000;

/// When the pool has finished so many tasks for each of its workers and one of them is at the same task still,
/// that is a long one, whatever the worker's tasks took before: nothing more is put behind it.
inline constexpr std::uint64_t overtaken_max = 4;

/// Tasks, and work as measured so far, that one worker gets in a row when no worker is without: its queue stays in
/// the parent's cache, and with many workers of which few have room, the search for those is shared by as many. More
/// work would leave a short burst of tasks to one of two workers.
inline constexpr unsigned in_a_row_max = 16;
inline constexpr std::uint64_t in_a_row_ns = 5'000;

/// Deaths of idle workers in a row that are replaced at once.
inline constexpr unsigned idle_deaths_free = 10;

enum class task_step : std::uint8_t { waiting, handed, gone };

/// The part of a task that decisions are made on; the pool's task derives from it. Linked into one
/// list at a time: the backlog of its priority, or its worker's ledger.
struct task_node {
    task_node* previous = nullptr;
    task_node* next = nullptr;
    std::uint64_t id = 0;
    std::int32_t priority = 0;
    std::uint32_t retries_left = 0;
    worker_index worker = no_worker;
    task_step step = task_step::waiting;
};

/// Intrusive and doubly linked: O(1) removal from the middle.
class task_list {
public:
    [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
    [[nodiscard]] task_node* front() const noexcept { return first_; }
    [[nodiscard]] task_node* back() const noexcept { return last_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    void push_back(task_node& task) noexcept;
    void push_front(task_node& task) noexcept;
    void remove(task_node& task) noexcept;

private:
    task_node* first_ = nullptr;
    task_node* last_ = nullptr;
    std::size_t size_ = 0;
};

enum class worker_step : std::uint8_t { absent, starting, ready, retiring, condemned };

struct hand_out {
    task_node* task;
    worker_index worker;
};

/// What to do about a worker's end.
enum class after_death : std::uint8_t { restart, give_up };

struct limits {
    std::uint64_t tasks_per_worker_max = 0;  // 0: none
    std::size_t crash_limit = 0;             // 0: none
    unsigned start_failures_max = 5;
    /// As start_failures_max, for workers that somebody kills (SIGKILL) while they start: no fault of
    /// the program's, but not for ever either.
    unsigned start_kills_max = 50;
};

class scheduler {
public:
    scheduler(std::size_t workers, const limits& limits);

    // ---- tasks
    void submitted(task_node& task);
    /// The next thing to hand out, already booked as handed; nullopt when there is no task or no room.
    /// Highest priority first, then the oldest; to a worker that has nothing, else, while all that waits and all
    /// that it has is of one priority, to one whose window has room, several short ones in a row.
    [[nodiscard]] std::optional<hand_out> next();
    /// It could not be posted after all, or was taken back: waits again, before its equals.
    void returned(task_node& task);
    /// A worker gave the task's result after running it for `run_ns`.
    void finished(task_node& task, std::uint64_t run_ns);
    /// A part of one, as of a chunk that a worker dies in: the deaths so far were not in a row.
    void progressed(worker_index worker);
    /// A worker has shown that it does, as by its initializer's success: failed starts so far were not in a row.
    void has_come_up(worker_index worker);
    /// Removes a task from wherever it is.
    void removed(task_node& task);
    /// Its worker died while running it: true if it waits again for a retry.
    [[nodiscard]] bool crashed(task_node& task);
    /// It is gone, has a retry left, and waits for that now, before its equals.
    void again(task_node& task);

    [[nodiscard]] task_node* first_waiting() noexcept;
    /// Tasks at workers that a waiting one goes before: those of a lower priority than this are to be taken back,
    /// from the ends of the ledgers on, as far as they have not begun, and then called_back() be told. nullopt when
    /// there are none.
    [[nodiscard]] std::optional<std::int32_t> outranked() noexcept;
    void called_back(std::int32_t below) noexcept;
    [[nodiscard]] std::size_t waiting() const noexcept { return waiting_; }
    [[nodiscard]] std::size_t handed() const noexcept { return handed_; }

    // ---- workers
    void starting(worker_index index);
    /// It can take tasks now (they may be posted while it still comes up).
    void ready(worker_index index);
    /// Nothing more is handed to it while it does not move.
    void suspend(worker_index index, bool suspended);
    /// The first of its ledger takes long: nothing more is put behind that.
    void at_long_task(worker_index index);
    /// Nothing more is handed to it; it ends when it has finished what it has.
    void retire(worker_index index);
    /// It has had as many tasks as it may and is through with them: to be retired.
    [[nodiscard]] bool is_spent(worker_index index) const;
    /// Nothing more is handed to it; it is being killed.
    void condemn(worker_index index);
    /// Room for so many workers; never fewer than before.
    void grow(std::size_t workers);
    /// It is gone; its ledger must be empty. `expected`: the pool ended it itself; `killed`: by SIGKILL;
    /// `idle`: it was at no task.
    [[nodiscard]] after_death died(worker_index index, bool came_up, bool expected,
                                   bool killed = false, bool idle = false);
    /// No process came about.
    [[nodiscard]] after_death start_failed(worker_index index);
    /// The exponent of a worker's back-off: failed starts, or deaths for no task's sake beyond a few,
    /// since the last task that was finished; or failed starts of this worker since the last that did not
    /// fail, which others that are well do not shorten.
    [[nodiscard]] unsigned back_off(worker_index worker) const noexcept {
        return std::max({start_failures_, workers_[worker].start_failures,
                         idle_deaths_ > idle_deaths_free ? idle_deaths_ - idle_deaths_free : 0U});
    }

    [[nodiscard]] worker_step step(worker_index worker) const { return workers_[worker].step; }
    /// Oldest first: the order in which the worker works.
    [[nodiscard]] const task_list& ledger(worker_index worker) const {
        return workers_[worker].ledger;
    }
    /// A moving mean of its tasks' run times, 0 when none was measured.
    [[nodiscard]] std::uint64_t mean_run_ns(worker_index worker) const {
        return workers_[worker].mean_run_ns;
    }
    /// A worker with more than one task, while another has none and nothing waits: tasks should be
    /// taken back from it. no_worker when all is well.
    [[nodiscard]] worker_index overloaded() const;
    /// A worker that has been at its first task while the others finished many, and has tasks behind that: these
    /// should be taken back, whatever else waits. no_worker when all is well.
    [[nodiscard]] worker_index obstructed() noexcept;
    /// Its ledger is longer than its window has become.
    [[nodiscard]] bool has_too_many(worker_index worker) noexcept {
        return workers_[worker].ledger.size() > window(workers_[worker]);
    }
    [[nodiscard]] std::size_t size() const noexcept { return workers_.size(); }

private:
    using backlog = std::map<std::int32_t, task_list, std::greater<>>;

    static constexpr std::uint64_t not_seen = ~std::uint64_t{0};

    struct seat {
        worker_step step = worker_step::absent;
        task_list ledger;
        std::uint64_t mean_run_ns = 0;  // 0: nothing measured yet
        std::uint64_t budget = 0;       // tasks that it may still be handed
        /// finished_ when next() first saw what is the first of its ledger now. Not when that became the first:
        /// many results may be accepted before anything is handed out, in any order.
        std::uint64_t front_seen_at = not_seen;
        unsigned start_failures = 0;  // in a row
        bool front_is_long = false;
        bool suspended = false;
    };

    [[nodiscard]] bool is_at_long_task(seat& worker) const noexcept;
    [[nodiscard]] std::size_t window(seat& worker) const noexcept;
    static void new_front(seat& worker) noexcept;
    void move(seat& worker, worker_step to) noexcept;
    void leave_worker(task_node& task);
    void wait_again(task_node& task);
    void wait_in_front(task_node& task);
    [[nodiscard]] backlog::iterator first_backlog() noexcept;
    /// Where the next task goes; `may_queue`: also behind others of its priority. no_worker: nowhere now.
    [[nodiscard]] worker_index place(std::int32_t priority, bool may_queue) noexcept;
    [[nodiscard]] worker_index vacant_worker() noexcept;
    [[nodiscard]] worker_index worker_with_room(std::int32_t priority) noexcept;
    [[nodiscard]] worker_index after(worker_index worker) const noexcept;
    [[nodiscard]] static bool takes_tasks(const seat& worker) noexcept {
        return worker.step == worker_step::ready && worker.budget != 0 && !worker.suspended;
    }
    /// `equals`: the list that it is in.
    void unlink_waiting(task_node& task, backlog::iterator equals);

    limits limits_;
    std::vector<seat> workers_;
    backlog backlog_;
    std::size_t waiting_ = 0;
    std::size_t handed_ = 0;
    /// No task at a worker that could be taken back has a lower priority.
    std::int32_t lowest_handed_ = std::numeric_limits<std::int32_t>::max();
    std::uint64_t finished_ = 0;
    std::size_t ready_ = 0;       // workers that are
    worker_index cursor_ = 0;     // whose turn it is among those without a task
    worker_index run_at_ = 0;     // who was handed the last task,
    std::uint64_t in_a_row_ = 0;  // and how many in a row
    bool no_room_ = false;        // since the last change that could make room
    /// No worker could take a task and has none; since the last change that could make one such.
    bool none_vacant_ = false;
    std::size_t deaths_in_row_ = 0;
    unsigned start_failures_ = 0;
    unsigned start_kills_ = 0;
    unsigned idle_deaths_ = 0;
};

}  // namespace bulkhead::fsm
