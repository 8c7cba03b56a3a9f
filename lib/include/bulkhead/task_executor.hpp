/// @file
/// What process_pool and thread_pool have in common, for code that is to work with either.
#pragma once

#include <bulkhead/future.hpp>
#include <bulkhead/options.hpp>

#include <concepts>
#include <optional>
#include <vector>

namespace bulkhead {

/// Somewhere to run tasks: `template <bulkhead::task_executor Pool> void render(Pool& pool)`. Besides what can
/// be named here, map() and map_unordered() of any ranges. A function, or a closure over plain values, whose
/// parameters and result have a codec<T>, runs in every one of them.
template <class E>
concept task_executor =
    requires(E& executor, const E& same, const task_options& options, int (*f)(int)) {
        { executor.submit(f, 1) } -> std::same_as<future<int>>;
        { executor.submit(options, f, 1) } -> std::same_as<future<int>>;
        { executor.try_submit(f, 1) } -> std::same_as<std::optional<future<int>>>;
        { executor.try_submit(options, f, 1) } -> std::same_as<std::optional<future<int>>>;
        executor.close();
        executor.join();
        executor.shutdown();
        executor.shutdown(shutdown_options{});
        executor.terminate();
        executor.resize(1);
        { same.workers() } -> std::same_as<std::vector<worker_info>>;
        { same.stats() } -> std::same_as<pool_stats>;
    };

}  // namespace bulkhead
