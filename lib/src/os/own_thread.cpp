// Signal mask and name of a thread of the library.
#include "os/own_thread.hpp"

#include <csignal>
#include <pthread.h>

namespace bulkhead::os {

void block_signals() noexcept {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

void name_thread(const char* name) noexcept { ::pthread_setname_np(::pthread_self(), name); }

}  // namespace bulkhead::os
