#include "tormentor.hpp"

#include <csignal>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bulkhead::tools {
namespace {

/// To a child of this process that has not been waited for, and to nobody else.
bool signal(pid_t pid, int number) {
    const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    if (fd < 0) return false;
    siginfo_t info{};
    const bool ours = ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(fd), &info,
                               WEXITED | WNOWAIT | WNOHANG) == 0 &&
                      info.si_pid == 0;
    const bool sent = ours && ::syscall(SYS_pidfd_send_signal, fd, number, nullptr, 0) == 0;
    ::close(fd);
    return sent;
}

}  // namespace

void tormentor::run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        ::usleep(static_cast<useconds_t>(random_() % 8000));
        const auto workers = pool_.workers();
        const pid_t victim = workers[random_() % workers.size()].pid;
        if (victim == 0) continue;
        switch (random_() % 8) {
            case 0:
            case 1:
                if (!signal(victim, SIGSTOP)) break;
                ++stops;
                ::usleep(static_cast<useconds_t>(random_() % 20'000));
                (void)signal(victim, SIGCONT);
                break;
            case 2:
                if (signal(victim, SIGTERM)) ++kills;
                break;
            default:
                if (signal(victim, SIGKILL)) ++kills;
                break;
        }
    }
}

}  // namespace bulkhead::tools
