// The robust, error-checking, process-shared pthread mutex. What is protected is repaired by others.
#include "ring/robust_mutex.hpp"

#include "os/fd.hpp"
#include "os/life.hpp"
#include "os/procfs.hpp"

#include <bulkhead/error.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <ctime>
#include <exception>
#include <linux/futex.h>
#include <new>
#include <string>
#include <string_view>
#include <unistd.h>

// Clang 16's ThreadSanitizer does not know pthread_mutex_clocklock, nor that a timed lock can be
// inherited, and reports the mistakes that an error-checking mutex is there to return.
#if defined(__SANITIZE_THREAD__)
#define BULKHEAD_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BULKHEAD_THREAD_SANITIZER 1
#endif
#endif

namespace bulkhead::ring {
namespace {

using namespace std::chrono_literals;

/// No wait in the kernel is longer.
constexpr auto recheck_interval = 100ms;
/// Of so many in a row, one may be an owner between its two notes of being it.
constexpr int doubts_max = 3;
/// Looks at a taken lock before sleeping: about as long as a small message takes to copy.
constexpr int spins_max = 200;

[[noreturn]] void fail_damaged(const char* what, const std::string& why) {
    throw error(std::string("bulkhead: the lock of ") + what + " is damaged: " + why);
}

[[maybe_unused]] timespec to_timespec(detail::deadline when) {
    const std::chrono::nanoseconds since_boot = when.time_since_epoch();
    timespec spec{};
    spec.tv_sec = static_cast<time_t>(since_boot.count() / 1'000'000'000);
    spec.tv_nsec = static_cast<long>(since_boot.count() % 1'000'000'000);
    return spec;
}

int lock_until(pthread_mutex_t& mutex, detail::deadline until) {
#ifdef BULKHEAD_THREAD_SANITIZER
    for (;;) {
        const int failure = ::pthread_mutex_trylock(&mutex);
        if (failure != EBUSY) return failure;
        if (std::chrono::steady_clock::now() >= until) return ETIMEDOUT;
        ::usleep(100);
    }
#else
    const timespec spec = to_timespec(until);
    return ::pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &spec);
#endif
}

/// What glibc writes into a mutex of our attributes, taken from a specimen.
int expected_kind() {
    static const int kind = [] {
        alignas(64) unsigned char memory[sizeof(robust_mutex)] = {};
        robust_mutex::construct(memory);
        return reinterpret_cast<const pthread_mutex_t*>(memory)->__data.__kind;
    }();
    return kind;
}

}  // namespace

void robust_mutex::construct(void* memory) {
    pthread_mutexattr_t attributes;
    ::pthread_mutexattr_init(&attributes);
    ::pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    auto* mutex = new (memory) robust_mutex;
    const int failure = ::pthread_mutex_init(&mutex->mutex_, &attributes);
    ::pthread_mutexattr_destroy(&attributes);
    if (failure != 0)
        throw error("bulkhead: cannot make a robust mutex: " + os::errno_text(failure));
}

std::uint32_t robust_mutex::word() const noexcept {
    return static_cast<std::uint32_t>(__atomic_load_n(&mutex_.__data.__lock, __ATOMIC_RELAXED));
}

bool robust_mutex::is_mine() const noexcept {
    return (word() & FUTEX_TID_MASK) == static_cast<std::uint32_t>(os::id_of(os::own_thread()));
}

pid_t robust_mutex::owner() const noexcept { return static_cast<pid_t>(word() & FUTEX_TID_MASK); }

bool robust_mutex::owner_has_died() const noexcept { return (word() & FUTEX_OWNER_DIED) != 0; }

void robust_mutex::check(const char* what) const {
    if (__atomic_load_n(&mutex_.__data.__kind, __ATOMIC_RELAXED) != expected_kind()) {
        fail_damaged(what, "its kind is not what was written");
    }
}

bool robust_mutex::owner_is_plausible() const {
    const std::uint32_t seen = word();
    if (seen == 0 || (seen & FUTEX_OWNER_DIED) != 0) return true;
    const auto owner = static_cast<pid_t>(seen & FUTEX_TID_MASK);
    // The C library writes the owner down a second time, just behind the lock's word. The kernel
    // marks the lock as a dying thread's before its id is free, so an id that is free is nobody's.
    // Between the two notes it is 0 or, where the owner inherits, the dead one's id and then INT_MAX (glibc's
    // PTHREAD_MUTEX_INCONSISTENT). There the owner may have been stopped or have no CPU; it cannot sleep
    // there for another reason, as a thread may whose id is garbage.
    const pid_t noted = __atomic_load_n(&mutex_.__data.__owner, __ATOMIC_RELAXED);
    const auto is_between_notes = [&] {
        const auto stat = os::stat_of(owner);
        const bool noted_none = noted == 0 || noted == INT_MAX ||
                                (noted > 0 && ::kill(noted, 0) != 0 && errno == ESRCH);
        return noted_none &&
               (!stat || std::string_view("RDTt").find(stat->state) != std::string_view::npos);
    };
    const bool is_whole = owner != 0 && (noted == owner || is_between_notes());
    const bool exists = ::kill(owner, 0) == 0 || errno != ESRCH;
    return (is_whole && exists) || word() != seen;
}

acquired robust_mutex::done(int failure, const char* what) {
    if (failure == 0) return acquired::clean;
    if (failure == EOWNERDEAD) {
        ::pthread_mutex_consistent(&mutex_);
        return acquired::inherited;
    }
    if (failure == EDEADLK) {
        throw usage_error(std::string("bulkhead: this thread has locked ") + what +
                          " already (a loan, a borrowed message and an update lock it too); "
                          "locking it again would wait for ever");
    }
    fail_damaged(what, os::errno_text(failure));
}

acquired robust_mutex::lock(detail::deadline until, const char* what) {
    check(what);
    int failure = ::pthread_mutex_trylock(&mutex_);
    for (int spin = 0; failure == EBUSY && spin != spins_max; ++spin) {
        spin_pause();
        if (word() == 0) failure = ::pthread_mutex_trylock(&mutex_);
    }
    if (failure != EBUSY) return done(failure, what);
    if (until == detail::wait_not_at_all) return acquired::no;
    int doubts = 0;
    for (;;) {
        const auto now = std::chrono::steady_clock::now();
        const auto slice = std::min(until, now + recheck_interval);
        failure = lock_until(mutex_, slice);
        if (failure != ETIMEDOUT) return done(failure, what);
        if (slice == until) return acquired::no;
        check(what);
        doubts = owner_is_plausible() ? 0 : doubts + 1;
        if (doubts == doubts_max) fail_damaged(what, "its owner is nobody");
    }
}

void robust_mutex::unlock(const char* what) {
    check(what);
    int failure = EPERM;
#ifdef BULKHEAD_THREAD_SANITIZER
    if (is_mine())
#endif
        failure = ::pthread_mutex_unlock(&mutex_);
    if (failure == 0) return;
    if (failure == EPERM) {
        throw usage_error(std::string("bulkhead: this thread unlocks ") + what +
                          " without having locked it");
    }
    fail_damaged(what, os::errno_text(failure));
}

bool robust_guard::release() noexcept {
    if (how_ != acquired::no) {
        how_ = acquired::no;
        try {
            mutex_.unlock(what_);
        } catch (const std::exception&) {
            is_stuck_ = true;
        }
    }
    return !is_stuck_;
}

}  // namespace bulkhead::ring
