// A mutex in shared memory that outlives its owner: the kernel hands the lock of a dead thread to the
// next locker, who is told.
#pragma once

#include <bulkhead/detail/deadline.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <pthread.h>
#include <sys/types.h>

namespace bulkhead::ring {

enum class acquired : std::uint8_t {
    no,         ///< the deadline passed
    clean,      ///< yes
    inherited,  ///< yes, from an owner that died with it; what it protects may be half done
};

/// Lies in shared memory; made by construct(), never destroyed: the memory just goes. All operations
/// from any thread of any process that maps it, all in one PID namespace.
///
/// Memory that a peer has overwritten must not hang or crash us, so the lock's kind is checked before
/// the C library sees it, and no wait in the kernel is longer than recheck_interval, after which it
/// is checked that there is an owner. That bound also covers a waiter that is killed after the kernel
/// chose it to have the lock and before it took it: the others look again.
class alignas(64) robust_mutex {
public:
    static void construct(void* memory);

    /// Throws usage_error when the calling thread has it already, bulkhead::error when the memory is
    /// damaged; `what` names the object in the sentence. wait_not_at_all tries once.
    [[nodiscard]] acquired lock(detail::deadline until, const char* what);
    /// Throws usage_error when the calling thread does not have it.
    void unlock(const char* what);
    /// Whether the calling thread has it.
    [[nodiscard]] bool is_mine() const noexcept;
    /// For tools: the id of the thread that has it, 0 when it is free; whether that has died.
    [[nodiscard]] pid_t owner() const noexcept;
    [[nodiscard]] bool owner_has_died() const noexcept;

private:
    void check(const char* what) const;
    [[nodiscard]] bool owner_is_plausible() const;
    [[nodiscard]] std::uint32_t word() const noexcept;
    acquired done(int failure, const char* what);

    union {
        pthread_mutex_t mutex_;
        unsigned char room_[64];
    };
};
static_assert(sizeof(robust_mutex) == 64);
static_assert(alignof(robust_mutex) == 64);
static_assert(sizeof(pthread_mutex_t) <= 64);

/// Holds the mutex for a scope.
class robust_guard {
public:
    robust_guard(robust_mutex& mutex, detail::deadline until, const char* what)
        : mutex_(mutex), what_(what), how_(mutex.lock(until, what)) {}
    ~robust_guard() { release(); }
    robust_guard(const robust_guard&) = delete;
    robust_guard& operator=(const robust_guard&) = delete;

    explicit operator bool() const noexcept { return how_ != acquired::no; }
    [[nodiscard]] acquired how() const noexcept { return how_; }
    /// Before the scope's end. False when it had it and could not: the memory was damaged meanwhile (the
    /// next locker says so), or this is another thread or process than locked it.
    bool release() noexcept;

private:
    robust_mutex& mutex_;
    const char* what_;
    acquired how_;
    bool is_stuck_ = false;
};

/// How long an operation that waits for nothing else may wait for the lock: far longer than a copy
/// takes, but not for ever, as its owner may have been stopped (SIGSTOP).
inline constexpr auto lock_patience = std::chrono::milliseconds(100);

/// Holds the mutex for one short operation: takes it within patience even when `until` has passed.
class operation_lock {
public:
    operation_lock() = default;
    operation_lock(robust_mutex& mutex, detail::deadline until, const char* what) {
        acquire(mutex, until, what);
    }
    /// One that holds none. Whether it got it.
    bool acquire(robust_mutex& mutex, detail::deadline until, const char* what) {
        guard_.emplace(mutex, until == detail::wait_for_ever ? until : detail::wait_not_at_all,
                       what);
        if (*guard_) return true;
        const detail::deadline patient = std::chrono::steady_clock::now() + lock_patience;
        guard_.emplace(mutex, std::max(until, patient), what);
        return static_cast<bool>(*guard_);
    }
    explicit operator bool() const noexcept { return guard_ && static_cast<bool>(*guard_); }
    [[nodiscard]] acquired how() const noexcept { return guard_ ? guard_->how() : acquired::no; }
    /// As robust_guard::release().
    bool release() noexcept { return !guard_ || guard_->release(); }

private:
    std::optional<robust_guard> guard_;
};

/// One step of a busy wait.
inline void spin_pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace bulkhead::ring
