/// @file
/// A barrier between processes.
#pragma once

#include <bulkhead/detail/deadline.hpp>
#include <bulkhead/detail/sync_object.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace bulkhead {

/// As std::barrier without a completion function, between threads of any processes: who waits, waits until
/// all parties have arrived; then the next phase begins. A copy is a handle of the same barrier;
/// constness is the handle's.
///
/// A phase that can no longer be completed *breaks* the barrier, for good: a process that has a handle of
/// it dies, or ends by exit(), without having destroyed that handle. Those who wait, and all who come
/// later, get barrier_broken, within 100 ms; nobody hangs. Whether the dead process was a party is not
/// asked, so let go of a handle that is not needed. A process has a handle from when it made, opened or, as
/// the argument of a task, decoded it; a fork of such a process from when it arrives first. Where one may
/// die sooner, or exec another program and so live on, wait with wait_for(), or have who sees it die call
/// abort(). A process that destroys its last handle has left in peace, whether it has arrived or not; so has
/// one whose function is left by an exception, which destroys its arguments: where others would wait for it
/// then, catch that and call abort(). At most 1,000 processes have a handle at a time.
class barrier : public detail::sync_handle_of<barrier, detail::sync_kind::barrier> {
public:
    /// What arrive() returns, for wait().
    class arrival_token {
    public:
        arrival_token(arrival_token&&) noexcept = default;
        arrival_token& operator=(arrival_token&&) noexcept = default;

    private:
        friend class barrier;
        explicit arrival_token(std::uint64_t phase) noexcept : phase_(phase) {}
        std::uint64_t phase_;
    };

    /// Anonymous, for so many parties. Throws usage_error when `parties` is less than 1 or more than max().
    explicit barrier(std::ptrdiff_t parties) : barrier(make(kind, checked(parties))) {}

    /// As queue::create and open_or_create (open and remove are the same, too); `parties` is for the one that makes it.
    [[nodiscard]] static barrier create(const std::string& name, std::ptrdiff_t parties) {
        return barrier(sync_handle::create(kind, name, checked(parties)));
    }
    [[nodiscard]] static barrier open_or_create(const std::string& name, std::ptrdiff_t parties) {
        return barrier(sync_handle::open_or_create(kind, name, checked(parties)));
    }

    [[nodiscard]] static constexpr std::ptrdiff_t max() noexcept { return std::ptrdiff_t{1} << 31; }

    /// Does not wait. Throws barrier_broken; usage_error when `count` is less than 1, or more than are
    /// missing in this phase; bulkhead::error when the memory has been overwritten by somebody.
    [[nodiscard]] arrival_token arrive(std::ptrdiff_t count = 1) const {
        return arrival_token(arrive_as(count, false));
    }
    /// Until the phase in which the token was got is complete. Throws barrier_broken.
    void wait(arrival_token&& token) const {
        (void)wait_until_deadline(token.phase_, detail::wait_for_ever);
    }
    /// False when it was not complete in time; the token can be used again.
    template <class Rep, class Period>
    [[nodiscard]] bool wait_for(const arrival_token& token,
                                const std::chrono::duration<Rep, Period>& limit) const {
        return wait_until_deadline(token.phase_, detail::deadline_after(limit));
    }
    void arrive_and_wait() const { wait(arrive()); }
    /// Arrives, and is a party no more in the phases that follow.
    void arrive_and_drop() const { (void)arrive_as(1, true); }

    /// Breaks it, for one who knows that a party will not come.
    void abort() const;
    /// Looks whether all that have a handle live.
    [[nodiscard]] bool broken() const;

private:
    friend class detail::sync_access;

    explicit barrier(object from) noexcept : sync_handle_of(std::move(from)) {}
    static std::uint64_t checked(std::ptrdiff_t parties);
    [[nodiscard]] std::uint64_t arrive_as(std::ptrdiff_t count, bool and_drop) const;
    bool wait_until_deadline(std::uint64_t phase, detail::deadline until) const;
};

}  // namespace bulkhead
