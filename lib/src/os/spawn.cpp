// A child from its start under the keeper's eyes to its end by pidfd.
#include "os/spawn.hpp"

#include "os/keeper_table.hpp"
#include "os/kill_point.hpp"
#include "os/launch.hpp"

#include <algorithm>
#include <csignal>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bulkhead::os {

namespace {

/// Then a group's number may be another's long before anybody here looks.
bool is_reaped_by_the_kernel() noexcept {
    struct sigaction present {};
    ::sigaction(SIGCHLD, nullptr, &present);
    return (present.sa_flags & SA_NOCLDWAIT) != 0 ||
           ((present.sa_flags & SA_SIGINFO) == 0 && present.sa_handler == SIG_IGN);
}

// Who is not dead by then, since it waits for a device, stays a zombie: the pool's lock is held.
constexpr std::chrono::seconds orphans_die_within{1};
constexpr unsigned orphan_look_us = 200;

/// Of the group of a leader that has been reaped, all killed. Orphans come to this process where it is the
/// first of its PID namespace (a container's), or a subreaper; else it has no such children.
void reap_orphans(pid_t group) noexcept {
    const auto last = std::chrono::steady_clock::now() + orphans_die_within;
    while (true) {
        siginfo_t info{};
        if (::waitid(P_PGID, static_cast<id_t>(group), &info, WEXITED | WNOHANG) != 0) return;
        if (info.si_pid != 0) continue;
        if (std::chrono::steady_clock::now() >= last) return;
        ::usleep(orphan_look_us);  // it is still dying
    }
}

}  // namespace

child spawn(const spawn_request& request) {
    const auto kept = keeper::of_this_process();
    keeper::place place = kept->new_place();
    launched made = launch({.arguments = request.arguments,
                            .executable = request.executable,
                            .passed_fds = request.passed_fds,
                            .out_fd = request.out_fd,
                            .err_fd = request.err_fd,
                            .variable = place.variable()});
    std::unique_ptr<memory_group> group;
    try {
        // Now: a first keeper starts while the child loads its libraries.
        kept->see_that_it_lives();
        if (request.cgroup) {
            kept->remove_groups_in(request.cgroup->directory());
            group =
                std::make_unique<memory_group>(request.cgroup, place.mark(), request.group_bytes);
            group->add(made.pid);
        }
    } catch (const pool_broken&) {
        made.kill_and_reap();
        throw;
    } catch (const error& cause) {
        made.kill_and_reap();
        throw pool_broken(cause.what());
    } catch (...) {
        made.kill_and_reap();
        throw;
    }
    place.watch(is_reaped_by_the_kernel() ? keeper_table::no_group : made.pid);
    made.let_it_run();
    return {made.pid, std::move(made.pidfd), std::move(place), std::move(group)};
}

bool child::wait_ended(
    std::optional<std::chrono::steady_clock::time_point> deadline) const noexcept {
    static constexpr std::chrono::steady_clock::duration longest_poll = std::chrono::hours(24);
    while (true) {
        int timeout_ms = -1;
        if (deadline) {
            const auto now = std::chrono::steady_clock::now();
            const auto left = *deadline <= now ? std::chrono::milliseconds(0)
                                               : std::chrono::ceil<std::chrono::milliseconds>(
                                                     std::min(*deadline - now, longest_poll));
            timeout_ms = static_cast<int>(left.count());
        }
        pollfd poll{pidfd_.get(), POLLIN, 0};
        const int ready = ::poll(&poll, 1, timeout_ms);
        if (ready > 0) return true;
        // Where the program has lowered its limit of descriptors to 0, nothing can be polled.
        if (ready < 0 && errno != EINTR) {
            if (has_ended()) return true;
            ::usleep(1000);
        }
        if (deadline && std::chrono::steady_clock::now() >= *deadline) return false;
    }
}

bool child::has_ended() const noexcept {
    siginfo_t info{};
    if (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd_.get()), &info,
                 WEXITED | WNOWAIT | WNOHANG) == 0) {
        return info.si_pid != 0;
    }
    return ::syscall(SYS_pidfd_send_signal, pidfd_.get(), 0, nullptr, 0) != 0 && errno == ESRCH;
}

bool child::still_ours() const noexcept {
    siginfo_t info{};
    return ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd_.get()), &info,
                    WEXITED | WNOWAIT | WNOHANG) == 0;
}

void child::signal_group(int signal) const noexcept {
    // Not reaped: neither the pid nor the group's id can belong to anybody else.
    if (reaped_ || pid_ <= 0 || !still_ours()) return;
    (void)::kill(-pid_, signal);
    // Not in its group yet; or no more, where a task has moved it and others are left in that.
    if (::getpgid(pid_) != pid_) {
        ::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0);
    }
}

process_status child::reap() noexcept {
    (void)wait_ended(std::nullopt);
    if (!still_ours()) {
        place_.leave();
        reaped_ = true;
        return process_status::unknown();
    }
    ::kill(-pid_, SIGKILL);  // what it started, while its zombie still holds the group's id
    place_.leave();
    BULKHEAD_KILL_POINT("parent.left");
    siginfo_t info{};
    int result = 0;
    while ((result = ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd_.get()),
                              &info, WEXITED)) != 0 &&
           errno == EINTR) {
    }
    reaped_ = true;
    reap_orphans(pid_);
    group_.reset();  // behind the zombies, which count as in it
    if (result != 0) return process_status::unknown();
    if (info.si_code == CLD_EXITED) return process_status::from_exit(info.si_status);
    return process_status::from_signal(info.si_status, info.si_code == CLD_DUMPED);
}

}  // namespace bulkhead::os
