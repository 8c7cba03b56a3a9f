/// @file
/// A mutex between processes, which outlives its owner.
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/detail/deadline.hpp>
#include <bulkhead/detail/handle.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace bulkhead {

/// How a lock was got.
enum class lock_state : std::uint8_t {
    clean,
    /// From a thread or process that died while it held the lock: what the lock protects may have
    /// been left half done. Told to one locker only.
    inherited,
};

/// Locks out other threads, of this and of other processes. A copy is a handle of the same mutex;
/// give it to tasks and processes as an argument. Works with std::scoped_lock and std::unique_lock.
/// Constness is the handle's. The lock belongs to the *thread* that took it.
///
/// If the owner dies, by whatever signal, the next locker gets the lock, within 100 ms, and is told
/// (lock_state::inherited); nobody hangs. An anonymous mutex goes with the last process that holds
/// it; a named one stays until remove().
class mutex {
public:
    /// Anonymous.
    mutex();

    /// As queue::create, open, open_or_create and remove.
    [[nodiscard]] static mutex create(const std::string& name);
    [[nodiscard]] static mutex open(const std::string& name);
    [[nodiscard]] static mutex open_or_create(const std::string& name);
    static bool remove(const std::string& name);

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

private:
    friend codec<mutex>;
    class state;

    explicit mutex(std::shared_ptr<state> from) : state_(std::move(from)) {}
    bool lock_until(detail::deadline until, lock_state* how) const;

    std::shared_ptr<state> state_;
};

namespace detail {
template <>
inline constexpr bool is_handle<mutex> = true;
}  // namespace detail

/// Travels as its handle.
template <>
struct codec<mutex> {
    static void encode(encoder& out, const mutex& value);
    static mutex decode(decoder& in);
};

}  // namespace bulkhead
