/// @file
/// The door between the templates of process_pool and its compiled core.
#pragma once

#include <bulkhead/detail/future_state.hpp>
#include <bulkhead/detail/idle_watch.hpp>
#include <bulkhead/detail/submission.hpp>
#include <bulkhead/detail/task_encoder.hpp>
#include <bulkhead/detail/when_full.hpp>
#include <bulkhead/options.hpp>

#include <exception>
#include <memory>

namespace bulkhead::detail {

class pool_core;

/// Queues the task. Null when the backlog is full and `full` says refuse. Throws pool_closed,
/// pool_broken.
[[nodiscard]] state_ptr submit_encoded(pool_core& core, const submission& what,
                                       const task_options& options, task_encoder& arguments,
                                       when_full full);

/// The state of a task that has failed before it was one, since its arguments do not encode.
[[nodiscard]] state_ptr refused_task(const pool_core& core, const task_options& options,
                                     std::exception_ptr error);

/// For the encoder of the arguments of tasks of this pool, which is not to outlive it; null: it has none.
[[nodiscard]] encoder_memory* argument_memory(pool_core& core) noexcept;

/// Tells `watch` once no task is left: at once, in this thread, if there is none.
void watch_idle(pool_core& core, std::shared_ptr<idle_watch> watch);
/// It will not be told from now on, unless it is being told.
void unwatch_idle(pool_core& core, const idle_watch& watch);

/// The workers the pool was made with.
[[nodiscard]] std::size_t worker_count(const pool_core& core);

}  // namespace bulkhead::detail
