/// @file
/// Mutexes between processes, which outlive their owners.
#pragma once

#include <bulkhead/detail/lock_handle.hpp>

#include <utility>

namespace bulkhead {

/// Locks out other threads, of this and of other processes. A copy is a handle of the same mutex;
/// give it to tasks and processes as an argument. Works with std::scoped_lock and std::unique_lock.
/// Constness is the handle's. The lock belongs to the *thread* that took it.
///
/// If the owner dies, by whatever signal, the next locker gets the lock, within 100 ms, and is told
/// (lock_state::inherited); nobody hangs. An anonymous mutex goes with the last process that holds
/// it; a named one stays until remove().
///
/// create, open, open_or_create and remove are queue's.
class mutex : public detail::lock_handle<mutex, detail::sync_kind::mutex> {
public:
    /// Anonymous.
    mutex() : mutex(make(kind)) {}

    /// Throws usage_error when this thread does not have it.
    void unlock() const;

private:
    friend class detail::sync_access;
    friend lock_handle;

    explicit mutex(object from) noexcept : lock_handle(std::move(from)) {}
    bool lock_until(detail::deadline until, lock_state* how) const;
};

/// A mutex whose owner may lock it again, and unlocks it as often. In all else as mutex.
///
/// Inherited at most once, when the owner's first lock was; locking again is always clean. Locking throws
/// usage_error when this thread has locked it 2^32 - 1 times.
class recursive_mutex
    : public detail::lock_handle<recursive_mutex, detail::sync_kind::recursive_mutex> {
public:
    /// Anonymous.
    recursive_mutex() : recursive_mutex(make(kind)) {}

    /// Throws usage_error when this thread does not have it.
    void unlock() const;

private:
    friend class detail::sync_access;
    friend lock_handle;

    explicit recursive_mutex(object from) noexcept : lock_handle(std::move(from)) {}
    bool lock_until(detail::deadline until, lock_state* how) const;
};

}  // namespace bulkhead
