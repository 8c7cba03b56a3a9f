/// @file
/// How far a task is: said by the task, seen through its future.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <utility>

namespace bulkhead {

/// What a task said last: `done` of `total` units of its own choice; total 0 means unknown.
struct task_progress {
    std::uint64_t done = 0;
    std::uint64_t total = 0;

    /// From 0 to 1; 0 while the total is unknown.
    [[nodiscard]] double fraction() const noexcept {
        if (total == 0) return 0;
        return std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
    }
    friend bool operator==(const task_progress&, const task_progress&) = default;
};

/// Callbacks of future::on_progress and task_options::on_progress are called at most this often.
inline constexpr std::chrono::milliseconds progress_interval{100};

namespace detail {
using progress_callback = std::function<void(const task_progress&)>;
void report_progress_of_task(task_progress now) noexcept;
}  // namespace detail

/// Called by a task of either pool: it has done `done` of `total`. Costs some 30 ns, and nothing where it is
/// not called; call it as often as you like. In a worker process from any thread while the task runs, in a
/// thread_pool from the task's own. Negative numbers count as 0. Outside of a task, or for an item of map(),
/// it does nothing. If the worker dies, what was reported last is still known.
template <std::integral Done, std::integral Total = int>
void report_progress(Done done, Total total = 0) noexcept {
    const auto count = [](auto number) {
        return static_cast<std::uint64_t>(std::cmp_less(number, 0) ? decltype(number){0} : number);
    };
    detail::report_progress_of_task({count(done), count(total)});
}

}  // namespace bulkhead
