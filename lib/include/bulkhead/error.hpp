/// @file
/// Every error of the library. All derive from bulkhead::error, a std::runtime_error.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace bulkhead {

/// The base of all that this library throws of itself. What a *task* throws arrives as its own
/// standard type instead (see remote_info).
class error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// A mistake in the calling program: `init` forgotten, an impossible option, `get()` called twice.
class usage_error : public error {
public:
    using error::error;
};

/// Bytes that do not decode, or a value that does not encode.
class codec_error : public error {
public:
    using error::error;
};

/// No worker can be started, or too many died in a row; `what()` names the cause.
class pool_broken : public error {
public:
    using error::error;
};

/// A task was submitted after `close()` or `shutdown()`.
class pool_closed : public error {
public:
    using error::error;
};

/// `put` on a closed queue, or `get` on a closed and drained one.
class queue_closed : public error {
public:
    using error::error;
};

/// An operation of a queue ran out of time. Nothing here throws it: put_for() and get_for() say so by what
/// they return. It is for programs that want that as an exception, and travels as one.
class queue_timeout : public error {
public:
    using error::error;
};

/// A process that had a barrier died, or somebody called barrier::abort(): its parties will never be complete.
class barrier_broken : public error {
public:
    using error::error;
};

/// A process was killed in the middle of a change of a shared_map, whose content nobody can trust since;
/// shared_map::clear() begins anew.
class map_damaged : public error {
public:
    using error::error;
};

/// as_completed() with a time limit ran out of it.
class wait_timeout : public error {
public:
    using error::error;
};

/// The task was cancelled: by `future::cancel`, `terminate()`, or `cancel_queued`.
class task_cancelled : public error {
public:
    using error::error;
};

/// How a process ended, told apart without guessing: `exit(11)` is not SIGSEGV.
class process_status {
public:
    /// The process has not ended.
    process_status() = default;

    [[nodiscard]] static process_status from_exit(int code) noexcept {
        return {kind::exited, code, false};
    }
    [[nodiscard]] static process_status from_signal(int signal, bool core_dumped) noexcept {
        return {kind::signaled, signal, core_dumped};
    }

    /// It ended, but how was lost: the program ignores SIGCHLD, or waits for all children itself.
    [[nodiscard]] static process_status unknown() noexcept { return {kind::unknown, 0, false}; }

    [[nodiscard]] bool running() const noexcept { return kind_ == kind::running; }
    [[nodiscard]] bool exited() const noexcept { return kind_ == kind::exited; }
    [[nodiscard]] bool signaled() const noexcept { return kind_ == kind::signaled; }
    /// Exited with code 0.
    [[nodiscard]] bool success() const noexcept { return exited() && value_ == 0; }
    /// The exit code (0 to 255); -1 unless exited().
    [[nodiscard]] int exit_code() const noexcept { return exited() ? value_ : -1; }
    /// The signal's number; 0 unless signaled().
    [[nodiscard]] int signal() const noexcept { return signaled() ? value_ : 0; }
    [[nodiscard]] bool core_dumped() const noexcept { return core_dumped_; }

    /// "exited with code 3", "was killed by SIGSEGV (core dumped)", "is running".
    [[nodiscard]] std::string to_string() const;

    friend bool operator==(const process_status&, const process_status&) = default;

private:
    enum class kind : std::uint8_t { running, exited, signaled, unknown };
    process_status(kind what, int value, bool core) noexcept
        : kind_(what), core_dumped_(core), value_(value) {}

    kind kind_ = kind::running;
    bool core_dumped_ = false;
    int value_ = 0;
};

/// The step of a task in which its worker died.
enum class task_phase : std::uint8_t { decode = 1, run = 2, encode = 3 };

[[nodiscard]] std::string_view to_string(task_phase phase) noexcept;

/// Why a worker died, as far as can be known.
enum class crash_cause : std::uint8_t {
    unknown,
    exited,  ///< it left through exit() or _exit(); status() has the code
    fault,   ///< an instruction of its own: SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS
    stack_overflow,  ///< SIGSEGV just below the stack
    aborted,         ///< SIGABRT: abort(), assert(), std::terminate(), a pure virtual call
    memory_limit,  ///< a fault or an abort at 90 % or more of worker_memory_max_bytes, or killed by
                   ///< the kernel at the limit of its group in worker_cgroup
    out_of_memory,   ///< SIGKILL while the kernel counted a kill by its OOM killer
    resource_limit,  ///< SIGXCPU, SIGXFSZ: a limit (setrlimit) on CPU time or the size of files
    killed,      ///< by a signal that is no fault: sent by another process, or SIGTERM and the like
    misbehaved,  ///< by the pool: what it wrote cannot be the work of an honest worker
};

