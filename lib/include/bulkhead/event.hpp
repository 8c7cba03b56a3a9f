/// @file
/// A flag between processes that can be waited for.
#pragma once

#include <bulkhead/detail/deadline.hpp>
#include <bulkhead/detail/sync_object.hpp>

#include <chrono>
#include <utility>

namespace bulkhead {

/// As Python's threading.Event, between threads of any processes: who waits, waits until it is set. A
/// copy is a handle of the same event; constness is the handle's. What a thread wrote before set() is
/// seen by those that have waited. It has no owner, so nobody's death changes it.
///
/// create, open, open_or_create and remove are queue's.
class event : public detail::plain_handle_of<event, detail::sync_kind::event> {
public:
    /// Anonymous, not set.
    event() : event(make(kind)) {}

    /// Wakes everybody who waits. If it is set already, nothing happens.
    void set() const noexcept;
    void clear() const noexcept;
    [[nodiscard]] bool is_set() const noexcept;

    /// Until it is set; at once when it is. Who waits already does not miss a set() that clear() follows.
    void wait() const { (void)wait_until_deadline(detail::wait_for_ever); }
    /// False when it was not set in time.
    template <class Rep, class Period>
    [[nodiscard]] bool wait_for(const std::chrono::duration<Rep, Period>& limit) const {
        return wait_until_deadline(detail::deadline_after(limit));
    }
    template <class Clock, class Duration>
    [[nodiscard]] bool wait_until(const std::chrono::time_point<Clock, Duration>& when) const {
        return wait_until_deadline(detail::deadline_at(when));
    }

private:
    friend class detail::sync_access;

    explicit event(object from) noexcept : plain_handle_of(std::move(from)) {}
    bool wait_until_deadline(detail::deadline until) const;
};

}  // namespace bulkhead
