// Counted by pthread_atfork: cheaper than getpid() at each use.
#include "os/fork_count.hpp"

#include <atomic>
#include <pthread.h>

namespace bulkhead::os {
namespace {

std::atomic<unsigned> forks{0};

const int registered = ::pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });

}  // namespace

unsigned fork_count() noexcept { return fork_counter().load(std::memory_order_relaxed); }

const std::atomic<unsigned>& fork_counter() noexcept {
    (void)registered;
    return forks;
}

}  // namespace bulkhead::os
