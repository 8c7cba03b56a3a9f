// Failure to start, signal mask and name of a thread of the library.
#include "os/own_thread.hpp"

#include "os/fd.hpp"

#include <csignal>
#include <pthread.h>

namespace bulkhead::os {

thread_failure::thread_failure(int error_number)
    : error("bulkhead: a thread cannot be started: " + errno_text(error_number) +
            "; see the limits of processes (ulimit -u, the control group's pids.max) and of memory "
            "(ulimit -v)") {}

void block_signals() noexcept {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

void name_thread(const char* name) noexcept { ::pthread_setname_np(::pthread_self(), name); }

}  // namespace bulkhead::os
