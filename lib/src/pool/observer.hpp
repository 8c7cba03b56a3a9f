// What a pool's on_event is told.
#pragma once

#include <bulkhead/options.hpp>

#include <exception>
#include <functional>
#include <string>

namespace bulkhead::detail {

using observer = std::function<void(const pool_event&)>;

/// Nothing if there is none. What it throws is dropped, as documented: an observer's trouble is its own.
void tell(const observer& one, const pool_event& event) noexcept;

/// That a callback of the user's, for this task, threw `error`.
void tell_callback_failed(const observer& one, const std::exception_ptr& error,
                          const std::string& task) noexcept;

}  // namespace bulkhead::detail
