/// @file
/// A condition variable between processes.
#pragma once

#include <bulkhead/detail/deadline.hpp>
#include <bulkhead/detail/sync_object.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>  // std::cv_status
#include <cstdint>
#include <utility>

namespace bulkhead {

/// As std::condition_variable_any, between threads of any processes; `Lock` has lock() and unlock(), as
/// std::unique_lock<bulkhead::mutex> or bulkhead::mutex itself. A copy is a handle of the same condition
/// variable; constness is the handle's. At most 1,000 threads wait on it at a time.
///
/// A dead waiter keeps nobody from notifying, and takes no notification with it that another could
/// have had: one that was meant for a thread that died before it could return goes to the next, within
/// 100 ms. Waiting for a predicate looks at it every 100 ms also without a notification (and then waits
/// anew, as the last in the row), so that it goes on where a process made it true and died before it could notify.
///
/// The lock may have been inherited when a wait returns: mutex::inherited() tells.
///
/// create, open, open_or_create and remove are queue's.
class condition_variable
    : public detail::plain_handle_of<condition_variable, detail::sync_kind::condition_variable> {
public:
    /// Anonymous.
    condition_variable() : condition_variable(make(kind)) {}

    /// Of those who wait, the one that has waited longest. Throws bulkhead::error when the memory has
    /// been overwritten by somebody; so does all that follows.
    void notify_one() const;
    void notify_all() const;

    /// Unlocks `lock`, waits for a notification, locks again; also when it throws. Throws bulkhead::error
    /// when 1,000 threads wait already.
    template <class Lock>
    void wait(Lock& lock) const {
        (void)wait_once(lock, detail::wait_for_ever);
    }
    /// Until `is_so()`, which is called with the lock held.
    template <class Lock, class Predicate>
    void wait(Lock& lock, Predicate is_so) const {
        (void)wait_while_not(lock, detail::wait_for_ever, is_so);
    }
    template <class Lock, class Rep, class Period>
    std::cv_status wait_for(Lock& lock, const std::chrono::duration<Rep, Period>& limit) const {
        return wait_once(lock, detail::deadline_after(limit));
    }
    /// What `is_so()` says at last.
    template <class Lock, class Rep, class Period, class Predicate>
    bool wait_for(Lock& lock, const std::chrono::duration<Rep, Period>& limit,
                  Predicate is_so) const {
        return wait_while_not(lock, detail::deadline_after(limit), is_so);
    }
    template <class Lock, class Clock, class Duration>
    std::cv_status wait_until(Lock& lock,
                              const std::chrono::time_point<Clock, Duration>& when) const {
        return wait_once(lock, detail::deadline_at(when));
    }
    template <class Lock, class Clock, class Duration, class Predicate>
    bool wait_until(Lock& lock, const std::chrono::time_point<Clock, Duration>& when,
                    Predicate is_so) const {
        return wait_while_not(lock, detail::deadline_at(when), is_so);
    }

private:
    friend class detail::sync_access;

    explicit condition_variable(object from) noexcept : plain_handle_of(std::move(from)) {}

    /// One wait, listed from the beginning to the end of its life.
    class waiter {
    public:
        explicit waiter(const condition_variable& on);
        ~waiter();
        waiter(const waiter&) = delete;
        waiter& operator=(const waiter&) = delete;
        /// False when it was not notified in time.
        bool sleep(detail::deadline until);

    private:
        const condition_variable& on_;
        std::uint64_t number_;
        std::uint32_t seen_;
        bool listed_ = true;
    };

    template <class Lock>
    class unlocked {
    public:
        explicit unlocked(Lock& lock) : lock_(lock) { lock_.unlock(); }
        // A lock that cannot be had again must not seem to be held: as in the standard library, that
        // ends the program.
        ~unlocked() { lock_.lock(); }
        unlocked(const unlocked&) = delete;
        unlocked& operator=(const unlocked&) = delete;

    private:
        Lock& lock_;
    };

    template <class Lock>
    std::cv_status wait_once(Lock& lock, detail::deadline until) const {
        waiter self(*this);
        const unlocked<Lock> open(lock);
        return self.sleep(until) ? std::cv_status::no_timeout : std::cv_status::timeout;
    }

    template <class Lock, class Predicate>
    bool wait_while_not(Lock& lock, detail::deadline until, Predicate& is_so) const {
        while (!is_so()) {
            const auto now = std::chrono::steady_clock::now();
            if (now >= until) return false;
            (void)wait_once(lock, std::min(until, now + std::chrono::milliseconds(100)));
        }
        return true;
    }
};

}  // namespace bulkhead
