/// @file
/// A task of thread_pool: the callable, its arguments and its result in one object.
#pragma once

#include <bulkhead/detail/codec_traits.hpp>
#include <bulkhead/detail/future_state.hpp>
#include <bulkhead/detail/idle_watch.hpp>
#include <bulkhead/detail/signature.hpp>
#include <bulkhead/detail/when_full.hpp>
#include <bulkhead/options.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <stop_token>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace bulkhead::detail {

class thread_core;

/// States: queued -> running -> done, or queued -> done (cancelled); moved by the pool's lock.
class local_state : public future_state {
public:
    local_state(thread_core& core, const task_options& options, bool takes_token);
    ~local_state() override;

    [[nodiscard]] bool running() const override;
    [[nodiscard]] bool cancelled() const override;
    [[nodiscard]] bool failed() const override;
    bool cancel() override;
    void request_cancel() override { (void)cancel(); }
    void abandon() override;
    void check_process() const override;
    void take(result_reader read, void* out) final;
    [[nodiscard]] task_progress progress() const final;
    void on_progress(progress_callback&& callback_function) final;
    /// By the task, in its thread.
    void report(task_progress now) noexcept;

protected:
    void callback_failed(std::exception_ptr error) noexcept override;
    /// Runs the callable and keeps its result; throws what it throws. Its arguments are used up, unless it
    /// may have to run again.
    virtual void run(bool perhaps_again) = 0;
    /// Whether its arguments can be copied.
    [[nodiscard]] virtual bool can_run_again() const noexcept = 0;
    /// Destroys callable and arguments: a task that has ended holds no more than its result.
    virtual void drop() noexcept = 0;
    virtual void take_value(void* out) = 0;
    /// The same of the result, which nobody will take.
    virtual void drop_value() noexcept = 0;
    [[nodiscard]] std::stop_token stop_token() const { return stop_.get_token(); }

private:
    friend class thread_core;
    enum class step : std::uint8_t { queued, running, done };

    /// What few tasks have.
    struct extras {
        std::string name;
        retry_predicate retry_on;

        std::mutex mutex;  // for what follows
        task_progress said;
        task_progress told;
        std::chrono::steady_clock::time_point next_telling{};
        std::list<progress_callback> watchers;  // grows while one of them is called
    };

    [[nodiscard]] extras* having() const noexcept {
        return extras_.load(std::memory_order_acquire);
    }
    [[nodiscard]] extras& with_extras() const;
    [[nodiscard]] std::string name() const;
    /// A failure may be worth another run.
    [[nodiscard]] bool may_be_retried() const noexcept;

    /// It is cancelled if it takes a token. Under the pool's lock; the request itself, which runs the task's stop
    /// callbacks, is to be made without it.
    [[nodiscard]] std::stop_source mark_stopped() {
        stop_asked_ = takes_token_;
        return stop_;
    }
    /// Another run begins.
    void forget_progress() noexcept;
    /// The last report, if the watchers do not know it.
    void tell_last_progress() noexcept;
    void tell_progress(extras& of, std::unique_lock<std::mutex>& held) noexcept;

    std::weak_ptr<thread_core> core_;
    std::atomic<step> step_{step::queued};
    std::atomic<bool> was_cancelled_{false};
    const bool takes_token_;
    bool stop_asked_ = false;  // under the pool's lock
    int retries_left_;
    std::int64_t queued_ns_ = 0;  // steady_clock
    std::stop_source stop_{std::nostopstate};
    std::exception_ptr error_;  // until somebody takes it
    bool failed_ = false;
    mutable std::atomic<extras*> extras_{nullptr};  // owned; made once
};

template <class F, class... A>
class local_task;

template <class T>
inline constexpr bool is_reference_wrapper = false;
template <class T>
inline constexpr bool is_reference_wrapper<std::reference_wrapper<T>> = true;

