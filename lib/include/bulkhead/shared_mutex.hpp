/// @file
/// A lock between processes that many share for reading, or one has for writing.
#pragma once

#include <bulkhead/detail/deadline.hpp>
#include <bulkhead/detail/lock_state.hpp>
#include <bulkhead/detail/sync_object.hpp>

#include <chrono>
#include <string>
#include <utility>

namespace bulkhead {

/// As std::shared_timed_mutex, between threads of any processes. Works with std::shared_lock and
/// std::unique_lock. A copy is a handle of the same lock; constness is the handle's. A lock, also a
/// shared one, belongs to the *thread* that took it. At most 1,000 threads share it at a time.
///
/// Who waits for the lock alone keeps new sharers out once it is the next, so that it comes to its turn.
///
/// If a sharer dies, its share is released: within 100 ms for those who wait, at once for those who try.
/// If the owner dies while it had the lock alone, the others go on at once, and are told
/// (lock_state::inherited), as what the lock protects may be half done: each sharer, until one had the
/// lock alone, and that one. Nobody hangs.
class shared_mutex : public detail::sync_handle {
public:
    static constexpr auto kind = detail::sync_kind::shared_mutex;

    /// Anonymous.
    shared_mutex() : shared_mutex(make(kind)) {}

    /// As queue::create, open, open_or_create and remove.
    [[nodiscard]] static shared_mutex create(const std::string& name) {
        return shared_mutex(sync_handle::create(kind, name));
    }
    [[nodiscard]] static shared_mutex open(const std::string& name) {
        return shared_mutex(sync_handle::open(kind, name));
    }
    [[nodiscard]] static shared_mutex open_or_create(const std::string& name) {
        return shared_mutex(sync_handle::open_or_create(kind, name));
    }
    static bool remove(const std::string& name) { return sync_handle::remove(kind, name); }

    /// Alone. Throws usage_error when this thread has it already, shared or alone, bulkhead::error
    /// when its memory has been overwritten by somebody; so do the other ways to lock.
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

    /// To the thread that has the lock alone: whether it was a dead owner's.
    [[nodiscard]] bool inherited() const noexcept;

private:
    friend class detail::sync_codec;

    explicit shared_mutex(object from) noexcept : sync_handle(std::move(from)) {}
    bool lock_until(detail::deadline until, lock_state* how) const;
    bool lock_shared_until(detail::deadline until, lock_state* how) const;
};

}  // namespace bulkhead
