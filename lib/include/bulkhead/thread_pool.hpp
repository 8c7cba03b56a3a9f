/// @file
/// Tasks in threads of this process, with the interface of process_pool.
#pragma once

#include <bulkhead/detail/asio_bridge.hpp>
#include <bulkhead/detail/local_state.hpp>
#include <bulkhead/future.hpp>
#include <bulkhead/map.hpp>
#include <bulkhead/map_unordered.hpp>
#include <bulkhead/options.hpp>

#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

namespace bulkhead {

namespace detail {
/// submit(), by whoever has the core.
template <class F, class... A>
auto submit_call(thread_core& core, when_full full, const task_options& options, F&& f,
                 A&&... args) {
    using task = local_task_for<std::decay_t<F>, A&&...>;
    using result = typename task::result;
    // As arguments that do not encode, those that do not convert or copy fail their task, and not its caller.
    std::exception_ptr not_made;
    try {
        auto state = submit_local(core, options, full, [&](thread_core& to) -> local_state* {
            try {
                return new task(to, options, std::forward<F>(f), std::forward<A>(args)...);
            } catch (...) {
                not_made = std::current_exception();
                throw;
            }
        });
        if (!state) return std::optional<future<result>>();
        return std::optional(future<result>(std::move(state)));
    } catch (...) {
        if (!not_made) throw;
        return std::optional(future<result>(refused_task(core, options, not_made)));
    }
}
}  // namespace detail

/// Runs callables on a boost::asio::thread_pool, behind the same futures as process_pool, so that a
/// program changes where its tasks run by changing one type. Nothing is encoded here: any callable
/// and any movable arguments will do, and a crash takes the program with it. Exceptions arrive as from a
/// process_pool too; what was thrown is nested in an own type's standard base (std::rethrow_if_nested).
///
/// All members may be called from any thread. Priorities, then order, as in process_pool; a
/// task_options::timeout is refused (usage_error), since a thread cannot be killed; retries are for
/// what retry_on names, since no thread's crash is survived. In a fork of this process, which has none of the threads, members and futures
/// throw usage_error as process_pool's do.
class thread_pool {
public:
    /// Throws usage_error for impossible options, bulkhead::error when a thread cannot be started.
    explicit thread_pool(thread_pool_options options = {});

    template <std::integral Count>
    explicit thread_pool(Count workers)
        : thread_pool(thread_pool_options{.workers = detail::checked_workers(workers)}) {}

    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;
    /// shutdown(): waits for every task.
    ~thread_pool();

    /// Runs `f(args...)` on copies of f and args in a thread of the pool. The arguments are converted to the
    /// parameters' types here, in the caller, where f has a signature that tells these (a function, a lambda
    /// that is not generic); but a view (std::string_view, std::span) is made in the task, and std::ref()
    /// stays one. Those that do not convert fail their task. Waits while the backlog is full. Throws pool_closed.
    template <class F, class... A>
    requires(!std::same_as<std::remove_cvref_t<F>, task_options>)
    auto submit(F&& f, A&&... args) {
        return submit(task_options{}, std::forward<F>(f), std::forward<A>(args)...);
    }

    template <class F, class... A>
    auto submit(const task_options& options, F&& f, A&&... args) {
        return *detail::submit_call(*core_, detail::when_full::wait, options, std::forward<F>(f),
                                    std::forward<A>(args)...);
    }

    /// nullopt instead of waiting when the backlog is full.
    template <class F, class... A>
    requires(!std::same_as<std::remove_cvref_t<F>, task_options>)
    auto try_submit(F&& f, A&&... args) {
        return try_submit(task_options{}, std::forward<F>(f), std::forward<A>(args)...);
    }

    template <class F, class... A>
    auto try_submit(const task_options& options, F&& f, A&&... args) {
        return detail::submit_call(*core_, detail::when_full::refuse, options, std::forward<F>(f),
                                   std::forward<A>(args)...);
    }

    /// As process_pool::async_submit. See bulkhead/asio.hpp, which must be included.
    template <class... CallAndToken>
    requires(sizeof...(CallAndToken) >= 2)
    auto async_submit(CallAndToken&&... call_and_token) {
        return detail::with_asio<CallAndToken...>::bridge::submit(
            core_, std::forward<CallAndToken>(call_and_token)...);
    }

    /// As process_pool::map.
    template <class F, std::ranges::input_range... Ranges>
    requires(sizeof...(Ranges) > 0)
    [[nodiscard]] auto map(F&& f, Ranges&&... ranges) {
        return map(map_options{}, std::forward<F>(f), std::forward<Ranges>(ranges)...);
    }

    template <class F, std::ranges::input_range... Ranges>
    requires(sizeof...(Ranges) > 0)
    [[nodiscard]] auto map(const map_options& options, F&& f, Ranges&&... ranges) {
        return map_range<map_source<F, Ranges...>, std::views::all_t<Ranges>...>(
            map_source<F, Ranges...>(core_, std::forward<F>(f)),
            map_options{.lookahead_max = options.lookahead_max},
            std::views::all(std::forward<Ranges>(ranges))...);
    }

    /// As process_pool::map_unordered.
    template <class F, std::ranges::input_range... Ranges>
    requires(sizeof...(Ranges) > 0)
    [[nodiscard]] auto map_unordered(F&& f, Ranges&&... ranges) {
        return map_unordered(map_options{}, std::forward<F>(f), std::forward<Ranges>(ranges)...);
    }

    template <class F, std::ranges::input_range... Ranges>
    requires(sizeof...(Ranges) > 0)
    [[nodiscard]] auto map_unordered(const map_options& options, F&& f, Ranges&&... ranges) {
        return map_unordered_range<map_source<F, Ranges...>, std::views::all_t<Ranges>...>(
            map_source<F, Ranges...>(core_, std::forward<F>(f)),
            map_options{.lookahead_max = options.lookahead_max},
            std::views::all(std::forward<Ranges>(ranges))...);
    }

    void close();
    void join();
    /// As process_pool::async_join.
    template <class Token>
    auto async_join(Token&& token) {
        return detail::with_asio<Token>::bridge::join(core_, std::forward<Token>(token));
    }
    void shutdown(const shutdown_options& options = {});
    /// close(), cancels what is queued, asks what runs to stop (std::stop_token) and waits for it: a task that
    /// takes a token is cancelled then, as by future::cancel().
    void terminate();

    /// From now on at most this many tasks run at a time (1 to workers_max; 0: one per CPU); those that run
    /// go on. Throws usage_error; bulkhead::error when a thread cannot be started, and the size stays.
    template <std::integral Count>
    void resize(Count workers) {
        resize_to(detail::checked_workers(workers));
    }

    /// One entry a thread; pid is this process, task_name that of its running task.
    [[nodiscard]] std::vector<worker_info> workers() const;
    [[nodiscard]] pool_stats stats() const;

private:
    void resize_to(std::int64_t workers);

    template <class F, class... Ranges>
    using map_source =
        detail::thread_batches<std::decay_t<F>, std::ranges::range_value_t<Ranges>...>;

    std::shared_ptr<detail::thread_core> core_;
};

}  // namespace bulkhead