/// Whether a T made of a G may refer to it: a view does, and so may all that looks like one.
template <class T, class G>
inline constexpr bool may_view =
    is_span<T> ||
    (std::is_class_v<T> && std::is_trivially_copyable_v<T> && !std::is_trivially_copyable_v<G>);

/// Whether a thread_pool converts an argument A (with its reference) to a parameter P at once, as a process_pool
/// does, so that what A points to may change or go. Not where P refers to the argument itself (it is a P or of a
/// class derived from it), is a view of it, or is what only std::ref() passes; nor to a type that cannot be copied,
/// if A can be: the task might have to run again.
template <class P, class A>
constexpr bool is_converted_at_once() {
    using kept = std::remove_cvref_t<P>;
    using given = std::decay_t<A>;
    if constexpr (std::is_same_v<kept, given> || is_out_parameter<P> || may_view<kept, given> ||
                  !requires { sizeof(kept); } || !std::is_same_v<kept, stored<P>>) {
        return false;
    } else {
        constexpr bool converts = !std::is_base_of_v<kept, given> &&
                                  converts_to_parameter<A, kept> && std::is_convertible_v<kept, P>;
        constexpr bool runs_again = std::is_copy_constructible_v<kept> ||
                                    !std::is_copy_constructible_v<given> ||
                                    std::is_pointer_v<given>;
        return converts && runs_again;
    }
}
template <class P, class A>
struct kept_as {
    using type =
        std::conditional_t<is_converted_at_once<P, A>(), std::remove_cvref_t<P>, std::decay_t<A>>;
};
template <class P, class A>
requires is_reference_wrapper<std::decay_t<A>>
struct kept_as<P, A> {
    using type = std::decay_t<A>;
};
/// A handle for a parameter that is a reference to one, as process_pool passes it.
template <class T>
class kept_handle {
public:
    explicit kept_handle(T handle) : handle_(std::move(handle)) {}
    operator T&() noexcept { return handle_; }  // NOLINT(google-explicit-constructor): an argument

private:
    T handle_;
};
template <class P, class A>
requires(std::is_lvalue_reference_v<P> && !is_out_parameter<P> &&
         !std::is_const_v<std::remove_reference_t<P>> &&
         std::is_same_v<std::decay_t<A>, std::remove_cvref_t<P>>)
struct kept_as<P, A> {
    using type = kept_handle<std::decay_t<A>>;
};

/// Whether a copy compiles: a container says so of itself, whatever its elements are.
template <class T>
inline constexpr bool copies = std::is_copy_constructible_v<T>;
template <class T>
requires(std::ranges::range<T> && !std::ranges::view<T> && !is_handle<T> &&
         !std::is_same_v<std::ranges::range_value_t<T>, T>)
inline constexpr bool copies<T> =
    std::is_copy_constructible_v<T> && copies<std::ranges::range_value_t<T>>;
template <class T>
inline constexpr bool copies<std::optional<T>> = copies<T>;
template <class... A>
inline constexpr bool copies<std::variant<A...>> = (copies<A> && ...);
template <class... A>
inline constexpr bool copies<std::tuple<A...>> = (copies<A> && ...);
template <class First, class Second>
inline constexpr bool copies<std::pair<First, Second>> = copies<First> && copies<Second>;

/// The task of thread_pool for an F, decayed, with parameters P..., and arguments A..., with their references.
template <class F, class List, class... A>
struct local_task_with {
    using type = local_task<F, std::decay_t<A>...>;
};
template <class F, class... P, class... A>
requires(sizeof...(P) == sizeof...(A))
struct local_task_with<F, parameter_list<P...>, A...> {
    using type = local_task<F, typename kept_as<P, A>::type...>;
};
template <class F, class First, class... P, class... A>
requires(sizeof...(P) == sizeof...(A) &&
         std::is_same_v<std::remove_cvref_t<First>, std::stop_token>)
struct local_task_with<F, parameter_list<First, P...>, A...> {
    using type = local_task<F, typename kept_as<P, A>::type...>;
};
template <class F, class... A>
using local_task_for =
    typename local_task_with<F, typename parameters_for<F, A...>::all, A...>::type;

