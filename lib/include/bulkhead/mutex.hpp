/// @file
/// Mutexes between processes, which outlive their owners.
#pragma once

#include <bulkhead/detail/deadline.hpp>
#include <bulkhead/detail/lock_state.hpp>
#include <bulkhead/detail/sync_object.hpp>

#include <chrono>
#include <string>
#include <utility>

namespace bulkhead {

/// Locks out other threads, of this and of other processes. A copy is a handle of the same mutex;
/// give it to tasks and processes as an argument. Works with std::scoped_lock and std::unique_lock.
/// Constness is the handle's. The lock belongs to the *thread* that took it.
///
/// If the owner dies, by whatever signal, the next locker gets the lock, within 100 ms, and is told
/// (lock_state::inherited); nobody hangs. An anonymous mutex goes with the last process that holds
/// it; a named one stays until remove().
class mutex : public detail::sync_handle {
public:
    static constexpr auto kind = detail::sync_kind::mutex;

    /// Anonymous.
    mutex() : mutex(make(kind)) {}

    /// As queue::create, open, open_or_create and remove.
    [[nodiscard]] static mutex create(const std::string& name) {
        return mutex(sync_handle::create(kind, name));
    }
    [[nodiscard]] static mutex open(const std::string& name) {
        return mutex(sync_handle::open(kind, name));
    }
    [[nodiscard]] static mutex open_or_create(const std::string& name) {
        return mutex(sync_handle::open_or_create(kind, name));
    }
    static bool remove(const std::string& name) { return sync_handle::remove(kind, name); }

    /// Throws usage_error when this thread has it already, bulkhead::error when its memory has been
    /// overwritten by somebody; so do the other ways to lock.
    lock_state lock() const;
    /// False when another thread has it. `how`, if given, is set when the lock was got.
    [[nodiscard]] bool try_lock(lock_state* how = nullptr) const {
        return lock_until(detail::wait_not_at_all, how);
    }
    /// False when it was not to be had in time.
    template <class Rep, class Period>
    [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& limit,
                                    lock_state* how = nullptr) const {
        return lock_until(detail::deadline_after(limit), how);
    }
    template <class Clock, class Duration>
    [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when,
                                      lock_state* how = nullptr) const {
        return lock_until(detail::deadline_at(when), how);
    }
    /// Throws usage_error when this thread does not have it.
    void unlock() const;

    /// To the thread that has the lock: whether it was a dead owner's. For those who lock with
    /// std::scoped_lock, which does not tell.
    [[nodiscard]] bool inherited() const noexcept;

private:
    friend class detail::sync_codec;

    explicit mutex(object from) noexcept : sync_handle(std::move(from)) {}
    bool lock_until(detail::deadline until, lock_state* how) const;
};

/// A mutex whose owner may lock it again, and unlocks it as often. In all else as mutex.
class recursive_mutex : public detail::sync_handle {
public:
    static constexpr auto kind = detail::sync_kind::recursive_mutex;

    /// Anonymous.
    recursive_mutex() : recursive_mutex(make(kind)) {}

    /// As queue::create, open, open_or_create and remove.
    [[nodiscard]] static recursive_mutex create(const std::string& name) {
        return recursive_mutex(sync_handle::create(kind, name));
    }
    [[nodiscard]] static recursive_mutex open(const std::string& name) {
        return recursive_mutex(sync_handle::open(kind, name));
    }
    [[nodiscard]] static recursive_mutex open_or_create(const std::string& name) {
        return recursive_mutex(sync_handle::open_or_create(kind, name));
    }
    static bool remove(const std::string& name) { return sync_handle::remove(kind, name); }

    /// Inherited at most once, when the owner's first lock was; locking again is always clean. Throws
    /// usage_error when this thread has locked it 2^32 - 1 times.
    lock_state lock() const;
    [[nodiscard]] bool try_lock(lock_state* how = nullptr) const {
        return lock_until(detail::wait_not_at_all, how);
    }
    template <class Rep, class Period>
    [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& limit,
                                    lock_state* how = nullptr) const {
        return lock_until(detail::deadline_after(limit), how);
    }
    template <class Clock, class Duration>
    [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when,
                                      lock_state* how = nullptr) const {
        return lock_until(detail::deadline_at(when), how);
    }
    /// Throws usage_error when this thread does not have it.
    void unlock() const;

    /// As mutex::inherited().
    [[nodiscard]] bool inherited() const noexcept;

private:
    friend class detail::sync_codec;

    explicit recursive_mutex(object from) noexcept : sync_handle(std::move(from)) {}
    bool lock_until(detail::deadline until, lock_state* how) const;
};

}  // namespace bulkhead
