// The one place where processes are started.
#pragma once

#include "os/fd.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

#include <bulkhead/error.hpp>

namespace bulkhead::os {

/// The descriptors a child of ours starts with, behind stdin, stdout and stderr.
inline constexpr int first_passed_fd = 3;

struct spawn_request {
    /// This executable again, with these arguments; spawn() adds one more, for await_start().
    std::vector<std::string> arguments;
    /// Become first_passed_fd, first_passed_fd + 1, ... in the child, which has no others.
    std::vector<int> passed_fds;
    /// Become its standard output and error; -1: what this process has.
    int out_fd = -1;
    int err_fd = -1;
};

/// In a child of spawn(), with the argument that was added: waits until the parent has a hold on it. A
/// child that ends sooner would be gone without a trace where the program ignores SIGCHLD. False when
/// the argument is no such thing.
[[nodiscard]] bool await_start(std::string_view argument) noexcept;

/// A child that is still ours to wait for. The pidfd makes sure that no signal goes to a stranger.
class child {
public:
    child() = default;
    child(pid_t pid, unique_fd pidfd) noexcept : pid_(pid), pidfd_(std::move(pidfd)) {}

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    /// Readable once the child has ended.
    [[nodiscard]] int pidfd() const noexcept { return pidfd_.get(); }
    /// Waits until it has ended, at most until the deadline; does not reap. False when it was late.
    [[nodiscard]] bool wait_ended(
        std::optional<std::chrono::steady_clock::time_point> deadline) const noexcept;
    /// To the child and the process group it leads. No effect after reap().
    void signal_group(int signal) const noexcept;
    /// Waits for the child, kills what is left of its process group, and reaps it. Once. The status is
    /// unknown() when the program reaps its children itself or ignores SIGCHLD.
    process_status reap() noexcept;
    [[nodiscard]] bool reaped() const noexcept { return reaped_; }

private:
    /// False when the program has reaped it itself (or ignores SIGCHLD): its pid may be another's.
    [[nodiscard]] bool still_ours() const noexcept;

    pid_t pid_ = 0;
    unique_fd pidfd_;
    bool reaped_ = false;
};

/// Starts this executable again through Boost.Process: in a process group of its own, stdin from
/// /dev/null, default signal dispositions, an empty mask, and killed by the kernel when this process
/// dies, from its first instruction on. Any thread; the work is done by one long-lived thread, since
/// the kernel ties that kill to the thread that spawned, and since spawns at the same time would
/// inherit each other's pipes. Throws pool_broken with the cause.
[[nodiscard]] child spawn(const spawn_request& request);

/// From now on this process cannot have more private writable memory than this (RLIMIT_DATA): what
/// would need more fails, std::bad_alloc in C++.
void limit_own_memory(std::uint64_t bytes) noexcept;
/// Resident memory of this process that no other shares, 0 when unknown.
[[nodiscard]] std::uint64_t own_private_bytes() noexcept;
/// Resident memory of a process, 0 when unknown.
[[nodiscard]] std::uint64_t resident_bytes(pid_t pid) noexcept;

/// CPUs this process may use: its affinity mask and cgroup v2 quota, at least 1.
[[nodiscard]] unsigned usable_cpus() noexcept;

}  // namespace bulkhead::os
