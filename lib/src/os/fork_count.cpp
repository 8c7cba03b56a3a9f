// Counted by pthread_atfork: cheaper than getpid() at each use.
#include "os/fork_count.hpp"

#include <atomic>
#include <pthread.h>

namespace bulkhead::os {
namespace {

std::atomic<unsigned> forks{0};

const int registered = ::pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });

}  // namespace

unsigned fork_count() noexcept {
    (void)registered;
    return forks.load(std::memory_order_relaxed);
}

}  // namespace bulkhead::os
