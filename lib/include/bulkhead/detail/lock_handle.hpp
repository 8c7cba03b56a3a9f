/// @file
/// What mutex, recursive_mutex and shared_mutex have in common: ways to have the lock alone.
#pragma once

#include <bulkhead/detail/deadline.hpp>
#include <bulkhead/detail/lock_state.hpp>
#include <bulkhead/detail/sync_object.hpp>

#include <chrono>

namespace bulkhead::detail {

/// Self has `bool lock_until(deadline, lock_state*) const`.
template <class Self, sync_kind Kind>
class lock_handle : public plain_handle_of<Self, Kind> {
public:
    /// Waits for the lock. Throws usage_error when this thread has it already and cannot have it once
    /// more, bulkhead::error when its memory has been overwritten by somebody; so do the other ways to
    /// lock.
    lock_state lock() const {
        lock_state how = lock_state::clean;
        static_cast<void>(self().lock_until(wait_for_ever, &how));
        return how;
    }
    /// False when another thread has it. `how`, if given, is set when the lock was got.
    [[nodiscard]] bool try_lock(lock_state* how = nullptr) const {
        return self().lock_until(wait_not_at_all, how);
    }
    /// False when it was not to be had in time.
    template <class Rep, class Period>
    [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& limit,
                                    lock_state* how = nullptr) const {
        return self().lock_until(deadline_after(limit), how);
    }
    template <class Clock, class Duration>
    [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when,
                                      lock_state* how = nullptr) const {
        return self().lock_until(deadline_at(when), how);
    }

    /// To the thread that has the lock alone: whether it was a dead owner's. For those who lock with
    /// std::scoped_lock, which does not tell.
    [[nodiscard]] bool inherited() const noexcept { return this->lock_was_inherited(); }

protected:
    using plain_handle_of<Self, Kind>::plain_handle_of;

private:
    [[nodiscard]] const Self& self() const noexcept { return static_cast<const Self&>(*this); }
};

}  // namespace bulkhead::detail
