/// @file
/// Which failures of a task are tried again: task_options::retry_on.
#pragma once

#include <concepts>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>

namespace bulkhead {

/// Made of a function that is asked about each failure, `bool(const std::exception&)` or
/// `bool(std::exception_ptr)`, or one of any_exception and exceptions<E...>. Empty: no exception is.
///
/// It is called in the parent, by the pool's own thread (in a thread_pool by the task's): be brief. What
/// it throws counts as no, and is reported to on_event.
class retry_predicate {
public:
    retry_predicate() = default;

    template <class F>
    requires(!std::same_as<F, retry_predicate> &&
             std::is_invocable_r_v<bool, F&, const std::exception_ptr&>)
    retry_predicate(F asks) : asks_(std::move(asks)) {}

    template <class F>
    requires(!std::same_as<F, retry_predicate> &&
             std::is_invocable_r_v<bool, F&, const std::exception&> &&
             !std::is_invocable_r_v<bool, F&, const std::exception_ptr&>)
    retry_predicate(F asks)
        : asks_([asks = std::move(asks)](const std::exception_ptr& failure) mutable {
              try {
                  std::rethrow_exception(failure);
              } catch (const std::exception& e) {
                  return static_cast<bool>(asks(e));
              } catch (...) {
                  return false;
              }
          }) {}

    explicit operator bool() const noexcept { return static_cast<bool>(asks_); }
    [[nodiscard]] bool operator()(const std::exception_ptr& failure) const {
        return asks_ && asks_(failure);
    }

private:
    std::function<bool(const std::exception_ptr&)> asks_;
};

/// `.retry_on = any_exception`: whatever the task throws, and its timeouts.
inline constexpr auto any_exception = [](const std::exception_ptr&) { return true; };

/// `.retry_on = exceptions<std::system_error, bulkhead::task_timeout>`: these, and what derives from them.
template <class... E>
inline constexpr auto exceptions = [](const std::exception& failure) {
    return ((dynamic_cast<const E*>(&failure) != nullptr) || ...);
};

}  // namespace bulkhead
