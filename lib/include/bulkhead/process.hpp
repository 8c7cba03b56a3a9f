/// @file
/// One function in a process of its own.
#pragma once

#include <bulkhead/detail/deadline.hpp>
#include <bulkhead/detail/task_encoder.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/task.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <sys/types.h>
#include <utility>

namespace bulkhead {

/// So deep processes may be started by processes and tasks of pools; a deeper one is a usage_error.
inline constexpr std::size_t process_nesting_max = 16;

/// A process that runs one function of this program and ends: `process p(write_queue, q);`, like
/// Python's multiprocessing.Process with `start` in the constructor. What the function and its
/// arguments may be is as for process_pool::submit; a result is dropped. An exception that leaves the
/// function is printed to stderr with its type, and the exit code is 1.
///
/// The process leads a process group of its own, and is killed when this one dies, with all that it has
/// started. One process object is used by one thread at a time. A program that waits for *all* of its
/// children (`wait(nullptr)` until there are none) waits for the keeper too, which lives as long as there
/// is a process object that has not been joined.
class process {
public:
    /// Starts it. Throws usage_error (init() forgotten, or process_nesting_max reached), pool_broken when it
    /// cannot be started.
    template <class F, class... A>
    requires(!std::same_as<std::remove_cvref_t<F>, process>)
    explicit process(F&& f, A&&... args) {
        using task = detail::task_of<F, A...>;
        static_assert(task::ok && task::parameters_ok);
        using call = typename task::call;
        detail::task_encoder arguments;
        const std::decay_t<F> function(std::forward<F>(f));
        call::encode_function(arguments, function);
        call::encode_arguments(arguments, std::forward<A>(args)...);
        start(call::entry(), arguments);
    }

    process(process&& other) noexcept;
    /// Joins what it held before.
    process& operator=(process&& other) noexcept;
    /// Joins, as std::jthread does.
    ~process();

    [[nodiscard]] pid_t pid() const noexcept;
    [[nodiscard]] bool running() const;
    /// Waits for its end.
    process_status join();
    /// True when it has ended.
    template <class Rep, class Period>
    bool join_for(const std::chrono::duration<Rep, Period>& time) {
        return join_until(detail::deadline_after(time));
    }
    bool join_until(std::chrono::steady_clock::time_point deadline);
    /// How it ended; running() until then.
    [[nodiscard]] process_status status() const;
    /// SIGTERM to the process and its group; no effect once it has ended.
    void terminate();
    /// SIGKILL to the process and its group; no effect once it has ended.
    void kill();

private:
    struct impl;
    void start(const detail::code_ref& entry, detail::task_encoder& arguments);

    std::shared_ptr<impl> impl_;
};

}  // namespace bulkhead
