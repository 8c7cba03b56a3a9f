// The futex system call. steady_clock is CLOCK_MONOTONIC in libstdc++ and libc++ on Linux, which is
// what FUTEX_WAIT_BITSET takes as an absolute deadline.
#include "os/futex.hpp"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace bulkhead::os {
namespace {

static_assert(sizeof(std::atomic<std::uint32_t>) == 4);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

int with_scope(int operation, futex_scope scope) {
    return scope == futex_scope::process_private ? operation | FUTEX_PRIVATE_FLAG : operation;
}

timespec to_timespec(std::chrono::steady_clock::time_point when) {
    using std::chrono::nanoseconds;
    const auto since_boot = std::max(nanoseconds(0), nanoseconds(when.time_since_epoch()));
    timespec spec{};
    spec.tv_sec = static_cast<time_t>(since_boot.count() / 1'000'000'000);
    spec.tv_nsec = static_cast<long>(since_boot.count() % 1'000'000'000);
    return spec;
}

}  // namespace

bool futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                std::optional<std::chrono::steady_clock::time_point> deadline, futex_scope scope,
                std::uint32_t bits) {
    timespec until{};
    if (deadline) until = to_timespec(*deadline);
    const long result = ::syscall(SYS_futex, &word, with_scope(FUTEX_WAIT_BITSET, scope), expected,
                                  deadline ? &until : nullptr, nullptr, bits);
    return result == 0 || errno != ETIMEDOUT;
}

int futex_wake(const std::atomic<std::uint32_t>& word, int count, futex_scope scope,
               std::uint32_t bits) {
    const long woken = ::syscall(SYS_futex, &word, with_scope(FUTEX_WAKE_BITSET, scope), count,
                                 nullptr, nullptr, bits);
    return woken > 0 ? static_cast<int>(woken) : 0;
}

}  // namespace bulkhead::os
