// Children of this library: workers and processes, each the leader of a compartment of processes.
#pragma once

#include "os/fd.hpp"
#include "os/keeper.hpp"
#include "os/memory_group.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include <bulkhead/error.hpp>

namespace bulkhead::os {

struct spawn_request {
    /// As in launch_request.
    std::vector<std::string> arguments;
    std::string executable{};
    std::vector<int> passed_fds;
    int out_fd = -1;
    int err_fd = -1;
    /// Where a memory_group of its own is made for it, of so many bytes; null: none.
    std::shared_ptr<const memory_cgroup> cgroup{};
    std::uint64_t group_bytes = 0;
};

/// A child that is still ours to wait for. The pidfd makes sure that no signal goes to a stranger.
class child {
public:
    child() = default;
    child(pid_t pid, unique_fd pidfd, keeper::place place,
          std::unique_ptr<memory_group> group) noexcept
        : pid_(pid), pidfd_(std::move(pidfd)), place_(std::move(place)), group_(std::move(group)) {}

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    /// Readable once the child has ended.
    [[nodiscard]] int pidfd() const noexcept { return pidfd_.get(); }
    /// Waits until it has ended, at most until the deadline; does not reap. False when it was late.
    [[nodiscard]] bool wait_ended(
        std::optional<std::chrono::steady_clock::time_point> deadline) const noexcept;
    /// To the child and the process group it leads. No effect after reap().
    void signal_group(int signal) const noexcept;
    /// Whether the kernel has killed a process of its memory_group at the limit. Until reap().
    [[nodiscard]] bool exceeded_group() const noexcept {
        return group_ != nullptr && group_->oom_kills() != 0;
    }
    /// Waits for the child, kills what is left of its process group, and reaps it. Once. Descendants
    /// that have left the group are the keeper's; keeper::revive() after it, without locks. The status
    /// is unknown() when the program reaps its children itself or ignores SIGCHLD.
    process_status reap() noexcept;
    [[nodiscard]] bool reaped() const noexcept { return reaped_; }

private:
    [[nodiscard]] bool has_ended() const noexcept;
    /// False when the program has reaped it itself (or ignores SIGCHLD): its pid may be another's.
    [[nodiscard]] bool still_ours() const noexcept;

    pid_t pid_ = 0;
    unique_fd pidfd_;
    keeper::place place_;
    std::unique_ptr<memory_group> group_;
    bool reaped_ = false;
};

/// Starts this executable again, or another, as the leader of a process group, watched by the keeper before its
/// first own instruction, and killed by the kernel when this process dies. Any thread. Throws
/// pool_broken with the cause.
[[nodiscard]] child spawn(const spawn_request& request);

}  // namespace bulkhead::os
