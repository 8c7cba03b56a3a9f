/// @file
/// Tasks in worker processes.
#pragma once

#include <bulkhead/detail/asio_bridge.hpp>
#include <bulkhead/detail/pool_access.hpp>
#include <bulkhead/future.hpp>
#include <bulkhead/map.hpp>
#include <bulkhead/map_unordered.hpp>
#include <bulkhead/options.hpp>
#include <bulkhead/task.hpp>

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace bulkhead {

namespace detail {
/// submit(), by whoever has the core.
template <class F, class... A>
auto submit_call(pool_core& core, when_full full, const task_options& options, F&& f, A&&... args) {
    using task = task_of<F, A...>;
    static_assert(task::ok && task::parameters_ok);
    using call = typename task::call;
    using result = typename call::result;
    task_encoder arguments(argument_memory(core));
    if (full != when_full::refuse) arguments.take_over_moved();  // who is refused has them still
    try {
        const std::decay_t<F> function(std::forward<F>(f));
        call::encode_function(arguments, function);
        call::encode_arguments(arguments, std::forward<A>(args)...);
    } catch (...) {
        return std::optional(future<result>(refused_task(core, options, std::current_exception())));
    }
    auto state = submit_encoded(
        core,
        {.entry = call::entry(), .takes_stop_token = task::token, .gives = &result_of<result>},
        options, arguments, full);
    if (!state) return std::optional<future<result>>();
    return std::optional(future<result>(std::move(state)));
}
}  // namespace detail

/// Runs functions of this program in worker processes: a crash, a hang, a leak or an `exit()` in a
/// task costs that worker and that task's future, and nothing else. Like Python's
/// ProcessPoolExecutor and Pool.
///
/// A worker is the same executable, started again up to init(). When one dies, the task it was
/// running fails with worker_crashed (or runs again, if task_options::retries says so), the tasks that
/// merely waited in it go to another, and a new worker takes its place. When a worker ends, whatever it
/// has started ends too, daemons included; when this process dies, the workers and all that they have
/// started die with it. A small process, the keeper, sees to that while there are workers.
///
/// Forks without exec. A process that a task forks is no worker: it ends, with a line on stderr, when it comes to
/// the end of the task's function. A fork of this process has no pool: there the pool's members, and waits
/// for and cancels of its futures that are not done, throw usage_error.
///
/// All members may be called from any thread; join(), terminate() and a shutdown() that waits throw usage_error in
/// the pool's own callbacks, whose thread they would wait for. Tasks are handed out by priority, then in order.
class process_pool {
public:
    /// Starts the workers; they come up in the background. Throws usage_error (init() forgotten,
    /// impossible options) or pool_broken (no worker can be started; the sentence says why).
    explicit process_pool(process_pool_options options = {});

    /// `process_pool pool(3);`
    template <std::integral Count>
    explicit process_pool(Count workers)
        : process_pool(process_pool_options{.workers = detail::checked_workers(workers)}) {}

    process_pool(const process_pool&) = delete;
    process_pool& operator=(const process_pool&) = delete;
    /// shutdown(): waits for every task.
    ~process_pool();

    /// Runs `f(args...)` in a worker. What f and args may be, and the compile errors that say what to
    /// do instead, are in task.hpp. Waits while the backlog is full. An argument that does not
    /// encode fails the future. A large vector or string that is moved in is kept as it is until a worker takes
    /// it, in place of a copy: it is gone also when this throws, or another argument does not encode. Throws pool_closed, pool_broken.
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

    /// nullopt instead of waiting when the backlog is full; an argument of the parameter's own type that was to be
    /// moved in is untouched then.
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

    /// `async_submit(f, args..., token)` and `async_submit(task_options, f, args..., token)`: as
    /// submit(), and the result goes to a completion token of Asio. See bulkhead/asio.hpp, which
    /// must be included.
    template <class... CallAndToken>
    requires(sizeof...(CallAndToken) >= 2)
    auto async_submit(CallAndToken&&... call_and_token) {
        return detail::with_asio<CallAndToken...>::bridge::submit(
            core_, std::forward<CallAndToken>(call_and_token)...);
    }

    /// f over the elements of the ranges (zipped, up to the shortest), results in order. Lazy: work
    /// starts with begin() and stays a bounded look-ahead before the reader. See map_range.
    template <class F, std::ranges::input_range... Ranges>
    requires(sizeof...(Ranges) > 0)
    [[nodiscard]] auto map(F&& f, Ranges&&... ranges) {
        return map(map_options{}, std::forward<F>(f), std::forward<Ranges>(ranges)...);
    }

    template <class F, std::ranges::input_range... Ranges>
    requires(sizeof...(Ranges) > 0)
    [[nodiscard]] auto map(const map_options& options, F&& f, Ranges&&... ranges) {
        return map_range<map_source<F, Ranges...>, std::views::all_t<Ranges>...>(
            map_source<F, Ranges...>(core_, std::forward<F>(f)), options,
            std::views::all(std::forward<Ranges>(ranges))...);
    }

    /// As map(), but index and result of each item as it finishes. See map_unordered_range.
    template <class F, std::ranges::input_range... Ranges>
    requires(sizeof...(Ranges) > 0)
    [[nodiscard]] auto map_unordered(F&& f, Ranges&&... ranges) {
        return map_unordered(map_options{}, std::forward<F>(f), std::forward<Ranges>(ranges)...);
    }

    template <class F, std::ranges::input_range... Ranges>
    requires(sizeof...(Ranges) > 0)
    [[nodiscard]] auto map_unordered(const map_options& options, F&& f, Ranges&&... ranges) {
        return map_unordered_range<map_source<F, Ranges...>, std::views::all_t<Ranges>...>(
            map_source<F, Ranges...>(core_, std::forward<F>(f)), options,
            std::views::all(std::forward<Ranges>(ranges))...);
    }

    /// No new tasks from now on.
    void close();
    /// Waits until every task submitted so far has ended.
    void join();
    /// As join(), with a completion token: void(std::exception_ptr). See bulkhead/asio.hpp.
    template <class Token>
    auto async_join(Token&& token) {
        return detail::with_asio<Token>::bridge::join(core_, std::forward<Token>(token));
    }
    /// close() and join(), then the workers end, and all that they wrote has been passed on (worker_output). With `wait` false it returns at once and the
    /// destructor does the waiting; with `cancel_queued` tasks that have not started are cancelled.
    void shutdown(const shutdown_options& options = {});
    /// close(), cancels what is queued, kills what runs (SIGTERM, kill_grace, SIGKILL), and returns
    /// when the workers are gone. The futures throw task_cancelled.
    void terminate();

    /// From now on this many workers (1 to workers_max; 0: one per CPU). Workers that are too many end
    /// after the task they are at; the others keep their processes. Throws
    /// usage_error; pool_closed after close(), pool_broken.
    template <std::integral Count>
    void resize(Count workers) {
        resize_to(detail::checked_workers(workers));
    }

    [[nodiscard]] std::vector<worker_info> workers() const;
    [[nodiscard]] pool_stats stats() const;

private:
    template <class F, class... Ranges>
    using map_source =
        detail::process_batches<detail::task_of<F, std::ranges::range_reference_t<Ranges>...>,
                                std::decay_t<F>>;

    void resize_to(std::int64_t workers);

    std::shared_ptr<detail::pool_core> core_;
};

}  // namespace bulkhead
