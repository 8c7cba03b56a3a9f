/// @file
/// Where the standard output and error of worker processes go.
#pragma once

#include <functional>
#include <string>
#include <sys/types.h>
#include <type_traits>
#include <utility>

namespace bulkhead {

/// One line that a worker wrote.
struct output_line {
    pid_t pid = 0;
    std::string task_name{};  ///< of the task that wrote its end; empty: none, or unnamed
    std::string text{};       ///< without its end of line
    bool is_stderr = false;
};

namespace detail {
struct inherit_output {};
struct discard_output {};
}  // namespace detail

/// Workers write where this process writes.
inline constexpr detail::inherit_output inherit{};
/// What workers write is dropped.
inline constexpr detail::discard_output discard{};

/// The same two by another name: `.worker_output = worker_output::discard`.
struct worker_output {
    static constexpr detail::inherit_output inherit{};
    static constexpr detail::discard_output discard{};
};

/// For process_pool_options::worker_output: `inherit`, `discard`, or a callback.
///
/// A callback gets each line, as (const output_line&), as (std::string_view line, pid_t,
/// std::string_view task_name), or as (pid_t, std::string_view task_name, std::string_view line), of which
/// each text may also be a const std::string&. It is called by a thread of the pool's own, one call at a time; an exception from it is swallowed. A line of more than
/// 64 KiB comes in parts. After shutdown() and terminate() there are no more calls.
///
/// With a callback, the end of a task that has written something is told once this process has read that (it
/// does so at once, however slow the callback is); so the line is known to be its. What a process that a task
/// has left behind writes goes under the name of the task that runs then.
///
/// Whatever is chosen: standard error is read by this process, which keeps the last of it for
/// worker_crashed::stderr_tail(). A worker never waits for a slow reader of that, nor for a slow callback: when
/// more than unread_output_bytes_max is unread, lines are dropped and a line says how many. Not so standard output
/// under `inherit`: it is this process's own, in order with what this process writes, nothing of it is ever
/// dropped, and whoever writes to it waits for its reader, a worker as well as this process.
class output_policy {
public:
    output_policy() = default;
    output_policy(detail::inherit_output) {}                  // NOLINT(google-explicit-constructor)
    output_policy(detail::discard_output) : keeps_(false) {}  // NOLINT(google-explicit-constructor)

    template <class F>
    requires std::is_invocable_v<F&, const output_line&> ||
             std::is_invocable_v<F&, const std::string&, pid_t, const std::string&> ||
             std::is_invocable_v<F&, pid_t, const std::string&, const std::string&>
    output_policy(F callback) {  // NOLINT(google-explicit-constructor)
        if constexpr (std::is_invocable_v<F&, const output_line&>) {
            callback_ = std::move(callback);
        } else if constexpr (std::is_invocable_v<F&, const std::string&, pid_t,
                                                 const std::string&>) {
            callback_ = [call = std::move(callback)](const output_line& line) mutable {
                call(line.text, line.pid, line.task_name);
            };
        } else {
            callback_ = [call = std::move(callback)](const output_line& line) mutable {
                call(line.pid, line.task_name, line.text);
            };
        }
    }

    [[nodiscard]] bool inherits() const noexcept { return keeps_ && !callback_; }
    [[nodiscard]] bool discards() const noexcept { return !keeps_; }
    [[nodiscard]] const std::function<void(const output_line&)>& callback() const noexcept {
        return callback_;
    }

private:
    bool keeps_ = true;
    std::function<void(const output_line&)> callback_{};
};

/// Of what workers wrote, for a slow reader.
inline constexpr std::size_t unread_output_bytes_max = std::size_t{4} << 20;

}  // namespace bulkhead
