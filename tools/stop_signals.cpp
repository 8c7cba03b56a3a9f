// Handlers that only set a flag.
#include "stop_signals.hpp"

#include <cerrno>
#include <ctime>
#include <poll.h>

namespace bulkhead::tools {
namespace {

volatile std::sig_atomic_t arrived = 0;

void remember(int signal) { arrived = signal; }

/// Holds both signals back for a scope.
class held_back {
public:
    held_back() {
        sigset_t both;
        sigemptyset(&both);
        sigaddset(&both, SIGINT);
        sigaddset(&both, SIGTERM);
        ::sigprocmask(SIG_BLOCK, &both, &before_);
    }
    ~held_back() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
    held_back(const held_back&) = delete;
    held_back& operator=(const held_back&) = delete;

    [[nodiscard]] const sigset_t& before() const noexcept { return before_; }

private:
    sigset_t before_{};
};

}  // namespace

void catch_stop_signals() {
    struct sigaction action {};
    action.sa_handler = remember;
    action.sa_flags = static_cast<int>(SA_RESETHAND);  // and no SA_RESTART
    for (const int signal : {SIGINT, SIGTERM}) {
        struct sigaction before {};
        // One that the caller has ignored (nohup, a background job) stays ignored.
        if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler != SIG_IGN) {
            ::sigaction(signal, &action, nullptr);
        }
    }
    std::signal(SIGPIPE, SIG_IGN);
}

void check_stop_signals() {
    if (arrived != 0) throw stopped(arrived);
}

bool wait_for(int fd, short events, std::chrono::milliseconds limit) {
    const held_back signals;
    check_stop_signals();
    pollfd what{fd, events, 0};
    const timespec time{static_cast<time_t>(limit.count() / 1000),
                        static_cast<long>(limit.count() % 1000 * 1'000'000)};
    const int ready = ::ppoll(&what, 1, &time, &signals.before());
    if (ready < 0 && errno == EINTR) check_stop_signals();
    return ready != 0;
}

}  // namespace bulkhead::tools
