// What a pool's on_event is told.
#pragma once

#include <bulkhead/detail/future_state.hpp>
#include <bulkhead/options.hpp>

#include <exception>
#include <functional>
#include <string>
#include <utility>

namespace bulkhead::detail {

using observer = std::function<void(const pool_event&)>;

/// Nothing if there is none. What it throws is dropped, as documented: an observer's trouble is its own.
void tell(const observer& one, const pool_event& event) noexcept;

/// That a callback of the user's, for this task, threw `error`.
void tell_callback_failed(const observer& one, const std::exception_ptr& error,
                          const std::string& task) noexcept;

/// A task that `core`, a pool's, could not take, for `error`. What callbacks of its future throw is
/// told to the pool's observer, while there is a pool.
template <class Core>
[[nodiscard]] state_ptr refused_by(const Core& core, const task_options& options,
                                   std::exception_ptr error) {
    return make_failed_state(std::move(error), [core = core.weak_from_this(), name = options.name](
                                                   const std::exception_ptr& thrown) {
        if (const auto alive = core.lock()) alive->report_callback_failure(thrown, name);
    });
}

}  // namespace bulkhead::detail
