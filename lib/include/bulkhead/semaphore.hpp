/// @file
/// A counting semaphore between processes.
#pragma once

#include <bulkhead/detail/deadline.hpp>
#include <bulkhead/detail/sync_object.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace bulkhead {

/// As std::counting_semaphore, between threads of any processes. A copy is a handle of the same
/// semaphore; constness is the handle's. Whoever may release, not only who acquired.
///
/// If a process dies, however, with permits that it has acquired and not released, they are released
/// for it: within 100 ms for those who wait, at once for those who try. But only as far as the
/// semaphore then has no more permits than it began with: where one process acquires what another
/// releases, as a signal, signals that a dead process had consumed do not come again. A process that execs
/// another program lives on and keeps its permits. At most 1,000 processes hold permits at a time.
class semaphore : public detail::sync_handle_of<semaphore, detail::sync_kind::semaphore> {
public:
    /// Anonymous. Throws usage_error when `permits` is negative or more than max().
    explicit semaphore(std::ptrdiff_t permits = 1) : semaphore(make(kind, checked(permits))) {}

    /// As queue::create and open_or_create (open and remove are the same, too); `permits` is for the one that makes it.
    [[nodiscard]] static semaphore create(const std::string& name, std::ptrdiff_t permits = 1) {
        return semaphore(sync_handle::create(kind, name, checked(permits)));
    }
    [[nodiscard]] static semaphore open_or_create(const std::string& name,
                                                  std::ptrdiff_t permits = 1) {
        return semaphore(sync_handle::open_or_create(kind, name, checked(permits)));
    }

    [[nodiscard]] static constexpr std::ptrdiff_t max() noexcept { return std::ptrdiff_t{1} << 31; }

    /// Waits for a permit and takes it. Throws bulkhead::error when the semaphore's memory has been
    /// overwritten by somebody; so does all that follows.
    void acquire() const { (void)acquire_until(detail::wait_for_ever); }
    /// False when there is none.
    [[nodiscard]] bool try_acquire() const { return acquire_until(detail::wait_not_at_all); }
    /// False when there was none in time.
    template <class Rep, class Period>
    [[nodiscard]] bool try_acquire_for(const std::chrono::duration<Rep, Period>& limit) const {
        return acquire_until(detail::deadline_after(limit));
    }
    template <class Clock, class Duration>
    [[nodiscard]] bool try_acquire_until(
        const std::chrono::time_point<Clock, Duration>& when) const {
        return acquire_until(detail::deadline_at(when));
    }
    /// Adds permits: first those that this process has acquired, then those that others have. Throws usage_error when `permits` is
    /// negative, or more than max() would be there.
    void release(std::ptrdiff_t permits = 1) const;

    /// How many could be acquired now; by the time it is read it may have changed.
    [[nodiscard]] std::ptrdiff_t available() const;

private:
    friend class detail::sync_access;

    explicit semaphore(object from) noexcept : sync_handle_of(std::move(from)) {}
    static std::uint64_t checked(std::ptrdiff_t permits);
    bool acquire_until(detail::deadline until) const;
};

}  // namespace bulkhead
