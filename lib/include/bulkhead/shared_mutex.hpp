/// @file
/// A lock between processes that many share for reading, or one has for writing.
#pragma once

#include <bulkhead/detail/lock_handle.hpp>

#include <chrono>
#include <utility>

namespace bulkhead {

/// As std::shared_timed_mutex, between threads of any processes. Works with std::shared_lock and
/// std::unique_lock. A copy is a handle of the same lock; constness is the handle's. A lock, also a
/// shared one, belongs to the *thread* that took it. At most 1,000 threads share it at a time.
///
/// Who waits for the lock alone keeps new sharers out once it is the next, so that it comes to its turn.
///
/// If a sharer dies, its share is released: within 100 ms for those who wait, at once for those who try. (One
/// that execs another program lives on, and keeps it.)
/// If the owner dies while it had the lock alone, the others go on at once, and are told
/// (lock_state::inherited), as what the lock protects may be half done: each sharer, until one had the
/// lock alone, and that one. Nobody hangs.
///
/// create, open, open_or_create and remove are queue's. Locking throws usage_error when this thread has the
/// lock already, shared or alone.
class shared_mutex : public detail::lock_handle<shared_mutex, detail::sync_kind::shared_mutex> {
public:
    /// Anonymous.
    shared_mutex() : shared_mutex(make(kind)) {}

    /// Throws usage_error when this thread does not have it alone.
    void unlock() const;

    /// Together with others who share. Throws bulkhead::error when 1,000 threads share it already.
    lock_state lock_shared() const;
    /// False when another thread has it alone, or waits for that, or just tries.
    [[nodiscard]] bool try_lock_shared(lock_state* how = nullptr) const {
        return lock_shared_until(detail::wait_not_at_all, how);
    }
    template <class Rep, class Period>
    [[nodiscard]] bool try_lock_shared_for(const std::chrono::duration<Rep, Period>& limit,
                                           lock_state* how = nullptr) const {
        return lock_shared_until(detail::deadline_after(limit), how);
    }
    template <class Clock, class Duration>
    [[nodiscard]] bool try_lock_shared_until(const std::chrono::time_point<Clock, Duration>& when,
                                             lock_state* how = nullptr) const {
        return lock_shared_until(detail::deadline_at(when), how);
    }
    /// Throws usage_error when this thread does not share it.
    void unlock_shared() const;

private:
    friend class detail::sync_access;
    friend lock_handle;

    explicit shared_mutex(object from) noexcept : lock_handle(std::move(from)) {}
    bool lock_until(detail::deadline until, lock_state* how) const;
    bool lock_shared_until(detail::deadline until, lock_state* how) const;
};

}  // namespace bulkhead