template <class F, class... A>
class local_task final : public local_state {
    static constexpr bool takes_token =
        std::conjunction_v<std::negation<std::is_invocable<F&, A...>>,
                           std::is_invocable<F&, std::stop_token, A...>>;
    static_assert(takes_token || std::is_invocable_v<F&, A...>,
                  "bulkhead: the callable does not accept these arguments (a thread_pool passes "
                  "copies of them, as rvalues; use std::ref for a reference)");

    static auto call(F& f, std::tuple<A...>& args, const std::stop_token& token) -> decltype(auto) {
        return std::apply(
            [&](A&... arg) -> decltype(auto) {
                if constexpr (takes_token) {
                    return std::invoke(f, token, std::move(arg)...);
                } else {
                    return std::invoke(f, std::move(arg)...);
                }
            },
            args);
    }

public:
    using result = std::remove_cvref_t<decltype(call(
        std::declval<F&>(), std::declval<std::tuple<A...>&>(), std::declval<std::stop_token>()))>;

    template <class Fn, class... Args>
    local_task(thread_core& core, const task_options& options, Fn&& f, Args&&... args)
        : local_state(core, options, takes_token),
          call_(std::in_place, std::forward<Fn>(f), std::forward<Args>(args)...) {}

private:
    struct bound {
        template <class Fn, class... Args>
        explicit bound(Fn&& f, Args&&... args)
            : function(std::forward<Fn>(f)), arguments(std::forward<Args>(args)...) {}
        F function;
        std::tuple<A...> arguments;
    };

    static constexpr bool copyable = (copies<A> && ...);

    void run(bool perhaps_again) override {
        if constexpr (copyable) {
            if (perhaps_again) {
                auto arguments = call_->arguments;
                run_with(arguments);
                return;
            }
        }
        run_with(call_->arguments);
    }
    void run_with(std::tuple<A...>& arguments) {
        if constexpr (std::is_void_v<result>) {
            call(call_->function, arguments, stop_token());
        } else {
            value_.emplace(call(call_->function, arguments, stop_token()));
        }
    }
    [[nodiscard]] bool can_run_again() const noexcept override { return copyable; }
    void drop() noexcept override { call_.reset(); }
    void drop_value() noexcept override { value_.reset(); }
    void take_value(void* out) override {
        if constexpr (!std::is_void_v<result>) {
            static_cast<std::optional<result>*>(out)->emplace(std::move(*value_));
        }
    }

    std::optional<bound> call_;
    std::optional<std::conditional_t<std::is_void_v<result>, bool, result>> value_;
};

/// How to make a task, for when it is wanted: a callable `local_state*(thread_core&)`, referred to.
class task_maker {
public:
    template <class Make>
    task_maker(const Make& make) noexcept  // NOLINT(google-explicit-constructor): a parameter
        : make_(&make), call_([](const void* how, thread_core& core) {
              return (*static_cast<const Make*>(how))(core);
          }) {}
    [[nodiscard]] state_ptr operator()(thread_core& core) const {
        return state_ptr(call_(make_, core));
    }

private:
    const void* make_;
    local_state* (*call_)(const void* how, thread_core& core);
};

/// Queues a task under the pool's rules. Null when the backlog is full and `full` says refuse; then none
/// has been made.
[[nodiscard]] state_ptr submit_local(thread_core& core, const task_options& options, when_full full,
                                     task_maker make);
/// As those of a process_pool (pool_access.hpp).
[[nodiscard]] state_ptr refused_task(const thread_core& core, const task_options& options,
                                     std::exception_ptr error);
void watch_idle(thread_core& core, std::shared_ptr<idle_watch> watch);
void unwatch_idle(thread_core& core, const idle_watch& watch);
[[nodiscard]] std::size_t worker_count(const thread_core& core);

}  // namespace bulkhead::detail
