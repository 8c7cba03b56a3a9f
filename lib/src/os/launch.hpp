// The one place where processes are started.
#pragma once

#include "os/fd.hpp"

#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace bulkhead::os {

/// The descriptors a child of ours starts with, behind stdin, stdout and stderr.
inline constexpr int first_passed_fd = 3;

struct launch_request {
    /// Behind the program's name; launch() adds one more, for await_start().
    std::vector<std::string> arguments;
    /// Empty: this one again, under program_name().
    std::string executable{};
    /// Become first_passed_fd, first_passed_fd + 1, ... in the child, which has no others.
    std::vector<int> passed_fds;
    /// Become its standard output and error; -1: what this process has.
    int out_fd = -1;
    int err_fd = -1;
    /// A variable of its environment, "NAME=value", in the place of this process's; empty: none.
    std::string variable;
    /// Killed by the kernel when this process dies, and leader of a process group of its own. Else it outlives this
    /// process, in a session of its own, without standard streams, ignores what is meant for the program (SIGTERM and
    /// the like), and goes on then should it be stopped.
    bool dies_with_parent = true;
};

struct launched {
    pid_t pid = 0;
    unique_fd pidfd;
    unique_fd starts;

    /// Until then it waits in await_start().
    void let_it_run() noexcept;
    /// Instead.
    void kill_and_reap() noexcept;
};

/// Starts an executable through Boost.Process: stdin from /dev/null, default signal
/// dispositions, an empty mask, no descriptors but those passed. Any thread; the work is done by one
/// long-lived thread, since the kernel ties the kill at the parent's death to the thread that spawned,
/// and since spawns at the same time would inherit each other's pipes. Throws pool_broken with the cause.
[[nodiscard]] launched launch(const launch_request& request);

/// To a user who gives an option that is for children of launch() only.
inline constexpr const char* not_for_users =
    "this option is for processes that bulkhead starts itself";

/// SIGTERM and what else is sent to a program as a whole, and SIGPIPE. Async-signal-safe.
void ignore_signals_for_programs() noexcept;

enum class start_signal { go, parent_died, not_ours };
/// In a child of launch(), with the argument that was added: waits until the parent has a hold on it. A
/// child that ends sooner would be gone without a trace where the program ignores SIGCHLD.
[[nodiscard]] start_signal await_start(std::string_view argument) noexcept;

/// What children are called in ps: argv[0] of this program once init() has told it.
[[nodiscard]] const std::string& program_name();
void set_program_name(const char* argv0);

/// "3,5,7", for the arguments.
[[nodiscard]] std::string fd_list(const std::vector<int>& fds);
/// And back; empty when it is anything else than numbers of open descriptors.
[[nodiscard]] std::vector<int> parse_fd_list(std::string_view text);

/// "bulkhead: cannot start a worker process: " and why.
[[nodiscard]] std::string cannot_start(const std::string& why);

}  // namespace bulkhead::os
