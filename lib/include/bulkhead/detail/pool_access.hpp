/// @file
/// The door between the templates of process_pool and its compiled core.
#pragma once

#include <bulkhead/detail/future_state.hpp>
#include <bulkhead/detail/submission.hpp>
#include <bulkhead/detail/task_encoder.hpp>
#include <bulkhead/options.hpp>

#include <memory>

namespace bulkhead::detail {

class pool_core;

enum class when_full : std::uint8_t { wait, refuse };

/// Queues the task. Null when the backlog is full and `full` says refuse. Throws pool_closed,
/// pool_broken.
[[nodiscard]] state_ptr submit_encoded(pool_core& core, const submission& what,
                                       const task_options& options, task_encoder& arguments,
                                       when_full full);

/// The workers the pool was made with.
[[nodiscard]] std::size_t worker_count(const pool_core& core);

}  // namespace bulkhead::detail