[[nodiscard]] std::string_view to_string(crash_cause cause) noexcept;

struct crash_details {
    crash_cause cause = crash_cause::unknown;
    /// The function that it died in, the innermost one that is not of the C or C++ library:
    /// "decode_header(char const*)"; like a frame where there is no symbol.
    std::string where{};
    /// Innermost first, down to the task: "decode_header(char const*)+0x1c", or "libx.so+0x1234" where
    /// there is no symbol. Empty when its signal handler could not tell (SIGKILL, exit, a handler of
    /// the program's own or a sanitizer's).
    std::vector<std::string> backtrace{};
    /// Of SIGSEGV and SIGBUS: the address that was touched.
    std::uint64_t fault_address = 0;
};

/// The worker died while it ran this task: by a signal, or by leaving through `exit` (whatever the
/// code: a task that exits has given no result).
class worker_crashed : public error {
public:
    worker_crashed(process_status status, pid_t pid, task_phase phase, std::string task_name,
                   std::string stderr_tail = {}, crash_details details = {});

    [[nodiscard]] const process_status& status() const noexcept { return status_; }
    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    [[nodiscard]] task_phase phase() const noexcept { return phase_; }
    [[nodiscard]] const std::string& task_name() const noexcept { return task_name_; }
    /// The last lines (at most 4 KiB) that the worker wrote to standard error, perhaps also of tasks
    /// before this one.
    [[nodiscard]] const std::string& stderr_tail() const noexcept { return stderr_tail_; }
    [[nodiscard]] crash_cause cause() const noexcept { return details_.cause; }
    /// As in crash_details; empty when not known.
    [[nodiscard]] const std::string& where() const noexcept { return details_.where; }
    [[nodiscard]] const std::vector<std::string>& backtrace() const noexcept {
        return details_.backtrace;
    }
    [[nodiscard]] std::uint64_t fault_address() const noexcept { return details_.fault_address; }

private:
    process_status status_;
    pid_t pid_;
    task_phase phase_;
    std::string task_name_;
    std::string stderr_tail_;
    crash_details details_;
};

/// The task ran longer than its timeout; its worker has been killed and reaped, with the processes
/// of its group. Descendants that have left the group follow within milliseconds.
class task_timeout : public error {
public:
    task_timeout(std::chrono::nanoseconds timeout, pid_t pid, const std::string& task_name);

    [[nodiscard]] std::chrono::nanoseconds timeout() const noexcept { return timeout_; }
    /// The worker that was killed.
    [[nodiscard]] pid_t pid() const noexcept { return pid_; }

private:
    std::chrono::nanoseconds timeout_;
    pid_t pid_;
};

/// What is known of an exception thrown inside a task. A mixin, deliberately not a std::exception:
/// what `get()` throws derives from the standard type *and* from this.
class remote_info {
public:
    remote_info(std::string type_name, std::string message, pid_t pid, std::string task_name)
        : type_name_(std::move(type_name)),
          message_(std::move(message)),
          pid_(pid),
          task_name_(std::move(task_name)) {}
    remote_info(const remote_info&) = default;
    remote_info(remote_info&&) = default;
    remote_info& operator=(const remote_info&) = default;
    remote_info& operator=(remote_info&&) = default;
    virtual ~remote_info() = default;

    /// The thrown type as C++ spells it, "std::invalid_argument", "int".
    [[nodiscard]] const std::string& type_name() const noexcept { return type_name_; }
    /// Its `what()`; empty when it had none.
    [[nodiscard]] const std::string& message() const noexcept { return message_; }
    /// The process that threw.
    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    [[nodiscard]] const std::string& task_name() const noexcept { return task_name_; }

private:
    std::string type_name_;
    std::string message_;
    pid_t pid_;
    std::string task_name_;
};

/// The task threw something that is no standard exception type and derives from none.
class remote_error : public error, public remote_info {
public:
    explicit remote_error(remote_info info);
};

}  // namespace bulkhead
